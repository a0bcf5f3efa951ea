//! What vendors' words for quantities and units of length mean.

use crate::acquisition::Quantity;

/// The quantity that a unit names, or else that a description names; [`Quantity::Counts`] when neither does.
pub(super) fn quantity(unit: &str, description: &str) -> Quantity {
    of_words(unit).or_else(|| of_words(description)).unwrap_or(Quantity::Counts)
}

fn of_words(words: &str) -> Option<Quantity> {
    let words = words.to_lowercase().replace([' ', '_', '-'], "");
    if words.starts_with("db") || words.starts_with("psd") {
        // A spectrum on a logarithmic scale is none of these quantities, whatever it is relative to.
        return Some(Quantity::Counts);
    }
    let per_second = words.contains("rate")
        || words.contains("/s")
        || words.contains("/(s")
        || words.contains("s-1")
        || words.contains("s^-1");
    if words.contains("strain") || words.contains('ε') || words.contains('ϵ') {
        Some(if per_second { Quantity::StrainRate } else { Quantity::Strain })
    } else if words.contains("velocity") || words == "m/s" || words == "nm/s" {
        Some(Quantity::Velocity)
    } else if words.contains("phase") || words.contains("rad") {
        Some(if per_second { Quantity::PhaseRate } else { Quantity::Phase })
    } else {
        None
    }
}

/// Metres in one of these; no unit at all means metres.
///
/// # Errors
/// For a unit that is not one of length.
pub(super) fn metres_in(unit: Option<&str>) -> Result<f64, String> {
    match unit.map(str::to_lowercase).as_deref() {
        None | Some("" | "m" | "meter" | "meters" | "metre" | "metres") => Ok(1.0),
        Some("km") => Ok(1000.0),
        Some("cm") => Ok(0.01),
        Some("mm") => Ok(0.001),
        Some("ft" | "foot" | "feet") => Ok(0.3048),
        Some(other) => Err(format!("unit `{other}` is not a length; m, km, cm, mm and ft are")),
    }
}

/// Hertz in one of these; no unit at all means hertz.
///
/// # Errors
/// For a unit that is not one of frequency.
pub(super) fn hertz_in(unit: Option<&str>) -> Result<f64, String> {
    match unit.map(str::to_lowercase).as_deref() {
        None | Some("" | "hz" | "1/s" | "s-1") => Ok(1.0),
        Some("khz") => Ok(1000.0),
        Some("mhz") => Ok(1e6),
        Some(other) => Err(format!("unit `{other}` is not a frequency; Hz, kHz and MHz are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_captures_and_of_other_files() {
        let cases = [
            ("strain/s", "Phase rate per distance", Quantity::StrainRate),
            ("(nm/m)/s * Hz/m", "Strain rate", Quantity::StrainRate),
            ("m/s", "velocity", Quantity::Velocity),
            ("rad/(s·m)", "", Quantity::PhaseRate),
            ("rad * 2PI/2^16", "Single Pulse, OptaSense Native Data", Quantity::Phase),
            ("dB re 1 nStrain|sqrt(Hz)", "StrainRate", Quantity::Counts),
            ("", "StrainRate", Quantity::StrainRate),
            ("nstrain", "", Quantity::Strain),
            ("", "", Quantity::Counts),
        ];
        for (unit, description, expected) in cases {
            assert_eq!(quantity(unit, description), expected, "{unit:?} {description:?}");
        }
    }

    #[test]
    fn unknown_units_are_refused() {
        assert_eq!(metres_in(Some("ft")), Ok(0.3048));
        assert!(metres_in(Some("furlong")).is_err());
        assert!(hertz_in(Some("rpm")).is_err());
    }
}
