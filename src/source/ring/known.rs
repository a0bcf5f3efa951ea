//! The epoch that was probed last, and where the reader stands in it. Outlives the mapping: a ring that is mapped again
//! goes on where it was left.

use std::time::{Duration, Instant};

use super::abi::{AT_SLOTS_WRITTEN, Declared};
use super::attached::Attached;
use super::file::FileId;
use super::header::Geometry;
use super::rate::RateMeter;
use super::reader::Reader;
use crate::acquisition::{Acquisition, DarkReason};

/// Shortest and longest sleep between two looks at the count of slots.
const SHORT_PAUSE_S: f64 = 250e-6;
const LONG_PAUSE_S: f64 = 5e-3;
/// Silence after which looking often brings nothing.
const SILENCE_S: f64 = 0.2;

/// See the module.
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) declared: Declared,
    pub(super) acquisition: Acquisition,
    pub(super) reader: Reader,
    pub(super) rate: RateMeter,
    pub(super) last_slot_at: Instant,
    pub(super) begun: Instant,
    /// The count of slots when its mapping was last let go.
    pub(super) last_written: u64,
}

/// What tells one epoch of one ring from every other.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Key {
    pub(super) file: FileId,
    pub(super) geometry: Geometry,
    pub(super) instance: u64,
    pub(super) epoch: u64,
}

impl Known {
    /// Traces that nobody will read any more when this epoch ends. `goes_on` is where the next one begins, when it is in
    /// the same ring.
    pub(super) fn lost_at_end(&self, goes_on: Option<u64>) -> u64 {
        self.reader.lost_at(goes_on.unwrap_or(self.last_written))
    }

    /// The mapping is let go.
    pub(super) fn leave(&mut self, attached: &Attached) {
        if !attached.memory().is_damaged() {
            self.last_written = attached.memory().load(AT_SLOTS_WRITTEN);
        }
    }

    /// Why there is light and life and still nothing to read, once that has lasted for `limit`.
    pub(super) fn why_empty(&self, written: u64, limit: Duration) -> Option<DarkReason> {
        let limit = limit.max(Duration::from_secs_f64(2.0 * self.reader.slot_s()));
        if self.reader.has_read() || written != self.reader.slot() || self.begun.elapsed() < limit {
            return None;
        }
        Some(if written == 0 { DarkReason::NoSlots } else { DarkReason::NoTraces })
    }

    pub(super) fn see(&mut self, attached: &Attached, origin: Instant) {
        let now = Instant::now();
        self.last_slot_at = now;
        if let Some(trace) = self.reader.newest_trace(attached.memory()) {
            let late_s = self.rate.see(trace, now.duration_since(origin).as_secs_f64());
            // The next wait begins when the slot came and not when it was seen: one late look must not make the next
            // ones late as well.
            let late = Duration::from_secs_f64(late_s.clamp(0.0, LONG_PAUSE_S));
            self.last_slot_at = now.checked_sub(late).unwrap_or(now);
        }
    }

    /// How long to sleep before `traces` more may be there.
    pub(super) fn pause(&self, traces: usize) -> Duration {
        let silent_s = self.last_slot_at.elapsed().as_secs_f64();
        let (fill_s, ring_s) = self.reader.wait_s(traces);
        if silent_s > SILENCE_S.max(4.0 * fill_s) {
            return Duration::from_secs_f64(LONG_PAUSE_S);
        }
        // A small ring must not come around while we sleep.
        let longest = LONG_PAUSE_S.min(ring_s / 4.0).max(SHORT_PAUSE_S);
        Duration::from_secs_f64((fill_s - silent_s - SHORT_PAUSE_S).clamp(SHORT_PAUSE_S, longest))
    }
}

impl Key {
    /// Whether slots are counted on from one to the other.
    pub(super) fn is_same_ring(&self, other: &Self) -> bool {
        (self.file, self.geometry) == (other.file, other.geometry)
    }
}
