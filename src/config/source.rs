//! `[source]`: the ring of an interrogator, or captured files.
//!
//! A run waits for its ring, and finds missing files by itself; `check-config` looks at both beforehand.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::load::millis;
use super::section::{NumberOrWord, Section, quoted};
use super::{DEFAULT_RING, ReplaySpeed, SourceConfig};
use crate::source::SourceError;
use crate::source::replay::candidates;

pub(super) fn source(mut s: Section<'_>, environment: &Environment) -> SourceConfig {
    let replay = s.choice("kind", false, &[("ring", false), ("replay", true)]);
    let path = s.text("path").map(PathBuf::from);
    let heartbeat_timeout = millis(s.number("heartbeat_timeout_ms", 1000.0, 50.0..=60_000.0, "ms"));
    let files = s.texts("files");
    let speed = match s.number_or_word("speed", 0.001..=100_000.0, "times real time", "max") {
        Some(NumberOrWord::Word) => ReplaySpeed::Unpaced,
        Some(NumberOrWord::Number(times)) => ReplaySpeed::Times(times),
        None => ReplaySpeed::Times(1.0),
    };
    let looping = s.boolean("loop", false);
    let (foreign, kind): (&[&str], _) =
        if replay { (&["path", "heartbeat_timeout_ms"], "ring") } else { (&["files", "speed", "loop"], "replay") };
    for key in foreign.iter().filter(|key| s.has(key)) {
        s.complain(key, format!("belongs to a source of kind = \"{kind}\"; take it out, or change the kind"));
    }
    if replay && files.as_ref().is_none_or(Vec::is_empty) && !s.has("files") {
        s.complain("files", "a replay needs its files: files = [\"capture.fdas\"]");
    }
    if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
        let text = format!(
            "{} is not absolute; write it from the root, such as {DEFAULT_RING}",
            quoted(&path.to_string_lossy())
        );
        s.complain("path", text);
    }
    let files: Vec<_> = files.unwrap_or_default().into_iter().map(PathBuf::from).collect();
    if environment.is_offline() && replay {
        look_at_files(&s, &files);
    } else if environment.is_offline() {
        look_at_ring(&s, path.as_deref());
    }
    s.finish();
    if replay {
        SourceConfig::Replay { files, speed, looping }
    } else {
        SourceConfig::Ring { path: path.unwrap_or_else(|| DEFAULT_RING.into()), heartbeat_timeout }
    }
}

fn look_at_files(s: &Section<'_>, files: &[PathBuf]) {
    for file in files {
        let shown = quoted(&file.to_string_lossy());
        let wrong = match candidates(file) {
            Ok(found) if !found.is_empty() => continue,
            Ok(_) => "is a folder without a file; name one that has captures".to_owned(),
            Err(SourceError::Io { error, .. }) => format!("cannot be read: {error}"),
            Err(error) => error.to_string(),
        };
        s.complain("files", format!("{shown} {wrong}"));
    }
}

/// A ring that is not there yet is nothing wrong: its driver makes it.
fn look_at_ring(s: &Section<'_>, path: Option<&Path>) {
    if let Some(path) = path.filter(|path| path.is_dir()) {
        let shown = quoted(&path.to_string_lossy());
        s.complain("path", format!("{shown} is a folder; name the ring inside it, such as {DEFAULT_RING}"));
    }
}
