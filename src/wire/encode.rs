//! [`Frame`] to bytes.

use bytemuck::Zeroable;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::header::padded;
use super::{HEADER_BYTES, Header, MAGIC, SCHEMA, axes, value_bytes};
use crate::frame::{Dtype, Frame, ValueKind, View};

/// Values converted at a time, on the stack.
const CHUNK: usize = 512;

/// Replaces the content of `out` by the bytes of `frame`. Once `out` has grown nothing is allocated.
///
/// `f16` follows IEEE 754: above 65504 it is infinity. `u8` holds `round((value − offset) / scale)`, saturated to
/// 0…255; NaN becomes 0.
pub fn encode(frame: &Frame, site: &str, out: &mut Vec<u8>) {
    let dtype = frame.stream.dtype;
    let payload_bytes = encoded_bytes(frame) - HEADER_BYTES;
    out.clear();
    out.reserve(HEADER_BYTES + payload_bytes);
    out.resize(HEADER_BYTES, 0);
    for piece in frame.values.pieces() {
        match dtype {
            Dtype::F32 => out.extend_from_slice(bytemuck::cast_slice(piece)),
            Dtype::F16 => extend_f16(piece, out),
            Dtype::U8 => extend_u8(piece, frame.stream.u8_range, out),
        }
    }
    let mut header = header(frame, site);
    header.payload_bytes = payload_bytes as u64;
    header.payload_crc32 = crc32fast::hash(&out[HEADER_BYTES..]);
    header.header_crc32 = crc32fast::hash(bytemuck::bytes_of(&header));
    out[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
}

/// How many bytes `frame` has on the wire.
pub fn encoded_bytes(frame: &Frame) -> usize {
    HEADER_BYTES + frame.values.len() * value_bytes(frame.stream.dtype)
}

/// The bytes of `frame` in memory of their own.
pub fn encode_vec(frame: &Frame, site: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, site, &mut out);
    out
}

/// Appends `values` as little-endian float16.
pub(crate) fn extend_f16(values: &[f32], out: &mut Vec<u8>) {
    let mut stored = [f16::ZERO; CHUNK];
    for chunk in values.chunks(CHUNK) {
        let stored = &mut stored[..chunk.len()];
        stored.convert_from_f32_slice(chunk);
        out.extend_from_slice(bytemuck::cast_slice(stored));
    }
}

fn extend_u8(values: &[f32], (scale, offset): (f32, f32), out: &mut Vec<u8>) {
    // A float cast saturates and turns NaN into 0, which is the whole contract.
    let per_step = 1.0 / scale;
    out.extend(values.iter().map(|value| ((value - offset) * per_step + 0.5) as u8));
}

/// All fields but lengths and checksums.
fn header(frame: &Frame, site: &str) -> Header {
    let (acquisition, stream) = (&frame.acquisition, &frame.stream);
    let (value, db_reference) = match stream.value {
        ValueKind::Amplitude => (0, 0.0),
        ValueKind::Power => (1, 0.0),
        ValueKind::Decibel { reference } => (2, reference),
    };
    let (dtype, (scale, offset)) = match stream.dtype {
        Dtype::F32 => (0, (1.0, 0.0)),
        Dtype::F16 => (1, (1.0, 0.0)),
        Dtype::U8 => (2, stream.u8_range),
    };
    let (ndim, shape) = shape(frame);
    Header {
        magic: MAGIC,
        schema: SCHEMA,
        header_bytes: HEADER_BYTES as u16,
        flags: frame.flags,
        epoch: acquisition.epoch,
        sequence: frame.sequence,
        first_line: frame.first_line,
        first_trace: frame.first_trace.0,
        end_trace: frame.end_trace.0,
        utc_first_ns: frame.utc_first_ns,
        utc_end_ns: frame.utc_end_ns,
        gap_traces: frame.gap_traces,
        prr_num: acquisition.prr.num(),
        prr_den: acquisition.prr.den(),
        prr_hz: acquisition.prr.to_f64(),
        dx_m: acquisition.dx_m,
        fiber_start_m: acquisition.fiber_start_m,
        line_period_num: stream.line_period_s.num(),
        line_period_den: stream.line_period_s.den(),
        frequency_start_hz: stream.frequencies.start_hz,
        frequency_step_hz: stream.frequencies.step_hz,
        db_reference,
        running_min: frame.running_min,
        running_max: frame.running_max,
        scale,
        offset,
        stream: stream.number,
        channel_start: stream.channels.start as u32,
        channel_step: stream.channels.step as u32,
        channel_count: stream.channels.count as u32,
        frequency_count: stream.frequencies.count as u32,
        line_count: frame.lines as u32,
        nfft: stream.nfft as u32,
        view: stream.view as u8,
        value,
        dtype,
        clock: acquisition.clock.code() as u8,
        source: acquisition.source.code() as u8,
        ndim,
        shape,
        site: padded(site),
        name: padded(&stream.name),
        job: padded(&stream.job),
        unit: padded(&stream.unit),
        axes: padded(axes(stream.view)),
        ..Header::zeroed()
    }
}

/// Dimensions in use and their lengths, in the order of [`axes`].
pub(crate) fn shape(frame: &Frame) -> (u32, [u32; 4]) {
    let (lines, channels, bins) = frame.shape();
    let (lines, channels, bins) = (lines as u32, channels as u32, bins as u32);
    match frame.stream.view {
        View::Waterfall => (2, [lines, channels, 0, 0]),
        View::Single => (2, [lines, bins, 0, 0]),
        View::Multi => (3, [lines, channels, bins, 0]),
    }
}
