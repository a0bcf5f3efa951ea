//! Raw recording: any source, run here without DSP, into captures of our own format (`source/replay/CAPTURE.md`).

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::source::{Interrogator, SourceError};

/// When a recording ends by itself. Neither = only when it is stopped or the source ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Length of data: traces and gaps, by the acquisition's own rate. Waiting for fiber does not count.
    pub duration: Option<Duration>,
    /// Number of traces written.
    pub traces: Option<u64>,
}

/// How far a recording has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What the source is doing, in words for people.
    pub state: String,
    /// Traces written.
    pub traces: u64,
    /// Data written, gaps included.
    pub recorded: Duration,
    /// Bytes written.
    pub bytes: u64,
    /// Traces lost because the disk was too slow.
    pub dropped_traces: u64,
    /// Traces missing for any reason, the dropped ones included.
    pub gap_traces: u64,
}

/// What a recording has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The files, one for each epoch.
    pub files: Vec<PathBuf>,
    /// The last word on progress.
    pub progress: Progress,
}

/// Records `source` into `file` until a limit, the end of the source, or `stop`. Calls `progress` a few times a second.
///
/// # Errors
/// When the source breaks or the disk refuses; what was written up to then is kept.
pub fn record(
    source: Box<dyn Interrogator>,
    file: &Path,
    limits: Limits,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Recorded, SourceError> {
    let _ = (source, limits, stop, progress);
    Err(SourceError::Unusable { what: file.display().to_string(), why: "recording is not built yet".into() })
}
