//! What is true at the moment, as the script knows it: whether traces flow, which faults are being played, how the broker
//! is. Written by whoever acts, read by the watch. And the log of the run.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::script::Origin;
use crate::shape::Shape;

/// Whether light and traces reach the ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub flowing: bool,
    /// Since when, from the beginning of the run.
    pub since: Duration,
    pub shape: Shape,
}

/// A fault that is played, or was until a moment ago.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub kind: Kind,
    pub what: String,
    pub began: Duration,
    pub ended: Option<Duration>,
}

/// What a fault may excuse, and for how long after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The daemon has just been started.
    Start,
    /// This machine let us wait, so it may have let the daemon wait as well.
    Machine,
    Of(Origin),
}

impl Kind {
    /// For so long after the end of a fault the daemon may still say that something is wrong.
    pub const fn excuses(self) -> Duration {
        Duration::from_secs(match self {
            // The measured PRR looks back 10 s; losses are said for a while after the last one.
            Self::Start | Self::Of(Origin::Source) => 25,
            // Losses are said for a few seconds.
            Self::Machine => 15,
            // A connection is given up after two heartbeats of 5 s, the next attempts are up to 10 s apart, and
            // RabbitMQ itself answers late after a start on a busy machine.
            Self::Of(Origin::Broker) => 60,
            Self::Of(Origin::Process) => 20,
            // A job that was too much is thinned or ended after seconds, and jobs without a reader live on for 10 s.
            Self::Of(Origin::Clients) => 30,
        })
    }
}

/// How the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerTruth {
    /// The run has none.
    None,
    Up,
    /// It accepts nothing, since then.
    Down(Duration),
}

/// One look at the truth.
#[derive(Clone, Debug)]
pub struct Truth {
    pub flow: Flow,
    pub broker: BrokerTruth,
    pub causes: Vec<Cause>,
}

impl Truth {
    /// A fault that excuses what the daemon complains of at `at`.
    pub fn excuse(&self, at: Duration) -> Option<&Cause> {
        self.causes.iter().find(|cause| cause.ended.is_none_or(|ended| at < ended + cause.kind.excuses()))
    }
}

pub struct World {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    truth: Truth,
    log: Vec<(Duration, String)>,
}

/// A fault ends when this is dropped, whatever happens meanwhile.
pub struct Fault<'a> {
    world: &'a World,
    at: usize,
}

impl World {
    pub fn new(shape: Shape, broker: bool) -> Self {
        let flow = Flow { flowing: false, since: Duration::ZERO, shape };
        let broker = if broker { BrokerTruth::Up } else { BrokerTruth::None };
        let truth = Truth { flow, broker, causes: Vec::new() };
        Self { began: Instant::now(), state: Mutex::new(State { truth, log: Vec::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the beginning of the run.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn truth(&self) -> Truth {
        self.state().truth.clone()
    }

    /// A fault begins.
    pub fn begins(&self, kind: Kind, what: impl Display) -> Fault<'_> {
        let (began, what) = (self.now(), what.to_string());
        self.says(&what);
        let causes = &mut self.state().truth.causes;
        causes.push(Cause { kind, what, began, ended: None });
        Fault { world: self, at: causes.len() - 1 }
    }

    /// Traces flow or do not. Says it only when that changes; a change of shape counts as one.
    pub fn set_flow(&self, flowing: bool, shape: Shape) {
        let now = self.now();
        let flow = &mut self.state().truth.flow;
        if (flow.flowing, flow.shape) != (flowing, shape) {
            *flow = Flow { flowing, since: now, shape };
        }
    }

    pub fn set_broker(&self, up: bool) {
        let now = self.now();
        self.state().truth.broker = if up { BrokerTruth::Up } else { BrokerTruth::Down(now) };
    }

    /// A line of the run's log.
    pub fn says(&self, what: impl Display) {
        let (at, what) = (self.now(), what.to_string());
        eprintln!("{:>8.1} s  {what}", at.as_secs_f64());
        self.state().log.push((at, what));
    }

    pub fn log(&self) -> Vec<(Duration, String)> {
        self.state().log.clone()
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        let now = self.world.now();
        self.world.state().truth.causes[self.at].ended = Some(now);
    }
}
