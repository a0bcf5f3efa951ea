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
mod planned;
mod replaced;
pub mod tile;
mod view;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};
use tracing::{info, warn};

use crate::acquisition::Acquisition;
use crate::block::Lease;
use crate::config::{ProcessingConfig, ViewConfig};
use crate::dsp::ConditionSpec;
use crate::egress::Egress;
use crate::frame::{FLAG_CLOCK_STEP, FLAG_EPOCH_START, FLAG_GAP_BEFORE};
use crate::status::{FindingKind, Status};
use clock::TimeBase;
use control::{Command, Opened, Refused};
use crew::Crew;
use past::Past;
use plan::{Now, Plans};
use planned::PlannedView;
use replaced::Replaced;
use tile::Tile;
use view::{LineContext, ViewOut};

/// Less work than this in a block, in nanoseconds, is done by the dsp thread alone: waking the pool would cost more.
const WORTH_SHARING_NS: f64 = 1e6;

/// How often the loop turns while no block comes, so that the watchdog sees it alive.
const IDLE_TURN: Duration = Duration::from_millis(250);

/// What the dsp thread needs to begin.
pub struct Pipeline {
    /// The full queue, from capture. When it closes the pipeline ends.
    pub filled_rx: Receiver<Lease>,
    /// What is asked of this thread while data flows.
    pub command_rx: Receiver<Command>,
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
            let mut command_rx = self.command_rx;
            let mut engine = Engine::new(self.views, &self.processing, self.egress, self.status);
            loop {
                select! {
                    recv(self.filled_rx) -> lease => match lease {
                        Ok(lease) => engine.process(lease),
                        Err(_) => break,
                    },
                    recv(command_rx) -> command => match command {
                        Ok(command) => engine.obey(command),
                        // Nobody is left who could ask.
                        Err(_) => command_rx = never(),
                    },
                    default(IDLE_TURN) => engine.idle(),
                }
            }
            engine.finish();
        })
    }
}

/// The work of the dsp thread without its queue, so that benchmarks and tests run the very same code.
pub struct Engine {
    views: Vec<ViewConfig>,
    /// Streams of clients' jobs.
    jobs: Vec<(String, Vec<ViewConfig>)>,
    condition: ConditionSpec,
    crew: Crew,
    egress: Egress,
    status: Arc<Status>,
    input: Option<Arc<Acquisition>>,
    plans: Option<Plans>,
    past: Past,
    replaced: Replaced,
    time: TimeBase,
    next_trace: u64,
    load: f64,
}

impl Engine {
    /// An engine that will plan for the first block it sees. The calling thread becomes worker 0 of the pool.
    pub fn new(views: Vec<ViewConfig>, processing: &ProcessingConfig, egress: Egress, status: Arc<Status>) -> Self {
        Self {
            views,
            jobs: Vec::new(),
            condition: processing.condition,
            crew: Crew::with_this_thread(processing.threads),
            egress,
            status,
            input: None,
            plans: None,
            past: Past::default(),
            replaced: Replaced::default(),
            time: TimeBase::default(),
            next_trace: 0,
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

        let length_s = lease.traces as f64 / lease.acquisition.prr.to_f64();
        if let Some(plans) = &mut self.plans {
            plans.transform(&lease, &mut self.past, &self.crew, self.condition.common_mode);
            let nonfinite: usize = plans.tiles.iter().map(Tile::nonfinite).sum();
            if nonfinite > 0 {
                counters.nonfinite_samples.add(nonfinite as u64);
                let rows = plans.tiles.iter().flat_map(|tile| tile.replaced_rows().iter().copied());
                self.replaced.add(lease.first_trace.0, rows);
            }
            let output = Arc::clone(&plans.output);
            let context = LineContext {
                acquisition: &output,
                time: &self.time,
                block_end: lease.end_trace().0,
                captured_at: lease.captured_at,
                gap_traces: lease.gap_before,
                flags,
                replaced: &self.replaced,
            };
            counters.lines.add(plans.gather(&context, &self.egress));
            if plans.counts() {
                self.past.push(lease);
            }
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
        for view in self.plans.iter_mut().flat_map(|plans| &mut plans.views) {
            view.flush(&self.egress);
        }
    }

    fn replan(&mut self, block: &Lease) {
        self.flush();
        self.past.clear();
        self.time = TimeBase::default();
        self.replaced.prepare(block.layout().capacity_traces, self.condition.strain_rate);
        self.input = Some(Arc::clone(&block.acquisition));
        let before = self.plans.take();
        let max_block_traces = block.layout().capacity_traces;
        for kind in [FindingKind::ConditioningImpossible, FindingKind::ViewLeftOut, FindingKind::NoViewFits] {
            self.status.take_back_all(kind);
        }
        match Plans::new(&self.condition, &block.acquisition, max_block_traces) {
            Ok(mut plans) => {
                let before = before.map(|plans| plans.views).unwrap_or_default();
                self.add_all(&mut plans, &before, Now { next_trace: block.first_trace.0, past: None });
                let (tiles, views) = (plans.tiles.len(), plans.views.len());
                info!(epoch = block.acquisition.epoch, tiles, views, "planned");
                self.plans = Some(plans);
                self.past.prepare(block);
                self.make_room();
            }
            Err(why) => {
                warn!(%why, "this acquisition cannot be conditioned as configured: nothing is shown");
                self.status.found(FindingKind::ConditioningImpossible, "", why.to_string());
                self.status.counters.line_period_s.set(0.0);
            }
        }
    }

    /// Standing views, and the jobs that were there before. What does not fit is left out.
    fn add_all(&mut self, plans: &mut Plans, before: &[ViewOut], now: Now<'_>) {
        let output = Arc::clone(&plans.output);
        let unfit = |view: &str, why: &dyn std::fmt::Display| {
            warn!(view, %why, "this view does not fit the acquisition and is left out");
        };
        let mut left_out = Vec::new();
        for view in &self.views {
            let planned = PlannedView::new(view, &output);
            let added = planned.and_then(|planned| plans.add(planned, before, now).map_err(|why| why.to_string()));
            if let Err(why) = added {
                unfit(&view.name, &why);
                self.status.found(FindingKind::ViewLeftOut, &view.name, why.as_str());
                left_out.push(why);
            }
        }
        if let Some(why) = left_out.first().filter(|_| left_out.len() == self.views.len()) {
            self.status.found(FindingKind::NoViewFits, "", why.as_str());
        }
        self.jobs.retain(|(job, streams)| {
            let added = plans.open(job, streams, before, now);
            added.as_ref().err().iter().for_each(|why| unfit(job, why));
            added.is_ok()
        });
        // A new epoch is seen from its first trace on, whole or not.
        plans.views.iter_mut().for_each(ViewOut::show_all);
    }

    /// How many different transforms there are at the moment.
    pub fn transforms(&self) -> usize {
        self.plans.as_ref().map_or(0, |plans| plans.transforms().count())
    }

    /// Does what is asked, between two blocks.
    pub fn obey(&mut self, command: Command) {
        self.status.counters.pipeline_ticks.add(1);
        match command {
            // Whoever does not wait for the answer any more has no use for the job either.
            Command::Open { job, streams, reply } => {
                let answer = self.open(&job, streams);
                if reply.send(answer).is_err_and(|answer| answer.is_ok()) {
                    self.close(&job);
                }
            }
            Command::Close { job, reply } => {
                let there = self.close(&job);
                let _ = reply.send(there);
            }
        }
    }

    fn open(&mut self, job: &str, streams: Vec<ViewConfig>) -> Result<Opened, Refused> {
        let (Some(plans), Some(input)) = (&mut self.plans, &self.input) else { return Err(Refused::Waiting) };
        let old = plans.streams_of(job);
        let next_trace = self.next_trace;
        let first_trace = self.past.recall(|past| {
            let now = Now { next_trace, past };
            let first_trace = plans.open(job, &streams, &[], now)?;
            plans.remove(&old, now);
            Ok(first_trace)
        });
        let opened = Opened { epoch: input.epoch, first_trace: first_trace.map_err(Refused::DoesNotFit)? };
        self.jobs.retain(|(other, _)| other != job);
        self.jobs.push((job.to_owned(), streams));
        self.make_room();
        Ok(opened)
    }

    fn close(&mut self, job: &str) -> bool {
        let count = self.jobs.len();
        self.jobs.retain(|(other, _)| other != job);
        if let Some(plans) = &mut self.plans {
            let gone = plans.streams_of(job);
            self.past.recall(|past| plans.remove(&gone, Now { next_trace: self.next_trace, past }));
            self.make_room();
        }
        self.jobs.len() < count
    }

    /// Memory for what is planned, so that the next block needs none.
    fn make_room(&mut self) {
        let Some(plans) = &self.plans else { return };
        // A job may wait long for its first window; standing views have lines from the first trace on.
        let standing = plans.views.iter().flat_map(ViewOut::streams).filter(|stream| stream.job.is_empty());
        let periods = standing.map(|stream| stream.line_period_s.to_f64());
        self.status.counters.line_period_s.set(periods.reduce(f64::min).unwrap_or(0.0));
        let rows = self.past.keep(plans.counts().then(|| plans.reach()));
        self.crew.reserve(&plans.transforms(), rows);
    }

    /// Traces are missing: no window and no difference may reach over the gap.
    fn bridge_gap(&mut self, next_trace: u64) {
        self.flush();
        self.past.clear();
        for tile in self.plans.iter_mut().flat_map(|plans| &mut plans.tiles) {
            tile.restart(next_trace, false);
        }
    }
}
