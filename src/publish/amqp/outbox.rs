//! Every message that was handed to the broker and is not settled yet, in order, so that a new connection can send it
//! again with the same id: at most duplicated, never missing. Here is where the counting is done, each frame once.
//! The later spool takes this place: it holds the same messages on disk.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use lapin::Confirmation;

use super::link::Fault;
use super::message::{Kind, Message};
use crate::status::Counters;

/// Number of a message in the order of its first publishing.
pub(super) type Number = u64;
/// What became of a message on one connection.
pub(super) type Outcome = (Number, Result<Confirmation, lapin::Error>);

/// Messages without an answer.
pub(super) struct Outbox {
    messages: BTreeMap<Number, Arc<Message>>,
    next: Number,
    answered: u64,
    /// Ids that came back and are counted as unroutable, while their own answer is still to come.
    returned: HashSet<String>,
    /// Frames counted as confirmed whose return turned up only afterwards.
    counted_too_early: u64,
    counters: Arc<Counters>,
}

impl Outbox {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            messages: BTreeMap::new(),
            next: 0,
            answered: 0,
            returned: HashSet::new(),
            counted_too_early: 0,
            counters,
        }
    }

    /// Takes a message that is about to be published for the first time.
    pub(super) fn put(&mut self, message: Message) -> (Number, Arc<Message>) {
        if matches!(message.kind, Kind::Frame { .. }) {
            self.counters.frames_published.add(1);
        }
        let (number, message) = (self.next, Arc::new(message));
        self.next += 1;
        self.messages.insert(number, Arc::clone(&message));
        (number, message)
    }

    /// Messages without an answer.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Messages answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// What a new connection has to send again: status first, each kind in order.
    pub(super) fn unanswered(&self) -> VecDeque<(Number, Arc<Message>)> {
        let (status, frames): (Vec<_>, Vec<_>) = self
            .messages
            .iter()
            .map(|(&number, message)| (number, Arc::clone(message)))
            .partition(|(_, message)| matches!(message.kind, Kind::Status));
        status.into_iter().chain(frames).collect()
    }

    /// Settles what was answered. A message without a good answer stays, and the fault is returned.
    ///
    /// lapin hands a returned message to whichever confirm it completes next, which may be that of another message, and
    /// that other one may be answered before or after. So returns are known by their message id, and one that comes
    /// after its own message was counted as confirmed is made up for with the next confirm: the sums are exact.
    pub(super) fn settle(&mut self, batch: Vec<Outcome>) -> Result<(), Fault> {
        let mut fault = None::<Fault>;
        let mut answered = Vec::with_capacity(batch.len());
        for (number, outcome) in batch {
            match outcome {
                Ok(confirmation) => {
                    answered.push((number, confirmation.is_ack()));
                    if let Some(id) = confirmation.take_message().and_then(|back| back.properties.message_id().clone())
                    {
                        self.came_back(id.as_str());
                    }
                }
                Err(error) => fault = fault.filter(Fault::is_specific).or_else(|| Some(error.into())),
            }
        }
        for (number, ack) in answered {
            let Some(message) = self.messages.remove(&number) else { continue };
            self.answered += 1;
            self.count(&message, ack);
        }
        fault.map_or(Ok(()), Err)
    }

    fn came_back(&mut self, id: &str) {
        let waiting = self.messages.values().any(|message| message.id() == id);
        if waiting && !self.returned.insert(id.to_owned()) {
            // Sent again after a fault, and back again: it is counted already.
            return;
        }
        self.counters.frames_unroutable.add(1);
        self.counted_too_early += u64::from(!waiting);
    }

    fn count(&mut self, message: &Message, ack: bool) {
        let c = &self.counters;
        match (message.kind, ack) {
            (Kind::Frame { .. }, _) if self.returned.remove(message.id()) => {}
            (Kind::Frame { .. }, true) if self.counted_too_early > 0 => self.counted_too_early -= 1,
            (Kind::Frame { captured_at }, true) => {
                c.frames_confirmed.add(1);
                c.bytes_confirmed.add(message.body.len() as u64);
                c.confirm_latency.record(captured_at.elapsed());
            }
            (Kind::Frame { .. }, false) => c.frames_refused.add(1),
            (Kind::Status, true) => c.status_confirmed.add(1),
            (Kind::Status, false) => {}
        }
    }

    /// The broker takes a message for impossible and does not say which. Too large is the only way to be impossible,
    /// and if any is too large then the largest are: they are refused, so that the others get through. Their number
    /// and size.
    pub(super) fn refuse_largest(&mut self) -> (u64, usize) {
        let largest = self.messages.values().map(|message| message.body.len()).max().unwrap_or(0);
        let before = self.messages.len();
        self.messages.retain(|_, message| message.body.len() < largest);
        let refused = (before - self.messages.len()) as u64;
        self.counters.frames_refused.add(refused);
        (refused, largest)
    }

    /// The end: what has no answer now will have none. How many frames that were.
    pub(super) fn give_up(&mut self) -> u64 {
        let frames = self.messages.values().filter(|message| message.mandatory()).count() as u64;
        self.messages.clear();
        self.counters.frames_unconfirmed.add(frames);
        frames
    }
}
