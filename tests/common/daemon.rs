//! The real binary as a process of its own, and what can be asked of it from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fiberd::bench::observe::Metrics;
use rustix::process::{Pid, Signal, kill_process};

use super::books::{Moving, unequal};
use super::wait_for;

/// An interrogator that writes a quiet fiber of so many channels at 1000 Hz to `dir/ring`: small, so that a debug build
/// keeps up on a busy machine.
pub fn simulator(dir: &Path, channels: usize) -> Process {
    let (scene, ring) = (dir.join("scene.toml"), dir.join("ring"));
    let text = format!("seed = 7\n[fiber]\nchannels = {channels}\n[interrogator]\nprr_hz = 1000.0\n");
    fs::write(&scene, text).unwrap();
    Process::fiberd(["simulate", "--scene", scene.to_str().unwrap(), "--ring", ring.to_str().unwrap()])
}

/// How a configuration begins whose daemon reads the ring of [`simulator`]. Its test is about something else than lost
/// light: a machine that stands for seconds does not make it dark.
pub fn acquisition(dir: &Path, channels: usize) -> String {
    format!(
        "[source]\nkind = \"ring\"\npath = \"{}\"\nheartbeat_timeout_ms = 60000\n[signal]\nno_trace_ms = 60000\n\
         [capture]\nprr_hz = 1000\n[fiber]\nchannels = {channels}\n",
        dir.join("ring").display()
    )
}

/// A child process whose lines are kept, and which is killed when it is dropped.
pub struct Process {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// One for stdout and one for stderr, each until the end of its pipe.
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_onto(command, Stdio::piped())
    }

    /// The same with a stderr of the caller's, whose lines are not kept.
    pub fn spawn_onto(command: &mut Command, stderr: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>);
        let read = |stream| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            })
        };
        let readers = stdout.into_iter().chain(stderr).map(read).collect();
        Self { child, lines, readers }
    }

    /// `fiberd ARGS`.
    pub fn fiberd<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_fiberd")).args(args).env("FIBERD_LOG", "info"))
    }

    /// All that it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn lines_with(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for `count` lines with `text`, which come through a queue, and holds that there are no more.
    pub fn says(&self, text: &str, count: usize) {
        wait_for(&format!("{count} × {text}"), || (self.lines_with(text) >= count).then_some(()));
        assert_eq!(self.lines_with(text), count, "{text}");
    }

    /// Waits for a line with `text`; an end before that is shown with all that was said.
    pub fn must_say(&mut self, text: &str) {
        wait_for(text, || {
            let ended = self.try_ended();
            let said = self.lines_with(text) > 0;
            if let (false, Some(status)) = (said, ended) {
                panic!("ended ({status}) before it said {text:?}: {:#?}", self.lines());
            }
            said.then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, once all that it said has been read: its last lines may be in a pipe when it is gone.
    fn try_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        self.readers.iter().all(JoinHandle::is_finished).then_some(status)
    }

    /// Waits for its own end and for the end of what it said.
    pub fn ended(&mut self) -> ExitStatus {
        let lines = Arc::clone(&self.lines);
        wait_for(&format!("the end of a process that said {:#?}", lines.lock().unwrap()), || self.try_ended())
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open file descriptors, mappings, threads.
    pub fn handles(&self) -> (usize, usize, usize) {
        let proc = format!("/proc/{}", self.child.id());
        let count = |dir: &str| fs::read_dir(format!("{proc}/{dir}")).unwrap().count();
        let maps = fs::read_to_string(format!("{proc}/maps")).unwrap().lines().count();
        (count("fd"), maps, count("task"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Daemons that were started by this process.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// The port of the loopback address in a line of the log.
pub fn port_in(line: &str) -> u16 {
    let (_, behind) = line.split_once("127.0.0.1:").unwrap();
    behind.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// `fiberd run` with a configuration.
pub struct Daemon {
    pub process: Process,
    pub port: u16,
}

impl Daemon {
    /// Starts the daemon in `dir` with `config`, whose `[http]` section is added here, and waits until it answers.
    pub fn start(dir: &Path, config: &str) -> Self {
        Self::start_with(dir, config, "", "info")
    }

    /// The same with more lines in its `[http]` section, which may name certificates, and a level of the log
    /// that is at least `info`.
    pub fn start_with(dir: &Path, config: &str, http: &str, log: &str) -> Self {
        let file = dir.join(format!("fiberd-{}.toml", STARTED.fetch_add(1, Ordering::Relaxed)));
        // The system chooses the port: one that is looked for here may be another's by the time the daemon is there.
        fs::write(&file, format!("{config}\n[http]\nlisten = \"127.0.0.1:0\"\n{http}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
        let mut process = Process::spawn(command.args(["run", "--config"]).arg(file).env("FIBERD_LOG", log));
        let port = wait_for("the daemon listens", || {
            if let Some(status) = process.try_ended() {
                panic!("the daemon ended with {status}: {:#?}", process.lines());
            }
            process.lines().iter().find(|line| line.contains("the control API listens")).map(|line| port_in(line))
        });
        if !http.contains("tls_key") {
            wait_for("the daemon answers", || get(port, "/healthz").ok().map(drop));
        }
        Self { process, port }
    }

    /// Status code and body of `GET path`.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path).unwrap_or_else(|e| panic!("GET {path}: {e}: {:#?}", self.process.lines()))
    }

    pub fn json(&self, path: &str) -> serde_json::Value {
        let (_, body) = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("GET {path}: {e}: {body}"))
    }

    /// Waits until `/live_metadata` says `state`.
    pub fn wait_state(&self, state: &str) {
        wait_for(&format!("state {state}: {}", self.json("/live_metadata")), || {
            (self.json("/live_metadata")["state"] == state).then_some(())
        });
    }

    /// Waits until the books of frames and of frames of jobs balance: frames may be on their way from one place to the next.
    pub fn wait_balanced(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let frames_only = Moving { traces: f64::INFINITY, ..Moving::NOTHING };
        wait_for("balanced books", || {
            let wrong = unequal(&Metrics::parse(&self.get("/metrics").1), frames_only);
            assert!(wrong.is_empty() || Instant::now() < deadline, "{wrong:?}");
            wrong.is_empty().then_some(())
        });
    }

    /// The value of a counter, or of a gauge that counts.
    pub fn count(&self, name: &str) -> u64 {
        self.metric(name) as u64
    }

    /// The value of a metric line that begins with `name`.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        line.and_then(|l| l.rsplit(' ').next())
            .and_then(|v| v.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }
}

/// A plain HTTP request, without a client library between us and the bytes.
pub fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let bad = || std::io::Error::other(format!("not an HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).ok_or_else(bad)?;
    Ok((code, body.to_owned()))
}
