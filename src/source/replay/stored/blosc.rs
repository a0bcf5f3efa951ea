//! Blosc (version 1 of its container): blocks that are shuffled and compressed, each in one piece or one piece for every
//! byte of a value.

use super::bitshuffle::unsort;
use super::filters::unshuffle;
use super::lz::{gzip, lz4_block, repeat, zstandard};

/// Bytes of the header.
const HEAD: usize = 16;
/// Values of more bytes are not split.
const MAX_SPLIT: usize = 16;
/// Pieces of fewer bytes are not split.
const MIN_SPLIT_BYTES: usize = 128;

struct Container<'a> {
    bytes: &'a [u8],
    flags: u8,
    size: usize,
    block: usize,
}

/// Undoes the filter: at most `most` bytes.
pub(super) fn filter(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let short = || "Blosc: it ends too early".to_owned();
    let head = packed.get(..HEAD).ok_or_else(short)?;
    let (len, block) = (le32(&head[4..]) as usize, le32(&head[8..]) as usize);
    if len > most || head[0] > 2 || head[3] == 0 || (block == 0 && len > 0) {
        return Err(format!(
            "Blosc: version {}, {len} bytes in blocks of {block}; at most {most} can be right",
            head[0]
        ));
    }
    let container = Container { bytes: packed, flags: head[2], size: usize::from(head[3]), block };
    if container.flags & 2 != 0 {
        return Ok(packed.get(HEAD..HEAD + len).ok_or_else(short)?.to_vec());
    }
    let mut out = vec![0; len];
    for (nth, piece) in out.chunks_mut(block.max(1)).enumerate() {
        let start = packed.get(HEAD + 4 * nth..).and_then(|rest| rest.first_chunk()).ok_or_else(short)?;
        container.block(u32::from_le_bytes(*start) as usize, piece)?;
    }
    Ok(out)
}

impl Container<'_> {
    fn block(&self, start: usize, out: &mut [u8]) -> Result<(), String> {
        let (whole, size) = (out.len() == self.block, self.size);
        let splits = whole && self.flags & 0x10 == 0 && size <= MAX_SPLIT && self.block / size >= MIN_SPLIT_BYTES;
        let pieces = if splits { size } else { 1 };
        let mut rest = self.bytes.get(start..).ok_or("Blosc: a block begins behind the end")?;
        let mut sorted = vec![0; out.len()];
        // Blocks that are split have a multiple of as many bytes.
        let piece_bytes = (out.len() / pieces).max(1);
        for piece in sorted.chunks_mut(piece_bytes) {
            let (len, body) = rest.split_first_chunk().ok_or("Blosc: it ends too early")?;
            let (body, after) =
                body.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("Blosc: it ends too early")?;
            rest = after;
            if body.len() == piece.len() { piece.copy_from_slice(body) } else { self.decompress(body, piece)? }
        }
        let values = out.len() / size;
        if self.flags & 1 != 0 && size > 1 {
            unshuffle(&sorted, out, size);
        } else if self.flags & 4 != 0 && self.block >= size && values.is_multiple_of(8) {
            let shuffled = values * size;
            unsort(&sorted[..shuffled], &mut out[..shuffled], size);
            out[shuffled..].copy_from_slice(&sorted[shuffled..]);
        } else {
            out.copy_from_slice(&sorted);
        }
        Ok(())
    }

    fn decompress(&self, body: &[u8], out: &mut [u8]) -> Result<(), String> {
        let values = match self.flags >> 5 {
            0 => blosclz(body, out.len())?,
            1 => return lz4_block(body, out),
            3 => gzip(body, out.len(), Vec::new())?,
            4 => zstandard(body, out.len())?,
            2 => return Err("Blosc with Snappy, which fiberd cannot read".into()),
            other => return Err(format!("Blosc with compression {other}, which fiberd cannot read")),
        };
        if values.len() != out.len() {
            return Err(format!("Blosc: {} bytes instead of {}", values.len(), out.len()));
        }
        out.copy_from_slice(&values);
        Ok(())
    }
}

/// Blosc's own compression: at most `most` bytes.
fn blosclz(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(most);
    let mut at = 0;
    let next = |at: &mut usize| {
        *at += 1;
        packed.get(*at - 1).copied().map(usize::from).ok_or("BloscLZ: it ends too early")
    };
    let mut control = next(&mut at)? & 31;
    loop {
        if control < 32 {
            let end = at + control + 1;
            out.extend_from_slice(packed.get(at..end).ok_or("BloscLZ: it ends too early")?);
            at = end;
        } else {
            let mut len = (control >> 5) - 1;
            if len == 6 {
                loop {
                    let more = next(&mut at)?;
                    len += more;
                    if more != 255 || len > most {
                        break;
                    }
                }
            }
            let (high, low) = ((control & 31) << 8, next(&mut at)?);
            let far = low == 255 && high == 31 << 8;
            let back = if far { (next(&mut at)? << 8) + next(&mut at)? + 8191 } else { high + low };
            if out.len() + len + 3 > most {
                return Err(format!("BloscLZ: more than {most} bytes come out"));
            }
            repeat(&mut out, back + 1, len + 3).ok_or("BloscLZ: it refers to what is not there")?;
        }
        if at >= packed.len() {
            return Ok(out);
        }
        control = next(&mut at)?;
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
