//! The newest conditioned traces of a tile as the kernels want to read them: time-major, in groups of as many neighbouring
//! channels as are transformed together, so that any window of a group is one piece of memory. Every lane of the tile
//! reads here; a sample is stored once however many views ask for it. Counts that need no conditioning are read where they
//! lie instead: [`Traces`](super::Traces).
//!
//! ```text
//! group 0   [trace][channels 0 … 7]   ▒▒▒▒▒▒▒▒▒▒▒▒████████ ← new traces
//! group 1   [trace][channels 8 … 15]  ▒▒▒▒▒▒▒▒▒▒▒▒████████
//! ```
//! Samples are stored as `f32` above a level, which 64 traces share: the first sample of each channel among them. What stands
//! or drifts far from zero, a phase that has run away above all, so keeps every digit that counts.
//!
//! Memory holds about twice what must be kept; when it is full the part that is still needed moves to the front, which
//! costs at most one more copy of each sample.

// What is not inlined into the entry is compiled without the best instruction set of the machine.
#![allow(clippy::inline_always)]

use super::lanes::{Floats, LEVEL_TRACES, Level, lanes, vectorized};
use super::rows::Rows;

/// See the module.
pub struct Store {
    lanes: usize,
    channels: usize,
    /// Traces before a push that windows may still reach.
    keep: usize,
    /// Rows that memory has.
    capacity: usize,
    /// Trace of row 0, and rows in use.
    first_trace: u64,
    rows: usize,
    /// Nothing has come since it was made or reset.
    fresh: bool,
    groups: Vec<Group>,
}

/// Lanes beyond the last channel are 0 for ever.
struct Group {
    /// `[trace][lane]`, above their level.
    samples: Vec<f32>,
    /// `[trace / LEVEL_TRACES][lane]`, from that of row 0 on.
    levels: Vec<f64>,
}

/// Number of the level of a trace.
const fn level_of(trace: u64) -> u64 {
    trace / LEVEL_TRACES as u64
}

impl Store {
    /// For `channels` channels in groups of `lanes`, keeping `keep` traces when at most `max_block_traces` come.
    pub(super) fn new(channels: usize, lanes: usize, keep: usize, max_block_traces: usize) -> Self {
        let capacity = 2 * keep + max_block_traces;
        let groups = (0..channels.div_ceil(lanes)).map(|_| Group::new(capacity, lanes)).collect();
        Self { lanes, channels, keep, capacity, first_trace: 0, rows: 0, fresh: true, groups }
    }

    /// Forgets everything; the next sample is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.first_trace = next_trace;
        self.rows = 0;
        self.fresh = true;
    }

    /// The same, keeping at least `keep` traces from now on.
    #[must_use]
    pub fn keeping(mut self, keep: usize, max_block_traces: usize) -> Self {
        if keep > self.keep {
            (self.keep, self.capacity) = (keep, 2 * keep + max_block_traces);
            self.groups.iter_mut().for_each(|group| group.resize(self.capacity, self.lanes));
        }
        self
    }

    /// An empty store for another to [move to](Self::move_to), which keeps `keep` traces: all its memory is written to.
    pub fn roomier(channels: usize, keep: usize, max_block_traces: usize) -> Self {
        let mut store = Self::new(channels, lanes(), keep, max_block_traces);
        store.groups.iter_mut().for_each(Group::touch);
        store
    }

    /// Moves everything into `roomier`, which then stands here. Returns the memory that was used before.
    ///
    /// # Panics
    /// When that is of other channels, or has less room.
    #[must_use]
    pub fn move_to(&mut self, mut roomier: Self) -> Self {
        assert!(roomier.channels == self.channels && roomier.capacity >= self.capacity, "room for {} rows", self.rows);
        (roomier.first_trace, roomier.rows, roomier.fresh) = (self.first_trace, self.rows, self.fresh);
        for (to, from) in roomier.groups.iter_mut().zip(&self.groups) {
            let (used, levels) = (self.rows * self.lanes, from.levels.len());
            to.samples[..used].copy_from_slice(&from.samples[..used]);
            to.levels[..levels].copy_from_slice(&from.levels);
        }
        std::mem::replace(self, roomier)
    }

    /// Traces before a push that are kept.
    pub const fn keeps(&self) -> usize {
        self.keep
    }

    /// The oldest trace that is here.
    pub const fn first_trace(&self) -> u64 {
        self.first_trace
    }

    /// Behind the last trace.
    pub(super) const fn position(&self) -> u64 {
        self.first_trace.saturating_add(self.rows as u64)
    }

    /// Channels of a group.
    pub(super) const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Channels that are stored.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Up to about `count` samples, from all channels and all traces that are here, counted from what their channels have
    /// in the oldest of these: a level that stands is no signal.
    pub fn some(&self, count: usize) -> impl Iterator<Item = f32> {
        let rows = (count / self.channels.max(1)).max(1);
        let step = self.rows / rows + 1;
        let (lanes, used) = (self.lanes, self.rows * self.lanes);
        self.groups.iter().enumerate().flat_map(move |(number, group)| {
            let channels = (self.channels - number * lanes).min(lanes);
            let rows = group.samples[..used].chunks_exact(lanes).enumerate().step_by(step);
            rows.flat_map(move |(row, samples)| {
                let level = (level_of(self.first_trace + row as u64) - level_of(self.first_trace)) as usize * lanes;
                let levels = &group.levels[level..][..channels];
                let from = group.samples[..channels].iter().zip(&group.levels[..channels]);
                let now = samples.iter().zip(levels);
                now.zip(from).map(|((sample, level), (first, base))| {
                    (f64::from(*sample) - f64::from(*first) + (level - base)) as f32
                })
            })
        })
    }

    /// Takes the next traces.
    ///
    /// # Panics
    /// When there are other channels, or more traces than was said.
    pub fn push<T: Copy + Into<f64>>(&mut self, rows: Rows<'_, T>) {
        assert_eq!(rows.channels(), self.channels, "channels of the store");
        let begin = self.make_room(rows.traces());
        vectorized(
            #[inline(always)]
            || match self.lanes {
                // Known sizes make each row of a group a few instructions.
                4 => self.spread::<T, 4>(rows, begin),
                8 => self.spread::<T, 8>(rows, begin),
                16 => self.spread::<T, 16>(rows, begin),
                _ => unreachable!("vectors have 4, 8 or 16 lanes"),
            },
        );
    }

    /// Rows to every group, the first of them row `begin` there.
    #[inline(always)]
    fn spread<T: Copy + Into<f64>, const LANES: usize>(&mut self, rows: Rows<'_, T>, begin: usize) {
        for trace in 0..rows.traces() {
            let (row, number) = (begin + trace, self.first_trace.saturating_add((begin + trace) as u64));
            let level = (level_of(number) - level_of(self.first_trace)) as usize;
            let begins = std::mem::take(&mut self.fresh) || number.is_multiple_of(LEVEL_TRACES as u64);
            let (whole, rest) = rows.row(trace).as_chunks::<LANES>();
            let mut groups = self.groups.iter_mut();
            for (samples, group) in whole.iter().zip(&mut groups) {
                group.put::<LANES>(samples.map(Into::into), row, level, begins);
            }
            if let Some(group) = groups.next() {
                let sample = |lane: usize| rest.get(lane).map_or(0.0, |&x| x.into());
                group.put::<LANES>(std::array::from_fn(sample), row, level, begins);
            }
        }
    }

    /// `traces` traces from `first` on, which the store must hold, of the channels of `group`.
    pub(super) fn window(&self, group: usize, first: u64, traces: usize) -> Floats<'_> {
        let Group { samples, levels } = &self.groups[group];
        let level = (level_of(first) - level_of(self.first_trace)) as usize;
        Floats {
            rows: &samples[(first - self.first_trace) as usize * self.lanes..][..traces * self.lanes],
            levels: &levels[level * self.lanes..],
            first: (first % LEVEL_TRACES as u64) as usize,
        }
    }

    /// A sample of each channel of `group`.
    pub(super) fn level(&self, group: usize, trace: u64) -> Level {
        self.window(group, trace, 1).row(0, self.lanes)
    }

    /// Room for `traces` more; returns the row of the first.
    fn make_room(&mut self, traces: usize) -> usize {
        if self.rows + traces > self.capacity {
            let kept = self.keep.min(self.rows);
            assert!(kept + traces <= self.capacity, "{traces} traces in a push");
            let still_needed = (self.rows - kept) * self.lanes..self.rows * self.lanes;
            let first_trace = self.first_trace.saturating_add((self.rows - kept) as u64);
            let levels = (level_of(first_trace) - level_of(self.first_trace)) as usize * self.lanes;
            for group in &mut self.groups {
                group.samples.copy_within(still_needed.clone(), 0);
                group.levels.copy_within(levels.., 0);
            }
            self.first_trace = first_trace;
            self.rows = kept;
        }
        self.rows += traces;
        self.rows - traces
    }
}

impl Group {
    fn new(capacity: usize, lanes: usize) -> Self {
        let mut group = Self { samples: Vec::new(), levels: Vec::new() };
        group.resize(capacity, lanes);
        group
    }

    fn resize(&mut self, capacity: usize, lanes: usize) {
        self.samples.resize(capacity * lanes, 0.0);
        // The first and the last may be levels of a part of their traces.
        self.levels.resize((capacity / LEVEL_TRACES + 2) * lanes, 0.0);
    }

    /// Writes to all of the memory.
    fn touch(&mut self) {
        self.samples.fill(0.0);
        self.levels.fill(0.0);
    }

    #[inline(always)]
    fn put<const LANES: usize>(&mut self, samples: [f64; LANES], row: usize, level: usize, begins: bool) {
        let level = &mut self.levels.as_chunks_mut::<LANES>().0[level];
        if begins {
            *level = samples;
        }
        let out = &mut self.samples.as_chunks_mut::<LANES>().0[row];
        for lane in 0..LANES {
            out[lane] = (samples[lane] - level[lane]) as f32;
        }
    }
}
