//! Silixa iDAS TDMS: segments of `LabVIEW`, with a channel for each place on the fiber in the group `Measurement`.
//!
//! A segment is a lead-in of 28 bytes, metadata, and raw data in chunks: each channel's values one behind the other, or
//! interleaved. Its metadata hold until a later segment changes them. A recorder writes the length of a segment
//! beforehand or when it closes it: where the file is shorter, all whole chunks are read.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::capture::{Capture, io_error, unusable};
use super::found::Found;
use super::h5rows::Table;
use super::silixa;
use super::strips::{Channels, Number, Piece, Strips};
use super::tdms_meta::{Index, Objects, size_of};
use super::timing::{Statements, work_out};
use crate::acquisition::Quantity;
use crate::source::{Finding, SourceError};

/// First bytes of a segment.
pub(super) const MAGIC: &[u8; 4] = b"TDSm";
/// Bytes of the lead-in.
const LEAD_IN: u64 = 28;
/// Bytes of metadata of one segment, at most: a million channels.
const MAX_METADATA: u64 = 128 << 20;
/// Segments at most.
const MAX_SEGMENTS: u64 = 1 << 20;
/// A length that is written when the segment is closed.
const OPEN: u64 = u64::MAX;

/// Bits of the table of contents.
const HAS_METADATA: u32 = 1 << 1;
const LISTS_ALL_OBJECTS: u32 = 1 << 2;
const HAS_RAW_DATA: u32 = 1 << 3;
const IS_INTERLEAVED: u32 = 1 << 5;
const IS_BIG_ENDIAN: u32 = 1 << 6;

/// A segment's lead-in, compared with the file.
struct Segment {
    at: u64,
    contents: u32,
    version: u32,
    /// Bytes of metadata.
    metadata: u64,
    /// Where raw data begin and end.
    data: (u64, u64),
    next: u64,
}

/// Where the samples of a chunk are.
#[derive(Clone)]
struct Layout {
    interleaved: bool,
    chunk_rows: u64,
    chunk_bytes: u64,
    channels: Channels,
    row_step: u64,
}

/// What is found on the way through the file.
#[derive(Default)]
struct Walk {
    objects: Objects,
    /// The number of each channel, by its path; as in the first segment with samples.
    channels: HashMap<String, usize>,
    number: Option<Number>,
    version: u32,
    pieces: Vec<Piece>,
    rows: u64,
    notes: Vec<Finding>,
}

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let walk = walk(path, &file)?;
    let Some(number) = walk.number else {
        return Err(unusable(path, no_samples(&walk)));
    };
    let facts = silixa::interpret(&|name| walk.objects.properties.get(name).cloned())
        .map_err(|why| unusable(path, format!("TDMS, but not of Silixa: {why}")))?;
    let timing = work_out(Statements {
        rows: walk.rows,
        declared_rate: Some(facts.rate),
        start_ns: facts.start_ns,
        end_ns: None,
        lost_together: 1,
        stamps: None,
    })
    .map_err(|error| error.into_source(|why| unusable(path, format!("GPSTimeStamp, CPUTimeStamp: {why}"))))?;
    let (channels, rows) = (walk.channels.len(), walk.rows);
    let text = |name: &str| walk.objects.properties.get(name).cloned().unwrap_or_default();
    let table = Table {
        traces: rows,
        channels,
        format: number.format(),
        slab_rows: 1,
        rows: Box::new(Strips::new(path.to_owned(), file, walk.pieces, channels, number)),
    };
    Ok(Found {
        gauge_length_m: facts.gauge_length_m,
        refractive_index: facts.refractive_index,
        quantity: Quantity::StrainRate,
        scale: facts.scale,
        unit: facts.unit.into(),
        clock: facts.clock,
        description: text("Tags"),
        notes: walk.notes.into_iter().chain(facts.notes).collect(),
        ..Found::new(format!("Silixa TDMS, version {}", walk.version), table, timing, facts.places)
    }
    .into_capture())
}

fn no_samples(walk: &Walk) -> String {
    match walk.notes.first() {
        Some(note) => format!("TDMS without a whole chunk of samples: {}", note.text),
        None => "TDMS without samples: looked for channels in the group Measurement".into(),
    }
}

/// Goes through all segments.
fn walk(path: &Path, file: &File) -> Result<Walk, SourceError> {
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let mut walk = Walk::default();
    let mut layout = None;
    let (mut at, mut metadata) = (0, Vec::new());
    for _ in 0..MAX_SEGMENTS {
        let segment = match lead_in(path, file, at, size)? {
            Ok(segment) => segment,
            Err(None) => return Ok(walk),
            Err(Some(note)) => {
                walk.notes.push(Finding::warning(note));
                return Ok(walk);
            }
        };
        walk.version = segment.version;
        let is_first = walk.number.is_none();
        let taken = if segment.contents & HAS_METADATA == 0 {
            Ok(false)
        } else {
            metadata.resize(segment.metadata as usize, 0);
            file.read_exact_at(&mut metadata, at + LEAD_IN).map_err(|e| io_error(path, "read metadata", e))?;
            let anew = segment.contents & LISTS_ALL_OBJECTS != 0;
            walk.objects.take(&metadata, segment.contents & IS_BIG_ENDIAN != 0, anew)
        };
        // Segments that list nothing new are as the one before.
        if taken != Ok(false) {
            layout = None;
        }
        match taken.and_then(|_| walk.add(&segment, &mut layout)) {
            Ok(()) => {}
            Err(why) if is_first => return Err(unusable(path, format!("segment at byte {at}: {why}"))),
            Err(why) => {
                walk.notes
                    .push(Finding::warning(format!("segment at byte {at}: {why}; it and what follows are not read")));
                return Ok(walk);
            }
        }
        at = segment.next;
    }
    walk.notes.push(Finding::warning(format!("more than {MAX_SEGMENTS} segments: what follows is not read")));
    Ok(walk)
}

/// The lead-in at `at`; else the end of the file, with a note when that is not in order.
fn lead_in(path: &Path, file: &File, at: u64, size: u64) -> Result<Result<Segment, Option<String>>, SourceError> {
    if at >= size {
        return Ok(Err(None));
    }
    if size - at < LEAD_IN {
        return Ok(Err(Some(format!("cut off within the head of a segment at byte {at}"))));
    }
    let mut bytes = [0; LEAD_IN as usize];
    file.read_exact_at(&mut bytes, at).map_err(|e| io_error(path, "read a segment", e))?;
    let contents = u32::from_le_bytes(chunk(&bytes, 4));
    let big_endian = contents & IS_BIG_ENDIAN != 0;
    let u32_at =
        |at| if big_endian { u32::from_be_bytes(chunk(&bytes, at)) } else { u32::from_le_bytes(chunk(&bytes, at)) };
    let u64_at =
        |at| if big_endian { u64::from_be_bytes(chunk(&bytes, at)) } else { u64::from_le_bytes(chunk(&bytes, at)) };
    if !bytes.starts_with(MAGIC) {
        return Ok(Err(Some(format!("no segment at byte {at}: what follows cannot be read"))));
    }
    let (begin, length, before_data) = (at + LEAD_IN, u64_at(12), u64_at(20));
    let end = begin.checked_add(length).filter(|&end| length != OPEN && end <= size).unwrap_or(size);
    if before_data > end - begin || before_data > MAX_METADATA {
        return Ok(Err(Some(format!("cut off within the metadata of the segment at byte {at}"))));
    }
    let data = (begin + before_data, end);
    Ok(Ok(Segment { at, contents, version: u32_at(8), metadata: before_data, data, next: end }))
}

fn chunk<const N: usize>(bytes: &[u8; LEAD_IN as usize], at: usize) -> [u8; N] {
    bytes[at..].first_chunk().copied().unwrap_or([0; N])
}

impl Walk {
    /// Takes the raw data of a segment, of which the metadata have been taken.
    fn add(&mut self, segment: &Segment, layout: &mut Option<Layout>) -> Result<(), String> {
        if segment.contents & HAS_RAW_DATA == 0 {
            return Ok(());
        }
        let interleaved = segment.contents & IS_INTERLEAVED != 0;
        let Layout { chunk_rows, chunk_bytes, channels, row_step, .. } = match layout {
            Some(layout) if layout.interleaved == interleaved => layout.clone(),
            _ => match self.layout(interleaved)? {
                Some(found) => layout.insert(found).clone(),
                None => return Ok(()),
            },
        };
        let (from, to) = segment.data;
        // Interleaved rows are whole wherever the file ends: they are one chunk.
        let rows_there = (to - from) / row_step;
        let (chunk_rows, chunk_bytes) =
            if interleaved { (rows_there, (rows_there * row_step).max(1)) } else { (chunk_rows, chunk_bytes) };
        let chunks = (to - from) / chunk_bytes;
        let rest = (to - from) % chunk_bytes;
        if rest > 0 {
            self.notes.push(Finding::warning(format!(
                "the segment at byte {} ends {rest} bytes behind a whole chunk of samples: they are not read (a file \
                 that is being written, or whose recorder died)",
                segment.at
            )));
        }
        if chunks > 0 && chunk_rows > 0 {
            let (big_endian, row) = (segment.contents & IS_BIG_ENDIAN != 0, self.rows);
            self.rows = (chunks.checked_mul(chunk_rows).and_then(|rows| rows.checked_add(row)))
                .ok_or("more rows than can be counted")?;
            self.pieces.push(Piece { row, chunk_rows, chunk_bytes, at: from, channels, row_step, big_endian });
        }
        Ok(())
    }

    /// Where the samples of the current objects are; `None` when there are none.
    fn layout(&mut self, interleaved: bool) -> Result<Option<Layout>, String> {
        let (mut in_chunk, mut measured): (u64, Vec<(&str, u64, Index)>) = (0, Vec::new());
        for object in &self.objects.list {
            let Some(index) = object.index else { continue };
            if object.path.starts_with("/'Measurement'/") {
                measured.push((&object.path, in_chunk, index));
            }
            let own =
                if interleaved { size_of(index.kind).ok_or("text among interleaved values")? } else { index.bytes };
            in_chunk = in_chunk.checked_add(own).ok_or("chunks longer than any file")?;
        }
        let Some(&(first_path, _, first)) = measured.first() else { return Ok(None) };
        if first.values == 0 || in_chunk == 0 {
            return Ok(None);
        }
        if let Some((path, _, other)) = measured.iter().find(|(_, _, index)| *index != first) {
            return Err(format!(
                "{path} has {} values of type {:#x} in a chunk, {first_path} has {} of type {:#x}; they should be the same",
                other.values, other.kind, first.values, first.kind
            ));
        }
        let number = number(first.kind).ok_or_else(|| {
            format!("samples of type {:#x}; 8-, 16- and 32-bit integers and floating point are read", first.kind)
        })?;
        if self.number.is_some_and(|before| before != number) {
            return Err("samples are of another type than before".into());
        }
        if self.number.is_none() {
            self.channels =
                measured.iter().zip(0..).map(|((path, ..), channel)| ((*path).to_owned(), channel)).collect();
        }
        let mut places = vec![None; self.channels.len()];
        for (path, at, _) in &measured {
            let channel = self.channels.get(*path).ok_or_else(|| format!("{path} was not there before"))?;
            places[*channel] = Some(*at);
        }
        let places: Option<Vec<u64>> = places.into_iter().collect();
        let channels = Channels::of(places.ok_or("channels are missing that were there before")?);
        self.number = Some(number);
        let row_step = if interleaved { in_chunk } else { number.bytes() };
        Ok(Some(Layout { interleaved, chunk_rows: first.values, chunk_bytes: in_chunk, channels, row_step }))
    }
}

const fn number(kind: u32) -> Option<Number> {
    Some(match kind {
        1 => Number::I8,
        2 => Number::I16,
        3 => Number::I32,
        9 | 0x19 => Number::F32,
        0x0A | 0x1A => Number::F64,
        _ => return None,
    })
}
