//! The engine of the pipeline alone, fed with blocks that a test makes up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fiberd::acquisition::Acquisition;
use fiberd::block::{BlockLayout, BlockPool, RawBlock};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::{Egress, Outlet, fence};
use fiberd::frame::Frame;
use fiberd::pipeline::Engine;
use fiberd::pipeline::control::{Command, Opened};
use fiberd::refusal::Refusal;
use fiberd::status::{FindingReporter, PipelineCounters};
use fiberd::units::TraceIndex;
use tokio::sync::oneshot;

/// The value of a trace at a channel.
pub type Sample = fn(u64, usize) -> i16;

/// Writes the traces from `first` on into `block`, all that it has.
pub fn fill(block: &mut RawBlock, first: u64, sample: Sample) {
    for t in 0..block.traces {
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
}

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
        Self { engine, counters, next: 0, outlet, pool, acquisition, sample }
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

    pub fn open(&mut self, job: &str, streams: Vec<ViewConfig>) -> Result<Opened, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.engine.execute(Command::Open { job: job.into(), streams, reply });
        answer.try_recv().expect("answered at once")
    }

    pub fn close(&mut self, job: &str) -> bool {
        let (reply, mut answer) = oneshot::channel();
        self.engine.execute(Command::Close { job: job.into(), reply });
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
