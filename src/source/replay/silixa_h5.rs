//! Silixa iDAS HDF5: `Acoustic` [time][channel] with the properties of the TDMS form as attributes, mostly text.

use super::capture::Capture;
use super::found::{Found, Said, as_written, timing};
use super::h5::H5;
use super::{h5rows, silixa};
use crate::acquisition::Quantity;
use crate::source::SourceError;

const DATA: &str = "Acoustic";

/// Whether the file has the marks of Silixa.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.dataset_attrs(DATA)?.is_some_and(|attrs| attrs.has("SamplingFrequency[Hz]")))
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let attrs = file.dataset_attrs(DATA)?.unwrap_or_default();
    let samples = file.samples(DATA)?.ok_or_else(|| file.unusable("Silixa HDF5 without Acoustic"))?;
    let table = h5rows::table(samples, false)?;
    let property =
        |name: &str| attrs.text(name).or_else(|| attrs.number(name).map(|value| as_written(value).to_string()));
    let facts = silixa::interpret(&property).map_err(|why| file.unusable(format!("Silixa HDF5: {why}")))?;
    let said = Said { rate: Some(facts.rate), start_ns: facts.start_ns, ..Said::default() };
    let timing = timing(file, table.traces, said, "GPSTimeStamp")?;
    let version = attrs.text("iDASVersion").map(|version| format!(", iDAS {version}")).unwrap_or_default();
    Ok(Found {
        gauge_length_m: facts.gauge_length_m,
        refractive_index: facts.refractive_index,
        quantity: Quantity::StrainRate,
        scale: facts.scale,
        unit: facts.unit.into(),
        clock: facts.clock,
        description: attrs.text("Tags").unwrap_or_default(),
        notes: facts.notes,
        ..Found::new(format!("Silixa HDF5{version}"), table, timing, facts.places)
    }
    .into_capture())
}
