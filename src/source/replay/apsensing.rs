//! AP Sensing HDF5, version 10: `DAS` [time][channel] beside the groups `DAQ`, `ProcessingServer` and `Metadata`, in which
//! every value is a dataset of its own.
//!
//! The trap is the distance: `PositionStart` and `PositionEnd` are those of the sampled fiber. Channels are every
//! `SpatialSamplingPoints`-th point of it, as far as a whole gauge length fits, so that the last one lies before
//! `PositionEnd`; spreading them up to there would stretch the fiber.

use super::capture::Capture;
use super::found::{Found, Places, Said, as_written, timing};
use super::h5::H5;
use super::h5rows;
use super::stamp_column::StampColumn;
use super::times::iso_to_ns;
use super::words::{is_series, metres_in, quantity};
use crate::acquisition::ClockQuality;
use crate::source::{Finding, SourceError};
use crate::units::Rational;

const DATA: &str = "DAS";
const RATE: &str = "ProcessingServer/DataRate";
const START: &str = "Metadata/Timestamp";
/// A stamp a row, in microseconds, in files that have it.
const STAMPS: &str = "Timestamps/DataTimestamps";

/// Whether the file has the marks of AP Sensing.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.has(DATA)? && file.has(RATE)? && file.has("ProcessingServer/SpatialSampling")?)
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let wrong = |why: String| file.unusable(format!("AP Sensing: {why}"));
    let samples = file.samples(DATA)?.ok_or_else(|| wrong("no dataset DAS".into()))?;
    let stamps = StampColumn::open(file, STAMPS)?.filter(|stamps| stamps.len() > 0);
    let rows = match (&stamps, file.number("Metadata/TraceCount")?) {
        (Some(stamps), _) => stamps.len(),
        (None, Some(count)) if count >= 0.0 => count as u64,
        _ => samples.shape.first().copied().unwrap_or(0),
    };
    let channel_first = match samples.shape[..] {
        [first, _] if first == rows => false,
        [_, second] if second == rows => true,
        _ => return Err(wrong(format!("DAS has the shape {:?}, but there are {rows} traces", samples.shape))),
    };
    let table = h5rows::table(samples, channel_first)?;

    let kind = file.text("ProcessingServer/DataType")?.unwrap_or_default();
    is_series("", &kind).map_err(wrong)?;
    let zone = file.text("Metadata/Timezone")?.unwrap_or_default();
    let begin = file.text(START)?.unwrap_or_default();
    if !begin.ends_with('Z') && !["", "UTC", "UTC+0"].contains(&zone.as_str()) {
        return Err(wrong(format!("{START} is {begin} in the time zone {zone}; it should be in UTC")));
    }
    let mut pass = |sink: &mut super::timing::Sink<'_>| stamps.as_ref().map_or(Ok(()), |stamps| stamps.pass(sink));
    let said = Said {
        rate: file.number(RATE)?.map(as_written).and_then(Rational::from_f64),
        start_ns: iso_to_ns(&begin),
        end_ns: None,
        stamps: stamps.as_ref().map(|stamps| stamps.stamps(1000, &mut pass)),
    };
    let timing = timing(file, table.traces, said, &format!("{RATE}, {START}"))?;

    let start_m = length(file, "DAQ/PositionStart")?;
    let dx_m = length(file, "ProcessingServer/SpatialSampling")?.ok_or_else(|| wrong("no SpatialSampling".into()))?;
    let strain = file.number("ProcessingServer/RadiansToNanoStrain")?;
    let strain = strain.map(|value| format!("; a radian is {value} nstrain")).unwrap_or_default();
    let mut notes = vec![Finding::note(format!(
        "samples are counts of {kind}: the file does not say how many make a radian{strain}"
    ))];
    if start_m.is_none() {
        notes.push(Finding::note("no DAQ/PositionStart: distances count from the first channel"));
    }
    let version = file.group_attrs("")?.and_then(|root| root.number("FileVersion")).unwrap_or(10.0);
    Ok(Found {
        gauge_length_m: length(file, "ProcessingServer/GaugeLength")?,
        refractive_index: file.number("Interrogator/FiberRefractiveIndex")?,
        quantity: quantity("", &kind),
        clock: clock(file)?,
        description: file.text("Metadata/Location")?.unwrap_or_default(),
        notes,
        ..Found::new(
            format!("AP Sensing HDF5, version {version}"),
            table,
            timing,
            Places::even(start_m.unwrap_or(0.0), dx_m),
        )
    }
    .into_capture())
}

/// A length in metres, by the unit beside it.
fn length(file: &H5, name: &str) -> Result<Option<f64>, SourceError> {
    let Some(value) = file.number(name)? else { return Ok(None) };
    let unit = file.dataset_attrs(name)?.and_then(|attrs| attrs.text("Unit"));
    let metres = metres_in(unit.as_deref()).map_err(|why| file.unusable(format!("AP Sensing: {name}: {why}")))?;
    Ok(Some(as_written(value) * metres))
}

/// Satellite time when it is said to be locked, else network time when it is said to be in step.
fn clock(file: &H5) -> Result<ClockQuality, SourceError> {
    let source = file.text("ProcessingServer/TimeStampSource")?.unwrap_or_default();
    Ok(match source.as_str() {
        "GPS" if file.number("ProcessingServer/GPSLock")? == Some(1.0) => ClockQuality::Gps,
        "NTP" if file.text("ProcessingServer/NTPError")?.as_deref() == Some("Synced") => ClockQuality::Ntp,
        _ => ClockQuality::FreeRunning,
    })
}
