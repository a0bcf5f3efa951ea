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
mod level;
mod load;
mod schedule;
mod sliding;
#[cfg(test)]
mod tests;

use std::ops::Range;

use fearless_simd::{Level as InstructionSet, Simd, dispatch};

pub(super) use schedule::{MOST_PEAKS, Schedule};
pub(super) use sliding::{REFRESH_LINES, Sliding};

/// Channels of a [`Cell`].
pub(super) const CELL_CHANNELS: usize = 32;

/// Counts of neighbouring channels in one trace, as blocks hold them: a cache line.
pub(super) type Cell = [i16; CELL_CHANNELS];

/// Most lanes that a vector has.
pub(super) const MOST_LANES: usize = 16;

/// Traces that share a level where samples are stored above one.
pub(super) const LEVEL_TRACES: usize = 64;

/// One number for each lane, from which the samples of a window are counted. It is taken off before anything is rounded, and
/// put back, exactly, into the few bins that a constant has: so a window that stands far from zero loses nothing.
pub(super) type Level = [f64; MOST_LANES];

/// Samples as they are.
pub(super) static NO_LEVEL: Level = [0.0; MOST_LANES];

/// Consecutive traces of as many channels as there are lanes.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) samples: Samples<'a>,
    /// Anything near the samples.
    pub(super) level: Level,
}

/// The samples of a window.
#[derive(Clone, Copy)]
pub(super) enum Samples<'a> {
    /// Counts where they lie.
    I16(Counts<'a>),
    /// Conditioned samples, all finite.
    F32(Floats<'a>),
}

/// Samples above levels.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a> {
    /// `[trace][lane]`.
    pub(super) rows: &'a [f32],
    /// `[level][lane]`, one for [`LEVEL_TRACES`] traces.
    pub(super) levels: &'a [f64],
    /// How many traces before these the first level begins.
    pub(super) first: usize,
}

impl Floats<'_> {
    /// The samples of a trace.
    pub(super) fn row(&self, trace: usize, lanes: usize) -> Level {
        let (row, levels) = (&self.rows[trace * lanes..], &self.levels[(self.first + trace) / LEVEL_TRACES * lanes..]);
        std::array::from_fn(|lane| if lane < lanes { f64::from(row[lane]) + levels[lane] } else { 0.0 })
    }
}

impl Counts<'_> {
    /// The samples of a trace.
    pub(super) fn row(&self, trace: usize, lanes: usize) -> Level {
        let cell = self.cells[trace];
        std::array::from_fn(|lane| if lane < lanes { f64::from(cell[self.first + lane]) } else { 0.0 })
    }
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
    /// As many that go, above the same level; `None` while sums are made afresh.
    pub(super) old: Option<Window<'a>>,
    /// The sums.
    pub(super) state: &'a mut [f32],
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

    /// `|X_k|²` of a window, the constant and the highest bin halved, into `sums` as the schedule places
    /// them, or added to what is there.
    ///
    /// # Panics
    /// When the window, the sums or the work space have not the size that the schedule needs.
    fn transform(&mut self, schedule: &Schedule, samples: Samples<'_>, sums: &mut [f32], add: bool);

    /// Makes the work space large enough for `plan`.
    fn reserve_sliding(&mut self, plan: &Sliding);

    /// Adds the `new` traces of one or two groups, the first of them trace `first`, to their sums, and takes as many `old`
    /// ones, a window's length earlier, away. At most one hop of traces. Without `old` ones the level is left out.
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
    kernel::kernel_for(InstructionSet::new())
}

/// How many channels the kernel of this machine transforms together.
pub(super) fn lanes() -> usize {
    kernel().lanes()
}

/// Runs `what`, a closure that is inlined together with all that it calls, compiled for the best instruction set of this
/// machine.
pub(super) fn vectorized<R>(what: impl FnOnce() -> R) -> R {
    dispatch!(InstructionSet::new(), simd => simd.vectorize(what))
}

/// Name of the instruction set that is used.
pub(super) fn instruction_set() -> &'static str {
    match InstructionSet::new() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512(_) => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2(_) => "AVX2 and FMA",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Sse4_2(_) => "SSE4.2",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Sse2(_) => "SSE2",
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon(_) => "NEON",
        _ => "portable",
    }
}
