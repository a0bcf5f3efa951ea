//! The head of a miniSEED record, version 2 or 3.
//!
//! Pure. No length is trusted; whoever reads the record compares it with the file.

use super::mseed_codec::{Coding, Encoding};
use crate::units::Rational;

/// Bytes that hold a head with all that matters in it.
pub(super) const HEAD: usize = 512;
/// Bytes of a record, at most.
pub(super) const MAX_RECORD: u32 = 4 << 20;
/// Fixed part of a head of version 2, and of version 3.
const FIXED_V2: usize = 48;
const FIXED_V3: usize = 40;
/// Blockettes of a record that are looked at, at most.
const MAX_BLOCKETTES: usize = 16;

/// What a head says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// Network, station, location and channel.
    pub(super) id: String,
    /// UTC of the first sample in nanoseconds since the UNIX epoch.
    pub(super) start_ns: i64,
    /// How finely that is written, in nanoseconds.
    pub(super) precision_ns: i64,
    /// Samples; 0 in a record without a series.
    pub(super) samples: u32,
    /// Samples a second; `None` in a record without a series.
    pub(super) rate: Option<Rational>,
    /// How samples are packed.
    pub(super) coding: Result<Coding, u8>,
    /// Byte of the record at which they begin.
    pub(super) data_at: u32,
    /// Bytes of samples.
    pub(super) data_bytes: u32,
    /// Bytes of the record.
    pub(super) bytes: u32,
    /// Version of the format.
    pub(super) version: u8,
}

/// Whether a file may begin with a record.
pub(super) fn is_it(start: &[u8]) -> bool {
    read(&start[..start.len().min(HEAD)]).is_some()
}

/// The head at the beginning of these bytes; `None` where there is none.
pub(super) fn read(bytes: &[u8]) -> Option<Head> {
    match *bytes {
        [b'M', b'S', 3, ..] => version_3(bytes),
        _ => version_2(bytes),
    }
}

/// Numbers of a head.
struct Numbers<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = self.bytes.get(at..)?.first_chunk().copied()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn i16(&self, at: usize) -> Option<i16> {
        self.array(at).map(i16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn text(&self, range: std::ops::Range<usize>) -> Option<String> {
        let text = self.bytes.get(range)?;
        text.iter().all(|byte| (b' '..=b'~').contains(byte)).then(|| String::from_utf8_lossy(text).trim().to_owned())
    }
}

fn version_2(bytes: &[u8]) -> Option<Head> {
    let is_one = bytes.len() >= FIXED_V2
        && bytes[..6].iter().all(|byte| byte.is_ascii_digit() || *byte == b' ')
        && matches!(bytes[6], b'D' | b'R' | b'Q' | b'M');
    if !is_one {
        return None;
    }
    let numbers = [true, false]
        .map(|big_endian| Numbers { bytes, big_endian })
        .into_iter()
        .find(|numbers| numbers.u16(20).is_some_and(|year| (1950..2200).contains(&year)))?;
    let id = [18..20, 8..13, 13..15, 15..18].map(|range| numbers.text(range));
    let [Some(network), Some(station), Some(location), Some(channel)] = id else { return None };
    let day_ns = of_day(numbers.u8(24)?, numbers.u8(25)?, numbers.u8(26)?)? + i64::from(numbers.u16(28)?) * 100_000;
    let mut start_ns = day_ns_since_1970(numbers.u16(20)?, numbers.u16(22)?)?.checked_add(day_ns)?;
    let is_corrected = numbers.u8(36)? & 2 != 0;
    if !is_corrected {
        start_ns += i64::from(numbers.u32(40)?.cast_signed()) * 100_000;
    }
    let blockettes = blockettes(&numbers)?;
    let length = *blockettes.length.filter(|exponent| (7..=22).contains(exponent)).as_ref()?;
    let bytes = 1u32 << length;
    let data_at = u32::from(numbers.u16(44)?);
    Some(Head {
        id: format!("{network}.{station}.{location}.{channel}"),
        start_ns: start_ns + i64::from(blockettes.microseconds.unwrap_or(0)) * 1000,
        precision_ns: if blockettes.microseconds.is_some() { 1000 } else { 100_000 },
        samples: numbers.u16(30)?.into(),
        rate: blockettes.rate.or_else(|| rate(numbers.i16(32)?, numbers.i16(34)?)),
        coding: Coding::of(blockettes.encoding, blockettes.big_endian),
        data_at,
        data_bytes: if data_at >= FIXED_V2 as u32 { bytes.checked_sub(data_at)? } else { 0 },
        bytes,
        version: 2,
    })
}

/// What blockettes add.
#[derive(Default)]
struct Blockettes {
    encoding: u8,
    big_endian: bool,
    /// Binary logarithm of the record's length.
    length: Option<u8>,
    microseconds: Option<i8>,
    rate: Option<Rational>,
}

fn blockettes(numbers: &Numbers<'_>) -> Option<Blockettes> {
    let (mut found, mut at) = (Blockettes::default(), usize::from(numbers.u16(46)?));
    for _ in 0..MAX_BLOCKETTES {
        // One that lies behind what was read has nothing that is needed.
        let (Some(kind), Some(next)) = (numbers.u16(at), numbers.u16(at + 2)) else { break };
        match kind {
            100 => {
                let rate = f32::from_le_bytes(numbers.array(at + 4)?);
                found.rate = rate.to_string().parse().ok().and_then(Rational::from_f64);
            }
            1000 => {
                found.encoding = numbers.u8(at + 4)?;
                found.big_endian = numbers.u8(at + 5)? != 0;
                found.length = numbers.u8(at + 6);
            }
            1001 => found.microseconds = numbers.u8(at + 5).map(u8::cast_signed),
            _ => {}
        }
        if usize::from(next) <= at {
            break;
        }
        at = next.into();
    }
    Some(found)
}

/// Factor and multiplier: each multiplies when positive and divides when negative.
fn rate(factor: i16, multiplier: i16) -> Option<Rational> {
    let mut parts = (1u64, 1u64);
    for value in [factor, multiplier] {
        let size = u64::from(value.unsigned_abs());
        if value > 0 { parts.0 *= size } else { parts.1 *= size }
    }
    Rational::new(parts.0, parts.1)
}

fn version_3(bytes: &[u8]) -> Option<Head> {
    let numbers = Numbers { bytes, big_endian: false };
    let day_ns = of_day(numbers.u8(12)?, numbers.u8(13)?, numbers.u8(14)?)?;
    let nanoseconds = numbers.u32(4).filter(|&ns| ns < 1_000_000_000)?;
    let start_ns =
        day_ns_since_1970(numbers.u16(8)?, numbers.u16(10)?)?.checked_add(day_ns + i64::from(nanoseconds))?;
    // A period when it is negative.
    let hertz = f64::from_le_bytes(numbers.array(16)?);
    let rate = Rational::from_f64(hertz.abs()).map(|rate| if hertz < 0.0 { rate.recip() } else { rate });
    let id_bytes = usize::from(numbers.u8(33)?);
    let id = numbers.text(FIXED_V3..FIXED_V3 + id_bytes)?;
    let data_at = (FIXED_V3 + id_bytes) as u32 + u32::from(numbers.u16(34)?);
    let data_bytes = numbers.u32(36)?;
    let encoding = numbers.u8(15)?;
    Some(Head {
        id: id.strip_prefix("FDSN:").unwrap_or(&id).to_owned(),
        start_ns,
        precision_ns: 1,
        samples: numbers.u32(24)?,
        rate,
        // Numbers have the least significant byte first, frames of Steim the most significant.
        coding: Coding::of(encoding, matches!(encoding, 10 | 11)),
        data_at,
        data_bytes,
        bytes: data_at.checked_add(data_bytes).filter(|&bytes| bytes <= MAX_RECORD)?,
        version: 3,
    })
}

fn of_day(hour: u8, minute: u8, second: u8) -> Option<i64> {
    let is_time = hour < 24 && minute < 60 && second <= 60;
    is_time.then(|| (i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second)) * 1_000_000_000)
}

/// Nanoseconds from 1970 to the beginning of a day of a year.
fn day_ns_since_1970(year: u16, day: u16) -> Option<i64> {
    if !(1970..2200).contains(&year) || !(1..=366).contains(&day) {
        return None;
    }
    // Days of all years before a year, by the calendar of today.
    let before = |year: u16| {
        let years = i64::from(year) - 1;
        years * 365 + years / 4 - years / 100 + years / 400
    };
    let days = before(year) - before(1970) + i64::from(day) - 1;
    Some(days * 86_400_000_000_000)
}

/// The name of an encoding that is not read.
pub(super) fn name_of(encoding: u8) -> String {
    let name = match encoding {
        2 => "24-bit integers",
        12 => "GEOSCOPE 24-bit",
        13 | 14 => "GEOSCOPE 16-bit, gain ranged",
        15 => "US National Network",
        16 => "CDSN 16-bit",
        17 => "Graefenberg 16-bit",
        18 => "IPG Strasbourg 16-bit",
        19 => "Steim-3",
        30 => "SRO",
        31 => "HGLP",
        32 => "DWWSSN",
        33 => "RSTN",
        100 => "opaque data",
        _ => "unknown",
    };
    format!("{name} (encoding {encoding})")
}

impl Head {
    /// Whether this record carries samples of a series.
    pub(super) fn is_series(&self) -> bool {
        self.samples > 0
            && self.rate.is_some()
            && self.coding.as_ref().map_or(true, |coding| coding.encoding != Encoding::Text)
    }
}
