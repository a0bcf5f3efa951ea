//! From lines in lanes to frames: gathers what the tiles computed for one view, in the order of channels. Views that show
//! the same share one [`ViewOut`]: their values are gathered once, and each frame names all its streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acquisition::Acquisition;
use crate::dsp::Line;
use crate::egress::Egress;
use crate::frame::{FLAG_GAP_BEFORE, FLAG_PARTIAL_LINE, Frame, Sharer, Stream, ValueKind, Values, ValuesPool, View};
use crate::pipeline::clock::TimeBase;
use crate::pipeline::tile::Tile;
use crate::units::TraceIndex;

/// Frames of one stream that may be in flight before their memory is allocated anew.
const POOLED_FRAMES: usize = 64;

/// From so many values of a line in a tile on, memory changes hands; fewer are copied.
const VALUES_WORTH_HANDING_OVER: usize = 1024;

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

/// Where the lines of a view come from: in tile `tile`, want number `want` of lane `lane`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) tile: usize,
    pub(super) lane: usize,
    pub(super) want: usize,
    /// How many channels.
    pub(super) channels: usize,
}

/// Views that show the same: where their lines come from and what goes out.
pub struct ViewOut {
    lines_per_frame: usize,
    /// In order of channels.
    parts: Vec<Part>,
    outs: Vec<StreamOut>,
}

/// One stream of frames, or several that are equal in all but name.
struct StreamOut {
    stream: Arc<Stream>,
    sharers: Arc<[Sharer]>,
    /// Values that each channel has in a line of a lane, and which of them are ours.
    values_per_channel: usize,
    offset: usize,
    /// Whether the tiles' own memory goes out, a piece for each of them and each line, instead of copies.
    handed_over: bool,
    pool: ValuesPool,
    open: Option<Frame>,
    sequence: u64,
    extrema: (f32, f32),
    /// Gap and flags that no frame has carried yet.
    owed_gap: u64,
    owed_flags: u32,
}

impl ViewOut {
    /// `views` holds the streams of each view that shares this, in the same order; `sole` says that nobody else reads the
    /// same values in the lanes. Frame counters go on from `before`.
    pub(super) fn new(
        values_per_channel: usize,
        views: &[Vec<Stream>],
        lines_per_frame: usize,
        parts: Vec<Part>,
        sole: bool,
        before: &[Self],
    ) -> Self {
        let earlier = |stream: &Stream| {
            let known = before.iter().flat_map(|view| &view.outs);
            known.clone().find_map(|out| out.state_of(stream)).unwrap_or_default()
        };
        let out = |offset: usize| {
            let stream = &views[0][offset];
            let (sequence, owed_gap) = earlier(stream);
            let sharer = |view: &Vec<Stream>| Sharer {
                sequence_offset: earlier(&view[offset]).0.wrapping_sub(sequence),
                stream: Arc::new(view[offset].clone()),
            };
            let bins = stream.frequencies.count;
            let handed_over = sole
                && stream.view != View::Waterfall
                && stream.channels.count * bins >= parts.len() * VALUES_WORTH_HANDING_OVER;
            let lens = if handed_over {
                parts.iter().map(|part| part.channels * bins).cycle().take(lines_per_frame * parts.len()).collect()
            } else {
                vec![lines_per_frame * stream.channels.count * bins]
            };
            StreamOut {
                values_per_channel,
                offset: if stream.view == View::Waterfall { offset } else { 0 },
                handed_over,
                pool: ValuesPool::new(lens, POOLED_FRAMES),
                open: None,
                sequence,
                extrema: (f32::INFINITY, f32::NEG_INFINITY),
                owed_gap,
                owed_flags: 0,
                sharers: views[1..].iter().map(sharer).collect(),
                stream: Arc::new(stream.clone()),
            }
        };
        let outs = (0..views[0].len()).map(out).collect();
        Self { lines_per_frame, parts, outs }
    }

    /// Takes the lines that the last block completed out of the tiles and offers every frame that became full. Returns
    /// the number of lines.
    pub(super) fn gather(&mut self, tiles: &mut [Tile], context: &LineContext<'_>, egress: &Egress) -> u64 {
        for out in &mut self.outs {
            out.owed_gap += context.gap_traces;
            out.owed_flags |= context.flags;
        }
        // All lanes of a view see the same traces and so complete the same lines.
        let Some(first) = self.parts.first() else { return 0 };
        let count = tiles[first.tile].lanes[first.lane].lines().len();
        for number in 0..count {
            let line = tiles[first.tile].lanes[first.lane].lines()[number];
            for out in &mut self.outs {
                out.add(&line, number, &self.parts, tiles, self.lines_per_frame, context, egress);
            }
        }
        count as u64
    }

    /// Offers frames that are begun but not full.
    pub(super) fn flush(&mut self, egress: &Egress) {
        for out in &mut self.outs {
            out.flush(egress);
        }
    }
}

impl StreamOut {
    /// Sequence number and owed gap of `stream`, if it is one of these.
    fn state_of(&self, stream: &Stream) -> Option<(u64, u64)> {
        let is = |other: &Stream| other.name == stream.name && other.number == stream.number;
        if is(&self.stream) {
            return Some((self.sequence, self.owed_gap));
        }
        let sharer = self.sharers.iter().find(|sharer| is(&sharer.stream))?;
        Some((self.sequence.wrapping_add(sharer.sequence_offset), self.owed_gap))
    }

    #[allow(clippy::too_many_arguments)] // all of them facts about one line
    fn add(
        &mut self,
        line: &Line,
        number: usize,
        parts: &[Part],
        tiles: &mut [Tile],
        lines_per_frame: usize,
        context: &LineContext<'_>,
        egress: &Egress,
    ) {
        if self.open.as_ref().is_some_and(|open| open.first_line + open.lines as u64 != line.index) {
            self.flush(egress);
        }
        let mut frame = self.open.take().unwrap_or_else(|| self.begin(line, context));
        let pieces = frame.values.pieces_mut().expect("values are shared on the far side of the fence only");
        if self.handed_over {
            let pieces = &mut pieces[frame.lines * parts.len()..][..parts.len()];
            for (piece, part) in pieces.iter_mut().zip(parts) {
                let lane = &mut tiles[part.tile].lanes[part.lane];
                widen(&mut self.extrema, lane.extrema(part.want, number));
                lane.swap_values(part.want, number, piece);
            }
        } else {
            let len = self.stream.channels.count * self.stream.frequencies.count;
            let row = &mut pieces[0][frame.lines * len..(frame.lines + 1) * len];
            self.fill(row, parts.iter().map(|part| tiles[part.tile].lanes[part.lane].values(part.want, number)));
            for &mut value in row {
                widen(&mut self.extrema, (value, value));
            }
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
            sharers: Arc::clone(&self.sharers),
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

    fn fill<'a>(&self, row: &mut [f32], parts: impl Iterator<Item = &'a [f32]>) {
        let bins = self.stream.frequencies.count;
        let mut rest = row;
        for values in parts {
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
            frame.values = Values::from(frame.values.flat()[..len].to_vec());
        }
        egress.offer(frame);
    }
}

fn widen(extrema: &mut (f32, f32), (smallest, largest): (f32, f32)) {
    *extrema = (extrema.0.min(smallest), extrema.1.max(largest));
}

/// A band energy as the view wants it shown.
fn show(energy: f32, kind: ValueKind) -> f32 {
    match kind {
        ValueKind::Power => energy,
        ValueKind::Amplitude => energy.sqrt(),
        ValueKind::Decibel { reference } => 10.0 * (energy.max(f32::MIN_POSITIVE) / reference as f32).log10(),
    }
}
