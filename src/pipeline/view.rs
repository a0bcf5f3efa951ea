//! From lines in lanes to frames: gathers what the tiles computed for one view, in the order of channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acquisition::Acquisition;
use crate::dsp::{Lane, Line, Plan};
use crate::egress::Egress;
use crate::frame::{FLAG_GAP_BEFORE, FLAG_PARTIAL_LINE, Frame, Stream, ValueKind, Values, ValuesPool, View};
use crate::pipeline::clock::TimeBase;
use crate::pipeline::tile::Tile;
use crate::units::TraceIndex;

/// Frames of one stream that may be in flight before their memory is allocated anew.
const POOLED_FRAMES: usize = 64;

/// What holds for all lines that one block completed.
pub(super) struct LineContext<'a> {
    pub(super) acquisition: &'a Arc<Acquisition>,
    pub(super) time: &'a TimeBase,
    /// Behind the last trace of the block.
    pub(super) block_end: u64,
    /// When that trace was in hand.
    pub(super) captured_at: Instant,
    /// Traces missing before the block.
    pub(super) gap_traces: u64,
    pub(super) flags: u32,
}

/// One view: where its lines come from and what goes out.
pub struct ViewOut {
    lines_per_frame: usize,
    /// `(tile, lane)` in order of channels.
    parts: Vec<(usize, usize)>,
    outs: Vec<StreamOut>,
}

/// One stream of frames.
struct StreamOut {
    stream: Arc<Stream>,
    /// Values that each channel has in a line of a lane, and which of them are ours.
    values_per_channel: usize,
    offset: usize,
    pool: ValuesPool,
    open: Option<Frame>,
    sequence: u64,
    extrema: (f32, f32),
    /// Gap and flags that no frame has carried yet.
    owed_gap: u64,
    owed_flags: u32,
}

impl ViewOut {
    pub(super) fn new(
        plan: &Plan,
        streams: Vec<Stream>,
        lines_per_frame: usize,
        parts: Vec<(usize, usize)>,
        before: &[Self],
    ) -> Self {
        let values_per_channel = plan.values_per_channel();
        let earlier = |stream: &Stream| {
            let outs = before.iter().flat_map(|view| &view.outs);
            outs.clone().find(|o| o.stream.name == stream.name && o.stream.number == stream.number)
        };
        let outs = streams
            .into_iter()
            .enumerate()
            .map(|(offset, stream)| StreamOut {
                values_per_channel,
                offset: if stream.view == View::Waterfall { offset } else { 0 },
                pool: ValuesPool::new(
                    lines_per_frame * stream.channels.count * stream.frequencies.count,
                    POOLED_FRAMES,
                ),
                open: None,
                sequence: earlier(&stream).map_or(0, |o| o.sequence),
                extrema: (f32::INFINITY, f32::NEG_INFINITY),
                owed_gap: earlier(&stream).map_or(0, |o| o.owed_gap),
                owed_flags: 0,
                stream: Arc::new(stream),
            })
            .collect();
        Self { lines_per_frame, parts, outs }
    }

    /// Takes the lines that the last block completed out of the tiles and offers every frame that became full. Returns
    /// the number of lines.
    pub(super) fn gather(&mut self, tiles: &[Tile], context: &LineContext<'_>, egress: &Egress) -> u64 {
        for out in &mut self.outs {
            out.owed_gap += context.gap_traces;
            out.owed_flags |= context.flags;
        }
        let lanes = || self.parts.iter().map(|&(tile, lane)| &tiles[tile].lanes[lane]);
        // All lanes of a view see the same traces and so complete the same lines.
        let Some(first) = lanes().next() else { return 0 };
        for (number, line) in first.lines().iter().enumerate() {
            for out in &mut self.outs {
                out.add(line, lanes().map(|lane| (lane, number)), self.lines_per_frame, context, egress);
            }
        }
        first.lines().len() as u64
    }

    /// Offers frames that are begun but not full.
    pub(super) fn flush(&mut self, egress: &Egress) {
        for out in &mut self.outs {
            out.flush(egress);
        }
    }
}

impl StreamOut {
    fn add<'a>(
        &mut self,
        line: &Line,
        lanes: impl Iterator<Item = (&'a Lane, usize)>,
        lines_per_frame: usize,
        context: &LineContext<'_>,
        egress: &Egress,
    ) {
        if self.open.as_ref().is_some_and(|open| open.first_line + open.lines as u64 != line.index) {
            self.flush(egress);
        }
        let mut frame = self.open.take().unwrap_or_else(|| self.begin(line, context));
        let len = self.stream.channels.count * self.stream.frequencies.count;
        let row = &mut frame.values[frame.lines * len..(frame.lines + 1) * len];
        self.fill(row, lanes);
        for &mut value in row {
            self.extrema = (self.extrema.0.min(value), self.extrema.1.max(value));
        }
        frame.lines += 1;
        frame.end_trace = TraceIndex(line.end_trace);
        frame.utc_end_ns = context.time.utc_ns(line.end_trace);
        let since = context.acquisition.prr.traces_to_ns(context.block_end.saturating_sub(line.end_trace));
        let since = Duration::from_nanos(since.unsigned_abs());
        frame.captured_at = context.captured_at.checked_sub(since).unwrap_or(context.captured_at);
        frame.flags |= if line.partial { FLAG_PARTIAL_LINE } else { 0 };
        (frame.running_min, frame.running_max) = self.extrema;
        let full = frame.lines == lines_per_frame;
        self.open = Some(frame);
        if full {
            self.flush(egress);
        }
    }

    fn begin(&mut self, line: &Line, context: &LineContext<'_>) -> Frame {
        let gap_traces = std::mem::take(&mut self.owed_gap);
        // A frame that begins an epoch or follows a gap says so even when its first line came blocks later.
        let mut flags = std::mem::take(&mut self.owed_flags);
        if gap_traces > 0 {
            flags |= FLAG_GAP_BEFORE;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        Frame {
            acquisition: Arc::clone(context.acquisition),
            stream: Arc::clone(&self.stream),
            sequence,
            first_line: line.index,
            lines: 0,
            first_trace: TraceIndex(line.first_trace),
            end_trace: TraceIndex(line.end_trace),
            utc_first_ns: context.time.utc_ns(line.first_trace),
            utc_end_ns: 0,
            gap_traces,
            flags,
            running_min: 0.0,
            running_max: 0.0,
            captured_at: context.captured_at,
            values: self.pool.take(),
        }
    }

    fn fill<'a>(&self, row: &mut [f32], lanes: impl Iterator<Item = (&'a Lane, usize)>) {
        let bins = self.stream.frequencies.count;
        let mut rest = row;
        for (lane, number) in lanes {
            let values = lane.values(number);
            let channels = values.len() / self.values_per_channel;
            let (ours, after) = rest.split_at_mut(channels * bins);
            rest = after;
            if self.stream.view == View::Waterfall {
                let energies = values.iter().skip(self.offset).step_by(self.values_per_channel);
                for (value, &energy) in ours.iter_mut().zip(energies) {
                    *value = show(energy, self.stream.value);
                }
            } else {
                ours.copy_from_slice(values);
            }
        }
    }

    fn flush(&mut self, egress: &Egress) {
        let Some(mut frame) = self.open.take() else { return };
        let len = frame.lines * self.stream.channels.count * self.stream.frequencies.count;
        if frame.values.len() != len {
            // A frame cut short by a gap, an epoch or a silence: rare, so its own memory is no matter.
            frame.values = Values::from(frame.values[..len].to_vec());
        }
        egress.offer(frame);
    }
}

/// A band energy as the view wants it shown.
fn show(energy: f32, kind: ValueKind) -> f32 {
    match kind {
        ValueKind::Power => energy,
        ValueKind::Amplitude => energy.sqrt(),
        ValueKind::Decibel { reference } => 10.0 * (energy.max(f32::MIN_POSITIVE) / reference as f32).log10(),
    }
}
