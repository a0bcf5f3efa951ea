//! Where the samples of a group are, one trace after the other: counts as they lie in their blocks, or conditioned samples
//! in a row of their own.
//!
//! Counts of one group are eight to a cache line and a row apart. The groups of a cell follow each other, so a line is
//! read from memory once, and the line behind it, which the next cell needs, is what the hardware fetches by itself:
//! asking for it by hand was measured to cost 6 to 16 %.

use fearless_simd::Simd;

use super::Counts;
use super::butterfly::Vector;

/// Consecutive traces of a group of channels.
pub(super) trait Traces<S: Simd, V: Vector<S>>: Copy {
    /// How many.
    fn traces(self) -> usize;
    /// The first so many, and the rest.
    fn split_at(self, traces: usize) -> (Self, Self);
    /// The samples of one of them.
    fn load(self, simd: S, trace: usize) -> V;
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
}
