//! Health: from what all stages say of themselves ([`Snapshot`]) to a list of conditions, each with what is the matter,
//! since when, how bad it is and what to do. One pure [`Checker`] decides; `/readyz`, the bus, `/metrics`, the log, the
//! screen and the service manager all show its list, in its words.
//!
//! [`Health`] feeds the checker from [`Status`]: a task on tokio (`das-io-N`) several times a second ([`run`]), and
//! whoever must know it now ([`Health::look`]). The checker holds no clock: times are passed in.

mod checker;
mod rules;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

pub use checker::{Checker, Limits, Snapshot};
pub use rules::CODES;

use crate::status::{Condition, Severity, Status};

/// From one look to the next. Short beside the second that a person takes to look.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The checker of one daemon, with what it goes by.
#[derive(Debug)]
pub struct Health {
    status: Arc<Status>,
    origin: Instant,
    checker: Mutex<Checker>,
}

impl Health {
    /// Begins to watch `status`.
    pub fn new(status: Arc<Status>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { status, origin: Instant::now(), checker: Mutex::new(Checker::new(limits)) })
    }

    /// Checks now, and tells [`Status`], where every outlet finds it.
    pub fn look(&self) -> Arc<[Condition]> {
        let mut checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot::of(&self.status, self.origin.elapsed());
        let conditions: Arc<[Condition]> = checker.check(&snapshot).into();
        self.status.set_conditions(Arc::clone(&conditions), checker.lines_are_late());
        conditions
    }
}

/// Looks several times a second, and at each change of the phase, until `stop` comes; logs what begins and what ends.
pub async fn run(health: Arc<Health>, stop: impl Future<Output = ()>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut phases = health.status.watch_phase();
    let mut known: Arc<[Condition]> = Arc::default();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = looks.tick() => {}
            _ = phases.changed() => {}
        }
        let now = health.look();
        log_changes(&known, &now, crate::status::now_ms());
        known = now;
    }
}

/// A line for each condition that has begun, and one for each that has ended. Capture and the publisher log their own
/// states, in these words and at the very moment.
fn log_changes(before: &[Condition], now: &[Condition], now_ms: i64) {
    let is_in = |list: &[Condition], one: &Condition| list.iter().any(|other| other.is_same(one));
    for begun in now.iter().filter(|one| !rules::is_logged_by_its_stage(one.code) && !is_in(before, one)) {
        let bad = if begun.severity == Severity::NotReady { "not ready" } else { "degraded" };
        warn!(condition = begun.code, advice = begun.advice, "{bad}: {}", begun.what);
    }
    for ended in before.iter().filter(|one| !rules::is_logged_by_its_stage(one.code) && !is_in(now, one)) {
        let seconds = (now_ms - ended.since_ms).max(0) as f64 / 1e3;
        info!(condition = ended.code, seconds, "over: {}", ended.what);
    }
}
