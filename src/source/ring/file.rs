//! Finding, mapping and watching the file or device behind a ring.
//!
//! The path is where a ring can be found; which ring it is, its inode tells. Nothing here looks at slots.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstatfs;

use super::abi::{HEADER_BYTES, Identity, MAGIC};
use super::header::{Geometry, MAX_RING_BYTES};
use super::memory::Memory;
use crate::acquisition::DarkReason;

/// `f_type` of hugetlbfs (linux/magic.h).
const HUGETLBFS: u64 = 0x9584_58f6;

/// Page size of the mapping that `file` gives: that of the host, or of hugetlbfs.
pub(super) fn page_bytes(file: &File) -> io::Result<usize> {
    let fs = fstatfs(file)?;
    let host = rustix::param::page_size();
    let is_huge = u64::from(fs.f_type as u32) == HUGETLBFS;
    Ok(if is_huge { usize::try_from(fs.f_bsize).unwrap_or(host) } else { host })
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    dev: u64,
    ino: u64,
    rdev: u64,
}

impl FileId {
    fn of(file: &Metadata) -> Self {
        Self { dev: file.dev(), ino: file.ino(), rdev: file.rdev() }
    }
}

/// A ring whose identity line has been checked.
pub(super) struct Mapped {
    pub(super) memory: Arc<Memory>,
    pub(super) geometry: Geometry,
    pub(super) id: FileId,
    /// Devices have no size to watch.
    is_file: bool,
}

/// What became of the path since it was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Still the same ring.
    Same,
    /// Another file is there.
    Replaced,
    /// Nothing is there.
    Gone,
    /// The file has become too small.
    Truncated,
}

/// Whether a ring stands at `path`, or a device that may hold one.
pub fn is_ring(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_char_device()) || first_bytes(path) == Some(MAGIC)
}

/// Whether the file at `path` may be a ring whose header has not been written yet.
pub fn is_blank(path: &Path) -> bool {
    first_bytes(path).is_some_and(|bytes| bytes == [0; MAGIC.len()])
}

/// Where the magic of a ring stands; `None` when there is no file of that length.
fn first_bytes(path: &Path) -> Option<[u8; MAGIC.len()]> {
    // A pipe would make whoever opens it wait.
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = [0; MAGIC.len()];
    File::open(path).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

/// Maps the ring at `path`.
pub(super) fn map(path: &Path, read_only: bool) -> Result<Mapped, DarkReason> {
    let shown = path.display();
    let io = |what: &str, e: io::Error| DarkReason::NoInterface(format!("the ring at {shown} cannot be {what}: {e}"));
    let refused = |why: String| DarkReason::Refused(format!("{shown}: {why}"));

    // Non-blocking, in case that somebody put a pipe or a terminal there.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).write(!read_only).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(DarkReason::NoInterface(format!("waiting for the ring at {shown}")));
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Err(DarkReason::NotPermitted(not_permitted(path)));
        }
        Err(e) if read_only => return Err(io("opened for reading", e)),
        Err(e) => return Err(io("opened for reading and writing", e)),
    };
    let meta = file.metadata().map_err(|e| io("examined", e))?;
    let page_bytes = page_bytes(&file).map_err(|e| io("examined", e))?;
    let is_file = meta.is_file();
    if !is_file && !meta.file_type().is_char_device() {
        return Err(refused("neither a file nor a character device".into()));
    }
    let first_len = if is_file { meta.len() } else { HEADER_BYTES as u64 };
    if !(HEADER_BYTES as u64..=MAX_RING_BYTES).contains(&first_len) {
        return Err(refused(format!("{first_len} bytes, {HEADER_BYTES} to {MAX_RING_BYTES} make a ring")));
    }
    let map = |len| {
        let memory =
            if read_only { Memory::map_read_only(&file, len, page_bytes) } else { Memory::map(&file, len, page_bytes) };
        memory.map_err(|e| io("mapped", e))
    };
    let memory = map(first_len as usize)?;
    let known_len = if is_file { memory.len() } else { usize::MAX };
    let geometry = Geometry::check(&memory.get::<Identity>(0), known_len).map_err(refused)?;
    // A device tells its size only in its own header.
    let memory = if is_file { memory } else { map(geometry.ring_bytes())? };
    Ok(Mapped { memory: Arc::new(memory), geometry, id: FileId::of(&meta), is_file })
}

/// Who may open the ring at `path`, and who we are.
fn not_permitted(path: &Path) -> String {
    let shown = path.display();
    let me = name_of("/etc/passwd", rustix::process::geteuid().as_raw());
    match std::fs::metadata(path) {
        Ok(meta) => format!(
            "the ring at {shown} belongs to user {}, group {}, with mode {:o}; user {me} may not read and write it: put {me} \
             into that group, and give the ring mode 660",
            name_of("/etc/passwd", meta.uid()),
            name_of("/etc/group", meta.gid()),
            meta.mode() & 0o7777,
        ),
        Err(_) => format!("user {me} may not enter a folder on the way to the ring at {shown}"),
    }
}

/// The name of a user or a group in a file such as `/etc/passwd`; its number where it has none.
fn name_of(file: &str, id: u32) -> String {
    let number = id.to_string();
    let names = std::fs::read_to_string(file).unwrap_or_default();
    let name = names.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&*number)).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

impl Mapped {
    /// Looks whether the path still leads here. One system call, no allocation for paths of usual length.
    pub(super) fn look(&self, path: &Path) -> Seen {
        match std::fs::metadata(path) {
            Ok(meta) if FileId::of(&meta) != self.id => Seen::Replaced,
            Ok(meta) if self.is_file && meta.len() < self.geometry.ring_bytes() as u64 => Seen::Truncated,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Seen::Gone,
            // A path that cannot be looked at for a moment says nothing about the mapping.
            Ok(_) | Err(_) => Seen::Same,
        }
    }

    /// A ring in plain memory.
    #[cfg(any(test, fuzzing))]
    pub(super) fn over(memory: &Arc<Memory>) -> Result<Self, DarkReason> {
        let geometry = Geometry::check(&memory.get::<Identity>(0), memory.len()).map_err(DarkReason::Refused)?;
        let id = FileId { dev: 0, ino: 0, rdev: 0 };
        Ok(Self { memory: Arc::clone(memory), geometry, id, is_file: false })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // Not by opening one: root, whom tests often run as, may open everything.
    #[test]
    fn a_ring_that_may_not_be_opened_names_whom_it_belongs_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o2440)).unwrap();
        let me = name_of("/etc/passwd", rustix::process::geteuid().as_raw());
        let why = not_permitted(file.path());
        assert!(why.contains(&format!("belongs to user {me}, group ")) && why.contains("mode 2440"), "{why}");
        assert!(not_permitted(Path::new("/nonexistent/ring")).contains("may not enter a folder"));
        assert_eq!(name_of("/etc/passwd", 0), "root");
        assert_eq!(name_of("/etc/passwd", 3_999_999_999), "3999999999");
    }
}
