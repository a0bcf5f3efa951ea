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
}

impl Recording {
    /// Begins the file.
    pub(super) fn create(part: Part, acquisition: &Acquisition, first_trace: u64) -> Result<Self, SourceError> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, part.file()?);
        let mut file = Self { part, out, written: End::default(), next_trace: 0 };
        file.put(&format::encode_header(acquisition, first_trace))?;
        Ok(file)
    }

    /// Appends a block, a chunk for each of its spans, so that every stamp is kept; says how many traces are missing before
    /// it, and how many bytes were written. `samples` is scratch.
    pub(super) fn block(&mut self, block: &RawBlock, samples: &mut Vec<u8>) -> Result<(u64, u64), SourceError> {
        let (mut gap, mut bytes) = (0, 0);
        // Where the first span has no stamp, it is counted on from one in the block before.
        let mut stamp = (0, block.utc_ns);
        for (mark, rows) in block.spans() {
            if let Some(utc_ns) = mark.stamp_ns {
                stamp = (rows.start, utc_ns);
            }
            let since = block.acquisition.prr.traces_to_ns((rows.start - stamp.0) as u64);
            gap += self.chunk(block, rows, (stamp.1.saturating_add(since), mark), samples)?;
            bytes += (format::CHUNK_HEAD + samples.len()) as u64;
        }
        Ok((gap, bytes))
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
