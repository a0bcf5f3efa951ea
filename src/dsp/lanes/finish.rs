//! From powers, `[place][lane]` as the kernel leaves them, to what was asked for, `[channel][value]`: decibels and
//! amplitudes of bins, turned round four by four in registers, and sums over bands.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x4};

use super::butterfly::Vector;
use super::{Form, MOST_LANES, Out};
use crate::dsp::decibel::{DB_PER_OCTAVE, DECIBEL, DECIBEL_OF_BIAS};

/// Bins and channels that are turned round together.
const EDGE: usize = 4;

/// Bins that are formed before they are turned round: few enough to stay in the first-level cache.
const CHUNK: usize = 64;

/// The powers at `positions`, bin by bin, in the `form` asked for. Returns the smallest and the largest value.
#[inline(always)]
pub(super) fn spectrum<S: Simd, V: Vector<S>>(
    simd: S,
    powers: &[f32],
    positions: &[u32],
    form: Form,
    out: Out<'_>,
) -> (f32, f32) {
    let (bins, Out { values, per_channel, lanes }) = (positions.len(), out);
    assert!(per_channel == bins && values.len() == lanes.len() * bins, "room for {bins} bins a channel");
    let mut memory = [0.0f32; CHUNK * MOST_LANES];
    let mut extrema = (V::splat(simd, f32::INFINITY), V::splat(simd, f32::NEG_INFINITY));
    for (positions, bin) in positions.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let rows = &mut memory[..positions.len() * V::LEN];
        match form {
            Form::Power { factor } => form_rows::<S, V>(
                simd,
                powers,
                positions,
                rows,
                &mut extrema,
                #[inline(always)]
                |power| power * factor,
            ),
            Form::Amplitude { factor } => form_rows::<S, V>(
                simd,
                powers,
                positions,
                rows,
                &mut extrema,
                #[inline(always)]
                |power| (power * factor).sqrt(),
            ),
            Form::Decibel { factor, reference_db } => form_rows::<S, V>(
                simd,
                powers,
                positions,
                rows,
                &mut extrema,
                #[inline(always)]
                |power| decibel(simd, power * factor, reference_db),
            ),
        }
        for first in (0..V::LEN).step_by(EDGE) {
            turn::<S, V>(simd, rows, first, bin, &lanes, bins, values);
        }
    }
    let (smallest, largest) = (&extrema.0.as_slice()[lanes.clone()], &extrema.1.as_slice()[lanes]);
    (smallest.iter().copied().fold(f32::INFINITY, f32::min), largest.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

#[inline(always)]
fn form_rows<S: Simd, V: Vector<S>>(
    simd: S,
    powers: &[f32],
    positions: &[u32],
    rows: &mut [f32],
    extrema: &mut (V, V),
    form: impl Fn(V) -> V,
) {
    let (mut smallest, mut largest) = *extrema;
    for (row, &position) in rows.chunks_exact_mut(V::LEN).zip(positions) {
        let values = form(at(simd, powers, position));
        (smallest, largest) = (smallest.min(values), largest.max(values));
        values.store_slice(row);
    }
    *extrema = (smallest, largest);
}

/// Lanes `first … first + 3` of `rows`, `[bin][lane]`, into the rows of their channels from `bin` on.
#[inline(always)]
fn turn<S: Simd, V: Vector<S>>(
    simd: S,
    rows: &[f32],
    first: usize,
    bin: usize,
    lanes: &Range<usize>,
    bins: usize,
    values: &mut [f32],
) {
    let count = rows.len() / V::LEN;
    let mut begin = 0;
    if lanes.start <= first && first + EDGE <= lanes.end {
        let channels = &mut values[(first - lanes.start) * bins..][..EDGE * bins];
        let (a, rest) = channels.split_at_mut(bins);
        let (b, rest) = rest.split_at_mut(bins);
        let (c, d) = rest.split_at_mut(bins);
        let (a, b) = (a[bin..bin + count].as_chunks_mut().0, b[bin..bin + count].as_chunks_mut().0);
        let (c, d) = (c[bin..bin + count].as_chunks_mut().0, d[bin..bin + count].as_chunks_mut().0);
        for ((((rows, a), b), c), d) in rows.chunks_exact(EDGE * V::LEN).zip(a).zip(b).zip(c).zip(d) {
            let corner = [
                f32x4::from_slice(simd, &rows[first..first + EDGE]),
                f32x4::from_slice(simd, &rows[V::LEN + first..V::LEN + first + EDGE]),
                f32x4::from_slice(simd, &rows[2 * V::LEN + first..2 * V::LEN + first + EDGE]),
                f32x4::from_slice(simd, &rows[3 * V::LEN + first..3 * V::LEN + first + EDGE]),
            ];
            let [w, x, y, z] = transposed(corner);
            (*a, *b, *c, *d) = (w.to_array(), x.to_array(), y.to_array(), z.to_array());
        }
        begin = count / EDGE * EDGE;
    }
    // What does not make whole fours: the last bins, and groups of which only some channels are wanted.
    for lane in first.max(lanes.start)..(first + EDGE).min(lanes.end) {
        let channel = &mut values[(lane - lanes.start) * bins + bin..][..count];
        for (value, row) in channel[begin..].iter_mut().zip(rows.chunks_exact(V::LEN).skip(begin)) {
            *value = row[lane];
        }
    }
}

/// One value a channel: `factor ×` the sum of powers at `positions`.
#[inline(always)]
pub(super) fn energies<S: Simd, V: Vector<S>>(simd: S, powers: &[f32], positions: &[u32], factor: f32, out: Out<'_>) {
    // Four sums, so that no addition waits for the one before.
    let mut sums = [V::splat(simd, 0.0); 4];
    let (fours, rest) = positions.as_chunks::<4>();
    for four in fours {
        for (sum, &position) in sums.iter_mut().zip(four) {
            *sum += at::<S, V>(simd, powers, position);
        }
    }
    for (sum, &position) in sums.iter_mut().zip(rest) {
        *sum += at::<S, V>(simd, powers, position);
    }
    let mut row = [0.0f32; MOST_LANES];
    (((sums[0] + sums[1]) + (sums[2] + sums[3])) * factor).store_slice(&mut row[..V::LEN]);
    for (value, lane) in out.values.iter_mut().step_by(out.per_channel).zip(out.lanes) {
        *value = row[lane];
    }
}

#[inline(always)]
fn at<S: Simd, V: Vector<S>>(simd: S, powers: &[f32], position: u32) -> V {
    let at = position as usize * V::LEN;
    V::from_slice(simd, &powers[at..at + V::LEN])
}

/// As [`crate::dsp::decibel`] does it for one number: exponent and a polynomial of the mantissa.
#[inline(always)]
fn decibel<S: Simd, V: Vector<S>>(simd: S, power: V, reference_db: f32) -> V {
    const MANTISSA: u32 = 0x007f_ffff;
    const ONE: u32 = 0x3f80_0000;
    /// 2²³ as a float: with an integer below it in its mantissa it is that integer and 2²³ more.
    const MAGIC: u32 = 0x4b00_0000;
    let bits = power.max(V::splat(simd, f32::MIN_POSITIVE)).to_bits();
    let mantissa = V::from_bits((bits & MANTISSA) | ONE);
    let octaves = V::from_bits((bits >> 23) | MAGIC) - V::splat(simd, 8_388_608.0);
    let c = DECIBEL.map(
        #[inline(always)]
        |c| V::splat(simd, c),
    );
    let rest = octaves.mul_add(V::splat(simd, DB_PER_OCTAVE), V::splat(simd, DECIBEL_OF_BIAS - reference_db));
    let polynomial = c[4].mul_add(mantissa, c[3]).mul_add(mantissa, c[2]).mul_add(mantissa, c[1]);
    polynomial.mul_add(mantissa, rest + c[0])
}

/// Four rows to four columns.
#[inline(always)]
fn transposed<S: Simd>([a, b, c, d]: [f32x4<S>; 4]) -> [f32x4<S>; 4] {
    let (ac_low, ac_high) = (a.zip_low(c), a.zip_high(c));
    let (bd_low, bd_high) = (b.zip_low(d), b.zip_high(d));
    [ac_low.zip_low(bd_low), ac_low.zip_high(bd_low), ac_high.zip_low(bd_high), ac_high.zip_high(bd_high)]
}
