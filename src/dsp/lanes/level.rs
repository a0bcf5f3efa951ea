//! The level of a window that stands far from zero: whether there is one, and how it is put back into the spectrum.

use fearless_simd::Simd;

use super::butterfly::{Complex, Vector};
use super::load::{Traces, vector};
use super::schedule::{MOST_PEAKS, Schedule};
use super::{Level, MOST_LANES};

/// The powers so far, where a level will be put back: zero where nothing is added to.
#[inline(always)]
pub(super) fn peaks<S: Simd, V: Vector<S>>(simd: S, schedule: &Schedule, sums: &[f32], add: bool) -> [V; MOST_PEAKS] {
    let mut before = [V::splat(simd, 0.0); MOST_PEAKS];
    if add {
        let positions = std::iter::once(schedule.real_end.position).chain(schedule.peaks.iter().map(|p| p.position));
        for (before, position) in before.iter_mut().zip(positions) {
            *before = V::from_slice(simd, &sums[position * V::LEN..][..V::LEN]);
        }
    }
    before
}

/// Which lanes of a window stand so far from zero that rounding would show, by a look at four of its traces; `None` when none
/// does, as mostly, and a level would cost a tenth for nothing. Noise on a level of less than its range fourfold keeps 1e-5.
#[inline(always)]
pub(super) fn far<S: Simd, V: Vector<S>, T: Traces<S, V>>(simd: S, samples: T) -> Option<Far> {
    let eighth = samples.traces() / 8;
    let (a, b) = (samples.load(simd, eighth), samples.load(simd, 3 * eighth));
    let (c, d) = (samples.load(simd, 5 * eighth), samples.load(simd, 7 * eighth));
    let range = a.max(b).max(c.max(d)) - a.min(b).min(c.min(d));
    let excess = a.max(-a) - range * V::splat(simd, 4.0);
    let mut lanes = Far([0.0; MOST_LANES]);
    excess.store_slice(&mut lanes.0[..V::LEN]);
    lanes.0.iter().any(|&excess| excess > 0.0).then_some(lanes)
}

/// Larger than zero for lanes that stand far from it.
pub(super) struct Far([f32; MOST_LANES]);

impl Far {
    /// These numbers for lanes that stand far from zero, nothing for the others.
    #[inline(always)]
    pub(super) fn of(self, row: Level) -> Level {
        std::array::from_fn(
            #[inline(always)]
            |lane| if self.0[lane] > 0.0 { row[lane] } else { 0.0 },
        )
    }
}

/// Puts the level of the window back into the bins that the spectrum of the window function has: what its last butterfly
/// was made of is still there. Lanes without a level stay as they are.
#[inline(always)]
pub(super) fn put_back<S: Simd, V: Vector<S>>(
    simd: S,
    schedule: &Schedule,
    level: &Level,
    (complex, real): (&[Complex<V>], &[V]),
    before: [V; MOST_PEAKS],
    sums: &mut [f32],
) {
    let end = &schedule.real_end;
    let vector = vector::<S, V>(simd, level);
    let mut constant = vector * V::splat(simd, schedule.constant);
    for &x in &real[end.from..end.from + end.len] {
        constant += x;
    }
    let half = constant * V::splat(simd, 0.5);
    put::<S, V>(level, half.mul_add(constant, before[0]), &mut sums[end.position * V::LEN..]);
    for (peak, before) in schedule.peaks.iter().zip(&before[1..]) {
        let (mut re, mut im) = (vector * V::splat(simd, peak.weight), V::splat(simd, 0.0));
        for (z, &[cos, sin]) in complex[peak.range.clone()].iter().zip(&peak.turns) {
            let (cos, sin) = (V::splat(simd, cos), V::splat(simd, sin));
            re = z.im.mul_add(-sin, z.re.mul_add(cos, re));
            im = z.re.mul_add(sin, z.im.mul_add(cos, im));
        }
        put::<S, V>(level, re.mul_add(re, im.mul_add(im, *before)), &mut sums[peak.position * V::LEN..]);
    }
}

/// Replaces sums of the lanes that have a level.
#[inline(always)]
fn put<S: Simd, V: Vector<S>>(level: &Level, power: V, sums: &mut [f32]) {
    for ((sum, power), level) in sums.iter_mut().zip(power.as_slice()).zip(level) {
        if level.abs() > 0.0 {
            *sum = *power;
        }
    }
}
