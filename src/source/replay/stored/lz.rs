//! Compressions that are bounded by what must come out: gzip, LZF, LZ4 and Zstandard.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Bytes that gzip makes of one, at most (1032, by its format).
const MOST_OUT_OF_ONE: usize = 1040;

/// gzip as HDF5 has it (zlib): at most `most` bytes, in memory that was used before.
pub(super) fn gzip(packed: &[u8], most: usize, mut out: Vec<u8>) -> Result<Vec<u8>, String> {
    // Into memory of its full length at once: that spares a copy of everything. Of few bytes not many can come.
    out.resize(packed.len().saturating_mul(MOST_OUT_OF_ONE).saturating_add(1).min(most + 1), 0);
    let mut decoder = Decompress::new(true);
    let status = decoder.decompress(packed, &mut out, FlushDecompress::Finish).map_err(|_| damaged("gzip"))?;
    out.truncate(usize::try_from(decoder.total_out()).unwrap_or(usize::MAX));
    match status {
        _ if out.len() > most => bounded(out, most, "gzip"),
        Status::StreamEnd => Ok(out),
        Status::Ok | Status::BufError => Err(damaged("gzip")),
    }
}

/// Zstandard frames: at most `most` bytes.
pub(super) fn zstandard(mut packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut decoder = FrameDecoder::new();
    // A frame need not declare a window that is larger than all of its content.
    decoder.set_max_window_size((most as u64).max(8 << 20));
    while !packed.is_empty() {
        decoder.init(&mut packed).map_err(|_| damaged("Zstandard"))?;
        while !decoder.is_finished() {
            let step = BlockDecodingStrategy::UptoBlocks(1);
            decoder.decode_blocks(&mut packed, step).map_err(|_| damaged("Zstandard"))?;
            decoder.collect_to_writer(&mut out).map_err(|_| damaged("Zstandard"))?;
            if out.len() > most {
                return bounded(out, most, "Zstandard");
            }
        }
        decoder.collect_to_writer(&mut out).map_err(|_| damaged("Zstandard"))?;
    }
    bounded(out, most, "Zstandard")
}

/// One block of LZ4 that gives exactly as many bytes as `out` has.
pub(super) fn lz4_block(packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    match lz4_flex::block::decompress_into(packed, out) {
        Ok(len) if len == out.len() => Ok(()),
        Ok(len) => Err(format!("LZ4: {len} bytes instead of {}", out.len())),
        Err(_) => Err(damaged("LZ4")),
    }
}

/// LZ4 as a filter: the length, the length of a block, and blocks with their lengths, all big-endian.
pub(super) fn lz4(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let short = || "LZ4: it ends too early".to_owned();
    let (head, mut rest) = packed.split_at_checked(12).ok_or_else(short)?;
    let (len, block) = (be64(head), be32(&head[8..]));
    if len > most as u64 || block == 0 {
        return Err(format!("LZ4: {len} bytes in blocks of {block}; at most {most} can be right"));
    }
    let mut out = vec![0; len as usize];
    for piece in out.chunks_mut(block as usize) {
        let (head, body) = rest.split_at_checked(4).ok_or_else(short)?;
        let (body, after) = body.split_at_checked(be32(head) as usize).ok_or_else(short)?;
        rest = after;
        if body.len() == piece.len() { piece.copy_from_slice(body) } else { lz4_block(body, piece)? }
    }
    Ok(out)
}

/// LZF: at most `most` bytes.
pub(super) fn lzf(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let short = || "LZF: it ends too early".to_owned();
    let mut out = Vec::with_capacity(most.min(packed.len().saturating_mul(4)));
    let mut at = 0;
    while let Some(&control) = packed.get(at) {
        at += 1;
        if control < 32 {
            let end = at + usize::from(control) + 1;
            out.extend_from_slice(packed.get(at..end).ok_or_else(short)?);
            at = end;
        } else {
            let mut next = || {
                at += 1;
                packed.get(at - 1).copied().map(usize::from).ok_or_else(short)
            };
            let mut len = usize::from(control >> 5);
            if len == 7 {
                len += next()?;
            }
            let back = (usize::from(control & 31) << 8) + next()? + 1;
            repeat(&mut out, back, len + 2).ok_or("LZF: it refers to what is not there")?;
        }
        if out.len() > most {
            return bounded(out, most, "LZF");
        }
    }
    Ok(out)
}

/// Appends `len` bytes from `back` bytes before the end on; they may reach into themselves.
pub(super) fn repeat(out: &mut Vec<u8>, back: usize, len: usize) -> Option<()> {
    let from = out.len().checked_sub(back)?;
    if back >= len {
        out.extend_from_within(from..from + len);
    } else {
        (0..len).for_each(|nth| out.push(out[from + nth]));
    }
    Some(())
}

fn damaged(name: &str) -> String {
    format!("{name}: what is stored is none, or needs more memory than its content")
}

fn bounded(out: Vec<u8>, most: usize, name: &str) -> Result<Vec<u8>, String> {
    if out.len() <= most { Ok(out) } else { Err(format!("{name}: more than the {most} bytes of a chunk come out")) }
}

/// The first four bytes as a big-endian number; missing ones are zero.
pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// As [`be32`], of eight.
pub(super) fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
