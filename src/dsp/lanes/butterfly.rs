//! Butterflies on vectors of channels: decimation in frequency, real and imaginary parts apart, every twiddle a scalar
//! that all channels share. Nothing here knows where samples come from or where bins go.
//!
//! Everything is `#[inline(always)]`: a function that is not inlined into the entry of [`super::kernel`] would be
//! compiled without that entry's instruction set.

use std::f32::consts::FRAC_1_SQRT_2;

use fearless_simd::Simd;
use fearless_simd::prelude::*;

/// Neighbouring channels at one trace or bin.
pub(super) trait Vector<S: Simd>: SimdFloat<S, Element = f32> {}
impl<S: Simd, V: SimdFloat<S, Element = f32>> Vector<S> for V {}

/// Complex numbers, one a channel.
#[derive(Clone, Copy)]
pub(super) struct Complex<V> {
    pub(super) re: V,
    pub(super) im: V,
}

/// Real and imaginary part of the twiddles of one butterfly, three of them.
pub(super) type Twiddles = [f32; 6];

#[inline(always)]
fn add<S: Simd, V: Vector<S>>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    Complex { re: a.re + b.re, im: a.im + b.im }
}

#[inline(always)]
fn sub<S: Simd, V: Vector<S>>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    Complex { re: a.re - b.re, im: a.im - b.im }
}

/// `a + i b`.
#[inline(always)]
fn add_i<S: Simd, V: Vector<S>>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    Complex { re: a.re - b.im, im: a.im + b.re }
}

/// `a − i b`.
#[inline(always)]
fn sub_i<S: Simd, V: Vector<S>>(a: Complex<V>, b: Complex<V>) -> Complex<V> {
    Complex { re: a.re + b.im, im: a.im - b.re }
}

#[inline(always)]
fn times<S: Simd, V: Vector<S>>(simd: S, a: Complex<V>, re: f32, im: f32) -> Complex<V> {
    let (re, im) = (V::splat(simd, re), V::splat(simd, im));
    Complex { re: a.re.mul_sub(re, a.im * im), im: a.re.mul_add(im, a.im * re) }
}

/// `(re − i·minus_im) · (w_re + i·w_im)`, which saves changing a sign.
#[inline(always)]
fn conjugate_times<S: Simd, V: Vector<S>>(simd: S, re: V, minus_im: V, w_re: f32, w_im: f32) -> Complex<V> {
    let (w_re, w_im) = (V::splat(simd, w_re), V::splat(simd, w_im));
    Complex { re: re.mul_add(w_re, minus_im * w_im), im: re.mul_sub(w_im, minus_im * w_re) }
}

/// `|a|²`.
#[inline(always)]
pub(super) fn power<S: Simd, V: Vector<S>>(a: Complex<V>) -> V {
    a.re.mul_add(a.re, a.im * a.im)
}

/// What eight real samples, an eighth of a transform apart, become.
#[derive(Clone, Copy)]
pub(super) struct Eighth<V> {
    /// Of the real transform of a quarter of the length, bins `4q`: samples `n` and `n + N/8`.
    pub(super) real: [V; 2],
    /// Of three complex transforms of an eighth of the length: bins `8q + 2`, `8q + 1`, `8q + 5`. The other bins are
    /// conjugates of these, because the samples are real.
    pub(super) complex: [Complex<V>; 3],
}

/// One butterfly of the real pass. `w` holds `W^2n`, `W^n`, `W^5n` with `W = exp(−2πi/N)`.
#[inline(always)]
pub(super) fn real_eight<S: Simd, V: Vector<S>>(simd: S, x: [V; 8], w: &Twiddles) -> Eighth<V> {
    let (s0, s1, s2, s3) = (x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]);
    let (d0, d1, d2, d3) = (x[0] - x[4], x[1] - x[5], x[2] - x[6], x[3] - x[7]);
    // Bins 8q+1 and 8q+5: (d0 − i d2) ± (d1 − i d3)·(1 − i)/√2, where the last factor makes (d1 − d3) − i (d1 + d3).
    let (p, q) = (d1 - d3, d1 + d3);
    let (plus, minus) = (V::splat(simd, FRAC_1_SQRT_2), V::splat(simd, -FRAC_1_SQRT_2));
    Eighth {
        real: [s0 + s2, s1 + s3],
        complex: [
            conjugate_times(simd, s0 - s2, s1 - s3, w[0], w[1]),
            conjugate_times(simd, p.mul_add(plus, d0), q.mul_add(plus, d2), w[2], w[3]),
            conjugate_times(simd, p.mul_add(minus, d0), q.mul_add(minus, d2), w[4], w[5]),
        ],
    }
}

/// One butterfly of a complex pass: `w` holds `W^n`, `W^2n`, `W^3n`. Bins `4q`, `4q + 1`, `4q + 2`, `4q + 3`.
#[inline(always)]
pub(super) fn four<S: Simd, V: Vector<S>>(simd: S, z: [Complex<V>; 4], w: &Twiddles) -> [Complex<V>; 4] {
    let (s0, d0) = (add(z[0], z[2]), sub(z[0], z[2]));
    let (s1, d1) = (add(z[1], z[3]), sub(z[1], z[3]));
    [
        add(s0, s1),
        times(simd, sub_i(d0, d1), w[0], w[1]),
        times(simd, sub(s0, s1), w[2], w[3]),
        times(simd, add_i(d0, d1), w[4], w[5]),
    ]
}

/// Which outputs of a last butterfly are needed, in pairs `j` and `R − 1 − j`: these hold bins of the same slice of the
/// frequency axis, above and below zero. Bit `j` stands for pair `j`.
pub(super) type Pairs = u8;

/// The last butterfly of eight: powers of the outputs of the pairs in `PAIRS`; the others are 0.
#[inline(always)]
pub(super) fn last_eight<S: Simd, V: Vector<S>, const PAIRS: Pairs>(simd: S, z: &[Complex<V>; 8]) -> [V; 8] {
    let mut out = [V::splat(simd, 0.0); 8];
    let (s0, d0) = (add(z[0], z[4]), sub(z[0], z[4]));
    let (s1, d1) = (add(z[1], z[5]), sub(z[1], z[5]));
    let (s2, d2) = (add(z[2], z[6]), sub(z[2], z[6]));
    let (s3, d3) = (add(z[3], z[7]), sub(z[3], z[7]));
    let (plus, minus) = (V::splat(simd, FRAC_1_SQRT_2), V::splat(simd, -FRAC_1_SQRT_2));
    let wants = |pair: u8| PAIRS & (1 << pair) != 0;
    if wants(0) || wants(3) {
        let (even, odd) = (add(s0, s2), add(s1, s3));
        if wants(0) {
            out[0] = power(add(even, odd));
        }
        if wants(3) {
            out[4] = power(sub(even, odd));
        }
    }
    if wants(1) || wants(2) {
        let (even, odd) = (sub(s0, s2), sub(s1, s3));
        if wants(2) {
            out[2] = power(sub_i(even, odd));
        }
        if wants(1) {
            out[6] = power(add_i(even, odd));
        }
    }
    if wants(1) || wants(2) {
        // (d0 − i d2) ± (d1 − i d3)·(1 − i)/√2.
        let (even, odd) = (sub_i(d0, d2), sub_i(d1, d3));
        let (p, q) = (odd.re + odd.im, odd.im - odd.re);
        if wants(1) {
            out[1] = power(Complex { re: p.mul_add(plus, even.re), im: q.mul_add(plus, even.im) });
        }
        if wants(2) {
            out[5] = power(Complex { re: p.mul_add(minus, even.re), im: q.mul_add(minus, even.im) });
        }
    }
    if wants(0) || wants(3) {
        // (d0 + i d2) ± (d1 + i d3)·(−1 − i)/√2.
        let (even, odd) = (add_i(d0, d2), add_i(d1, d3));
        let (p, q) = (odd.im - odd.re, odd.re + odd.im);
        if wants(3) {
            out[3] = power(Complex { re: p.mul_add(plus, even.re), im: q.mul_add(minus, even.im) });
        }
        if wants(0) {
            out[7] = power(Complex { re: p.mul_add(minus, even.re), im: q.mul_add(plus, even.im) });
        }
    }
    out
}

/// The last butterfly of four, as [`last_eight`].
#[inline(always)]
pub(super) fn last_four<S: Simd, V: Vector<S>, const PAIRS: Pairs>(simd: S, z: &[Complex<V>; 4]) -> [V; 4] {
    let mut out = [V::splat(simd, 0.0); 4];
    let (s0, d0) = (add(z[0], z[2]), sub(z[0], z[2]));
    let (s1, d1) = (add(z[1], z[3]), sub(z[1], z[3]));
    if PAIRS & 1 != 0 {
        out[0] = power(add(s0, s1));
        out[3] = power(add_i(d0, d1));
    }
    if PAIRS & 2 != 0 {
        out[1] = power(sub_i(d0, d1));
        out[2] = power(sub(s0, s1));
    }
    out
}

/// The last butterfly of two: both powers.
#[inline(always)]
pub(super) fn last_two<S: Simd, V: Vector<S>>(z: &[Complex<V>; 2]) -> [V; 2] {
    [power(add(z[0], z[1])), power(sub(z[0], z[1]))]
}

/// A real transform of four, powers of bins 0, N/4 and N/2, the first and the last halved.
#[inline(always)]
pub(super) fn real_four<S: Simd, V: Vector<S>>(x: [V; 4]) -> [V; 3] {
    let (s0, s1) = (x[0] + x[2], x[1] + x[3]);
    let [constant, highest] = real_two([s0, s1]);
    [constant, power(Complex { re: x[0] - x[2], im: x[1] - x[3] }), highest]
}

/// A real transform of two, powers of bins 0 and N/2, halved.
#[inline(always)]
pub(super) fn real_two<S: Simd, V: Vector<S>>(x: [V; 2]) -> [V; 2] {
    let (sum, difference) = (x[0] + x[1], x[0] - x[1]);
    [sum * sum * 0.5, difference * difference * 0.5]
}
