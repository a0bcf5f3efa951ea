//! Lines of band energy that an interrogator computed: in frames they are what the file has, and longer lines are means of
//! whole file lines, whatever the blocks, the gaps and the line period.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::daemon::Process;
use common::engine::EngineRig;
use common::http::{exchange, get};
use common::{captures, free_port, must_succeed, python, wait_for};
use fiberd::acquisition::{Acquisition, Band, Quantity, SampleFormat};
use fiberd::block::{BlockLayout, BlockPool};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::fence;
use fiberd::export;
use fiberd::frame::{FLAG_GAP_BEFORE, FLAG_NONFINITE_INPUT, FLAG_PARTIAL_LINE, Frame, ValueKind, View};
use fiberd::pipeline::Engine;
use fiberd::refusal::Refusal;
use fiberd::source::replay::Replay;
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use fiberd::status::{FindingKind, FindingReporter};
use fiberd::units::Rational;
use proptest::prelude::*;
use serde_json::json;

const LOCI: usize = 301;
const BANDS: [(f64, f64); 5] = [
    (-0.488_281_25, 1.464_843_75),
    (0.488_281_25, 10.253_906_25),
    (9.277_343_75, 50.292_968_75),
    (49.316_406_25, 200.683_593_75),
    (199.707_031_25, 249.511_718_75),
];

fn waterfall(name: &str, period: (u64, u64), value: ValueKind) -> ViewConfig {
    let line_period_s = Rational::new(period.0, period.1).unwrap();
    ViewConfig { name: name.into(), line_period_s, lines_per_frame: 1, value, ..ViewConfig::waterfall() }
}

/// What h5py reads of a band: energies `[line][locus]` and UTC of each line in nanoseconds.
fn by_h5py(band: usize) -> (Vec<f32>, Vec<i64>) {
    let folder = tempfile::tempdir().unwrap();
    let code = "import sys, h5py\n\
        with h5py.File(sys.argv[1]) as file:\n\
        \x20   group = file['Acquisition/Processed/Fbe[0]']\n\
        \x20   group[f'FbeData[{sys.argv[2]}]'][...].astype('<f4').tofile(sys.argv[3] + '/energies')\n\
        \x20   (group['FbeDataTime'][...] * 1000).astype('<i8').tofile(sys.argv[3] + '/times')\n";
    must_succeed(python().args(["-c", code]).arg(capture()).arg(band.to_string()).arg(folder.path()));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let energies = read("energies").as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    (energies, read("times").as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
}

fn capture() -> PathBuf {
    captures().join("prodml_fbe_1.h5")
}

/// The frames that `views` have of a band, and what the engine found.
fn played(band: usize, views: Vec<ViewConfig>, condition: ConditionSpec) -> (Vec<Frame>, FindingReporter) {
    let findings = FindingReporter::default();
    let said = findings.clone();
    let work = move || {
        let (egress, outlet) = fence(100_000, Arc::default());
        let processing = ProcessingConfig { condition, threads: 1, egress_frames: 0 };
        let mut engine = Engine::new(views, &processing, egress, Arc::default(), said);
        let file = PathBuf::from(format!("{}#FbeData[{band}]", capture().display()));
        let mut replay = Replay::open(&[file], ReplaySpeed::Unpaced, false).unwrap();
        let Probe::Ready(acquisition) = replay.probe().unwrap() else { panic!("ready") };
        let acquisition = Arc::new(acquisition);
        let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_secs(64));
        let pool = BlockPool::new(layout, 4, &acquisition);
        loop {
            let mut blank = pool.take().unwrap();
            blank.block().clear(&acquisition);
            match replay.read_block(blank.block(), Duration::from_secs(20)).unwrap() {
                ReadOutcome::Filled => engine.process(blank.seal()),
                outcome => break assert_eq!(outcome, ReadOutcome::EndOfStream),
            }
        }
        engine.finish();
        std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).collect::<Vec<Frame>>()
    };
    // The engine's thread is worker 0 of its pool for as long as it lives.
    let frames = std::thread::spawn(work).join().unwrap();
    (frames, findings)
}

#[test]
fn frames_of_the_capture_are_what_h5py_reads() {
    for band in [0, 3] {
        let (energies, times) = by_h5py(band);
        let own = ViewConfig { bands_hz: vec![BANDS[band]], ..waterfall("own", (128, 25), ValueKind::Power) };
        let views = vec![
            own,
            waterfall("fast", (1, 20), ValueKind::Power),
            waterfall("root", (1, 20), ValueKind::Amplitude),
            waterfall("slow", (37, 1), ValueKind::Power),
            ViewConfig::single("spectrum", 5),
        ];
        let (frames, findings) = played(band, views, ConditionSpec::default());
        let of = |name: &str| frames.iter().filter(|frame| frame.stream.name == name).collect::<Vec<_>>();
        for (name, unit, show) in [
            ("own", "rad2/Hz", (|energy| energy) as fn(f32) -> f32),
            ("fast", "rad2/Hz", |energy| energy),
            ("root", "rad/sqrt(Hz)", f32::sqrt),
        ] {
            let frames = of(name);
            assert_eq!(frames.len(), times.len(), "{name}");
            for (line, frame) in frames.iter().enumerate() {
                let expected = energies[line * LOCI..][..LOCI].iter().map(|&energy| show(energy).to_bits());
                assert!(frame.values.flat().iter().map(|value| value.to_bits()).eq(expected), "{name}, line {line}");
                assert!(
                    frame.utc_first_ns.abs_diff(times[line]) <= 1000,
                    "{name}, line {line}: {}",
                    frame.utc_first_ns
                );
                let stream = &frame.stream;
                let edges = (stream.frequencies.start_hz, stream.frequencies.start_hz + stream.frequencies.step_hz);
                assert_eq!((edges, stream.unit.as_str(), frame.flags & FLAG_PARTIAL_LINE), (BANDS[band], unit, 0));
                assert_eq!(stream.line_period_s, Rational::new(128, 25).unwrap());
            }
        }
        // 37 s are 7.2265625 file lines.
        let slow = of("slow");
        assert_eq!(slow.len(), 62);
        for (number, frame) in slow.iter().enumerate() {
            let start = |line: usize| (2 * line * 925 + 128) / 256;
            let lines = start(number)..start(number + 1);
            assert_eq!((frame.first_trace.0 as usize, frame.end_trace.0 as usize), (lines.start, lines.end));
            for (locus, value) in frame.values.flat().iter().enumerate() {
                let sum: f64 = lines.clone().map(|line| f64::from(energies[line * LOCI + locus])).sum();
                let mean = sum / lines.len() as f64;
                assert!(
                    (f64::from(*value) - mean).abs() <= 1e-6 * mean,
                    "line {number}, locus {locus}: {value}, {mean}"
                );
            }
        }
        let found: Vec<_> = findings.findings().into_keys().collect();
        let other = |name: &str| (FindingKind::OtherBand, name.to_owned());
        let left_out = (FindingKind::ViewLeftOut, "spectrum".to_owned());
        assert_eq!(found, [left_out, other("fast"), other("root"), other("slow")]);
    }
}

#[test]
fn lines_are_not_conditioned_nor_taken_for_samples() {
    let condition = ConditionSpec { high_pass_hz: 0.01, ..ConditionSpec::default() };
    let (frames, findings) = played(0, vec![waterfall("one", (1, 1), ValueKind::Power)], condition);
    let found = findings.findings();
    let why = &found[&(FindingKind::ConditioningImpossible, String::new())];
    assert!(frames.is_empty() && why.contains("high_pass_hz"), "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    for (to, is_possible) in [("prodml", false), ("wav", false), ("npz", true)] {
        let request = export::Request {
            files: vec![capture()],
            to: export::Format::ALL.iter().find(|(name, _)| *name == to).unwrap().1,
            out: Some(folder.path().join(to)),
            force: false,
            raw: false,
            channels: None,
            from_ns: None,
            until_ns: None,
            length: None,
        };
        let exported = export::export(&request, &false.into(), &mut |_| ());
        assert_eq!(exported.is_ok(), is_possible, "{to}: {exported:?}");
    }
}

/// Whole numbers, of every size.
fn energy(trace: u64, channel: usize) -> i16 {
    let mixed = (trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64) << 7).wrapping_mul(0xD134_2543_DE82_EF95);
    ((mixed >> 49) as i16) >> (mixed % 12)
}

/// Lines once in five seconds, of more loci than a tile has channels.
fn acquisition() -> Acquisition {
    Acquisition {
        prr: Rational::new(1, 5).unwrap(),
        channels: 140,
        sample_format: SampleFormat::F32,
        quantity: Quantity::BandEnergy,
        scale: 1.0,
        unit: "rad2/Hz".into(),
        band: Some(Band { low_hz: 1.0, high_hz: 2.0 }),
        ..Acquisition::example()
    }
}

/// Feeds blocks of so many file lines, with so many missing behind each; a job begins behind block `joins`.
fn fed(first: u64, blocks: &[(usize, u64)], period: Rational, joins: usize) -> (Vec<Frame>, Vec<u64>) {
    let power = ViewConfig { line_period_s: period, ..waterfall("all", (1, 1), ValueKind::Power) };
    let stream = ViewConfig { value: ValueKind::Amplitude, channel_min: 100, channel_max: Some(135), ..power.clone() };
    let (mut rig, mut there) =
        (EngineRig::new(vec![power], ConditionSpec::default(), acquisition().into(), 30, energy), Vec::new());
    rig.next = first;
    for (number, &(lines, missing)) in blocks.iter().enumerate() {
        there.extend(rig.next..rig.next + lines as u64);
        rig.feed(lines);
        rig.next += missing;
        if number == joins {
            rig.open("job", vec![stream.clone()]).unwrap();
            let spectrum = ViewConfig { view: View::Multi, ..stream.clone() };
            let refused = rig.open("spectrum", vec![spectrum]).unwrap_err();
            assert!(matches!(&refused, Refusal::DoesNotFit(why) if why.contains("no samples")), "{refused:?}");
        }
    }
    (rig.last_frames(), there)
}

#[test]
fn what_is_no_number_is_zero_and_its_lines_say_so() {
    let with_nan = |trace: u64, channel| if (trace, channel) == (17, 130) { i16::MIN } else { energy(trace, channel) };
    let frames = std::thread::spawn(move || {
        let all = waterfall("all", (15, 1), ValueKind::Power);
        let acquisition = acquisition().into();
        let mut rig = EngineRig::new(vec![all], ConditionSpec::default(), acquisition, 30, with_nan);
        rig.feed(10);
        rig.feed(20);
        assert_eq!(rig.counters.nonfinite_samples.get(), 1);
        rig.last_frames()
    });
    let frames = frames.join().unwrap();
    let marked = |frame: &Frame| frame.flags & FLAG_NONFINITE_INPUT != 0;
    assert_eq!(
        frames.iter().map(marked).collect::<Vec<_>>(),
        [false, false, false, false, false, true, false, false, false, false]
    );
    let mean = (f64::from(energy(15, 130)) + f64::from(energy(16, 130))) / 3.0;
    assert_eq!(frames[5].values.flat()[130].to_bits(), (mean as f32).to_bits());
}

/// The whole way of a job: asked for over HTTP, polled, held against h5py.
#[test]
fn a_job_on_lines_lives_and_shows_amplitudes() {
    let http = format!("127.0.0.1:{}", free_port());
    let file = format!("{}#FbeData[3]", capture().display());
    let _daemon = Process::fiberd(["replay", &file, "--speed", "40", "--no-broker", "--plain", "--http", &http]);
    let address = http.parse().unwrap();
    let body =
        json!({ "view_type": 2, "channels": { "min": 1, "max": LOCI }, "displayInfo": { "height": 10 } }).to_string();
    let head = format!(
        "POST /configure HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let started = || std::net::TcpStream::connect(address).ok();
    wait_for("the control API", started);
    let job = wait_for("a job", || {
        let answer = exchange(address, format!("{head}{body}").as_bytes())?;
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!((&job["frequencies_list"], &job["lines_dt"]), (&json!([BANDS[3].0, BANDS[3].1]), &json!(5.12)));
    assert_eq!((&job["sample_unit"], &job["value"]), (&json!("rad/sqrt(Hz)"), &json!("amplitude")));
    let (energies, times) = by_h5py(3);
    let path = format!("/waterfall/{}/1", job["job_id"].as_str().unwrap());
    let unit = job["unit"].as_str().unwrap();
    let exponent: i32 = unit.strip_prefix("1e").map_or(0, |rest| rest.split(' ').next().unwrap().parse().unwrap());
    // For longer than it takes to see what does not fit the acquisition.
    let mut before = None;
    for round in 0..25 {
        let answer = wait_for("rows", || Some(get(address, &path)).filter(|answer| answer.status != 200));
        assert_eq!(answer.status, 201, "round {round}: {}", answer.text());
        let row = &answer.json()[0]["rows"][0];
        let line = times.iter().position(|ns| ns / 1_000_000 == row["startTimestamp"].as_i64().unwrap()).unwrap();
        assert_eq!(before.replace(line).unwrap_or(line - 1) + 1, line);
        let values = row["sensors"].as_array().unwrap().iter().map(|sensor| sensor["intensity"][0].as_f64().unwrap());
        for (value, energy) in values.zip(&energies[line * LOCI..]) {
            let wanted = f64::from(*energy).sqrt() / 10f64.powi(exponent);
            assert!((value - wanted).abs() <= 1e-3 * wanted, "line {line}: {value} {unit} for {energy} rad2/Hz");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_line_is_the_mean_of_the_file_lines_in_it_that_came(
        first in 0u64..60, (num, den) in (1u64..60, 1u64..9), joins in 0usize..20,
        blocks in prop::collection::vec((1usize..30, prop_oneof![3 => Just(0u64), 1 => 1u64..40]), 1..20),
    ) {
        // In file lines; the period is never shorter than one.
        let (num, den) = if num < den { (1, 1) } else { (num, den) };
        let period = Rational::new(5 * num, den).unwrap();
        let work = || fed(first, &blocks, period, joins);
        let (frames, there) = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
        let start = |line: u64| (2 * line * num + den) / (2 * den);
        let end = there.last().unwrap() + 1;
        let mut expected = BTreeMap::new();
        for line in (0..).take_while(|&line| start(line + 1) <= end) {
            let of_line: Vec<u64> = there.iter().copied().filter(|t| (start(line)..start(line + 1)).contains(t)).collect();
            if !of_line.is_empty() {
                expected.insert(line, of_line);
            }
        }
        let mean = |of_line: &[u64], channel| {
            of_line.iter().map(|&trace| f64::from(energy(trace, channel))).sum::<f64>() / of_line.len() as f64
        };
        let standing: Vec<&Frame> = frames.iter().filter(|frame| frame.stream.job.is_empty()).collect();
        prop_assert!(standing.iter().map(|frame| frame.first_line).eq(expected.keys().copied()), "{:?}", expected.keys());
        let mut before = None;
        for (frame, (&line, of_line)) in standing.iter().zip(&expected) {
            let range = start(line)..start(line + 1);
            let is_whole = of_line.len() as u64 == range.end - range.start;
            prop_assert_eq!(frame.flags & FLAG_PARTIAL_LINE == 0, is_whole, "line {}", line);
            let is_missing = |trace: &u64| frame.missing.iter().any(|gap| gap.contains(trace));
            prop_assert!(is_whole || range.clone().all(|trace| is_missing(&trace) != of_line.contains(&trace)), "{:?}", frame.missing);
            prop_assert!(before.is_none_or(|before| before + 1 == line) || frame.flags & FLAG_GAP_BEFORE != 0);
            before = Some(line);
            for (channel, value) in frame.values.flat().iter().enumerate() {
                let mean = mean(of_line, channel) as f32;
                prop_assert_eq!(value.to_bits(), mean.to_bits(), "line {}, channel {}", line, channel);
            }
        }
        // A job begins with the first line that is whole for it, and shows amplitudes from then on.
        let job: Vec<&Frame> = frames.iter().filter(|frame| !frame.stream.job.is_empty()).collect();
        let lines: Vec<u64> = job.iter().map(|frame| frame.first_line).collect();
        prop_assert!(lines.iter().eq(expected.keys().skip_while(|line| Some(*line) != lines.first())), "{:?}", lines);
        for frame in job {
            for (channel, value) in frame.values.flat().iter().enumerate() {
                let wanted = mean(&expected[&frame.first_line], 99 + channel).sqrt() * frame.stream.unit_factor;
                prop_assert!((f64::from(*value) - wanted).abs() <= 1e-6 * wanted, "{} for {}", value, wanted);
            }
        }
    }
}
