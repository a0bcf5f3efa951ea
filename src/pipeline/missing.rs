//! Traces that are missing, as far as lines of today may still reach: what a partial line was made without.

use std::ops::Range;
use std::sync::Arc;

use super::ranges::TraceRanges;
use crate::frame::SharedRanges;

/// Ranges that are remembered; more would not fit a frame.
const MOST: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Missing {
    ranges: TraceRanges,
    /// The same, for frames: made anew at a gap, so that a line that names some of them needs no memory.
    told: Arc<[Range<u64>]>,
}

impl Missing {
    /// A new acquisition, of which `first_trace` is the first that was seen.
    pub(super) fn begin(&mut self, first_trace: u64) {
        self.ranges.prepare(MOST);
        self.add(0..first_trace);
    }

    /// These traces are missing, and they are behind all others that are.
    pub(super) fn add(&mut self, traces: Range<u64>) {
        self.ranges.add(traces);
        self.told = self.ranges.iter().cloned().collect();
    }

    /// Those that have to do with the traces `seen`.
    pub(super) fn within(&self, seen: &Range<u64>) -> SharedRanges {
        SharedRanges::some(&self.told, self.ranges.within(seen))
    }
}
