//! Frame to bytes: wire format version 2, the same bytes through the broker and every later endpoint.
//!
//! A frame is a little-endian [`Header`] of [`HEADER_BYTES`], tables of regions and of missing traces, both empty as a
//! rule, and then its values in C order, nothing after them. The page for readers in other languages is `FRAME.md` beside
//! this file; `fixtures/wire` holds one frame of each dtype that the tests compare byte by byte. Pure: no thread, no I/O,
//! no clock. The encoder allocates nothing once its buffer has grown; the decoder takes bytes from anybody and never panics.

mod decode;
mod encode;
mod header;
mod narrow;

pub use decode::{Decoded, WireError, decode};
pub use encode::{encode, encode_vec, encoded_bytes};
pub(crate) use encode::{region_rows, shape};
pub use header::{
    HEADER_BYTES, Header, MAGIC, MAX_MISSING_ROWS, MAX_REGION_ROWS, MissingRow, RegionRow, SCHEMA, header_bytes,
};
pub(crate) use narrow::extend_f16;
pub use narrow::{Clipped, Tally};

use crate::frame::{Dtype, View};

#[cfg(target_endian = "big")]
compile_error!("the wire format is little-endian and is written from memory: a big-endian machine needs swaps first");

/// Bytes of one stored value.
pub const fn value_bytes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 => 2,
        Dtype::U8 => 1,
    }
}

/// The dtype as numpy writes it: `<f4`, `<f2`, `|u1`.
pub const fn numpy_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "<f4",
        Dtype::F16 => "<f2",
        Dtype::U8 => "|u1",
    }
}

/// Order of the dimensions, slowest first. A waterfall has one bin and a single-channel view one channel: that
/// dimension is left out.
pub const fn axes(view: View) -> &'static str {
    match view {
        View::Waterfall => "line,channel",
        View::Single => "line,frequency",
        View::Multi => "line,channel,frequency",
    }
}

#[cfg(test)]
mod tests;
