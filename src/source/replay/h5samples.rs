//! Samples in an HDF5 dataset, converted to what blocks hold.

use std::path::Path;

use super::capture::unusable;
use super::h5::Numbers;
use super::levels::{LOOKED_AT, levels};
use super::stored::{Area, Kind};
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

/// Bytes of the first traces that are looked at, at most.
const LOOKED_AT_BYTES: u64 = 16 << 20;

/// A dataset of samples, of two or three dimensions.
pub(super) struct Samples {
    numbers: Numbers,
    /// Dimensions as on disk.
    pub(super) shape: Vec<u64>,
    /// How samples are handed on: 8- and 16-bit integers as `i16`, everything else as `f32`.
    pub(super) format: SampleFormat,
    /// Which dimension is that of channels, and what is taken off each; none when samples are narrowed as they are.
    levels: Option<(usize, Vec<f64>)>,
}

impl Samples {
    /// Samples are these numbers.
    pub(super) fn new(numbers: Numbers) -> Self {
        let shape = numbers.shape().to_vec();
        let format = match (numbers.number().kind, numbers.number().size) {
            (Kind::Whole { .. }, 1) | (Kind::Whole { signed: true, .. }, 2) => SampleFormat::I16,
            _ => SampleFormat::F32,
        };
        Self { numbers, shape, format, levels: None }
    }

    /// Takes off what stands far from zero, when narrowing would lose the signal on it: of a dataset of two dimensions, of
    /// which number `dimension` is that of channels.
    ///
    /// # Errors
    /// When the first traces cannot be read.
    pub(super) fn take_levels_off(&mut self, dimension: usize) -> Result<(), SourceError> {
        let number = self.numbers.number();
        if self.format != SampleFormat::F32 || number.size < 4 || (number.kind == Kind::Float && number.size == 4) {
            return Ok(());
        }
        let [first, second] = self.shape[..] else { return Ok(()) };
        let (traces, width) = if dimension == 0 { (second, first) } else { (first, second) };
        let traces = traces.min(LOOKED_AT as u64).min((LOOKED_AT_BYTES / width.max(1) / 8).max(2));
        let count = if dimension == 0 { vec![width, traces] } else { vec![traces, width] };
        let values = self.numbers.all(&Area { from: vec![0, 0], count })?;
        let (traces, width) = (traces as usize, width as usize);
        let by_trace = match dimension {
            0 => (0..traces * width).map(|i| values[i % width * traces + i / width]).collect(),
            _ => values,
        };
        self.levels = levels(&by_trace, width).map(|levels| (dimension, levels));
        Ok(())
    }

    /// What was done to samples, in an operator's words.
    pub(super) fn note(&self) -> Option<String> {
        let above = self.levels.as_ref().map(|(_, levels)| {
            let most = levels.iter().fold(0f64, |most, level| if level.abs() > most.abs() { *level } else { most });
            format!(
                "samples stand far from zero (up to {most:e}): what each channel has in the first trace is taken off, so \
                 that single precision holds the signal"
            )
        });
        let never = self.numbers.stored().never_written();
        let holes = (never > 0).then(|| {
            format!("{never} chunks before the end were never written: the file's fill value stands there as samples")
        });
        let all: Vec<String> = above.into_iter().chain(holes).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Whether samples are counted from what the first trace has.
    pub(super) const fn counts_from_levels(&self) -> bool {
        self.levels.is_some()
    }

    /// What is taken off the value of this index in a window.
    fn level(&self, window: &Area, index: usize) -> f64 {
        let Some((dimension, levels)) = &self.levels else { return 0.0 };
        let width = window.count[1] as usize;
        let place = if *dimension == 0 {
            window.from[0] as usize + index / width
        } else {
            window.from[1] as usize + index % width
        };
        levels[place]
    }

    /// Appends rows `first .. first + rows` of the first dimension to `out`, in [`format`](Self::format).
    pub(super) fn append(&self, first: u64, rows: u64, out: &mut Vec<u8>) -> Result<(), SourceError> {
        let (before, size) = (out.len(), self.format.bytes());
        out.resize(before + (rows * self.row_values()) as usize * size, 0);
        self.read(&Area::rows(&self.shape, first, rows), &mut |index, bytes| {
            let at = before + index * size;
            out[at..at + bytes.len()].copy_from_slice(bytes);
        })
    }

    /// Hands samples of a window on in [`format`](Self::format), piece by piece in no particular order: the index of the
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
                SampleFormat::F32 if self.levels.is_some() => {
                    let mut at = index;
                    number.each(bytes, |value: f64| {
                        converted.extend_from_slice(&((value - self.level(window, at)) as f32).to_ne_bytes());
                        at += 1;
                    });
                }
                SampleFormat::F32 | SampleFormat::Iq16 => {
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
