//! The fence between threads and tokio. The pipeline offers frames and never waits; the publisher takes them when it can.
//!
//! When frames pile up, the oldest goes first: a live view is worth what is new in it. Every dropped frame is counted.
//! What several streams show alike crosses as one frame and becomes one for each stream on the far side.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use tokio::sync::{Notify, watch};

use crate::frame::Frame;
use crate::status::EgressCounters;

/// The pipeline's side.
#[derive(Clone)]
pub struct Egress {
    frame_tx: Sender<Frame>,
    // The fence may take the oldest frame back to make room.
    frame_rx: Receiver<Frame>,
    arrived: Arc<Notify>,
    counters: Arc<EgressCounters>,
    shared: Arc<Shared>,
    onlooker: Option<Onlooker>,
    /// Where frames of clients' jobs go instead.
    jobs: Option<Box<Self>>,
    // Says nothing; that it is dropped is the message.
    _alive: watch::Sender<()>,
    worth_waiting: Option<WorthWaiting>,
}

/// Whether it is worth waiting (any longer) for the publisher, given how long one frame has waited already. Only for
/// sources that can wait: a replay as fast as it goes. It must end when the daemon is to stop.
pub type WorthWaiting = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// How long it waits before the question is asked again.
const WAIT_TURN: Duration = Duration::from_millis(50);

/// Sees each frame in passing, for a live view on the same terminal. It must not wait: it runs on the dsp thread.
pub type Onlooker = Arc<dyn Fn(&Frame) + Send + Sync>;

/// What both sides know.
#[derive(Default)]
struct Shared {
    /// Frames inside, for each stream.
    inside: AtomicUsize,
    /// Whether the pipeline's side waits for room.
    backpressure: AtomicBool,
}

/// The publisher's side.
pub struct Outlet {
    frame_rx: Receiver<Frame>,
    /// Frames of streams that share one that was taken already.
    of_other_streams: Mutex<VecDeque<Frame>>,
    shared: Arc<Shared>,
    arrived: Arc<Notify>,
    alive: watch::Receiver<()>,
}

/// A fence that holds at most `frames` frames, and counts in `counters`.
pub fn fence(frames: usize, counters: Arc<EgressCounters>) -> (Egress, Outlet) {
    let (frame_tx, frame_rx) = bounded(frames.max(1));
    let arrived = Arc::new(Notify::new());
    let alive = watch::Sender::new(());
    let shared = Arc::<Shared>::default();
    let outlet = Outlet {
        frame_rx: frame_rx.clone(),
        of_other_streams: Mutex::default(),
        shared: Arc::clone(&shared),
        arrived: Arc::clone(&arrived),
        alive: alive.subscribe(),
    };
    let egress = Egress {
        frame_tx,
        frame_rx,
        arrived,
        counters,
        shared,
        onlooker: None,
        jobs: None,
        worth_waiting: None,
        _alive: alive,
    };
    (egress, outlet)
}

impl Egress {
    /// The same fence with somebody looking on.
    #[must_use]
    pub fn seen_by(mut self, onlooker: Onlooker) -> Self {
        self.onlooker = Some(onlooker);
        self
    }

    /// The same fence with another one for the frames of clients' jobs, so that neither a slow broker nor a burst of
    /// displays is in the other's way.
    #[must_use]
    pub fn with_jobs(mut self, jobs: Self) -> Self {
        self.jobs = Some(Box::new(jobs));
        self
    }

    /// The same fence that, when it is full, waits for room as long as `worth_waiting` says so.
    #[must_use]
    pub fn with_backpressure(mut self, worth_waiting: WorthWaiting) -> Self {
        self.worth_waiting = Some(worth_waiting);
        self.shared.backpressure.store(true, Ordering::Relaxed);
        self
    }

    /// Takes `frame` over. Never waits, unless it is [with backpressure](Self::with_backpressure): then it asks again every
    /// 50 ms whether to. A full fence drops its oldest frame and counts it.
    pub fn offer(&self, frame: Frame) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !frame.stream.job.is_empty()) {
            return jobs.offer(frame);
        }
        let mut frame = frame;
        self.counters.frames_made.add(streams(&frame) as u64);
        if let Some(onlooker) = &self.onlooker {
            onlooker(&frame);
        }
        let mut waited = Duration::ZERO;
        // Counted as inside before it is: the far side may take it at once.
        self.shared.inside.fetch_add(streams(&frame), Ordering::Relaxed);
        loop {
            match self.frame_tx.try_send(frame) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if self.worth_waiting.as_ref().is_some_and(|worth| worth(waited)) => {
                    match self.frame_tx.send_timeout(back, WAIT_TURN) {
                        Ok(()) => break,
                        Err(later) => {
                            frame = later.into_inner();
                            waited += WAIT_TURN;
                        }
                    }
                }
                // Full: it cannot be disconnected, as this side holds a receiver as well.
                Err(error) => {
                    if let Ok(oldest) = self.frame_rx.try_recv() {
                        self.drop_counted(&oldest);
                    }
                    frame = error.into_inner();
                }
            }
        }
        self.arrived.notify_one();
    }

    fn drop_counted(&self, frame: &Frame) {
        self.counters.frames_dropped.add(streams(frame) as u64);
        self.shared.inside.fetch_sub(streams(frame), Ordering::Relaxed);
    }

    /// Frames that wait.
    pub fn depth(&self) -> usize {
        self.frame_tx.len()
    }
}

/// Streams that a frame is one of.
fn streams(frame: &Frame) -> usize {
    1 + frame.shared_with.len()
}

impl Drop for Egress {
    fn drop(&mut self) {
        // The outlet must wake to see that the last sender is gone. Senders drop after this body, so the fence's own
        // is exchanged for a dead one first.
        (self.frame_tx, _) = bounded(1);
        self.arrived.notify_one();
    }
}

impl Outlet {
    /// The oldest frame that waits; `None` once the fence is closed and empty. Cancel-safe.
    pub async fn take(&self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.next_shared() {
                return Some(frame);
            }
            match self.frame_rx.try_recv() {
                Ok(frame) => return Some(self.first_of(frame)),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.arrived.notified().await,
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
        self.next_shared().or_else(|| Some(self.first_of(self.frame_rx.recv_timeout(timeout).ok()?)))
    }

    /// Frames that wait, for each stream.
    pub fn depth(&self) -> usize {
        self.shared.inside.load(Ordering::Relaxed)
    }

    /// Whether the pipeline waits when the fence is full, because its source can.
    pub fn has_backpressure(&self) -> bool {
        self.shared.backpressure.load(Ordering::Relaxed)
    }

    fn next_shared(&self) -> Option<Frame> {
        let frame = self.of_other_streams.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.shared.inside.fetch_sub(1, Ordering::Relaxed);
        Some(frame)
    }

    /// The frame of the first of its streams; those of the others wait in `of_other_streams`.
    fn first_of(&self, frame: Frame) -> Frame {
        self.shared.inside.fetch_sub(1, Ordering::Relaxed);
        if frame.shared_with.is_empty() {
            return frame;
        }
        let mut others = self.of_other_streams.lock().unwrap_or_else(PoisonError::into_inner);
        others.extend(frame.of_each_stream());
        others.pop_front().expect("a frame has a stream of its own")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{SharedStream, Stream};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn numbered(sequence: u64) -> Frame {
        Frame { sequence, ..Frame::example() }
    }

    fn drain(outlet: &Outlet) -> Vec<u64> {
        std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).map(|f| f.sequence).collect()
    }

    #[test]
    fn a_full_fence_drops_its_oldest_and_counts() {
        let counters = Arc::new(EgressCounters::default());
        let (egress, outlet) = fence(3, Arc::clone(&counters));
        (0..10).for_each(|n| egress.offer(numbered(n)));
        assert_eq!(drain(&outlet), [7, 8, 9]);
        assert_eq!(counters.frames_dropped.get(), 7);
        assert_eq!(counters.frames_made.get(), 10);
    }

    #[test]
    fn a_fence_with_backpressure_drops_nothing_while_it_is_worth_waiting() {
        let counters = Arc::new(EgressCounters::default());
        let worth_it = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&worth_it);
        let (egress, outlet) = fence(2, Arc::clone(&counters));
        let egress = egress.with_backpressure(Arc::new(move |_| asked.load(Ordering::Relaxed)));
        let offering = std::thread::spawn(move || {
            (0..100).for_each(|n| egress.offer(numbered(n)));
            egress
        });
        let got: Vec<_> = (0..100).map(|_| outlet.take_within(Duration::from_secs(10)).unwrap().sequence).collect();
        assert!(got.iter().copied().eq(0..100));
        let egress = offering.join().unwrap();
        worth_it.store(false, Ordering::Relaxed);
        (0..5).for_each(|n| egress.offer(numbered(n)));
        assert_eq!(drain(&outlet), [3, 4]);
    }

    #[test]
    fn whether_to_wait_is_asked_again_while_a_frame_waits() {
        let counters = Arc::new(EgressCounters::default());
        let (egress, outlet) = fence(1, Arc::clone(&counters));
        let egress = egress.with_backpressure(Arc::new(|waited| waited < 3 * WAIT_TURN));
        (0..2).for_each(|n| egress.offer(numbered(n)));
        assert_eq!((drain(&outlet), counters.frames_dropped.get()), (vec![1], 1));
    }

    #[tokio::test]
    async fn the_outlet_ends_when_the_last_sender_is_gone_and_what_was_inside_is_out() {
        let (egress, outlet) = fence(3, Arc::default());
        let second = egress.clone();
        let taking = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(frame) = outlet.take().await {
                got.push(frame.sequence);
            }
            got
        });
        egress.offer(numbered(1));
        drop(egress);
        second.offer(numbered(2));
        drop(second);
        assert_eq!(taking.await.unwrap(), [1, 2]);
    }

    #[test]
    fn a_shared_frame_comes_out_once_for_each_stream_and_drops_count_them_all() {
        let counters = Arc::new(EgressCounters::default());
        let (egress, outlet) = fence(1, Arc::clone(&counters));
        let own = Frame::example();
        let shared = |name: &str, sequence_offset| SharedStream {
            stream: Arc::new(Stream { name: name.into(), ..Stream::clone(&own.stream) }),
            sequence_offset,
        };
        let shared_with: Arc<[SharedStream]> = Arc::new([shared("a", 3), shared("b", 0u64.wrapping_sub(2))]);
        for sequence in [7, 8] {
            egress.offer(Frame { sequence, shared_with: Arc::clone(&shared_with), ..Frame::example() });
        }
        drop(egress);
        let frames: Vec<_> = std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).collect();
        let got: Vec<_> = frames.iter().map(|f| (f.stream.name.as_str(), f.sequence)).collect();
        assert_eq!(got, [(own.stream.name.as_str(), 8), ("a", 11), ("b", 6)]);
        assert!(frames.iter().all(|f| f.values.flat() == own.values.flat() && f.shared_with.is_empty()));
        assert_eq!((counters.frames_made.get(), counters.frames_dropped.get()), (6, 3));
    }

    #[test]
    fn what_is_inside_is_counted_by_stream_and_frames_of_jobs_apart() {
        let (counters, job_counters) = (Arc::new(EgressCounters::default()), Arc::new(EgressCounters::default()));
        let (egress, outlet) = fence(2, Arc::clone(&counters));
        let (for_jobs, of_jobs) = fence(1, Arc::clone(&job_counters));
        let egress = egress.with_jobs(for_jobs);
        let own = Frame::example();
        let of_a_job = Arc::new(Stream { job: "1".into(), ..Stream::clone(&own.stream) });
        let shared_with: Arc<[SharedStream]> =
            Arc::new([SharedStream { stream: Arc::clone(&own.stream), sequence_offset: 1 }]);
        for sequence in 0..3 {
            egress.offer(Frame { sequence, shared_with: Arc::clone(&shared_with), ..Frame::example() });
            egress.offer(Frame { sequence, stream: Arc::clone(&of_a_job), ..Frame::example() });
        }
        assert_eq!((outlet.depth(), of_jobs.depth()), (4, 1));
        assert_eq!((counters.frames_made.get(), counters.frames_dropped.get()), (6, 2));
        assert_eq!((job_counters.frames_made.get(), job_counters.frames_dropped.get()), (3, 2));
        drain(&of_jobs);
        for left in (0..4).rev() {
            assert!(outlet.take_within(Duration::ZERO).is_some());
            assert_eq!(outlet.depth(), left);
        }
    }
}
