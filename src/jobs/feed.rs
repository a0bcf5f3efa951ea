//! The newest lines of one stream of a job, for any number of readers. On tokio (`das-io-N`), behind the fence.
//!
//! Whoever delivers frames pushes them and never waits. A [`Reader`] begins at the oldest line that is held and gets
//! every line once, in order, at its own pace. What a feed holds is bounded in bytes and in time: the oldest goes first,
//! and a reader that had not read it is told how many lines it lost. Bytes of a frame are made once, when the first
//! reader wants them ([`FeedFrame`]). [`Poll`] reads whole rows over all streams of a job for those who come back
//! again and again; it is no open reader and does not count as one.

mod frame;
mod poll;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

pub use frame::{Extrema, FeedFrame};
pub use poll::{Part, Poll, Polled, Row};
use rows::RowNumbers;

use crate::frame::Frame;

/// How much a feed holds for readers that are behind; its newest frame is always held.
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

/// See the module.
#[derive(Default)]
pub struct Feed {
    site: Arc<str>,
    limits: Limits,
    rows: Arc<RowNumbers>,
    kept: Mutex<Kept>,
    news: Notify,
    readers: AtomicUsize,
    lines_lost: AtomicU64,
}

#[derive(Default)]
struct Kept {
    frames: VecDeque<Arc<FeedFrame>>,
    /// Frames that were here before the oldest that is.
    gone: u64,
    bytes: usize,
    /// Lines taken since the job began.
    lines: u64,
    /// Behind the row of the newest line.
    next_row: u64,
    extrema: Extrema,
    ended: bool,
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

/// What comes next to a reader.
#[derive(Clone, Debug)]
pub struct Run {
    /// Lines that were dropped just before, because the reader was behind.
    pub lines_lost: u64,
    /// Neighbouring frames, at least one.
    pub frames: Vec<Arc<FeedFrame>>,
}

/// What a look at a feed gave.
#[derive(Debug)]
pub enum Look {
    /// There was something, and it has been read.
    Run(Run),
    /// Everything has been read for now.
    Nothing,
    /// The job has ended and everything has been read.
    End,
}

impl Feed {
    /// An empty feed of a job with this one stream. `site` goes into the header of the wire format.
    pub fn new(site: Arc<str>, limits: Limits) -> Self {
        Self { site, limits, ..Self::default() }
    }

    /// Empty feeds for the streams of one job, which number their rows alike.
    pub fn of_job(site: &Arc<str>, limits: Limits, streams: usize) -> Vec<Arc<Self>> {
        let rows = Arc::new(RowNumbers::default());
        let feed = || Self { rows: Arc::clone(&rows), ..Self::new(Arc::clone(site), limits) };
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
        // Dropped behind the lock: memory may be given back to its pool.
        let mut dropped = Vec::new();
        let frame = {
            let mut kept = self.kept();
            if kept.ended {
                return None;
            }
            kept.extrema = kept.extrema.with(seen);
            let row = row.max(kept.next_row);
            let frame = FeedFrame::new(frame, row, kept.lines, kept.extrema, Arc::clone(&self.site));
            kept.lines += frame.lines() as u64;
            kept.next_row = row.saturating_add(frame.lines() as u64);
            kept.bytes += frame.bytes();
            let frame = Arc::new(frame);
            kept.frames.push_back(Arc::clone(&frame));
            kept.make_room(self.limits, &mut dropped);
            frame
        };
        self.news.notify_waiters();
        Some(frame)
    }

    /// The job has ended: readers get what is here, and then the end.
    pub fn end(&self) {
        self.kept().ended = true;
        self.news.notify_waiters();
    }

    /// A reader that begins with the oldest line that is here.
    pub fn reader(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Reader { cursor: Cursor::new(Arc::clone(self)) }
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
    fn make_room(&mut self, limits: Limits, dropped: &mut Vec<Arc<FeedFrame>>) {
        let Some(newest) = self.frames.back().map(|frame| frame.frame().captured_at) else { return };
        while self.frames.len() > 1 {
            let too_old = self
                .frames
                .front()
                .is_some_and(|oldest| newest.saturating_duration_since(oldest.frame().captured_at) > limits.age);
            if !too_old && self.bytes <= limits.bytes {
                return;
            }
            let Some(oldest) = self.frames.pop_front() else { return };
            self.gone += 1;
            self.bytes -= oldest.bytes();
            dropped.push(oldest);
        }
    }
}

/// A place in a feed.
struct Cursor {
    feed: Arc<Feed>,
    /// Number of the next frame, counted from the first of the job.
    next: u64,
    /// Lines of the job before it.
    lines: u64,
}

impl Cursor {
    fn new(feed: Arc<Feed>) -> Self {
        let (next, lines) = {
            let kept = feed.kept();
            (kept.gone, kept.frames.front().map_or(kept.lines, |oldest| oldest.lines_before()))
        };
        Self { feed, next, lines }
    }

    /// Reads one frame and goes on while `more`, given those that are read and the next one, says so.
    fn look(&mut self, mut more: impl FnMut(&[Arc<FeedFrame>], &FeedFrame) -> bool) -> Look {
        let kept = self.feed.kept();
        let from = self.next.max(kept.gone);
        let mut waiting = kept.frames.range((from - kept.gone).min(kept.frames.len() as u64) as usize..);
        let Some(first) = waiting.next() else {
            return if kept.ended { Look::End } else { Look::Nothing };
        };
        let lines_lost = first.lines_before() - self.lines;
        let mut frames = vec![Arc::clone(first)];
        for frame in waiting {
            if !more(&frames, frame) {
                break;
            }
            frames.push(Arc::clone(frame));
        }
        drop(kept);
        self.next = from + frames.len() as u64;
        self.lines += lines_lost + frames.iter().map(|frame| frame.lines() as u64).sum::<u64>();
        if lines_lost > 0 {
            self.feed.lines_lost.fetch_add(lines_lost, Ordering::Relaxed);
        }
        Look::Run(Run { lines_lost, frames })
    }

    fn has_something(&self) -> bool {
        let kept = self.feed.kept();
        kept.ended || self.next < kept.gone + kept.frames.len() as u64
    }
}

/// One who reads. Open as long as it lives.
pub struct Reader {
    cursor: Cursor,
}

impl Reader {
    /// The next frame; `None` at the end of the job. Cancel-safe.
    pub async fn next(&mut self) -> Option<Run> {
        self.next_run(|_, _| false).await
    }

    /// The next frame and as many of those behind it as are here and as `more`, given those that are taken and the next
    /// one, wants. `None` at the end of the job. Cancel-safe.
    pub async fn next_run(&mut self, mut more: impl FnMut(&[Arc<FeedFrame>], &FeedFrame) -> bool) -> Option<Run> {
        loop {
            match self.cursor.look(&mut more) {
                Look::Run(run) => return Some(run),
                Look::End => return None,
                Look::Nothing => self.ready().await,
            }
        }
    }

    /// The next frame, when it is here.
    pub fn look(&mut self) -> Look {
        self.cursor.look(|_, _| false)
    }

    /// Returns once [`look`](Self::look) finds a frame or the end. Cancel-safe.
    pub async fn ready(&self) {
        let feed = &self.cursor.feed;
        loop {
            let news = feed.news.notified();
            tokio::pin!(news);
            // From here on nothing is missed.
            news.as_mut().enable();
            if self.cursor.has_something() {
                return;
            }
            news.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.cursor.feed.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
