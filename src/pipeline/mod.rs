//! The dsp thread (`das-dsp`) and its pool (`das-fft-N`): from raw blocks to frames.
//!
//! Takes leases from the full queue in order; for each block, tile by tile, alone or with a [`crew`]: condition the
//! samples and put them into the [`tile`]'s store, or leave plain counts where they are (`past` holds their blocks for as
//! long as windows reach into them), and run the lanes that read there. Lines that became whole are gathered into frames and offered at the fence ([`Egress`]), which
//! never waits. What an acquisition needs is planned once ([`plan`]), each thing once however many views ask for it;
//! while it lasts nothing is allocated here. A gap resets stores and lanes and marks the next frames.

mod clock;
pub mod control;
pub mod crew;
mod past;
pub mod plan;
pub mod tile;
mod view;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tracing::{info, warn};

use crate::acquisition::Acquisition;
use crate::block::Lease;
use crate::config::{ProcessingConfig, ViewConfig};
use crate::dsp::{CommonMode, ConditionSpec, Raw, common_mode};
use crate::egress::Egress;
use crate::frame::{FLAG_CLOCK_STEP, FLAG_EPOCH_START, FLAG_GAP_BEFORE, FLAG_NONFINITE_INPUT};
use crate::status::Status;
use clock::TimeBase;
use crew::Crew;
use past::Past;
use plan::Plans;
use tile::Tile;
use view::LineContext;

/// Less work than this in a block, in nanoseconds, is done by the dsp thread alone: waking the pool would cost more.
const WORTH_SHARING_NS: f64 = 1e6;

/// How often the loop turns while no block comes, so that the watchdog sees it alive.
const IDLE_TURN: Duration = Duration::from_millis(250);

/// What the dsp thread needs to begin.
pub struct Pipeline {
    /// The full queue, from capture. When it closes the pipeline ends.
    pub filled_rx: Receiver<Lease>,
    /// The fence. Dropped at the end, which closes it.
    pub egress: Egress,
    /// Standing views.
    pub views: Vec<ViewConfig>,
    /// Conditioning and threads.
    pub processing: ProcessingConfig,
    /// Where to say what happens.
    pub status: Arc<Status>,
}

impl Pipeline {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        Builder::new().name("das-dsp".into()).spawn(move || {
            let mut engine = Engine::new(self.views, &self.processing, self.egress, self.status);
            loop {
                match self.filled_rx.recv_timeout(IDLE_TURN) {
                    Ok(lease) => engine.process(lease),
                    Err(RecvTimeoutError::Timeout) => engine.idle(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            engine.finish();
        })
    }
}

/// The work of the dsp thread without its queue, so that benchmarks and tests run the very same code.
pub struct Engine {
    views: Vec<ViewConfig>,
    condition: ConditionSpec,
    crew: Crew,
    egress: Egress,
    status: Arc<Status>,
    input: Option<Arc<Acquisition>>,
    plans: Plans,
    past: Past,
    time: TimeBase,
    next_trace: u64,
    offsets: Vec<f32>,
    load: f64,
}

impl Engine {
    /// An engine that will plan for the first block it sees. The calling thread becomes worker 0 of the pool.
    pub fn new(views: Vec<ViewConfig>, processing: &ProcessingConfig, egress: Egress, status: Arc<Status>) -> Self {
        Self {
            views,
            condition: processing.condition,
            crew: Crew::with_this_thread(processing.threads),
            egress,
            status,
            input: None,
            plans: Plans::default(),
            past: Past::default(),
            time: TimeBase::default(),
            next_trace: 0,
            offsets: Vec::new(),
            load: 0.0,
        }
    }

    /// Takes one block from raw samples to frames. The lease flies home as soon as its samples are no longer needed.
    pub fn process(&mut self, lease: Lease) {
        let began = Instant::now();
        let counters = Arc::clone(&self.status.counters);
        counters.pipeline_ticks.add(1);

        let mut flags = 0;
        if self.input.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &lease.acquisition)) {
            self.replan(&lease);
            flags |= FLAG_EPOCH_START;
        } else if lease.gap_before > 0 || lease.first_trace.0 != self.next_trace {
            self.bridge_gap(lease.first_trace.0);
            flags |= FLAG_GAP_BEFORE;
        }
        self.next_trace = lease.end_trace().0;
        if self.time.update(&lease) {
            counters.clock_steps.add(1);
            flags |= FLAG_CLOCK_STEP;
        }

        self.transform(&lease);
        let nonfinite: usize = self.plans.tiles.iter().map(Tile::nonfinite).sum();
        if nonfinite > 0 {
            counters.nonfinite_samples.add(nonfinite as u64);
            flags |= FLAG_NONFINITE_INPUT;
        }
        let context = LineContext {
            acquisition: &self.plans.output,
            time: &self.time,
            block_end: lease.end_trace().0,
            captured_at: lease.captured_at,
            gap_traces: lease.gap_before,
            flags,
        };
        let length_s = lease.traces as f64 / lease.acquisition.prr.to_f64();
        for view in &mut self.plans.views {
            counters.lines.add(view.gather(&mut self.plans.tiles, &context, &self.egress));
        }
        if self.plans.counts {
            self.past.push(lease);
        } else {
            drop(lease);
        }

        counters.blocks_processed.add(1);
        // Smoothed over about a second whatever the block length.
        let weight = length_s.clamp(0.001, 1.0);
        self.load += weight * (began.elapsed().as_secs_f64() / length_s.max(1e-9) - self.load);
        counters.pipeline_load.set(self.load);
    }

    /// No block came for a while.
    pub fn idle(&mut self) {
        self.status.counters.pipeline_ticks.add(1);
        self.load = 0.0;
        self.status.counters.pipeline_load.set(0.0);
        // A frame of several lines must not wait for light to return.
        self.flush();
    }

    /// Sends out what is begun.
    pub fn finish(&mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        for view in &mut self.plans.views {
            view.flush(&self.egress);
        }
    }

    fn replan(&mut self, block: &Lease) {
        self.flush();
        let acquisition = &block.acquisition;
        let (plans, problems) =
            Plans::new(&self.views, &self.condition, acquisition, block.layout().capacity_traces, &self.plans);
        for problem in problems {
            warn!(view = problem.view, why = %problem.why, "this view does not fit the acquisition and is left out");
        }
        info!(epoch = acquisition.epoch, tiles = plans.tiles.len(), views = plans.views.len(), "planned");
        self.plans = plans;
        self.offsets = vec![0.0; block.layout().capacity_traces];
        self.time = TimeBase::default();
        self.input = Some(Arc::clone(acquisition));
        self.past.clear();
        let reach = if self.plans.counts { self.plans.reach() } else { 0 };
        let rows = self.past.prepare(reach, block);
        self.crew.reserve(&self.plans.transforms, rows);
        for tile in &mut self.plans.tiles {
            tile.restart(block.first_trace.0, true);
        }
    }

    /// Traces are missing: no window and no difference may reach over the gap.
    fn bridge_gap(&mut self, next_trace: u64) {
        self.flush();
        self.past.clear();
        for tile in &mut self.plans.tiles {
            tile.restart(next_trace, false);
        }
    }

    fn transform(&mut self, block: &Lease) {
        let raw = Raw::of_block(block);
        let traces = block.traces;
        let all = self.crew.threads() > 1 && self.plans.ns_per_trace * traces as f64 > WORTH_SHARING_NS;
        let crew = &self.crew;
        let tiles = &mut self.plans.tiles;
        if self.plans.counts {
            self.past.with(block, |traces| {
                crew.each(tiles, all, |tile, worker| tile.transform_counts(traces, worker));
            });
            return;
        }
        if self.condition.common_mode == CommonMode::Keep {
            crew.each(tiles, all, |tile, worker| {
                tile.condition(raw);
                tile.transform(worker);
            });
            return;
        }
        crew.each(tiles, all, |tile, _| tile.condition(raw));
        let offsets = &mut self.offsets[..traces];
        let scratch = &mut self.plans.row_scratch;
        for (t, offset) in offsets.iter_mut().enumerate() {
            let conditioned = tiles.iter().filter_map(|tile| tile.conditioned_row(t));
            *offset = common_mode(self.condition.common_mode, conditioned, scratch);
        }
        let offsets = &*offsets;
        crew.each(tiles, all, |tile, worker| {
            tile.subtract(offsets);
            tile.transform(worker);
        });
    }
}
