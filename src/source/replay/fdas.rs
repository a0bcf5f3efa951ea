//! Reads our own captures (`CAPTURE.md`). Opening walks over the chunk heads; samples are checked when they are read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::capture::{Anchor, Capture, Rows, RowsError, io_error, unusable};
use super::format::{CHUNK_HEAD, Chunk, End, Head, MAX_PAYLOAD, decode_head, decode_header, header_len, padded};
use crate::acquisition::Acquisition;
use crate::source::{Finding, SourceError};

/// A chunk, and where it is.
struct Located {
    chunk: Chunk,
    /// Row of the file at which it begins.
    row: u64,
    /// Byte of its samples.
    at: u64,
}

/// What a walk over all heads finds.
struct Walk {
    chunks: Vec<Located>,
    rows: u64,
    notes: Vec<Finding>,
}

struct FdasRows {
    path: PathBuf,
    file: File,
    chunks: Vec<Located>,
    row_bytes: usize,
    /// The chunk that `payload` holds, once it has passed its checksum.
    loaded: Option<usize>,
    payload: Vec<u8>,
}

/// Opens a capture of our own.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let (mut acquisition, header_bytes) = read_header(path, &file, size)?;
    let row_bytes = acquisition.channels * acquisition.sample_format.bytes();
    let walk = walk(path, &file, size, header_bytes, row_bytes)?;
    let first = walk.chunks.first().map(|c| c.chunk);
    if first.is_some_and(|chunk| chunk.first_trace != 0) {
        // Recording began within an acquisition: traces are numbered anew, so the epoch must be another one.
        acquisition.epoch = 0;
    }
    let gap = |i: usize, chunk: &Chunk| if i == 0 { 0 } else { chunk.gap_before };
    let anchors = anchors(&walk.chunks, &acquisition, gap);
    Ok(Capture {
        format: "fiberd capture, version 1".into(),
        acquisition,
        total_rows: walk.rows,
        anchors,
        jitter_ns: 0,
        rate_is_measured: false,
        slab_rows: 1,
        notes: walk.notes,
        checksummed: true,
        rows: Box::new(FdasRows {
            path: path.to_owned(),
            file,
            chunks: walk.chunks,
            row_bytes,
            loaded: None,
            payload: Vec::new(),
        }),
    })
}

fn anchors(chunks: &[Located], acquisition: &Acquisition, gap: impl Fn(usize, &Chunk) -> u64) -> Vec<Anchor> {
    let mut anchors: Vec<Anchor> = Vec::new();
    for (i, Located { chunk, row, .. }) in chunks.iter().enumerate() {
        let gap_before = gap(i, chunk);
        // A time that is what the rate predicts says nothing new.
        let says_nothing_new = gap_before == 0
            && anchors.last().is_some_and(|last| {
                last.utc_ns.checked_add(acquisition.prr.traces_to_ns(row - last.row)) == Some(chunk.utc_ns)
            });
        if !says_nothing_new {
            anchors.push(Anchor { row: *row, utc_ns: chunk.utc_ns, gap_before: Some(gap_before) });
        }
    }
    anchors
}

fn read_header(path: &Path, file: &File, size: u64) -> Result<(Acquisition, u64), SourceError> {
    let mut start = [0; 16];
    file.read_exact_at(&mut start, 0).map_err(|e| io_error(path, "read the header", e))?;
    let len = header_len(&start).map_err(|why| unusable(path, why))?;
    if len as u64 > size {
        return Err(unusable(path, format!("the file ends within its header: {size} bytes of {len}")));
    }
    let mut header = vec![0; len];
    file.read_exact_at(&mut header, 0).map_err(|e| io_error(path, "read the header", e))?;
    let acquisition = decode_header(&header).map_err(|why| unusable(path, why))?;
    Ok((acquisition, len as u64))
}

fn walk(path: &Path, file: &File, size: u64, header_bytes: u64, row_bytes: usize) -> Result<Walk, SourceError> {
    let mut found = Walk { chunks: Vec::new(), rows: 0, notes: Vec::new() };
    let (mut at, mut end) = (header_bytes, None);
    while at < size {
        let mut head = [0; CHUNK_HEAD];
        if size - at < CHUNK_HEAD as u64 {
            found.notes.push(Finding::damaged(format!("cut off within the head of a chunk at byte {at}")));
            break;
        }
        file.read_exact_at(&mut head, at).map_err(|e| io_error(path, "read a chunk's head", e))?;
        let chunk = match decode_head(&head) {
            Some(Head::Chunk(chunk)) => chunk,
            Some(Head::End(mark)) => {
                end = Some(mark);
                break;
            }
            None => {
                found
                    .notes
                    .push(Finding::damaged(format!("wrong head of a chunk at byte {at}: what follows cannot be read")));
                break;
            }
        };
        let samples_at = at + CHUNK_HEAD as u64;
        let payload = chunk.payload_bytes as usize;
        if chunk.traces == 0 || payload > MAX_PAYLOAD || (chunk.traces as usize).checked_mul(row_bytes) != Some(payload)
        {
            return Err(unusable(
                path,
                format!("the chunk at byte {at} says {} traces in {payload} bytes of samples", chunk.traces),
            ));
        }
        if size - samples_at < payload as u64 {
            let why = format!("cut off within the chunk at byte {at}: its {} traces are lost", chunk.traces);
            found.notes.push(Finding::damaged(why));
            break;
        }
        found.chunks.push(Located { chunk, row: found.rows, at: samples_at });
        found.rows += u64::from(chunk.traces);
        at = samples_at + padded(payload) as u64;
    }
    check_end(&mut found, end);
    Ok(found)
}

fn check_end(found: &mut Walk, end: Option<End>) {
    let Some(end) = end else {
        found.notes.push(Finding::warning("no end mark: the recording was not finished in order"));
        return;
    };
    let gap_traces = found.chunks.iter().skip(1).fold(0u64, |sum, c| sum.saturating_add(c.chunk.gap_before));
    let counted = End { chunks: found.chunks.len() as u64, traces: found.rows, gap_traces };
    if end != counted {
        found.notes.push(Finding::damaged(format!(
            "the end mark counts {}, found were {}",
            words(end),
            words(counted)
        )));
    }
}

fn words(end: End) -> String {
    format!("{} traces in {} chunks and {} missing", end.traces, end.chunks, end.gap_traces)
}

impl FdasRows {
    /// The index of the chunk that holds `row`.
    fn chunk_of(&self, row: u64) -> usize {
        self.chunks.partition_point(|c| c.row <= row).saturating_sub(1)
    }

    fn load(&mut self, index: usize) -> Result<(), RowsError> {
        if self.loaded == Some(index) {
            return Ok(());
        }
        let Located { chunk, row, at } = &self.chunks[index];
        self.loaded = None;
        self.payload.resize(chunk.payload_bytes as usize, 0);
        self.file.read_exact_at(&mut self.payload, *at).map_err(|e| io_error(&self.path, "read samples", e))?;
        if crc32fast::hash(&self.payload) != chunk.payload_crc {
            let why = format!("checksum of the {} traces at byte {at} is wrong", chunk.traces);
            return Err(RowsError::Damaged { good_from: row + u64::from(chunk.traces), why });
        }
        self.loaded = Some(index);
        Ok(())
    }
}

impl Rows for FdasRows {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let wanted = rows * self.row_bytes;
        let mut row = first;
        while out.len() < wanted {
            let index = self.chunk_of(row);
            if let Err(fault) = self.load(index) {
                // What came before the damage is good: the caller gets it, and meets the damage at its first row.
                return match fault {
                    RowsError::Damaged { .. } if !out.is_empty() => Ok(()),
                    fault => Err(fault),
                };
            }
            let from = (row - self.chunks[index].row) as usize * self.row_bytes;
            let part = &self.payload[from..];
            out.extend_from_slice(&part[..part.len().min(wanted - out.len())]);
            row = self.chunks[index].row + u64::from(self.chunks[index].chunk.traces);
        }
        Ok(())
    }
}
