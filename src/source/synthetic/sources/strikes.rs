//! Blows on the ground: footsteps of a walker, a digger's spade. Each is a Ricker wavelet that spreads along the fiber.

use std::ops::Range;

use super::super::math::{hash, unit};
use super::super::scene::{Kind, Source};
use super::super::validate::WALKER_M_PER_S;
use super::{Line, Spreading, union};

/// Points of the wavelet's table over its support of three periods.
const POINTS: usize = 1536;

/// Strikes that follow each other, at a place that may move.
pub(super) struct Strikes {
    line: Line,
    place_m: f64,
    speed_m_per_s: f64,
    period_s: f64,
    /// Each strike comes up to this share of a period late.
    jitter: f64,
    strength: f64,
    support_s: f64,
    points_per_s: f32,
    inverse_wave_speed: f32,
    longest_delay_s: f64,
    spreading: Spreading,
    wavelet: Vec<f32>,
}

impl Strikes {
    pub(super) fn new(line: Line, source: &Source) -> Self {
        let walker = source.kind == Kind::Walker;
        let pick =
            |given: Option<f64>, walking: f64, digging: f64| given.unwrap_or(if walker { walking } else { digging });
        let length = line.dx_m * line.channels as f64;
        let reach = pick(source.reach_m, 60.0, 90.0);
        let wave_speed = source.wave_speed_m_per_s.unwrap_or(250.0);
        let support_s = 3.0 / pick(source.frequency_hz, 25.0, 35.0);
        Self {
            line,
            place_m: source.place_m.unwrap_or(line.start_m + if walker { 0.0 } else { length / 2.0 }),
            speed_m_per_s: if walker { source.speed_m_per_s.unwrap_or(WALKER_M_PER_S) } else { 0.0 },
            period_s: pick(source.strike_period_s, 0.55, 1.6),
            jitter: if walker { 0.1 } else { 0.45 },
            strength: pick(source.strength_nstrain, 12.0, 40.0),
            support_s,
            points_per_s: (POINTS as f64 / support_s) as f32,
            inverse_wave_speed: (1.0 / wave_speed) as f32,
            longest_delay_s: reach / wave_speed,
            spreading: Spreading::new(reach),
            wavelet: ricker(),
        }
    }

    /// `t` is the time since the walker set out.
    pub(super) fn add(&self, t: f64, seed: u64, strain: &mut [f32]) -> Range<usize> {
        let mut touched = 0..0;
        let earliest = t - self.support_s - self.longest_delay_s;
        let first = ((earliest / self.period_s - self.jitter).floor().max(0.0)) as u64;
        let last = (t / self.period_s).floor().max(0.0) as u64;
        for number in first..=last {
            let chance = |what: u64| unit(hash(seed, number, what));
            let at = (number as f64 + self.jitter * chance(0)) * self.period_s;
            let since = t - at;
            if since <= 0.0 {
                continue;
            }
            let strength = (self.strength * (0.7 + 0.6 * chance(1))) as f32;
            let place = self.place_m + self.speed_m_per_s * at;
            let channels = self.blow(place, since as f32, strength, strain);
            touched = union(touched, channels);
        }
        touched
    }

    /// One strike, `since` seconds ago.
    fn blow(&self, place_m: f64, since: f32, strength: f32, strain: &mut [f32]) -> Range<usize> {
        // No further than the wave has come.
        let reach = self.spreading.reach_m.min(f64::from(since / self.inverse_wave_speed));
        let channels = self.line.between(place_m - reach, place_m + reach);
        for c in channels.clone() {
            let delta = self.line.offset_m(place_m, c).abs();
            let position = (since - delta * self.inverse_wave_speed) * self.points_per_s;
            let index = position.max(0.0) as usize;
            if index < POINTS {
                let (a, b) = (self.wavelet[index], self.wavelet[index + 1]);
                let value = a + (position - index as f32) * (b - a);
                strain[c] += strength * self.spreading.at(delta) * value;
            }
        }
        channels
    }
}

/// Ricker wavelet of unit peak and peak frequency f over 3/f, centred; its ends are below 1e-8.
fn ricker() -> Vec<f32> {
    let mut table: Vec<f32> = (0..=POINTS)
        .map(|i| {
            let x = std::f64::consts::PI * (i as f64 / POINTS as f64 - 0.5) * 3.0;
            ((1.0 - 2.0 * x * x) * (-x * x).exp()) as f32
        })
        .collect();
    table.push(0.0);
    table
}
