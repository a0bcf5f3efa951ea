//! Steady and passing waves: a pump's tone, an earthquake, and the exactly known tone for tests.

use std::ops::Range;

use super::super::math::{cos_turns, gaussian_table, hash, sin_turns};
use super::super::scene::Source;
use super::{Line, Spreading, band_pass_loop};

/// Strength of a pump's fundamental and its harmonics.
const HARMONICS: [f64; 3] = [1.0, 0.4, 0.15];

/// A machine that stands: a tone and its harmonics, running away to both sides.
pub(super) struct Pump {
    channels: Range<usize>,
    frequency_hz: f64,
    /// For each harmonic and channel: the factors of sin ωt and cos ωt.
    in_phase: [Vec<f32>; 3],
    quadrature: [Vec<f32>; 3],
}

impl Pump {
    pub(super) fn new(line: Line, source: &Source) -> Self {
        let place = source.place_m.unwrap_or(line.start_m + line.dx_m * line.channels as f64 / 2.0);
        let frequency_hz = source.frequency_hz.unwrap_or(24.5);
        let strength = source.strength_nstrain.unwrap_or(8.0);
        let wave_speed = source.wave_speed_m_per_s.unwrap_or(300.0);
        let spreading = Spreading::new(source.reach_m.unwrap_or(80.0));
        let channels = line.between(place - spreading.reach_m, place + spreading.reach_m);
        // sin(2πhf(t − d/v)) = cos(φ) sin(2πhft) − sin(φ) cos(2πhft) with φ = 2πhfd/v.
        let factors = |harmonic: usize, wave: fn(f64) -> f64| -> Vec<f32> {
            let of = |c| {
                let delta = line.offset_m(place, c).abs();
                let turns = (harmonic + 1) as f64 * frequency_hz * f64::from(delta) / wave_speed;
                (strength * HARMONICS[harmonic] * f64::from(spreading.at(delta)) * wave(turns)) as f32
            };
            channels.clone().map(of).collect()
        };
        Self {
            in_phase: std::array::from_fn(|h| factors(h, cos_turns)),
            quadrature: std::array::from_fn(|h| factors(h, |turns| -sin_turns(turns))),
            channels,
            frequency_hz,
        }
    }

    pub(super) fn add(&self, t: f64, strain: &mut [f32]) -> Range<usize> {
        for h in 0..HARMONICS.len() {
            let turns = (h + 1) as f64 * self.frequency_hz * t;
            let (sin, cos) = (sin_turns(turns) as f32, cos_turns(turns) as f32);
            let factors = self.in_phase[h].iter().zip(&self.quadrature[h]);
            for (out, (i, q)) in strain[self.channels.clone()].iter_mut().zip(factors) {
                *out += i * sin + q * cos;
            }
        }
        self.channels.clone()
    }
}

/// A plane wave that passes the whole fiber: first P, then the stronger S, then a coda that dies away.
pub(super) struct Quake {
    line: Line,
    place_m: f64,
    inverse_speed: f32,
    rate_hz: f64,
    seismogram: Vec<f32>,
}

impl Quake {
    pub(super) fn new(line: Line, source: &Source, duration_s: f64, seed: u64) -> Self {
        let frequency = source.frequency_hz.unwrap_or(4.0);
        // Enough points a period for linear interpolation, and never more than a few million in all.
        let rate_hz = (frequency * 64.0).min(2e6 / duration_s);
        let len = (duration_s * rate_hz) as usize;
        let phase = |number: u64, arrival: f64, rise: f64, decay: f64, strength: f64| {
            let mut noise = gaussian_table(hash(seed, 3, number), len.max(2));
            band_pass_loop(&mut noise, frequency / rate_hz);
            super::normalise(&mut noise);
            for (i, x) in noise.iter_mut().enumerate() {
                let s = i as f64 / rate_hz - arrival;
                let envelope = if s <= 0.0 { 0.0 } else { (s / rise).min(1.0) * (-s / decay).exp() };
                *x *= envelope * strength / 2.0;
            }
            noise
        };
        let strength = source.strength_nstrain.unwrap_or(60.0);
        let p = phase(0, 0.0, 0.3, duration_s / 12.0, 0.25 * strength);
        let s = phase(1, duration_s / 8.0, 0.6, duration_s / 8.0, strength);
        let mut seismogram: Vec<f32> = p.iter().zip(&s).map(|(p, s)| (p + s) as f32).collect();
        seismogram.push(0.0);
        Self {
            line,
            place_m: source.place_m.unwrap_or(line.start_m),
            inverse_speed: (1.0 / source.wave_speed_m_per_s.unwrap_or(4000.0)) as f32,
            rate_hz,
            seismogram,
        }
    }

    pub(super) fn add(&self, t: f64, strain: &mut [f32]) -> Range<usize> {
        let (rate, now) = (self.rate_hz as f32, t as f32);
        let last = self.seismogram.len() - 2;
        for (c, out) in strain.iter_mut().enumerate() {
            let delta = self.line.offset_m(self.place_m, c).abs();
            let position = ((now - delta * self.inverse_speed) * rate).max(0.0);
            let index = (position as usize).min(last);
            let (a, b) = (self.seismogram[index], self.seismogram[index + 1]);
            *out += a + (position - index as f32).min(1.0) * (b - a);
        }
        0..self.line.channels
    }
}

/// ε(t) = strength · sin(2πft), the same on a range of channels and nothing elsewhere.
pub(super) struct Tone {
    channels: Range<usize>,
    frequency_hz: f64,
    strength: f64,
}

impl Tone {
    pub(super) fn new(line: Line, source: &Source) -> Self {
        let min = source.channel_min.unwrap_or(1);
        let max = source.channel_max.unwrap_or(line.channels);
        Self {
            channels: min.saturating_sub(1).min(max)..max,
            frequency_hz: source.frequency_hz.unwrap_or(50.0),
            strength: source.strength_nstrain.unwrap_or(10.0),
        }
    }

    pub(super) fn add(&self, t: f64, strain: &mut [f32]) -> Range<usize> {
        let value = (self.strength * sin_turns(self.frequency_hz * t)) as f32;
        strain[self.channels.clone()].iter_mut().for_each(|out| *out += value);
        self.channels.clone()
    }
}
