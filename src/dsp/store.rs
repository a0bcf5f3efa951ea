//! The newest conditioned traces of a tile as the kernels want to read them: time-major, in groups of as many neighbouring
//! channels as are transformed together, so that any window of a group is one piece of memory. Every lane of the tile
//! reads here; a sample is stored once however many views ask for it. Counts that need no conditioning are read where they
//! lie instead: [`Traces`](super::Traces).
//!
//! ```text
//! group 0   [trace][channels 0 … 7]   ▒▒▒▒▒▒▒▒▒▒▒▒████████ ← new traces
//! group 1   [trace][channels 8 … 15]  ▒▒▒▒▒▒▒▒▒▒▒▒████████
//! ```
//! Memory holds about twice what must be kept; when it is full the part that is still needed moves to the front, which
//! costs at most one more copy of each sample.

use std::ops::Range;

use super::lanes::lanes;
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
    /// One piece a group, `[trace][lane]`; lanes beyond the last channel are 0 for ever.
    groups: Vec<Vec<f32>>,
}

impl Store {
    /// For `channels` channels in groups of `lanes`, keeping `keep` traces when at most `max_block_traces` come.
    pub(super) fn new(channels: usize, lanes: usize, keep: usize, max_block_traces: usize) -> Self {
        let capacity = 2 * keep + max_block_traces;
        let groups = vec![vec![0.0; capacity * lanes]; channels.div_ceil(lanes)];
        Self { lanes, channels, keep, capacity, first_trace: 0, rows: 0, groups }
    }

    /// Forgets everything; the next sample is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.first_trace = next_trace;
        self.rows = 0;
    }

    /// The same, keeping at least `keep` traces from now on.
    #[must_use]
    pub fn keeping(mut self, keep: usize, max_block_traces: usize) -> Self {
        if keep > self.keep {
            (self.keep, self.capacity) = (keep, 2 * keep + max_block_traces);
            self.groups.iter_mut().for_each(|group| group.resize(self.capacity * self.lanes, 0.0));
        }
        self
    }

    /// An empty store for another to [move to](Self::move_to), which keeps `keep` traces: all its memory is written to.
    pub fn roomier(channels: usize, keep: usize, max_block_traces: usize) -> Self {
        let mut store = Self::new(channels, lanes(), keep, max_block_traces);
        store.groups.iter_mut().for_each(|group| group.fill(0.0));
        store
    }

    /// Moves everything into `roomier`, which then stands here. Returns the memory that was used before.
    ///
    /// # Panics
    /// When that is of other channels, or has less room.
    #[must_use]
    pub fn move_to(&mut self, mut roomier: Self) -> Self {
        assert!(roomier.channels == self.channels && roomier.capacity >= self.capacity, "room for {} rows", self.rows);
        (roomier.first_trace, roomier.rows) = (self.first_trace, self.rows);
        for (to, from) in roomier.groups.iter_mut().zip(&self.groups) {
            let used = self.rows * self.lanes;
            to[..used].copy_from_slice(&from[..used]);
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

    /// Channels that are stored.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Up to about `count` samples, from all channels and all traces that are here.
    pub fn some(&self, count: usize) -> impl Iterator<Item = f32> {
        let rows = (count / self.channels.max(1)).max(1);
        let step = self.rows / rows + 1;
        let (lanes, used) = (self.lanes, self.rows * self.lanes);
        self.groups.iter().enumerate().flat_map(move |(number, group)| {
            let channels = (self.channels - number * lanes).min(lanes);
            group[..used].chunks_exact(lanes).step_by(step).flat_map(move |row| row[..channels].iter().copied())
        })
    }

    /// Takes the next traces.
    ///
    /// # Panics
    /// When there are other channels, or more traces than was said.
    pub fn push(&mut self, rows: Rows<'_>) {
        assert_eq!(rows.channels(), self.channels, "channels of the store");
        let begin = self.make_room(rows.traces());
        for trace in 0..rows.traces() {
            // Known sizes make each copy one move instead of a call.
            match self.lanes {
                4 => spread::<4>(rows.row(trace), &mut self.groups, begin + trace),
                8 => spread::<8>(rows.row(trace), &mut self.groups, begin + trace),
                16 => spread::<16>(rows.row(trace), &mut self.groups, begin + trace),
                _ => unreachable!("vectors have 4, 8 or 16 lanes"),
            }
        }
    }

    /// `traces` traces from `first` on, which the store must hold, of the channels of `group`.
    pub(super) fn window(&self, group: usize, first: u64, traces: usize) -> &[f32] {
        &self.groups[group][(first - self.first_trace) as usize * self.lanes..][..traces * self.lanes]
    }

    /// The same for `channels` of one group, trace by trace.
    pub(super) fn rows_of(&self, channels: &Range<usize>, first: u64, traces: usize) -> impl Iterator<Item = &[f32]> {
        let place = channels.start % self.lanes;
        let lanes = place..place + channels.len();
        let window = self.window(channels.start / self.lanes, first, traces);
        window.chunks_exact(self.lanes).map(move |row| &row[lanes.clone()])
    }

    /// Room for `traces` more; returns the row of the first.
    fn make_room(&mut self, traces: usize) -> usize {
        if self.rows + traces > self.capacity {
            let kept = self.keep.min(self.rows);
            assert!(kept + traces <= self.capacity, "{traces} traces in a push");
            let still_needed = (self.rows - kept) * self.lanes..self.rows * self.lanes;
            self.groups.iter_mut().for_each(|group| group.copy_within(still_needed.clone(), 0));
            self.first_trace = self.first_trace.saturating_add((self.rows - kept) as u64);
            self.rows = kept;
        }
        self.rows += traces;
        self.rows - traces
    }
}

/// A trace to row `row` of every group.
fn spread<const LANES: usize>(trace: &[f32], groups: &mut [Vec<f32>], row: usize) {
    let (whole, rest) = trace.as_chunks::<LANES>();
    let mut rows = groups.iter_mut().map(|group| &mut group.as_chunks_mut::<LANES>().0[row]);
    for (samples, row) in whole.iter().zip(&mut rows) {
        *row = *samples;
    }
    if let Some(row) = rows.next() {
        row[..rest.len()].copy_from_slice(rest);
    }
}
