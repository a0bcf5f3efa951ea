use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::super::live::JobFrames;
use super::*;
use crate::status::{Book, JobFrameCounters};

/// A broker behind lapin: what is returned waits in a queue, and whichever message is answered next takes one out.
#[derive(Default)]
pub(in super::super) struct Lapin {
    pub(in super::super) open: Vec<Open>,
    returned: VecDeque<ShortString>,
    answered: Vec<(Number, Answer)>,
}

/// A message that it has not answered.
pub(in super::super) struct Open {
    pub(in super::super) number: Number,
    id: ShortString,
    mandatory: bool,
    came_back: bool,
}

impl Lapin {
    pub(in super::super) fn write(&mut self, number: Number, id: &str, mandatory: bool) {
        self.open.push(Open { number, id: id.into(), mandatory, came_back: false });
    }

    /// No queue wants the message at this place among those that have no answer.
    pub(in super::super) fn give_back(&mut self, at: usize) {
        if let Some(open) = self.open.get_mut(at).filter(|open| open.mandatory && !open.came_back) {
            open.came_back = true;
            self.returned.push_back(open.id.clone());
        }
    }

    /// The message is answered; one that came back is never refused, because there is no queue that could refuse it. Says
    /// what became of which.
    pub(in super::super) fn answer(&mut self, at: usize, ack: bool) -> Option<(Number, Outcome)> {
        let Open { number, came_back, .. } = (at < self.open.len()).then(|| self.open.remove(at))?;
        let ack = ack || came_back;
        self.answered.push((number, Answer { ack, returned: self.returned.pop_front() }));
        let outcome = match ack {
            _ if came_back => Outcome::Unroutable,
            true => Outcome::Taken,
            false => Outcome::Refused,
        };
        Some((number, outcome))
    }

    /// All answers since the last look, in any order: lapin answers many at once in no order.
    pub(in super::super) fn look(&mut self, order: usize) -> Vec<(Number, Answer)> {
        let mut answers = std::mem::take(&mut self.answered);
        let turn = order % answers.len().max(1);
        answers.rotate_left(turn);
        if order % 2 == 1 {
            answers.reverse();
        }
        answers
    }
}

/// What happens to messages, one step after the other. Places are among those that have no answer.
#[derive(Clone, Debug)]
enum Step {
    Write {
        bytes: usize,
    },
    Written,
    GiveBack {
        at: usize,
    },
    Answer {
        at: usize,
        ack: bool,
    },
    /// All up to this place at once (the flag `multiple`), one after the other in no order.
    AnswerUpTo {
        at: usize,
        ack: bool,
        order: usize,
    },
    Look {
        order: usize,
    },
    Block(bool),
    Time {
        ms: u64,
    },
    Lose {
        too_large: Option<usize>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..100).prop_map(|bytes| Step::Write { bytes }),
        12 => Just(Step::Written),
        4 => (0usize..8).prop_map(|at| Step::GiveBack { at }),
        12 => (0usize..8, prop::bool::weighted(0.7)).prop_map(|(at, ack)| Step::Answer { at, ack }),
        3 => (0usize..8, any::<bool>(), 0usize..8).prop_map(|(at, ack, order)| Step::AnswerUpTo { at, ack, order }),
        6 => any::<usize>().prop_map(|order| Step::Look { order }),
        1 => any::<bool>().prop_map(Step::Block),
        3 => (0u64..3000).prop_map(|ms| Step::Time { ms }),
        1 => prop::option::of(0usize..100).prop_map(|too_large| Step::Lose { too_large }),
    ]
}

/// A message by its number, which is the window's as well, and its id.
type Entry = (Number, ShortString);

/// A window, the broker that it faces, and what must come of each message.
struct Model<O: Owner<Entry = Entry>> {
    window: Window<O>,
    lapin: Lapin,
    now: Instant,
    put: u64,
    /// What lapin has not written yet.
    writing: Option<Number>,
    /// What the broker said to messages of which the window does not know yet.
    said: BTreeMap<Number, Outcome>,
    /// What became of messages.
    expected: BTreeMap<Number, Outcome>,
    /// Those of which it may have been missed that they came back.
    unsure: Vec<Number>,
}

impl<O: Owner<Entry = Entry>> Model<O> {
    fn new(window: Window<O>) -> Self {
        let (lapin, now) = (Lapin::default(), Instant::now());
        let (said, expected) = (BTreeMap::new(), BTreeMap::new());
        Self { window, lapin, now, put: 0, writing: None, said, expected, unsure: Vec::new() }
    }

    fn play(&mut self, step: &Step) {
        let (window, now) = (&mut self.window, self.now);
        match *step {
            Step::Write { bytes } => {
                if !window.has_room(now) || window.is_too_large(bytes, now) {
                    return;
                }
                let number = window.put(entry(self.put), bytes, now);
                assert!(number == self.put && !window.is_free(now), "one at a time");
                self.put += 1;
                self.writing = Some(number);
            }
            Step::Written => {
                if let Some(number) = self.writing.take() {
                    window.written(now);
                    self.lapin.write(number, entry(number).1.as_str(), number % 5 != 0);
                }
            }
            Step::GiveBack { at } => self.lapin.give_back(at),
            Step::Answer { at, ack } => self.said.extend(self.lapin.answer(at, ack)),
            Step::AnswerUpTo { at, ack, order } => {
                for left in (1..=self.lapin.open.len().min(at + 1)).rev() {
                    self.said.extend(self.lapin.answer(order % left, ack));
                }
            }
            Step::Look { order } => {
                window.answered(self.lapin.look(order), now);
                self.expected.append(&mut self.said);
            }
            Step::Block(blocked) => {
                let changed = window.blocked != blocked;
                assert_eq!(window.set_blocked(blocked, now), changed);
            }
            Step::Time { ms } => self.now += Duration::from_millis(ms),
            Step::Lose { too_large } => {
                self.unsure.extend(window.unclear.iter().map(|(number, _)| *number));
                let fault = too_large.map(|limit| Fault::Impossible(format!("max size {limit}")));
                assert_eq!(window.lose(fault.as_ref(), now), too_large);
                (self.lapin, self.said, self.writing) = (Lapin::default(), BTreeMap::new(), None);
                for number in 0..self.put {
                    self.expected.entry(number).or_insert(Outcome::Lost);
                }
            }
        }
    }

    fn check(&self) {
        let (window, writing) = (&self.window, usize::from(self.writing.is_some()));
        assert!(window.unclear.len() <= 2 * window.most, "bounded by the window");
        assert_eq!(window.len(), self.lapin.open.len() + self.said.len() + window.unclear.len() + writing);
        let awaited = !window.under_way.is_empty();
        assert_eq!(window.deadline().is_some(), awaited && !window.blocked, "silence is noticed");
        assert!(!window.blocked || !window.is_free(self.now));
    }

    /// The end: the daemon stops, or everything is answered.
    fn finish(&mut self, stop: bool) {
        if stop {
            self.play(&Step::Lose { too_large: None });
        }
        self.play(&Step::Written);
        self.play(&Step::AnswerUpTo { at: usize::MAX - 1, ack: true, order: 0 });
        self.play(&Step::Look { order: 0 });
        assert!(self.window.len() == 0 && self.window.deadline().is_none());
        assert_eq!(self.expected.len() as u64, self.put);
    }
}

fn entry(number: Number) -> Entry {
    (number, number.to_string().as_str().into())
}

/// What became of each message.
#[derive(Default)]
struct Record(BTreeMap<Number, Outcome>);

impl Owner for Record {
    type Entry = Entry;

    fn id((_, id): &Entry) -> &str {
        id.as_str()
    }

    fn settle(&mut self, (number, _): Entry, outcome: Outcome, _: Instant) {
        assert_eq!(self.0.insert(number, outcome), None, "told once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_message_is_settled_once_as_the_broker_said(
        steps in prop::collection::vec(step(), 0..150),
        stop in any::<bool>(),
    ) {
        let mut model = Model::new(Window::new(Record::default(), 8, Duration::from_secs(2)));
        for step in &steps {
            model.play(step);
            model.check();
            // What is settled is right, and what is not is known.
            for (number, outcome) in &model.window.owner.0 {
                let unsure = *outcome == Outcome::Taken && model.unsure.contains(number);
                prop_assert!(unsure || model.expected[number] == *outcome, "{}: {:?}", number, outcome);
            }
            prop_assert_eq!(model.window.owner.0.len() + model.window.len(), model.put as usize);
        }
        model.finish(stop);
        prop_assert_eq!(model.window.owner.0.len() as u64, model.put);
    }

    #[test]
    fn frames_of_jobs_are_counted_once_whatever_happens(
        steps in prop::collection::vec(step(), 0..100),
        stop in any::<bool>(),
    ) {
        let counters = Arc::new(JobFrameCounters::default());
        let mut model = Model::new(JobFrames::window(Arc::clone(&counters)));
        let check = |model: &Model<JobFrames<Number>>| {
            counters.offered.add(model.put - counters.offered.get());
            counters.published.add(model.put - counters.published.get());
            counters.unanswered.set(model.window.len() as f64);
            assert!(counters.books().iter().all(Book::balances), "{:?}", counters.books());
        };
        for step in &steps {
            model.play(step);
            model.check();
            check(&model);
        }
        model.finish(stop);
        check(&model);
        let count = |wanted: &[Outcome]| model.expected.values().filter(|outcome| wanted.contains(outcome)).count() as u64;
        prop_assert_eq!(counters.lost.get(), count(&[Outcome::Lost, Outcome::Refused]));
        if model.unsure.is_empty() {
            prop_assert_eq!(counters.unroutable.get(), count(&[Outcome::Unroutable]));
        }
        // Each job is told of each frame that was taken.
        let taken = std::mem::take(&mut model.window.owner.taken);
        prop_assert_eq!(taken.iter().filter(|(_, wanted)| *wanted).count() as u64, counters.confirmed.get());
        prop_assert_eq!(taken.len() as u64, counters.confirmed.get() + counters.unroutable.get());
        prop_assert_eq!(model.window.owner.refused_at.is_some(), count(&[Outcome::Refused]) > 0);
    }
}

#[test]
fn silence_is_noticed_in_time_and_a_block_is_none() {
    let start = Instant::now();
    let (at, s) = (|seconds| start + Duration::from_secs(seconds), Duration::from_secs);
    let due = |window: &Window<Record>| window.deadline().map(|(deadline, _)| deadline - start);
    let mut window = Window::new(Record::default(), 3, s(2));
    assert!(window.has_room(start) && due(&window).is_none());
    // lapin does not write it.
    window.put(entry(0), 1, start);
    assert_eq!((due(&window), window.is_free(start)), (Some(s(10)), false));
    window.written(at(1));
    assert_eq!(due(&window), Some(s(16)));
    // Others that are written do not put it off.
    window.put(entry(1), 1, at(2));
    window.written(at(2));
    assert_eq!((due(&window), window.has_room(at(2)), window.has_room(at(3))), (Some(s(16)), true, false));
    // An answer does, and lets others be written.
    window.answered(vec![(1, Answer { ack: true, returned: None })], at(4));
    assert_eq!((due(&window), window.has_room(at(5))), (Some(s(19)), true));
    // Blocked time does not count.
    assert!(window.set_blocked(true, at(6)) && !window.set_blocked(true, at(7)));
    assert_eq!((due(&window), window.is_free(at(6))), (None, false));
    assert!(window.set_blocked(false, at(100)));
    assert_eq!((due(&window), window.has_room(at(101))), (Some(s(115)), true));
    // The window is full, but for what need not wait for room.
    for of in 2..4 {
        assert!(window.has_room(at(101)));
        window.put(entry(of), 1, at(101));
        window.written(at(101));
    }
    assert!(window.is_free(at(101)) && !window.has_room(at(101)));
    window.lose(None, at(101));
    assert!(due(&window).is_none() && window.has_room(at(101)) && window.len() == 0);
}

#[test]
fn a_return_that_comes_with_another_confirm_is_its_own() {
    let mut window = Window::new(Record::default(), 8, Duration::MAX);
    let now = Instant::now();
    for id in 0..3 {
        window.put(entry(id), 1, now);
        window.written(now);
    }
    let answer = |returned: Option<u64>| Answer { ack: true, returned: returned.map(|id| id.to_string().into()) };
    window.answered(vec![(0, answer(Some(1)))], now);
    assert!(window.owner.0.is_empty(), "it may have come back behind the other");
    window.answered(vec![(2, answer(Some(0)))], now);
    assert_eq!(window.owner.0, BTreeMap::from([(0, Outcome::Unroutable)]));
    window.answered(vec![(1, answer(None))], now);
    let said = window.owner.0.into_values().collect::<Vec<_>>();
    assert_eq!(said, [Outcome::Unroutable, Outcome::Unroutable, Outcome::Taken]);
}

#[test]
fn messages_without_an_id_come_back_as_well() {
    let mut window = Window::new(Record::default(), 8, Duration::MAX);
    let now = Instant::now();
    for number in 0..3 {
        window.put((number, ShortString::default()), 1, now);
        window.written(now);
    }
    let answer = |returned: Option<ShortString>| Answer { ack: true, returned };
    let back = || answer(Some(ShortString::default()));
    window.answered(vec![(0, back()), (1, back()), (2, answer(None))], now);
    let said = window.owner.0.into_values().collect::<Vec<_>>();
    assert_eq!(said, [Outcome::Unroutable, Outcome::Unroutable, Outcome::Taken]);
}
