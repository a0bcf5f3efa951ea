//! A job that runs: its streams, its description, what commands have changed, and who looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::commands::picture::Picture;
use super::plan::{Address, JobPlan};
use super::registry::Seen;
use super::rows::{Answers, PolledRows};
use super::send_policy::{Pass, SendPolicy};
use crate::feed::{Feed, Poll, Share};
use crate::pipeline::control::{Control, Opened};
use crate::status::now_ms;
use crate::streams::grpc::OpenPort;

/// It is not polled.
const NEVER: u64 = u64::MAX;

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
    /// Who makes its lines: today always the live pipeline.
    pub(super) player: Control,
    /// Held by whoever asks the player to change or to end it: one after the other.
    pub(super) turn: tokio::sync::Mutex<()>,
    now: RwLock<Now>,
    /// Of what its readers may be behind.
    share: Arc<Share>,
    settings: Mutex<Settings>,
    /// Whether a queue that it watches is deep.
    throttled: AtomicBool,
    send_policy: Mutex<SendPolicy>,
    running: AtomicBool,
    /// Milliseconds since the origin of the registry's time.
    touched_ms: AtomicU64,
    /// When it was last polled, or began to hold rows for a first poll, the same way; `NEVER` when nothing is held for
    /// polls.
    polled_ms: AtomicU64,
    /// Of the job and not of a connection: a client that polls has none that lasts.
    polling: Mutex<Poll>,
    grpc_port: Mutex<Option<OpenPort>>,
}

/// What it is until it is changed.
struct Now {
    plan: Arc<JobPlan>,
    /// How far its readers may be behind, as the description has it.
    reader_lag: Duration,
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
    fn new(id: &str, plan: Arc<JobPlan>, address: &Address, share: f64) -> Self {
        let reader_lag = plan.reader_lag(share);
        // A description is numbers and plain text: it can always be written.
        let description = serde_json::to_vec(&plan.describe(id, address, reader_lag)).unwrap_or_default();
        Self { plan, reader_lag, description: description.into() }
    }
}

impl Job {
    pub(super) fn new(
        id: String,
        plan: JobPlan,
        player: Control,
        feeds: Vec<Arc<Feed>>,
        address: Address,
        grpc_port: OpenPort,
        share: Arc<Share>,
    ) -> Self {
        // Before the pipeline knows the job: its first frame may come before the answer.
        let mut polling = Poll::new(&feeds);
        polling.begin();
        Self {
            player,
            turn: tokio::sync::Mutex::new(()),
            now: RwLock::new(Now::new(&id, Arc::new(plan), &address, share.get())),
            share,
            settings: Mutex::default(),
            throttled: AtomicBool::new(false),
            send_policy: Mutex::new(SendPolicy::new(feeds.len())),
            polling: Mutex::new(polling),
            id,
            feeds,
            address,
            created_ms: now_ms(),
            running: AtomicBool::new(false),
            touched_ms: AtomicU64::new(0),
            polled_ms: AtomicU64::new(NEVER),
            grpc_port: Mutex::new(Some(grpc_port)),
        }
    }

    /// What was asked for, with the channels that it has now.
    pub fn plan(&self) -> Arc<JobPlan> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).plan)
    }

    /// The job object as JSON, the same until its channels change, or how far its readers may be behind.
    pub fn description(&self) -> Bytes {
        let (plan, share) = {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            let share = self.share.get();
            if now.reader_lag == now.plan.reader_lag(share) {
                return now.description.clone();
            }
            (Arc::clone(&now.plan), share)
        };
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&now.plan, &plan) {
            *now = Now::new(&self.id, plan, &self.address, share);
        }
        now.description.clone()
    }

    /// Its values are told in this unit as long as it lives.
    pub(super) fn begin_in(&self, opened: &Opened) {
        let (unit, sample_unit) = (opened.unit.clone(), opened.sample_unit.clone());
        self.become_of(JobPlan { unit, sample_unit, ..JobPlan::clone(&self.plan()) });
        // Whoever opens a stream is told it in words.
        self.feeds.iter().for_each(|feed| feed.set_unit(&opened.unit));
    }

    /// It is `plan` from now on.
    pub(super) fn become_of(&self, plan: JobPlan) {
        let now = Now::new(&self.id, Arc::new(plan), &self.address, self.share.get());
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
    pub(super) fn send_policy(&self) -> MutexGuard<'_, SendPolicy> {
        self.send_policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the frame of `stream` that is there at `now` goes to the broker.
    pub(super) fn pass(&self, stream: usize, now: Duration) -> Pass {
        self.send_policy().pass(stream, now, self.is_throttled())
    }

    /// Whether frames may come; before, the job is only being started.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// It runs from `now` on. Its rows are held for whoever polls, until somebody reads them in another way.
    pub(super) fn run(&self, now: Duration) {
        self.polled_ms.store(now.as_millis() as u64, Ordering::Relaxed);
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
        let open = self.consumers() > 0;
        Seen { open, reads: open || self.polled_ms.load(Ordering::Relaxed) != NEVER, touched }
    }

    /// Up to `rows` rows that nobody has polled yet, as many as `answers` leaves memory for, and whether there will be
    /// none any more. Whoever polls at the same time gets others. `None` when there is no memory for a row.
    pub(super) fn poll(&self, now: Duration, rows: usize, answers: &Answers) -> Option<(Option<PolledRows>, bool)> {
        let room = answers.room()?;
        let mut polling = self.polling();
        self.polled_ms.store(now.as_millis() as u64, Ordering::Relaxed);
        let polled = polling.take(rows, room);
        drop(polling);
        let ended = polled.ended;
        Some((PolledRows::new(&self.id, &self.plan(), polled, answers), ended))
    }

    /// Holds nothing for polls any more when the last one was before `since`, or when there was none and others read.
    pub(super) fn forget_polls(&self, since: Duration) {
        let polled_ms = self.polled_ms.load(Ordering::Relaxed);
        if polled_ms == NEVER {
            return;
        }
        let mut polling = self.polling();
        let in_vain = !polling.is_asked() && self.consumers() > 0;
        if in_vain || u128::from(polled_ms) < since.as_millis() {
            // A poll may have come meanwhile.
            if self.polled_ms.compare_exchange(polled_ms, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                polling.release();
            }
        }
    }

    fn polling(&self) -> MutexGuard<'_, Poll> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its port, to be closed by whoever ends it.
    pub(super) fn take_port(&self) -> Option<OpenPort> {
        self.grpc_port.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
