//! The newest frames of one stream of a job, for any number of readers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::frame::Frame;

/// See the module.
#[derive(Default)]
pub struct Feed {
    kept: Mutex<Kept>,
    news: Notify,
    readers: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    frames: VecDeque<Arc<Frame>>,
    first: u64,
    ended: bool,
}

/// One who reads.
pub struct Reader {
    feed: Arc<Feed>,
    next: u64,
}

impl Feed {
    /// Takes the stream's next frame.
    pub fn push(&self, frame: Frame) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.frames.push_back(Arc::new(frame));
        if kept.frames.len() > 64 {
            kept.frames.pop_front();
            kept.first += 1;
        }
        self.news.notify_waiters();
    }

    /// The job has ended: readers get what is here, and then the end.
    pub fn end(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.news.notify_waiters();
    }

    /// A reader that begins with the oldest frame that is here.
    pub fn reader(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let next = self.kept.lock().unwrap_or_else(PoisonError::into_inner).first;
        Reader { feed: Arc::clone(self), next }
    }

    /// How many read.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// The next frame; `None` at the end of the job.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        loop {
            let feed = Arc::clone(&self.feed);
            let news = feed.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let kept = feed.kept.lock().unwrap_or_else(PoisonError::into_inner);
                self.next = self.next.max(kept.first);
                if let Some(frame) = kept.frames.get((self.next - kept.first) as usize) {
                    self.next += 1;
                    return Some(Arc::clone(frame));
                }
                if kept.ended {
                    return None;
                }
            }
            news.await;
        }
    }
}
