//! What stands in front of the values: a fixed part of 640 bytes and behind it two tables that are empty as a rule.
//! Offsets are part of the format: they are asserted below and never change within schema version 2.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

/// The first eight bytes of every frame.
pub const MAGIC: [u8; 8] = *b"FIBERDFR";
/// Version of the format.
pub const SCHEMA: u16 = 2;
/// Length of the fixed part, and of the whole header when both tables are empty; a multiple of 64.
pub const HEADER_BYTES: usize = 640;
/// Rows that the tables have at most, more than an acquisition has regions: with all of them the length of the header fits
/// its field.
pub const MAX_REGION_ROWS: usize = 2048;
/// See [`MAX_REGION_ROWS`].
pub const MAX_MISSING_ROWS: usize = 256;

/// The fixed part as it lies in memory and on the wire. Meaning and units of each field: `FRAME.md`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`SCHEMA`].
    pub schema: u16,
    /// Where the values begin; a multiple of 64.
    pub header_bytes: u16,
    /// CRC-32 of the first `header_bytes` bytes with this field as zero.
    pub header_crc32: u32,
    /// CRC-32 of the values.
    pub payload_crc32: u32,
    /// `FLAG_…` bits of [`crate::frame`].
    pub flags: u32,
    /// Bytes of values.
    pub payload_bytes: u64,
    /// Generation of the acquisition.
    pub epoch: u64,
    /// Number of the frame within its stream; a hole means that frames were dropped.
    pub sequence: u64,
    /// Number of the first line since the epoch began.
    pub first_line: u64,
    /// First trace of the first line.
    pub first_trace: u64,
    /// Behind the last trace of the last line.
    pub end_trace: u64,
    /// UTC of `first_trace`, nanoseconds since the UNIX epoch.
    pub utc_first_ns: i64,
    /// UTC of `end_trace`.
    pub utc_end_ns: i64,
    /// Traces missing since the frame before.
    pub gap_traces: u64,
    /// Pulse repetition rate, exact: numerator in Hz.
    pub prr_num: u64,
    /// Denominator of the rate.
    pub prr_den: u64,
    /// Pulse repetition rate, nearest double, Hz.
    pub prr_hz: f64,
    /// Metres from one channel of the fiber to the next; of the first region, when there are several.
    pub dx_m: f64,
    /// Distance of channel index 0, metres.
    pub fiber_start_m: f64,
    /// Seconds from line to line, exact: numerator.
    pub line_period_num: u64,
    /// Denominator of the line period.
    pub line_period_den: u64,
    /// Frequency of the first bin, or lower edge of a waterfall's band, Hz.
    pub frequency_start_hz: f64,
    /// From bin to bin, or width of a waterfall's band, Hz.
    pub frequency_step_hz: f64,
    /// Power that is 0 dB; 0 when values are not in dB.
    pub db_reference: f64,
    /// Smallest value of the stream since the epoch began.
    pub running_min: f32,
    /// Largest value of the stream since the epoch began.
    pub running_max: f32,
    /// `value = offset + scale · stored`; 1 for f32.
    pub scale: f32,
    /// See `scale`; 0 for floats.
    pub offset: f32,
    /// Number of the stream within its view.
    pub stream: u32,
    /// Index (from 0) of the first channel.
    pub channel_start: u32,
    /// Channels from one to the next.
    pub channel_step: u32,
    /// How many channels.
    pub channel_count: u32,
    /// How many bins; 1 for a waterfall.
    pub frequency_count: u32,
    /// How many lines.
    pub line_count: u32,
    /// Window length in traces.
    pub nfft: u32,
    /// 0 multi, 1 single, 2 waterfall.
    pub view: u8,
    /// 0 amplitude, 1 power, 2 dB.
    pub value: u8,
    /// 0 f32, 1 f16, 2 u8.
    pub dtype: u8,
    /// 0 free-running, 1 NTP, 2 PTP, 3 GPS.
    pub clock: u8,
    /// Dimensions in use.
    pub ndim: u32,
    /// Length of each dimension, slowest first; 0 behind `ndim`.
    pub shape: [u32; 4],
    /// 0 ring, 1 replay, 2 synthetic.
    pub source: u8,
    /// 0 Hann, 1 Hamming, 2 Blackman, 3 Blackman-Harris, 4 rectangular.
    pub window: u8,
    /// 1 when spectra are corrected for the response of the first difference in time.
    pub difference_corrected: u8,
    /// Zero.
    pub reserved: u8,
    /// Rows of the table of regions.
    pub regions: u32,
    /// Rows of the table of missing traces.
    pub missing: u32,
    /// Name of the fiber, UTF-8 padded with zeros, like all texts below.
    pub site: [u8; 64],
    /// Name of the standing view, or id of the job.
    pub name: [u8; 64],
    /// Job id; empty for standing views.
    pub job: [u8; 64],
    /// Unit of the values, never cut.
    pub unit: [u8; 64],
    /// Order of the dimensions, e.g. `line,channel`.
    pub axes: [u8; 32],
    /// Values are so many times as large as in the unit of the samples.
    pub unit_factor: f64,
    /// Length of fiber over which a sample is averaged, metres; NaN when not known.
    pub gauge_length_m: f64,
    /// `1 / (nfft · Σw²)`.
    pub power_factor: f64,
    /// Smallest value in dB; 0 when values are not in dB.
    pub db_floor: f64,
    /// Largest value in dB; 0 when values are not in dB.
    pub db_ceiling: f64,
    /// How far the times may be off; 0 when not known.
    pub utc_uncertainty_ns: u64,
    /// First trace of the first window of the first line, less `first_trace`: never positive.
    pub window_offset: i64,
    /// Windows of the first line.
    pub windows: u32,
    /// Traces from one window of a line to the next.
    pub window_hop: u32,
    /// f16: values that were not 0 and became 0. u8: values below the range.
    pub clipped_low: u32,
    /// f16: finite values that became infinite. u8: values above the range.
    pub clipped_high: u32,
    /// Zero.
    pub reserved_end: [u8; 24],
}

/// A row of the table of regions: channels from `first_channel` on lie `dx_m` apart, beginning at `start_m`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct RegionRow {
    /// Index (from 0) of its first channel.
    pub first_channel: u32,
    /// Zero.
    pub reserved: u32,
    /// Distance of that channel, metres.
    pub start_m: f64,
    /// Metres from one of its channels to the next.
    pub dx_m: f64,
}

/// A row of the table of missing traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MissingRow {
    /// First trace that is missing.
    pub first_trace: u64,
    /// Behind the last one.
    pub end_trace: u64,
}

/// Length of a header with so many rows in its tables.
pub const fn header_bytes(regions: usize, missing: usize) -> usize {
    (HEADER_BYTES + regions * size_of::<RegionRow>() + missing * size_of::<MissingRow>()).next_multiple_of(64)
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_BYTES && HEADER_BYTES.is_multiple_of(64));
    assert!(size_of::<RegionRow>() == 24 && size_of::<MissingRow>() == 16);
    assert!(header_bytes(MAX_REGION_ROWS, MAX_MISSING_ROWS) <= u16::MAX as usize);
    assert!(offset_of!(Header, header_crc32) == 12);
    assert!(offset_of!(Header, flags) == 20);
    assert!(offset_of!(Header, payload_bytes) == 24);
    assert!(offset_of!(Header, epoch) == 32);
    assert!(offset_of!(Header, first_trace) == 56);
    assert!(offset_of!(Header, utc_first_ns) == 72);
    assert!(offset_of!(Header, gap_traces) == 88);
    assert!(offset_of!(Header, prr_num) == 96);
    assert!(offset_of!(Header, dx_m) == 120);
    assert!(offset_of!(Header, line_period_num) == 136);
    assert!(offset_of!(Header, frequency_start_hz) == 152);
    assert!(offset_of!(Header, db_reference) == 168);
    assert!(offset_of!(Header, running_min) == 176);
    assert!(offset_of!(Header, scale) == 184);
    assert!(offset_of!(Header, stream) == 192);
    assert!(offset_of!(Header, channel_start) == 196);
    assert!(offset_of!(Header, frequency_count) == 208);
    assert!(offset_of!(Header, nfft) == 216);
    assert!(offset_of!(Header, view) == 220);
    assert!(offset_of!(Header, ndim) == 224);
    assert!(offset_of!(Header, shape) == 228);
    assert!(offset_of!(Header, source) == 244);
    assert!(offset_of!(Header, window) == 245);
    assert!(offset_of!(Header, regions) == 248);
    assert!(offset_of!(Header, site) == 256);
    assert!(offset_of!(Header, name) == 320);
    assert!(offset_of!(Header, job) == 384);
    assert!(offset_of!(Header, unit) == 448);
    assert!(offset_of!(Header, axes) == 512);
    assert!(offset_of!(Header, unit_factor) == 544);
    assert!(offset_of!(Header, power_factor) == 560);
    assert!(offset_of!(Header, utc_uncertainty_ns) == 584);
    assert!(offset_of!(Header, window_offset) == 592);
    assert!(offset_of!(Header, windows) == 600);
    assert!(offset_of!(Header, clipped_low) == 608);
};

/// `text` in a fixed field, cut at a character's end when it is too long.
pub(super) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let cut = (0..=N.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    field[..cut].copy_from_slice(&text.as_bytes()[..cut]);
    field
}

/// The text of a fixed field; `None` when it is not UTF-8.
pub(super) fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).ok()
}
