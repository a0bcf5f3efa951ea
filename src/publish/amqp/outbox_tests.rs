use std::collections::BTreeSet;
use std::time::Duration;

use lapin::BasicProperties;
use proptest::prelude::*;

use super::*;
use crate::status::{Book, Counters};

fn message(id: u64, stream: u8, durable: bool, bytes: usize) -> Message {
    Message {
        kind: Kind::Frame { captured_at: Instant::now(), durable },
        key: format!("site.waterfall.{stream}.0").as_str().into(),
        properties: BasicProperties::default().with_message_id(id.to_string().as_str().into()),
        body: vec![0; bytes],
    }
}

fn status() -> Message {
    Message { kind: Kind::Status, ..message(u64::MAX, 9, false, 1) }
}

const fn answer(ack: bool) -> Answer {
    Answer { ack, returned: None }
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
    /// The message at this place among those under way is answered. With it comes the return of the one at another place,
    /// or of one that was answered before.
    Answer {
        at: usize,
        ack: bool,
        returned: Option<usize>,
        late: bool,
    },
    /// The channel dies, and everything that has no answer is sent again.
    Die,
    TooLarge {
        limit: usize,
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
        12 => (0usize..6, prop::bool::weighted(0.4), prop::option::weighted(0.2, 0usize..6), any::<bool>())
            .prop_map(|(at, ack, returned, late)| Step::Answer { at, ack, returned, late }),
        1 => Just(Step::Die),
        1 => (1usize..100).prop_map(|limit| Step::TooLarge { limit }),
    ]
}

struct Model {
    counters: Counters,
    outbox: Outbox,
    now: Instant,
    under_way: Vec<Number>,
    /// Numbers of frames that may be lost: live ones that were refused.
    live: BTreeSet<Number>,
    refused_live: u64,
    too_large: u64,
    answered: Vec<Number>,
}

impl Model {
    fn new() -> Self {
        let counters = Counters::default();
        Self {
            outbox: Outbox::new(Arc::clone(&counters.publish)),
            counters,
            now: Instant::now(),
            under_way: Vec::new(),
            live: BTreeSet::new(),
            refused_live: 0,
            too_large: 0,
            answered: Vec::new(),
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Put { stream, durable, bytes } => {
                // Numbers are ids: both count from 0.
                let number = self.outbox.next;
                self.counters.egress.frames_made.add(1);
                let (given, _) = self.outbox.put(message(number, stream, durable, bytes));
                assert_eq!(given, number);
                self.under_way.push(number);
                if !durable {
                    self.live.insert(number);
                }
            }
            Step::PutStatus => {
                let (number, _) = self.outbox.put(status());
                self.under_way.push(number);
            }
            Step::Again { ms } => self.again(ms),
            Step::Answer { at, ack, returned, late } if at < self.under_way.len() => {
                let of = if late { &self.answered } else { &self.under_way };
                // Late, the return of a frame that was counted as confirmed.
                let returned = returned.and_then(|at| of.get(at)).map(ToString::to_string);
                let number = self.under_way.remove(at);
                let was_returned = self.outbox.returned.contains(&number.to_string())
                    || returned.as_deref() == Some(&number.to_string());
                if !ack && self.live.contains(&number) && !was_returned {
                    self.refused_live += 1;
                }
                if ack && !was_returned && self.outbox.under_way[&number].is_frame() {
                    self.answered.push(number);
                }
                let answer = Answer { ack, returned };
                assert!(self.outbox.settle(vec![(number, Ok(answer))], self.now).is_ok());
            }
            Step::Answer { .. } => {}
            Step::Die => {
                let dead = self.under_way.iter().map(|&n| (n, Err(Fault::Away("dead".into())))).collect();
                assert_eq!(self.outbox.settle(dead, self.now).is_err(), !self.under_way.is_empty());
                let mut again: Vec<_> = self.outbox.unanswered().into_iter().map(|(number, _)| number).collect();
                let frames = again.iter().position(|n| self.outbox.under_way[n].is_frame()).unwrap_or(again.len());
                assert!(again[..frames].is_sorted() && again[frames..].is_sorted(), "status, then frames in order");
                again.sort_unstable();
                self.under_way.sort_unstable();
                assert_eq!(again, self.under_way);
            }
            Step::TooLarge { limit } => {
                self.too_large += self.outbox.give_up_larger(limit);
                self.under_way.retain(|number| self.outbox.under_way.contains_key(number));
            }
        }
    }

    fn again(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        while let Some((number, _)) = self.outbox.again(self.now) {
            assert!(!self.under_way.contains(&number), "sent twice at once");
            self.under_way.push(number);
        }
    }

    /// What the publisher does once a turn; there is no fence here.
    fn check(&self) {
        let c = &self.counters;
        c.publish.frames_unanswered.set(self.outbox.frames() as f64);
        c.publish.frames_waiting.set(self.outbox.frames() as f64);
        assert!(c.frame_books().iter().all(Book::balances), "{:?}", c.frame_books());
        assert_eq!(c.publish.frames_given_up.get(), self.refused_live + self.too_large, "durable frames are kept");
        assert_eq!(self.outbox.len(), self.under_way.len() + self.outbox.held().len());
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
        for _ in 0..1000 {
            model.again(1000);
            while !model.under_way.is_empty() {
                model.play(Step::Answer { at: 0, ack: true, returned: None, late: false });
                model.check();
            }
        }
        prop_assert_eq!(model.outbox.len(), 0);
        let now = model.now + Duration::from_secs(60);
        prop_assert_eq!(model.outbox.refused_streams(now), 0);
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
        model.outbox.give_up();
        model.check_end();
    }
}

impl Model {
    fn check_end(&self) {
        let c = &self.counters;
        c.publish.frames_unanswered.set(0.0);
        c.publish.frames_waiting.set(0.0);
        assert!(c.frame_books().iter().all(Book::balances), "{:?}", c.frame_books());
        assert_eq!(self.outbox.len(), 0);
    }
}

#[test]
fn a_full_queue_is_tried_with_back_off_and_caught_up_with_in_order() {
    let mut model = Model::new();
    let ms = Duration::from_millis;
    for _ in 0..200 {
        model.play(Step::Put { stream: 0, durable: true, bytes: 10 });
        model.play(Step::Answer { at: 0, ack: false, returned: None, late: false });
    }
    let began = model.now;
    assert_eq!((model.outbox.held().len(), model.outbox.refused_streams(began)), (200, 1));
    // The oldest only, again after 0.5, 1, 2, 4, 5 and 5 s.
    let mut at = began;
    for wait in [500, 1000, 2000, 4000, 5000, 5000].map(ms) {
        assert!(model.outbox.again(at).is_none());
        at += wait;
        let (number, _) = model.outbox.again(at).expect("due");
        assert!(number == 0 && model.outbox.again(at + ms(60_000)).is_none());
        model.outbox.settle(vec![(number, Ok(answer(false)))], at).unwrap();
    }
    // Another stream is not held up.
    let (other, _) = model.outbox.put(message(999, 1, true, 10));
    model.outbox.settle(vec![(other, Ok(answer(true)))], at).unwrap();
    assert!(model.outbox.again(at).is_none() && !model.outbox.held().is_catching_up());
    // A newer frame of the stream is taken: one goes again, then two, four, …, all in order.
    let (newer, _) = model.outbox.put(message(1000, 0, true, 10));
    model.outbox.settle(vec![(newer, Ok(answer(true)))], at).unwrap();
    let (mut sent, mut rounds) = (Vec::new(), Vec::new());
    while model.outbox.held().is_catching_up() {
        let round: Vec<_> = std::iter::from_fn(|| model.outbox.again(at)).map(|(number, _)| number).collect();
        let answers = round.iter().map(|&number| (number, Ok(answer(true)))).collect();
        model.outbox.settle(answers, at).unwrap();
        rounds.push(round.len());
        sent.extend(round);
    }
    assert!(sent.iter().copied().eq(0..200));
    assert_eq!(rounds[..5], [1, 2, 4, 8, 16]);
    assert_eq!((model.outbox.len(), model.outbox.refused_streams(at)), (0, 0));
    let c = &model.counters;
    assert_eq!(
        (c.publish.frames_refused.get(), c.publish.frames_given_up.get(), c.publish.frames_confirmed.get()),
        (206, 0, 202)
    );
}

#[test]
fn when_too_much_is_held_the_oldest_is_given_up_and_counted() {
    let mut model = Model::new();
    let now = model.now;
    for number in 0..5000 {
        let (number, _) = model.outbox.put(message(number, (number % 2) as u8, true, 10));
        model.outbox.settle(vec![(number, Ok(answer(false)))], now).unwrap();
    }
    assert_eq!((model.outbox.held().len(), model.counters.publish.frames_given_up.get()), (4096, 904));
    let (oldest, _) = model.outbox.again(now + Duration::from_secs(1)).unwrap();
    assert!(oldest == 904 || oldest == 905, "{oldest}");
    // And by bytes; one is kept however large it is.
    let mut model = Model::new();
    for id in 0..3 {
        let (number, _) = model.outbox.put(message(id, 0, true, 100 << 20));
        model.outbox.settle(vec![(number, Ok(answer(false)))], now).unwrap();
    }
    assert_eq!((model.outbox.held().len(), model.counters.publish.frames_given_up.get()), (1, 2));
}
