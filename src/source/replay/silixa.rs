//! What the properties of a Silixa iDAS mean, whichever file carries them: attributes of HDF5, or those of a TDMS file.
//!
//! Pure. Traps: `SpatialResolution[m]` is the spacing in metres of time of flight, of which a metre of fiber is
//! `Fibre Length Multiplier`; `Start Distance (m)` is that of the first channel, and `StartPosition[m]` is not;
//! `SamplingFrequency[Hz]` is the rate of the rows, and `Precise Sampling Frequency (Hz)` that of the pulses.

use super::found::Places;
use super::times::iso_to_ns;
use crate::acquisition::ClockQuality;
use crate::source::Finding;
use crate::units::Rational;

/// Counts of the analog-to-digital conversion in what `Unit Calibration (nm)` is for.
const COUNTS: f64 = 8192.0;

/// Looks a property up by its name: as text, numbers as decimals, times in ISO 8601 or as the instrument writes them.
pub(super) type Property<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What follows from the properties.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Rows a second.
    pub(super) rate: Rational,
    /// Where channels lie.
    pub(super) places: Places,
    /// UTC of the first row in nanoseconds since the UNIX epoch.
    pub(super) start_ns: Option<i64>,
    /// Trust in it.
    pub(super) clock: ClockQuality,
    /// Gauge length in metres.
    pub(super) gauge_length_m: Option<f64>,
    /// Refractive index of the fiber.
    pub(super) refractive_index: Option<f64>,
    /// Physical value of one count of strain rate.
    pub(super) scale: f64,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What is odd.
    pub(super) notes: Vec<Finding>,
}

/// Works out what the properties mean.
///
/// # Errors
/// Names the property without which there is no rate or no spacing of channels.
pub(super) fn interpret(property: &Property<'_>) -> Result<Facts, String> {
    let text = |name: &str| property(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let number = |name: &str| text(name)?.parse::<f64>().ok().filter(|value| value.is_finite());
    let mut notes = Vec::new();

    let rate = text("SamplingFrequency[Hz]").and_then(|text| Rational::from_decimal(&text)).ok_or_else(|| {
        format!("SamplingFrequency[Hz] is {}; it should be the rows a second", told(text("SamplingFrequency[Hz]")))
    })?;
    let resolution = number("SpatialResolution[m]").ok_or_else(|| {
        format!("SpatialResolution[m] is {}; it should be a length", told(text("SpatialResolution[m]")))
    })?;
    let multiplier = number("Fibre Length Multiplier").unwrap_or_else(|| {
        notes.push(Finding::note("no Fibre Length Multiplier: distances are those of SpatialResolution[m] as it is"));
        1.0
    });
    let start_m = number("Start Distance (m)").or_else(|| number("Zero Offset (m)")).unwrap_or_else(|| {
        notes.push(Finding::note("no Start Distance (m): distances count from the first channel"));
        0.0
    });

    let by = |name: &str| Some((name.to_owned(), time_to_ns(&text(name)?)?));
    let begin = by("GPSTimeStamp").or_else(|| by("ISO8601 Timestamp")).or_else(|| by("CPUTimeStamp"));
    let gps = begin.as_ref().is_some_and(|(name, _)| name != "CPUTimeStamp");
    if !gps && begin.is_some() {
        notes.push(Finding::note("no GPSTimeStamp: times are those of the instrument's computer"));
    }
    let status = text("SystemInfomation.GPS.Status").unwrap_or_default();
    let locked = status == "Self Survey Complete" || status.ends_with("Lock");

    let gauge_length_m = number("GaugeLength").filter(|&gauge| gauge > 0.0);
    let calibration = number("Unit Calibration (nm)").filter(|&nm| nm > 0.0);
    let (scale, unit) = if let (Some(gauge), Some(nm)) = (gauge_length_m, calibration) {
        // Nanometres from row to row in 8192 counts, over the gauge length.
        (nm * rate.to_f64() / (gauge * COUNTS), "nstrain/s")
    } else {
        notes.push(Finding::note("no GaugeLength or no Unit Calibration (nm): samples are counts of strain rate"));
        (1.0, "")
    };
    Ok(Facts {
        rate,
        places: Places::even(start_m, resolution * multiplier),
        start_ns: begin.map(|(_, ns)| ns),
        clock: if gps && locked { ClockQuality::Gps } else { ClockQuality::FreeRunning },
        gauge_length_m,
        refractive_index: number("FibreIndex"),
        scale,
        unit,
        notes,
    })
}

fn told(value: Option<String>) -> String {
    value.map_or_else(|| "missing".into(), |text| format!("`{text}`"))
}

/// `22/09/2023 18:29:26.158 (UTC)`, day first, or ISO 8601, as nanoseconds since the UNIX epoch.
fn time_to_ns(text: &str) -> Option<i64> {
    let plain = text.trim_end_matches("(UTC)").trim();
    let Some((date, time)) = plain.split_once(' ').filter(|(date, _)| date.contains('/')) else {
        return iso_to_ns(plain);
    };
    let mut parts = date.split('/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    iso_to_ns(&format!("{year:0>4}-{month:0>2}-{day:0>2}T{}", time.trim()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn properties() -> HashMap<String, String> {
        [
            ("SamplingFrequency[Hz]", "500"),
            ("SpatialResolution[m]", "2"),
            ("Fibre Length Multiplier", "1.020952"),
            ("Start Distance (m)", "0.765761"),
            ("StartPosition[m]", "242"),
            ("GaugeLength", "10"),
            ("Unit Calibration (nm)", "116"),
            ("GPSTimeStamp", "22/09/2023 18:29:26.158 (UTC)"),
            ("CPUTimeStamp", "22/09/2023 18:52:18.801 (UTC)"),
            ("SystemInfomation.GPS.Status", "Uninitialized"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn the_properties_of_an_instrument() {
        let known = properties();
        let facts = interpret(&|name| known.get(name).cloned()).expect("all is there");
        assert_eq!(facts.rate, Rational::new(500, 1).unwrap());
        assert_eq!((facts.places.start_m, facts.places.dx_m), (0.765_761, 2.041_904));
        assert_eq!((facts.start_ns, facts.clock), (Some(1_695_407_366_158_000_000), ClockQuality::FreeRunning));
        assert!((facts.scale - 116.0 * 500.0 / (10.0 * 8192.0)).abs() < 1e-12);
        assert_eq!((facts.unit, facts.notes.len()), ("nstrain/s", 0));
    }

    proptest! {
        #[test]
        fn no_property_whatever_it_says_does_harm(
            name in 0usize..10, text in "[0-9/:. ()UTCeN+-]{0,30}|\\PC{0,12}|NaN|inf|1e400|-0|0", gone in any::<bool>(),
        ) {
            let mut known = properties();
            let key = known.keys().nth(name).cloned().unwrap_or_default();
            if gone { known.remove(&key) } else { known.insert(key.clone(), text) };
            match interpret(&|name| known.get(name).cloned()) {
                Ok(facts) => prop_assert!(facts.scale.is_finite() && facts.places.dx_m.is_finite()),
                Err(why) => prop_assert!(why.contains(&key), "{why} does not name {key}"),
            }
        }
    }
}
