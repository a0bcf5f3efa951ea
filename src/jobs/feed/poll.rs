//! Whole rows over all streams of a job, for clients that come again and again instead of holding a stream open.
//!
//! A row is the same line of every stream. It is given once, in order, when every stream has it, is past it, or has
//! ended. When a stream is past it (the line was dropped in front of the feed, or the buffer was too short for a
//! client that stayed away), the row comes without that stream's part rather than not at all.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Cursor, Extrema, Feed, FeedFrame, Look, Run};

/// The place up to which a job was read by polls.
pub struct Poll {
    streams: Vec<Stream>,
    extrema: Extrema,
}

struct Stream {
    cursor: Cursor,
    head: Option<Part>,
    ended: bool,
    lines_lost: u64,
}

/// What a poll gave.
#[derive(Debug)]
pub struct Polled {
    /// The next rows.
    pub rows: Vec<Row>,
    /// Over all streams and all rows that polls have given so far.
    pub extrema: Extrema,
    /// Lines that a stream dropped since the poll before because nobody came for them; of the stream that dropped most.
    pub lines_lost: u64,
    /// The job has ended, and everything had been read before this poll.
    pub ended: bool,
}

/// The same line of all streams.
#[derive(Debug)]
pub struct Row {
    /// Its number.
    pub row: u64,
    /// UTC of its beginning, ns since 1970.
    pub start_ns: i64,
    /// UTC of its end.
    pub end_ns: i64,
    /// What each stream has of it, in the order of streams; at least one.
    pub parts: Vec<Part>,
}

/// A line of one stream.
#[derive(Clone, Debug)]
pub struct Part {
    /// The frame that holds it.
    pub frame: Arc<FeedFrame>,
    /// Its place there.
    pub line: usize,
}

impl Poll {
    /// Begins with the oldest rows that are in `feeds`, the streams of one job in order.
    pub fn new(feeds: &[Arc<Feed>]) -> Self {
        let stream = |feed: &Arc<Feed>| Stream {
            cursor: Cursor::new(Arc::clone(feed)),
            head: None,
            ended: false,
            lines_lost: 0,
        };
        Self { streams: feeds.iter().map(stream).collect(), extrema: Extrema::default() }
    }

    /// The next rows, at most `count`.
    pub fn take(&mut self, count: usize) -> Polled {
        let mut rows = Vec::new();
        while rows.len() < count {
            match self.row() {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        let ended = rows.is_empty() && self.streams.iter().all(|stream| stream.ended);
        let lines_lost = self.streams.iter_mut().map(|stream| std::mem::take(&mut stream.lines_lost)).max();
        Polled { rows, extrema: self.extrema, lines_lost: lines_lost.unwrap_or(0), ended }
    }

    fn row(&mut self) -> Option<Row> {
        let mut complete = true;
        for stream in &mut self.streams {
            stream.fill();
            complete &= stream.head.is_some() || stream.ended;
        }
        if !complete {
            return None;
        }
        let row = self.streams.iter().filter_map(|stream| stream.head.as_ref().map(Part::row)).min()?;
        let parts: Vec<_> = self.streams.iter_mut().filter_map(|stream| stream.take(row)).collect();
        for part in &parts {
            self.extrema = self.extrema.with(part.frame.extrema());
        }
        let first = parts.first()?;
        let (start_ns, end_ns) = first.frame.times_ns(first.line);
        Some(Row { row, start_ns, end_ns, parts })
    }
}

impl Stream {
    fn fill(&mut self) {
        if self.head.is_some() {
            return;
        }
        match self.cursor.look(|_, _| false) {
            Look::Run(Run { lines_lost, mut frames }) => {
                self.lines_lost += lines_lost;
                self.head = frames.pop().map(|frame| Part { frame, line: 0 });
            }
            Look::Nothing => {}
            Look::End => self.ended = true,
        }
    }

    /// The line with this number, when it is the next one.
    fn take(&mut self, row: u64) -> Option<Part> {
        let part = self.head.take_if(|head| head.row() == row)?;
        if part.line + 1 < part.frame.lines() {
            self.head = Some(Part { frame: Arc::clone(&part.frame), line: part.line + 1 });
        }
        Some(part)
    }
}

impl Row {
    /// Beginning and end in ms since 1970; the end is behind the beginning, however short the line.
    pub fn times_ms(&self) -> (i64, i64) {
        let start_ms = self.start_ns.div_euclid(1_000_000);
        (start_ms, self.end_ns.div_euclid(1_000_000).max(start_ms.saturating_add(1)))
    }

    /// Each channel of the row, counted from 1, with its values, one a frequency.
    pub fn for_each_channel(&self, mut visit: impl FnMut(usize, &[f32])) {
        for part in &self.parts {
            let axis = part.frame.frame().stream.channels;
            let values = part.values();
            let bins = (values.len() / axis.count.max(1)).max(1);
            for (i, values) in values.chunks_exact(bins).enumerate() {
                visit(axis.start + 1 + i * axis.step, values);
            }
        }
    }
}

impl Part {
    /// The number of its row.
    pub fn row(&self) -> u64 {
        self.frame.row().saturating_add(self.line as u64)
    }

    /// Its values in C order `(channel, bin)`.
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.frame.values(self.line)
    }
}
