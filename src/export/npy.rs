//! NumPy: one array (`.npy`, format version 1.0 of `numpy.lib.format`), or several in an archive (`.npz`).

use super::draft::{Draft, Finished};
use super::samples::{Rows, Times};
use super::zip::Archive;
use super::{ExportError, Start, Writer, utc};
use crate::acquisition::SampleFormat;
use crate::source::Finding;

/// Bytes of a header: room for any number of rows.
const HEADER: usize = 128;

/// The type and the last dimensions of the samples.
struct Kind {
    descr: &'static str,
    raw: bool,
    /// Behind the number of rows.
    shape: String,
}

impl Kind {
    fn of(start: &Start) -> Self {
        let a = &start.acquisition;
        let (descr, complex_parts) = match (a.sample_format, start.raw) {
            (SampleFormat::I16, true) => ("<i2", ""),
            (SampleFormat::Iq16, true) => ("<i2", ", 2"),
            (SampleFormat::Iq16, false) => ("<c8", ""),
            (SampleFormat::I32, true) => ("<i4", ""),
            (SampleFormat::F32, _) | (SampleFormat::I16 | SampleFormat::I32, false) => ("<f4", ""),
        };
        Self { descr, raw: start.raw, shape: format!("{}{complex_parts}", a.channels) }
    }

    fn header(&self, rows: u64) -> [u8; HEADER] {
        header(self.descr, &format!("({rows}, {})", self.shape))
    }

    fn samples(&self, rows: &Rows<'_>, out: &mut Vec<u8>) {
        if self.raw { rows.stored_le(out) } else { rows.scaled(out) }
    }
}

/// The header of an array of this type and shape.
fn header(descr: &str, shape: &str) -> [u8; HEADER] {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut header = [b' '; HEADER];
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    header[8..10].copy_from_slice(&(HEADER as u16 - 10).to_le_bytes());
    // Two dimensions of twenty digits each and all words are shorter than this.
    let room = &mut header[10..HEADER - 1];
    let len = text.len().min(room.len());
    room[..len].copy_from_slice(&text.as_bytes()[..len]);
    header[HEADER - 1] = b'\n';
    header
}

/// One array: the samples.
pub(super) struct Npy {
    draft: Draft,
    kind: Kind,
    rows: u64,
    scratch: Vec<u8>,
}

impl Npy {
    pub(super) fn begin(mut draft: Draft, start: &Start) -> Result<Self, ExportError> {
        let kind = Kind::of(start);
        draft.put(&kind.header(0))?;
        Ok(Self { draft, kind, rows: 0, scratch: Vec::new() })
    }
}

impl Writer for Npy {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        self.kind.samples(rows, &mut self.scratch);
        self.rows += rows.traces as u64;
        self.draft.put(&self.scratch)
    }

    fn finish(mut self: Box<Self>, _findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        self.draft.put_at(0, &self.kind.header(self.rows))?;
        self.draft.finish()
    }
}

/// An archive: `data`, `times`, `distances`, and what else there is to know.
pub(super) struct Npz {
    archive: Archive,
    kind: Kind,
    start: Start,
    times: Times,
    scratch: Vec<u8>,
}

impl Npz {
    pub(super) fn begin(draft: Draft, start: Start) -> Result<Self, ExportError> {
        let kind = Kind::of(&start);
        let mut archive = Archive::new(draft);
        archive.begin("data.npy")?;
        archive.put(&kind.header(0))?;
        Ok(Self { archive, kind, start, times: Times::default(), scratch: Vec::new() })
    }

    fn array(&mut self, name: &str, descr: &str, shape: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.archive.begin(&format!("{name}.npy"))?;
        self.archive.put(&header(descr, shape))?;
        self.archive.put(bytes)?;
        self.archive.end(&[])
    }

    fn number(&mut self, name: &str, value: f64) -> Result<(), ExportError> {
        self.array(name, "<f8", "()", &value.to_le_bytes())
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), ExportError> {
        let letters: Vec<u8> = text.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
        // NumPy has no empty strings.
        let letters = if letters.is_empty() { vec![0; 4] } else { letters };
        self.array(name, &format!("<U{}", letters.len() / 4), "()", &letters)
    }

    fn times(&mut self) -> Result<(), ExportError> {
        self.archive.begin("times.npy")?;
        self.archive.put(&header("<M8[ns]", &format!("({},)", self.times.rows)))?;
        let archive = &mut self.archive;
        self.times.each(&self.start.acquisition, |utc_ns| archive.put(&utc_ns.to_le_bytes()))?;
        self.archive.end(&[])
    }
}

impl Writer for Npz {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        self.kind.samples(rows, &mut self.scratch);
        self.times.add(rows);
        self.archive.put(&self.scratch)
    }

    fn finish(mut self: Box<Self>, _findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        let header = self.kind.header(self.times.rows);
        self.archive.end(&header)?;
        self.times()?;
        let a = std::sync::Arc::clone(&self.start.acquisition);
        let distances: Vec<u8> = (0..a.channels).flat_map(|channel| a.distance_m(channel).to_le_bytes()).collect();
        self.array("distances", "<f8", &format!("({},)", a.channels), &distances)?;
        self.number("rate_hz", a.prr.to_f64())?;
        self.number("scale", if self.start.raw { a.scale } else { 1.0 })?;
        self.number("gauge_length_m", a.gauge_length_m.unwrap_or(f64::NAN))?;
        self.number("first_channel", self.start.first_channel as f64)?;
        self.text("unit", &a.unit)?;
        self.text("quantity", a.quantity.name())?;
        self.text("start_utc", &utc(self.start.utc_ns))?;
        self.archive.finish()
    }
}
