//! Which pieces of a file are played: those that follow each other in time, one after the other; of those side by side
//! on the fiber, the first. Pure.

use super::capture::{Anchor, Capture, Rows, RowsError};
use super::playlist::is_same_acquisition;
use super::times::missing_traces;
use crate::source::Finding;

/// Pieces that overlap by less than this follow each other.
const SIDE_BY_SIDE_NS: i64 = 100_000_000;

/// The pieces that are played, in order of time, each with its index in the file.
pub(super) type InTurn = Vec<(usize, Capture)>;

/// What is played of the pieces of the file `name`, and what is to be said of the others.
pub(super) fn in_turn(pieces: Vec<Capture>, name: &str) -> (InTurn, Vec<Finding>) {
    let mut sorted: InTurn = pieces.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, piece)| piece.span_ns().0);
    let (mut played, mut notes): (InTurn, Vec<Finding>) = (Vec::new(), Vec::new());
    notes.extend(other_bands(&mut sorted, name));
    for (index, piece) in sorted {
        match played.last() {
            Some((_, before)) if piece.span_ns().0 < before.span_ns().1.saturating_sub(SIDE_BY_SIDE_NS) => {
                let (this, that) = (&piece.piece, &before.piece);
                notes.push(Finding::warning(format!(
                    "{this} lies beside {that} in time and is left out; name it to read it: {name}#{this}"
                )));
            }
            _ => played.push((index, piece)),
        }
    }
    (played, notes)
}

/// Leaves the first of several bands that the interrogator computed of the same time, and tells of the others.
fn other_bands(pieces: &mut InTurn, name: &str) -> Option<Finding> {
    let (first, band) = pieces.iter().find_map(|(_, piece)| Some((piece.piece.clone(), piece.acquisition.band?)))?;
    let others = pieces.extract_if(.., |(_, piece)| piece.acquisition.band.is_some() && piece.piece != first);
    let others: Vec<String> = others
        .filter_map(|(_, Capture { piece, acquisition, .. })| {
            let band = acquisition.band?;
            Some(format!("{piece} ({} to {} Hz)", band.low_hz, band.high_hz))
        })
        .collect();
    let last = others.last()?.split(' ').next().unwrap_or_default();
    Some(Finding::note(format!(
        "{first} is read, the band of {} to {} Hz; beside it there are {}: name one to read it, as in {name}#{last}",
        band.low_hz,
        band.high_hz,
        others.join(", ")
    )))
}

/// Rows of pieces that follow each other, as if they were one.
struct Joined {
    /// Each with its first row, and behind its last.
    pieces: Vec<(u64, u64, Box<dyn Rows>)>,
}

impl Rows for Joined {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        let at = self.pieces.partition_point(|(_, end, _)| *end <= first).min(self.pieces.len() - 1);
        let (begin, end, piece) = &mut self.pieces[at];
        // What is asked for beyond this piece comes with the next call.
        let here = (rows as u64).min(*end - first) as usize;
        piece.read(first - *begin, here, out).map_err(|error| match error {
            RowsError::Damaged { good_from, why } => RowsError::Damaged { good_from: good_from + *begin, why },
            RowsError::Fatal(error) => RowsError::Fatal(error),
        })
    }
}

/// A piece of a file that is another acquisition than the first: another layout, or another rate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OtherPiece {
    /// What it is called behind the `#`.
    pub name: String,
    /// Its traces.
    pub traces: u64,
    /// Its channels.
    pub channels: usize,
    /// Its traces a second.
    pub prr_hz: f64,
}

/// Whether a piece goes on where another ended.
fn is_sequel(whole: &Capture, piece: &Capture) -> bool {
    let is_measured = whole.rate_is_measured || piece.rate_is_measured;
    is_same_acquisition(&whole.acquisition, &piece.acquisition, is_measured)
}

/// The pieces of a file that are one acquisition, as one capture: the first, and those behind it that are alike. Of others
/// it is said that they are there, and what they are.
pub(super) fn joined(played: InTurn) -> Option<(Capture, Vec<OtherPiece>)> {
    let mut pieces = played.into_iter().map(|(_, piece)| piece);
    let mut whole = pieces.next()?;
    let (alike, others): (Vec<_>, Vec<_>) = pieces.partition(|piece| is_sequel(&whole, piece));
    let other = |Capture { piece, acquisition: a, total_rows, .. }: Capture| OtherPiece {
        name: piece,
        traces: total_rows,
        channels: a.channels,
        prr_hz: a.prr.to_f64(),
    };
    let others: Vec<_> = others.into_iter().map(other).collect();
    for OtherPiece { name, traces, channels, prr_hz } in &others {
        let text = format!("{name}: {traces} traces of {channels} channels at {prr_hz} Hz follow: name it to see them");
        whole.notes.push(Finding::note(text));
    }
    if alike.is_empty() {
        return Some((whole, others));
    }
    let mut ends = whole.span_ns().1;
    let mut rows = vec![(0, whole.total_rows, whole.rows)];
    for piece in alike {
        let begin = whole.total_rows;
        let (start_ns, end_ns) = piece.span_ns();
        let missing = missing_traces(whole.acquisition.prr, ends, start_ns, piece.jitter_ns);
        ends = end_ns;
        let later = piece.anchors.into_iter().enumerate().map(|(nth, anchor)| Anchor {
            row: anchor.row + begin,
            gap_before: if nth == 0 { u64::try_from(missing).ok() } else { anchor.gap_before },
            ..anchor
        });
        whole.anchors.extend(later);
        whole.total_rows += piece.total_rows;
        whole.notes.extend(piece.notes);
        rows.push((begin, whole.total_rows, piece.rows));
    }
    Some((Capture { rows: Box::new(Joined { pieces: rows }), ..whole }, others))
}
