//! A frame as feeds hold it: with its row number and the extrema as of it. Its float16 bytes are made once for all who
//! read it, also for the readers of other jobs that show the same values.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::frame::Frame;
use crate::wire::{self, Clipped, Tally};

/// Memory of a value: as float32, and as float16 for who reads it so.
pub(crate) const VALUE_BYTES: usize = size_of::<f32>() + size_of::<half::f16>();

/// Memory of a frame beside its values, about.
pub(crate) const FRAME_BYTES: usize = 1024;

/// Smallest and largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extrema {
    min: f32,
    max: f32,
}

impl Default for Extrema {
    fn default() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY }
    }
}

impl Extrema {
    /// Of all values of `frame` that are numbers.
    pub(super) fn of(frame: &Frame) -> Self {
        frame.values.pieces().iter().fold(Self::default(), |extrema, piece| extrema.with(Self::of_values(piece)))
    }

    fn of_values(values: &[f32]) -> Self {
        // As many side by side as the widest vectors hold; a comparison with NaN is false.
        const SIDE: usize = 16;
        let Self { min, max } = Self::default();
        let (mut mins, mut maxs) = ([min; SIDE], [max; SIDE]);
        for chunk in values.chunks(SIDE) {
            for ((min, max), &value) in mins.iter_mut().zip(&mut maxs).zip(chunk) {
                *min = if value < *min { value } else { *min };
                *max = if value > *max { value } else { *max };
            }
        }
        Self { min: mins.into_iter().fold(min, f32::min), max: maxs.into_iter().fold(max, f32::max) }
    }

    /// Over both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The smallest value; 0 while there is none.
    pub fn min(self) -> f32 {
        if self.min > self.max { 0.0 } else { self.min }
    }

    /// The largest value; 0 while there is none.
    pub fn max(self) -> f32 {
        if self.min > self.max { 0.0 } else { self.max }
    }
}

/// See the module.
#[derive(Debug)]
pub struct FeedFrame {
    frame: Frame,
    row: u64,
    lines_before: u64,
    extrema: Extrema,
    of: Owner,
}

/// What all frames of a feed are made with.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// Name of the fiber, for the header of the wire format.
    pub(super) site: Arc<str>,
    /// What becomes of values as float16.
    pub(super) tally: Arc<Tally>,
}

impl FeedFrame {
    pub(super) fn new(frame: Frame, row: u64, lines_before: u64, extrema: Extrema, of: Owner) -> Self {
        Self { frame, row, lines_before, extrema, of }
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// How many lines, at least one.
    pub fn lines(&self) -> usize {
        self.frame.lines
    }

    /// Number of the first line: that on the grid of the acquisition, and where a new acquisition or line period begins a
    /// new grid, the numbers go on.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Lines of the job before this frame.
    pub fn lines_before(&self) -> u64 {
        self.lines_before
    }

    /// Over the stream from the beginning of the job to the end of this frame.
    pub fn extrema(&self) -> Extrema {
        self.extrema
    }

    /// Values of one line.
    pub fn line_len(&self) -> usize {
        self.frame.values.len() / self.frame.lines
    }

    /// First and last channel, counted from 1.
    pub fn channels(&self) -> (usize, usize) {
        let axis = self.frame.stream.channels;
        (axis.start + 1, axis.start + 1 + axis.count.saturating_sub(1) * axis.step)
    }

    /// Whether the lines of both mean the same places and frequencies.
    pub fn is_like(&self, other: &Self) -> bool {
        let (own, others) = (&self.frame.stream, &other.frame.stream);
        Arc::ptr_eq(own, others)
            || (own.channels == others.channels
                && own.frequencies == others.frequencies
                && own.value == others.value
                && self.line_len() == other.line_len())
    }

    /// UTC of the beginning and the end of a line, ns since 1970. A line may end behind the beginning of the next one.
    pub fn times_ns(&self, line: usize) -> (i64, i64) {
        let period_ns = self.frame.stream.line_period_s.to_f64() * 1e9;
        let behind = |lines: usize| (lines as f64 * period_ns).round() as i64;
        let last = self.frame.lines - 1;
        let first_ns = self.frame.utc_first_ns.saturating_add(behind(line));
        let end_ns = self.frame.utc_end_ns.saturating_sub(behind(last.saturating_sub(line)));
        (first_ns, end_ns)
    }

    /// The values of a line, in C order `(channel, bin)`; copied when they lie in more than one piece. Empty for a line
    /// that there is not.
    pub fn values(&self, line: usize) -> Cow<'_, [f32]> {
        let len = self.line_len();
        self.values_in(line.saturating_mul(len)..line.saturating_add(1).saturating_mul(len))
    }

    /// The values of channel number `channel` of a line, counted from 0 within the frame. Empty when there is none.
    pub fn channel_values(&self, line: usize, channel: usize) -> Cow<'_, [f32]> {
        let bins = self.bins();
        if channel >= self.frame.stream.channels.count {
            return Cow::Borrowed(&[]);
        }
        let from = line.saturating_mul(self.line_len()).saturating_add(channel * bins);
        self.values_in(from..from.saturating_add(bins))
    }

    /// Values of a channel in a line.
    pub fn bins(&self) -> usize {
        self.line_len() / self.frame.stream.channels.count.max(1)
    }

    fn values_in(&self, wanted: Range<usize>) -> Cow<'_, [f32]> {
        let mut found = Cow::Borrowed(&[][..]);
        let mut at = 0;
        for piece in self.frame.values.pieces() {
            let range = wanted.start.clamp(at, at + piece.len()) - at..wanted.end.clamp(at, at + piece.len()) - at;
            at += piece.len();
            if range.is_empty() {
                continue;
            }
            if found.is_empty() {
                found = Cow::Borrowed(&piece[range]);
            } else {
                found.to_mut().extend_from_slice(&piece[range]);
            }
        }
        found
    }

    /// The values of a line as little-endian float16 without a scale, in C order `(channel, bin)`. Made once for all
    /// frames that share the values.
    pub fn f16(&self, line: usize) -> Bytes {
        let all = self.frame.values.halves(|pieces| {
            let mut bytes = Vec::with_capacity(pieces.iter().map(Vec::len).sum::<usize>() * size_of::<half::f16>());
            let mut clipped = Clipped::default();
            for piece in pieces {
                clipped += wire::extend_f16(piece, 1.0, &mut bytes);
            }
            self.of.tally.add(clipped, self.frame.values.len());
            bytes.into()
        });
        let len = self.line_len() * size_of::<half::f16>();
        let range = line.saturating_mul(len)..line.saturating_add(1).saturating_mul(len);
        if range.end <= all.len() { all.slice(range) } else { Bytes::new() }
    }

    /// The frame in the wire format. Made anew for each who asks: it names the job, and is not held.
    pub fn wire(&self) -> Bytes {
        let mut bytes = Vec::new();
        let header = wire::encode(&self.frame, &self.of.site, &mut bytes);
        self.of.tally.add_frame(&header, self.frame.values.len());
        bytes.into()
    }

    /// Memory of the frame with all that may be made of it, as if nobody shared its values.
    pub(super) fn bytes(&self) -> usize {
        FRAME_BYTES + self.frame.values.len() * VALUE_BYTES
    }
}
