//! Spectra of many channels at once, the lanes of a vector being neighbouring channels.
//!
//! Samples lie trace-major, so a vector of neighbouring channels is one load, and a transform "along time" over such
//! vectors needs no transposition, no shuffle and no bit reversal: every butterfly is the scalar one, done for all lanes.
//! Conversion and window are a part of the first pass, the squared magnitude is a part of the last. In: the traces of a
//! window, counts where they lie or conditioned samples. Out: sums of power, `[place][lane]`, and from these decibels,
//! amplitudes or band energies, `[channel][value]`.
//!
//! [`schedule`] says what is done, [`butterfly`] how, [`load`] where samples come from, [`kernel`] joins the three for each
//! instruction set; [`sliding`] does it another way when windows overlap almost entirely; [`finish`] turns powers into
//! values. The rest of the program holds a [`Kernel`] and cannot tell which it is.

// What is not inlined into its entry is compiled without the entry's instruction set.
#![allow(clippy::inline_always)]

mod butterfly;
mod finish;
mod kernel;
mod load;
mod schedule;
mod sliding;
#[cfg(test)]
mod tests;

use std::ops::Range;

use fearless_simd::Level;

pub(super) use schedule::Schedule;
pub(super) use sliding::{REFRESH_LINES, Sliding};

/// Channels of a [`Cell`].
pub(super) const CELL_CHANNELS: usize = 32;

/// Counts of neighbouring channels in one trace, as blocks hold them: a cache line.
pub(super) type Cell = [i16; CELL_CHANNELS];

/// Consecutive traces of as many channels as there are lanes.
#[derive(Clone, Copy)]
pub(super) enum Window<'a> {
    /// Counts where they lie.
    I16(Counts<'a>),
    /// Conditioned samples, all finite, `[trace][lane]`.
    F32(&'a [f32]),
}

/// Counts of a group of channels, trace by trace wherever its row is.
#[derive(Clone, Copy)]
pub(super) struct Counts<'a> {
    /// The cell that the group is a part of, in each trace.
    pub(super) cells: &'a [&'a Cell],
    /// The group's first channel within the cell.
    pub(super) first: usize,
}

/// A step of a window that slides.
pub(super) struct Move<'a> {
    /// Traces that come in.
    pub(super) new: Window<'a>,
    /// As many that go; `None` while sums are made afresh.
    pub(super) old: Option<Window<'a>>,
    /// The sums.
    pub(super) state: &'a mut [f32],
}

impl<'a> Window<'a> {
    fn counts(self) -> Counts<'a> {
        match self {
            Self::I16(counts) => counts,
            Self::F32(_) => unreachable!("a tile holds samples of one kind"),
        }
    }

    fn floats(self) -> &'a [f32] {
        match self {
            Self::F32(samples) => samples,
            Self::I16(_) => unreachable!("a tile holds samples of one kind"),
        }
    }
}

impl<'a> Move<'a> {
    /// The step with its traces as what they are.
    fn step<T>(&mut self, new: T, kind: impl FnOnce(Window<'a>) -> T) -> sliding::Step<'_, T> {
        sliding::Step { new, old: self.old.map(kind), state: self.state }
    }
}

/// What a sum of power becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// `factor · sum`.
    Power { factor: f32 },
    /// `√(factor · sum)`.
    Amplitude { factor: f32 },
    /// `10·log10(max(factor · sum, f32::MIN_POSITIVE)) − reference_db`, to 0.0004 dB.
    Decibel { factor: f32, reference_db: f32 },
}

/// Where values of some lanes go: `values[(lane − lanes.start) · per_channel]` and on.
pub(super) struct Out<'a> {
    /// `[channel][value]`.
    pub(super) values: &'a mut [f32],
    /// Values from one channel to the next.
    pub(super) per_channel: usize,
    /// The lanes that are wanted.
    pub(super) lanes: Range<usize>,
}

/// Code for one instruction set with the work space of one worker.
pub(super) trait Kernel: Send {
    /// Channels that are transformed together.
    fn lanes(&self) -> usize;

    /// Makes the work space large enough for `schedule`. The only place that allocates.
    fn reserve(&mut self, schedule: &Schedule);

    /// `|X_k|²` of a window, the constant and the highest bin halved, into `sums` as the schedule places them, or added
    /// to what is there.
    ///
    /// # Panics
    /// When the window, the sums or the work space have not the size that the schedule needs.
    fn transform(&mut self, schedule: &Schedule, window: Window<'_>, sums: &mut [f32], add: bool);

    /// Makes the work space large enough for `plan`.
    fn reserve_sliding(&mut self, plan: &Sliding);

    /// Adds the `new` traces of one or two groups, the first of them trace `first`, to their sums, and takes as many `old`
    /// ones, a window's length earlier, away. At most one hop of traces.
    fn slide(&mut self, plan: &Sliding, first: u64, moves: &mut [Move<'_>]);

    /// `|X_k|²` of the window that begins with trace `start`, whose sums are in `state`, as
    /// [`transform`](Self::transform) would make them.
    fn weigh(&self, plan: &Sliding, start: u64, state: &[f32], powers: &mut [f32]);

    /// The powers at `positions` as values of bins, `out.per_channel` being their number. Returns the smallest and the
    /// largest of them.
    fn spectrum(&self, powers: &[f32], positions: &[u32], form: Form, out: Out<'_>) -> (f32, f32);

    /// The sum of powers at `positions` times `factor`, the first value of each channel of `out`.
    fn energies(&self, powers: &[f32], positions: &[u32], factor: f32, out: Out<'_>);
}

/// The kernel for the best instruction set that this machine has.
pub(super) fn kernel() -> Box<dyn Kernel> {
    kernel::kernel_for(Level::new())
}

/// How many channels the kernel of this machine transforms together.
pub(super) fn lanes() -> usize {
    kernel().lanes()
}

/// Name of the instruction set that is used.
pub(super) fn instruction_set() -> &'static str {
    match Level::new() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => "AVX2 and FMA",
        #[cfg(target_arch = "x86_64")]
        Level::Sse4_2(_) => "SSE4.2",
        #[cfg(target_arch = "x86_64")]
        Level::Sse2(_) => "SSE2",
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => "NEON",
        _ => "portable",
    }
}
