//! The main job on real input: each capture replayed into a real broker, read back by Python as a consumer would, and
//! every line held against numpy on the same samples.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::broker::Broker;
use common::daemon::Process;
use common::{captures, free_port, must_succeed, python, wait_for};

/// Short windows and lines, so that even a capture of half a second makes many; one line period is shorter than half a
/// window, one longer (Welch), and none is a whole number of traces everywhere.
const VIEWS: &str = r#"
[[view]]
kind = "waterfall"
name = "whole"
nfft = 128
line_period_ms = 20
bands_hz = [[5, 100], [40, 200]]

[[view]]
kind = "waterfall"
name = "slow"
nfft = 128
line_period_ms = 151
bands_hz = [[10, 150]]
lines_per_frame = 2

[[view]]
kind = "single"
name = "one"
channel_min = 5
channel_max = 5
nfft = 256
line_period_ms = 33.3

[[view]]
kind = "multi"
name = "few"
channel_min = 2
channel_max = 6
nfft = 128
line_period_ms = 50
value = "power"
frequency_range_hz = [10, 200]
"#;

#[test]
fn every_capture_arrives_as_numpy_computes_it() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in [
        "iDAS005_hdf5_example.626.h5",
        "decimated_optodas.hdf5",
        "terra15_v5_test_file.hdf5",
        "gdr_1.h5",
        "sintela_protobuf_1.pb",
    ]
    .into_iter()
    .enumerate()
    {
        let capture = captures().join(name);
        let info = must_succeed(
            std::process::Command::new(env!("CARGO_BIN_EXE_fiberd")).arg("info").arg(&capture).arg("--json"),
        );
        let (exchange, site) = (format!("frames-{number}"), format!("site-{number}"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frames_check.py");
        let mut consumer = python()
            .args([
                script,
                capture.to_str().unwrap(),
                &broker.uri().replace("amqp://", "amqp://guest:guest@"),
                &exchange,
                &site,
                &info,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(consumer.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        if ready.trim() != "ready" {
            let mut why = String::new();
            let _ = consumer.stderr.take().unwrap().read_to_string(&mut why);
            panic!("{name}: the consumer did not begin: {ready:?} {why}");
        }

        let config = dir.path().join(format!("{number}.toml"));
        let text = format!(
            "site = \"{site}\"\n[broker]\nuri = \"{}\"\nframes_exchange = \"{exchange}\"\nstatus_exchange = \"{exchange}.status\"\n{VIEWS}",
            broker.uri()
        );
        fs::write(&config, text).unwrap();
        let http = format!("127.0.0.1:{}", free_port());
        let mut replay = Process::fiberd([
            "replay",
            capture.to_str().unwrap(),
            "--speed",
            "max",
            "--config",
            config.to_str().unwrap(),
            "--http",
            &http,
        ]);
        let status = replay.ended();
        assert!(status.success(), "{name}: {status}: {:#?}", replay.lines());

        let judged = wait_for(name, || consumer.try_wait().unwrap());
        let (mut said, mut why) = (String::new(), String::new());
        lines.read_to_string(&mut said).unwrap();
        consumer.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        assert!(judged.success(), "{name}: {said}{why}\n{:#?}", replay.lines());
        println!("{name}: {}", said.trim());
    }
}
