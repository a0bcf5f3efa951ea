//! The metadata of a segment of a TDMS file: objects, what raw data each has, and properties.
//!
//! Pure: bytes in, values out. No length is trusted before it is compared with what is there.

use std::collections::HashMap;

use super::times::ns_to_iso;

/// An object without raw data in this segment.
const NO_DATA: u32 = 0xFFFF_FFFF;
/// An object with raw data as in the segment before.
const AS_BEFORE: u32 = 0;
/// Raw data as `DAQmx` cards give them.
const DAQMX: [u32; 3] = [0x1269, 0x1369, 0x126A];
/// Seconds from 1904, when times of TDMS begin, to the UNIX epoch.
const SECONDS_TO_1970: i64 = 2_082_844_800;

/// Text.
const STRING: u32 = 0x20;

/// What raw data an object has in each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// Code of the type.
    pub(super) kind: u32,
    /// Values.
    pub(super) values: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

/// An object: the file, a group, or a channel.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// `/`, `/'group'` or `/'group'/'channel'`.
    pub(super) path: String,
    /// Its raw data, if it has any.
    pub(super) index: Option<Index>,
}

/// All objects up to some segment.
#[derive(Default)]
pub(super) struct Objects {
    /// Those of the current segment, in the order of their raw data.
    pub(super) list: Vec<Object>,
    /// Where each is in the list.
    places: HashMap<String, usize>,
    /// The last raw data of each, by its path.
    known: HashMap<String, Index>,
    /// Properties of the file and its groups by name; those that come first count.
    pub(super) properties: HashMap<String, String>,
}

impl Objects {
    /// Takes the metadata of the next segment; `anew` when it lists all its objects.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn take(&mut self, metadata: &[u8], big_endian: bool, anew: bool) -> Result<bool, String> {
        if anew {
            self.list.clear();
            self.places.clear();
        }
        let mut bytes = Bytes { rest: metadata, big_endian };
        let count = bytes.u32()?;
        for _ in 0..count {
            let path = bytes.text()?;
            let index = bytes.index(self.known.get(&path).copied(), &path)?;
            // Channels have none that matter here, and there may be very many of them.
            let is_channel = path.matches("'/'").count() > 0;
            for _ in 0..bytes.u32()? {
                let (name, value) = bytes.property()?;
                if let Some(value) = value.filter(|_| !is_channel) {
                    self.properties.entry(name).or_insert(value);
                }
            }
            if let Some(index) = index {
                self.known.insert(path.clone(), index);
            }
            if let Some(&at) = self.places.get(&path) {
                self.list[at].index = index;
            } else {
                self.places.insert(path.clone(), self.list.len());
                self.list.push(Object { path, index });
            }
        }
        Ok(anew || count > 0)
    }
}

/// Bytes of a value of this type; `None` for text and unknown ones.
pub(super) const fn size_of(kind: u32) -> Option<u64> {
    Some(match kind {
        0 => 0,
        1 | 5 | 0x21 => 1,
        2 | 6 => 2,
        3 | 7 | 9 | 0x19 => 4,
        4 | 8 | 0x0A | 0x1A | 0x0008_000C => 8,
        0x44 | 0x0010_000D => 16,
        _ => return None,
    })
}

/// What is left to read.
struct Bytes<'a> {
    rest: &'a [u8],
    big_endian: bool,
}

impl<'a> Bytes<'a> {
    fn some(&mut self, count: u64) -> Result<&'a [u8], String> {
        let cut = || format!("metadata end {} bytes too early", count.saturating_sub(self.rest.len() as u64));
        let count = usize::try_from(count).map_err(|_| cut())?;
        let (these, rest) = self.rest.split_at_checked(count).ok_or_else(cut)?;
        self.rest = rest;
        Ok(these)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = self.some(N as u64)?.first_chunk().copied().unwrap_or([0; N]);
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u32()?;
        Ok(String::from_utf8_lossy(self.some(length.into())?).into_owned())
    }

    fn index(&mut self, before: Option<Index>, path: &str) -> Result<Option<Index>, String> {
        let header = self.u32()?;
        match header {
            NO_DATA => return Ok(None),
            AS_BEFORE => {
                let why = || format!("{path} has raw data as in the segment before, and there were none");
                return before.map(Some).ok_or_else(why);
            }
            header if DAQMX.contains(&header) => {
                return Err(format!("{path} has raw data as a DAQmx card gives them, which are not read"));
            }
            _ => {}
        }
        let (kind, dimensions, values) = (self.u32()?, self.u32()?, self.u64()?);
        if dimensions != 1 {
            return Err(format!("{path} has raw data of {dimensions} dimensions; it should be 1"));
        }
        let bytes = match size_of(kind) {
            Some(size) => values.checked_mul(size).ok_or_else(|| format!("{path} has {values} values a chunk"))?,
            None if kind == STRING => self.u64()?,
            None => return Err(format!("{path} has raw data of the unknown type {kind:#x}")),
        };
        Ok(Some(Index { kind, values, bytes }))
    }

    /// Name and value as text; a value of a type without a text is left out.
    fn property(&mut self) -> Result<(String, Option<String>), String> {
        let (name, kind) = (self.text()?, self.u32()?);
        let value = match kind {
            1 => i8::from_le_bytes(self.array()?).to_string(),
            2 => i16::from_le_bytes(self.array()?).to_string(),
            3 => i32::from_le_bytes(self.array()?).to_string(),
            4 => i64::from_le_bytes(self.array()?).to_string(),
            5 => u8::from_le_bytes(self.array()?).to_string(),
            6 => u16::from_le_bytes(self.array()?).to_string(),
            7 => self.u32()?.to_string(),
            8 => self.u64()?.to_string(),
            9 | 0x19 => f32::from_le_bytes(self.array()?).to_string(),
            0x0A | 0x1A => f64::from_le_bytes(self.array()?).to_string(),
            STRING => self.text()?,
            0x21 => if self.array::<1>()? == [0] { "False" } else { "True" }.into(),
            0x44 => return Ok((name, self.time()?)),
            _ => {
                let why = || format!("the property `{name}` has the unknown type {kind:#x}");
                self.some(size_of(kind).ok_or_else(why)?)?;
                return Ok((name, None));
            }
        };
        Ok((name, Some(value)))
    }

    /// Seconds since 1904 and 2⁻⁶⁴ of them, as ISO 8601; `None` where the instrument had no time.
    fn time(&mut self) -> Result<Option<String>, String> {
        let both = u128::from_le_bytes(self.array()?);
        let (seconds, fraction) = ((both >> 64) as u64 as i64, both as u64);
        let ns = (u128::from(fraction) * 1_000_000_000) >> 64;
        let utc_ns = (seconds.checked_sub(SECONDS_TO_1970))
            .and_then(|seconds| seconds.checked_mul(1_000_000_000))
            .and_then(|whole| whole.checked_add(ns as i64));
        Ok(utc_ns.filter(|&ns| ns > 0).map(ns_to_iso))
    }
}
