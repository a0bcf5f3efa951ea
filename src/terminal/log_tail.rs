//! Where log lines go while the screen is taken: the last ones are kept and shown below the waterfall. When the screen
//! is given back, they and all later ones go to stderr as usual.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are kept.
const KEPT: usize = 50;

#[derive(Debug, Default)]
struct Tail {
    held: bool,
    lines: VecDeque<String>,
    unfinished: Vec<u8>,
}

/// A writer for log lines; clones share the same lines.
#[derive(Clone, Debug, Default)]
pub struct LogTail {
    tail: Arc<Mutex<Tail>>,
}

impl LogTail {
    /// Passes everything on to stderr until it is told to hold.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines that are held, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// Keeps lines from here on.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Writes what is kept to stderr, and passes on again.
    pub fn let_go(&self) {
        let mut tail = self.lock();
        tail.held = false;
        let mut stderr = io::stderr().lock();
        for line in tail.lines.drain(..) {
            // Without stderr there is nobody to tell.
            let _ = writeln!(stderr, "{line}");
        }
        let _ = stderr.write_all(&std::mem::take(&mut tail.unfinished));
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogTail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tail = self.lock();
        if !tail.held {
            return io::stderr().write(bytes);
        }
        tail.unfinished.extend_from_slice(bytes);
        while let Some(end) = tail.unfinished.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = tail.unfinished.drain(..=end).collect();
            if tail.lines.len() == KEPT {
                tail.lines.pop_front();
            }
            tail.lines.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.lock().held { Ok(()) } else { io::stderr().flush() }
    }
}
