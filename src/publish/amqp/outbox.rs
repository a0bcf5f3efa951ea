//! What is published for good: status, and frames of standing views. Each message is kept until it is settled. What was
//! under way when a connection was lost is sent again with the same id by the next: at most duplicated, never missing.
//! Frames that the broker refuses are [`held`](super::held) and sent again. Here is where the counting is done, each frame
//! once. Pure: the time is passed in.
//!
//! # Where the spool on disk will stand
//! In front of this. A message enters the spool before [`Outbox::put`], which sees each message once, however often it is
//! sent; it leaves the spool, by its message id, where [`Outbox::settle`](Owner::settle) counts it as confirmed,
//! unroutable or given up. What [`Window::give_up`] counts as unconfirmed stays in the spool for the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::Held;
use super::message::{Kind, Message};
use super::window::{Number, Outcome, Owner, Window};
use crate::status::PublishCounters;

/// A message with its number in the order of its first publishing.
pub(super) type Numbered = (Number, Message);

/// Messages that wait to be sent again, and the counts of all.
pub(super) struct Outbox {
    /// Those that were under way when a connection was lost: status first, each kind in order.
    unsettled: BTreeMap<(bool, Number), Message>,
    held: Held,
    next: Number,
    answered: u64,
    counters: Arc<PublishCounters>,
}

impl Outbox {
    /// The window of an outbox, with at most `most` messages under way.
    pub(super) fn window(most: usize, counters: Arc<PublishCounters>) -> Window<Self> {
        let (unsettled, held) = (BTreeMap::new(), Held::default());
        let outbox = Self { unsettled, held, next: 0, answered: 0, counters };
        // However long answers take: what is written is not late.
        Window::new(outbox, most.max(1), Duration::MAX)
    }

    /// Takes a message that is about to be published for the first time.
    pub(super) fn put(&mut self, message: Message) -> Numbered {
        if message.is_frame() {
            self.counters.frames_published.add(1);
        }
        self.next += 1;
        (self.next - 1, message)
    }

    /// The next message that a lost connection has left. `status_only`: unless it is a frame.
    pub(super) fn unsettled(&mut self, status_only: bool) -> Option<Numbered> {
        let next = self.unsettled.first_entry()?;
        let (is_frame, number) = *next.key();
        (!status_only || !is_frame).then(|| (number, next.remove()))
    }

    /// The next frame that was refused and is to be sent again at `now`.
    pub(super) fn again(&mut self, now: Instant) -> Option<Numbered> {
        self.held.next(now)
    }

    /// Frames that were refused.
    pub(super) const fn held(&self) -> &Held {
        &self.held
    }

    /// Streams of which frames are refused at `now`.
    pub(super) fn refused_streams(&mut self, now: Instant) -> usize {
        self.held.streams(now)
    }

    /// Messages answered so far.
    pub(super) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Gives up every message of more than `limit` bytes, which the broker will never take; none is under way. How many
    /// frames that were.
    pub(super) fn give_up_larger(&mut self, limit: usize) -> u64 {
        let before = self.frames();
        self.unsettled.retain(|&(_, number), message| {
            let stays = message.body.len() <= limit;
            if !stays {
                self.held.forget(number, &message.key);
            }
            stays
        });
        self.held.remove_larger(limit);
        let given_up = (before - self.frames()) as u64;
        self.counters.frames_refused.add(given_up);
        self.counters.frames_given_up.add(given_up);
        given_up
    }

    fn frames(&self) -> usize {
        self.unsettled.keys().filter(|(is_frame, _)| *is_frame).count() + self.held.len()
    }
}

impl Owner for Outbox {
    type Entry = Numbered;

    fn id((_, message): &Numbered) -> &str {
        message.id()
    }

    fn settle(&mut self, (number, message): Numbered, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Lost {
            self.unsettled.insert((message.is_frame(), number), message);
            return;
        }
        self.answered += 1;
        let c = &self.counters;
        let Kind::Frame { captured_at, .. } = message.kind else {
            return c.status_confirmed.add(u64::from(outcome == Outcome::Taken));
        };
        if outcome == Outcome::Refused {
            c.frames_refused.add(1);
            return c.frames_given_up.add(self.held.refused(number, message, now).len() as u64);
        }
        self.held.taken(number, &message.key);
        if outcome == Outcome::Unroutable {
            return c.frames_unroutable.add(1);
        }
        c.frames_confirmed.add(1);
        c.bytes_confirmed.add(message.body.len() as u64);
        c.confirm_latency.record(captured_at.elapsed());
    }
}

impl Window<Outbox> {
    /// Frames without a final answer: under way, left by a lost connection, or held.
    pub(super) fn frames(&self) -> usize {
        self.iter().filter(|(_, message)| message.is_frame()).count() + self.owner.frames()
    }

    /// Whether every message has its final answer.
    pub(super) fn is_settled(&self) -> bool {
        self.len() + self.owner.unsettled.len() + self.owner.held.len() == 0
    }

    /// The end: what has no answer now will have none. How many frames that were.
    pub(super) fn give_up(&mut self, now: Instant) -> u64 {
        self.lose(None, now);
        let outbox = &mut self.owner;
        let frames = outbox.frames() as u64;
        outbox.unsettled.clear();
        outbox.held.clear();
        outbox.counters.frames_unconfirmed.add(frames);
        frames
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
