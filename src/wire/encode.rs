//! [`Frame`] to bytes.

use bytemuck::Zeroable;

use super::header::padded;
use super::narrow::{Clipped, F16_CODE, extend_f16, extend_u8, f16_scale};
use super::{
    HEADER_BYTES, Header, MAGIC, MAX_MISSING_ROWS, MAX_REGION_ROWS, MissingRow, RegionRow, SCHEMA, axes, header_bytes,
    value_bytes,
};
use crate::frame::{Dtype, Frame, Stream, ValueKind, View};

/// The smallest power that decibels tell from nothing, and the largest.
const POWERS: (f64, f64) = (f32::MIN_POSITIVE as f64, f32::MAX as f64);

/// Replaces the content of `out` by the bytes of `frame`, and returns the fixed part of its header. Once `out` has grown
/// nothing is allocated.
///
/// `f16` holds `value / scale`, with a power of two as the scale that no value becomes infinite by. `u8` holds
/// `round((value − offset) / scale)`, saturated to 0…255; NaN becomes 0.
pub fn encode(frame: &Frame, site: &str, out: &mut Vec<u8>) -> Header {
    let header_len = header_len(frame);
    out.clear();
    out.reserve(encoded_bytes(frame));
    out.resize(HEADER_BYTES, 0);
    region_rows(frame).for_each(|row| out.extend_from_slice(bytemuck::bytes_of(&row)));
    missing_rows(frame).for_each(|row| out.extend_from_slice(bytemuck::bytes_of(&row)));
    out.resize(header_len, 0);
    let ((scale, offset), clipped) = extend_values(frame, out);
    let mut header = Header {
        header_bytes: header_len as u16,
        payload_bytes: (out.len() - header_len) as u64,
        payload_crc32: crc32fast::hash(&out[header_len..]),
        scale,
        offset,
        clipped_low: u32::try_from(clipped.low).unwrap_or(u32::MAX),
        clipped_high: u32::try_from(clipped.high).unwrap_or(u32::MAX),
        ..header(frame, site)
    };
    out[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    header.header_crc32 = crc32fast::hash(&out[..header_len]);
    out[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    header
}

/// How many bytes `frame` has on the wire.
pub fn encoded_bytes(frame: &Frame) -> usize {
    header_len(frame) + frame.values.len() * value_bytes(frame.stream.dtype)
}

/// The bytes of `frame` in memory of their own.
pub fn encode_vec(frame: &Frame, site: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, site, &mut out);
    out
}

/// Appends the values. Returns scale and offset, and what was clipped.
fn extend_values(frame: &Frame, out: &mut Vec<u8>) -> ((f32, f32), Clipped) {
    let pieces = || frame.values.pieces().iter().map(Vec::as_slice);
    let range = match frame.stream.dtype {
        Dtype::F32 => (1.0, 0.0),
        Dtype::F16 => (f16_scale(pieces()), 0.0),
        Dtype::U8 => frame.stream.u8_range,
    };
    let mut clipped = Clipped::default();
    for piece in pieces() {
        let of_piece = match frame.stream.dtype {
            Dtype::F32 => {
                out.extend_from_slice(bytemuck::cast_slice(piece));
                Clipped::default()
            }
            Dtype::F16 => extend_f16(piece, range.0, out),
            Dtype::U8 => extend_u8(piece, range, out),
        };
        clipped += of_piece;
    }
    (range, clipped)
}

fn header_len(frame: &Frame) -> usize {
    header_bytes(region_rows(frame).count(), missing_rows(frame).count())
}

/// The regions behind the first in which channels of the frame lie.
pub(crate) fn region_rows(frame: &Frame) -> impl Iterator<Item = RegionRow> {
    let (regions, axis) = (&frame.acquisition.regions, frame.stream.channels);
    let end = axis.start + axis.count.saturating_sub(1) * axis.step + 1;
    let next = |at: usize| regions.get(at + 1).map_or(usize::MAX, |next| next.first_channel);
    let touched = move |at: usize| regions[at].first_channel < end && next(at) > axis.start;
    (0..regions.len()).filter(move |&at| touched(at)).take(MAX_REGION_ROWS).map(|at| RegionRow {
        first_channel: regions[at].first_channel as u32,
        reserved: 0,
        start_m: regions[at].start_m,
        dx_m: regions[at].dx_m,
    })
}

/// The newest, when there are more than fit.
fn missing_rows(frame: &Frame) -> impl Iterator<Item = MissingRow> {
    let skipped = frame.missing.len().saturating_sub(MAX_MISSING_ROWS);
    frame.missing[skipped..].iter().map(|range| MissingRow { first_trace: range.start, end_trace: range.end })
}

/// All fields but lengths, checksums, and what belongs to the stored values.
fn header(frame: &Frame, site: &str) -> Header {
    let (acquisition, stream) = (&frame.acquisition, &frame.stream);
    let in_db = |power: f64, reference: f64| 10.0 * (power / reference).log10();
    let (value, db_reference, db_floor, db_ceiling) = match stream.value {
        ValueKind::Amplitude => (0, 0.0, 0.0, 0.0),
        ValueKind::Power => (1, 0.0, 0.0, 0.0),
        ValueKind::Decibel { reference } => (2, reference, in_db(POWERS.0, reference), in_db(POWERS.1, reference)),
    };
    let dtype = match stream.dtype {
        Dtype::F32 => 0,
        Dtype::F16 => F16_CODE,
        Dtype::U8 => 2,
    };
    let (ndim, shape) = shape(frame);
    let (windows, window_offset) = windows_of_first_line(frame);
    Header {
        magic: MAGIC,
        schema: SCHEMA,
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
        window: stream.window_code,
        difference_corrected: u8::from(stream.difference_corrected),
        computed_by: u8::from(acquisition.band.is_some()),
        regions: region_rows(frame).count() as u32,
        missing: missing_rows(frame).count() as u32,
        ndim,
        shape,
        site: padded(site),
        name: padded(&stream.name),
        job: padded(&stream.job),
        unit: padded(&stream.unit),
        axes: padded(axes(stream.view)),
        unit_factor: stream.unit_factor,
        gauge_length_m: acquisition.gauge_length_m.unwrap_or(f64::NAN),
        power_factor: stream.power_factor,
        db_floor,
        db_ceiling,
        utc_uncertainty_ns: frame.utc_uncertainty_ns,
        window_offset,
        windows,
        window_hop: window_hop(stream) as u32,
        ..Header::zeroed()
    }
}

/// Traces from one window of a line to the next; a window of one trace is followed by that of the next.
fn window_hop(stream: &Stream) -> u64 {
    (stream.nfft as u64 / 2).max(1)
}

/// How many windows the first line is made of when all its traces are there, and where the first of them begins,
/// counted from the first trace of the line.
fn windows_of_first_line(frame: &Frame) -> (u32, i64) {
    let (stream, prr) = (&frame.stream, frame.acquisition.prr);
    let (nfft, hop) = (stream.nfft as u64, window_hop(stream));
    let Some(period_traces) = stream.line_period_s.checked_mul(prr) else { return (1, 0) };
    let start = |line: u64| period_traces.times_rounded(line);
    let traces = start(frame.first_line.saturating_add(1)).saturating_sub(start(frame.first_line));
    let more = traces.saturating_sub(nfft).div_ceil(hop);
    let seen = nfft.saturating_add(more.saturating_mul(hop));
    let offset = i64::try_from(traces).unwrap_or(i64::MAX).saturating_sub(i64::try_from(seen).unwrap_or(i64::MAX));
    (u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX), offset)
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
