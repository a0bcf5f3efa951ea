//! Neubrex HDF5 (NBX-S4000 series): `Acoustic` [time][channel], everything else in its attributes.

use super::capture::Capture;
use super::found::{Found, Places, Said, as_written, rate_of_period, timing};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::times::iso_to_ns;
use super::words::{is_series, metres_in, quantity};
use crate::acquisition::ClockQuality;
use crate::source::{Finding, SourceError};

const DATA: &str = "Acoustic";
const PERIOD: &str = "TimeSamplingInterval(seconds)";

/// Whether the file has the marks of Neubrex.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.dataset_attrs(DATA)?.is_some_and(|attrs| attrs.has("NEUBRESCOPE.DAS.Model")))
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let wrong = |why: String| file.unusable(format!("Neubrex: {why}"));
    let attrs = file.dataset_attrs(DATA)?.unwrap_or_default();
    let samples = file.samples(DATA)?.ok_or_else(|| wrong("no dataset Acoustic".into()))?;
    let table = h5rows::table(samples, false)?;

    let (unit, kind) = (attrs.text("DataPhysicalUnit").unwrap_or_default(), attrs.text("DataType").unwrap_or_default());
    is_series(&unit, &kind).map_err(wrong)?;
    let iso = |name: &str| iso_to_ns(&attrs.text(name)?);
    let gps = iso("GPSTimeStamp(UTC)").or_else(|| iso("ISO8601TimeStamp"));
    let said = Said {
        rate: attrs.number(PERIOD).and_then(rate_of_period),
        start_ns: gps.or_else(|| iso("CPUTimeStamp(UTC)")),
        ..Said::default()
    };
    let timing = timing(file, table.traces, said, &format!("{PERIOD}, GPSTimeStamp(UTC)"))?;

    let dx_m = length(&attrs, "SpatialSamplingInterval", "SpatialSamplingIntervalUnit").map_err(wrong)?;
    let start_m = length(&attrs, "StartPosition", "StartStopPositionUnit").map_err(wrong)?;
    let mut notes = Vec::new();
    let dx_m = dx_m.ok_or_else(|| wrong("no SpatialSamplingInterval".into()))?;
    let start_m = start_m.unwrap_or_else(|| {
        notes.push(Finding::note("no StartPosition: distances count from the first channel"));
        0.0
    });
    let locked = attrs.text("SystemInformation.GPS.Status").is_some_and(|status| status.ends_with("Lock"));
    let model = attrs.text("NEUBRESCOPE.DAS.Model").unwrap_or_default();
    Ok(Found {
        gauge_length_m: length(&attrs, "GaugeLength", "GaugeLengthUnit").map_err(wrong)?,
        refractive_index: attrs.number("IndexOfRefraction").map(as_written),
        quantity: quantity(&unit, &kind),
        unit,
        clock: if gps.is_some() && locked { ClockQuality::Gps } else { ClockQuality::FreeRunning },
        notes,
        ..Found::new(format!("Neubrex HDF5, {model}"), table, timing, Places::even(start_m, dx_m))
    }
    .into_capture())
}

/// A length in metres, by the attribute that names its unit.
fn length(attrs: &Attrs, name: &str, unit: &str) -> Result<Option<f64>, String> {
    let Some(value) = attrs.number(name) else { return Ok(None) };
    let metres = metres_in(attrs.text(unit).as_deref()).map_err(|why| format!("{name}: {why}"))?;
    Ok(Some(as_written(value) * metres))
}
