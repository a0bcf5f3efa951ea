//! What the interrogator is doing ([`Acquisition`]) and whether there is signal ([`Phase`], [`SignalMonitor`]).
//!
//! Pure: no clock, no thread, no channel. The capture thread tells the monitor what it saw and when; the monitor says
//! which phase that makes. "Waiting for fiber" is a phase like the others, not an error.

mod phase;
mod regions;

use std::sync::Arc;

pub use self::phase::{DarkReason, Event, Phase, SignalLimits, SignalMonitor};
pub use self::regions::{MAX_REGIONS, Places, Region, places_at};
use crate::units::Rational;

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// Signed 16-bit counts.
    I16,
    /// Signed 32-bit counts.
    I32,
    /// 32-bit floats.
    F32,
    /// Interleaved complex 16-bit: the raw optical field, demodulated by the DSP stage.
    Iq16,
}

impl SampleFormat {
    /// Every format, in the order of their codes in the ring and in captures, which begin with 1.
    const ALL: [Self; 4] = [Self::I16, Self::F32, Self::Iq16, Self::I32];

    /// Stable code in the ring header and in captures: 1 `i16`, 2 `f32`, 3 `iq16`, 4 `i32`.
    pub fn code(self) -> u32 {
        Self::ALL.iter().zip(1..).find_map(|(&format, code)| (format == self).then_some(code)).unwrap_or(0)
    }

    /// The format with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get((code as usize).checked_sub(1)?).copied()
    }

    /// Bytes of one sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::I32 | Self::F32 | Self::Iq16 => 4,
        }
    }

    /// The name that clients and files use.
    pub const fn dtype(self) -> &'static str {
        match self {
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::Iq16 => "iq16",
        }
    }
}

/// What a sample measures once it is multiplied by [`Acquisition::scale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Unknown or uncalibrated.
    Counts,
    /// Raw optical field (`iq16` only).
    OpticalField,
    /// Optical phase.
    Phase,
    /// Change of optical phase in time.
    PhaseRate,
    /// Strain.
    Strain,
    /// Change of strain in time.
    StrainRate,
    /// Particle velocity.
    Velocity,
    /// Band energy that the interrogator computed itself: each trace is a line. Captures only, with a [`Band`].
    BandEnergy,
}

impl Quantity {
    /// Every quantity, in the order of their codes in the ring and in captures.
    pub const ALL: [Self; 8] = [
        Self::Counts,
        Self::OpticalField,
        Self::Phase,
        Self::PhaseRate,
        Self::Strain,
        Self::StrainRate,
        Self::Velocity,
        Self::BandEnergy,
    ];

    /// Stable code in the ring header and in captures.
    pub fn code(self) -> u32 {
        Self::ALL.iter().position(|&q| q == self).unwrap_or(0) as u32
    }

    /// The quantity with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// Name in status and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::OpticalField => "optical_field",
            Self::Phase => "phase",
            Self::PhaseRate => "phase_rate",
            Self::Strain => "strain",
            Self::StrainRate => "strain_rate",
            Self::Velocity => "velocity",
            Self::BandEnergy => "band_energy",
        }
    }
}

/// How far the timestamps of an acquisition can be trusted, worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockQuality {
    /// A local oscillator that nothing disciplines, or not known.
    #[default]
    FreeRunning,
    /// Network time.
    Ntp,
    /// Precision time protocol.
    Ptp,
    /// Satellite time.
    Gps,
}

impl ClockQuality {
    /// Every quality, in the order of their codes in the ring, captures and frames.
    pub const ALL: [Self; 4] = [Self::FreeRunning, Self::Ntp, Self::Ptp, Self::Gps];

    /// Stable code: 0 free-running, 1 NTP, 2 PTP, 3 GPS.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The quality with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// Name in status and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FreeRunning => "free-running",
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
            Self::Gps => "gps",
        }
    }
}

/// Where traces come from, so that invented or old ones never pass for those of an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// An interrogator, through the hardware ring.
    #[default]
    Ring,
    /// A capture from a file.
    Replay,
    /// Computed from a scene: no fiber at all.
    Synthetic,
}

impl SourceKind {
    /// Every kind, in the order of their codes in the ring and in frames.
    pub const ALL: [Self; 3] = [Self::Ring, Self::Replay, Self::Synthetic];

    /// Stable code: 0 ring, 1 replay, 2 synthetic.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The kind with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// Name in status and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Replay => "replay",
            Self::Synthetic => "synthetic",
        }
    }
}

/// A band of frequencies, Hz.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Band {
    /// Lower edge.
    pub low_hz: f64,
    /// Upper edge.
    pub high_hz: f64,
}

impl Band {
    /// Whether the edges make a band. The lower one may be negative: that of a cell around 0 Hz.
    pub fn is_one(&self) -> bool {
        self.low_hz.is_finite() && self.high_hz.is_finite() && self.low_hz <= self.high_hz
    }
}

/// Everything that holds for all traces between two epoch changes. Immutable; travels with each block and frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Acquisition {
    /// Generation: UTC of the beginning in microseconds since the UNIX epoch, raised further if needed so that no two
    /// acquisitions of one site ever share it. Message ids build on it.
    pub epoch: u64,
    /// Pulse repetition rate in Hz, exact.
    pub prr: Rational,
    /// Number of channels.
    pub channels: usize,
    /// Distance from one channel to the next in metres; in the first region, when there are several.
    pub dx_m: f64,
    /// Distance of channel 0 on the fiber in metres.
    pub fiber_start_m: f64,
    /// Regions behind the first: none on a fiber that is acquired from end to end. See [`distance_m`](Self::distance_m).
    pub regions: Arc<[Region]>,
    /// Fiber length over which the interrogator averages strain, in metres, when known.
    pub gauge_length_m: Option<f64>,
    /// Laser wavelength in metres (vacuum), when known.
    pub wavelength_m: Option<f64>,
    /// Refractive index of the fiber, when known.
    pub refractive_index: Option<f64>,
    /// How samples are stored.
    pub sample_format: SampleFormat,
    /// What a sample measures.
    pub quantity: Quantity,
    /// Physical value of one count, in [`unit`](Self::unit).
    pub scale: f64,
    /// Counts that were taken off the samples of each channel, because single precision would lose the signal on them; to
    /// be added before the scale. None where samples are whole.
    pub levels: Arc<[f64]>,
    /// Unit of a scaled sample, e.g. `rad` or `nstrain/s`; of band energy `rad2/Hz` and the like.
    pub unit: String,
    /// The band, where each trace is a line of band energy ([`Quantity::BandEnergy`]) and no samples; `None` otherwise.
    pub band: Option<Band>,
    /// Trust in the timestamps.
    pub clock: ClockQuality,
    /// Free text about the fiber.
    pub description: String,
    /// Where the traces come from.
    pub source: SourceKind,
}

impl Acquisition {
    /// The instrument of the README: 2337 channels of `int16` phase at 2000 Hz. For examples, tests and benchmarks.
    pub fn example() -> Self {
        Self {
            epoch: 1,
            prr: Rational::new(2000, 1).expect("2000/1 is positive"),
            channels: 2337,
            dx_m: 1.021_369_8,
            fiber_start_m: 0.0,
            regions: Arc::default(),
            gauge_length_m: Some(10.213_698),
            wavelength_m: Some(1550e-9),
            refractive_index: Some(1.468),
            sample_format: SampleFormat::I16,
            quantity: Quantity::Phase,
            scale: 1e-3,
            levels: Arc::default(),
            unit: "rad".into(),
            band: None,
            clock: ClockQuality::FreeRunning,
            description: "example fiber".into(),
            source: SourceKind::Ring,
        }
    }
}
