//! What happens to a chunk between the writer and the file, undone; or refused by name.

use super::{bits, bitshuffle, blosc, lz};

/// A filter of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// Its number in the register of HDF5 filters.
    pub(crate) id: u16,
    /// Its name, where the file says it.
    pub(crate) name: Option<String>,
    /// What the writer told it.
    pub(crate) parameters: Vec<u32>,
}

const GZIP: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
const NBIT: u16 = 5;
const SCALE_OFFSET: u16 = 6;
const LZF: u16 = 32000;
const BLOSC: u16 = 32001;
const LZ4: u16 = 32004;
const BITSHUFFLE: u16 = 32008;
const ZSTANDARD: u16 = 32015;

/// Those that are undone here.
const KNOWN: [u16; 10] = [GZIP, SHUFFLE, FLETCHER32, NBIT, SCALE_OFFSET, LZF, BLOSC, LZ4, BITSHUFFLE, ZSTANDARD];

/// Names of the others, from the register.
const NAMES: [(u16, &str); 18] = [
    (4, "Szip"),
    (305, "LZO"),
    (307, "bzip2"),
    (32002, "MAFISC"),
    (32003, "Snappy"),
    (32009, "SPDP"),
    (32010, "LPC-Rice"),
    (32012, "JPEG-LS"),
    (32013, "ZFP"),
    (32014, "fpzip"),
    (32017, "SZ"),
    (32019, "JPEG"),
    (32020, "VBZ"),
    (32022, "BitGroom"),
    (32023, "Granular BitRound"),
    (32024, "SZ3"),
    (32026, "Blosc2"),
    (32028, "SPERR"),
];

/// Filters of a dataset at most: HDF5's own limit.
const MOST_FILTERS: usize = 32;

/// Whether all filters can be undone, but for those that every chunk skips.
///
/// # Errors
/// The name of the one that cannot, and what helps.
pub(super) fn check(filters: &[Filter], skipped_by_all: u32, element: usize) -> Result<(), String> {
    if filters.len() > MOST_FILTERS || element == 0 {
        return Err(format!("it went through {} filters; at most {MOST_FILTERS} are possible", filters.len()));
    }
    let used = filters.iter().enumerate().filter(|(nth, _)| skipped_by_all >> nth & 1 == 0);
    for (_, Filter { id, name, .. }) in used {
        if !KNOWN.contains(id) {
            let known = NAMES.iter().find(|(known, _)| known == id).map(|(_, name)| *name);
            let name = known.or(name.as_deref()).unwrap_or("a filter without a name");
            return Err(format!(
                "compressed with {name} (filter {id}), which fiberd cannot read; repack with `h5repack -f GZIP=1`"
            ));
        }
    }
    Ok(())
}

/// Memory that is used again: that of one chunk after the other, as long as all have one size.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// Pieces that are kept at most: what is stored, and what two filters make of it; and bytes of each.
    const MOST: usize = 3;
    const MOST_BYTES: usize = 32 << 20;

    /// Memory with whatever is in it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes memory that is no longer used.
    pub(super) fn give(&mut self, used: Vec<u8>) {
        if self.0.len() < Self::MOST && (1..=Self::MOST_BYTES).contains(&used.capacity()) {
            self.0.push(used);
        }
    }
}

/// Undoes all filters of a chunk but those it skipped: exactly `bytes` bytes, in values of `element` bytes.
pub(super) fn decode(
    filters: &[Filter],
    skipped: u32,
    mut values: Vec<u8>,
    element: usize,
    bytes: usize,
    spare: &mut Spare,
) -> Result<Vec<u8>, String> {
    // What one filter makes can be a little longer than the chunk: checksums, heads, what cannot be compressed.
    let most = bytes + bytes / 8 + 4096;
    for (nth, filter) in filters.iter().enumerate().rev() {
        if skipped >> nth & 1 == 1 {
            continue;
        }
        let made = match filter.id {
            GZIP => lz::gzip(&values, most, spare.take())?,
            SHUFFLE => {
                let size = filter.parameters.first().map_or(element, |&size| size as usize);
                shuffled(&values, size, spare.take())
            }
            FLETCHER32 => checked(std::mem::take(&mut values))?,
            NBIT => bits::nbit(std::mem::take(&mut values), &filter.parameters, most)?,
            SCALE_OFFSET => bits::scale_offset(std::mem::take(&mut values), &filter.parameters, most)?,
            LZF => lz::lzf(&values, most)?,
            BLOSC => blosc::filter(&values, most)?,
            LZ4 => lz::lz4(&values, most)?,
            BITSHUFFLE => bitshuffle::filter(&values, &filter.parameters, element, most)?,
            ZSTANDARD => lz::zstandard(&values, most)?,
            other => return Err(format!("filter {other}, which fiberd cannot read")),
        };
        spare.give(std::mem::replace(&mut values, made));
    }
    if values.len() == bytes { Ok(values) } else { Err(format!("{} bytes come out instead of {bytes}", values.len())) }
}

fn shuffled(values: &[u8], size: usize, mut out: Vec<u8>) -> Vec<u8> {
    out.resize(values.len(), 0);
    unshuffle(values, &mut out, size);
    out
}

/// Puts the bytes of values of `size` bytes back; both have the same length. What is no whole value stays.
pub(super) fn unshuffle(sorted: &[u8], out: &mut [u8], size: usize) {
    match size {
        2 => unshuffle_values::<2>(sorted, out),
        4 => unshuffle_values::<4>(sorted, out),
        8 => unshuffle_values::<8>(sorted, out),
        _ => {
            let values = out.len().checked_div(size).unwrap_or(0);
            for (byte, plane) in sorted.chunks_exact(values.max(1)).take(if values == 0 { 0 } else { size }).enumerate()
            {
                out.iter_mut().skip(byte).step_by(size).zip(plane).for_each(|(out, bits)| *out = *bits);
            }
            let whole = values * size;
            out[whole..].copy_from_slice(&sorted[whole..]);
        }
    }
}

/// The same for the usual sizes, all bytes of a value at once.
fn unshuffle_values<const SIZE: usize>(sorted: &[u8], out: &mut [u8]) {
    let (values, rest) = out.as_chunks_mut::<SIZE>();
    let count = values.len();
    let (planes, same) = sorted.split_at(count * SIZE);
    let planes: [&[u8]; SIZE] = std::array::from_fn(|byte| &planes[byte * count..][..count]);
    for (nth, value) in values.iter_mut().enumerate() {
        *value = std::array::from_fn(|byte| planes[byte][nth]);
    }
    rest.copy_from_slice(same);
}

/// Takes off a checksum that is right.
fn checked(mut values: Vec<u8>) -> Result<Vec<u8>, String> {
    let Some((body, &stored)) = values.split_last_chunk::<4>() else { return Err("the checksum is missing".into()) };
    let sum = fletcher32(body);
    // Files of the first versions have the bytes of both halves the other way round.
    let old = sum.rotate_right(8) & 0x00FF_00FF | sum.rotate_left(8) & 0xFF00_FF00;
    let (stored, len) = (u32::from_le_bytes(stored), body.len());
    if stored != sum && stored != old {
        return Err("its checksum (Fletcher-32) is wrong".into());
    }
    values.truncate(len);
    Ok(values)
}

/// Fletcher's checksum over words of two bytes, the first byte of each the higher.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0u64, 0u64);
    // Sums of so many words cannot overflow.
    for part in bytes.chunks(1 << 16) {
        for word in part.chunks(2) {
            low += u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0));
            high += low;
        }
        (low, high) = (fold(low), fold(high));
    }
    (fold(high) as u32) << 16 | fold(low) as u32
}

/// As the sum of its halves of 16 bits, until one is left: not zero unless all was.
const fn fold(mut sum: u64) -> u64 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum
}
