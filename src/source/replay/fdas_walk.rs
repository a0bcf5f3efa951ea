//! The walk over the chunk heads of a capture of our own: where chunks are, which trace each begins with, and what was lost
//! to damage.
//!
//! ```text
//! header │ head samples │ head samples │ ▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │ head samples │ end mark
//!                                        damaged: looked for the next head from mark to mark of 64 bytes
//! ```
//! Each head says which trace it begins with, so what lies between two good ones is known exactly. Traces that the damaged
//! bytes held become rows that cannot be read; whoever plays the file makes a gap of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::capture::{Anchor, io_error, unusable};
use super::format::{ALIGN, CHUNK_HEAD, Chunk, End, Head, MAX_PAYLOAD, decode_head, padded};
use crate::acquisition::Acquisition;
use crate::block::InstrumentState;
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Damaged places that are noted each.
const MOST_NOTES: usize = 10;
/// Bytes that are searched at once.
const SEARCHED_BYTES: usize = 1 << 20;
/// The same, at first.
const FIRST_SEARCHED_BYTES: usize = 4096;

/// Rows that belong together, and where they are.
pub(super) struct Located {
    /// Row of the file at which they begin.
    pub(super) row: u64,
    pub(super) traces: u64,
    /// Byte of the samples, their length in bytes and their checksum; `None` where they were lost to damage.
    pub(super) samples: Option<(u64, u32, u32)>,
}

/// What a walk has found so far.
pub(super) struct Walk {
    prr: Rational,
    row_bytes: usize,
    header_bytes: u64,
    /// The trace with which the recording begins, by its header; older ones do not tell it.
    declared_first: Option<u64>,
    /// The same, once it is known.
    pub(super) first_trace: Option<u64>,
    pub(super) chunks: Vec<Located>,
    /// Times; without those that are only counted on.
    pub(super) anchors: Vec<Anchor>,
    pub(super) rows: u64,
    /// Traces behind the last row that are lost with the end of the file, by the head of the chunk that was cut off.
    pub(super) cut_off: u64,
    pub(super) notes: Vec<Finding>,
    /// Behind the last trace.
    next_trace: u64,
    /// What was counted, to be compared with the end mark.
    counted: End,
    /// Damaged bytes since the last good chunk.
    damaged_bytes: u64,
    /// Damaged places.
    damages: usize,
}

impl Walk {
    pub(super) fn new(acquisition: &Acquisition, declared_first: Option<u64>, header_bytes: u64) -> Self {
        Self {
            prr: acquisition.prr,
            row_bytes: acquisition.channels * acquisition.sample_format.bytes(),
            header_bytes,
            declared_first,
            first_trace: None,
            chunks: Vec::new(),
            anchors: Vec::new(),
            rows: 0,
            cut_off: 0,
            notes: Vec::new(),
            next_trace: 0,
            counted: End::default(),
            damaged_bytes: 0,
            damages: 0,
        }
    }

    /// Walks over a file of `size` bytes.
    pub(super) fn over(mut self, path: &Path, file: &File, size: u64) -> Result<Self, SourceError> {
        let mut at = self.header_bytes;
        while at < size {
            let mut head = [0; CHUNK_HEAD];
            if size - at < CHUNK_HEAD as u64 {
                // Nothing says that a trace is lost: who records writes a head before its samples.
                self.notes.push(Finding::warning(format!("cut off within the head of a chunk at byte {at}")));
                break;
            }
            file.read_exact_at(&mut head, at).map_err(|e| io_error(path, "read a chunk's head", e))?;
            match decode_head(&head) {
                Some(Head::Chunk(chunk)) if self.follows(&chunk) => {
                    self.check(path, at, &chunk)?;
                    let (samples_at, payload) = (at + CHUNK_HEAD as u64, chunk.payload_bytes as usize);
                    if size - samples_at < payload as u64 {
                        let lost = chunk.traces;
                        self.cut_off = chunk.first_trace.saturating_add(lost.into()).saturating_sub(self.next_trace);
                        self.notes.push(Finding::warning(format!(
                            "cut off within the chunk at byte {at}: its {lost} traces are lost"
                        )));
                        break;
                    }
                    self.add(&chunk, samples_at);
                    at = samples_at + padded(payload) as u64;
                }
                Some(Head::End(end)) => {
                    self.end(&end);
                    self.note_damages();
                    return Ok(self);
                }
                _ => {
                    let next = self.search(path, file, (at, size))?;
                    if self.damages < MOST_NOTES {
                        self.notes.push(Finding::damaged(format!("damaged from byte {at} to byte {next}")));
                    }
                    self.damages += 1;
                    self.damaged_bytes += next - at;
                    at = next;
                }
            }
        }
        self.notes.push(Finding::warning("no end mark: the recording was not finished in order"));
        self.note_damages();
        Ok(self)
    }

    fn note_damages(&mut self) {
        if self.damages > MOST_NOTES {
            self.notes.push(Finding::damaged(format!("damaged at {} places in all", self.damages)));
        }
    }

    /// Whether a chunk begins behind all traces that were there before.
    const fn follows(&self, chunk: &Chunk) -> bool {
        self.first_trace.is_none() || chunk.first_trace >= self.next_trace
    }

    /// Whether the length of its samples is that of its traces.
    fn makes_sense(&self, chunk: &Chunk) -> bool {
        let payload = chunk.payload_bytes as usize;
        chunk.traces > 0
            && payload <= MAX_PAYLOAD
            && (chunk.traces as usize).checked_mul(self.row_bytes) == Some(payload)
    }

    fn check(&self, path: &Path, at: u64, chunk: &Chunk) -> Result<(), SourceError> {
        if self.makes_sense(chunk) {
            return Ok(());
        }
        let (traces, payload) = (chunk.traces, chunk.payload_bytes);
        Err(unusable(path, format!("the chunk at byte {at} says {traces} traces in {payload} bytes of samples")))
    }

    /// The next byte behind `at` where a head stands that can be one of this file, or the file's end.
    fn search(&self, path: &Path, file: &File, (at, size): (u64, u64)) -> Result<u64, SourceError> {
        // The next head is near as a rule; where damage is long, more is read at once.
        let (mut bytes, mut window) = (Vec::new(), FIRST_SEARCHED_BYTES);
        let mut from = at + ALIGN as u64;
        while size.saturating_sub(from) >= CHUNK_HEAD as u64 {
            let len = usize::try_from(size - from).unwrap_or(usize::MAX).min(window) / ALIGN * ALIGN;
            window = (2 * window).min(SEARCHED_BYTES);
            bytes.resize(len, 0);
            file.read_exact_at(&mut bytes, from).map_err(|e| io_error(path, "look for a chunk", e))?;
            let (heads, _) = bytes.as_chunks::<CHUNK_HEAD>();
            let found = heads.iter().position(|head| match decode_head(head) {
                Some(Head::Chunk(chunk)) => self.follows(&chunk) && self.makes_sense(&chunk),
                Some(Head::End(_)) => true,
                None => false,
            });
            if let Some(number) = found {
                return Ok(from + (number * ALIGN) as u64);
            }
            from += len as u64;
        }
        Ok(size)
    }

    /// A whole chunk, whose samples begin at a byte.
    fn add(&mut self, chunk: &Chunk, samples_at: u64) {
        let (first, mut gap) = (chunk.first_trace, 0);
        match self.first_trace {
            Some(_) => gap = first - self.next_trace,
            // Nothing was lost, whatever the header says.
            None if self.damaged_bytes == 0 => self.first_trace = Some(first),
            None => {
                // Where it is not told, so many traces are lost as the damaged bytes can have held.
                let held = self.damaged_bytes / self.row_bytes.max(1) as u64;
                let begins = self
                    .declared_first
                    .unwrap_or(first.saturating_sub(chunk.gap_before).saturating_sub(held))
                    .min(first);
                self.first_trace = Some(begins);
                gap = first - begins;
            }
        }
        let lost = self.lose(gap, chunk.gap_before, chunk.utc_ns);
        let gap = gap - lost;
        self.counted.chunks += 1;
        self.counted.traces += u64::from(chunk.traces);
        self.counted.gap_traces = self.counted.gap_traces.saturating_add(gap);
        let anchor = Anchor {
            row: self.rows,
            utc_ns: chunk.utc_ns,
            gap_before: Some(gap),
            is_stamped: chunk.is_stamped,
            state: chunk.state,
        };
        if !self.is_no_news(&anchor) {
            self.anchors.push(anchor);
        }
        let samples = Some((samples_at, chunk.payload_bytes, chunk.payload_crc));
        self.push(u64::from(chunk.traces), samples);
        self.next_trace = first.saturating_add(u64::from(chunk.traces));
    }

    /// Whether an anchor is what follows from the one before: chunks that only count on lie on one straight line. The whole
    /// nanoseconds of a chunk may be rounded from another one than the anchor that is kept.
    fn is_no_news(&self, anchor: &Anchor) -> bool {
        let counted_on = |last: &Anchor| last.utc_ns.saturating_add(self.prr.traces_to_ns(anchor.row - last.row));
        let follows = |last: &Anchor| last.state == anchor.state && counted_on(last).abs_diff(anchor.utc_ns) <= 1;
        !anchor.is_stamped && anchor.gap_before == Some(0) && self.anchors.last().is_some_and(follows)
    }

    /// Of `missing` traces before a good chunk, those that damaged bytes can have held become rows that cannot be read. At
    /// least `gap` were never recorded. Says how many they are.
    fn lose(&mut self, missing: u64, gap: u64, until_ns: i64) -> u64 {
        let held = std::mem::take(&mut self.damaged_bytes) / self.row_bytes.max(1) as u64;
        let lost = missing.saturating_sub(gap).min(held);
        if lost == 0 {
            return 0;
        }
        let before = self.anchors.last();
        let utc_ns = before.map_or_else(
            || until_ns.saturating_sub(self.prr.traces_to_ns(missing)),
            |last| last.utc_ns.saturating_add(self.prr.traces_to_ns(self.rows - last.row)),
        );
        let anchor = Anchor {
            row: self.rows,
            utc_ns,
            gap_before: Some(0),
            is_stamped: false,
            state: InstrumentState::default(),
        };
        self.anchors.push(anchor);
        self.push(lost, None);
        lost
    }

    fn push(&mut self, traces: u64, samples: Option<(u64, u32, u32)>) {
        self.chunks.push(Located { row: self.rows, traces, samples });
        self.rows = self.rows.saturating_add(traces);
    }

    /// The end mark tells what should have been there.
    fn end(&mut self, end: &End) {
        let counted = self.counted;
        if *end == counted {
            return;
        }
        // What is missing of the whole, and not between two good chunks, was lost at the end.
        let told = end.traces.saturating_add(end.gap_traces);
        let seen = self.first_trace.map_or(0, |first| self.next_trace - first);
        let missing = told.saturating_sub(seen);
        // Without a good chunk nothing is known of times.
        let lost = if self.first_trace.is_some() { self.lose(missing, 0, 0) } else { 0 };
        if let Some(anchor) = self.anchors.last_mut().filter(|_| lost > 0) {
            // No chunk comes that could tell of these.
            anchor.gap_before = Some(missing - lost);
        }
        let &End { chunks, traces, gap_traces } = end;
        self.notes.push(Finding::damaged(format!(
            "the end mark counts {chunks} chunks with {traces} traces and {gap_traces} missing; {} chunks with {} traces \
             and {} missing are there, {lost} more were lost at the end",
            counted.chunks, counted.traces, counted.gap_traces
        )));
    }
}
