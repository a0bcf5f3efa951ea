//! The capture thread (`das-capture`): the only one that talks to hardware.
//!
//! Takes a free block from the pool, lets the source fill it with traces exactly as they came, and sends the lease down
//! the full queue, which has room for every block. While traces flow it allocates nothing and waits for nobody
//! downstream for longer than the source itself has room: then, without a free block, it goes on reading into one spare
//! block, so that the hardware never backs up, and the next block that gets through says how many traces are missing;
//! `account` counts them at once. Whether there is signal is decided by [`SignalMonitor`]; this thread tells it what it saw,
//! and tells [`Status`] what it answered, and what the interrogator says of itself (`instrument`). A second consumer gets
//! the same blocks by a [`Tee`].

mod account;
mod instrument;
mod tee;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use rustix::thread::{CpuSet, sched_setaffinity};
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use tracing::{info, warn};

use self::account::{Account, Place};
use self::instrument::Instrument;
pub use self::tee::{SharedBlock, Tee, tee};
use crate::acquisition::{Acquisition, DarkReason, Event, Phase, SampleFormat, SignalLimits, SignalMonitor};
use crate::block::{Blank, BlockLayout, BlockPool, Lease, MAX_KEPT, RawBlock};
use crate::config::CaptureConfig;
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};
use crate::status::{CaptureCounters, FindingKind, Status};
use crate::telemetry::{self, Throttle};

/// How often a source without signal is asked again: quick enough for a person, cheap enough for months.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// How long one read may wait. Bounds how late a silence or the wish to stop is noticed.
const READ_DEADLINE: Duration = Duration::from_millis(50);

/// Changes of the phase that the log shows in a minute; a fiber that flickers makes thousands.
const PHASE_LINES: usize = 20;

/// How long one wait for a free block may take while the source holds what is not read yet: short beside the time in which
/// a ring comes around.
const BLOCK_WAIT: Duration = Duration::from_millis(2);

/// Samples of a trace that the optical power is taken from.
const POWER_SAMPLES: usize = 512;

/// What the capture thread needs to begin.
pub struct Capture {
    /// The hardware, or what stands in for it.
    pub source: Box<dyn Interrogator>,
    /// Blocks, rates and rights.
    pub config: CaptureConfig,
    /// When there is signal.
    pub limits: SignalLimits,
    /// Where to say what happens.
    pub status: Arc<Status>,
    /// The full queue, towards the pipeline.
    pub filled_tx: Sender<Lease>,
    /// A second consumer, if there is one.
    pub tee: Option<Tee>,
    /// Nothing is ever sent here: when the other end drops, capture ends.
    pub stop_rx: Receiver<()>,
}

/// Why the capture thread ended without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureEnd {
    /// It was asked to.
    Stopped,
    /// The source has nothing more: a replay is over.
    EndOfStream,
}

impl Capture {
    /// Starts the thread. Rights that the system does not grant are done without, with a line in the log.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn spawn(self) -> std::io::Result<JoinHandle<Result<CaptureEnd, SourceError>>> {
        Builder::new().name("das-capture".into()).spawn(move || {
            take_rights(&self.config);
            self.run()
        })
    }

    /// What the thread does, on the calling thread.
    ///
    /// # Errors
    /// What the source cannot mend by waiting.
    pub fn run(self) -> Result<CaptureEnd, SourceError> {
        Running::new(self).run()
    }
}

/// Queue depth that lets a send never fail while one pool is in use; `tee` is the one that capture has.
pub fn filled_queue_blocks(config: &CaptureConfig, tee: Option<&Tee>) -> usize {
    // At an epoch change blocks of two pools may be under way, and the pipeline may let go of all that it kept.
    2 * (config.pool_blocks + tee.map_or(0, Tee::max_blocks) + MAX_KEPT)
}

fn take_rights(config: &CaptureConfig) {
    if let Some(cpu) = config.cpu {
        let mut set = CpuSet::new();
        if cpu < CpuSet::MAX_CPU {
            set.set(cpu);
        }
        match sched_setaffinity(None, &set) {
            Ok(()) => info!(cpu, "capture pinned to its core"),
            Err(error) => warn!(cpu, %error, "capture is not pinned to its core and goes on without"),
        }
    }
    if let Some(priority) = config.realtime_priority {
        let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        let outcome = ThreadPriority::try_from(priority).map_err(str::to_owned).and_then(|p| {
            thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), p, fifo).map_err(|e| {
                match e {
                    thread_priority::Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
                    other => format!("{other:?}"),
                }
            })
        });
        match outcome {
            Ok(()) => info!(priority, "capture runs under SCHED_FIFO"),
            Err(error) => warn!(priority, error, "SCHED_FIFO was not permitted; capture runs at normal priority"),
        }
    }
}

struct Running {
    source: Box<dyn Interrogator>,
    config: CaptureConfig,
    monitor: SignalMonitor,
    status: Arc<Status>,
    filled_tx: Sender<Lease>,
    tee: Option<Tee>,
    stop_rx: Receiver<()>,
    started: Instant,
    pool: Option<(BlockPool, Blank)>,
    acquisition: Option<Arc<Acquisition>>,
    account: Account,
    instrument: Instrument,
    /// Changes of the phase on their way to the log.
    said: Throttle<Phase>,
    /// What is wrong with the source although traces come, as it was told last.
    complaint: Option<&'static str>,
}

impl Running {
    fn new(capture: Capture) -> Self {
        Self {
            source: capture.source,
            config: capture.config,
            monitor: SignalMonitor::new(capture.limits),
            status: capture.status,
            filled_tx: capture.filled_tx,
            tee: capture.tee,
            stop_rx: capture.stop_rx,
            started: Instant::now(),
            pool: None,
            acquisition: None,
            account: Account::default(),
            instrument: Instrument::default(),
            complaint: None,
            said: Throttle::new(PHASE_LINES),
        }
    }

    fn run(mut self) -> Result<CaptureEnd, SourceError> {
        let end = self.look_and_read();
        self.settle();
        self.tell(Event::Stopping);
        end
    }

    fn look_and_read(&mut self) -> Result<CaptureEnd, SourceError> {
        loop {
            self.status.counters.capture.ticks.add(1);
            let probe = self.source.probe()?;
            self.settle();
            match probe {
                Probe::Waiting(reason) => {
                    self.tell(Event::Lost(reason));
                    // Consumers give back while nothing comes.
                    self.pool.iter().for_each(|(pool, _)| show_blocks(&self.status.counters.capture, pool));
                    if self.stop_rx.recv_timeout(PROBE_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                        return Ok(CaptureEnd::Stopped);
                    }
                }
                Probe::Ready(acquisition) => {
                    let acquisition = self.adopt(acquisition);
                    if let Some(end) = self.read_epoch(&acquisition)? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Takes note of what the source says between blocks, too: traces that it left behind, and what is wrong with it.
    fn settle(&mut self) {
        let counters = &self.status.counters.capture;
        self.account.left_behind(self.source.missing_at_ends(), counters);
        counters.traces_lost_before_ring.raise_to(self.source.lost_before_source());
        let damaged = self.source.damaged_traces();
        if damaged > counters.traces_damaged.get() {
            counters.traces_damaged.raise_to(damaged);
            let traces = if damaged == 1 { "trace" } else { "traces" };
            let what = format!("damaged: {damaged} {traces} of the files cannot be read");
            self.status.found(FindingKind::CaptureDamaged, "traces", what);
        }
        self.instrument.see(self.started.elapsed(), self.source.take_state(), &self.status);
        let complaint = self.source.complaint();
        if complaint != self.complaint {
            self.complaint = complaint;
            match complaint {
                Some(what) => {
                    warn!("{what}");
                    self.status.found(FindingKind::SourceFlawed, "", what);
                }
                None => self.status.take_back(FindingKind::SourceFlawed, ""),
            }
        }
    }

    /// The acquisition as a shared value; the same one as before when nothing has changed, so that nobody re-plans.
    fn adopt(&mut self, acquisition: Acquisition) -> Arc<Acquisition> {
        if let Some(known) = self.acquisition.as_ref().filter(|known| ***known == acquisition) {
            return Arc::clone(known);
        }
        info!(
            epoch = acquisition.epoch,
            prr_hz = acquisition.prr.to_f64(),
            channels = acquisition.channels,
            dx_m = acquisition.dx_m,
            dtype = acquisition.sample_format.dtype(),
            quantity = acquisition.quantity.name(),
            "new acquisition"
        );
        self.status.counters.capture.epochs.add(1);
        self.account.begin();
        self.status.counters.capture.prr_measured_hz.set(0.0);
        let acquisition = Arc::new(acquisition);
        let layout = BlockLayout::for_acquisition(&acquisition, self.config.block);
        if self.pool.as_ref().is_none_or(|(pool, _)| pool.layout() != layout) {
            let of_tee = self.tee.as_ref().map_or(0, Tee::max_blocks);
            let pool = BlockPool::new(layout, self.config.pool_blocks + of_tee + 1, &acquisition);
            let spare = pool.take().expect("a new pool has free blocks");
            self.pool = Some((pool, spare));
        }
        self.acquisition = Some(Arc::clone(&acquisition));
        acquisition
    }

    /// Reads until the epoch or the signal ends: `None` means probe again.
    fn read_epoch(&mut self, acquisition: &Arc<Acquisition>) -> Result<Option<CaptureEnd>, SourceError> {
        loop {
            if self.stop_rx.try_recv() == Err(TryRecvError::Disconnected) {
                return Ok(Some(CaptureEnd::Stopped));
            }
            self.status.counters.capture.ticks.add(1);
            if !self.source.is_live() && self.tee.as_ref().is_some_and(|tee| !tee.has_room_within(READ_DEADLINE)) {
                continue;
            }
            let (pool, spare) = self.pool.as_mut().expect("adopt made a pool");
            let free = pool.take();
            show_blocks(&self.status.counters.capture, pool);
            let wait = match (self.source.is_live(), self.source.holds_unread()) {
                (false, _) => READ_DEADLINE,
                (true, true) => BLOCK_WAIT,
                (true, false) => Duration::ZERO,
            };
            let mut blank = if free.is_none() && !wait.is_zero() {
                let Some(blank) = pool.take_within(wait) else { continue };
                Some(blank)
            } else {
                free
            };
            let block = blank.as_mut().unwrap_or(spare).block();
            block.clear(acquisition);
            match self.source.read_block(block, READ_DEADLINE)? {
                ReadOutcome::Filled => self.pass_on(blank, acquisition),
                ReadOutcome::TimedOut => self.tell(Event::Quiet),
                ReadOutcome::FiberLost(reason) => {
                    self.tell(Event::Lost(reason));
                    return Ok(None);
                }
                ReadOutcome::EpochChanged => return Ok(None),
                ReadOutcome::EndOfStream => return Ok(Some(CaptureEnd::EndOfStream)),
            }
        }
    }

    /// Sends a filled block down the full queue, or counts its traces as missing when it stands in the spare memory or
    /// when there is no light in it.
    fn pass_on(&mut self, mut blank: Option<Blank>, acquisition: &Arc<Acquisition>) {
        let (_, spare) = self.pool.as_mut().expect("adopt made a pool");
        let block = blank.as_mut().unwrap_or(spare).block();
        let traces = block.traces as u64;
        let last_utc_ns = block.utc_ns.saturating_add(acquisition.prr.traces_to_ns(traces));
        let power = optical_power(block);
        self.account.read(block, &self.status.counters.capture);
        self.instrument.read(block);

        self.tell(Event::Block { acquisition: Arc::clone(acquisition), power });
        let counters = &self.status.counters.capture;
        let light = matches!(self.monitor.phase(), Phase::Acquiring(_));
        let place = match blank {
            Some(_) if !light => Some(Place::Dark),
            // Not sent: epochs change faster than the pipeline drains two whole pools, or it is gone.
            Some(blank) => (!self.send(blank.seal())).then_some(Place::NoBlock),
            None => Some(Place::NoBlock),
        };
        match place {
            None => self.account.passed_on(traces, counters),
            Some(place) => self.account.dropped(traces, place, counters),
        }
        counters.queue_blocks.set(self.filled_tx.len() as f64);
        self.status.set_last_trace(last_utc_ns);
        // Health compares it with the declared one.
        if let Some(measured) = self.source.measured_prr_hz() {
            self.status.counters.capture.prr_measured_hz.set(measured);
        }
        self.settle();
    }

    /// Sends a block to the pipeline, and to a second consumer what the pipeline gets. Whether it was sent.
    fn send(&self, lease: Lease) -> bool {
        let traces = lease.traces as u64;
        let share = self.tee.as_ref().and_then(|tee| tee.share(&lease));
        let sent = self.filled_tx.try_send(lease).is_ok();
        if let Some(tee) = self.tee.as_ref().filter(|_| sent) {
            tee.pass_on(share, traces);
        }
        sent
    }

    fn tell(&mut self, event: Event) {
        let now = self.started.elapsed();
        match &event {
            Event::Block { power, .. } => self.status.counters.capture.optical_power.set(*power),
            Event::Lost(_) => self.status.counters.capture.optical_power.set(f64::NAN),
            Event::Quiet | Event::Stopping => {}
        }
        let line = match self.monitor.on(now, event) {
            Some(phase) => {
                self.status.set_phase(phase.clone());
                self.said.say(now, phase.clone())
            }
            None => self.said.due(now),
        };
        if let Some((phase, more)) = line {
            say(&phase, &telemetry::and_more(more));
        }
    }
}

/// One line of the log; `more` says how many changes were left out before it.
fn say(phase: &Phase, more: &str) {
    match phase {
        Phase::WaitingForFiber(DarkReason::Starting) => {}
        Phase::WaitingForFiber(reason) => warn!(%reason, "waiting for fiber{more}"),
        Phase::Stalled(_) => warn!("stalled: light, but no traces{more}"),
        Phase::Acquiring(a) => info!(epoch = a.epoch, "acquiring{more}"),
        Phase::Draining => info!("draining{more}"),
    }
}

fn show_blocks(counters: &CaptureCounters, pool: &BlockPool) {
    counters.free_blocks.set(pool.free() as f64);
    // All but the spare one.
    counters.pool_blocks.set(pool.total().saturating_sub(1) as f64);
}

/// Variance over channels of the block's last trace in squared counts; for complex samples the mean squared magnitude.
fn optical_power(block: &RawBlock) -> f64 {
    let Some(last) = block.traces.checked_sub(1) else { return 0.0 };
    let step = block.layout().channels.div_ceil(POWER_SAMPLES).max(1);
    match block.layout().format {
        SampleFormat::I16 => variance(block.row_as::<i16>(last).iter().step_by(step).map(|&x| f64::from(x))),
        SampleFormat::I32 => variance(block.row_as::<i32>(last).iter().step_by(step).map(|&x| f64::from(x))),
        SampleFormat::F32 => variance(block.row_as::<f32>(last).iter().step_by(step).map(|&x| f64::from(x))),
        SampleFormat::Iq16 => {
            let pairs = block.row_as::<[i16; 2]>(last).iter().step_by(step);
            let (n, sum) = pairs
                .fold((0.0, 0.0), |(n, sum), &[re, im]| (n + 1.0, sum + f64::from(re).powi(2) + f64::from(im).powi(2)));
            if n > 0.0 { sum / n } else { 0.0 }
        }
    }
}

/// Welford's one-pass variance, exact for large offsets.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut n, mut mean, mut m2) = (0.0, 0.0, 0.0);
    for x in values {
        n += 1.0;
        let d = x - mean;
        mean += d / n;
        m2 += d * (x - mean);
    }
    if n > 0.0 { m2 / n } else { 0.0 }
}
