//! What the plans are at one moment, without the memory that belongs to them: enough to know, on any thread, what a job
//! will need, and to make it there. It follows the same rules as an [`exchange`](Plans::exchange), which takes it from the
//! [`Stock`] or, when the plans have changed since, makes it itself.

use std::ops::Range;
use std::sync::Arc;

use super::requested::Requested;
use super::stock::Stock;
use super::{Plans, Transform};
use crate::acquisition::Acquisition;
use crate::config::ViewConfig;
use crate::dsp::{Input, Lane, LaneOutput, Output, Plan, PlanSpec, Store};
use crate::frame::{Stream, units};
use crate::pipeline::job_unit::JobUnit;
use crate::pipeline::kept::Provider;
use crate::pipeline::planned::PlannedView;
use crate::pipeline::tile::Tile;
use crate::pipeline::view::ViewOut;
use crate::pipeline::workers::Scratch;

/// See the module.
pub(in crate::pipeline) struct Outline {
    output: Arc<Acquisition>,
    input: Input,
    max_block_traces: usize,
    later: usize,
    tiles: Vec<TileOutline>,
    transforms: Vec<TransformOutline>,
    views: Vec<ViewOutline>,
    kept: Option<Provider>,
    scratch: Scratch,
}

struct TileOutline {
    channels: Range<usize>,
    /// What its store keeps, if it has one.
    keeps: Option<usize>,
}

struct TransformOutline {
    number: usize,
    plan: Arc<Plan>,
    /// What the lane of each tile computes; nothing where there is none.
    lanes: Vec<Vec<LaneOutput>>,
}

struct ViewOutline {
    transform: usize,
    wanted: Output,
    channels: Range<usize>,
    streams: Vec<Arc<Stream>>,
}

impl ViewOutline {
    /// Whether it goes when `job` does.
    fn is_of(&self, job: &str) -> bool {
        self.streams.iter().all(|stream| stream.job == job)
    }
}

impl Plans {
    /// As it is now. `kept` provides blocks and `scratch` is that of all workers.
    pub(in crate::pipeline) fn outline(&self, kept: Option<Provider>, scratch: Scratch) -> Outline {
        let tile = |tile: &Tile| TileOutline { channels: tile.channels.clone(), keeps: tile.keeps() };
        let transform = |(number, transform): (usize, &Option<Transform>)| {
            let Transform { plan, lanes, .. } = transform.as_ref()?;
            let outputs = |(tile, lane): (usize, &Option<usize>)| {
                lane.map_or_else(Vec::new, |lane| self.tiles[tile].lanes[lane].lane_outputs().cloned().collect())
            };
            let lanes = lanes.iter().enumerate().map(outputs).collect();
            Some(TransformOutline { number, plan: Arc::clone(plan), lanes })
        };
        let view = |view: &ViewOut| ViewOutline {
            transform: view.transform(),
            wanted: view.wanted().clone(),
            channels: view.channels().clone(),
            streams: view.streams().cloned().collect(),
        };
        Outline {
            output: Arc::clone(&self.output),
            input: self.input,
            max_block_traces: self.max_block_traces,
            later: self.later,
            tiles: self.tiles.iter().map(tile).collect(),
            transforms: self.transforms.iter().enumerate().filter_map(transform).collect(),
            views: self.views.iter().map(view).collect(),
            kept,
            scratch,
        }
    }
}

impl Outline {
    /// Makes what it takes that `job` shows `streams`, whatever it has shown so far. Nothing when that is impossible: who
    /// begins the job says why.
    pub(in crate::pipeline) fn prepare(&self, job: &str, streams: &[ViewConfig]) -> Stock {
        let unit = JobUnit::plain(&units(&self.output).0);
        let Ok(come) = PlannedView::all_of_job(job, streams, &self.output, &unit) else { return Stock::default() };
        let mut stock = Stock::default();
        let mut reach = 0;
        // Grids that come, and those that only lose something.
        let mut grids: Vec<&PlanSpec> = Vec::new();
        let left = self.views.iter().filter(|view| view.is_of(job));
        let left =
            left.filter_map(|view| Some(self.transforms.iter().find(|t| t.number == view.transform)?.plan.spec()));
        for grid in come.iter().map(|view| &view.spec).chain(left) {
            if !grids.iter().any(|known| known.has_grid_of(grid)) {
                grids.push(grid);
            }
        }
        for grid in grids {
            reach = reach.max(self.prepare_transform(grid, job, &come, &mut stock));
        }
        if let Some(kept) = self.kept.as_ref().filter(|_| matches!(self.input, Input::Counts(_))) {
            kept.provide(reach);
        }
        if stock.has_plans() {
            let plans = self.transforms.iter().map(|transform| &transform.plan);
            let workers =
                self.scratch.make(&plans.chain(stock.plans()), self.kept.as_ref().map_or(0, |k| k.rows(reach)));
            stock.put_workers(workers);
        }
        stock
    }

    /// The transform with the window and lines of `grid`, when views of `job` leave it and those that `come` are there.
    /// Returns how far its lanes reach back.
    fn prepare_transform(&self, grid: &PlanSpec, job: &str, come: &[PlannedView], stock: &mut Stock) -> usize {
        let known = self.transforms.iter().find(|transform| transform.plan.spec().has_grid_of(grid));
        let coming = || come.iter().filter(|view| view.spec.has_grid_of(grid));
        let shows = |view: &ViewOutline, planned: &PlannedView| {
            planned.spec.outputs.first() == Some(&view.wanted) && planned.channels == view.channels
        };
        let of_transform = self.views.iter().filter(|view| known.is_some_and(|known| known.number == view.transform));
        // A view that comes takes the place of one that shows the same.
        let stay = of_transform.filter(|view| !view.is_of(job) || coming().any(|planned| shows(view, planned)));
        let come = coming().filter_map(|view| Some((view.spec.outputs.first()?, &view.channels)));
        let wanted = Requested::of_all(stay.map(|view| (&view.wanted, &view.channels)).chain(come));
        if wanted.outputs.is_empty() {
            return 0;
        }
        let same_plan = known.map(|known| &known.plan).filter(|plan| plan.spec().outputs == wanted.outputs);
        let plan = if let Some(plan) = same_plan {
            Arc::clone(plan)
        } else {
            let Ok(plan) = Plan::for_input(wanted.spec(grid), self.input) else { return 0 };
            let plan = Arc::new(plan);
            stock.put_plan(Arc::clone(&plan));
            plan
        };
        let mut reach = 0;
        for (number, tile) in self.tiles.iter().enumerate() {
            let outputs = wanted.of(&tile.channels);
            let before = known.map_or(&[][..], |known| &known.lanes[number]);
            if outputs.is_empty() || same_plan.is_some() && outputs == before {
                continue;
            }
            let mut lane = Lane::new(Arc::clone(&plan), &outputs, self.max_block_traces);
            lane.touch(&before.iter().map(|output| output.channels.clone()).collect::<Vec<_>>());
            reach = reach.max(lane.reach());
            let keep = lane.reach().max(self.later);
            stock.put_lane(lane);
            if tile.keeps.is_some_and(|keeps| keeps < keep) {
                stock.put_store(Store::roomier(tile.channels.len(), keep, self.max_block_traces));
            }
        }
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::super::Now;
    use super::*;
    use crate::dsp::ConditionSpec;
    use crate::frame::{ValueKind, View};
    use crate::units::Rational;

    fn job(channels: (usize, usize), nfft: usize) -> ViewConfig {
        ViewConfig {
            view: View::Multi,
            channel_min: channels.0,
            channel_max: Some(channels.1),
            nfft,
            line_period_s: Rational::new(1, 20).unwrap(),
            value: ValueKind::Amplitude,
            ..ViewConfig::single("job", 1)
        }
    }

    /// What is prepared is all that an exchange needs, and no more: else the dsp thread would stand while it makes the
    /// rest, and nobody would see it in the values.
    #[test]
    fn an_exchange_finds_all_that_it_needs_prepared() {
        let acquisition = Acquisition { channels: 700, ..Acquisition::example() };
        let now = Now { next_trace: 0, kept: None };
        for high_pass_hz in [0.0, 5.0] {
            let condition = ConditionSpec { high_pass_hz, ..ConditionSpec::default() };
            let mut plans = Plans::new(&condition, &acquisition, 100, 40 << 20).unwrap();
            // Alone; beside one that shows other channels, and the same; in place of what it showed; nothing at all.
            let script = [
                ("a", vec![job((1, 300), 512)]),
                ("b", vec![job((200, 700), 512), job((5, 5), 65_536)]),
                ("c", vec![job((1, 300), 512)]),
                ("a", vec![job((40, 60), 16_384), job((300, 400), 512)]),
                ("c", Vec::new()),
            ];
            for (step, (name, streams)) in script.iter().enumerate() {
                let mut stock = plans.outline(None, Scratch::default()).prepare(name, streams);
                let unit = JobUnit::plain(&plans.output.unit);
                let come = PlannedView::all_of_job(name, streams, &plans.output, &unit).unwrap();
                let gone = plans.streams_of(name);
                plans.exchange(come, &gone, &[], now, &mut stock);
                let (made, left) = (stock.made(), stock.left());
                assert_eq!(
                    (made, left),
                    (0, 0),
                    "step {step}, high pass {high_pass_hz} Hz: made on the spot, left over"
                );
            }
        }
    }
}
