//! Replay, record and info against independent readers: every sample, time and distance of the real captures as DASCore
//! and h5py find them, of files made to show what no capture shows, and of our own format as its page describes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use fiberd::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat, SourceKind};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::record::{self, Limits};
use fiberd::source::replay::{Replay, describe};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed, SourceError};
use fiberd::units::{Rational, TraceIndex};
use serde_json::Value;

/// Runs `replay_check.py` with these arguments.
fn python(arguments: &[&std::ffi::OsStr]) {
    let python = std::env::var("FIBERD_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay_check.py");
    let status = Command::new(&python).arg(script).args(arguments).status();
    let status = status
        .unwrap_or_else(|e| panic!("{python}: {e}; set FIBERD_TEST_PYTHON to a Python with numpy, h5py and dascore"));
    assert!(status.success(), "replay_check.py {arguments:?} failed; it needs numpy, h5py and dascore");
}

fn captures() -> PathBuf {
    let found = std::env::var_os("FIBERD_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"), PathBuf::from);
    assert!(found.is_dir(), "{} is not there; set FIBERD_CAPTURES to the folder of real captures", found.display());
    found
}

/// What came out of a source, one epoch after the other.
struct Epoch {
    acquisition: Acquisition,
    samples: Vec<u8>,
    /// UTC and trace index of each trace.
    times: Vec<(i64, u64)>,
    /// First trace and length of each gap.
    gaps: Vec<(u64, u64)>,
}

/// Drains a source until its end, or until `rounds` epochs have come.
fn drain(source: &mut dyn Interrogator, block: Duration, rounds: usize) -> Result<Vec<Epoch>, SourceError> {
    let mut epochs: Vec<Epoch> = Vec::new();
    loop {
        let Probe::Ready(acquisition) = source.probe()? else { panic!("a replay is ready until its end") };
        let acquisition = Arc::new(acquisition);
        let layout = BlockLayout::for_acquisition(&acquisition, block);
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        let mut epoch = Epoch { acquisition: (*acquisition).clone(), samples: vec![], times: vec![], gaps: vec![] };
        let outcome = loop {
            block.clear(&acquisition);
            match source.read_block(&mut block, Duration::from_secs(20))? {
                ReadOutcome::Filled => epoch.take(&block),
                outcome => break outcome,
            }
        };
        if !epoch.times.is_empty() {
            epochs.push(epoch);
        }
        match outcome {
            ReadOutcome::EndOfStream => return Ok(epochs),
            ReadOutcome::EpochChanged if epochs.len() == rounds => return Ok(epochs),
            ReadOutcome::EpochChanged => {}
            outcome => panic!("{outcome:?}"),
        }
    }
}

impl Epoch {
    fn take(&mut self, block: &RawBlock) {
        assert!(block.traces > 0, "a filled block holds traces");
        let expected = self.times.last().map_or(0, |&(_, index)| index + 1) + block.gap_before;
        assert_eq!(block.first_trace, TraceIndex(expected), "indices follow but for the gap that is said");
        if block.gap_before > 0 {
            self.gaps.push((block.first_trace.0, block.gap_before));
        }
        for trace in 0..block.traces {
            self.samples.extend_from_slice(block.row(trace));
            let utc_ns = block.utc_ns + self.acquisition.prr.traces_to_ns(trace as u64);
            self.times.push((utc_ns, block.first_trace.0 + trace as u64));
        }
    }
}

fn replayed(files: &[PathBuf], block_ms: u64) -> Result<Vec<Epoch>, SourceError> {
    let mut replay = Replay::open(files, ReplaySpeed::Unpaced, false)?;
    drain(&mut replay, Duration::from_millis(block_ms), usize::MAX)
}

fn column<const N: usize, T>(path: &Value, from: fn([u8; N]) -> T) -> Vec<T> {
    let bytes = std::fs::read(path.as_str().unwrap()).unwrap();
    bytes.as_chunks().0.iter().map(|&b| from(b)).collect()
}

/// Compares what is replayed with what the cases in `folder` say.
fn check_cases(folder: &Path) {
    let cases: Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let files: Vec<PathBuf> =
            case["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().into()).collect();
        // A length of block that divides nothing.
        let found = replayed(&files, 37);
        if let Some(words) = case["error"].as_str() {
            let error = found.err().unwrap_or_else(|| panic!("{name}: opened, it should be refused")).to_string();
            assert!(error.contains(words), "{name}: {error:?} does not say {words:?}");
            assert!(files.len() > 1 || describe(&files[0]).is_err(), "{name}: described");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = case["epochs"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: epochs");
        for (found, expected) in found.iter().zip(expected) {
            check_epoch(name, found, expected);
        }
        assert!(
            found.windows(2).all(|pair| pair[0].acquisition.epoch < pair[1].acquisition.epoch),
            "{name}: epochs rise"
        );
        if let ([file], [epoch]) = (&files[..], &found[..]) {
            check_description(name, file, epoch);
        }
    }
}

fn check_epoch(name: &str, found: &Epoch, expected: &Value) {
    let a = &found.acquisition;
    assert_eq!(a.sample_format.dtype(), expected["dtype"].as_str().unwrap(), "{name}");
    let samples = std::fs::read(expected["samples"].as_str().unwrap()).unwrap();
    assert!(
        found.samples == samples,
        "{name}: samples differ ({} bytes, expected {})",
        found.samples.len(),
        samples.len()
    );
    let distances = column(&expected["distances"], f64::from_le_bytes);
    assert_eq!(a.channels, distances.len(), "{name}: channels");
    for (channel, expected) in distances.iter().enumerate() {
        let distance = a.fiber_start_m + a.dx_m * channel as f64;
        assert!(
            (distance - expected).abs() <= 1e-6 * expected.abs().max(a.dx_m),
            "{name}: {distance} m, expected {expected} m"
        );
    }
    let times = column(&expected["times"], i64::from_le_bytes);
    assert_eq!(found.times.len(), times.len(), "{name}: traces");
    for (i, (&(utc_ns, _), expected)) in found.times.iter().zip(&times).enumerate() {
        assert!(utc_ns.abs_diff(*expected) <= 1000, "{name}: trace {i} at {utc_ns}, expected {expected}");
    }
    let prr = expected["prr"].as_f64().unwrap();
    assert!((a.prr.to_f64() / prr - 1.0).abs() < 1e-6, "{name}: {} Hz, expected {prr}", a.prr);
    // Indices say the same as times: what is missing is missing in both.
    let (first, last) = (found.times[0], found.times[found.times.len() - 1]);
    let span = a.prr.traces_to_ns(last.1 - first.1);
    assert!((last.0 - first.0).abs_diff(span) <= a.prr.traces_to_ns(1) as u64, "{name}: gaps and times disagree");
    check_known(name, a, &expected["known"]);
}

fn check_known(name: &str, a: &Acquisition, known: &Value) {
    let Some(known) = known.as_object().filter(|known| !known.is_empty()) else { return };
    assert_eq!(a.quantity.name(), known["quantity"].as_str().unwrap(), "{name}");
    assert_eq!(a.unit, known["unit"].as_str().unwrap(), "{name}");
    let close = |x: f64, y: f64| (x - y).abs() <= 1e-9 * y.abs();
    assert!(close(a.scale, known["scale"].as_f64().unwrap()), "{name}: scale {}", a.scale);
    match (a.gauge_length_m, known["gauge"].as_f64()) {
        (Some(gauge), Some(expected)) => assert!(close(gauge, expected), "{name}: gauge length {gauge}"),
        (gauge, expected) => assert_eq!(gauge, expected, "{name}: gauge length"),
    }
}

/// `info` must say what replay does.
fn check_description(name: &str, file: &Path, epoch: &Epoch) {
    let info = describe(file).unwrap();
    let counted = info.traces - info.damaged_traces;
    assert_eq!((counted, info.channels), (epoch.times.len() as u64, epoch.acquisition.channels), "{name}");
    assert_eq!(info.start_utc_ns, epoch.times[0].0, "{name}");
    assert!(info.damaged_traces > 0 || info.end_utc_ns.abs_diff(epoch.times[epoch.times.len() - 1].0) <= 1, "{name}");
    assert_eq!(info.gap_traces, epoch.gaps.iter().map(|gap| gap.1).sum::<u64>(), "{name}");
    let values: Vec<f64> = match epoch.acquisition.sample_format {
        SampleFormat::F32 => epoch.samples.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        _ => epoch.samples.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect(),
    };
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let rms = (finite.iter().map(|v| v * v).sum::<f64>() / finite.len() as f64).sqrt();
    assert_eq!(info.samples.not_finite, (values.len() - finite.len()) as u64, "{name}");
    assert_eq!(info.samples.min, finite.iter().copied().reduce(f64::min), "{name}");
    assert_eq!(info.samples.max, finite.iter().copied().reduce(f64::max), "{name}");
    assert!((info.samples.rms.unwrap() / rms - 1.0).abs() < 1e-9, "{name}");
    let json: Value = serde_json::to_value(&info).unwrap();
    assert_eq!(json["traces"].as_u64(), Some(info.traces));
    let text = info.to_string();
    assert!(text.contains(&info.start_utc) && text.contains(&info.format), "{text}");
}

#[test]
fn the_real_captures_are_what_dascore_and_h5py_read() {
    let folder = tempfile::tempdir().unwrap();
    python(&["captures".as_ref(), captures().as_ref(), folder.path().as_ref()]);
    check_cases(folder.path());
}

#[test]
fn variants_that_no_capture_shows_are_read_right_or_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    python(&["variants".as_ref(), folder.path().as_ref()]);
    check_cases(folder.path());
}

/// Blocks that were made up: (epoch, first trace, gap before, samples).
struct Scripted {
    acquisitions: Vec<Acquisition>,
    blocks: Vec<(usize, u64, u64, Vec<Vec<u8>>)>,
    next: usize,
    announced: Option<usize>,
    live: bool,
}

impl Interrogator for Scripted {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        let epoch = self.blocks.get(self.next).map_or(0, |block| block.0);
        self.announced = Some(epoch);
        Ok(Probe::Ready(self.acquisitions[epoch].clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        let Some((epoch, first, gap, rows)) = self.blocks.get(self.next) else { return Ok(ReadOutcome::EndOfStream) };
        if self.announced != Some(*epoch) {
            return Ok(ReadOutcome::EpochChanged);
        }
        self.next += 1;
        block.first_trace = TraceIndex(*first);
        block.gap_before = *gap;
        block.utc_ns = 1_700_000_000_123_456_000 + self.acquisitions[*epoch].prr.traces_to_ns(*first);
        block.traces = rows.len();
        for (i, row) in rows.iter().enumerate() {
            block.row_mut(i).copy_from_slice(row);
        }
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

/// The acquisition of the golden capture.
fn golden_acquisition() -> Acquisition {
    Acquisition {
        epoch: 77,
        prr: Rational::new(16089, 5).unwrap(),
        channels: 3,
        dx_m: 1.25,
        fiber_start_m: -10.0,
        gauge_length_m: Some(10.0),
        wavelength_m: None,
        refractive_index: Some(1.4682),
        sample_format: SampleFormat::I16,
        quantity: Quantity::StrainRate,
        scale: 0.5,
        unit: "nstrain/s".into(),
        clock: ClockQuality::Ptp,
        description: "Faser 7 – süd".into(),
        source: SourceKind::Replay,
    }
}

fn golden_source() -> Scripted {
    let row = |t: i16| (0..3).flat_map(|c| ((t * 3 + c) * 1000 - 7000).to_le_bytes()).collect::<Vec<u8>>();
    let blocks = vec![(0, 0, 0, (0..3).map(row).collect()), (0, 7, 4, (3..5).map(row).collect())];
    Scripted { acquisitions: vec![golden_acquisition()], blocks, next: 0, announced: None, live: false }
}

fn recorded(source: impl Interrogator + 'static, file: &Path, limits: Limits) -> Result<record::Recorded, SourceError> {
    record::record(Box::new(source), file, limits, &AtomicBool::new(false), &mut |_| ())
}

#[test]
fn a_recording_is_byte_for_byte_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours.fdas"), folder.path().join("theirs.fdas"));
    recorded(golden_source(), &ours, Limits::default()).unwrap();
    python(&["golden".as_ref(), theirs.as_ref()]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    let golden = std::fs::read(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
    assert_eq!(std::fs::read(&theirs).unwrap(), golden, "the page, packed by hand, is the golden file");
    assert_eq!(std::fs::read(&ours).unwrap(), golden, "what we write is the golden file");
    let epochs = replayed(std::slice::from_ref(&ours), 37).unwrap();
    assert_eq!(epochs.len(), 1);
    assert_eq!(epochs[0].acquisition, golden_acquisition());
    assert_eq!(epochs[0].gaps, [(7, 4)]);
    let info = describe(&ours).unwrap();
    assert_eq!((info.checksums.as_str(), &info.notes[..]), ("verified", &[][..]));
    assert!(recorded(golden_source(), &ours, Limits::default()).is_err(), "nothing is overwritten");
}

#[test]
fn the_numpy_reader_on_the_page_reads_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/replay/CAPTURE.md");
    for (i, name) in ["iDAS005_hdf5_example.626.h5", "sintela_protobuf_1.pb"].iter().enumerate() {
        let (file, out) = (folder.path().join(format!("{i}.fdas")), folder.path().join(i.to_string()));
        let source = Replay::open(&[captures().join(name)], ReplaySpeed::Unpaced, false).unwrap();
        recorded(source, &file, Limits::default()).unwrap();
        python(&["numpy".as_ref(), page.as_ref(), file.as_ref(), out.as_ref()]);
        check_cases(&out);
        let (original, copy) = (replayed(&[captures().join(name)], 50).unwrap(), replayed(&[file], 50).unwrap());
        assert_eq!(original[0].acquisition, copy[0].acquisition, "{name}: all that is known is recorded");
        assert!(original[0].samples == copy[0].samples && original[0].times == copy[0].times, "{name}");
    }
}

#[test]
fn limits_end_a_recording_at_the_exact_trace() {
    let folder = tempfile::tempdir().unwrap();
    let capture = captures().join("gdr_1.h5");
    let limits = [
        (Limits { traces: Some(1234), duration: None }, 1234),
        (Limits { traces: None, duration: Some(Duration::from_micros(2_500_500)) }, 2501),
        (Limits { traces: Some(1 << 40), duration: Some(Duration::from_secs(1 << 30)) }, 10_000),
    ];
    for (i, (limits, traces)) in limits.into_iter().enumerate() {
        let file = folder.path().join(format!("{i}.fdas"));
        let source = Replay::open(std::slice::from_ref(&capture), ReplaySpeed::Unpaced, false).unwrap();
        let recorded = recorded(source, &file, limits).unwrap();
        assert_eq!((recorded.progress.traces, describe(&file).unwrap().traces), (traces, traces));
    }
    let stopped = record::record(
        Box::new(Replay::open(&[capture], ReplaySpeed::Times(1.0), true).unwrap()),
        &folder.path().join("stopped.fdas"),
        Limits::default(),
        &AtomicBool::new(true),
        &mut |_| (),
    );
    assert_eq!(stopped.unwrap().files, Vec::<PathBuf>::new(), "stopped before the first trace: no file");
}

#[test]
fn each_epoch_has_its_file_and_no_trace_is_lost_on_a_live_source() {
    let folder = tempfile::tempdir().unwrap();
    let first = golden_acquisition();
    let second = Acquisition { epoch: 78, channels: 2, sample_format: SampleFormat::Iq16, ..golden_acquisition() };
    let blocks = vec![(0, 5, 0, vec![vec![1; 6]; 4]), (0, 12, 3, vec![vec![2; 6]; 2]), (1, 0, 0, vec![vec![3; 8]; 7])];
    let source = Scripted { acquisitions: vec![first, second], blocks, next: 0, announced: None, live: true };
    let recorded = recorded(source, &folder.path().join("x.fdas"), Limits::default()).unwrap();
    assert_eq!(recorded.files, [folder.path().join("x.fdas"), folder.path().join("x-2.fdas")]);
    assert_eq!((recorded.progress.traces, recorded.progress.gap_traces, recorded.progress.dropped_traces), (13, 3, 0));
    let epochs = replayed(&recorded.files, 37).unwrap();
    assert_eq!(
        epochs.iter().map(|e| e.samples.clone()).collect::<Vec<_>>(),
        [[vec![1; 24], vec![2; 12]].concat(), vec![3; 56]]
    );
    assert_eq!(epochs[0].gaps, [(7, 3)]);
    assert_eq!(
        epochs[0].acquisition.epoch,
        1_700_000_000_123_456 + 1553,
        "begun at trace 5: numbered from its own time"
    );
    assert_eq!(
        epochs[1].acquisition.epoch,
        epochs[0].acquisition.epoch + 1,
        "an epoch is never smaller than the one before"
    );
}

#[test]
fn what_is_cut_off_or_damaged_is_said_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    let bytes = std::fs::read(whole).unwrap();
    let cut = folder.path().join("cut.fdas");
    // Header 192; chunks at 192 and 320; end mark at 448.
    for len in 0..bytes.len() {
        std::fs::write(&cut, &bytes[..len]).unwrap();
        match describe(&cut) {
            Ok(info) => {
                assert_eq!(info.traces, if len >= 320 + 64 + 12 { 5 } else { 3 }, "{len} bytes");
                assert!(info.notes.iter().any(|note| note.contains("no end mark")), "{len} bytes: {:?}", info.notes);
                // Nothing is missing where only padding is, or the next part has not begun.
                let boundary = (256 + 18..=320).contains(&len) || (384 + 12..=448).contains(&len);
                assert!(boundary || info.notes.iter().any(|note| note.contains("cut off")), "{len}: {:?}", info.notes);
            }
            Err(_) => assert!(len < 192 + 64 + 18, "{len} bytes hold a whole chunk"),
        }
    }
    for at in [256, 257, 273] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&cut, &damaged).unwrap();
        let info = describe(&cut).unwrap();
        assert_eq!((info.damaged_traces, info.checksums.as_str()), (3, "damaged"), "byte {at}");
        let epochs = replayed(std::slice::from_ref(&cut), 37).unwrap();
        assert_eq!((epochs[0].times.len(), &epochs[0].gaps[..]), (2, &[(7, 7)][..]), "damage is a gap");
    }
}

#[test]
fn the_greatest_epoch_number_that_a_file_can_hold_leaves_room_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    let mut bytes = std::fs::read(whole).unwrap();
    bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..188]);
    bytes[188..192].copy_from_slice(&crc.to_le_bytes());
    let file = folder.path().join("last.fdas");
    std::fs::write(&file, &bytes).unwrap();
    // Twice the same file: its time goes back, so that a new epoch begins; and again and again.
    let mut looping = Replay::open(&[file.clone(), file], ReplaySpeed::Unpaced, true).unwrap();
    let rounds = drain(&mut looping, Duration::from_millis(100), 5).unwrap();
    let epochs: Vec<_> = rounds.iter().map(|round| round.acquisition.epoch).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[test]
fn what_is_damaged_at_the_end_of_an_epoch_is_counted_though_no_block_tells_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    let mut bytes = std::fs::read(whole).unwrap();
    // Three traces, four missing, and the last two are damaged.
    bytes[384] ^= 1;
    let file = folder.path().join("damaged.fdas");
    std::fs::write(&file, &bytes).unwrap();
    let mut replay = Replay::open(&[file], ReplaySpeed::Unpaced, false).unwrap();
    let epochs = drain(&mut replay, Duration::from_millis(100), 1).unwrap();
    assert_eq!((epochs[0].times.len(), epochs[0].gaps.len()), (3, 0));
    assert_eq!(replay.missing_at_ends(), 4 + 2);
}

#[test]
fn a_loop_goes_on_in_new_epochs_with_rising_times() {
    let files = [captures().join("sintela_protobuf_1.pb")];
    let once = replayed(&files, 37).unwrap();
    let mut looping = Replay::open(&files, ReplaySpeed::Unpaced, true).unwrap();
    assert!(!looping.is_live());
    let rounds = drain(&mut looping, Duration::from_millis(100), 3).unwrap();
    assert_eq!(rounds.len(), 3);
    for (i, round) in rounds.iter().enumerate() {
        assert!(round.samples == once[0].samples, "the same file gives the same samples");
        // 2.96 s: 1480 traces, of which each lasts 2 ms.
        let shift = 2_960_000_000 * i as i64;
        assert!(round.times.iter().zip(&once[0].times).all(|(now, first)| *now == (first.0 + shift, first.1)));
        assert_eq!(round.acquisition.epoch, once[0].acquisition.epoch + shift as u64 / 1000);
    }
}

#[test]
fn a_paced_replay_gives_the_same_and_is_never_early() {
    let files = [captures().join("terra15_v5_test_file.hdf5")];
    let once = replayed(&files, 37).unwrap();
    let mut replay = Replay::open(&files, ReplaySpeed::Times(4.0), false).unwrap();
    assert!(replay.is_live());
    let begun = Instant::now();
    let paced = drain(&mut replay, Duration::from_millis(10), 1).unwrap();
    let due = Duration::from_nanos(once[0].acquisition.prr.traces_to_ns(2059) as u64) / 4;
    assert!(begun.elapsed() >= due, "the last trace is due after {due:?}");
    assert!(paced[0].samples == once[0].samples && paced[0].acquisition == once[0].acquisition);
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Replay::open(&files, ReplaySpeed::Times(speed), false).is_err(), "{speed}");
    }
    assert!(Replay::open(&[], ReplaySpeed::Unpaced, false).is_err());
}

#[test]
fn a_deadline_gives_back_what_is_due() {
    let files = [captures().join("gdr_1.h5")];
    let mut replay = Replay::open(&files, ReplaySpeed::Times(1.0), false).unwrap();
    let Probe::Ready(acquisition) = replay.probe().unwrap() else { panic!("ready") };
    let acquisition = Arc::new(acquisition);
    let mut block = RawBlock::new(BlockLayout::for_acquisition(&acquisition, Duration::from_secs(9)), acquisition);
    let (mut index, begun) = (0, Instant::now());
    // 9 s of block and 20 ms of patience: pieces come, in order, and none before it is due.
    while index < 200 {
        block.traces = 0;
        match replay.read_block(&mut block, Duration::from_millis(20)).unwrap() {
            ReadOutcome::Filled => assert_eq!(block.first_trace, TraceIndex(index)),
            outcome => assert_eq!(outcome, ReadOutcome::TimedOut),
        }
        index += block.traces as u64;
        assert!(begun.elapsed() + Duration::from_millis(1) > Duration::from_millis(index), "trace {index} came early");
    }
}
