//! The memory-mapped hardware ring: how traces come from the interrogator's driver, another process, into fiberd.
//!
//! Downhill, as a trace goes: [`Producer`] (or a vendor's driver, from `ABI.md` and `fiberd_ring.h` beside this file)
//! writes slots. `abi` names every byte of that memory. `file` finds and maps it, `header` checks what it declares,
//! `life`, `light`, `agree` and `mistakes` check the producer, and `attached` keeps watch over all of that while `reader`
//! moves complete traces into blocks, and those timestamps of slots that `stamps` lets pass; `known` is the epoch that it reads. [`Ring`] in `consumer` is what capture sees: an [`Interrogator`](super::Interrogator).
//!
//! `check` watches a ring for authors of drivers, without touching it.
//!
//! Everything in the ring is hostile until checked. Being lapped is normal life: the missing traces are counted exactly.
//! A producer that dies, restarts, truncates or scribbles becomes a reason to wait, never a crash. `unsafe` stands in
//! `memory` (shared memory is touched there and nowhere else) and `sigbus` (the mapping may vanish under us).
//!
//! Everything but `file`, `sigbus` and the mapped half of `memory` runs without a mapping, and so under miri.

pub mod abi;
mod agree;
mod attached;
mod check;
mod consumer;
mod file;
mod header;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod known;
mod life;
mod light;
#[cfg(test)]
mod lit;
mod memory;
#[cfg(test)]
mod mistaken;
mod mistakes;
mod producer;
mod rate;
mod reader;
mod sigbus;
mod stamps;
mod taken;
#[cfg(test)]
mod tests;

pub use abi::{
    REFUSED_BUSY, REFUSED_FIXED, REFUSED_RATE, STATE_CALIBRATING, STATE_LASER_ON, STATE_LIGHT, STATE_OVERLOAD,
};
pub use check::{Inspection, RingHeader, inspect};
pub use consumer::{Ring, RingOptions};
pub use file::{is_blank, is_ring};
pub use producer::Producer;

use crate::acquisition::{ClockQuality, Quantity, SampleFormat, SourceKind};

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
    /// Where the traces come from.
    pub source: SourceKind,
}

/// Why a ring could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// No consumer would accept such a ring.
    #[error("{0}")]
    Spec(String),
    /// The path is somebody else's, who needs it.
    #[error("{path}: {why}")]
    Taken {
        /// The path of the ring.
        path: String,
        /// What stands there.
        why: &'static str,
    },
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
