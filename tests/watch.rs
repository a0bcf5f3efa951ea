//! `fiberd watch` beside a real daemon on a simulated ring: what it shows, how it goes on after a restart, what it leaves
//! behind, and what it says when it may not look.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::daemon::{Daemon, Process, acquisition, get, simulator};
use common::{free_port, wait_for};

/// A daemon that reads `dir/ring` and listens on `port`, which the one after it takes over.
fn daemon(dir: &Path, port: u16) -> Process {
    let file = dir.join("fiberd.toml");
    let config = format!(
        "site = \"test\"\n{}[broker]\nenabled = false\n[[view]]\nkind = \"waterfall\"\nname = \"whole\"\n[http]\n\
         listen = \"127.0.0.1:{port}\"\n",
        acquisition(dir, 100)
    );
    fs::write(&file, config).unwrap();
    let mut process = Process::fiberd(["run", "--config", file.to_str().unwrap()]);
    process.must_say("the control API listens");
    process
}

fn watch(args: &[&str]) -> Process {
    Process::fiberd([&["watch", "--plain"], args].concat())
}

fn rows(watch: &Process) -> usize {
    watch.lines().iter().filter(|line| line.starts_with('|')).count()
}

fn jobs(port: u16) -> usize {
    let (_, body) = get(port, "/jobs").unwrap();
    serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap().len()
}

#[test]
fn it_shows_a_daemon_through_its_restart_and_leaves_no_job_behind() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(dir.path(), 100);
    let port = free_port();
    let mut first = daemon(dir.path(), port);
    let mut watch = watch(&[&format!("http://127.0.0.1:{port}")]);
    wait_for("three rows", || (rows(&watch) >= 3).then_some(()));
    assert_eq!(jobs(port), 2, "a waterfall and a spectrogram");
    watch.must_say("acquiring — 100 channels at 1000 Hz, synthetic: no fiber at all");
    let lines = watch.lines();
    let first_row = lines.iter().position(|line| line.starts_with('|')).unwrap();
    assert!(lines[first_row - 2].contains(" m") && lines[first_row - 1].contains('┴'), "{lines:#?}");

    assert!(first.stop().success());
    watch.must_say("does not answer");
    let shown = rows(&watch);
    let _second = daemon(dir.path(), port);
    watch.must_say("the daemon answers again");
    wait_for("rows of the second daemon", || (rows(&watch) >= shown + 3).then_some(()));

    assert!(watch.stop().success());
    assert_eq!(jobs(port), 0);
}

#[test]
fn who_cannot_look_is_told_why() {
    let free = free_port().to_string();
    let mut nobody = watch(&[&format!("127.0.0.1:{free}")]);
    assert_eq!(nobody.ended().code(), Some(69));
    assert_eq!(nobody.lines_with(&format!("http://127.0.0.1:{free} does not answer")), 1, "{:?}", nobody.lines());

    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = file("certificate.pem", &own.cert.pem());
    let key = file("key.pem", &own.signing_key.serialize_pem());
    let tokens = file("tokens", "read display looks-looks-looks-looks\n");
    let http = format!("tls_certificate = {certificate:?}\ntls_key = {key:?}\ntokens_file = {tokens:?}\n");
    let ring = dir.path().join("ring");
    let config = format!("[source]\npath = {ring:?}\n[capture]\nprr_hz = 1000\n[broker]\nenabled = false\n");
    let daemon = Daemon::start_with(dir.path(), &config, &http, "info");
    let url = format!("https://localhost:{}", daemon.port);

    let mut stranger = watch(&[&url]);
    assert_eq!(stranger.ended().code(), Some(69));
    assert_eq!(stranger.lines_with("certificate"), 1, "{:?}", stranger.lines());

    let mut without = watch(&[&url, "--ca", &certificate]);
    assert_eq!(without.ended().code(), Some(69));
    assert_eq!(without.lines_with("put it into the environment variable FIBERD_TOKEN"), 1, "{:?}", without.lines());

    let token = file("token", "looks-looks-looks-looks\n");
    let mut reader = watch(&[&url, "--ca", &certificate, "--token-file", &token]);
    reader.must_say("waiting for fiber — ");
    let _simulator = simulator(dir.path(), 100);
    reader.must_say("for this its role must be `control`");
    assert!(reader.stop().success());
    assert!(reader.lines().iter().all(|line| !line.contains("looks-looks")), "{:?}", reader.lines());
}
