//! From the feeds of jobs to the broker: the newest frames, live only. On tokio (`das-io-N`), behind the fence.
//!
//! Whoever delivers frames offers them and never waits; nothing is held while no publisher is connected. What waits is
//! bounded in frames and in bytes, and the oldest goes first; what has waited for two seconds is not sent at all, so that
//! a broker that stood still does not get old frames as live. Bytes of a frame are made when it is sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::send_policy::Pass;
use super::{Job, Jobs};
use crate::feed::FeedFrame;
use crate::status::JobFrameCounters;

/// What may wait: a line of some hundreds of jobs. The newest frame may wait however long it is.
const FRAMES: usize = 2048;
const BYTES: usize = 64 << 20;

/// How long a frame may wait and still be sent as live. It counts from here on: what a frame was late before is the
/// same for every reader.
pub const LIVE: Duration = Duration::from_secs(2);

/// There will be no publisher: the configuration names no broker.
const NOBODY: u8 = 0;
/// There is one, which cannot send now.
const CLOSED: u8 = 1;
const OPEN: u8 = 2;

/// A frame on its way to the broker.
#[derive(Clone)]
pub struct LiveFrame {
    /// Whose it is.
    pub job: Arc<Job>,
    /// The frame.
    pub frame: Arc<FeedFrame>,
}

/// See the module.
pub struct LiveQueue {
    state: AtomicU8,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    counters: Arc<JobFrameCounters>,
}

#[derive(Default)]
struct Waiting {
    /// With when they were offered.
    frames: VecDeque<(Instant, LiveFrame)>,
    bytes: usize,
}

impl Jobs {
    /// A queue took a frame of this stream, which counts as looking at the job.
    pub fn found(&self, job: &Job, stream: usize) {
        job.send_policy().found(stream);
        job.touch(self.now());
    }

    /// No queue wanted a frame of this stream.
    pub fn came_back(&self, job: &Job, stream: usize) {
        job.send_policy().came_back(stream, self.now());
    }
}

impl LiveFrame {
    /// Number of its stream.
    pub fn stream(&self) -> usize {
        self.frame.frame().stream.number as usize
    }

    fn bytes(&self) -> usize {
        self.frame.frame().values.len() * size_of::<f32>()
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<LiveFrame> {
        let (_, oldest) = self.frames.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }

    /// Takes out what has waited for too long at `now`.
    fn pop_late(&mut self, now: Instant) -> Vec<LiveFrame> {
        let is_late = |at: &Instant| now.duration_since(*at) >= LIVE;
        let late = self.frames.iter().take_while(|(at, _)| is_late(at)).count();
        (0..late).filter_map(|_| self.pop()).collect()
    }
}

impl LiveQueue {
    /// One that is closed: nobody publishes yet.
    pub fn new(counters: Arc<JobFrameCounters>) -> Self {
        Self { state: AtomicU8::new(NOBODY), waiting: Mutex::default(), arrived: Notify::new(), counters }
    }

    /// There is a publisher, which will open this when it can send. From now on every frame is accounted for.
    pub fn expect_publisher(&self) {
        self.state.store(CLOSED, Ordering::Relaxed);
    }

    /// Whether somebody publishes.
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OPEN
    }

    /// Somebody publishes from now on.
    pub fn open(&self) {
        self.state.store(OPEN, Ordering::Relaxed);
    }

    /// Nobody publishes at present: what waits is dropped.
    pub fn close(&self) {
        let dropped = {
            let mut waiting = self.waiting();
            self.state.store(CLOSED, Ordering::Relaxed);
            let dropped = std::mem::take(&mut *waiting);
            self.counters.dropped.add(dropped.frames.len() as u64);
            self.gauge(&waiting);
            dropped
        };
        drop(dropped);
    }

    /// There is a frame of a job, which `pass` says to send or not. Never waits.
    pub fn offer(&self, frame: LiveFrame, pass: impl FnOnce() -> Pass) {
        let c = &self.counters;
        if self.state.load(Ordering::Relaxed) == NOBODY {
            return;
        }
        c.offered.add(1);
        if !self.is_open() {
            return c.not_connected.add(1);
        }
        match pass() {
            Pass::Go => self.put(frame, Instant::now()),
            Pass::Unwanted => c.unwanted.add(1),
            Pass::Throttled => c.throttled.add(1),
        }
    }

    pub(super) fn put(&self, frame: LiveFrame, now: Instant) {
        // Freed outside the lock.
        let mut dropped = Vec::new();
        {
            let mut waiting = self.waiting();
            if !self.is_open() {
                return self.counters.not_connected.add(1);
            }
            waiting.bytes += frame.bytes();
            waiting.frames.push_back((now, frame));
            while waiting.frames.len() > 1 && (waiting.frames.len() > FRAMES || waiting.bytes > BYTES) {
                dropped.extend(waiting.pop());
            }
            self.counters.dropped.add(dropped.len() as u64);
            self.gauge(&waiting);
        }
        self.arrived.notify_one();
    }

    /// Waits for the [next](Self::next) frame. For one taker; cancel-safe.
    pub async fn take(&self) -> LiveFrame {
        loop {
            if let Some(frame) = self.next(Instant::now()) {
                return frame;
            }
            self.arrived.notified().await;
        }
    }

    /// The oldest frame that waits and is still live at `now`.
    pub(super) fn next(&self, now: Instant) -> Option<LiveFrame> {
        let mut waiting = self.waiting();
        let late = waiting.pop_late(now);
        let next = waiting.pop();
        self.counters.late.add(late.len() as u64);
        self.gauge(&waiting);
        drop(waiting);
        drop(late);
        next
    }

    fn gauge(&self, waiting: &Waiting) {
        self.counters.waiting.set(waiting.frames.len() as f64);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
