//! What is asked of the dsp thread, between two blocks: jobs begin, change and end.
//!
//! Where there is a `planner`, it makes what a job needs first, and this thread puts that into its place; otherwise this
//! thread makes it. Jobs begin one after the other, in the order in which they were asked for. When the plans have changed
//! while something was made for them, it is made again; in the end this thread makes what no longer fits, so that nobody
//! waits for ever.
//!
//! What the planner cannot do, because data flows meanwhile: to read the plans for their outline, to take over samples and
//! sums from lanes and stores that are there, and to copy what has been kept into windows that are too long to be read
//! where that lies. The last is the most, and no more than the traces that are kept for jobs to come, of the job's channels.

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;
use tracing::debug;

use super::Engine;
use super::control::{Command, Opened};
use super::job_unit::{JobUnit, level};
use super::kept::KeptBlocks;
use super::load::Guard;
use super::plan::{Now, Plans, Stock};
use super::planned::PlannedView;
use super::planner::{Order, Planner, Prepared};
use crate::config::ViewConfig;
use crate::frame::units;
use crate::refusal::Refusal;

/// The sums of windows of more traces are made by whole transforms before they slide, for all channels at once: the next
/// job waits for so many blocks until that is over.
const LONG: usize = 8192;
const BEGINNING_BLOCKS: u32 = 4;

/// So often parts are made for plans that have changed meanwhile; then what still fits is used.
const TRIES: u32 = 3;

/// A job that has begun.
pub(super) struct KnownJob {
    pub(super) job: String,
    /// Its streams.
    pub(super) streams: Vec<ViewConfig>,
    /// What its values are told in.
    pub(super) unit: JobUnit,
}

/// A job that has yet to begin.
pub(super) struct Opening {
    job: String,
    streams: Vec<ViewConfig>,
    reply: oneshot::Sender<Result<Opened, Refusal>>,
}

/// The job that begins next.
pub(super) struct Next {
    opening: Opening,
    /// Tells what is made for it from what was made for another.
    ticket: u64,
    /// The plans that it is made for.
    generation: u64,
    tries: u32,
    /// What was made; `None` while the planner is at it.
    stock: Option<Stock>,
}

impl Engine {
    /// Lets a thread make what jobs need, and free what they leave, from now on. What it makes comes by the queue, to be
    /// given to [`begin_prepared`](Self::begin_prepared); when the queue closes, to [`plan_here`](Self::plan_here).
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn plan_apart(&mut self) -> std::io::Result<Receiver<Prepared>> {
        let (planner, prepared_rx) = Planner::start()?;
        self.planner = Some(planner);
        Ok(prepared_rx)
    }

    /// Does it all on this thread from now on, also what the planner was asked for.
    pub fn plan_here(&mut self) {
        self.planner = None;
        if let Some(next) = self.next.take_if(|next| next.stock.is_none()) {
            self.prepare(next.opening, next.tries);
        }
        self.begin_held();
    }

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
                if let Some(Next { stock: Some(stock), .. }) = self.next.take_if(|next| next.opening.job == job) {
                    self.free(stock);
                }
                let there = self.close(&job);
                let _ = reply.send(there);
                self.begin_held();
            }
        }
    }

    /// Puts into place what was made for a job, between two blocks.
    pub fn begin_prepared(&mut self, Prepared { ticket, stock }: Prepared) {
        match self.next.as_mut().filter(|next| next.ticket == ticket) {
            Some(next) => next.stock = Some(stock),
            None => self.free(stock),
        }
        self.begin_held();
    }

    /// Begins jobs while there is time for what they may cost at their beginning.
    pub(super) fn begin_held(&mut self) {
        while self.may_begin() {
            match self.next.take() {
                Some(next @ Next { stock: None, .. }) => {
                    self.next = Some(next);
                    return;
                }
                Some(Next { opening, generation, tries, stock: Some(stock), .. }) => {
                    self.begin_or_again(opening, stock, generation, tries);
                }
                None => match self.held.pop_front() {
                    Some(opening) => self.prepare(opening, 0),
                    None => return,
                },
            }
        }
    }

    /// Whether a job may begin: not before the first block, which is on its way when capture says that there is light; and
    /// where traces can be lost, not while many blocks wait, nor while another one begins with long windows.
    fn may_begin(&self) -> bool {
        if self.input.is_none() {
            return false;
        }
        let time = |guard: &Guard| self.beginning == 0 && self.waiting <= guard.budget.pool_blocks / 8;
        self.guard.as_ref().is_none_or(time)
    }

    /// Lets the planner make what a job needs, or begins it right now.
    fn prepare(&mut self, opening: Opening, tries: u32) {
        // Whoever does not wait for the answer any more has no use for the job either.
        if opening.reply.is_closed() {
            return;
        }
        let generation = self.generation;
        let (Some(plans), Some(planner)) = (&self.plans, &self.planner) else {
            return self.begin(opening, Stock::default());
        };
        self.tickets += 1;
        let order = Order {
            ticket: self.tickets,
            outline: plans.outline(self.kept.provider(), self.workers.scratch()),
            job: opening.job.clone(),
            streams: opening.streams.clone(),
        };
        if planner.prepare(order) {
            self.next = Some(Next { opening, ticket: self.tickets, generation, tries, stock: None });
        } else {
            self.begin(opening, Stock::default());
        }
    }

    fn begin_or_again(&mut self, opening: Opening, stock: Stock, generation: u64, tries: u32) {
        let same_acquisition = generation >= self.planned_at;
        if generation == self.generation || same_acquisition && tries + 1 >= TRIES {
            return self.begin(opening, stock);
        }
        self.free(stock);
        self.prepare(opening, tries + u32::from(same_acquisition));
    }

    fn begin(&mut self, opening: Opening, mut stock: Stock) {
        let Opening { job, streams, reply } = opening;
        if !reply.is_closed() {
            let answer = self.open(&job, streams, &mut stock);
            if reply.send(answer).is_err_and(|answer| answer.is_ok()) {
                self.close(&job);
            }
        }
        self.free(stock);
    }

    fn open(&mut self, job: &str, streams: Vec<ViewConfig>, stock: &mut Stock) -> Result<Opened, Refusal> {
        if let Some(why) = &self.impossible {
            return Err(Refusal::NotConditioned(why.clone()));
        }
        let (Some(plans), Some(input)) = (&mut self.plans, &self.input) else { return Err(Refusal::Waiting) };
        let known = self.jobs.iter().find(|known| known.job == job).map(|known| known.unit.clone());
        let unit = known.unwrap_or_else(|| unit_for_jobs(&mut self.job_unit, plans, &self.kept));
        let come = PlannedView::all_of_job(job, &streams, &plans.output, &unit).map_err(Refusal::DoesNotFit)?;
        let (old, next_trace) = (plans.streams_of(job), self.next_trace);
        let first_trace = self.kept.recall(|kept| plans.exchange(come, &old, &[], Now { next_trace, kept }, stock));
        debug!(job, made_here = stock.made(), "a job begins; so many parts were not prepared");
        let (epoch, sample_unit) = (input.epoch, unit.samples().to_owned());
        let opened = Opened { epoch, first_trace, unit: unit.text(), sample_unit };
        self.generation += 1;
        self.jobs.retain(|known| known.job != job);
        if streams.iter().any(|stream| stream.nfft > LONG) {
            self.beginning = BEGINNING_BLOCKS;
        }
        self.jobs.push(KnownJob { job: job.to_owned(), streams, unit });
        if let Some(scratch) = stock.workers() {
            stock.retire_workers(self.workers.exchange(scratch));
        }
        self.make_room();
        Ok(opened)
    }

    pub(super) fn close(&mut self, job: &str) -> bool {
        let count = self.jobs.len();
        self.jobs.retain(|known| known.job != job);
        let mut stock = Stock::default();
        if let Some(plans) = &mut self.plans {
            let (gone, next_trace) = (plans.streams_of(job), self.next_trace);
            self.kept.recall(|kept| plans.exchange(Vec::new(), &gone, &[], Now { next_trace, kept }, &mut stock));
            self.generation += 1;
            self.make_room();
        }
        self.free(stock);
        self.jobs.len() < count
    }

    /// Frees memory on another thread, if there is one.
    fn free(&self, stock: Stock) {
        if let Some(planner) = &self.planner {
            planner.free(stock);
        }
    }
}

/// The unit for a job that begins: that of the one before as long as it does, so that clients see one unit and equal jobs
/// share their values.
fn unit_for_jobs(last: &mut Option<JobUnit>, plans: &Plans, kept: &KeptBlocks) -> JobUnit {
    let (unit, level) = (&units(&plans.output).0, level(&mut kept.recall(|kept| plans.samples(kept))));
    let serves = last.take().filter(|last| last.serves(unit, level));
    last.insert(serves.unwrap_or_else(|| JobUnit::new(unit, level))).clone()
}
