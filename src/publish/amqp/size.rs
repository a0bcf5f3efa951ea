//! The largest message that the broker takes (RabbitMQ's `max_message_size`). It is not told beforehand: a larger message
//! costs the channel, and with it the connection. So it is found out once and remembered. What is decided
//! is pure: the time is passed in.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::status::{FindingKind, Status};

/// After so long a larger message is tried again, which costs a connection when the limit is still there.
const REMEMBER: Duration = Duration::from_secs(3600);
/// When nothing was too large for so long, it is not said any more.
const SAY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SizeLimit {
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    bytes: usize,
    learnt_at: Instant,
    refused_at: Instant,
    said: bool,
}

/// A change of how it stands with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SizeChange {
    /// Messages of more than `limit` bytes are not sent from now on.
    TooLarge { limit: usize },
    /// None was too large for a while.
    Over,
}

impl SizeChange {
    /// Tells it of `frames`, which is what they are in words; `name` is the connection that they go over.
    pub(super) fn tell(self, frames: &str, name: &'static str, status: &Status) {
        match self {
            Self::TooLarge { limit } => {
                let why = format!("{frames} are larger than the {limit} bytes that the broker takes in one message");
                warn!("{why}: they are not sent, and counted as too large");
                status.found(FindingKind::FramesTooLarge, name, why);
            }
            Self::Over => {
                info!("none of the {frames} was too large for the broker for a minute");
                status.take_back(FindingKind::FramesTooLarge, name);
            }
        }
    }
}

impl SizeLimit {
    /// The broker has ended the channel with `text` while the largest message under way had `largest` bytes. Returns the
    /// limit in bytes: that which the broker names, or else just less than the largest. `None` when nothing was under way.
    pub(super) fn learn(&mut self, text: &str, largest: usize, now: Instant) -> Option<usize> {
        let bytes = named(text).or_else(|| largest.checked_sub(1))?;
        let said = self.known.is_some_and(|known| known.said);
        self.known = Some(Known { bytes, learnt_at: now, refused_at: now, said });
        Some(bytes)
    }

    /// Whether a message of `bytes` is too large to be sent at `now`, and then the limit.
    pub(super) fn refuses(&mut self, bytes: usize, now: Instant) -> Option<usize> {
        let known = self.known.as_mut().filter(|known| now.duration_since(known.learnt_at) < REMEMBER)?;
        if bytes <= known.bytes {
            return None;
        }
        known.refused_at = now;
        Some(known.bytes)
    }

    /// What is to be said at `now`; `None` when nothing has changed.
    pub(super) fn change(&mut self, now: Instant) -> Option<SizeChange> {
        let known = self.known.as_mut()?;
        let holds = now.duration_since(known.refused_at) < SAY;
        if holds == known.said {
            return None;
        }
        known.said = holds;
        Some(if holds { SizeChange::TooLarge { limit: known.bytes } } else { SizeChange::Over })
    }
}

/// The limit in `PRECONDITION_FAILED - message size 149600 is larger than configured max size 100000`.
fn named(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("max size ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_names_is_remembered_for_an_hour_and_said_while_it_matters() {
        let (mut limit, now) = (SizeLimit::default(), Instant::now());
        assert_eq!((limit.refuses(usize::MAX, now), limit.change(now)), (None, None));
        let text = "PRECONDITION_FAILED - message size 149600 is larger than configured max size 100000";
        assert_eq!(limit.learn(text, 149_600, now), Some(100_000));
        assert_eq!((limit.change(now), limit.change(now)), (Some(SizeChange::TooLarge { limit: 100_000 }), None));
        assert_eq!((limit.refuses(100_000, now), limit.refuses(100_001, now)), (None, Some(100_000)));
        let soon = now + Duration::from_secs(50);
        assert_eq!(limit.refuses(100_001, soon), Some(100_000));
        assert_eq!(limit.change(now + SAY), None, "one was too large since");
        assert_eq!(limit.change(soon + SAY), Some(SizeChange::Over));
        assert_eq!(limit.refuses(100_001, soon + SAY), Some(100_000));
        assert_eq!(limit.change(soon + SAY), Some(SizeChange::TooLarge { limit: 100_000 }));
        assert_eq!(limit.refuses(100_001, now + REMEMBER), None, "tried again");
    }

    #[test]
    fn without_a_number_the_largest_is_too_large() {
        let (mut limit, now) = (SizeLimit::default(), Instant::now());
        assert_eq!(limit.learn("PRECONDITION_FAILED - no", 0, now), None);
        assert_eq!(limit.learn("PRECONDITION_FAILED - no", 500, now), Some(499));
        assert_eq!((limit.refuses(499, now), limit.refuses(500, now)), (None, Some(499)));
    }
}
