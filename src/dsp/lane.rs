//! One transform over the channels of a tile, as a worker runs it: the newest traces in, finished lines out.
//!
//! A lane serves every output of its plan, whoever asked for it. Groups of neighbouring channels go through the lane
//! kernel together; a channel that is wanted alone, or a window length that is no power of two, goes along time. The
//! lane owns what must survive from push to push (sums of the line that is being gathered, finished lines) and allocates
//! nothing after it is made; scratch memory is the [`Worker`]'s. The result does not depend, to the last bit, on how the
//! traces were cut into pushes, nor on which worker ran.

mod parts;

use std::ops::Range;
use std::sync::Arc;

use super::along::Along;
use super::grid::{window_end, windows_of_line};
use super::lanes::{self, Cell, Kernel};
use super::plan::{Output, Plan, SideBySide};
use super::store::Store;
use super::traces::{Cells, History, Spare, Traces};

use parts::{Alone, Group, Taken, parts, slide_to};

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

/// What a lane is to compute: output number `output` of its plan for these channels of the tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Number of the output in the plan.
    pub output: usize,
    /// Channels of the tile.
    pub channels: Range<usize>,
}

/// The kernel and scratch memory of one thread.
pub struct Worker {
    kernel: Box<dyn Kernel>,
    along: Along,
    /// Powers of a line of one window, `[place][lane]`.
    powers: Vec<f32>,
    /// Where the counts of a tile are.
    cells: Spare<Cell>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { kernel: lanes::kernel(), along: Along::default(), powers: Vec::new(), cells: Spare::default() }
    }
}

impl Worker {
    /// Channels that this machine's kernel transforms together.
    pub fn lanes() -> usize {
        lanes::lanes()
    }

    /// Room to find the counts of `channels` channels in, over `traces` traces.
    pub fn reserve_cells(&mut self, channels: usize, traces: usize) {
        self.cells.reserve(channels.div_ceil(lanes::CELL_CHANNELS) * traces);
    }

    /// Runs `lanes`, of a tile of `channels`, on the counts that `traces` has got since the last call.
    pub fn take_counts(&mut self, lanes: &mut [Lane], channels: &Range<usize>, traces: &Traces<'_>) {
        let from = lanes.iter().map(|lane| lane.reads_from(traces.end())).min().unwrap_or(u64::MAX);
        // A job of a few channels must not pay for the table of all.
        let wanted = lanes.iter().flat_map(Lane::wants).map(|want| want.channels.end).max().unwrap_or(0);
        let cells = Cells::new(traces, from, &(channels.start..channels.start + wanted), &mut self.cells);
        for lane in lanes {
            lane.advance(History::Counts(&cells), self);
        }
        cells.put_away(&mut self.cells);
    }

    /// Makes the scratch memory large enough for `plan`. This and [`reserve_cells`](Self::reserve_cells) are the only
    /// places that allocate.
    pub fn reserve(&mut self, plan: &Plan) {
        match &plan.side_by_side {
            Some(SideBySide::Whole(schedule)) => self.kernel.reserve(schedule),
            Some(SideBySide::Sliding(sliding)) => self.kernel.reserve_sliding(sliding),
            None => {}
        }
        let needed = plan.side_by_side.as_ref().map_or(0, SideBySide::stored) * self.kernel.lanes();
        self.powers.resize(needed.max(self.powers.len()), 0.0);
        self.along.reserve(plan);
    }
}

/// Where the lanes of a transform stand, all at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// First trace of the unbroken run that windows may see.
    run_start: u64,
    /// The next trace to come.
    position: u64,
    pending: Pending,
}

impl Clock {
    /// Lanes of `plan` that have yet to see the trace `next_trace`, but may look back until `run_start`.
    pub fn new(plan: &Plan, run_start: u64, next_trace: u64) -> Self {
        Self { run_start, position: next_trace, pending: Pending::at(plan, next_trace) }
    }
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

/// One output: a ring of slots, the finished lines of the last push from `first_slot` on.
struct Values {
    want: Want,
    per_channel: usize,
    slots: Vec<Slot>,
}

/// Values of a line, `[channel][value]`, and the smallest and the largest of them.
#[derive(Clone)]
struct Slot {
    values: Vec<f32>,
    extrema: (f32, f32),
}

/// See the module.
pub struct Lane {
    plan: Arc<Plan>,
    groups: Vec<Group>,
    alone: Vec<Alone>,
    values: Vec<Values>,
    /// First trace of the unbroken run, and of what this lane has seen of it.
    run_start: u64,
    seen_from: u64,
    /// The next trace to come.
    position: u64,
    pending: Pending,
    lines: Vec<Line>,
    slot_count: usize,
    first_slot: usize,
}

impl Lane {
    /// A lane that computes `wants` and is fed at most `max_block_traces` traces at once, starting at trace 0.
    ///
    /// # Panics
    /// When nothing is wanted, or an output that the plan does not have. A want may be of no channels.
    pub fn new(plan: Arc<Plan>, wants: &[Want], max_block_traces: usize) -> Self {
        assert!(wants.iter().any(|w| !w.channels.is_empty()), "a lane needs channels");
        let slot_count = plan.max_lines(max_block_traces) + 1;
        let values = |want: &Want| {
            let per_channel = plan.spec().outputs[want.output].values_per_channel();
            let slot = Slot { values: vec![0.0; want.channels.len() * per_channel], extrema: NOTHING };
            Values { want: want.clone(), per_channel, slots: vec![slot; slot_count] }
        };
        let (groups, alone) = parts(&plan, wants, max_block_traces);
        Self {
            values: wants.iter().map(values).collect(),
            groups,
            alone,
            run_start: 0,
            seen_from: 0,
            position: 0,
            pending: Pending::at(&plan, 0),
            lines: Vec::with_capacity(slot_count),
            slot_count,
            first_slot: 0,
            plan,
        }
    }

    /// Traces before the newest block that this lane's windows may still reach.
    pub fn reach(&self) -> usize {
        match &self.plan.side_by_side {
            // What slides takes traces away that lie before its window.
            Some(SideBySide::Sliding(sliding)) => self.plan.nfft() + sliding.longest_hop(),
            // Channels that are alone now may not be so tomorrow.
            Some(SideBySide::Whole(_)) => self.plan.nfft(),
            None => 0,
        }
    }

    /// The oldest trace that the lane will read when all before `end` have come. Most blocks complete no window of a long
    /// transform, and need no more than a look at what is new.
    fn reads_from(&self, end: u64) -> u64 {
        let window_end = self.pending.window_end(&self.plan);
        if self.groups.is_empty() || window_end > end {
            return self.position;
        }
        window_end.saturating_sub(self.reach() as u64).min(self.position)
    }

    /// A store for what `lanes` read of the conditioned samples of a tile of `channels` channels.
    pub fn store(lanes: &[Self], channels: usize, max_block_traces: usize) -> Store {
        let keep = lanes.iter().map(Self::reach).max().unwrap_or(0);
        Store::new(channels, Worker::lanes(), keep, max_block_traces)
    }

    /// What is computed.
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How many channels are transformed, those included that only fill a vector.
    pub fn transformed(&self) -> usize {
        self.groups.len() * Worker::lanes() + self.alone.len()
    }

    /// What is wanted.
    pub fn wants(&self) -> impl ExactSizeIterator<Item = &Want> {
        self.values.iter().map(|values| &values.want)
    }

    /// Where it stands.
    pub const fn clock(&self) -> Clock {
        Clock { run_start: self.run_start, position: self.position, pending: self.pending }
    }

    /// Stands there from now on: a new lane in step with others of the same transform.
    pub const fn keep_time(&mut self, clock: &Clock) {
        Clock { run_start: self.run_start, position: self.position, pending: self.pending } = *clock;
    }

    /// Takes over what `old` has of the line that is being gathered: the lane in whose place this one is, which keeps the
    /// same time. What only this one needs is made of what `history` holds, and whole from
    /// [`whole_from`](Self::whole_from) on.
    pub fn look_back(&mut self, old: Option<Self>, history: Option<History<'_>>) {
        self.seen_from = match old {
            Some(old) => self.take_over(old),
            None => history.map_or(self.position, History::first_trace),
        };
        for alone in self.alone.iter_mut().filter(|alone| alone.since.is_none()) {
            let oldest = self.position.saturating_sub(self.plan.nfft() as u64).max(self.run_start);
            let since = history.map_or(self.position, |history| history.first_trace().max(oldest));
            if let Some(history) = history.filter(|_| since < self.position) {
                history.copy_channel(alone.channel, since, &mut alone.ring);
            }
            alone.since = Some(since);
        }
    }

    fn take_over(&mut self, old: Self) -> u64 {
        let same_plan = Arc::ptr_eq(&self.plan, &old.plan);
        if self.plan.averages() && self.pending.used > 0 {
            self.take_sums(&old, same_plan);
        }
        for mut before in old.groups {
            let here = self.groups.iter_mut().find(|group| group.number == before.number);
            if let Some(group) = here.filter(|_| same_plan) {
                group.slid_to = before.slid_to.take();
                std::mem::swap(&mut group.sums, &mut before.sums);
            }
        }
        for before in old.alone {
            if let Some(alone) = self.alone.iter_mut().find(|alone| alone.channel == before.channel) {
                (alone.ring, alone.since) = (before.ring, Some(before.since.unwrap_or(old.run_start)));
            }
        }
        old.seen_from
    }

    /// The first line that will be whole for all that is wanted here.
    pub fn whole_from(&self) -> u64 {
        let groups = if self.groups.is_empty() { 0 } else { self.seen_from };
        let since = self.alone.iter().filter_map(|alone| alone.since).fold(groups.max(self.run_start), u64::max);
        let grid = self.plan.grid();
        // A line of which windows have been taken in already is whole for those only who were there.
        let mut line = self.pending.index.saturating_add(u64::from(self.pending.next > 0)).max(grid.line_at(since));
        while Pending::new(&self.plan, line).begins(&self.plan).is_none_or(|first| first < since) && line < u64::MAX {
            line += 1;
        }
        line
    }

    /// The sums of the line that is being gathered, bin by bin, wherever they stand here and there.
    fn take_sums(&mut self, old: &Self, same_plan: bool) {
        let lanes = Worker::lanes();
        let place = |plan: &Plan, bin: usize| match &plan.side_by_side {
            Some(side_by_side) => side_by_side.position(bin) as usize * lanes,
            None => 0,
        };
        let bins = old.plan.spec().outputs.iter().flat_map(Output::ranges).cloned().flatten();
        let wanted = |plan: &Plan, bin| plan.spec().outputs.iter().flat_map(Output::ranges).any(|r| r.contains(&bin));
        for bin in bins.filter(|&bin| wanted(&self.plan, bin)) {
            let (here, there) = (place(&self.plan, bin), place(&old.plan, bin));
            let (first, old_first) = (self.plan.bins().start, old.plan.bins().start);
            for group in &mut self.groups {
                match old.groups.iter().find(|before| before.number == group.number) {
                    Some(_) if same_plan => {}
                    Some(before) => group.sums[here..here + lanes].copy_from_slice(&before.sums[there..there + lanes]),
                    None => {
                        for before in old.alone.iter().filter(|before| group.channels.contains(&before.channel)) {
                            group.sums[here + before.channel - group.channels.start] = before.sums[bin - old_first];
                        }
                    }
                }
            }
            for alone in &mut self.alone {
                let before = old.alone.iter().find(|before| before.channel == alone.channel);
                let group = old.groups.iter().find(|group| group.channels.contains(&alone.channel));
                if let Some(before) = before {
                    alone.sums[bin - first] = before.sums[bin - old_first];
                } else if let Some(group) = group {
                    alone.sums[bin - first] = group.sums[there + alone.channel - group.channels.start];
                }
            }
        }
    }

    /// Forgets everything: a new epoch. The next sample pushed is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.start_run(next_trace);
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
        self.start_run(next_trace);
    }

    fn start_run(&mut self, next_trace: u64) {
        self.groups.iter_mut().for_each(|group| group.slid_to = None);
        self.alone.iter_mut().for_each(|alone| alone.since = None);
        (self.run_start, self.seen_from, self.position) = (next_trace, next_trace, next_trace);
    }

    /// Takes the traces that `store` has got since the last call and computes every line that they complete.
    ///
    /// # Panics
    /// When the worker has no room for the plan, or the store has not the channels of the tile.
    pub fn push(&mut self, store: &Store, worker: &mut Worker) {
        self.advance(History::Conditioned(store), worker);
    }

    fn advance(&mut self, history: History<'_>, worker: &mut Worker) {
        self.first_slot = self.slot(self.lines.len());
        self.lines.clear();
        for alone in &mut self.alone {
            history.copy_channel(alone.channel, self.position, &mut alone.ring);
        }
        self.position = history.position();
        while self.pending.window_end(&self.plan) <= self.position && self.pending.end < u64::MAX {
            self.next_window(history, worker);
        }
    }

    /// Lines completed by the last push, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Values of want number `want` in line `line` of [`lines`](Self::lines): `[channel][value]`.
    ///
    /// # Panics
    /// When there is no such want or line.
    pub fn values(&self, want: usize, line: usize) -> &[f32] {
        &self.values[want].slots[self.slot_of_line(line)].values
    }

    /// The smallest and the largest of these values.
    ///
    /// # Panics
    /// As [`values`](Self::values).
    pub fn extrema(&self, want: usize, line: usize) -> (f32, f32) {
        self.values[want].slots[self.slot_of_line(line)].extrema
    }

    /// Hands these values over and takes memory of the same size for them, so that nobody copies them.
    ///
    /// # Panics
    /// As [`values`](Self::values), and when the sizes differ.
    pub fn swap_values(&mut self, want: usize, line: usize, memory: &mut Vec<f32>) {
        let slot = self.slot_of_line(line);
        let values = &mut self.values[want].slots[slot].values;
        assert_eq!(values.len(), memory.len(), "memory for the values of a line");
        std::mem::swap(values, memory);
    }

    fn slot_of_line(&self, line: usize) -> usize {
        assert!(line < self.lines.len(), "line {line} of {}", self.lines.len());
        self.slot(line)
    }

    /// Computes the pending line's next window, if it is whole, and finishes the line with its last one.
    fn next_window(&mut self, history: History<'_>, worker: &mut Worker) {
        let slot = self.slot(self.lines.len());
        let Self { plan, pending, values, .. } = self;
        let window_end = pending.window_end(plan);
        let whole = window_end.checked_sub(plan.nfft() as u64).filter(|&start| start >= self.run_start);
        let window = whole.map(|start| Taken { start, add: pending.used > 0, line: pending.index });
        pending.next += 1;
        pending.used += u64::from(whole.is_some());
        let last = pending.next == pending.windows;
        let finish = (last && pending.used > 0).then_some((slot, pending.used));
        if finish.is_some() {
            for values in &mut *values {
                values.slots[slot].extrema = NOTHING;
            }
        }
        // All lanes of a transform count the same windows; one that came late goes without those that it has not seen,
        // and nobody is shown the line.
        let seen = window.filter(|taken| history.holds(taken.start, plan.nfft()));
        if let (Some(SideBySide::Sliding(sliding)), Some(taken)) = (&plan.side_by_side, seen) {
            for groups in self.groups.chunks_mut(2) {
                slide_to(groups, sliding, history, &mut *worker.kernel, taken);
            }
        }
        for group in &mut self.groups {
            group.window(plan, history, worker, seen, finish, values);
        }
        for alone in &mut self.alone {
            alone.window(plan, worker, window, finish, values);
        }
        if !last {
            return;
        }
        let Pending { index, start, end, windows, used, .. } = *pending;
        if used > 0 {
            let partial = used < windows || start < self.run_start;
            self.lines.push(Line { index, first_trace: start, end_trace: end, partial });
        }
        *pending = Pending::new(plan, index.saturating_add(1));
    }

    fn slot(&self, line: usize) -> usize {
        (self.first_slot + line) % self.slot_count
    }
}

impl Values {
    /// Where the values of some channels of the tile stand in a slot, and the slot's extrema.
    fn channels_mut(&mut self, slot: usize, channels: Range<usize>) -> (&mut [f32], &mut (f32, f32)) {
        let begin = (channels.start - self.want.channels.start) * self.per_channel;
        let slot = &mut self.slots[slot];
        (&mut slot.values[begin..begin + channels.len() * self.per_channel], &mut slot.extrema)
    }
}

/// Extrema of no values.
const NOTHING: (f32, f32) = (f32::INFINITY, f32::NEG_INFINITY);

fn widen(extrema: &mut (f32, f32), (smallest, largest): (f32, f32)) {
    *extrema = (extrema.0.min(smallest), extrema.1.max(largest));
}

fn of(values: &[f32]) -> (f32, f32) {
    values.iter().fold(NOTHING, |(smallest, largest), &value| (smallest.min(value), largest.max(value)))
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

    /// First trace of the earliest window; `None` when that would lie before trace 0.
    fn begins(&self, plan: &Plan) -> Option<u64> {
        window_end(self.end, self.windows, 0, plan.nfft()).checked_sub(plan.nfft() as u64)
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}
