//! Places in a feed: how far somebody has read. What lies behind a place is held for it, as far as the feed's limits go,
//! until it is read; a place that is given up, by `Drop` on every path, holds nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Feed, FeedFrame};

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

/// A place in a feed.
pub(super) struct Cursor {
    feed: Arc<Feed>,
    /// Number of the next frame, counted from the first of the job.
    next: u64,
    /// Lines of the job before it.
    lines: u64,
    /// Whether the feed holds frames for it.
    holds: bool,
}

impl Cursor {
    /// A place before the newest line.
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        let (next, lines) = {
            let mut kept = feed.kept();
            kept.waited_for_by += 1;
            let next = kept.gone + (kept.frames.len() as u64).saturating_sub(1);
            kept.frames_from(next).for_each(|held| held.unread += 1);
            (next, kept.frames.back().map_or(kept.lines, |newest| newest.frame.lines_before()))
        };
        Self { feed, next, lines, holds: true }
    }

    /// Reads one frame and goes on while `more`, given those that are read and the next one, says so.
    pub(super) fn look(&mut self, mut more: impl FnMut(&[Arc<FeedFrame>], &FeedFrame) -> bool) -> Look {
        self.hold();
        let mut kept = self.feed.kept();
        let from = self.next.max(kept.gone);
        let ended = kept.ended;
        let mut waiting = kept.frames_from(from);
        let Some(first) = waiting.next() else {
            return if ended { Look::End } else { Look::Nothing };
        };
        first.unread = first.unread.saturating_sub(1);
        let lines_lost = first.frame.lines_before().saturating_sub(self.lines);
        let mut frames = vec![Arc::clone(&first.frame)];
        for held in waiting {
            if !more(&frames, &held.frame) {
                break;
            }
            held.unread = held.unread.saturating_sub(1);
            frames.push(Arc::clone(&held.frame));
        }
        let limits = self.feed.limits;
        let dropped = kept.let_go(limits);
        drop(kept);
        drop(dropped);
        self.next = from + frames.len() as u64;
        self.lines += lines_lost + frames.iter().map(|frame| frame.lines() as u64).sum::<u64>();
        if lines_lost > 0 {
            self.feed.lines_lost.fetch_add(lines_lost, Ordering::Relaxed);
        }
        Look::Run(Run { lines_lost, frames })
    }

    /// Keeps the place, but nothing is held for it any more until the next look.
    pub(super) fn release(&mut self) {
        if !std::mem::replace(&mut self.holds, false) {
            return;
        }
        let mut kept = self.feed.kept();
        kept.waited_for_by = kept.waited_for_by.saturating_sub(1);
        kept.frames_from(self.next).for_each(|held| held.unread = held.unread.saturating_sub(1));
        let dropped = kept.let_go(self.feed.limits);
        drop(kept);
        drop(dropped);
    }

    fn hold(&mut self) {
        if !std::mem::replace(&mut self.holds, true) {
            let mut kept = self.feed.kept();
            kept.waited_for_by += 1;
            kept.frames_from(self.next).for_each(|held| held.unread += 1);
        }
    }

    fn has_something(&self) -> bool {
        let kept = self.feed.kept();
        kept.ended || self.next < kept.gone + kept.frames.len() as u64
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.release();
    }
}

/// One who reads. Open as long as it lives.
pub struct Reader {
    pub(super) cursor: Cursor,
}

impl Reader {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        feed.readers.fetch_add(1, Ordering::Relaxed);
        Self { cursor: Cursor::new(feed) }
    }

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
            let arrived = feed.arrived.notified();
            tokio::pin!(arrived);
            // From here on nothing is missed.
            arrived.as_mut().enable();
            if self.cursor.has_something() {
                return;
            }
            arrived.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.cursor.feed.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
