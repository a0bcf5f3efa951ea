//! What an acquisition needs: which transforms, which lanes in which tile of channels, which frames come out; and what of
//! this is the same for several views, so that it is there once. Views come and go while data flows: only what they
//! touch is made anew, and that takes over where its predecessor was, so that no other view notices (`exchange`). What is
//! costly to make can be made in advance on another thread, from an [`Outline`] of what is there, and lies in a [`Stock`]
//! when it is needed.

mod exchange;
mod measured;
mod outline;
mod requested;
mod stock;

use std::sync::Arc;

use crate::acquisition::Acquisition;
use crate::block::Lease;
use crate::dsp::{
    CommonMode, ConditionError, ConditionSpec, Conditioner, Input, Lane, Plan, Raw, Store, Traces, common_mode,
};
use crate::egress::Egress;
use crate::frame::Stream;
use crate::pipeline::WORTH_SHARING_NS;
use crate::pipeline::kept::{FOR_LATER, KeptBlocks};
use crate::pipeline::load::{Meter, Stopwatch};
use crate::pipeline::stream_out::LineContext;
use crate::pipeline::tile::{TILE_CHANNELS, Tile, plain_counts};
use crate::pipeline::view::ViewOut;
use crate::pipeline::workers::Workers;
pub(in crate::pipeline) use outline::Outline;
pub(in crate::pipeline) use stock::Stock;

/// So many samples tell how large they are.
const SOME_SAMPLES: usize = 8192;

/// What is given to all views of an acquisition.
pub struct Plans {
    /// The acquisition as it looks after conditioning.
    pub output: Arc<Acquisition>,
    /// In order of channels, over the whole fiber.
    pub tiles: Vec<Tile>,
    /// What goes out; views that show the same are one here.
    pub views: Vec<ViewOut>,
    /// Room for one trace over all channels, and for the common mode of a block.
    row_scratch: Vec<f64>,
    offsets: Vec<f64>,
    /// About what a trace costs one thread, over all tiles.
    ns_per_trace: f64,
    /// Each shared by all views that it serves; numbers stay while it is in use.
    transforms: Vec<Option<Transform>>,
    /// What transforms get.
    input: Input,
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
        let input = match plain_counts(condition, acquisition) {
            Some(scale) => Input::Counts(scale),
            None if condition.strain_rate => Input::Differences,
            None => Input::Samples,
        };
        let needs_all = condition.common_mode != CommonMode::Keep;
        let mut plans = Self {
            tiles: (0..output.channels).step_by(TILE_CHANNELS).map(tile).collect::<Result<_, _>>()?,
            transforms: Vec::new(),
            views: Vec::new(),
            input,
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
        let mut stock = Stock::default();
        for number in 0..plans.tiles.len() {
            let needed = plans.is_needed(number);
            plans.tiles[number].settle((later, max_block_traces), needed, 0, &mut stock);
        }
        Ok(plans)
    }

    /// Whether a tile is needed though nobody looks at its channels: for a common mode, or because the tile in the middle of
    /// the fiber tells how large samples are before a client asks for any.
    const fn is_needed(&self, tile: usize) -> bool {
        self.needs_all || tile == self.tiles.len() / 2
    }

    /// Whether counts are transformed as they come.
    pub const fn counts(&self) -> bool {
        matches!(self.input, Input::Counts(_))
    }

    /// All transforms.
    pub fn transforms(&self) -> impl Iterator<Item = &Arc<Plan>> + Clone {
        self.transforms.iter().flatten().map(|transform| &transform.plan)
    }

    /// Traces before a block that windows may still reach.
    pub fn reach(&self) -> usize {
        self.tiles.iter().flat_map(|tile| &tile.lanes).map(Lane::reach).max().unwrap_or(0)
    }

    /// The streams of a job.
    pub(super) fn streams_of(&self, job: &str) -> Vec<Arc<Stream>> {
        self.views.iter().flat_map(ViewOut::streams).filter(|stream| stream.job == job).cloned().collect()
    }

    /// Some thousand of the newest samples as transforms see them, from all over the fiber; counts come from `kept`.
    pub(super) fn samples(&self, kept: Option<&Traces<'_>>) -> Vec<f32> {
        if let (Input::Counts(scale), Some(kept)) = (self.input, kept) {
            return kept.some(self.output.channels).map(|count| (f64::from(count) * scale) as f32).collect();
        }
        let stores: Vec<_> = self.tiles.iter().filter_map(Tile::store).collect();
        let each = (SOME_SAMPLES / stores.len().max(1)).max(TILE_CHANNELS);
        stores.iter().flat_map(|store| store.some(each)).collect()
    }

    /// A block from raw samples to lines.
    pub(super) fn transform(&mut self, block: &Lease, kept: &mut KeptBlocks, workers: &Workers, mode: CommonMode) {
        let raw = Raw::of_block(block);
        let all = workers.threads() > 1 && self.ns_per_trace * block.traces as f64 > WORTH_SHARING_NS;
        let counts = self.counts();
        let tiles = &mut self.tiles;
        if counts {
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
