//! What rolls along the fiber: a vehicle or a train. Its weight bends the ground under it (slow), its wheels and engine
//! rumble (fast).

use std::ops::Range;

use super::super::math::hash;
use super::super::scene::{Kind, Source};
use super::super::validate::{TRAIN_LENGTH_M, TRAIN_M_PER_S, VEHICLE_M_PER_S};
use super::{Line, Rumble, Spreading};

/// Half width of the ground's deflection under a load.
const BOWL_M: f64 = 6.0;
/// From one bogie of a train to the next.
const BOGIE_M: f64 = 25.0;
/// Seconds over which it fades in where it enters and out where it leaves.
const FADE_S: f64 = 0.5;

/// A load of some length on the move.
pub(super) struct Rolling {
    line: Line,
    place_m: f64,
    speed_m_per_s: f64,
    length_m: f64,
    strength: f32,
    inverse_wave_speed: f32,
    spreading: Spreading,
    rumble: Rumble,
}

impl Rolling {
    pub(super) fn new(line: Line, source: &Source, seed: u64) -> Self {
        let train = source.kind == Kind::Train;
        let pick =
            |given: Option<f64>, vehicle: f64, of_train: f64| given.unwrap_or(if train { of_train } else { vehicle });
        let speed = pick(source.speed_m_per_s, VEHICLE_M_PER_S, TRAIN_M_PER_S);
        let enters = if speed < 0.0 { line.start_m + line.dx_m * line.channels as f64 } else { line.start_m };
        Self {
            line,
            place_m: source.place_m.unwrap_or(enters),
            speed_m_per_s: speed,
            length_m: if train { source.length_m.unwrap_or(TRAIN_LENGTH_M) } else { 0.0 },
            strength: pick(source.strength_nstrain, 12.0, 60.0) as f32,
            inverse_wave_speed: (1.0 / source.wave_speed_m_per_s.unwrap_or(300.0)) as f32,
            spreading: Spreading::new(pick(source.reach_m, 120.0, 200.0)),
            rumble: Rumble::new(hash(seed, 2, 0), pick(source.frequency_hz, 30.0, 20.0)),
        }
    }

    /// `t` is the time since its head stood at `place_m`.
    pub(super) fn add(&self, t: f64, duration_s: f64, strain: &mut [f32]) -> Range<usize> {
        let fade = (t / FADE_S).min((duration_s - t) / FADE_S).clamp(0.0, 1.0) as f32;
        let strength = self.strength * fade;
        let head = self.place_m + self.speed_m_per_s * t;
        let tail = head - self.speed_m_per_s.signum() * self.length_m;
        let (low, high) = (head.min(tail), head.max(tail));
        let channels = self.line.between(low - self.spreading.reach_m, high + self.spreading.reach_m);
        let half = (self.length_m / 2.0) as f32;
        let now = self.rumble.at(t);
        for c in channels.clone() {
            // The rumble is loudest along the whole length, and runs out from the head.
            let outside = (self.line.offset_m(f64::midpoint(low, high), c).abs() - half).max(0.0);
            let delay = self.line.offset_m(head, c).abs() * self.inverse_wave_speed;
            strain[c] += strength * self.spreading.at(outside) * now.ago(delay);
        }
        let axles = (self.length_m / BOGIE_M) as usize;
        for axle in 0..=axles {
            let at = head - self.speed_m_per_s.signum() * BOGIE_M * axle as f64;
            self.bowl(at, strength, strain);
        }
        channels
    }

    /// Compression under a wheel, stretch beside it: the second derivative of a bell, which averages to nothing.
    fn bowl(&self, at_m: f64, strength: f32, strain: &mut [f32]) {
        for c in self.line.between(at_m - 4.0 * BOWL_M, at_m + 4.0 * BOWL_M) {
            let x = self.line.offset_m(at_m, c) / BOWL_M as f32;
            let square = x * x;
            // 1/(1+x²)² stands in for the bell; tapered to end at four half widths.
            let bell = (1.0 - square / 16.0).max(0.0) / (1.0 + square);
            strain[c] -= strength * (1.0 - square) * bell * bell;
        }
    }
}
