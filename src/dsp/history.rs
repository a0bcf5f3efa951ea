//! The newest traces of some channels, channel-major: one ring of samples a channel, so that a window of one channel is
//! one or two contiguous pieces.
//!
//! Traces come in trace-major and are transposed in tiles of 8 × 8 samples, so that every cache line that is touched is
//! used whole. Nothing is ever moved again: the ring wraps, and multiplying by the window makes the pieces contiguous.

use std::array::from_fn;
use std::ops::Range;

use super::rows::Rows;

/// Edge of a transposition tile, in samples.
const TILE: usize = 8;

/// Samples in a cache line.
const LINE: usize = 16;

pub(super) struct History {
    samples: Vec<f32>,
    channels: usize,
    /// Traces that each ring holds.
    capacity: usize,
    /// Samples from one channel's ring to the next: an odd number of cache lines, so that neighbouring channels never
    /// compete for the same cache set although window lengths are powers of two.
    stride: usize,
}

impl History {
    /// Room for at least `traces` traces of `channels` channels.
    pub(super) fn new(channels: usize, traces: usize) -> Self {
        let capacity = traces.next_multiple_of(LINE);
        let stride = if (capacity / LINE).is_multiple_of(2) { capacity + LINE } else { capacity };
        Self { samples: vec![0.0; channels * stride], channels, capacity, stride }
    }

    /// Writes traces `first .. first + rows.traces()` over the oldest ones.
    pub(super) fn write(&mut self, first: u64, rows: Rows<'_>) {
        debug_assert!(rows.channels() == self.channels && rows.traces() <= self.capacity);
        let at = self.place(first);
        let before_wrap = rows.traces().min(self.capacity - at);
        self.transpose_into(at, rows.slice(0..before_wrap));
        self.transpose_into(0, rows.slice(before_wrap..rows.traces()));
    }

    /// Traces `first .. first + len` of one channel, the older and the newer piece.
    pub(super) fn read(&self, channel: usize, first: u64, len: usize) -> (&[f32], &[f32]) {
        debug_assert!(len <= self.capacity);
        let ring = &self.samples[channel * self.stride..][..self.capacity];
        let at = self.place(first);
        let older = &ring[at..(at + len).min(self.capacity)];
        (older, &ring[..len - older.len()])
    }

    fn place(&self, trace: u64) -> usize {
        (trace % self.capacity as u64) as usize
    }

    fn transpose_into(&mut self, at: usize, rows: Rows<'_>) {
        let (traces, channels) = (rows.traces(), rows.channels());
        let (whole_traces, whole_channels) = (traces / TILE * TILE, channels / TILE * TILE);
        for t in (0..whole_traces).step_by(TILE) {
            for c in (0..whole_channels).step_by(TILE) {
                self.tile(at, rows, t, c);
            }
            self.piece(at, rows, t..t + TILE, whole_channels..channels);
        }
        self.piece(at, rows, whole_traces..traces, 0..channels);
    }

    /// An 8 × 8 tile through registers or a small buffer, as the compiler likes.
    #[inline]
    fn tile(&mut self, at: usize, rows: Rows<'_>, t: usize, c: usize) {
        let tile: [[f32; TILE]; TILE] = from_fn(|i| *rows.row(t + i)[c..].first_chunk().expect("a whole tile"));
        let columns: [[f32; TILE]; TILE] = from_fn(|j| from_fn(|i| tile[i][j]));
        for (channel, column) in (c..).zip(&columns) {
            let start = channel * self.stride + at + t;
            self.samples[start..start + TILE].copy_from_slice(column);
        }
    }

    /// What does not fill a tile.
    fn piece(&mut self, at: usize, rows: Rows<'_>, traces: Range<usize>, channels: Range<usize>) {
        for t in traces {
            for (c, &x) in channels.clone().zip(&rows.row(t)[channels.clone()]) {
                self.samples[c * self.stride + at + t] = x;
            }
        }
    }
}
