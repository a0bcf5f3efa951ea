//! Views come and go: what they touch is settled anew, once, however many of them there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::requested::{Requested, cost_ns_per_trace, overlap};
use super::stock::Stock;
use super::{Now, Plans, Transform};
use crate::dsp::{Cells, Clock, History, Input, Lane, LaneOutput, Output, PlanSpec};
use crate::frame::Stream;
use crate::pipeline::load::Meter;
use crate::pipeline::planned::PlannedView;
use crate::pipeline::view::{Part, ViewOut};

/// Transforms that an exchange touches; those that are new, with what they are made from.
type Touched = BTreeMap<usize, Option<PlanSpec>>;

impl Plans {
    /// Exchanges views: some come, and streams that are `gone` leave with everything that served nobody else. A view
    /// shares its transform with those that have the same window and line grid, its values with those that want the same
    /// bins, and its frames with those that show them alike. Frame counters go on from those of the same name, in
    /// `before` or here. Returns the first trace from which on all that come are shown.
    ///
    /// What was made in advance is taken from `stock`; what nobody needs any more is left there.
    pub(in crate::pipeline) fn exchange(
        &mut self,
        come: Vec<PlannedView>,
        gone: &[Arc<Stream>],
        before: &[ViewOut],
        now: Now<'_>,
        stock: &mut Stock,
    ) -> u64 {
        let mut touched = Touched::new();
        let firsts: Vec<_> = come.into_iter().filter_map(|view| self.enter(view, before, &mut touched)).collect();
        self.views.retain_mut(|view| {
            let stays = view.leave(gone);
            if !stays {
                touched.entry(view.transform()).or_default();
            }
            stays
        });
        for (number, fresh) in touched {
            self.settle(number, fresh, now, stock);
        }
        self.ns_per_trace = self.tiles.iter().map(cost_ns_per_trace).sum();
        self.begin(&firsts)
    }

    /// Takes a view in, without what it needs. Returns its first stream, and whether nobody has shown the same before.
    fn enter(&mut self, view: PlannedView, before: &[ViewOut], touched: &mut Touched) -> Option<(Arc<Stream>, bool)> {
        let PlannedView { spec, channels, mut streams, lines_per_frame } = view;
        let difference_corrected = matches!(self.input, Input::Differences);
        for stream in &mut streams {
            stream.difference_corrected = difference_corrected;
        }
        let output = spec.outputs.first()?.clone();
        let transform = self.transform_for(&spec, touched);
        let known = before.iter().chain(&self.views);
        let states =
            streams.iter().map(|stream| known.clone().find_map(|out| out.state_of(stream)).unwrap_or_default());
        let streams: Vec<_> = streams.iter().cloned().map(Arc::new).zip(states).collect();
        let first = Arc::clone(&streams.first()?.0);
        let shows =
            |out: &&mut ViewOut| out.shows(transform, &output, &channels, lines_per_frame) && out.shows_like(&first);
        if let Some(out) = self.views.iter_mut().find(shows) {
            out.join(&streams);
            return Some((first, false));
        }
        self.views.push(ViewOut::new(transform, output, channels, &streams, lines_per_frame));
        Some((first, true))
    }

    /// Lets views that have come begin with the first line that is whole; those of a job all with the same. Each is told by
    /// its first stream, and whether nobody has shown the same before. Returns the first trace of the last of these lines.
    fn begin(&mut self, firsts: &[(Arc<Stream>, bool)]) -> u64 {
        let mut begins = Vec::with_capacity(firsts.len());
        for (stream, is_new) in firsts {
            let is_it = |view: &ViewOut| view.streams().any(|other| Arc::ptr_eq(other, stream));
            let Some(place) = self.views.iter().position(is_it) else { continue };
            let line = if *is_new { self.whole_from(place) } else { self.views[place].first_line() };
            begins.push((stream, *is_new, place, line));
        }
        let mut of_jobs: BTreeMap<&str, u64> = BTreeMap::new();
        for (stream, _, _, line) in &begins {
            let last = of_jobs.entry(&stream.job).or_default();
            *last = (*line).max(*last);
        }
        let mut first_trace = 0;
        for (stream, is_new, place, whole) in &begins {
            let line = if stream.job.is_empty() { *whole } else { of_jobs[stream.job.as_str()] };
            let view = &mut self.views[*place];
            if *is_new {
                view.begin_with(*whole);
            }
            view.begin_job(&stream.job, line);
            let transform = self.transforms[view.transform()].as_ref();
            first_trace = transform.map_or(0, |transform| transform.plan.grid().start(line)).max(first_trace);
        }
        first_trace
    }

    /// The transform that has this window and grid, or the place of a new one.
    fn transform_for(&self, spec: &PlanSpec, touched: &mut Touched) -> usize {
        let known = self.transforms.iter().position(|t| t.as_ref().is_some_and(|t| t.plan.spec().has_grid_of(spec)));
        let fresh = || touched.iter().find(|(_, fresh)| fresh.as_ref().is_some_and(|fresh| fresh.has_grid_of(spec)));
        if let Some(number) = known.or_else(|| fresh().map(|(number, _)| *number)) {
            touched.entry(number).or_default();
            return number;
        }
        let is_free = |number: &usize| self.transforms.get(*number).is_none_or(Option::is_none);
        let mut numbers = 0..=self.transforms.len() + touched.len();
        let number = numbers.find(|number| is_free(number) && !touched.contains_key(number)).unwrap_or_default();
        touched.insert(number, Some(spec.clone()));
        number
    }

    /// Makes transform `number` what its views want now; `fresh` is what a new one is made from.
    fn settle(&mut self, number: usize, fresh: Option<PlanSpec>, now: Now<'_>, stock: &mut Stock) {
        self.transforms.resize_with(self.transforms.len().max(number + 1), || None);
        let of_views = self.views.iter().filter(|view| view.transform() == number);
        let wanted = Requested::of_all(of_views.map(|view| (view.wanted(), view.channels())));
        let mut transform = match (self.transforms[number].take(), fresh) {
            (Some(mut transform), _) => {
                if transform.plan.spec().outputs != wanted.outputs && !wanted.outputs.is_empty() {
                    transform.plan = stock.plan(wanted.spec(transform.plan.spec()), self.input);
                }
                transform
            }
            (None, Some(spec)) if !wanted.outputs.is_empty() => {
                let plan = stock.plan(wanted.spec(&spec), self.input);
                Transform { plan, lanes: vec![None; self.tiles.len()], meter: Meter::default() }
            }
            _ => return,
        };
        let lane_outputs: Vec<_> = self.tiles.iter().map(|tile| wanted.of(&tile.channels)).collect();
        // A lane that was there before tells the time to those that come; if there is none, they begin together.
        let known = transform.lanes.iter().zip(&self.tiles).find_map(|(lane, tile)| Some(tile.lanes[(*lane)?].clock()));
        let clock = known.unwrap_or_else(|| {
            let touched = self.tiles.iter().zip(&lane_outputs).filter(|(_, lane_outputs)| !lane_outputs.is_empty());
            let run_start = touched.map(|(tile, _)| now.remembers_from(tile)).max().unwrap_or(now.next_trace);
            Clock::new(&transform.plan, run_start, now.next_trace)
        });
        for (tile, lane_outputs) in lane_outputs.iter().enumerate() {
            self.settle_lane(&mut transform, tile, lane_outputs, &clock, now, stock);
        }
        let early = self.views.iter().any(|view| view.transform() == number && view.is_of_jobs());
        for (tile, lane) in self.tiles.iter_mut().zip(&transform.lanes) {
            if let Some(lane) = lane {
                tile.lanes[*lane].begin_early(early);
            }
        }
        if !wanted.outputs.is_empty() {
            self.place_parts(number, &transform, &wanted.outputs);
            self.transforms[number] = Some(transform);
        }
    }

    fn settle_lane(
        &mut self,
        transform: &mut Transform,
        number: usize,
        lane_outputs: &[LaneOutput],
        clock: &Clock,
        now: Now<'_>,
        stock: &mut Stock,
    ) {
        let known = transform.lanes[number];
        let tile = &mut self.tiles[number];
        match known {
            None if lane_outputs.is_empty() => return,
            Some(lane) if tile.lanes[lane].is_of(&transform.plan, lane_outputs) => return,
            Some(_) if lane_outputs.is_empty() => self.remove_lane(transform, number, stock),
            _ => {
                let cells = now.kept.map(|kept| Cells::of(kept, &tile.channels));
                let (lanes, store) = tile.lanes_and_store();
                let history = cells.as_ref().map(History::Counts).or(store.map(History::Conditioned));
                let mut lane = stock.lane(&transform.plan, lane_outputs, self.max_block_traces);
                lane.keep_time(clock);
                let mut old = known.map(|known| &mut lanes[known]);
                lane.look_back(old.as_deref_mut(), history);
                if let Some(place) = old {
                    stock.retire(std::mem::replace(place, lane));
                } else {
                    transform.lanes[number] = Some(lanes.len());
                    lanes.push(lane);
                }
            }
        }
        let needed = self.is_needed(number);
        self.tiles[number].settle((self.later, self.max_block_traces), needed, now.next_trace, stock);
    }

    fn remove_lane(&mut self, transform: &mut Transform, tile: usize, stock: &mut Stock) {
        let Some(lane) = transform.lanes[tile].take() else { return };
        let lanes = &mut self.tiles[tile].lanes;
        stock.retire(lanes.swap_remove(lane));
        let moved = lanes.len();
        let owner = self.transforms.iter_mut().flatten().find(|t| moved != lane && t.lanes[tile] == Some(moved));
        if let Some(owner) = owner {
            owner.lanes[tile] = Some(lane);
        }
    }

    /// Tells the views of transform `number` where in the lanes their values are.
    fn place_parts(&mut self, number: usize, transform: &Transform, outputs: &[Output]) {
        let mut handed_over = vec![false; outputs.len()];
        for view in self.views.iter_mut().filter(|view| view.transform() == number) {
            let output = outputs.iter().position(|output| output == view.wanted()).unwrap_or_default();
            let part = |(tile, lane): (usize, &Option<usize>)| {
                let of_tile = &self.tiles[tile].channels;
                let common = overlap(view.channels(), of_tile);
                let here = common.start.wrapping_sub(of_tile.start)..common.end.wrapping_sub(of_tile.start);
                let has = |lane_output: &LaneOutput| {
                    lane_output.output == output && overlap(&lane_output.channels, &here) == here
                };
                let mut lane_outputs = self.tiles[tile].lanes[(*lane)?].lane_outputs().enumerate();
                let (lane_output, of_lane) =
                    lane_outputs.find(|(_, lane_output)| !common.is_empty() && has(lane_output))?;
                Some(Part { tile, lane_output, offset: here.start - of_lane.channels.start, channels: here.len() })
            };
            let parts = transform.lanes.iter().enumerate().filter_map(part).collect();
            // Memory can change hands once, after all others have read.
            let first = !std::mem::replace(&mut handed_over[output], true);
            view.place(parts, first);
        }
    }

    /// The first line of a view that is whole in all its lanes.
    fn whole_from(&self, view: usize) -> u64 {
        let view = &self.views[view];
        let Some(transform) = &self.transforms[view.transform()] else { return 0 };
        let lanes = view.parts().filter_map(|part| Some(&self.tiles[part.tile].lanes[transform.lanes[part.tile]?]));
        lanes.map(Lane::whole_from).max().unwrap_or(0)
    }
}
