//! What the work of the pipeline costs, measured while it is done, and when it is too much.
//!
//! Each transform and each view has a [`Meter`]: thread time for a window, or for a line. Times the windows and lines
//! that a second has, these make the demand: what everything costs as soon as all windows are full, known two windows
//! after it began, long before an average over seconds would show it. A [`Guard`] compares the demand with the budget
//! and says when jobs have to end. It works in the time of the blocks: nothing here waits, and nothing is allocated
//! before a job ends.

use std::time::Instant;

use crate::dsp::Lane;
use crate::pipeline::control::EndedTx;

/// The load may stay above the budget for so many seconds of data.
const OVER_S: f64 = 0.5;

/// After jobs have ended, what came of it shows within so many seconds of data.
const SETTLED_S: f64 = 0.25;

/// Takes the time of one piece of work after the other.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the piece before.
    pub(super) fn lap(&mut self) -> u64 {
        let now = Instant::now();
        let ns = now.duration_since(std::mem::replace(&mut self.0, now)).as_nanos();
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Charges the lane that has just been pushed.
    pub(super) fn charge(&mut self, lane: &mut Lane) {
        lane.charge(self.lap());
    }
}

/// Thread time for one of many equal pieces of work, in nanoseconds: the smaller of the last two measurements, so that
/// one interruption by the system says nothing. 0 before there are two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Meter {
    newest: f64,
    before: f64,
}

impl Meter {
    /// `pieces` took `ns` together.
    pub(super) fn add(&mut self, ns: u64, pieces: u64) {
        if pieces > 0 {
            (self.before, self.newest) = (self.newest, ns as f64 / pieces as f64);
        }
    }

    /// Share of one thread's time when there are `per_s` pieces a second.
    pub(super) fn load(&self, per_s: f64) -> f64 {
        self.newest.min(self.before) * per_s * 1e-9
    }
}

/// What the pipeline may take, and who is told of jobs that had to end.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Share of real time that it may need.
    pub max_load: f64,
    /// Blocks that capture has: when all of them wait, traces are lost.
    pub pool_blocks: usize,
    /// Where it is said which jobs ended.
    pub ended_tx: EndedTx,
}

/// What the guard looks at, after each block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Seconds of data in the block.
    pub(super) length_s: f64,
    /// Time that the block took divided by its length.
    pub(super) block_load: f64,
    /// The same, smoothed over about a second.
    pub(super) load: f64,
    /// Share of real time that everything costs by its meters.
    pub(super) demand: f64,
    /// Blocks that wait.
    pub(super) waiting: usize,
}

/// What has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The costliest jobs, until what is left fits the budget.
    UntilItFits,
    /// The costliest job.
    Costliest,
}

/// Says when jobs have to end, for traces not to be lost. Pure.
pub(super) struct Guard {
    pub(super) budget: Budget,
    /// Seconds of data for which the load has been above the budget.
    over_s: f64,
    /// Blocks in a row that took longer than they are.
    slow_blocks: u32,
    /// Seconds of data since jobs ended.
    since_s: f64,
}

impl Guard {
    pub(super) const fn new(budget: Budget) -> Self {
        Self { budget, over_s: 0.0, slow_blocks: 0, since_s: f64::INFINITY }
    }

    /// Judges after each block.
    pub(super) fn decide(&mut self, look: Look) -> Option<Verdict> {
        let Look { length_s, block_load, load, demand, waiting } = look;
        let (max, blocks) = (self.budget.max_load, self.budget.pool_blocks);
        self.over_s = if load > max { self.over_s + length_s } else { 0.0 };
        self.slow_blocks = if block_load > 1.0 { self.slow_blocks + 1 } else { 0 };
        self.since_s += length_s;
        // The demand says how much it is; that it is real is seen in the queue, or in a load that stays.
        let real = waiting >= blocks / 4 || self.over_s >= OVER_S;
        // Where the meters do not show it, as on a machine that others use up, the queue must not become full all the
        // same. A burst after a pause of the source fills it as well, but then blocks take less than their length.
        let filling =
            waiting >= blocks - blocks / 4 && self.slow_blocks >= 2 && load > max && self.since_s >= SETTLED_S;
        let verdict = match () {
            () if demand > max && real => Verdict::UntilItFits,
            () if filling => Verdict::Costliest,
            () => return None,
        };
        (self.over_s, self.slow_blocks, self.since_s) = (0.0, 0, 0.0);
        Some(verdict)
    }
}

/// The costliest of `jobs`, as many as must end by `verdict`, with their loads: `demand` is what everything costs, jobs
/// and standing views together, `max_load` what it may.
pub(super) fn costliest(
    mut jobs: Vec<(String, f64)>,
    verdict: Verdict,
    demand: f64,
    max_load: f64,
) -> Vec<(String, f64)> {
    jobs.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    let mut left = demand;
    let needed = match verdict {
        Verdict::Costliest => 1,
        Verdict::UntilItFits => jobs
            .iter()
            .take_while(|(_, load)| {
                let goes = left > max_load;
                left -= load;
                goes
            })
            .count(),
    };
    jobs.truncate(needed);
    jobs
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
