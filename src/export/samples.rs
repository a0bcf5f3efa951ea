//! Traces as they are handed to writers: packed `[trace][channel]`, of the selected channels.

use std::sync::Arc;

use crate::acquisition::{Acquisition, Places, SampleFormat};
use crate::block::RawBlock;
use crate::source::replay::decode;

/// Some neighbouring channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Index of the first.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Traces that follow each other.
pub(super) struct Rows<'a> {
    /// What was acquired, of these channels only.
    pub(super) acquisition: &'a Arc<Acquisition>,
    /// Index of the first channel in the capture.
    pub(super) first_channel: usize,
    /// UTC of the first trace, in nanoseconds.
    pub(super) utc_ns: i64,
    pub(super) traces: usize,
    /// Whether they do not follow what came before: traces are missing, or the acquisition is another one.
    pub(super) begins: bool,
    /// As they were stored.
    pub(super) bytes: &'a [u8],
}

impl Selection {
    /// What was acquired, as if there were no other channels.
    pub(super) fn of(&self, acquisition: &Acquisition) -> Acquisition {
        let Places { start_m: fiber_start_m, dx_m, regions } = acquisition.places_of(self.first, self.count);
        Acquisition { channels: self.count, fiber_start_m, dx_m, regions, ..acquisition.clone() }
    }

    /// The samples of a block, without those of other channels.
    pub(super) fn copy(&self, block: &RawBlock, out: &mut Vec<u8>) {
        let size = block.acquisition.sample_format.bytes();
        out.clear();
        for trace in 0..block.traces {
            out.extend_from_slice(&block.row(trace)[self.first * size..(self.first + self.count) * size]);
        }
    }
}

impl Rows<'_> {
    /// UTC of a trace, in nanoseconds.
    pub(super) fn utc_of(&self, trace: usize) -> i64 {
        self.utc_ns.saturating_add(self.acquisition.prr.traces_to_ns(trace as u64))
    }

    /// A trace as it was stored.
    fn stored(&self, trace: usize) -> &[u8] {
        let bytes = self.acquisition.channels * self.acquisition.sample_format.bytes();
        &self.bytes[trace * bytes..][..bytes]
    }

    /// A trace as numbers, before the scale; of a complex sample its magnitude.
    pub(super) fn decode(&self, trace: usize, out: &mut Vec<f32>) {
        decode(self.stored(trace), self.acquisition.sample_format, out);
    }

    /// All samples times the scale: `float32`, or `complex64` of a complex field. In the byte order of files.
    pub(super) fn scaled(&self, out: &mut Vec<u8>) {
        let scale = self.acquisition.scale;
        out.clear();
        let mut put = |value: f64| out.extend_from_slice(&((value * scale) as f32).to_le_bytes());
        match self.acquisition.sample_format {
            SampleFormat::I16 | SampleFormat::Iq16 => {
                self.bytes.as_chunks().0.iter().for_each(|&b| put(f64::from(i16::from_ne_bytes(b))));
            }
            SampleFormat::I32 => self.bytes.as_chunks().0.iter().for_each(|&b| put(f64::from(i32::from_ne_bytes(b)))),
            SampleFormat::F32 => self.bytes.as_chunks().0.iter().for_each(|&b| put(f64::from(f32::from_ne_bytes(b)))),
        }
    }

    /// All samples as they were stored, in the byte order of files.
    pub(super) fn stored_le(&self, out: &mut Vec<u8>) {
        out.clear();
        match self.acquisition.sample_format {
            _ if cfg!(target_endian = "little") => out.extend_from_slice(self.bytes),
            SampleFormat::F32 | SampleFormat::I32 => {
                out.extend(self.bytes.as_chunks::<4>().0.iter().flat_map(|&[a, b, c, d]| [d, c, b, a]));
            }
            _ => out.extend(self.bytes.as_chunks::<2>().0.iter().flat_map(|&[a, b]| [b, a])),
        }
    }
}

/// Times of rows, a few numbers whatever their count: where each block began.
#[derive(Default)]
pub(super) struct Times {
    blocks: Vec<(u64, i64)>,
    pub(super) rows: u64,
}

impl Times {
    pub(super) fn add(&mut self, rows: &Rows<'_>) {
        let predicted = self
            .blocks
            .last()
            .map(|&(row, utc_ns)| utc_ns.saturating_add(rows.acquisition.prr.traces_to_ns(self.rows - row)));
        if predicted != Some(rows.utc_ns) {
            self.blocks.push((self.rows, rows.utc_ns));
        }
        self.rows += rows.traces as u64;
    }

    /// Hands the UTC of every row, in nanoseconds, to `each`.
    pub(super) fn each<E>(
        &self,
        acquisition: &Acquisition,
        mut each: impl FnMut(i64) -> Result<(), E>,
    ) -> Result<(), E> {
        let ends = self.blocks.iter().skip(1).map(|&(row, _)| row).chain([self.rows]);
        for (&(first, utc_ns), end) in self.blocks.iter().zip(ends) {
            for row in 0..end - first {
                each(utc_ns.saturating_add(acquisition.prr.traces_to_ns(row)))?;
            }
        }
        Ok(())
    }

    /// UTC of the last row, in nanoseconds.
    pub(super) fn last(&self, acquisition: &Acquisition) -> i64 {
        self.blocks.last().map_or(0, |&(row, utc_ns)| {
            utc_ns.saturating_add(acquisition.prr.traces_to_ns((self.rows - row).saturating_sub(1)))
        })
    }
}
