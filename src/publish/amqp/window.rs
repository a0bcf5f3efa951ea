//! Frames of jobs that are under way on one connection, and what became of each: counted once, nothing sent twice. Pure:
//! the time is passed in. `T` is whose frame it is.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Fault;
use super::message::Number;
use super::outbox::{Answer, Outcome};
use crate::status::JobFrameCounters;

/// A frame that came back is handed over with whichever confirm is next, which may be a little later than its own.
const SETTLE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Window<T> {
    under_way: BTreeMap<Number, UnderWay<T>>,
    next: Number,
    /// Confirmed, but it may still turn out that they came back.
    settling: VecDeque<(Instant, UnderWay<T>)>,
    /// Ids of those of them, and of those under way, that came back.
    returned: HashSet<String>,
    counters: Arc<JobFrameCounters>,
}

struct UnderWay<T> {
    of: T,
    id: String,
    bytes: usize,
}

/// A frame that the broker has taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled<T> {
    pub(super) of: T,
    /// Whether a queue wanted it.
    pub(super) wanted: bool,
}

impl<T> Window<T> {
    pub(super) fn new(counters: Arc<JobFrameCounters>) -> Self {
        Self { under_way: BTreeMap::new(), next: 0, settling: VecDeque::new(), returned: HashSet::new(), counters }
    }

    /// Takes a frame that is about to be published.
    pub(super) fn put(&mut self, of: T, id: String, bytes: usize) -> Number {
        let number = self.next;
        self.next += 1;
        self.under_way.insert(number, UnderWay { of, id, bytes });
        self.counters.published.add(1);
        self.gauge();
        number
    }

    /// Frames under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Bytes of the largest frame that is under way.
    pub(super) fn largest(&self) -> usize {
        self.under_way.values().map(|frame| frame.bytes).max().unwrap_or(0)
    }

    /// Takes what the broker has answered at `now`. Returns how many frames it refused, or why the connection is of no use.
    pub(super) fn answered(&mut self, batch: Vec<Outcome>, now: Instant) -> Result<usize, Fault> {
        let (mut fault, mut refused) = (None::<Fault>, 0);
        for (number, outcome) in batch {
            let Answer { ack, returned } = match outcome {
                Ok(answer) => answer,
                Err(error) => {
                    fault = fault.filter(Fault::is_specific).or(Some(error));
                    continue;
                }
            };
            if let Some(id) = returned.filter(|id| self.knows(id)) {
                self.returned.insert(id);
            }
            let Some(frame) = self.under_way.remove(&number) else { continue };
            if ack {
                self.settling.push_back((now, frame));
            } else {
                self.returned.remove(&frame.id);
                self.counters.lost.add(1);
                refused += 1;
            }
        }
        self.gauge();
        fault.map_or(Ok(refused), Err)
    }

    /// What was confirmed long enough before `now`, or all: whether a queue took it or it has come back.
    pub(super) fn settle(&mut self, now: Option<Instant>) -> Vec<Settled<T>> {
        let is_due = |at: Instant| now.is_none_or(|now| now.duration_since(at) >= SETTLE);
        let mut settled = Vec::new();
        while self.settling.front().is_some_and(|(at, _)| is_due(*at)) {
            let Some((_, frame)) = self.settling.pop_front() else { break };
            let wanted = !self.returned.remove(&frame.id);
            let c = &self.counters;
            if wanted {
                c.confirmed.add(1);
            } else {
                c.unroutable.add(1);
            }
            settled.push(Settled { of: frame.of, wanted });
        }
        if !settled.is_empty() {
            self.gauge();
        }
        settled
    }

    /// The connection is gone, and with it what was under way. What was confirmed is settled.
    pub(super) fn lose(&mut self) -> Vec<Settled<T>> {
        self.counters.lost.add(self.under_way.len() as u64);
        self.under_way.clear();
        let settled = self.settle(None);
        self.returned.clear();
        self.gauge();
        settled
    }

    fn knows(&self, id: &str) -> bool {
        let settling = self.settling.iter().map(|(_, frame)| frame);
        self.under_way.values().chain(settling).any(|frame| frame.id == id)
    }

    fn gauge(&self) {
        self.counters.unanswered.set((self.under_way.len() + self.settling.len()) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Book;
    use proptest::prelude::*;

    /// What happens to the frames of jobs, one step after the other.
    #[derive(Clone, Debug)]
    enum Step {
        Send,
        /// The frame at this place among those under way is answered; another's return may come with it.
        Answer {
            at: usize,
            ack: bool,
            returned: Option<usize>,
        },
        Time,
        Lost,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Send),
            4 => (0usize..8, any::<bool>(), prop::option::of(0usize..8))
                .prop_map(|(at, ack, returned)| Step::Answer { at, ack, returned }),
            1 => Just(Step::Time),
            1 => Just(Step::Lost),
        ]
    }

    proptest! {
        #[test]
        fn each_frame_is_counted_once_whatever_happens(steps in prop::collection::vec(step(), 0..100)) {
            let counters = Arc::new(JobFrameCounters::default());
            let mut window = Window::new(Arc::clone(&counters));
            let (mut now, mut under_way, mut settled) = (Instant::now(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Send => {
                        let id = counters.published.get();
                        under_way.push(window.put((), id.to_string(), 1));
                        counters.offered.add(1);
                    }
                    Step::Answer { at, ack, returned } if at < under_way.len() => {
                        let number = under_way.remove(at);
                        let answer = Answer { ack, returned: returned.map(|id| id.to_string()) };
                        let refused = window.answered(vec![(number, Ok(answer))], now);
                        prop_assert_eq!(refused.ok(), Some(usize::from(!ack)));
                    }
                    Step::Answer { .. } => {}
                    Step::Time => {
                        now += SETTLE;
                        settled += window.settle(Some(now)).len() as u64;
                    }
                    Step::Lost => {
                        settled += window.lose().len() as u64;
                        under_way.clear();
                    }
                }
                prop_assert_eq!(window.len(), under_way.len());
                prop_assert!(counters.books().iter().all(Book::balances), "{:?}", counters.books());
                let c = &counters;
                prop_assert_eq!(c.confirmed.get() + c.unroutable.get(), settled);
            }
            window.lose();
            prop_assert!(counters.unanswered.get() < 0.5);
            prop_assert!(window.returned.is_empty() && window.settling.is_empty());
        }
    }

    #[test]
    fn a_return_that_comes_with_a_later_confirm_is_its_own() {
        let mut window = Window::new(Arc::default());
        let now = Instant::now();
        let [a, b] = ["a", "b"].map(|id| window.put(id, id.into(), 1));
        let answer = |returned: Option<&str>| Ok(Answer { ack: true, returned: returned.map(Into::into) });
        window.answered(vec![(a, answer(None))], now).unwrap();
        assert_eq!(window.settle(Some(now)), []);
        window.answered(vec![(b, answer(Some("a")))], now).unwrap();
        let settled = window.settle(Some(now + SETTLE));
        assert_eq!(settled, [Settled { of: "a", wanted: false }, Settled { of: "b", wanted: true }]);
    }
}
