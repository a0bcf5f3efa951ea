//! The disk's side of a recording, on thread `das-record`: leases in, files out. One of our own format for each epoch; of
//! PRODML, a new one at each gap, each epoch, each step of the clock, and after a minute.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::part::Part;
use super::{fdas, hdf5};
use crate::acquisition::Acquisition;
use crate::block::{Lease, RawBlock};
use crate::prodml::Raw;
use crate::source::SourceError;

/// What was written reaches the system, and readers, no later than this.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// A PRODML file is as long as this, in time, and in bytes of samples.
const FILE_LENGTH: Duration = Duration::from_secs(60);
const FILE_BYTES: u64 = 4 << 30;

/// What the writer has done, for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) traces: AtomicU64,
    pub(super) gap_traces: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) recorded_ns: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Writes leases into files until their queue closes.
pub(super) struct Writer {
    /// The name that was asked for.
    name: PathBuf,
    /// The first file, made before the first lease so that a bad name is an error at once.
    made: Option<Part>,
    open: Option<(Arc<Acquisition>, Open)>,
    finished: Vec<PathBuf>,
    counters: Arc<Counters>,
    flushed: Instant,
    scratch: Vec<u8>,
}

/// A file being written.
enum Open {
    Fdas(fdas::Recording),
    Hdf5(hdf5::Recording<Part>),
}

impl Writer {
    /// A writer that begins with the file `name`.
    pub(super) fn new(name: &Path, counters: Arc<Counters>) -> Result<Self, SourceError> {
        Ok(Self {
            name: name.to_owned(),
            made: Some(Part::create(name)?),
            open: None,
            finished: Vec::new(),
            counters,
            flushed: Instant::now(),
            scratch: Vec::new(),
        })
    }

    /// Writes until the queue closes.
    pub(super) fn run(mut self, queue: &Receiver<Lease>) -> Result<Vec<PathBuf>, SourceError> {
        loop {
            match queue.recv_timeout(FLUSH_EVERY) {
                Ok(lease) if lease.traces > 0 => self.write(&lease)?,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.flushed.elapsed() >= FLUSH_EVERY {
                self.flushed = Instant::now();
                if let Some((_, file)) = &mut self.open {
                    file.flush()?;
                }
            }
        }
        self.end()?;
        if let Some(part) = self.made.take() {
            part.discard();
        }
        Ok(self.finished)
    }

    fn write(&mut self, block: &RawBlock) -> Result<(), SourceError> {
        let mut row = 0;
        while row < block.traces {
            let room = match &self.open {
                Some((acquisition, file)) if acquisition.epoch == block.acquisition.epoch => file.room(block, row),
                _ => 0,
            };
            if room == 0 {
                self.end()?;
                self.begin(block, row)?;
                continue;
            }
            row += self.append(block, row..block.traces.min(row + room))?;
        }
        Ok(())
    }

    /// Puts rows into the open file; how many.
    fn append(&mut self, block: &RawBlock, rows: Range<usize>) -> Result<usize, SourceError> {
        let Some((acquisition, file)) = &mut self.open else { return Ok(rows.len()) };
        let (gap, bytes) = match file {
            Open::Fdas(file) => file.block(block, &mut self.scratch)?,
            Open::Hdf5(file) => {
                let gap = if rows.start == 0 && self.counters.traces.load(Relaxed) > 0 { block.gap_before } else { 0 };
                (gap, file.append(block, rows.clone()).map_err(file.disk().error("write"))?)
            }
        };
        let traces = rows.len() as u64;
        self.counters.traces.fetch_add(traces, Relaxed);
        self.counters.gap_traces.fetch_add(gap, Relaxed);
        self.counters.bytes.fetch_add(bytes, Relaxed);
        self.counters.recorded_ns.fetch_add(acquisition.prr.traces_to_ns(traces.saturating_add(gap)) as u64, Relaxed);
        Ok(rows.len())
    }

    /// Ends the open file, if there is one.
    fn end(&mut self) -> Result<(), SourceError> {
        match self.open.take() {
            Some((_, Open::Fdas(file))) => self.finished.push(file.finish()?),
            Some((_, Open::Hdf5(file))) => {
                let failed = file.disk().error("end");
                self.finished.push(file.finish().map_err(failed)?.named());
            }
            None => {}
        }
        Ok(())
    }

    /// Begins the next file with a row of a block.
    fn begin(&mut self, block: &RawBlock, row: usize) -> Result<(), SourceError> {
        let part = match self.made.take() {
            Some(part) => part,
            None => Part::create(&numbered(&self.name, self.finished.len() + 1))?,
        };
        let acquisition = Arc::clone(&block.acquisition);
        if is_hdf5(&self.name)
            && let Some(why) = Raw::refusal(&acquisition)
        {
            let why = format!("{why}; record to a file that ends in .fdas");
            let refused = SourceError::Unusable { what: part.what(), why };
            part.discard();
            return Err(refused);
        }
        let file = if is_hdf5(&self.name) {
            let failed = part.error("create");
            Open::Hdf5(hdf5::Recording::create(part, block, row, rows_of_a_file(&acquisition)).map_err(failed)?)
        } else {
            Open::Fdas(fdas::Recording::create(part, &acquisition, block.first_trace.0)?)
        };
        self.open = Some((acquisition, file));
        Ok(())
    }
}

impl Open {
    /// Rows of a block from `row` on that belong into this file.
    fn room(&self, block: &RawBlock, row: usize) -> usize {
        match self {
            Self::Fdas(_) => usize::MAX,
            Self::Hdf5(file) if !file.goes_on(block, row) => 0,
            Self::Hdf5(file) => usize::try_from(file.free()).unwrap_or(usize::MAX),
        }
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Fdas(file) => file.flush(),
            Self::Hdf5(file) => file.show().map_err(file.disk().error("write")),
        }
    }
}

/// Whether a file of this name is PRODML.
fn is_hdf5(name: &Path) -> bool {
    name.extension().is_some_and(|end| ["h5", "hdf5"].iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// Rows of a file: those of its length in time and size; never as many as there are channels, because `DASPy` would take
/// time for distance.
fn rows_of_a_file(acquisition: &Acquisition) -> u64 {
    let row_bytes = (acquisition.channels * acquisition.sample_format.bytes()).max(1) as u64;
    let wanted = (acquisition.prr.to_f64() * FILE_LENGTH.as_secs_f64()).ceil();
    let rows = (wanted as u64).clamp(1, (FILE_BYTES / row_bytes).max(1));
    if rows == acquisition.channels as u64 { rows + 1 } else { rows }
}

/// `fiber.fdas` becomes `fiber-2.fdas`.
fn numbered(name: &Path, number: usize) -> PathBuf {
    // Names need not be UTF-8.
    let mut numbered = name.file_stem().unwrap_or_default().to_owned();
    numbered.push(format!("-{number}"));
    if let Some(extension) = name.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    name.with_file_name(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn the_files_of_later_epochs_are_numbered() {
        assert_eq!(numbered(Path::new("/d/fiber.fdas"), 2), Path::new("/d/fiber-2.fdas"));
        assert_eq!(numbered(Path::new("fiber"), 3), Path::new("fiber-3"));
        let path = |bytes| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(numbered(path(b"d\xe9troit.fdas"), 2), path(b"d\xe9troit-2.fdas"));
    }
}
