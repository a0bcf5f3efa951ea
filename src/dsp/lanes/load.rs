//! Where the samples of a group are, one trace after the other: counts as they lie in their blocks, or conditioned samples
//! in a row of their own. Also where memory is asked for before it is needed.

use fearless_simd::Simd;

use super::butterfly::Vector;
use super::prefetch::{LINE, prefetch, prefetch_behind};
use super::{CELL_CHANNELS, Counts};

/// Consecutive traces of a group of channels.
pub(super) trait Traces<S: Simd, V: Vector<S>>: Copy {
    /// How many.
    fn traces(self) -> usize;
    /// The first so many, and the rest.
    fn split_at(self, traces: usize) -> (Self, Self);
    /// The samples of one of them.
    fn load(self, simd: S, trace: usize) -> V;
    /// Asks for a part of what will be read after these: part `part` of `parts`. `next` is the group that comes after
    /// this one, if it lies elsewhere.
    fn ask_ahead(self, next: Option<Self>, part: usize, parts: usize);
}

impl<S: Simd, V: Vector<S>> Traces<S, V> for Counts<'_> {
    #[inline(always)]
    fn traces(self) -> usize {
        self.cells.len()
    }

    #[inline(always)]
    fn split_at(self, traces: usize) -> (Self, Self) {
        let (before, behind) = self.cells.split_at(traces);
        (Self { cells: before, ..self }, Self { cells: behind, ..self })
    }

    #[inline(always)]
    fn load(self, simd: S, trace: usize) -> V {
        let counts = &self.cells[trace][self.first..self.first + V::LEN];
        V::from_fn(
            simd,
            #[inline(always)]
            |lane| f32::from(counts[lane]),
        )
    }

    // Each group of a cell asks for its share of the neighbouring cell, which is the next cache line of every row. Rows
    // are pages apart, so the hardware would not notice what is wanted.
    #[inline(always)]
    fn ask_ahead(self, _: Option<Self>, part: usize, parts: usize) {
        if self.ahead {
            let share = self.cells.len() * V::LEN / CELL_CHANNELS;
            let begin = self.cells.len() * self.first / CELL_CHANNELS;
            for cell in &self.cells[begin + share * part / parts..begin + share * (part + 1) / parts] {
                prefetch_behind(cell);
            }
        }
    }
}

impl<S: Simd, V: Vector<S>> Traces<S, V> for &[f32] {
    #[inline(always)]
    fn traces(self) -> usize {
        self.len() / V::LEN
    }

    #[inline(always)]
    fn split_at(self, traces: usize) -> (Self, Self) {
        <[f32]>::split_at(self, traces * V::LEN)
    }

    #[inline(always)]
    fn load(self, simd: S, trace: usize) -> V {
        V::from_slice(simd, &self[trace * V::LEN..][..V::LEN])
    }

    #[inline(always)]
    fn ask_ahead(self, next: Option<Self>, part: usize, parts: usize) {
        let Some(next) = next else { return };
        let share = self.len() / parts;
        for at in (part * share..(part + 1) * share).step_by(LINE / size_of::<f32>()) {
            prefetch(next, at);
        }
    }
}
