//! A plain HDF5 file, as people make it by hand: one dataset of two dimensions, and beside it columns of times and distances,
//! or attributes (or single values) `fs` or `dt`, `dx`, `start_time`.
//!
//! Names are those that are in use, whatever their case, with or without underscores. Which dimension is time follows from
//! `dims` or from the lengths of the columns; where neither says it, the file is refused: samples that are turned round
//! look like samples.

mod names;

use super::axes::{Counts, TimeAxis, UNDATED, distances, numbered, unit_of};
use super::capture::Capture;
use super::found::{Found, Places, Said, as_written, rate_of_period, timing};
use super::h5::H5;
use super::h5rows;
use super::timing::{Kind, Sink, Timing};
use super::words::{is_series, quantity};
use crate::source::{Finding, SourceError};
use crate::units::Rational;
use names::{Names, is_one_of, one_of};

/// Groups that are searched for samples, besides the root.
const MAX_GROUPS: usize = 64;
/// Datasets that are looked at in a group.
const MAX_DATASETS: usize = 256;
/// Names of samples, for files with several datasets of two dimensions.
const SAMPLES: &[&str] = &["data", "raw", "rawdata", "das", "samples", "signal", "strain", "strainrate", "traces"];
const TIMES: &[&str] = &["time", "times", "t", "timestamp", "timestamps", "taxis", "timeaxis", "gpstime", "posixtime"];
const DISTANCES: &[&str] = &["distance", "distances", "dist", "xaxis", "distanceaxis", "offset", "offsets", "x"];
const CHANNELS: &[&str] = &["channel", "channels", "channelnumber", "channelnumbers", "ch", "locus", "loci"];
const FREQUENCIES: &[&str] = &["frequency", "frequencies", "freq", "freqs"];
const UNPLACED: &str = "nothing says how far channels are apart: 1 m is taken; an attribute `dx` would say it";
const WANTED: &str = "a column `time` of a value a trace, or an attribute `fs` (in Hz) or `dt` (in seconds)";

/// Whether there are samples of two dimensions.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(!candidates(file)?.is_empty())
}

/// Group and name of all datasets of numbers that have two dimensions, in the first group that has any.
fn candidates(file: &H5) -> Result<Vec<(String, String)>, SourceError> {
    let groups = file.groups("")?;
    for group in std::iter::once(String::new()).chain(groups.into_iter().take(MAX_GROUPS)) {
        let mut found = Vec::new();
        for name in file.datasets(&group)?.into_iter().take(MAX_DATASETS) {
            let shape = file.shape_of_numbers(&path(&group, &name))?;
            // A column may be written as `[n, 1]`.
            if shape.is_some_and(|shape| shape.len() == 2 && !is_one_of(&name, TIMES) && !is_one_of(&name, DISTANCES)) {
                found.push((group.clone(), name));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn path(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}

/// The group of the samples and the root.
fn around(group: &str) -> Vec<&str> {
    if group.is_empty() { vec![""] } else { vec![group, ""] }
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let (group, name) = the_samples(file)?;
    let data = path(&group, &name);
    let wrong = |why: String| file.unusable(format!("{data}, of no vendor's layout: {why}"));
    let names = Names::read(file, &group, &data)?;
    let (unit, kind) = (names.text(names::UNIT), names.text(names::KIND));
    is_series(&unit, &kind).and_then(|()| is_series(&name, "")).map_err(wrong)?;

    let samples = file.samples(&data)?.ok_or_else(|| wrong("it is gone".into()))?;
    let axes = Axes::find(file, &group, &samples.shape)?;
    let rate = match names.number(file, names::RATE)? {
        Some(rate) => Rational::from_f64(as_written(rate)),
        None => names.number(file, names::PERIOD)?.and_then(rate_of_period),
    };
    if axes.time.is_none() && rate.is_none() {
        return Err(wrong(format!("nothing says how fast traces follow each other; {WANTED} would")));
    }
    let channel_first = axes.channel_first(&samples.shape, &names.dimensions()).map_err(wrong)?;
    let table = h5rows::table(samples, channel_first)?;

    let mut notes = vec![Finding::note(format!("of no vendor's layout: read as the plain dataset {data}"))];
    let start_ns = names.start_ns(file)?;
    let wanted = format!("{data}, of no vendor's layout, wants {WANTED}");
    let timing = times(file, axes.time.as_deref(), table.traces, (rate, start_ns), (&wanted, &mut notes))?;
    let places = axes.places(file, &names, table.channels, &mut notes)?;
    Ok(Found {
        gauge_length_m: names.number(file, names::GAUGE)?.map(as_written),
        quantity: quantity(&unit, &kind),
        unit,
        notes,
        ..Found::new("plain HDF5".into(), table, timing, places)
    }
    .into_capture())
}

/// The only dataset of two dimensions, or the only one that has a name of samples.
fn the_samples(file: &H5) -> Result<(String, String), SourceError> {
    let all = candidates(file)?;
    let named: Vec<&(String, String)> = all.iter().filter(|(_, name)| is_one_of(name, SAMPLES)).collect();
    match (&all[..], &named[..]) {
        ([only], _) => Ok(only.clone()),
        (_, [only]) => Ok((*only).clone()),
        _ => {
            let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).take(8).collect();
            Err(file.unusable(format!(
                "HDF5 of no known layout: {} have two dimensions; one of them, called `data`, could be played",
                names.join(" and ")
            )))
        }
    }
}

/// Columns beside the samples.
struct Axes {
    time: Option<String>,
    rows: Option<u64>,
    distance: Option<String>,
    /// Whether `distance` has numbers of channels instead.
    is_number: bool,
    channels: Option<u64>,
}

impl Axes {
    fn find(file: &H5, group: &str, shape: &[u64]) -> Result<Self, SourceError> {
        let mut beside = Vec::new();
        for group in around(group) {
            for name in file.datasets(group)?.into_iter().take(MAX_DATASETS) {
                let column = path(group, &name);
                let shape = file.shape_of_numbers(&column)?;
                let len = match shape.as_deref() {
                    Some([len] | [len, 1] | [1, len]) if !is_dimension_only(file, &column)? => *len,
                    _ => continue,
                };
                beside.push((name, column, len));
            }
        }
        let find = |wanted: &[&str]| one_of(wanted, &beside).filter(|(_, len)| shape.contains(len));
        let is_there = |name: &str| beside.iter().any(|(other, ..)| other.eq_ignore_ascii_case(name));
        if let Some((column, _)) = find(FREQUENCIES).filter(|_| find(DISTANCES).is_none()) {
            let why = format!("samples over {column} are a spectrum, and no series in time: they cannot be played");
            return Err(file.unusable(why));
        }
        // With `y` or `z` beside it, `x` is a place on the map and no distance along the fiber.
        let on_map = is_there("y") || is_there("z");
        let distance = find(if on_map { &DISTANCES[..DISTANCES.len() - 1] } else { DISTANCES });
        let is_number = distance.is_none();
        let (time, distance) = (find(TIMES), distance.or_else(|| find(CHANNELS)));
        if let (None, Some((column, len))) = (&time, one_of(TIMES, &beside)) {
            return Err(file.unusable(format!("{column} has {len} times for samples of the shape {shape:?}")));
        }
        if let (None, Some((column, len))) = (&distance, one_of(DISTANCES, &beside).filter(|_| !on_map)) {
            return Err(file.unusable(format!("{column} has {len} distances for samples of the shape {shape:?}")));
        }
        let (time, rows) = time.unzip();
        let (distance, channels) = distance.unzip();
        Ok(Self { time, rows, distance, is_number, channels })
    }

    /// Whether channels are the first dimension.
    fn channel_first(&self, shape: &[u64], dimensions: &[String]) -> Result<bool, String> {
        let &[a, b] = shape else { return Err(format!("the shape is {shape:?}; it should have two dimensions")) };
        let fits = |rows: u64, channels: u64| {
            self.rows.is_none_or(|n| n == rows) && self.channels.is_none_or(|n| n == channels)
        };
        let by_name = match dimensions {
            [first, second] if is_one_of(first, TIMES) || !is_one_of(second, TIMES) => {
                is_one_of(first, TIMES).then_some(false)
            }
            [_, _] => Some(true),
            _ => None,
        };
        match (by_name, fits(a, b), fits(b, a)) {
            (Some(false), true, _) | (None, true, false) => Ok(false),
            (Some(true), _, true) | (None, false, true) => Ok(true),
            (None, true, true) => Err(format!(
                "nothing says which of its dimensions {a} and {b} is time; an attribute `dims` of \"time,distance\" or \
                 \"distance,time\" would"
            )),
            _ => Err(format!(
                "columns of {} times and {} distances do not fit the shape {shape:?} in the order {dimensions:?}",
                self.rows.map_or("no".into(), |n| n.to_string()),
                self.channels.map_or("no".into(), |n| n.to_string())
            )),
        }
    }

    /// Where channels lie: by a column of distances, or by a spacing, or a metre apart.
    fn places(
        &self,
        file: &H5,
        names: &Names,
        channels: usize,
        notes: &mut Vec<Finding>,
    ) -> Result<Places, SourceError> {
        if let Some(column) = self.distance.as_deref().filter(|_| !self.is_number)
            && let Some(places) = distances(file, column, channels)?
        {
            return Ok(places);
        }
        let dx_m = names.number(file, names::SPACING)?.map_or_else(
            || {
                notes.push(Finding::note(UNPLACED));
                1.0
            },
            as_written,
        );
        if let Some(start_m) = names.number(file, names::FIRST_DISTANCE)? {
            return Ok(Places::even(as_written(start_m), dx_m));
        }
        let first = match self.distance.as_deref() {
            Some(column) => file.number(column)?.filter(|first| first.is_finite()),
            None => None,
        };
        Ok(numbered(first.unwrap_or(0.0), dx_m))
    }
}

/// A length of a dimension that netCDF writes as a dataset without values.
fn is_dimension_only(file: &H5, dataset: &str) -> Result<bool, SourceError> {
    let name = file.dataset_attrs(dataset)?.and_then(|attrs| attrs.text("NAME"));
    Ok(name.is_some_and(|name| name.starts_with("This is a netCDF dimension but not a netCDF variable")))
}

/// When rows were acquired.
fn times(
    file: &H5,
    column: Option<&str>,
    rows: u64,
    (rate, declared): (Option<Rational>, Option<i64>),
    (wanted, notes): (&str, &mut Vec<Finding>),
) -> Result<Timing, SourceError> {
    let axis = match column {
        Some(name) => {
            let unit = file.dataset_attrs(name)?.and_then(|attrs| unit_of(&attrs));
            TimeAxis::open(file, name, unit.and_then(|unit| Counts::of(&unit)))?
        }
        None => None,
    };
    let Some(axis) = axis else {
        if declared.is_none() {
            notes.push(Finding::note(UNDATED));
        }
        return timing(file, rows, Said { rate, start_ns: declared.or(Some(0)), ..Said::default() }, wanted);
    };
    let start_ns = axis.begin(declared, notes)?;
    let mut pass = |sink: &mut Sink<'_>| axis.pass(sink);
    let said = Said { rate, start_ns, stamps: Some(axis.stamps(&mut pass)), ..Said::default() };
    let mut timing = timing(file, rows, said, wanted)?;
    // No unit is that of this layout.
    timing.findings.retain(|finding| finding.kind != Kind::OtherUnit);
    Ok(timing)
}
