//! The account of traces: each one that the source has delivered, or is known to have missed, is counted once and at
//! once, either as passed on or as missing, with its place. `traces_books` in [`status`](crate::status) says how the
//! counters then belong together.
//!
//! Pure but for the counters that it adds to.

use crate::block::RawBlock;
use crate::status::CaptureCounters;

/// Where a block that was read did not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No block was free for it, or the pipeline has gone.
    NoBlock,
    /// There was no light in it.
    Dark,
}

/// What is known of the present acquisition.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Index behind the newest trace that was read, when there is one.
    reached: Option<u64>,
    /// Traces missing since the last block that was passed on: what the next one tells as its gap.
    owed: u64,
    /// What [`missing_at_ends`](crate::source::Interrogator::missing_at_ends) said last.
    left_behind: u64,
}

impl Account {
    /// A new acquisition begins at whatever trace comes first. What the one before still owed has been counted.
    pub(super) const fn begin(&mut self) {
        self.reached = None;
        self.owed = 0;
    }

    /// Counts a block that the source has filled, and makes its gap that of the data: all traces missing since the last
    /// block that was passed on.
    pub(super) fn read(&mut self, block: &mut RawBlock, counters: &CaptureCounters) {
        let missed = block.gap_before;
        let reached = self.reached.unwrap_or_else(|| block.first_trace.0.saturating_sub(missed));
        let end = block.end_trace().0;
        counters.traces_launched.add(end.saturating_sub(reached));
        self.reached = Some(end);
        counters.traces.add(block.traces as u64);
        for (mark, rows) in block.spans() {
            counters.traces_overloaded.add(if mark.state.overloaded { rows.len() as u64 } else { 0 });
            counters.traces_calibrating.add(if mark.state.calibrating { rows.len() as u64 } else { 0 });
        }
        counters.traces_missed_in_source.add(missed);
        self.miss(missed, counters);
        block.gap_before = self.owed;
    }

    /// The block was passed on, with its gap.
    pub(super) fn passed_on(&mut self, traces: u64, counters: &CaptureCounters) {
        self.owed = 0;
        counters.blocks.add(1);
        counters.traces_passed_on.add(traces);
    }

    /// The block was not passed on.
    pub(super) fn dropped(&mut self, traces: u64, place: Place, counters: &CaptureCounters) {
        let by_place = match place {
            Place::NoBlock => &counters.traces_dropped_no_block,
            Place::Dark => &counters.traces_dropped_dark,
        };
        by_place.add(traces);
        self.miss(traces, counters);
    }

    /// The source says how many traces it has left behind at the ends of acquisitions, in all. No block will tell of them.
    pub(super) fn left_behind(&mut self, total: u64, counters: &CaptureCounters) {
        let traces = total.saturating_sub(self.left_behind);
        if traces == 0 {
            return;
        }
        self.left_behind = total;
        counters.traces_launched.add(traces);
        counters.traces_missed_in_source.add(traces);
        counters.gaps.add(1);
        counters.gap_traces.add(traces);
    }

    fn miss(&mut self, traces: u64, counters: &CaptureCounters) {
        if traces == 0 {
            return;
        }
        if self.owed == 0 {
            counters.gaps.add(1);
        }
        counters.gap_traces.add(traces);
        self.owed = self.owed.saturating_add(traces);
    }
}
