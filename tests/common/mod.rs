//! What several test programs need. Each includes this module, and none uses all of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod books;
pub mod broker;
pub mod bus;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod jobs;
pub mod publisher;
pub mod replayed;
pub mod server;

pub use broker::free_port;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The real instruments' files.
pub fn captures() -> PathBuf {
    let dir = std::env::var_os("FIBERD_CAPTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"), PathBuf::from);
    assert!(dir.is_dir(), "real captures are needed: {} is not there; set FIBERD_CAPTURES", dir.display());
    dir
}

/// Python with the independent readers; `./check setup` makes one.
pub fn python() -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let made = root.join("target/readers/bin/python");
    let python = std::env::var_os("FIBERD_TEST_PYTHON").map(PathBuf::from);
    Command::new(python.unwrap_or_else(|| if made.exists() { made } else { "python3".into() }))
}

/// Runs `command` to its end.
///
/// # Panics
/// With all that it printed, when it fails.
pub fn must_succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Waits until `done` gives a value. The time-out is generous: it is there so that a broken test ends.
///
/// # Panics
/// When the time is over.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
