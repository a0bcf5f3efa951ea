//! Counts as they lie in their blocks: a table of rows, no copy. A window is a piece of the table, whatever the length of
//! blocks and hops; the blocks are held as long as windows may still reach into them.
//!
//! ```text
//! block 6   ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  trace 1500   ◄── Traces: one row a trace
//!           ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  trace 1501
//! block 7   █████████████████████████  trace 1502   ◄── new
//!           └──────┴──────┴──────┘
//!            32 channels, a cache line: Cells are the table of one tile
//! ```
//! Tables are made anew for every block; [`Spare`] keeps their memory, so that this allocates nothing.

use std::ops::Range;

use super::along::Ring;
use super::lanes::{CELL_CHANNELS, Cell, Counts, Level, Samples as Rows, Window};
use super::rows::{self, Raw, Samples};
use super::store::Store;

/// Consecutive traces of counts, all channels.
pub struct Traces<'a> {
    first_trace: u64,
    rows: Vec<&'a [i16]>,
}

/// Memory of a table that is not in use.
pub struct Spare<T: ?Sized + 'static>(Vec<&'static T>);

impl<T: ?Sized> Default for Spare<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: ?Sized> Spare<T> {
    /// Room for `len` entries.
    pub fn reserve(&mut self, len: usize) {
        self.0.reserve(len);
    }

    fn take<'a>(&mut self) -> Vec<&'a T> {
        std::mem::take(&mut self.0)
    }

    fn put(&mut self, mut table: Vec<&T>) {
        table.clear();
        // Nothing is left that could live too short, and collecting takes the memory over.
        self.0 = table.into_iter().map(|_| unreachable!("cleared")).collect();
    }
}

impl<'a> Traces<'a> {
    /// A table without rows in `spare` memory; the first row will be that of `first_trace`.
    pub fn new(first_trace: u64, spare: &mut Spare<[i16]>) -> Self {
        Self { first_trace, rows: spare.take() }
    }

    /// The oldest trace.
    pub const fn first_trace(&self) -> u64 {
        self.first_trace
    }

    /// Behind the newest trace.
    pub const fn end(&self) -> u64 {
        self.first_trace.saturating_add(self.rows.len() as u64)
    }

    /// Adds the traces of a block.
    ///
    /// # Panics
    /// When these are no counts, or rows are not padded to [whole cache lines](crate::block::ROW_ALIGN).
    pub fn push(&mut self, raw: Raw<'a>) {
        let Samples::I16(samples) = raw.samples() else { panic!("counts are 16-bit integers") };
        assert!(raw.stride().is_multiple_of(CELL_CHANNELS), "rows of {} samples", raw.stride());
        let whole = raw.channels().next_multiple_of(CELL_CHANNELS);
        self.rows.extend(samples.chunks_exact(raw.stride()).take(raw.traces()).map(|row| &row[..whole]));
    }

    /// Some thousand counts from all over `channels` channels and all traces, counted from the newest of their channel: a
    /// level that stands is no signal.
    pub fn some(&self, channels: usize) -> impl Iterator<Item = i32> {
        // Steps that have nothing in common with periods of the signal.
        let (rows, within) = (self.rows.len() / 61 + 1, channels / 127 + 1);
        let newest = self.rows.last();
        let rows = self.rows.iter().rev().step_by(rows);
        rows.flat_map(move |row| {
            let pairs = row[..channels.min(row.len())].iter().zip(newest.into_iter().flat_map(|row| row.iter()));
            pairs.step_by(within).map(|(now, newest)| i32::from(*now) - i32::from(*newest))
        })
    }

    /// Gives the memory back.
    pub fn put_away(self, spare: &mut Spare<[i16]>) {
        spare.put(self.rows);
    }
}

/// The same for the channels of a tile.
pub struct Cells<'a> {
    first_trace: u64,
    traces: usize,
    /// `[cell][trace]`.
    table: Vec<&'a Cell>,
}

impl<'a> Cells<'a> {
    /// The cells of `channels`, which begin with one, from trace `from` on.
    pub(super) fn new(traces: &Traces<'a>, from: u64, channels: &Range<usize>, spare: &mut Spare<Cell>) -> Self {
        debug_assert!(channels.start.is_multiple_of(CELL_CHANNELS), "a tile begins with a cell");
        let from = from.clamp(traces.first_trace, traces.end());
        let rows = &traces.rows[(from - traces.first_trace) as usize..];
        let mut table = spare.take();
        for first in channels.clone().step_by(CELL_CHANNELS) {
            let number = first / CELL_CHANNELS;
            table.extend(rows.iter().map(|row| &row.as_chunks().0[number]));
        }
        Self { first_trace: from, traces: rows.len(), table }
    }

    /// All cells of `channels`, a range that begins with a multiple of 32, in memory of their own.
    pub fn of(traces: &Traces<'a>, channels: &Range<usize>) -> Self {
        Self::new(traces, 0, channels, &mut Spare::default())
    }

    /// Gives the memory back.
    pub(super) fn put_away(self, spare: &mut Spare<Cell>) {
        spare.put(self.table);
    }

    fn counts(&self, group: usize, lanes: usize, first: u64, traces: usize) -> Counts<'_> {
        let channel = group * lanes;
        Counts { cells: self.rows(channel / CELL_CHANNELS, first, traces), first: channel % CELL_CHANNELS }
    }

    fn rows(&self, cell: usize, first: u64, traces: usize) -> &[&'a Cell] {
        &self.table[cell * self.traces..][(first - self.first_trace) as usize..][..traces]
    }
}

/// Where a lane reads: the newest traces of its tile.
#[derive(Clone, Copy)]
pub enum History<'a> {
    /// Counts where they lie.
    Counts(&'a Cells<'a>),
    /// Conditioned samples.
    Conditioned(&'a Store),
    /// Band energies as they come, of one block.
    Energies(Energies<'a>),
}

/// Lines of band energy of the channels of a tile, as they lie in a block.
#[derive(Clone, Copy)]
pub struct Energies<'a> {
    /// The first of them.
    pub first_trace: u64,
    /// A row each.
    pub rows: rows::Rows<'a, f32>,
}

impl<'a> History<'a> {
    /// Behind the last trace.
    pub(super) const fn position(self) -> u64 {
        match self {
            Self::Counts(cells) => cells.first_trace.saturating_add(cells.traces as u64),
            Self::Conditioned(store) => store.position(),
            Self::Energies(lines) => lines.first_trace.saturating_add(lines.rows.traces() as u64),
        }
    }

    /// The oldest trace that is here.
    pub(super) const fn first_trace(self) -> u64 {
        match self {
            Self::Counts(cells) => cells.first_trace,
            Self::Conditioned(store) => store.first_trace(),
            Self::Energies(lines) => lines.first_trace,
        }
    }

    /// Whether traces `first .. first + traces` are all here.
    pub(super) fn holds(self, first: u64, traces: usize) -> bool {
        first >= self.first_trace() && self.position().checked_sub(first).is_some_and(|here| here >= traces as u64)
    }

    /// `traces` traces from `first` on, which must be here, of the channels of group `group` of `lanes`, above `level`.
    pub(super) fn window(self, group: usize, lanes: usize, first: u64, traces: usize, level: Level) -> Window<'a> {
        let samples = match self {
            Self::Counts(cells) => Rows::I16(cells.counts(group, lanes, first, traces)),
            Self::Conditioned(store) => Rows::F32(store.window(group, first, traces)),
            Self::Energies(_) => unreachable!("lines of band energy are not transformed"),
        };
        Window { samples, level }
    }

    /// What a window that holds `trace` is taken for: the sample there, of each channel of the group.
    pub(super) fn level(self, group: usize, lanes: usize, trace: u64) -> Level {
        match self {
            Self::Counts(cells) => cells.counts(group, lanes, trace, 1).row(0, lanes),
            Self::Conditioned(store) => store.level(group, trace),
            Self::Energies(_) => unreachable!("lines of band energy are not transformed"),
        }
    }

    /// Writes those of `traces` that are here, of `channels`, one alone or a group, to the lanes of a ring.
    pub(super) fn copy(self, channels: &Range<usize>, traces: Range<u64>, ring: &mut Ring) {
        let first = traces.start.max(self.first_trace());
        let Some(traces) = self.position().min(traces.end).checked_sub(first) else { return };
        let traces = traces as usize;
        match self {
            Self::Counts(cells) => {
                let place = channels.start % CELL_CHANNELS;
                let cells = cells.rows(channels.start / CELL_CHANNELS, first, traces);
                ring.write_rows(first, cells.iter(), |row, cell| {
                    let counts = &cell[place..place + channels.len()];
                    row.iter_mut().zip(counts).for_each(|(sample, &count)| *sample = f64::from(count));
                });
            }
            Self::Conditioned(store) => {
                let (lanes, place) = (store.lanes(), channels.start % store.lanes());
                let window = store.window(channels.start / lanes, first, traces);
                ring.write_rows(first, 0..traces, |row, n| {
                    let samples = &window.row(n, lanes)[place..place + channels.len()];
                    row.copy_from_slice(samples);
                });
            }
            Self::Energies(_) => unreachable!("lines of band energy are not kept"),
        }
    }
}
