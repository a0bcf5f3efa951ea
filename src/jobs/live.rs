//! From the feeds of jobs to the broker: the newest frames, live only. On tokio (`das-io-N`), behind the fence.
//!
//! Whoever delivers frames offers them and never waits; nothing is held while no publisher is connected. What waits is
//! bounded in frames and in bytes, and the oldest goes first. Bytes of a frame are made when it is sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Job;
use super::feed::FeedFrame;
use crate::status::Counters;

/// What may wait: a line of some hundreds of jobs. The newest frame may wait however long it is.
const FRAMES: usize = 2048;
const BYTES: usize = 64 << 20;

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
    open: AtomicBool,
    waiting: Mutex<Waiting>,
    news: Notify,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<LiveFrame>,
    bytes: usize,
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
        let oldest = self.frames.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }
}

impl LiveQueue {
    /// One that is closed: nobody publishes yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { open: AtomicBool::new(false), waiting: Mutex::default(), news: Notify::new(), counters }
    }

    /// Whether somebody publishes.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Somebody publishes from now on.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Nobody publishes any more: what waits is dropped.
    pub fn close(&self) {
        let dropped = {
            let mut waiting = self.waiting();
            self.open.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        self.counters.job_frames_dropped.add(dropped.frames.len() as u64);
    }

    /// Takes a frame over. Never waits.
    pub fn offer(&self, frame: LiveFrame) {
        let mut dropped = Vec::new();
        {
            let mut waiting = self.waiting();
            if !self.is_open() {
                return;
            }
            waiting.bytes += frame.bytes();
            waiting.frames.push_back(frame);
            while waiting.frames.len() > 1 && (waiting.frames.len() > FRAMES || waiting.bytes > BYTES) {
                dropped.extend(waiting.pop());
            }
        }
        self.counters.job_frames_dropped.add(dropped.len() as u64);
        self.news.notify_one();
    }

    /// The oldest frame that waits. For one taker; cancel-safe.
    pub async fn take(&self) -> LiveFrame {
        loop {
            if let Some(frame) = self.waiting().pop() {
                return frame;
            }
            self.news.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
