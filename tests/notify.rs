//! What a service manager sees: datagrams of a running daemon, and the unit that starts it. No systemd is started.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::daemon::Process;
use fiberd::acquisition::{Acquisition, DarkReason, Phase};
use fiberd::health::{self, Health};
use fiberd::notify::{self, Manager};
use fiberd::status::{BrokerState, Stage, Status};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Long enough that a busy machine does not look like a stuck stage.
const WATCHDOG: Duration = Duration::from_secs(4);

/// The manager's end of the socket.
struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: TempDir,
}

impl Listener {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, path, _dir: dir }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the daemon says something within a minute");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Everything that has come and was not looked at.
    fn so_far(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let seen = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        });
        let seen = seen.collect();
        self.socket.set_nonblocking(false).unwrap();
        seen
    }

    /// Everything up to and with the first message that `wanted` likes.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next());
            if wanted(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }
}

/// Three stages that turn until they are told to stand still.
struct Stages {
    still: Arc<[AtomicBool; 3]>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stages {
    fn of(status: &Arc<Status>) -> Self {
        let (still, ended) = (Arc::<[AtomicBool; 3]>::default(), Arc::<AtomicBool>::default());
        let (status, are_still, has_ended) = (Arc::clone(status), Arc::clone(&still), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                for (stage, still) in Stage::ALL.into_iter().zip(are_still.iter()) {
                    if !still.load(Ordering::Relaxed) {
                        status.counters.ticks(stage).add(1);
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { still, ended, thread: Some(thread) }
    }

    fn hold(&self, stage: Stage, still: bool) {
        self.still[stage as usize].store(still, Ordering::Relaxed);
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A daemon's status with its notifier on a runtime of its own.
struct Daemon {
    status: Arc<Status>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Daemon {
    fn start(manager: Manager) -> Self {
        let status = Status::new("test", None);
        let (stop, stopped) = oneshot::channel();
        let told = Arc::clone(&status);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let judging = Health::new(Arc::clone(&told), health::Limits { prr_tolerance_ppm: 100.0, max_load: 0.8 });
            runtime.block_on(async {
                tokio::select! {
                    () = notify::run(told, manager, Stage::ALL.to_vec(), async { drop(stopped.await) }) => {}
                    () = health::run(judging, std::future::pending()) => {}
                }
            });
        });
        Self { status, stop, thread }
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

fn is_watchdog(message: &str) -> bool {
    message == "WATCHDOG=1"
}

#[test]
fn a_day_under_a_service_manager() {
    let listener = Listener::new();
    let daemon = Daemon::start(Manager::new(Some(listener.path.as_os_str()), Some(WATCHDOG)));
    let stages = Stages::of(&daemon.status);
    assert!(listener.next().starts_with("READY=1\nSTATUS=waiting for fiber: looking for the interrogator"));
    listener.until(is_watchdog);

    // Neither a dark fiber nor an absent broker is standing still.
    daemon.status.set_broker(BrokerState::Away);
    daemon.status.set_phase(Phase::WaitingForFiber(DarkReason::NoTraces));
    listener.until(|m| m == "STATUS=waiting for fiber: no new traces (since 0 s); the broker is away");
    for _ in 0..12 {
        listener.until(is_watchdog);
    }
    assert!(daemon.status.stuck().is_empty());

    daemon.status.set_phase(Phase::Acquiring(Arc::new(Acquisition::example())));
    listener.until(|m| m.starts_with("STATUS=acquiring: 2337 channels at 2000 Hz"));

    // One stage is enough to end the feeding, and its turning to begin it again.
    for stage in Stage::ALL {
        stages.hold(stage, true);
        let words = format!("{} stands still", stage.name());
        listener.until(|m| m.contains(&words));
        assert_eq!(daemon.status.stuck(), [stage]);
        thread::sleep(WATCHDOG / 2);
        let meanwhile = listener.so_far();
        assert!(!meanwhile.iter().any(|m| is_watchdog(m)), "{} stood still: {meanwhile:?}", stage.name());
        stages.hold(stage, false);
        listener.until(|m| m.starts_with("STATUS=") && !m.contains("stands still"));
        listener.until(is_watchdog);
        assert!(daemon.status.stuck().is_empty());
    }

    // Draining ends the stages one by one: no reason to kill.
    daemon.status.set_phase(Phase::Draining);
    listener.until(|m| m == "STOPPING=1");
    stages.hold(Stage::Capture, true);
    listener.until(|m| m.starts_with("STATUS=draining"));
    for _ in 0..12 {
        let drained = listener.until(is_watchdog);
        assert!(!drained.iter().any(|m| m.contains("STILL")), "{drained:?}");
    }
    daemon.stop();
    listener.until(|m| m.contains("STATUS=stopped"));
}

#[test]
fn a_name_in_the_abstract_namespace_is_reached() {
    let name = format!("fiberd-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let address = OsString::from(format!("@{name}"));
    let daemon = Daemon::start(Manager::new(Some(&address), None));
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"READY=1\n"));
    daemon.stop();
}

#[test]
fn a_manager_that_is_not_there_harms_nobody() {
    let gone = tempfile::tempdir().unwrap().path().join("gone");
    for manager in [Manager::default(), Manager::new(Some(gone.as_os_str()), Some(WATCHDOG))] {
        Daemon::start(manager).stop();
    }
}

/// The real binary in its worst hour: no interrogator, no broker. It is ready all the same, says so, and is not killed.
#[test]
fn the_daemon_itself_is_ready_and_alive_without_fiber_and_broker() {
    let listener = Listener::new();
    let (http, broker) = (common::free_port(), common::free_port());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fiberd.toml");
    let ring = dir.path().join("ring");
    let text = format!(
        "site = \"test\"\n[source]\nkind = \"ring\"\npath = \"{}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [broker]\nuri = \"amqp://127.0.0.1:{broker}/%2f\"\n",
        ring.display()
    );
    fs::write(&config, text).unwrap();
    let mut daemon = Process::spawn(
        Command::new(env!("CARGO_BIN_EXE_fiberd"))
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &listener.path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()),
    );
    assert!(listener.next().starts_with("READY=1\nSTATUS=waiting for fiber: "));
    assert_eq!(common::http::get(([127, 0, 0, 1], http).into(), "/healthz").status, 200, "READY means that HTTP is up");
    listener.until(|m| m.contains("the broker is away"));
    for _ in 0..20 {
        let alive = listener.until(is_watchdog);
        assert!(!alive.iter().any(|m| m.contains("stands still")), "{alive:?}");
    }
    let exit = daemon.stop();
    assert!(exit.success(), "{exit}: {:#?}", daemon.lines());
    listener.until(|m| m.starts_with("STOPPING=1"));
}

/// A configuration that cannot be has its own exit code, which the unit does not restart on.
#[test]
fn a_wrong_configuration_ends_with_78_before_ready() {
    let listener = Listener::new();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fiberd.toml");
    fs::write(&config, "nonsense = 1\n").unwrap();
    let mut daemon = Process::spawn(
        Command::new(env!("CARGO_BIN_EXE_fiberd"))
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &listener.path),
    );
    assert_eq!(daemon.ended().code(), Some(78), "{:#?}", daemon.lines());
    listener.socket.set_nonblocking(true).unwrap();
    assert!(listener.socket.recv(&mut [0; 64]).is_err(), "nothing was said, READY least of all");
}

/// The unit in a folder of its own, as a manager would load it, with the binary that was just built.
fn installed(with_realtime: bool) -> (TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let dir = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(from.join("fiberd.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/fiberd "));
    let path = dir.path().join("fiberd.service");
    fs::write(&path, unit.replace("/usr/bin/fiberd", env!("CARGO_BIN_EXE_fiberd"))).unwrap();
    if with_realtime {
        let drop_in = dir.path().join("fiberd.service.d");
        fs::create_dir(&drop_in).unwrap();
        fs::copy(from.join("fiberd.service.d/realtime.conf"), drop_in.join("realtime.conf")).unwrap();
    }
    (dir, path)
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .unwrap_or_else(|e| panic!("systemd-analyze: {e}; it is in Debian's package systemd"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    for with_realtime in [false, true] {
        let (_dir, unit) = installed(with_realtime);
        let (fine, text) = analyze(&["verify"], &unit);
        assert!(fine && !text.contains("fiberd"), "{text}");
    }
    let (_dir, unit) = installed(false);
    fs::write(&unit, fs::read_to_string(&unit).unwrap() + "\nWatchdogSecs=5\n").unwrap();
    assert!(analyze(&["verify"], &unit).1.contains("WatchdogSecs"), "verify sees a mistyped key");
}

#[test]
fn exposure_stays_below_two() {
    let judge = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    for with_realtime in [false, true] {
        let (_dir, unit) = installed(with_realtime);
        let (fine, text) = analyze(&judge, &unit);
        assert!(fine, "{text}");
    }
    let (_dir, unit) = installed(false);
    let bare: String = fs::read_to_string(&unit)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with('[') || line.starts_with("Exec"))
        .flat_map(|line| [line, "\n"])
        .collect();
    fs::write(&unit, bare).unwrap();
    assert!(!analyze(&judge, &unit).0, "without its hardening the unit is above the threshold");
}

#[test]
fn user_and_places_fit_together() {
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let read = |name: &str| fs::read_to_string(systemd.join(name)).unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let output = Command::new("systemd-sysusers")
        .arg(format!("--root={}", root.path().display()))
        .arg(systemd.join("sysusers.d/fiberd.conf"))
        .output()
        .unwrap_or_else(|e| panic!("systemd-sysusers: {e}; it is in Debian's package systemd"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(users.contains("\nfiberd:x:") || users.starts_with("fiberd:x:"), "{users}");
    assert!(users.contains(":/var/lib/fiberd:"), "{users}");
    assert!(read("fiberd.service").contains("\nUser=fiberd\n"));
    assert!(read("tmpfiles.d/fiberd.conf").contains(" root fiberd "));
}

#[test]
fn the_unit_does_not_try_a_wrong_configuration_again() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/fiberd.service")).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let prevented: Vec<_> = value("RestartPreventExitStatus").unwrap().split(' ').collect();
    assert!(["64", "78"].iter().all(|code| prevented.contains(code)));
    // A failing ExecStartPre is restarted whatever it exits with.
    assert_eq!(value("ExecStartPre"), None);
}
