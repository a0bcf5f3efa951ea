//! One window of some channels, from history to sums of power. Scratch memory is owned and reused; nothing survives in
//! it from one window to the next.
//!
//! This is the seam for faster kernels: all that a lane asks is "this window of these channels, added to these sums".
//! Here it is one `rustfft` a channel over `nfft/2` pairs of samples (the usual real transform of half the length), and
//! the untangling of its output fused with the squared magnitude, for the bins that are needed and no others.

use std::ops::Range;

use rustfft::num_complex::Complex;

use super::history::History;
use super::plan::{Output, Plan};

pub(super) struct Transform {
    /// Windowed samples, two by two.
    pairs: Vec<Complex<f32>>,
    tangled: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// `|2 X_k|²` of the bins that are needed.
    power: Vec<f32>,
}

impl Transform {
    pub(super) fn new(plan: &Plan) -> Self {
        let zeros = |len| vec![Complex::ZERO; len];
        Self {
            pairs: zeros(plan.nfft() / 2),
            tangled: zeros(plan.nfft() / 2),
            scratch: zeros(plan.fft.get_outofplace_scratch_len()),
            power: vec![0.0; plan.bins().len()],
        }
    }

    /// The window of `nfft` traces from `first` on: `|2 X_k|²` of every channel, DC and Nyquist halved, summed over
    /// bands when the plan says so, added to `sums` (`[channel][value]`) or, for the first window of a line, replacing.
    pub(super) fn add(&mut self, plan: &Plan, history: &History, first: u64, sums: &mut [f32], replace: bool) {
        let bins = plan.bins();
        for (channel, sums) in sums.chunks_exact_mut(plan.values_per_channel()).enumerate() {
            let (older, newer) = history.read(channel, first, plan.nfft());
            window_pairs(&mut self.pairs, older, newer, plan.window());
            plan.fft.process_outofplace_with_scratch(&mut self.pairs, &mut self.tangled, &mut self.scratch);
            powers(&self.tangled, &plan.twiddles, bins.clone(), &mut self.power);
            if let Output::BandEnergy(bands) = &plan.spec().output {
                for (sum, band) in sums.iter_mut().zip(bands) {
                    let energy = total(&self.power[band.start - bins.start..band.end - bins.start]);
                    *sum = if replace { energy } else { *sum + energy };
                }
            } else if replace {
                sums.copy_from_slice(&self.power);
            } else {
                sums.iter_mut().zip(&self.power).for_each(|(sum, p)| *sum += p);
            }
        }
    }
}

/// Multiplies by the window and makes pairs; the seam between the two pieces of history may fall within a pair.
fn window_pairs(out: &mut [Complex<f32>], older: &[f32], newer: &[f32], window: &[f32]) {
    let (head, tail) = out.split_at_mut(older.len() / 2);
    let (early, late) = window.split_at(older.len());
    multiply(head, older, early);
    match (older.as_chunks::<2>().1, newer) {
        (&[last], &[next, ref newer @ ..]) => {
            tail[0] = Complex::new(last * early[early.len() - 1], next * late[0]);
            multiply(&mut tail[1..], newer, &late[1..]);
        }
        _ => multiply(tail, newer, late),
    }
}

fn multiply(out: &mut [Complex<f32>], samples: &[f32], window: &[f32]) {
    let pairs = samples.as_chunks::<2>().0.iter().zip(window.as_chunks::<2>().0);
    for (out, ([a, b], [v, w])) in out.iter_mut().zip(pairs) {
        *out = Complex::new(a * v, b * w);
    }
}

/// `|2 X_k|²` of `bins`, DC and Nyquist halved, from the transform `Z` of the pairs. With `m = nfft/2`:
/// `2 X_k = Z_k + Z*_{m−k} − i·exp(−2πi k/nfft)·(Z_k − Z*_{m−k})`, indices modulo `m`.
fn powers(tangled: &[Complex<f32>], twiddles: &[Complex<f32>], bins: Range<usize>, out: &mut [f32]) {
    let m = tangled.len();
    let inner = bins.start.max(1)..bins.end.min(m);
    if bins.start == 0 {
        out[0] = 2.0 * (tangled[0].re + tangled[0].im).powi(2);
    }
    if bins.end == m + 1 {
        out[bins.len() - 1] = 2.0 * (tangled[0].re - tangled[0].im).powi(2);
    }
    if inner.is_empty() {
        return;
    }
    let mirrored = tangled[m + 1 - inner.end..=m - inner.start].iter().rev();
    let inputs = tangled[inner.clone()].iter().zip(mirrored).zip(&twiddles[inner.clone()]);
    for (out, ((a, b), w)) in out[inner.start - bins.start..].iter_mut().zip(inputs) {
        let (sum, difference) = (a + b.conj(), a - b.conj());
        let turned = w * difference;
        let (re, im) = (sum.re + turned.im, sum.im - turned.re);
        *out = re * re + im * im;
    }
}

/// Sum in eight parts, so that it vectorises and loses no accuracy in long bands.
fn total(powers: &[f32]) -> f32 {
    let (eights, rest) = powers.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, p)| *sum += p);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
