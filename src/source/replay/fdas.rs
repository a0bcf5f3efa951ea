//! Reads our own captures (`CAPTURE.md`). Opening walks over the chunk heads ([`walk`](super::fdas_walk)); samples are
//! checked when they are read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::capture::{Capture, Rows, RowsError, io_error, unusable};
use super::fdas_walk::{Located, Walk};
use super::format::{decode_header, header_len};
use crate::acquisition::Acquisition;
use crate::source::SourceError;

struct FdasRows {
    path: PathBuf,
    file: File,
    chunks: Vec<Located>,
    row_bytes: usize,
    cut_off: u64,
    /// The chunk that `payload` holds, once it has passed its checksum.
    loaded: Option<usize>,
    payload: Vec<u8>,
}

/// Opens a capture of our own.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let (mut acquisition, first_trace, header_bytes) = read_header(path, &file, size)?;
    let row_bytes = acquisition.channels * acquisition.sample_format.bytes();
    let walk = Walk::new(&acquisition, first_trace, header_bytes).over(path, &file, size)?;
    if walk.first_trace != Some(0) {
        // Recording began within an acquisition: traces are numbered anew, so the epoch must be another one.
        acquisition.epoch = 0;
    }
    Ok(Capture {
        piece: String::new(),
        further: Vec::new(),
        format: "fiberd capture, version 1".into(),
        acquisition,
        total_rows: walk.rows,
        anchors: walk.anchors,
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
            cut_off: walk.cut_off,
            loaded: None,
            payload: Vec::new(),
        }),
    })
}

fn read_header(path: &Path, file: &File, size: u64) -> Result<(Acquisition, Option<u64>, u64), SourceError> {
    let mut start = [0; 16];
    file.read_exact_at(&mut start, 0).map_err(|e| io_error(path, "read the header", e))?;
    let len = header_len(&start).map_err(|why| unusable(path, why))?;
    if len as u64 > size {
        return Err(unusable(path, format!("the file ends within its header: {size} bytes of {len}")));
    }
    let mut header = vec![0; len];
    file.read_exact_at(&mut header, 0).map_err(|e| io_error(path, "read the header", e))?;
    let (acquisition, first_trace) = decode_header(&header).map_err(|why| unusable(path, why))?;
    Ok((acquisition, first_trace, len as u64))
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
        let &Located { row, traces, samples } = &self.chunks[index];
        self.loaded = None;
        let damaged = |why: String| Err(RowsError::Damaged { good_from: row + traces, why });
        let Some((at, bytes, crc)) = samples else {
            return damaged(format!("{traces} traces were in a damaged part of the file"));
        };
        self.payload.resize(bytes as usize, 0);
        self.file.read_exact_at(&mut self.payload, at).map_err(|e| io_error(&self.path, "read samples", e))?;
        if crc32fast::hash(&self.payload) != crc {
            return damaged(format!("checksum of the {traces} traces at byte {at} is wrong"));
        }
        self.loaded = Some(index);
        Ok(())
    }
}

impl Rows for FdasRows {
    fn cut_off(&self) -> u64 {
        self.cut_off
    }

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
            row = self.chunks[index].row + self.chunks[index].traces;
        }
        Ok(())
    }
}
