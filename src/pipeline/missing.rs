//! Traces that are missing, as far as lines of today may still reach: what a partial line was made without.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Ranges that are remembered; more would not fit a frame.
const MOST: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Missing {
    /// In order, apart from each other.
    ranges: VecDeque<Range<u64>>,
}

impl Missing {
    /// A new acquisition, of which `first_trace` is the first that was seen.
    pub(super) fn begin(&mut self, first_trace: u64) {
        self.ranges.clear();
        self.ranges.reserve(MOST + 1);
        self.add(0..first_trace);
    }

    /// These traces are missing, and they are behind all others that are.
    pub(super) fn add(&mut self, traces: Range<u64>) {
        if traces.is_empty() {
            return;
        }
        self.ranges.push_back(traces);
        if self.ranges.len() > MOST {
            self.ranges.pop_front();
        }
    }

    /// Those that have to do with the traces `seen`.
    pub(super) fn within(&self, seen: &Range<u64>) -> Arc<[Range<u64>]> {
        let begin = self.ranges.partition_point(|range| range.end <= seen.start);
        self.ranges.range(begin..).take_while(|range| range.start < seen.end).cloned().collect()
    }
}
