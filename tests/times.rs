//! Times and flags from the ring's slots to frames, and the same by way of a recording.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use fiberd::acquisition::{ClockQuality, Quantity, SampleFormat, SignalLimits, SourceKind};
use fiberd::block::{BlockLayout, BlockPool};
use fiberd::capture::{Capture, filled_queue_blocks};
use fiberd::config::{CaptureConfig, ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::fence;
use fiberd::frame::{
    FLAG_CALIBRATION, FLAG_CLOCK_STEP, FLAG_GAP_BEFORE, FLAG_OVERLOAD, FLAG_PARTIAL_LINE, FLAG_SHORT_WINDOW, Frame,
};
use fiberd::pipeline::Engine;
use fiberd::record::Recorder;
use fiberd::source::replay::Replay;
use fiberd::source::ring::{
    Producer, Ring, RingOptions, RingSpec, STATE_CALIBRATING, STATE_LASER_ON, STATE_LIGHT, STATE_OVERLOAD,
};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use fiberd::status::{FindingKind, FindingReporter, PipelineCounters, Status};
use fiberd::units::Rational;

const UTC_NS: i64 = 1_790_000_000_000_000_000;
const CHANNELS: usize = 16;
/// Traces of a slot.
const SLOT: u64 = 10;
/// The clock goes back by two seconds in front of this trace; the second slot behind it shows it.
const STEP: u64 = 1500;
const NFFT: u64 = 64;

fn spec() -> RingSpec {
    RingSpec {
        sample_format: SampleFormat::I16,
        channels: CHANNELS,
        traces_per_slot: SLOT as usize,
        slots: 512,
        prr_hz: 1000.0,
        dx_m: 1.0,
        gauge_length_m: None,
        fiber_start_m: 0.0,
        scale: 1.0,
        quantity: Quantity::Phase,
        unit: "rad".into(),
        wavelength_m: None,
        refractive_index: None,
        description: String::new(),
        clock: ClockQuality::Gps,
        source: SourceKind::Ring,
    }
}

/// A pulse comes 20 ppm later than declared.
fn truth_ns(trace: u64) -> i64 {
    UTC_NS + trace as i64 * 1_000_020 - if trace >= STEP { 2_000_000_000 } else { 0 }
}

/// 3 s of an interrogator: the receiver overloaded in slots 60 to 62, a calibration in slot 70, a bad timestamp in slot 80, no
/// light in slots 100 to 104, a step of the clock at slot 150.
fn write_all(producer: &mut Producer) {
    for slot in 0..300 {
        let first = slot * SLOT;
        let special = match slot {
            60..63 => STATE_OVERLOAD | STATE_LIGHT,
            70 => STATE_CALIBRATING | STATE_LIGHT,
            100..105 => 0,
            _ => STATE_LIGHT,
        };
        producer.set_state(STATE_LASER_ON | special);
        let jitter = (slot as i64 * 7919 % 601) - 300;
        let bad = if slot == 80 { 700_000_000 } else { 0 };
        producer.write_slot(first, truth_ns(first) + jitter + bad, SLOT as usize, |bytes| {
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i as u64 * 31 + slot * 17) as u8);
        });
    }
    producer.heartbeat();
}

/// All frames that come of a source in blocks of so many ms, and how many steps of the clock and stamps in doubt there were; its
/// blocks are recorded as well when there is a recorder.
fn frames_of(
    source: &mut dyn Interrogator,
    producer: Option<&Producer>,
    block_ms: u64,
    recorder: Option<&Recorder>,
) -> (Vec<Frame>, (u64, u64)) {
    let acquisition = loop {
        match source.probe().unwrap() {
            Probe::Ready(acquisition) => break Arc::new(acquisition),
            Probe::Waiting(_) => producer.iter().for_each(|producer| producer.heartbeat()),
        }
    };
    let line = |n, d| Rational::new(n, d).unwrap();
    let waterfall = ViewConfig {
        nfft: NFFT as usize,
        line_period_s: line(25, 1000),
        lines_per_frame: 1,
        bands_hz: vec![(20.0, 90.0)],
        ..ViewConfig::waterfall()
    };
    let many =
        ViewConfig { name: "many".into(), line_period_s: line(35, 1000), lines_per_frame: 3, ..waterfall.clone() };
    let (egress, outlet) = fence(10_000, Arc::default());
    let counters = Arc::<PipelineCounters>::default();
    let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 0 };
    let mut engine =
        Engine::new(vec![waterfall, many], &processing, egress, Arc::clone(&counters), FindingReporter::default());
    let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(block_ms));
    let pool = BlockPool::new(layout, 4, &acquisition);
    loop {
        let mut blank = pool.take_within(Duration::from_secs(20)).unwrap();
        blank.block().clear(&acquisition);
        match source
            .read_block(blank.block(), Duration::from_millis(if producer.is_some() { 0 } else { 5000 }))
            .unwrap()
        {
            ReadOutcome::Filled => {}
            ReadOutcome::TimedOut | ReadOutcome::EndOfStream => break,
            other => panic!("{other:?}"),
        }
        let lease = blank.seal();
        assert!(recorder.is_none_or(|recorder| recorder.hand_over(lease.share())));
        engine.process(lease);
    }
    engine.finish();
    let clock = (counters.clock_steps.get(), counters.stamps_doubted.get());
    (std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).collect(), clock)
}

fn live_and_recorded(folder: &Path) -> ((Vec<Frame>, (u64, u64)), std::path::PathBuf) {
    let ring = folder.join("ring");
    let mut producer = Producer::create(&ring, &spec()).unwrap();
    write_all(&mut producer);
    let options = RingOptions { heartbeat_timeout: Duration::from_secs(3600), ..RingOptions::new(&ring) };
    let recorder = Recorder::start(&folder.join("copy.fdas"), 64).unwrap();
    let live = frames_of(&mut Ring::new(options), Some(&producer), 20, Some(&recorder));
    let files = recorder.finish().unwrap().files;
    (live, files[0].clone())
}

#[test]
fn frames_carry_the_times_and_the_flags_of_their_slots() {
    let folder = tempfile::tempdir().unwrap();
    let ((frames, clock), _) = live_and_recorded(folder.path());
    assert_eq!(clock, (1, 2), "the bad stamp is in doubt, and the first one behind the step");
    let lines: Vec<_> = frames.iter().filter(|frame| frame.stream.name != "many").collect();
    assert!(lines.len() > 100, "{}", lines.len());
    let seen_at = STEP + SLOT;
    for frame in &lines {
        let (first, end) = (frame.first_trace.0, frame.end_trace.0);
        let sees = |from: u64, to: u64| from < end && end.saturating_sub(NFFT) < to;
        assert_eq!(frame.flags & FLAG_OVERLOAD != 0, sees(600, 630), "{first}");
        assert_eq!(frame.flags & FLAG_CALIBRATION != 0, sees(700, 710), "{first}");
        assert!(!sees(1000, 1050), "{first}: in the dark");
        assert_eq!(frame.flags & (FLAG_PARTIAL_LINE | FLAG_SHORT_WINDOW), 0, "{first}");
        let (error, stated) = ((frame.utc_first_ns - truth_ns(first)).unsigned_abs(), frame.utc_uncertainty_ns);
        assert!(error <= stated && stated > 0, "{first}: {error} ns off, {stated} stated");
        let unsure = (STEP..seen_at).contains(&first);
        assert!(first < 500 || unsure || error <= 1300, "{first}: {error} ns off");
    }
    let marked = |flag: u32| frames.iter().filter(move |frame| frame.flags & flag != 0);
    let places = |name: &str| {
        marked(FLAG_CLOCK_STEP).filter(|f| f.stream.name == name).map(|f| f.first_trace.0).collect::<Vec<_>>()
    };
    assert_eq!(places(&lines[0].stream.name), [1525], "the first line that begins behind the step");
    assert_eq!(places("many"), [1540]);
    assert!(marked(FLAG_GAP_BEFORE).all(|frame| frame.gap_traces == 50));
    // A frame holds no lines of both sides: its times go along evenly.
    for frame in frames.iter().filter(|frame| frame.stream.name == "many" && frame.lines > 1) {
        let (first, last) = (frame.first_trace.0, frame.end_trace.0 - 35);
        assert!(!(first < seen_at && seen_at <= last), "{first} to {last}");
    }
}

#[test]
fn a_recording_gives_the_frames_of_the_live_ring() {
    let folder = tempfile::tempdir().unwrap();
    let ((live, clock), file) = live_and_recorded(folder.path());
    for block_ms in [7, 20, 333] {
        let mut replay = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, false).unwrap();
        let (again, clock_again) = frames_of(&mut replay, None, block_ms, None);
        assert_eq!(clock_again, clock);
        let essence = |frame: &Frame| {
            let values: Vec<_> = frame.values.flat().iter().map(|value| value.to_bits()).collect();
            let times = (frame.utc_first_ns, frame.utc_end_ns, frame.utc_uncertainty_ns);
            (frame.stream.name.clone(), frame.first_line, frame.lines, frame.gap_traces, frame.flags, times, values)
        };
        let sorted = |frames: &[Frame]| {
            let mut all: Vec<_> = frames.iter().map(essence).collect();
            all.sort();
            all
        };
        let (again, live) = (sorted(&again), sorted(&live));
        assert_eq!(again.len(), live.len());
        for (again, live) in again.iter().zip(&live) {
            assert_eq!(again, live, "blocks of {block_ms} ms");
        }
    }
}

/// What capture finds in a source and counts of it, until so many traces have come.
fn captured(source: Box<dyn Interrogator>, until: usize, producer: Option<&Producer>) -> Arc<Status> {
    let config = CaptureConfig::default();
    let (status, (filled_tx, filled_rx)) = (Status::new("test", None), bounded(filled_queue_blocks(&config, None)));
    let (stop_tx, stop_rx) = bounded(0);
    let (limits, told) = (SignalLimits::default(), Arc::clone(&status));
    let capture = Capture { source, config, limits, status, filled_tx, tee: None, stop_rx }.spawn().unwrap();
    let begun = Instant::now();
    let mut traces = 0;
    while traces < until && begun.elapsed() < Duration::from_secs(60) {
        if let Some(producer) = producer {
            producer.heartbeat();
        }
        traces += filled_rx.recv_timeout(Duration::from_millis(50)).map_or(0, |lease| lease.traces);
    }
    drop((stop_tx, filled_rx));
    capture.join().unwrap().unwrap();
    told
}

#[test]
fn what_an_interrogator_said_of_itself_is_told_of_its_recording_in_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = live_and_recorded(folder.path());
    let ring = folder.path().join("again");
    let mut producer = Producer::create(&ring, &spec()).unwrap();
    write_all(&mut producer);
    let options = RingOptions { heartbeat_timeout: Duration::from_secs(3600), ..RingOptions::new(&ring) };
    // 50 of 3000 traces have no light.
    let live = captured(Box::new(Ring::new(options)), 2950, Some(&producer));
    let replay = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, false).unwrap();
    let again = captured(Box::new(replay), 2950, None);
    assert_eq!(again.findings(), live.findings());
    let kinds: Vec<_> = live.findings().into_keys().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [FindingKind::ReceiverOverloaded, FindingKind::Calibrating]);
    for status in [live, again] {
        let counters = &status.counters.capture;
        assert_eq!((counters.traces_overloaded.get(), counters.traces_calibrating.get()), (30, 10));
    }
}

#[test]
fn traces_that_turn_out_to_be_damaged_are_a_condition() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = live_and_recorded(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    // Among the samples of a chunk in the middle.
    let at = bytes.len() / 2 / 64 * 64;
    let samples = (at..).step_by(64).find(|&at| &bytes[at..at + 4] == b"CHNK").unwrap() + 70;
    bytes[samples] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let replay = Replay::open(&[file], ReplaySpeed::Unpaced, false).unwrap();
    assert!(replay.notes().is_empty(), "nobody knows yet");
    let status = captured(Box::new(replay), 2900, None);
    let findings: Vec<_> = status.findings().into_iter().collect();
    let damaged = status.counters.capture.traces_damaged.get();
    assert!(damaged > 0);
    let told = findings.iter().find(|((kind, _), _)| *kind == FindingKind::CaptureDamaged);
    assert!(told.is_some_and(|(_, what)| what.starts_with(&format!("damaged: {damaged} traces"))), "{findings:?}");
}
