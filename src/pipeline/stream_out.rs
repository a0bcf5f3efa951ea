//! One stream of a view, or several that are equal in all but name: lines are put into frames here, in the unit of the
//! stream, with everything that a frame says of itself.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acquisition::Acquisition;
use crate::dsp::{Line, traces_seen};
use crate::egress::Egress;
use crate::frame::{
    FLAG_CLOCK_STEP, FLAG_GAP_BEFORE, FLAG_PARTIAL_LINE, FLAG_SHORT_WINDOW, Frame, SharedRanges, SharedStream, Stream,
    Values, ValuesPool, View,
};
use crate::pipeline::clock::TimeBase;
use crate::pipeline::marked::Marked;
use crate::pipeline::missing::Missing;
use crate::pipeline::plan::Transform;
use crate::pipeline::tile::Tile;
use crate::pipeline::values::fill;
use crate::pipeline::view::{Known, Part};
use crate::units::TraceIndex;

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
    /// Traces that are missing.
    pub(super) missing: &'a Missing,
}

/// Where the values of a line are.
pub(super) struct Source<'a> {
    pub(super) parts: &'a [Part],
    pub(super) transform: &'a Transform,
    pub(super) takes_memory: bool,
    /// Its window reaches back before what is known.
    pub(super) short: bool,
}

/// One stream of frames, or several that are equal in all but name.
pub(super) struct StreamOut {
    /// The stream that frames are made for, and its [`shared_with`](Frame::shared_with).
    pub(super) stream: Arc<Stream>,
    shared_with: Arc<[SharedStream]>,
    /// The first line of the stream that frames are made for; one that begins before it takes its place.
    from_line: u64,
    /// Streams that will be among these.
    joining: Vec<Joining>,
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
    /// The line behind the last one.
    next_line: Option<u64>,
}

/// A stream that will show the same.
struct Joining {
    stream: Arc<Stream>,
    /// Number of its first frame.
    sequence: u64,
    /// Its first line: all streams of a job begin with the same.
    from_line: u64,
}

impl StreamOut {
    /// A stream whose values begin at `offset` of the `values_per_channel` that a line of a lane has.
    pub(super) fn new((stream, (sequence, owed_gap)): &Known, values_per_channel: usize, offset: usize) -> Self {
        Self {
            values_per_channel,
            offset,
            in_pieces: false,
            pool: ValuesPool::new(Vec::new(), 1),
            open: None,
            sequence: *sequence,
            extrema: (f32::INFINITY, f32::NEG_INFINITY),
            owed_gap: *owed_gap,
            owed_flags: 0,
            begun: None,
            next_line: None,
            shared_with: Arc::default(),
            from_line: 0,
            joining: Vec::new(),
            stream: Arc::clone(stream),
        }
    }

    /// All streams, its own first.
    pub(super) fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        let shared = self.shared_with.iter().map(|shared| &shared.stream);
        iter::once(&self.stream).chain(shared).chain(self.joining.iter().map(|joining| &joining.stream))
    }

    /// Traces are missing, or something else has happened that the next frame tells.
    pub(super) const fn owe(&mut self, gap_traces: u64, flags: u32) {
        self.owed_gap += gap_traces;
        self.owed_flags |= flags;
    }

    /// One more stream that shows the same.
    pub(super) fn join(&mut self, (stream, (sequence, _)): &Known) {
        self.joining.push(Joining { stream: Arc::clone(stream), sequence: *sequence, from_line: 0 });
    }

    /// The streams of a job, which have come together, show nothing before this line.
    pub(super) fn begin_job(&mut self, job: &str, line: u64) {
        if self.stream.job == job {
            self.from_line = line;
        }
        let joining = self.joining.iter_mut().filter(|joining| joining.stream.job == job);
        joining.for_each(|joining| joining.from_line = line);
    }

    /// They show everything: a new epoch counts its lines from the beginning.
    pub(super) fn begin_all(&mut self) {
        self.from_line = 0;
        self.joining.iter_mut().for_each(|joining| joining.from_line = 0);
    }

    /// Lets go of some streams; whether there are any left.
    pub(super) fn leave(&mut self, gone: &[Arc<Stream>]) -> bool {
        let is_gone = |stream: &Arc<Stream>| gone.iter().any(|gone| Arc::ptr_eq(gone, stream));
        self.joining.retain(|joining| !is_gone(&joining.stream));
        if self.shared_with.iter().any(|shared| is_gone(&shared.stream)) {
            self.shared_with = self.shared_with.iter().filter(|shared| !is_gone(&shared.stream)).cloned().collect();
        }
        if !is_gone(&self.stream) {
            return true;
        }
        // The next one takes the place, with its own count.
        let Some((next, others)) = self.shared_with.split_first() else {
            if self.joining.is_empty() {
                return false;
            }
            self.change_places(0);
            return true;
        };
        let ahead = next.sequence_offset;
        let of_next = |shared: &SharedStream| SharedStream {
            stream: Arc::clone(&shared.stream),
            sequence_offset: shared.sequence_offset.wrapping_sub(ahead),
        };
        (self.sequence, self.stream) = (self.sequence.wrapping_add(ahead), Arc::clone(&next.stream));
        self.shared_with = others.iter().map(of_next).collect();
        true
    }

    /// Memory for frames of lines from these parts.
    pub(super) fn make_room(&mut self, parts: &[Part], lines_per_frame: usize) {
        let (channels, bins) = (self.stream.channels.count, self.stream.frequencies.count);
        self.in_pieces =
            self.stream.view != View::Waterfall && channels * bins >= parts.len() * VALUES_WORTH_HANDING_OVER;
        let lens = if self.in_pieces {
            let pieces = lines_per_frame * parts.len();
            parts.iter().map(|part| part.channels * bins).cycle().take(pieces).collect()
        } else {
            vec![lines_per_frame * channels * bins]
        };
        let bytes = lens.iter().sum::<usize>() * size_of::<f32>();
        let frames = (POOLED_BYTES / bytes.max(1)).clamp(LEAST_POOLED_FRAMES, POOLED_FRAMES);
        self.pool = ValuesPool::new(lens, frames);
    }

    /// Sequence number and owed gap of a stream of the same name, if it is one of these.
    pub(super) fn state_of(&self, stream: &Stream) -> Option<(u64, u64)> {
        let is = |other: &Stream| (&other.job, &other.name, other.number) == (&stream.job, &stream.name, stream.number);
        if is(&self.stream) {
            return Some((self.sequence, self.owed_gap));
        }
        if let Some(joining) = self.joining.iter().find(|joining| is(&joining.stream)) {
            return Some((joining.sequence, self.owed_gap));
        }
        let shared = self.shared_with.iter().find(|shared| is(&shared.stream))?;
        Some((self.sequence.wrapping_add(shared.sequence_offset), self.owed_gap))
    }

    /// Makes frames for a stream that has joined from now on, which none of those here had one of; returns the one before.
    fn change_places(&mut self, at: usize) -> Joining {
        let Joining { stream, sequence, from_line } = self.joining.remove(at);
        // What was before it is nothing that it missed.
        (self.next_line, self.begun, self.owed_gap, self.owed_flags) = (None, None, 0, 0);
        Joining {
            stream: std::mem::replace(&mut self.stream, stream),
            sequence: std::mem::replace(&mut self.sequence, sequence),
            from_line: std::mem::replace(&mut self.from_line, from_line),
        }
    }

    /// Takes in the streams that begin with this line or have begun before it. Whether there are any.
    fn take_in(&mut self, line: u64) -> bool {
        let Some(first) = self.joining.iter().position(|joining| joining.from_line <= line) else {
            return self.from_line <= line;
        };
        if self.from_line > line {
            let before = self.change_places(first);
            self.joining.push(before);
        }
        let begun: Vec<_> = self.joining.extract_if(.., |joining| joining.from_line <= line).collect();
        let shared = begun.into_iter().map(|Joining { stream, sequence, .. }| SharedStream {
            stream,
            sequence_offset: sequence.wrapping_sub(self.sequence),
        });
        self.shared_with = self.shared_with.iter().cloned().chain(shared).collect();
        true
    }

    /// Puts line `number` of the lanes into the frame, and offers it when it is full. Whether a stream shows it.
    #[allow(clippy::too_many_arguments)] // all of them facts about one line
    pub(super) fn add(
        &mut self,
        line: &Line,
        number: usize,
        source: &Source<'_>,
        tiles: &mut [Tile],
        lines_per_frame: usize,
        context: &LineContext<'_>,
        egress: &Egress,
    ) -> bool {
        // Lines of a frame follow each other by the rate, and times of one behind a step do not.
        let follows = |open: &Frame| {
            open.first_line + open.lines as u64 == line.index
                && !context.time.has_step(open.first_trace.0, line.first_trace)
        };
        if self.open.as_ref().is_some_and(|open| !follows(open)) {
            self.flush(egress);
        }
        if self.open.is_none() && !self.take_in(line.index) {
            return false;
        }
        let mut frame = self.open.take().unwrap_or_else(|| self.begin(line, context));
        let pieces = frame.values.pieces_mut().expect("values are shared on the far side of the fence only");
        let (parts, bins, factor) = (source.parts, self.stream.frequencies.count, self.stream.unit_factor as f32);
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
                let (smallest, largest) = lane.extrema(part.lane_output, number);
                widen(&mut self.extrema, (factor * smallest, factor * largest));
                lane.swap_values(part.lane_output, number, piece);
                in_unit(piece, factor);
                continue;
            }
            let values = &values[part.offset * self.values_per_channel..][..part.channels * self.values_per_channel];
            let len = part.channels * bins;
            let out = if self.in_pieces { &mut piece[..] } else { &mut piece[begin..begin + len] };
            fill(&self.stream, out, values, self.values_per_channel, self.offset);
            in_unit(out, factor);
            for &mut value in out {
                widen(&mut self.extrema, (value, value));
            }
            begin += len;
        }
        self.next_line = Some(line.index + 1);
        frame.lines += 1;
        frame.end_trace = TraceIndex(line.end_trace);
        frame.utc_end_ns = context.time.utc_behind_ns(line.end_trace);
        for trace in [line.first_trace, line.end_trace.saturating_sub(1)] {
            frame.utc_uncertainty_ns = frame.utc_uncertainty_ns.max(context.time.uncertainty_ns(trace));
        }
        let since = context.acquisition.prr.traces_to_ns(context.block_end.saturating_sub(line.end_trace));
        let since = Duration::from_nanos(since.unsigned_abs());
        frame.captured_at = context.captured_at.checked_sub(since).unwrap_or(context.captured_at);
        if line.partial {
            frame.flags |= FLAG_PARTIAL_LINE;
            // Windows of its first line reach back by less than their length.
            let reach = frame.first_trace.0.saturating_sub(self.stream.nfft as u64)..line.end_trace;
            frame.missing = context.missing.within(&reach);
        }
        frame.flags |= if source.short { FLAG_SHORT_WINDOW } else { 0 };
        let seen = traces_seen(&(line.first_trace..line.end_trace), self.stream.nfft);
        frame.flags |= context.marked.flags(&seen);
        (frame.running_min, frame.running_max) = self.extrema;
        let full = frame.lines == lines_per_frame;
        self.open = Some(frame);
        if full {
            self.flush(egress);
        }
        true
    }

    fn begin(&mut self, line: &Line, context: &LineContext<'_>) -> Frame {
        let gap_traces = std::mem::take(&mut self.owed_gap);
        // A frame that begins an epoch or follows a gap says so even when its first line came blocks later.
        let mut flags = std::mem::take(&mut self.owed_flags);
        // A line that a gap cut short has told of the gap; the lines behind it that never came are missing all the same.
        let is_behind_a_hole = self.next_line.is_some_and(|due| line.index > due);
        if gap_traces > 0 || is_behind_a_hole {
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
            missing: SharedRanges::default(),
            flags,
            running_min: 0.0,
            running_max: 0.0,
            captured_at: context.captured_at,
            values: self.pool.take(),
        }
    }

    /// Offers the frame that is begun but not full.
    pub(super) fn flush(&mut self, egress: &Egress) {
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

/// Values of the samples' unit in that of a stream.
fn in_unit(values: &mut [f32], factor: f32) {
    if factor.to_bits() != 1f32.to_bits() {
        for value in values {
            *value *= factor;
        }
    }
}
