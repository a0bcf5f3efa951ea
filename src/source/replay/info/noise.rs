//! Noise floor: what is left of the spectrum between signals, of some channels along the fiber.
//!
//! Power spectra of windows that follow each other, Hann, without their mean, are averaged for each channel (Welch); the
//! floor of a channel is the median over the frequencies from 10 % to 90 % of the Nyquist frequency, so that single lines
//! and slow drift do not count. It is given as amplitude density, unit/√Hz, one-sided.

use std::f64::consts::TAU;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use serde::Serialize;

use super::channels::Spread;
use super::numbers::rounded;

/// Channels that are looked at, evenly along the fiber.
const MOST_CHANNELS: usize = 48;
/// Traces of a window.
const TRACES: std::ops::RangeInclusive<u64> = 64..=1024;
/// Windows that a run should give: one alone scatters widely.
const WINDOWS: u64 = 8;

/// The noise floor along the fiber.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// Amplitude density.
    pub density: Spread,
    /// Unit of it, `rad/sqrt(Hz)`; of counts `1/sqrt(Hz)`.
    pub unit: String,
    /// Lowest frequency that counts.
    #[serde(serialize_with = "rounded")]
    pub from_hz: f64,
    /// Highest frequency that counts.
    #[serde(serialize_with = "rounded")]
    pub to_hz: f64,
    /// Windows that were averaged, of each channel.
    pub windows: u64,
}

pub(super) struct Noise {
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    channels: Vec<usize>,
    /// For each of them the sum of spectra, and how many.
    sums: Vec<(Vec<f64>, u64)>,
    /// Values of each of them, until there are enough.
    waiting: Vec<Vec<f32>>,
    buffer: Vec<Complex<f32>>,
}

impl Noise {
    /// For runs of about so many traces; `None` when they are too short for a spectrum.
    pub(super) fn new(channels: usize, traces: u64) -> Option<Self> {
        if traces < *TRACES.start() {
            return None;
        }
        let nfft = 1usize << (traces / WINDOWS).clamp(*TRACES.start(), *TRACES.end()).ilog2();
        let count = channels.min(MOST_CHANNELS);
        let chosen: Vec<usize> = (0..count).map(|i| (2 * i + 1) * channels / (2 * count)).collect();
        let hann = |n: usize| (0.5 - 0.5 * (TAU * n as f64 / nfft as f64).cos()) as f32;
        Some(Self {
            fft: FftPlanner::new().plan_fft_forward(nfft),
            window: (0..nfft).map(hann).collect(),
            sums: vec![(vec![0.0; nfft / 2], 0); count],
            waiting: vec![Vec::with_capacity(nfft); count],
            buffer: vec![Complex::default(); nfft],
            channels: chosen,
        })
    }

    /// The next trace does not follow the one before.
    pub(super) fn interrupt(&mut self) {
        self.waiting.iter_mut().for_each(Vec::clear);
    }

    /// One trace.
    pub(super) fn add(&mut self, trace: &[f32]) {
        for (values, &channel) in self.waiting.iter_mut().zip(&self.channels) {
            values.extend(trace.get(channel));
        }
        if self.waiting.first().is_some_and(|values| values.len() == self.window.len()) {
            (0..self.waiting.len()).for_each(|number| self.transform(number));
            self.interrupt();
        }
    }

    fn transform(&mut self, number: usize) {
        let values = &self.waiting[number];
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        if !mean.is_finite() {
            return;
        }
        for (cell, (value, weight)) in self.buffer.iter_mut().zip(values.iter().zip(&self.window)) {
            *cell = Complex::new((value - mean) * weight, 0.0);
        }
        self.fft.process(&mut self.buffer);
        let (sums, count) = &mut self.sums[number];
        sums.iter_mut().zip(&self.buffer).for_each(|(sum, cell)| *sum += f64::from(cell.norm_sqr()));
        *count += 1;
    }

    /// What came out; `None` without a single window.
    pub(super) fn finish(&self, prr_hz: f64, scale: f64, unit: &str) -> Option<NoiseFloor> {
        let nfft = self.window.len();
        let weight: f64 = self.window.iter().map(|&w| f64::from(w).powi(2)).sum();
        let bins = nfft / 20..(nfft * 9).div_ceil(20);
        let floor = |(sums, count): &(Vec<f64>, u64)| {
            let mut inside = sums[bins.clone()].to_vec();
            inside.sort_by(f64::total_cmp);
            // The median of a mean over so many windows lies below its expectation, by Wilson and Hilferty.
            let below = (1.0 - 1.0 / (9.0 * *count as f64)).powi(3);
            (2.0 * inside[inside.len() / 2] / (*count as f64 * below * weight * prr_hz)).sqrt() * scale.abs()
        };
        let seen = || self.sums.iter().filter(|(_, count)| *count > 0);
        let unit = if unit.is_empty() { "1" } else { unit };
        Some(NoiseFloor {
            density: Spread::of(seen().map(floor).collect())?,
            unit: if unit.contains('/') { format!("({unit})/sqrt(Hz)") } else { format!("{unit}/sqrt(Hz)") },
            from_hz: bins.start as f64 * prr_hz / nfft as f64,
            to_hz: bins.end as f64 * prr_hz / nfft as f64,
            windows: seen().map(|(_, count)| *count).max().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    /// White noise of variance σ² at a rate f has the one-sided density σ √(2 / f); lines and offsets do not count.
    #[test]
    fn white_noise_has_the_density_that_it_was_made_with() {
        let (sigma, prr_hz) = (3.0, 500.0);
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let normal = Normal::new(0.0, sigma).expect("a deviation above zero");
        let mut noise = Noise::new(4, 8 * 1024).expect("long enough");
        for trace in 0..60 * 1024 {
            let line = 40.0 * (TAU * 50.0 * f64::from(trace) / prr_hz).sin();
            let row: Vec<f32> = (0..4).map(|_| (1e4 + line + normal.sample(&mut random)) as f32).collect();
            noise.add(&row);
        }
        let found = noise.finish(prr_hz, -0.5, "rad").expect("sixty windows");
        let right = 0.5 * sigma * (2.0f64 / prr_hz).sqrt();
        assert!((found.density.p50 / right - 1.0).abs() < 0.03, "{found:?}, expected {right}");
        assert_eq!((found.unit.as_str(), found.windows), ("rad/sqrt(Hz)", 60));
        assert!(Noise::new(4, 63).is_none());
    }
}
