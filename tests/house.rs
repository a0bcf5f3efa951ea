//! The house rules that a compiler does not check: arrows between rooms point down, and unsafe code keeps to its room.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, lowest first. A room may use rooms of its own floor and of those below.
const FLOORS: [&[&str]; 6] = [
    &["units"],
    &["acquisition", "block", "frame", "log_limit", "status"],
    &["dsp", "egress", "source", "wire"],
    &["config"],
    &[
        "api",
        "capture",
        "health",
        "jobs",
        "metrics",
        "notify",
        "pipeline",
        "publish",
        "record",
        "telemetry",
        "terminal",
    ],
    &["app", "bench", "cli", "main", "watch"],
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn floor_of(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("room `{room}` has no floor here"))
}

/// The rooms named by `crate::…` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let word = |rest: &str| rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    line.split("crate::").skip(1).map(move |rest| &rest[..word(rest)]).filter(|t| FLOORS.iter().any(|f| f.contains(t)))
}

#[test]
fn arrows_between_rooms_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut upward, mut seen) = (Vec::new(), BTreeSet::new());
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // Tests inside a room may reach up, for instance to drive a source through the pipeline.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
            for target in targets(line) {
                seen.insert((room.to_owned(), target.to_owned()));
                if floor_of(target) > floor_of(room) {
                    upward.push(format!("{}: {room} uses {target}: {line}", inside.display()));
                }
            }
        }
    }
    assert!(seen.len() > 20, "the test sees the arrows at all: {seen:?}");
    assert!(upward.is_empty(), "arrows that point up:\n{}", upward.join("\n"));
}

#[test]
fn unsafe_code_lives_in_the_ring_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "benches", "tests"] {
        sources(&root.join(dir), &mut files);
    }
    let marker = concat!("allow(", "unsafe_code)");
    // And in the benchmark's call into FFTW, which is no part of the daemon.
    let rooms = [root.join("src/source/ring"), root.join("benches/transform/peers.rs")];
    let elsewhere: Vec<_> = files
        .iter()
        .filter(|f| !rooms.iter().any(|room| f.starts_with(room)))
        .filter(|f| fs::read_to_string(f).unwrap().contains(marker))
        .collect();
    assert!(elsewhere.is_empty(), "unsafe allowed outside the ring: {elsewhere:?}");
}
