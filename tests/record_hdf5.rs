//! Recordings in PRODML: open in every reader at every moment, also when the recorder is killed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly too")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::daemon::{Process, simulator};
use common::replayed::{Epoch, replayed};
use common::{must_succeed, python, wait_for};
use fiberd::acquisition::{Acquisition, Band, Region, SampleFormat};
use fiberd::block::RawBlock;
use fiberd::record::{self, Limits};
use fiberd::source::replay::{Replay, describe};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed, Severity, SourceError};
use fiberd::units::{Rational, TraceIndex};
use proptest::prelude::*;

const UTC_NS: i64 = 1_700_000_000_000_000_000;

/// Blocks of one acquisition: traces missing before each, its traces, and what its stamp is off.
struct Made {
    acquisition: Acquisition,
    blocks: Vec<(u64, usize, i64)>,
    next: usize,
    trace: u64,
}

impl Made {
    fn sample(trace: u64, byte: usize) -> u8 {
        (trace as usize * 31 + byte * 7) as u8
    }
}

impl Interrogator for Made {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::Ready(self.acquisition.clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        let Some(&(gap, traces, off)) = self.blocks.get(self.next) else { return Ok(ReadOutcome::EndOfStream) };
        let traces = traces.min(block.free_traces());
        match self.blocks[self.next].1 - traces {
            0 => self.next += 1,
            // The rest of it comes behind, without a gap.
            rest => self.blocks[self.next] = (0, rest, off),
        }
        self.trace += gap;
        block.first_trace = TraceIndex(self.trace);
        block.gap_before = gap;
        block.utc_ns = UTC_NS + self.acquisition.prr.traces_to_ns(self.trace) + off;
        block.traces = traces;
        for row in 0..traces {
            let trace = self.trace + row as u64;
            block.row_mut(row).iter_mut().enumerate().for_each(|(at, byte)| *byte = Self::sample(trace, at));
        }
        self.trace += traces as u64;
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        false
    }
}

fn recorded(source: impl Interrogator + 'static, file: &Path) -> Result<record::Recorded, SourceError> {
    record::record(Box::new(source), file, Limits::default(), &AtomicBool::new(false), &mut |_| ())
}

fn acquisition() -> Acquisition {
    let prr = Rational::new(16_089, 5).unwrap();
    Acquisition {
        epoch: 1_700_000_000_000_000,
        channels: 5,
        prr,
        dx_m: 2.0,
        fiber_start_m: 6.0,
        ..Acquisition::example()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any gaps, any blocks, stamps that scatter and a clock that is set: what is played back is what came.
    #[test]
    fn what_was_recorded_is_played_back(
        blocks in prop::collection::vec((
            prop_oneof![4 => Just(0u64), 1 => 1u64..100_000], 1usize..300,
            prop_oneof![8 => -20_000i64..20_000, 1 => prop_oneof![Just(-3_000_000_000i64), Just(3_000_000_000)]],
        ), 1..12),
    ) {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut blocks = blocks;
        blocks[0].0 = 0;
        let source = Made { acquisition: acquisition(), blocks: blocks.clone(), next: 0, trace: 0 };
        let found = recorded(source, &folder.path().join("x.h5")).unwrap();
        let told: u64 = blocks.iter().map(|(gap, ..)| gap).sum();
        prop_assert_eq!((found.progress.gap_traces, found.progress.dropped_traces), (told, 0));
        let (mut trace, mut all) = (0u64, Vec::new());
        for (gap, traces, _) in &blocks {
            trace += gap;
            all.extend((trace..trace + *traces as u64).flat_map(|t| (0..10).map(move |byte| Made::sample(t, byte))));
            trace += *traces as u64;
        }
        let played: Vec<Epoch> = found.files.iter().flat_map(|file| replayed(std::slice::from_ref(file), 37).unwrap()).collect();
        let samples: Vec<u8> = played.iter().flat_map(|epoch| epoch.samples.iter().copied()).collect();
        prop_assert!(samples == all, "{} bytes of {} in {} files", samples.len(), all.len(), found.files.len());
        for epoch in &played {
            let (a, right) = (&epoch.acquisition, acquisition());
            prop_assert_eq!((&a.unit, a.quantity, a.wavelength_m), (&right.unit, right.quantity, right.wavelength_m));
            prop_assert!((a.scale - right.scale).abs() < 1e-15 && epoch.gaps.is_empty());
        }
    }
}

#[test]
fn what_prodml_cannot_say_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region { first_channel: 2, start_m: 900.0, dx_m: 2.0 };
    let cases = [
        ("complex", Acquisition { sample_format: SampleFormat::Iq16, ..acquisition() }),
        ("regions", Acquisition { regions: Arc::from([region]), ..acquisition() }),
        ("band energy", Acquisition { band: Some(Band { low_hz: 1.0, high_hz: 2.0 }), ..acquisition() }),
        ("stand on", Acquisition { levels: Arc::from([1.0; 5]), ..acquisition() }),
    ];
    for (word, acquisition) in cases {
        let source = Made { acquisition, blocks: vec![(0, 9, 0)], next: 0, trace: 0 };
        let file = folder.path().join("x.h5");
        let error = recorded(source, &file).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(".fdas"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{word}");
    }
}

/// What `record_check.py` says of the files: rows of each, by every reader.
fn check(files: &[PathBuf]) -> Vec<u64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/record_check.py");
    let said = must_succeed(python().arg(script).args(files));
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

fn rows(file: &Path) -> u64 {
    describe(file).map_or(0, |info| info.traces)
}

#[test]
fn a_killed_recorder_leaves_files_that_every_reader_opens() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(folder.path(), 60);
    let ring = folder.path().join("ring");
    wait_for("a ring", || ring.exists().then_some(()));
    let mut files = Vec::new();
    for round in 0..6 {
        let file = folder.path().join(format!("{round}.h5"));
        let mut recorder = Process::fiberd(["record", file.to_str().unwrap(), "--ring", ring.to_str().unwrap()]);
        // While it is written, too.
        wait_for("rows that can be read", || (file.exists() && rows(&file) > 0).then_some(()));
        let seen = check(std::slice::from_ref(&file));
        std::thread::sleep(Duration::from_millis(137 * round));
        let before = rows(&file);
        recorder.kill();
        assert!(rows(&file) >= before && before >= seen[0], "{} of {before} rows", rows(&file));
        files.push(file);
    }
    let left = check(&files);
    assert!(left.iter().zip(&files).all(|(&by_readers, file)| by_readers == rows(file)), "{left:?}");
    let info = describe(&files[0]).unwrap();
    assert_eq!((info.channels, info.gap_traces, info.verdict < Severity::Warning), (60, 0, true), "{info}");
}

#[test]
fn files_that_follow_each_other_are_one_recording_for_every_reader() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    // Two minutes and a half of a slow fiber: three files.
    let prr = Rational::new(1003, 10).unwrap();
    let blocks = (0..150).map(|_| (0, 100, 0)).collect();
    let source = Made { acquisition: Acquisition { prr, ..acquisition() }, blocks, next: 0, trace: 0 };
    let found = recorded(source, &folder.path().join("x.h5")).unwrap();
    assert_eq!((found.files.len(), found.progress.dropped_traces), (3, 0), "{found:?}");
    assert_eq!(check(&found.files).iter().sum::<u64>(), 15_000);
    let played = replayed(&found.files, 50).unwrap();
    assert_eq!(
        (played.len(), played[0].gaps.len(), played[0].times.len()),
        (1, 0, 15_000),
        "one acquisition without a gap"
    );
    let mut replay = Replay::open(&found.files, ReplaySpeed::Unpaced, false).unwrap();
    assert!(matches!(replay.probe().unwrap(), Probe::Ready(_)));
}
