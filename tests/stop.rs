//! Every way to stop, in every state of source and broker: in time, with the right code, and with an account of every
//! frame in the last line of the log.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::broker::Broker;
use common::daemon::{Daemon, Process, simulator};
use common::{free_port, must_succeed, wait_for};
use rustix::process::Signal;

const CHANNELS: usize = 60;

/// Much longer than the grace; a machine may be busy.
const IN_TIME: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Ring,
    PacedReplay,
    UnpacedReplay,
    Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokerIs {
    Up,
    Blocked,
    Frozen,
    Away,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Terminate,
    Interrupt,
    EndOfSource,
    TimeOver,
}

impl Way {
    const fn reason(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::EndOfSource => "the source has ended",
            Self::TimeOver => "the time is over",
        }
    }
}

struct Rig {
    dir: tempfile::TempDir,
    broker: Broker,
    _simulator: Process,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let simulator = simulator(dir.path(), CHANNELS);
        // The long one does not fit into what the daemon keeps of history: its source cannot be over before frames move.
        for (name, traces) in [("capture.fdas", "6000"), ("long.fdas", "20000")] {
            let record = Command::new(env!("CARGO_BIN_EXE_fiberd"))
                .args(["record", "--traces", traces, "--scene"])
                .arg(dir.path().join("scene.toml"))
                .arg(dir.path().join(name))
                .output()
                .unwrap();
            assert!(record.status.success(), "{record:?}");
        }
        Self { broker: Broker::start(), _simulator: simulator, dir }
    }

    fn source(&self, source: Source, way: Way) -> String {
        let replay = |speed: &str| {
            let capture = self.dir.path().join(if speed == "2" { "capture.fdas" } else { "long.fdas" });
            let looping = way != Way::EndOfSource;
            format!("kind = \"replay\"\nfiles = [\"{}\"]\nspeed = {speed}\nloop = {looping}\n", capture.display())
        };
        match source {
            Source::Ring => format!("path = \"{}\"\n", self.dir.path().join("ring").display()),
            Source::Waiting => "path = \"/nowhere/fiberd.ring\"\n".into(),
            Source::PacedReplay => replay("2"),
            Source::UnpacedReplay => replay("\"max\""),
        }
    }

    fn start(&self, number: usize, source: Source, broker: BrokerIs, way: Way) -> Cell {
        let file = self.dir.path().join(format!("{number}.toml"));
        let from = self.source(source, way);
        let rate = if matches!(source, Source::Ring | Source::Waiting) { "prr_hz = 1000\n" } else { "" };
        let to = match broker {
            BrokerIs::None => "enabled = false\n".to_owned(),
            BrokerIs::Away => format!("uri = \"amqp://127.0.0.1:{}/%2f\"\n", free_port()),
            _ => format!("uri = \"{}\"\n", self.broker.uri()),
        };
        let text = format!(
            "site = \"s{number}\"\n[source]\n{from}[capture]\n{rate}[broker]\n{to}[processing]\nthreads = 1\negress_frames = 16\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[fiber]\nchannels = {CHANNELS}\n\
             [[view]]\nkind = \"waterfall\"\nname = \"whole\"\nnfft = 128\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
        command.args(["run", "--config"]).arg(&file).env("FIBERD_LOG", "info");
        if way == Way::TimeOver {
            command.args(["--for", "4"]);
        }
        // Nobody asks it anything: its log says all.
        let daemon = Daemon { process: Process::spawn(&mut command), port: 0 };
        Cell { daemon, source, broker, way }
    }

    /// All cells of one state of the broker, at the same time.
    fn run(&self, broker: BrokerIs, first_number: usize) {
        let mut cells = Vec::new();
        for source in [Source::Ring, Source::PacedReplay, Source::UnpacedReplay, Source::Waiting] {
            for way in [Way::Terminate, Way::Interrupt, Way::EndOfSource, Way::TimeOver] {
                let endless = matches!(source, Source::Ring | Source::Waiting);
                if !(endless && way == Way::EndOfSource) {
                    cells.push(self.start(first_number + cells.len(), source, broker, way));
                }
            }
        }
        cells.iter_mut().for_each(Cell::wait_until_it_works);
        if broker == BrokerIs::Frozen {
            self.broker.freeze();
        }
        for cell in &cells {
            match cell.way {
                Way::Terminate => cell.daemon.process.signal(Signal::TERM),
                Way::Interrupt => cell.daemon.process.signal(Signal::INT),
                Way::EndOfSource | Way::TimeOver => {}
            }
        }
        let asked = Instant::now();
        // A source that can wait for a blocked broker does so, and is over when it is through.
        let waits = |cell: &Cell| broker == BrokerIs::Blocked && cell.loses_nothing();
        for cell in cells.iter_mut().filter(|cell| !waits(cell)) {
            cell.check(asked);
        }
        for cell in cells.iter_mut().filter(|cell| waits(cell)) {
            assert!(cell.daemon.process.child.try_wait().unwrap().is_none(), "{}", cell.name());
            self.broker.memory_alarm(false);
            cell.check(Instant::now());
        }
    }
}

struct Cell {
    daemon: Daemon,
    source: Source,
    broker: BrokerIs,
    way: Way,
}

impl Cell {
    fn name(&self) -> String {
        format!("{:?}, broker {:?}, {:?}: {:#?}", self.source, self.broker, self.way, self.daemon.process.lines())
    }

    fn loses_nothing(&self) -> bool {
        self.source == Source::UnpacedReplay && self.way == Way::EndOfSource
    }

    /// Until it is in the state that it is to be stopped in. Those that end by themselves may be over by then.
    fn wait_until_it_works(&mut self) {
        if matches!(self.way, Way::EndOfSource | Way::TimeOver) {
            return;
        }
        let process = &mut self.daemon.process;
        process.must_say("the control API listens");
        if self.source != Source::Waiting {
            process.must_say("acquiring");
        }
        match self.broker {
            BrokerIs::Up | BrokerIs::Frozen => process.must_say(": connected"),
            BrokerIs::Blocked => process.must_say("accepts nothing"),
            BrokerIs::Away => process.must_say(": away"),
            BrokerIs::None => {}
        }
    }

    fn check(&mut self, asked: Instant) {
        let status = self.daemon.process.ended();
        let took = asked.elapsed();
        assert_eq!(status.code(), Some(0), "{}", self.name());
        // What ends by itself began to at its own time.
        let own =
            if matches!(self.way, Way::EndOfSource | Way::TimeOver) { Duration::from_secs(20) } else { Duration::ZERO };
        assert!(took < IN_TIME + own, "{took:?}: {}", self.name());
        let last = wait_for("the last line of the log", || {
            self.daemon.process.lines().into_iter().find(|line| line.contains("fiberd has stopped"))
        });
        assert!(last.contains(&format!("reason=\"{}\"", self.way.reason())), "{}", self.name());
        assert!(
            !self.daemon.process.lines().iter().any(|line| line.contains("ERROR") || line.contains("panicked")),
            "{}",
            self.name()
        );
        let count = |key: &str| -> u64 {
            let rest = last.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key} in {last}")).1;
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        if self.broker != BrokerIs::None {
            let gone = ["confirmed", "unroutable", "refused", "unconfirmed", "dropped"];
            let gone: u64 = gone.iter().map(|way| count(&format!("frames_{way}"))).sum();
            assert_eq!(count("frames_made"), gone, "{}", self.name());
        }
        if self.loses_nothing() && matches!(self.broker, BrokerIs::Up | BrokerIs::Blocked) {
            assert_eq!(count("frames_dropped") + count("frames_unconfirmed"), 0, "a replay loses nothing: {last}");
        }
    }
}

#[test]
fn whatever_runs_and_however_it_is_stopped_it_ends_in_time_and_in_order() {
    let rig = Rig::new();
    rig.run(BrokerIs::None, 100);
    rig.run(BrokerIs::Away, 200);
    rig.run(BrokerIs::Up, 300);
    rig.run(BrokerIs::Frozen, 400);
    rig.broker.thaw();
    rig.broker.memory_alarm(true);
    rig.run(BrokerIs::Blocked, 500);
    rig.broker.memory_alarm(false);
}

fn capture(dir: &Path, name: &str) -> PathBuf {
    let (scene, file) = (dir.join("scene.toml"), dir.join(name));
    fs::write(&scene, format!("seed = 7\n[fiber]\nchannels = {CHANNELS}\n[interrogator]\nprr_hz = 1000.0\n")).unwrap();
    let fiberd = env!("CARGO_BIN_EXE_fiberd");
    must_succeed(Command::new(fiberd).args(["record", "--traces", "3000", "--scene"]).arg(scene).arg(&file));
    file
}

fn replay(files: &[&Path], more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    command.arg("replay").args(files).args(["--no-broker", "--plain", "--http", "127.0.0.1:0"]).args(more);
    Process::spawn(command.env("FIBERD_LOG", "info"))
}

#[test]
fn a_stage_that_fails_stops_the_others_in_order_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = capture(dir.path(), "first.fdas");
    let second = dir.path().join("second.fdas");
    fs::copy(&first, &second).unwrap();
    // It reads ahead, so that it has opened the second already; but it comes to it again.
    let mut replay = replay(&[&first, &second], &["--loop"]);
    wait_for("it plays", || (replay.lines_with("acquiring") > 0).then_some(()));
    fs::remove_file(&second).unwrap();
    assert_eq!(replay.ended().code(), Some(66), "{:#?}", replay.lines());
    wait_for("the part is named", || (replay.lines_with("part=\"das-capture\"") > 0).then_some(()));
    wait_for("the end is said", || (replay.lines_with("fiberd has stopped") > 0).then_some(()));
}

#[test]
fn a_terminal_that_goes_away_ends_a_replay_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(dir.path(), "capture.fdas");
    let mut replay = replay(&[&file], &["--loop"]);
    wait_for("it plays", || (replay.lines_with("acquiring") > 0).then_some(()));
    replay.signal(Signal::HUP);
    assert_eq!(replay.ended().code(), Some(0), "{:#?}", replay.lines());
    wait_for("the reason is said", || (replay.lines_with("reason=\"SIGHUP\"") > 0).then_some(()));
}
