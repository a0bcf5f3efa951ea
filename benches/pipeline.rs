//! From a capture to a memory sink: the block pool with its queues alone, then everything that the service runs between
//! the hardware and the network: capture thread, pool, queues, conditioning, transform, frames, fence, wire encoding.
//!
//! The samples are those of `fixtures/walker.fdas`, widened to an instrument's number of channels by repeating them.
//! Nothing is measured before a line of the waterfall agrees with the definition. `cargo bench --bench pipeline`, or as
//! a test with `cargo test --benches`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use crossbeam_channel::{Receiver, Sender, bounded};
use fiberd::acquisition::{Acquisition, SignalLimits};
use fiberd::block::{BlockLayout, BlockPool, Lease, RawBlock};
use fiberd::capture::{Capture, filled_queue_blocks};
use fiberd::config::{CaptureConfig, ProcessingConfig, ViewConfig};
use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{ConditionSpec, Output, PlanSpec, Window, bins_in_range};
use fiberd::egress::{Outlet, fence};
use fiberd::frame::View;
use fiberd::pipeline::Engine;
use fiberd::publish::memory::Memory;
use fiberd::source::replay::Replay;
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed, SourceError};
use fiberd::status::Status;
use fiberd::units::{Rational, TraceIndex};

/// Blocks in one measured pass: a second of data.
const PASS_BLOCKS: usize = 50;

/// A capture in memory that goes round for ever, with trace numbers that go on, as fast as it is taken.
#[derive(Clone)]
struct Round {
    acquisition: Acquisition,
    rows: Arc<Vec<Vec<i16>>>,
    next: u64,
}

impl Round {
    /// The fixture, widened to `channels` and said to run at `prr_hz`.
    fn new(channels: usize, prr_hz: u64) -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/walker.fdas");
        let mut replay = Replay::open(&[file.into()], ReplaySpeed::Unpaced, false).expect("the fixture opens");
        let Ok(Probe::Ready(narrow)) = replay.probe() else { panic!("the fixture is there") };
        let narrow = Arc::new(narrow);
        let layout = BlockLayout { capacity_traces: 64, channels: narrow.channels, format: narrow.sample_format };
        let mut block = RawBlock::new(layout, Arc::clone(&narrow));
        let mut rows = Vec::new();
        loop {
            block.clear(&narrow);
            match replay.read_block(&mut block, Duration::from_secs(1)).expect("the fixture is whole") {
                ReadOutcome::EndOfStream => break,
                _ => rows.extend(
                    (0..block.traces)
                        .map(|t| block.row_as::<i16>(t).iter().copied().cycle().take(channels).collect::<Vec<_>>()),
                ),
            }
        }
        let prr = Rational::new(prr_hz, 1).expect("positive");
        let acquisition = Acquisition { channels, prr, ..(*narrow).clone() };
        Self { acquisition, rows: Arc::new(rows), next: 0 }
    }

    fn row(&self, trace: u64) -> &[i16] {
        &self.rows[(trace % self.rows.len() as u64) as usize]
    }
}

impl Interrogator for Round {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::Ready(self.acquisition.clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        block.first_trace = TraceIndex(self.next);
        block.utc_ns = 1_790_000_000_000_000_000 + self.acquisition.prr.traces_to_ns(self.next);
        block.traces = block.layout().capacity_traces;
        for t in 0..block.traces {
            let row = self.row(self.next + t as u64);
            block.row_mut(t).copy_from_slice(bytemuck::cast_slice(row));
        }
        self.next += block.traces as u64;
        block.captured_at = Instant::now();
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// The service without its network.
struct Service {
    engine: Engine,
    filled_rx: Receiver<Lease>,
    outlet: Outlet,
    sink: Memory,
    _stop: Sender<()>,
}

impl Service {
    fn start(source: Round, views: Vec<ViewConfig>) -> Self {
        let status = Status::new("bench", None);
        let config = CaptureConfig::default();
        let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config, None));
        let (stop, stop_rx) = bounded(0);
        let (egress, outlet) = fence(4096, Arc::clone(&status.counters.egress));
        let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 4096 };
        let engine =
            Engine::new(views, &processing, egress, Arc::clone(&status.counters.pipeline), status.finding_reporter());
        let limits = SignalLimits::default();
        let capture = Capture { source: Box::new(source), config, limits, status, filled_tx, tee: None, stop_rx };
        capture.spawn().expect("a thread");
        Self { engine, filled_rx, outlet, sink: Memory::new("bench", 64), _stop: stop }
    }

    fn pass(&mut self, blocks: usize) {
        for _ in 0..blocks {
            self.engine.process(self.filled_rx.recv().expect("capture goes on"));
            while let Some(frame) = self.outlet.take_within(Duration::ZERO) {
                self.sink.put(&frame);
            }
        }
    }

    /// One line of the waterfall against the definition, in f64, for some channels.
    fn verify(&mut self, source: &Round) {
        let frame = loop {
            self.engine.process(self.filled_rx.recv().expect("capture goes on"));
            let waterfall = |f: &fiberd::frame::Frame| f.stream.view == View::Waterfall;
            if let Some(frame) = std::iter::from_fn(|| self.outlet.take_within(Duration::ZERO)).find(waterfall) {
                break frame;
            }
        };
        let prr = source.acquisition.prr;
        let view = ViewConfig::waterfall();
        let bins = bins_in_range(5.0, 200.0, prr.to_f64(), view.nfft);
        let spec = PlanSpec {
            nfft: view.nfft,
            window: Window::Hann,
            period_traces: view.line_period_s.checked_mul(prr).expect("small numbers"),
            outputs: vec![Output::BandEnergy(vec![bins])],
        };
        for channel in [0, source.acquisition.channels / 3, source.acquisition.channels - 1] {
            let sample = |t| f64::from(source.row(t)[channel]) * source.acquisition.scale;
            let run = Run { first_trace: 0, samples: (0..frame.end_trace.0).map(sample).collect() };
            let line = naive::lines(&spec, &[run]).into_iter().find(|l| l.index == frame.first_line).expect("the line");
            let (expected, got) =
                (naive::output(&spec.outputs[0], &line.power)[0], f64::from(frame.values.flat()[channel]));
            assert!((got - expected).abs() <= 1e-3 * expected.abs() + 1e-12, "channel {channel}: {got} for {expected}");
        }
    }
}

fn whole(c: &mut Criterion) {
    let singles = |count: usize| (0..count).map(|i| ViewConfig::single(&format!("single-{i}"), 100 + 200 * i));
    let eight: Vec<_> = std::iter::once(ViewConfig::waterfall()).chain(singles(8)).collect();
    for (name, channels, prr_hz, views) in [
        ("2337 ch x 2000 Hz, waterfall and 8 single channels", 2337, 2000, eight),
        ("10000 ch x 2000 Hz, waterfall", 10_000, 2000, vec![ViewConfig::waterfall()]),
    ] {
        let source = Round::new(channels, prr_hz);
        let mut service = Service::start(source.clone(), views);
        service.verify(&source);
        let samples = PASS_BLOCKS as u64 * (prr_hz / 50) * channels as u64;
        let mut best = f64::INFINITY;
        let mut group = c.benchmark_group("from capture to memory sink");
        group.throughput(Throughput::Elements(samples));
        group.bench_function(name, |b| {
            b.iter_custom(|passes| {
                let began = Instant::now();
                (0..passes).for_each(|_| service.pass(PASS_BLOCKS));
                best = best.min(began.elapsed().as_secs_f64() / passes as f64);
                began.elapsed()
            });
        });
        group.finish();
        println!("{name}: {:.0} M samples/s, {:.0} x real time at best", samples as f64 / best / 1e6, 1.0 / best);
    }
}

/// A block's way through free queue, full queue and home again, beside a fresh allocation sent over a std channel.
fn pool_and_queues(c: &mut Criterion) {
    let acquisition = Arc::new(Acquisition::example());
    let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(20));
    let pool = BlockPool::new(layout, 64, &acquisition);
    let (full_tx, full_rx) = bounded::<Lease>(64);
    let mut round = || {
        full_tx.send(pool.take().expect("all blocks are home").seal()).expect("room");
        full_rx.recv().expect("a block").share()
    };
    // Verified: however often, all blocks come home.
    (0..1000).for_each(|_| drop(round()));
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), pool.count());
    drop(all);

    let mut group = c.benchmark_group("pool and queues");
    group.throughput(Throughput::Elements((layout.channels * layout.capacity_traces) as u64));
    group.bench_function("lease out, shared, and home", |b| b.iter(&mut round));
    let (tx, rx) = std::sync::mpsc::sync_channel(64);
    group.bench_function("peer: fresh block over a std channel", |b| {
        b.iter(|| {
            tx.send(Arc::new(RawBlock::new(layout, Arc::clone(&acquisition)))).expect("room");
            Arc::clone(&rx.recv().expect("a block"))
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    pool_and_queues(&mut criterion);
    whole(&mut criterion);
    criterion.final_summary();
}
