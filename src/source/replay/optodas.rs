//! ASN `OptoDAS` HDF5, versions 8 to 11: `data` beside `header`, `cableSpec` and `demodSpec`.
//!
//! The trap is the distance: `header/dx` is that of the undecimated channels, and `header/channels` counts those. A file
//! of every 50th channel has channels 32500, 32550, ...: `dx` is then 50 times `header/dx`.

use std::sync::Arc;

use super::capture::Capture;
use super::h5::H5;
use super::h5rows;
use super::times::seconds_to_ns;
use super::timing::{Statements, work_out};
use super::words::quantity;
use crate::acquisition::{Acquisition, ClockQuality, SourceKind};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Whether the file has the marks of `OptoDAS`.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.has("data")? && file.has("header/dt")? && file.has("header/dx")?)
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("OptoDAS without {what}"));
    let mut notes = Vec::new();
    let version = file.number("fileVersion")?.unwrap_or(0.0);
    if !(8.0..=11.0).contains(&version) {
        notes.push(Finding::note(format!("file version {version}: versions 8 to 11 are known")));
    }
    let samples = file.samples("data")?.ok_or_else(|| missing("data"))?;
    let first_dimension = file.text("header/dimensionNames")?.unwrap_or_default();
    let table = h5rows::table(samples, first_dimension.starts_with("distance"))?;

    let dt = file.number("header/dt")?.ok_or_else(|| missing("header/dt"))?;
    let prr = Rational::from_f64(dt).ok_or_else(|| file.unusable(format!("header/dt is {dt} s")))?.recip();
    let begin = file.number("header/time")?.ok_or_else(|| missing("header/time"))?;
    let skipped = file.number("header/dimensionRanges/dimension0/min")?.unwrap_or(0.0);
    let utc_ns = seconds_to_ns(begin + skipped.max(0.0) * dt)
        .ok_or_else(|| file.unusable(format!("header/time is {begin} s after 1970")))?;
    let timing = work_out(Statements {
        rows: table.traces,
        declared_rate: Some(prr),
        start_ns: Some(utc_ns),
        end_ns: None,
        lost_together: 1,
        stamps: None,
    })
    .map_err(|error| error.into_source(|why| file.unusable(why)))?;
    notes.extend(timing.notes());

    let (dx_m, fiber_start_m) = distances(file, table.channels, &mut notes)?;
    let unit = file.text("header/unit")?.unwrap_or_default();
    let description = file.text("header/experiment")?.unwrap_or_default();
    let acquisition = Acquisition {
        epoch: 0,
        prr: timing.rate,
        channels: table.channels,
        dx_m,
        fiber_start_m,
        regions: Arc::default(),
        gauge_length_m: file.number("header/gaugeLength")?,
        wavelength_m: None,
        refractive_index: file.number("cableSpec/refractiveIndex")?,
        sample_format: table.format,
        quantity: quantity(&unit, &file.text("header/name")?.unwrap_or_default()),
        scale: file.number("header/dataScale")?.unwrap_or(1.0),
        unit,
        clock: ClockQuality::FreeRunning,
        description,
        source: SourceKind::Replay,
    };
    Ok(Capture {
        format: format!("ASN OptoDAS HDF5, version {version}"),
        acquisition,
        total_rows: timing.rows,
        anchors: timing.anchors(),
        jitter_ns: timing.jitter_ns,
        rate_is_measured: timing.rate_is_measured,
        slab_rows: table.slab_rows,
        notes,
        checksummed: false,
        rows: table.rows,
    })
}

/// dx and the distance of the first channel, in metres.
fn distances(file: &H5, channels: usize, notes: &mut Vec<Finding>) -> Result<(f64, f64), SourceError> {
    let undecimated = file.number("header/dx")?.ok_or_else(|| file.unusable("OptoDAS without header/dx"))?;
    let decimation = file.number("demodSpec/roiDec")?.filter(|&d| d >= 1.0).unwrap_or(1.0);
    let Some(numbers) = file.numbers("header/channels")? else {
        let start = file.number("demodSpec/roiStart")?.unwrap_or(0.0);
        notes.push(Finding::warning("no header/channels: distances are those of the first region of interest"));
        return Ok((undecimated * decimation, undecimated * start));
    };
    if numbers.len() != channels {
        return Err(file.unusable(format!("header/channels names {} channels, data has {channels}", numbers.len())));
    }
    let step = if let [first, second, ..] = numbers[..] { second - first } else { decimation };
    if numbers.windows(2).any(|pair| (pair[1] - pair[0] - step).abs() > 1e-6) {
        let why = "channels are not evenly spaced (several regions): distances hold for the first region";
        notes.push(Finding::warning(why));
    }
    Ok((undecimated * step, undecimated * numbers.first().copied().unwrap_or(0.0)))
}
