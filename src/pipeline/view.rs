//! From lines in lanes to frames: gathers what the tiles computed for one view, in the order of channels. Views that show
//! the same share one [`ViewOut`]: their values are gathered once, and each frame names all its streams.

use std::ops::Range;
use std::sync::Arc;

use crate::dsp::Output;
use crate::egress::Egress;
use crate::frame::{Stream, View};
use crate::pipeline::load::Meter;
use crate::pipeline::plan::Transform;
use crate::pipeline::stream_out::{LineContext, Source, StreamOut};
use crate::pipeline::tile::Tile;

/// Where some channels of a view come from: output number `lane_output` of its transform's lane in tile `tile`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) tile: usize,
    pub(super) lane_output: usize,
    /// The first of them among those of the output.
    pub(super) offset: usize,
    /// How many channels.
    pub(super) channels: usize,
}

impl Part {
    fn is_short(&self, transform: &Transform, tiles: &[Tile], end: u64) -> bool {
        let Some(lane) = transform.lane_of(self.tile, tiles) else { return false };
        let first = lane.lane_outputs().nth(self.lane_output).map_or(0, |output| output.channels.start) + self.offset;
        lane.is_short(&(first..first + self.channels), end)
    }
}

/// A stream with the number of its next frame and the gap that it has yet to tell.
pub(super) type Known = (Arc<Stream>, (u64, u64));

/// Views that show the same: where their lines come from and what goes out.
pub struct ViewOut {
    transform: usize,
    wanted: Output,
    channels: Range<usize>,
    lines_per_frame: usize,
    /// The first line that is whole; each of the streams begins with this or a later one.
    from_line: u64,
    /// In order of channels.
    parts: Vec<Part>,
    /// Whether the tiles' own memory may go out.
    takes_memory: bool,
    outs: Vec<StreamOut>,
    /// Whether a line has come, and whether it was said that none does.
    has_lines: bool,
    silent_said: bool,
    /// Thread time for a line, and that of the last block.
    meter: Meter,
    spent_ns: u64,
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
        let out = |(number, known): (usize, &Known)| {
            let offset = if known.0.view == View::Waterfall { number } else { 0 };
            StreamOut::new(known, values_per_channel, offset)
        };
        let outs = streams.iter().enumerate().map(out).collect();
        let (parts, takes_memory, meter) = (Vec::new(), false, Meter::default());
        let (from_line, spent_ns) = (0, 0);
        Self {
            transform,
            wanted,
            channels,
            lines_per_frame,
            from_line,
            parts,
            takes_memory,
            outs,
            has_lines: false,
            silent_said: false,
            meter,
            spent_ns,
        }
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
        self.outs.iter().flat_map(StreamOut::streams)
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
        (own.view, own.value, own.job.is_empty(), &own.unit)
            == (stream.view, stream.value, stream.job.is_empty(), &stream.unit)
    }

    /// The first line that it can show.
    pub(super) const fn first_line(&self) -> u64 {
        self.from_line
    }

    /// Shows nothing before this line.
    pub(super) const fn begin_with(&mut self, line: u64) {
        self.from_line = line;
    }

    /// More streams that show the same, from [a line](Self::begin_job) on that is yet to be said.
    pub(super) fn join(&mut self, streams: &[Known]) {
        for (out, known) in self.outs.iter_mut().zip(streams) {
            out.join(known);
        }
    }

    /// The streams of a job, which have come together, show nothing before this line.
    pub(super) fn begin_job(&mut self, job: &str, line: u64) {
        self.outs.iter_mut().for_each(|out| out.begin_job(job, line));
    }

    /// Lets go of some streams; whether there are any left.
    pub(super) fn leave(&mut self, gone: &[Arc<Stream>]) -> bool {
        self.outs.retain_mut(|out| out.leave(gone));
        !self.outs.is_empty()
    }

    /// Says where its values are from now on; `takes_memory` is for one view of each output.
    pub(super) fn place(&mut self, parts: Vec<Part>, takes_memory: bool) {
        let lens = |parts: &[Part]| parts.iter().map(|part| part.channels).collect::<Vec<_>>();
        let same = lens(&parts) == lens(&self.parts);
        (self.parts, self.takes_memory) = (parts, takes_memory);
        if !same {
            self.outs.iter_mut().for_each(|out| out.make_room(&self.parts, self.lines_per_frame));
        }
    }

    /// Sequence number and owed gap of a stream of the same name, if it is one of these.
    pub(super) fn state_of(&self, stream: &Stream) -> Option<(u64, u64)> {
        self.outs.iter().find_map(|out| out.state_of(stream))
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
            out.owe(context.gap_traces, context.flags);
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
            let source = Source { parts: &self.parts, transform, takes_memory: self.takes_memory, short };
            let mut is_shown = false;
            for out in &mut self.outs {
                is_shown |= out.add(&line, number, &source, tiles, self.lines_per_frame, context, egress);
            }
            shown += u64::from(is_shown);
        }
        self.has_lines |= shown > 0;
        shown
    }

    /// Whether a line has come.
    pub(super) const fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// Notes whether it is said that no line comes, and returns whether it was said before.
    pub(super) const fn say_silent(&mut self, silent: bool) -> bool {
        std::mem::replace(&mut self.silent_said, silent)
    }

    /// Whether clients' jobs show it, and no standing view.
    pub(super) fn is_of_jobs(&self) -> bool {
        self.streams().next().is_some_and(|stream| !stream.job.is_empty())
    }

    /// A new epoch counts its lines from the beginning.
    pub(super) fn show_all(&mut self) {
        self.from_line = 0;
        self.outs.iter_mut().for_each(StreamOut::begin_all);
    }

    /// Offers frames that are begun but not full.
    pub(super) fn flush(&mut self, egress: &Egress) {
        for out in &mut self.outs {
            out.flush(egress);
        }
    }
}
