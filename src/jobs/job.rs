//! A job that runs: its streams, its description, what commands have changed, and who looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::feed::{Feed, Poll};
use super::pace::{Pace, Pass};
use super::picture::Picture;
use super::plan::{Address, JobPlan};
use super::registry::Seen;
use super::rows::PolledRows;
use crate::api::grpc::OpenPort;

/// See the module.
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its streams in order.
    pub feeds: Vec<Arc<Feed>>,
    /// Where its client finds it.
    pub address: Address,
    /// When it was asked for, milliseconds since the UNIX epoch.
    pub created_ms: i64,
    /// Held by whoever asks the pipeline to change or to end it: one after the other.
    pub(super) turn: tokio::sync::Mutex<()>,
    now: RwLock<Now>,
    settings: Mutex<Settings>,
    /// Whether a queue that it watches is deep.
    throttled: AtomicBool,
    pace: Mutex<Pace>,
    running: AtomicBool,
    /// Milliseconds since the origin of the registry's time.
    touched_ms: AtomicU64,
    /// Of the job and not of a connection: a client that polls has none that lasts.
    polling: Mutex<Poll>,
    door: Mutex<Option<OpenPort>>,
}

/// What it is until it is changed.
struct Now {
    plan: Arc<JobPlan>,
    /// The job object as JSON, written once.
    description: Bytes,
}

/// What commands have set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How it wants to be drawn.
    pub picture: Picture,
    /// Queues that it watches.
    pub monitored_queues: Arc<[String]>,
}

impl Now {
    fn new(id: &str, plan: JobPlan, address: &Address) -> Self {
        // A description is numbers and plain text: it can always be written.
        let description = serde_json::to_vec(&plan.describe(id, address)).unwrap_or_default();
        Self { plan: Arc::new(plan), description: description.into() }
    }
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
        Self {
            turn: tokio::sync::Mutex::new(()),
            now: RwLock::new(Now::new(&id, plan, &address)),
            settings: Mutex::default(),
            throttled: AtomicBool::new(false),
            pace: Mutex::new(Pace::new(feeds.len())),
            polling: Mutex::new(Poll::new(&feeds)),
            id,
            feeds,
            address,
            created_ms,
            running: AtomicBool::new(false),
            touched_ms: AtomicU64::new(0),
            door: Mutex::new(Some(door)),
        }
    }

    /// What was asked for, with the channels that it has now.
    pub fn plan(&self) -> Arc<JobPlan> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).plan)
    }

    /// The job object as JSON, the same until its channels change.
    pub fn description(&self) -> Bytes {
        self.now.read().unwrap_or_else(PoisonError::into_inner).description.clone()
    }

    /// It is `plan` from now on.
    pub(super) fn become_of(&self, plan: JobPlan) {
        let now = Now::new(&self.id, plan, &self.address);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// What commands have set.
    pub fn settings(&self) -> Settings {
        self.settings_mut().clone()
    }

    pub(super) fn settings_mut(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its frames are held back from the broker because a queue that it watches is deep.
    pub fn is_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Whether they are from now on.
    pub fn throttle(&self, yes: bool) {
        self.throttled.store(yes, Ordering::Relaxed);
    }

    /// Which of its frames go to the broker.
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the frame of `stream` that is there at `now` goes to the broker.
    pub(super) fn pass(&self, stream: usize, now: Duration) -> Pass {
        self.pace().pass(stream, now, self.is_throttled())
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

    /// Lines that its readers were too slow for, added up over readers.
    pub(super) fn lines_lost(&self) -> u64 {
        self.feeds.iter().map(|feed| feed.lines_lost()).sum()
    }

    /// Consumers with an open stream. A stream each: who reads three counts three times.
    pub fn consumers(&self) -> usize {
        self.feeds.iter().map(|feed| feed.readers()).sum()
    }

    pub(super) fn seen(&self) -> Seen {
        let touched = Duration::from_millis(self.touched_ms.load(Ordering::Relaxed));
        Seen { open: self.consumers() > 0, touched }
    }

    /// Up to `rows` rows that nobody has polled yet, and whether there will be none any more. Whoever polls at the same
    /// time gets others.
    pub(super) fn poll(&self, rows: usize) -> (Option<PolledRows>, bool) {
        let polled = self.polling.lock().unwrap_or_else(PoisonError::into_inner).take(rows);
        let ended = polled.ended;
        (PolledRows::new(&self.id, self.plan().first_channel, polled), ended)
    }

    /// Its port, to be closed by whoever ends it.
    pub(super) fn take_door(&self) -> Option<OpenPort> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
