//! One transform over the channels of a tile, as a worker runs it: the newest traces in, finished lines out.
//!
//! A lane serves every output of its plan, whoever asked for it. Groups of neighbouring channels go through the lane
//! kernel together; a channel that is wanted alone, or a window length that is no power of two, goes along time. The
//! lane owns what must survive from push to push (sums of the line that is being gathered, finished lines) and allocates
//! nothing after it is made; scratch memory is the [`Worker`]'s. The result does not depend, to the last bit, on how the
//! traces were cut into pushes, nor on which worker ran.

mod clock;
mod join;
mod means;
mod parts;
mod worker;

use std::ops::Range;
use std::sync::Arc;

use super::plan::{Plan, SideBySide};
use super::store::Store;
use super::traces::{Energies, History};

pub use clock::Clock;
use clock::Pending;
use means::Means;
use parts::{Alone, Group, Own, Taken, owns, parts, slide_own, slide_to};
pub use worker::Worker;

/// Lines begin early when one part in so many of their window is there. With less the window function lets next to nothing
/// through, and rounding shows.
const EARLY_SHARE: u64 = 16;

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
pub struct LaneOutput {
    /// Number of the output in the plan.
    pub output: usize,
    /// Channels of the tile.
    pub channels: Range<usize>,
}

/// One output: a ring of slots, the finished lines of the last push from `first_slot` on.
struct Values {
    lane_output: LaneOutput,
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
    /// What groups and channels alone are for samples, for band energies that are passed on.
    means: Option<Means>,
    values: Vec<Values>,
    /// First trace of the unbroken run, and of what this lane has seen of it.
    run_start: u64,
    seen_from: u64,
    /// The next trace to come.
    position: u64,
    pending: Pending,
    /// A line whose last traces never came: the mean of the windows that it has comes with the next traces.
    cut_short: Option<Pending>,
    lines: Vec<Line>,
    slot_count: usize,
    first_slot: usize,
    spent: Spent,
    /// Lines begin before their windows are whole.
    early: bool,
}

/// What the last push of a lane took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Windows that were transformed.
    pub windows: u64,
    /// Nanoseconds of one thread, if who runs the lane has [said](Lane::charge) so.
    pub ns: u64,
}

impl Lane {
    /// A lane that computes `lane_outputs` and is fed at most `max_block_traces` traces at once, starting at trace 0.
    ///
    /// # Panics
    /// When nothing is wanted, or an output that the plan does not have. One may be of no channels.
    pub fn new(plan: Arc<Plan>, lane_outputs: &[LaneOutput], max_block_traces: usize) -> Self {
        assert!(lane_outputs.iter().any(|w| !w.channels.is_empty()), "a lane needs channels");
        let slot_count = plan.max_lines(max_block_traces) + 1;
        let values = |lane_output: &LaneOutput| {
            let per_channel = plan.spec().outputs[lane_output.output].values_per_channel();
            let slot = Slot { values: vec![0.0; lane_output.channels.len() * per_channel], extrema: NOTHING };
            Values { lane_output: lane_output.clone(), per_channel, slots: vec![slot; slot_count] }
        };
        let (groups, alone) = parts(&plan, lane_outputs, max_block_traces);
        Self {
            values: lane_outputs.iter().map(values).collect(),
            groups,
            alone,
            means: plan.passes().then(|| Means::new(lane_outputs)),
            run_start: 0,
            seen_from: 0,
            position: 0,
            pending: Pending::at(&plan, 0),
            cut_short: None,
            lines: Vec::with_capacity(slot_count),
            slot_count,
            first_slot: 0,
            spent: Spent::default(),
            early: false,
            plan,
        }
    }

    /// Whether lines of one window that is too long to keep all samples for come from now on as soon as a
    /// sixteenth of it is there: [`is_short`](Self::is_short) then. Who has just asked for them need not wait
    /// for half a minute. Missing traces count as zero, and powers are made larger by the window function's energy over the
    /// part that is there, so that white noise keeps its level; lines are wider than those of the whole window.
    pub fn begin_early(&mut self, yes: bool) {
        self.early = yes && self.plan.keeps_own() && !self.plan.averages();
    }

    /// Whether the window that ends at trace `end` reaches back before what is known of some of `channels` of the tile, so
    /// that zeros stand there.
    pub fn is_short(&self, channels: &Range<usize>, end: u64) -> bool {
        let lacks = |own: &Own| end < own.from(self.run_start).saturating_add(self.plan.nfft() as u64);
        // A channel that is alone as well as in a group is what it is alone.
        let alone = |channel: usize| self.alone.iter().find(|alone| alone.channel == channel);
        let of_group = |group: &Group| {
            let mut common = overlap(channels, &group.channels);
            group.own.as_ref().is_some_and(lacks) && common.any(|channel| alone(channel).is_none())
        };
        self.early
            && (self.groups.iter().any(of_group)
                || self.alone.iter().any(|alone| channels.contains(&alone.channel) && lacks(&alone.own)))
    }

    /// Traces of a window that must be there.
    fn needed(&self) -> u64 {
        let nfft = self.plan.nfft() as u64;
        if self.early { (nfft / EARLY_SHARE).max(1) } else { nfft }
    }

    /// Keeps how long the last push took, for who asks what the lane [spent](Self::spent): there is no clock here.
    pub const fn charge(&mut self, ns: u64) {
        self.spent.ns = ns;
    }

    /// What the last push took.
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// Traces before the newest block that this lane's windows may still reach.
    pub fn reach(&self) -> usize {
        match &self.plan.side_by_side {
            // What slides takes traces away that lie before its window.
            Some(SideBySide::Sliding(sliding)) => self.plan.nfft() + sliding.longest_hop(),
            // Channels that are alone now may not be so tomorrow.
            Some(SideBySide::Whole(_)) => self.plan.nfft(),
            Some(SideBySide::Long(_)) | None => 0,
        }
    }

    /// The oldest trace that the lane will read when all before `end` have come. Most blocks complete no window of a long
    /// transform, and need no more than a look at what is new.
    pub fn reads_from(&self, end: u64) -> u64 {
        let window_end = self.pending.window_end(&self.plan);
        if self.groups.is_empty() || self.plan.keeps_own() || window_end > end {
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
    pub fn lane_outputs(&self) -> impl ExactSizeIterator<Item = &LaneOutput> {
        self.values.iter().map(|values| &values.lane_output)
    }

    /// Whether it computes exactly this, by this plan.
    pub fn is_of(&self, plan: &Arc<Plan>, outputs: &[LaneOutput]) -> bool {
        Arc::ptr_eq(&self.plan, plan) && self.lane_outputs().eq(outputs)
    }

    /// Where it stands.
    pub const fn clock(&self) -> Clock {
        Clock { run_start: self.run_start, position: self.position, pending: self.pending }
    }

    /// Stands there from now on: a new lane in step with others of the same transform.
    pub const fn keep_time(&mut self, clock: &Clock) {
        Clock { run_start: self.run_start, position: self.position, pending: self.pending } = *clock;
    }

    /// Forgets everything: a new epoch. The next sample pushed is of trace `next_trace`.
    pub fn reset(&mut self, next_trace: u64) {
        self.cut_short = None;
        self.start_run(next_trace);
        self.pending = Pending::at(&self.plan, next_trace);
        self.lines.clear();
    }

    /// Traces are missing within an epoch: the next sample pushed is of trace `next_trace`. No window spans the gap. A line
    /// that it touches comes out partial when it has a whole window, with the next traces when its last ones are missing.
    pub fn gap(&mut self, next_trace: u64) {
        if next_trace < self.position {
            return self.reset(next_trace);
        }
        let cut_short = (self.pending.used > 0).then_some(self.pending).or(self.cut_short);
        if next_trace < self.pending.end {
            return self.start_run(next_trace);
        }
        self.reset(next_trace);
        self.cut_short = cut_short;
    }

    fn start_run(&mut self, next_trace: u64) {
        self.groups.iter_mut().for_each(|group| group.slid_to = None);
        owns(&mut self.groups, &mut self.alone).for_each(|(_, own)| own.since = None);
        (self.run_start, self.seen_from, self.position) = (next_trace, next_trace, next_trace);
    }

    /// Takes the traces that `store` has got since the last call and computes every line that they complete.
    ///
    /// # Panics
    /// When the worker has no room for the plan, or the store has not the channels of the tile.
    pub fn push(&mut self, store: &Store, worker: &mut Worker) {
        self.advance(History::Conditioned(store), worker);
    }

    /// The same for lines of band energy, of a plan that [passes](Plan::passes) them on.
    ///
    /// # Panics
    /// When there are fewer channels than are wanted.
    pub fn pass(&mut self, lines: Energies<'_>, worker: &mut Worker) {
        self.advance(History::Energies(lines), worker);
    }

    fn advance(&mut self, history: History<'_>, worker: &mut Worker) {
        self.first_slot = self.slot(self.lines.len());
        self.lines.clear();
        self.spent = Spent::default();
        for (channels, own) in owns(&mut self.groups, &mut self.alone) {
            own.take(&channels, self.position..u64::MAX, history);
        }
        self.position = history.position();
        if let Some(cut_short) = self.cut_short.take() {
            self.finish_cut_short(cut_short, history, worker);
        }
        while self.pending.window_end(&self.plan) <= self.position && self.pending.end < u64::MAX {
            self.next_window(history, worker);
        }
    }

    /// Lines completed by the last push, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Values of output number `lane_output` in line `line` of [`lines`](Self::lines): `[channel][value]`.
    ///
    /// # Panics
    /// When there is no such output or line.
    pub fn values(&self, lane_output: usize, line: usize) -> &[f32] {
        &self.values[lane_output].slots[self.slot_of_line(line)].values
    }

    /// The smallest and the largest of these values.
    ///
    /// # Panics
    /// As [`values`](Self::values).
    pub fn extrema(&self, lane_output: usize, line: usize) -> (f32, f32) {
        self.values[lane_output].slots[self.slot_of_line(line)].extrema
    }

    /// Hands these values over and takes memory of the same size for them, so that nobody copies them.
    ///
    /// # Panics
    /// As [`values`](Self::values), and when the sizes differ.
    pub fn swap_values(&mut self, lane_output: usize, line: usize, memory: &mut Vec<f32>) {
        let slot = self.slot_of_line(line);
        let values = &mut self.values[lane_output].slots[slot].values;
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
        let needed = self.needed();
        let Self { plan, pending, values, spent, run_start, .. } = self;
        let (end, run_start) = (pending.window_end(plan), *run_start);
        let there = end.checked_sub(needed).is_some_and(|first| first >= run_start);
        let window = there.then_some(Taken { end, run_start, add: pending.used > 0, line: pending.index });
        pending.next += 1;
        pending.used += u64::from(there);
        spent.windows += u64::from(there);
        let last = pending.next == pending.windows;
        let finish = (last && pending.used > 0).then_some((slot, pending.used));
        if finish.is_some() {
            for values in &mut *values {
                values.slots[slot].extrema = NOTHING;
            }
        }
        // All lanes of a transform count the same windows; one that came late goes without those that it has not seen,
        // and nobody is shown the line.
        let holds = |end: u64| history.holds(end.saturating_sub(plan.nfft() as u64), plan.nfft());
        let seen = window.filter(|taken| plan.keeps_own() || holds(taken.end));
        for groups in self.groups.chunks_mut(2) {
            match (&plan.side_by_side, seen) {
                (Some(SideBySide::Sliding(sliding)), Some(taken)) => {
                    slide_to(groups, sliding, history, &mut *worker.kernel, taken);
                }
                (Some(SideBySide::Long(sliding)), Some(taken)) => slide_own(groups, plan, sliding, worker, taken),
                _ => {}
            }
        }
        for group in &mut self.groups {
            group.window(plan, history, worker, seen, finish, values);
        }
        for alone in &mut self.alone {
            alone.window(plan, worker, window, finish, values);
        }
        if let Some(means) = &mut self.means {
            means.window(history, window, finish, values);
        }
        if !last {
            return;
        }
        let Pending { index, start, end, windows, used, .. } = *pending;
        if used > 0 {
            let partial = used < windows || start < run_start;
            self.lines.push(Line { index, first_trace: start, end_trace: end, partial });
        }
        self.pending = Pending::new(&self.plan, index.saturating_add(1));
    }

    /// The mean of the windows that a line has whose last ones never came. Their sums are what windows left behind last.
    fn finish_cut_short(&mut self, line: Pending, history: History<'_>, worker: &mut Worker) {
        let slot = self.slot(self.lines.len());
        let Self { plan, groups, alone, means, values, .. } = self;
        for values in &mut *values {
            values.slots[slot].extrema = NOTHING;
        }
        for group in groups {
            group.window(plan, history, worker, None, Some((slot, line.used)), values);
        }
        for alone in alone {
            alone.window(plan, worker, None, Some((slot, line.used)), values);
        }
        if let Some(means) = means {
            means.window(history, None, Some((slot, line.used)), values);
        }
        self.lines.push(Line { index: line.index, first_trace: line.start, end_trace: line.end, partial: true });
    }

    fn slot(&self, line: usize) -> usize {
        (self.first_slot + line) % self.slot_count
    }
}

impl Values {
    /// Where the values of some channels of the tile stand in a slot, and the slot's extrema.
    fn channels_mut(&mut self, slot: usize, channels: Range<usize>) -> (&mut [f32], &mut (f32, f32)) {
        let begin = (channels.start - self.lane_output.channels.start) * self.per_channel;
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

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}
