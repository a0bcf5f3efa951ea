//! Which pieces of a file are played: those that follow each other in time, one after the other; of those side by side
//! on the fiber, the first. Pure.

use super::capture::Capture;

/// Pieces that overlap by less than this follow each other.
const SIDE_BY_SIDE_NS: i64 = 100_000_000;

/// The pieces that are played, in order of time, each with its index in the file.
pub(super) type InTurn = Vec<(usize, Capture)>;

/// What is played of the pieces of the file `name`, and what is to be said of the others.
pub(super) fn in_turn(pieces: Vec<Capture>, name: &str) -> (InTurn, Vec<String>) {
    let mut sorted: InTurn = pieces.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, piece)| piece.span_ns().0);
    let (mut played, mut notes): (InTurn, Vec<String>) = (Vec::new(), Vec::new());
    for (index, piece) in sorted {
        match played.last() {
            Some((_, before)) if piece.span_ns().0 < before.span_ns().1.saturating_sub(SIDE_BY_SIDE_NS) => {
                let (this, that) = (&piece.piece, &before.piece);
                notes.push(format!(
                    "{this} lies beside {that} in time and is left out; name it to read it: {name}#{this}"
                ));
            }
            _ => played.push((index, piece)),
        }
    }
    (played, notes)
}
