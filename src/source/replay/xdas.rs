//! netCDF-4 as the Python library xdas writes it: samples of two dimensions whose coordinates are tie points by the CF
//! conventions, in either spelling (`coordinate_interpolation` of CF 1.9 and 1.13), or a start, a length and an interval
//! (`coordinate_sampling`).
//!
//! Tie points that follow each other directly are a jump: of time a gap, of distance another region.

use super::axes::{Counts, UNDATED, unit_of};
use super::capture::Capture;
use super::format::MAX_CHANNELS;
use super::found::{Found, Places, Said, rounded_places, timing};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::ties::Ties;
use super::timing::{Layout, Sink, Stamps, Timing};
use super::words::{is_series, metres_in, quantity};
use crate::source::{Finding, SourceError};

const INTERPOLATED: &str = "coordinate_interpolation";
const SAMPLED: &str = "coordinate_sampling";
/// Datasets of the root that are looked at.
const MAX_DATASETS: usize = 256;
/// Tie points of a coordinate, at most.
const MAX_POINTS: u64 = 1 << 22;

/// A coordinate, by the names of the datasets that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Coordinate {
    dimension: String,
    /// Indices of tie points, or lengths of stretches.
    indices: String,
    values: String,
    /// What holds the interval of stretches; `None` for tie points.
    sampling: Option<String>,
}

/// Whether the file has the marks of xdas.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(samples_name(file)?.is_some())
}

fn samples_name(file: &H5) -> Result<Option<String>, SourceError> {
    for name in file.datasets("")?.into_iter().take(MAX_DATASETS) {
        if file.dataset_attrs(&name)?.is_some_and(|attrs| attrs.has(INTERPOLATED) || attrs.has(SAMPLED)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Opens the file.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let wrong = |why: String| file.unusable(format!("xdas netCDF: {why}"));
    let data = samples_name(file)?.ok_or_else(|| wrong(format!("no dataset with {INTERPOLATED}")))?;
    let attrs = file.dataset_attrs(&data)?.unwrap_or_default();
    let coordinates = coordinates(file, &attrs)?;
    let samples = file.samples(&data)?.ok_or_else(|| wrong(format!("no dataset {data}")))?;
    let [time, distance] = time_and_distance(file, &coordinates)?;
    let channel_first = channel_first(file, &attrs, &samples.shape, time, distance)?;
    let table = h5rows::table(samples, channel_first)?;
    if table.channels > MAX_CHANNELS {
        return Err(wrong(format!("{} channels; at most {MAX_CHANNELS} make sense", table.channels)));
    }

    let (unit, kind) = (unit_of(&attrs).unwrap_or_default(), attrs.text("long_name").unwrap_or_default());
    is_series(&unit, &kind).map_err(wrong)?;
    let mut notes = Vec::new();
    let timing = times(file, time, table.traces, &mut notes)?;
    let places = places(file, distance, table.channels as u64)?;
    Ok(Found {
        quantity: quantity(&unit, &kind),
        unit,
        notes,
        ..Found::new("xdas netCDF-4".into(), table, timing, places)
    }
    .into_capture())
}

/// The coordinates that the attributes of the samples name.
fn coordinates(file: &H5, attrs: &Attrs) -> Result<Vec<Coordinate>, SourceError> {
    let mut found = Vec::new();
    for (attribute, is_sampling) in [(INTERPOLATED, false), (SAMPLED, true)] {
        for (name, words) in mapping(&attrs.text(attribute).unwrap_or_default()) {
            let coordinate = match &words[..] {
                [indices, values] if !is_sampling => {
                    Coordinate { dimension: name, indices: indices.clone(), values: values.clone(), sampling: None }
                }
                [container] => {
                    let marks = file.dataset_attrs(container)?.unwrap_or_default();
                    let inner = mapping(&marks.text("tie_point_mapping").unwrap_or_default()).into_iter().next();
                    let Some((dimension, inner)) = inner.filter(|(_, inner)| !inner.is_empty()) else {
                        return Err(file.unusable(format!("xdas netCDF: {container} without tie_point_mapping")));
                    };
                    let sampling = is_sampling.then(|| container.clone());
                    Coordinate { dimension, indices: inner[0].clone(), values: name, sampling }
                }
                _ => {
                    let why = format!("xdas netCDF: {attribute} says `{name}: {}`", words.join(" "));
                    return Err(file.unusable(format!("{why}, which is no known way to tell tie points")));
                }
            };
            found.push(coordinate);
        }
    }
    Ok(found)
}

/// `name: word word name: word` as names and their words.
fn mapping(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for word in text.split_whitespace() {
        match (word.strip_suffix(':'), found.last_mut()) {
            (Some(name), _) => found.push((name.to_owned(), Vec::new())),
            (None, Some((_, words))) => words.push(word.to_owned()),
            (None, None) => {}
        }
    }
    found
}

/// The coordinate of time, told by its unit or name, and the one of the other dimension.
fn time_and_distance<'a>(file: &H5, all: &'a [Coordinate]) -> Result<[&'a Coordinate; 2], SourceError> {
    let mut time = None;
    for coordinate in all {
        let unit = file.dataset_attrs(&coordinate.values)?.and_then(|attrs| unit_of(&attrs)).unwrap_or_default();
        if time.is_none() && (unit.contains(" since ") || coordinate.dimension == "time") {
            time = Some(coordinate);
        }
    }
    // A dimension may have several coordinates: the one of its own name says where its values lie.
    let other = |own: bool| {
        let own_values = |c: &Coordinate| c.values.starts_with(&c.dimension);
        all.iter().find(|c| time.is_some_and(|t| t.dimension != c.dimension) && (!own || own_values(c)))
    };
    match (time, other(true).or_else(|| other(false))) {
        (Some(_), Some(other)) if other.dimension.contains("freq") => {
            let why = format!("time and {}: a spectrum is no series of samples in time", other.dimension);
            Err(file.unusable(format!("xdas netCDF: dimensions are {why}")))
        }
        (Some(time), Some(other)) => Ok([time, other]),
        _ => {
            let names: Vec<&str> = all.iter().map(|c| c.dimension.as_str()).collect();
            let why = format!("tie points are those of {}", names.join(" and "));
            Err(file.unusable(format!("xdas netCDF: {why}; they should be those of time and distance")))
        }
    }
}

/// The order of the dimensions: by their numbers, or else by their lengths.
fn channel_first(
    file: &H5,
    attrs: &Attrs,
    shape: &[u64],
    time: &Coordinate,
    distance: &Coordinate,
) -> Result<bool, SourceError> {
    let number = |name: &str| Ok(file.dataset_attrs(name)?.and_then(|attrs| attrs.integer("_Netcdf4Dimid")));
    let order: Vec<i64> = attrs.numbers("_Netcdf4Coordinates").into_iter().map(|id| id as i64).collect();
    let ids: [Option<i64>; 2] = [number(&time.dimension)?, number(&distance.dimension)?];
    if let ([first, second], [Some(time), Some(distance)]) = (&order[..], ids)
        && time != distance
    {
        match (*first, *second) {
            ids if ids == (time, distance) => return Ok(false),
            ids if ids == (distance, time) => return Ok(true),
            _ => {}
        }
    }
    let rows = length(file, time)?;
    match shape[..] {
        [a, b] if a == rows && b != rows => Ok(false),
        [a, b] if b == rows && a != rows => Ok(true),
        _ => Err(file.unusable(format!(
            "xdas netCDF: samples of the shape {shape:?}, {rows} of them in time: nothing says which dimension is time"
        ))),
    }
}

fn length(file: &H5, coordinate: &Coordinate) -> Result<u64, SourceError> {
    let indices = file.numbers(&coordinate.indices)?.unwrap_or_default();
    let length = match coordinate.sampling {
        Some(_) => indices.iter().sum(),
        None => indices.last().map_or(0.0, |last| last + 1.0),
    };
    Ok(if (0.0..9e15).contains(&length) { length as u64 } else { 0 })
}

/// When rows were acquired.
fn times(file: &H5, time: &Coordinate, rows: u64, notes: &mut Vec<Finding>) -> Result<Timing, SourceError> {
    let unit = file.dataset_attrs(&time.values)?.and_then(|attrs| unit_of(&attrs)).unwrap_or_default();
    let seconds = Counts { unit_ns: 1_000_000_000, from_ns: None };
    let counts = match Counts::of(&unit) {
        Some(counts) => counts,
        None if unit.contains(" since ") => {
            return Err(file.unusable(format!("xdas netCDF: times are in `{unit}`, of which the date cannot be read")));
        }
        None => seconds,
    };
    let points = file.column_len(&time.values)?.unwrap_or(0);
    if points > MAX_POINTS {
        return Err(file.unusable(format!("xdas netCDF: {points} tie points; at most {MAX_POINTS} make sense")));
    }
    let mut values = Vec::new();
    let mut bad = false;
    let mut take = |value: Option<i64>| {
        bad |= value.is_none();
        values.push(value.unwrap_or(0));
    };
    if file.is_float(&time.values)? {
        file.numbers(&time.values)?.unwrap_or_default().into_iter().for_each(|value| take(counts.part(value)));
    } else {
        file.column_i64(&time.values, &mut |some| some.iter().for_each(|&value| take(counts.whole(value))))?;
    }
    if bad {
        return Err(file.unusable(format!("xdas netCDF: {} holds what is no time", time.values)));
    }
    let interval = match &time.sampling {
        Some(container) => interval(file, container)?,
        None => None,
    };
    let ties = ties(file, time, &values, rows, |start, count| {
        let (number, parts) = interval?;
        let way = i128::from(number).checked_mul(i128::from(count))? / i128::from(parts);
        start.checked_add(i64::try_from(way).ok()?)
    })?;
    if counts.from_ns.is_none() {
        notes.push(Finding::note(UNDATED));
    }
    let mut pass = |sink: &mut Sink<'_>| {
        ties.pass(sink);
        Ok(())
    };
    // Values are exact: their unit is the coarsest that holds all of them.
    let stamps = Stamps { unit_ns: 1, precision_ns: 1, layout: Layout::Every(1), pass: &mut pass };
    let start_ns = counts.from_ns.is_none().then_some(0);
    let said = Said { start_ns, stamps: Some(stamps), ..Said::default() };
    timing(file, rows, said, &format!("xdas netCDF: {}", time.values))
}

/// Nanoseconds from sample to sample, as a fraction.
fn interval(file: &H5, container: &str) -> Result<Option<(i64, i64)>, SourceError> {
    let attrs = file.dataset_attrs(container)?.unwrap_or_default();
    let in_ns = |name: &str| {
        let unit = attrs.text(&format!("{name}_units")).unwrap_or_else(|| "seconds".into());
        Counts::of(&unit)?.part(attrs.numbers(name).first().copied()?)
    };
    let whole = in_ns("sampling_interval").map(|ns| (ns, 1));
    let parts = attrs.numbers("sampling_denominator").first().map(|&parts| parts as i64).filter(|&parts| parts > 0);
    Ok(in_ns("sampling_numerator").zip(parts).or(whole))
}

/// Where channels lie.
fn places(file: &H5, distance: &Coordinate, channels: u64) -> Result<Places, SourceError> {
    let wrong = |why: String| file.unusable(format!("xdas netCDF: {}: {why}", distance.values));
    let attrs = file.dataset_attrs(&distance.values)?.unwrap_or_default();
    let metres = metres_in(unit_of(&attrs).as_deref()).map_err(wrong)?;
    let values: Vec<f64> = file.numbers(&distance.values)?.unwrap_or_default();
    let step = match &distance.sampling {
        Some(container) => {
            let attrs = file.dataset_attrs(container)?.unwrap_or_default();
            let number = |name: &str| attrs.numbers(name).first().copied();
            number("sampling_numerator")
                .zip(number("sampling_denominator"))
                .map(|(n, d)| n / d)
                .or_else(|| number("sampling_interval"))
        }
        None => None,
    };
    let ties = ties(file, distance, &values, channels, |start, count| Some(start + step? * count as f64))?;
    let in_m: Vec<f64> = ties.all().into_iter().map(|value| value * metres).collect();
    rounded_places(&in_m).map_err(wrong)
}

/// Tie points of a coordinate of `len` values; `ahead` is the value so many samples behind one.
fn ties<T: Copy>(
    file: &H5,
    coordinate: &Coordinate,
    values: &[T],
    len: u64,
    ahead: impl Fn(T, u64) -> Option<T>,
) -> Result<Ties<T>, SourceError> {
    let wrong = |why: String| file.unusable(format!("xdas netCDF: {}: {why}", coordinate.indices));
    let indices = file.numbers(&coordinate.indices)?.unwrap_or_default();
    if coordinate.sampling.is_none() {
        return Ties::new(&indices, values, len).map_err(wrong);
    }
    // Stretches: each is a line from its first to its last sample.
    let (mut points, mut ends, mut at) = (Vec::new(), Vec::new(), 0.0);
    if indices.len() != values.len() {
        return Err(wrong(format!("{} stretches have {} values", indices.len(), values.len())));
    }
    for (&count, &start) in indices.iter().zip(values) {
        if !(count >= 1.0 && count <= len as f64) {
            return Err(wrong(format!("a stretch of {count} samples")));
        }
        points.push(at);
        ends.push(start);
        if count > 1.0 {
            points.push(at + count - 1.0);
            ends.push(ahead(start, count as u64 - 1).ok_or_else(|| wrong("no sampling_interval".into()))?);
        }
        at += count;
    }
    Ties::new(&points, &ends, len).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_names_and_their_words() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            mapping("time: time_indices time_values  distance_values: distance_interpolation"),
            [
                ("time".to_owned(), words(&["time_indices", "time_values"])),
                ("distance_values".to_owned(), words(&["distance_interpolation"])),
            ]
        );
        assert_eq!(mapping("what is this"), []);
    }
}
