//! As much of HDF5 as a file of attributes and contiguous datasets needs: groups, attributes, and where samples lie.
//!
//! The metadata are written as one piece, the [`skeleton`], which has the same length whatever the numbers in it are:
//! samples are written behind the room for it while they come, and it is put in front of them at the end. Superblock version 2 and
//! object headers of version 2, each with its checksum, as in the HDF5 File Format Specification 3.0; HDF5 1.8 and later
//! read them.

/// "There is none."
const UNDEFINED: u64 = u64::MAX;
const SUPERBLOCK: usize = 48;

/// What an attribute holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    I64(i64),
    F64(f64),
    /// A string of fixed length.
    Text(String),
    /// Several, each as long as the longest.
    Texts(Vec<String>),
}

/// Of what type the values of a dataset are, in little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    I16,
    I32,
    I64,
    F32,
}

/// A contiguous dataset.
pub(super) struct Dataset {
    pub(super) kind: Type,
    pub(super) shape: Vec<u64>,
    /// Byte of its first value.
    pub(super) at: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// A group, or a dataset.
pub(super) enum Node {
    Group { attributes: Vec<(&'static str, Value)>, children: Vec<(&'static str, Node)> },
    Dataset(Dataset),
}

impl Type {
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::I16 => 2,
            Self::I64 => 8,
            Self::I32 | Self::F32 => 4,
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

/// The dataspace message; no dimensions make a scalar.
fn dataspace(shape: &[u64]) -> Vec<u8> {
    let mut out = vec![2, shape.len() as u8, 0, u8::from(!shape.is_empty())];
    for size in shape {
        out.extend(size.to_le_bytes());
    }
    out
}

impl Value {
    /// Type, dimensions, bytes.
    fn parts(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        match self {
            Self::I64(value) => (Type::I64.message(), dataspace(&[]), value.to_le_bytes().to_vec()),
            Self::F64(value) => (float(8, 63, (52, 11, 0, 52), 1023), dataspace(&[]), value.to_le_bytes().to_vec()),
            Self::Text(text) => {
                let (kind, bytes) = texts(std::slice::from_ref(text));
                (kind, dataspace(&[]), bytes)
            }
            Self::Texts(all) => {
                let (kind, bytes) = texts(all);
                (kind, dataspace(&[all.len() as u64]), bytes)
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

fn attribute(name: &str, value: &Value) -> Vec<u8> {
    let (kind, space, bytes) = value.parts();
    let mut out = vec![3, 0];
    for len in [name.len() + 1, kind.len(), space.len()] {
        out.extend((len as u16).to_le_bytes());
    }
    // Names and texts are UTF-8.
    out.push(1);
    out.extend(name.as_bytes());
    out.push(0);
    out.extend(kind.into_iter().chain(space).chain(bytes));
    out
}

/// An object header with these messages: type and body.
fn object_header(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let length: usize = messages.iter().map(|(_, body)| 4 + body.len()).sum();
    // Four bytes say how long the messages are.
    let mut out = b"OHDR\x02\x02".to_vec();
    out.extend((length as u32).to_le_bytes());
    for (kind, body) in messages {
        out.push(*kind);
        out.extend((body.len() as u16).to_le_bytes());
        out.push(0);
        out.extend(body);
    }
    out.extend(checksum(&out).to_le_bytes());
    out
}

/// The metadata of a file whose root group is `root`, and which ends at byte `end`.
pub(super) fn skeleton(root: &Node, end: u64) -> Vec<u8> {
    let mut out = vec![0; SUPERBLOCK];
    let root_at = root.put(&mut out);
    let mut superblock = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00".to_vec();
    for value in [0, UNDEFINED, end, root_at] {
        superblock.extend(value.to_le_bytes());
    }
    superblock.extend(checksum(&superblock).to_le_bytes());
    out[..SUPERBLOCK].copy_from_slice(&superblock);
    out
}

impl Node {
    /// Appends it, what it holds first; says where it begins.
    fn put(&self, out: &mut Vec<u8>) -> u64 {
        let (mut messages, attributes) = match self {
            Self::Group { attributes, children } => {
                let mut messages = vec![(2, [[0; 2].as_slice(), &[0xff; 16]].concat()), (10, vec![0, 0])];
                for (name, child) in children {
                    let at = child.put(out);
                    let mut link = vec![1, 0, name.len() as u8];
                    link.extend(name.as_bytes());
                    link.extend(at.to_le_bytes());
                    messages.push((6, link));
                }
                (messages, attributes)
            }
            Self::Dataset(dataset) => (dataset.messages(), &dataset.attributes),
        };
        messages.extend(attributes.iter().map(|(name, value)| (12, attribute(name, value))));
        out.resize(out.len().next_multiple_of(8), 0);
        let at = out.len() as u64;
        out.extend(object_header(&messages));
        at
    }
}

impl Dataset {
    fn messages(&self) -> Vec<(u8, Vec<u8>)> {
        let bytes = self.shape.iter().product::<u64>() * self.kind.bytes();
        let mut layout = vec![3, 1];
        layout.extend(self.at.to_le_bytes());
        layout.extend(bytes.to_le_bytes());
        // The fill value is the usual one: written late, if set.
        vec![(1, dataspace(&self.shape)), (3, self.kind.message()), (5, vec![3, 0x0a]), (8, layout)]
    }
}

/// Bob Jenkins' lookup3, as HDF5 checks its metadata with.
fn checksum(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let [mut a, mut b, mut c] = [start; 3];
    let word = |chunk: &[u8], at: usize| {
        let mut four = [0; 4];
        let part = chunk.get(at..).unwrap_or(&[]);
        let len = part.len().min(4);
        four[..len].copy_from_slice(&part[..len]);
        u32::from_le_bytes(four)
    };
    if bytes.is_empty() {
        return c;
    }
    let last = (bytes.len() - 1) / 12 * 12;
    for chunk in bytes[..last].chunks_exact(12) {
        a = a.wrapping_add(word(chunk, 0));
        b = b.wrapping_add(word(chunk, 4));
        c = c.wrapping_add(word(chunk, 8));
        for turn in [4, 6, 8, 16, 19, 4] {
            a = a.wrapping_sub(c) ^ c.rotate_left(turn);
            c = c.wrapping_add(b);
            (a, b, c) = (b, c, a);
        }
    }
    a = a.wrapping_add(word(&bytes[last..], 0));
    b = b.wrapping_add(word(&bytes[last..], 4));
    c = c.wrapping_add(word(&bytes[last..], 8));
    for turn in [14, 11, 25, 16, 4, 14, 24] {
        c = (c ^ b).wrapping_sub(b.rotate_left(turn));
        (a, b, c) = (b, c, a);
    }
    // Seven turns of three names: c stands where b is now.
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_its_inventor() {
        // From the driver of lookup3.c.
        assert_eq!(checksum(b""), 0xdead_beef);
        assert_eq!(checksum(b"Four score and seven years ago"), 0x1777_0551);
    }
}
