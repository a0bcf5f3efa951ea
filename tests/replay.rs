//! Replay and info against independent readers: every sample, time and distance of the real captures as DASCore and h5py
//! find them, and of files made to show what no capture shows.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly too")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::captures;
use common::replayed::{check_cases, drain, replay_check, replayed};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::replay::{Replay, describe, describe_lines};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use fiberd::units::TraceIndex;
use serde_json::Value;

#[test]
fn the_real_captures_are_what_dascore_and_h5py_read() {
    let folder = tempfile::tempdir().unwrap();
    replay_check(&["captures".as_ref(), captures().as_ref(), folder.path().as_ref()]);
    check_cases(folder.path());
    let judged = std::fs::read(folder.path().join("lines.json")).unwrap();
    lines_are(&serde_json::from_slice(&judged).unwrap(), &captures().join("prodml_fbe_1.h5"));
}

/// Lines of band energy are described as DASCore and h5py find them.
fn lines_are(judged: &Value, file: &Path) {
    let lines = serde_json::to_value(describe_lines(file).unwrap().unwrap()).unwrap();
    for (key, expected) in judged.as_object().unwrap() {
        let found = &lines[key];
        if key == "bands" {
            let band = |b: &Value| serde_json::json!([b["dataset"], b["from_hz"], b["to_hz"]]);
            assert_eq!(&found.as_array().unwrap().iter().map(band).collect::<Value>(), expected);
        } else if let Some(expected) = expected.as_f64() {
            assert!(
                (found.as_f64().unwrap() - expected).abs() <= 1e-6 * expected.abs(),
                "{key}: {found}, not {expected}"
            );
        } else {
            assert_eq!(found, expected, "{key}");
        }
    }
    assert_eq!(describe_lines(&captures().join("febus_2.h5")).unwrap(), None, "samples are no lines");
}

#[test]
fn variants_that_no_capture_shows_are_read_right_or_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    replay_check(&["variants".as_ref(), folder.path().as_ref()]);
    check_cases(folder.path());
    // What is left off or not certain is said.
    for (file, words) in [
        ("container-a-live-writer.h5", "marked as open for writing"),
        ("container-a-live-SWMR-writer.h5", "marked as open for writing"),
        ("container-partly.h5", "150 of 300 rows were written"),
        ("container-stamps-ahead.h5", "300 values for 280 rows"),
        ("raw-and-fbe.h5", "lines of band energy"),
    ] {
        let notes = describe(&folder.path().join(file)).unwrap().notes;
        assert!(notes.iter().any(|note| note.contains(words)), "{file}: {notes:?}");
    }
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
                assert!(info.is_whole(), "{len} bytes: a recorder that died is no damage: {:?}", info.findings);
                // The head of the second chunk tells of four missing traces and of two whose samples are cut off.
                let lost = if (384..384 + 12).contains(&len) { 4 + 2 } else { 0 };
                assert_eq!(played(&cut), (info.traces, lost, 0), "{len} bytes: what is lost is counted");
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

/// Traces that come of a file, those known to be missing at its end, and those that are damaged.
fn played(file: &Path) -> (u64, u64, u64) {
    let mut replay = Replay::open(&[file.to_owned()], ReplaySpeed::Unpaced, false).unwrap();
    let epochs = drain(&mut replay, Duration::from_millis(100), usize::MAX).unwrap();
    let came = epochs.iter().map(|epoch| epoch.times.len() as u64).sum();
    (came, replay.missing_at_ends(), replay.damaged_traces())
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
fn a_loop_of_nothing_but_damage_comes_to_an_end_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    let mut bytes = std::fs::read(whole).unwrap();
    (bytes[256], bytes[384]) = (!bytes[256], !bytes[384]);
    let file = folder.path().join("damaged.fdas");
    std::fs::write(&file, &bytes).unwrap();
    let mut looping = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, true).unwrap();
    let error = drain(&mut looping, Duration::from_millis(100), 2).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("not one trace"), "{error}");
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
    let mut block =
        RawBlock::new(BlockLayout::for_acquisition(&acquisition, Duration::from_secs(9)), Arc::clone(&acquisition));
    let (mut index, begun) = (0, Instant::now());
    // 9 s of block and 20 ms of patience: pieces come, in order, and none before it is due.
    while index < 200 {
        block.clear(&acquisition);
        match replay.read_block(&mut block, Duration::from_millis(20)).unwrap() {
            ReadOutcome::Filled => assert_eq!(block.first_trace, TraceIndex(index)),
            outcome => assert_eq!(outcome, ReadOutcome::TimedOut),
        }
        index += block.traces as u64;
        assert!(begun.elapsed() + Duration::from_millis(1) > Duration::from_millis(index), "trace {index} came early");
    }
}
