//! `fiberd bench service` as a user starts it: what it says must add up. How fast anything was is not looked at.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::broker::Broker;
use common::daemon::Process;
use common::{free_port, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// A password that could not be anything else when it turns up somewhere.
const PASSWORD: &str = "xyzzy-7319-plugh";
const SMALL: [&str; 8] = ["--channels", "64", "--prr", "1000", "--singles", "2", "--seconds", "2"];

/// Three seconds of warm-up, two measured, two more.
const TRACES: u64 = 7000;
/// Lines of 50 traces with windows of 256: they end at 300, 350 … 7000.
const WATERFALL_FRAMES: u64 = 135;
/// Lines of 100 traces with windows of 1024, for two channels: they end at 1100, 1200 … 7000.
const SINGLE_FRAMES: u64 = 2 * 60;

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    // What is in our environment must not change what is measured.
    command.args(["bench", "service"]).args(args).env("FIBERD__CAPTURE__BLOCK_MS", "nonsense");
    command.stdin(Stdio::null()).output().unwrap()
}

fn folder_of(pid: u32) -> PathBuf {
    Path::new("/dev/shm").join(format!("fiberd-bench-{pid}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn count(case: &Value, path: &str) -> u64 {
    case.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {case:#}"))
}

/// One small case, measured until a run loses nothing: a machine that stands still for a second may lose traces, and
/// that must add up as well.
fn small_case(args: &[&str]) -> (Value, Value) {
    for _ in 0..3 {
        let output = bench(&[&SMALL, args, &["--json"]].concat());
        assert!(output.status.success(), "{}", text(&output));
        assert!(!text(&output).contains(PASSWORD), "{}", text(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["cases"].as_array().unwrap().len(), 1, "{report:#}");
        let case = report["cases"][0].clone();
        let at = |path| count(&case, path);
        assert_eq!(at("/traces/launched"), TRACES);
        assert_eq!(at("/traces/arrived") + at("/traces/lost"), TRACES, "{case:#}");
        assert_eq!(at("/traces/lost_before_ring"), at("/producer/traces_lost"), "{case:#}");
        assert_eq!(at("/frames/expected"), WATERFALL_FRAMES + SINGLE_FRAMES);
        assert!(case["cpu"]["daemon_percent"].as_f64().unwrap() > 0.0, "{case:#}");
        assert!(case["load"]["mean"].as_f64().unwrap() > 0.0, "{case:#}");
        assert!(at("/memory/peak_rss_bytes") > at("/memory/shared_bytes"), "{case:#}");
        if at("/traces/lost") == 0 {
            assert_eq!(at("/traces/marked"), 0, "{case:#}");
            assert_eq!(at("/frames/made"), at("/frames/expected"), "{case:#}");
            return (report, case);
        }
    }
    panic!("traces were lost three times in a row");
}

#[test]
fn every_frame_is_confirmed_and_received_and_nothing_stays_behind() {
    let broker = Broker::start();
    broker.ctl(&["add_user", "sizer", PASSWORD]);
    broker.ctl(&["set_permissions", "sizer", ".*", ".*", ".*"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let (uri, file) = (broker.uri(), file.to_str().unwrap());

    let (report, case) = small_case(&["--broker", &uri, "--username", "sizer", "--password-file", file]);
    let frames = WATERFALL_FRAMES + SINGLE_FRAMES;
    assert_eq!(report["broker"], true);
    for path in ["/frames/published", "/frames/confirmed", "/frames/received"] {
        assert_eq!(count(&case, path), frames, "{path} in {case:#}");
    }
    for path in ["/frames/dropped", "/frames/refused_or_unroutable", "/frames/unconfirmed"] {
        assert_eq!(count(&case, path), 0, "{path} in {case:#}");
    }
    let bytes = WATERFALL_FRAMES * (640 + 64 * 4) + SINGLE_FRAMES * (640 + 513 * 4);
    assert_eq!(count(&case, "/frames/received_bytes"), bytes);
    assert_eq!(case["consumer_cut_off"], false);
    for key in ["confirmed_p50_below_ms", "delivered_p50_ms", "delivered_p99_ms", "delivered_max_ms"] {
        assert!(case["latency"][key].as_f64().is_some_and(|ms| ms > 0.0), "{key} in {case:#}");
    }
    let left = broker.ctl(&["list_exchanges", "name"]);
    assert!(!left.contains("fiberd.bench"), "{left}");

    // A broker that does not let us in is no broker; why is said, the password is not.
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, PASSWORD.repeat(2)).unwrap();
    let args = ["--broker", &uri, "--username", "sizer", "--password-file", wrong.to_str().unwrap()];
    let output = bench(&args);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(!text(&output).contains(PASSWORD), "{}", text(&output));
}

#[test]
fn without_a_broker_frames_are_made_and_it_says_so() {
    let (report, case) = small_case(&["--no-broker"]);
    assert_eq!(report["broker"], false);
    for path in ["/frames/published", "/frames/confirmed", "/frames/received"] {
        assert_eq!(count(&case, path), 0, "{path} in {case:#}");
    }
    assert!(case["latency"]["confirmed_p50_below_ms"].is_null());

    let output = bench(&[&SMALL[..], &["--no-broker"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("no broker asked for: frames were made and not published"), "{table}");
    assert!(table.contains("64 x 1000 Hz") && !table.contains("confirmed"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100 && line.trim_end() == line), "{table}");
}

#[test]
fn a_broker_that_was_asked_for_must_be_there_and_an_address_holds_no_password() {
    let port = free_port();
    let output = bench(&["--broker", &format!("amqp://127.0.0.1:{port}/%2f")]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains(&format!("127.0.0.1:{port}")), "{}", text(&output));
    let output = bench(&["--broker", &format!("amqp://user:{PASSWORD}@127.0.0.1:{port}/%2f")]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("password_file") && !said.contains(PASSWORD), "{said}");
    for args in [&["--prr", "1000"][..], &["--channels", "0"], &["--seconds", "0"], &["--no-broker", "--broker", "x"]] {
        assert_eq!(bench(args).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn stopped_by_a_signal_it_takes_its_parts_along() {
    let mut process =
        Process::fiberd(["bench", "service", "--channels", "64", "--no-broker", "--seconds", "3600", "--json"]);
    let folder = folder_of(process.child.id());
    wait_for("the ring", || folder.join("ring").exists().then_some(()));
    process.signal(Signal::INT);
    assert!(process.ended().success(), "{:#?}", process.lines());
    assert!(!folder.exists(), "the folder stays behind");
    let lines = || process.lines().iter().any(|line| line.contains("\"stopped\": true"));
    wait_for("a report that says so", || lines().then_some(()));
}
