//! Where a path in an HDF5 file leads when there are soft links on it, which the library does not follow.
//!
//! Reads the groups on the path itself, and only when the library found nothing. Links in a circle end after a number of
//! steps; a link into another file is refused by that file's name. Groups of very many members (dense storage) are not
//! searched.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Soft links on one path at most.
const MOST_LINKS: usize = 16;
/// Parts of an object's header, messages in it, and bytes of one part at most.
const MOST_PARTS: usize = 64;
const MOST_MESSAGES: usize = 4096;
const MOST_BYTES: u64 = 1 << 20;
/// Nodes of a group's tree at most.
const MOST_NODES: usize = 4096;

/// The groups of an open file.
pub(super) struct Groups<'a> {
    pub(super) file: &'a File,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Where addresses count from.
    pub(super) base: u64,
    /// Bytes of an address, and of a length.
    pub(super) address_bytes: usize,
    pub(super) length_bytes: usize,
    /// Address of the root group.
    pub(super) root: u64,
}

/// What a name in a group stands for.
enum Link {
    Hard(u64),
    Soft(String),
    External(String),
}

/// Reads numbers and texts out of bytes; nothing behind the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes).filter(|taken| taken.len() <= 8)?;
        Some(taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

/// The text up to its zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Groups<'_> {
    /// The path without soft links; `None` when there is no such path.
    ///
    /// # Errors
    /// When a link leads nowhere, into another file or in a circle.
    pub(super) fn follow(&self, path: &str) -> Result<Option<String>, String> {
        let mut path = path.to_owned();
        for nth in 0..MOST_LINKS {
            match self.one_step(&path)? {
                Some(Ok(())) => return Ok(Some(path)),
                Some(Err(next)) => path = next,
                None if nth == 0 => return Ok(None),
                None => return Err(format!("a link leads to `{path}`, and there is nothing")),
            }
        }
        Err(format!("more than {MOST_LINKS} links follow each other: they lead in a circle"))
    }

    /// Replaces the first soft link on a path: `Ok` when there is none and the path leads somewhere.
    fn one_step(&self, path: &str) -> Result<Option<Result<(), String>>, String> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let mut at = self.root;
        for (nth, name) in names.iter().enumerate() {
            match self.link(at, name) {
                Some(Link::Hard(address)) => at = address,
                Some(Link::Soft(target)) => {
                    let before = if target.starts_with('/') { &[][..] } else { &names[..nth] };
                    let parts: Vec<&str> = before
                        .iter()
                        .copied()
                        .chain([target.as_str()])
                        .chain(names[nth + 1..].iter().copied())
                        .collect();
                    return Ok(Some(Err(parts.join("/"))));
                }
                Some(Link::External(file)) => {
                    return Err(format!("`{name}` is a link into another file, {file}: open that one"));
                }
                None => return Ok(None),
            }
        }
        Ok(Some(Ok(())))
    }

    /// Reads so many bytes at an address; `None` when the file has not as many.
    fn read(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        let at = self.base.checked_add(address)?;
        if bytes > MOST_BYTES || at.checked_add(bytes)? > self.bytes {
            return None;
        }
        let mut out = vec![0; bytes as usize];
        self.file.read_exact_at(&mut out, at).ok()?;
        Some(out)
    }

    /// As [`read`](Self::read), or up to the end of the file.
    fn read_some(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        let left = self.bytes.checked_sub(self.base.checked_add(address)?)?;
        self.read(address, bytes.min(left))
    }

    fn link(&self, group: u64, name: &str) -> Option<Link> {
        for (kind, body) in self.messages(group)? {
            let found = match kind {
                6 => self.link_message(&body, name),
                0x11 => {
                    let mut reader = Reader(&body);
                    let (tree, heap) = (reader.number(self.address_bytes)?, reader.number(self.address_bytes)?);
                    self.table_link(tree, heap, name)
                }
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The messages of an object's header: their kinds and bodies.
    fn messages(&self, object: u64) -> Option<Vec<(u64, Vec<u8>)>> {
        let start = self.read_some(object, 64)?;
        let new = start.starts_with(b"OHDR");
        let mut reader = Reader(&start);
        let (mut parts, flags) = if new {
            let (_, flags) = (reader.take(5)?, reader.number(1)?);
            reader.take(if flags & 0x20 != 0 { 16 } else { 0 } + if flags & 0x10 != 0 { 4 } else { 0 })?;
            let size = reader.number(1 << (flags & 3))?;
            (vec![(object.checked_add((start.len() - reader.0.len()) as u64)?, size)], flags)
        } else {
            let (_, size) = (reader.take(8)?, reader.number(4)?);
            (vec![(object.checked_add(16)?, size)], 0)
        };
        let mut messages = Vec::new();
        let mut nth = 0;
        while let Some((at, size)) = parts.get(nth).copied().filter(|_| nth < MOST_PARTS) {
            let mut block = self.read(at, size)?;
            if new && nth > 0 {
                // Behind the mark, and before the checksum.
                block = block.get(4..block.len().saturating_sub(4))?.to_vec();
            }
            self.messages_of_part(&block, new, flags, &mut parts, &mut messages);
            nth += 1;
        }
        Some(messages)
    }

    fn messages_of_part(
        &self,
        block: &[u8],
        new: bool,
        flags: u64,
        parts: &mut Vec<(u64, u64)>,
        messages: &mut Vec<(u64, Vec<u8>)>,
    ) {
        let mut reader = Reader(block);
        let mut next = || -> Option<(u64, Vec<u8>)> {
            let kind = reader.number(if new { 1 } else { 2 })?;
            let size = reader.number(2)? as usize;
            reader.take(match (new, flags & 4) {
                (false, _) => 4,
                (true, 0) => 1,
                (true, _) => 3,
            })?;
            Some((kind, reader.take(size)?.to_vec()))
        };
        while let Some((kind, body)) = next().filter(|_| messages.len() < MOST_MESSAGES) {
            let mut body_reader = Reader(&body);
            if let (0x10, Some(at), Some(size)) =
                (kind, body_reader.number(self.address_bytes), body_reader.number(self.length_bytes))
            {
                parts.push((at, size));
            }
            messages.push((kind, body));
        }
    }

    /// A link of this name in a message of newer groups.
    fn link_message(&self, body: &[u8], name: &str) -> Option<Link> {
        let mut reader = Reader(body);
        let (_, flags) = (reader.number(1)?, reader.number(1)?);
        let kind = if flags & 8 != 0 { reader.number(1)? } else { 0 };
        reader.take(if flags & 4 != 0 { 8 } else { 0 } + usize::from(flags & 0x10 != 0))?;
        let len = reader.number(1 << (flags & 3))? as usize;
        if reader.take(len)? != name.as_bytes() {
            return None;
        }
        match kind {
            0 => Some(Link::Hard(reader.number(self.address_bytes)?)),
            1 => {
                let len = reader.number(2)? as usize;
                Some(Link::Soft(text(reader.take(len)?)))
            }
            64 => {
                let (len, _) = (reader.number(2)? as usize, reader.number(1)?);
                Some(Link::External(text(reader.take(len.saturating_sub(1))?)))
            }
            _ => None,
        }
    }

    /// A link of this name in the table of an older group: a tree of nodes with entries, and a heap with names.
    fn table_link(&self, tree: u64, heap: u64, name: &str) -> Option<Link> {
        let head = self.read(heap, (8 + 2 * self.length_bytes + self.address_bytes) as u64)?;
        let mut reader = Reader(head.strip_prefix(b"HEAP")?);
        let (_, size, _) = (reader.take(4)?, reader.number(self.length_bytes)?, reader.number(self.length_bytes)?);
        let names = self.read(reader.number(self.address_bytes)?, size)?;
        let name_at = |at: u64| names.get(at as usize..).map(text);
        let mut nodes = vec![tree];
        let mut nth = 0;
        while let Some(node) = nodes.get(nth).copied().filter(|_| nth < MOST_NODES) {
            nth += 1;
            let head = self.read(node, 8)?;
            let count = u64::from(u16::from_le_bytes([head[6], head[7]]));
            if head.starts_with(b"TREE") {
                let (keys, children) = (self.length_bytes as u64, self.address_bytes as u64);
                let body = self.read(node.checked_add(8 + 2 * children)?, count * (keys + children))?;
                let mut reader = Reader(&body);
                while let (Some(_), Some(child)) = (reader.take(self.length_bytes), reader.number(self.address_bytes)) {
                    if nodes.len() < MOST_NODES {
                        nodes.push(child);
                    }
                }
            } else if head.starts_with(b"SNOD") {
                let entry = 2 * self.address_bytes + 24;
                let body = self.read(node.checked_add(8)?, count * entry as u64)?;
                for entry in body.chunks_exact(entry) {
                    let mut reader = Reader(entry);
                    let (named, object) = (reader.number(self.address_bytes)?, reader.number(self.address_bytes)?);
                    if name_at(named).is_some_and(|found| found == name) {
                        let (kind, _, target) = (reader.number(4)?, reader.number(4)?, reader.number(4)?);
                        return Some(if kind == 2 { Link::Soft(name_at(target)?) } else { Link::Hard(object) });
                    }
                }
            }
        }
        None
    }
}
