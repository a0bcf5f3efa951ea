//! A ZIP archive without compression, of any size, written from front to back: what NumPy calls `.npz`.
//!
//! Every file has the fields of ZIP64, as NumPy writes them, so that none is limited to 4 GB. The checksum is worked out as
//! bytes come; sizes and checksum in front of a file are filled in when it has ended.

use super::ExportError;
use super::draft::{Draft, Finished};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// "See the extra field."
const ELSEWHERE: u32 = u32::MAX;
/// 1 January 1980: the time that says nothing, so that the same capture gives the same archive.
const DATE: u16 = 0x21;
const VERSION: u16 = 45;

pub(super) struct Archive {
    draft: Draft,
    entries: Vec<Entry>,
    open: Option<Open>,
}

struct Entry {
    name: String,
    /// Byte of its local header.
    at: u64,
    size: u64,
    crc: u32,
}

struct Open {
    name: String,
    at: u64,
    /// Byte of its first.
    data_at: u64,
    crc: crc32fast::Hasher,
    /// The first bytes as they came: they may be replaced at the end.
    first: Vec<u8>,
}

/// The first bytes of a file that [`Archive::end`] may replace.
const REPLACEABLE: usize = 128;

fn local_header(name: &str, size: u64, crc: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(LOCAL.to_le_bytes());
    for value in [VERSION, 0, 0, 0, DATE] {
        out.extend(value.to_le_bytes());
    }
    for value in [crc, ELSEWHERE, ELSEWHERE] {
        out.extend(value.to_le_bytes());
    }
    for value in [name.len() as u16, 20] {
        out.extend(value.to_le_bytes());
    }
    out.extend(name.as_bytes());
    for value in [1u16, 16] {
        out.extend(value.to_le_bytes());
    }
    for value in [size, size] {
        out.extend(value.to_le_bytes());
    }
    out
}

impl Archive {
    pub(super) fn new(draft: Draft) -> Self {
        Self { draft, entries: Vec::new(), open: None }
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), ExportError> {
        let at = self.draft.len();
        self.draft.put(&local_header(name, 0, 0))?;
        let data_at = self.draft.len();
        self.open = Some(Open { name: name.into(), at, data_at, crc: crc32fast::Hasher::new(), first: Vec::new() });
        Ok(())
    }

    /// Appends to it.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        if let Some(open) = &mut self.open {
            let kept = bytes.len().min(REPLACEABLE - open.first.len());
            open.first.extend_from_slice(&bytes[..kept]);
            open.crc.update(&bytes[kept..]);
        }
        self.draft.put(bytes)
    }

    /// Ends it. `header`, of at most [`REPLACEABLE`] bytes, takes the place of its first ones.
    pub(super) fn end(&mut self, header: &[u8]) -> Result<(), ExportError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let replaced = header.len().min(open.first.len());
        open.first[..replaced].copy_from_slice(&header[..replaced]);
        self.draft.put_at(open.data_at, &header[..replaced])?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&open.first);
        crc.combine(&open.crc);
        let (size, crc) = (self.draft.len() - open.data_at, crc.finalize());
        self.draft.put_at(open.at, &local_header(&open.name, size, crc))?;
        self.entries.push(Entry { name: open.name, at: open.at, size, crc });
        Ok(())
    }

    /// Writes the directory.
    pub(super) fn finish(mut self) -> Result<Finished, ExportError> {
        let directory_at = self.draft.len();
        for entry in &self.entries {
            let mut out = Vec::new();
            out.extend(CENTRAL.to_le_bytes());
            for value in [VERSION, VERSION, 0, 0, 0, DATE] {
                out.extend(value.to_le_bytes());
            }
            for value in [entry.crc, ELSEWHERE, ELSEWHERE] {
                out.extend(value.to_le_bytes());
            }
            for value in [entry.name.len() as u16, 28, 0, 0, 0] {
                out.extend(value.to_le_bytes());
            }
            for value in [0, ELSEWHERE] {
                out.extend(value.to_le_bytes());
            }
            out.extend(entry.name.as_bytes());
            for value in [1u16, 24] {
                out.extend(value.to_le_bytes());
            }
            for value in [entry.size, entry.size, entry.at] {
                out.extend(value.to_le_bytes());
            }
            self.draft.put(&out)?;
        }
        let (end_at, count) = (self.draft.len(), self.entries.len() as u64);
        let mut out = Vec::new();
        out.extend(END64.to_le_bytes());
        out.extend(44u64.to_le_bytes());
        for value in [VERSION, VERSION] {
            out.extend(value.to_le_bytes());
        }
        for value in [0u32, 0] {
            out.extend(value.to_le_bytes());
        }
        for value in [count, count, end_at - directory_at, directory_at] {
            out.extend(value.to_le_bytes());
        }
        for value in [LOCATOR64, 0] {
            out.extend(value.to_le_bytes());
        }
        out.extend(end_at.to_le_bytes());
        for value in [1u32, END] {
            out.extend(value.to_le_bytes());
        }
        for value in [0, 0, count as u16, count as u16] {
            out.extend(value.to_le_bytes());
        }
        for value in [ELSEWHERE, ELSEWHERE] {
            out.extend(value.to_le_bytes());
        }
        out.extend(0u16.to_le_bytes());
        self.draft.put(&out)?;
        self.draft.finish()
    }
}
