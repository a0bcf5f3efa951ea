//! Rows out of a file in which each channel's samples lie together, or each row's: what TDMS and SEG-Y have in common.
//!
//! A file is a list of pieces, each with a rule that says where a sample is. Rows are gathered by positioned reads: one
//! for many channels where little else lies between their samples, one for each channel where much does. Memory is
//! bounded by the rows that are asked for and [`MOST_AT_ONCE`].

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::capture::{Rows, RowsError, io_error};
use crate::acquisition::SampleFormat;

/// Bytes that are read at once, at most.
const MOST_AT_ONCE: u64 = 8 << 20;
/// Bytes that are cheaper to read than to leave out.
const WORTH_READING: u64 = 4096;

/// What a sample is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Integers.
    I8,
    /// Of two bytes.
    I16,
    /// Of four bytes.
    I32,
    /// IEEE 754, single precision.
    F32,
    /// IEEE 754, double precision.
    F64,
    /// Hexadecimal floating point of IBM/360, four bytes.
    Ibm,
}

impl Number {
    /// Bytes of one.
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 | Self::Ibm => 4,
            Self::F64 => 8,
        }
    }

    /// How it comes into blocks: small integers as `i16`, everything else as `f32`.
    pub(super) const fn format(self) -> SampleFormat {
        match self {
            Self::I8 | Self::I16 => SampleFormat::I16,
            Self::I32 | Self::F32 | Self::F64 | Self::Ibm => SampleFormat::F32,
        }
    }

    /// Whether single precision may lose something of it: it is then handed on as `f64`, for others to narrow.
    const fn is_wide(self) -> bool {
        matches!(self, Self::I32 | Self::F64)
    }

    /// Bytes of one as it is handed on.
    const fn handed_on(self) -> usize {
        if self.is_wide() { size_of::<f64>() } else { self.format().bytes() }
    }

    /// Puts the number that stands at the beginning of `from` into all of `to`, which holds one sample as it is handed
    /// on.
    fn put(self, from: &[u8], big_endian: bool, to: &mut [u8]) {
        match self {
            Self::I8 => to.copy_from_slice(&i16::from(i8::from_ne_bytes(ordered(from, big_endian))).to_ne_bytes()),
            Self::I16 => to.copy_from_slice(&i16::from_ne_bytes(ordered(from, big_endian)).to_ne_bytes()),
            Self::I32 => to.copy_from_slice(&f64::from(i32::from_ne_bytes(ordered(from, big_endian))).to_ne_bytes()),
            Self::F32 => single(to, f32::from_ne_bytes(ordered(from, big_endian))),
            Self::F64 => to.copy_from_slice(&ordered::<8>(from, big_endian)),
            Self::Ibm => single(to, ibm(u32::from_ne_bytes(ordered(from, big_endian)))),
        }
    }
}

/// The first bytes in this machine's order.
fn ordered<const N: usize>(from: &[u8], big_endian: bool) -> [u8; N] {
    let mut bytes = from.first_chunk().copied().unwrap_or([0; N]);
    if big_endian != cfg!(target_endian = "big") {
        bytes.reverse();
    }
    bytes
}

fn single(to: &mut [u8], value: f32) {
    to.copy_from_slice(&value.to_ne_bytes());
}

/// Sign, exponent of 16 with an excess of 64, 24 bits of a fraction.
fn ibm(word: u32) -> f32 {
    let fraction = f64::from(word & 0x00FF_FFFF) / f64::from(1 << 24);
    let exponent = ((word >> 24) & 0x7F) as i32 - 64;
    let value = fraction * 16f64.powi(exponent);
    (if word >> 31 == 1 { -value } else { value }) as f32
}

/// Where each channel's first sample of a chunk is, in bytes from the beginning of the chunk.
#[derive(Clone, Debug)]
pub(super) enum Channels {
    /// So many bytes apart.
    Even {
        /// That of the first channel.
        first: u64,
        /// From each to the next.
        step: u64,
    },
    /// Anywhere.
    At(Arc<[u64]>),
}

impl Channels {
    /// The shortest way to say this.
    pub(super) fn of(places: Vec<u64>) -> Self {
        let (Some(&first), step) = (places.first(), places.get(1).zip(places.first()).map(|(b, a)| b.wrapping_sub(*a)))
        else {
            return Self::At(places.into());
        };
        let step = step.unwrap_or(0);
        let is_even = (places.iter().zip(0u64..)).all(|(&at, i)| at == first.wrapping_add(step.wrapping_mul(i)));
        if is_even && step < 1 << 60 { Self::Even { first, step } } else { Self::At(places.into()) }
    }

    fn place(&self, channel: usize) -> u64 {
        match self {
            Self::Even { first, step } => first + step * channel as u64,
            Self::At(places) => places.get(channel).copied().unwrap_or(0),
        }
    }

    /// The lowest and the highest place of these channels.
    fn span(&self, channels: &Range<usize>) -> (u64, u64) {
        match self {
            Self::Even { .. } => (self.place(channels.start), self.place(channels.end - 1)),
            Self::At(places) => {
                let these = places.get(channels.clone()).unwrap_or_default().iter();
                these.fold((u64::MAX, 0), |(low, high), &at| (low.min(at), high.max(at)))
            }
        }
    }
}

/// Chunks of rows, one behind the other, all of the same layout. Whoever makes one has compared it with the file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// First row.
    pub(super) row: u64,
    /// Rows in each; not 0.
    pub(super) chunk_rows: u64,
    /// Bytes of each.
    pub(super) chunk_bytes: u64,
    /// Byte at which the first begins.
    pub(super) at: u64,
    /// Where channels are.
    pub(super) channels: Channels,
    /// Bytes from a sample of a channel to the next.
    pub(super) row_step: u64,
    /// Whether the most significant byte comes first.
    pub(super) big_endian: bool,
}

/// The samples.
pub(super) struct Strips {
    path: PathBuf,
    file: File,
    pieces: Vec<Piece>,
    channels: usize,
    number: Number,
    buffer: Vec<u8>,
}

/// Rows of one chunk that are gathered.
struct Window {
    piece: usize,
    /// Byte of the chunk, and the first row in it.
    at: u64,
    row: u64,
    rows: u64,
    /// The first row's place in what is gathered.
    out_row: usize,
}

impl Strips {
    /// Takes the pieces, in the order of their rows.
    pub(super) fn new(path: PathBuf, file: File, pieces: Vec<Piece>, channels: usize, number: Number) -> Self {
        Self { path, file, pieces, channels, number, buffer: Vec::new() }
    }

    /// Gathers `channels` of a window: at once, or by halves of the channels, then of the rows.
    fn gather(&mut self, window: &Window, channels: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        let piece = &self.pieces[window.piece];
        let size = self.number.bytes();
        let (low, high) = piece.channels.span(&channels);
        let span = (high - low) + (window.rows - 1) * piece.row_step + size;
        let wanted = channels.len() as u64 * window.rows * size;
        let at_once = span <= MOST_AT_ONCE && (span <= 2 * wanted || span <= WORTH_READING);
        if !at_once && channels.len() > 1 {
            let middle = usize::midpoint(channels.start, channels.end);
            self.gather(window, channels.start..middle, out)?;
            return self.gather(window, middle..channels.end, out);
        }
        if !at_once && window.rows > 1 {
            let half = window.rows / 2;
            self.gather(&Window { rows: half, ..*window }, channels.clone(), out)?;
            let (row, rows, out_row) = (window.row + half, window.rows - half, window.out_row + half as usize);
            return self.gather(&Window { row, rows, out_row, ..*window }, channels, out);
        }
        let from = window.at + low + window.row * piece.row_step;
        self.buffer.resize(span as usize, 0);
        self.file.read_exact_at(&mut self.buffer, from).map_err(|e| io_error(&self.path, "read samples", e))?;
        let out_bytes = self.number.handed_on();
        for channel in channels {
            let first = (piece.channels.place(channel) - low) as usize;
            for row in 0..window.rows as usize {
                let from = &self.buffer[first + row * piece.row_step as usize..];
                let to = ((window.out_row + row) * self.channels + channel) * out_bytes;
                self.number.put(from, piece.big_endian, &mut out[to..to + out_bytes]);
            }
        }
        Ok(())
    }
}

impl Rows for Strips {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        out.resize(rows * self.channels * self.number.handed_on(), 0);
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            let index = self.pieces.partition_point(|piece| piece.row <= row).saturating_sub(1);
            let piece = &self.pieces[index];
            let (chunk, within) = ((row - piece.row) / piece.chunk_rows, (row - piece.row) % piece.chunk_rows);
            let rows = (piece.chunk_rows - within).min(end - row);
            let at = piece.at + chunk * piece.chunk_bytes;
            let window = Window { piece: index, at, row: within, rows, out_row: (row - first) as usize };
            self.gather(&window, 0..self.channels, out)?;
            row += rows;
        }
        Ok(())
    }

    fn is_wide(&self) -> bool {
        self.number.is_wide()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ibm_floats() {
        for (word, value) in [
            (0xC276_A000, -118.625),
            (0x4110_0000, 1.0),
            (0, 0.0),
            (0x7FFF_FFFF, f32::INFINITY),
            (0x0010_0000, 0.0),
            (0x3F10_0000, 0.003_906_25),
        ] {
            assert_eq!(ibm(word).to_bits(), f32::to_bits(value), "{word:08x}");
        }
    }

    proptest! {
        #[test]
        fn every_sample_is_found_however_rows_lie(
            channels in 1usize..9,
            pieces in prop::collection::vec((1u64..5, 1u64..40, any::<bool>(), 0u64..40, any::<bool>(), any::<bool>()), 1..4),
            spread in prop_oneof![Just(0u64), Just(3), Just(5000)],
            first in 0u64..60,
            rows in 1usize..100,
        ) {
            // A file is made sample by sample: that of row r and channel c is r * 16 + c.
            let (mut bytes, mut made, mut row) = (Vec::new(), Vec::new(), 0);
            for (chunks, chunk_rows, interleaved, pad, big_endian, backward) in pieces {
                let own = 2 + spread;
                let order = |c: usize| (if backward { channels - 1 - c } else { c }) as u64;
                let (places, row_step): (Vec<u64>, u64) = if interleaved {
                    ((0..channels).map(|c| pad + order(c) * own).collect(), own * channels as u64)
                } else {
                    ((0..channels).map(|c| pad + order(c) * (chunk_rows * 2 + spread)).collect(), 2)
                };
                let chunk_bytes = pad + (chunk_rows * own) * channels as u64 + spread;
                let at = bytes.len() as u64;
                bytes.resize(bytes.len() + (chunks * chunk_bytes) as usize, 0xEE);
                for (chunk, r, c) in (0..chunks).flat_map(|k| (0..chunk_rows).flat_map(move |r| (0..channels).map(move |c| (k, r, c)))) {
                    let value = ((row + chunk * chunk_rows + r) * 16 + c as u64) as i16;
                    let to = (at + chunk * chunk_bytes + places[c] + r * row_step) as usize;
                    bytes[to..to + 2].copy_from_slice(&if big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
                }
                made.push(Piece { row, chunk_rows, chunk_bytes, at, channels: Channels::of(places), row_step, big_endian });
                row += chunks * chunk_rows;
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let first = first % row;
            let rows = rows.min((row - first) as usize);
            let mut out = Vec::new();
            Strips::new("made".into(), file, made, channels, Number::I16).read(first, rows, &mut out).expect("all is there");
            let found: Vec<i16> = out.as_chunks().0.iter().map(|&b| i16::from_ne_bytes(b)).collect();
            let expected: Vec<i16> =
                (first..first + rows as u64).flat_map(|r| (0..channels as u64).map(move |c| (r * 16 + c) as i16)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
