//! The pipeline on traces that the test makes up: what comes out must not depend on how traces were cut into blocks or on the number of threads; gaps, epochs and steps of the clock are in the
//! data; and nothing is allocated while traces flow.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::engine::EngineRig;
use fiberd::acquisition::{Acquisition, ClockQuality, SampleFormat};
use fiberd::block::{BlockLayout, BlockPool, RawBlock};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::{
    CommonMode, ConditionSpec, Input, Lane, LaneOutput, Output, Plan, PlanSpec, Raw, Samples, Spare, Traces, Window,
};
use fiberd::egress::{Egress, Outlet, fence};
use fiberd::frame::{
    Dtype, FLAG_CLOCK_STEP, FLAG_EPOCH_START, FLAG_GAP_BEFORE, FLAG_NONFINITE_INPUT, FLAG_PARTIAL_LINE, Frame,
    ValueKind, View,
};
use fiberd::pipeline::Engine;
use fiberd::pipeline::tile::{TILE_CHANNELS, Tile};
use fiberd::pipeline::workers::{WorkerPool, Workers};
use fiberd::status::Status;
use fiberd::units::{Rational, TraceIndex};
use proptest::prelude::*;

const CHANNELS: usize = 70;
const UTC_NS: i64 = 1_790_000_000_000_000_000;

fn acquisition(epoch: u64) -> Arc<Acquisition> {
    let prr = Rational::from_f64(1000.0).unwrap();
    Arc::new(Acquisition { epoch, prr, channels: CHANNELS, clock: ClockQuality::Gps, ..Acquisition::example() })
}

/// Any function of (trace, channel) does: a mix of tones and a hash.
fn sample(trace: u64, channel: usize) -> i16 {
    let t = trace as f64 / 1000.0;
    let tone = 3000.0 * (std::f64::consts::TAU * (20.0 + channel as f64) * t).sin();
    let hash = (trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64) << 7).wrapping_mul(0xD134_2543_DE82_EF95);
    (tone as i16).wrapping_add((hash >> 56) as i16)
}

fn fill(block: &mut RawBlock, first: u64, traces: usize) {
    block.first_trace = TraceIndex(first);
    block.traces = traces;
    block.utc_ns = UTC_NS + block.acquisition.prr.traces_to_ns(first);
    for t in 0..traces {
        for (c, cell) in bytemuck::cast_slice_mut(block.row_mut(t)).iter_mut().enumerate() {
            *cell = sample(first + t as u64, c);
        }
    }
}

fn views() -> Vec<ViewConfig> {
    let line = |n, d| Rational::new(n, d).unwrap();
    let waterfall = ViewConfig {
        nfft: 64,
        line_period_s: line(25, 1000),
        bands_hz: vec![(20.0, 90.0), (100.0, 400.0)],
        ..ViewConfig::waterfall()
    };
    let welch =
        ViewConfig { name: "welch".into(), line_period_s: line(333, 1000), lines_per_frame: 3, ..waterfall.clone() };
    let single = ViewConfig { nfft: 128, line_period_s: line(1, 30), ..ViewConfig::single("one", 33) };
    vec![waterfall, welch, single]
}

fn engine_of(views: Vec<ViewConfig>, processing: &ProcessingConfig, egress: Egress, status: &Status) -> Engine {
    Engine::new(views, processing, egress, Arc::clone(&status.counters.pipeline), status.finding_reporter())
}

struct Rig {
    engine: Engine,
    outlet: Outlet,
    status: Arc<Status>,
    pool: BlockPool,
}

impl Rig {
    fn new(threads: usize, condition: ConditionSpec, acquisition: &Arc<Acquisition>) -> Self {
        Self::with(views(), threads, condition, acquisition)
    }

    fn with(views: Vec<ViewConfig>, threads: usize, condition: ConditionSpec, acquisition: &Arc<Acquisition>) -> Self {
        let status = Status::new("test", None);
        let (egress, outlet) = fence(100_000, Arc::clone(&status.counters.egress));
        let processing = ProcessingConfig { condition, threads, egress_frames: 0 };
        let engine = engine_of(views, &processing, egress, &status);
        let layout = BlockLayout::for_acquisition(acquisition, Duration::from_millis(100));
        Self { engine, outlet, status, pool: BlockPool::new(layout, 4, acquisition) }
    }

    fn feed(&mut self, acquisition: &Arc<Acquisition>, first: u64, traces: usize, edit: impl FnOnce(&mut RawBlock)) {
        let mut blank = self.pool.take().unwrap();
        let block = blank.block();
        block.clear(acquisition);
        fill(block, first, traces);
        edit(block);
        self.engine.process(blank.seal());
    }

    fn frames(&mut self) -> Vec<Frame> {
        self.engine.finish();
        std::iter::from_fn(|| self.outlet.take_within(Duration::ZERO)).collect()
    }
}

/// All of a frame that is physics.
fn essence(frame: &Frame) -> (String, u32, u64, u64, u64, u64, i64, u32, Vec<u32>) {
    let bits = frame.values.flat().iter().map(|v| v.to_bits()).collect();
    let stream = &frame.stream;
    let (first, end) = (frame.first_trace.0, frame.end_trace.0);
    (
        stream.name.clone(),
        stream.number,
        frame.sequence,
        frame.first_line,
        first,
        end,
        frame.utc_end_ns,
        frame.flags,
        bits,
    )
}

fn run_split(threads: usize, condition: ConditionSpec, splits: &[usize]) -> Vec<impl PartialEq + std::fmt::Debug> {
    let acquisition = acquisition(1);
    // Rayon's current-thread pools are for threads that end with them.
    std::thread::scope(|scope| {
        let work = || {
            let mut rig = Rig::new(threads, condition, &acquisition);
            let (mut first, mut splits) = (0, splits.iter().cycle());
            while first < 2000 {
                let traces = (*splits.next().unwrap()).min(2000 - first as usize);
                rig.feed(&acquisition, first, traces, |_| {});
                first += traces as u64;
            }
            let mut frames = rig.frames();
            // Within a stream order is fixed; between streams it depends on the blocks.
            frames.sort_by_key(|f| (f.stream.name.clone(), f.stream.number, f.sequence));
            frames.iter().map(essence).collect::<Vec<_>>()
        };
        scope.spawn(work).join().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn frames_depend_on_neither_blocks_nor_threads(
        splits in prop::collection::vec(1usize..=100, 1..9), threads in 1usize..4, median: bool,
    ) {
        let common_mode = if median { CommonMode::Median } else { CommonMode::Keep };
        let condition = ConditionSpec { common_mode, ..ConditionSpec::default() };
        let reference = run_split(1, condition, &[100]);
        prop_assert!(reference.len() > 100);
        prop_assert_eq!(run_split(threads, condition, &splits), reference);
    }
}

/// Frames of float input with no numbers in some samples, cut into blocks of `traces`: name, traces seen, flag.
fn marked(traces: usize) -> Vec<(String, u64, u64, bool)> {
    let float = Arc::new(Acquisition { sample_format: SampleFormat::F32, ..Acquisition::clone(&acquisition(1)) });
    let mut rig = Rig::new(1, ConditionSpec::default(), &float);
    for first in (0..2000).step_by(traces) {
        let mut blank = rig.pool.take().unwrap();
        let block = blank.block();
        block.clear(&float);
        (block.first_trace, block.traces) = (TraceIndex(first as u64), traces.min(2000 - first));
        block.utc_ns = UTC_NS + float.prr.traces_to_ns(first as u64);
        for t in 0..block.traces {
            let trace = (first + t) as u64;
            for (c, value) in bytemuck::cast_slice_mut::<u8, f32>(block.row_mut(t)).iter_mut().enumerate() {
                *value = match (trace, c) {
                    (700 | 702, 3) => f32::NAN,
                    (1500, 69) => f32::INFINITY,
                    _ => f32::from(sample(trace, c)),
                };
            }
        }
        rig.engine.process(blank.seal());
    }
    let mut frames = rig.frames();
    frames.sort_by_key(|f| (f.stream.name.clone(), f.stream.number, f.sequence));
    let facts =
        |f: &Frame| (f.stream.name.clone(), f.first_trace.0, f.end_trace.0, f.flags & FLAG_NONFINITE_INPUT != 0);
    frames.iter().map(facts).collect()
}

#[test]
fn what_is_no_number_marks_the_lines_that_see_it_and_no_others() {
    let frames = marked(100);
    for (name, first, end, marked) in &frames {
        // A line of "welch" is longer than its windows of 64, and sees at most half a window before itself.
        let (least, most) = match name.as_str() {
            "welch" => (*first, first.saturating_sub(32)),
            "one" => (end.saturating_sub(128).min(*first), end.saturating_sub(128).min(*first)),
            _ => (end.saturating_sub(64).min(*first), end.saturating_sub(64).min(*first)),
        };
        let holds = |from: u64| [700, 702, 1500].iter().any(|bad| (from..*end).contains(bad));
        assert!((!holds(least) || *marked) && (holds(most) || !*marked), "{name} {first}..{end}: {marked}");
    }
    for name in ["whole-fiber", "welch", "one"] {
        let of = frames.iter().filter(|(of, ..)| of == name);
        // Every frame of "welch" is a second long.
        assert!(of.clone().any(|f| f.3) && (name == "welch" || of.clone().any(|f| !f.3)), "{name}");
    }
    for traces in [1, 7, 33] {
        assert_eq!(marked(traces), frames, "blocks of {traces}");
    }
}

#[test]
fn a_gap_is_in_the_data_and_the_line_grid_does_not_shift() {
    let acquisition = acquisition(1);
    let mut rig = Rig::new(1, ConditionSpec::default(), &acquisition);
    (0..5).for_each(|i| rig.feed(&acquisition, i * 100, 100, |_| {}));
    // Traces 500…736 are gone.
    rig.feed(&acquisition, 737, 63, |block| block.gap_before = 237);
    (8..15).for_each(|i| rig.feed(&acquisition, i * 100, 100, |_| {}));
    let frames = rig.frames();

    let waterfall: Vec<_> = frames.iter().filter(|f| f.stream.name == "whole-fiber" && f.stream.number == 0).collect();
    let marked: Vec<_> = waterfall.iter().filter(|f| f.flags & FLAG_GAP_BEFORE != 0).collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].gap_traces, 237);
    // Lines of 25 traces, windows of 64: the first whole window after trace 737 ends with line 32 (800…825).
    assert_eq!(marked[0].first_line, 32);
    let lines: Vec<_> = waterfall.iter().map(|f| f.first_line).collect();
    assert_eq!(lines, (2..20).chain(32..60).collect::<Vec<_>>(), "a window of 64 traces fits from line 2 on");
    assert!(waterfall.iter().all(|f| f.first_trace.0 == f.first_line * 25 && f.end_trace.0 == f.first_trace.0 + 25));
    assert!(waterfall.iter().enumerate().all(|(i, f)| f.sequence == i as u64));
    for frame in &waterfall {
        assert_eq!(frame.utc_first_ns, UTC_NS + frame.first_trace.0 as i64 * 1_000_000);
    }
    // The long line that the gap tore (333…666) holds what was whole before; the next (666…999) what is whole after.
    let welch: Vec<_> = frames.iter().filter(|f| f.stream.name == "welch" && f.stream.number == 0).collect();
    assert!(welch.iter().any(|f| f.flags & FLAG_PARTIAL_LINE != 0));
    assert!(welch.iter().any(|f| f.flags & FLAG_GAP_BEFORE != 0 && f.gap_traces == 237));
}

#[test]
fn a_new_epoch_begins_at_line_zero_and_frame_counts_go_on() {
    let (first, second) = (acquisition(1), acquisition(2));
    let mut rig = Rig::new(1, ConditionSpec::default(), &first);
    (0..3).for_each(|i| rig.feed(&first, i * 100, 100, |_| {}));
    (0..3).for_each(|i| rig.feed(&second, i * 100, 100, |_| {}));
    let frames = rig.frames();
    let one: Vec<_> = frames.iter().filter(|f| f.stream.name == "whole-fiber" && f.stream.number == 1).collect();
    assert!(one.iter().enumerate().all(|(i, f)| f.sequence == i as u64));
    let starts: Vec<_> =
        one.iter().filter(|f| f.flags & FLAG_EPOCH_START != 0).map(|f| (f.acquisition.epoch, f.first_line)).collect();
    assert_eq!(starts, [(1, 2), (2, 2)]);
}

#[test]
fn a_step_of_the_clock_is_marked_and_a_bad_stamp_is_not() {
    let acquisition = acquisition(1);
    let mut rig = Rig::new(1, ConditionSpec::default(), &acquisition);
    let (bad, step) = (800, 1200);
    for first in (0..2000).step_by(100) {
        rig.feed(&acquisition, first, 100, |block| {
            block.utc_ns += if first == bad { 400_000 } else { 0 } + if first >= step { 5_000_000 } else { 0 };
        });
    }
    let frames = rig.frames();
    let first_band = frames.iter().filter(|f| f.stream.name == "whole-fiber" && f.stream.number == 0);
    // The second stamp behind a step tells it from a bad one.
    let seen = step + 100;
    let mut steps = Vec::new();
    for frame in first_band {
        let first = frame.first_trace.0;
        let counted = UTC_NS + first as i64 * 1_000_000 + if first >= seen { 5_000_000 } else { 0 };
        assert!((frame.utc_first_ns - counted).abs() <= 1, "{first}: {}", frame.utc_first_ns - counted);
        let unsure = [(bad, 400_000), (step, 5_000_000)].into_iter().find(|(at, _)| (*at..at + 100).contains(&first));
        assert!(unsure.is_none_or(|(_, by)| frame.utc_uncertainty_ns >= by), "{first}: it says that it may be off");
        steps.extend((frame.flags & FLAG_CLOCK_STEP != 0).then_some(first));
    }
    assert_eq!(steps, [seen]);
    assert_eq!(rig.status.counters.pipeline.clock_steps.get(), 1);
}

#[test]
fn views_that_do_not_fit_are_left_out_and_the_others_stay() {
    let acquisition = acquisition(1);
    let mut rig = Rig::new(1, ConditionSpec::default(), &acquisition);
    let beyond = ViewConfig::single("beyond", CHANNELS + 1);
    let too_fast = ViewConfig { name: "fast".into(), bands_hz: vec![(501.0, 600.0)], ..views().remove(0) };
    let (egress, outlet) = fence(1000, Arc::clone(&rig.status.counters.egress));
    let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 0 };
    let all = vec![beyond, too_fast, views().remove(0)];
    let status = Arc::clone(&rig.status);
    std::thread::spawn(move || {
        rig.engine = engine_of(all, &processing, egress, &status);
        (0..3).for_each(|i| rig.feed(&acquisition, i * 100, 100, |_| {}));
    })
    .join()
    .unwrap();
    let names: std::collections::BTreeSet<_> =
        std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).map(|f| f.stream.name.clone()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["whole-fiber"]);
}

/// Spectra of many channels, of which several views share one transform and two share all.
fn spectra() -> Vec<ViewConfig> {
    let all = ViewConfig {
        view: View::Multi,
        name: "all".into(),
        nfft: 128,
        line_period_s: Rational::new(1, 10).unwrap(),
        frequency_range_hz: Some((0.0, 300.0)),
        value: ValueKind::Decibel { reference: 1.0 },
        bands_hz: Vec::new(),
        ..ViewConfig::waterfall()
    };
    // Slides from window to window.
    let smooth = ViewConfig { name: "smooth".into(), line_period_s: Rational::new(1, 200).unwrap(), ..all.clone() };
    let smooth = ViewConfig { frequency_range_hz: Some((0.0, 100.0)), ..smooth };
    vec![
        ViewConfig { name: "twin".into(), dtype: Dtype::F16, ..all.clone() },
        ViewConfig { name: "by-threes".into(), lines_per_frame: 3, ..all.clone() },
        ViewConfig { name: "amplitudes".into(), value: ValueKind::Amplitude, ..all.clone() },
        ViewConfig { name: "some".into(), channel_min: 20, channel_max: Some(31), ..all.clone() },
        ViewConfig { name: "high".into(), frequency_range_hz: Some((200.0, 500.0)), ..all.clone() },
        smooth,
        all,
    ]
}

#[test]
fn views_that_share_have_what_they_would_have_alone() {
    let acquisition = acquisition(1);
    let frames = |views: Vec<ViewConfig>| {
        std::thread::scope(|scope| {
            let work = || {
                let mut rig = Rig::with(views, 1, ConditionSpec::default(), &acquisition);
                (0..10).for_each(|i| rig.feed(&acquisition, i * 100, 100, |_| {}));
                rig.frames()
            };
            scope.spawn(work).join().unwrap()
        })
    };
    let together = frames(spectra());
    for view in spectra() {
        let alone = frames(vec![view.clone()]);
        let shared: Vec<_> = together.iter().filter(|f| f.stream.name == view.name).collect();
        assert!(alone.len() >= 3 && alone.len() == shared.len(), "{}: {} frames", view.name, shared.len());
        for (alone, shared) in alone.iter().zip(shared) {
            assert_eq!(alone.shape(), shared.shape(), "{}", view.name);
            assert_eq!((alone.sequence, alone.first_line), (shared.sequence, shared.first_line), "{}", view.name);
            assert_eq!((alone.running_min, alone.running_max), (shared.running_min, shared.running_max));
            assert_eq!(alone.stream.dtype, shared.stream.dtype);
            let (alone, shared) = (alone.values.flat(), shared.values.flat());
            let worst = alone.iter().zip(shared.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-4, "{}: {worst}", view.name);
        }
    }
}

#[test]
fn lines_are_the_same_whichever_thread_made_them() {
    let spec = PlanSpec {
        nfft: 256,
        window: Window::Hann,
        period_traces: Rational::new(100, 1).unwrap(),
        outputs: vec![Output::Power(0..129), Output::BandEnergy(vec![5..40, 40..90])],
    };
    let acquisition = Acquisition { channels: 1000, ..(*acquisition(1)).clone() };
    let plan = Arc::new(Plan::for_input(spec, Input::Counts(acquisition.scale)).unwrap());
    // Rows padded to whole cache lines, as blocks have them.
    let stride = 1024;
    let samples: Vec<i16> = (0..600).flat_map(|t| (0..stride).map(move |c| sample(t, c))).collect();
    let lines = |threads: usize, all: bool| {
        let mut workers = Workers::leading(WorkerPool::apart(threads));
        workers.reserve(&std::iter::once(&plan), 600);
        let tile = |first: usize| {
            let channels = first..(first + TILE_CHANNELS).min(1000);
            let outputs = [0, 1].map(|output| LaneOutput { output, channels: 0..channels.len() });
            let lanes = vec![Lane::new(Arc::clone(&plan), &outputs, 200)];
            Tile::new(&ConditionSpec::default(), &acquisition, channels, lanes, 200).unwrap()
        };
        let mut tiles: Vec<Tile> = (0..1000).step_by(TILE_CHANNELS).map(tile).collect();
        let mut bits: Vec<u32> = Vec::new();
        for end in [200, 400, 600] {
            let mut traces = Traces::new(0, &mut Spare::default());
            traces.push(Raw::new(Samples::I16(&samples[..end * stride]), stride, end, 1000));
            workers.each(&mut tiles, all, |tile, worker| tile.transform_counts(&traces, worker));
            for lane in tiles.iter().flat_map(|tile| &tile.lanes) {
                for line in 0..lane.lines().len() {
                    bits.extend([0, 1].iter().flat_map(|&output| lane.values(output, line)).map(|v| v.to_bits()));
                }
            }
        }
        bits
    };
    let alone = lines(1, false);
    assert_eq!(alone.len(), 4 * 1000 * 131, "lines 2 to 5");
    for threads in [1, 2, 3, 5] {
        assert!(lines(threads, true) == alone, "{threads} threads");
    }
}

#[test]
fn processing_a_block_allocates_nothing() {
    let acquisition = acquisition(1);
    // A frame for a stream that shares is made on the far side of the fence, which may allocate; here nobody shares all.
    let no_twins = || views().into_iter().chain(spectra().into_iter().filter(|v| v.name != "twin"));
    for (common_mode, strain_rate) in
        [(CommonMode::Keep, false), (CommonMode::Keep, true), (CommonMode::Mean, true), (CommonMode::Median, true)]
    {
        let condition = ConditionSpec { common_mode, strain_rate, ..ConditionSpec::default() };
        let mut rig = Rig::with(no_twins().collect(), 1, condition, &acquisition);
        let mut next = 0;
        let mut turn = |rig: &mut Rig| {
            let mut blank = rig.pool.take().unwrap();
            blank.block().clear(&acquisition);
            fill(blank.block(), next, 100);
            next += 100;
            rig.engine.process(blank.seal());
            while rig.outlet.take_within(Duration::ZERO).is_some() {}
        };
        // Until each stream has made its frames and their memory has come home once.
        (0..40).for_each(|_| turn(&mut rig));
        let info = allocation_counter::measure(|| (0..100).for_each(|_| turn(&mut rig)));
        assert_eq!(info.count_total, 0, "{common_mode:?}: {info:?}");
    }
}

#[test]
fn a_line_that_has_lost_traces_allocates_nothing() {
    let view = ViewConfig { nfft: 64, line_period_s: Rational::new(1, 1).unwrap(), ..ViewConfig::waterfall() };
    let view = ViewConfig { lines_per_frame: 1, ..view };
    let mut rig = EngineRig::new(vec![view], ConditionSpec::default(), acquisition(1), 100, sample);
    let mut partial = 0;
    for round in 0..20 {
        rig.next += 10;
        let feed = |rig: &mut EngineRig, blocks: usize| (0..blocks).map(|_| rig.feed(100)).count();
        feed(&mut rig, 3);
        let info = allocation_counter::measure(|| _ = feed(&mut rig, 9));
        // The first frames take memory that comes home.
        assert!(round < 5 || info.count_total == 0, "round {round}: {info:?}");
        partial += rig.frames().iter().filter(|frame| frame.flags & FLAG_PARTIAL_LINE != 0).count();
    }
    assert!(partial > 10, "{partial}");
}
