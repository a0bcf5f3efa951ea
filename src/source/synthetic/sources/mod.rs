//! What happens along the fiber: each source adds its strain, in nanostrain, to the channels it can reach.
//!
//! A source is a pure function of scene time and channel: nothing is remembered from trace to trace, so any trace can
//! be made at any time in any order. Strain is that of the fiber at a channel, already averaged over the gauge length.
//! Geometry is kept simple and stated: a source at distance Δ along the fiber is heard with
//! `A(Δ) = A₀ / (1 + (Δ/w)²) · (1 − (Δ/R)²)²` for |Δ| < R (reach), w = R/8, and |Δ| / v later (surface-wave speed v).

mod rolling;
mod strikes;
mod waves;

use std::ops::Range;

use super::math::{gaussian_table, hash, normalise, sin_turns};
use super::scene::{Kind, Scene, Source};

/// The channels as places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    start_m: f64,
    dx_m: f64,
    channels: usize,
}

impl Line {
    pub(super) const fn new(scene: &Scene) -> Self {
        Self { start_m: scene.fiber.start_m, dx_m: scene.fiber.dx_m, channels: scene.fiber.channels }
    }

    /// Channels between two places, clipped to the fiber; empty when they lie beyond it.
    pub(super) fn between(&self, from_m: f64, to_m: f64) -> Range<usize> {
        let index = |m: f64| (((m - self.start_m) / self.dx_m).ceil().max(0.0) as usize).min(self.channels);
        let from = index(from_m);
        from..index(to_m).max(from)
    }

    /// Place of `channel` seen from `origin_m`.
    #[inline]
    fn offset_m(&self, origin_m: f64, channel: usize) -> f32 {
        (self.start_m + self.dx_m * channel as f64 - origin_m) as f32
    }
}

/// `A(Δ) / A₀` of the module's page.
#[derive(Clone, Copy, Debug)]
struct Spreading {
    inverse_width: f32,
    inverse_reach: f32,
    reach_m: f64,
}

impl Spreading {
    fn new(reach_m: f64) -> Self {
        Self { inverse_width: (8.0 / reach_m) as f32, inverse_reach: (1.0 / reach_m) as f32, reach_m }
    }

    #[inline]
    fn at(&self, delta_m: f32) -> f32 {
        let (near, far) = (delta_m * self.inverse_width, delta_m * self.inverse_reach);
        let taper = (1.0 - far * far).max(0.0);
        taper * taper / (1.0 + near * near)
    }
}

/// The smallest range that holds both; empty ranges hold nothing.
pub(super) fn union(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// A source made ready to sound.
pub(super) struct Emitter {
    start_s: f64,
    duration_s: f64,
    repeat_s: f64,
    seed: u64,
    body: Body,
}

enum Body {
    Strikes(strikes::Strikes),
    Rolling(rolling::Rolling),
    Pump(waves::Pump),
    Quake(waves::Quake),
    Tone(waves::Tone),
}

impl Emitter {
    /// Makes source number `index` of the scene ready; `None` for a break, which makes no sound.
    pub(super) fn new(scene: &Scene, index: usize, source: &Source) -> Option<Self> {
        let seed = hash(scene.seed, 0x50, source.seed.unwrap_or(index as u64));
        let line = Line::new(scene);
        let body = match source.kind {
            Kind::Walker | Kind::Digging => Body::Strikes(strikes::Strikes::new(line, source)),
            Kind::Vehicle | Kind::Train => Body::Rolling(rolling::Rolling::new(line, source, seed)),
            Kind::Pump => Body::Pump(waves::Pump::new(line, source)),
            Kind::Quake => Body::Quake(waves::Quake::new(line, source, scene.duration_s(source), seed)),
            Kind::Tone => Body::Tone(waves::Tone::new(line, source)),
            Kind::Break => return None,
        };
        Some(Self {
            start_s: source.start_s,
            duration_s: scene.duration_s(source),
            repeat_s: source.repeat_every_s.unwrap_or(f64::INFINITY),
            seed,
            body,
        })
    }

    /// Adds the strain at scene time `t_s` to `strain[channel]` and returns the channels touched.
    pub(super) fn add(&self, t_s: f64, strain: &mut [f32]) -> Range<usize> {
        let since = t_s - self.start_s;
        let run = (since / self.repeat_s).floor();
        let t = if run > 0.0 { since - run * self.repeat_s } else { since };
        // A tone without a beginning has none: the strain before trace 0 makes the first difference exact, too.
        let endless = self.start_s == 0.0 && matches!(self.body, Body::Tone(_));
        if t >= self.duration_s || (t < 0.0 && !endless) {
            return 0..0;
        }
        let seed = hash(self.seed, 1, run as u64);
        match &self.body {
            Body::Strikes(strikes) => strikes.add(t, seed, strain),
            Body::Rolling(rolling) => rolling.add(t, self.duration_s, strain),
            Body::Pump(pump) => pump.add(t, strain),
            Body::Quake(quake) => quake.add(t, strain),
            Body::Tone(tone) => tone.add(t, strain),
        }
    }
}

/// Band-limited noise of unit mean square as a closed loop of [`Rumble::LEN`] values, [`Rumble::RATE_HZ`] a second.
#[derive(Debug)]
struct Rumble {
    table: Vec<f32>,
}

impl Rumble {
    const LEN: usize = 1 << 16;
    const RATE_HZ: f64 = 4096.0;

    /// Gaussian noise through two second-order band-passes (Q = 0.8) at `centre_hz`. The loop repeats after 16 s.
    fn new(seed: u64, centre_hz: f64) -> Self {
        let mut noise = gaussian_table(seed, Self::LEN);
        for _ in 0..2 {
            band_pass_loop(&mut noise, centre_hz / Self::RATE_HZ);
        }
        normalise(&mut noise);
        Self { table: noise.iter().map(|&x| x as f32).collect() }
    }

    /// For one trace: where in the loop time `t` lies.
    fn at(&self, t_s: f64) -> RumbleAt<'_> {
        let position = (t_s * Self::RATE_HZ).rem_euclid(Self::LEN as f64);
        let whole = position.floor();
        RumbleAt { table: &self.table, whole: whole as usize, fraction: (position - whole) as f32 }
    }
}

/// The loop at one moment.
struct RumbleAt<'a> {
    table: &'a [f32],
    whole: usize,
    fraction: f32,
}

impl RumbleAt<'_> {
    /// The value `delay_s` ago (0…8 s), interpolated linearly.
    #[inline]
    fn ago(&self, delay_s: f32) -> f32 {
        // Counted from a loop's half behind, so that truncation is the floor of a positive number.
        const BEHIND: usize = Rumble::LEN / 2;
        let back = BEHIND as f32 + self.fraction - delay_s * Rumble::RATE_HZ as f32;
        let whole = back as usize;
        let fraction = back - whole as f32;
        let index = self.whole + BEHIND + whole;
        let (a, b) = (self.table[index % Rumble::LEN], self.table[(index + 1) % Rumble::LEN]);
        a + fraction * (b - a)
    }
}

/// Runs a band-pass (R. Bristow-Johnson's cookbook, constant peak gain) over `x` as over an endless loop.
fn band_pass_loop(x: &mut [f64], centre: f64) {
    const Q: f64 = 0.8;
    let (sin, cos) = (sin_turns(centre), sin_turns(centre + 0.25));
    let alpha = sin / (2.0 * Q);
    let (b, a1, a2) = (alpha / (1.0 + alpha), -2.0 * cos / (1.0 + alpha), (1.0 - alpha) / (1.0 + alpha));
    let (mut x1, mut x2, mut y1, mut y2) = (0.0, 0.0, 0.0, 0.0);
    let input = x.to_vec();
    // The first round only brings the filter's memory to where it stands after a whole loop.
    for _ in 0..2 {
        for (out, &now) in x.iter_mut().zip(&input) {
            let y = b * (now - x2) - a1 * y1 - a2 * y2;
            (x2, x1, y2, y1) = (x1, now, y1, y);
            *out = y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_knows_its_channels() {
        let line = Line { start_m: 100.0, dx_m: 2.0, channels: 50 };
        assert_eq!(line.between(104.0, 110.0), 2..5);
        assert_eq!(line.between(-50.0, 103.0), 0..2);
        assert_eq!(line.between(190.0, 1e9), 45..50);
        assert!(line.between(300.0, 400.0).is_empty() && line.between(-9.0, -5.0).is_empty());
    }

    #[test]
    fn rumble_is_a_closed_loop_read_at_the_right_delay() {
        let rumble = Rumble::new(7, 30.0);
        let period = Rumble::LEN as f64 / Rumble::RATE_HZ;
        for i in 0..200 {
            let (t, delay) = (f64::from(i) * 0.173, 0.7);
            let direct = rumble.at(t - delay).ago(0.0);
            assert!((rumble.at(t).ago(delay as f32) - direct).abs() < 0.02, "at {t}");
            assert!((rumble.at(t + period).ago(0.0) - rumble.at(t).ago(0.0)).abs() < 0.001);
        }
    }
}
