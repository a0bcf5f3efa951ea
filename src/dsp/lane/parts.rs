//! What a lane is made of: groups of neighbouring channels that go through the lane kernel together, and channels that go
//! along time alone. Each takes a window in, and finishes its part of a line. Channels alone, and groups whose windows are
//! too long to read them where all samples are kept, have [samples of their own](Own); of a window that reaches back before
//! these the missing traces count as zero, and powers are made larger by the energy of the window function there.

use std::ops::Range;

use super::super::along::{Ring, total};
use super::super::lanes::{self, Floats, Kernel, Move, NO_LEVEL, Out, REFRESH_LINES, Samples, Sliding, Window};
use super::super::plan::{Output, Plan, SideBySide};
use super::super::traces::History;
use super::{LaneOutput, Values, Worker, of, overlap, widen};

/// Neighbouring channels that are transformed together.
pub(super) struct Group {
    /// Counted from the first channel of the tile.
    pub(super) number: usize,
    /// Channels of the tile.
    pub(super) channels: Range<usize>,
    /// What must survive from window to window: powers so far, where lines are means over several windows, or the
    /// sums that slide; empty when windows have nothing to do with each other.
    pub(super) sums: Vec<f32>,
    /// Behind the last trace of the window that slides, if there is one.
    pub(super) slid_to: Option<u64>,
    /// The samples, where windows are too long to read them elsewhere.
    pub(super) own: Option<Own>,
}

/// Samples that are kept for one part of a lane.
pub(super) struct Own {
    pub(super) ring: Ring,
    /// The oldest trace that the ring has, where that is not the first of the run.
    pub(super) since: Option<u64>,
}

impl Own {
    pub(super) fn new(traces: usize, lanes: usize) -> Self {
        Self { ring: Ring::new(traces, lanes), since: None }
    }

    /// Takes those of `traces` that `history` holds, of `channels`.
    pub(super) fn take(&mut self, channels: &Range<usize>, traces: Range<u64>, history: History<'_>) {
        history.copy(channels, traces, &mut self.ring);
    }

    /// The oldest trace of the run that is here.
    pub(super) fn from(&self, run_start: u64) -> u64 {
        self.since.unwrap_or(run_start).max(run_start)
    }
}

/// A window that a group or a channel takes in.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Behind its last trace.
    pub(super) end: u64,
    /// First trace of the run: what lies before counts as zero.
    pub(super) run_start: u64,
    /// Whether it adds to the line's sums.
    pub(super) add: bool,
    /// Line that it belongs to.
    pub(super) line: u64,
}

impl Taken {
    /// First trace of a window that is whole.
    fn start(&self, plan: &Plan) -> u64 {
        self.end.saturating_sub(plan.nfft() as u64)
    }

    /// How much larger powers are made where traces of the window are missing, for a part with samples of its own.
    fn gain(&self, plan: &Plan, own: &Own) -> f64 {
        let from = own.from(self.run_start);
        if self.end >= from.saturating_add(plan.nfft() as u64) { 1.0 } else { plan.gain(self.end.saturating_sub(from)) }
    }
}

/// A channel that is transformed along time.
pub(super) struct Alone {
    pub(super) channel: usize,
    pub(super) own: Own,
    pub(super) sums: Vec<f32>,
}

/// Which groups and which single channels a lane is made of.
pub(super) fn parts(plan: &Plan, lane_outputs: &[LaneOutput], max_block_traces: usize) -> (Vec<Group>, Vec<Alone>) {
    if plan.passes() {
        return (Vec::new(), Vec::new());
    }
    let lanes = Worker::lanes();
    let wanted = |channel: usize| lane_outputs.iter().any(|w| w.channels.contains(&channel));
    let end = lane_outputs.iter().map(|w| w.channels.end).max().unwrap_or(0);
    let (mut groups, mut alone) = (Vec::new(), Vec::new());
    for (number, first) in (0..end).step_by(lanes).enumerate() {
        let channels = first..first + lanes;
        let some: Vec<_> = channels.clone().filter(|&c| wanted(c)).collect();
        match &plan.side_by_side {
            // A vector costs what about a quarter of its channels cost along time.
            Some(side_by_side) if some.len() > lanes / 4 => {
                let kept = match side_by_side {
                    SideBySide::Sliding(sliding) | SideBySide::Long(sliding) => sliding.state_len(),
                    SideBySide::Whole(schedule) if plan.averages() => schedule.stored(),
                    SideBySide::Whole(_) => 0,
                };
                let own = match side_by_side {
                    SideBySide::Long(sliding) => {
                        Some(Own::new(plan.nfft() + sliding.longest_hop() + max_block_traces, lanes))
                    }
                    _ => None,
                };
                groups.push(Group { number, channels, sums: vec![0.0; kept * lanes], slid_to: None, own });
            }
            _ => alone.extend(some.into_iter().map(|channel| Alone {
                channel,
                own: Own::new(plan.nfft() + max_block_traces, 1),
                sums: vec![0.0; plan.bins().len()],
            })),
        }
    }
    (groups, alone)
}

/// All samples of their own, with the channels that they are of.
pub(super) fn owns<'a>(
    groups: &'a mut [Group],
    alone: &'a mut [Alone],
) -> impl Iterator<Item = (Range<usize>, &'a mut Own)> {
    let of_groups = groups.iter_mut().filter_map(|group| Some((group.channels.clone(), group.own.as_mut()?)));
    of_groups.chain(alone.iter_mut().map(|alone| (alone.channel..alone.channel + 1, &mut alone.own)))
}

impl Group {
    /// Takes a window in, if there is one. Finishes the line, if this was its last window: into which slot, and over how
    /// many windows.
    pub(super) fn window(
        &mut self,
        plan: &Plan,
        history: History<'_>,
        worker: &mut Worker,
        window: Option<Taken>,
        finish: Option<(usize, u64)>,
        values: &mut [Values],
    ) {
        let side_by_side = plan.side_by_side.as_ref().expect("groups are made where channels go side by side");
        let Worker { kernel, powers, .. } = worker;
        let (kernel, number) = (&mut **kernel, self.number);
        let sums = match side_by_side {
            SideBySide::Whole(schedule) => {
                let sums = if self.sums.is_empty() { powers } else { &mut self.sums };
                if let Some(taken) = window {
                    let (lanes, start) = (kernel.lanes(), taken.start(plan));
                    let window = history.window(number, lanes, start, plan.nfft(), NO_LEVEL);
                    kernel.transform(schedule, window.samples, sums, taken.add);
                }
                sums
            }
            SideBySide::Sliding(sliding) | SideBySide::Long(sliding) => {
                if let Some(taken) = window {
                    // The window begins at the same place of a circle as it ends.
                    kernel.weigh(sliding, taken.end, &self.sums, powers);
                }
                powers
            }
        };
        let Some((slot, windows)) = finish else { return };
        plan.complete(sums, kernel.lanes());
        let gain = self.own.as_ref().zip(window).map_or(1.0, |(own, taken)| taken.gain(plan, own));
        for out in values {
            let common = overlap(&out.lane_output.channels, &self.channels);
            if common.is_empty() {
                continue;
            }
            let lanes = common.start - self.channels.start..common.end - self.channels.start;
            let (per_channel, output) = (out.per_channel, out.lane_output.output);
            let (places, form) = (&plan.places[output], plan.form(output, windows, gain));
            let (values, extrema) = out.channels_mut(slot, common);
            match (&plan.spec().outputs[output], form) {
                (Output::BandEnergy(_), lanes::Form::Power { factor }) => {
                    for (band, places) in places.iter().enumerate() {
                        let out = Out { values: &mut values[band..], per_channel, lanes: lanes.clone() };
                        kernel.energies(sums, places, factor, out);
                    }
                    widen(extrema, of(values));
                }
                _ => widen(extrema, kernel.spectrum(sums, &places[0], form, Out { values, per_channel, lanes })),
            }
        }
    }
}

/// Makes the sums of one or two groups those of the window: by a step from the one before, or afresh.
pub(super) fn slide_to(
    groups: &mut [Group],
    sliding: &Sliding,
    history: History<'_>,
    kernel: &mut dyn Kernel,
    taken: Taken,
) {
    let lanes = kernel.lanes();
    let (start, end) = (taken.end - sliding.nfft() as u64, taken.end);
    // A group that has just come has nothing to slide from, and takes its neighbour along.
    let before = groups[0].slid_to.filter(|&before| groups.iter().all(|group| group.slid_to == Some(before)));
    // Groups are made afresh one after the other, not all in the same line.
    let due = (taken.line + 37 * groups[0].number as u64).is_multiple_of(REFRESH_LINES);
    for group in &mut *groups {
        group.slid_to = Some(end);
    }
    if let Some(before) = before.filter(|&before| !due && before < end && sliding.has_hop(end - before)) {
        let (hop, left) = ((end - before) as usize, before - sliding.nfft() as u64);
        if history.holds(left, sliding.nfft() + hop) {
            return move_groups(groups, kernel, sliding, before, |group| {
                let level = history.level(group, lanes, before);
                let window = |first| history.window(group, lanes, first, hop, level);
                (window(before), Some(window(left)))
            });
        }
    }
    let level = |group: usize| history.level(group, lanes, start + sliding.nfft() as u64 / 2);
    for group in &mut *groups {
        group.sums.fill(0.0);
    }
    let hop = sliding.longest_hop();
    for first in (start..end).step_by(hop) {
        let traces = hop.min((end - first) as usize);
        move_groups(groups, kernel, sliding, first, |group| {
            (history.window(group, lanes, first, traces, level(group)), None)
        });
    }
    for group in groups {
        let level = level(group.number);
        group.add_constant(sliding, &level[..lanes]);
    }
}

impl Group {
    /// Adds what a constant of so much in each lane has, to sums over a whole window.
    fn add_constant(&mut self, sliding: &Sliding, level: &[f64]) {
        let Some(row) = sliding.constant_row() else { return };
        let row = &mut self.sums[2 * row * level.len()..];
        for (sum, level) in row.iter_mut().zip(level) {
            *sum += (level * sliding.nfft() as f64) as f32;
        }
    }
}

/// As [`slide_to`], for groups with samples of their own.
pub(super) fn slide_own(groups: &mut [Group], plan: &Plan, sliding: &Sliding, worker: &mut Worker, taken: Taken) {
    let (end, lanes, nfft) = (taken.end, worker.kernel.lanes(), plan.nfft() as u64);
    let before = groups[0].slid_to.filter(|&before| groups.iter().all(|group| group.slid_to == Some(before)));
    let due = (taken.line + 37 * groups[0].number as u64).is_multiple_of(REFRESH_LINES);
    for group in &mut *groups {
        group.slid_to = Some(end);
    }
    let Some(before) = before.filter(|&before| !due && before < end && sliding.has_hop(end - before)) else {
        return groups.iter_mut().for_each(|group| make_afresh(group, plan, sliding, worker, taken));
    };
    let hop = (end - before) as usize * lanes;
    let Worker { kernel, steps, .. } = worker;
    // For each group: the traces that come, and those that go.
    for (group, step) in groups.iter().zip(steps.chunks_exact_mut(2 * hop)) {
        let Some(own) = &group.own else { continue };
        let from = own.from(taken.run_start);
        let (new, old) = step.split_at_mut(hop);
        let rows = new.chunks_exact_mut(lanes).zip(old.chunks_exact_mut(lanes));
        for ((new, old), trace) in rows.zip(before..) {
            // Above the same level, whichever; but what is missing is zero.
            let gone = trace.checked_sub(nfft).filter(|&trace| trace >= from);
            let level = if gone.is_some() { own.ring.row(trace) } else { NO_LEVEL };
            own.ring.row_above(trace, &level, new);
            match gone {
                Some(gone) => own.ring.row_above(gone, &level, old),
                None => old.fill(0.0),
            }
        }
    }
    let mut steps = steps.chunks_exact(2 * hop).map(|step| step.split_at(hop));
    let mut step = |state| {
        let (new, old) = steps.next().expect("room for the steps of two groups");
        let window = |rows| Window {
            samples: Samples::F32(Floats { rows, levels: &NO_LEVEL[..lanes], first: 0 }),
            level: NO_LEVEL,
        };
        Move { new: window(new), old: Some(window(old)), state }
    };
    match groups {
        [a, b] => kernel.slide(sliding, before, &mut [step(&mut a.sums), step(&mut b.sums)]),
        [a] => kernel.slide(sliding, before, &mut [step(&mut a.sums)]),
        _ => unreachable!("groups move by one or two"),
    }
}

/// Makes the sums of a group with samples of its own by whole transforms.
fn make_afresh(group: &mut Group, plan: &Plan, sliding: &Sliding, worker: &mut Worker, taken: Taken) {
    let lanes = worker.kernel.lanes();
    let Some(own) = &group.own else { return };
    let seen = (own.from(taken.run_start), taken.end);
    for lane in 0..lanes {
        let sums = &mut group.sums;
        worker.along.sums(plan, (&own.ring, lane), seen, sliding.rows(), |row, sum| {
            (sums[2 * row * lanes + lane], sums[(2 * row + 1) * lanes + lane]) = (sum.re, sum.im);
        });
    }
}

/// Moves one or two groups by what `windows` says of each: traces that come, and traces that go.
fn move_groups<'s>(
    groups: &mut [Group],
    kernel: &mut dyn Kernel,
    sliding: &Sliding,
    first: u64,
    windows: impl Fn(usize) -> (Window<'s>, Option<Window<'s>>),
) {
    let of = |number: usize, state| {
        let (new, old) = windows(number);
        Move { new, old, state }
    };
    match groups {
        [a, b] => kernel.slide(sliding, first, &mut [of(a.number, &mut a.sums), of(b.number, &mut b.sums)]),
        [a] => kernel.slide(sliding, first, &mut [of(a.number, &mut a.sums)]),
        _ => unreachable!("groups move by one or two"),
    }
}

impl Alone {
    /// As [`Group::window`].
    pub(super) fn window(
        &mut self,
        plan: &Plan,
        worker: &mut Worker,
        window: Option<Taken>,
        finish: Option<(usize, u64)>,
        values: &mut [Values],
    ) {
        if let Some(taken) = window {
            let seen = (self.own.from(taken.run_start), taken.end);
            worker.along.transform(plan, &self.own.ring, seen, &mut self.sums, taken.add);
        }
        let Some((slot, windows)) = finish else { return };
        plan.complete_alone(&mut self.sums);
        // Means are made of whole windows.
        let gain = window.filter(|_| windows == 1).map_or(1.0, |taken| taken.gain(plan, &self.own));
        let first_bin = plan.bins().start;
        let sums = |range: &Range<usize>| &self.sums[range.start - first_bin..range.end - first_bin];
        for out in values.iter_mut().filter(|out| out.lane_output.channels.contains(&self.channel)) {
            let output = out.lane_output.output;
            let (values, extrema) = out.channels_mut(slot, self.channel..self.channel + 1);
            match &plan.spec().outputs[output] {
                Output::BandEnergy(bands) => {
                    values.iter_mut().zip(bands).for_each(|(value, band)| *value = total(sums(band)));
                }
                spectrum => values.copy_from_slice(sums(&spectrum.ranges()[0])),
            }
            plan.form(output, windows, gain).apply(values);
            widen(extrema, of(values));
        }
    }
}
