//! As much of HDF5 as a file of attributes and contiguous datasets needs: groups, attributes, and where values lie.
//!
//! The metadata are one piece, the [`head`], which has the same length whatever the numbers in it are. All that changes
//! while a file grows, the number of rows and what is said of its end, stands in one sector of it, [`LIVE`]: one write
//! changes it all, and a disk writes a sector whole or not at all. Superblock version 0 and object headers of version 1,
//! which have no checksums that would have to agree, as in the HDF5 File Format Specification 3.0.

use std::ops::Range;

/// The sector of all that changes.
pub(crate) const LIVE: Range<usize> = 512..1024;

/// "There is none."
const UNDEFINED: u64 = u64::MAX;
/// A heap has no free space.
const NOTHING_FREE: u64 = 1;
/// A group may have twice as many children, and so many nodes of them.
const LEAF_K: u16 = 4;
const NODE_K: u16 = 16;
const SYMBOL_BYTES: usize = 40;

/// What an attribute holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    I64(i64),
    F64(f64),
    /// A string of fixed length.
    Text(String),
    /// Several, each as long as the longest.
    Texts(Vec<String>),
}

/// Of what type the values of a dataset are, in little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    I16,
    I32,
    I64,
    F32,
}

type Attributes = Vec<(&'static str, Value)>;

/// A contiguous dataset.
pub(crate) struct Dataset {
    pub(crate) kind: Type,
    /// Values along each dimension; the first, rows, changes while a file grows.
    pub(crate) shape: Vec<u64>,
    /// Rows that there is room for.
    pub(crate) room: u64,
    /// Byte of its first value.
    pub(crate) at: u64,
    pub(crate) attributes: Attributes,
    /// Attributes that change while a file grows, but not in length.
    pub(crate) live: Attributes,
}

/// A group of at most eight children, or a dataset.
pub(crate) enum Node {
    Group { attributes: Attributes, children: Vec<(&'static str, Node)> },
    Dataset(Dataset),
}

impl Type {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    /// The datatype message.
    fn message(self) -> Vec<u8> {
        let integer = |bytes: u8| vec![0x10, 0x08, 0, 0, bytes, 0, 0, 0, 0, 0, bytes * 8, 0];
        match self {
            Self::I16 => integer(2),
            Self::I32 => integer(4),
            Self::I64 => integer(8),
            Self::F32 => float(4, 31, (23, 8, 0, 23), 127),
        }
    }
}

/// IEEE 754: bytes, place of the sign, place and size of exponent and mantissa, bias.
fn float(bytes: u8, sign: u8, places: (u8, u8, u8, u8), bias: u32) -> Vec<u8> {
    let mut out = vec![0x11, 0x20, sign, 0, bytes, 0, 0, 0, 0, 0, bytes * 8, 0, places.0, places.1, places.2, places.3];
    out.extend(bias.to_le_bytes());
    out
}

/// A string of so many bytes, filled up with zeros.
fn string(bytes: usize) -> Vec<u8> {
    let mut out = vec![0x13, 0x01, 0, 0];
    out.extend((bytes as u32).to_le_bytes());
    out
}

/// The dataspace message: sizes and, when they differ, the largest possible ones. No dimensions make a scalar.
fn dataspace(shape: &[u64], most: &[u64]) -> Vec<u8> {
    let mut out = vec![1, shape.len() as u8, u8::from(!most.is_empty()), 0, 0, 0, 0, 0];
    shape.iter().chain(most).for_each(|size| out.extend(size.to_le_bytes()));
    out
}

impl Value {
    /// Type, dimensions, bytes.
    fn parts(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        match self {
            Self::I64(value) => (Type::I64.message(), dataspace(&[], &[]), value.to_le_bytes().to_vec()),
            Self::F64(value) => {
                (float(8, 63, (52, 11, 0, 52), 1023), dataspace(&[], &[]), value.to_le_bytes().to_vec())
            }
            Self::Text(text) => {
                let (kind, bytes) = texts(std::slice::from_ref(text));
                (kind, dataspace(&[], &[]), bytes)
            }
            Self::Texts(all) => {
                let (kind, bytes) = texts(all);
                (kind, dataspace(&[all.len() as u64], &[]), bytes)
            }
        }
    }
}

fn texts(all: &[String]) -> (Vec<u8>, Vec<u8>) {
    let longest = all.iter().map(String::len).max().unwrap_or(0).max(1);
    let mut bytes = Vec::new();
    for (number, text) in all.iter().enumerate() {
        bytes.extend(text.as_bytes());
        bytes.resize((number + 1) * longest, 0);
    }
    (string(longest), bytes)
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

/// A message of an object header: its type and body.
fn message(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend((body.len().next_multiple_of(8) as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(body);
    pad(out);
}

fn attribute(out: &mut Vec<u8>, name: &str, value: &Value) {
    let (kind, space, bytes) = value.parts();
    let name = [name.as_bytes(), &[0]].concat();
    let mut body = vec![1, 0];
    for part in [&name, &kind, &space] {
        body.extend((part.len() as u16).to_le_bytes());
    }
    for part in [name, kind, space, bytes] {
        body.extend(part);
        pad(&mut body);
    }
    message(out, 0x0c, &body);
}

/// Appends an object header of these messages, of which there are `count` with those that stand elsewhere; says where.
fn object_header(out: &mut Vec<u8>, count: usize, messages: &[u8]) -> u64 {
    pad(out);
    let at = out.len() as u64;
    out.extend([1, 0]);
    out.extend((count as u16).to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend((messages.len() as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(messages);
    at
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// The metadata of a file whose root group is `root`, and which ends at byte `end`.
pub(crate) fn head(root: &Node, end: u64) -> Vec<u8> {
    let mut out = vec![0; LIVE.end];
    let mut live = LIVE.start;
    let (header, group) = root.put(&mut out, &mut live);
    let mut superblock = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0".to_vec();
    superblock.extend(LEAF_K.to_le_bytes());
    superblock.extend(NODE_K.to_le_bytes());
    superblock.extend([0; 4]);
    words(&mut superblock, &[0, UNDEFINED, end, UNDEFINED]);
    let (tree, heap) = group.unwrap_or_default();
    // The root as an entry of a table: where its header is, and that tree and heap are told here as well.
    words(&mut superblock, &[0, header, 1, tree, heap]);
    out[..superblock.len()].copy_from_slice(&superblock);
    out
}

impl Node {
    /// Appends it, what it holds first; says where its header is and, of a group, its tree and its heap.
    fn put(&self, out: &mut Vec<u8>, live: &mut usize) -> (u64, Option<(u64, u64)>) {
        match self {
            Self::Group { attributes, children } => {
                let mut entries: Vec<_> =
                    children.iter().map(|(name, child)| (*name, child.put(out, live).0)).collect();
                entries.sort_unstable();
                let (tree, heap) = table(out, &entries);
                let mut messages = Vec::new();
                message(&mut messages, 0x11, &[tree.to_le_bytes(), heap.to_le_bytes()].concat());
                for (name, value) in attributes {
                    attribute(&mut messages, name, value);
                }
                (object_header(out, 1 + attributes.len(), &messages), Some((tree, heap)))
            }
            Self::Dataset(dataset) => (dataset.put(out, live), None),
        }
    }
}

/// Names and headers of a group's children: heap of the names, table of the entries, tree of the one table.
fn table(out: &mut Vec<u8>, entries: &[(&str, u64)]) -> (u64, u64) {
    let mut names = vec![0; 8];
    let mut symbols = b"SNOD\x01\0".to_vec();
    symbols.extend((entries.len() as u16).to_le_bytes());
    let mut last = 0;
    for (name, header) in entries {
        last = names.len() as u64;
        words(&mut symbols, &[last, *header, 0, 0, 0]);
        names.extend(name.as_bytes());
        names.push(0);
        pad(&mut names);
    }
    symbols.resize(8 + 2 * usize::from(LEAF_K) * SYMBOL_BYTES, 0);
    pad(out);
    let heap = out.len() as u64;
    out.extend(b"HEAP\0\0\0\0");
    words(out, &[names.len() as u64, NOTHING_FREE, heap + 32]);
    out.extend(names);
    let symbols_at = out.len() as u64;
    out.extend(symbols);
    let tree = out.len() as u64;
    out.extend(b"TREE\0\0\x01\0");
    words(out, &[UNDEFINED, UNDEFINED, 0, symbols_at, last]);
    // Keys and children of a full node.
    out.resize(tree as usize + 24 + (4 * usize::from(NODE_K) + 1) * 8, 0);
    (tree, heap)
}

impl Dataset {
    fn put(&self, out: &mut Vec<u8>, live: &mut usize) -> u64 {
        let mut most = self.shape.clone();
        most[0] = self.room;
        let mut changing = Vec::new();
        message(&mut changing, 1, &dataspace(&self.shape, &most));
        for (name, value) in &self.live {
            attribute(&mut changing, name, value);
        }
        let elsewhere = *live..*live + changing.len();
        assert!(elsewhere.end <= LIVE.end, "all that changes fits a sector");
        out[elsewhere.clone()].copy_from_slice(&changing);
        *live = elsewhere.end;

        let bytes = most.iter().product::<u64>() * self.kind.bytes();
        let mut layout = vec![3, 1];
        words(&mut layout, &[self.at, bytes]);
        let mut messages = Vec::new();
        message(&mut messages, 3, &self.kind.message());
        // Of the fill value: there is room from the beginning, and nobody fills it.
        message(&mut messages, 5, &[2, 1, 1, 0]);
        message(&mut messages, 8, &layout);
        for (name, value) in &self.attributes {
            attribute(&mut messages, name, value);
        }
        let place = [elsewhere.start as u64, changing.len() as u64];
        message(&mut messages, 0x10, &place.map(u64::to_le_bytes).concat());
        object_header(out, 5 + self.attributes.len() + self.live.len(), &messages)
    }
}
