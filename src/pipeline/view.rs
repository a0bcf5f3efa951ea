//! From lines in lanes to frames: gathers what the tiles computed for one view, in the order of channels. Views that show
//! the same share one [`ViewOut`]: their values are gathered once, and each frame names all its streams.

mod part;

use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acquisition::Acquisition;
use crate::dsp::{Line, Output, traces_seen};
use crate::egress::Egress;
use crate::frame::{
    FLAG_CLOCK_STEP, FLAG_GAP_BEFORE, FLAG_PARTIAL_LINE, FLAG_SHORT_WINDOW, Frame, SharedStream, Stream, Values,
    ValuesPool, View,
};
use crate::pipeline::clock::TimeBase;
use crate::pipeline::load::Meter;
use crate::pipeline::marked::Marked;
use crate::pipeline::plan::Transform;
use crate::pipeline::tile::Tile;
use crate::pipeline::values::fill;
use crate::units::TraceIndex;
pub(super) use part::Part;

/// Frames of one stream that may be in flight before their memory is allocated anew: so many, or fewer where they are
/// large. Their memory is kept as long as the stream is there.
const POOLED_FRAMES: usize = 64;
const POOLED_BYTES: usize = 2 << 20;
const LEAST_POOLED_FRAMES: usize = 4;

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
    /// Traces that lines are marked for.
    pub(super) marked: &'a Marked,
}

/// A stream with the number of its next frame and the gap that it has yet to tell.
pub(super) type Known = (Arc<Stream>, (u64, u64));

/// Where the values of a line are.
struct Source<'a> {
    parts: &'a [Part],
    transform: &'a Transform,
    takes_memory: bool,
    /// Its window reaches back before what is known.
    short: bool,
}

/// Views that show the same: where their lines come from and what goes out.
pub struct ViewOut {
    transform: usize,
    wanted: Output,
    channels: Range<usize>,
    lines_per_frame: usize,
    /// The first line that is shown.
    from_line: u64,
    /// In order of channels.
    parts: Vec<Part>,
    /// Whether the tiles' own memory may go out.
    takes_memory: bool,
    outs: Vec<StreamOut>,
    /// Thread time for a line, and that of the last block.
    meter: Meter,
    spent_ns: u64,
}

/// One stream of frames, or several that are equal in all but name.
struct StreamOut {
    /// The stream that frames are made for, and its [`shared_with`](Frame::shared_with).
    stream: Arc<Stream>,
    shared_with: Arc<[SharedStream]>,
    /// Values that each channel has in a line of a lane, and which of them are ours.
    values_per_channel: usize,
    offset: usize,
    /// Whether a frame has a piece of memory for each tile and each line, so that the tiles' own can go out.
    in_pieces: bool,
    pool: ValuesPool,
    open: Option<Frame>,
    sequence: u64,
    extrema: (f32, f32),
    /// Gap and flags that no frame has carried yet.
    owed_gap: u64,
    owed_flags: u32,
    /// First trace of the frame that was begun last.
    begun: Option<u64>,
}

impl ViewOut {
    /// A view that no lane serves yet. `streams` are one for each band.
    pub(super) fn new(
        transform: usize,
        wanted: Output,
        channels: Range<usize>,
        streams: &[Known],
        lines_per_frame: usize,
    ) -> Self {
        let values_per_channel = wanted.values_per_channel();
        let out = |(number, (stream, (sequence, owed_gap))): (usize, &Known)| StreamOut {
            values_per_channel,
            offset: if stream.view == View::Waterfall { number } else { 0 },
            in_pieces: false,
            pool: ValuesPool::new(Vec::new(), 1),
            open: None,
            sequence: *sequence,
            extrema: (f32::INFINITY, f32::NEG_INFINITY),
            owed_gap: *owed_gap,
            owed_flags: 0,
            begun: None,
            shared_with: Arc::default(),
            stream: Arc::clone(stream),
        };
        let outs = streams.iter().enumerate().map(out).collect();
        let (parts, takes_memory, meter) = (Vec::new(), false, Meter::default());
        let (from_line, spent_ns) = (0, 0);
        Self { transform, wanted, channels, lines_per_frame, from_line, parts, takes_memory, outs, meter, spent_ns }
    }

    /// Takes in what the last [`gather`](Self::gather) cost.
    pub(super) fn charge(&mut self, ns: u64, lines: u64) {
        self.spent_ns = ns;
        self.meter.add(ns, lines);
    }

    /// What the last block cost.
    pub(super) const fn spent_ns(&self) -> u64 {
        self.spent_ns
    }

    /// Share of one thread's time for so many lines a second.
    pub(super) fn load(&self, lines_per_s: f64) -> f64 {
        self.meter.load(lines_per_s)
    }

    /// Number of its transform.
    pub(super) const fn transform(&self) -> usize {
        self.transform
    }

    /// Its output of the transform.
    pub(super) const fn wanted(&self) -> &Output {
        &self.wanted
    }

    /// Its channels.
    pub(super) const fn channels(&self) -> &Range<usize> {
        &self.channels
    }

    /// Where its channels come from.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// All streams.
    pub(super) fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.outs
            .iter()
            .flat_map(|out| iter::once(&out.stream).chain(out.shared_with.iter().map(|shared| &shared.stream)))
    }

    /// Whether it shows these values.
    pub(super) fn shows(
        &self,
        transform: usize,
        wanted: &Output,
        channels: &Range<usize>,
        lines_per_frame: usize,
    ) -> bool {
        (self.transform, &self.wanted, &self.channels, self.lines_per_frame)
            == (transform, wanted, channels, lines_per_frame)
    }

    /// Whether it shows them as `stream` does.
    pub(super) fn shows_like(&self, stream: &Stream) -> bool {
        let own = &self.outs[0].stream;
        // Jobs cross the fence at a place of their own.
        (own.view, own.value, own.job.is_empty()) == (stream.view, stream.value, stream.job.is_empty())
    }

    /// The first line that it shows.
    pub(super) const fn first_line(&self) -> u64 {
        self.from_line
    }

    /// Shows nothing before this line.
    pub(super) const fn begin_with(&mut self, line: u64) {
        self.from_line = line;
    }

    /// More streams that show the same.
    pub(super) fn join(&mut self, streams: &[Known]) {
        for (out, (stream, (sequence, _))) in self.outs.iter_mut().zip(streams) {
            let shared =
                SharedStream { stream: Arc::clone(stream), sequence_offset: sequence.wrapping_sub(out.sequence) };
            out.shared_with = out.shared_with.iter().cloned().chain([shared]).collect();
        }
    }

    /// Lets go of some streams; whether there are any left.
    pub(super) fn leave(&mut self, gone: &[Arc<Stream>]) -> bool {
        let is_gone = |stream: &Arc<Stream>| gone.iter().any(|gone| Arc::ptr_eq(gone, stream));
        self.outs.retain_mut(|out| {
            if out.shared_with.iter().any(|shared| is_gone(&shared.stream)) {
                out.shared_with = out.shared_with.iter().filter(|shared| !is_gone(&shared.stream)).cloned().collect();
            }
            if !is_gone(&out.stream) {
                return true;
            }
            // The next one takes the place, with its own count.
            let Some((next, others)) = out.shared_with.split_first() else { return false };
            let ahead = next.sequence_offset;
            let of_next = |shared: &SharedStream| SharedStream {
                stream: Arc::clone(&shared.stream),
                sequence_offset: shared.sequence_offset.wrapping_sub(ahead),
            };
            (out.sequence, out.stream) = (out.sequence.wrapping_add(ahead), Arc::clone(&next.stream));
            out.shared_with = others.iter().map(of_next).collect();
            true
        });
        !self.outs.is_empty()
    }

    /// Says where its values are from now on; `takes_memory` is for one view of each output.
    pub(super) fn place(&mut self, parts: Vec<Part>, takes_memory: bool) {
        let lens = |parts: &[Part]| parts.iter().map(|part| part.channels).collect::<Vec<_>>();
        let same = lens(&parts) == lens(&self.parts);
        (self.parts, self.takes_memory) = (parts, takes_memory);
        if same {
            return;
        }
        for out in &mut self.outs {
            let (channels, bins) = (out.stream.channels.count, out.stream.frequencies.count);
            out.in_pieces =
                out.stream.view != View::Waterfall && channels * bins >= self.parts.len() * VALUES_WORTH_HANDING_OVER;
            let lens = if out.in_pieces {
                let pieces = self.lines_per_frame * self.parts.len();
                self.parts.iter().map(|part| part.channels * bins).cycle().take(pieces).collect()
            } else {
                vec![self.lines_per_frame * channels * bins]
            };
            let bytes = lens.iter().sum::<usize>() * size_of::<f32>();
            let frames = (POOLED_BYTES / bytes.max(1)).clamp(LEAST_POOLED_FRAMES, POOLED_FRAMES);
            out.pool = ValuesPool::new(lens, frames);
        }
    }

    /// Sequence number and owed gap of a stream of the same name, if it is one of these.
    pub(super) fn state_of(&self, stream: &Stream) -> Option<(u64, u64)> {
        let is = |other: &Stream| (&other.job, &other.name, other.number) == (&stream.job, &stream.name, stream.number);
        self.outs.iter().find_map(|out| {
            if is(&out.stream) {
                return Some((out.sequence, out.owed_gap));
            }
            let shared = out.shared_with.iter().find(|shared| is(&shared.stream))?;
            Some((out.sequence.wrapping_add(shared.sequence_offset), out.owed_gap))
        })
    }

    /// Whether it takes the lanes' own memory, and so must gather after all others.
    pub(super) const fn takes_memory(&self) -> bool {
        self.takes_memory
    }

    /// Takes the lines that the last block completed out of the lanes of its transform and offers every frame that became
    /// full. Returns the number of lines.
    pub(super) fn gather(
        &mut self,
        transform: &Transform,
        tiles: &mut [Tile],
        context: &LineContext<'_>,
        egress: &Egress,
    ) -> u64 {
        for out in &mut self.outs {
            out.owed_gap += context.gap_traces;
            out.owed_flags |= context.flags;
        }
        // All lanes of a transform see the same traces and so complete the same lines.
        let Some(first) = self.parts.first() else { return 0 };
        let Some(lane) = transform.lane(first.tile, tiles) else { return 0 };
        let (first, count) = (lane.lines().partition_point(|line| line.index < self.from_line), lane.lines().len());
        let mut shown = 0;
        for number in first..count {
            let Some(line) = transform.lane(self.parts[0].tile, tiles).map(|lane| lane.lines()[number]) else { break };
            let short = self.parts.iter().any(|part| part.is_short(transform, tiles, line.end_trace));
            // Only who has just asked is better served early than well.
            if short && !self.is_of_jobs() {
                continue;
            }
            shown += 1;
            let source = Source { parts: &self.parts, transform, takes_memory: self.takes_memory, short };
            for out in &mut self.outs {
                out.add(&line, number, &source, tiles, self.lines_per_frame, context, egress);
            }
        }
        shown
    }

    /// Whether clients' jobs show it, and no standing view.
    pub(super) fn is_of_jobs(&self) -> bool {
        self.streams().next().is_some_and(|stream| !stream.job.is_empty())
    }

    /// A new epoch counts its lines from the beginning.
    pub(super) const fn show_all(&mut self) {
        self.from_line = 0;
    }

    /// Offers frames that are begun but not full.
    pub(super) fn flush(&mut self, egress: &Egress) {
        for out in &mut self.outs {
            out.flush(egress);
        }
    }
}

impl StreamOut {
    #[allow(clippy::too_many_arguments)] // all of them facts about one line
    fn add(
        &mut self,
        line: &Line,
        number: usize,
        source: &Source<'_>,
        tiles: &mut [Tile],
        lines_per_frame: usize,
        context: &LineContext<'_>,
        egress: &Egress,
    ) {
        // Lines of a frame follow each other by the rate, and times of one behind a step do not.
        let follows = |open: &Frame| {
            open.first_line + open.lines as u64 == line.index
                && !context.time.has_step(open.first_trace.0, line.first_trace)
        };
        if self.open.as_ref().is_some_and(|open| !follows(open)) {
            self.flush(egress);
        }
        let mut frame = self.open.take().unwrap_or_else(|| self.begin(line, context));
        let pieces = frame.values.pieces_mut().expect("values are shared on the far side of the fence only");
        let (parts, bins) = (source.parts, self.stream.frequencies.count);
        let row = frame.lines * self.stream.channels.count * bins;
        let mut begin = row;
        for (place, part) in parts.iter().enumerate() {
            let Some(lane) = source.transform.lane(part.tile, tiles) else { continue };
            let piece = if self.in_pieces {
                &mut pieces[frame.lines * parts.len() + place]
            } else {
                // One piece for all: this part's place in it.
                &mut pieces[0]
            };
            let values = lane.values(part.lane_output, number);
            if self.in_pieces && source.takes_memory && values.len() == piece.len() {
                widen(&mut self.extrema, lane.extrema(part.lane_output, number));
                lane.swap_values(part.lane_output, number, piece);
                continue;
            }
            let values = &values[part.offset * self.values_per_channel..][..part.channels * self.values_per_channel];
            let len = part.channels * bins;
            let out = if self.in_pieces { &mut piece[..] } else { &mut piece[begin..begin + len] };
            fill(&self.stream, out, values, self.values_per_channel, self.offset);
            for &mut value in out {
                widen(&mut self.extrema, (value, value));
            }
            begin += len;
        }
        frame.lines += 1;
        frame.end_trace = TraceIndex(line.end_trace);
        frame.utc_end_ns = context.time.utc_behind_ns(line.end_trace);
        for trace in [line.first_trace, line.end_trace.saturating_sub(1)] {
            frame.utc_uncertainty_ns = frame.utc_uncertainty_ns.max(context.time.uncertainty_ns(trace));
        }
        let since = context.acquisition.prr.traces_to_ns(context.block_end.saturating_sub(line.end_trace));
        let since = Duration::from_nanos(since.unsigned_abs());
        frame.captured_at = context.captured_at.checked_sub(since).unwrap_or(context.captured_at);
        frame.flags |= if line.partial { FLAG_PARTIAL_LINE } else { 0 };
        frame.flags |= if source.short { FLAG_SHORT_WINDOW } else { 0 };
        let seen = traces_seen(&(line.first_trace..line.end_trace), self.stream.nfft);
        frame.flags |= context.marked.flags(&seen);
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
        let before = self.begun.replace(line.first_trace);
        if before.is_some_and(|before| context.time.has_step(before, line.first_trace)) {
            flags |= FLAG_CLOCK_STEP;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        Frame {
            acquisition: Arc::clone(context.acquisition),
            stream: Arc::clone(&self.stream),
            shared_with: Arc::clone(&self.shared_with),
            sequence,
            first_line: line.index,
            lines: 0,
            first_trace: TraceIndex(line.first_trace),
            end_trace: TraceIndex(line.end_trace),
            utc_first_ns: context.time.utc_ns(line.first_trace),
            utc_uncertainty_ns: 0,
            utc_end_ns: 0,
            gap_traces,
            flags,
            running_min: 0.0,
            running_max: 0.0,
            captured_at: context.captured_at,
            values: self.pool.take(),
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
