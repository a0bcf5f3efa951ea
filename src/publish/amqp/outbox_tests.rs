use std::collections::BTreeSet;

use lapin::BasicProperties;
use proptest::prelude::*;

use super::super::link::Fault;
use super::super::window::tests::Lapin;
use super::*;
use crate::status::{Book, Counters};

fn message(id: u64, stream: u8, durable: bool, bytes: usize) -> Message {
    Message {
        kind: Kind::Frame { captured_at: Instant::now(), durable },
        key: format!("site.waterfall.{stream}.0").as_str().into(),
        properties: BasicProperties::default().with_message_id(id.to_string().as_str().into()),
        body: vec![0; bytes].into(),
    }
}

fn status() -> Message {
    Message { kind: Kind::Status, ..message(u64::MAX, 9, false, 1) }
}

/// What may happen to the messages of a publisher, one step after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put {
        stream: u8,
        durable: bool,
        bytes: usize,
    },
    PutStatus,
    /// Time passes, and what is due is sent again.
    Again {
        ms: u64,
    },
    /// The message at this place among those under way comes back, or is answered.
    GiveBack {
        at: usize,
    },
    Answer {
        at: usize,
        ack: bool,
    },
    /// The answers are seen, in some order.
    Look {
        order: usize,
    },
    /// The channel dies, perhaps of a message that is too large, and everything that has no answer is sent again.
    Die {
        too_large: Option<usize>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let put =
        |durable: bool| (0u8..3, 1usize..100).prop_map(move |(stream, bytes)| Step::Put { stream, durable, bytes });
    prop_oneof![
        8 => put(true),
        2 => put(false),
        1 => Just(Step::PutStatus),
        4 => (0u64..2000).prop_map(|ms| Step::Again { ms }),
        3 => (0usize..6).prop_map(|at| Step::GiveBack { at }),
        12 => (0usize..6, prop::bool::weighted(0.4)).prop_map(|(at, ack)| Step::Answer { at, ack }),
        6 => any::<usize>().prop_map(|order| Step::Look { order }),
        1 => prop::option::of(1usize..100).prop_map(|too_large| Step::Die { too_large }),
    ]
}

struct Model {
    counters: Counters,
    window: Window<Outbox>,
    lapin: Lapin,
    now: Instant,
    /// The outbox's number of each message, by the window's.
    sent: Vec<Number>,
    /// Frames that may be lost.
    live: BTreeSet<Number>,
    /// Those of them that were refused, in answers that are not seen yet and in those that are.
    refused_live: [u64; 2],
    too_large: u64,
}

impl Model {
    fn new() -> Self {
        let counters = Counters::default();
        let window = Outbox::window(usize::MAX, Arc::clone(&counters.publish));
        let (lapin, now, sent, live) = (Lapin::default(), Instant::now(), Vec::new(), BTreeSet::new());
        Self { counters, window, lapin, now, sent, live, refused_live: [0; 2], too_large: 0 }
    }

    /// What the publisher and lapin do with a message.
    fn publish(&mut self, (number, message): Numbered) {
        assert!(self.window.iter().all(|(other, _)| *other != number), "sent twice at once");
        let under_way = self.window.put((number, message.clone()), message.body.len(), self.now);
        self.window.written(self.now);
        self.lapin.write(under_way, message.id(), message.mandatory());
        self.sent.push(number);
    }

    fn put(&mut self, message: Message) -> Number {
        let numbered = self.window.owner.put(message);
        let number = numbered.0;
        self.publish(numbered);
        number
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Put { stream, durable, bytes } => {
                self.counters.egress.frames_made.add(1);
                // Numbers are ids: both count from 0.
                let number = self.put(message(self.window.owner.next, stream, durable, bytes));
                if !durable {
                    self.live.insert(number);
                }
            }
            Step::PutStatus => {
                self.put(status());
            }
            Step::Again { ms } => self.again(ms),
            Step::GiveBack { at } => self.lapin.give_back(at),
            Step::Answer { at, ack } => {
                if let Some((under_way, Outcome::Refused)) = self.lapin.answer(at, ack) {
                    self.refused_live[0] += u64::from(self.live.contains(&self.sent[under_way as usize]));
                }
            }
            Step::Look { order } => {
                self.window.answered(self.lapin.look(order), self.now);
                let [unseen, seen] = self.refused_live;
                self.refused_live = [0, seen + unseen];
            }
            Step::Die { too_large } => {
                // What was answered before is seen.
                self.play(Step::Look { order: 0 });
                let open = std::mem::take(&mut self.lapin).open;
                let mut left: Vec<_> = open.iter().map(|open| self.sent[open.number as usize]).collect();
                let fault = too_large.map(|limit| Fault::Impossible(format!("max size {limit}")));
                if let Some(limit) = self.window.lose(fault.as_ref(), self.now) {
                    self.too_large += self.window.owner.give_up_larger(limit);
                    left.retain(|number| self.window.owner.unsettled.keys().any(|(_, other)| other == number));
                }
                self.send_again(left);
            }
        }
    }

    /// What the publisher does with a new connection.
    fn send_again(&mut self, mut left: Vec<Number>) {
        let status = std::iter::from_fn(|| self.window.owner.unsettled(true)).collect::<Vec<_>>();
        let frames = std::iter::from_fn(|| self.window.owner.unsettled(false)).collect::<Vec<_>>();
        assert!(!status.iter().any(|(_, message)| message.is_frame()), "status goes first");
        assert!(frames.iter().all(|(_, message)| message.is_frame()));
        assert!(status.is_sorted_by_key(|(number, _)| *number) && frames.is_sorted_by_key(|(number, _)| *number));
        let mut again: Vec<_> = status.iter().chain(&frames).map(|(number, _)| *number).collect();
        again.sort_unstable();
        left.sort_unstable();
        assert_eq!(again, left, "everything that had no answer, and nothing else");
        status.into_iter().chain(frames).for_each(|numbered| self.publish(numbered));
    }

    fn again(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        while let Some(numbered) = self.window.owner.again(self.now) {
            self.publish(numbered);
        }
    }

    /// What the publisher does once a turn; there is no fence here.
    fn check(&self) {
        let c = &self.counters;
        c.publish.frames_unanswered.set(self.window.frames() as f64);
        c.publish.frames_waiting.set(self.window.frames() as f64);
        assert!(c.frame_books().iter().all(Book::balances), "{:?}", c.frame_books());
        assert_eq!(c.publish.frames_given_up.get(), self.refused_live[1] + self.too_large, "durable frames are kept");
    }
}

proptest! {
    #[test]
    fn each_frame_is_counted_once_and_durable_ones_go_out_in_the_end(steps in prop::collection::vec(step(), 0..200)) {
        let mut model = Model::new();
        for step in steps {
            model.play(step);
            model.check();
        }
        // The queues have room again: everything that is left is taken.
        model.play(Step::Look { order: 0 });
        for _ in 0..1000 {
            model.again(1000);
            while !model.lapin.open.is_empty() {
                model.play(Step::Answer { at: 0, ack: true });
                model.play(Step::Look { order: 0 });
                model.check();
            }
        }
        prop_assert!(model.window.is_settled());
        let now = model.now + Duration::from_secs(60);
        prop_assert_eq!(model.window.owner.refused_streams(now), 0);
        let c = &model.counters;
        let settled = c.publish.frames_confirmed.get() + c.publish.frames_unroutable.get() + c.publish.frames_given_up.get();
        prop_assert_eq!((c.egress.frames_made.get(), c.publish.frames_unconfirmed.get()), (settled, 0));
    }

    #[test]
    fn what_is_left_at_the_end_is_said(steps in prop::collection::vec(step(), 0..100)) {
        let mut model = Model::new();
        for step in steps {
            model.play(step);
        }
        model.window.give_up(model.now);
        let c = &model.counters;
        c.publish.frames_unanswered.set(0.0);
        c.publish.frames_waiting.set(0.0);
        prop_assert!(c.frame_books().iter().all(Book::balances), "{:?}", c.frame_books());
        prop_assert!(model.window.is_settled());
    }
}

/// An outbox whose messages are answered at once.
fn outbox() -> (Outbox, Arc<PublishCounters>) {
    let counters = Arc::default();
    (Outbox::window(1, Arc::clone(&counters)).owner, counters)
}

#[test]
fn a_full_queue_is_tried_with_back_off_and_caught_up_with_in_order() {
    let (mut outbox, c) = outbox();
    let (began, ms) = (Instant::now(), Duration::from_millis);
    for id in 0..200 {
        let numbered = outbox.put(message(id, 0, true, 10));
        outbox.settle(numbered, Outcome::Refused, began);
    }
    assert_eq!((outbox.held().len(), outbox.refused_streams(began)), (200, 1));
    // The oldest only, again after 0.5, 1, 2, 4, 5 and 5 s.
    let mut at = began;
    for wait in [500, 1000, 2000, 4000, 5000, 5000].map(ms) {
        assert!(outbox.again(at).is_none());
        at += wait;
        let numbered = outbox.again(at).expect("due");
        assert!(numbered.0 == 0 && outbox.again(at + ms(60_000)).is_none());
        outbox.settle(numbered, Outcome::Refused, at);
    }
    // Another stream is not held up.
    let other = outbox.put(message(999, 1, true, 10));
    outbox.settle(other, Outcome::Taken, at);
    assert!(outbox.again(at).is_none() && !outbox.held().is_catching_up());
    // A newer frame of the stream is taken: one goes again, then two, four, …, all in order.
    let newer = outbox.put(message(1000, 0, true, 10));
    outbox.settle(newer, Outcome::Taken, at);
    let (mut sent, mut rounds) = (Vec::new(), Vec::new());
    while outbox.held().is_catching_up() {
        let round: Vec<_> = std::iter::from_fn(|| outbox.again(at)).collect();
        rounds.push(round.len());
        for numbered in round {
            sent.push(numbered.0);
            outbox.settle(numbered, Outcome::Taken, at);
        }
    }
    assert!(sent.iter().copied().eq(0..200));
    assert_eq!(rounds[..5], [1, 2, 4, 8, 16]);
    assert_eq!((outbox.frames(), outbox.refused_streams(at)), (0, 0));
    assert_eq!((c.frames_refused.get(), c.frames_given_up.get(), c.frames_confirmed.get()), (206, 0, 202));
}

#[test]
fn when_too_much_is_held_the_oldest_is_given_up_and_counted() {
    let (mut outbox, c) = outbox();
    let now = Instant::now();
    for number in 0..5000 {
        let numbered = outbox.put(message(number, (number % 2) as u8, true, 10));
        outbox.settle(numbered, Outcome::Refused, now);
    }
    assert_eq!((outbox.held().len(), c.frames_given_up.get()), (4096, 904));
    let (oldest, _) = outbox.again(now + Duration::from_secs(1)).unwrap();
    assert!(oldest == 904 || oldest == 905, "{oldest}");
    // And by bytes; one is kept however large it is.
    let (mut outbox, c) = self::outbox();
    for id in 0..3 {
        let numbered = outbox.put(message(id, 0, true, 100 << 20));
        outbox.settle(numbered, Outcome::Refused, now);
    }
    assert_eq!((outbox.held().len(), c.frames_given_up.get()), (1, 2));
}
