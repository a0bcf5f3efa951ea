//! What is under way on one channel, and what became of each message: told to its owner once, on every path. Pure: the
//! time is passed in. [`confirm_channel`](super::confirm_channel) does what this decides.
//!
//! Here are the limits, for all that is published: one message being written at a time, so many without an answer, the
//! times to wait, the size of a message, and what a blocked connection means: nothing more is written, and no time runs.
//!
//! # Returns
//! The broker returns a message that no queue wants before it confirms it, and names its id. lapin queues what is returned
//! and hands one out with each confirm that it completes, which may be that of another message. So a message that is
//! confirmed without a return was taken: the queue was empty. One that is confirmed with the return of another is unclear
//! until the queue must have been empty: when a later confirm came without a return, or when no message that has come back
//! waits for its own confirm any more, because each confirm takes one out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::Confirmation;
use lapin::types::ShortString;

use super::link::Fault;
use super::size::{SizeChange, SizeLimit};

/// Longest wait until lapin has written one message.
const PUBLISH: Duration = Duration::from_secs(10);
/// Longest wait for an answer while some are outstanding.
const CONFIRM: Duration = Duration::from_secs(15);

/// Number of a message in the order in which it is written.
pub(super) type Number = u64;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The broker has it.
    Taken,
    /// The broker would have it, but no queue wants it.
    Unroutable,
    /// The broker does not take it: a queue that it goes to is full.
    Refused,
    /// The connection was lost before there was an answer.
    Lost,
}

/// Whose messages they are.
pub(super) trait Owner {
    /// What the owner keeps of a message until it is settled.
    type Entry;

    /// The message id; nothing for a message without one.
    fn id(entry: &Self::Entry) -> &str;

    /// Learns what became of a message; called once for each that was put into the window.
    fn settle(&mut self, entry: Self::Entry, outcome: Outcome, now: Instant);
}

/// A confirm as lapin has it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Whether the broker has taken the message.
    pub(super) ack: bool,
    /// Id of a message that no queue wanted, most often of this one.
    pub(super) returned: Option<ShortString>,
}

impl From<Confirmation> for Answer {
    fn from(confirmation: Confirmation) -> Self {
        let ack = confirmation.is_ack();
        let returned = confirmation.take_message();
        Self { ack, returned: returned.map(|back| back.properties.message_id().clone().unwrap_or_default()) }
    }
}

/// See the module.
pub(super) struct Window<O: Owner> {
    pub(super) owner: O,
    most: usize,
    time_limit: Duration,
    next: Number,
    under_way: BTreeMap<Number, UnderWay<O::Entry>>,
    /// Taken, unless it turns out that they came back.
    unclear: Vec<O::Entry>,
    size_limit: SizeLimit,
    blocked: bool,
    /// Since when the write, or the next answer, is waited for.
    writing_since: Option<Instant>,
    answer_since: Option<Instant>,
}

struct UnderWay<T> {
    entry: T,
    bytes: usize,
    came_back: bool,
}

impl<O: Owner> Window<O> {
    /// At most `most` messages without an answer; and none is written while answers are overdue by `time_limit`.
    pub(super) fn new(owner: O, most: usize, time_limit: Duration) -> Self {
        Self {
            owner,
            most,
            time_limit,
            next: 0,
            under_way: BTreeMap::new(),
            unclear: Vec::new(),
            size_limit: SizeLimit::default(),
            blocked: false,
            writing_since: None,
            answer_since: None,
        }
    }

    /// Messages of which it is not known what became of them.
    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.unclear.len()
    }

    /// These messages.
    pub(super) fn iter(&self) -> impl Iterator<Item = &O::Entry> {
        self.under_way.values().map(|message| &message.entry).chain(&self.unclear)
    }

    /// Whether a message may be written, be the window full or not.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        let overdue = self.answer_since.is_some_and(|since| now.duration_since(since) >= self.time_limit);
        !self.blocked && self.writing_since.is_none() && !overdue
    }

    /// Whether a message may be written and has room in the window.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.is_free(now) && self.under_way.len() < self.most
    }

    /// Whether the broker, as far as is known, never takes a message of so many bytes.
    pub(super) fn is_too_large(&mut self, bytes: usize, now: Instant) -> bool {
        self.size_limit.refuses(bytes, now).is_some()
    }

    /// What there is to say about sizes.
    pub(super) fn size_change(&mut self, now: Instant) -> Option<SizeChange> {
        self.size_limit.change(now)
    }

    /// Takes a message of so many bytes that is about to be written.
    pub(super) fn put(&mut self, entry: O::Entry, bytes: usize, now: Instant) -> Number {
        let number = self.next;
        self.next += 1;
        self.writing_since = Some(now);
        self.under_way.insert(number, UnderWay { entry, bytes, came_back: false });
        number
    }

    /// The message is written.
    pub(super) fn written(&mut self, now: Instant) {
        self.writing_since = None;
        self.answer_since.get_or_insert(now);
    }

    /// Takes all answers that are there.
    pub(super) fn answered(&mut self, answers: Vec<(Number, Answer)>, now: Instant) {
        if answers.is_empty() {
            return;
        }
        for id in answers.iter().filter_map(|(_, answer)| answer.returned.as_ref()) {
            self.came_back(id.as_str(), now);
        }
        if answers.iter().any(|(_, answer)| answer.returned.is_none()) {
            self.clear_up(now);
        }
        for (number, Answer { ack, returned }) in answers {
            let Some(UnderWay { entry, came_back, .. }) = self.under_way.remove(&number) else { continue };
            match (ack, came_back) {
                (_, true) => self.owner.settle(entry, Outcome::Unroutable, now),
                (false, false) => self.owner.settle(entry, Outcome::Refused, now),
                (true, false) if returned.is_none() => self.owner.settle(entry, Outcome::Taken, now),
                (true, false) => self.unclear.push(entry),
            }
        }
        if !self.unclear.is_empty() && !self.under_way.values().any(|message| message.came_back) {
            self.clear_up(now);
        }
        let is_written = self.under_way.len() > usize::from(self.writing_since.is_some());
        self.answer_since = is_written.then_some(now);
    }

    /// Takes notice of whether the connection is blocked. Returns whether that has changed.
    pub(super) fn set_blocked(&mut self, blocked: bool, now: Instant) -> bool {
        let changed = std::mem::replace(&mut self.blocked, blocked) != blocked;
        if changed {
            for since in [&mut self.writing_since, &mut self.answer_since] {
                *since = since.map(|_| now);
            }
        }
        changed
    }

    /// When the broker will have been silent for too long, and what is then to be said of it.
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let writing = self.writing_since.map(|since| (since + PUBLISH, "a message could not be written for 10 s"));
        let answer = self.answer_since.map(|since| (since + CONFIRM, "no confirm for 15 s"));
        writing.into_iter().chain(answer).min().filter(|_| !self.blocked)
    }

    /// The connection is gone, because of `fault` unless the daemon stops, and with it all that had no answer. When it was
    /// a message that the broker can never take, it must not come back with every connection: then returns how many bytes
    /// one may have.
    pub(super) fn lose(&mut self, fault: Option<&Fault>, now: Instant) -> Option<usize> {
        let largest = self.under_way.values().map(|message| message.bytes).max().unwrap_or(0);
        self.clear_up(now);
        for message in std::mem::take(&mut self.under_way).into_values() {
            self.owner.settle(message.entry, Outcome::Lost, now);
        }
        (self.blocked, self.writing_since, self.answer_since) = (false, None, None);
        let Some(Fault::Impossible(text)) = fault else { return None };
        self.size_limit.learn(text, largest, now)
    }

    /// No queue wants the message with this id.
    fn came_back(&mut self, id: &str, now: Instant) {
        let is_it = |message: &UnderWay<O::Entry>| !message.came_back && O::id(&message.entry) == id;
        if let Some(at) = self.unclear.iter().position(|entry| O::id(entry) == id) {
            self.owner.settle(self.unclear.swap_remove(at), Outcome::Unroutable, now);
        } else if let Some(message) = self.under_way.values_mut().find(|message| is_it(message)) {
            message.came_back = true;
        }
    }

    /// Nothing comes back any more.
    fn clear_up(&mut self, now: Instant) {
        for entry in self.unclear.drain(..) {
            self.owner.settle(entry, Outcome::Taken, now);
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
pub(super) mod tests;
