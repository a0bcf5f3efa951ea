//! The traces of a scene: strain along the fiber → phase → counts.
//!
//! In: a trace index. Out: rows `[trace][channel]` of samples, packed, in the machine's byte order. Sample
//! `(trace, channel)` depends on the scene, its seed and the trace alone, not on what was asked for before or in how
//! large pieces; allocates nothing after construction.

use std::ops::Range;
use std::time::Duration;

use super::math::hash;
use super::noise::{Drift, TILE, White};
use super::optics::{Field, brightness, phase_noise, to_i16};
use super::scene::{Format, Kind, OutputQuantity, Scene, SceneError};
use super::sources::{Emitter, Line, union};
use crate::units::Rational;

/// Where the rows of a slot come from.
pub(super) enum Rows {
    /// Each trace is made when it is asked for.
    Made(Box<Generator>),
    /// The first traces of the scene, packed `[trace][channel]`, round and round.
    Kept { bytes: Vec<u8>, row_bytes: usize },
}

impl Rows {
    /// Rows of `scene` from second `offset_s` on. With `repeat` so much of it, at least one trace, is made here and now.
    ///
    /// # Errors
    /// When the scene is impossible.
    pub(super) fn new(scene: &Scene, offset_s: f64, repeat: Option<Duration>) -> Result<Self, SceneError> {
        let mut generator = Generator::starting_at(scene, offset_s)?;
        let Some(repeat) = repeat else { return Ok(Self::Made(Box::new(generator))) };
        let traces = ((repeat.as_secs_f64() * scene.interrogator.prr_hz).round() as usize).max(1);
        let row_bytes = generator.row_bytes();
        let mut bytes = vec![0; traces * row_bytes];
        generator.generate(0, &mut bytes);
        Ok(Self::Kept { bytes, row_bytes })
    }

    /// Writes whole traces, the first of them `first_trace`.
    pub(super) fn write(&mut self, first_trace: u64, rows: &mut [u8]) {
        match self {
            Self::Made(generator) => generator.generate(first_trace, rows),
            Self::Kept { bytes, row_bytes } => {
                let traces = (bytes.len() / *row_bytes) as u64;
                let mut from = &bytes[(first_trace % traces) as usize * *row_bytes..];
                let mut rest = rows;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at_mut(rest.len().min(from.len()));
                    now.copy_from_slice(&from[..now.len()]);
                    (rest, from) = (later, &bytes[..]);
                }
            }
        }
    }
}

/// Channels without light from `first_channel` on, between two times.
struct Darkness {
    first_channel: usize,
    from_s: f64,
    to_s: f64,
}

/// Makes traces. See the module's page.
pub struct Generator {
    prr: Rational,
    offset_s: f64,
    format: Format,
    emitters: Vec<Emitter>,
    darkness: Vec<Darkness>,
    white: White,
    drift: Drift,
    field: Field,
    rad_per_nstrain: f32,
    /// Standard deviation of each channel's phase.
    noise_rad: Vec<f32>,
    noise_dark: f32,
    /// Counts for one radian, or for one radian of change from trace to trace.
    counts_per_rad: f32,
    /// The phase of the trace before, when samples are strain rate.
    before: Option<Vec<f32>>,
    /// Trace that `before` belongs to.
    before_trace: Option<u64>,
    strain: Vec<f32>,
    touched: Range<usize>,
    values: Vec<f32>,
    counts: Vec<i16>,
}

impl Generator {
    /// A generator whose trace 0 is second 0 of the scene.
    ///
    /// # Errors
    /// When the scene is impossible.
    pub fn new(scene: &Scene) -> Result<Self, SceneError> {
        Self::starting_at(scene, 0.0)
    }

    /// A generator whose trace 0 is `offset_s` seconds into the scene: what a new epoch needs.
    ///
    /// # Errors
    /// When the scene is impossible.
    pub fn starting_at(scene: &Scene, offset_s: f64) -> Result<Self, SceneError> {
        scene.validate()?;
        let (channels, prr_hz) = (scene.fiber.channels, scene.interrogator.prr_hz);
        let sources = scene.sources();
        let emitters = sources.iter().enumerate().filter_map(|(i, s)| Emitter::new(scene, i, s)).collect();
        let bright = brightness(scene);
        let rate = scene.interrogator.quantity == OutputQuantity::StrainRate;
        let to_quantity = if rate { prr_hz / scene.rad_per_nstrain() } else { 1.0 };
        let noise = &scene.noise;
        let epoch_seed = hash(scene.seed, 0x30, offset_s.to_bits());
        Ok(Self {
            prr: scene.prr(),
            offset_s,
            format: scene.interrogator.sample_format,
            emitters,
            darkness: darkness(scene, &sources),
            white: White::new(epoch_seed),
            drift: Drift::new(epoch_seed, noise.laser_rad_per_sqrt_hz_at_1hz, noise.laser_corner_hz, prr_hz),
            field: Field::new(scene, &bright),
            rad_per_nstrain: scene.rad_per_nstrain() as f32,
            noise_rad: phase_noise(scene, &bright),
            noise_dark: noise.dark_counts as f32,
            counts_per_rad: (to_quantity / scene.scale()) as f32,
            before: (rate && scene.interrogator.sample_format != Format::Iq16).then(|| vec![0.0; channels]),
            before_trace: None,
            strain: vec![0.0; channels],
            touched: 0..0,
            values: vec![0.0; channels],
            counts: vec![0; 2 * channels],
        })
    }

    /// Bytes of one trace.
    pub fn row_bytes(&self) -> usize {
        self.strain.len() * if self.format == Format::I16 { 2 } else { 4 }
    }

    /// Writes `rows.len() / row_bytes()` traces, the first of them `first_trace`.
    ///
    /// # Panics
    /// When `rows` is not a whole number of traces.
    pub fn generate(&mut self, first_trace: u64, rows: &mut [u8]) {
        let row_bytes = self.row_bytes();
        assert_eq!(rows.len() % row_bytes, 0, "rows must be whole traces of {row_bytes} bytes");
        for (trace, row) in (first_trace..).zip(rows.chunks_exact_mut(row_bytes)) {
            self.sound(trace.cast_signed());
            let lit = self.lit_channels(trace);
            match self.format {
                Format::Iq16 => {
                    self.write_field(trace, lit);
                    row.copy_from_slice(bytemuck::cast_slice(&self.counts));
                }
                Format::F32 => {
                    self.write_values(trace, lit);
                    row.copy_from_slice(bytemuck::cast_slice(&self.values));
                }
                Format::I32 => {
                    self.write_values(trace, lit);
                    // A cast saturates.
                    let counts = row.as_chunks_mut().0.iter_mut().zip(&self.values);
                    counts.for_each(|(count, &value)| *count = (value.round_ties_even() as i32).to_ne_bytes());
                }
                Format::I16 => {
                    self.write_values(trace, lit);
                    let channels = self.values.len();
                    let counts = &mut self.counts[..channels];
                    counts.iter_mut().zip(&self.values).for_each(|(count, &value)| *count = to_i16(value));
                    row.copy_from_slice(bytemuck::cast_slice(counts));
                }
            }
        }
    }

    /// Scene time of a trace; the one before the first is asked for, too.
    fn scene_s(&self, trace: i64) -> f64 {
        self.offset_s + trace as f64 * self.prr.den() as f64 / self.prr.num() as f64
    }

    /// Sums the strain of all sources into `strain`.
    fn sound(&mut self, trace: i64) {
        self.strain[self.touched.clone()].fill(0.0);
        self.touched = 0..0;
        let t = self.scene_s(trace);
        for emitter in &self.emitters {
            let channels = emitter.add(t, &mut self.strain);
            self.touched = union(self.touched.clone(), channels);
        }
    }

    /// Channels that light reaches, counted from the start.
    fn lit_channels(&self, trace: u64) -> usize {
        let t = self.scene_s(trace.cast_signed());
        let dark = self.darkness.iter().filter(|d| (d.from_s..d.to_s).contains(&t));
        dark.map(|d| d.first_channel).min().unwrap_or(self.strain.len())
    }

    /// `values` = phase of `trace` in radians, from the strain that stands in `strain`.
    fn write_phase(&mut self, trace: u64) {
        let drift = self.drift.at(trace) as f32;
        let tiles = self.values.chunks_mut(TILE).zip(self.strain.chunks(TILE)).zip(self.noise_rad.chunks(TILE));
        for (tile, ((values, strain), noise_rad)) in tiles.enumerate() {
            let white = self.white.tile(trace, tile, 0);
            for (((value, strain), noise_rad), white) in values.iter_mut().zip(strain).zip(noise_rad).zip(white) {
                *value = drift + strain * self.rad_per_nstrain + noise_rad * white;
            }
        }
    }

    /// `values` = samples of `trace` in counts, not yet rounded.
    fn write_values(&mut self, trace: u64, lit: usize) {
        if self.before.is_some() && self.before_trace != Some(trace) {
            self.recall(trace);
        }
        self.write_phase(trace);
        let counts = self.counts_per_rad;
        match &mut self.before {
            None => self.values.iter_mut().for_each(|value| *value *= counts),
            Some(before) => {
                for (value, before) in self.values.iter_mut().zip(before) {
                    let now = *value;
                    *value = (now - *before) * counts;
                    *before = now;
                }
                self.before_trace = Some(trace + 1);
            }
        }
        self.write_darkness(trace, lit);
    }

    /// Brings back the phase of the trace before `trace`, after a beginning or a jump. Before trace 0 there is strain,
    /// but the noise is that of trace 0.
    fn recall(&mut self, trace: u64) {
        self.sound(trace.cast_signed() - 1);
        self.write_phase(trace.saturating_sub(1));
        if let Some(before) = &mut self.before {
            before.copy_from_slice(&self.values);
        }
        self.sound(trace.cast_signed());
    }

    /// Receiver noise alone from channel `lit` on.
    fn write_darkness(&mut self, trace: u64, lit: usize) {
        for (tile, values) in self.values.chunks_mut(TILE).enumerate() {
            let first = lit.saturating_sub(tile * TILE);
            if first >= values.len() {
                continue;
            }
            let white = &self.white.tile(trace, tile, 1)[first..];
            values[first..].iter_mut().zip(white).for_each(|(value, white)| *value = self.noise_dark * white);
        }
    }

    /// `counts` = the field of `trace`.
    fn write_field(&mut self, trace: u64, lit: usize) {
        let drift = self.drift.at(trace);
        self.field.advance(&self.strain, drift);
        for (tile, out) in self.counts.chunks_mut(2 * TILE).enumerate() {
            let (re, im) = (self.white.tile(trace, tile, 0), self.white.tile(trace, tile, 1));
            let from = tile * TILE;
            self.field.write(from, lit.saturating_sub(from), re, im, out);
        }
    }
}

/// Breaks, and pulls that the instrument does not notice.
fn darkness(scene: &Scene, sources: &[super::scene::Source]) -> Vec<Darkness> {
    let line = Line::new(scene);
    let breaks = sources.iter().filter(|s| s.kind == Kind::Break).map(|s| {
        let (from, to) = scene.reach_of_fiber_m();
        let place = s.place_m.unwrap_or(f64::midpoint(from, to));
        let first_channel = line.between(place, f64::INFINITY).start;
        Darkness { first_channel, from_s: s.start_s, to_s: s.start_s + scene.duration_s(s) }
    });
    let pulled = scene.pulled.iter().map(|p| Darkness { first_channel: 0, from_s: p.from_s, to_s: p.to_s });
    breaks.chain(pulled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_rows_come_round_and_begin_as_the_scene_does() {
        let mut scene = Scene::default();
        (scene.fiber.channels, scene.interrogator.prr_hz) = (7, 1000.0);
        let mut made = Rows::new(&scene, 0.0, None).unwrap();
        let mut kept = Rows::new(&scene, 0.0, Some(Duration::from_millis(10))).unwrap();
        let rows = |source: &mut Rows, first, traces: usize| {
            let mut bytes = vec![0xAA; traces * 14];
            source.write(first, &mut bytes);
            bytes
        };
        let ten = rows(&mut made, 0, 10);
        assert_eq!(rows(&mut kept, 0, 10), ten);
        // Across the seam, and longer than all that is kept.
        let round: Vec<u8> = ten.iter().cycle().skip(8 * 14).take(25 * 14).copied().collect();
        assert_eq!(rows(&mut kept, 1_000_008, 25), round);
    }
}
