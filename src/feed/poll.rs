//! Whole rows over all streams of a job, for clients that come again and again instead of holding a stream open.
//!
//! Rows are held for the first poll from [`Poll::begin`] on; without that, or when it was in vain, the first poll begins
//! with the newest row that all streams have or will have.
//! A row is the same line of every stream. It is given once, in order, when every stream has it, is past it, or has
//! ended. When a stream is past it (the line was dropped in front of the feed, or the buffer was too short for a
//! client that stayed away), the row comes without that stream's part rather than not at all.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Cursor, Extrema, Feed, FeedFrame, Look, Run, VALUE_BYTES};

/// The place up to which a job was read by polls.
pub struct Poll {
    feeds: Vec<Arc<Feed>>,
    /// None while nothing is held for a first poll.
    streams: Vec<Stream>,
    /// Whether there has been a poll.
    asked: bool,
    /// Whether the first row is known, and which it is.
    begun: bool,
    from: u64,
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
    /// Over all streams, from the beginning of the job to the last row that polls have given.
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
    /// Of a job that nobody has polled. `feeds` are its streams in order.
    pub fn new(feeds: &[Arc<Feed>]) -> Self {
        Self {
            feeds: feeds.to_vec(),
            streams: Vec::new(),
            asked: false,
            begun: false,
            from: 0,
            extrema: Extrema::default(),
        }
    }

    /// From now on rows are held for the first poll.
    pub fn begin(&mut self) {
        if self.streams.is_empty() {
            self.streams = self.feeds.iter().map(Stream::new).collect();
        }
    }

    /// Whether there has been a poll.
    pub const fn is_asked(&self) -> bool {
        self.asked
    }

    /// The next rows: at most `count`, and no more than are held in `bytes` of memory, but one in any case.
    pub fn take(&mut self, count: usize, bytes: usize) -> Polled {
        self.begin();
        self.asked = true;
        let (mut rows, mut held) = (Vec::new(), 0);
        while rows.len() < count && (held < bytes || rows.is_empty()) {
            match self.row() {
                Some(row) => {
                    held += row.bytes();
                    rows.push(row);
                }
                None => break,
            }
        }
        let ended = rows.is_empty() && self.streams.iter().all(|stream| stream.ended);
        let lines_lost = self.streams.iter_mut().map(|stream| std::mem::take(&mut stream.lines_lost)).max();
        Polled { rows, extrema: self.extrema, lines_lost: lines_lost.unwrap_or(0), ended }
    }

    /// Nothing is held for polls until the next one, which is told what it lost since the one before.
    pub fn release(&mut self) {
        if !self.asked {
            self.streams.clear();
        }
        self.streams.iter_mut().for_each(|stream| stream.cursor.release());
    }

    fn row(&mut self) -> Option<Row> {
        if !self.fill() {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            // The first poll may come between the same line of two streams: it begins with the later one.
            self.from = self.streams.iter().filter_map(|stream| stream.head.as_ref().map(Part::row)).max()?;
            if !self.fill() {
                return None;
            }
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

    /// Whether every stream has its next line, or none any more.
    fn fill(&mut self) -> bool {
        let mut complete = true;
        for stream in &mut self.streams {
            stream.fill(self.from);
            complete &= stream.head.is_some() || stream.ended;
        }
        complete
    }
}

impl Stream {
    fn new(feed: &Arc<Feed>) -> Self {
        Self { cursor: Cursor::new(Arc::clone(feed)), head: None, ended: false, lines_lost: 0 }
    }

    /// Finds the next line whose row is `from` or later.
    fn fill(&mut self, from: u64) {
        loop {
            match &self.head {
                Some(head) if head.row() >= from => return,
                Some(head) => self.head = head.next(),
                None => match self.cursor.look(|_, _| false) {
                    Look::Run(Run { lines_lost, mut frames }) => {
                        self.lines_lost += lines_lost;
                        self.head = frames.pop().map(|frame| Part { frame, line: 0 });
                    }
                    Look::Nothing => return,
                    Look::End => {
                        self.ended = true;
                        return;
                    }
                },
            }
        }
    }

    /// The line with this number, when it is the next one.
    fn take(&mut self, row: u64) -> Option<Part> {
        let part = self.head.take_if(|head| head.row() == row)?;
        self.head = part.next();
        Some(part)
    }
}

impl Row {
    /// Beginning and end in ms since 1970; the end is behind the beginning, however short the line.
    pub fn times_ms(&self) -> (i64, i64) {
        let start_ms = self.start_ns.div_euclid(1_000_000);
        (start_ms, self.end_ns.div_euclid(1_000_000).max(start_ms.saturating_add(1)))
    }

    /// Memory of what it shows, as if nobody else held it.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.frame.line_len() * VALUE_BYTES).sum()
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

    fn next(&self) -> Option<Self> {
        let line = self.line + 1;
        (line < self.frame.lines()).then(|| Self { frame: Arc::clone(&self.frame), line })
    }
}
