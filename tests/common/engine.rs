//! The engine of the pipeline alone, fed with blocks that a test makes up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use fiberd::acquisition::{Acquisition, SampleFormat};
use fiberd::block::{BlockLayout, BlockPool, RawBlock};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::{Egress, Outlet, fence};
use fiberd::frame::Frame;
use fiberd::pipeline::control::{Command, Opened};
use fiberd::pipeline::{Engine, Prepared};
use fiberd::refusal::Refusal;
use fiberd::status::{FindingReporter, PipelineCounters};
use fiberd::units::TraceIndex;
use tokio::sync::oneshot;

/// The value of a trace at a channel; where samples are floats a whole number, or [NaN](float).
pub type Sample = fn(u64, usize) -> i16;

/// The smallest number stands for what is none.
fn float(sample: i16) -> f32 {
    if sample == i16::MIN { f32::NAN } else { f32::from(sample) }
}

/// Writes the traces from `first` on into `block`, all that it has.
pub fn fill(block: &mut RawBlock, first: u64, sample: Sample) {
    for t in 0..block.traces {
        if block.layout().format == SampleFormat::F32 {
            let row: &mut [f32] = bytemuck::cast_slice_mut(block.row_mut(t));
            row.iter_mut().enumerate().for_each(|(c, cell)| *cell = float(sample(first + t as u64, c)));
            continue;
        }
        let row: &mut [i16] = bytemuck::cast_slice_mut(block.row_mut(t));
        row.iter_mut().enumerate().for_each(|(c, cell)| *cell = sample(first + t as u64, c));
    }
}

pub struct EngineRig {
    pub engine: Engine,
    pub counters: Arc<PipelineCounters>,
    /// The next trace.
    pub next: u64,
    outlet: Outlet,
    pool: BlockPool,
    acquisition: Arc<Acquisition>,
    sample: Sample,
    /// What the planner has made, if there is one.
    prepared_rx: Option<Receiver<Prepared>>,
    /// The longest that a piece of work between two blocks took.
    pub longest_stand: Duration,
}

/// An answer that is still to come.
pub type Answer = oneshot::Receiver<Result<Opened, Refusal>>;

impl EngineRig {
    /// With blocks of at most `capacity_traces` and one thread.
    pub fn new(
        views: Vec<ViewConfig>,
        condition: ConditionSpec,
        acquisition: Arc<Acquisition>,
        capacity_traces: usize,
        sample: Sample,
    ) -> Self {
        let processing = ProcessingConfig { condition, threads: 1, egress_frames: 0 };
        let engine = |egress, counters| Engine::new(views, &processing, egress, counters, FindingReporter::default());
        Self::of(engine, acquisition, capacity_traces, sample)
    }

    /// The same, with an engine that is made by `engine`.
    pub fn of(
        engine: impl FnOnce(Egress, Arc<PipelineCounters>) -> Engine,
        acquisition: Arc<Acquisition>,
        capacity_traces: usize,
        sample: Sample,
    ) -> Self {
        let (egress, outlet) = fence(100_000, Arc::default());
        let layout = BlockLayout { capacity_traces, ..BlockLayout::for_acquisition(&acquisition, Duration::ZERO) };
        let pool = BlockPool::new(layout, 4, &acquisition);
        let counters = Arc::<PipelineCounters>::default();
        let engine = engine(egress, Arc::clone(&counters));
        let (prepared_rx, longest_stand) = (None, Duration::ZERO);
        Self { engine, counters, next: 0, outlet, pool, acquisition, sample, prepared_rx, longest_stand }
    }

    /// The next block, of so many traces; what the engine took for it.
    pub fn feed(&mut self, traces: usize) -> Duration {
        let mut blank = self.pool.take().expect("the pipeline keeps only what it has said");
        let block = blank.block();
        block.clear(&self.acquisition);
        (block.first_trace, block.traces) = (TraceIndex(self.next), traces);
        fill(block, self.next, self.sample);
        self.next += traces as u64;
        let lease = blank.seal();
        let began = Instant::now();
        self.engine.process(lease);
        began.elapsed()
    }

    /// Lets a thread of its own prepare jobs.
    pub fn plan_apart(&mut self) {
        self.prepared_rx = Some(self.engine.plan_apart().unwrap());
    }

    /// Another acquisition from the next block on.
    pub fn acquire(&mut self, acquisition: Acquisition) {
        (self.acquisition, self.next) = (Arc::new(acquisition), 0);
    }

    pub fn open(&mut self, job: &str, streams: Vec<ViewConfig>) -> Result<Opened, Refusal> {
        let mut answer = self.ask(job, streams);
        loop {
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(_) => self.put_in_place(),
            }
        }
    }

    /// Asks for a job.
    pub fn ask(&mut self, job: &str, streams: Vec<ViewConfig>) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.stand(|engine| engine.execute(Command::Open { job: job.into(), streams, reply }));
        answer
    }

    /// Waits for what the planner makes and puts it into its place.
    pub fn put_in_place(&mut self) {
        let prepared = self.prepared_rx.as_ref().expect("answered at once").recv().unwrap();
        self.stand(|engine| engine.begin_prepared(prepared));
    }

    fn stand(&mut self, work: impl FnOnce(&mut Engine)) {
        let began = Instant::now();
        work(&mut self.engine);
        self.longest_stand = self.longest_stand.max(began.elapsed());
    }

    pub fn close(&mut self, job: &str) -> bool {
        let (reply, mut answer) = oneshot::channel();
        self.stand(|engine| engine.execute(Command::Close { job: job.into(), reply }));
        answer.try_recv().expect("answered at once")
    }

    /// Frames that have come since the last time.
    pub fn frames(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.outlet.take_within(Duration::ZERO)).collect()
    }

    /// The same, with those that were still being filled.
    pub fn last_frames(&mut self) -> Vec<Frame> {
        self.engine.finish();
        self.frames()
    }
}
