//! A column of time stamps in an HDF5 file, whatever numbers it is written in.

use super::h5::H5;
use super::timing::{Layout, Sink, Stamps, from_float_seconds};
use crate::source::SourceError;

/// A double holds today's seconds to this, in nanoseconds.
pub(super) const DOUBLE_NS: i64 = 240;
/// Doubles that are turned into nanoseconds at once.
const TOGETHER: usize = 1024;

/// A column with a stamp a row.
pub(super) struct StampColumn<'a> {
    file: &'a H5,
    name: &'a str,
    len: u64,
    is_float: bool,
}

impl<'a> StampColumn<'a> {
    /// The column of this name; `None` when it is not there.
    ///
    /// # Errors
    /// When it is no column of numbers.
    pub(super) fn open(file: &'a H5, name: &'a str) -> Result<Option<Self>, SourceError> {
        let Some(len) = file.column_len(name)? else { return Ok(None) };
        Ok(Some(Self { file, name, len, is_float: file.is_float(name)? }))
    }

    /// The first so many of them only.
    pub(super) fn first(mut self, len: u64) -> Self {
        self.len = self.len.min(len);
        self
    }

    /// Stamps in it.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Hands all stamps on: integers as they are, doubles of seconds (or other units, told by the date) in nanoseconds.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn pass(&self, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let mut left = self.len as usize;
        let mut some = |stamps: &[i64]| {
            let count = left.min(stamps.len());
            left -= count;
            if count > 0 {
                sink(&stamps[..count]);
            }
        };
        if !self.is_float {
            return self.file.column_i64(self.name, &mut some);
        }
        let mut in_ns = [0; TOGETHER];
        self.file.column_f64(self.name, &mut |values| {
            for values in values.chunks(TOGETHER) {
                in_ns.iter_mut().zip(values).for_each(|(ns, &value)| *ns = from_float_seconds(value));
                some(&in_ns[..values.len()]);
            }
        })
    }

    /// The stamps, a row each; `unit_ns` is the unit that the format has for integers.
    pub(super) fn stamps<'b>(&self, unit_ns: i64, pass: &'b mut super::timing::Pass<'b>) -> Stamps<'b> {
        let (unit_ns, precision_ns) = if self.is_float { (1, DOUBLE_NS) } else { (unit_ns, unit_ns) };
        Stamps { unit_ns, precision_ns, layout: Layout::Every(1), pass }
    }
}
