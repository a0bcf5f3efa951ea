//! The dsp thread (`das-dsp`) and the pool that it leads (`das-fft-N`): from raw blocks to frames.
//!
//! Takes leases from the full queue in order; for each block, tile by tile, alone or with all [`workers`]: condition the
//! samples and put them into the [`tile`]'s store, or leave plain counts where they are (`kept` holds their blocks for as
//! long as windows reach into them), and run the lanes that read there. Lines that became whole are gathered into frames and offered at the fence ([`Egress`]), which
//! never waits. What an acquisition needs is planned once ([`plan`]), each thing once however many views ask for it;
//! while it lasts nothing is allocated here. What a client's job needs beside is made by the `planner` (thread `das-plan`)
//! and put into place between two blocks (`execute`). A gap resets stores and lanes and marks the next frames. What each transform
//! costs is measured (`load`); when it is more than the budget, the costliest jobs end before a trace is lost.

pub mod calibrate;
mod clock;
pub mod control;
pub mod cost;
mod execute;
mod job_unit;
mod kept;
mod load;
mod marked;
mod missing;
pub mod plan;
mod planned;
mod planner;
mod ranges;
mod replan;
mod silent;
mod stream_out;
pub mod tile;
mod values;
mod view;
pub mod workers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};
use tracing::warn;

use crate::acquisition::Acquisition;
use crate::block::Lease;
use crate::config::{ProcessingConfig, ViewConfig};
use crate::dsp::ConditionSpec;
use crate::egress::Egress;
use crate::frame::{FLAG_EPOCH_START, FLAG_GAP_BEFORE};
use crate::status::{FindingReporter, PipelineCounters};
use crate::telemetry::{Throttle, and_more};
use clock::{Stamps, TimeBase};
use control::{Command, EndedJob};
use execute::{KnownJob, Next, Opening};
use job_unit::JobUnit;
use kept::KeptBlocks;
pub use load::Budget;
use load::{Guard, Look};
use marked::Marked;
use missing::Missing;
use plan::Plans;
use planner::Planner;
pub use planner::Prepared;
use stream_out::LineContext;
use tile::Tile;
use workers::{WorkerPool, Workers};

/// Lines of the log about a clock that is stepped, in a minute.
const STEPS_A_MINUTE: usize = 6;

/// Less work than this in a block, in nanoseconds, is done by the dsp thread alone: waking the pool would cost more.
const WORTH_SHARING_NS: f64 = 1e6;

/// Samples that are kept for jobs to come, in bytes, if nothing else is said.
const HISTORY_BYTES: usize = 40 << 20;

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
    /// Bytes of samples that are kept for jobs to come.
    pub history_bytes: usize,
    /// What it may take; `None` where the source waits for the pipeline, so that nothing can be lost.
    pub budget: Option<Budget>,
    /// What it counts.
    pub counters: Arc<PipelineCounters>,
    /// Where to say what stands in its way.
    pub findings: FindingReporter,
}

impl Pipeline {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        Builder::new().name("das-dsp".into()).spawn(move || {
            let mut command_rx = self.command_rx;
            let mut engine = Engine::new(self.views, &self.processing, self.egress, self.counters, self.findings);
            engine.limit(self.budget);
            engine.keep_history(self.history_bytes);
            let mut prepared_rx = engine.plan_apart().unwrap_or_else(|error| {
                warn!(%error, "there is no thread that plans: the dsp thread stands while jobs begin");
                never()
            });
            loop {
                select! {
                    recv(self.filled_rx) -> lease => match lease {
                        Ok(lease) => {
                            engine.process(lease);
                            engine.relieve(self.filled_rx.len());
                        }
                        Err(_) => break,
                    },
                    recv(command_rx) -> command => match command {
                        Ok(command) => engine.execute(command),
                        // Nobody is left who could ask.
                        Err(_) => command_rx = never(),
                    },
                    recv(prepared_rx) -> prepared => {
                        if let Ok(prepared) = prepared {
                            engine.begin_prepared(prepared);
                        } else {
                            warn!("the thread that plans has ended: the dsp thread stands while jobs begin");
                            prepared_rx = never();
                            engine.plan_here();
                        }
                    }
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
    /// Clients' jobs.
    jobs: Vec<KnownJob>,
    /// The unit that jobs begin with.
    job_unit: Option<JobUnit>,
    condition: ConditionSpec,
    workers: Workers,
    egress: Egress,
    counters: Arc<PipelineCounters>,
    findings: FindingReporter,
    input: Option<Arc<Acquisition>>,
    plans: Option<Plans>,
    /// Why there are no plans although there is an acquisition.
    impossible: Option<String>,
    kept: KeptBlocks,
    history_bytes: usize,
    marked: Marked,
    missing: Missing,
    time: Option<TimeBase>,
    /// Steps of the clock for the log, by how many nanoseconds, and since when it counts.
    steps: Throttle<i64>,
    started: Instant,
    /// The first trace of the acquisition that was seen, and the next to come.
    first_trace: u64,
    next_trace: u64,
    load: f64,
    /// The same for the thread time of transforms and views alone.
    busy: f64,
    guard: Option<Guard>,
    /// Blocks until what begins with long windows has begun.
    beginning: u32,
    /// Blocks that waited behind the last one.
    waiting: usize,
    /// Jobs that begin as soon as there is time.
    held: VecDeque<Opening>,
    /// The one before them, for which something is made or has been.
    next: Option<Next>,
    planner: Option<Planner>,
    /// Counts changes of the plans; its value at the last acquisition's beginning.
    generation: u64,
    planned_at: u64,
    /// Orders to prepare.
    tickets: u64,
    /// Of the last block: its length in seconds, and its time divided by that.
    last_block: (f64, f64),
}

impl Engine {
    /// An engine that will plan for the first block it sees. The calling thread becomes worker 0 of the pool. `counters` and
    /// `findings` are for this engine alone.
    pub fn new(
        views: Vec<ViewConfig>,
        processing: &ProcessingConfig,
        egress: Egress,
        counters: Arc<PipelineCounters>,
        findings: FindingReporter,
    ) -> Self {
        let workers = Workers::leading(WorkerPool::with_this_thread(processing.threads));
        Self::with(views, processing.condition, egress, counters, findings, workers)
    }

    /// As [`new`](Self::new), with a share of a pool that is there already.
    pub fn with(
        views: Vec<ViewConfig>,
        condition: ConditionSpec,
        egress: Egress,
        counters: Arc<PipelineCounters>,
        findings: FindingReporter,
        workers: Workers,
    ) -> Self {
        let mut engine = Self {
            views,
            jobs: Vec::new(),
            job_unit: None,
            condition,
            workers,
            egress,
            counters,
            findings,
            input: None,
            plans: None,
            impossible: None,
            kept: KeptBlocks::default(),
            history_bytes: 0,
            marked: Marked::default(),
            missing: Missing::default(),
            time: None,
            steps: Throttle::new(STEPS_A_MINUTE),
            started: Instant::now(),
            first_trace: 0,
            next_trace: 0,
            load: 0.0,
            busy: 0.0,
            guard: None,
            beginning: 0,
            waiting: 0,
            held: VecDeque::new(),
            next: None,
            planner: None,
            generation: 0,
            planned_at: 0,
            tickets: 0,
            last_block: (0.0, 0.0),
        };
        engine.keep_history(HISTORY_BYTES);
        engine
    }

    /// Keeps up to `bytes` of samples for jobs to come, from the next acquisition on, so that their first lines need not wait
    /// for windows to fill.
    pub const fn keep_history(&mut self, bytes: usize) {
        self.history_bytes = bytes;
        self.kept.allow(bytes);
    }

    /// Keeps to `budget` from now on, if there is one: see [`relieve`](Self::relieve).
    pub fn limit(&mut self, budget: Option<Budget>) {
        self.guard = budget.map(Guard::new);
    }

    /// Takes one block from raw samples to frames. The lease goes back to the pool as soon as its samples are no longer
    /// needed.
    pub fn process(&mut self, lease: Lease) {
        let began = Instant::now();
        let counters = Arc::clone(&self.counters);
        counters.ticks.add(1);

        let mut flags = 0;
        if self.input.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &lease.acquisition)) {
            self.replan(&lease);
            flags |= FLAG_EPOCH_START;
        } else if lease.gap_before > 0 || lease.first_trace.0 != self.next_trace {
            self.bridge_gap(lease.first_trace.0);
            flags |= FLAG_GAP_BEFORE;
        }
        self.next_trace = lease.end_trace().0;
        if let Some(time) = &mut self.time {
            let stamps = time.update(&lease);
            counters.clock_steps.add(stamps.steps);
            counters.stamps_doubted.add(stamps.doubted);
            tell_steps(&mut self.steps, began.duration_since(self.started), stamps);
            counters.utc_uncertainty_ns.set(time.uncertainty_ns(lease.end_trace().0) as f64);
        }
        self.marked.see(&lease);

        let traces = lease.traces as u64;
        let length_s = (lease.traces as f64 / lease.acquisition.prr.to_f64()).max(1e-9);
        let mut spent_ns = 0;
        if let (Some(plans), Some(time)) = (&mut self.plans, &self.time) {
            plans.transform(&lease, &mut self.kept, &self.workers, self.condition.common_mode);
            let nonfinite: usize = plans.tiles.iter().map(Tile::nonfinite).sum();
            if nonfinite > 0 {
                counters.nonfinite_samples.add(nonfinite as u64);
                let rows = plans.tiles.iter().flat_map(|tile| tile.replaced_rows().iter().copied());
                self.marked.replace(lease.first_trace.0, rows);
            }
            let output = Arc::clone(&plans.output);
            let context = LineContext {
                acquisition: &output,
                time,
                block_end: lease.end_trace().0,
                captured_at: lease.captured_at,
                gap_traces: lease.gap_before,
                flags,
                marked: &self.marked,
                missing: &self.missing,
            };
            counters.lines.add(plans.gather(&context, &self.egress));
            spent_ns = plans.measure();
            if plans.counts() {
                self.kept.push(lease);
            }
        }
        self.look_for_silent_views(false);

        counters.blocks_processed.add(1);
        counters.traces_processed.add(traces);
        // Smoothed over about a second whatever the block length.
        let weight = length_s.clamp(0.001, 1.0);
        let block_load = began.elapsed().as_secs_f64() / length_s;
        self.load += weight * (block_load - self.load);
        self.busy += weight * (spent_ns as f64 * 1e-9 / length_s - self.busy);
        self.last_block = (length_s, block_load);
        self.beginning = self.beginning.saturating_sub(1);
        counters.load.set(self.load);
        counters.demand.set(self.demand());
    }

    /// Share of real time that transforms and views cost by their meters, once all windows are full.
    fn demand(&self) -> f64 {
        self.plans.as_ref().map_or(0.0, Plans::demand) * self.at_once()
    }

    /// Real time for a second of thread time: less than one where threads share the work.
    fn at_once(&self) -> f64 {
        if self.busy > 0.0 { (self.load / self.busy).clamp(1.0 / self.workers.threads() as f64, 1.0) } else { 1.0 }
    }

    /// How many different transforms there are at the moment.
    pub fn transforms(&self) -> usize {
        self.plans.as_ref().map_or(0, |plans| plans.transforms().count())
    }

    /// What each job costs, as a share of one thread's time.
    pub fn job_loads(&self) -> Vec<(String, f64)> {
        let loads = self.plans.as_ref().map(Plans::job_loads).unwrap_or_default();
        loads.into_iter().map(|(job, load)| (job, load.transform + load.lines)).collect()
    }

    /// The same of one job: for its windows, and from finished lines to frames.
    pub(crate) fn job_cost(&self, job: &str) -> Option<(f64, f64)> {
        let loads = self.plans.as_ref().map(Plans::job_loads)?;
        loads.get(job).map(|load| (load.transform, load.lines))
    }

    /// Ends the costliest jobs when all together are more than the budget, before a trace is lost. To be called behind
    /// each block; `waiting` more are there already. Standing views stay.
    pub fn relieve(&mut self, waiting: usize) {
        self.waiting = waiting;
        self.begin_held();
        let (demand, (length_s, block_load), load) = (self.demand(), self.last_block, self.load);
        let Some(guard) = &mut self.guard else { return };
        let Some(verdict) = guard.decide(Look { length_s, block_load, load, demand, waiting }) else { return };
        let (max_load, ended_tx) = (guard.budget.max_load, guard.budget.ended_tx.clone());
        let at_once = self.at_once();
        let loads = self.job_loads().into_iter().map(|(job, load)| (job, load * at_once)).collect();
        let percent = |load: f64| (100.0 * load).round();
        for (job, own) in load::costliest(loads, verdict, demand, max_load) {
            self.close(&job);
            self.counters.jobs_overloaded.add(1);
            let (needed, allowed, own) = (percent(demand.max(load)), percent(max_load), percent(own));
            warn!(job, needed, allowed, own, waiting, "the pipeline is over its budget: the costliest job ends");
            let reason = format!(
                "the signal processing needed {needed} % of real time where {allowed} % are allowed, and this job, with \
                 {own} %, was the costliest"
            );
            // Whoever would hear it has gone: then the daemon is ending.
            let _ = ended_tx.send(EndedJob { job, reason });
        }
    }

    /// No block came for a while.
    pub fn idle(&mut self) {
        (self.beginning, self.waiting) = (0, 0);
        self.begin_held();
        self.counters.ticks.add(1);
        self.load = 0.0;
        self.counters.load.set(0.0);
        // A frame of several lines must not wait for light to return.
        self.flush();
    }

    /// Sends out what is begun.
    pub fn finish(&mut self) {
        self.look_for_silent_views(true);
        self.flush();
    }

    fn flush(&mut self) {
        for view in self.plans.iter_mut().flat_map(|plans| &mut plans.views) {
            view.flush(&self.egress);
        }
    }
}

/// Says that the interrogator's clock was stepped, and what could not be said before.
fn tell_steps(log: &mut Throttle<i64>, now: Duration, stamps: Stamps) {
    let tell = |(by_ns, more): (i64, u64)| {
        warn!(by_s = by_ns as f64 * 1e-9, "the interrogator's clock was stepped{}", and_more(more));
    };
    (0..stamps.steps).filter_map(|_| log.say(now, stamps.step_ns)).for_each(tell);
    log.due(now).into_iter().for_each(tell);
}
