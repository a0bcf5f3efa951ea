//! Where the samples of a group are, one trace after the other: counts as they lie in their blocks, or conditioned samples
//! in rows of their own. A window's level is taken off as they are loaded: exactly of counts, and of what is stored above
//! levels of its own with one rounding of what is left.
//!
//! Counts of one group are eight to a cache line and a row apart. The groups of a cell follow each other, so a line is
//! read from memory once, and the line behind it, which the next cell needs, is what the hardware fetches by itself:
//! asking for it by hand was measured to cost 6 to 16 %.

use fearless_simd::Simd;

use super::butterfly::Vector;
use super::{Counts, Floats, LEVEL_TRACES, Level};

/// Consecutive traces of a group of channels.
pub(super) trait Traces<S: Simd, V: Vector<S>>: Copy {
    /// How many.
    fn traces(self) -> usize;
    /// The first so many, and the rest.
    fn split_at(self, traces: usize) -> (Self, Self);
    /// The samples of one of them, above the level.
    fn load(self, simd: S, trace: usize) -> V;
}

/// The numbers of a level that lanes have, as a vector.
#[inline(always)]
pub(super) fn vector<S: Simd, V: Vector<S>>(simd: S, level: &Level) -> V {
    V::from_fn(
        simd,
        #[inline(always)]
        |lane| level[lane] as f32,
    )
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

/// Counts above a level, which are whole numbers as they are.
#[derive(Clone, Copy)]
pub(super) struct CountsAbove<'a, V> {
    pub(super) counts: Counts<'a>,
    pub(super) level: V,
}

impl<S: Simd, V: Vector<S>> Traces<S, V> for CountsAbove<'_, V> {
    #[inline(always)]
    fn traces(self) -> usize {
        self.counts.cells.len()
    }

    #[inline(always)]
    fn split_at(self, traces: usize) -> (Self, Self) {
        let (before, behind) = <Counts<'_> as Traces<S, V>>::split_at(self.counts, traces);
        (Self { counts: before, ..self }, Self { counts: behind, ..self })
    }

    #[inline(always)]
    fn load(self, simd: S, trace: usize) -> V {
        let samples: V = self.counts.load(simd, trace);
        samples - self.level
    }
}

/// Samples whose levels are counted from that of the window.
#[derive(Clone, Copy)]
pub(super) struct FloatsAbove<'a, V> {
    rows: &'a [f32],
    levels: &'a [V],
    first: usize,
}

impl<'a, V> FloatsAbove<'a, V> {
    /// `levels` is room for as many levels as the samples have.
    #[inline(always)]
    pub(super) fn new<S: Simd>(simd: S, floats: Floats<'a>, level: &Level, levels: &'a mut [V]) -> Self
    where
        V: Vector<S>,
    {
        let Floats { rows, first, .. } = floats;
        let count = (first + rows.len() / V::LEN).div_ceil(LEVEL_TRACES);
        for (out, own) in levels[..count].iter_mut().zip(floats.levels.chunks_exact(V::LEN)) {
            *out = V::from_fn(
                simd,
                #[inline(always)]
                |lane| (own[lane] - level[lane]) as f32,
            );
        }
        Self { rows, levels, first }
    }
}

impl<S: Simd, V: Vector<S>> Traces<S, V> for FloatsAbove<'_, V> {
    #[inline(always)]
    fn traces(self) -> usize {
        self.rows.len() / V::LEN
    }

    #[inline(always)]
    fn split_at(self, traces: usize) -> (Self, Self) {
        let (before, behind) = self.rows.split_at(traces * V::LEN);
        (Self { rows: before, ..self }, Self { rows: behind, first: self.first + traces, ..self })
    }

    #[inline(always)]
    fn load(self, simd: S, trace: usize) -> V {
        V::from_slice(simd, &self.rows[trace * V::LEN..][..V::LEN]) + self.levels[(self.first + trace) / LEVEL_TRACES]
    }
}
