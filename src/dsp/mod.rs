//! Arithmetic on slices: no threads, no I/O, no clock. [`naive`] is the public definition that every kernel answers to.
//!
//! In the order in which a sample meets them: [`condition`] (unpack, scale, strain rate, …), [`grid`] (which traces make
//! which line), [`transform`] (window and spectrum), and band energies, amplitudes or decibels from it.

pub mod condition;
pub mod grid;
pub mod naive;
pub mod transform;

/// Window functions, periodic form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// Hann.
    #[default]
    Hann,
    /// Hamming (0.54, 0.46).
    Hamming,
    /// Blackman (0.42, 0.5, 0.08).
    Blackman,
    /// Blackman-Harris, four terms, −92 dB.
    BlackmanHarris,
    /// None: all ones.
    Rectangular,
}

/// What is subtracted from all channels of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CommonMode {
    /// Nothing.
    #[default]
    Keep,
    /// The mean over channels.
    Mean,
    /// The median over channels.
    Median,
}

/// Conditioning of samples before the transform, applied in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConditionSpec {
    /// Phase → strain rate: first difference in time × PRR × λ / (4π n ξ G), in nstrain/s.
    pub strain_rate: bool,
    /// Difference over this many channels (the gauge length in channels); 0 = none. Raw `iq16` input always needs one.
    pub spatial_difference_channels: usize,
    /// Common-mode removal.
    pub common_mode: CommonMode,
    /// First-order high-pass corner in Hz; 0 = none.
    pub high_pass_hz: f64,
}
