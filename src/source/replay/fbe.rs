//! Band energy that an interrogator computed itself: `Fbe` groups of PRODML. There are lines and no samples in it, so that
//! it is described and not played.

use std::fmt;
use std::path::{Path, PathBuf};

use super::capture::unusable;
use super::h5::{Attrs, H5};
use super::info::as_text;
use super::prodml::{length_of, unit_of};
use super::stamp_column::StampColumn;
use super::times::ns_to_iso;
use super::timing::{Sink, Statements, work_out};
use super::words::hertz_in;
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
    pub bands: Vec<Band>,
    /// What is odd about the file.
    pub notes: Vec<Finding>,
}

/// A band of frequencies.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Band {
    /// Dataset of its values.
    pub dataset: String,
    /// Lower edge, when known.
    pub from_hz: Option<f64>,
    /// Upper edge, when known.
    pub to_hz: Option<f64>,
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
    let Some(group) = groups(&file)?.into_iter().next() else { return Ok(None) };
    describe_group(&file, path, group).map(Some)
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

fn describe_group(file: &H5, path: &Path, group: String) -> Result<Lines, SourceError> {
    let wrong = |why: String| unusable(path, format!("{group}: {why}"));
    let acq = file.group_attrs("Acquisition")?.unwrap_or_default();
    let attrs = file.group_attrs(&group)?.unwrap_or_default();
    let (bands, [lines, loci]) = bands(file, &group)?;
    let column = format!("{group}/FbeDataTime");
    let stamps = StampColumn::open(file, &column)?.filter(|stamps| stamps.len() == lines);
    let mut pass = |sink: &mut Sink<'_>| stamps.as_ref().map_or(Ok(()), |stamps| stamps.pass(sink));
    let hertz = hertz_in(unit_of(&attrs, "OutputDataRate").as_deref()).map_err(wrong)?;
    let start = file.dataset_attrs(&column)?.and_then(|attrs| super::times::iso_to_ns(&attrs.text("PartStartTime")?));
    let timing = work_out(Statements {
        rows: lines,
        declared_rate: attrs.number("OutputDataRate").and_then(|rate| Rational::from_f64(rate * hertz)),
        start_ns: start,
        end_ns: None,
        lost_together: 1,
        stamps: stamps.as_ref().map(|stamps| stamps.stamps(UNIT_NS, &mut pass)),
    })
    .map_err(|error| error.into_source(|why| wrong(format!("FbeDataTime, OutputDataRate: {why}"))))?;
    // What the group of the lines says stands above what the acquisition says, by the standard.
    let own = length_of(file, &attrs, "SpatialSamplingInterval")?;
    let dx_m = own.map_or_else(|| length_of(file, &acq, "SpatialSamplingInterval"), |own| Ok(Some(own)))?;
    let dx_m = dx_m.ok_or_else(|| wrong("no SpatialSamplingInterval".into()))?;
    // Loci of the lines count within those of the acquisition.
    let first = acq.number("StartLocusIndex").unwrap_or(0.0) + attrs.number("StartLocusIndex").unwrap_or(0.0);
    let last = timing
        .segments
        .last()
        .map_or(0, |segment| segment.utc_ns.saturating_add(timing.rate.traces_to_ns(segment.rows.saturating_sub(1))));
    let begin = timing.segments.first().map_or(0, |segment| segment.utc_ns);
    let mut notes: Vec<Finding> = timing.notes().chain(file.notes()).collect();
    let others = groups(file)?.len();
    if others > 1 {
        notes.push(Finding::note(format!("{others} groups with lines: only {group} is described")));
    }
    Ok(Lines {
        path: path.to_owned(),
        format: format!("PRODML {} HDF5, lines of band energy", acq.text("schemaVersion").unwrap_or_default()),
        lines: timing.rows,
        loci,
        line_rate_hz: timing.rate.to_f64(),
        start_utc: ns_to_iso(begin),
        start_utc_ns: begin,
        end_utc: ns_to_iso(last),
        end_utc_ns: last,
        gap_lines: timing.segments.iter().filter_map(|segment| segment.gap_before).sum(),
        dx_m,
        distance_start_m: first * dx_m,
        distance_end_m: (first + loci.saturating_sub(1) as f64) * dx_m,
        gauge_length_m: length_of(file, &acq, "GaugeLength")?,
        unit: attrs.text("FbeDataUnit").unwrap_or_default(),
        window: window(&attrs),
        bands,
        notes,
        group,
    })
}

/// The bands of a group, and lines and loci of each.
fn bands(file: &H5, group: &str) -> Result<(Vec<Band>, [u64; 2]), SourceError> {
    let names = file.datasets(group)?;
    let is_band = |name: &&String| name.starts_with("FbeData") && *name != "FbeDataTime";
    let mut found: Option<[u64; 2]> = None;
    let mut bands = Vec::new();
    for dataset in names.iter().filter(is_band).take(MOST_BANDS) {
        let path = format!("{group}/{dataset}");
        let attrs = file.dataset_attrs(&path)?.unwrap_or_default();
        let Some(values) = file.values(&path)? else { continue };
        let &[a, b] = values.shape() else {
            return Err(file.unusable(format!("{path} has the shape {:?}; it should be lines of loci", values.shape())));
        };
        let turned = attrs.texts("Dimensions").first().is_some_and(|name| name.eq_ignore_ascii_case("locus"));
        let shape = if turned { [b, a] } else { [a, b] };
        if *found.get_or_insert(shape) != shape {
            return Err(file.unusable(format!("{path} has another shape than the band before")));
        }
        bands.push(Band {
            dataset: dataset.clone(),
            from_hz: attrs.number("StartFrequency"),
            to_hz: attrs.number("EndFrequency"),
        });
    }
    // By their numbers: `FbeData[10]` comes behind `FbeData[9]`.
    bands.sort_by_key(|band| (band.dataset.len(), band.dataset.clone()));
    let shape = found.ok_or_else(|| file.unusable(format!("{group} has no FbeData")))?;
    Ok((bands, shape))
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
