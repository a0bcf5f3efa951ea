//! Every message that was handed to the broker and is not settled yet, in order, so that a new connection can send it
//! again with the same id: at most duplicated, never missing. Frames that the broker refuses are [`held`](super::held)
//! and sent again. Here is where the counting is done, each frame once. The later spool takes this place: it holds the
//! same messages on disk.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use lapin::Confirmation;

use super::held::Held;
use super::link::Fault;
use super::message::{Kind, Message, Number};
use crate::status::PublishCounters;

/// What became of a message on one connection.
pub(super) type Outcome = (Number, Result<Answer, Fault>);

/// What the broker says to a message.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Whether it has taken the message.
    pub(super) ack: bool,
    /// Id of a message that no queue wanted; it may be another one than the one that is answered.
    pub(super) returned: Option<String>,
}

impl From<Confirmation> for Answer {
    fn from(confirmation: Confirmation) -> Self {
        let ack = confirmation.is_ack();
        let id_of = |back: lapin::message::BasicReturnMessage| back.properties.message_id().clone();
        Self { ack, returned: confirmation.take_message().and_then(id_of).map(|id| id.as_str().to_owned()) }
    }
}

/// Messages without a final answer.
pub(super) struct Outbox {
    /// Those that are under way, or were when the connection was lost.
    under_way: BTreeMap<Number, Arc<Message>>,
    held: Held,
    next: Number,
    answered: u64,
    /// Ids that came back on this connection, while their own answer is still to come.
    returned: HashSet<String>,
    /// Frames counted as confirmed whose return turned up only afterwards.
    counted_too_early: u64,
    counters: Arc<PublishCounters>,
}

impl Outbox {
    pub(super) fn new(counters: Arc<PublishCounters>) -> Self {
        Self {
            under_way: BTreeMap::new(),
            held: Held::default(),
            next: 0,
            answered: 0,
            returned: HashSet::new(),
            counted_too_early: 0,
            counters,
        }
    }

    /// Takes a message that is about to be published for the first time.
    pub(super) fn put(&mut self, message: Message) -> (Number, Arc<Message>) {
        if message.is_frame() {
            self.counters.frames_published.add(1);
        }
        let (number, message) = (self.next, Arc::new(message));
        self.next += 1;
        self.under_way.insert(number, Arc::clone(&message));
        (number, message)
    }

    /// The next frame that was refused and is to be sent again at `now`.
    pub(super) fn again(&mut self, now: Instant) -> Option<(Number, Arc<Message>)> {
        let (number, message) = self.held.next(now)?;
        self.under_way.insert(number, Arc::clone(&message));
        Some((number, message))
    }

    /// Messages without a final answer.
    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.held.len()
    }

    /// Messages that are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Frames without a final answer.
    pub(super) fn frames(&self) -> usize {
        self.under_way.values().filter(|message| message.is_frame()).count() + self.held.len()
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
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// What a new connection has to send again: status first, each kind in order. What came back on the connection before
    /// may find a queue now.
    pub(super) fn unanswered(&mut self) -> VecDeque<(Number, Arc<Message>)> {
        self.returned.clear();
        let (frames, status): (Vec<_>, Vec<_>) = self
            .under_way
            .iter()
            .map(|(&number, message)| (number, Arc::clone(message)))
            .partition(|(_, message)| message.is_frame());
        status.into_iter().chain(frames).collect()
    }

    /// Settles what was answered. A message without an answer stays, and the fault is returned.
    ///
    /// lapin hands a returned message to whichever confirm it completes next, which may be that of another message, and
    /// that other one may be answered before or after. So returns are known by their message id. For one that comes
    /// after its own message was counted as confirmed, the next confirm counts as unroutable instead: the sums are exact.
    pub(super) fn settle(&mut self, batch: Vec<Outcome>, now: Instant) -> Result<(), Fault> {
        let mut fault = None::<Fault>;
        let mut answered = Vec::with_capacity(batch.len());
        for (number, outcome) in batch {
            match outcome {
                Ok(Answer { ack, returned }) => {
                    answered.push((number, ack));
                    if let Some(id) = returned {
                        self.came_back(&id);
                    }
                }
                Err(error) => fault = fault.filter(Fault::is_specific).or(Some(error)),
            }
        }
        for (number, ack) in answered {
            let Some(message) = self.under_way.remove(&number) else { continue };
            self.answered += 1;
            self.settle_one(number, message, ack, now);
        }
        fault.map_or(Ok(()), Err)
    }

    fn came_back(&mut self, id: &str) {
        if self.under_way.values().any(|message| message.id() == id) {
            self.returned.insert(id.to_owned());
        } else {
            self.counted_too_early += 1;
        }
    }

    fn settle_one(&mut self, number: Number, message: Arc<Message>, ack: bool, now: Instant) {
        let c = Arc::clone(&self.counters);
        let Kind::Frame { captured_at, .. } = message.kind else {
            return c.status_confirmed.add(u64::from(ack));
        };
        let came_back = self.returned.remove(message.id());
        if ack || came_back {
            self.held.taken(number, &message.key);
        }
        if came_back {
            c.frames_unroutable.add(1);
        } else if !ack {
            c.frames_refused.add(1);
            c.frames_given_up.add(self.held.refused(number, message, now).len() as u64);
        } else if self.counted_too_early > 0 {
            self.counted_too_early -= 1;
            c.frames_unroutable.add(1);
        } else {
            c.frames_confirmed.add(1);
            c.bytes_confirmed.add(message.body.len() as u64);
            c.confirm_latency.record(captured_at.elapsed());
        }
    }

    /// Bytes of the largest message that is under way.
    pub(super) fn largest(&self) -> usize {
        self.under_way.values().map(|message| message.body.len()).max().unwrap_or(0)
    }

    /// Gives up every message of more than `limit` bytes, which the broker will never take. How many frames that were.
    pub(super) fn give_up_larger(&mut self, limit: usize) -> u64 {
        let before = self.frames();
        self.under_way.retain(|&number, message| {
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

    /// The end: what has no answer now will have none. How many frames that were.
    pub(super) fn give_up(&mut self) -> u64 {
        let under_way = self.under_way.values().filter(|message| message.is_frame()).count() as u64;
        self.under_way.clear();
        let frames = under_way + self.held.clear();
        self.counters.frames_unconfirmed.add(frames);
        frames
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
