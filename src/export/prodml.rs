//! PRODML 2.1 in HDF5, one `Raw[0]`, as `DASCore`, `xdas` and `DASPy` read it unmodified: what is in it, and in which words.

use std::sync::Arc;

use super::draft::{Draft, Finished};
use super::hdf5::{Dataset, Node, Type, Value, skeleton};
use super::samples::{Rows, Times};
use super::{ExportError, Start, Writer, utc};
use crate::acquisition::{Acquisition, SampleFormat};
use crate::source::Finding;

/// Samples begin at a multiple of this.
const ALIGN: u64 = 4096;

pub(super) struct Prodml {
    draft: Draft,
    start: Start,
    /// Whether samples are written as they were stored.
    stored: bool,
    times: Times,
    /// Byte of the first sample.
    at: u64,
    scratch: Vec<u8>,
}

/// How long it is, and where things lie.
struct Layout {
    rows: u64,
    last_ns: i64,
    samples_at: u64,
    times_at: u64,
}

impl Prodml {
    pub(super) fn begin(mut draft: Draft, start: Start) -> Result<Self, ExportError> {
        // PRODML has no scale beside the unit.
        let is_plain = (start.acquisition.scale - 1.0).abs() < f64::EPSILON;
        let stored = start.raw || is_plain;
        let none = Layout { rows: 0, last_ns: 0, samples_at: 0, times_at: 0 };
        let at = (skeleton(&root(&start, stored, &none), 0).len() as u64).next_multiple_of(ALIGN);
        draft.put(&vec![0; at as usize])?;
        Ok(Self { draft, start, stored, times: Times::default(), at, scratch: Vec::new() })
    }
}

impl Writer for Prodml {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        if self.stored {
            rows.stored_le(&mut self.scratch);
        } else {
            rows.scaled(&mut self.scratch);
        }
        self.times.add(rows);
        self.draft.put(&self.scratch)
    }

    fn finish(mut self: Box<Self>, findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        let end = self.draft.len();
        let times_at = end.next_multiple_of(8);
        self.draft.put(&vec![0; (times_at - end) as usize])?;
        let a = Arc::clone(&self.start.acquisition);
        let (draft, times) = (&mut self.draft, &self.times);
        times.each(&a, |utc_ns| draft.put(&rounded_us(utc_ns).to_le_bytes()))?;
        let layout = Layout { rows: times.rows, last_ns: times.last(&a), samples_at: self.at, times_at };
        let skeleton = skeleton(&root(&self.start, self.stored, &layout), self.draft.len());
        self.draft.put_at(0, &skeleton)?;
        findings.extend(
            cannot_be_said(&self.start, times.rows).filter(|found| !findings.contains(found)).collect::<Vec<_>>(),
        );
        self.draft.finish()
    }
}

const fn rounded_us(utc_ns: i64) -> i64 {
    utc_ns.saturating_add(500).div_euclid(1000)
}

/// Nanoseconds always, so that a text has the same length whatever it says; readers want the offset.
fn iso(utc_ns: i64) -> Value {
    Value::Text(utc(utc_ns).replace('Z', "+00:00"))
}

/// What PRODML has no words for, or readers take amiss.
fn cannot_be_said(start: &Start, rows: u64) -> impl Iterator<Item = Finding> {
    let a = &start.acquisition;
    let off_m = (first_locus(a) as f64 * a.dx_m - a.fiber_start_m).abs();
    let moved = (off_m > 1e-3 * a.dx_m).then(|| {
        let text = format!("PRODML counts whole channels from the instrument: distances are off by {off_m:.3} m");
        Finding::note(text)
    });
    let square = (rows == a.channels as u64).then(|| {
        Finding::warning("as many traces as channels in a file: DASPy takes time for distance; choose another length")
    });
    let gauge = a.gauge_length_m.is_none().then(|| Finding::note("the gauge length is not known: written as NaN"));
    [moved, square, gauge].into_iter().flatten()
}

fn first_locus(a: &Acquisition) -> i64 {
    (a.fiber_start_m / a.dx_m).round() as i64
}

/// The same capture gives the same: SHA-256 of what tells it apart, in the form of a UUID of version 8.
fn uuid(a: &Acquisition, utc_ns: i64) -> String {
    let text = format!("{} {utc_ns} {} {} {}", a.epoch, a.channels, a.fiber_start_m, a.description);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes: [u8; 16] = std::array::from_fn(|at| digest.as_ref()[at]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

/// As much of a text as an attribute holds, which is less than 64 KiB with all else in the header of its object.
fn beginning(text: &str) -> &str {
    let end = (0..=text.len().min(32 << 10)).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

fn root(start: &Start, stored: bool, layout: &Layout) -> Node {
    let a = &*start.acquisition;
    let (rate, loci) = (Value::F64(a.prr.to_f64()), Value::I64(a.channels as i64));
    let uuid = Value::Text(uuid(a, start.utc_ns));
    let attributes = vec![
        ("schemaVersion", text("2.1")),
        ("uuid", uuid.clone()),
        ("AcquisitionDescription", text(beginning(&a.description))),
        ("VendorCode", text("fiberd")),
        ("MeasurementStartTime", iso(start.utc_ns)),
        ("NumberOfLoci", loci.clone()),
        ("StartLocusIndex", Value::I64(first_locus(a))),
        ("SpatialSamplingInterval", Value::F64(a.dx_m)),
        ("SpatialSamplingInterval.uom", text("m")),
        ("GaugeLength", Value::F64(a.gauge_length_m.unwrap_or(f64::NAN))),
        ("GaugeLength.uom", text("m")),
        ("PulseRate", rate.clone()),
        ("PulseRate.uom", text("Hz")),
        // Not known: readers want the attribute all the same.
        ("PulseWidth", Value::F64(f64::NAN)),
        ("PulseWidth.uom", text("ns")),
    ];
    let custom = vec![
        ("Fibre Refractive Index", Value::F64(a.refractive_index.unwrap_or(f64::NAN))),
        ("Output Channel Start (CSU)", Value::I64(first_locus(a))),
    ];
    let raw = vec![
        ("uuid", uuid),
        ("OutputDataRate", rate),
        ("OutputDataRate.uom", text("Hz")),
        ("NumberOfLoci", loci),
        ("StartLocusIndex", Value::I64(first_locus(a))),
        ("RawDataUnit", text(if start.raw { "counts" } else { &a.unit })),
        ("RawDescription", text(a.quantity.name())),
    ];
    let children = vec![("RawData", samples(start, stored, layout)), ("RawDataTime", times(start, layout))];
    let acquisition = vec![
        ("Custom", Node::Group { attributes: custom, children: Vec::new() }),
        ("Raw[0]", Node::Group { attributes: raw, children }),
    ];
    Node::Group {
        attributes: Vec::new(),
        children: vec![("Acquisition", Node::Group { attributes, children: acquisition })],
    }
}

fn part(start: &Start, layout: &Layout, count: u64) -> Vec<(&'static str, Value)> {
    vec![
        ("Count", Value::I64(count as i64)),
        ("StartIndex", Value::I64(0)),
        ("PartStartTime", iso(start.utc_ns)),
        ("PartEndTime", iso(layout.last_ns)),
    ]
}

fn samples(start: &Start, stored: bool, layout: &Layout) -> Node {
    let channels = start.acquisition.channels as u64;
    let kind = match start.acquisition.sample_format {
        SampleFormat::I16 if stored => Type::I16,
        SampleFormat::I32 if stored => Type::I32,
        _ => Type::F32,
    };
    let mut attributes = part(start, layout, layout.rows * channels);
    attributes.push(("Dimensions", Value::Texts(vec!["time".into(), "locus".into()])));
    Node::Dataset(Dataset { kind, shape: vec![layout.rows, channels], at: layout.samples_at, attributes })
}

fn times(start: &Start, layout: &Layout) -> Node {
    let attributes = part(start, layout, layout.rows);
    Node::Dataset(Dataset { kind: Type::I64, shape: vec![layout.rows], at: layout.times_at, attributes })
}
