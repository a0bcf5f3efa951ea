//! What the daemon knows about itself, in one place for everybody who asks: HTTP, metrics, systemd, the bus, the
//! terminal. Hot-path threads only add to atomics; readers take a [`Report`].

mod books;
mod condition;
mod counters;
mod number;
mod report;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;

pub use self::books::Book;
pub use self::condition::{Condition, FindingKind, FindingReporter, Findings, Severity};
pub use self::counters::{
    ApiCounters, CaptureCounters, CommandCounters, Counters, EgressCounters, JobCounters, JobFrameCounters,
    LogCounters, NarrowCounters, PipelineCounters, PublishCounters, StreamCounters, TeeCounters,
};
pub use self::number::{Counter, Gauge, Histogram, LATENCY_EDGES_S, quantile_s};
pub use self::report::Report;
use crate::acquisition::{DarkReason, Phase};

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

/// A phase with the time since when it holds.
#[derive(Clone, Debug)]
pub struct PhaseSince {
    /// The phase.
    pub phase: Phase,
    /// Since when, milliseconds since the UNIX epoch.
    pub since_ms: i64,
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
    findings: FindingReporter,
    conditions_tx: watch::Sender<Arc<[Condition]>>,
    lines_late: AtomicBool,
    last_trace_utc_ns: AtomicU64,
}

impl Status {
    /// A daemon that has just begun.
    pub fn new(site: impl Into<String>, prr_asked_hz: Option<f64>) -> Arc<Self> {
        let first = PhaseSince { phase: Phase::WaitingForFiber(DarkReason::Starting), since_ms: now_ms() };
        let counters = Counters::default();
        counters.capture.optical_power.set(f64::NAN);
        Arc::new(Self {
            counters: Arc::new(counters),
            site: site.into(),
            prr_asked_hz,
            started: Instant::now(),
            phase_tx: watch::Sender::new(first),
            broker: Mutex::default(),
            stuck: Mutex::default(),
            findings: FindingReporter::default(),
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
        self.counters.capture.phase_changes.add(1);
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
        self.findings.found(kind, subject, why);
    }

    /// What was found of this subject no longer holds.
    pub fn take_back(&self, kind: FindingKind, subject: &str) {
        self.findings.take_back(kind, subject);
    }

    /// Nothing of this kind holds any longer.
    pub fn take_back_all(&self, kind: FindingKind) {
        self.findings.take_back_all(kind);
    }

    /// What stands now.
    pub fn findings(&self) -> Findings {
        self.findings.findings()
    }

    /// For a stage that has findings to say and no other business here.
    pub fn finding_reporter(&self) -> FindingReporter {
        self.findings.clone()
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
            let same =
                known.len() == conditions.len() && known.iter().zip(conditions.iter()).all(|(a, b)| a.is_same(b));
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
        Some(self.counters.capture.optical_power.get()).filter(|power| power.is_finite())
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

    fn broker_slot(&self) -> MutexGuard<'_, BrokerState> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the daemon began.
    pub fn uptime_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// Milliseconds since the UNIX epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
