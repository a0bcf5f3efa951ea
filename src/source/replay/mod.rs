//! Captured files as if they were live.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::block::RawBlock;
use crate::source::ReplaySpeed;
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};

/// Files played back through the same trait as the hardware.
pub struct Replay {
    _private: (),
}

impl Replay {
    /// Opens `files`, which become one acquisition while their parameters agree and their times follow.
    ///
    /// # Errors
    /// When a file cannot be read or is of no known format.
    pub fn open(files: &[PathBuf], speed: ReplaySpeed, looping: bool) -> Result<Self, SourceError> {
        let _ = (speed, looping);
        Err(SourceError::Unusable { what: format!("{files:?}"), why: "replay is not built yet".into() })
    }
}

impl Interrogator for Replay {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Err(SourceError::Unusable { what: "replay".into(), why: "not built yet".into() })
    }

    fn read_block(&mut self, _block: &mut RawBlock, _deadline: Duration) -> Result<ReadOutcome, SourceError> {
        Ok(ReadOutcome::EndOfStream)
    }

    fn kind(&self) -> &'static str {
        "replay"
    }
}

/// What is in a capture: for `fiberd info`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Info {
    /// The file.
    pub path: PathBuf,
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// Reads the whole of a capture and says what is in it.
///
/// # Errors
/// When the file cannot be read or is of no known format.
pub fn describe(path: &Path) -> Result<Info, SourceError> {
    Err(SourceError::Unusable { what: path.display().to_string(), why: "info is not built yet".into() })
}
