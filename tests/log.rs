//! A log whose reader stands still: it costs lines, which are counted, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use common::daemon::{Daemon, Process, port_in, simulator};
use common::wait_for;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// A pipe with not one byte of room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 1024]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// The daemon on the ring in `dir`, logging every request, of which it takes as many as come; and its log, read as far as
/// the line that names its port.
fn daemon(dir: &Path) -> (Daemon, BufReader<PipeReader>) {
    let file = dir.join("fiberd.toml");
    let config = format!(
        "[source]\npath = \"{}\"\n[capture]\nprr_hz = 1000\n[fiber]\nchannels = 100\n[broker]\nenabled = false\n\
         [http]\nlisten = \"127.0.0.1:0\"\nrate_reads_per_s = 1000000\n\
         rate_reads_burst = 1000000\n[[view]]\nkind = \"waterfall\"\nname = \"whole\"\n",
        dir.join("ring").display()
    );
    fs::write(&file, config).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    command.args(["run", "--config"]).arg(file).env("FIBERD_LOG", "debug");
    let process = Process::spawn_onto(&mut command, Stdio::from(writer));
    // With it goes our own end of the pipe: the log of a daemon that fails to start ends.
    drop(command);
    let mut log = BufReader::new(reader);
    let listens = log.by_ref().lines().map(Result::unwrap).find(|line| line.contains("the control API listens"));
    (Daemon { process, port: port_in(&listens.unwrap()) }, log)
}

/// Nobody reads any more: asks until the pipe and the queue before it are full.
fn fill(daemon: &Daemon) {
    wait_for("lines of the log are lost", || {
        ask_often(daemon.port, 1000);
        (daemon.count("fiberd_log_lines_lost_total") > 0).then_some(())
    });
}

/// So many requests, each of which is a line of the log, on one connection.
fn ask_often(port: u16, requests: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reading = thread::spawn(move || answers.read_to_end(&mut Vec::new()));
    for last in (0..requests).rev() {
        let connection = if last == 0 { "close" } else { "keep-alive" };
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n").unwrap();
    }
    reading.join().unwrap().unwrap();
}

#[test]
fn a_reader_of_the_log_that_stands_still_stops_nothing_and_learns_what_it_missed() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(dir.path(), 100);
    let (mut daemon, log) = daemon(dir.path());
    daemon.wait_state("acquiring");
    fill(&daemon);
    // Neither capture nor the pipeline stands in a line of its own.
    for (name, more) in [("fiberd_traces_total", 1000), ("fiberd_blocks_processed_total", 100)] {
        let before = daemon.count(name);
        wait_for(name, || (daemon.count(name) > before + more).then_some(()));
    }

    // The reader comes back.
    let lost = daemon.count("fiberd_log_lines_lost_total");
    let told = log.lines().map(Result::unwrap).find(|line| line.contains("log lines were lost")).unwrap();
    let lines =
        told.split_once("lines=").map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    assert!(lines.unwrap().parse::<u64>().unwrap() >= lost, "{told}");
    assert!(daemon.process.stop().success(), "nobody reads any more, and that is no fault");
}

#[test]
fn a_stop_is_not_held_up_by_a_log_that_nobody_reads() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let (mut running, _log) = daemon(dir.path());
    fill(&running);
    assert!(running.process.stop().success());
    // Nor is a start that fails.
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    let mut wrong = Process::spawn_onto(command.args(["run", "--config", "/nowhere.toml"]), Stdio::from(writer));
    assert_eq!(wrong.ended().code(), Some(66));
}

#[test]
fn a_recording_is_not_held_up_by_its_progress_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let scene = dir.path().join("scene.toml");
    fs::write(&scene, "[fiber]\nchannels = 60\n[interrogator]\nprr_hz = 1000.0\n").unwrap();
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    command.args(["record", "--traces", "2000", "--scene"]).arg(scene).arg(dir.path().join("out.fdas"));
    let mut recording = Process::spawn_onto(&mut command, Stdio::from(writer));
    assert!(recording.ended().success());
    wait_for("its account", || (recording.lines_with("2000 traces") > 0).then_some(()));
}
