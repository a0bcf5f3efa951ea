//! Jobs that ask for the same: the whole dsp stage with 200 display jobs of four settings, beside one job of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiberd::acquisition::Acquisition;
use fiberd::block::{BlockLayout, BlockPool, Lease};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::{Outlet, fence};
use fiberd::frame::{Dtype, ValueKind, View};
use fiberd::pipeline::Engine;
use fiberd::status::FindingReporter;
use fiberd::units::{Rational, TraceIndex};

/// Blocks of 20 ms in a measured pass: two seconds.
const BLOCKS: usize = 100;

/// Seconds of work for a second of data, a value a round.
pub struct Sharing {
    pub four: Vec<f64>,
    pub two_hundred: Vec<f64>,
}

/// A display job: 50 channels, nfft 1024, 0–500 Hz, 100 lines a second.
fn job(number: usize) -> ViewConfig {
    // Four settings: other places on the fiber, windows and ranges, so that the four share nothing.
    let setting = number % 4;
    ViewConfig {
        view: View::Multi,
        name: format!("job-{number}"),
        channel_min: 100 + 500 * setting,
        channel_max: Some(149 + 500 * setting),
        nfft: 1024,
        line_period_s: Rational::new(1, 100).expect("positive"),
        frequency_range_hz: Some((0.0, 500.0 - setting as f64)),
        value: ValueKind::Amplitude,
        dtype: Dtype::F16,
        bands_hz: Vec::new(),
        ..ViewConfig::waterfall()
    }
}

struct Stage {
    engine: Engine,
    outlet: Outlet,
    pool: BlockPool,
    acquisition: Arc<Acquisition>,
    next: u64,
}

impl Stage {
    fn new(jobs: usize) -> Self {
        let (egress, outlet) = fence(4096, Arc::default());
        let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 4096 };
        let engine =
            Engine::new((0..jobs).map(job).collect(), &processing, egress, Arc::default(), FindingReporter::default());
        let acquisition = Arc::new(Acquisition::example());
        let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(20));
        Self { engine, outlet, pool: BlockPool::new(layout, 4, &acquisition), acquisition, next: 0 }
    }

    fn block(&mut self) -> Lease {
        let mut blank = self.pool.take().expect("all blocks are home");
        let block = blank.block();
        block.clear(&self.acquisition);
        block.first_trace = TraceIndex(self.next);
        block.utc_ns = self.acquisition.prr.traces_to_ns(self.next);
        block.traces = block.layout().capacity_traces;
        for t in 0..block.traces {
            let seed = (self.next + t as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for (c, sample) in bytemuck::cast_slice_mut::<u8, i16>(block.row_mut(t)).iter_mut().enumerate() {
                *sample = (seed.wrapping_mul(c as u64 + 1) >> 50) as i16 - 8192;
            }
        }
        self.next += block.traces as u64;
        blank.seal()
    }

    /// Seconds that the dsp stage alone spends on a pass.
    fn pass(&mut self) -> f64 {
        let mut spent = Duration::ZERO;
        for _ in 0..BLOCKS {
            let block = self.block();
            let began = Instant::now();
            self.engine.process(block);
            spent += began.elapsed();
            while self.outlet.take_within(Duration::ZERO).is_some() {}
        }
        spent.as_secs_f64()
    }
}

pub fn measure(rounds: usize) -> Sharing {
    let (mut few, mut many) = (Stage::new(4), Stage::new(200));
    let mut sharing = Sharing { four: Vec::new(), two_hundred: Vec::new() };
    // One pass of each to plan, to fill the windows and to make the frames' memory.
    few.pass();
    many.pass();
    let seconds = BLOCKS as f64 * 0.02;
    for _ in 0..rounds {
        sharing.four.push(few.pass() / seconds);
        sharing.two_hundred.push(many.pass() / seconds);
    }
    sharing
}

/// Every job has every line once, in order, with the values of the one job of its setting.
pub fn verify() {
    let lines = |jobs| {
        let mut stage = Stage::new(jobs);
        let mut lines: BTreeMap<String, Vec<(u64, u64, Vec<f32>)>> = BTreeMap::new();
        for _ in 0..40 {
            let block = stage.block();
            stage.engine.process(block);
            while let Some(frame) = stage.outlet.take_within(Duration::ZERO) {
                let of = lines.entry(frame.stream.name.clone()).or_default();
                of.push((frame.sequence, frame.first_line, frame.values.flat().into_owned()));
            }
        }
        lines
    };
    let (four, many) = (lines(4), lines(200));
    assert_eq!((four.len(), many.len()), (4, 200));
    for (name, lines) in &many {
        let number: usize = name.trim_start_matches("job-").parse().expect("a number");
        assert_eq!(*lines, four[&format!("job-{}", number % 4)], "{name}");
        assert!(lines.iter().enumerate().all(|(i, (sequence, ..))| *sequence == i as u64), "{name}");
        assert!(lines.len() > 20 && lines.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1), "{name}");
    }
}
