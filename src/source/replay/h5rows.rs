//! Rows out of an HDF5 dataset, whichever way round it is stored.

use super::capture::{Rows, RowsError, unusable};
use super::h5::Samples;
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

/// Bytes that a `[locus][time]` dataset may have: it must be turned as a whole, because the HDF5 library reads windows
/// of the first dimension only.
const MAX_TURNED: u64 = 1 << 30;

/// A dataset stored `[time][channel]`.
pub(super) struct TimeMajor(pub(super) Samples);

impl Rows for TimeMajor {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        Ok(self.0.append(first, rows as u64, out)?)
    }
}

/// A dataset stored `[channel][time]`, turned into memory when it is first read.
pub(super) struct ChannelMajor {
    samples: Samples,
    turned: Vec<u8>,
}

impl ChannelMajor {
    /// Takes the dataset.
    ///
    /// # Errors
    /// When it is too big to be turned in memory.
    pub(super) fn new(samples: Samples) -> Result<Self, SourceError> {
        let bytes = samples.shape[0].saturating_mul(samples.row_values()).saturating_mul(samples.format.bytes() as u64);
        if bytes > MAX_TURNED {
            return Err(unusable(
                samples.path(),
                format!("stored [locus][time], {bytes} bytes: this order can be read up to {MAX_TURNED} bytes"),
            ));
        }
        Ok(Self { samples, turned: Vec::new() })
    }

    fn turn(&mut self) -> Result<(), SourceError> {
        let (channels, times, size) =
            (self.samples.shape[0] as usize, self.samples.row_values() as usize, self.samples.format.bytes());
        let mut turned = vec![0; channels * times * size];
        let together = (super::capture::SLAB_BYTES / (times * size).max(1)).max(1);
        let mut slab = Vec::new();
        for first in (0..channels).step_by(together) {
            slab.clear();
            let count = together.min(channels - first);
            self.samples.append(first as u64, count as u64, &mut slab)?;
            for channel in 0..count {
                for time in 0..times {
                    let (from, to) = ((channel * times + time) * size, (time * channels + first + channel) * size);
                    turned[to..to + size].copy_from_slice(&slab[from..from + size]);
                }
            }
        }
        self.turned = turned;
        Ok(())
    }
}

impl Rows for ChannelMajor {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        if self.turned.is_empty() {
            self.turn()?;
        }
        let row_bytes = self.samples.shape[0] as usize * self.samples.format.bytes();
        out.clear();
        out.extend_from_slice(&self.turned[first as usize * row_bytes..][..rows * row_bytes]);
        Ok(())
    }
}

/// A dataset stored `[block][time][channel]`, of which each block overlaps its neighbours: only rows `keep` of each
/// block count.
pub(super) struct Blocks {
    samples: Samples,
    keep: std::ops::Range<u64>,
    /// The block that `block` holds.
    loaded: Option<u64>,
    block: Vec<u8>,
}

impl Blocks {
    /// Takes the dataset; `keep` lies within its second dimension and is not empty.
    pub(super) const fn new(samples: Samples, keep: std::ops::Range<u64>) -> Self {
        Self { samples, keep, loaded: None, block: Vec::new() }
    }
}

impl Rows for Blocks {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let row_bytes = self.samples.shape[2] as usize * self.samples.format.bytes();
        let kept = self.keep.end - self.keep.start;
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            let (block, within) = (row / kept, row % kept);
            if self.loaded != Some(block) {
                self.loaded = None;
                self.block.clear();
                self.samples.append(block, 1, &mut self.block)?;
                self.loaded = Some(block);
            }
            let count = (kept - within).min(end - row);
            let from = (self.keep.start + within) as usize * row_bytes;
            out.extend_from_slice(&self.block[from..from + count as usize * row_bytes]);
            row += count;
        }
        Ok(())
    }
}

/// `samples` as rows, when they are stored `[time][channel]` or, `channel_first`, the other way round. Also says how
/// many traces and channels there are and how samples are handed on.
///
/// # Errors
/// When there are not two dimensions, or the order cannot be read.
pub(super) fn table(samples: Samples, channel_first: bool) -> Result<Table, SourceError> {
    let [a, b] = samples.shape[..] else {
        let why = format!("samples have the shape {:?}; it should have two dimensions", samples.shape);
        return Err(unusable(samples.path(), why));
    };
    let format = samples.format;
    if channel_first {
        let rows: Box<dyn Rows> = Box::new(ChannelMajor::new(samples)?);
        Ok(Table { traces: b, channels: a as usize, format, slab_rows: 1, rows })
    } else {
        let slab_rows = samples.rows_together;
        Ok(Table { traces: a, channels: b as usize, format, slab_rows, rows: Box::new(TimeMajor(samples)) })
    }
}

/// What [`table`] makes of a dataset.
pub(super) struct Table {
    /// Rows in time.
    pub(super) traces: u64,
    /// Channels.
    pub(super) channels: usize,
    /// How samples are handed on.
    pub(super) format: SampleFormat,
    /// Traces stored together.
    pub(super) slab_rows: usize,
    /// Access.
    pub(super) rows: Box<dyn Rows>,
}
