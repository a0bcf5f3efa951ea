//! Noise with stated spectra: the receiver's (white) and the laser's (falling with 1/f, common to all channels).

use super::math::{gaussian_table, hash};

/// Values in the table of white noise.
const TABLE: usize = 1 << 15;
/// Channels that share one draw from the table.
pub(super) const TILE: usize = 256;

/// White Gaussian noise of unit variance, drawn from a table.
///
/// For each tile of 256 channels of each trace a hash chooses where in a table of 32,768 numbers to read. So the noise
/// repeats itself: stretches of one tile come back, in other traces and shifted to other channels. Any one channel sees
/// independent draws from trace to trace, which is what makes its spectrum white; the correlation between two channels
/// of the same trace is that of the table, below 1 %. It costs a load instead of a random number.
pub(super) struct White {
    seed: u64,
    table: Vec<f32>,
}

impl White {
    pub(super) fn new(seed: u64) -> Self {
        let mut table: Vec<f32> = gaussian_table(hash(seed, 0x10, 0), TABLE).iter().map(|&x| x as f32).collect();
        table.extend_from_within(..TILE);
        Self { seed: hash(seed, 0x11, 0), table }
    }

    /// The draw for tile `tile` of `trace`; `stream` tells independent noises apart.
    #[inline]
    pub(super) fn tile(&self, trace: u64, tile: usize, stream: u64) -> &[f32] {
        let at = hash(self.seed, trace, (tile as u64) << 1 | stream) as usize % TABLE;
        &self.table[at..at + TILE]
    }
}

/// The laser's drift as it appears in differential phase, in radians: one-sided density
/// `h / sqrt(f² + f_c²)` rad/√Hz, i.e. h at 1 Hz, falling with 1/f above the corner `f_c` and level below it.
///
/// An Ornstein-Uhlenbeck process: the one thing that is remembered from trace to trace. Going back in time, or skipping,
/// runs it again from the start or up to there, so that it depends on the trace alone.
pub(super) struct Drift {
    seed: u64,
    keep: f64,
    step: f64,
    first: f64,
    trace: u64,
    value: f64,
    table: Vec<f32>,
}

impl Drift {
    pub(super) fn new(seed: u64, density_at_1hz: f64, corner_hz: f64, prr_hz: f64) -> Self {
        let table: Vec<f32> = gaussian_table(hash(seed, 0x12, 0), TABLE).iter().map(|&x| x as f32).collect();
        let keep = (-std::f64::consts::TAU * corner_hz / prr_hz).exp();
        // Variance = ∫ h² / (f² + f_c²) df from 0 to ∞.
        let deviation = density_at_1hz * (std::f64::consts::FRAC_PI_2 / corner_hz).sqrt();
        let first = deviation * f64::from(table[0]);
        Self { seed, keep, step: deviation * (1.0 - keep * keep).sqrt(), first, trace: 0, value: first, table }
    }

    /// The drift at `trace`.
    pub(super) fn at(&mut self, trace: u64) -> f64 {
        if trace < self.trace {
            (self.trace, self.value) = (0, self.first);
        }
        while self.trace < trace {
            self.trace += 1;
            let draw = self.table[hash(self.seed, 0x13, self.trace) as usize % TABLE];
            self.value = self.keep * self.value + self.step * f64::from(draw);
        }
        self.value
    }
}
