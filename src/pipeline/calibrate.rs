//! Measures what work costs on this host: an engine of its own, on a thread of its own (`das-calibrate`), is given jobs of
//! a few shapes for a few windows each, and asked what they took. It takes a fraction of a second of one core, once, at
//! the start; until it is done, and where it cannot be, [`Rates::BUILT_IN`] hold.

use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::subscriber::NoSubscriber;
use tracing::{debug, info, warn};

use crate::acquisition::Acquisition;
use crate::block::{BlockLayout, BlockPool};
use crate::config::{ProcessingConfig, ViewConfig};
use crate::dsp::ConditionSpec;
use crate::egress::{Outlet, fence};
use crate::frame::{ValueKind, View};
use crate::pipeline::Engine;
use crate::pipeline::control::{Command, Control};
use crate::pipeline::cost::{Rates, StepCost, WindowCost};
use crate::status::FindingReporter;
use crate::units::{Rational, TraceIndex};

/// Channels of the fiber that is played: rows of many blocks then lie about as far apart as an instrument's.
const CHANNELS: usize = 1000;

/// Traces of a block, and a second of them is a thousand.
const BLOCK: usize = 80;
const PRR_HZ: u64 = 1000;

/// Channels side by side, those of a cache line.
const SIDE_BY_SIDE: usize = 32;

/// The same where they slide, two groups at a time.
const SLIDING: usize = 16;

/// Blocks that each shape is given, after those that make its windows whole.
const BLOCKS: usize = 5;

/// Starts the thread, which tells `control` what it has found.
pub fn start(control: &Control) {
    let control = control.clone();
    let started = Builder::new().name("das-calibrate".into()).spawn(move || {
        let began = Instant::now();
        let rates = measure();
        info!(took_ms = began.elapsed().as_millis(), "measured what work costs on this host");
        debug!(?rates, "what work costs on this host, in nanoseconds");
        control.calibrate(rates);
    });
    if let Err(error) = started {
        warn!(%error, "what work costs on this host is not measured; jobs are admitted by built-in figures");
    }
}

/// Measures on the calling thread, which must not have run an [`Engine`].
pub fn measure() -> Rates {
    // What the engine plans for itself is nobody's business.
    tracing::subscriber::with_default(NoSubscriber::default(), || Bench::new().rates())
}

struct Bench {
    engine: Engine,
    outlet: Outlet,
    pool: BlockPool,
    acquisition: Arc<Acquisition>,
    next: u64,
    row: Vec<i16>,
}

/// Nanoseconds of thread time for a window, and for a line.
struct Took {
    window_ns: f64,
    line_ns: f64,
}

impl Bench {
    fn new() -> Self {
        let (egress, outlet) = fence(1024, Arc::default());
        let prr = Rational::new(PRR_HZ, 1).expect("a thousand pulses a second");
        let acquisition = Arc::new(Acquisition { prr, channels: CHANNELS, ..Acquisition::example() });
        let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 0 };
        let layout =
            BlockLayout { capacity_traces: BLOCK, ..BlockLayout::for_acquisition(&acquisition, Duration::ZERO) };
        let pool = BlockPool::new(layout, 2, &acquisition);
        // Any samples that are neither zero nor the same.
        let row = (0..CHANNELS).map(|c| (c.wrapping_mul(0x9E37) % 4001) as i16 - 2000).collect();
        let engine = Engine::new(Vec::new(), &processing, egress, Arc::default(), FindingReporter::default());
        let mut bench = Self { engine, outlet, pool, acquisition, next: 0, row };
        // As far as whole windows look back.
        (0..8400 / BLOCK).for_each(|_| bench.feed());
        bench
    }

    fn feed(&mut self) {
        let Some(mut blank) = self.pool.take() else { return };
        let block = blank.block();
        block.clear(&self.acquisition);
        (block.first_trace, block.traces) = (TraceIndex(self.next), BLOCK);
        for trace in 0..BLOCK {
            self.row.rotate_left(1);
            block.row_mut(trace).copy_from_slice(bytemuck::cast_slice(&self.row));
        }
        self.next += BLOCK as u64;
        self.engine.process(blank.seal());
        while self.outlet.take_within(Duration::ZERO).is_some() {}
    }

    /// The least that windows and lines of a job took.
    fn took(&mut self, channels: usize, nfft: usize, period_traces: u64, bins: usize) -> Took {
        let highest_hz = (bins - 1) as f64 * PRR_HZ as f64 / nfft as f64;
        let view = ViewConfig {
            view: View::Multi,
            channel_max: Some(channels),
            nfft,
            line_period_s: Rational::new(period_traces, PRR_HZ).expect("positive"),
            frequency_range_hz: Some((0.0, highest_hz)),
            value: ValueKind::Amplitude,
            ..ViewConfig::single("calibration", 1)
        };
        let job = "calibration".to_owned();
        let (reply, _answer) = oneshot::channel();
        self.engine.execute(Command::Open { job: job.clone(), streams: vec![view], reply });
        let mut least = (f64::INFINITY, f64::INFINITY);
        for block in 0..BLOCKS {
            self.feed();
            let Some((transform, lines)) = self.engine.job_cost(&job).filter(|_| block > 1) else { continue };
            least = (least.0.min(transform), least.1.min(lines));
        }
        let (reply, _answer) = oneshot::channel();
        self.engine.execute(Command::Close { job, reply });
        let ns = 1e9 * period_traces as f64 / PRR_HZ as f64;
        Took { window_ns: least.0 * ns, line_ns: least.1 * ns }
    }

    /// From few and from many bins to what a trace and what a bin cost one of `channels`.
    fn window(&mut self, channels: usize, nfft: usize) -> WindowCost {
        let (few, many) = (nfft / 16, nfft / 2 + 1);
        // Too far apart to slide.
        let [low, high] =
            [few, many].map(|bins| self.took(channels, nfft, BLOCK as u64, bins).window_ns / channels as f64);
        let bin_ns = ((high - low) / (many - few) as f64).max(0.0);
        WindowCost { nfft, trace_ns: ((high - bin_ns * many as f64) / nfft as f64).max(0.0), bin_ns }
    }

    /// From short and from long steps to what a bin costs in any case, and for each trace.
    fn step(&mut self, nfft: usize, bins: usize) -> StepCost {
        let (short, long) = (16, 40);
        let [low, high] = [short, long].map(|hop| {
            let took = self.took(SLIDING, nfft, hop, bins);
            took.window_ns / (SLIDING * bins) as f64
        });
        let bin_trace_ns = ((high - low) / (long - short) as f64).max(0.0);
        StepCost { nfft, bin_ns: (high - bin_trace_ns * long as f64).max(0.0), bin_trace_ns }
    }

    fn rates(mut self) -> Rates {
        let whole = [128, 1024, 8192].map(|nfft| self.window(SIDE_BY_SIDE, nfft));
        let sliding = [(512, 64), (8192, 2048), (65_536, 16_384)].map(|(nfft, bins)| self.step(nfft, bins));
        // Of short windows only channels alone go this way; of long ones several, which share the caches.
        let along = [(1, 128), (1, 2048), (8, 16_384), (8, 65_536)].map(|(channels, nfft)| self.window(channels, nfft));
        let (few, many) = (SIDE_BY_SIDE, SIDE_BY_SIDE * 500);
        let [low, high] = [1, 500].map(|bins| self.took(SIDE_BY_SIDE, 1024, BLOCK as u64, bins).line_ns);
        let value_ns = ((high - low) / (many - few) as f64).max(0.0);
        Rates { whole, sliding, along, line_ns: (low - value_ns * few as f64).max(0.0), value_ns }
    }
}
