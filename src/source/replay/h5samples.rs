//! Samples in an HDF5 dataset, converted to what blocks hold.

use std::path::Path;

use super::capture::unusable;
use super::h5::Numbers;
use super::stored::{Area, Kind};
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

/// A dataset of samples, of two or three dimensions.
pub(super) struct Samples {
    numbers: Numbers,
    /// Dimensions as on disk.
    pub(super) shape: Vec<u64>,
    /// How samples come into blocks: 8- and 16-bit integers as `i16`, everything else as `f32`.
    pub(super) format: SampleFormat,
    wide: bool,
}

impl Samples {
    /// Samples are these numbers.
    pub(super) fn new(numbers: Numbers) -> Self {
        let shape = numbers.shape().to_vec();
        let format = match (numbers.number().kind, numbers.number().size) {
            (Kind::Whole { .. }, 1) | (Kind::Whole { signed: true, .. }, 2) => SampleFormat::I16,
            _ => SampleFormat::F32,
        };
        let number = numbers.number();
        let wide = format == SampleFormat::F32 && number.size >= 4 && !(number.kind == Kind::Float && number.size == 4);
        Self { numbers, shape, format, wide }
    }

    /// Whether they are handed on as `f64`, for others to narrow.
    pub(super) const fn is_wide(&self) -> bool {
        self.wide
    }

    /// Bytes of one as it is handed on here.
    pub(super) const fn bytes(&self) -> usize {
        if self.wide { size_of::<f64>() } else { self.format.bytes() }
    }

    /// What was done to samples, in an operator's words.
    pub(super) fn note(&self) -> Option<String> {
        let never = self.numbers.stored().never_written();
        (never > 0).then(|| {
            format!("{never} chunks before the end were never written: the file's fill value stands there as samples")
        })
    }

    /// Appends rows `first .. first + rows` of the first dimension to `out`, as they are handed on.
    pub(super) fn append(&self, first: u64, rows: u64, out: &mut Vec<u8>) -> Result<(), SourceError> {
        let (before, size) = (out.len(), self.bytes());
        out.resize(before + (rows * self.row_values()) as usize * size, 0);
        self.read(&Area::rows(&self.shape, first, rows), &mut |index, bytes| {
            let at = before + index * size;
            out[at..at + bytes.len()].copy_from_slice(bytes);
        })
    }

    /// Hands samples of a window on, in [`format`](Self::format) or as `f64`, piece by piece in no particular order: the index of the
    /// first within the window, row by row, and their bytes.
    pub(super) fn read(&self, window: &Area, each: &mut dyn FnMut(usize, &[u8])) -> Result<(), SourceError> {
        let (number, mut converted) = (self.numbers.number(), Vec::new());
        let same = match (self.format, number.kind) {
            (SampleFormat::I16, Kind::Whole { .. }) => number.size == 2,
            (SampleFormat::F32, Kind::Float) => number.size == 4,
            _ => false,
        };
        if same && number.is_as_computed() {
            return self.numbers.read(window, each);
        }
        self.numbers.read(window, &mut |index, bytes| {
            converted.clear();
            match self.format {
                SampleFormat::I16 => {
                    number.each(bytes, |value: i16| converted.extend_from_slice(&value.to_ne_bytes()));
                }
                _ if self.wide => {
                    number.each(bytes, |value: f64| converted.extend_from_slice(&value.to_ne_bytes()));
                }
                _ => {
                    number.each(bytes, |value: f32| converted.extend_from_slice(&value.to_ne_bytes()));
                }
            }
            each(index, &converted);
        })
    }

    /// Edges of a chunk that must be decoded as a whole; `None` when any part can be read alone.
    pub(super) fn decoded_together(&self) -> Option<&[u64]> {
        self.numbers.stored().decoded_together()
    }

    /// How many rows along a dimension were written; the others were allocated only.
    pub(super) fn written(&self, dimension: usize) -> u64 {
        self.numbers.stored().written(dimension)
    }

    /// Values in one row of the first dimension.
    pub(super) fn row_values(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.numbers.path()
    }

    /// Something about them is not as it should be.
    pub(super) fn unusable(&self, why: impl Into<String>) -> SourceError {
        unusable(self.path(), why)
    }
}
