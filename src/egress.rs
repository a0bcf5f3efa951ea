//! The fence between threads and tokio. The pipeline offers frames and never waits; the publisher takes them when it can.
//!
//! When frames pile up, the oldest goes first: a live view is worth what is new in it. Every dropped frame is counted.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use tokio::sync::{Notify, watch};

use crate::frame::Frame;
use crate::status::Counters;

/// The pipeline's side.
#[derive(Clone)]
pub struct Egress {
    frame_tx: Sender<Frame>,
    // The fence may take the oldest frame back to make room.
    frame_rx: Receiver<Frame>,
    news: Arc<Notify>,
    counters: Arc<Counters>,
    onlooker: Option<Onlooker>,
    // Says nothing; that it is dropped is the message.
    _alive: watch::Sender<()>,
}

/// Sees each frame in passing, for a live view on the same terminal. It must not wait: it runs on the dsp thread.
pub type Onlooker = Arc<dyn Fn(&Frame) + Send + Sync>;

/// The publisher's side.
pub struct Outlet {
    frame_rx: Receiver<Frame>,
    news: Arc<Notify>,
    alive: watch::Receiver<()>,
}

/// A fence that holds at most `frames` frames.
pub fn fence(frames: usize, counters: Arc<Counters>) -> (Egress, Outlet) {
    let (frame_tx, frame_rx) = bounded(frames.max(1));
    let news = Arc::new(Notify::new());
    let alive = watch::Sender::new(());
    let outlet = Outlet { frame_rx: frame_rx.clone(), news: Arc::clone(&news), alive: alive.subscribe() };
    (Egress { frame_tx, frame_rx, news, counters, onlooker: None, _alive: alive }, outlet)
}

impl Egress {
    /// The same fence with somebody looking on.
    #[must_use]
    pub fn seen_by(mut self, onlooker: Onlooker) -> Self {
        self.onlooker = Some(onlooker);
        self
    }

    /// Takes `frame` over. Never waits: a full fence drops its oldest frame and counts it.
    pub fn offer(&self, frame: Frame) {
        let mut frame = frame;
        self.counters.frames_made.add(1);
        if let Some(onlooker) = &self.onlooker {
            onlooker(&frame);
        }
        loop {
            match self.frame_tx.try_send(frame) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => {
                    if self.frame_rx.try_recv().is_ok() {
                        self.counters.frames_dropped_at_egress.add(1);
                    }
                    frame = back;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.counters.frames_dropped_at_egress.add(1);
                    return;
                }
            }
        }
        self.news.notify_one();
    }

    /// Frames that wait.
    pub fn depth(&self) -> usize {
        self.frame_tx.len()
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        // The outlet must wake to see that the last sender is gone. Senders drop after this body, so the fence's own
        // is exchanged for a dead one first.
        (self.frame_tx, _) = bounded(1);
        self.news.notify_one();
    }
}

impl Outlet {
    /// The oldest frame that waits; `None` once the fence is closed and empty. Cancel-safe.
    pub async fn take(&self) -> Option<Frame> {
        loop {
            match self.frame_rx.try_recv() {
                Ok(frame) => return Some(frame),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.news.notified().await,
            }
        }
    }

    /// Returns once the pipeline's side is gone, whether frames still wait or not. Cancel-safe.
    pub async fn closed(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// As [`take`](Self::take), from a thread; `None` also when `timeout` has passed.
    pub fn take_within(&self, timeout: Duration) -> Option<Frame> {
        self.frame_rx.recv_timeout(timeout).ok()
    }

    /// Frames that wait.
    pub fn depth(&self) -> usize {
        self.frame_rx.len()
    }
}
