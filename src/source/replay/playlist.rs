//! From files to acquisitions: which rows of which file follow each other, where gaps are, where a new epoch begins.
//!
//! Pure but for opening each file once. Files stay one acquisition while their parameters agree and their times follow;
//! a gap between them is counted in whole traces, a change of parameters or a time that goes back begins a new epoch.
//! The plan depends on nothing but the files, so that a replay is the same each time.

use std::path::{Path, PathBuf};

use super::capture::{Anchor, Capture, unusable};
use super::pieces::{InTurn, in_turn};
use super::times::missing_traces;
use super::vendors;
use crate::acquisition::Acquisition;
use crate::source::SourceError;

/// Epoch numbers beyond this one, the year 2262 in microseconds, are not believed.
const MAX_EPOCH_US: u64 = (i64::MAX / 1000).cast_unsigned();

/// A piece of a file: index of the file, and of the piece in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) file: usize,
    pub(super) piece: usize,
}

/// Rows of one file without a gap.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Index of the file.
    pub(super) file: usize,
    /// Index of its piece.
    piece: usize,
    /// First row in it.
    pub(super) first_row: u64,
    /// Number of rows.
    pub(super) rows: u64,
    /// Index of the first row's trace in the epoch.
    pub(super) first_trace: u64,
    /// Traces missing before it.
    pub(super) gap_before: u64,
    /// Times; the first is that of `first_row`.
    pub(super) anchors: Vec<Anchor>,
}

/// Traces of one acquisition, with constant parameters and rising times.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    /// What was acquired.
    pub(super) acquisition: Acquisition,
    /// Its pieces.
    pub(super) parts: Vec<Part>,
    /// Whether the rate is that of the first file's stamps.
    rate_is_measured: bool,
}

/// Everything that is played.
#[derive(Debug)]
pub(super) struct Playlist {
    /// The files.
    pub(super) files: Vec<PathBuf>,
    /// In the order of playing.
    pub(super) epochs: Vec<Epoch>,
    /// What is odd about the files and was survived, each with the name of its file.
    pub(super) notes: Vec<String>,
}

impl Part {
    /// Where the rows are.
    pub(super) const fn piece(&self) -> Piece {
        Piece { file: self.file, piece: self.piece }
    }

    /// UTC of `row`, which lies in this part, in nanoseconds.
    pub(super) fn utc_ns(&self, acquisition: &Acquisition, row: u64) -> i64 {
        let index = self.anchors.partition_point(|anchor| anchor.row <= row).saturating_sub(1);
        let anchor = self.anchors[index];
        anchor.utc_ns.saturating_add(acquisition.prr.traces_to_ns(row.saturating_sub(anchor.row)))
    }
}

impl Epoch {
    /// Traces from the first to behind the last, gaps included.
    pub(super) fn traces(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.first_trace.saturating_add(part.rows))
    }

    /// UTC one sample period after the last trace.
    fn end_ns(&self) -> i64 {
        self.parts.last().map_or(0, |part| part.utc_ns(&self.acquisition, part.first_row + part.rows))
    }

    fn start_ns(&self) -> i64 {
        self.parts.first().map_or(0, |part| part.anchors[0].utc_ns)
    }
}

impl Playlist {
    /// Looks at all files.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub(super) fn new(files: &[PathBuf]) -> Result<Self, SourceError> {
        if files.is_empty() {
            return Err(SourceError::Unusable { what: "replay".into(), why: "no file to replay".into() });
        }
        let mut playlist = Self { files: files.to_vec(), epochs: Vec::new(), notes: Vec::new() };
        for (file, path) in files.iter().enumerate() {
            playlist.append_file(file, path)?;
        }
        for epoch in &playlist.epochs {
            if epoch.end_ns() == i64::MAX || epoch.traces() > 1 << 60 {
                let path = epoch.parts.first().map_or(&files[0], |part| &files[part.file]);
                return Err(unusable(path, "its times or gaps reach beyond the year 2262"));
            }
        }
        Ok(playlist)
    }

    /// Opens a piece once more, to read it.
    pub(super) fn open(&self, Piece { file, piece }: Piece) -> Result<Capture, SourceError> {
        let path = &self.files[file];
        let mut pieces = vendors::open_all(path)?.into_iter();
        pieces.nth(piece).ok_or_else(|| unusable(path, "the file has changed since it was looked at"))
    }

    fn append_file(&mut self, file: usize, path: &Path) -> Result<(), SourceError> {
        let name = path.file_name().unwrap_or_default().display().to_string();
        let (played, left_out) = in_turn(vendors::open_all(path)?, &name);
        let notes = played.iter().flat_map(|(_, capture)| &capture.notes).chain(&left_out).cloned();
        let notes: Vec<String> = notes.chain(self.before(&played)).collect();
        self.notes.extend(notes.iter().map(|note| format!("{name}: {note}")));
        for (piece, capture) in &played {
            self.append(Piece { file, piece: *piece }, capture);
        }
        Ok(())
    }

    /// What is odd about the times of a file behind those of the files before.
    fn before(&self, played: &InTurn) -> Option<String> {
        let (_, first) = played.first()?;
        let last = self.epochs.last()?;
        let name = self.files[last.parts.last()?.file].file_name().unwrap_or_default().display();
        let early_ns = last.end_ns().saturating_sub(first.span_ns().0);
        let period_ns = first.acquisition.prr.traces_to_ns(1);
        if early_ns <= period_ns.saturating_add_unsigned(first.jitter_ns) {
            return None;
        }
        let seconds = early_ns as f64 / 1e9;
        Some(if first.span_ns().0 < last.start_ns() {
            format!(
                "begins {seconds:.3} s before {name}, which is played before it, ends: the files are not in order of time"
            )
        } else {
            format!("begins {seconds:.3} s before {name} ends: they overlap, and a new epoch begins")
        })
    }

    fn append(&mut self, piece: Piece, capture: &Capture) {
        let mut new_file = true;
        for (i, &anchor) in capture.anchors.iter().enumerate() {
            let end = capture.anchors.get(i + 1).map_or(capture.total_rows, |next| next.row);
            let rows = end.saturating_sub(anchor.row);
            if rows > 0 {
                self.append_rows(piece, capture, anchor, rows, new_file);
                new_file = false;
            }
        }
    }

    fn append_rows(&mut self, from: Piece, capture: &Capture, anchor: Anchor, rows: u64, new_file: bool) {
        let part = |first_trace, gap_before| Part {
            file: from.file,
            piece: from.piece,
            first_row: anchor.row,
            rows,
            first_trace,
            gap_before,
            anchors: vec![anchor],
        };
        if let Some(epoch) = self.epochs.last_mut().filter(|epoch| agree(epoch, capture))
            && let Ok(gap) = u64::try_from(missing_since(epoch, capture, anchor, new_file))
        {
            match epoch.parts.last_mut() {
                Some(last) if gap == 0 && last.piece() == from => {
                    last.rows += rows;
                    last.anchors.push(anchor);
                }
                _ => {
                    let first_trace = epoch.traces().saturating_add(gap);
                    epoch.parts.push(part(first_trace, gap));
                }
            }
            return;
        }
        let mut acquisition = capture.acquisition.clone();
        let at_start = anchor.row == 0;
        let utc_us = (anchor.utc_ns / 1000).max(1) as u64;
        // Whatever stands in the file: there must be room for the numbers of later epochs.
        let number = if at_start && acquisition.epoch <= MAX_EPOCH_US { acquisition.epoch } else { utc_us };
        acquisition.epoch = number.max(self.epochs.last().map_or(0, |before| before.acquisition.epoch + 1));
        let rate_is_measured = capture.rate_is_measured;
        self.epochs.push(Epoch { acquisition, parts: vec![part(0, 0)], rate_is_measured });
    }

    /// Nanoseconds from one round of a loop to the next: what everything spans, and one sample period.
    pub(super) fn span_ns(&self) -> i64 {
        let start = self.epochs.iter().map(Epoch::start_ns).min().unwrap_or(0);
        let end = self.epochs.iter().map(Epoch::end_ns).max().unwrap_or(0);
        end.saturating_sub(start).max(1)
    }
}

/// Whether a capture is of this acquisition but for when. A measured rate may differ by the scatter of its stamps.
fn agree(epoch: &Epoch, capture: &Capture) -> bool {
    let (acquisition, other) = (&epoch.acquisition, &capture.acquisition);
    let is_measured = epoch.rate_is_measured || capture.rate_is_measured;
    let rates_differ = (acquisition.prr.to_f64() / other.prr.to_f64() - 1.0).abs();
    let prr = if is_measured && rates_differ < 2e-3 { acquisition.prr } else { other.prr };
    *acquisition == Acquisition { epoch: acquisition.epoch, prr, ..other.clone() }
}

/// Traces missing between the end of `epoch` and the row at `anchor`; negative when that lies before the end.
fn missing_since(epoch: &Epoch, capture: &Capture, anchor: Anchor, new_file: bool) -> i64 {
    if let Some(known) = anchor.gap_before.filter(|_| !new_file) {
        return i64::try_from(known).unwrap_or(i64::MAX);
    }
    // Within a file the reader has told a time that goes back from scatter.
    let jitter_ns = if new_file { capture.jitter_ns } else { 0 };
    missing_traces(epoch.acquisition.prr, epoch.end_ns(), anchor.utc_ns, jitter_ns)
}
