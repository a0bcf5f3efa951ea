//! A recording in our own format (`source/replay/CAPTURE.md`), written from front to back.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;

use super::part::Part;
use crate::acquisition::Acquisition;
use crate::block::{Mark, RawBlock};
use crate::source::SourceError;
use crate::source::replay::format::{self, Chunk, End};

/// Bytes gathered before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// A file being written.
pub(super) struct Recording {
    part: Part,
    out: BufWriter<File>,
    written: End,
    /// Index behind the last trace written.
    next_trace: u64,
    /// Trace and time from which times are counted on: the last stamp.
    stamp: Option<(u64, i64)>,
}

impl Recording {
    /// Begins the file.
    pub(super) fn create(part: Part, acquisition: &Acquisition, first_trace: u64) -> Result<Self, SourceError> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, part.file()?);
        let mut file = Self { part, out, written: End::default(), next_trace: 0, stamp: None };
        file.put(&format::encode_header(acquisition, first_trace))?;
        Ok(file)
    }

    /// Appends a block, a chunk for each of its spans, so that every stamp is kept; says how many traces are missing before
    /// it, and how many bytes were written. `samples` is scratch.
    pub(super) fn block(&mut self, block: &RawBlock, samples: &mut Vec<u8>) -> Result<(u64, u64), SourceError> {
        let (mut gap, mut bytes) = (0, 0);
        for (mark, rows) in block.spans() {
            let utc_ns = self.utc_ns(block, rows.start, mark.stamp_ns);
            gap += self.chunk(block, rows, (utc_ns, mark), samples)?;
            bytes += (format::CHUNK_HEAD + samples.len()) as u64;
        }
        Ok((gap, bytes))
    }

    /// UTC of a row: its stamp, or counted on from the last one in the file. A block's own time may be that of a stamp which
    /// nobody was told, as it said nothing new; it is taken where nothing came directly before.
    fn utc_ns(&mut self, block: &RawBlock, row: usize, stamp_ns: Option<i64>) -> i64 {
        let (prr, trace) = (block.acquisition.prr, block.first_trace.0 + row as u64);
        let of_block = || block.utc_ns.saturating_add(prr.traces_to_ns(row as u64));
        let follows = self.stamp.filter(|_| stamp_ns.is_none() && trace == self.next_trace);
        let (at, utc_ns) = follows.unwrap_or_else(|| (trace, stamp_ns.unwrap_or_else(of_block)));
        self.stamp = Some((at, utc_ns));
        utc_ns.saturating_add(prr.traces_to_ns(trace - at))
    }

    fn chunk(
        &mut self,
        block: &RawBlock,
        rows: Range<usize>,
        (utc_ns, mark): (i64, Mark),
        samples: &mut Vec<u8>,
    ) -> Result<u64, SourceError> {
        samples.clear();
        for row in rows.clone() {
            samples.extend_from_slice(block.row(row));
        }
        let (first_trace, traces) = (block.first_trace.0 + rows.start as u64, rows.len());
        let first = self.written.chunks == 0;
        let gap_before = if first { 0 } else { first_trace.saturating_sub(self.next_trace) };
        let payload_bytes = samples.len();
        if payload_bytes > format::MAX_PAYLOAD {
            let why = format!("a block of {payload_bytes} bytes; chunks have {} at most", format::MAX_PAYLOAD);
            return Err(SourceError::Unusable { what: self.part.what(), why });
        }
        let chunk = Chunk {
            first_trace,
            traces: traces as u32,
            utc_ns,
            gap_before,
            payload_bytes: payload_bytes as u32,
            payload_crc: crc32fast::hash(samples),
            is_stamped: mark.stamp_ns.is_some(),
            state: mark.state,
        };
        samples.resize(format::padded(payload_bytes), 0);
        self.put(&format::encode_chunk(&chunk))?;
        self.put(samples)?;
        self.next_trace = first_trace + traces as u64;
        self.written.chunks += 1;
        self.written.traces += traces as u64;
        self.written.gap_traces += gap_before;
        Ok(gap_before)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.out.write_all(bytes).map_err(self.part.error("write"))
    }

    pub(super) fn flush(&mut self) -> Result<(), SourceError> {
        self.out.flush().map_err(self.part.error("write"))
    }

    /// Ends the file: end mark, sync, name.
    pub(super) fn finish(mut self) -> Result<PathBuf, SourceError> {
        self.put(&format::encode_end(&self.written))?;
        self.flush()?;
        self.out.get_ref().sync_all().map_err(self.part.error("sync"))?;
        self.part.publish().map_err(self.part.error("rename"))?;
        Ok(self.part.named())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::acquisition::SampleFormat;
    use crate::block::{BlockLayout, InstrumentState};
    use crate::source::replay::format::{Head, decode_head};
    use crate::units::Rational;

    /// Slots of 20 ms whose stamps scatter; every third one is told, as a ring does it, and blocks begin at any of them.
    #[test]
    fn chunks_without_a_stamp_lie_on_one_line_with_the_last_one() {
        let prr = Rational::new(16089, 5).unwrap();
        let acquisition = Arc::new(Acquisition { channels: 1, prr, ..Acquisition::example() });
        let (slot, slots_a_block) = (64, 4);
        let utc_ns =
            |trace: u64| 1_790_000_000_000_000_000 + (trace as f64 * 310_772.6) as i64 + (trace * 7919 % 601) as i64;
        let folder = tempfile::tempdir().unwrap();
        let part = Part::create(&folder.path().join("a.fdas")).unwrap();
        let mut file = Recording::create(part, &acquisition, 0).unwrap();
        let traces = slot * slots_a_block;
        let layout = BlockLayout { channels: 1, format: SampleFormat::I16, capacity_traces: traces };
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        let (mut first, mut samples) = (0u64, Vec::new());
        for number in 0..30u64 {
            block.clear(&acquisition);
            first += if number == 20 { 777 } else { 0 };
            (block.first_trace.0, block.traces, block.utc_ns) = (first, traces, utc_ns(first));
            for of_block in 0..slots_a_block {
                let row = of_block * slot;
                let told = (number as usize * slots_a_block + of_block).is_multiple_of(3);
                if row == 0 || told {
                    block.mark(row, told.then(|| utc_ns(first + row as u64)), InstrumentState::default());
                }
            }
            file.block(&block, &mut samples).unwrap();
            first += traces as u64;
        }
        let bytes = std::fs::read(file.finish().unwrap()).unwrap();
        let heads = bytes.as_chunks::<{ format::CHUNK_HEAD }>().0.iter().filter_map(decode_head);
        let chunks: Vec<_> =
            heads.filter_map(|head| if let Head::Chunk(chunk) = head { Some(chunk) } else { None }).collect();
        let mut line = (0, 0);
        for chunk in &chunks {
            let counted_on = line.1 + prr.traces_to_ns(chunk.first_trace - line.0);
            if chunk.is_stamped || chunk.gap_before > 0 {
                assert_eq!(chunk.utc_ns, utc_ns(chunk.first_trace), "its own time");
                line = (chunk.first_trace, chunk.utc_ns);
            } else {
                assert_eq!(chunk.utc_ns, counted_on, "of trace {}", chunk.first_trace);
            }
        }
        assert_eq!(chunks.iter().filter(|chunk| chunk.is_stamped).count(), 40);
        assert!(chunks.len() > 50, "{}: some begin with a block", chunks.len());
    }
}
