//! The newest lines of one stream of a job, for any number of readers. On tokio (`das-io-N`), behind the fence.
//!
//! Whoever delivers frames pushes them and never waits. A feed holds its newest frame and, beside it, only what somebody
//! has yet to read: without a reader that is nothing. A [`Reader`] begins at the newest line and gets every line from
//! there once, in order, as fast as it likes. How far it may be behind is bounded in bytes and in time ([`Limits`], and the
//! [`Share`] of them that all jobs together leave): the oldest goes first, and a reader that had not read it is told how
//! many lines it lost. [`Poll`] reads whole rows over all streams of a job for those who come back again and again; it
//! is no open reader and does not count as one.

mod cursor;
mod frame;
mod poll;
mod rows;
#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use cursor::Cursor;
pub use cursor::{Look, Reader, Run};
use frame::Owner;
pub use frame::{Extrema, FeedFrame};
pub(crate) use frame::{FRAME_BYTES, VALUE_BYTES};
pub use poll::{Part, Poll, Polled, Row};
use rows::RowNumbers;

use crate::frame::Frame;
pub use crate::wire::Tally;

/// How far readers of a feed may be behind; its newest frame is always held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the frames with all that is made of them.
    pub bytes: usize,
    /// From the oldest to the newest frame, by the monotonic clock of their capture.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, age: Duration::from_secs(30) }
    }
}

impl Limits {
    /// The same, shortened to a share (0…1).
    #[must_use]
    pub fn shortened(self, share: f64) -> Self {
        if share >= 1.0 {
            return self;
        }
        let share = share.max(0.0);
        Self { bytes: (self.bytes as f64 * share) as usize, age: self.age.mul_f64(share) }
    }
}

/// The share of their [`Limits`] that feeds may use, 0…1: less than 1 while the readers of all jobs together could hold
/// more than there is memory for.
#[derive(Debug)]
pub struct Share(AtomicU32);

impl Default for Share {
    fn default() -> Self {
        Self(AtomicU32::new(1f32.to_bits()))
    }
}

impl Share {
    /// The share now.
    pub fn get(&self) -> f64 {
        f64::from(f32::from_bits(self.0.load(Ordering::Relaxed)))
    }

    /// The share from now on.
    pub fn set(&self, share: f64) {
        self.0.store((share.clamp(0.0, 1.0) as f32).to_bits(), Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Default)]
pub struct Feed {
    of: Owner,
    limits: Limits,
    share: Arc<Share>,
    rows: Arc<RowNumbers>,
    kept: Mutex<Kept>,
    arrived: Notify,
    readers: AtomicUsize,
    lines_lost: AtomicU64,
    unit: OnceLock<String>,
}

#[derive(Default)]
struct Kept {
    frames: VecDeque<Held>,
    /// Frames that were here before the oldest that is.
    gone: u64,
    bytes: usize,
    /// Readers and polls for which new frames are held.
    waited_for_by: usize,
    /// Lines taken since the job began.
    lines: u64,
    /// Behind the row of the newest line.
    next_row: u64,
    extrema: Extrema,
    ended: bool,
}

struct Held {
    frame: Arc<FeedFrame>,
    /// How many have yet to read it.
    unread: usize,
}

/// What a feed holds and has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Lines taken since the job began.
    pub lines: u64,
    /// Lines that readers lost because they were behind, added up over readers.
    pub lines_lost: u64,
    /// Frames that are held.
    pub frames_held: usize,
    /// Memory of these.
    pub bytes_held: usize,
    /// Readers that are open.
    pub readers: usize,
}

impl Feed {
    /// An empty feed of a job with this one stream. `site` goes into the header of the wire format.
    pub fn new(site: Arc<str>, limits: Limits) -> Self {
        Self { of: Owner { site, ..Owner::default() }, limits, ..Self::default() }
    }

    /// Empty feeds for the streams of one job, which number their rows alike.
    pub fn of_job(site: &Arc<str>, limits: Limits, streams: usize) -> Vec<Arc<Self>> {
        Self::of_job_within(site, limits, streams, &Arc::default(), &Arc::default())
    }

    /// The same, with limits that become shorter with `share`. What becomes of values as float16 is added to `tally`.
    pub fn of_job_within(
        site: &Arc<str>,
        limits: Limits,
        streams: usize,
        share: &Arc<Share>,
        tally: &Arc<Tally>,
    ) -> Vec<Arc<Self>> {
        let rows = Arc::new(RowNumbers::default());
        let of = Owner { site: Arc::clone(site), tally: Arc::clone(tally) };
        let feed =
            || Self { of: of.clone(), limits, rows: Arc::clone(&rows), share: Arc::clone(share), ..Self::default() };
        (0..streams).map(|_| Arc::new(feed())).collect()
    }

    /// Takes the stream's next frame. Never waits; after the end nothing is taken any more.
    pub fn push(&self, frame: Frame) {
        self.keep(frame);
    }

    /// As [`push`](Self::push); the frame as it is held, when it was taken.
    pub fn keep(&self, frame: Frame) -> Option<Arc<FeedFrame>> {
        if frame.lines == 0 {
            return None;
        }
        let row = self.rows.place(&frame);
        let seen = Extrema::of(&frame);
        let limits = self.limits.shortened(self.share.get());
        // Dropped behind the lock: memory may be given back to its pool.
        let (frame, _dropped) = {
            let mut kept = self.kept();
            if kept.ended {
                return None;
            }
            kept.extrema = kept.extrema.with(seen);
            let row = row.max(kept.next_row);
            let frame = FeedFrame::new(frame, row, kept.lines, kept.extrema, self.of.clone());
            kept.lines += frame.lines() as u64;
            kept.next_row = row.saturating_add(frame.lines() as u64);
            kept.bytes += frame.bytes();
            let frame = Arc::new(frame);
            let unread = kept.waited_for_by;
            kept.frames.push_back(Held { frame: Arc::clone(&frame), unread });
            (frame, kept.let_go(limits))
        };
        self.arrived.notify_waiters();
        Some(frame)
    }

    /// The job has ended: readers get what is here, and then the end.
    pub fn end(&self) {
        self.kept().ended = true;
        self.arrived.notify_waiters();
    }

    /// A reader that begins with the newest line.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader::new(Arc::clone(self))
    }

    /// All values are in this unit; the first word counts.
    pub fn set_unit(&self, unit: &str) {
        let _ = self.unit.set(unit.to_owned());
    }

    /// Unit of all values, as soon as it is known.
    pub fn unit(&self) -> Option<&str> {
        self.unit.get().map(String::as_str)
    }

    /// Readers that are open.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    /// Lines that readers lost because they were behind, added up over readers.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost.load(Ordering::Relaxed)
    }

    /// What is here and what was done.
    pub fn counts(&self) -> Counts {
        let kept = self.kept();
        Counts {
            lines: kept.lines,
            lines_lost: self.lines_lost(),
            frames_held: kept.frames.len(),
            bytes_held: kept.bytes,
            readers: self.readers(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes out what nobody has yet to read, and what is beyond `limits`; the newest frame stays.
    fn let_go(&mut self, limits: Limits) -> Vec<Arc<FeedFrame>> {
        let mut dropped = Vec::new();
        let Some(newest) = self.frames.back().map(|held| held.frame.frame().captured_at) else { return dropped };
        while self.frames.len() > 1 {
            let goes = self.frames.front().is_some_and(|oldest| {
                let age = newest.saturating_duration_since(oldest.frame.frame().captured_at);
                oldest.unread == 0 || age > limits.age || self.bytes > limits.bytes
            });
            if !goes {
                break;
            }
            let Some(oldest) = self.frames.pop_front() else { break };
            self.gone += 1;
            self.bytes -= oldest.frame.bytes();
            dropped.push(oldest.frame);
        }
        dropped
    }

    /// The frames from number `next` on, counted from the first of the job.
    fn frames_from(&mut self, next: u64) -> impl Iterator<Item = &mut Held> {
        let skipped = next.saturating_sub(self.gone).min(self.frames.len() as u64);
        self.frames.range_mut(skipped as usize..)
    }
}
