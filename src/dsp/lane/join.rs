//! How a lane comes into its place while data flows: what it takes over from the lane before it, what it makes of the samples
//! that have been kept, and from which line on it is whole.

use std::ops::Range;
use std::sync::Arc;

use super::super::plan::{Output, Plan};
use super::super::traces::History;
use super::parts::{Alone, Own, owns};
use super::{Lane, Pending, Worker, overlap};

/// Traces that are taken over for all channels before the next ones are: as many as a processor finds again in its caches,
/// that of addresses above all. Rows lie thousands of bytes apart.
const AT_ONCE: usize = 32;

impl Lane {
    /// Writes to all memory of a new lane, so that who runs it does not wait for the system's pages; but for samples of
    /// channels `taken_over`, which a lane before it has.
    pub fn touch(&mut self, taken_over: &[Range<usize>]) {
        let slots = self.values.iter_mut().flat_map(|values| &mut values.slots).map(|slot| &mut slot.values);
        let sums = self.groups.iter_mut().map(|group| &mut group.sums);
        let sums = sums.chain(self.alone.iter_mut().map(|alone| &mut alone.sums));
        slots.chain(sums).for_each(|memory| memory.fill(0.0));
        for (channels, own) in owns(&mut self.groups, &mut self.alone) {
            if taken_over.iter().all(|known| overlap(known, &channels).is_empty()) {
                own.ring.touch();
            }
        }
    }

    /// Takes over what `old` has of the line that is being gathered: the lane in whose place this one is, which keeps the
    /// same time. What only this one needs is made of what `history` holds, and whole from
    /// [`whole_from`](Self::whole_from) on. Memory that this one does not need is in `old` afterwards.
    pub fn look_back(&mut self, old: Option<&mut Self>, history: Option<History<'_>>) {
        self.seen_from = match old {
            Some(old) => self.take_over(old),
            None => history.map_or(self.position, History::first_trace),
        };
        // As far as windows before `position` reach, and no further than the run.
        let oldest = self.position.saturating_sub(self.plan.nfft() as u64).max(self.run_start);
        let since = history.map_or(self.position, |history| history.first_trace().max(oldest));
        let mut owns: Vec<_> = owns(&mut self.groups, &mut self.alone).filter(|(_, own)| own.since.is_none()).collect();
        for first in (since..self.position).step_by(AT_ONCE) {
            let traces = first..(first + AT_ONCE as u64).min(self.position);
            for (channels, own) in &mut owns {
                if let Some(history) = history {
                    own.take(channels, traces.clone(), history);
                }
            }
        }
        for (_, own) in owns {
            own.since = Some(since);
        }
    }

    fn take_over(&mut self, old: &mut Self) -> u64 {
        let run_start = old.run_start;
        let same_plan = Arc::ptr_eq(&self.plan, &old.plan);
        if let (Some(means), Some(before)) = (&mut self.means, &old.means) {
            means.take_over(before);
        }
        if self.plan.averages() && self.pending.used > 0 {
            self.take_sums(old, same_plan);
        }
        // A channel that is alone now may have been in a group.
        for alone in self.alone.iter_mut().filter(|alone| !old.alone.iter().any(|old| old.channel == alone.channel)) {
            let group = old.groups.iter().find(|group| group.channels.contains(&alone.channel));
            let Some((group, before)) = group.and_then(|group| Some((group, group.own.as_ref()?))) else { continue };
            let (lane, oldest) =
                (alone.channel - group.channels.start, old.position.saturating_sub(old.plan.nfft() as u64));
            let since = before.from(old.run_start).max(oldest);
            alone
                .own
                .ring
                .write_rows(since, since..old.position, |row, trace| row[0] = before.ring.sample(trace, lane));
            alone.own.since = Some(since);
        }
        for before in &mut old.groups {
            let here = self.groups.iter_mut().find(|group| group.number == before.number);
            let Some(group) = here else { continue };
            if same_plan {
                group.slid_to = before.slid_to.take();
                std::mem::swap(&mut group.sums, &mut before.sums);
            }
            if let (Some(own), Some(before)) = (&mut group.own, &mut before.own) {
                before.since.get_or_insert(run_start);
                std::mem::swap(own, before);
            }
        }
        for before in &mut old.alone {
            before.own.since.get_or_insert(run_start);
            let wanted = self.values.iter().any(|values| values.lane_output.channels.contains(&before.channel));
            if let Some(alone) = self.alone.iter_mut().find(|alone| alone.channel == before.channel) {
                std::mem::swap(&mut alone.own, &mut before.own);
            } else if self.plan.keeps_own() && wanted {
                // Its group has just begun and knows less: it stays alone as well, and its values are what counts.
                let own = std::mem::replace(&mut before.own, Own::new(0, 1));
                self.alone.push(Alone { own, channel: before.channel, sums: vec![0.0; self.plan.bins().len()] });
            }
        }
        old.seen_from
    }

    /// The first line that will be whole for all that is wanted here, or that [begins early](Self::begin_early).
    pub fn whole_from(&self) -> u64 {
        let groups = if self.groups.iter().all(|group| group.own.is_some()) { 0 } else { self.seen_from };
        let of_groups = self.groups.iter().filter_map(|group| group.own.as_ref());
        let owns = of_groups.chain(self.alone.iter().map(|alone| &alone.own));
        let since = owns.filter_map(|own| own.since).fold(groups.max(self.run_start), u64::max);
        let grid = self.plan.grid();
        // A line of which windows have been taken in already is whole for those only who were there.
        let mut line = self.pending.index.saturating_add(u64::from(self.pending.next > 0)).max(grid.line_at(since));
        // All traces that a line's earliest window needs.
        let is_there = |line| {
            let needed = Pending::new(&self.plan, line).window_end(&self.plan).checked_sub(self.needed());
            needed.is_some_and(|first| first >= since)
        };
        while !is_there(line) && line < u64::MAX {
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
}
