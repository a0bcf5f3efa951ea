//! A job that runs: its streams, its description, and who looks at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::door::Door;
use super::feed::Feed;
use super::plan::{Address, JobPlan};
use super::registry::Seen;
use super::rows::{Cursor, Polled, WaterfallBlock, block};
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
    polling: Mutex<Polling>,
    /// Readers that the polling cursor holds.
    polling_readers: AtomicU64,
    door: std::sync::Mutex<Option<Door>>,
}

#[derive(Default)]
struct Polling {
    cursor: Cursor,
    extrema: Option<(f32, f32)>,
}

impl Job {
    pub(super) fn new(
        id: String,
        plan: JobPlan,
        feeds: Vec<Arc<Feed>>,
        address: Address,
        door: Door,
        created_ms: i64,
    ) -> Self {
        // A description is numbers and plain text: it can always be written.
        let description = serde_json::to_vec(&plan.describe(&id, &address)).unwrap_or_default();
        Self {
            id,
            plan,
            feeds,
            address,
            created_ms,
            description,
            running: AtomicBool::new(false),
            touched_ms: AtomicU64::new(0),
            polling: Mutex::default(),
            polling_readers: AtomicU64::new(0),
            door: std::sync::Mutex::new(Some(door)),
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

    /// Consumers with an open stream: readers of feeds, but for those of the polling cursor.
    pub fn consumers(&self) -> usize {
        let readers: usize = self.feeds.iter().map(|feed| feed.readers()).sum();
        readers.saturating_sub(self.polling_readers.load(Ordering::Relaxed) as usize)
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

    /// Up to `rows` rows that nobody has polled yet. Whoever polls at the same time gets others.
    pub(super) async fn poll(&self, rows: usize) -> (Option<WaterfallBlock>, bool) {
        let mut polling: MutexGuard<'_, Polling> = self.polling.lock().await;
        let Polled { rows, ended } = polling.cursor.take(&self.feeds, rows);
        self.polling_readers.store(polling.cursor.readers() as u64, Ordering::Relaxed);
        if rows.is_empty() {
            return (None, ended);
        }
        let block = block(&self.id, self.plan.first_channel, &rows, &mut polling.extrema);
        (Some(block), ended)
    }

    /// Its port, to be closed by whoever ends it.
    pub(super) fn take_door(&self) -> Option<Door> {
        self.door.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}
