//! One window of some channels, from history to sums of power. Scratch memory is owned and reused; nothing survives in
//! it from one window to the next.
//!
//! This is the seam for faster kernels: all that a lane asks is "this window of these channels, added to these sums".
//! Here it is one `realfft` a channel, between the window multiplication and the squared magnitude of the bins asked for.

use std::ops::Range;

use realfft::num_complex::Complex;

use super::history::History;
use super::plan::{Output, Plan};

pub(super) struct Transform {
    windowed: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Transform {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            windowed: plan.fft.make_input_vec(),
            spectrum: plan.fft.make_output_vec(),
            scratch: plan.fft.make_scratch_vec(),
        }
    }

    /// The window of `nfft` traces from `first` on: `|X_k|²` of every channel, DC and Nyquist halved, summed over bands
    /// when the plan says so, added to `sums` (`[channel][value]`) or, for the first window of a line, replacing them.
    pub(super) fn add(&mut self, plan: &Plan, history: &History, first: u64, sums: &mut [f32], replace: bool) {
        for (channel, sums) in sums.chunks_exact_mut(plan.values_per_channel()).enumerate() {
            let (older, newer) = history.read(channel, first, plan.nfft());
            self.spectrum_of(plan, older, newer);
            match &plan.spec().output {
                Output::BandEnergy(bands) => {
                    for (sum, band) in sums.iter_mut().zip(bands) {
                        let energy = energy(&self.spectrum[band.clone()]);
                        *sum = if replace { energy } else { *sum + energy };
                    }
                }
                Output::Power(bins) | Output::Amplitude(bins) | Output::Decibel { bins, .. } => {
                    powers(&self.spectrum, bins, sums, replace);
                }
            }
        }
    }

    fn spectrum_of(&mut self, plan: &Plan, older: &[f32], newer: &[f32]) {
        let (early, late) = plan.window().split_at(older.len());
        let (head, tail) = self.windowed.split_at_mut(older.len());
        multiply(head, older, early);
        multiply(tail, newer, late);
        plan.fft
            .process_with_scratch(&mut self.windowed, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers were made by this very plan");
        // One-sided: every bin but DC and Nyquist stands for two, so these two count half.
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let last = self.spectrum.len() - 1;
        self.spectrum[0] *= half;
        self.spectrum[last] *= half;
    }
}

fn multiply(out: &mut [f32], samples: &[f32], window: &[f32]) {
    for ((out, x), w) in out.iter_mut().zip(samples).zip(window) {
        *out = x * w;
    }
}

fn powers(spectrum: &[Complex<f32>], bins: &Range<usize>, sums: &mut [f32], replace: bool) {
    let spectrum = &spectrum[bins.clone()];
    if replace {
        sums.iter_mut().zip(spectrum).for_each(|(sum, x)| *sum = x.re * x.re + x.im * x.im);
    } else {
        sums.iter_mut().zip(spectrum).for_each(|(sum, x)| *sum += x.re * x.re + x.im * x.im);
    }
}

/// Sum of squared magnitudes, in eight partial sums so that it vectorises and loses no accuracy in long bands.
fn energy(spectrum: &[Complex<f32>]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (fours, rest) = spectrum.as_chunks::<4>();
    for four in fours {
        for (i, x) in four.iter().enumerate() {
            sums[2 * i] += x.re * x.re;
            sums[2 * i + 1] += x.im * x.im;
        }
    }
    let rest: f32 = rest.iter().map(Complex::norm_sqr).sum();
    sums.iter().sum::<f32>() + rest
}
