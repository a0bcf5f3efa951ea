//! Sintela ONYX protobuf records (`.pb`): a recorded live stream, packets of a few lines each.
//!
//! A record is the magic `PBUF`, four letters of tag, a length (u32) and a protobuf message. `TS05` records are time
//! series; all others are skipped. `sample_count` counts lines, wraps at 2³², and jumps where lines were dropped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::capture::{Capture, Rows, RowsError, io_error, unusable};
use super::timing::{Block, Layout, NO_STAMP, Sink, Stamps, Statements, Timing, work_out};
use crate::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat, SourceKind};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// First bytes of a record.
pub(super) const MAGIC: &[u8; 4] = b"PBUF";
/// Magic, tag and length.
const RECORD_HEAD: u64 = 12;
/// Bytes of one record at most.
const MAX_RECORD: u32 = 64 << 20;
/// Layouts in one file at most: each is opened as a piece of its own.
const MAX_LAYOUTS: usize = 1000;
/// Bytes in which the header of a packet is expected.
const PREFIX: usize = 1024;

#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(float, repeated, tag = "3")]
    samples: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(message, optional, tag = "1")]
    common: Option<Common>,
    #[prost(uint64, tag = "2")]
    sample_count: u64,
    #[prost(uint32, tag = "3")]
    num_samples: u32,
    #[prost(uint32, tag = "4")]
    channel_step: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Common {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(uint32, tag = "2")]
    channels: u32,
    #[prost(float, tag = "3")]
    rate: f32,
    #[prost(float, tag = "4")]
    spacing: f32,
    #[prost(float, tag = "5")]
    gauge: f32,
    #[prost(uint32, tag = "6")]
    start_channel: u32,
    #[prost(bool, tag = "10")]
    has_dropped_samples: bool,
    #[prost(int32, tag = "11")]
    data_type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int64, tag = "2")]
    nanos: i64,
}

/// A packet in the file.
struct Located {
    /// Byte of its message.
    at: u64,
    bytes: u32,
    /// Row of the file at which it begins.
    row: u64,
    rows: u32,
}

struct SintelaRows {
    path: PathBuf,
    file: Arc<File>,
    packets: Vec<Located>,
    channels: usize,
    /// The packet that `samples` holds.
    loaded: Option<usize>,
    samples: Vec<f32>,
    message: Vec<u8>,
}

/// Opens a recorded stream: a piece for each layout of its packets.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = Arc::new(File::open(path).map_err(|e| io_error(path, "open", e))?);
    let pieces = indices(path, &file)?.into_iter().map(|index| {
        let name = index.packets.first().map_or_else(String::new, |packet| format!("from byte {} on", packet.at));
        (name, open_index(path, Arc::clone(&file), index))
    });
    let none = || Err(unusable(path, "no time series in it: looked for records with the tag TS05"));
    Capture::of_pieces(pieces).unwrap_or_else(none)
}

fn open_index(path: &Path, file: Arc<File>, index: Index) -> Result<Capture, SourceError> {
    let first = &index.first;
    let timing = timing(path, &index)?;
    let common = first.common.clone().unwrap_or_default();
    let step = f64::from(first.channel_step.max(1));
    let spacing = decimal(common.spacing);
    let (quantity, unit) = meaning(common.data_type);
    let channels = common.channels as usize;
    let acquisition = Acquisition {
        epoch: 0,
        prr: timing.rate,
        channels,
        dx_m: spacing * step,
        fiber_start_m: spacing * f64::from(common.start_channel),
        regions: Arc::default(),
        gauge_length_m: Some(decimal(common.gauge)),
        wavelength_m: None,
        refractive_index: None,
        sample_format: SampleFormat::F32,
        quantity,
        scale: 1.0,
        levels: Arc::default(),
        unit: unit.into(),
        clock: ClockQuality::FreeRunning,
        description: String::new(),
        source: SourceKind::Replay,
    };
    Ok(Capture {
        piece: String::new(),
        further: Vec::new(),
        format: "Sintela protobuf, TS05".into(),
        acquisition,
        total_rows: timing.rows,
        anchors: timing.anchors(),
        jitter_ns: timing.jitter_ns,
        rate_is_measured: timing.rate_is_measured,
        slab_rows: index.packets.first().map_or(1, |p| p.rows as usize),
        notes: index.notes.into_iter().chain(timing.notes()).collect(),
        checksummed: false,
        rows: Box::new(SintelaRows {
            path: path.to_owned(),
            file,
            packets: index.packets,
            channels,
            loaded: None,
            samples: Vec::new(),
            message: Vec::new(),
        }),
    })
}

/// Packets of one layout.
#[derive(Default)]
struct Index {
    /// Header of the first.
    first: Header,
    packets: Vec<Located>,
    rows: u64,
    /// Of each packet: what the count says, and its time in nanoseconds.
    blocks: Vec<Block>,
    stamps: Vec<i64>,
    notes: Vec<Finding>,
}

fn timing(path: &Path, index: &Index) -> Result<Timing, SourceError> {
    let rate = index.first.common.as_ref().map_or(0.0, |common| common.rate);
    let declared = Rational::from_f64(decimal(rate)).ok_or_else(|| unusable(path, format!("a rate of {rate} Hz")))?;
    let mut pass = |sink: &mut Sink<'_>| {
        sink(&index.stamps);
        Ok(())
    };
    work_out(Statements {
        rows: index.rows,
        declared_rate: Some(declared),
        start_ns: None,
        end_ns: None,
        lost_together: 1,
        stamps: Some(Stamps { unit_ns: 1, precision_ns: 1, layout: Layout::Blocks(&index.blocks), pass: &mut pass }),
    })
    .map_err(|error| error.into_source(|why| unusable(path, why)))
}

/// Walks over all records and reads the header of each packet. A new index begins where the layout changes.
fn indices(path: &Path, file: &File) -> Result<Vec<Index>, SourceError> {
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let (mut indices, mut notes) = (Vec::<Index>::new(), Vec::new());
    let (mut at, mut expected_count) = (0, 0u32);
    while at < size {
        let Some((tag, bytes)) = record(path, file, at, size, &mut notes)? else { break };
        let message_at = at + RECORD_HEAD;
        at = message_at + u64::from(bytes);
        if &tag != b"TS05" {
            continue;
        }
        let header = header(path, file, message_at, bytes)?;
        let count = header.sample_count as u32;
        let mut lost_before = u64::from(Some(count.wrapping_sub(expected_count)).filter(|&j| j < 1 << 31).unwrap_or(0));
        expected_count = count.wrapping_add(header.num_samples);
        if indices.last().is_none_or(|index| !same_layout(&index.first, &header)) {
            if indices.len() == MAX_LAYOUTS {
                notes.push(Finding::warning(format!(
                    "parameters change for the {MAX_LAYOUTS}th time at byte {message_at}: the rest is not read"
                )));
                break;
            }
            indices.push(Index { first: header.clone(), ..Index::default() });
            lost_before = 0;
        }
        // There is one: it was made just now if not before.
        let Some(index) = indices.last_mut() else { break };
        index.take(&header, Located { at: message_at, bytes, row: index.rows, rows: header.num_samples }, lost_before);
    }
    if let Some(first) = indices.first_mut() {
        first.notes = notes;
    }
    Ok(indices)
}

impl Index {
    /// Takes the next packet in. A jump back of the count, and drops that it does not show, are seen in the times.
    fn take(&mut self, header: &Header, packet: Located, lost_before: u64) {
        let stamp = header.common.as_ref().and_then(|common| common.timestamp.clone()).unwrap_or_default();
        let utc_ns = stamp.seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(stamp.nanos));
        self.blocks.push(Block { row: self.rows, lost_before });
        self.stamps.push(utc_ns.filter(|&ns| ns > 0).unwrap_or(NO_STAMP));
        self.packets.push(packet);
        self.rows += u64::from(header.num_samples);
    }
}

/// Tag and length of the record at `at`; `None` when the file ends here or what stands here is no record.
fn record(
    path: &Path,
    file: &File,
    at: u64,
    size: u64,
    notes: &mut Vec<Finding>,
) -> Result<Option<([u8; 4], u32)>, SourceError> {
    let mut head = [0; RECORD_HEAD as usize];
    if size - at < RECORD_HEAD {
        notes.push(Finding::warning(format!("cut off within the head of a record at byte {at}")));
        return Ok(None);
    }
    file.read_exact_at(&mut head, at).map_err(|e| io_error(path, "read a record", e))?;
    let [m0, m1, m2, m3, t0, t1, t2, t3, s0, s1, s2, s3] = head;
    let bytes = u32::from_le_bytes([s0, s1, s2, s3]);
    if &[m0, m1, m2, m3] != MAGIC || bytes > MAX_RECORD {
        notes.push(Finding::damaged(format!("no record at byte {at}: what follows cannot be read")));
        return Ok(None);
    }
    if size - at - RECORD_HEAD < u64::from(bytes) {
        notes.push(Finding::warning(format!(
            "cut off within the record at byte {at} (a file that is being written, or whose recorder died)"
        )));
        return Ok(None);
    }
    Ok(Some(([t0, t1, t2, t3], bytes)))
}

/// The header of a packet, without its samples when it stands in front, as it does.
fn header(path: &Path, file: &File, at: u64, bytes: u32) -> Result<Header, SourceError> {
    let damaged = |why: &dyn std::fmt::Display| unusable(path, format!("packet at byte {at}: {why}"));
    let mut prefix = [0; PREFIX];
    let prefix = &mut prefix[..PREFIX.min(bytes as usize)];
    file.read_exact_at(prefix, at).map_err(|e| io_error(path, "read a packet", e))?;
    let mut rest = &prefix[..];
    if let Ok((1, WireType::LengthDelimited)) = decode_key(&mut rest)
        && let Ok(len) = decode_varint(&mut rest)
        && let Some(header) = usize::try_from(len).ok().and_then(|len| rest.get(..len))
    {
        return checked(Header::decode(header).map_err(|e| damaged(&e))?).map_err(|why| damaged(&why));
    }
    let mut message = vec![0; bytes as usize];
    file.read_exact_at(&mut message, at).map_err(|e| io_error(path, "read a packet", e))?;
    let packet = Packet::decode(&message[..]).map_err(|e| damaged(&e))?;
    checked(packet.header.unwrap_or_default()).map_err(|why| damaged(&why))
}

fn checked(header: Header) -> Result<Header, String> {
    let channels = header.common.as_ref().map_or(0, |common| common.channels);
    // Four bytes a sample must fit into a record.
    if channels == 0
        || header.num_samples == 0
        || u64::from(channels) * u64::from(header.num_samples) * 4 > u64::from(MAX_RECORD)
    {
        return Err(format!("{} lines of {channels} channels", header.num_samples));
    }
    Ok(header)
}

fn same_layout(first: &Header, other: &Header) -> bool {
    let of = |header: &Header| {
        let c = header.common.clone().unwrap_or_default();
        let floats = [c.rate, c.spacing, c.gauge].map(f32::to_bits);
        (c.channels, floats, c.start_channel, c.data_type, header.channel_step)
    };
    of(first) == of(other)
}

/// The double that a single-precision decimal was meant to be: 3217.8 and not 3217.800048828125.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// Sintela's codes for what was demodulated, as in its other binary formats.
const fn meaning(data_type: i32) -> (Quantity, &'static str) {
    match data_type {
        0 | 1 => (Quantity::Phase, "rad"),
        2 => (Quantity::PhaseRate, "rad/s"),
        3 => (Quantity::Strain, "ustrain"),
        4 => (Quantity::StrainRate, "ustrain/s"),
        _ => (Quantity::Counts, ""),
    }
}

impl SintelaRows {
    fn load(&mut self, index: usize) -> Result<(), RowsError> {
        if self.loaded == Some(index) {
            return Ok(());
        }
        let Located { at, bytes, row, rows } = self.packets[index];
        self.loaded = None;
        self.message.resize(bytes as usize, 0);
        self.file.read_exact_at(&mut self.message, at).map_err(|e| io_error(&self.path, "read a packet", e))?;
        let good_from = row + u64::from(rows);
        match Packet::decode(&self.message[..]) {
            Ok(packet) if packet.samples.len() == rows as usize * self.channels => self.samples = packet.samples,
            Ok(packet) => {
                let why = format!(
                    "packet at byte {at}: {} samples for {rows} lines of {}",
                    packet.samples.len(),
                    self.channels
                );
                return Err(RowsError::Damaged { good_from, why });
            }
            Err(error) => return Err(RowsError::Damaged { good_from, why: format!("packet at byte {at}: {error}") }),
        }
        self.loaded = Some(index);
        Ok(())
    }
}

impl Rows for SintelaRows {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            let index = self.packets.partition_point(|p| p.row <= row).saturating_sub(1);
            if let Err(fault) = self.load(index) {
                return match fault {
                    RowsError::Damaged { .. } if !out.is_empty() => Ok(()),
                    fault => Err(fault),
                };
            }
            let packet = &self.packets[index];
            let until = (packet.row + u64::from(packet.rows)).min(end);
            let values = (row - packet.row) as usize * self.channels..(until - packet.row) as usize * self.channels;
            out.extend_from_slice(bytemuck::cast_slice(&self.samples[values]));
            row = until;
        }
        Ok(())
    }
}
