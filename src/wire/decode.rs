//! Bytes to a checked view of them.

use half::f16;

use super::header::text;
use super::{HEADER_BYTES, Header, MAGIC, MissingRow, RegionRow, SCHEMA, header_bytes, value_bytes};
use crate::frame::{Dtype, ValueKind, View};
use crate::units::Rational;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// Fewer bytes than the header, or than header and values together.
    #[error("{have} bytes, but {need} are needed")]
    TooShort {
        /// Bytes that should be there.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// Bytes behind the last value.
    #[error("{0} bytes behind the last value")]
    Trailing(u64),
    /// Another kind of file or message.
    #[error("not a fiberd frame: it does not begin with FIBERDFR")]
    Magic,
    /// Written by another generation.
    #[error("schema version {0}, but this reader knows version 2")]
    Schema(u16),
    /// The header's length makes no sense.
    #[error("header of {0} bytes: it must be a multiple of 64 and at least 640")]
    HeaderBytes(u16),
    /// Header damaged.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// Values damaged.
    #[error("the checksum of the values does not match")]
    PayloadChecksum,
    /// A field holds what it never may.
    #[error("field {0} holds an impossible value")]
    Field(&'static str),
}

/// A frame as it arrived: its header, and its values still as bytes.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// Every field, checked.
    pub header: Header,
    /// The tables of the header.
    tables: &'a [u8],
    /// The stored values in C order.
    pub payload: &'a [u8],
    /// Kind of view.
    pub view: View,
    /// What the values are.
    pub value: ValueKind,
    /// How they are stored.
    pub dtype: Dtype,
    /// Pulse repetition rate, Hz.
    pub prr: Rational,
    /// Seconds from line to line.
    pub line_period_s: Rational,
}

/// Reads one frame that fills `bytes` completely.
///
/// # Errors
/// [`WireError`] for anything that the encoder would not have written; never panics.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, WireError> {
    let (header, tables, payload) = checked(bytes)?;
    let view = match header.view {
        0 => View::Multi,
        1 => View::Single,
        2 => View::Waterfall,
        _ => return Err(WireError::Field("view")),
    };
    let value = match header.value {
        0 => ValueKind::Amplitude,
        1 => ValueKind::Power,
        2 => ValueKind::Decibel { reference: header.db_reference },
        _ => return Err(WireError::Field("value")),
    };
    let dtype = match header.dtype {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::U8,
        _ => return Err(WireError::Field("dtype")),
    };
    let prr = Rational::new(header.prr_num, header.prr_den).ok_or(WireError::Field("prr"))?;
    let line_period_s =
        Rational::new(header.line_period_num, header.line_period_den).ok_or(WireError::Field("line_period"))?;
    check_shape(&header, view, dtype)?;
    let texts: [(&[u8], _); 5] = [
        (&header.site, "site"),
        (&header.name, "name"),
        (&header.job, "job"),
        (&header.unit, "unit"),
        (&header.axes, "axes"),
    ];
    if let Some((_, name)) = texts.iter().find(|(field, _)| text(field).is_none()) {
        return Err(WireError::Field(name));
    }
    Ok(Decoded { header, tables, payload, view, value, dtype, prr, line_period_s })
}

/// Lengths and checksums. The fixed part of the header, its tables, and the values.
fn checked(bytes: &[u8]) -> Result<(Header, &[u8], &[u8]), WireError> {
    let too_short = |need| WireError::TooShort { need, have: bytes.len() as u64 };
    let header: Header = match bytes.get(..HEADER_BYTES) {
        Some(first) => bytemuck::pod_read_unaligned(first),
        None => return Err(too_short(HEADER_BYTES as u64)),
    };
    if header.magic != MAGIC {
        return Err(WireError::Magic);
    }
    if header.schema != SCHEMA {
        return Err(WireError::Schema(header.schema));
    }
    let header_len = usize::from(header.header_bytes);
    if header_len < HEADER_BYTES || !header_len.is_multiple_of(64) {
        return Err(WireError::HeaderBytes(header.header_bytes));
    }
    let Some((front, payload)) = bytes.split_at_checked(header_len) else {
        return Err(too_short(header_len as u64));
    };
    let tables = &front[HEADER_BYTES..];
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytemuck::bytes_of(&Header { header_crc32: 0, ..header }));
    crc.update(tables);
    if crc.finalize() != header.header_crc32 {
        return Err(WireError::HeaderChecksum);
    }
    let rows = |count: u32| (count as usize).min(usize::from(u16::MAX));
    if header_bytes(rows(header.regions), rows(header.missing)) > header_len {
        return Err(WireError::Field("regions and missing"));
    }
    let have = payload.len() as u64;
    if have < header.payload_bytes {
        return Err(too_short(header.payload_bytes.saturating_add(header_len as u64)));
    }
    if have > header.payload_bytes {
        return Err(WireError::Trailing(have - header.payload_bytes));
    }
    if crc32fast::hash(payload) != header.payload_crc32 {
        return Err(WireError::PayloadChecksum);
    }
    Ok((header, tables, payload))
}

/// The shape must be the one that the view makes of the counts, and the values must fill it.
fn check_shape(header: &Header, view: View, dtype: Dtype) -> Result<(), WireError> {
    let (lines, channels, bins) = (header.line_count, header.channel_count, header.frequency_count);
    let (ndim, shape) = match view {
        View::Waterfall => (2, [lines, channels, 0, 0]),
        View::Single => (2, [lines, bins, 0, 0]),
        View::Multi => (3, [lines, channels, bins, 0]),
    };
    if (header.ndim, header.shape) != (ndim, shape) {
        return Err(WireError::Field("shape"));
    }
    let bytes = shape[..ndim as usize]
        .iter()
        .try_fold(value_bytes(dtype) as u64, |product, &length| product.checked_mul(u64::from(length)));
    if bytes == Some(header.payload_bytes) { Ok(()) } else { Err(WireError::Field("shape")) }
}

impl<'a> Decoded<'a> {
    /// Name of the fiber.
    pub fn site(&self) -> &str {
        text(&self.header.site).unwrap_or_default()
    }

    /// Name of the standing view, or id of the job.
    pub fn name(&self) -> &str {
        text(&self.header.name).unwrap_or_default()
    }

    /// Job id; empty for standing views.
    pub fn job(&self) -> &str {
        text(&self.header.job).unwrap_or_default()
    }

    /// Unit of the values.
    pub fn unit(&self) -> &str {
        text(&self.header.unit).unwrap_or_default()
    }

    /// Order of the dimensions.
    pub fn axes(&self) -> &str {
        text(&self.header.axes).unwrap_or_default()
    }

    /// Length of each dimension, slowest first.
    pub fn shape(&self) -> &[u32] {
        &self.header.shape[..self.header.ndim as usize]
    }

    /// Regions behind the first, as far as channels of the frame lie in them.
    pub fn regions(&self) -> impl DoubleEndedIterator<Item = RegionRow> + 'a {
        let bytes = self.header.regions as usize * size_of::<RegionRow>();
        let rows = self.tables[..bytes].chunks_exact(size_of::<RegionRow>());
        rows.map(bytemuck::pod_read_unaligned)
    }

    /// Traces that are missing in or before partial lines.
    pub fn missing(&self) -> impl Iterator<Item = MissingRow> + 'a {
        let begin = self.header.regions as usize * size_of::<RegionRow>();
        let rows = self.tables[begin..].chunks_exact(size_of::<MissingRow>());
        rows.take(self.header.missing as usize).map(bytemuck::pod_read_unaligned)
    }

    /// Distance of the frame's channel number `i` (from 0) on the fiber, metres.
    pub fn distance_m(&self, i: u32) -> f64 {
        let channel = u64::from(self.header.channel_start) + u64::from(i) * u64::from(self.header.channel_step);
        let behind = |row: &RegionRow| u64::from(row.first_channel) <= channel;
        match self.regions().rfind(behind) {
            Some(RegionRow { first_channel, start_m, dx_m, .. }) => {
                start_m + (channel - u64::from(first_channel)) as f64 * dx_m
            }
            None => self.header.fiber_start_m + channel as f64 * self.header.dx_m,
        }
    }

    /// The physical values in C order, with scale and offset applied.
    pub fn values(&self) -> impl Iterator<Item = f32> + 'a {
        let (dtype, scale, offset) = (self.dtype, self.header.scale, self.header.offset);
        self.payload.chunks_exact(value_bytes(dtype)).map(move |bytes| match (dtype, bytes) {
            (Dtype::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Dtype::F16, &[a, b]) => scale * f16::from_le_bytes([a, b]).to_f32(),
            (_, bytes) => bytes.first().map_or(f32::NAN, |&stored| offset + scale * f32::from(stored)),
        })
    }
}
