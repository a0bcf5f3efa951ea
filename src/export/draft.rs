//! A file that appears under its name only when all of them are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::ExportError;

/// Bytes gathered before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// A file being written as `NAME.part`; it is removed unless it is [named](Finished::publish).
pub(super) struct Draft {
    out: BufWriter<File>,
    /// Bytes written one after the other, for places that are written again later.
    at: u64,
    file: Finished,
}

/// A file that is whole, but not yet under its name.
pub(super) struct Finished {
    part: PathBuf,
    name: PathBuf,
    published: bool,
}

impl Draft {
    /// Begins the file that will be `name`.
    ///
    /// # Errors
    /// When it is there already and `force` is not given, or when it cannot be made.
    pub(super) fn create(name: &Path, force: bool) -> Result<Self, ExportError> {
        if !force && fs::symlink_metadata(name).is_ok() {
            return Err(ExportError::Exists(name.to_owned()));
        }
        let mut part = name.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create_new(&part).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ExportError::Unfinished(part.clone()),
            _ => ExportError::io(&part, error),
        })?;
        let file_name = Finished { part, name: name.to_owned(), published: false };
        Ok(Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), at: 0, file: file_name })
    }

    /// The name that it will have.
    pub(super) fn name(&self) -> &Path {
        &self.file.name
    }

    /// Bytes so far.
    pub(super) const fn len(&self) -> u64 {
        self.at
    }

    /// Appends.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| ExportError::io(&self.file.part, error))
    }

    /// Writes over what stands at `place`, and goes on at the end.
    pub(super) fn put_at(&mut self, place: u64, bytes: &[u8]) -> Result<(), ExportError> {
        let end = self.at;
        let result = (|| {
            self.out.seek(SeekFrom::Start(place))?;
            self.out.write_all(bytes)?;
            self.out.seek(SeekFrom::Start(end))
        })();
        result.map(drop).map_err(|error| ExportError::io(&self.file.part, error))
    }

    /// All is written.
    pub(super) fn finish(mut self) -> Result<Finished, ExportError> {
        let flushed = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        flushed.map_err(|error| ExportError::io(&self.file.part, error))?;
        Ok(self.file)
    }
}

impl Finished {
    /// Gives it its name.
    ///
    /// # Errors
    /// When something has taken the name meanwhile and `force` is not given, or the system refuses.
    pub(super) fn publish(mut self, force: bool) -> Result<PathBuf, ExportError> {
        let named = if force {
            fs::rename(&self.part, &self.name)
        } else {
            // Unlike a rename, a link never takes the place of another file; some file systems have none.
            match fs::hard_link(&self.part, &self.name) {
                Ok(()) => fs::remove_file(&self.part),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                Err(_) => fs::rename(&self.part, &self.name),
            }
        };
        match named {
            Ok(()) => {
                self.published = true;
                Ok(self.name.clone())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(ExportError::Exists(self.name.clone())),
            Err(error) => Err(ExportError::io(&self.name, error)),
        }
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.part);
        }
    }
}
