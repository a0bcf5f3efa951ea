//! The procedures by which interrogators are compared, on a simulated one, through recordings and through the whole daemon:
//! what the scene says comes out.

#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use common::broker::Broker;
use common::{must_succeed, python};

#[test]
fn what_a_scene_says_is_what_the_procedures_of_seafom_measure() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let root = env!("CARGO_MANIFEST_DIR");
    let mut procedures = python();
    procedures.arg(format!("{root}/tests/performance_check.py")).arg(env!("CARGO_BIN_EXE_fiberd")).arg(broker.uri());
    procedures.arg(folder.path()).arg(format!("{root}/src/source/replay/CAPTURE.md"));
    print!("{}", must_succeed(&mut procedures));
}
