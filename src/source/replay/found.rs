//! What the readers of plain vendor layouts find, and the capture that follows from it.

use std::sync::Arc;

use super::capture::Capture;
use super::h5::H5;
use super::h5rows::Table;
use super::timing::{Stamps, Statements, Timing, work_out};
pub(super) use crate::acquisition::Places;
use crate::acquisition::{Acquisition, ClockQuality, Quantity, SourceKind, places_at};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// How far distances may be off an even spacing, in spacings: what rounded decimals are off.
const UNEVEN: f64 = 1e-3;

/// Channels at these distances, in metres.
///
/// # Errors
/// When they do not rise, or lie in more regions of even spacing than a frame can tell.
pub(super) fn rounded_places(distances: &[f64]) -> Result<Places, String> {
    let mut steps: Vec<f64> = distances.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let middle = steps.len() / 2;
    let spacing = if steps.is_empty() { 0.0 } else { *steps.select_nth_unstable_by(middle, f64::total_cmp).1 };
    // Single-precision numbers are rounded more coarsely the farther out they are.
    let single = distances.iter().all(|&d| f64::from(d as f32).to_bits() == d.to_bits());
    let farthest = distances.iter().fold(0f64, |far, d| far.max(d.abs()));
    let rounding = if single { farthest * f64::from(f32::EPSILON) } else { 0.0 };
    places_at(distances, spacing * UNEVEN + rounding)
}

/// What a file says, apart from what has a default.
pub(super) struct Found {
    /// Name of the format and its version.
    pub(super) format: String,
    /// The samples.
    pub(super) table: Table,
    /// When rows were acquired.
    pub(super) timing: Timing,
    /// Where channels lie.
    pub(super) places: Places,
    /// Gauge length in metres.
    pub(super) gauge_length_m: Option<f64>,
    /// Refractive index of the fiber.
    pub(super) refractive_index: Option<f64>,
    /// What a sample measures.
    pub(super) quantity: Quantity,
    /// Physical value of one count, in `unit`.
    pub(super) scale: f64,
    /// Unit of a scaled sample.
    pub(super) unit: String,
    /// Trust in the times.
    pub(super) clock: ClockQuality,
    /// Free text about the fiber.
    pub(super) description: String,
    /// What is odd about the file and was survived.
    pub(super) notes: Vec<Finding>,
}

impl Found {
    /// Counts without a unit, by a clock that nothing disciplines.
    pub(super) fn new(format: String, table: Table, timing: Timing, places: Places) -> Self {
        Self {
            format,
            table,
            timing,
            places,
            gauge_length_m: None,
            refractive_index: None,
            quantity: Quantity::Counts,
            scale: 1.0,
            unit: String::new(),
            clock: ClockQuality::FreeRunning,
            description: String::new(),
            notes: Vec::new(),
        }
    }

    /// The capture.
    pub(super) fn into_capture(self) -> Capture {
        let Self { table, timing, places, mut notes, .. } = self;
        notes.extend(timing.notes());
        let acquisition = Acquisition {
            epoch: 0,
            prr: timing.rate,
            channels: table.channels,
            dx_m: places.dx_m,
            fiber_start_m: places.start_m,
            regions: places.regions,
            gauge_length_m: self.gauge_length_m,
            wavelength_m: None,
            refractive_index: self.refractive_index,
            sample_format: table.format,
            quantity: self.quantity,
            scale: self.scale,
            levels: Arc::default(),
            unit: self.unit,
            band: None,
            clock: self.clock,
            description: self.description,
            source: SourceKind::Replay,
        };
        Capture {
            piece: String::new(),
            further: Vec::new(),
            format: self.format,
            acquisition,
            total_rows: timing.rows,
            anchors: timing.anchors(),
            jitter_ns: timing.jitter_ns,
            rate_is_measured: timing.rate_is_measured,
            slab_rows: table.slab_rows,
            notes,
            checksummed: false,
            rows: table.rows,
        }
    }
}

/// What a file says of time; what it does not say is `None`.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// The rate by an attribute.
    pub(super) rate: Option<Rational>,
    /// UTC of the first row by an attribute, in nanoseconds since the UNIX epoch.
    pub(super) start_ns: Option<i64>,
    /// UTC of the last row by an attribute, in nanoseconds since the UNIX epoch.
    pub(super) end_ns: Option<i64>,
    /// Stamps of rows.
    pub(super) stamps: Option<Stamps<'a>>,
}

/// When `rows` rows were acquired, by what the file says in `places` (named when it does not suffice).
///
/// # Errors
/// When stamps cannot be read, or nothing says how fast rows follow each other, or when.
pub(super) fn timing(file: &H5, rows: u64, said: Said<'_>, places: &str) -> Result<Timing, SourceError> {
    work_out(Statements {
        rows,
        declared_rate: said.rate,
        start_ns: said.start_ns,
        end_ns: said.end_ns,
        lost_together: 1,
        stamps: said.stamps,
    })
    .map_err(|error| error.into_source(|why| file.unusable(format!("{places}: {why}"))))
}

/// The number that was meant: a single-precision `0.001` is a thousandth, and not the double that is nearest to it.
pub(super) fn as_written(value: f64) -> f64 {
    let single = value as f32;
    if f64::from(single).to_bits() == value.to_bits() { single.to_string().parse().unwrap_or(value) } else { value }
}

/// The rate of a period in seconds.
pub(super) fn rate_of_period(seconds: f64) -> Option<Rational> {
    Rational::from_f64(as_written(seconds)).map(Rational::recip)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_precision_numbers_mean_their_decimals() {
        for written in [0.001, 0.410_674_6, 1e-9, -3.0] {
            assert_eq!(as_written(f64::from(written as f32)).to_bits(), f64::to_bits(written));
            assert_eq!(as_written(written).to_bits(), written.to_bits());
        }
        assert_eq!(rate_of_period(f64::from(0.002f32)), Rational::new(500, 1));
        assert_eq!(rate_of_period(0.0), None);
        assert!(as_written(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn rounded_distances_are_one_region_and_jumps_are_others(
            start in 0u32..20_000, dx in 1u32..400, count in 3usize..60, jump in 2u32..9, single in any::<bool>(),
        ) {
            let dx = f64::from(dx) * 0.051_065;
            let round = |d: f64| if single { f64::from(d as f32) } else { d };
            let at = |channel: usize| f64::from(start) + channel as f64 * dx;
            let even: Vec<f64> = (0..count).map(|channel| round(at(channel))).collect();
            let places = rounded_places(&even).map_err(TestCaseError::fail)?;
            prop_assert!(places.regions.is_empty(), "{even:?}");
            prop_assert!((places.dx_m / dx - 1.0).abs() < 0.05);
            // Behind the middle everything lies farther out.
            let split = count / 2 + 1;
            let parts: Vec<f64> =
                (0..2 * count).map(|c| round(at(c) + if c < split { 0.0 } else { f64::from(jump) * dx })).collect();
            let places = rounded_places(&parts).map_err(TestCaseError::fail)?;
            prop_assert_eq!(places.regions.len(), 1);
            prop_assert_eq!(places.regions[0].first_channel, split);
        }
    }
}
