//! One transform over some neighbouring channels, as a worker runs it: conditioned traces in, finished lines out.
//!
//! A lane owns all it needs (history, scratch, output) and allocates nothing after it is made. In: [`Rows`] of `f32`,
//! trace-major, consecutive traces. Out: for each line that became complete, `[channel][value]`. The result does not
//! depend, to the last bit, on how the traces were cut into pushes.

use std::sync::Arc;

use super::grid::{window_end, windows_of_line};
use super::history::History;
use super::plan::Plan;
use super::rows::Rows;
use super::transform::Transform;

/// A finished line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number on the line grid.
    pub index: u64,
    /// Its first trace.
    pub first_trace: u64,
    /// Behind its last trace.
    pub end_trace: u64,
    /// Traces of the line are missing, or windows that would span a gap or the beginning were left out of its mean.
    pub partial: bool,
}

/// The line that is being gathered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    index: u64,
    start: u64,
    end: u64,
    /// Windows that make the line.
    windows: u64,
    /// The next one, counted from the earliest.
    next: u64,
    /// Whole windows in the sums so far.
    used: u64,
}

/// See the module.
pub struct Lane {
    plan: Arc<Plan>,
    transform: Transform,
    history: History,
    channels: usize,
    max_block_traces: usize,
    /// First trace of the unbroken run that history holds.
    run_start: u64,
    /// The next trace to come.
    position: u64,
    pending: Pending,
    lines: Vec<Line>,
    /// A ring of `[channel][value]` slots: the finished lines of the last push from `first_slot` on, then the pending one.
    slots: Vec<f32>,
    slot_count: usize,
    first_slot: usize,
}

impl Lane {
    /// A lane for `channels` channels that is fed at most `max_block_traces` traces at once, starting at trace 0.
    ///
    /// # Panics
    /// When `channels` is zero.
    pub fn new(plan: Arc<Plan>, channels: usize, max_block_traces: usize) -> Self {
        assert!(channels > 0, "a lane needs channels");
        let slot_count = plan.max_lines(max_block_traces) + 1;
        Self {
            transform: Transform::new(&plan),
            history: History::new(channels, plan.nfft() + max_block_traces),
            channels,
            max_block_traces,
            run_start: 0,
            position: 0,
            pending: Pending::at(&plan, 0),
            lines: Vec::with_capacity(slot_count),
            slots: vec![0.0; slot_count * channels * plan.values_per_channel()],
            slot_count,
            first_slot: 0,
            plan,
        }
    }

    /// What is computed.
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How many channels.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Forgets everything: a new epoch. The next sample pushed is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.run_start = next_trace;
        self.position = next_trace;
        self.pending = Pending::at(&self.plan, next_trace);
        self.lines.clear();
    }

    /// Traces are missing within an epoch: the next sample pushed is of trace `next_trace`. No window spans the gap. A
    /// line that holds `next_trace` keeps the whole windows it already has and comes out partial; lines that would have
    /// ended in the gap never come out.
    pub fn gap(&mut self, next_trace: u64) {
        if next_trace < self.position || next_trace >= self.pending.end {
            return self.reset(next_trace);
        }
        self.run_start = next_trace;
        self.position = next_trace;
    }

    /// Takes consecutive traces and computes every line that they complete.
    ///
    /// # Panics
    /// When `rows` has other than [`channels`](Self::channels) channels or more than `max_block_traces` traces.
    pub fn push(&mut self, rows: Rows<'_>) {
        assert_eq!(rows.channels(), self.channels, "channels of the lane");
        assert!(rows.traces() <= self.max_block_traces, "{} traces in a push", rows.traces());
        self.first_slot = self.slot(self.lines.len());
        self.lines.clear();
        self.history.write(self.position, rows);
        self.position = self.position.saturating_add(rows.traces() as u64);
        while self.pending.window_end(&self.plan) <= self.position && self.pending.end < u64::MAX {
            self.next_window();
        }
    }

    /// Lines completed by the last push, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Values of line `line` of [`lines`](Self::lines): `[channel][value]`.
    ///
    /// # Panics
    /// When there is no such line.
    pub fn values(&self, line: usize) -> &[f32] {
        assert!(line < self.lines.len(), "line {line} of {}", self.lines.len());
        let len = self.slot_len();
        &self.slots[self.slot(line) * len..][..len]
    }

    /// Computes the pending line's next window, if it is whole, and finishes the line with its last one.
    fn next_window(&mut self) {
        let len = self.slot_len();
        let slot = self.slot(self.lines.len());
        let sums = &mut self.slots[slot * len..][..len];
        let (plan, pending) = (&*self.plan, &mut self.pending);
        let window_end = pending.window_end(plan);
        let whole = window_end.checked_sub(plan.nfft() as u64).filter(|&start| start >= self.run_start);
        if let Some(start) = whole {
            self.transform.add(plan, &self.history, start, sums, pending.used == 0);
            pending.used += 1;
        }
        pending.next += 1;
        if pending.next < pending.windows {
            return;
        }
        if pending.used > 0 {
            plan.finish(sums, pending.used);
            let partial = pending.used < pending.windows || pending.start < self.run_start;
            let Pending { index, start, end, .. } = *pending;
            self.lines.push(Line { index, first_trace: start, end_trace: end, partial });
        }
        *pending = Pending::new(plan, pending.index.saturating_add(1));
    }

    fn slot_len(&self) -> usize {
        self.channels * self.plan.values_per_channel()
    }

    fn slot(&self, line: usize) -> usize {
        (self.first_slot + line) % self.slot_count
    }
}

impl Pending {
    fn new(plan: &Plan, index: u64) -> Self {
        let traces = plan.grid().traces(index);
        let windows = windows_of_line(traces.end - traces.start, plan.nfft());
        Self { index, start: traces.start, end: traces.end, windows, next: 0, used: 0 }
    }

    fn at(plan: &Plan, trace: u64) -> Self {
        Self::new(plan, plan.grid().line_at(trace))
    }

    fn window_end(&self, plan: &Plan) -> u64 {
        window_end(self.end, self.windows, self.next, plan.nfft())
    }
}
