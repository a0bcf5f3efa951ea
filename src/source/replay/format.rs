//! The bytes of our own raw capture (`.fdas`), written and read in this one place; `CAPTURE.md` is the page for others.
//!
//! A header with everything of an [`Acquisition`], then chunks of consecutive traces, then an end mark. All integers
//! are little-endian, everything starts on a multiple of 64 bytes, everything is covered by a CRC-32 (that of zlib).
//! Pure: bytes in, values out, no files. Nothing here trusts a length before it is compared with what is there.

use std::sync::Arc;

use crate::acquisition::{Acquisition, Band, ClockQuality, MAX_REGIONS, Quantity, Region, SampleFormat, SourceKind};
use crate::block::InstrumentState;
use crate::units::Rational;

/// First bytes of a capture; the line ends show damage by a text-mode copy.
pub(crate) const MAGIC: &[u8; 8] = b"FDAS\r\n\x1a\n";
/// First bytes of a chunk.
const CHUNK_MAGIC: &[u8; 4] = b"CHNK";
/// First bytes of the end mark.
const END_MAGIC: &[u8; 4] = b"FEND";
/// Version of the layout.
pub(crate) const VERSION: u32 = 1;
/// All parts begin on multiples of this.
pub(crate) const ALIGN: usize = 64;
/// Bytes of the header before its two texts.
const FIXED_HEADER: usize = 128;
/// Bytes of the header at most: the levels of all channels, and nobody describes a fiber in more than what is left.
pub(crate) const MAX_HEADER: usize = 10 << 20;
/// Bytes of the description at most.
const MAX_DESCRIPTION: usize = 1 << 19;
/// Bytes of the head of a chunk, and of the end mark.
pub(crate) const CHUNK_HEAD: usize = 64;
/// Bytes of samples in one chunk at most, so that a hostile file costs no memory.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;
/// Channels at most, for every format: a fiber of 1000 km at 1 m.
pub(crate) const MAX_CHANNELS: usize = 1 << 20;

/// Head of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Index of the first trace in the acquisition that was recorded.
    pub(crate) first_trace: u64,
    /// Number of traces.
    pub(crate) traces: u32,
    /// UTC of the first trace, nanoseconds since the UNIX epoch.
    pub(crate) utc_ns: i64,
    /// Traces that are missing before this chunk.
    pub(crate) gap_before: u64,
    /// Bytes of samples.
    pub(crate) payload_bytes: u32,
    /// CRC-32 of the samples.
    pub(crate) payload_crc: u32,
    /// Whether the interrogator itself gave `utc_ns`; counted on from the chunk before otherwise.
    pub(crate) is_stamped: bool,
    /// How the interrogator was.
    pub(crate) state: InstrumentState,
}

/// Bits of a chunk's flags: the time is counted on; then those of slots of the ring.
const FLAG_COUNTED_ON: u32 = 1;
const FLAG_OVERLOADED: u32 = 4;
const FLAG_CALIBRATING: u32 = 8;
/// Bytes of a region in the header.
const REGION_BYTES: usize = 24;
/// Bits of the header's flags: the first trace is told; levels stand behind the regions, and a band behind these.
const HAS_FIRST_TRACE: u32 = 1;
const HAS_LEVELS: u32 = 2;
const HAS_BAND: u32 = 4;
/// Bytes of a band in the header.
const BAND_BYTES: usize = 16;

/// What the end mark says about the whole file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// Chunks before it.
    pub(crate) chunks: u64,
    /// Traces in them.
    pub(crate) traces: u64,
    /// Traces missing between them.
    pub(crate) gap_traces: u64,
}

/// What stands at a place where a chunk may begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A chunk.
    Chunk(Chunk),
    /// The end mark.
    End(End),
}

/// `bytes` rounded up to [`ALIGN`].
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(ALIGN) * ALIGN
}

/// The header of a capture of `acquisition` that begins with its trace `first_trace`.
pub(crate) fn encode_header(acquisition: &Acquisition, first_trace: u64) -> Vec<u8> {
    let (unit, description) = (acquisition.unit.as_bytes(), acquisition.description.as_bytes());
    // Texts longer than the header may be are cut, at worst inside a character: they are text for people.
    let unit = &unit[..unit.len().min(1024)];
    let description = &description[..description.len().min(MAX_DESCRIPTION)];
    let regions = &acquisition.regions[..acquisition.regions.len().min(MAX_REGIONS)];
    let texts = FIXED_HEADER + unit.len() + description.len();
    let levels = &acquisition.levels[..];
    let bands = usize::from(acquisition.band.is_some());
    let tables = regions.len() * REGION_BYTES + size_of_val(levels) + bands * BAND_BYTES;
    let mut out = Vec::with_capacity(padded(texts + tables + 4));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(out.capacity() as u32).to_le_bytes());
    for word in [acquisition.epoch, acquisition.prr.num(), acquisition.prr.den()] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&(acquisition.channels as u32).to_le_bytes());
    out.extend_from_slice(&acquisition.sample_format.code().to_le_bytes());
    for value in [
        acquisition.dx_m,
        acquisition.fiber_start_m,
        acquisition.gauge_length_m.unwrap_or(f64::NAN),
        acquisition.wavelength_m.unwrap_or(f64::NAN),
        acquisition.refractive_index.unwrap_or(f64::NAN),
        acquisition.scale,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    let sizes = [unit.len(), description.len(), regions.len()].map(|size| size as u32);
    let has = |is: bool, flag: u32| if is { flag } else { 0 };
    let flags = HAS_FIRST_TRACE | has(!levels.is_empty(), HAS_LEVELS) | has(bands > 0, HAS_BAND);
    for word in [acquisition.quantity.code(), acquisition.clock.code()].into_iter().chain(sizes).chain([flags]) {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&first_trace.to_le_bytes());
    out.extend_from_slice(unit);
    out.extend_from_slice(description);
    for region in regions {
        out.extend_from_slice(&(region.first_channel as u64).to_le_bytes());
        out.extend_from_slice(&region.start_m.to_le_bytes());
        out.extend_from_slice(&region.dx_m.to_le_bytes());
    }
    for number in levels.iter().copied().chain(acquisition.band.iter().flat_map(|band| [band.low_hz, band.high_hz])) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.resize(out.capacity() - 4, 0);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// Length of the header, from its first 16 bytes.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn header_len(start: &[u8]) -> Result<usize, String> {
    if start.len() < 16 || &start[..8] != MAGIC {
        return Err(format!("a fiberd capture begins with the bytes {MAGIC:02x?}"));
    }
    let version = u32_at(start, 8);
    if version != VERSION {
        return Err(format!("capture version {version}, this program reads version {VERSION}"));
    }
    let len = u32_at(start, 12) as usize;
    if !(FIXED_HEADER + ALIGN..=MAX_HEADER).contains(&len) || !len.is_multiple_of(ALIGN) {
        return Err(format!("header length {len} at byte 12, it should be a multiple of 64 from 192 to {MAX_HEADER}"));
    }
    Ok(len)
}

/// The acquisition that a whole header describes, and the first trace of the recording where it tells that.
///
/// # Errors
/// What is wrong, in words, and at which byte.
pub(crate) fn decode_header(header: &[u8]) -> Result<(Acquisition, Option<u64>), String> {
    let len = header_len(header)?;
    if header.len() != len || u32_at(header, len - 4) != crc32fast::hash(&header[..len - 4]) {
        return Err("the header's checksum is wrong: it is damaged".into());
    }
    let (unit_len, text_len) = (u32_at(header, 104) as usize, u32_at(header, 108) as usize);
    let texts = &header[FIXED_HEADER..len - 4];
    if unit_len > texts.len() || text_len > texts.len() - unit_len {
        return Err("the texts of the header are longer than the header (bytes 104 and 108)".into());
    }
    let channels = u32_at(header, 40) as usize;
    let (tables, flags) = (&texts[unit_len + text_len..], u32_at(header, 116));
    let regions = decode_regions(tables, u32_at(header, 112) as usize, channels)?;
    let levels = if flags & HAS_LEVELS == 0 { 0 } else { channels };
    let tables = &tables[regions.len() * REGION_BYTES..];
    let levels = decode_levels(tables, levels)?;
    let quantity = Quantity::from_code(u32_at(header, 96)).ok_or("unknown quantity at byte 96")?;
    let band = decode_band(&tables[size_of_val(&levels[..])..], u32::from(flags & HAS_BAND != 0), quantity)?;
    let known = |value: f64| (!value.is_nan()).then_some(value);
    let acquisition = Acquisition {
        epoch: u64_at(header, 16),
        prr: Rational::new(u64_at(header, 24), u64_at(header, 32)).ok_or("the PRR at byte 24 is zero")?,
        channels,
        sample_format: SampleFormat::from_code(u32_at(header, 44)).ok_or("unknown sample format at byte 44")?,
        dx_m: f64_at(header, 48),
        fiber_start_m: f64_at(header, 56),
        regions,
        gauge_length_m: known(f64_at(header, 64)),
        wavelength_m: known(f64_at(header, 72)),
        refractive_index: known(f64_at(header, 80)),
        scale: f64_at(header, 88),
        levels,
        quantity,
        band,
        clock: ClockQuality::from_code(u32_at(header, 100)).ok_or("unknown clock quality at byte 100")?,
        unit: String::from_utf8_lossy(&texts[..unit_len]).into_owned(),
        description: String::from_utf8_lossy(&texts[unit_len..unit_len + text_len]).into_owned(),
        source: SourceKind::Replay,
    };
    // Older files say nothing, and have 0 there.
    Ok((acquisition, (flags & HAS_FIRST_TRACE != 0).then(|| u64_at(header, 120))))
}

/// The table of levels behind the regions.
fn decode_levels(table: &[u8], count: usize) -> Result<Arc<[f64]>, String> {
    let levels = table.as_chunks().0.get(..count);
    let levels = levels.ok_or_else(|| format!("the header has no room for the levels of {count} channels"))?;
    let levels: Arc<[f64]> = levels.iter().map(|&level| f64::from_le_bytes(level)).collect();
    match levels.iter().position(|level| !level.is_finite()) {
        Some(channel) => Err(format!("the level of channel {} is not a number", channel + 1)),
        None => Ok(levels),
    }
}

/// The table of regions behind the texts.
fn decode_regions(table: &[u8], count: usize, channels: usize) -> Result<Arc<[Region]>, String> {
    if count > MAX_REGIONS || count * REGION_BYTES > table.len() {
        return Err(format!("{count} regions at byte 112: the header has room for {}", table.len() / REGION_BYTES));
    }
    let entry = |at: usize| Region {
        first_channel: usize::try_from(u64_at(table, at)).unwrap_or(usize::MAX),
        start_m: f64_at(table, at + 8),
        dx_m: f64_at(table, at + 16),
    };
    let regions: Arc<[Region]> = (0..count).map(|number| entry(number * REGION_BYTES)).collect();
    let mut before = 0;
    for (number, region) in regions.iter().enumerate() {
        let makes_sense = region.start_m.abs() < 1e9 && region.dx_m > 0.0 && region.dx_m < 1e5;
        if !makes_sense || region.first_channel <= before || region.first_channel >= channels {
            let (first, start, dx) = (region.first_channel, region.start_m, region.dx_m);
            return Err(format!(
                "region {} of the header begins with channel {first} of {channels} at {start} m, channels {dx} m apart",
                number + 2
            ));
        }
        before = region.first_channel;
    }
    Ok(regions)
}

/// The band of band energy behind the regions, and of nothing else.
fn decode_band(table: &[u8], count: u32, quantity: Quantity) -> Result<Option<Band>, String> {
    let is_energy = quantity == Quantity::BandEnergy;
    if count != u32::from(is_energy) || is_energy && table.len() < BAND_BYTES {
        return Err(format!("{count} bands at byte 116 of samples that are {}: band energy has one", quantity.name()));
    }
    if !is_energy {
        return Ok(None);
    }
    let band = Band { low_hz: f64_at(table, 0), high_hz: f64_at(table, 8) };
    band.is_one().then_some(Some(band)).ok_or_else(|| format!("a band of {} to {} Hz", band.low_hz, band.high_hz))
}

/// The head that goes before a chunk's samples.
pub(crate) fn encode_chunk(chunk: &Chunk) -> [u8; CHUNK_HEAD] {
    let mut head = [0; CHUNK_HEAD];
    head[..4].copy_from_slice(CHUNK_MAGIC);
    head[4..8].copy_from_slice(&chunk.traces.to_le_bytes());
    head[8..16].copy_from_slice(&chunk.first_trace.to_le_bytes());
    head[16..24].copy_from_slice(&chunk.utc_ns.to_le_bytes());
    head[24..32].copy_from_slice(&chunk.gap_before.to_le_bytes());
    head[32..36].copy_from_slice(&chunk.payload_bytes.to_le_bytes());
    head[36..40].copy_from_slice(&chunk.payload_crc.to_le_bytes());
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    let flags = flag(!chunk.is_stamped, FLAG_COUNTED_ON)
        | flag(chunk.state.overloaded, FLAG_OVERLOADED)
        | flag(chunk.state.calibrating, FLAG_CALIBRATING);
    head[40..44].copy_from_slice(&flags.to_le_bytes());
    sign(head)
}

/// The end mark.
pub(crate) fn encode_end(end: &End) -> [u8; CHUNK_HEAD] {
    let mut head = [0; CHUNK_HEAD];
    head[..4].copy_from_slice(END_MAGIC);
    head[8..16].copy_from_slice(&end.chunks.to_le_bytes());
    head[16..24].copy_from_slice(&end.traces.to_le_bytes());
    head[24..32].copy_from_slice(&end.gap_traces.to_le_bytes());
    sign(head)
}

/// What stands in these 64 bytes; `None` when they are neither a chunk's head nor the end mark, or damaged.
pub(crate) fn decode_head(head: &[u8; CHUNK_HEAD]) -> Option<Head> {
    if u32_at(head, CHUNK_HEAD - 4) != crc32fast::hash(&head[..CHUNK_HEAD - 4]) {
        return None;
    }
    let is_set = |flag: u32| u32_at(head, 40) & flag != 0;
    match head.first_chunk::<4>()? {
        CHUNK_MAGIC => Some(Head::Chunk(Chunk {
            traces: u32_at(head, 4),
            first_trace: u64_at(head, 8),
            utc_ns: u64_at(head, 16) as i64,
            gap_before: u64_at(head, 24),
            payload_bytes: u32_at(head, 32),
            payload_crc: u32_at(head, 36),
            is_stamped: !is_set(FLAG_COUNTED_ON),
            state: InstrumentState { overloaded: is_set(FLAG_OVERLOADED), calibrating: is_set(FLAG_CALIBRATING) },
        })),
        END_MAGIC => {
            Some(Head::End(End { chunks: u64_at(head, 8), traces: u64_at(head, 16), gap_traces: u64_at(head, 24) }))
        }
        _ => None,
    }
}

fn sign(mut head: [u8; CHUNK_HEAD]) -> [u8; CHUNK_HEAD] {
    let crc = crc32fast::hash(&head[..CHUNK_HEAD - 4]);
    head[CHUNK_HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
    head
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..].first_chunk().copied().unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

fn f64_at(bytes: &[u8], at: usize) -> f64 {
    f64::from_le_bytes(bytes_at(bytes, at))
}
