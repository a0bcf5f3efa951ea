//! What a lane is made of: groups of neighbouring channels that go through the lane kernel together, and channels that go
//! along time alone. Each takes a window in, and finishes its part of a line.

use std::ops::Range;

use super::super::along::{Ring, total};
use super::super::lanes::{self, Kernel, Move, Out, REFRESH_LINES, Sliding, Window};
use super::super::plan::{Output, Plan, SideBySide};
use super::super::traces::History;
use super::{Values, Want, Worker, of, overlap, widen};

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
}

/// A window that a group or a channel takes in.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// First trace.
    pub(super) start: u64,
    /// Whether it adds to the line's sums.
    pub(super) add: bool,
    /// Line that it belongs to.
    pub(super) line: u64,
}

/// A channel that is transformed along time.
pub(super) struct Alone {
    pub(super) channel: usize,
    pub(super) ring: Ring,
    pub(super) sums: Vec<f32>,
    /// The oldest trace that the ring has, where that is not the first of the run.
    pub(super) since: Option<u64>,
}

/// Which groups and which single channels a lane is made of.
pub(super) fn parts(plan: &Plan, wants: &[Want], max_block_traces: usize) -> (Vec<Group>, Vec<Alone>) {
    let lanes = Worker::lanes();
    let wanted = |channel: usize| wants.iter().any(|w| w.channels.contains(&channel));
    let end = wants.iter().map(|w| w.channels.end).max().unwrap_or(0);
    let (mut groups, mut alone) = (Vec::new(), Vec::new());
    for (number, first) in (0..end).step_by(lanes).enumerate() {
        let channels = first..first + lanes;
        let some: Vec<_> = channels.clone().filter(|&c| wanted(c)).collect();
        match &plan.side_by_side {
            // A vector costs what about a quarter of its channels cost along time.
            Some(side_by_side) if some.len() > lanes / 4 => {
                let kept = match side_by_side {
                    SideBySide::Sliding(sliding) => sliding.state_len(),
                    SideBySide::Whole(schedule) if plan.averages() => schedule.stored(),
                    SideBySide::Whole(_) => 0,
                };
                groups.push(Group { number, channels, sums: vec![0.0; kept * lanes], slid_to: None });
            }
            _ => alone.extend(some.into_iter().map(|channel| Alone {
                channel,
                ring: Ring::new(plan.nfft() + max_block_traces),
                sums: vec![0.0; plan.bins().len()],
                since: None,
            })),
        }
    }
    (groups, alone)
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
                if let Some(Taken { start, add, .. }) = window {
                    let window = history.window(number, kernel.lanes(), start, plan.nfft());
                    kernel.transform(schedule, window, sums, add);
                }
                sums
            }
            SideBySide::Sliding(sliding) => {
                if let Some(taken) = window {
                    kernel.weigh(sliding, taken.start, &self.sums, powers);
                }
                powers
            }
        };
        let Some((slot, windows)) = finish else { return };
        for out in values {
            let common = overlap(&out.want.channels, &self.channels);
            if common.is_empty() {
                continue;
            }
            let lanes = common.start - self.channels.start..common.end - self.channels.start;
            let (per_channel, output) = (out.per_channel, out.want.output);
            let (places, form) = (&plan.places[output], plan.form(output, windows));
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
    let (start, end) = (taken.start, taken.start + sliding.nfft() as u64);
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
                (history.window(group, lanes, before, hop), Some(history.window(group, lanes, left, hop)))
            });
        }
    }
    for group in &mut *groups {
        group.sums.fill(0.0);
    }
    let hop = sliding.longest_hop();
    for first in (start..end).step_by(hop) {
        let traces = hop.min((end - first) as usize);
        move_groups(groups, kernel, sliding, first, |group| (history.window(group, lanes, first, traces), None));
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
        if let Some(Taken { start, add, .. }) = window {
            worker.along.transform(plan, &self.ring, start, &mut self.sums, add);
        }
        let Some((slot, windows)) = finish else { return };
        let first_bin = plan.bins().start;
        let sums = |range: &Range<usize>| &self.sums[range.start - first_bin..range.end - first_bin];
        for out in values.iter_mut().filter(|out| out.want.channels.contains(&self.channel)) {
            let output = out.want.output;
            let (values, extrema) = out.channels_mut(slot, self.channel..self.channel + 1);
            match &plan.spec().outputs[output] {
                Output::BandEnergy(bands) => {
                    values.iter_mut().zip(bands).for_each(|(value, band)| *value = total(sums(band)));
                }
                spectrum => values.copy_from_slice(sums(&spectrum.ranges()[0])),
            }
            plan.form(output, windows).apply(values);
            widen(extrema, of(values));
        }
    }
}
