//! The daemon as a process: its configuration, its log at the other end of a pipe that is not always read, signals, and
//! what the system says of it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fiberd::bench::observe::Memory;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::rules::{VIEWS, ViewOfRun};

/// Fills the pipe while nobody reads; left out of the log that is kept.
const FILLING: &str = "endurance: this line fills the pipe so that the next one has to wait until somebody reads";

/// What the daemon has from the system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Resident bytes, without the ring.
    pub memory: u64,
    pub files: usize,
    pub threads: usize,
}

pub struct Daemon {
    child: Mutex<Child>,
    pid: Pid,
    pub api: SocketAddr,
    /// Read what the daemon writes, or let it wait.
    reads: Arc<AtomicBool>,
    /// A second writer of the daemon's log, to fill the pipe.
    filler: PipeWriter,
    pub log: PathBuf,
}

impl Daemon {
    /// To be called from the main thread: when that ends, the daemon does.
    ///
    /// # Errors
    /// What the system did not give.
    pub fn start(program: &Path, dir: &Path, report: &Path, broker: Option<&str>) -> io::Result<Self> {
        let api = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let file = dir.join("fiberd.toml");
        fs::write(&file, config(&dir.join("ring"), api, broker))?;
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(["run", "--with-parent", "--config"]).arg(file).env_remove("NOTIFY_SOCKET");
        for (variable, _) in std::env::vars_os().filter(|(v, _)| v.to_string_lossy().starts_with("FIBERD_")) {
            command.env_remove(variable);
        }
        let filler = writer.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn()?;
        let (reads, log) = (Arc::new(AtomicBool::new(true)), report.join("daemon.log"));
        let kept = File::create(&log)?;
        let flag = Arc::clone(&reads);
        std::thread::spawn(move || read(reader, kept, &flag));
        Ok(Self { pid: Pid::from_child(&child), child: Mutex::new(child), api, reads, filler, log })
    }

    /// Nobody reads the log any longer, and the pipe is full.
    ///
    /// # Errors
    /// When the pipe cannot be opened once more.
    pub fn stall_log(&self) -> io::Result<()> {
        self.reads.store(false, Ordering::Relaxed);
        // Opened anew, because this flag would otherwise hold for the daemon as well.
        let path = format!("/proc/self/fd/{}", self.filler.as_raw_fd());
        let mut pipe = OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
        let until = Instant::now() + Duration::from_secs(2);
        // The reader may still take what it was waiting for.
        while Instant::now() < until {
            if writeln!(pipe, "{FILLING}").is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
        Ok(())
    }

    pub fn read_log(&self) {
        self.reads.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// # Errors
    /// When the system does not tell.
    pub fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}

/// # Errors
/// When it is gone.
pub fn resources(pid: u32) -> io::Result<Resources> {
    let memory = Memory::of(pid)?;
    let count = |dir: &str| fs::read_dir(format!("/proc/{pid}/{dir}")).map(Iterator::count);
    let (files, threads) = (count("fd")?, count("task")?);
    Ok(Resources { memory: memory.resident.saturating_sub(memory.shared), files, threads })
}

fn read(pipe: PipeReader, mut kept: File, reads: &AtomicBool) {
    let mut pipe = BufReader::with_capacity(512, pipe);
    let mut line = Vec::new();
    loop {
        while !reads.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        line.clear();
        match pipe.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.starts_with(FILLING.as_bytes()) => {}
            // A full disk must not become a stalled log.
            Ok(_) => drop(kept.write_all(&line)),
        }
    }
}

/// Everything at its default but what makes a run short: jobs that nobody reads end after seconds, and one client may ask
/// as often as it likes.
fn config(ring: &Path, api: SocketAddr, broker: Option<&str>) -> String {
    let mut text = format!(
        "site = \"endurance\"\nlog.level = \"info\"\nlog.format = \"text\"\nsource.path = {:?}\n\
         capture.prr_hz = \"declared\"\nsignal.dark_power = 100\nfiber.channels = 200\nhttp.listen = \"{api}\"\n\
         http.rate_configure_per_s = 1e6\nhttp.rate_configure_burst = 1000000\nhttp.rate_reads_per_s = 1e6\n\
         http.rate_reads_burst = 1000000\njobs.live_idle_s = 5\njobs.start_grace_s = 5\n",
        ring.display().to_string()
    );
    let _ = match broker {
        Some(uri) => writeln!(text, "broker.uri = {uri:?}"),
        None => writeln!(text, "broker.enabled = false"),
    };
    for ViewOfRun { kind, name, nfft, line_ms, rest } in VIEWS {
        let _ = writeln!(text, "[[view]]\nkind = \"{kind}\"\nname = \"{name}\"\nnfft = {nfft}");
        let _ = write!(text, "line_period_ms = {line_ms}\n{rest}");
    }
    text
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.read_log();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
