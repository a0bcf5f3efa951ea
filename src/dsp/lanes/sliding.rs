//! Spectra whose windows overlap almost entirely: what display clients ask for, a line every few traces. The spectrum of
//! one window is that of the one before, plus what the new traces bring, minus what the old ones take away; for a few
//! traces and some hundred bins that is cheaper than a whole transform.
//!
//! Kept for each bin `k` is `S_k = Σ x[t]·exp(−2πi·k·t/N)` over the traces of the window, without a window function and
//! with the phase of the absolute trace number, so that nothing ever turns: traces `t` and `t + N` have the same factor,
//! and a step adds `Σ (x[t + N] − x[t])·exp(−2πi·k·t/N)` over the `h` traces of a hop. Around the middle of the hop that
//! is a sum of cosines over sums of mirrored samples and of sines over their differences, turned to its place once. A window function of two cosine terms is then three taps over neighbouring bins:
//! `X_k = a₀·S_k − a₁/2·(exp(−iφ)·S_{k−1} + exp(iφ)·S_{k+1})`, `φ = 2π·start/N`.
//!
//! Error: each step rounds `S` once. After `n` steps the error of an amplitude is about `√n·6e-8` of the largest that the
//! bin (without the window function) has had since sums were last made afresh; they are every [`REFRESH_LINES`] lines,
//! and whenever traces are missing, so it stays below 3e-6 (−110 dB). A standing level is no part of that: differences do not
//! see it, and sums are made afresh above it, which changes that of the constant alone.

use std::f64::consts::{PI, TAU};

use fearless_simd::Simd;

use super::butterfly::{Complex, Vector, power};
use super::load::Traces;

/// Lines after which sums are made afresh: rare enough to cost a few percent.
pub(in crate::dsp) const REFRESH_LINES: u64 = 1024;

/// Longest hop that slides.
const MAX_HOP: usize = super::LEVEL_TRACES;

/// Bins that are worked on together: with two groups, as many sums as there are registers for beside what is read.
const BINS: usize = 3;

/// Tables for one hop: for each few bins and each pair of mirrored traces, their cosines and their sines.
pub(super) struct Hop {
    traces: usize,
    table: Vec<[f32; 2 * BINS]>,
}

/// See the module.
pub(in crate::dsp) struct Sliding {
    nfft: usize,
    /// Bins that are wanted: from `low`, `bins` of them. Sums are kept for one more on either side.
    low: usize,
    bins: usize,
    /// The hops that the line grid has: one, or two of neighbouring lengths.
    hops: Vec<Hop>,
    /// `exp(−πi·m/N)`, `m = 0 … 2N − 1`.
    turns: Vec<[f32; 2]>,
    /// `a₀` and `a₁/2` of the window.
    taps: [f32; 2],
}

impl Sliding {
    /// Whether sliding is possible, for windows up to `longest` traces apart, with the cosine `terms` of the window, and
    /// cheaper than a whole transform that takes `whole_ns` a trace for eight lanes.
    pub(in crate::dsp) fn pays(nfft: usize, longest: usize, bins: usize, terms: &[f64], whole_ns: f64) -> bool {
        // In nanoseconds for eight lanes, measured with AVX2: a bin of the sums.
        let slide = bins as f64 * (0.21 * longest as f64 + 3.4);
        terms.len() <= 2 && longest <= MAX_HOP.min(nfft / 2) && slide <= 0.9 * whole_ns * nfft as f64
    }

    /// For windows of `nfft` traces, `shortest` to `longest` traces apart, and `bins` bins from `low` on, where it
    /// [pays](Self::pays).
    pub(in crate::dsp) fn new(
        nfft: usize,
        (shortest, longest): (usize, usize),
        low: usize,
        bins: usize,
        terms: &[f64],
    ) -> Self {
        let hops = (shortest..=longest).map(|traces| Hop::new(nfft, traces, low, bins)).collect();
        let turn = |m: usize| {
            let (sin, cos) = (PI * m as f64 / nfft as f64).sin_cos();
            [cos as f32, -sin as f32]
        };
        let taps = [terms[0] as f32, (terms.get(1).unwrap_or(&0.0) / 2.0) as f32];
        Self { nfft, low, bins, hops, turns: (0..2 * nfft).map(turn).collect(), taps }
    }

    /// The bins that sums are kept for: the first, which may be −1, and how many.
    pub(in crate::dsp) const fn rows(&self) -> (i64, usize) {
        (self.low as i64 - 1, rows(self.bins))
    }

    /// Window length in traces.
    pub(in crate::dsp) const fn nfft(&self) -> usize {
        self.nfft
    }

    /// Powers that come out, a vector of channels each: the bins in order.
    pub(in crate::dsp) const fn stored(&self) -> usize {
        self.bins
    }

    /// Where the power of `bin` is stored.
    pub(in crate::dsp) const fn position(&self, bin: usize) -> u32 {
        (bin - self.low) as u32
    }

    /// Which of the sums is that of the constant, if it is kept.
    pub(in crate::dsp) const fn constant_row(&self) -> Option<usize> {
        if self.low <= 1 { Some(1 - self.low) } else { None }
    }

    /// Vectors of the sums of one group.
    pub(in crate::dsp) const fn state_len(&self) -> usize {
        2 * rows(self.bins)
    }

    /// Longest hop, in traces.
    pub(in crate::dsp) fn longest_hop(&self) -> usize {
        self.hops.last().map_or(0, |hop| hop.traces)
    }

    /// Whether there is a table for a hop of so many traces.
    pub(in crate::dsp) fn has_hop(&self, traces: u64) -> bool {
        self.hops.iter().any(|hop| hop.traces as u64 == traces)
    }

    /// Vectors of scratch memory that a step needs.
    pub(super) fn scratch_len(&self) -> usize {
        4 * self.longest_hop().div_ceil(2)
    }
}

/// Bins that sums are kept for, in whole steps.
const fn rows(bins: usize) -> usize {
    (bins + 2).next_multiple_of(BINS)
}

impl Hop {
    fn new(nfft: usize, traces: usize, low: usize, bins: usize) -> Self {
        let mut table = Vec::new();
        for first in (0..rows(bins)).step_by(BINS) {
            for pair in 0..traces.div_ceil(2) {
                let mut entry = [0.0; 2 * BINS];
                for i in 0..BINS {
                    // Row 0 is the bin below the lowest, which may be −1.
                    let bin = (low + first + i) as f64 - 1.0;
                    let distance = (traces - 1) as f64 / 2.0 - pair as f64;
                    let (sin, cos) = (TAU * bin * distance / nfft as f64).sin_cos();
                    (entry[i], entry[BINS + i]) = (cos as f32, sin as f32);
                }
                table.push(entry);
            }
        }
        Self { traces, table }
    }
}

/// A step of one group: traces to add, as many to take away, `nfft` traces earlier, if there are such, and the sums.
pub(super) struct Step<'a, T> {
    pub(super) new: T,
    pub(super) old: Option<T>,
    pub(super) state: &'a mut [f32],
}

/// Takes a step with one group, or with two, which share the reading of the tables. The first of the new traces is trace
/// `first`; there is at most one hop of them, and a hop that is not full counts as full of zeros.
#[inline(always)]
pub(super) fn slide<S: Simd, V: Vector<S>, T: Traces<S, V>, const GROUPS: usize>(
    simd: S,
    plan: &Sliding,
    first: u64,
    steps: [Step<'_, T>; GROUPS],
    scratch: &mut [V],
) {
    let count = steps[0].new.traces();
    let hop = plan.hops.iter().find(|hop| hop.traces >= count).expect("a hop that the plan knows");
    let pairs = hop.traces.div_ceil(2);
    // For each pair of mirrored traces: the sum for each group, then the difference for each.
    let scratch = &mut scratch[..2 * GROUPS * pairs];
    for (pair, folded) in scratch.chunks_exact_mut(2 * GROUPS).enumerate() {
        let mirrored = hop.traces - 1 - pair;
        for (i, step) in steps.iter().enumerate() {
            let early = change(simd, step.new, step.old, pair);
            (folded[i], folded[GROUPS + i]) = if mirrored == pair {
                (early, V::splat(simd, 0.0))
            } else {
                let late = change(simd, step.new, step.old, mirrored);
                (late + early, early - late)
            };
        }
    }
    let scratch = &*scratch;
    let circle = 2 * plan.nfft;
    // Twice the trace in the middle of the hop, so that it is whole.
    let middle = (2 * (first % plan.nfft as u64) as usize + hop.traces - 1) % circle;
    let states = steps.map(|step| step.state);
    for (table, row) in hop.table.chunks_exact(pairs).zip((0..).step_by(BINS)) {
        let mut re = [[V::splat(simd, 0.0); GROUPS]; BINS];
        let mut im = [[V::splat(simd, 0.0); GROUPS]; BINS];
        for (folded, entry) in scratch.chunks_exact(2 * GROUPS).zip(table) {
            for bin in 0..BINS {
                let (cos, sin) = (V::splat(simd, entry[bin]), V::splat(simd, entry[BINS + bin]));
                for i in 0..GROUPS {
                    re[bin][i] = folded[i].mul_add(cos, re[bin][i]);
                    im[bin][i] = folded[GROUPS + i].mul_add(sin, im[bin][i]);
                }
            }
        }
        for bin in 0..BINS {
            // Bin −1 is bin 2N − 1 on a circle of 2N.
            let number = plan.low + row + bin + circle - 1;
            let [w_re, w_im] = plan.turns[(number * middle) & (circle - 1)];
            let (w_re, w_im) = (V::splat(simd, w_re), V::splat(simd, w_im));
            for i in 0..GROUPS {
                let state = &mut states[i][(row + bin) * 2 * V::LEN..][..2 * V::LEN];
                let (state_re, state_im) = state.split_at_mut(V::LEN);
                let (re, im) = (re[bin][i], im[bin][i]);
                let sum_re = re.mul_add(w_re, V::from_slice(simd, state_re));
                let sum_im = re.mul_add(w_im, V::from_slice(simd, state_im));
                im.mul_add(-w_im, sum_re).store_slice(state_re);
                im.mul_add(w_re, sum_im).store_slice(state_im);
            }
        }
    }
}

/// New minus old at trace `n` of a step; nothing beyond its end.
#[inline(always)]
fn change<S: Simd, V: Vector<S>, T: Traces<S, V>>(simd: S, new: T, old: Option<T>, n: usize) -> V {
    if n >= new.traces() {
        return V::splat(simd, 0.0);
    }
    match old {
        Some(old) => new.load(simd, n) - old.load(simd, n),
        None => new.load(simd, n),
    }
}

/// Powers of the window that begins with trace `start`, from sums over its traces; the constant and the highest bin
/// halved.
#[inline(always)]
pub(super) fn weigh<S: Simd, V: Vector<S>>(simd: S, plan: &Sliding, start: u64, state: &[f32], powers: &mut [f32]) {
    let [a0, half_a1] = plan.taps;
    let (sin, cos) = (TAU * (start % plan.nfft as u64) as f64 / plan.nfft as f64).sin_cos();
    let a0 = V::splat(simd, a0);
    let (cos, sin) = (V::splat(simd, half_a1 * cos as f32), V::splat(simd, half_a1 * sin as f32));
    let row = 2 * V::LEN;
    let below = state.chunks_exact(row);
    let at = state[row..].chunks_exact(row);
    let above = state[2 * row..].chunks_exact(row);
    for (((below, at), above), out) in below.zip(at).zip(above).zip(powers.chunks_exact_mut(V::LEN)) {
        let (below, at, above) =
            (complex::<S, V>(simd, below), complex::<S, V>(simd, at), complex::<S, V>(simd, above));
        let (sum_re, sum_im) = (below.re + above.re, below.im + above.im);
        let (difference_re, difference_im) = (above.re - below.re, above.im - below.im);
        // exp(−iφ)·below + exp(iφ)·above = cos φ·sum + i·sin φ·difference.
        let re = difference_im.mul_add(sin, at.re.mul_sub(a0, sum_re * cos));
        let im = at.im.mul_sub(a0, difference_re.mul_add(sin, sum_im * cos));
        power(Complex { re, im }).store_slice(out);
    }
    for bin in [0, plan.nfft / 2] {
        if (plan.low..plan.low + plan.bins).contains(&bin) {
            let out = &mut powers[(bin - plan.low) * V::LEN..][..V::LEN];
            (V::from_slice(simd, out) * 0.5).store_slice(out);
        }
    }
}

#[inline(always)]
fn complex<S: Simd, V: Vector<S>>(simd: S, row: &[f32]) -> Complex<V> {
    Complex { re: V::from_slice(simd, &row[..V::LEN]), im: V::from_slice(simd, &row[V::LEN..2 * V::LEN]) }
}
