//! Exports, as independent readers find them; and what is left when one cannot be.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::replayed::{Epoch, drain};
use common::{captures, must_succeed, python};
use fiberd::export::{ExportError, Exported, Format, Request, export};
use fiberd::record::{self, Limits};
use fiberd::source::replay::{Depth, Replay, describe, look};
use fiberd::source::synthetic::{self, Scene, SceneSource};
use fiberd::source::{ReplaySpeed, Severity};
use proptest::prelude::*;

fn check(arguments: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export_check.py");
    must_succeed(python().arg(script).args(arguments));
}

fn request(file: &Path, to: Format, out: PathBuf) -> Request {
    Request {
        files: vec![file.to_owned()],
        to,
        out: Some(out),
        force: false,
        raw: false,
        channels: None,
        from_ns: None,
        until_ns: None,
        length: None,
    }
}

fn run(request: &Request) -> Result<Exported, ExportError> {
    export(request, &AtomicBool::new(false), &mut |_| {})
}

/// A recording of a scene, whose counts have a scale of their own.
fn scene(path: &Path, scene: &Scene, traces: u64) {
    let source = Box::new(SceneSource::new(scene).unwrap());
    let limits = Limits { duration: None, traces: Some(traces) };
    record::record(source, path, limits, &AtomicBool::new(false), &mut |_| {}).unwrap();
}

#[test]
fn independent_readers_find_what_was_captured() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    check(&["make".as_ref(), &made]);
    let gap = made.join("gap.h5");
    let out = |name: &str| folder.path().join(name);
    for (to, name) in
        [(Format::Prodml, "gap.h5"), (Format::Npy, "gap.npy"), (Format::Npz, "gap.npz"), (Format::Png, "gap.png")]
    {
        let exported = run(&request(&gap, to, out(name))).unwrap();
        let traces: Vec<u64> = exported.files.iter().map(|file| file.traces).collect();
        assert_eq!(traces, if to == Format::Png { vec![2000] } else { vec![1200, 800] }, "{name}");
    }
    run(&Request { channels: Some((3, 4)), ..request(&gap, Format::Wav, out("gap.wav")) }).unwrap();
    let start = describe(&gap).unwrap().start_utc_ns;
    let csv = request(&gap, Format::Csv, out("gap.csv"));
    let span = (Some(start + 2_000_000_000), Some(Duration::from_millis(1500)));
    run(&Request { channels: Some((7, 7)), from_ns: span.0, length: span.1, ..csv }).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
    run(&Request { raw: true, ..request(&ours, Format::Npy, out("raw.npy")) }).unwrap();
    run(&request(&ours, Format::Npy, out("scaled.npy"))).unwrap();
    let (long, mut counts) = (out("long.fdas"), Scene::default());
    counts.interrogator.sample_format = synthetic::Format::I32;
    scene(&long, &counts, 50);
    run(&Request { raw: true, ..request(&long, Format::Npy, out("long.npy")) }).unwrap();
    run(&Request { raw: true, ..request(&long, Format::Prodml, out("long.h5")) }).unwrap();
    let idas = captures().join("iDAS005_hdf5_example.626.h5");
    run(&Request { channels: Some((100, 300)), ..request(&idas, Format::Prodml, out("idas.h5")) }).unwrap();
    check(&["check".as_ref(), folder.path(), &captures()]);
    let back = describe(&out("idas.h5")).unwrap();
    assert_eq!((back.traces, back.channels, back.verdict), (1000, 201, Severity::Ok), "{back}");
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_of_what_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scene.fdas");
    scene(&file, &Scene::default(), 300);
    let there = || {
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let out = folder.path().join("out.npy");
    fs::write(&out, "mine").unwrap();
    let before = there();
    let wanted = request(&file, Format::Npy, out.clone());
    assert!(matches!(run(&wanted), Err(ExportError::Exists(_))));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
    // The capture itself is in the way, whatever is forced.
    let onto_itself = Request { force: true, ..request(&file, Format::Csv, file.clone()) };
    assert!(matches!(run(&Request { channels: Some((1, 1)), ..onto_itself }), Err(ExportError::Wrong(_))));
    // By whatever name it is meant: by a pattern, or in a folder.
    let night = folder.path().join("night");
    fs::create_dir(&night).unwrap();
    let copy = night.join("copy.fdas");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tone.fdas"), &copy).unwrap();
    for name in [night.join("c*.fdas"), night.clone()] {
        let onto_itself = Request { force: true, ..request(&name, Format::Npy, copy.clone()) };
        let refused = run(&onto_itself).unwrap_err().to_string();
        assert!(refused.contains("is read"), "{}: {refused}", name.display());
    }
    fs::remove_dir_all(&night).unwrap();
    // Stopped, and damaged metadata in the second file: the first one's output goes as well.
    assert!(matches!(
        export(&Request { force: true, ..wanted.clone() }, &AtomicBool::new(true), &mut |_| {}),
        Err(ExportError::Stopped)
    ));
    let too_many = request(&file, Format::Wav, folder.path().join("out.wav"));
    assert!(matches!(run(&too_many), Err(ExportError::Wrong(why)) if why.contains("64 at most")));
    let beyond = Request { channels: Some((1, 1_000_000)), ..wanted.clone() };
    assert!(matches!(run(&beyond), Err(ExportError::Wrong(why)) if why.contains("there are 1..")));
    assert_eq!(there(), before);
    assert_eq!(run(&Request { force: true, ..wanted }).unwrap().files[0].traces, 300);
    assert_eq!(there(), before);
}

fn traces(replay: &mut Replay) -> Vec<(i64, Vec<u8>)> {
    let epochs = drain(replay, Duration::from_millis(37), usize::MAX).unwrap();
    let of_epoch = |epoch: Epoch| {
        let row = epoch.samples.len() / epoch.times.len();
        let rows: Vec<_> =
            epoch.times.iter().zip(epoch.samples.chunks(row)).map(|(time, row)| (time.0, row.to_vec())).collect();
        rows
    };
    epochs.into_iter().flat_map(of_epoch).collect()
}

/// UTC in nanoseconds, and samples.
type Trace = (i64, Vec<u8>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// A span of time is what of everything lies in it, and gaps inside are as long as they were.
    #[test]
    fn a_span_holds_the_traces_that_lie_in_it(from in -0.1..1.1f64, length in 0.0..1.2f64) {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas");
        for file in [fixture, captures().join("sintela_protobuf_1.pb")] {
            let files = std::slice::from_ref(&file);
            let all = traces(&mut Replay::open(files, ReplaySpeed::Unpaced, false).unwrap());
            let (start, end) = (all[0].0, all[all.len() - 1].0 + 1);
            let at = |share: f64| start + ((end - start) as f64 * share) as i64;
            let span = at(from)..at(from + length);
            let right: Vec<_> = all.into_iter().filter(|(utc_ns, _)| span.contains(utc_ns)).collect();
            match Replay::open_span(files, &span) {
                Ok(mut replay) => {
                    let told: u64 = replay.contents().iter().map(|epoch| epoch.traces).sum();
                    let found = traces(&mut replay);
                    // Times are rounded to nanoseconds from the beginning of each block.
                    let same = |(a, b): (&Trace, &Trace)| a.1 == b.1 && a.0.abs_diff(b.0) <= 1;
                    prop_assert_eq!((found.len() as u64, found.len()), (told, right.len()));
                    prop_assert!(found.iter().zip(&right).all(same));
                }
                Err(error) => {
                    prop_assert!(right.is_empty() && error.to_string().contains("not one trace in that time"), "{error}");
                }
            }
        }
    }
}

/// Of a damaged recording each whole stretch becomes a file, and what was lost is said.
#[test]
fn damage_is_a_gap_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scene.fdas");
    scene(&file, &Scene::default(), 6000);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&file, &bytes).unwrap();
    let info = describe(&file).unwrap();
    assert_eq!((info.verdict, info.checksums.as_str()), (Severity::Damaged, "damaged"), "{info}");
    assert!(
        info.findings[0].severity == Severity::Damaged && info.to_string().contains("\n  damaged       checksum"),
        "{info}"
    );
    let exported = run(&request(&file, Format::Npy, folder.path().join("out.npy"))).unwrap();
    let traces: Vec<u64> = exported.files.iter().map(|file| file.traces).collect();
    assert_eq!((traces.len(), traces.iter().sum::<u64>()), (2, 6000 - info.damaged_traces), "{traces:?}");
    let lost = format!("{} traces cannot be read", info.damaged_traces);
    assert!(exported.findings.iter().any(|found| found.text.starts_with(&lost)), "{:?}", exported.findings);
    // Nobody who only looks at what a file says of itself can know.
    let quick = look(&file, Depth::Metadata, false, &mut |_| {}).unwrap().0;
    assert_eq!((quick.verdict, quick.statistics, quick.checksums.as_str()), (Severity::Ok, None, "not looked at"));
}
