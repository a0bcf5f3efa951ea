//! Captures of any format that is read, as files of other programs: PRODML HDF5, NumPy, WAV, CSV, and a picture.
//!
//! Traces come through [`Replay`], unpaced, on the caller's thread, and go straight into the files: memory stays at a block.
//! Formats that cannot say where traces are missing get a file for every stretch without a gap. Files have their names only
//! once all of them are whole; nothing is left of an export that fails.

mod csv;
mod draft;
mod npy;
mod plot;
mod prodml;
mod request;
mod samples;
mod wav;
mod zip;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use self::draft::{Draft, Finished};
pub use self::request::{Format, Request};
use self::samples::{Rows, Selection};
use crate::acquisition::Acquisition;
use crate::block::{BlockLayout, RawBlock};
use crate::prodml::utc;
use crate::source::replay::{Contents, Extent, Gatherer, Listing, Overview, PICTURE_CELLS, Replay, list};
use crate::source::{Finding, Interrogator, Probe, ReadOutcome, SourceError};

/// Bytes that are read at once, about.
const BLOCK_BYTES: usize = 4 << 20;
/// How long to wait for the next block before looking whether to stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What is asked for cannot be.
    #[error("{0}")]
    Wrong(String),
    /// A file is in the way.
    #[error("{} exists already; --force writes over it, -o writes elsewhere", .0.display())]
    Exists(PathBuf),
    /// An export of the same name was broken off, or is running.
    #[error("{} is left of an export that was broken off, or belongs to one that runs; remove it if none does", .0.display())]
    Unfinished(PathBuf),
    /// The captures cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The operating system said no.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file being written.
        path: PathBuf,
        /// Its answer.
        #[source]
        error: std::io::Error,
    },
    /// Asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
}

impl ExportError {
    fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub path: PathBuf,
    /// Traces in it.
    pub traces: u64,
    /// UTC of the first trace, in nanoseconds.
    pub start_ns: i64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The files, in order of time.
    pub files: Vec<Written>,
    /// What was odd about the captures, and what the files cannot say.
    pub findings: Vec<Finding>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Traces read.
    pub traces: u64,
    /// Traces that there are to read.
    pub total: u64,
}

/// What a stretch of traces without a gap is, for who writes it.
struct Start {
    /// What was acquired, of the channels that are selected only.
    acquisition: Arc<Acquisition>,
    /// UTC of its first trace, in nanoseconds.
    utc_ns: i64,
    /// Number of the first channel in the capture, from 1.
    first_channel: usize,
    /// Counts as they are stored, instead of the quantity that they stand for.
    raw: bool,
}

/// Writes one file.
trait Writer {
    /// The next traces; all of one stretch, but for formats that say the time of each.
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError>;
    /// All came. What the file cannot say goes to `findings`.
    fn finish(self: Box<Self>, findings: &mut Vec<Finding>) -> Result<Finished, ExportError>;
}

/// Writes what `request` asks for. `progress` is told every block; `stop` ends it.
///
/// # Errors
/// When something is asked for that cannot be, a capture cannot be read, or a file cannot be written; then no file is left.
pub fn export(
    request: &Request,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported, ExportError> {
    // Folders and patterns stand for files: those are what names come from, and what is never written over.
    let Listing { files, notes } = list(&request.files)?;
    let request = &Request { files, ..request.clone() };
    let replay = request.open()?;
    let findings = notes.into_iter().chain(replay.notes().iter().cloned()).collect();
    let mut exported = Exported { files: Vec::new(), findings };
    let selection = request.check(replay.contents())?;
    let loudest = match request.to {
        Format::Wav => wav::loudest(&mut Traces::new(request.open()?, &selection, stop), &mut exported.findings)?,
        _ => 0.0,
    };
    if request.to == Format::Wav {
        exported.findings.extend(wav::told(&replay.contents()[0].acquisition, loudest));
    }
    let total = replay.contents().iter().map(|epoch| epoch.traces).sum();
    let mut job = Job { request, loudest, open: None, done: Vec::new(), written: Vec::new() };
    let picture = (request.to == Format::Png).then(|| gatherer(replay.contents(), &selection));
    if let Some(gatherer) = picture {
        job.begin_picture(gatherer)?;
    }
    let mut traces = Traces::new(replay, &selection, stop);
    let mut seen = 0;
    while let Some(rows) = traces.next()? {
        seen += rows.traces as u64;
        job.take(&rows, &mut exported.findings)?;
        progress(Progress { traces: seen, total });
    }
    if job.written.is_empty() {
        return Err(ExportError::Wrong("not one trace of what is asked for can be read".into()));
    }
    if seen < total {
        let text = format!("{} traces cannot be read: they are missing in what was written", total - seen);
        exported.findings.push(Finding::damaged(text));
    }
    job.end(&mut exported.findings)?;
    exported.files = job.publish()?;
    Ok(exported)
}

fn gatherer(contents: &[Contents], selection: &Selection) -> Gatherer {
    let extent = Extent {
        acquisition: Arc::clone(&contents[0].acquisition),
        first_channel: selection.first,
        channels: selection.count,
        traces: contents.iter().map(|epoch| epoch.traces).sum(),
        stretches: contents.iter().flat_map(|epoch| epoch.stretches.iter().copied()).collect(),
    };
    Gatherer::new(extent, PICTURE_CELLS.0, PICTURE_CELLS.1)
}

/// Files in the making.
struct Job<'a> {
    request: &'a Request,
    /// Largest magnitude of all samples, for formats that must know it beforehand.
    loudest: f64,
    open: Option<Box<dyn Writer>>,
    done: Vec<Finished>,
    written: Vec<Written>,
}

impl Job<'_> {
    fn draft(&self) -> Result<Draft, ExportError> {
        let name = self.request.name(self.done.len() + 1);
        self.request.must_not_be_a_capture(&name)?;
        Draft::create(&name, self.request.force)
    }

    fn begin_picture(&mut self, gatherer: Gatherer) -> Result<(), ExportError> {
        let writer = Picture { draft: self.draft()?, gatherer, title: self.request.title(), trace: Vec::new() };
        self.open = Some(Box::new(writer));
        Ok(())
    }

    fn take(&mut self, rows: &Rows<'_>, findings: &mut Vec<Finding>) -> Result<(), ExportError> {
        let first = self.written.is_empty();
        if first || rows.begins && self.request.to.is_split_at_gaps() {
            if self.request.to != Format::Png {
                self.end(findings)?;
                self.open = Some(self.begin(rows)?);
            }
            let path = self.request.name(self.done.len() + 1);
            self.written.push(Written { path, traces: 0, start_ns: rows.utc_ns });
        }
        if let Some(written) = self.written.last_mut() {
            written.traces += rows.traces as u64;
        }
        self.open.as_mut().map_or(Ok(()), |open| open.rows(rows))
    }

    fn begin(&self, rows: &Rows<'_>) -> Result<Box<dyn Writer>, ExportError> {
        let draft = self.draft()?;
        let start = Start {
            acquisition: Arc::clone(rows.acquisition),
            utc_ns: rows.utc_ns,
            first_channel: rows.first_channel + 1,
            raw: self.request.raw,
        };
        Ok(match self.request.to {
            Format::Prodml => Box::new(prodml::Prodml::begin(draft, &start)?),
            Format::Npy => Box::new(npy::Npy::begin(draft, &start)?),
            Format::Npz => Box::new(npy::Npz::begin(draft, start)?),
            Format::Wav => Box::new(wav::Wav::begin(draft, &start, self.loudest)?),
            Format::Csv | Format::Png => Box::new(csv::Csv::begin(draft, &start)?),
        })
    }

    fn end(&mut self, findings: &mut Vec<Finding>) -> Result<(), ExportError> {
        if let Some(open) = self.open.take() {
            self.done.push(open.finish(findings)?);
        }
        Ok(())
    }

    fn publish(mut self) -> Result<Vec<Written>, ExportError> {
        let mut named: Vec<PathBuf> = Vec::new();
        for done in self.done.drain(..) {
            match done.publish(self.request.force) {
                Ok(path) => named.push(path),
                Err(error) => {
                    for path in &named {
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(error);
                }
            }
        }
        Ok(self.written)
    }
}

/// The traces of a replay, block by block, of the selected channels only.
struct Traces<'a> {
    replay: Replay,
    selection: &'a Selection,
    stop: &'a AtomicBool,
    block: Option<RawBlock>,
    acquisition: Option<Arc<Acquisition>>,
    /// The next block begins a stretch whatever it says.
    anew: bool,
    bytes: Vec<u8>,
}

impl<'a> Traces<'a> {
    fn new(replay: Replay, selection: &'a Selection, stop: &'a AtomicBool) -> Self {
        Self { replay, selection, stop, block: None, acquisition: None, anew: true, bytes: Vec::new() }
    }

    fn next(&mut self) -> Result<Option<Rows<'_>>, ExportError> {
        loop {
            if self.stop.load(Relaxed) {
                return Err(ExportError::Stopped);
            }
            let Some(block) = &mut self.block else {
                self.lay_out()?;
                continue;
            };
            let acquisition = Arc::clone(&block.acquisition);
            block.clear(&acquisition);
            match self.replay.read_block(block, PATIENCE)? {
                ReadOutcome::Filled => break,
                ReadOutcome::TimedOut => {}
                ReadOutcome::EndOfStream => return Ok(None),
                ReadOutcome::EpochChanged | ReadOutcome::FiberLost(_) => self.block = None,
            }
        }
        let (Some(block), Some(acquisition)) = (&self.block, &self.acquisition) else { return Ok(None) };
        let begins = std::mem::take(&mut self.anew) || block.gap_before > 0;
        self.selection.copy(block, &mut self.bytes);
        Ok(Some(Rows {
            acquisition,
            first_channel: self.selection.first,
            utc_ns: block.utc_ns,
            traces: block.traces,
            begins,
            bytes: &self.bytes,
        }))
    }

    fn lay_out(&mut self) -> Result<(), ExportError> {
        let Probe::Ready(acquisition) = self.replay.probe()? else {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        };
        let mut layout = BlockLayout::for_acquisition(&acquisition, Duration::from_secs(1));
        layout.capacity_traces = (BLOCK_BYTES / layout.stride_bytes().max(1)).clamp(1, 1 << 16);
        self.acquisition = Some(Arc::new(self.selection.of(&acquisition)));
        self.block = Some(RawBlock::new(layout, Arc::new(acquisition)));
        self.anew = true;
        Ok(())
    }
}

/// The picture of everything.
struct Picture {
    draft: Draft,
    gatherer: Gatherer,
    title: String,
    trace: Vec<f32>,
}

impl Writer for Picture {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        for at in 0..rows.traces {
            rows.decode(at, &mut self.trace);
            self.gatherer.add(rows.utc_of(at), &self.trace);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        let mut png = Vec::new();
        plot::write(&mut png, &self.gatherer.finish(), &self.title, "")
            .map_err(|error| ExportError::io(self.draft.name(), error))?;
        self.draft.put(&png)?;
        self.draft.finish()
    }
}

/// Writes a picture to `path`; `title` stands on top, and `remark` among the facts.
///
/// # Errors
/// When the file is there already and `force` is not given, or cannot be written.
pub fn save_plot(path: &Path, overview: &Overview, title: &str, remark: &str, force: bool) -> Result<(), ExportError> {
    let mut draft = Draft::create(path, force)?;
    let mut png = Vec::new();
    plot::write(&mut png, overview, title, remark).map_err(|error| ExportError::io(path, error))?;
    draft.put(&png)?;
    draft.finish()?.publish(force).map(drop)
}
