//! Terra15 Treble HDF5, versions 4 to 6: `data_product/data` with a GPS time for every line.
//!
//! The rate is that of the time stamps, and not the instrument's nominal one (`dT`) unless that agrees: the stamps of the
//! known file run 600 ppm faster, and what is labelled with them must agree with them. Single stamps scatter, so lines are
//! placed evenly between them, as DASCore and xdas do. Lines without a time (a frame that was allocated but not filled) do
//! not count.

use super::capture::Capture;
use super::found::{Found, Places};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::stamp_column::StampColumn;
use super::timing::{Statements, Timing, work_out};
use super::words::{is_series, quantity};
use crate::acquisition::ClockQuality;
use crate::source::SourceError;
use crate::units::Rational;

/// Whether the file has the marks of Terra15.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.group_attrs("")?.is_some_and(|root| root.has("file_version") && root.has("data_product")))
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let root = file.group_attrs("")?.unwrap_or_default();
    let missing = |what: &str| file.unusable(format!("Terra15 without {what}"));
    let node = node(file, &root)?;
    let data = format!("{node}/data");
    let product = root.text("data_product").unwrap_or_default();
    let unit = root.text("data_product_units").unwrap_or_default();
    is_series(&unit, &product).map_err(|why| file.unusable(format!("{data}: {why}")))?;
    let table = h5rows::table(file.samples(&data)?.ok_or_else(|| missing(&data))?, false)?;
    let column = ["gps_time", "posix_time"].map(|name| format!("{node}/{name}"));
    let column = if file.has(&column[0])? { &column[0] } else { &column[1] };
    let nominal_s = file.dataset_attrs(&data)?.and_then(|attrs| attrs.number("dT"));
    let times = times(file, column, table.traces, nominal_s)?;

    // An attribute of type bool arrives as a number.
    let gps = column.ends_with("gps_time") && root.number("gps_locked") == Some(1.0);
    let dx_m = root.number("dx").ok_or_else(|| missing("attribute dx"))?;
    let start_m = root.number("sensing_range_start").ok_or_else(|| missing("attribute sensing_range_start"))?;
    let version = root.number("file_version").map_or_else(|| root.text("file_version"), |v| Some(v.to_string()));
    let format = format!("Terra15 HDF5, version {}", version.unwrap_or_default());
    Ok(Found {
        gauge_length_m: root.number("gauge_length"),
        quantity: quantity(&unit, &product),
        unit,
        clock: if gps { ClockQuality::Gps } else { ClockQuality::FreeRunning },
        description: root.text("setup_comments").or_else(|| root.text("recorder_id")).unwrap_or_default(),
        ..Found::new(format, table, times, Places::even(start_m, dx_m))
    }
    .into_capture())
}

/// Version 4 names the group after the product, later ones do not.
fn node(file: &H5, root: &Attrs) -> Result<String, SourceError> {
    let named = root.text("data_product").unwrap_or_default();
    for node in ["data_product".to_owned(), named] {
        if !node.is_empty() && file.has(&format!("{node}/data"))? {
            return Ok(node);
        }
    }
    Err(file.unusable("Terra15 without data_product/data"))
}

fn times(file: &H5, column: &str, traces: u64, nominal_s: Option<f64>) -> Result<Timing, SourceError> {
    let column =
        StampColumn::open(file, column)?.ok_or_else(|| file.unusable("Terra15 without gps_time or posix_time"))?;
    if column.len() != traces {
        return Err(file.unusable(format!("{} times for {traces} lines of data", column.len())));
    }
    work_out(Statements {
        rows: traces,
        declared_rate: nominal_s.and_then(Rational::from_f64).map(Rational::recip),
        start_ns: None,
        end_ns: None,
        lost_together: 1,
        stamps: Some(column.stamps(1_000_000_000, &mut |sink| column.pass(sink))),
    })
    .map_err(|error| error.into_source(|why| file.unusable(why)))
}
