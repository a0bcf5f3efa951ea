//! What the daemon knows about itself, in one place for everybody who asks: HTTP, metrics, systemd, the bus, the
//! terminal. Hot-path threads only add to atomics; readers take a [`Report`].

mod books;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;

pub use self::books::Book;
use crate::acquisition::{DarkReason, Phase};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Raises the value to `total`, for what another party counts.
    pub fn raise_to(&self, total: u64) {
        self.0.fetch_max(total, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Upper edges of the latency histogram in seconds.
pub const LATENCY_EDGES_S: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Counts of durations by upper edge; the last cell holds what is longer than all edges.
#[derive(Debug, Default)]
pub struct Histogram {
    cells: [Counter; LATENCY_EDGES_S.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: std::time::Duration) {
        let seconds = duration.as_secs_f64();
        let cell = LATENCY_EDGES_S.partition_point(|&edge| edge < seconds);
        self.cells[cell].add(1);
        self.sum_ns.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts by cell.
    pub fn cells(&self) -> [u64; LATENCY_EDGES_S.len() + 1] {
        std::array::from_fn(|i| self.cells[i].get())
    }

    /// Sum of all durations in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns.get() as f64 * 1e-9
    }

    /// The edge under which at least the share `q` (0…1) of all durations lies; `None` when there are none, infinity
    /// when it is above the last edge.
    pub fn quantile_s(&self, q: f64) -> Option<f64> {
        let cells = self.cells();
        let total: u64 = cells.iter().sum();
        let wanted = (q * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let cell = cells.iter().position(|&n| {
            seen += n;
            seen >= wanted
        })?;
        (total > 0).then(|| LATENCY_EDGES_S.get(cell).copied().unwrap_or(f64::INFINITY))
    }
}

/// Everything that is counted, by the stage that counts it.
#[derive(Debug, Default)]
pub struct Counters {
    // Each stage adds to its ticks whenever it is alive, with data or without: what the watchdog looks at.
    /// Turns of the capture loop.
    pub capture_ticks: Counter,
    /// Turns of the pipeline loop.
    pub pipeline_ticks: Counter,
    /// Turns of the publisher loop.
    pub publisher_ticks: Counter,
    // capture; how these belong together: `traces_books`
    /// Traces launched, as far as is known: those between the first and the last one read of each acquisition, by their
    /// indices, and those that the source says it left behind.
    pub traces_launched: Counter,
    /// Traces read from the source.
    pub traces: Counter,
    /// Blocks passed on.
    pub blocks: Counter,
    /// Traces in the blocks passed on.
    pub traces_passed_on: Counter,
    /// Times that traces were missing.
    pub gaps: Counter,
    /// Traces missing, for whatever reason; counted as soon as it is known, whether or not a block comes to mark it.
    pub gap_traces: Counter,
    /// Traces that the source did not deliver: lost before the ring, overwritten before they were read, written without
    /// light, damaged on disk, or still unread when their acquisition ended.
    pub traces_missed_in_source: Counter,
    /// Traces thrown away because no block was free: the first of the two places that may drop.
    pub traces_dropped_no_block: Counter,
    /// Traces thrown away because there was no light in their block (dark threshold).
    pub traces_dropped_dark: Counter,
    /// Traces that the producer itself declared lost. They are among those that the source did not deliver, unless they
    /// were lost before the first trace was read or behind the last one.
    pub traces_lost_before_ring: Counter,
    /// Acquisitions begun.
    pub epochs: Counter,
    /// Times that the phase changed.
    pub phase_changes: Counter,
    /// Optical power of the newest block, as the dark threshold judges it, squared counts; NaN while no traces come.
    pub optical_power: Gauge,
    /// PRR measured against the clock, Hz; 0 when unknown.
    pub prr_measured_hz: Gauge,
    /// Blocks waiting for the pipeline.
    pub capture_queue_blocks: Gauge,
    /// Free blocks, besides the one that is being filled.
    pub capture_free_blocks: Gauge,
    /// All blocks of the pool, with those that were added for windows that reach back; 0 before the first acquisition.
    pub capture_pool_blocks: Gauge,
    // pipeline
    /// Blocks processed.
    pub blocks_processed: Counter,
    /// Traces in the blocks processed.
    pub traces_processed: Counter,
    /// Lines computed.
    pub lines: Counter,
    /// The quickest standing view has a line within this many seconds, be its windows empty; 0 while none is planned.
    pub lines_due_s: Gauge,
    /// Non-finite input samples replaced by zero.
    pub nonfinite_samples: Counter,
    /// Time spent on a block divided by the block's own length, smoothed over about a second.
    pub pipeline_load: Gauge,
    /// Share of real time that all transforms and views cost by what their last windows took, once all windows are full.
    pub pipeline_demand: Gauge,
    /// Times that the pipeline was planned anew, so that nothing was known of what its work costs.
    pub pipeline_plans: Counter,
    /// Jobs that the pipeline ended because all together were more than its budget.
    pub jobs_overloaded: Counter,
    /// Steps of the time base.
    pub clock_steps: Counter,
    // egress and publishing; how these add up stands in `status::books`
    /// Frames of standing views made, for each stream.
    pub frames_made: Counter,
    /// Frames thrown away because the publisher was too slow or absent: the second place that may drop.
    pub frames_dropped_at_egress: Counter,
    /// Frames that nobody publishes, because the configuration names no broker.
    pub frames_without_broker: Counter,
    /// Frames that were not sent because they are larger than what the broker takes.
    pub frames_too_large: Counter,
    /// Frames waiting at the fence and in the publisher.
    pub frames_waiting: Gauge,
    /// Those of them that were published and have no final answer: under way, or refused and to be sent again.
    pub frames_unanswered: Gauge,
    /// Those of them that the broker has refused and that wait to be sent again.
    pub frames_held: Gauge,
    /// Frames handed to the broker, each once however often it is sent.
    pub frames_published: Counter,
    /// Frames confirmed by the broker.
    pub frames_confirmed: Counter,
    /// Frames that no queue wanted.
    pub frames_unroutable: Counter,
    /// Times that the broker refused a frame. Durable ones are sent again.
    pub frames_refused: Counter,
    /// Frames lost because the broker refused them: not durable, too many of them, or too large.
    pub frames_given_up: Counter,
    /// Frames that had no answer from the broker when the daemon stopped; until then they are sent again.
    pub frames_unconfirmed: Counter,
    /// Bytes of confirmed frames.
    pub bytes_confirmed: Counter,
    /// Status messages confirmed by the broker.
    pub status_confirmed: Counter,
    /// Connections made to a broker.
    pub broker_connections: Counter,
    /// Connections or attempts that failed.
    pub broker_failures: Counter,
    /// From the last trace of a frame in hand to its confirm.
    pub confirm_latency: Histogram,
    // frames of jobs, and commands
    /// Frames of jobs made, for each stream.
    pub job_frames_made: Counter,
    /// Those thrown away because they were not delivered to their jobs in time.
    pub job_frames_dropped_at_egress: Counter,
    /// Frames of jobs that there were for the broker.
    pub job_frames_offered: Counter,
    /// Those that were not sent because no queue is bound.
    pub job_frames_unwanted: Counter,
    /// Those that were not sent because a queue that their job watches is deep.
    pub job_frames_throttled: Counter,
    /// Those that were not sent because there was no connection, or a blocked one.
    pub job_frames_not_connected: Counter,
    /// Those thrown away because newer ones came before they could be sent.
    pub job_frames_dropped: Counter,
    /// Those thrown away because they had waited too long to be shown as live.
    pub job_frames_late: Counter,
    /// Those that were not sent because they are larger than what the broker takes.
    pub job_frames_too_large: Counter,
    /// Those that wait to be sent.
    pub job_frames_waiting: Gauge,
    /// Those handed to the broker.
    pub job_frames_published: Counter,
    /// Those that the broker confirmed and put into a queue.
    pub job_frames_confirmed: Counter,
    /// Those that no queue wanted.
    pub job_frames_unroutable: Counter,
    /// Those that the broker refused, or that were under way when the connection was lost.
    pub job_frames_lost: Counter,
    /// Those under way, without an answer.
    pub job_frames_unanswered: Gauge,
    /// Commands that were done.
    pub commands_done: Counter,
    /// Commands that were refused.
    pub commands_refused: Counter,
    /// Commands that were for another daemon.
    pub commands_ignored: Counter,
    /// 1 while commands are heard.
    pub commands_heard: Gauge,
    // jobs and their clients
    /// Jobs that began.
    pub jobs_started: Counter,
    /// Jobs that ended.
    pub jobs_ended: Counter,
    /// Jobs that were possible when they were asked for, and not started.
    pub jobs_refused: Counter,
    /// Of the jobs that ended: those that nobody had looked at and whose room another job needed.
    pub jobs_ended_for_room: Counter,
    /// Memory that jobs take, bytes: transforms, newest lines, and what their readers may be behind.
    pub job_memory_bytes: Gauge,
    /// Share of the usual by which readers of jobs may be behind, 0…1.
    pub job_reader_share: Gauge,
    /// Polls that were refused because answers under way hold as much memory as they may.
    pub job_polls_refused: Counter,
    /// WebSocket connections that were refused because there are as many as may be, in all or of one client.
    pub sockets_refused: Counter,
    /// Lines that who read jobs lost because they were behind, added up over readers.
    pub job_lines_lost: Counter,
    /// Requests that were done.
    pub requests_done: Counter,
    /// Requests that were wrong.
    pub requests_refused: Counter,
    /// Requests that came too often.
    pub requests_throttled: Counter,
    /// Requests that the daemon could not do.
    pub requests_failed: Counter,
    /// Connections of the control API that were closed to make room for others.
    pub connections_spared: Counter,
    // the log
    /// Lines of the log that were lost because whoever reads it was too slow, or refused them.
    pub log_lines_lost: Counter,
}

/// A stage whose heartbeat is watched. It ticks at least once a second, whatever it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The thread that talks to hardware.
    Capture,
    /// The DSP thread.
    Pipeline,
    /// The task that talks to the broker.
    Publisher,
}

impl Stage {
    /// Every stage, as a sample meets them.
    pub const ALL: [Self; 3] = [Self::Capture, Self::Pipeline, Self::Publisher];

    /// Name in the log, the metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Pipeline => "pipeline",
            Self::Publisher => "publisher",
        }
    }
}

impl Counters {
    /// Jobs that run.
    pub fn jobs(&self) -> u64 {
        self.jobs_started.get().saturating_sub(self.jobs_ended.get())
    }

    /// The heartbeat of `stage`.
    pub const fn ticks(&self, stage: Stage) -> &Counter {
        match stage {
            Stage::Capture => &self.capture_ticks,
            Stage::Pipeline => &self.pipeline_ticks,
            Stage::Publisher => &self.publisher_ticks,
        }
    }
}

/// How it stands with the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerState {
    /// The configuration says that there is none.
    #[default]
    Disabled,
    /// Trying.
    Connecting,
    /// Connected and confirming.
    Connected,
    /// Connected, but the broker accepts nothing (memory or disk alarm).
    Blocked,
    /// Not reachable; tried again with back-off.
    Away,
}

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, although the daemon as a whole does.
    Degraded,
    /// The daemon cannot do its job.
    NotReady,
}

/// Something that is not as it should be, as every outlet shows it: `/readyz`, the bus, the log, metrics, the screen and
/// the service manager. Holds no path, no address of a host and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Short and stable, for programs: `broker_away`.
    pub code: &'static str,
    /// What is the matter, in a sentence without a stop.
    pub what: String,
    /// Since when, milliseconds since the UNIX epoch.
    pub since_ms: i64,
    /// How bad it is.
    pub severity: Severity,
    /// What a person can do about it.
    pub advice: &'static str,
}

impl Condition {
    /// What makes it the same condition although its numbers change.
    pub const fn identity(&self) -> (&'static str, i64) {
        (self.code, self.since_ms)
    }
}

/// What kind of thing a stage has found. Health makes a condition of each that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The present acquisition cannot be conditioned as configured: no view has lines.
    ConditioningImpossible,
    /// A standing view does not fit the present acquisition. The subject is its name.
    ViewLeftOut,
    /// None of the standing views fits the present acquisition.
    NoViewFits,
    /// The source does something against its interface, although traces come.
    SourceFlawed,
    /// Readers of jobs may be behind by less than usual, for want of memory.
    ReadersShortened,
    /// The broker refuses what the configuration asks of it: login, virtual host, topology, certificate. The subject is
    /// what the connection is for.
    BrokerRefused,
    /// The broker refuses frames: a queue that they go to is full. The subject is whose frames.
    FramesRefused,
    /// Frames are larger than what the broker takes, so they are not sent. The subject is whose frames.
    FramesTooLarge,
}

/// What stages have found and not taken back, by kind and subject. Set at changes, never on the hot path.
pub type Findings = BTreeMap<(FindingKind, String), String>;

/// A phase with the time since when it holds.
#[derive(Clone, Debug)]
pub struct PhaseSince {
    /// The phase.
    pub phase: Phase,
    /// Since when, milliseconds since the UNIX epoch.
    pub since_ms: i64,
}

/// Numbers for people and programs, taken at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the daemon.
    pub version: &'static str,
    /// Name of this fiber in routing keys.
    pub site: String,
    /// `waiting for fiber`, `acquiring` (only while lines come out), `stalled` or `draining`.
    pub phase: &'static str,
    /// Why, while waiting for fiber, or stalled because no lines come out.
    pub reason: Option<String>,
    /// Since when the phase holds, milliseconds since the UNIX epoch.
    pub since_ms: i64,
    /// Milliseconds since the UNIX epoch at which the report was taken.
    pub now_ms: i64,
    /// Seconds since the daemon began.
    pub uptime_s: f64,
    /// Whether the daemon can do its job: no condition says otherwise.
    pub ready: bool,
    /// What is not as it should be, the worst first.
    pub conditions: Vec<Condition>,
    /// Where traces come from: `ring`, `replay` or `synthetic`, when there is an acquisition.
    pub source: Option<&'static str>,
    /// Epoch of the acquisition, when there is one.
    pub epoch: Option<u64>,
    /// PRR that the configuration asks for.
    pub prr_asked_hz: Option<f64>,
    /// PRR that the producer declares.
    pub prr_declared_hz: Option<f64>,
    /// PRR measured against the clock.
    pub prr_measured_hz: Option<f64>,
    /// Channels, when there is an acquisition.
    pub channels: Option<usize>,
    /// Traces read.
    pub traces: u64,
    /// Times that traces were missing.
    pub gaps: u64,
    /// Traces missing.
    pub gap_traces: u64,
    /// Traces dropped for want of a free block.
    pub traces_dropped_no_block: u64,
    /// Traces that the producer declared lost.
    pub traces_lost_before_ring: u64,
    /// Frames dropped at the fence.
    pub frames_dropped_at_egress: u64,
    /// Pipeline load: time spent ÷ time of the block.
    pub pipeline_load: f64,
    /// Blocks waiting for the pipeline.
    pub capture_queue_blocks: f64,
    /// Frames waiting for the broker.
    pub frames_waiting: f64,
    /// Frames confirmed by the broker.
    pub frames_confirmed: u64,
    /// Frames that no queue wanted.
    pub frames_unroutable: u64,
    /// Jobs that run.
    pub jobs: u64,
    /// How it stands with the broker.
    pub broker: BrokerState,
    /// UTC of the newest trace, milliseconds since the UNIX epoch.
    pub last_trace_ms: Option<i64>,
}

/// The daemon's knowledge of itself. One per daemon, shared by reference.
#[derive(Debug)]
pub struct Status {
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Name of this fiber in routing keys.
    pub site: String,
    /// PRR that the configuration asks for, when it does.
    pub prr_asked_hz: Option<f64>,
    started: Instant,
    phase_tx: watch::Sender<PhaseSince>,
    broker: Mutex<BrokerState>,
    stuck: Mutex<Vec<Stage>>,
    findings: Mutex<Findings>,
    conditions_tx: watch::Sender<Arc<[Condition]>>,
    lines_late: AtomicBool,
    last_trace_utc_ns: AtomicU64,
}

impl Status {
    /// A daemon that has just begun.
    pub fn new(site: impl Into<String>, prr_asked_hz: Option<f64>) -> Arc<Self> {
        let first = PhaseSince { phase: Phase::WaitingForFiber(DarkReason::Starting), since_ms: now_ms() };
        let counters = Counters::default();
        counters.optical_power.set(f64::NAN);
        Arc::new(Self {
            counters: Arc::new(counters),
            site: site.into(),
            prr_asked_hz,
            started: Instant::now(),
            phase_tx: watch::Sender::new(first),
            broker: Mutex::default(),
            stuck: Mutex::default(),
            findings: Mutex::default(),
            conditions_tx: watch::Sender::new(Arc::default()),
            lines_late: AtomicBool::new(false),
            last_trace_utc_ns: AtomicU64::new(0),
        })
    }

    /// The present phase.
    pub fn phase(&self) -> PhaseSince {
        self.phase_tx.borrow().clone()
    }

    /// To be woken at each change of the phase.
    pub fn watch_phase(&self) -> watch::Receiver<PhaseSince> {
        self.phase_tx.subscribe()
    }

    /// Called by the capture thread on each change, and only then.
    pub fn set_phase(&self, phase: Phase) {
        self.counters.phase_changes.add(1);
        self.phase_tx.send_replace(PhaseSince { phase, since_ms: now_ms() });
    }

    /// Called by the capture thread once a block.
    pub fn set_last_trace(&self, utc_ns: i64) {
        self.last_trace_utc_ns.store(utc_ns.cast_unsigned(), Ordering::Relaxed);
    }

    /// How it stands with the broker.
    pub fn broker(&self) -> BrokerState {
        self.broker_slot().clone()
    }

    /// Called by the publisher on each change.
    pub fn set_broker(&self, state: BrokerState) {
        *self.broker_slot() = state;
    }

    /// Stages whose heartbeat has stopped.
    pub fn stuck(&self) -> Vec<Stage> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called by the supervisor in [`notify`](crate::notify) on each change.
    pub fn set_stuck(&self, stages: &[Stage]) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stages.to_vec();
    }

    /// Says that something stands in the way until it is [taken back](Self::take_back): why, in words for everybody.
    pub fn found(&self, kind: FindingKind, subject: &str, why: impl Into<String>) {
        self.findings_slot().insert((kind, subject.to_owned()), why.into());
    }

    /// What was found of this subject no longer holds.
    pub fn take_back(&self, kind: FindingKind, subject: &str) {
        self.findings_slot().remove(&(kind, subject.to_owned()));
    }

    /// Nothing of this kind holds any longer.
    pub fn take_back_all(&self, kind: FindingKind) {
        self.findings_slot().retain(|(of, _), _| *of != kind);
    }

    /// What stands now.
    pub fn findings(&self) -> Findings {
        self.findings_slot().clone()
    }

    /// What is not as it should be, as health last saw it; the worst first.
    pub fn conditions(&self) -> Arc<[Condition]> {
        Arc::clone(&self.conditions_tx.borrow())
    }

    /// To be woken when a condition begins or ends.
    pub fn watch_conditions(&self) -> watch::Receiver<Arc<[Condition]>> {
        self.conditions_tx.subscribe()
    }

    /// Called by [`health`](crate::health) at each look. `lines_late`: traces come, and no lines do.
    pub fn set_conditions(&self, conditions: Arc<[Condition]>, lines_late: bool) {
        self.lines_late.store(lines_late, Ordering::Relaxed);
        self.conditions_tx.send_if_modified(|known| {
            let same = known.iter().map(Condition::identity).eq(conditions.iter().map(Condition::identity));
            *known = conditions;
            !same
        });
    }

    /// The word for the present phase, and the reason why it is not "acquiring", in words for everybody.
    pub fn outlook(&self) -> (&'static str, Option<String>) {
        self.outlook_of(&self.phase().phase)
    }

    /// Optical power of the newest block, squared counts, also while it is too low; `None` while no traces come.
    pub fn optical_power(&self) -> Option<f64> {
        Some(self.counters.optical_power.get()).filter(|power| power.is_finite())
    }

    /// As [`outlook`](Self::outlook), for a phase that was taken before.
    pub fn outlook_of(&self, phase: &Phase) -> (&'static str, Option<String>) {
        match phase {
            Phase::WaitingForFiber(reason) => (phase.name(), Some(reason.for_everybody())),
            // Traces alone are not enough: somebody who reads "acquiring" relies on lines.
            Phase::Acquiring(acquisition) if self.lines_late.load(Ordering::Relaxed) => {
                let why = self.conditions().first().map(|worst| worst.what.clone());
                (Phase::Stalled(Arc::clone(acquisition)).name(), why)
            }
            _ => (phase.name(), None),
        }
    }

    fn findings_slot(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broker_slot(&self) -> MutexGuard<'_, BrokerState> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the daemon began.
    pub fn uptime_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// All numbers at this moment.
    pub fn report(&self) -> Report {
        let PhaseSince { phase, since_ms } = self.phase();
        let c = &self.counters;
        let (word, reason) = self.outlook_of(&phase);
        let conditions = self.conditions();
        let acquisition = phase.acquisition();
        let measured = c.prr_measured_hz.get();
        let last_trace_ns = self.last_trace_utc_ns.load(Ordering::Relaxed).cast_signed();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            site: self.site.clone(),
            phase: word,
            reason,
            since_ms,
            now_ms: now_ms(),
            uptime_s: self.uptime_s(),
            ready: conditions.iter().all(|one| one.severity < Severity::NotReady),
            conditions: conditions.to_vec(),
            source: acquisition.map(|a| a.source.name()),
            epoch: acquisition.map(|a| a.epoch),
            prr_asked_hz: self.prr_asked_hz,
            prr_declared_hz: acquisition.map(|a| a.prr.to_f64()),
            prr_measured_hz: (measured > 0.0).then_some(measured),
            channels: acquisition.map(|a| a.channels),
            traces: c.traces.get(),
            gaps: c.gaps.get(),
            gap_traces: c.gap_traces.get(),
            traces_dropped_no_block: c.traces_dropped_no_block.get(),
            traces_lost_before_ring: c.traces_lost_before_ring.get(),
            frames_dropped_at_egress: c.frames_dropped_at_egress.get(),
            pipeline_load: c.pipeline_load.get(),
            capture_queue_blocks: c.capture_queue_blocks.get(),
            frames_waiting: c.frames_waiting.get(),
            frames_confirmed: c.frames_confirmed.get(),
            frames_unroutable: c.frames_unroutable.get(),
            jobs: c.jobs(),
            broker: self.broker(),
            last_trace_ms: (last_trace_ns != 0).then_some(last_trace_ns / 1_000_000),
        }
    }
}

/// Milliseconds since the UNIX epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn histogram_counts_by_upper_edge() {
        let h = Histogram::default();
        assert_eq!(h.quantile_s(0.99), None);
        for _ in 0..99 {
            h.record(Duration::from_millis(5));
        }
        h.record(Duration::from_secs(60));
        assert_eq!(h.quantile_s(0.99), Some(0.005));
        assert_eq!(h.quantile_s(1.0), Some(f64::INFINITY));
    }
}
