//! A job that runs: its streams, its description, and who looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::feed::{Feed, Poll};
use super::plan::{Address, JobPlan};
use super::registry::Seen;
use super::rows::{WaterfallBlock, block};
use crate::api::grpc::OpenPort;
use crate::frame::Frame;

/// See the module.
pub struct Job {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub plan: JobPlan,
    /// Its streams in order.
    pub feeds: Vec<Arc<Feed>>,
    /// Where its client finds it.
    pub address: Address,
    /// When it was asked for, milliseconds since the UNIX epoch.
    pub created_ms: i64,
    /// The job object as JSON, written once.
    pub(super) description: Vec<u8>,
    running: AtomicBool,
    /// Milliseconds since the origin of the registry's time.
    touched_ms: AtomicU64,
    /// Of the job and not of a connection: a client that polls has none that lasts.
    polling: Mutex<Poll>,
    door: Mutex<Option<OpenPort>>,
}

impl Job {
    pub(super) fn new(
        id: String,
        plan: JobPlan,
        feeds: Vec<Arc<Feed>>,
        address: Address,
        door: OpenPort,
        created_ms: i64,
    ) -> Self {
        // A description is numbers and plain text: it can always be written.
        let description = serde_json::to_vec(&plan.describe(&id, &address)).unwrap_or_default();
        Self {
            polling: Mutex::new(Poll::new(&feeds)),
            id,
            plan,
            feeds,
            address,
            created_ms,
            description,
            running: AtomicBool::new(false),
            touched_ms: AtomicU64::new(0),
            door: Mutex::new(Some(door)),
        }
    }

    /// The job object as JSON, the same as long as the job lives.
    pub fn description(&self) -> &[u8] {
        &self.description
    }

    /// Whether frames may come; before, the job is only being started.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn run(&self) {
        self.running.store(true, Ordering::Release);
    }

    /// Somebody asked for it at `now`.
    pub(super) fn touch(&self, now: Duration) {
        self.touched_ms.fetch_max(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Consumers with an open stream. A stream each: who reads three counts three times.
    pub fn consumers(&self) -> usize {
        self.feeds.iter().map(|feed| feed.readers()).sum()
    }

    pub(super) fn seen(&self) -> Seen {
        let touched = Duration::from_millis(self.touched_ms.load(Ordering::Relaxed));
        Seen { open: self.consumers() > 0, touched }
    }

    /// Takes one of its frames.
    pub(super) fn deliver(&self, frame: Frame) -> bool {
        match self.feeds.get(frame.stream.number as usize) {
            Some(feed) => {
                feed.push(frame);
                true
            }
            None => false,
        }
    }

    /// Up to `rows` rows that nobody has polled yet, and whether there will be none any more. Whoever polls at the same
    /// time gets others.
    pub(super) fn poll(&self, rows: usize) -> (Option<WaterfallBlock>, bool) {
        let polled = self.polling.lock().unwrap_or_else(PoisonError::into_inner).take(rows);
        (block(&self.id, self.plan.first_channel, &polled), polled.ended)
    }

    /// Its port, to be closed by whoever ends it.
    pub(super) fn take_door(&self) -> Option<OpenPort> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
