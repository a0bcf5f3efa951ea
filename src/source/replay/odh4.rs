//! `OptaSense` ODH4 HDF5: `raw_data` [channel][time], everything else in attributes of the root.
//!
//! `endtime` is one period behind the last row; channel 0 of the file is `channel_start` spacings along the fiber.

use super::capture::Capture;
use super::found::{Found, Places, Said, as_written, timing};
use super::h5::H5;
use super::h5rows;
use super::times::iso_to_ns;
use super::words::{is_series, quantity};
use crate::acquisition::Quantity;
use crate::source::{Finding, SourceError};
use crate::units::Rational;

const DATA: &str = "raw_data";
const RATE: &str = "sampling rate Hz";
const DX: &str = "channel spacing m";

/// Whether the file has the marks of ODH4.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.group_attrs("")?.is_some_and(|root| root.has(RATE) && root.has(DX)) && file.has(DATA)?)
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let wrong = |why: String| file.unusable(format!("OptaSense ODH4: {why}"));
    let root = file.group_attrs("")?.unwrap_or_default();
    let samples = file.samples(DATA)?.ok_or_else(|| wrong("no dataset raw_data".into()))?;
    let table = h5rows::table(samples, true)?;

    let first = root.integer("channel_start");
    if let (Some(first), Some(end)) = (first, root.integer("channel_end")) {
        // Writers are known that count the end in, and others that do not.
        let said = end.saturating_sub(first);
        let channels = i64::try_from(table.channels).unwrap_or(i64::MAX);
        if ![said, said.saturating_add(1)].contains(&channels) {
            return Err(wrong(format!("raw_data has {channels} channels, but channels {first} to {end} are declared")));
        }
    }
    let words = root.text("raw_data_units").unwrap_or_default();
    is_series(&words, "").map_err(wrong)?;
    let said = Said {
        rate: root.number(RATE).map(as_written).and_then(Rational::from_f64),
        start_ns: root.text("starttime").and_then(|text| iso_to_ns(&text)),
        ..Said::default()
    };
    let timing = timing(file, table.traces, said, &format!("{RATE}, starttime"))?;

    let mut notes = Vec::new();
    if first.is_none() {
        notes.push(Finding::note("no channel_start: distances count from the first channel"));
    }
    let dx_m = root.number(DX).map(as_written).ok_or_else(|| wrong(format!("{DX} is no number")))?;
    let factor = root.number("scale factor to strain").filter(|&factor| factor.is_finite() && factor != 0.0);
    let (quantity, scale, unit) = match factor {
        Some(factor) => (Quantity::Strain, factor, "strain".to_owned()),
        None => (quantity(&words, ""), 1.0, words),
    };
    Ok(Found {
        gauge_length_m: root.number("GL m").map(as_written),
        quantity,
        scale,
        unit,
        notes,
        ..Found::new("OptaSense ODH4 HDF5".into(), table, timing, Places::even(first.unwrap_or(0) as f64 * dx_m, dx_m))
    }
    .into_capture())
}
