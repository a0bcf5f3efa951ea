//! The screen in a pseudo-terminal: keys, files that numpy reads, and a terminal that is as it was before, whichever way
//! the demo ends. `terminal_check.py` sits in front of it.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;

use common::{must_succeed, python};

#[test]
fn the_screen_is_used_saved_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    // Small, so that a debug build keeps up on a busy machine.
    fs::write(dir.path().join("scene.toml"), "seed = 7\n[fiber]\nchannels = 300\n[interrogator]\nprr_hz = 1000.0\n")
        .unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal_check.py");
    let said = must_succeed(python().arg(script).arg(env!("CARGO_BIN_EXE_fiberd")).arg(dir.path()));
    assert!(said.ends_with("all as it should be\n"), "{said}");
}
