//! Finding, sizing and watching the file behind a ring.

use std::fs::File;
use std::io;

use rustix::fs::fstatfs;

/// `f_type` of hugetlbfs (linux/magic.h).
const HUGETLBFS: u64 = 0x9584_58f6;

/// Page size of the mapping that `file` gives: that of the host, or of hugetlbfs.
pub(super) fn page_bytes(file: &File) -> io::Result<usize> {
    let fs = fstatfs(file)?;
    let host = rustix::param::page_size();
    let is_huge = u64::from(fs.f_type as u32) == HUGETLBFS;
    Ok(if is_huge { usize::try_from(fs.f_bsize).unwrap_or(host) } else { host })
}
