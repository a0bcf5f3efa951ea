//! PRODML 2.0 and 2.1 in HDF5: `Acquisition/Raw[0]`, as Silixa, OptaSense and others write it.
//!
//! The distance of channel 0 is `StartLocusIndex · SpatialSamplingInterval`; the times are in `RawDataTime`, int64 µs.
//! Either order of dimensions; `Dimensions` says which.

use std::sync::Arc;

use super::capture::Capture;
use super::h5::{Attrs, H5};
use super::h5rows;
use super::stamp_column::StampColumn;
use super::times::iso_to_ns;
use super::timing::{Sink, Statements, Timing, work_out};
use super::words::{hertz_in, metres_in, quantity};
use crate::acquisition::{Acquisition, ClockQuality, SourceKind};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Nanoseconds in the unit of `RawDataTime`, by the standard.
const UNIT_NS: i64 = 1000;

/// Whether the file has the marks of PRODML.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(file.group_attrs("Acquisition")?.is_some_and(|a| a.has("schemaVersion") || a.has("NumberOfLoci")))
}

/// Opens `Raw[0]`, or the only other `Raw` there is.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("PRODML without {what}"));
    let acq = file.group_attrs("Acquisition")?.ok_or_else(|| missing("group Acquisition"))?;
    let mut notes = Vec::new();
    let node = raw_node(file, &mut notes)?;
    let raw = file.group_attrs(&node)?.unwrap_or_default();
    let data = format!("{node}/RawData");
    let data_attrs = file.dataset_attrs(&data)?.ok_or_else(|| missing(&data))?;
    let samples = file.samples(&data)?.ok_or_else(|| missing(&data))?;
    let column = format!("{node}/RawDataTime");
    let stamps = StampColumn::open(file, &column)?.filter(|stamps| stamps.len() > 0);
    let times = stamps.as_ref().map(StampColumn::len);
    let order = |loci: &Loci| channel_first(&samples.shape, &data_attrs, loci.count, times);
    let (whole, part) = (Loci::of(&acq, &raw), Loci::of(&raw, &acq));
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

    let interval = acq.number("SpatialSamplingInterval").ok_or_else(|| missing("SpatialSamplingInterval"))?;
    let length =
        |name: &str| metres_in(unit_of(&acq, name).as_deref()).map_err(|why| file.unusable(format!("{name}: {why}")));
    let dx_m = interval * length("SpatialSamplingInterval")?;
    let gauge_length_m = match acq.number("GaugeLength") {
        Some(gauge) => Some(gauge * length("GaugeLength")?),
        None => None,
    };
    let timing = timing(file, &column, table.traces, stamps.as_ref(), declared_rate(&acq, &raw), &data_attrs)?;
    notes.extend(timing.notes());
    let (scale, unit) = scale_and_unit(&raw.text("RawDataUnit").unwrap_or_default());
    let acquisition = Acquisition {
        epoch: 0,
        prr: timing.rate,
        channels: table.channels,
        dx_m,
        fiber_start_m: loci.first.unwrap_or(0) as f64 * dx_m,
        regions: Arc::default(),
        gauge_length_m,
        wavelength_m: None,
        refractive_index: refractive_index(file)?,
        sample_format: table.format,
        quantity: quantity(&unit, &raw.text("RawDescription").unwrap_or_default()),
        scale,
        unit,
        clock: ClockQuality::FreeRunning,
        description: acq.text("AcquisitionDescription").unwrap_or_default(),
        source: SourceKind::Replay,
    };
    let version = acq.text("schemaVersion").or_else(|| acq.number("schemaVersion").map(|v| v.to_string()));
    Ok(Capture {
        format: format!("PRODML {} HDF5", version.unwrap_or_default()),
        acquisition,
        total_rows: timing.rows,
        anchors: timing.anchors(),
        jitter_ns: timing.jitter_ns,
        rate_is_measured: timing.rate_is_measured,
        slab_rows: table.slab_rows,
        notes,
        checksummed: false,
        rows: table.rows,
    })
}

fn raw_node(file: &H5, notes: &mut Vec<Finding>) -> Result<String, SourceError> {
    let mut found = Vec::new();
    for group in file.groups("Acquisition")? {
        let node = format!("Acquisition/{group}");
        if group.to_lowercase().starts_with("raw") && file.has(&format!("{node}/RawData"))? {
            found.push(node);
        }
    }
    if found.len() > 1 {
        notes.push(Finding::warning(format!("{} Raw groups: only {} is read", found.len(), found[0])));
    }
    found.into_iter().next().ok_or_else(|| file.unusable("PRODML without Acquisition/Raw[0]/RawData"))
}

/// PRODML 2.1 writes `X.uom`, 2.0 `XUnit`.
fn unit_of(attrs: &Attrs, name: &str) -> Option<String> {
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

fn channel_first(shape: &[u64], attrs: &Attrs, loci: Option<i64>, stamps: Option<u64>) -> Result<bool, String> {
    let [a, b] = shape[..] else { return Err(format!("shape {shape:?}; it should have two dimensions")) };
    let mut names = attrs.texts("Dimensions");
    if let [one] = &names[..] {
        names = one.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    }
    let loci = loci.and_then(|n| u64::try_from(n).ok());
    let fits = |times: u64, channels: u64| stamps.is_none_or(|n| n == times) && loci.is_none_or(|n| n == channels);
    let channel_first = match names.first().map(|name| name.to_lowercase()).as_deref() {
        Some("locus" | "distance") => true,
        Some("time") => false,
        // Not said: time first unless only the other order fits.
        _ => !fits(a, b) && fits(b, a),
    };
    let (times, channels) = if channel_first { (b, a) } else { (a, b) };
    if !fits(times, channels) {
        return Err(format!(
            "shape {shape:?} and Dimensions {names:?} make {times} traces of {channels} loci, but NumberOfLoci is \
             {loci:?} and RawDataTime has {stamps:?} values"
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

/// `OptaSense` counts phase in 2π / 2¹⁶; everyone else's unit is taken as it is written.
fn scale_and_unit(unit: &str) -> (f64, String) {
    let plain = unit.to_lowercase().replace(' ', "");
    if plain == "rad*2pi/2^16" {
        return (std::f64::consts::TAU / 65536.0, "rad".into());
    }
    (1.0, unit.to_owned())
}

fn refractive_index(file: &H5) -> Result<Option<f64>, SourceError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optasense_counts_become_radians() {
        let (scale, unit) = scale_and_unit("rad * 2PI/2^16");
        assert!((scale * 65536.0 - std::f64::consts::TAU).abs() < 1e-12);
        assert_eq!(unit, "rad");
    }
}
