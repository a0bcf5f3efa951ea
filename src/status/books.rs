//! The books of frames: what came in must equal what became of it. A frame is counted for each stream that it is one of.
//!
//! Frames of standing views:
//! ```text
//! made      = dropped at egress + without a broker + too large + published + waiting at the fence
//! published = confirmed + unroutable + given up + unconfirmed + unanswered
//! ```
//! Frames of jobs, from where they are offered to the broker:
//! ```text
//! offered   = unwanted + throttled + not connected + dropped + late + too large + published + waiting in the queue
//! published = confirmed + unroutable + lost + unanswered
//! ```
//! Numbers are read one after the other and gauges are set once a turn, so that while frames flow the sides may differ
//! by what moved in between. In a daemon that is quiet, or that has stopped, they are equal.

use serde::Serialize;

use super::{Counters, Gauge};

/// Both sides of one account, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// What is accounted for, short and stable: `frames made`.
    pub name: &'static str,
    /// How many came in.
    pub came: u64,
    /// What became of them, added up.
    pub went: u64,
}

impl Account {
    /// Whether nothing is missing and nothing is counted twice.
    pub const fn balances(&self) -> bool {
        self.came == self.went
    }
}

impl Counters {
    /// The books of frames of standing views.
    pub fn frame_books(&self) -> [Account; 2] {
        let unanswered = count(&self.frames_unanswered);
        let at_the_fence = count(&self.frames_waiting).saturating_sub(unanswered);
        let published = self.frames_published.get();
        let left = [&self.frames_dropped_at_egress, &self.frames_without_broker, &self.frames_too_large];
        let answered =
            [&self.frames_confirmed, &self.frames_unroutable, &self.frames_given_up, &self.frames_unconfirmed];
        let sum = |of: &[&super::Counter]| of.iter().map(|counter| counter.get()).sum::<u64>();
        [
            Account { name: "frames made", came: self.frames_made.get(), went: sum(&left) + published + at_the_fence },
            Account { name: "frames published", came: published, went: sum(&answered) + unanswered },
        ]
    }

    /// The books of frames of jobs that are offered to the broker.
    pub fn job_frame_books(&self) -> [Account; 2] {
        let published = self.job_frames_published.get();
        let kept_back = [
            &self.job_frames_unwanted,
            &self.job_frames_throttled,
            &self.job_frames_not_connected,
            &self.job_frames_dropped,
            &self.job_frames_late,
            &self.job_frames_too_large,
        ];
        let answered = [&self.job_frames_confirmed, &self.job_frames_unroutable, &self.job_frames_lost];
        let sum = |of: &[&super::Counter]| of.iter().map(|counter| counter.get()).sum::<u64>();
        [
            Account {
                name: "job frames offered",
                came: self.job_frames_offered.get(),
                went: sum(&kept_back) + published + count(&self.job_frames_waiting),
            },
            Account {
                name: "job frames published",
                came: published,
                went: sum(&answered) + count(&self.job_frames_unanswered),
            },
        ]
    }
}

fn count(gauge: &Gauge) -> u64 {
    gauge.get() as u64
}
