//! Recordings: our own format as its page describes it, read back by independent readers, and where recordings end.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly too")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::captures;
use common::replayed::{check_cases, replay_check, replayed};
use fiberd::acquisition::{Acquisition, ClockQuality, Quantity, Region, SampleFormat, SourceKind};
use fiberd::block::RawBlock;
use fiberd::record::{self, Limits};
use fiberd::source::replay::{Replay, describe};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed, SourceError};
use fiberd::units::{Rational, TraceIndex};

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
        regions: Arc::default(),
        gauge_length_m: Some(10.0),
        wavelength_m: None,
        refractive_index: Some(1.4682),
        sample_format: SampleFormat::I16,
        quantity: Quantity::StrainRate,
        scale: 0.5,
        levels: Arc::default(),
        unit: "nstrain/s".into(),
        band: None,
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
    replay_check(&["golden".as_ref(), theirs.as_ref()]);
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
    for (i, name) in ["iDAS005_hdf5_example.626.h5", "sintela_protobuf_1.pb", "prodml_fbe_1.h5"].iter().enumerate() {
        let (file, out) = (folder.path().join(format!("{i}.fdas")), folder.path().join(i.to_string()));
        let source = Replay::open(&[captures().join(name)], ReplaySpeed::Unpaced, false).unwrap();
        recorded(source, &file, Limits::default()).unwrap();
        replay_check(&["numpy".as_ref(), page.as_ref(), file.as_ref(), out.as_ref()]);
        check_cases(&out);
        let (original, copy) = (replayed(&[captures().join(name)], 50).unwrap(), replayed(&[file], 50).unwrap());
        assert_eq!(original[0].acquisition, copy[0].acquisition, "{name}: all that is known is recorded");
        assert!(original[0].samples == copy[0].samples && original[0].times == copy[0].times, "{name}");
    }
    let mut source = golden_source();
    source.acquisitions[0].regions = Arc::from([Region { first_channel: 2, start_m: 1234.5, dx_m: 0.25 }]);
    let (file, out) = (folder.path().join("regions.fdas"), folder.path().join("regions"));
    recorded(source, &file, Limits::default()).unwrap();
    replay_check(&["numpy".as_ref(), page.as_ref(), file.as_ref(), out.as_ref()]);
    check_cases(&out);
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
    let third = Acquisition { epoch: 79, channels: 1, sample_format: SampleFormat::I32, ..golden_acquisition() };
    let levels: Arc<[f64]> = Arc::from([1e9 + 0.25, -7.0, 0.0]);
    let float = SampleFormat::F32;
    let fourth = Acquisition { epoch: 80, sample_format: float, levels: Arc::clone(&levels), ..golden_acquisition() };
    let blocks = vec![
        (0, 5, 0, vec![vec![1; 6]; 4]),
        (0, 12, 3, vec![vec![2; 6]; 2]),
        (1, 0, 0, vec![vec![3; 8]; 7]),
        (2, 0, 0, vec![vec![0xFF, 0xFF, 0xFF, 0x7F]; 2]),
        (3, 0, 0, vec![vec![5; 12]; 2]),
    ];
    let source =
        Scripted { acquisitions: vec![first, second, third, fourth], blocks, next: 0, announced: None, live: true };
    let recorded = recorded(source, &folder.path().join("x.fdas"), Limits::default()).unwrap();
    let names = ["x.fdas", "x-2.fdas", "x-3.fdas", "x-4.fdas"];
    assert_eq!(recorded.files, names.map(|name| folder.path().join(name)));
    assert_eq!((recorded.progress.traces, recorded.progress.gap_traces, recorded.progress.dropped_traces), (17, 3, 0));
    let epochs = replayed(&recorded.files, 37).unwrap();
    assert_eq!(
        epochs.iter().map(|e| e.samples.clone()).collect::<Vec<_>>(),
        [[vec![1; 24], vec![2; 12]].concat(), vec![3; 56], [0xFF, 0xFF, 0xFF, 0x7F].repeat(2), vec![5; 24]]
    );
    assert_eq!(epochs[2].acquisition.sample_format, SampleFormat::I32);
    assert_eq!(epochs[3].acquisition.levels, levels, "what was taken off travels with the recording");
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
