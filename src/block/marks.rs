//! What a source says of single rows of a block: time stamps of their own, and how the interrogator was from there on.
//!
//! Stamps are few: sources leave those out that say nothing new. But a state may change with each row, so there is memory for
//! as many marks as rows; it is allocated with the block.

use std::ops::Range;

/// What an interrogator says of itself beside its traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstrumentState {
    /// Its receiver is overloaded.
    pub overloaded: bool,
    /// A calibration is running.
    pub calibrating: bool,
}

impl InstrumentState {
    /// What either says.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { overloaded: self.overloaded || other.overloaded, calibrating: self.calibrating || other.calibrating }
    }
}

/// What holds from one row on, up to the next mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The row.
    pub row: usize,
    /// UTC that the interrogator itself gave this row, nanoseconds since the UNIX epoch. `None`: nothing new was said.
    pub stamp_ns: Option<i64>,
    /// How the interrogator was.
    pub state: InstrumentState,
}

/// Marks in order of rows.
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    pub(super) fn for_rows(rows: usize) -> Self {
        Self(Vec::with_capacity(rows.max(1)))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, mark: Mark) {
        let rises = self.0.last().map_or(mark.row == 0, |last| last.row < mark.row);
        debug_assert!(rises, "marks rise from row 0 on");
        // One for each row fits.
        if rises && self.0.len() < self.0.capacity() {
            self.0.push(mark);
        }
    }

    pub(super) fn last_state(&self) -> Option<InstrumentState> {
        self.0.last().map(|mark| mark.state)
    }

    /// From mark to mark, within `rows` rows; without any mark one span that is stamped `utc_ns`.
    pub(super) fn spans(&self, utc_ns: i64, rows: usize) -> impl Iterator<Item = (Mark, Range<usize>)> {
        let unmarked = Mark { row: 0, stamp_ns: Some(utc_ns), state: InstrumentState::default() };
        let first = *self.0.first().unwrap_or(&unmarked);
        let further = self.0.iter().skip(1).copied();
        let ends = further.clone().map(|mark| mark.row).chain([rows]);
        let spans = std::iter::once(first).chain(further).zip(ends);
        spans.map(move |(mark, end)| (mark, mark.row..end.min(rows))).filter(|(_, span)| !span.is_empty())
    }
}
