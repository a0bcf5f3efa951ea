//! The formats that can be opened, a row each. Another vendor's format is a file of its own in this room and a row here.
//!
//! The format is told by the content, never by the name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::capture::{Capture, checked, io_error, unusable};
use super::format::MAGIC;
use super::h5::H5;
use super::{
    apsensing, dasdae, dasrcn, fdas, febus, mseed, neubrex, odh4, optodas, plain, prodml, segy, silixa_h5, sintela,
    tdms, terra15, xdas,
};
use crate::source::SourceError;

/// Bytes of a file that tell its format, at most: the two headers of SEG-Y.
const START: u64 = 3600;

/// A format that its first bytes tell.
struct Format {
    is_it: fn(&[u8]) -> bool,
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

/// The weakest marks come last.
const FORMATS: [Format; 5] = [
    Format { is_it: |start| start.starts_with(MAGIC), marks: "fiberd's own (.fdas, magic `FDAS`)", open: fdas::open },
    Format {
        is_it: |start| start.starts_with(sintela::MAGIC),
        marks: "Sintela protobuf (magic `PBUF`)",
        open: sintela::open,
    },
    Format { is_it: |start| start.starts_with(tdms::MAGIC), marks: "Silixa TDMS (magic `TDSm`)", open: tdms::open },
    Format { is_it: mseed::is_it, marks: "miniSEED (a record's head)", open: mseed::open },
    Format { is_it: segy::is_it, marks: "SEG-Y (a text and a binary header of 3600 bytes)", open: segy::open },
];

/// The order matters little, as the marks exclude each other; but the plain layout comes last, which takes whatever has
/// samples.
const HDF5_LAYOUTS: [Layout; 12] = [
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
    Layout {
        vendor: "Silixa",
        marks: "`Acoustic` with `SamplingFrequency[Hz]`",
        is_it: silixa_h5::is_it,
        open: silixa_h5::open,
    },
    Layout {
        vendor: "AP Sensing",
        marks: "`DAS` beside `ProcessingServer/DataRate`",
        is_it: apsensing::is_it,
        open: apsensing::open,
    },
    Layout {
        vendor: "Neubrex",
        marks: "`Acoustic` with `NEUBRESCOPE.DAS.Model`",
        is_it: neubrex::is_it,
        open: neubrex::open,
    },
    Layout {
        vendor: "OptaSense ODH4",
        marks: "`raw_data` and the root attribute `sampling rate Hz`",
        is_it: odh4::is_it,
        open: odh4::open,
    },
    Layout { vendor: "DASDAE", marks: "root attribute `__format__`", is_it: dasdae::is_it, open: dasdae::open },
    Layout { vendor: "xdas", marks: "samples with `coordinate_interpolation`", is_it: xdas::is_it, open: xdas::open },
    Layout { vendor: "plain", marks: "a dataset of numbers of two dimensions", is_it: plain::is_it, open: plain::open },
];

/// Opens all pieces of a capture of any known format, or the one that is named behind a `#`, as in `capture.h5#Raw[1]`.
///
/// # Errors
/// When the file cannot be read, is of no known format, or contradicts itself.
pub(super) fn open_all(path: &Path) -> Result<Vec<Capture>, SourceError> {
    let Some((file, name)) = named_piece(path) else { return Ok(open_file(path)?.into_pieces()) };
    let pieces = open_file(&file)?.into_pieces();
    let names: Vec<String> = pieces.iter().map(|piece| piece.piece.clone()).collect();
    match pieces.into_iter().find(|piece| piece.piece == name) {
        Some(piece) => Ok(vec![Capture { piece: String::new(), ..piece }]),
        None => Err(unusable(&file, format!("there is no {name} in it; there is {}", names.join(", ")))),
    }
}

/// The file that is meant, which is another one than `path` when that names a piece of it: `capture.h5#Raw[1]`.
pub fn file_of(path: &Path) -> PathBuf {
    named_piece(path).map_or_else(|| path.to_owned(), |(file, _)| file)
}

/// The file, and the name of a piece of it, when a path names one.
fn named_piece(path: &Path) -> Option<(PathBuf, String)> {
    if path.exists() {
        return None;
    }
    let bytes = path.as_os_str().as_bytes();
    let at = bytes.iter().rposition(|&byte| byte == b'#')?;
    let name = std::str::from_utf8(&bytes[at + 1..]).ok().filter(|name| !name.is_empty())?;
    Some((PathBuf::from(OsStr::from_bytes(&bytes[..at])), name.to_owned()))
}

fn open_file(path: &Path) -> Result<Capture, SourceError> {
    let start = first_bytes(path)?;
    let format = FORMATS.iter().find(|format| (format.is_it)(&start));
    let capture = match format {
        Some(format) => (format.open)(path)?,
        None if hdf5_pure::is_hdf5(path).unwrap_or(false) => open_hdf5(path)?,
        None => return Err(unusable(path, unknown(&start))),
    };
    checked(path, capture)
}

/// UTC of the first trace of a capture, in nanoseconds since the UNIX epoch; `None` when the file is of no known format.
///
/// # Errors
/// When the file cannot be read or contradicts itself.
pub(super) fn starts_at(path: &Path) -> Result<Option<i64>, SourceError> {
    let start = first_bytes(path)?;
    let is_known = FORMATS.iter().any(|format| (format.is_it)(&start)) || hdf5_pure::is_hdf5(path).unwrap_or(false);
    if !is_known {
        return Ok(None);
    }
    Ok(open_all(path)?.iter().map(|piece| piece.span_ns().0).min())
}

/// As many as tell a format; fewer of a shorter file.
fn first_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let meta = file.metadata().map_err(|e| io_error(path, "stat", e))?;
    if !meta.is_file() {
        return Err(unusable(path, "a capture is a file; this is not one"));
    }
    let mut start = Vec::new();
    file.take(START).read_to_end(&mut start).map_err(|e| io_error(path, "read", e))?;
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
    let formats = FORMATS.map(|format| format.marks).join(", ");
    let vendors = HDF5_LAYOUTS.map(|layout| layout.vendor).join(", ");
    let start = &start[..start.len().min(16)];
    format!("no known capture format: looked for {formats}, and HDF5 ({vendors}); the file begins with {start:02x?}")
}
