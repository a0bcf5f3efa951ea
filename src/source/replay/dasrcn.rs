//! The layout of the DAS research coordination network, as in the GDR archive: `DasRawData/RawData` with a time for
//! every line and a tree of metadata in which numbers are often text and `NaN` means "not known".
//!
//! The file does not say where on the fiber its first channel lies: distances count from there.

use super::capture::Capture;
use super::found::{Found, Places};
use super::h5::H5;
use super::h5rows;
use super::stamp_column::StampColumn;
use super::timing::{Statements, work_out};
use super::words::{hertz_in, is_series, measured, metres_in};
use crate::source::SourceError;
use crate::units::Rational;

const DATA: &str = "DasRawData/RawData";
const TIMES: &str = "DasRawData/DasTimeArray";

/// Whether the file has the marks of the layout.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.has(DATA)? && file.has(TIMES)?)
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("DAS-RCN without {what}"));
    let acq = file.group_attrs("DasMetadata/Interrogator/Acquisition")?.unwrap_or_default();
    let attrs = file.dataset_attrs(DATA)?.unwrap_or_default();
    let first_dimension = attrs.texts("DasDimensions").into_iter().next().unwrap_or_default();
    let unit = acq.text("UnitOfMeasure").unwrap_or_default();
    is_series(&unit, "").map_err(|why| file.unusable(format!("{DATA}: {why}")))?;
    let samples = file.samples(DATA)?.ok_or_else(|| missing(DATA))?;
    let table = h5rows::table(samples, first_dimension == "locus")?;

    let hertz = hertz_in(acq.text("AcquisitionSampleRateUnit").as_deref()).map_err(|why| file.unusable(why))?;
    let declared = acq.number("AcquisitionSampleRate").and_then(|rate| Rational::from_f64(rate * hertz));
    let column = StampColumn::open(file, TIMES)?.ok_or_else(|| missing(TIMES))?;
    if column.len() != table.traces {
        return Err(file.unusable(format!("{} values in {TIMES} for {} traces", column.len(), table.traces)));
    }
    let timing = work_out(Statements {
        rows: table.traces,
        declared_rate: declared,
        start_ns: None,
        end_ns: None,
        lost_together: 1,
        stamps: Some(column.stamps(1, &mut |sink| column.pass(sink))),
    })
    .map_err(|error| error.into_source(|why| missing(&format!("a usable {TIMES}: {why}"))))?;

    let metres =
        |name: &str| metres_in(acq.text(name).as_deref()).map_err(|why| file.unusable(format!("{name}: {why}")));
    let dx = acq.number("SpatialSamplingInterval").ok_or_else(|| missing("SpatialSamplingInterval"))?;
    let gauge = acq.number("GaugeLength");
    let measured = measured(&unit, "");
    let fiber = file.group_attrs("DasMetadata/Cable/Fiber")?.unwrap_or_default();
    let places = Places::even(0.0, dx * metres("SpatialSamplingIntervalUnit")?);
    Ok(Found {
        gauge_length_m: gauge.map(|g| Ok::<_, SourceError>(g * metres("GaugeLengthUnit")?)).transpose()?,
        refractive_index: fiber.number("FiberRefractionIndex"),
        quantity: measured.quantity,
        scale: measured.scale,
        unit: measured.unit,
        description: file.group_attrs("DasMetadata")?.and_then(|meta| meta.text("Location")).unwrap_or_default(),
        ..Found::new("DAS-RCN HDF5".into(), table, timing, places)
    }
    .into_capture())
}
