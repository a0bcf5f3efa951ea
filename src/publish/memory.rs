//! A sink without a network, for tests and benchmarks: encodes every frame and keeps the last few.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FrameSink;
use crate::egress::Outlet;
use crate::frame::Frame;
use crate::wire;

/// The sink. Clones share what was kept, so one can be run and another be asked.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    site: String,
    keep: usize,
    kept: Arc<Mutex<Kept>>,
}

/// What went through a [`Memory`].
#[derive(Debug, Default)]
pub struct Kept {
    /// Frames taken.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// The encoded bytes of the last frames, oldest first.
    pub last: VecDeque<Vec<u8>>,
}

impl Memory {
    /// Keeps the last `keep` frames of `site`, at least one.
    pub fn new(site: impl Into<String>, keep: usize) -> Self {
        Self { site: site.into(), keep: keep.max(1), kept: Arc::default() }
    }

    /// Takes one frame; for callers without a fence. Allocates nothing once `keep` frames of this size went through.
    pub fn put(&self, frame: &Frame) {
        let mut kept = self.kept();
        let oldest = if kept.last.len() >= self.keep { kept.last.pop_front() } else { None };
        let mut buffer = oldest.unwrap_or_default();
        wire::encode(frame, &self.site, &mut buffer);
        kept.frames += 1;
        kept.bytes += buffer.len() as u64;
        kept.last.push_back(buffer);
    }

    /// What went through so far.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameSink for Memory {
    async fn run(self, outlet: Outlet) {
        while let Some(frame) = outlet.take().await {
            self.put(&frame);
        }
    }
}
