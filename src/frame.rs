//! Frames: what fiberd publishes, as physics with units. Bytes are the business of [`crate::wire`].
//!
//! A frame holds consecutive lines of one stream of one view. Its values stand in C order `(line, channel, bin)`; a
//! waterfall has one bin (the band energy), a single-channel spectrogram one channel.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use ndarray::ArrayView3;

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
    /// Unit of the values, e.g. `rad^2` or `dB`.
    pub unit: String,
    /// How the values are to be stored.
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
/// Frame flag: float input held NaN or infinity that was replaced by zero.
pub const FLAG_NONFINITE_INPUT: u32 = 16;

/// Consecutive lines of one stream.
#[derive(Debug)]
pub struct Frame {
    /// What the interrogator was doing.
    pub acquisition: Arc<Acquisition>,
    /// What the frame belongs to.
    pub stream: Arc<Stream>,
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
    /// Traces missing since the frame before.
    pub gap_traces: u64,
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

/// The memory of a frame's values. It flies home to its [`ValuesPool`] when the frame is dropped.
#[derive(Debug, Default)]
pub struct Values {
    memory: Vec<f32>,
    home: Option<Sender<Vec<f32>>>,
}

impl From<Vec<f32>> for Values {
    fn from(memory: Vec<f32>) -> Self {
        Self { memory, home: None }
    }
}

impl std::ops::Deref for Values {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory
    }
}

impl std::ops::DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Full or closed: the pool has enough or is gone, and the memory is simply freed.
            let _ = home.try_send(std::mem::take(&mut self.memory));
        }
    }
}

/// Memory for the values of one stream's frames, so that making a frame allocates nothing once all are in flight.
pub struct ValuesPool {
    len: usize,
    home: Sender<Vec<f32>>,
    free: Receiver<Vec<f32>>,
}

impl ValuesPool {
    /// Keeps up to `count` pieces of `len` values.
    pub fn new(len: usize, count: usize) -> Self {
        let (home, free) = bounded(count.max(1));
        Self { len, home, free }
    }

    /// `len` values of unspecified content. Allocates only while fewer pieces exist than are in flight at once.
    pub fn take(&self) -> Values {
        let memory = self.free.try_recv().unwrap_or_else(|_| vec![0.0; self.len]);
        Values { memory, home: Some(self.home.clone()) }
    }
}

impl Frame {
    /// `(lines, channels, bins)`.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.lines, self.stream.channels.count, self.stream.frequencies.count)
    }

    /// The values with their shape.
    ///
    /// # Panics
    /// When the number of values does not fit the shape, which the pipeline never makes.
    pub fn view(&self) -> ArrayView3<'_, f32> {
        ArrayView3::from_shape(self.shape(), &self.values).expect("values fill the shape")
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
            dtype: Dtype::F32,
            u8_range: (1.0, 0.0),
            durable: true,
        };
        Self {
            acquisition: Arc::new(acquisition),
            stream: Arc::new(stream),
            sequence: 7,
            first_line: 14,
            lines: 2,
            first_trace: TraceIndex(1400),
            end_trace: TraceIndex(1600),
            utc_first_ns: 1_790_000_000_700_000_000,
            utc_end_ns: 1_790_000_000_800_000_000,
            gap_traces: 0,
            flags: 0,
            running_min: 0.0,
            running_max: 5.0,
            captured_at: Instant::now(),
            values: (0..6u8).map(f32::from).collect::<Vec<_>>().into(),
        }
    }
}
