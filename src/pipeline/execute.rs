//! What is asked of the dsp thread, between two blocks: jobs begin, change and end.

use tokio::sync::oneshot;

use super::Engine;
use super::control::{Command, Opened};
use super::load::Guard;
use super::plan::Now;
use crate::config::ViewConfig;
use crate::refusal::Refusal;

/// The sums of windows of more traces are made by whole transforms before they slide, for all channels at once: the next
/// job waits for so many blocks until that is over.
const LONG: usize = 8192;
const BEGINNING_BLOCKS: u32 = 4;

/// A job that has yet to begin.
pub(super) struct Opening {
    job: String,
    streams: Vec<ViewConfig>,
    reply: oneshot::Sender<Result<Opened, Refusal>>,
}

impl Engine {
    /// Does what is asked, between two blocks.
    pub fn execute(&mut self, command: Command) {
        self.counters.ticks.add(1);
        match command {
            Command::Open { job, streams, reply } => {
                self.held.push_back(Opening { job, streams, reply });
                self.begin_held();
            }
            Command::Close { job, reply } => {
                // One that has not begun is told so: its reply drops.
                self.held.retain(|opening| opening.job != job);
                let there = self.close(&job);
                let _ = reply.send(there);
            }
        }
    }

    /// Begins jobs while there is time for what they may cost at their beginning.
    pub(super) fn begin_held(&mut self) {
        while self.may_begin() {
            let Some(Opening { job, streams, reply }) = self.held.pop_front() else { return };
            // Whoever does not wait for the answer any more has no use for the job either.
            if reply.is_closed() {
                continue;
            }
            let answer = self.open(&job, streams);
            if reply.send(answer).is_err_and(|answer| answer.is_ok()) {
                self.close(&job);
            }
        }
    }

    /// Whether a job may begin: where traces can be lost, not while many blocks wait, and not while another one begins with
    /// long windows.
    fn may_begin(&self) -> bool {
        let time = |guard: &Guard| self.beginning == 0 && self.waiting <= guard.budget.pool_blocks / 8;
        self.guard.as_ref().is_none_or(time)
    }

    fn open(&mut self, job: &str, streams: Vec<ViewConfig>) -> Result<Opened, Refusal> {
        if let Some(why) = &self.impossible {
            return Err(Refusal::NotConditioned(why.clone()));
        }
        let (Some(plans), Some(input)) = (&mut self.plans, &self.input) else { return Err(Refusal::Waiting) };
        let old = plans.streams_of(job);
        let next_trace = self.next_trace;
        let first_trace = self.kept.recall(|kept| {
            let now = Now { next_trace, kept };
            let first_trace = plans.open(job, &streams, &[], now)?;
            plans.remove(&old, now);
            Ok(first_trace)
        });
        let opened = Opened { epoch: input.epoch, first_trace: first_trace.map_err(Refusal::DoesNotFit)? };
        self.jobs.retain(|(other, _)| other != job);
        if streams.iter().any(|stream| stream.nfft > LONG) {
            self.beginning = BEGINNING_BLOCKS;
        }
        self.jobs.push((job.to_owned(), streams));
        self.make_room();
        Ok(opened)
    }

    pub(super) fn close(&mut self, job: &str) -> bool {
        let count = self.jobs.len();
        self.jobs.retain(|(other, _)| other != job);
        if let Some(plans) = &mut self.plans {
            let gone = plans.streams_of(job);
            self.kept.recall(|kept| plans.remove(&gone, Now { next_trace: self.next_trace, kept }));
            self.make_room();
        }
        self.jobs.len() < count
    }
}
