//! PRODML 2.0 and 2.1 in HDF5: `Acquisition/Raw[0]`, as Silixa, OptaSense and others write it.
//!
//! The distance of channel 0 is `StartLocusIndex · SpatialSamplingInterval`; the times are in `RawDataTime`, int64 µs.
//! Either order of dimensions; `Dimensions` says which. Files without samples may have lines of band energy: [`fbe`].

use super::capture::Capture;
use super::fbe;
use super::found::{Found, Places};
use super::h5::{Attrs, H5};
use super::h5rows;
use super::stamp_column::StampColumn;
use super::times::iso_to_ns;
use super::timing::{Sink, Statements, Timing, work_out};
use super::words::{hertz_in, is_series, measured, metres_in};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Attributes of `Acquisition/Custom` in files that we wrote, for which PRODML has no words: one count in its unit, that unit,
/// and metres.
pub(crate) const SCALE: &str = "fiberd Scale";
pub(crate) const SCALED_UNIT: &str = "fiberd Scaled Unit";
pub(crate) const WAVELENGTH: &str = "fiberd Wavelength";

/// Nanoseconds in the unit of `RawDataTime`, by the standard.
const UNIT_NS: i64 = 1000;

/// Whether the file has the marks of PRODML.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.group_attrs("Acquisition")?.is_some_and(|a| a.has("schemaVersion") || a.has("NumberOfLoci")))
}

/// Opens every `Raw[n]` that has samples.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("PRODML without {what}"));
    let acq = file.group_attrs("Acquisition")?.ok_or_else(|| missing("group Acquisition"))?;
    let pieces = raw_groups(file)?.into_iter().map(|group| {
        let opened = open_raw(file, &acq, &format!("Acquisition/{group}"));
        (group, opened)
    });
    let lines = fbe::groups(file)?;
    match (Capture::of_pieces(pieces), lines.first()) {
        (Some(capture), None) => capture,
        (Some(capture), Some(lines)) => {
            let note = format!("beside the samples there are lines of band energy in {lines}: they are not read");
            capture.map(|mut capture| {
                capture.notes.push(Finding::note(note));
                capture
            })
        }
        (None, Some(group)) => {
            let mut capture = fbe::open(file, group)?;
            if lines.len() > 1 {
                let text = format!("{} groups with lines: only {group} is read", lines.len());
                capture.notes.push(Finding::note(text));
            }
            Ok(capture)
        }
        (None, None) => Err(missing("Acquisition/Raw[0]/RawData")),
    }
}

fn open_raw(file: &H5, acq: &Attrs, node: &str) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("PRODML without {what}"));
    let mut notes = Vec::new();
    let raw = file.group_attrs(node)?.unwrap_or_default();
    let data = format!("{node}/RawData");
    let unit = raw.text("RawDataUnit").unwrap_or_default();
    is_series(&unit, "").map_err(|why| file.unusable(format!("{data}: {why}")))?;
    let data_attrs = file.dataset_attrs(&data)?.ok_or_else(|| missing(&data))?;
    let samples = file.samples(&data)?.ok_or_else(|| missing(&data))?;
    let column = format!("{node}/RawDataTime");
    let stamps = StampColumn::open(file, &column)?.filter(|stamps| stamps.len() > 0);
    let times = stamps.as_ref().map(StampColumn::len);
    let order = |loci: &Loci| channel_first(&samples.shape, &data_attrs, loci.count, times);
    let (whole, part) = (Loci::of(acq, &raw), Loci::of(&raw, acq));
    // Samples may be of a part of the acquisition's loci; both count along the same fiber.
    let (loci, channel_first) = match (order(&whole), order(&part)) {
        (Ok(first), _) => (whole, first),
        (Err(_), Ok(first)) => {
            if !raw.has("StartLocusIndex") {
                notes.push(Finding::warning("the samples are of a part of the loci, and nothing says of which"));
            }
            (part, first)
        }
        (Err(why), Err(_)) => return Err(file.unusable(format!("{data}: {why}"))),
    };
    if loci.first.is_none() {
        notes.push(Finding::note("no StartLocusIndex of the samples: distances count from the first channel"));
    }
    let table = h5rows::table(samples, channel_first)?;
    let (rows, stamps) = rows_and_stamps(table.traces, stamps, &mut notes);

    let dx_m = length_of(file, acq, "SpatialSamplingInterval")?.ok_or_else(|| missing("SpatialSamplingInterval"))?;
    let gauge_length_m = length_of(file, acq, "GaugeLength")?;
    let timing = timing(file, &column, rows, stamps.as_ref(), declared_rate(acq, &raw), &data_attrs)?;
    // What we wrote ourselves: counts, and what one is worth.
    let custom = file.group_attrs("Acquisition/Custom")?;
    let own = |name: &str| custom.as_ref().and_then(|attrs| attrs.number(name)).filter(|value| !value.is_nan());
    let scaled_unit = custom.as_ref().and_then(|attrs| attrs.text(SCALED_UNIT));
    let (unit, scale) = own(SCALE).zip(scaled_unit).map_or_else(|| (unit.clone(), 1.0), |(scale, unit)| (unit, scale));
    let measured = measured(&unit, &raw.text("RawDescription").unwrap_or_default());
    let version = acq.text("schemaVersion").or_else(|| acq.number("schemaVersion").map(|v| v.to_string()));
    let format = format!("PRODML {} HDF5", version.unwrap_or_default());
    let places = Places::even(loci.first.unwrap_or(0) as f64 * dx_m, dx_m);
    let found = Found {
        gauge_length_m,
        refractive_index: refractive_index(file)?,
        quantity: measured.quantity,
        scale: measured.scale * scale,
        unit: measured.unit,
        description: acq.text("AcquisitionDescription").unwrap_or_default(),
        notes,
        ..Found::new(format, table, timing, places)
    };
    let mut capture = found.into_capture();
    capture.acquisition.wavelength_m = own(WAVELENGTH);
    Ok(capture)
}

/// Whether there are samples at all.
pub(super) fn has_samples(file: &H5) -> Result<bool, SourceError> {
    Ok(!raw_groups(file)?.is_empty())
}

fn raw_groups(file: &H5) -> Result<Vec<String>, SourceError> {
    let mut found = Vec::new();
    for group in file.groups("Acquisition")? {
        if group.to_lowercase().starts_with("raw") && file.has(&format!("Acquisition/{group}/RawData"))? {
            found.push(group);
        }
    }
    Ok(found)
}

/// A length of the acquisition in metres; `None` when it is not said.
pub(super) fn length_of(file: &H5, acq: &Attrs, name: &str) -> Result<Option<f64>, SourceError> {
    let Some(length) = acq.number(name) else { return Ok(None) };
    let metres = metres_in(unit_of(acq, name).as_deref()).map_err(|why| file.unusable(format!("{name}: {why}")))?;
    Ok(Some(length * metres))
}

/// PRODML 2.1 writes `X.uom`, 2.0 `XUnit`.
pub(super) fn unit_of(attrs: &Attrs, name: &str) -> Option<String> {
    ["{}.uom", "{}Unit", "{}Units"].iter().find_map(|pattern| attrs.text(&pattern.replace("{}", name)))
}

/// Loci, as a group declares them.
struct Loci {
    count: Option<i64>,
    first: Option<i64>,
}

impl Loci {
    /// As `near` says, or `far` where it says nothing.
    fn of(near: &Attrs, far: &Attrs) -> Self {
        let number = |name: &str| near.integer(name).or_else(|| far.integer(name));
        Self { count: number("NumberOfLoci"), first: number("StartLocusIndex") }
    }
}

/// Rows that have a stamp, and their stamps: a writer that is at work, or died, was ahead with one of both.
fn rows_and_stamps<'a>(
    traces: u64,
    stamps: Option<StampColumn<'a>>,
    notes: &mut Vec<Finding>,
) -> (u64, Option<StampColumn<'a>>) {
    let Some(column) = stamps else { return (traces, None) };
    let len = column.len();
    if len != traces {
        notes.push(Finding::note(format!(
            "RawDataTime has {len} values for {traces} rows: rows are read as far as both go"
        )));
    }
    let rows = traces.min(len);
    (rows, Some(column.first(rows)))
}

fn channel_first(shape: &[u64], attrs: &Attrs, loci: Option<i64>, stamps: Option<u64>) -> Result<bool, String> {
    let [a, b] = shape[..] else { return Err(format!("shape {shape:?}; it should have two dimensions")) };
    let mut names = attrs.texts("Dimensions");
    if let [one] = &names[..] {
        names = one.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    }
    if let Some(name) = names.iter().find(|name| name.to_lowercase().contains("freq")) {
        return Err(format!("a dimension is `{name}`: spectra, and no samples that could be played"));
    }
    let loci = loci.and_then(|n| u64::try_from(n).ok());
    let fits_loci = |channels: u64| loci.is_none_or(|n| n == channels);
    let fits = |times: u64, channels: u64| stamps.is_none_or(|n| n == times) && fits_loci(channels);
    let said = match names.first().map(|name| name.to_lowercase()).as_deref() {
        Some("locus" | "distance") => Some(true),
        Some("time") => Some(false),
        _ => None,
    };
    // Not said: time first unless only the other order fits.
    let channel_first = said.unwrap_or_else(|| !fits(a, b) && fits(b, a));
    let (times, channels) = if channel_first { (b, a) } else { (a, b) };
    // Where the order is said, a writer may be ahead with samples or stamps.
    let nearly = said.is_some() && fits_loci(channels) && stamps.is_none_or(|n| n.saturating_mul(2) >= times);
    if !nearly && !fits(times, channels) {
        let known = |value: Option<u64>| value.map_or("not said".into(), |value| value.to_string());
        return Err(format!(
            "shape {shape:?} and Dimensions {names:?} make {times} traces of {channels} loci, but NumberOfLoci is {} and \
             RawDataTime has {} values",
            known(loci),
            stamps.map_or("no".into(), |n| n.to_string())
        ));
    }
    Ok(channel_first)
}

fn declared_rate(acq: &Attrs, raw: &Attrs) -> Option<Rational> {
    [(raw, "OutputDataRate"), (acq, "PulseRate")].into_iter().find_map(|(attrs, name)| {
        let hertz = hertz_in(unit_of(attrs, name).as_deref()).ok()?;
        Rational::from_f64(attrs.number(name)? * hertz)
    })
}

fn timing(
    file: &H5,
    column: &str,
    traces: u64,
    stamps: Option<&StampColumn<'_>>,
    declared_rate: Option<Rational>,
    data_attrs: &Attrs,
) -> Result<Timing, SourceError> {
    let attrs = file.dataset_attrs(column)?.unwrap_or_default();
    let iso = |name: &str| [&attrs, data_attrs].iter().find_map(|a| iso_to_ns(&a.text(name)?));
    let stamps = stamps.filter(|stamps| stamps.len() == traces);
    let mut pass = |sink: &mut Sink<'_>| stamps.map_or(Ok(()), |stamps| stamps.pass(sink));
    work_out(Statements {
        rows: traces,
        declared_rate,
        start_ns: iso("PartStartTime"),
        end_ns: iso("PartEndTime"),
        lost_together: 1,
        stamps: stamps.map(|stamps| stamps.stamps(UNIT_NS, &mut pass)),
    })
    .map_err(|error| error.into_source(|why| file.unusable(format!("{column}, OutputDataRate, PartStartTime: {why}"))))
}

/// The refractive index of the fiber, where vendors write it.
pub(super) fn refractive_index(file: &H5) -> Result<Option<f64>, SourceError> {
    let places = [
        ("Acquisition/Custom", "Fibre Refractive Index"),
        ("Acquisition/Custom", "FibreRefractiveIndex"),
        ("Acquisition/Custom/SystemSettings", "FibreIndex"),
    ];
    for (group, name) in places {
        if let Some(index) = file.group_attrs(group)?.and_then(|attrs| attrs.number(name)) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
