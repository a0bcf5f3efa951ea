//! A capture of whatever format, opened: what was acquired, when, and its rows.
//!
//! Every format's file in this room makes a [`Capture`]; `vendors` finds the format. Opening reads metadata only; rows
//! are read in slabs of bounded size by [`Rows::read`], on the thread that reads ahead (replay) or on the caller's (info).

use std::path::Path;

use super::format::MAX_CHANNELS;
use super::levels::narrowed;
use super::timing::{Kind, Segment, Timing};
use crate::acquisition::{Acquisition, MAX_REGIONS};
use crate::block::InstrumentState;
use crate::source::{Finding, SourceError};

/// Bytes of samples that are read at once, about.
pub(super) const SLAB_BYTES: usize = 4 << 20;

/// Traces of a file at most.
pub(super) const MAX_TRACES: u64 = 1 << 40;

/// Times are set again after so many rows: a measured rate differs a little from file to file, and rows may be played at
/// that of the file before.
const SET_AGAIN_ROWS: usize = 4096;

/// From this row on, times count from this instant by the rate, up to the next anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Row of the file.
    pub(super) row: u64,
    /// Its UTC in nanoseconds since the UNIX epoch.
    pub(super) utc_ns: i64,
    /// Traces missing before it: known, or to be worked out from the times.
    pub(super) gap_before: Option<u64>,
    /// Whether this is what the interrogator or the file says of this row, and not counted on from an anchor before.
    pub(super) is_stamped: bool,
    /// How the interrogator was from this row on.
    pub(super) state: InstrumentState,
}

impl Timing {
    /// The times of a capture.
    pub(super) fn anchors(&self) -> Vec<Anchor> {
        let set_again = |segment: &Segment| {
            let Segment { row, utc_ns, rows, gap_before } = *segment;
            // A file of very many rows is set again less often: memory must not grow with what it declares.
            let step = SET_AGAIN_ROWS.max(usize::try_from(rows >> 16).unwrap_or(usize::MAX));
            (0..rows.max(1)).step_by(step).map(move |at| Anchor {
                row: row + at,
                utc_ns: utc_ns.saturating_add(self.rate.traces_to_ns(at)),
                gap_before: if at == 0 { gap_before } else { Some(0) },
                is_stamped: true,
                state: InstrumentState::default(),
            })
        };
        self.segments.iter().flat_map(set_again).collect()
    }

    /// What is odd about the times. Gaps are left out: they are counted and listed apart.
    pub(super) fn notes(&self) -> impl Iterator<Item = Finding> {
        let odd = self.findings.iter().filter(|found| found.kind != Kind::Gap);
        odd.map(|found| Finding { severity: found.severity, text: found.text.clone() })
    }
}

/// An open capture, or one piece of a file that holds several.
pub(super) struct Capture {
    /// Its name within the file, when there are several pieces: `Raw[1]`, `Source1/Zone2`.
    pub(super) piece: String,
    /// The other pieces of the file, in its order. They may follow in time, or lie side by side on the fiber.
    pub(super) further: Vec<Capture>,
    /// Name of the format and its version.
    pub(super) format: String,
    /// What was acquired; `epoch` is that of the first row.
    pub(super) acquisition: Acquisition,
    /// Number of traces in the file.
    pub(super) total_rows: u64,
    /// Times; the first is that of row 0.
    pub(super) anchors: Vec<Anchor>,
    /// How far the file's own times scatter; smaller steps between two files are no gap.
    pub(super) jitter_ns: u64,
    /// Whether the rate was worked out from the file's own times, and so differs a little from file to file.
    pub(super) rate_is_measured: bool,
    /// Rows that are best read at once: a multiple of what is stored together.
    pub(super) slab_rows: usize,
    /// What is odd about the file and was survived.
    pub(super) notes: Vec<Finding>,
    /// Whether the format has checksums of its own over all samples.
    pub(super) checksummed: bool,
    /// Access to the samples.
    pub(super) rows: Box<dyn Rows>,
}

impl Capture {
    /// One after the other, the pieces of which the file consists.
    pub(super) fn into_pieces(mut self) -> Vec<Self> {
        let further = std::mem::take(&mut self.further);
        std::iter::once(self).chain(further).collect()
    }

    /// The first of some pieces, with the others behind it. Those that cannot be read are told as notes, as long as one
    /// can.
    pub(super) fn of_pieces(
        pieces: impl IntoIterator<Item = (String, Result<Self, SourceError>)>,
    ) -> Option<Result<Self, SourceError>> {
        let (mut good, mut notes, mut first_error) = (Vec::new(), Vec::new(), None);
        for (piece, opened) in pieces {
            match opened {
                Ok(capture) => good.push(Self { piece, ..capture }),
                Err(error) => {
                    let why = match &error {
                        SourceError::Unusable { why, .. } => why.clone(),
                        SourceError::Io { error, .. } => error.to_string(),
                    };
                    notes.push(Finding::warning(format!("{piece} cannot be read: {why}")));
                    first_error.get_or_insert(error);
                }
            }
        }
        let mut good = good.into_iter();
        let Some(mut first) = good.next() else { return first_error.map(Err) };
        first.notes.extend(notes);
        first.further = good.collect();
        Some(Ok(first))
    }

    /// UTC of the first trace and one period behind the last, in nanoseconds.
    pub(super) fn span_ns(&self) -> (i64, i64) {
        let Some((first, last)) = self.anchors.first().zip(self.anchors.last()) else { return (0, 0) };
        let rows = self.total_rows.saturating_sub(last.row);
        (first.utc_ns, last.utc_ns.saturating_add(self.acquisition.prr.traces_to_ns(rows)))
    }
}

/// Why rows did not come.
#[derive(Debug)]
pub(super) enum RowsError {
    /// Rows from the first asked for up to this one are damaged; what follows can be read.
    Damaged {
        /// First row that may be good again.
        good_from: u64,
        /// What is wrong.
        why: String,
    },
    /// Nothing more can be read.
    Fatal(SourceError),
}

impl From<SourceError> for RowsError {
    fn from(error: SourceError) -> Self {
        Self::Fatal(error)
    }
}

/// The samples of a capture.
pub(super) trait Rows: Send {
    /// Fills `out` with `rows` rows from row `first` on, packed `[trace][channel]` in the acquisition's sample format.
    /// The caller asks for rows that exist only. Comes back with fewer rows, but at least one, when damage cuts it short.
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError>;

    /// How many rows were written, where the file has room for more that never came; `None` when that cannot be told.
    fn written(&self) -> Option<u64> {
        None
    }

    /// Traces behind the last row that are known to be lost because the file ends too early: its recorder died, or goes on.
    /// That is no damage of what is there.
    fn cut_off(&self) -> u64 {
        0
    }

    /// What was done to the samples, when they are not as they stand in the file.
    fn note(&self) -> Option<String> {
        None
    }

    /// Whether rows come as `f64` and not yet in the acquisition's format, which is `f32`: they are to be narrowed.
    fn is_wide(&self) -> bool {
        false
    }
}

/// `what` cannot be used.
pub(super) fn unusable(path: &Path, why: impl Into<String>) -> SourceError {
    SourceError::Unusable { what: path.display().to_string(), why: why.into() }
}

/// The operating system's answer to `deed`.
pub(super) fn io_error(path: &Path, deed: &str, error: std::io::Error) -> SourceError {
    SourceError::Io { what: format!("{} ({deed})", path.display()), error }
}

/// The bounds that hold for every format: nothing after this needs to look again. A piece beyond them leaves the others.
pub(super) fn checked(path: &Path, capture: Capture) -> Result<Capture, SourceError> {
    let pieces = capture.into_pieces().into_iter().map(|piece| (piece.piece.clone(), checked_piece(path, piece)));
    Capture::of_pieces(pieces).unwrap_or_else(|| Err(unusable(path, "there is nothing in it")))
}

fn checked_piece(path: &Path, mut capture: Capture) -> Result<Capture, SourceError> {
    only_written(&mut capture);
    within_bounds(path, &mut capture)?;
    let mut capture = narrowed(capture)?;
    let a = &mut capture.acquisition;
    if a.epoch == 0 {
        a.epoch = (capture.anchors[0].utc_ns / 1000).max(1) as u64;
    }
    let stored_together = capture.slab_rows.max(1);
    let row_bytes = a.channels * a.sample_format.bytes();
    capture.slab_rows = (SLAB_BYTES / row_bytes / stored_together).max(1) * stored_together;
    capture.notes.extend(capture.rows.note().map(Finding::warning));
    capture.notes.extend(regions_told(&capture.acquisition));
    Ok(capture)
}

fn within_bounds(path: &Path, capture: &mut Capture) -> Result<(), SourceError> {
    let a = &mut capture.acquisition;
    let wrong = if a.regions.len() > MAX_REGIONS {
        Some(format!("channels in {} regions of even spacing; {} are possible", a.regions.len() + 1, MAX_REGIONS + 1))
    } else if a.channels == 0 || a.channels > MAX_CHANNELS {
        Some(format!("{} channels; 1 to {MAX_CHANNELS} make sense", a.channels))
    } else if !(1e-3..=1e6).contains(&a.prr.to_f64()) {
        Some(format!("a rate of {} Hz; 0.001 Hz to 1 MHz make sense", a.prr))
    } else if !(a.dx_m.is_finite() && a.dx_m > 0.0 && a.dx_m < 1e5) {
        Some(format!("channels are {} m apart; it should be a positive number of metres", a.dx_m))
    } else if !(a.fiber_start_m.is_finite() && a.fiber_start_m.abs() < 1e9) {
        Some(format!("the first channel lies at {} m", a.fiber_start_m))
    } else if !(a.scale.is_finite() && a.scale != 0.0) {
        Some(format!("one count is worth {} {}; it should be a number other than zero", a.scale, a.unit))
    } else if capture.total_rows == 0 {
        Some("there is not one trace in it".into())
    } else if capture.total_rows > MAX_TRACES {
        Some(format!("{} traces; at most 2^40 make sense", capture.total_rows))
    } else if capture.anchors.first().is_none_or(|anchor| anchor.row != 0) {
        Some("the time of the first trace is not known".into())
    } else {
        None
    };
    if let Some(why) = wrong {
        return Err(unusable(path, why));
    }
    for value in [&mut a.gauge_length_m, &mut a.wavelength_m, &mut a.refractive_index] {
        *value = value.filter(|v| v.is_finite() && *v > 0.0);
    }
    Ok(())
}

/// Regions make every picture over distance another one than it seems: whoever opens such a file should know.
fn regions_told(acquisition: &Acquisition) -> Option<Finding> {
    let more = acquisition.regions.len().checked_sub(1)?;
    let behind = if more == 0 { "" } else { &*format!(", and {more} more") };
    let first = acquisition.regions.first()?;
    let (channel, metres) = (first.first_channel + 1, first.start_m);
    Some(Finding::note(format!(
        "channels are not evenly spaced: a region of its own begins with channel {channel} at {metres} m{behind}"
    )))
}

/// Leaves off rows that were allocated but never written.
fn only_written(capture: &mut Capture) {
    let Some(written) = capture.rows.written().filter(|written| *written < capture.total_rows) else { return };
    capture
        .notes
        .push(Finding::note(format!("{written} of {} rows were written: the others are left off", capture.total_rows)));
    capture.total_rows = written;
    capture.anchors.retain(|anchor| anchor.row < written.max(1));
}
