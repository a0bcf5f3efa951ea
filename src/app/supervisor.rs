//! Every thread and task of the daemon, by name. One that ends before it was asked to, however it ends, stops the daemon
//! in order, with the reason; nothing can be missing unnoticed.
//!
//! ```text
//! running ──(a reason to stop)──► data parts end one after another ──► services end ──► over
//! ```
//! Data parts (capture, dsp, publisher, delivery) hand data down: when the first ends, closing queues end the next.
//! Services (control API, jobs, notify, …) work until then, so that a stop can be watched. What does not end within its
//! limit is named in the log and left behind. A second wish to stop leaves at once.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::AppError;
use crate::telemetry::words_of_panic;

/// How a part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it does when it is told to. Before that it is a fault.
    Told,
    /// It could not go on, has said so, and is not needed.
    Dispensable,
    /// There is nothing more to do; frames that are made are still sent, however long that takes.
    Over(&'static str),
    /// Somebody wants the daemon to stop.
    Asks(&'static str),
}

/// What becomes of a part.
pub(super) type Outcome = Result<End, AppError>;

/// When a part is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// First; one after another, by closing queues. The number is its place in the flow of data, 0 at the source.
    Data(u8),
    /// When all data parts have ended.
    Service,
    /// Never, and nobody waits for it.
    Apart,
}

impl Rank {
    const fn is_data(self) -> bool {
        matches!(self, Self::Data(_))
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From one data part's end to the next.
    pub(super) data: Duration,
    /// For all services together.
    pub(super) services: Duration,
    /// A data part that ends by itself may have done so because one above it did, which then is heard of within this.
    pub(super) settle: Duration,
}

/// Whether the daemon stops. Cheap to read from any thread; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping(Arc<AtomicU8>);

impl Stopping {
    const WHEN_DONE: u8 = 1;
    const SOON: u8 = 2;

    /// It stops, be it only when everything inside has gone out.
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::WHEN_DONE
    }

    /// It was asked to stop, or has to: nothing is worth a long wait any more.
    pub(super) fn is_soon(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::SOON
    }

    fn raise(&self, to: u8) {
        self.0.fetch_max(to, Ordering::Relaxed);
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// Why it stopped, for the log.
    pub(super) reason: String,
    /// The first fault; others may only follow from it.
    pub(super) outcome: Result<(), AppError>,
}

/// What the supervisor is told from outside while it [runs](Supervisor::run).
pub(super) struct Orders<D, S, P> {
    /// Wishes to stop, with their reasons. The second leaves at once.
    pub(super) wishes: mpsc::UnboundedReceiver<&'static str>,
    /// Tells the first data part to end.
    pub(super) stop_data: D,
    /// Tells all services to end.
    pub(super) stop_services: S,
    /// Any number that changes while data still goes out.
    pub(super) progress: P,
}

/// Names of all parts, and how they ended.
pub(super) struct Supervisor {
    parts: Vec<Part>,
    ended_tx: mpsc::UnboundedSender<(usize, Outcome)>,
    ended_rx: mpsc::UnboundedReceiver<(usize, Outcome)>,
    limits: Limits,
    stopping: Stopping,
}

struct Part {
    name: &'static str,
    rank: Rank,
    runs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Data,
    Services,
}

impl Supervisor {
    pub(super) fn new(limits: Limits) -> Self {
        let (ended_tx, ended_rx) = mpsc::unbounded_channel();
        Self { parts: Vec::new(), ended_tx, ended_rx, limits, stopping: Stopping::default() }
    }

    /// Whether the daemon stops, for those who wait.
    pub(super) fn stopping(&self) -> Stopping {
        self.stopping.clone()
    }

    fn enter(&mut self, name: &'static str, rank: Rank) -> usize {
        self.parts.push(Part { name, rank, runs: true });
        self.parts.len() - 1
    }

    /// Starts a task. Needs a runtime around it.
    pub(super) fn task<T: Into<Told> + Send + 'static>(
        &mut self,
        name: &'static str,
        rank: Rank,
        work: impl Future<Output = T> + Send + 'static,
    ) {
        let (id, ended_tx) = (self.enter(name, rank), self.ended_tx.clone());
        let task = tokio::spawn(work);
        tokio::spawn(async move {
            let outcome = match task.await {
                Ok(told) => told.into().0,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(died(name, &*panic)),
                    // The runtime goes down, and with it whoever could hear this.
                    Err(_) => return,
                },
            };
            let _ = ended_tx.send((id, outcome));
        });
    }

    /// Looks after a thread that was started; `outcome_of` says what its result means. Needs a runtime around it.
    pub(super) fn thread<T: Send + 'static>(
        &mut self,
        name: &'static str,
        rank: Rank,
        thread: JoinHandle<T>,
        outcome_of: impl FnOnce(T) -> Outcome + Send + 'static,
    ) {
        let (id, ended_tx) = (self.enter(name, rank), self.ended_tx.clone());
        spawn_blocking(move || {
            let outcome = thread.join().map_or_else(|panic| Err(died(name, &*panic)), outcome_of);
            let _ = ended_tx.send((id, outcome));
        });
    }

    /// Waits for a reason to stop, stops everything in order, and says how it went.
    pub(super) async fn run<D, S, P>(self, orders: Orders<D, S, P>) -> Ending
    where
        D: FnOnce(),
        S: FnOnce(),
        P: Fn() -> u64,
    {
        let Self { parts, ended_tx: _keeps_open, mut ended_rx, limits, stopping } = self;
        let Orders { mut wishes, stop_data, stop_services, progress } = orders;
        let mut wishes_open = true;
        let mut watch = Watch {
            parts,
            limits,
            stopping,
            phase: Phase::Running,
            deadline: None,
            early: None,
            reason: None,
            fault: None,
            progress: progress(),
        };
        let (mut stop_data, mut stop_services) = (Some(stop_data), Some(stop_services));
        loop {
            if watch.phase == Phase::Running && watch.stopping.has_begun() {
                if let Some(stop) = stop_data.take() {
                    stop();
                }
                watch.begin(Phase::Data, watch.limits.data);
            }
            if watch.phase == Phase::Data && !watch.any(Rank::is_data) {
                if let Some(stop) = stop_services.take() {
                    stop();
                }
                watch.begin(Phase::Services, watch.limits.services);
            }
            if watch.phase == Phase::Services && !watch.any(|rank| rank == Rank::Service) {
                return watch.over();
            }
            let deadline = watch.next_look();
            tokio::select! {
                // In this order: what has happened counts before what was waited for.
                biased;
                Some((id, outcome)) = ended_rx.recv() => watch.ended(id, outcome),
                wish = wishes.recv(), if wishes_open => match wish {
                    Some(reason) => {
                        if watch.wished(reason) {
                            return watch.over();
                        }
                    }
                    None => wishes_open = false,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => watch.late(progress()),
            }
        }
    }
}

/// What a task may return: nothing, when it only ends as it is told, or an [`Outcome`].
pub(super) struct Told(Outcome);

impl From<()> for Told {
    fn from((): ()) -> Self {
        Self(Ok(End::Told))
    }
}

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        Self(outcome)
    }
}

fn died(name: &str, panic: &(dyn Any + Send)) -> AppError {
    AppError::Software(format!("{name} died: {}", words_of_panic(panic)))
}

/// How it stands while the supervisor runs.
struct Watch {
    parts: Vec<Part>,
    limits: Limits,
    stopping: Stopping,
    phase: Phase,
    /// When whoever still runs is late.
    deadline: Option<Instant>,
    /// A data part that ended before anything was known of a stop.
    early: Option<Early>,
    reason: Option<String>,
    fault: Option<Fault>,
    progress: u64,
}

/// The fault that is told in the end.
struct Fault {
    error: AppError,
    rank: Rank,
    at: Instant,
}

impl Rank {
    /// Whether a part of this rank stands above one of `other` in the flow of data.
    fn is_above(self, other: Self) -> bool {
        matches!((self, other), (Self::Data(upper), Self::Data(lower)) if upper < lower)
    }
}

struct Early {
    name: &'static str,
    place: u8,
    /// When it is a fault of its own.
    at: Instant,
}

impl Watch {
    fn any(&self, of: impl Fn(Rank) -> bool) -> bool {
        self.parts.iter().any(|part| part.runs && of(part.rank))
    }

    fn begin(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.early = None;
        self.deadline = Some(Instant::now() + limit);
    }

    fn next_look(&self) -> Option<Instant> {
        self.deadline.or(self.early.as_ref().map(|early| early.at))
    }

    fn ended(&mut self, id: usize, outcome: Outcome) {
        let Part { name, rank, .. } = self.parts[id];
        self.parts[id].runs = false;
        let in_time = match (self.phase, rank) {
            (Phase::Data, Rank::Data(_)) => {
                self.deadline = Some(Instant::now() + self.limits.data);
                true
            }
            (Phase::Services, Rank::Data(_) | Rank::Service) => true,
            _ => false,
        };
        match outcome {
            Ok(End::Told) if in_time => {}
            Ok(End::Told) => match rank {
                Rank::Data(place) => self.ended_early(name, place),
                Rank::Service | Rank::Apart => self.failed(name, rank, ended_by_itself(name)),
            },
            Ok(End::Dispensable) => {}
            Ok(End::Over(reason)) => {
                self.because(reason);
                info!(reason, "stopping: frames that are made are still sent");
                self.stopping.raise(Stopping::WHEN_DONE);
            }
            Ok(End::Asks(reason)) => {
                // Of a part that ends, so it is heard once.
                self.wished(reason);
            }
            Err(error) => self.failed(name, rank, error),
        }
    }

    /// Of several data parts that end one after the other, the uppermost has begun it.
    fn ended_early(&mut self, name: &'static str, place: u8) {
        let at = Instant::now() + self.limits.settle;
        let early = self.early.get_or_insert(Early { name, place, at });
        if place < early.place {
            (early.name, early.place) = (name, place);
        }
    }

    /// Takes a wish to stop; whether to leave at once.
    fn wished(&mut self, reason: &'static str) -> bool {
        if self.stopping.is_soon() {
            warn!(reason, "leaving at once");
            return true;
        }
        self.because(reason);
        info!(reason, "stopping: frames that are made are still sent; a second signal ends at once");
        self.soon();
        false
    }

    /// Of several faults the first is told, for others may only follow from it; or the uppermost, when it is heard of just
    /// after one that followed from it.
    fn failed(&mut self, part: &'static str, rank: Rank, error: AppError) {
        let (now, reason) = (Instant::now(), error.to_string());
        error!(part, %error, "a part of the daemon has failed; the daemon stops");
        let began_it = |first: &Fault| rank.is_above(first.rank) && now.duration_since(first.at) <= self.limits.settle;
        if self.fault.is_none() {
            self.because(&reason);
        } else if self.fault.as_ref().is_some_and(began_it) {
            self.reason = Some(reason);
        } else {
            return;
        }
        self.fault = Some(Fault { error, rank, at: now });
        self.soon();
    }

    fn soon(&mut self) {
        self.stopping.raise(Stopping::SOON);
        if self.phase == Phase::Data {
            self.deadline = Some(Instant::now() + self.limits.data);
        }
    }

    fn because(&mut self, reason: &str) {
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// The time of [`next_look`](Self::next_look) has come.
    fn late(&mut self, progress: u64) {
        if let Some(Early { name, place, .. }) = self.early.take() {
            return self.failed(name, Rank::Data(place), ended_by_itself(name));
        }
        let moves = std::mem::replace(&mut self.progress, progress) != progress;
        if self.phase == Phase::Data && moves && !self.stopping.is_soon() {
            self.deadline = Some(Instant::now() + self.limits.data);
            return;
        }
        let data = self.phase == Phase::Data;
        let late = |part: &&mut Part| part.runs && part.rank != Rank::Apart && part.rank.is_data() == data;
        for Part { name, runs, rank } in self.parts.iter_mut().filter(late) {
            *runs = false;
            error!(part = name, "does not end and is left behind");
            if data {
                let error = AppError::Software(format!("{name} did not end when it was told to"));
                self.fault.get_or_insert(Fault { error, rank: *rank, at: Instant::now() });
            }
        }
        self.deadline = None;
    }

    fn over(self) -> Ending {
        let reason = self.reason.unwrap_or_default();
        Ending { reason, outcome: self.fault.map_or(Ok(()), |fault| Err(fault.error)) }
    }
}

fn ended_by_itself(name: &str) -> AppError {
    AppError::Software(format!("{name} ended although nobody had asked it to"))
}

#[cfg(test)]
mod tests;
