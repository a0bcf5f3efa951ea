//! A frame as feeds hold it: with its row number, the extrema as of it, and its bytes, made once for all who read.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::frame::{Dtype, Frame};
use crate::wire;

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
    site: Arc<str>,
    f16: OnceLock<Bytes>,
    wire: OnceLock<Bytes>,
}

impl FeedFrame {
    pub(super) fn new(frame: Frame, row: u64, lines_before: u64, extrema: Extrema, site: Arc<str>) -> Self {
        Self { frame, row, lines_before, extrema, site, f16: OnceLock::new(), wire: OnceLock::new() }
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
        let (from, to) = (line.saturating_mul(len), line.saturating_add(1).saturating_mul(len));
        let mut found = Cow::Borrowed(&[][..]);
        let mut at = 0;
        for piece in self.frame.values.pieces() {
            let range = from.clamp(at, at + piece.len()) - at..to.clamp(at, at + piece.len()) - at;
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

    /// The values of a line as little-endian float16, in C order `(channel, bin)`. Made once.
    pub fn f16(&self, line: usize) -> Bytes {
        let all = self.f16.get_or_init(|| {
            if self.frame.stream.dtype == Dtype::F16 {
                // The wire format holds the very same bytes.
                return self.wire().slice(wire::HEADER_BYTES..);
            }
            let mut bytes = Vec::with_capacity(self.frame.values.len() * 2);
            for piece in self.frame.values.pieces() {
                wire::extend_f16(piece, &mut bytes);
            }
            bytes.into()
        });
        let len = self.line_len() * 2;
        let range = line.saturating_mul(len)..line.saturating_add(1).saturating_mul(len);
        if range.end <= all.len() { all.slice(range) } else { Bytes::new() }
    }

    /// The frame in the wire format. Made once.
    pub fn wire(&self) -> Bytes {
        self.wire.get_or_init(|| wire::encode_vec(&self.frame, &self.site).into()).clone()
    }

    /// Memory of the frame with all that may be made of it.
    pub(super) fn bytes(&self) -> usize {
        let wire = wire::HEADER_BYTES + self.frame.values.len() * wire::value_bytes(self.frame.stream.dtype);
        let f16 = if self.frame.stream.dtype == Dtype::F16 { 0 } else { self.frame.values.len() * 2 };
        size_of::<Self>() + self.frame.values.len() * size_of::<f32>() + f16 + wire
    }
}
