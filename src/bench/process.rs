//! A part of the service as a child of the benchmark, and a folder of its own for what they share.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::BenchError;

/// How long a part may take to end in order: the daemon's own grace, and a little.
const GRACE: Duration = Duration::from_secs(10);
/// Lines of a part's log that are kept for when it fails.
const LOG_LINES: usize = 20;

/// `fiberd …` as a child. It ends when this is dropped, and when the benchmark dies.
pub(super) struct Part {
    name: &'static str,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: Option<(JoinHandle<()>, JoinHandle<String>)>,
}

impl Part {
    /// Starts this program with `args`. What is set in our own environment to change a configuration is not handed on:
    /// the case decides.
    pub(super) fn start<'a>(name: &'static str, args: impl IntoIterator<Item = &'a str>) -> Result<Self, BenchError> {
        let failed = |error| BenchError::Io { what: format!("starting {name}"), error };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(args).arg("--with-parent").env_remove("NOTIFY_SOCKET");
        for (variable, _) in std::env::vars_os().filter(|(v, _)| v.to_string_lossy().starts_with("FIBERD_")) {
            command.env_remove(variable);
        }
        // Its own group: Ctrl-C is for the benchmark, which then ends its parts in order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let readers = child.stderr.take().zip(child.stdout.take()).map(|(stderr, stdout)| {
            let log = Arc::clone(&log);
            let reading_log = thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_back(line);
                    if log.len() > LOG_LINES {
                        log.pop_front();
                    }
                }
            });
            let mut stdout = stdout;
            let reading_words = thread::spawn(move || {
                let mut words = String::new();
                // What cannot be read is missed by whoever needs it.
                let _ = stdout.read_to_string(&mut words);
                words
            });
            (reading_log, reading_words)
        });
        Ok(Self { name, child, log, readers })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When it has ended, which no part may do by itself.
    pub(super) fn must_live(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("ended by itself ({status})"))),
            Err(error) => Err(BenchError::Io { what: format!("looking after {}", self.name), error }),
        }
    }

    /// A fault of this part, with its last words.
    pub(super) fn failed(&mut self, what: &str) -> BenchError {
        if let Ok(Some(_)) = self.child.try_wait() {
            self.read_out();
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("{} {what}", self.name);
        if !log.is_empty() {
            text += "; it said:";
        }
        for line in log.iter() {
            text += "\n  ";
            text += line;
        }
        BenchError::Failed(text)
    }

    /// Ends it in order and returns what it said on stdout.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub(super) fn stop(mut self) -> Result<String, BenchError> {
        self.must_live()?;
        self.end();
        let status =
            self.child.wait().map_err(|error| BenchError::Io { what: format!("ending {}", self.name), error })?;
        if !status.success() {
            return Err(self.failed(&format!("did not end well ({status})")));
        }
        Ok(self.read_out())
    }

    fn read_out(&mut self) -> String {
        let Some((log, words)) = self.readers.take() else { return String::new() };
        let _ = log.join();
        words.join().unwrap_or_default()
    }

    fn end(&mut self) {
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + GRACE;
        while asked.is_ok() && Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        // Does nothing to a child that has been waited for.
        let _ = self.child.kill();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end();
            let _ = self.child.wait();
        }
    }
}

/// A folder that nobody else may look into, in memory where the system has a place for it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> io::Result<Self> {
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let path = root.join(format!("fiberd-bench-{}", std::process::id()));
        // Of a benchmark that was killed and whose number has come round: its ring would take up memory for ever.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only we may read.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.at(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
