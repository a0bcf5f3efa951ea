//! What a scene file says: fiber, interrogator, noise, sources and mishaps, with units in the key names.
//!
//! Pure data. Every key has a default, and an empty file is the demonstration scene; `SCENES.md` beside this file
//! explains each key. [`Scene::from_toml`] refuses unknown keys and impossible values, all at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::parse;
use crate::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat, SourceKind};
use crate::units::Rational;

/// Photo-elastic factor ξ of silica fiber: the share of the geometric stretch that the optical path sees.
pub const PHOTO_ELASTIC: f64 = 0.78;

/// Why a scene cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The scene file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The text makes no scene: TOML, keys, types or values; every problem in a line of its own.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// A scene: everything that the synthetic interrogator needs to know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scene {
    /// All randomness follows from this.
    pub seed: u64,
    /// The glass.
    pub fiber: Fiber,
    /// The instrument.
    pub interrogator: InterrogatorSpec,
    /// What is heard when nothing happens.
    pub noise: Noise,
    /// What happens; `None` is the demonstration: walker, vehicle, digging and pump. Write `source = []` for silence.
    pub source: Option<Vec<Source>>,
    /// When the fiber is pulled out of the instrument.
    pub pulled: Vec<Pulled>,
    /// Traces that the instrument loses.
    pub lost: Vec<Lost>,
}

/// The glass.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fiber {
    /// Number of channels.
    pub channels: usize,
    /// Metres from one channel to the next.
    pub dx_m: f64,
    /// Metres over which strain is averaged.
    pub gauge_length_m: f64,
    /// Distance of the first channel.
    pub start_m: f64,
    /// Optical loss, one way.
    pub attenuation_db_per_km: f64,
    /// Vacuum wavelength of the laser.
    pub wavelength_nm: f64,
    /// Refractive index (group) of the fiber.
    pub refractive_index: f64,
    /// Rayleigh fading: a static random amplitude per channel. Without it all channels are equally bright.
    pub fading: bool,
    /// Free text for the ring header.
    pub description: String,
}

/// The instrument.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterrogatorSpec {
    /// Pulses per second.
    pub prr_hz: f64,
    /// Lowest rate that the instrument accepts when it is asked for another.
    pub prr_min_hz: f64,
    /// Highest such rate.
    pub prr_max_hz: f64,
    /// How samples are stored.
    pub sample_format: Format,
    /// What samples measure; not for `iq16`, which is always the optical field.
    pub quantity: OutputQuantity,
    /// One count of phase in radians; default 0.001 for `i16`, 10⁻⁶ for `i32`, 1 for `f32`.
    pub count_rad: Option<f64>,
    /// One count of strain rate in nanostrain per second; default 1.
    pub count_nstrain_per_s: Option<f64>,
    /// Root mean square amplitude of the field at the start of the fiber, in counts; `iq16` only.
    pub iq_amplitude_counts: f64,
    /// Traces that the instrument hands over at once.
    pub traces_per_slot: usize,
}

/// Sample formats by the names used in scenes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Signed 16-bit counts.
    #[default]
    I16,
    /// Signed 32-bit counts.
    I32,
    /// 32-bit floats.
    F32,
    /// The complex optical field as interleaved 16-bit counts.
    Iq16,
}

/// Quantities that the instrument can put out after demodulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputQuantity {
    /// Differential phase over the gauge length, unwrapped.
    #[default]
    Phase,
    /// Its change in time as strain rate.
    StrainRate,
}

/// What is heard when nothing happens. Densities are one-sided.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// White noise of differential phase at the start of the fiber, for a channel of ordinary brightness.
    pub receiver_rad_per_sqrt_hz: f64,
    /// Density at 1 Hz of the laser's phase noise, which falls with 1/f and is common to all channels.
    pub laser_rad_per_sqrt_hz_at_1hz: f64,
    /// Below this frequency the laser noise is level, so that it stays within bounds for ever.
    pub laser_corner_hz: f64,
    /// Root mean square of a channel without light, in counts.
    pub dark_counts: f64,
}

/// What kind of thing a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person walking along the fiber.
    Walker,
    /// A vehicle driving along the fiber.
    Vehicle,
    /// Someone digging at a place.
    Digging,
    /// A machine with a steady tone and two harmonics.
    Pump,
    /// A train: long, heavy, fast.
    Train,
    /// An earthquake wave that passes the whole fiber.
    Quake,
    /// The fiber breaks: no light beyond.
    Break,
    /// A pure tone of exactly known strain on a range of channels; for tests.
    Tone,
}

/// Something that happens. Which keys a kind takes, and their defaults, stands in `SCENES.md`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is explained in SCENES.md, by kind")]
pub struct Source {
    pub kind: Kind,
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    pub start_s: f64,
    #[serde(default)]
    pub duration_s: Option<f64>,
    #[serde(default)]
    pub repeat_every_s: Option<f64>,
    #[serde(default)]
    pub place_m: Option<f64>,
    #[serde(default)]
    pub speed_m_per_s: Option<f64>,
    #[serde(default)]
    pub strength_nstrain: Option<f64>,
    #[serde(default)]
    pub frequency_hz: Option<f64>,
    #[serde(default)]
    pub strike_period_s: Option<f64>,
    #[serde(default)]
    pub reach_m: Option<f64>,
    #[serde(default)]
    pub wave_speed_m_per_s: Option<f64>,
    #[serde(default)]
    pub length_m: Option<f64>,
    #[serde(default)]
    pub channel_min: Option<usize>,
    #[serde(default)]
    pub channel_max: Option<usize>,
}

/// The fiber is pulled out of the instrument, and put back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulled {
    /// From this second of the scene on.
    pub from_s: f64,
    /// Until this second.
    pub to_s: f64,
    /// The instrument does not notice and goes on delivering traces of darkness.
    #[serde(default)]
    pub unnoticed: bool,
}

/// Traces that the instrument loses: their indices are skipped.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// Second of the scene at which the loss begins.
    pub at_s: f64,
    /// How many traces.
    pub traces: u64,
}

impl Default for Fiber {
    fn default() -> Self {
        Self {
            channels: 2337,
            dx_m: 1.021_369_8,
            gauge_length_m: 10.213_698,
            start_m: 0.0,
            attenuation_db_per_km: 0.2,
            wavelength_nm: 1550.0,
            refractive_index: 1.468,
            fading: true,
            description: "synthetic fiber".into(),
        }
    }
}

impl Default for InterrogatorSpec {
    fn default() -> Self {
        Self {
            prr_hz: 2000.0,
            prr_min_hz: 100.0,
            prr_max_hz: 20_000.0,
            sample_format: Format::I16,
            quantity: OutputQuantity::Phase,
            count_rad: None,
            count_nstrain_per_s: None,
            iq_amplitude_counts: 3000.0,
            traces_per_slot: 16,
        }
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            receiver_rad_per_sqrt_hz: 4e-4,
            laser_rad_per_sqrt_hz_at_1hz: 2e-3,
            laser_corner_hz: 0.05,
            dark_counts: 0.7,
        }
    }
}

impl Noise {
    /// No noise at all, not even in darkness.
    pub const SILENT: Self = Self {
        receiver_rad_per_sqrt_hz: 0.0,
        laser_rad_per_sqrt_hz_at_1hz: 0.0,
        laser_corner_hz: 0.05,
        dark_counts: 0.0,
    };
}

impl Source {
    /// A source of this kind with every default.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            seed: None,
            start_s: 0.0,
            duration_s: None,
            repeat_every_s: None,
            place_m: None,
            speed_m_per_s: None,
            strength_nstrain: None,
            frequency_hz: None,
            strike_period_s: None,
            reach_m: None,
            wave_speed_m_per_s: None,
            length_m: None,
            channel_min: None,
            channel_max: None,
        }
    }
}

impl Scene {
    /// Reads and checks a scene.
    ///
    /// # Errors
    /// [`SceneError::Invalid`] when the text is no TOML, has an unknown key, or describes something impossible.
    pub fn from_toml(text: &str) -> Result<Self, SceneError> {
        parse::scene(text)
    }

    /// Reads and checks a scene file.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), each problem with the name of the file, and when the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, SceneError> {
        let text = std::fs::read_to_string(path).map_err(|error| SceneError::Io { path: path.into(), error })?;
        Self::from_toml(&text).map_err(|error| match error {
            SceneError::Invalid(problems) => {
                SceneError::Invalid(problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect())
            }
            error @ SceneError::Io { .. } => error,
        })
    }

    /// Radians of differential phase over the gauge length for one nanostrain: 4π n ξ G / λ · 10⁻⁹.
    pub fn rad_per_nstrain(&self) -> f64 {
        let f = &self.fiber;
        4.0 * std::f64::consts::PI * f.refractive_index * PHOTO_ELASTIC * f.gauge_length_m / f.wavelength_nm
    }

    /// The gauge length in channels, at least one.
    pub fn gauge_channels(&self) -> usize {
        ((self.fiber.gauge_length_m / self.fiber.dx_m).round() as usize).max(1)
    }

    /// Physical value of one count.
    pub fn scale(&self) -> f64 {
        let i = &self.interrogator;
        match (i.sample_format, i.quantity) {
            (Format::Iq16, _) => 1.0,
            (format, OutputQuantity::Phase) => i.count_rad.unwrap_or(match format {
                Format::I16 => 1e-3,
                Format::I32 => 1e-6,
                Format::F32 | Format::Iq16 => 1.0,
            }),
            (_, OutputQuantity::StrainRate) => i.count_nstrain_per_s.unwrap_or(1.0),
        }
    }

    /// How samples are stored.
    pub const fn sample_format(&self) -> SampleFormat {
        match self.interrogator.sample_format {
            Format::I16 => SampleFormat::I16,
            Format::I32 => SampleFormat::I32,
            Format::F32 => SampleFormat::F32,
            Format::Iq16 => SampleFormat::Iq16,
        }
    }

    /// What samples measure.
    pub const fn quantity(&self) -> Quantity {
        match (self.interrogator.sample_format, self.interrogator.quantity) {
            (Format::Iq16, _) => Quantity::OpticalField,
            (_, OutputQuantity::Phase) => Quantity::Phase,
            (_, OutputQuantity::StrainRate) => Quantity::StrainRate,
        }
    }

    /// Unit of a scaled sample.
    pub const fn unit(&self) -> &'static str {
        match self.quantity() {
            Quantity::Phase => "rad",
            Quantity::StrainRate => "nstrain/s",
            _ => "counts",
        }
    }

    /// The pulse repetition rate.
    ///
    /// # Panics
    /// When the scene has not been validated and the rate is not positive and finite.
    pub fn prr(&self) -> Rational {
        Rational::from_f64(self.interrogator.prr_hz).expect("a validated scene has a positive rate")
    }

    /// The acquisition as a consumer should see it.
    pub fn acquisition(&self, epoch: u64) -> Acquisition {
        Acquisition {
            epoch,
            prr: self.prr(),
            channels: self.fiber.channels,
            dx_m: self.fiber.dx_m,
            fiber_start_m: self.fiber.start_m,
            regions: Arc::default(),
            gauge_length_m: Some(self.fiber.gauge_length_m),
            wavelength_m: Some(self.fiber.wavelength_nm * 1e-9),
            refractive_index: Some(self.fiber.refractive_index),
            sample_format: self.sample_format(),
            quantity: self.quantity(),
            scale: self.scale(),
            levels: Arc::default(),
            unit: self.unit().into(),
            band: None,
            clock: ClockQuality::FreeRunning,
            description: self.fiber.description.clone(),
            source: SourceKind::Synthetic,
        }
    }
}
