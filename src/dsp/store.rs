//! The newest traces of a tile as the kernels want to read them: time-major, in groups of as many neighbouring channels
//! as are transformed together, so that any window of a group is one piece of memory. Every lane of the tile reads here;
//! a sample is stored once however many views ask for it.
//!
//! ```text
//! group 0   [trace][channels 0 … 7]   ▒▒▒▒▒▒▒▒▒▒▒▒████████ ← new traces
//! group 1   [trace][channels 8 … 15]  ▒▒▒▒▒▒▒▒▒▒▒▒████████
//! ```
//! Memory holds about twice what must be kept; when it is full the part that is still needed moves to the front, which
//! costs at most one more copy of each sample. Counts stay counts: the kernel converts as it loads.

use super::lanes::Window;
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
    memory: Memory,
}

/// One piece a group, `[trace][lane]`; lanes beyond the last channel are 0 for ever.
enum Memory {
    I16(Vec<Vec<i16>>),
    F32(Vec<Vec<f32>>),
}

impl Store {
    /// For `channels` channels in groups of `lanes`, counts or conditioned samples, keeping `keep` traces when at most
    /// `max_block_traces` come.
    pub(super) fn new(channels: usize, lanes: usize, counts: bool, keep: usize, max_block_traces: usize) -> Self {
        let capacity = 2 * keep + max_block_traces;
        let groups = channels.div_ceil(lanes);
        let memory = if counts {
            Memory::I16(vec![vec![0; capacity * lanes]; groups])
        } else {
            Memory::F32(vec![vec![0.0; capacity * lanes]; groups])
        };
        Self { lanes, channels, keep, capacity, first_trace: 0, rows: 0, memory }
    }

    /// Forgets everything; the next sample is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.first_trace = next_trace;
        self.rows = 0;
    }

    /// Behind the last trace.
    pub(super) const fn position(&self) -> u64 {
        self.first_trace.saturating_add(self.rows as u64)
    }

    /// Channels that are stored.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Makes room for the next `traces` traces, which are then [put](Self::put_counts) in.
    pub fn begin_push(&mut self, traces: usize) {
        self.make_room(traces);
    }

    /// Some consecutive traces of counts, the first of which lies `back` traces before the end of the room that was made.
    ///
    /// # Panics
    /// When the store is not for counts, or there are other channels or more traces than room was made for.
    #[inline]
    pub fn put_counts<const TRACES: usize>(&mut self, back: usize, traces: [&[i16]; TRACES]) {
        assert!(traces.iter().all(|trace| trace.len() == self.channels), "channels of the store");
        let Memory::I16(groups) = &mut self.memory else { panic!("a store for conditioned samples was given counts") };
        spread(traces, groups, self.lanes, self.rows - back);
    }

    /// Takes the next traces, conditioned.
    ///
    /// # Panics
    /// As [`put_counts`](Self::put_counts).
    pub fn push(&mut self, rows: Rows<'_>) {
        assert_eq!(rows.channels(), self.channels, "channels of the store");
        let begin = self.make_room(rows.traces());
        let lanes = self.lanes;
        let Memory::F32(groups) = &mut self.memory else { panic!("a store for counts was given conditioned samples") };
        for trace in 0..rows.traces() {
            spread([rows.row(trace)], groups, lanes, begin + trace);
        }
    }

    /// Whether traces `first .. first + traces` are all here.
    pub(super) fn holds(&self, first: u64, traces: usize) -> bool {
        first >= self.first_trace && first - self.first_trace <= (self.rows as u64).saturating_sub(traces as u64)
    }

    /// The window of `nfft` traces from `first` on, of the channels of `group`; the store must hold it.
    pub(super) fn window(&self, group: usize, first: u64, nfft: usize) -> Window<'_> {
        let begin = (first - self.first_trace) as usize * self.lanes;
        let range = begin..begin + nfft * self.lanes;
        match &self.memory {
            Memory::I16(groups) => Window::I16(&groups[group][range]),
            Memory::F32(groups) => Window::F32(&groups[group][range]),
        }
    }

    /// The samples of one channel from trace `first` on, oldest first.
    pub(super) fn channel(&self, channel: usize, first: u64) -> impl Iterator<Item = f32> {
        let (group, lane) = (channel / self.lanes, channel % self.lanes);
        let rows = first.saturating_sub(self.first_trace) as usize..self.rows;
        rows.map(move |row| match &self.memory {
            Memory::I16(groups) => f32::from(groups[group][row * self.lanes + lane]),
            Memory::F32(groups) => groups[group][row * self.lanes + lane],
        })
    }

    /// Room for `traces` more; returns the row of the first.
    fn make_room(&mut self, traces: usize) -> usize {
        if self.rows + traces > self.capacity {
            let kept = self.keep.min(self.rows);
            assert!(kept + traces <= self.capacity, "{traces} traces in a push");
            let still_needed = (self.rows - kept) * self.lanes..self.rows * self.lanes;
            match &mut self.memory {
                Memory::I16(groups) => groups.iter_mut().for_each(|g| g.copy_within(still_needed.clone(), 0)),
                Memory::F32(groups) => groups.iter_mut().for_each(|g| g.copy_within(still_needed.clone(), 0)),
            }
            self.first_trace = self.first_trace.saturating_add((self.rows - kept) as u64);
            self.rows = kept;
        }
        self.rows += traces;
        self.rows - traces
    }
}

/// Some traces to the rows from `row` on of every group: four of counts are a cache line.
fn spread<T: Copy, const TRACES: usize>(traces: [&[T]; TRACES], groups: &mut [Vec<T>], lanes: usize, row: usize) {
    // Known sizes make each copy one move instead of a call.
    match lanes {
        4 => spread_lanes::<T, 4, TRACES>(traces, groups, row),
        8 => spread_lanes::<T, 8, TRACES>(traces, groups, row),
        16 => spread_lanes::<T, 16, TRACES>(traces, groups, row),
        _ => unreachable!("vectors have 4, 8 or 16 lanes"),
    }
}

#[inline]
fn spread_lanes<T: Copy, const LANES: usize, const TRACES: usize>(
    traces: [&[T]; TRACES],
    groups: &mut [Vec<T>],
    row: usize,
) {
    let traces = traces.map(<[T]>::as_chunks::<LANES>);
    let whole = traces[0].0.len();
    for (number, group) in groups.iter_mut().enumerate() {
        let rows = &mut group.as_chunks_mut::<LANES>().0[row..row + TRACES];
        for (row, (samples, rest)) in rows.iter_mut().zip(traces) {
            match samples.get(number) {
                Some(samples) => *row = *samples,
                None if number == whole => row[..rest.len()].copy_from_slice(rest),
                None => {}
            }
        }
    }
}
