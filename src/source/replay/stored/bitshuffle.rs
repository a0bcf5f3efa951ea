//! Bitshuffle: the bits of values sorted by their place in a value, alone or with LZ4 or Zstandard behind it.

use super::lz::{be32, be64, lz4_block, zstandard};

/// Undoes the filter; `size` is that of a value in bytes.
pub(super) fn filter(packed: &[u8], parameters: &[u32], size: usize, most: usize) -> Result<Vec<u8>, String> {
    let parameter = |nth: usize| parameters.get(nth).copied().unwrap_or(0);
    let (block, kind) = (parameter(3) as usize, parameter(4));
    match kind {
        0 => blocks(packed, packed.len(), size, block_values(block, size)?, &mut |piece, rest| {
            let (body, after) = rest.split_at_checked(piece.len()).ok_or("Bitshuffle: it ends too early")?;
            piece.copy_from_slice(body);
            *rest = after;
            Ok(())
        }),
        2 | 3 => {
            let (head, body) = packed.split_at_checked(12).ok_or("Bitshuffle: it ends too early")?;
            let (len, block) = (be64(head), be32(&head[8..]) as usize);
            if len > most as u64 {
                return Err(format!("Bitshuffle: {len} bytes; at most {most} can be right"));
            }
            blocks(body, len as usize, size, block_values(block / size, size)?, &mut |piece, rest| {
                let (head, body) = rest.split_at_checked(4).ok_or("Bitshuffle: it ends too early")?;
                let (body, after) =
                    body.split_at_checked(be32(head) as usize).ok_or("Bitshuffle: it ends too early")?;
                *rest = after;
                if kind == 2 {
                    return lz4_block(body, piece);
                }
                let values = zstandard(body, piece.len())?;
                if values.len() != piece.len() {
                    return Err(format!("Zstandard: {} bytes instead of {}", values.len(), piece.len()));
                }
                piece.copy_from_slice(&values);
                Ok(())
            })
        }
        other => {
            Err(format!("Bitshuffle with compression {other}, which fiberd cannot read (known: none, LZ4, Zstandard)"))
        }
    }
}

/// Values of a block; 0 is the filter's own choice.
fn block_values(values: usize, size: usize) -> Result<usize, String> {
    match values {
        0 => Ok((8192 / size / 8 * 8).max(128)),
        values if values.is_multiple_of(8) => Ok(values),
        values => Err(format!("Bitshuffle: blocks of {values} values; it should be a multiple of 8")),
    }
}

/// Fills a block from the beginning of the rest, and takes that off.
type Next<'a> = dyn FnMut(&mut [u8], &mut &[u8]) -> Result<(), String> + 'a;

/// Takes blocks out of `rest` by `next` and puts their bits back; what is less than 8 values is stored as it is.
fn blocks(mut rest: &[u8], len: usize, size: usize, block: usize, next: &mut Next<'_>) -> Result<Vec<u8>, String> {
    let plain = len % (8 * size);
    let mut out = vec![0; len];
    let mut sorted = Vec::new();
    let (shuffled, tail) = out.split_at_mut(len - plain);
    for piece in shuffled.chunks_mut(block.saturating_mul(size)) {
        sorted.resize(piece.len(), 0);
        next(&mut sorted, &mut rest)?;
        unsort(&sorted, piece, size);
    }
    tail.copy_from_slice(rest.get(..plain).ok_or("Bitshuffle: it ends too early")?);
    Ok(out)
}

/// Puts the bits of values of `size` bytes back; both have the same length, a multiple of 8 values.
pub(super) fn unsort(sorted: &[u8], out: &mut [u8], size: usize) {
    let eighths = out.len() / size / 8;
    for byte in 0..size {
        for eighth in 0..eighths {
            let mut matrix = 0;
            for bit in 0..8 {
                matrix |= u64::from(sorted[(byte * 8 + bit) * eighths + eighth]) << (8 * bit);
            }
            let matrix = turned(matrix).to_le_bytes();
            for (value, bits) in matrix.iter().enumerate() {
                out[(eighth * 8 + value) * size + byte] = *bits;
            }
        }
    }
}

/// 8 × 8 bits, rows and columns exchanged.
const fn turned(mut x: u64) -> u64 {
    let mut t = (x ^ (x >> 7)) & 0x00AA_00AA_00AA_00AA;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000_CCCC_0000_CCCC;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x0000_0000_F0F0_F0F0;
    x ^ t ^ (t << 28)
}
