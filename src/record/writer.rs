//! The disk's side of a recording, on thread `das-record`: leases in, captures out, one file for each epoch.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::acquisition::Acquisition;
use crate::block::{Lease, Mark, RawBlock};
use crate::source::SourceError;
use crate::source::replay::format::{self, Chunk, End};

/// Written data stays in the program's own buffer no longer than this, so that a crash costs no more.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Bytes gathered before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// What the writer has done, for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) traces: AtomicU64,
    pub(super) gap_traces: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) recorded_ns: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// One capture being written.
pub(super) struct CaptureFile {
    name: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    written: End,
    /// Index behind the last trace written.
    next_trace: u64,
    /// Trace and time from which times are counted on: the last stamp.
    stamp: Option<(u64, i64)>,
}

/// Writes leases into files until their queue closes.
pub(super) struct Writer {
    /// The name that was asked for.
    name: PathBuf,
    /// The first file, made before the first lease so that a bad name is an error at once.
    made: Option<CaptureFile>,
    open: Option<(Arc<Acquisition>, CaptureFile)>,
    finished: Vec<PathBuf>,
    counters: Arc<Counters>,
    flushed: Instant,
}

fn io_error(path: &Path, deed: &str) -> impl Fn(io::Error) -> SourceError {
    let what = format!("{} ({deed})", path.display());
    move |error| SourceError::Io { what: what.clone(), error }
}

impl CaptureFile {
    /// Makes `NAME.part`. Nothing is ever overwritten.
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
            _ => io_error(&part, "create")(error),
        })?;
        Ok(Self {
            name: name.to_owned(),
            part,
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            written: End::default(),
            next_trace: 0,
            stamp: None,
        })
    }

    /// Begins the file.
    pub(super) fn header(&mut self, acquisition: &Acquisition, first_trace: u64) -> Result<(), SourceError> {
        self.put(&format::encode_header(acquisition, first_trace))
    }

    /// Appends a block, a chunk for each of its spans, so that every stamp is kept; says how many traces are missing before
    /// it, and how many bytes were written. `samples` is scratch.
    pub(super) fn block(&mut self, block: &RawBlock, samples: &mut Vec<u8>) -> Result<(u64, u64), SourceError> {
        let (mut gap, mut bytes) = (0, 0);
        for (mark, rows) in block.spans() {
            let utc_ns = self.utc_ns(block, rows.start, mark.stamp_ns);
            gap += self.chunk(block, rows, (utc_ns, mark), samples)?;
            bytes += (format::CHUNK_HEAD + samples.len()) as u64;
        }
        Ok((gap, bytes))
    }

    /// UTC of a row: its stamp, or counted on from the last one in the file. A block's own time may be that of a stamp which
    /// nobody was told, as it said nothing new; it is taken where nothing came directly before.
    fn utc_ns(&mut self, block: &RawBlock, row: usize, stamp_ns: Option<i64>) -> i64 {
        let (prr, trace) = (block.acquisition.prr, block.first_trace.0 + row as u64);
        let of_block = || block.utc_ns.saturating_add(prr.traces_to_ns(row as u64));
        let follows = self.stamp.filter(|_| stamp_ns.is_none() && trace == self.next_trace);
        let (at, utc_ns) = follows.unwrap_or_else(|| (trace, stamp_ns.unwrap_or_else(of_block)));
        self.stamp = Some((at, utc_ns));
        utc_ns.saturating_add(prr.traces_to_ns(trace - at))
    }

    fn chunk(
        &mut self,
        block: &RawBlock,
        rows: Range<usize>,
        (utc_ns, mark): (i64, Mark),
        samples: &mut Vec<u8>,
    ) -> Result<u64, SourceError> {
        samples.clear();
        for row in rows.clone() {
            samples.extend_from_slice(block.row(row));
        }
        let (first_trace, traces) = (block.first_trace.0 + rows.start as u64, rows.len());
        let first = self.written.chunks == 0;
        let gap_before = if first { 0 } else { first_trace.saturating_sub(self.next_trace) };
        let payload_bytes = samples.len();
        if payload_bytes > format::MAX_PAYLOAD {
            let why = format!("a block of {payload_bytes} bytes; chunks have {} at most", format::MAX_PAYLOAD);
            return Err(SourceError::Unusable { what: self.part.display().to_string(), why });
        }
        let chunk = Chunk {
            first_trace,
            traces: traces as u32,
            utc_ns,
            gap_before,
            payload_bytes: payload_bytes as u32,
            payload_crc: crc32fast::hash(samples),
            is_stamped: mark.stamp_ns.is_some(),
            state: mark.state,
        };
        samples.resize(format::padded(payload_bytes), 0);
        self.put(&format::encode_chunk(&chunk))?;
        self.put(samples)?;
        self.next_trace = first_trace + traces as u64;
        self.written.chunks += 1;
        self.written.traces += traces as u64;
        self.written.gap_traces += gap_before;
        Ok(gap_before)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.out.write_all(bytes).map_err(io_error(&self.part, "write"))
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        self.out.flush().map_err(io_error(&self.part, "write"))
    }

    /// Ends the file: end mark, sync, name.
    pub(super) fn finish(mut self) -> Result<PathBuf, SourceError> {
        self.put(&format::encode_end(&self.written))?;
        self.flush()?;
        self.out.get_ref().sync_all().map_err(io_error(&self.part, "sync"))?;
        std::fs::rename(&self.part, &self.name).map_err(io_error(&self.part, "rename"))?;
        // The new name is durable when its directory is; some file systems cannot sync one, and then it is so anyway.
        let directory = self.name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(directory) = File::open(directory) {
            let _ = directory.sync_all();
        }
        Ok(self.name)
    }

    /// Removes a file into which nothing was written.
    fn discard(self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

impl Writer {
    /// A writer that begins with the file `name`.
    pub(super) fn new(name: &Path, counters: Arc<Counters>) -> Result<Self, SourceError> {
        Ok(Self {
            name: name.to_owned(),
            made: Some(CaptureFile::create(name)?),
            open: None,
            finished: Vec::new(),
            counters,
            flushed: Instant::now(),
        })
    }

    /// Writes until the queue closes.
    pub(super) fn run(mut self, queue: &Receiver<Lease>) -> Result<Vec<PathBuf>, SourceError> {
        let mut samples = Vec::new();
        loop {
            match queue.recv_timeout(FLUSH_EVERY) {
                Ok(lease) if lease.traces > 0 => self.write(&lease, &mut samples)?,
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
        if let Some((_, file)) = self.open.take() {
            self.finished.push(file.finish()?);
        } else if let Some(file) = self.made.take() {
            file.discard();
        }
        Ok(self.finished)
    }

    fn write(&mut self, block: &RawBlock, samples: &mut Vec<u8>) -> Result<(), SourceError> {
        if self.open.as_ref().is_none_or(|(acquisition, _)| acquisition.epoch != block.acquisition.epoch) {
            self.begin(block)?;
        }
        let Some((acquisition, file)) = &mut self.open else { return Ok(()) };
        let (gap, bytes) = file.block(block, samples)?;
        let traces = block.traces as u64;
        self.counters.traces.fetch_add(traces, Relaxed);
        self.counters.gap_traces.fetch_add(gap, Relaxed);
        self.counters.bytes.fetch_add(bytes, Relaxed);
        self.counters.recorded_ns.fetch_add(acquisition.prr.traces_to_ns(traces.saturating_add(gap)) as u64, Relaxed);
        Ok(())
    }

    /// Ends the file of the epoch before, if any, and begins the next one.
    fn begin(&mut self, first: &RawBlock) -> Result<(), SourceError> {
        if let Some((_, file)) = self.open.take() {
            self.finished.push(file.finish()?);
        }
        let mut file = match self.made.take() {
            Some(file) => file,
            None => CaptureFile::create(&numbered(&self.name, self.finished.len() + 1))?,
        };
        file.header(&first.acquisition, first.first_trace.0)?;
        self.open = Some((Arc::clone(&first.acquisition), file));
        Ok(())
    }
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
    use crate::acquisition::SampleFormat;
    use crate::block::{BlockLayout, InstrumentState};
    use crate::source::replay::format::{Head, decode_head};
    use crate::units::Rational;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    /// Slots of 20 ms whose stamps scatter; every third one is told, as a ring does it, and blocks begin at any of them.
    #[test]
    fn chunks_without_a_stamp_lie_on_one_line_with_the_last_one() {
        let prr = Rational::new(16089, 5).unwrap();
        let acquisition = Arc::new(Acquisition { channels: 1, prr, ..Acquisition::example() });
        let (slot, slots_a_block) = (64, 4);
        let utc_ns =
            |trace: u64| 1_790_000_000_000_000_000 + (trace as f64 * 310_772.6) as i64 + (trace * 7919 % 601) as i64;
        let folder = tempfile::tempdir().unwrap();
        let mut file = CaptureFile::create(&folder.path().join("a.fdas")).unwrap();
        file.header(&acquisition, 0).unwrap();
        let traces = slot * slots_a_block;
        let layout = BlockLayout { channels: 1, format: SampleFormat::I16, capacity_traces: traces };
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        let (mut first, mut samples) = (0u64, Vec::new());
        for number in 0..30u64 {
            block.clear(&acquisition);
            first += if number == 20 { 777 } else { 0 };
            (block.first_trace.0, block.traces, block.utc_ns) = (first, traces, utc_ns(first));
            for of_block in 0..slots_a_block {
                let row = of_block * slot;
                let told = (number as usize * slots_a_block + of_block).is_multiple_of(3);
                if row == 0 || told {
                    block.mark(row, told.then(|| utc_ns(first + row as u64)), InstrumentState::default());
                }
            }
            file.block(&block, &mut samples).unwrap();
            first += traces as u64;
        }
        let bytes = std::fs::read(file.finish().unwrap()).unwrap();
        let heads = bytes.as_chunks::<{ format::CHUNK_HEAD }>().0.iter().filter_map(decode_head);
        let chunks: Vec<_> =
            heads.filter_map(|head| if let Head::Chunk(chunk) = head { Some(chunk) } else { None }).collect();
        let mut line = (0, 0);
        for chunk in &chunks {
            let counted_on = line.1 + prr.traces_to_ns(chunk.first_trace - line.0);
            if chunk.is_stamped || chunk.gap_before > 0 {
                assert_eq!(chunk.utc_ns, utc_ns(chunk.first_trace), "its own time");
                line = (chunk.first_trace, chunk.utc_ns);
            } else {
                assert_eq!(chunk.utc_ns, counted_on, "of trace {}", chunk.first_trace);
            }
        }
        assert_eq!(chunks.iter().filter(|chunk| chunk.is_stamped).count(), 40);
        assert!(chunks.len() > 50, "{}: some begin with a block", chunks.len());
    }

    #[test]
    fn the_files_of_later_epochs_are_numbered() {
        assert_eq!(numbered(Path::new("/d/fiber.fdas"), 2), Path::new("/d/fiber-2.fdas"));
        assert_eq!(numbered(Path::new("fiber"), 3), Path::new("fiber-3"));
        let path = |bytes| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(numbered(path(b"d\xe9troit.fdas"), 2), path(b"d\xe9troit-2.fdas"));
    }
}
