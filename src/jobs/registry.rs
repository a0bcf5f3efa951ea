//! Which jobs there are, what they may take, and when they end. Pure: the time is passed in, as what has passed since any
//! fixed origin, and so is what was measured.
//!
//! A job holds a slot and a share of the budget from [`reserve`](Registry::reserve) to
//! [`release`](Registry::release), whatever happens between. Slots are used again, counters never.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::cost::{Cost, Transform};
use super::memory::{LEAST_SHARE, Taken};
use crate::config::JobsConfig;
use crate::refusal::{Limit, Never, Refusal};

/// Ended jobs that are remembered, and for how long.
const REMEMBERED: usize = 1024;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// A job counts with its estimate until its windows have been full for so long: then what is measured holds it.
const MEASURED_AFTER: Duration = Duration::from_secs(1);

/// A client has this time to look at its job before the job can be ended to make room for another.
const UNSEEN_AFTER: Duration = Duration::from_secs(5);

/// What jobs may take, all together, and how long they live unseen.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Jobs at once.
    pub jobs: usize,
    /// Share of real time that the pipeline may need, standing views included.
    pub load: f64,
    /// Bytes for transforms and lines.
    pub memory_bytes: u64,
    /// Ports of streams.
    pub ports: RangeInclusive<u16>,
    /// A live job ends after so long without a consumer.
    pub live_idle: Duration,
    /// What either has more of at its start.
    pub start_grace: Duration,
}

impl From<&JobsConfig> for Limits {
    fn from(config: &JobsConfig) -> Self {
        Self {
            jobs: config.max_jobs,
            load: config.max_load,
            memory_bytes: config.memory_bytes,
            ports: config.ports.clone(),
            live_idle: config.live_idle,
            start_grace: config.start_grace,
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself: everything was shown, or nobody looked any more.
    Completed,
    /// By a fault.
    Failed,
    /// By its client.
    Cancelled,
}

/// What is remembered of a job that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// How.
    pub how: How,
    /// Why, in words.
    pub reason: String,
    /// View type.
    pub view_type: u8,
    /// When it was asked for, milliseconds since the UNIX epoch.
    pub created_ms: i64,
    /// When it ended, milliseconds since the UNIX epoch.
    pub ended_ms: i64,
}

/// Whether somebody looks at a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A stream is open.
    pub open: bool,
    /// Lines are held for somebody: a stream is open, or a client polls.
    pub reads: bool,
    /// When it was last polled or kept alive.
    pub touched: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    standing: Vec<Transform>,
    counter: u64,
    jobs: BTreeMap<String, Entry>,
    ended: VecDeque<(Duration, Ended)>,
    /// How often the pipeline was planned anew, and when that was last seen: nothing had been measured then.
    plans: u64,
    planned: Duration,
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // four facts that have nothing to do with each other
struct Entry {
    slot: usize,
    named: bool,
    cost: Cost,
    /// Since when its load is not measured.
    estimated: Duration,
    since: Duration,
    /// `None` until it runs.
    seen: Option<Duration>,
    /// Whether anybody has looked since then.
    looked: bool,
    /// Whether lines are held for somebody.
    reads: bool,
    ending: bool,
}

impl Registry {
    /// Without a job. `standing` is transformed anyway; counters begin behind `counter`.
    pub fn new(limits: Limits, standing: Vec<Transform>, counter: u64) -> Self {
        let (jobs, ended, plans, planned) = (BTreeMap::new(), VecDeque::new(), 0, Duration::ZERO);
        Self { limits, standing, counter, jobs, ended, plans, planned }
    }

    /// The pipeline has been planned anew `plans` times so far. When that was more often than before, windows are empty
    /// and meters too: every job counts with its estimate again, until its windows have been full for a second.
    pub fn planned_anew(&mut self, now: Duration, plans: u64) {
        if plans != self.plans {
            (self.plans, self.planned) = (plans, now);
        }
    }

    /// Takes a slot and a share of the budget for a job; its id is `name`, when it has one.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn reserve(
        &mut self,
        now: Duration,
        cost: Cost,
        name: Option<&str>,
        measured_load: f64,
    ) -> Result<String, Refusal> {
        if name.is_some_and(|name| self.jobs.contains_key(name)) {
            return Err(Refusal::Taken);
        }
        if let Some(never) = self.never(&cost) {
            return Err(Refusal::Never(never));
        }
        self.room_for(now, &cost, 0.0, measured_load).map_err(Refusal::Over)?;

        let taken: BTreeSet<_> = self.jobs.values().map(|entry| entry.slot).collect();
        let slot = (1..=self.jobs.len() + 1).find(|slot| !taken.contains(slot)).unwrap_or_default();
        let id = match name {
            Some(name) => name.to_owned(),
            None => self.next_id(slot),
        };
        let named = name.is_some();
        let (seen, looked, ending) = (None, false, false);
        // Its client is about to read it.
        let reads = true;
        let entry = Entry { slot, named, cost, estimated: now, since: now, seen, looked, reads, ending };
        self.jobs.insert(id.clone(), entry);
        Ok(id)
    }

    /// What of `cost` could not be had if no other job were there.
    fn never(&self, cost: &Cost) -> Option<Never> {
        let (taken, limit) = (Taken::by(std::iter::once((cost, true)), &self.standing), self.limits.memory_bytes);
        if !taken.fits(limit) {
            let wanted = taken.at_least(LEAST_SHARE);
            let transforms = taken.transforms > wanted / 2;
            return Some(Never::Memory { wanted: wanted.div_ceil(1 << 20), allowed: limit >> 20, transforms });
        }
        let load = cost.load_beside(self.standing.iter());
        let percent = |load: f64| (100.0 * load).ceil() as u64;
        let (wanted, allowed, transforms) = (percent(load), percent(self.limits.load), load > 2.0 * cost.values_load);
        (load > self.limits.load).then_some(Never::Load { wanted, allowed, transforms })
    }

    /// What the jobs take of memory, and `more` beside them.
    fn taken(&self, more: Option<&Cost>) -> Taken {
        let jobs = self.jobs.values().map(|entry| (&entry.cost, entry.reads));
        Taken::by(jobs.chain(more.map(|cost| (cost, true))), &self.standing)
    }

    /// What the jobs take of memory at most, bytes, and the share of what readers may be behind that this leaves.
    pub fn memory(&self) -> (u64, f64) {
        let (taken, limit) = (self.taken(None), self.limits.memory_bytes);
        let share = taken.share(limit);
        (taken.at_least(share), share)
    }

    /// The oldest job that nobody has looked at since its start, when a job of `cost` has no room beside it as things
    /// stand; `None` when such a job has room, or never will.
    pub fn spared(&self, now: Duration, cost: &Cost) -> Option<String> {
        let limits = &self.limits;
        let full = self.jobs.len() >= limits.jobs.min(limits.ports.len());
        if (!full && self.taken(Some(cost)).is_ample(limits.memory_bytes)) || self.never(cost).is_some() {
            return None;
        }
        let unseen = self.jobs.iter().filter(|(_, entry)| {
            let since = now.saturating_sub(entry.since);
            entry.seen.is_some() && !entry.looked && !entry.ending && since >= UNSEEN_AFTER
        });
        unseen.min_by_key(|(_, entry)| entry.since).map(|(id, _)| id.clone())
    }

    /// Share of real time that is not measured yet, `cost` included. Made afresh each time: a transform that one job has
    /// paid for is another's when that job ends.
    fn estimated(&self, now: Duration, cost: &Cost) -> f64 {
        let (young, old): (Vec<_>, Vec<_>) = self.jobs.values().partition(|entry| self.is_young(now, entry));
        let mut known: Vec<_> = self.standing.iter().chain(old.iter().map(|entry| &entry.cost.transform)).collect();
        let mut load = 0.0;
        for cost in young.iter().map(|entry| &entry.cost).chain([cost]) {
            load += cost.load_beside(known.iter().copied());
            known.push(&cost.transform);
        }
        load
    }

    /// Whether what is measured does not hold this job yet.
    fn is_young(&self, now: Duration, entry: &Entry) -> bool {
        now.saturating_sub(entry.estimated.max(self.planned)) < entry.cost.window + MEASURED_AFTER
    }

    /// A job that runs takes `cost` in place of what it took; that is returned.
    ///
    /// # Errors
    /// When there is no room for it; then nothing changes.
    pub fn exchange(&mut self, now: Duration, id: &str, cost: Cost, measured_load: f64) -> Result<Option<Cost>, Limit> {
        let Some(mut entry) = self.jobs.remove(id) else { return Ok(None) };
        // What it takes already is measured, unless it is young: then it is not counted any more.
        let old = entry.cost.load_beside(self.standing.iter().chain(self.transforms()));
        let measured = if self.is_young(now, &entry) { 0.0 } else { old };
        let room = self.room_for(now, &cost, measured, measured_load);
        let before = room.map(|()| {
            entry.estimated = now;
            Some(std::mem::replace(&mut entry.cost, cost))
        });
        self.jobs.insert(id.to_owned(), entry);
        before
    }

    /// Takes an [`exchange`](Self::exchange) back.
    pub fn restore(&mut self, id: &str, cost: Cost) {
        if let Some(mut entry) = self.jobs.remove(id) {
            entry.cost = cost;
            self.jobs.insert(id.to_owned(), entry);
        }
    }

    /// Whether a job is ending.
    pub fn is_ending(&self, id: &str) -> bool {
        self.jobs.get(id).is_some_and(|entry| entry.ending)
    }

    fn next_id(&mut self, slot: usize) -> String {
        loop {
            self.counter += 1;
            let id = format!("{slot}-{}", self.counter);
            // A client may have named its task so.
            if !self.jobs.contains_key(&id) {
                return id;
            }
        }
    }

    fn transforms(&self) -> impl Iterator<Item = &Transform> {
        self.jobs.values().map(|entry| &entry.cost.transform)
    }

    /// `measured` of what is measured goes when this comes.
    fn room_for(&self, now: Duration, cost: &Cost, measured: f64, measured_load: f64) -> Result<(), Limit> {
        let limits = &self.limits;
        if self.jobs.len() >= limits.jobs {
            return Err(Limit::Jobs(limits.jobs));
        }
        if self.jobs.len() >= limits.ports.len() {
            return Err(Limit::Ports(limits.ports.len()));
        }
        if !self.taken(Some(cost)).fits(limits.memory_bytes) {
            return Err(Limit::Memory(limits.memory_bytes >> 20));
        }
        // A load that nobody has measured yet is none.
        if (measured_load - measured).max(0.0) + self.estimated(now, cost) > limits.load {
            return Err(Limit::Load((100.0 * limits.load) as u32));
        }
        Ok(())
    }

    /// Ports that jobs may have.
    pub fn port_count(&self) -> usize {
        self.limits.ports.len()
    }

    /// A job runs from `now` on.
    pub fn started(&mut self, id: &str, now: Duration) {
        if let Some(entry) = self.jobs.get_mut(id) {
            (entry.estimated, entry.since, entry.seen) = (now, now, Some(now));
        }
    }

    /// Whether there is such a job whose id was given by a client.
    pub fn is_named(&self, id: &str) -> bool {
        self.jobs.get(id).is_some_and(|entry| entry.named)
    }

    /// Jobs that nobody has looked at for too long. `look` says who does.
    pub fn idle(&mut self, now: Duration, look: impl Fn(&str) -> Seen) -> Vec<String> {
        let limits = self.limits.clone();
        let mut idle = Vec::new();
        for (id, entry) in &mut self.jobs {
            let Some(seen) = &mut entry.seen else {
                continue;
            };
            let Seen { open, reads, touched } = look(id);
            entry.reads = reads;
            entry.looked |= open || touched > entry.since;
            *seen = if open { now } else { touched.max(*seen) };
            let limit = limits.live_idle;
            let until = (*seen + limit).max(entry.since + limits.start_grace + limit);
            if !entry.ending && now >= until {
                idle.push(id.clone());
            }
        }
        idle
    }

    /// A job begins to end; only the first to ask is told `true`.
    pub fn begin_end(&mut self, id: &str) -> bool {
        self.jobs.get_mut(id).is_some_and(|entry| !std::mem::replace(&mut entry.ending, true))
    }

    /// Everything that a job held is free again.
    pub fn release(&mut self, id: &str) {
        self.jobs.remove(id);
    }

    /// Remembers how a job ended.
    pub fn remember(&mut self, now: Duration, ended: Ended) {
        self.ended.retain(|(at, other)| other.id != ended.id && now.saturating_sub(*at) < REMEMBERED_FOR);
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((now, ended));
    }

    /// What is remembered of a job.
    pub fn ended(&self, id: &str) -> Option<&Ended> {
        self.ended.iter().map(|(_, ended)| ended).find(|ended| ended.id == id)
    }

    /// Jobs that hold anything.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
