//! Light: how bright each channel is, and the complex field of raw interrogators.

use super::math::{gaussian_table, hash};
use super::scene::{Format, Scene};

/// Independent readings (frequencies, polarisations) that an instrument with demodulated output combines against fading.
const DIVERSITY: usize = 3;

/// Field amplitude of each channel, 1 = ordinary brightness at the start of the fiber: Rayleigh-distributed with unit
/// mean square where there is fading (the root mean square of three such for demodulated output), times the attenuation
/// of the way there and back.
pub(super) fn brightness(scene: &Scene) -> Vec<f64> {
    let f = &scene.fiber;
    let readings = if scene.interrogator.sample_format == Format::Iq16 { 1 } else { DIVERSITY };
    let gaussians = gaussian_table(hash(scene.seed, 0x20, 0), 2 * readings * f.channels.max(2));
    (0..f.channels)
        .map(|c| {
            // Power falls by 2αz dB there and back, the field by half as many.
            let loss_db = f.attenuation_db_per_km * f.dx_m * c as f64 / 1000.0;
            let of_channel = &gaussians[2 * readings * c..2 * readings * (c + 1)];
            let power = of_channel.iter().map(|x| x * x).sum::<f64>() / of_channel.len() as f64;
            let rayleigh = if f.fading { power.sqrt() } else { 1.0 };
            rayleigh * 10f64.powf(-loss_db / 10.0)
        })
        .collect()
}

/// Standard deviation of differential phase in radians for a channel of ordinary brightness.
fn receiver_rad(scene: &Scene) -> f64 {
    scene.noise.receiver_rad_per_sqrt_hz * (scene.interrogator.prr_hz / 2.0).sqrt()
}

/// Standard deviation of each channel's differential phase in radians: noise of both ends of the gauge, each inversely
/// to its brightness. A phase cannot be more unknown than evenly spread over a turn, π/√3.
pub(super) fn phase_noise(scene: &Scene, brightness: &[f64]) -> Vec<f32> {
    let (one, gauge) = (receiver_rad(scene), scene.gauge_channels());
    let unknown = std::f64::consts::PI / 3f64.sqrt();
    (0..brightness.len())
        .map(|c| {
            let (near, far) = (brightness[c.checked_sub(gauge).unwrap_or(c)], brightness[c]);
            let both = (0.5 / (near * near) + 0.5 / (far * far)).sqrt();
            if one > 0.0 { (one * both).min(unknown) as f32 } else { 0.0 }
        })
        .collect()
}

/// The complex field along the fiber: amplitude, static random phase, and what strain adds to it.
///
/// Phases are fractions of a turn in 32 bits, so that sums along the fiber wrap by themselves and stay exact however
/// long the fiber is.
pub(super) struct Field {
    amplitude: Vec<f32>,
    resting: Vec<u32>,
    /// 2⁻³² turns of optical path for one nanostrain over one channel.
    units_per_nstrain: f32,
    /// 2⁻³² turns over one channel for a radian over the gauge.
    units_per_gauge_rad: f64,
    /// Standard deviation of each quadrature of receiver noise, in counts.
    pub(super) noise_counts: f32,
    turns: Vec<i32>,
}

impl Field {
    pub(super) fn new(scene: &Scene, brightness: &[f64]) -> Self {
        const UNITS_PER_RAD: f64 = 4_294_967_296.0 / std::f64::consts::TAU;
        let counts = scene.interrogator.iq_amplitude_counts;
        let share = scene.fiber.dx_m / scene.fiber.gauge_length_m;
        Self {
            amplitude: brightness.iter().map(|&b| (b * counts) as f32).collect(),
            resting: (0..brightness.len()).map(|c| hash(scene.seed, 0x21, c as u64) as u32).collect(),
            units_per_nstrain: (scene.rad_per_nstrain() * share * UNITS_PER_RAD) as f32,
            units_per_gauge_rad: share * UNITS_PER_RAD,
            // Quadrature noise s on amplitude A is s/A of phase at one end, √2 s/A over the gauge.
            noise_counts: (receiver_rad(scene) / std::f64::consts::SQRT_2 * counts) as f32,
            turns: vec![0; brightness.len()],
        }
    }

    /// Sums strain and laser drift (radians over the gauge) along the fiber.
    pub(super) fn advance(&mut self, strain: &[f32], drift_rad: f64) {
        let drift = (drift_rad * self.units_per_gauge_rad) as i64 as u32;
        let mut sum = 0u32;
        for ((turns, &resting), &strain) in self.turns.iter_mut().zip(&self.resting).zip(strain) {
            sum = sum.wrapping_add((strain * self.units_per_nstrain) as i32 as u32).wrapping_add(drift);
            *turns = sum.wrapping_add(resting).cast_signed();
        }
    }

    /// Writes channels `from..from + re.len()` as interleaved counts; `lit` says how many of them have light.
    pub(super) fn write(&self, from: usize, lit: usize, re: &[f32], im: &[f32], out: &mut [i16]) {
        let count = out.len() / 2;
        let (amplitude, turns) = (&self.amplitude[from..from + count], &self.turns[from..from + count]);
        let noise = self.noise_counts;
        for c in 0..count {
            let light = if c < lit { amplitude[c] } else { 0.0 };
            let (sin, cos) = sin_cos(turns[c]);
            out[2 * c] = to_i16(light * cos + noise * re[c]);
            out[2 * c + 1] = to_i16(light * sin + noise * im[c]);
        }
    }
}

/// Sine and cosine of `turns` · 2⁻³² of a turn, error below 2e-7.
#[inline]
fn sin_cos(turns: i32) -> (f32, f32) {
    // x is in half turns, [-1, 1); both are sines of an angle within a quarter turn.
    let x = turns as f32 * (1.0 / 2_147_483_648.0);
    let magnitude = x.abs();
    let sin = quarter_sine(0.5 - (magnitude - 0.5).abs());
    (sin.copysign(x), quarter_sine(0.5 - magnitude))
}

/// sin(πy) for |y| ≤ 1/2 by Taylor's series.
#[inline]
fn quarter_sine(y: f32) -> f32 {
    let z = y * std::f32::consts::PI;
    let z2 = z * z;
    z * (1.0
        - z2 * (1.0 / 6.0
            - z2 * (1.0 / 120.0 - z2 * (1.0 / 5040.0 - z2 * (1.0 / 362_880.0 - z2 * (1.0 / 39_916_800.0))))))
}

/// Nearest integer (halves to even), saturated to ±32767: an instrument's digitiser stops at its last count.
#[inline]
pub(super) fn to_i16(x: f32) -> i16 {
    // 1.5 · 2²³ leaves the integer in the lowest bits of the float: one addition where SSE2 has no rounding.
    const MAGIC: f32 = 12_582_912.0;
    (x.clamp(-32_767.0, 32_767.0) + MAGIC).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_and_saturated() {
        for (x, count) in [(0.5, 0), (1.5, 2), (-0.6, -1), (32_766.6, 32_767), (1e9, 32_767), (-1e9, -32_767)] {
            assert_eq!(to_i16(x), count, "{x}");
        }
        for i in -32_767..=32_767i16 {
            assert_eq!(to_i16(f32::from(i) + 0.25), i);
        }
    }

    #[test]
    fn the_field_turns_through_the_whole_circle() {
        for i in 0..100_000u32 {
            let turns = (i * 42_949).cast_signed();
            let (sin, cos) = sin_cos(turns);
            let angle = f64::from(turns) / 2_147_483_648.0 * std::f64::consts::PI;
            assert!((f64::from(sin) - angle.sin()).abs() < 4e-7 && (f64::from(cos) - angle.cos()).abs() < 4e-7);
        }
    }
}
