//! What conditioning makes of an acquisition: which quantity in which unit, on which channels, by which factor; or why
//! it cannot be done. Facts only, no samples.

use std::sync::Arc;

use super::common_mode::CommonMode;
use super::condition::Conditioner;
use crate::acquisition::{Acquisition, Quantity, SampleFormat};

/// Photo-elastic factor ξ of silica fiber: phase answers to strain with 0.78 of the change of path.
pub const PHOTO_ELASTIC: f64 = 0.78;

/// Largest magnitude of a conditioned sample. Beyond it, power would overflow `f32` in long windows.
pub(super) const LARGEST: f64 = 1e12;

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

/// Why samples of an acquisition cannot be conditioned as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// Strain rate from something else than phase.
    #[error("strain rate is computed from optical phase in rad, but the samples are {quantity} in {unit:?}")]
    NotPhase {
        /// What the samples are.
        quantity: &'static str,
        /// Their unit.
        unit: String,
    },
    /// Strain rate without the facts that it needs.
    #[error("strain rate needs the {0}, which the interrogator does not state")]
    Missing(&'static str),
    /// Raw optical field without a gauge length.
    #[error("raw iq16 samples need a spatial difference of at least one channel (the gauge length)")]
    NoGauge,
    /// Channels that are not evenly spaced: how many regions there are.
    #[error(
        "a difference over channels is not possible on a fiber of {0} regions: it would reach from one into the next"
    )]
    Regions(usize),
    /// More channels of difference than there are.
    #[error("a difference over {gauge} channels is not possible on a fiber of {channels} channels")]
    GaugeTooLong {
        /// Channels of difference.
        gauge: usize,
        /// Channels of the fiber.
        channels: usize,
    },
    /// Channels that conditioning does not give.
    #[error("channels {start}..{end} are not among the {channels} that conditioning gives")]
    Channels {
        /// First channel asked for.
        start: usize,
        /// Behind the last channel asked for.
        end: usize,
        /// Channels that there are.
        channels: usize,
    },
    /// High-pass corner.
    #[error("a high-pass at {corner_hz} Hz is not possible: it must lie between 0 and PRR / 2 = {limit_hz} Hz")]
    HighPass {
        /// Corner asked for.
        corner_hz: f64,
        /// Half the PRR.
        limit_hz: f64,
    },
    /// Lines of band energy are shown as they are.
    #[error(
        "the capture has lines of band energy, which are shown as they are: take strain_rate, spatial_difference_channels, \
         common_mode and high_pass_hz out of [processing]"
    )]
    Lines,
    /// Band energies that are not what they are themselves.
    #[error("band energies come as float32 with a scale of 1, not as {format} with a scale of {scale}")]
    LinesOf {
        /// How they are stored.
        format: &'static str,
        /// Their scale.
        scale: f64,
    },
    /// Scale of a count.
    #[error("a scale of {0} a count is not usable: it must be finite, not zero, and keep samples below 1e12")]
    Scale(f64),
}

impl Conditioner {
    /// How many channels come out: the last `g` channels of a spatial difference have no partner.
    ///
    /// # Errors
    /// When none does.
    pub fn output_channels(spec: &ConditionSpec, acquisition: &Acquisition) -> Result<usize, ConditionError> {
        let (gauge, channels) = (spec.spatial_difference_channels, acquisition.channels);
        channels.checked_sub(gauge).filter(|&n| n > 0).ok_or(ConditionError::GaugeTooLong { gauge, channels })
    }

    /// What comes out: quantity, unit, scale 1, channels, and where they are.
    ///
    /// # Errors
    /// What cannot be done with samples of this acquisition.
    pub fn output_acquisition(spec: &ConditionSpec, acquisition: &Acquisition) -> Result<Acquisition, ConditionError> {
        if acquisition.band.is_some() {
            return lines(spec, acquisition);
        }
        let gauge = spec.spatial_difference_channels;
        factor(spec, acquisition)?;
        let limit_hz = acquisition.prr.to_f64() / 2.0;
        // NaN is refused as well.
        if !(spec.high_pass_hz >= 0.0 && spec.high_pass_hz < limit_hz) {
            return Err(ConditionError::HighPass { corner_hz: spec.high_pass_hz, limit_hz });
        }
        let iq = acquisition.sample_format == SampleFormat::Iq16;
        let (quantity, unit) = match acquisition.quantity {
            _ if spec.strain_rate => (Quantity::StrainRate, "nstrain/s".into()),
            _ if iq => (Quantity::Phase, "rad".into()),
            as_it_is => (as_it_is, acquisition.unit.clone()),
        };
        if gauge > 0 && !acquisition.regions.is_empty() {
            return Err(ConditionError::Regions(acquisition.regions.len() + 1));
        }
        Ok(Acquisition {
            channels: Self::output_channels(spec, acquisition)?,
            fiber_start_m: acquisition.fiber_start_m + gauge as f64 * acquisition.dx_m / 2.0,
            gauge_length_m: gauge_length_m(spec, acquisition),
            sample_format: SampleFormat::F32,
            quantity,
            scale: 1.0,
            levels: Arc::default(),
            unit,
            ..acquisition.clone()
        })
    }
}

/// Lines of band energy come out as they are, or not at all.
fn lines(spec: &ConditionSpec, acquisition: &Acquisition) -> Result<Acquisition, ConditionError> {
    let (format, scale) = (acquisition.sample_format, acquisition.scale);
    if *spec != ConditionSpec::default() {
        return Err(ConditionError::Lines);
    }
    if format != SampleFormat::F32 || scale.to_bits() != 1f64.to_bits() {
        return Err(ConditionError::LinesOf { format: format.dtype(), scale });
    }
    Ok(acquisition.clone())
}

/// The gauge length of what comes out: that of a difference taken here, or else the interrogator's own.
fn gauge_length_m(spec: &ConditionSpec, acquisition: &Acquisition) -> Option<f64> {
    let phase = matches!(acquisition.quantity, Quantity::OpticalField | Quantity::Phase | Quantity::PhaseRate)
        && !is_per_metre(&acquisition.unit);
    match spec.spatial_difference_channels {
        0 => acquisition.gauge_length_m,
        gauge if phase || acquisition.sample_format == SampleFormat::Iq16 => Some(gauge as f64 * acquisition.dx_m),
        _ => acquisition.gauge_length_m,
    }
}

/// Whether values are of a metre of fiber, such as `rad/(s*m)`: then they were divided by a gauge length already.
fn is_per_metre(unit: &str) -> bool {
    let plain = unit.to_lowercase().replace(' ', "");
    ["/m", "(m", "m)", "m^-1", "m⁻¹"].iter().any(|part| plain.contains(part))
}

/// From a raw sample (or from a radian of `iq16`) to the output's unit.
pub(super) fn factor(spec: &ConditionSpec, acquisition: &Acquisition) -> Result<f64, ConditionError> {
    let iq = acquisition.sample_format == SampleFormat::Iq16;
    if iq && spec.spatial_difference_channels == 0 {
        return Err(ConditionError::NoGauge);
    }
    // The scale of an optical field is no business of its phase.
    let scale = if iq { 1.0 } else { acquisition.scale };
    let factor = if spec.strain_rate { scale * strain_rate_factor(spec, acquisition)? } else { scale };
    let largest_sample = match acquisition.sample_format {
        SampleFormat::I16 => 32768.0,
        SampleFormat::I32 => 2_147_483_648.0,
        SampleFormat::F32 | SampleFormat::Iq16 => 1.0,
    };
    if !(factor as f32).is_normal() || 4.0 * largest_sample * factor.abs() > LARGEST {
        return Err(ConditionError::Scale(acquisition.scale));
    }
    Ok(factor)
}

/// nstrain/s for one radian of change from trace to trace: PRR × λ / (4π n ξ G) × 10⁹.
///
/// # Errors
/// When the samples are not phase, or a fact is missing.
pub fn strain_rate_factor(spec: &ConditionSpec, acquisition: &Acquisition) -> Result<f64, ConditionError> {
    let iq = acquisition.sample_format == SampleFormat::Iq16;
    let radians = ["rad", "radian", "radians"].iter().any(|name| acquisition.unit.eq_ignore_ascii_case(name));
    let phase = iq || (acquisition.quantity == Quantity::Phase && radians);
    if !phase {
        let (quantity, unit) = (acquisition.quantity.name(), acquisition.unit.clone());
        return Err(ConditionError::NotPhase { quantity, unit });
    }
    let fact =
        |value: Option<f64>, name| value.filter(|v| v.is_finite() && *v > 0.0).ok_or(ConditionError::Missing(name));
    let wavelength = fact(acquisition.wavelength_m, "wavelength")?;
    let index = fact(acquisition.refractive_index, "refractive index")?;
    let gauge = fact(gauge_length_m(spec, acquisition), "gauge length")?;
    let strain_per_radian = wavelength / (4.0 * std::f64::consts::PI * index * PHOTO_ELASTIC * gauge);
    Ok(acquisition.prr.to_f64() * strain_per_radian * 1e9)
}
