//! Views of trace-major samples: rows of neighbouring channels, one row a trace, a fixed stride apart.
//!
//! [`Raw`] is what the interrogator gave (counts, floats or complex counts, as they lie in a block); [`Rows`] is what
//! conditioning made of it: `f64` in physical units.

use std::ops::Range;

use crate::acquisition::SampleFormat;
use crate::block::RawBlock;

/// Conditioned traces: `traces` rows of `channels` samples, `stride` samples from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T = f64> {
    samples: &'a [T],
    stride: usize,
    traces: usize,
    channels: usize,
}

impl<'a, T: Copy> Rows<'a, T> {
    /// Rows in `samples`.
    ///
    /// # Panics
    /// When the rows overlap or reach beyond `samples`.
    pub fn new(samples: &'a [T], stride: usize, traces: usize, channels: usize) -> Self {
        check_rows(samples.len(), stride, traces, channels);
        Self { samples, stride, traces, channels }
    }

    /// Number of traces.
    pub const fn traces(&self) -> usize {
        self.traces
    }

    /// Number of channels.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Samples of one trace.
    pub fn row(&self, trace: usize) -> &'a [T] {
        let start = trace * self.stride;
        &self.samples[start..start + self.channels]
    }

    /// The same traces, some of their channels.
    ///
    /// # Panics
    /// When there are not so many channels.
    #[must_use]
    pub fn columns(&self, channels: Range<usize>) -> Self {
        assert!(channels.end <= self.channels, "channels {channels:?} of {}", self.channels);
        let samples = self.samples.get(channels.start..).unwrap_or_default();
        Self { samples, channels: channels.len(), ..*self }
    }

    /// Some of the traces, all their channels.
    ///
    /// # Panics
    /// When there are not so many traces.
    #[must_use]
    pub fn slice(&self, traces: Range<usize>) -> Self {
        assert!(traces.end <= self.traces, "traces {traces:?} of {}", self.traces);
        let samples = self.samples.get(traces.start * self.stride..).unwrap_or_default();
        Self { samples, traces: traces.len(), ..*self }
    }
}

/// Raw samples in one of the formats that interrogators give.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Counts.
    I16(&'a [i16]),
    /// Counts of 32 bits.
    I32(&'a [i32]),
    /// Floats.
    F32(&'a [f32]),
    /// Complex counts, `[re, im]`.
    Iq16(&'a [[i16; 2]]),
}

impl Samples<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::I16(s) => s.len(),
            Self::I32(s) => s.len(),
            Self::F32(s) => s.len(),
            Self::Iq16(s) => s.len(),
        }
    }
}

/// Raw traces of all channels: `traces` rows of `channels` samples, `stride` samples from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    samples: Samples<'a>,
    stride: usize,
    traces: usize,
    channels: usize,
}

impl<'a> Raw<'a> {
    /// Rows in `samples`.
    ///
    /// # Panics
    /// When the rows overlap or reach beyond `samples`.
    pub fn new(samples: Samples<'a>, stride: usize, traces: usize, channels: usize) -> Self {
        check_rows(samples.len(), stride, traces, channels);
        Self { samples, stride, traces, channels }
    }

    /// The same as rows of floats; `None` when they are in another format.
    pub fn floats(&self) -> Option<Rows<'a, f32>> {
        let Samples::F32(samples) = self.samples else { return None };
        Some(Rows { samples, stride: self.stride, traces: self.traces, channels: self.channels })
    }

    /// The filled rows of a block.
    pub fn of_block(block: &'a RawBlock) -> Self {
        let layout = block.layout();
        // Blocks are aligned to 64 bytes and their rows padded to 64 bytes, so these casts always fit.
        let samples = match layout.format {
            SampleFormat::I16 => Samples::I16(bytemuck::cast_slice(block.bytes())),
            SampleFormat::I32 => Samples::I32(bytemuck::cast_slice(block.bytes())),
            SampleFormat::F32 => Samples::F32(bytemuck::cast_slice(block.bytes())),
            SampleFormat::Iq16 => Samples::Iq16(bytemuck::cast_slice(block.bytes())),
        };
        Self::new(samples, layout.stride_bytes() / layout.format.bytes(), block.traces, layout.channels)
    }

    /// Number of traces.
    pub const fn traces(&self) -> usize {
        self.traces
    }

    /// Number of channels.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Samples from row to row.
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// The samples with their format.
    pub const fn samples(&self) -> Samples<'a> {
        self.samples
    }

    /// Where the samples of `channels` of one trace lie.
    pub fn range(&self, trace: usize, channels: &Range<usize>) -> Range<usize> {
        let start = trace * self.stride;
        start + channels.start..start + channels.end
    }
}

fn check_rows(len: usize, stride: usize, traces: usize, channels: usize) {
    assert!(channels <= stride || traces <= 1, "rows of {channels} samples every {stride} overlap");
    let needed = if traces == 0 { 0 } else { (traces - 1) * stride + channels };
    assert!(needed <= len, "{traces} rows of {channels} samples every {stride} need {needed} samples, not {len}");
}
