//! Status messages: one on each change of the phase or of the conditions, every 5 s, and after each connection. They wait here, a bounded
//! number of them, and go before all frames.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at};

use super::message::Message;
use crate::status::{Condition, PhaseSince, Status, now_ms};

const PERIOD: Duration = Duration::from_secs(5);
/// The publisher's loop turns at least this often, so that the watchdog sees it live.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Changes that may wait for the broker; more than these in one outage are told by the newest.
const WAITING: usize = 64;

/// What is to be told about the daemon.
pub(super) struct StatusMessages {
    status: Arc<Status>,
    phase_rx: watch::Receiver<PhaseSince>,
    conditions_rx: watch::Receiver<Arc<[Condition]>>,
    tick: Interval,
    heartbeat: Interval,
    waiting: VecDeque<Message>,
    listened_to: bool,
    began_ms: i64,
    number: u64,
}

impl StatusMessages {
    pub(super) fn new(status: Arc<Status>) -> Self {
        let mut tick = interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (phase_rx, conditions_rx) = (status.watch_phase(), status.watch_conditions());
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            status,
            phase_rx,
            conditions_rx,
            tick,
            heartbeat,
            waiting: VecDeque::new(),
            listened_to: false,
            began_ms: now_ms(),
            number: 0,
        }
    }

    /// Waits for the next change or tick and keeps what is to be told. Cancel-safe.
    pub(super) async fn gather(&mut self) {
        tokio::select! {
            changed = self.phase_rx.changed() => if changed.is_ok() { self.push("phase") },
            changed = self.conditions_rx.changed() => if changed.is_ok() { self.push("conditions") },
            _ = self.tick.tick() => if self.listened_to { self.push("periodic") },
            // Only turns the publisher's loop, which shows that it lives.
            _ = self.heartbeat.tick() => {}
        }
    }

    /// A connection is there: what waited goes out, and then how things stand.
    pub(super) fn connected(&mut self) {
        self.push("connected");
    }

    /// Whether messages leave at present; while they do not, only changes are kept.
    pub(super) fn listened_to(&mut self, yes: bool) {
        self.listened_to = yes;
    }

    /// The oldest message that waits.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.waiting.pop_front()
    }

    /// Whether a message waits, or a change of the phase that nobody has looked at yet: the last word of a daemon is
    /// that it is draining, and frames may be answered before that is gathered.
    pub(super) fn has_more(&self) -> bool {
        !self.waiting.is_empty() || self.phase_rx.has_changed().unwrap_or(false)
    }

    fn push(&mut self, event: &'static str) {
        self.number += 1;
        let id = format!("{}/state/{}/{}", self.status.site, self.began_ms, self.number);
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Message::status(&self.status.report(), event, &id));
    }
}
