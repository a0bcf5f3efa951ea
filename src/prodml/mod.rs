//! PRODML 2.1 in HDF5, one `Raw[0]` a file, as `DASCore`, `xdas` and `DASPy` read it unmodified: what is in it, and in which
//! words. Samples `[time][locus]` and their times in microseconds lie one after the other behind the [`head`](Raw::head).

mod hdf5;

use std::sync::Arc;

use self::hdf5::{Dataset, Node, Value, head};
pub(crate) use self::hdf5::{LIVE, Type};
use crate::acquisition::{Acquisition, SampleFormat};
use crate::source::Finding;
use crate::source::replay::{SCALE, SCALED_UNIT, WAVELENGTH, ns_to_iso};

/// Samples and times begin at multiples of this.
pub(crate) const ALIGN: u64 = 4096;

/// What is in a file.
pub(crate) struct Raw {
    pub(crate) acquisition: Arc<Acquisition>,
    /// UTC of the first row, in nanoseconds.
    pub(crate) start_ns: i64,
    /// Whether samples are counts, without the scale that PRODML has no word for.
    pub(crate) counts: bool,
    /// Type of a sample in the file.
    pub(crate) kind: Type,
}

/// How long it is, and where things lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) rows: u64,
    /// UTC of the last row, in nanoseconds.
    pub(crate) last_ns: i64,
    /// Rows that there is room for.
    pub(crate) room: u64,
    pub(crate) samples_at: u64,
    pub(crate) times_at: u64,
    /// Behind the last byte of the file.
    pub(crate) end: u64,
}

impl Raw {
    /// Why an acquisition cannot be written as it is.
    pub(crate) fn refusal(acquisition: &Acquisition) -> Option<&'static str> {
        if acquisition.sample_format == SampleFormat::Iq16 {
            Some("PRODML cannot hold complex samples")
        } else if !acquisition.regions.is_empty() {
            Some("PRODML needs channels that are evenly spaced, and here are several regions")
        } else if acquisition.band.is_some() {
            Some("lines of band energy are no samples, which is what is recorded as PRODML")
        } else if !acquisition.levels.is_empty() {
            Some("samples were read without what they stand on, which PRODML has no word for")
        } else {
            None
        }
    }

    /// `counts`: samples as they were stored; those of a scale of one are that anyway.
    pub(crate) fn new(acquisition: Arc<Acquisition>, start_ns: i64, counts: bool) -> Self {
        let stored = counts || (acquisition.scale - 1.0).abs() < f64::EPSILON;
        let kind = match acquisition.sample_format {
            SampleFormat::I16 if stored => Type::I16,
            SampleFormat::I32 if stored => Type::I32,
            _ => Type::F32,
        };
        Self { acquisition, start_ns, counts, kind }
    }

    /// Bytes in front of everything else: as long as the [`head`](Self::head), up to where something may begin.
    pub(crate) fn head_bytes(&self) -> u64 {
        (self.head(&Extent::default()).len() as u64).next_multiple_of(ALIGN)
    }

    /// The bytes that a file of this extent begins with. Of two extents that differ in rows and the last time only, they
    /// differ in the sector [`LIVE`] only.
    pub(crate) fn head(&self, extent: &Extent) -> Vec<u8> {
        head(&self.root(extent), extent.end)
    }

    /// What PRODML has no words for, or readers take amiss.
    pub(crate) fn findings(&self, rows: u64) -> impl Iterator<Item = Finding> {
        let a = &self.acquisition;
        let off_m = (first_locus(a) as f64 * a.dx_m - a.fiber_start_m).abs();
        let moved = (off_m > 1e-3 * a.dx_m).then(|| {
            let text = format!("PRODML counts whole channels from the instrument: distances are off by {off_m:.3} m");
            Finding::note(text)
        });
        let square = (rows == a.channels as u64).then(|| {
            Finding::warning(
                "as many traces as channels in a file: DASPy takes time for distance; choose another length",
            )
        });
        let gauge = a.gauge_length_m.is_none().then(|| Finding::note("the gauge length is not known: written as NaN"));
        [moved, square, gauge].into_iter().flatten()
    }

    fn root(&self, extent: &Extent) -> Node {
        let a = &*self.acquisition;
        let (rate, loci) = (Value::F64(a.prr.to_f64()), Value::I64(a.channels as i64));
        let uuid = Value::Text(uuid(a, self.start_ns));
        let attributes = vec![
            ("schemaVersion", text("2.1")),
            ("uuid", uuid.clone()),
            ("AcquisitionDescription", text(beginning(&a.description))),
            ("VendorCode", text("fiberd")),
            ("MeasurementStartTime", iso(self.start_ns)),
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
        let mut custom = vec![
            ("Fibre Refractive Index", Value::F64(a.refractive_index.unwrap_or(f64::NAN))),
            ("Output Channel Start (CSU)", Value::I64(first_locus(a))),
            (WAVELENGTH, Value::F64(a.wavelength_m.unwrap_or(f64::NAN))),
        ];
        if self.counts {
            custom.extend([(SCALE, Value::F64(a.scale)), (SCALED_UNIT, text(&a.unit))]);
        }
        let raw = vec![
            ("uuid", uuid),
            ("OutputDataRate", rate),
            ("OutputDataRate.uom", text("Hz")),
            ("NumberOfLoci", loci),
            ("StartLocusIndex", Value::I64(first_locus(a))),
            ("RawDataUnit", text(if self.counts { "counts" } else { &a.unit })),
            ("RawDescription", text(a.quantity.name())),
        ];
        let children = vec![("RawData", self.samples(extent)), ("RawDataTime", self.times(extent))];
        let acquisition = vec![
            ("Custom", Node::Group { attributes: custom, children: Vec::new() }),
            ("Raw[0]", Node::Group { attributes: raw, children }),
        ];
        Node::Group {
            attributes: Vec::new(),
            children: vec![("Acquisition", Node::Group { attributes, children: acquisition })],
        }
    }

    fn samples(&self, extent: &Extent) -> Node {
        let channels = self.acquisition.channels as u64;
        let dimensions = Value::Texts(vec!["time".into(), "locus".into()]);
        self.dataset(
            extent,
            self.kind,
            vec![extent.rows, channels],
            extent.samples_at,
            vec![("Dimensions", dimensions)],
        )
    }

    fn times(&self, extent: &Extent) -> Node {
        self.dataset(extent, Type::I64, vec![extent.rows], extent.times_at, Vec::new())
    }

    fn dataset(
        &self,
        extent: &Extent,
        kind: Type,
        shape: Vec<u64>,
        at: u64,
        mut attributes: Vec<(&'static str, Value)>,
    ) -> Node {
        attributes.extend([("StartIndex", Value::I64(0)), ("PartStartTime", iso(self.start_ns))]);
        let count = shape.iter().product::<u64>() as i64;
        let live = vec![("Count", Value::I64(count)), ("PartEndTime", iso(extent.last_ns))];
        Node::Dataset(Dataset { kind, shape, room: extent.room, at, attributes, live })
    }
}

/// The microsecond nearest to a time in nanoseconds.
pub(crate) const fn rounded_us(utc_ns: i64) -> i64 {
    utc_ns.saturating_add(500).div_euclid(1000)
}

/// A time with nanoseconds, whatever they are, so that a text has the same length whatever it says.
pub(crate) fn utc(utc_ns: i64) -> String {
    let seconds = ns_to_iso(utc_ns.div_euclid(1_000_000_000).saturating_mul(1_000_000_000));
    format!("{}.{:09}Z", seconds.trim_end_matches('Z'), utc_ns.rem_euclid(1_000_000_000))
}

/// Readers want the offset.
fn iso(utc_ns: i64) -> Value {
    Value::Text(utc(utc_ns).replace('Z', "+00:00"))
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
