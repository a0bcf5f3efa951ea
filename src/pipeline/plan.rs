//! What an acquisition needs: which transforms, which lanes in which tile of channels, which frames come out; and what of
//! this is the same for several views, so that it is there once. Views come and go while data flows: only what they
//! touch is made anew, and that takes over where its predecessor was, so that no other view notices.

mod measured;
mod requested;

use std::sync::Arc;

use crate::acquisition::Acquisition;
use crate::block::Lease;
use crate::config::ViewConfig;
use crate::dsp::{
    Cells, Clock, CommonMode, ConditionError, ConditionSpec, Conditioner, History, Lane, LaneOutput, Output, Plan,
    PlanError, PlanSpec, Raw, Store, Traces, common_mode,
};
use crate::egress::Egress;
use crate::frame::Stream;
use crate::pipeline::WORTH_SHARING_NS;
use crate::pipeline::kept::{FOR_LATER, KeptBlocks};
use crate::pipeline::load::{Meter, Stopwatch};
use crate::pipeline::planned::PlannedView;
use crate::pipeline::tile::{TILE_CHANNELS, Tile, plain_counts};
use crate::pipeline::view::{LineContext, Part, ViewOut};
use crate::pipeline::workers::Workers;
use requested::{Requested, cost_ns_per_trace, overlap};

/// What is given to all views of an acquisition.
pub struct Plans {
    /// The acquisition as it looks after conditioning.
    pub output: Arc<Acquisition>,
    /// In order of channels, over the whole fiber.
    pub tiles: Vec<Tile>,
    /// What goes out; views that show the same are one here.
    pub views: Vec<ViewOut>,
    /// Room for one trace over all channels, and for the common mode of a block.
    row_scratch: Vec<f32>,
    offsets: Vec<f32>,
    /// About what a trace costs one thread, over all tiles.
    ns_per_trace: f64,
    /// Each shared by all views that it serves; numbers stay while it is in use.
    transforms: Vec<Option<Transform>>,
    /// The scale of counts that are transformed as they come.
    counts: Option<f64>,
    /// Common mode is that of all channels, whoever looks at them.
    needs_all: bool,
    max_block_traces: usize,
    /// Conditioned traces that are kept for jobs to come.
    later: usize,
}

/// A transform: one plan, and its lanes.
pub(super) struct Transform {
    plan: Arc<Plan>,
    /// For each tile, which of its lanes this is.
    lanes: Vec<Option<usize>>,
    /// Thread time for a window, over all tiles.
    meter: Meter,
}

/// Where the next trace stands, and what is still known of those before it.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    /// The next trace.
    pub(super) next_trace: u64,
    /// Counts that have been kept.
    pub(super) kept: Option<&'a Traces<'a>>,
}

impl Now<'_> {
    /// The oldest trace that lanes of a tile can still read.
    fn remembers_from(&self, tile: &Tile) -> u64 {
        let stored = tile.store().map(Store::first_trace);
        self.kept.map(Traces::first_trace).or(stored).unwrap_or(self.next_trace)
    }
}

impl Plans {
    /// Plans for `acquisition`, without views yet.
    ///
    /// # Errors
    /// When its samples cannot be conditioned as asked.
    pub fn new(
        condition: &ConditionSpec,
        acquisition: &Acquisition,
        max_block_traces: usize,
        history_bytes: usize,
    ) -> Result<Self, ConditionError> {
        let output = Arc::new(Conditioner::output_acquisition(condition, acquisition)?);
        let tile = |start: usize| {
            let channels = start..(start + TILE_CHANNELS).min(output.channels);
            Tile::new(condition, acquisition, channels, Vec::new(), max_block_traces)
        };
        let needs_all = condition.common_mode != CommonMode::Keep;
        let mut plans = Self {
            tiles: (0..output.channels).step_by(TILE_CHANNELS).map(tile).collect::<Result<_, _>>()?,
            transforms: Vec::new(),
            views: Vec::new(),
            counts: plain_counts(condition, acquisition),
            row_scratch: Vec::with_capacity(output.channels),
            offsets: vec![0.0; max_block_traces],
            ns_per_trace: 0.0,
            needs_all,
            max_block_traces,
            // A store has room for what it keeps twice.
            later: FOR_LATER.min(history_bytes / (8 * output.channels.max(1))),
            output,
        };
        let later = plans.later;
        plans.tiles.iter_mut().for_each(|tile| tile.settle((later, max_block_traces), needs_all, 0));
        Ok(plans)
    }

    /// Whether counts are transformed as they come.
    pub const fn counts(&self) -> bool {
        self.counts.is_some()
    }

    /// All transforms.
    pub fn transforms(&self) -> impl Iterator<Item = &Arc<Plan>> + Clone {
        self.transforms.iter().flatten().map(|transform| &transform.plan)
    }

    /// Traces before a block that windows may still reach.
    pub fn reach(&self) -> usize {
        self.tiles.iter().flat_map(|tile| &tile.lanes).map(Lane::reach).max().unwrap_or(0)
    }

    /// Takes a view in: it shares its transform with those that have the same window and line grid, its values with
    /// those that want the same bins, and its frames with those that show them alike. Frame counters go on from those of
    /// the same name, in `before` or here. Returns the first trace of the first line that it will show.
    ///
    /// # Errors
    /// When the transform is impossible; nothing has changed then.
    pub(super) fn add(&mut self, view: PlannedView, before: &[ViewOut], now: Now<'_>) -> Result<u64, PlanError> {
        let PlannedView { spec, channels, streams, lines_per_frame } = view;
        let output = spec.outputs.first().cloned().ok_or(PlanError::NoBands)?;
        let transform = self.transform_for(&spec)?;
        let known = before.iter().chain(&self.views);
        let states =
            streams.iter().map(|stream| known.clone().find_map(|out| out.state_of(stream)).unwrap_or_default());
        let streams: Vec<_> = streams.iter().cloned().map(Arc::new).zip(states).collect();
        let place = self
            .views
            .iter()
            .position(|out| out.shows(transform, &output, &channels, lines_per_frame) && out.shows_like(&streams[0].0));
        let place = if let Some(place) = place {
            self.views[place].join(&streams);
            place
        } else {
            self.views.push(ViewOut::new(transform, output, channels, &streams, lines_per_frame));
            if let Err(why) = self.settle(transform, now) {
                self.views.pop();
                self.settle(transform, now)?;
                return Err(why);
            }
            let from_line = self.whole_from(self.views.len() - 1);
            self.views.last_mut().expect("just pushed").begin_with(from_line);
            self.views.len() - 1
        };
        let plan = &self.transforms[transform].as_ref().expect("a view has its transform").plan;
        Ok(plan.grid().start(self.views[place].first_line()))
    }

    /// The streams of a job.
    pub(super) fn streams_of(&self, job: &str) -> Vec<Arc<Stream>> {
        self.views.iter().flat_map(ViewOut::streams).filter(|stream| stream.job == job).cloned().collect()
    }

    /// Lets go of some streams, and of everything that served nobody else.
    pub(super) fn remove(&mut self, gone: &[Arc<Stream>], now: Now<'_>) {
        let mut touched = Vec::new();
        self.views.retain_mut(|view| {
            let stays = view.leave(gone);
            if !stays {
                touched.push(view.transform());
            }
            stays
        });
        touched.sort_unstable();
        touched.dedup();
        for transform in touched {
            // What is left was possible together with more.
            let _ = self.settle(transform, now);
        }
    }

    /// The transform that has this window and grid; a new one, without outputs, if there is none.
    fn transform_for(&mut self, spec: &PlanSpec) -> Result<usize, PlanError> {
        let same_grid = |transform: &Transform| {
            let known = transform.plan.spec();
            (known.nfft, known.window, known.period_traces) == (spec.nfft, spec.window, spec.period_traces)
        };
        if let Some(number) = self.transforms.iter().position(|t| t.as_ref().is_some_and(same_grid)) {
            return Ok(number);
        }
        let plan = Arc::new(Plan::for_counts(spec.clone(), self.counts.unwrap_or(1.0))?);
        let transform = Some(Transform { plan, lanes: vec![None; self.tiles.len()], meter: Meter::default() });
        if let Some(free) = self.transforms.iter().position(Option::is_none) {
            self.transforms[free] = transform;
            return Ok(free);
        }
        self.transforms.push(transform);
        Ok(self.transforms.len() - 1)
    }

    /// Makes transform `number` what its views want now.
    fn settle(&mut self, number: usize, now: Now<'_>) -> Result<(), PlanError> {
        let Some(mut transform) = self.transforms[number].take() else { return Ok(()) };
        let mut wanted = Requested::default();
        for view in self.views.iter().filter(|view| view.transform() == number) {
            wanted.add(view.wanted(), view.channels());
        }
        if transform.plan.spec().outputs != wanted.outputs && !wanted.outputs.is_empty() {
            let spec = PlanSpec { outputs: wanted.outputs.clone(), ..transform.plan.spec().clone() };
            match Plan::for_counts(spec, self.counts.unwrap_or(1.0)) {
                Ok(plan) => transform.plan = Arc::new(plan),
                Err(why) => {
                    self.transforms[number] = Some(transform);
                    return Err(why);
                }
            }
        }
        let lane_outputs: Vec<_> = self.tiles.iter().map(|tile| wanted.of(&tile.channels)).collect();
        // A lane that was there before tells the time to those that come; if there is none, they begin together.
        let known = transform.lanes.iter().zip(&self.tiles).find_map(|(lane, tile)| Some(tile.lanes[(*lane)?].clock()));
        let clock = known.unwrap_or_else(|| {
            let touched = self.tiles.iter().zip(&lane_outputs).filter(|(_, lane_outputs)| !lane_outputs.is_empty());
            let run_start = touched.map(|(tile, _)| now.remembers_from(tile)).max().unwrap_or(now.next_trace);
            Clock::new(&transform.plan, run_start, now.next_trace)
        });
        for (tile, lane_outputs) in lane_outputs.iter().enumerate() {
            self.settle_lane(&mut transform, tile, lane_outputs, &clock, now);
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
        self.ns_per_trace = self.tiles.iter().map(cost_ns_per_trace).sum();
        Ok(())
    }

    fn settle_lane(
        &mut self,
        transform: &mut Transform,
        number: usize,
        lane_outputs: &[LaneOutput],
        clock: &Clock,
        now: Now<'_>,
    ) {
        let known = transform.lanes[number];
        let tile = &mut self.tiles[number];
        match known {
            None if lane_outputs.is_empty() => return,
            Some(lane)
                if Arc::ptr_eq(tile.lanes[lane].plan(), &transform.plan)
                    && tile.lanes[lane].lane_outputs().eq(lane_outputs) =>
            {
                return;
            }
            Some(_) if lane_outputs.is_empty() => self.remove_lane(transform, number),
            _ => {
                let cells = now.kept.map(|kept| Cells::of(kept, &tile.channels));
                let (lanes, store) = tile.lanes_and_store();
                let history = cells.as_ref().map(History::Counts).or(store.map(History::Conditioned));
                let mut lane = Lane::new(Arc::clone(&transform.plan), lane_outputs, self.max_block_traces);
                lane.keep_time(clock);
                lanes.push(lane);
                let newest = lanes.len() - 1;
                let old = known.map(|known| lanes.swap_remove(known));
                let place = known.unwrap_or(newest);
                transform.lanes[number] = Some(place);
                lanes[place].look_back(old, history);
            }
        }
        self.tiles[number].settle((self.later, self.max_block_traces), self.needs_all, now.next_trace);
    }

    fn remove_lane(&mut self, transform: &mut Transform, tile: usize) {
        let Some(lane) = transform.lanes[tile].take() else { return };
        let lanes = &mut self.tiles[tile].lanes;
        lanes.swap_remove(lane);
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

    /// Streams of a job, all of them or none; see [`add`](Self::add). Returns the first trace from which all are shown.
    ///
    /// # Errors
    /// Why it does not fit, in words for the client.
    pub(super) fn open(
        &mut self,
        job: &str,
        streams: &[ViewConfig],
        before: &[ViewOut],
        now: Now<'_>,
    ) -> Result<u64, String> {
        let planned = streams.iter().enumerate().map(|(n, view)| PlannedView::of_job(job, n, view, &self.output));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        let there = self.streams_of(job);
        let mut first_trace = 0;
        for view in planned {
            match self.add(view, before, now) {
                Ok(first) => first_trace = first_trace.max(first),
                Err(why) => {
                    let mut new = self.streams_of(job);
                    new.retain(|stream| !there.iter().any(|there| Arc::ptr_eq(there, stream)));
                    self.remove(&new, now);
                    return Err(why.to_string());
                }
            }
        }
        Ok(first_trace)
    }

    /// A block from raw samples to lines.
    pub(super) fn transform(&mut self, block: &Lease, kept: &mut KeptBlocks, workers: &Workers, mode: CommonMode) {
        let raw = Raw::of_block(block);
        let all = workers.threads() > 1 && self.ns_per_trace * block.traces as f64 > WORTH_SHARING_NS;
        let tiles = &mut self.tiles;
        if self.counts.is_some() {
            let lanes = tiles.iter().flat_map(|tile| &tile.lanes);
            let from = lanes.map(|lane| lane.reads_from(block.end_trace().0)).min().unwrap_or(u64::MAX);
            kept.with(block, from, |traces| {
                workers.each(tiles, all, |tile, worker| tile.transform_counts(traces, worker));
            });
            return;
        }
        if mode == CommonMode::Keep {
            workers.each(tiles, all, |tile, worker| {
                tile.condition(raw);
                tile.transform(worker);
            });
            return;
        }
        workers.each(tiles, all, |tile, _| tile.condition(raw));
        let offsets = &mut self.offsets[..block.traces];
        for (t, offset) in offsets.iter_mut().enumerate() {
            let conditioned = tiles.iter().filter_map(|tile| tile.conditioned_row(t));
            *offset = common_mode(mode, conditioned, &mut self.row_scratch);
        }
        let offsets = &*offsets;
        workers.each(tiles, all, |tile, worker| {
            tile.subtract(offsets);
            tile.transform(worker);
        });
    }

    /// From the lines that the last block completed to frames. Returns how many lines.
    pub(super) fn gather(&mut self, context: &LineContext<'_>, egress: &Egress) -> u64 {
        let mut lines = 0;
        let mut watch = Stopwatch::start();
        // Who takes the lanes' memory comes last.
        for last in [false, true] {
            for view in self.views.iter_mut().filter(|view| view.takes_memory() == last) {
                if let Some(transform) = &self.transforms[view.transform()] {
                    let of_view = view.gather(transform, &mut self.tiles, context, egress);
                    view.charge(watch.lap(), of_view);
                    lines += of_view;
                }
            }
        }
        lines
    }
}

impl Transform {
    /// Which lane of tile `tile` this is.
    pub(super) fn lane<'t>(&self, tile: usize, tiles: &'t mut [Tile]) -> Option<&'t mut Lane> {
        tiles[tile].lanes.get_mut(self.lanes[tile]?)
    }

    /// The same, to look at.
    pub(super) fn lane_of<'t>(&self, tile: usize, tiles: &'t [Tile]) -> Option<&'t Lane> {
        tiles[tile].lanes.get(self.lanes[tile]?)
    }
}
