//! ASN `OptoDAS` HDF5, versions 8 to 11: `data` beside `header`, `cableSpec` and `demodSpec`.
//!
//! The trap is the distance: `header/dx` is that of the undecimated channels, and `header/channels` counts those. A file
//! of every 50th channel has channels 32500, 32550, ...: `dx` is then 50 times `header/dx`.

use super::capture::Capture;
use super::found::{Found, Places};
use super::h5::H5;
use super::h5rows;
use super::times::seconds_to_ns;
use super::timing::{Statements, work_out};
use super::words::{is_series, measured};
use crate::acquisition::places_at;
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
    let unit = file.text("header/unit")?.unwrap_or_default();
    let name = file.text("header/name")?.unwrap_or_default();
    is_series(&unit, &name).map_err(|why| file.unusable(format!("data: {why}")))?;
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

    let places = distances(file, table.channels, &mut notes)?;
    let measured = measured(&unit, &name);
    Ok(Found {
        gauge_length_m: file.number("header/gaugeLength")?,
        refractive_index: file.number("cableSpec/refractiveIndex")?,
        quantity: measured.quantity,
        scale: measured.scale * file.number("header/dataScale")?.unwrap_or(1.0),
        unit: measured.unit,
        description: file.text("header/experiment")?.unwrap_or_default(),
        notes,
        ..Found::new(format!("ASN OptoDAS HDF5, version {version}"), table, timing, places)
    }
    .into_capture())
}

fn distances(file: &H5, channels: usize, notes: &mut Vec<Finding>) -> Result<Places, SourceError> {
    let undecimated = file.number("header/dx")?.ok_or_else(|| file.unusable("OptoDAS without header/dx"))?;
    let numbers = match file.numbers("header/channels")? {
        Some(numbers) if numbers.len() == channels => numbers,
        Some(numbers) => {
            let why = format!("header/channels names {} channels, data has {channels}", numbers.len());
            return Err(file.unusable(why));
        }
        None => {
            let (numbers, note) = numbers_of_regions(&regions_of_interest(file)?, channels);
            notes.push(Finding::warning(note));
            numbers
        }
    };
    if let [only] = numbers[..] {
        let decimation = file.number("demodSpec/roiDec")?.filter(|&d| d >= 1.0).unwrap_or(1.0);
        return Ok(Places::even(undecimated * only, undecimated * decimation));
    }
    let distances: Vec<f64> = numbers.iter().map(|number| number * undecimated).collect();
    places_at(&distances, undecimated.abs() * 1e-3).map_err(|why| file.unusable(why))
}

/// First and last channel, and every how manieth.
fn regions_of_interest(file: &H5) -> Result<Vec<[f64; 3]>, SourceError> {
    let column = |name: &str| Ok::<_, SourceError>(file.numbers(name)?.unwrap_or_default());
    let (starts, ends, steps) =
        (column("demodSpec/roiStart")?, column("demodSpec/roiEnd")?, column("demodSpec/roiDec")?);
    let region = |(at, &start): (usize, &f64)| {
        let end = ends.get(at).copied().unwrap_or(f64::INFINITY);
        [start, end, steps.get(at).copied().filter(|&step| step >= 1.0).unwrap_or(1.0)]
    };
    Ok(starts.iter().enumerate().map(region).filter(|[start, end, _]| start.is_finite() && end >= start).collect())
}

/// Numbers of `channels` channels in these regions, when no list has them.
fn numbers_of_regions(regions: &[[f64; 3]], channels: usize) -> (Vec<f64>, String) {
    let count = |[start, end, step]: &[f64; 3]| ((end - start) / step).floor() + 1.0;
    let [first, _, step] = regions.first().copied().unwrap_or([0.0, f64::INFINITY, 1.0]);
    if regions.len() > 1 && (regions.iter().map(count).sum::<f64>() - channels as f64).abs() < 0.5 {
        let numbers = |region: &[f64; 3]| {
            let [start, _, step] = *region;
            (0..count(region) as usize).map(move |i| start + i as f64 * step)
        };
        let note = "no header/channels: distances are those of the regions of interest in demodSpec";
        return (regions.iter().flat_map(numbers).collect(), note.into());
    }
    let note = "no header/channels: distances are those of the first region of interest";
    ((0..channels).map(|i| first + i as f64 * step).collect(), note.into())
}
