//! Where a lane stands: the next trace, and the line that is being gathered.

use super::super::grid::{window_end, windows_of_line};
use super::super::plan::Plan;

/// Where the lanes of a transform stand, all at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// First trace of the unbroken run that windows may see.
    pub(super) run_start: u64,
    /// The next trace to come.
    pub(super) position: u64,
    pub(super) pending: Pending,
}

impl Clock {
    /// Lanes of `plan` that have yet to see the trace `next_trace`, but may look back until `run_start`.
    pub fn new(plan: &Plan, run_start: u64, next_trace: u64) -> Self {
        Self { run_start, position: next_trace, pending: Pending::at(plan, next_trace) }
    }
}

/// The line that is being gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) index: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Windows that make the line.
    pub(super) windows: u64,
    /// The next one, counted from the earliest.
    pub(super) next: u64,
    /// Whole windows in the sums so far.
    pub(super) used: u64,
}

impl Pending {
    pub(super) fn new(plan: &Plan, index: u64) -> Self {
        let traces = plan.grid().traces(index);
        let windows = windows_of_line(traces.end - traces.start, plan.nfft());
        Self { index, start: traces.start, end: traces.end, windows, next: 0, used: 0 }
    }

    pub(super) fn at(plan: &Plan, trace: u64) -> Self {
        Self::new(plan, plan.grid().line_at(trace))
    }

    pub(super) fn window_end(&self, plan: &Plan) -> u64 {
        window_end(self.end, self.windows, self.next, plan.nfft())
    }
}
