//! A file as the HDF5 library sees it, also while it is being written.
//!
//! A writer marks the file as open in its superblock, and the library then refuses it; a recorder that died leaves the mark
//! for ever. Here the mark is hidden from the library and told in a note: what has reached the file can be read.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{FormatError, Source};

use super::capture::io_error;
use crate::source::SourceError;

const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
/// Bytes of a superblock of version 3 at most: up to its checksum, with addresses of 8 bytes.
const SUPERBLOCK: usize = 48;

/// An open file. Clones are the same file.
#[derive(Clone)]
pub(super) struct FileSource {
    file: Arc<File>,
    bytes: u64,
    /// A superblock without the mark of a writer, and where it stands.
    unmarked: Option<(u64, Vec<u8>)>,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|error| io_error(path, "open", error))?;
        let bytes = file.metadata().map_err(|error| io_error(path, "stat", error))?.len();
        let unmarked = unmarked(&file, bytes);
        Ok(Self { file: Arc::new(file), bytes, unmarked })
    }

    /// The file.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Its length when it was opened.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the mark of a writer means.
    pub(super) fn in_use(&self) -> Option<&'static str> {
        self.unmarked.as_ref().map(|_| {
            "the file is marked as open for writing (it is being written, or its writer died): read as far as it goes"
        })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        self.file.read_exact_at(buf, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => FormatError::UnexpectedEof {
                expected: buf.len(),
                available: self.bytes.saturating_sub(offset) as usize,
            },
            _ => FormatError::Source(error.to_string()),
        })?;
        let Some((start, unmarked)) = &self.unmarked else { return Ok(()) };
        for (nth, byte) in unmarked.iter().enumerate() {
            let place = (start + nth as u64).checked_sub(offset).and_then(|at| buf.get_mut(at as usize));
            if let Some(place) = place {
                *place = *byte;
            }
        }
        Ok(())
    }
}

/// The superblock without the mark, when it has one. Versions before 3 have marks that nobody looks at.
fn unmarked(file: &File, bytes: u64) -> Option<(u64, Vec<u8>)> {
    let mut start = [0; SUPERBLOCK];
    // The superblock stands at the beginning or behind a user block, of which the length is a power of two.
    let at = std::iter::once(0)
        .chain((9..63).map(|power| 1 << power))
        .take_while(|at| *at < bytes)
        .find(|at| file.read_exact_at(&mut start, *at).is_ok() && start.starts_with(SIGNATURE))?;
    let (version, address_bytes, flags) = (start[8], usize::from(start[9]), start[11]);
    let end = 12 + 4 * address_bytes;
    if version < 3 || flags & 5 == 0 || end + 4 > SUPERBLOCK {
        return None;
    }
    let mut unmarked = start[..end].to_vec();
    unmarked[11] = 0;
    let sum = lookup3(&unmarked);
    // A superblock that is damaged stays so.
    let mut marked = unmarked.clone();
    marked[11] = flags;
    if start[end..end + 4] != lookup3(&marked).to_le_bytes() {
        return None;
    }
    unmarked.extend_from_slice(&sum.to_le_bytes());
    Some((at, unmarked))
}

/// The checksum of HDF5's metadata: lookup3 by Bob Jenkins, byte by byte.
fn lookup3(bytes: &[u8]) -> u32 {
    let begin = 0xDEAD_BEEF_u32.wrapping_add(bytes.len() as u32);
    let mut state = [begin; 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        let (part, after) = rest.split_at(12);
        add(&mut state, part);
        mix(&mut state);
        rest = after;
    }
    if !rest.is_empty() {
        add(&mut state, rest);
        last_mix(&mut state);
    }
    state[2]
}

fn add(state: &mut [u32; 3], part: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(part.chunks(4)) {
        let value = bytes.iter().rev().fold(0, |value: u32, byte| value << 8 | u32::from(*byte));
        *word = word.wrapping_add(value);
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    for turn in [4, 6, 8, 16, 19, 4] {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(turn);
        *c = c.wrapping_add(*b);
        (*a, *b, *c) = (*b, *c, *a);
    }
}

fn last_mix([a, b, c]: &mut [u32; 3]) {
    for turn in [14, 11, 25, 16, 4, 14, 24] {
        *c = (*c ^ *b).wrapping_sub(b.rotate_left(turn));
        (*a, *b, *c) = (*b, *c, *a);
    }
    (*a, *b, *c) = (*c, *a, *b);
}
