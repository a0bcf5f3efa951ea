//! Band energy that an interrogator computed itself: `Fbe` groups of PRODML. There are lines and no samples in it: each band
//! is a capture whose traces are lines, and all bands of the first group are told together.

use std::fmt;
use std::path::{Path, PathBuf};

use super::capture::Capture;
use super::found::{Found, Places};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::info::as_text;
use super::prodml::{length_of, refractive_index, unit_of};
use super::stamp_column::StampColumn;
use super::times::ns_to_iso;
use super::timing::{Sink, Statements, Timing, work_out};
use super::words::{hertz_in, is_energy};
use crate::acquisition::{Band, Quantity, SampleFormat};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Where groups with lines are.
const PARENTS: [&str; 2] = ["Acquisition/Processed", "Acquisition"];
/// Nanoseconds in the unit of `FbeDataTime`, by the standard.
const UNIT_NS: i64 = 1000;
/// Bands of one group at most.
const MOST_BANDS: usize = 1024;

/// What is in a file of lines of band energy. Serialises to the JSON of `fiberd info --json`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Lines {
    /// The file.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Format and version.
    pub format: String,
    /// Group that the lines are in.
    pub group: String,
    /// Lines of each band.
    pub lines: u64,
    /// Loci of a line.
    pub loci: u64,
    /// Lines a second.
    pub line_rate_hz: f64,
    /// UTC of the first line, ISO 8601.
    pub start_utc: String,
    /// UTC of the first line in nanoseconds since the UNIX epoch.
    pub start_utc_ns: i64,
    /// UTC of the last line, ISO 8601.
    pub end_utc: String,
    /// UTC of the last line in nanoseconds since the UNIX epoch.
    pub end_utc_ns: i64,
    /// Lines missing between them.
    pub gap_lines: u64,
    /// Metres from one locus to the next.
    pub dx_m: f64,
    /// Distance of the first locus.
    pub distance_start_m: f64,
    /// Distance of the last locus.
    pub distance_end_m: f64,
    /// Gauge length, when known.
    pub gauge_length_m: Option<f64>,
    /// Unit of the values, as the file writes it.
    pub unit: String,
    /// Window and overlap of the transform, in samples, and its window function, when known.
    pub window: Option<String>,
    /// The bands.
    pub bands: Vec<BandOfFile>,
    /// What is odd about the file.
    pub notes: Vec<Finding>,
}

/// A band of frequencies, as a file has it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct BandOfFile {
    /// Dataset of its values; what the band is called behind a `#`.
    pub dataset: String,
    /// Lower edge, when known.
    pub from_hz: Option<f64>,
    /// Upper edge, when known.
    pub to_hz: Option<f64>,
}

/// A group with lines of several bands.
struct Group {
    name: String,
    acq: Attrs,
    attrs: Attrs,
    bands: Vec<BandOfFile>,
    lines: u64,
    loci: u64,
    /// Whether values stand locus by locus.
    turned: Vec<bool>,
    dx_m: f64,
    /// Number of the first locus along the fiber.
    first_locus: f64,
    gauge_length_m: Option<f64>,
    unit: String,
}

/// The lines of a capture that has lines and no samples; `None` when it is anything else.
///
/// # Errors
/// When the file cannot be read or contradicts itself.
pub fn describe_lines(path: &Path) -> Result<Option<Lines>, SourceError> {
    if !hdf5_pure::is_hdf5(path).unwrap_or(false) {
        return Ok(None);
    }
    let file = H5::open(path)?;
    if !super::prodml::is_it(&file)? || super::prodml::has_samples(&file)? {
        return Ok(None);
    }
    let groups = groups(&file)?;
    let Some(first) = groups.first() else { return Ok(None) };
    let mut lines = Group::read(&file, first)?.describe(&file, path)?;
    if groups.len() > 1 {
        let text = format!("{} groups with lines: only {first} is read", groups.len());
        lines.notes.push(Finding::note(text));
    }
    Ok(Some(lines))
}

/// Groups with lines, in order.
pub(super) fn groups(file: &H5) -> Result<Vec<String>, SourceError> {
    let mut found = Vec::new();
    for parent in PARENTS {
        let groups = file.groups(parent)?.into_iter();
        found.extend(
            groups.filter(|name| name.to_lowercase().starts_with("fbe")).map(|name| format!("{parent}/{name}")),
        );
    }
    Ok(found)
}

/// Opens each band of `group`, pieces that lie side by side.
///
/// # Errors
/// When there is none that can be played.
pub(super) fn open(file: &H5, group: &str) -> Result<Capture, SourceError> {
    let group = Group::read(file, group)?;
    let bands = group.bands.iter().zip(&group.turned);
    let pieces = bands.map(|(band, &turned)| (band.dataset.clone(), group.open(file, band, turned)));
    Capture::of_pieces(pieces).unwrap_or_else(|| Err(file.unusable(format!("{} has no FbeData", group.name))))
}

impl Group {
    fn read(file: &H5, name: &str) -> Result<Self, SourceError> {
        let wrong = |why: &str| file.unusable(format!("{name}: {why}"));
        let acq = file.group_attrs("Acquisition")?.unwrap_or_default();
        let attrs = file.group_attrs(name)?.unwrap_or_default();
        let mut group = Self {
            name: name.to_owned(),
            bands: Vec::new(),
            turned: Vec::new(),
            lines: 0,
            loci: 0,
            // Loci of the lines count within those of the acquisition.
            first_locus: acq.number("StartLocusIndex").unwrap_or(0.0) + attrs.number("StartLocusIndex").unwrap_or(0.0),
            // What the group of the lines says stands above what the acquisition says, by the standard.
            dx_m: match length_of(file, &attrs, "SpatialSamplingInterval")? {
                Some(own) => own,
                None => length_of(file, &acq, "SpatialSamplingInterval")?
                    .ok_or_else(|| wrong("no SpatialSamplingInterval"))?,
            },
            gauge_length_m: length_of(file, &acq, "GaugeLength")?,
            unit: attrs.text("FbeDataUnit").unwrap_or_default(),
            acq,
            attrs,
        };
        group.read_bands(file)?;
        Ok(group)
    }

    /// The bands, and lines and loci of each.
    fn read_bands(&mut self, file: &H5) -> Result<(), SourceError> {
        let mut names = file.datasets(&self.name)?;
        names.retain(|name| name.starts_with("FbeData") && name != "FbeDataTime");
        // By their numbers: `FbeData[10]` comes behind `FbeData[9]`.
        names.sort_by_key(|name| (name.len(), name.clone()));
        let mut found: Option<[u64; 2]> = None;
        for dataset in names.into_iter().take(MOST_BANDS) {
            let path = format!("{}/{dataset}", self.name);
            let attrs = file.dataset_attrs(&path)?.unwrap_or_default();
            let Some(values) = file.values(&path)? else { continue };
            let &[a, b] = values.shape() else {
                let shape = values.shape();
                return Err(file.unusable(format!("{path} has the shape {shape:?}; it should be lines of loci")));
            };
            let turned = attrs.texts("Dimensions").first().is_some_and(|name| name.eq_ignore_ascii_case("locus"));
            let shape = if turned { [b, a] } else { [a, b] };
            if *found.get_or_insert(shape) != shape {
                return Err(file.unusable(format!("{path} has another shape than the band before")));
            }
            self.turned.push(turned);
            let (from_hz, to_hz) = (attrs.number("StartFrequency"), attrs.number("EndFrequency"));
            self.bands.push(BandOfFile { dataset, from_hz, to_hz });
        }
        [self.lines, self.loci] = found.ok_or_else(|| file.unusable(format!("{} has no FbeData", self.name)))?;
        Ok(())
    }

    /// When the lines were.
    fn timing(&self, file: &H5) -> Result<Timing, SourceError> {
        let wrong = |why: String| file.unusable(format!("{}: FbeDataTime, OutputDataRate: {why}", self.name));
        let column = format!("{}/FbeDataTime", self.name);
        let stamps = StampColumn::open(file, &column)?.filter(|stamps| stamps.len() == self.lines);
        let mut pass = |sink: &mut Sink<'_>| stamps.as_ref().map_or(Ok(()), |stamps| stamps.pass(sink));
        let hertz = hertz_in(unit_of(&self.attrs, "OutputDataRate").as_deref()).map_err(wrong)?;
        let attrs = file.dataset_attrs(&column)?;
        work_out(Statements {
            rows: self.lines,
            declared_rate: self.attrs.number("OutputDataRate").and_then(|rate| Rational::from_f64(rate * hertz)),
            start_ns: attrs.and_then(|attrs| super::times::iso_to_ns(&attrs.text("PartStartTime")?)),
            end_ns: None,
            lost_together: 1,
            stamps: stamps.as_ref().map(|stamps| stamps.stamps(UNIT_NS, &mut pass)),
        })
        .map_err(|error| error.into_source(wrong))
    }

    fn format(&self) -> String {
        format!("PRODML {} HDF5, lines of band energy", self.acq.text("schemaVersion").unwrap_or_default())
    }

    fn open(&self, file: &H5, band: &BandOfFile, turned: bool) -> Result<Capture, SourceError> {
        let path = format!("{}/{}", self.name, band.dataset);
        let wrong = |why: String| file.unusable(format!("{path}: {why}"));
        is_energy(&self.unit).map_err(wrong)?;
        let edges = band.from_hz.zip(band.to_hz).map(|(low_hz, high_hz)| Band { low_hz, high_hz });
        let edges = edges
            .filter(Band::is_one)
            .ok_or_else(|| wrong("StartFrequency and EndFrequency do not say which band it is".into()))?;
        let samples = file.samples(&path)?.ok_or_else(|| wrong("it is not there".into()))?;
        let places = Places::even(self.first_locus * self.dx_m, self.dx_m);
        let table = h5rows::table(samples, turned)?;
        // Energies are shown as they are: nothing is taken off them, and nothing multiplied.
        if table.format != SampleFormat::F32 {
            return Err(wrong("band energies that can be shown are floats".into()));
        }
        let mut capture = Found {
            gauge_length_m: self.gauge_length_m,
            refractive_index: refractive_index(file)?,
            quantity: Quantity::BandEnergy,
            unit: self.unit.clone(),
            description: self.acq.text("AcquisitionDescription").unwrap_or_default(),
            ..Found::new(self.format(), table, self.timing(file)?, places)
        }
        .into_capture();
        capture.acquisition.band = Some(edges);
        Ok(capture)
    }

    fn describe(self, file: &H5, path: &Path) -> Result<Lines, SourceError> {
        let timing = self.timing(file)?;
        let last = timing.segments.last().map_or(0, |segment| {
            segment.utc_ns.saturating_add(timing.rate.traces_to_ns(segment.rows.saturating_sub(1)))
        });
        let begin = timing.segments.first().map_or(0, |segment| segment.utc_ns);
        Ok(Lines {
            path: path.to_owned(),
            format: self.format(),
            lines: timing.rows,
            loci: self.loci,
            line_rate_hz: timing.rate.to_f64(),
            start_utc: ns_to_iso(begin),
            start_utc_ns: begin,
            end_utc: ns_to_iso(last),
            end_utc_ns: last,
            gap_lines: timing.segments.iter().filter_map(|segment| segment.gap_before).sum(),
            dx_m: self.dx_m,
            distance_start_m: self.first_locus * self.dx_m,
            distance_end_m: (self.first_locus + self.loci.saturating_sub(1) as f64) * self.dx_m,
            gauge_length_m: self.gauge_length_m,
            window: window(&self.attrs),
            unit: self.unit,
            bands: self.bands,
            notes: timing.notes().chain(file.notes()).collect(),
            group: self.name,
        })
    }
}

fn window(attrs: &Attrs) -> Option<String> {
    let size = attrs.number("WindowSize")?;
    let function = attrs.text("WindowFunction").unwrap_or_else(|| "window function not known".into());
    let overlap = attrs.number("WindowOverlap").map_or("not known".into(), |overlap| overlap.to_string());
    Some(format!("{size} samples, overlap {overlap}, {function}"))
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |value: Option<f64>, unit: &str| value.map_or("not known".into(), |v| format!("{v} {unit}"));
        let unit = if self.unit.is_empty() { "not known" } else { &self.unit };
        writeln!(f, "{}", self.path.display())?;
        writeln!(f, "  format        {} ({})", self.format, self.group)?;
        writeln!(
            f,
            "  shape         {} lines x {} loci, {} bands; no samples",
            self.lines,
            self.loci,
            self.bands.len()
        )?;
        writeln!(f, "  line rate     {:.9} Hz ({:.6} s)", self.line_rate_hz, 1.0 / self.line_rate_hz)?;
        let (from, to) = (self.distance_start_m, self.distance_end_m);
        writeln!(f, "  distances     {from:.3} m to {to:.3} m, dx {:.6} m", self.dx_m)?;
        writeln!(f, "  gauge length  {}", known(self.gauge_length_m, "m"))?;
        writeln!(f, "  time          {} to {}", self.start_utc, self.end_utc)?;
        writeln!(f, "  gaps          {} lines", self.gap_lines)?;
        writeln!(f, "  unit          {unit}")?;
        write!(f, "  window        {}", self.window.as_deref().unwrap_or("not known"))?;
        for band in &self.bands {
            let (from, to) = (known(band.from_hz, "Hz"), known(band.to_hz, "Hz"));
            write!(f, "\n  band          {} from {from} to {to}", band.dataset)?;
        }
        for note in &self.notes {
            write!(f, "\n  note          {note}")?;
        }
        Ok(())
    }
}
