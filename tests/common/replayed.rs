//! What comes out of a replay, and its comparison with what independent readers found in the same files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fiberd::acquisition::{Acquisition, SampleFormat};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::replay::{Replay, describe};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed, SourceError};
use fiberd::units::TraceIndex;
use serde_json::Value;

use super::{must_succeed, python};

/// Runs `replay_check.py` with these arguments. It needs numpy, h5py and dascore.
pub fn replay_check(arguments: &[&OsStr]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay_check.py");
    must_succeed(python().arg(script).args(arguments));
}

/// What came out of a source, one epoch after the other.
pub struct Epoch {
    pub acquisition: Acquisition,
    pub samples: Vec<u8>,
    /// UTC and trace index of each trace.
    pub times: Vec<(i64, u64)>,
    /// First trace and length of each gap.
    pub gaps: Vec<(u64, u64)>,
}

/// Drains a source until its end, or until `rounds` epochs have come.
pub fn drain(source: &mut dyn Interrogator, block: Duration, rounds: usize) -> Result<Vec<Epoch>, SourceError> {
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

pub fn replayed(files: &[PathBuf], block_ms: u64) -> Result<Vec<Epoch>, SourceError> {
    let mut replay = Replay::open(files, ReplaySpeed::Unpaced, false)?;
    drain(&mut replay, Duration::from_millis(block_ms), usize::MAX)
}

fn column<const N: usize, T>(path: &Value, from: fn([u8; N]) -> T) -> Vec<T> {
    let bytes = std::fs::read(path.as_str().unwrap()).unwrap();
    bytes.as_chunks().0.iter().map(|&b| from(b)).collect()
}

/// Compares what is replayed with what the cases in `folder` say.
pub fn check_cases(folder: &Path) {
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
    let levels =
        expected["levels"].as_array().map_or(Vec::new(), |_| column(&expected["levels"][0], f64::from_le_bytes));
    assert_eq!(a.levels[..], levels, "{name}: levels");
    let distances = column(&expected["distances"], f64::from_le_bytes);
    assert_eq!(a.channels, distances.len(), "{name}: channels");
    for (channel, expected) in distances.iter().enumerate() {
        let distance = a.distance_m(channel);
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
        SampleFormat::F32 => {
            let levels = epoch.acquisition.levels.iter().copied().cycle().chain(std::iter::repeat(0.0));
            let samples = epoch.samples.as_chunks().0.iter().zip(levels);
            samples.map(|(&b, level)| f64::from(f32::from_le_bytes(b)) + level).collect()
        }
        _ => epoch.samples.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect(),
    };
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let rms = (finite.iter().map(|v| v * v).sum::<f64>() / finite.len() as f64).sqrt();
    assert_eq!(info.samples.not_finite, (values.len() - finite.len()) as u64, "{name}");
    assert_eq!(info.samples.min, finite.iter().copied().reduce(f64::min), "{name}");
    assert_eq!(info.samples.max, finite.iter().copied().reduce(f64::max), "{name}");
    assert!((info.samples.rms.unwrap() - rms).abs() <= 1e-9 * rms, "{name}");
    let json: Value = serde_json::to_value(&info).unwrap();
    assert_eq!(json["traces"].as_u64(), Some(info.traces));
    let text = info.to_string();
    assert!(text.contains(&info.start_utc) && text.contains(&info.format), "{text}");
}
