//! Frames: what fiberd publishes, as physics with units. Bytes are the business of [`crate::wire`].
//!
//! A frame holds consecutive lines of one stream of one view. Its values stand in C order `(line, channel, bin)`; a
//! waterfall has one bin (the band energy), a single-channel spectrogram one channel.

mod ranges;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use ndarray::Array3;

pub use self::ranges::SharedRanges;
use crate::acquisition::Acquisition;
use crate::units::{Rational, TraceIndex};

/// The kinds of view, with the numbers that the control API gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Spectra of several neighbouring channels.
    Multi = 0,
    /// Spectra of one channel.
    Single = 1,
    /// Band energy over the whole range of channels.
    Waterfall = 2,
}

impl View {
    /// The word in routing keys and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multi => "multi",
            Self::Single => "single",
            Self::Waterfall => "waterfall",
        }
    }
}

/// What a value of a frame is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueKind {
    /// Square root of power, in the unit of the samples.
    Amplitude,
    /// Power in squared units of the samples.
    Power,
    /// `10·log10(power / reference)`.
    Decibel {
        /// Power that is 0 dB.
        reference: f64,
    },
}

impl ValueKind {
    /// The word in headers and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amplitude => "amplitude",
            Self::Power => "power",
            Self::Decibel { .. } => "db",
        }
    }
}

/// The unit of power of samples in this unit: `rad^2`, but `(nstrain/s)^2`; of samples whose unit is not known,
/// `(unknown)^2`.
pub fn squared(sample_unit: &str) -> String {
    match sample_unit.trim() {
        "" => "(unknown)^2".into(),
        plain if plain.chars().all(char::is_alphanumeric) => format!("{plain}^2"),
        other => format!("({other})^2"),
    }
}

/// How values are stored in a published frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    #[default]
    F32,
    /// 16-bit float.
    F16,
    /// 8-bit unsigned with scale and offset in the header.
    U8,
}

/// Neighbouring channels: index of the first, distance between two, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelAxis {
    /// Index (from 0) of the first channel.
    pub start: usize,
    /// Channels from one to the next.
    pub step: usize,
    /// How many.
    pub count: usize,
}

/// Frequencies of the bins. For a waterfall: one cell from `start_hz`, `step_hz` wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrequencyAxis {
    /// Frequency of the first bin; for a waterfall the lower edge of the band.
    pub start_hz: f64,
    /// From one bin to the next; for a waterfall the width of the band.
    pub step_hz: f64,
    /// How many.
    pub count: usize,
}

/// Longest unit: what a frame has room for.
pub const MAX_UNIT_BYTES: usize = 64;

/// What is the same for all frames of a stream until it is re-planned.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Kind of view.
    pub view: View,
    /// Name of the standing view, or id of the job.
    pub name: String,
    /// Job id when a client asked for it; empty for standing views.
    pub job: String,
    /// Number of the stream within its view: the band of a waterfall, the channel group of a job.
    pub number: u32,
    /// Channels covered.
    pub channels: ChannelAxis,
    /// Frequencies covered.
    pub frequencies: FrequencyAxis,
    /// Window length in traces.
    pub nfft: usize,
    /// Seconds from one line to the next, exact.
    pub line_period_s: Rational,
    /// What the values are.
    pub value: ValueKind,
    /// Unit of the values, e.g. `rad^2` or `dB`; at most [`MAX_UNIT_BYTES`] long.
    pub unit: String,
    /// Values are so many times as large as they would be in the unit of the samples; 1 but for jobs.
    pub unit_factor: f64,
    /// Window function: 0 Hann, 1 Hamming, 2 Blackman, 3 Blackman-Harris, 4 rectangular.
    pub window_code: u8,
    /// `1 / (nfft · Σw²)`: what `c_k · |X_k|²` is multiplied by.
    pub power_factor: f64,
    /// Whether spectra are corrected for the response of the first difference in time.
    pub difference_corrected: bool,
    /// How the values are to be stored in frames.
    pub dtype: Dtype,
    /// Scale and offset of `u8` values: value = offset + scale · stored.
    pub u8_range: (f32, f32),
    /// Must survive an absent broker once there is a spool.
    pub durable: bool,
}

/// Frame flag: at least one line was computed from a part of its traces only.
pub const FLAG_PARTIAL_LINE: u32 = 1;
/// Frame flag: traces are missing between the frame before and this one.
pub const FLAG_GAP_BEFORE: u32 = 2;
/// Frame flag: the time base was stepped between the frame before and this one.
pub const FLAG_CLOCK_STEP: u32 = 4;
/// Frame flag: the first frame after an epoch change.
pub const FLAG_EPOCH_START: u32 = 8;
/// Frame flag: windows of these lines saw float input that was NaN, infinite or absurdly large, in any channel that is
/// processed, and was replaced by zero.
pub const FLAG_NONFINITE_INPUT: u32 = 16;
/// Frame flag: windows of these lines reach back before the beginning of what is known; zeros stand there, and powers are
/// made larger by the window function's energy over the part that is there. Frames of jobs only.
pub const FLAG_SHORT_WINDOW: u32 = 32;
/// Frame flag: the receiver was overloaded while traces of these lines were taken: their values are not to be trusted.
pub const FLAG_OVERLOAD: u32 = 64;
/// Frame flag: the interrogator was calibrating while traces of these lines were taken.
pub const FLAG_CALIBRATION: u32 = 128;

/// Another stream that shows the same: its frames have the same values.
#[derive(Clone, Debug)]
pub struct SharedStream {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Added to a frame's sequence number, modulo 2⁶⁴, to have that of this stream.
    pub sequence_offset: u64,
}

/// Consecutive lines of one stream.
#[derive(Debug)]
pub struct Frame {
    /// What the interrogator was doing.
    pub acquisition: Arc<Acquisition>,
    /// What the frame belongs to.
    pub stream: Arc<Stream>,
    /// Others whose frame this is as well, until the [fence](crate::egress) has made a frame for each.
    pub shared_with: Arc<[SharedStream]>,
    /// Counts the frames of this stream from 0, over gaps and epochs; a hole means that frames were dropped here.
    pub sequence: u64,
    /// Number of the first line on the exact grid of its epoch: line `m` begins at trace `round(m · period · prr)`.
    pub first_line: u64,
    /// How many lines.
    pub lines: usize,
    /// First trace of the first line.
    pub first_trace: TraceIndex,
    /// Behind the last trace of the last line.
    pub end_trace: TraceIndex,
    /// UTC of `first_trace` in nanoseconds since the UNIX epoch.
    pub utc_first_ns: i64,
    /// UTC of `end_trace`.
    pub utc_end_ns: i64,
    /// How far these times may be off, in nanoseconds; 0 = not known.
    pub utc_uncertainty_ns: u64,
    /// Traces missing since the frame before.
    pub gap_traces: u64,
    /// Traces that are missing in or before its partial lines, as far as windows of these reach, in order; what lies
    /// before the first trace of the acquisition that was seen is missing, too. Empty when no line is partial.
    pub missing: SharedRanges,
    /// `FLAG_…` bits.
    pub flags: u32,
    /// Smallest value of this stream since the epoch began.
    pub running_min: f32,
    /// Largest value of this stream since the epoch began.
    pub running_max: f32,
    /// When the last trace of the frame was in hand, on the monotonic clock; for latency.
    pub captured_at: Instant,
    /// Values in C order `(line, channel, bin)`.
    pub values: Values,
}

/// The values of a frame, in pieces as the tiles made them: one behind the other they are in C order `(line, channel,
/// bin)`. Their memory goes back to its [`ValuesPool`] when the last frame that shows them is dropped. What readers want
/// as float16 is made once for all frames that share the values.
#[derive(Debug)]
pub struct Values(Hold);

#[derive(Debug)]
enum Hold {
    Own(Pooled),
    Shared(Arc<Pooled>),
}

#[derive(Debug, Default)]
struct Pooled {
    pieces: Vec<Vec<f32>>,
    home: Option<Sender<Vec<Vec<f32>>>>,
    halves: OnceLock<Bytes>,
}

impl Values {
    /// The pieces in order.
    pub fn pieces(&self) -> &[Vec<f32>] {
        match &self.0 {
            Hold::Own(own) => &own.pieces,
            Hold::Shared(shared) => &shared.pieces,
        }
    }

    /// To be filled; `None` once they are shared.
    pub fn pieces_mut(&mut self) -> Option<&mut [Vec<f32>]> {
        match &mut self.0 {
            Hold::Own(own) => Some(&mut own.pieces),
            Hold::Shared(_) => None,
        }
    }

    /// The values as float16, which `make` writes from the pieces when nobody has asked before.
    pub fn halves(&self, make: impl FnOnce(&[Vec<f32>]) -> Bytes) -> &Bytes {
        let pooled = match &self.0 {
            Hold::Own(own) => own,
            Hold::Shared(shared) => shared.as_ref(),
        };
        pooled.halves.get_or_init(|| make(&pooled.pieces))
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values; copied when they are in more than one piece.
    pub fn flat(&self) -> Cow<'_, [f32]> {
        match self.pieces() {
            [one] => Cow::Borrowed(one),
            pieces => Cow::Owned(pieces.concat()),
        }
    }

    /// The same values for another frame.
    #[must_use]
    pub fn share(&mut self) -> Self {
        if let Hold::Own(own) = &mut self.0 {
            self.0 = Hold::Shared(Arc::new(std::mem::take(own)));
        }
        match &self.0 {
            Hold::Shared(shared) => Self(Hold::Shared(Arc::clone(shared))),
            Hold::Own(_) => unreachable!("was made shared above"),
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(memory: Vec<f32>) -> Self {
        Self(Hold::Own(Pooled { pieces: vec![memory], home: None, halves: OnceLock::new() }))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Full or closed: the pool has enough or is gone, and the memory is simply freed.
            let _ = home.try_send(std::mem::take(&mut self.pieces));
        }
    }
}

/// Memory for the values of one stream's frames, so that making a frame allocates nothing once all are in flight.
pub struct ValuesPool {
    /// Lengths of the pieces of a frame.
    lens: Vec<usize>,
    home: Sender<Vec<Vec<f32>>>,
    free: Receiver<Vec<Vec<f32>>>,
}

impl ValuesPool {
    /// Keeps up to `count` frames' memory, in pieces of `lens` values.
    pub fn new(lens: Vec<usize>, count: usize) -> Self {
        let (home, free) = bounded(count.max(1));
        Self { lens, home, free }
    }

    /// Pieces of unspecified content. Allocates only while fewer exist than are in flight at once.
    pub fn take(&self) -> Values {
        let fresh = || self.lens.iter().map(|&len| vec![0.0; len]).collect();
        let pieces = self.free.try_recv().unwrap_or_else(|_| fresh());
        Values(Hold::Own(Pooled { pieces, home: Some(self.home.clone()), halves: OnceLock::new() }))
    }
}

impl Frame {
    /// The frame as each of its streams has it, its own first. Sharing the values allocates, so this is for the far side
    /// of the fence.
    pub fn of_each_stream(mut self) -> impl Iterator<Item = Self> {
        let shared_with = std::mem::take(&mut self.shared_with);
        let others = (0..shared_with.len()).map(|i| self.for_shared(&shared_with[i])).collect::<Vec<_>>();
        std::iter::once(self).chain(others)
    }

    fn for_shared(&mut self, shared: &SharedStream) -> Self {
        Self {
            acquisition: Arc::clone(&self.acquisition),
            stream: Arc::clone(&shared.stream),
            shared_with: Arc::default(),
            missing: self.missing.clone(),
            sequence: self.sequence.wrapping_add(shared.sequence_offset),
            values: self.values.share(),
            ..*self
        }
    }

    /// `(lines, channels, bins)`.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.lines, self.stream.channels.count, self.stream.frequencies.count)
    }

    /// The values with their shape.
    ///
    /// # Panics
    /// When the number of values does not fit the shape, which the pipeline never makes.
    pub fn array(&self) -> Array3<f32> {
        Array3::from_shape_vec(self.shape(), self.values.flat().into_owned()).expect("values fill the shape")
    }

    /// A small waterfall frame for tests and examples: 2 lines × 3 channels, values 0…5.
    pub fn example() -> Self {
        let acquisition = Acquisition::example();
        let line_period_s = Rational::new(1, 20).expect("positive");
        let stream = Stream {
            view: View::Waterfall,
            name: "fiber".into(),
            job: String::new(),
            number: 0,
            channels: ChannelAxis { start: 0, step: 1, count: 3 },
            frequencies: FrequencyAxis { start_hz: 5.0, step_hz: 195.0, count: 1 },
            nfft: 256,
            line_period_s,
            value: ValueKind::Power,
            unit: "rad^2".into(),
            unit_factor: 1.0,
            window_code: 0,
            // Σw² of Hann is 3/8 of its length.
            power_factor: 1.0 / (256.0 * 96.0),
            difference_corrected: false,
            dtype: Dtype::F32,
            u8_range: (1.0, 0.0),
            durable: true,
        };
        Self {
            acquisition: Arc::new(acquisition),
            stream: Arc::new(stream),
            shared_with: Arc::default(),
            sequence: 7,
            first_line: 14,
            lines: 2,
            first_trace: TraceIndex(1400),
            end_trace: TraceIndex(1600),
            utc_first_ns: 1_790_000_000_700_000_000,
            utc_uncertainty_ns: 0,
            utc_end_ns: 1_790_000_000_800_000_000,
            gap_traces: 0,
            missing: SharedRanges::default(),
            flags: 0,
            running_min: 0.0,
            running_max: 5.0,
            captured_at: Instant::now(),
            values: (0..6u8).map(f32::from).collect::<Vec<_>>().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::squared;

    #[test]
    fn a_squared_unit_always_has_something_to_be_squared() {
        let cases = [
            ("rad", "rad^2"),
            ("nstrain/s", "(nstrain/s)^2"),
            ("rad/(s*m)", "(rad/(s*m))^2"),
            ("dB re 1 rad", "(dB re 1 rad)^2"),
            ("bananas", "bananas^2"),
            ("", "(unknown)^2"),
            (" ", "(unknown)^2"),
        ];
        for (unit, expected) in cases {
            assert_eq!(squared(unit), expected, "{unit:?}");
        }
    }
}
