//! Whether the producer lives: something that only a living producer does must change, timed by our own monotonic
//! clock. The two clocks are never compared, so neither a wrong clock nor a step of it can make a producer look dead.

use std::time::{Duration, Instant};

use super::abi::{AT_HEARTBEAT, AT_SLOTS_WRITTEN};
use super::memory::Memory;

/// A heartbeat that has not moved for so long since the ring was found, while slots have, never will.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(2);

/// What the signs of life say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Seen within the timeout.
    Beating,
    /// Not watched for long enough to say.
    Unknown,
    /// Nothing has changed for longer than the timeout.
    Stopped,
}

/// The signs of life of one mapping.
pub(super) struct Life {
    signs: (u64, u64),
    changed_at: Instant,
    has_beaten: bool,
    at_first: (u64, u64),
    since: Instant,
}

impl Life {
    /// A ring that has just been found may be a dead producer's: it must show life first.
    pub(super) fn new(memory: &Memory) -> Self {
        let (signs, now) = (signs(memory), Instant::now());
        Self { signs, changed_at: now, has_beaten: false, at_first: signs, since: now }
    }

    /// Whether slots are written and the heartbeat has never moved.
    pub(super) fn lacks_heartbeat(&self, memory: &Memory) -> bool {
        let (heartbeat, slots) = signs(memory);
        heartbeat == self.at_first.0 && slots != self.at_first.1 && self.since.elapsed() >= HEARTBEAT_WITHIN
    }

    /// Looks for a change since the last look.
    pub(super) fn pulse(&mut self, memory: &Memory, timeout: Duration) -> Pulse {
        let signs = signs(memory);
        if signs != self.signs {
            (self.signs, self.changed_at, self.has_beaten) = (signs, Instant::now(), true);
        } else if self.changed_at.elapsed() >= timeout {
            self.has_beaten = false;
            return Pulse::Stopped;
        }
        if self.has_beaten { Pulse::Beating } else { Pulse::Unknown }
    }
}

fn signs(memory: &Memory) -> (u64, u64) {
    (memory.load_relaxed(AT_HEARTBEAT), memory.load_relaxed(AT_SLOTS_WRITTEN))
}
