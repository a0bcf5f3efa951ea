//! The formats that can be opened, a row each. Another vendor's format is a file of its own in this room and a row here.
//!
//! The format is told by the content, never by the name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::capture::{Capture, checked, io_error, unusable};
use super::format::MAGIC;
use super::h5::H5;
use super::{dasrcn, fdas, febus, optodas, prodml, sintela, terra15};
use crate::source::SourceError;

/// A format that its first bytes tell.
struct Format {
    first_bytes: &'static [u8],
    /// What it is and what tells it, for whoever has another file.
    marks: &'static str,
    open: fn(&Path) -> Result<Capture, SourceError>,
}

/// A vendor's layout of HDF5 files.
struct Layout {
    vendor: &'static str,
    /// What tells it, for whoever has another file.
    marks: &'static str,
    is_it: fn(&H5) -> Result<bool, SourceError>,
    open: fn(&H5) -> Result<Capture, SourceError>,
}

const FORMATS: [Format; 2] = [
    Format { first_bytes: MAGIC, marks: "fiberd's own (.fdas, magic `FDAS`)", open: fdas::open },
    Format { first_bytes: sintela::MAGIC, marks: "Sintela protobuf (magic `PBUF`)", open: sintela::open },
];

/// The order matters little: the marks exclude each other.
const HDF5_LAYOUTS: [Layout; 5] = [
    Layout {
        vendor: "PRODML",
        marks: "group `Acquisition` with `schemaVersion`",
        is_it: prodml::is_it,
        open: prodml::open,
    },
    Layout { vendor: "OptoDAS", marks: "`header/dt` beside `data`", is_it: optodas::is_it, open: optodas::open },
    Layout {
        vendor: "Terra15",
        marks: "root attributes `file_version` and `data_product`",
        is_it: terra15::is_it,
        open: terra15::open,
    },
    Layout { vendor: "DAS-RCN", marks: "`DasRawData/RawData`", is_it: dasrcn::is_it, open: dasrcn::open },
    Layout { vendor: "Febus", marks: "`<instrument>/Source1/Zone1`", is_it: febus::is_it, open: febus::open },
];

/// Opens a capture of any known format.
///
/// # Errors
/// When the file cannot be read, is of no known format, or contradicts itself.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let start = first_bytes(path)?;
    let format = FORMATS.iter().find(|format| start.starts_with(format.first_bytes));
    let capture = match format {
        Some(format) => (format.open)(path)?,
        None if hdf5_pure::is_hdf5(path).unwrap_or(false) => open_hdf5(path)?,
        None => return Err(unusable(path, unknown(&start))),
    };
    checked(path, capture)
}

/// As many as tell a format; fewer of a shorter file.
fn first_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let meta = file.metadata().map_err(|e| io_error(path, "stat", e))?;
    if !meta.is_file() {
        return Err(unusable(path, "a capture is a file; this is not one"));
    }
    let mut start = Vec::new();
    file.take(16).read_to_end(&mut start).map_err(|e| io_error(path, "read", e))?;
    Ok(start)
}

fn open_hdf5(path: &Path) -> Result<Capture, SourceError> {
    let file = H5::open(path)?;
    for layout in &HDF5_LAYOUTS {
        if (layout.is_it)(&file)? {
            let mut capture = (layout.open)(&file)?;
            capture.notes.extend(file.notes());
            return Ok(capture);
        }
    }
    let marks = HDF5_LAYOUTS.map(|layout| format!("{} ({})", layout.marks, layout.vendor)).join(", ");
    Err(unusable(path, format!("HDF5, but of no known layout: looked for {marks}")))
}

fn unknown(start: &[u8]) -> String {
    if start.is_empty() {
        return "the file is empty".into();
    }
    if start.starts_with(b"TDSm") {
        return "Silixa TDMS is not read; convert it to PRODML HDF5".into();
    }
    let formats = FORMATS.map(|format| format.marks).join(", ");
    let vendors = HDF5_LAYOUTS.map(|layout| layout.vendor).join(", ");
    format!("no known capture format: looked for {formats}, and HDF5 ({vendors}); the file begins with {start:02x?}")
}
