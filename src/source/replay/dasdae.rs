//! DASDAE, the HDF5 form of the Python library DASCore: `waveforms/<patch>/data`, its axes beside it as `_coord_<name>`,
//! what is known of it as attributes `_attrs_<name>`; `_dims` names the dimensions in their order.
//!
//! A file may hold many patches; the first that is a series of samples along a fiber is read.

use super::axes::{Counts, TimeAxis, distances, unit_of};
use super::capture::Capture;
use super::found::{Found, Said, timing};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::words::{is_series, quantity};
use crate::source::{Finding, SourceError};

const PATCHES: &str = "waveforms";

/// Whether the file has the marks of DASDAE.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.group_attrs("")?.and_then(|root| root.text("__format__")).is_some_and(|format| format == "DASDAE"))
}

/// Opens the first patch of samples in time.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let mut others = Vec::new();
    let patches = file.groups(PATCHES)?;
    for patch in &patches {
        let node = format!("{PATCHES}/{patch}");
        let attrs = file.group_attrs(&node)?.unwrap_or_default();
        let dims = said(&attrs, "_dims");
        match dims.as_str() {
            "time,distance" | "distance,time" => return open_patch(file, &node, &attrs, patches.len()),
            _ => others.push(if dims.is_empty() { "none".into() } else { dims.replace(',', " and ") }),
        }
    }
    others.dedup();
    others.truncate(4);
    if others.is_empty() {
        return Err(file.unusable("DASDAE without a patch in waveforms"));
    }
    Err(file.unusable(format!("DASDAE: dimensions are {}; they should be time and distance", others.join("; "))))
}

fn open_patch(file: &H5, node: &str, attrs: &Attrs, patches: usize) -> Result<Capture, SourceError> {
    let wrong = |why: String| file.unusable(format!("DASDAE: {why}"));
    let (unit, kind) = (said(attrs, "_attrs_data_units"), said(attrs, "_attrs_data_type"));
    is_series(&unit, &kind).map_err(wrong)?;
    let samples = file.samples(&format!("{node}/data"))?.ok_or_else(|| wrong("a patch without data".into()))?;
    let table = h5rows::table(samples, said(attrs, "_dims").starts_with("distance"))?;

    let name = format!("{node}/_coord_time");
    let marks = file.dataset_attrs(&name)?.unwrap_or_default();
    // Times are nanoseconds since 1970, lapses are nanoseconds; other numbers are seconds.
    let is = |mark: &str| marks.number(mark).is_some_and(|flag| flag != 0.0);
    let counts = match (is("is_datetime64"), is("is_timedelta64")) {
        (true, _) => Some(Counts { unit_ns: 1, from_ns: Some(0) }),
        (_, true) => Some(Counts { unit_ns: 1, from_ns: None }),
        _ => unit_of(&marks).and_then(|unit| Counts::of(&unit)),
    };
    let axis = TimeAxis::open(file, &name, counts)?.ok_or_else(|| wrong("a patch without _coord_time".into()))?;
    if axis.len() != table.traces {
        return Err(wrong(format!("{} values in _coord_time for {} traces", axis.len(), table.traces)));
    }
    let mut notes = Vec::new();
    let start_ns = axis.begin(None, &mut notes)?;
    let mut pass = |sink: &mut super::timing::Sink<'_>| axis.pass(sink);
    let said_of_time = Said { start_ns, stamps: Some(axis.stamps(&mut pass)), ..Said::default() };
    let timing = timing(file, table.traces, said_of_time, "_coord_time")?;

    let distance = format!("{node}/_coord_distance");
    let places = distances(file, &distance, table.channels)?;
    let places = places.ok_or_else(|| wrong("a patch without _coord_distance".into()))?;
    if patches > 1 {
        notes.push(Finding::warning(format!(
            "{patches} patches: only {} is read",
            node.trim_start_matches("waveforms/")
        )));
    }
    let root = file.group_attrs("")?.unwrap_or_default();
    Ok(Found {
        gauge_length_m: attrs.number("_attrs_gauge_length"),
        quantity: quantity(&unit, &kind),
        unit,
        description: said(attrs, "_attrs_id"),
        notes,
        ..Found::new(format!("DASDAE HDF5, version {}", said(&root, "__DASDAE_version__")), table, timing, places)
    }
    .into_capture())
}

/// A text; what the Python library wrote as an object of its own (`None`, for one) says nothing here.
fn said(attrs: &Attrs, name: &str) -> String {
    attrs.text(name).filter(|text| text != "N." && !text.contains('\n')).unwrap_or_default()
}
