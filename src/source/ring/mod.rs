//! The memory-mapped hardware ring.

pub mod abi;
mod file;
mod header;
mod memory;
mod producer;
mod sigbus;

pub use abi::{
    REFUSED_BUSY, REFUSED_FIXED, REFUSED_RATE, STATE_CALIBRATING, STATE_LASER_ON, STATE_LIGHT, STATE_OVERLOAD,
};
pub use producer::Producer;

use crate::acquisition::{ClockQuality, Quantity, SampleFormat};

/// What a producer declares about its ring. Optional values are stored as 0 when unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct RingSpec {
    /// How samples are stored.
    pub sample_format: SampleFormat,
    /// Samples in a trace.
    pub channels: usize,
    /// Most traces in one slot.
    pub traces_per_slot: usize,
    /// Slots, a power of two, at least 2.
    pub slots: usize,
    /// Pulse repetition rate, Hz.
    pub prr_hz: f64,
    /// From channel to channel, m.
    pub dx_m: f64,
    /// Gauge length, m, when known.
    pub gauge_length_m: Option<f64>,
    /// Place of channel 0 on the fiber, m.
    pub fiber_start_m: f64,
    /// Value of one count, in `unit`.
    pub scale: f64,
    /// What a scaled sample measures.
    pub quantity: Quantity,
    /// Unit of a scaled sample, at most 32 bytes.
    pub unit: String,
    /// Vacuum wavelength of the laser, m, when known.
    pub wavelength_m: Option<f64>,
    /// Refractive index of the fiber, when known.
    pub refractive_index: Option<f64>,
    /// Free text about the fiber, at most 512 bytes.
    pub description: String,
    /// Trust in the timestamps.
    pub clock: ClockQuality,
}

/// Why a ring could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// No consumer would accept such a ring.
    #[error("{0}")]
    Spec(String),
    /// The operating system said no.
    #[error("{what}: {error}")]
    Io {
        /// The deed.
        what: String,
        /// Its answer.
        #[source]
        error: std::io::Error,
    },
}
