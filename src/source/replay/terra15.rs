//! Terra15 Treble HDF5, versions 4 to 6: `data_product/data` with a GPS time for every line.
//!
//! The rate is that of the time stamps, first to last line, as DASCore and xdas take it, and not the instrument's nominal
//! one (`dT`): the stamps of the known file run 600 ppm faster, and what is labelled with them must agree with them.
//! Single stamps scatter, so lines are placed evenly between them. Lines without a time (a frame that was allocated but
//! not filled) do not count.

use super::capture::{Anchor, Capture};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::times::{believable_rate, missing_traces, seconds_to_ns};
use super::words::quantity;
use crate::acquisition::{Acquisition, ClockQuality, SourceKind};
use crate::source::SourceError;
use crate::units::Rational;

/// A step of fewer missing lines than this is the scatter of stamps between two frames, not a gap.
const GAP_LINES: i64 = 10;

/// The even grid is fixed again after so many lines, so that it holds when played at the rate of the file before.
const ANCHOR_LINES: u64 = 4096;

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
    let table = h5rows::table(file.samples(&data)?.ok_or_else(|| missing(&data))?, false)?;
    let column = ["gps_time", "posix_time"].map(|name| format!("{node}/{name}"));
    let column = if file.has(&column[0])? { &column[0] } else { &column[1] };
    let mut notes = Vec::new();
    let times = times(file, column, table.traces, &mut notes)?;

    let product = root.text("data_product").unwrap_or_default();
    let unit = root.text("data_product_units").unwrap_or_default();
    // An attribute of type bool arrives as a number.
    let gps = column.ends_with("gps_time") && root.number("gps_locked") == Some(1.0);
    let acquisition = Acquisition {
        epoch: 0,
        prr: times.prr,
        channels: table.channels,
        dx_m: root.number("dx").ok_or_else(|| missing("attribute dx"))?,
        fiber_start_m: root.number("sensing_range_start").ok_or_else(|| missing("attribute sensing_range_start"))?,
        gauge_length_m: root.number("gauge_length"),
        wavelength_m: None,
        refractive_index: None,
        sample_format: table.format,
        quantity: quantity(&unit, &product),
        scale: 1.0,
        unit,
        clock: if gps { ClockQuality::Gps } else { ClockQuality::FreeRunning },
        description: root.text("setup_comments").or_else(|| root.text("recorder_id")).unwrap_or_default(),
        source: SourceKind::Replay,
    };
    let version = root.number("file_version").map_or_else(|| root.text("file_version"), |v| Some(v.to_string()));
    Ok(Capture {
        format: format!("Terra15 HDF5, version {}", version.unwrap_or_default()),
        acquisition,
        total_rows: times.lines,
        anchors: times.anchors,
        jitter_ns: times.scatter_ns,
        rate_is_measured: true,
        slab_rows: table.slab_rows,
        notes,
        checksummed: false,
        rows: table.rows,
    })
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

struct Times {
    prr: Rational,
    anchors: Vec<Anchor>,
    /// Lines that have a time.
    lines: u64,
    /// How far stamps are from the even grid.
    scatter_ns: u64,
}

fn times(file: &H5, column: &str, traces: u64, notes: &mut Vec<String>) -> Result<Times, SourceError> {
    // Lines that were never written have time 0; they are at the end.
    let filled = |each: &mut dyn FnMut(i64)| {
        let mut ended = false;
        let pass = |seconds: f64| {
            ended |= seconds <= 0.0 || seconds.is_nan();
            if let Some(ns) = seconds_to_ns(seconds).filter(|_| !ended) {
                each(ns);
            }
        };
        file.each_f64(column, pass)
    };
    let mut lines = 0;
    let stamped =
        filled(&mut |_| lines += 1)?.ok_or_else(|| file.unusable("Terra15 without gps_time or posix_time"))?;
    if stamped != traces {
        return Err(file.unusable(format!("{stamped} times for {traces} lines of data")));
    }
    if lines < traces {
        notes.push(format!("{} lines at the end were never written", traces - lines));
    }
    let (prr, _) = believable_rate(None, 0, |each| filled(each).map(|_| ()))?
        .ok_or_else(|| file.unusable("the times do not give a rate: they should rise from line to line"))?;
    let mut anchors: Vec<Anchor> = Vec::new();
    let (mut row, mut before, mut scatter_ns) = (0u64, 0i64, 0u64);
    filled(&mut |ns| {
        let even = anchors.last().map_or(ns, |last| last.utc_ns.saturating_add(prr.traces_to_ns(row - last.row)));
        if row == 0 || missing_traces(prr, before.saturating_add(prr.traces_to_ns(1)), ns, 0) >= GAP_LINES {
            anchors.push(Anchor { row, utc_ns: ns, gap_before: None });
        } else {
            scatter_ns = scatter_ns.max(ns.abs_diff(even));
            if row.is_multiple_of(ANCHOR_LINES) {
                anchors.push(Anchor { row, utc_ns: even, gap_before: Some(0) });
            }
        }
        before = ns;
        row += 1;
    })?;
    Ok(Times { prr, anchors, lines, scatter_ns })
}
