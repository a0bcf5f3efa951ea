//! The headers of SEG-Y, revisions 0, 1 and 2: text, binary, and that of each trace.
//!
//! Pure. A position in a comment is the one that the standard has, from 1.

use super::strips::Number;
use super::times::seconds_to_ns;

/// Bytes of the text header.
const TEXT: usize = 3200;
/// Bytes of both headers.
pub(super) const HEADS: usize = 3600;
/// Bytes of the header of a trace.
pub(super) const TRACE_HEAD: usize = 240;
/// Of so many bytes of the text header all but one are text.
const NOT_TEXT: usize = 10;

/// What the text and binary headers say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heads {
    /// The first lines of the text header.
    pub(super) text: String,
    /// Whether the most significant byte comes first.
    pub(super) big_endian: bool,
    /// Code of the samples' type.
    pub(super) code: u16,
    /// Major and minor number of the revision.
    pub(super) revision: (u8, u8),
    /// Samples of a trace; 0 where each trace says it.
    pub(super) samples: u32,
    /// Microseconds from sample to sample; 0 where each trace says it.
    pub(super) interval_us: f64,
    /// Whether distances are in feet.
    pub(super) feet: bool,
    /// Byte of the first trace.
    pub(super) first_trace: u64,
    /// Headers of a trace behind its first, at most.
    pub(super) more_of_trace: u32,
}

/// What the header of a trace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceHead {
    /// Number of the trace in its record.
    pub(super) number: i32,
    /// Distance from the source in metres or feet.
    pub(super) offset: i32,
    /// Coordinates of the place, and what to multiply them by, or divide when it is negative.
    pub(super) place: (i32, i32),
    pub(super) place_scale: i16,
    /// Milliseconds from the time of the trace to its first sample.
    pub(super) delay_ms: i16,
    /// Samples; 0 where the binary header says it.
    pub(super) samples: u16,
    /// Microseconds from sample to sample; 0 where the binary header says it.
    pub(super) interval_us: u16,
    /// UTC in whole seconds since the UNIX epoch.
    pub(super) utc_s: Option<i64>,
    /// 1 local, 2 Greenwich, 3 other, 4 UTC, 5 GPS.
    pub(super) time_basis: i16,
    /// Code of the samples' unit.
    pub(super) unit: i16,
}

/// Numbers of a header.
struct Numbers<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    /// The bytes from the standard's position `at` on, the least significant first.
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = self.bytes.get(at - 1..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N]);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }
}

/// Whether these may be the first bytes of a file: SEG-Y has no other mark than that its headers make sense.
pub(super) fn is_it(start: &[u8]) -> bool {
    let Some(text) = start.get(..TEXT) else { return false };
    let is_text = |decode: fn(u8) -> Option<char>| {
        text.iter().filter(|&&byte| byte != 0 && decode(byte).is_none()).count() < TEXT / NOT_TEXT
    };
    let makes_sense = |heads: Heads| number(heads.code).is_ok() && (heads.samples > 0 || heads.interval_us > 0.0);
    (is_text(ascii) || is_text(ebcdic)) && Heads::read(start).is_some_and(makes_sense)
}

impl Heads {
    /// Reads both; `None` when the binary one makes no sense.
    pub(super) fn read(start: &[u8]) -> Option<Self> {
        let bytes = start.get(..HEADS)?;
        let orders = [true, false].map(|big_endian| Numbers { bytes, big_endian });
        // A constant of revision 2, else the code of the samples' type, which is small.
        let by_constant = orders.iter().find(|numbers| numbers.i32(3297) == 0x0102_0304);
        let numbers = by_constant.or_else(|| orders.iter().find(|numbers| (1..=16).contains(&numbers.u16(3225))))?;
        // Of revision 1 this is one number of two bytes.
        let revision = match (bytes[3500], bytes[3501]) {
            (0, major) if !numbers.big_endian => (major, 0),
            both => both,
        };
        let more_than = |value: i32, known: u16| u32::try_from(value).unwrap_or(0).max(known.into());
        let second = revision.0 == 2;
        let extended = f64::from_le_bytes(numbers.array(3273));
        let interval_us = if second && extended > 0.0 { extended } else { f64::from(numbers.u16(3217)) };
        let extra_texts = if revision.0 >= 1 { u64::try_from(numbers.i16(3505)).ok()? } else { 0 };
        let said = if second { u64::from_le_bytes(numbers.array(3521)) } else { 0 };
        Some(Self {
            text: text_of(&bytes[..TEXT]),
            big_endian: numbers.big_endian,
            code: numbers.u16(3225),
            revision,
            samples: if second { more_than(numbers.i32(3269), numbers.u16(3221)) } else { numbers.u16(3221).into() },
            interval_us: if interval_us.is_finite() { interval_us } else { 0.0 },
            feet: numbers.i16(3255) == 2,
            first_trace: if said > 0 { said } else { (HEADS + extra_texts as usize * TEXT) as u64 },
            more_of_trace: if second { u32::try_from(numbers.i32(3507)).unwrap_or(0) } else { 0 },
        })
    }

    /// Reads the header of a trace.
    pub(super) fn trace(&self, bytes: &[u8; TRACE_HEAD]) -> TraceHead {
        let numbers = Numbers { bytes, big_endian: self.big_endian };
        TraceHead {
            number: numbers.i32(13),
            offset: numbers.i32(37),
            place: (numbers.i32(81), numbers.i32(85)),
            place_scale: numbers.i16(71),
            delay_ms: numbers.i16(109),
            samples: numbers.u16(115),
            interval_us: numbers.u16(117),
            utc_s: utc_s([157, 159, 161, 163, 165].map(|at| numbers.i16(at))),
            time_basis: numbers.i16(167),
            unit: if self.revision.0 >= 1 { numbers.i16(203) } else { 0 },
        }
    }
}

/// The type of samples of this code.
///
/// # Errors
/// Which are read.
pub(super) fn number(code: u16) -> Result<Number, String> {
    Ok(match code {
        1 => Number::Ibm,
        2 => Number::I32,
        3 => Number::I16,
        5 => Number::F32,
        6 => Number::F64,
        8 => Number::I8,
        _ => {
            return Err(format!(
                "samples of format code {code}; 1 (IBM float), 2, 3 and 8 (integers of 4, 2 and 1 bytes), 5 and 6 (IEEE \
                 float of 4 and 8 bytes) are read"
            ));
        }
    })
}

/// Year, day of it, hour, minute, second.
fn utc_s(parts: [i16; 5]) -> Option<i64> {
    let [year, day, hour, minute, second] = parts;
    let year = match year {
        1..30 => year + 2000,
        30..100 => year + 1900,
        _ => year,
    };
    let first = jiff::civil::Date::new(year, 1, 1).ok()?;
    let is_time =
        (1..=366).contains(&day) && (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    if !is_time || !(1970..2200).contains(&year) {
        return None;
    }
    let days = first.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days() + i32::from(day) - 1;
    let seconds = i64::from(days) * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    seconds_to_ns(seconds as f64).map(|_| seconds)
}

/// The first lines that say something, without their numbers.
fn text_of(bytes: &[u8]) -> String {
    // Most of it are spaces.
    let (in_ascii, in_ebcdic) = bytes.iter().fold((0, 0), |(ascii, ebcdic), byte| match byte {
        b' ' => (ascii + 1, ebcdic),
        0x40 => (ascii, ebcdic + 1),
        _ => (ascii, ebcdic),
    });
    let decode = if in_ebcdic > in_ascii { ebcdic } else { ascii };
    let is_number = |c: char| c == ' ' || c.is_ascii_digit();
    let line = |card: &[u8]| {
        let text: String = card.iter().map(|&byte| decode(byte).unwrap_or(' ')).collect();
        let numbered = text.strip_prefix('C').filter(|rest| rest.starts_with(is_number));
        numbered.map_or(&*text, |rest| rest.get(2..).unwrap_or_default()).trim().to_owned()
    };
    let lines: Vec<String> = bytes.chunks(80).map(line).filter(|line| !line.is_empty()).take(4).collect();
    lines.join("; ")
}

fn ascii(byte: u8) -> Option<char> {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t').then_some(if byte < b' ' { ' ' } else { char::from(byte) })
}

/// Letters, digits and the usual signs of EBCDIC (code page 37).
fn ebcdic(byte: u8) -> Option<char> {
    let from = |first: u8, letter: u8| Some(char::from(letter + (byte - first)));
    match byte {
        0x40 | 0x05 | 0x0D | 0x15 | 0x25 => Some(' '),
        0x81..=0x89 => from(0x81, b'a'),
        0x91..=0x99 => from(0x91, b'j'),
        0xA2..=0xA9 => from(0xA2, b's'),
        0xC1..=0xC9 => from(0xC1, b'A'),
        0xD1..=0xD9 => from(0xD1, b'J'),
        0xE2..=0xE9 => from(0xE2, b'S'),
        0xF0..=0xF9 => from(0xF0, b'0'),
        _ => {
            let signs = b"\x4B.\x4C<\x4D(\x4E+\x4F|\x50&\x5A!\x5B$\x5C*\x5D)\x5E;\x60-\x61/\x6B,\x6C%\x6D_\x6E>\x6F?\
                \x7A:\x7B#\x7C@\x7D'\x7E=\x7F\"\xBA[\xBB]";
            signs.as_chunks::<2>().0.iter().find(|pair| pair[0] == byte).map(|pair| char::from(pair[1]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_trace_headers() {
        assert_eq!(utc_s([2017, 261, 0, 0, 0]), Some(1_505_692_800));
        assert_eq!(utc_s([2020, 366, 23, 59, 59]), Some(1_609_459_199));
        assert_eq!(utc_s([17, 261, 0, 0, 0]), Some(1_505_692_800), "two digits");
        for wrong in [[0, 0, 0, 0, 0], [2017, 0, 0, 0, 0], [2017, 367, 0, 0, 0], [2017, 1, 24, 0, 0], [-5, 1, 0, 0, 0]]
        {
            assert_eq!(utc_s(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn text_in_either_code() {
        let mut card = [0x40; TEXT];
        card[..8].copy_from_slice(b"\xC3\x40\xF1\x40\xC4\xC1\xE3\xC5");
        assert_eq!(text_of(&card), "DATE");
        let mut card = [b' '; TEXT];
        card[..12].copy_from_slice(b"C 1 DAS 2024");
        card[80..86].copy_from_slice(b"CREATE");
        assert_eq!(text_of(&card), "DAS 2024; CREATE");
    }
}
