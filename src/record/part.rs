//! A file that is being made as `NAME.part`, beside the name that it will have. Nothing is ever overwritten.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::hdf5::Disk;
use crate::source::SourceError;

/// See the module.
pub(super) struct Part {
    name: PathBuf,
    path: PathBuf,
    file: File,
}

impl Part {
    /// Makes it.
    ///
    /// # Errors
    /// When there is a file of the name or of the part, or the system refuses.
    pub(super) fn create(name: &Path) -> Result<Self, SourceError> {
        let mut part = name.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        if name.exists() {
            let why = "exists already; recordings are not overwritten".into();
            return Err(SourceError::Unusable { what: name.display().to_string(), why });
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&part).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SourceError::Unusable {
                what: part.display().to_string(),
                why: "a recording that was cut short, or still goes on: rename it (it can be replayed) or remove it"
                    .into(),
            },
            _ => SourceError::Io { what: format!("{} (create)", part.display()), error },
        })?;
        Ok(Self { name: name.to_owned(), path: part, file })
    }

    /// The system's answer to `deed`.
    pub(super) fn error(&self, deed: &str) -> impl Fn(io::Error) -> SourceError + use<> {
        let what = format!("{} ({deed})", self.path.display());
        move |error| SourceError::Io { what: what.clone(), error }
    }

    /// What it is called in messages.
    pub(super) fn what(&self) -> String {
        self.path.display().to_string()
    }

    /// The name that it has, or will have.
    pub(super) fn named(&self) -> PathBuf {
        self.name.clone()
    }

    /// The file.
    ///
    /// # Errors
    /// When the system has no more handles.
    pub(super) fn file(&self) -> Result<File, SourceError> {
        self.file.try_clone().map_err(self.error("open"))
    }

    /// Removes it: nothing was written.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Gives it its name.
    pub(super) fn publish(&self) -> io::Result<()> {
        fs::rename(&self.path, &self.name)?;
        // The new name is durable when its directory is; some file systems cannot sync one, and then it is so anyway.
        let directory = self.name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(directory) = File::open(directory) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Disk for Part {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > self.file.metadata()?.len() {
            // A full disk is told now, and not in the middle of a recording.
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                done => return Ok(done?),
            }
        }
        self.file.set_len(len)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn publish(&mut self) -> io::Result<()> {
        Self::publish(self)
    }
}
