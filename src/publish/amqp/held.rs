//! Durable frames that the broker has refused, because a queue that they go to is full (`x-overflow = reject-publish`),
//! and when they are sent again. Pure: the time is passed in.
//!
//! Each stream (routing key) is on its own, so that a full queue of one does not hold up the others. New frames of a
//! stream go on being tried, once each, for the sake of its other queues. Of those that were refused the oldest is tried
//! with a back-off; as soon as any frame of the stream is taken, the refused ones go first, in order: one, then as many
//! more as were taken, up to a limit. A frame may so come behind newer ones, and twice to queues that had taken it.
//! Memory is bounded: when too many frames are held, the oldest of all is given up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use lapin::types::ShortString;

use super::message::{Kind, Message};
use super::window::Number;

/// What may be held. One frame may be, however large it is.
const MOST_FRAMES: usize = 4096;
const MOST_BYTES: usize = 64 << 20;
/// From one attempt at a full queue to the next.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A stream of which nothing is held and nothing was refused for so long is not refused any more.
const FORGET: Duration = Duration::from_secs(10);
/// Refused frames of one stream that may be under way again at once.
const MOST_AGAIN: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    streams: HashMap<ShortString, Refused>,
    frames: usize,
    bytes: usize,
}

/// A stream whose newest answer was a refusal, or that is catching up.
struct Refused {
    frames: BTreeMap<Number, Message>,
    /// Those that are under way again.
    again: BTreeSet<Number>,
    /// How many may be; none while the queue is full, then there is only an attempt at `next_at`.
    allowed: usize,
    back_off: Duration,
    next_at: Instant,
}

impl Held {
    /// The broker has refused `message`. Returns what is given up: the message itself when it is not durable, or the
    /// oldest when memory is short.
    pub(super) fn refused(&mut self, number: Number, message: Message, now: Instant) -> Vec<Message> {
        let stream = self.streams.entry(message.key.clone()).or_insert_with(|| Refused {
            frames: BTreeMap::new(),
            again: BTreeSet::new(),
            allowed: 0,
            back_off: BACK_OFF_FIRST,
            next_at: now + BACK_OFF_FIRST,
        });
        let tried_again = stream.again.remove(&number);
        if tried_again && stream.allowed == 0 && stream.again.is_empty() {
            stream.back_off = (stream.back_off * 2).min(BACK_OFF_MAX);
        }
        if tried_again || stream.allowed > 0 || stream.frames.is_empty() {
            stream.next_at = now + stream.back_off;
        }
        stream.allowed = 0;
        if !matches!(message.kind, Kind::Frame { durable: true, .. }) {
            return vec![message];
        }
        (self.frames, self.bytes) = (self.frames + 1, self.bytes + message.body.len());
        stream.frames.insert(number, message);
        let mut given_up = Vec::new();
        while self.frames > 1 && (self.frames > MOST_FRAMES || self.bytes > MOST_BYTES) {
            given_up.extend(self.take_oldest());
        }
        given_up
    }

    /// The broker has taken a message with this key, so that it may take others.
    pub(super) fn taken(&mut self, number: Number, key: &ShortString) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.allowed = (stream.allowed + 1).min(MOST_AGAIN);
        stream.back_off = BACK_OFF_FIRST;
        self.forget(number, key);
    }

    /// This message is not under way any more.
    pub(super) fn forget(&mut self, number: Number, key: &ShortString) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.again.remove(&number);
        if stream.frames.is_empty() && stream.again.is_empty() {
            self.streams.remove(key);
        }
    }

    /// The next frame that is to be sent again at `now`; it is no longer held.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Number, Message)> {
        let is_due = |s: &&mut Refused| {
            if s.allowed > 0 { s.again.len() < s.allowed } else { s.again.is_empty() && now >= s.next_at }
        };
        let stream = self.streams.values_mut().filter(|s| !s.frames.is_empty()).find(is_due)?;
        let (number, message) = stream.frames.pop_first()?;
        stream.again.insert(number);
        stream.next_at = now + stream.back_off;
        (self.frames, self.bytes) = (self.frames - 1, self.bytes - message.body.len());
        Some((number, message))
    }

    /// Whether refused frames are going out in order now, so that newer ones have to wait.
    pub(super) fn is_catching_up(&self) -> bool {
        self.streams.values().any(|s| s.allowed > 0 && !s.frames.is_empty())
    }

    /// Whether so much is held that who can wait should.
    pub(super) const fn is_half_full(&self) -> bool {
        self.frames > MOST_FRAMES / 2 || self.bytes > MOST_BYTES / 2
    }

    /// Frames held.
    pub(super) const fn len(&self) -> usize {
        self.frames
    }

    /// Streams of which frames are refused at `now`.
    pub(super) fn streams(&mut self, now: Instant) -> usize {
        self.streams.retain(|_, s| !s.frames.is_empty() || !s.again.is_empty() || now < s.next_at + FORGET);
        self.streams.len()
    }

    /// Removes frames of more than `limit` bytes.
    pub(super) fn remove_larger(&mut self, limit: usize) {
        for stream in self.streams.values_mut() {
            stream.frames.retain(|_, message| {
                let bytes = message.body.len();
                if bytes > limit {
                    (self.frames, self.bytes) = (self.frames - 1, self.bytes - bytes);
                }
                bytes <= limit
            });
        }
    }

    /// Forgets everything; how many frames that were.
    pub(super) fn clear(&mut self) -> u64 {
        std::mem::take(self).frames as u64
    }

    fn take_oldest(&mut self) -> Option<Message> {
        let first = |s: &Refused| s.frames.first_key_value().map(|(&number, _)| number);
        let oldest = self.streams.values_mut().filter(|s| !s.frames.is_empty()).min_by_key(|s| first(s))?;
        let (_, message) = oldest.frames.pop_first()?;
        (self.frames, self.bytes) = (self.frames - 1, self.bytes - message.body.len());
        Some(message)
    }
}
