//! What vendors' words for quantities and units mean: one table, whatever the case, the spaces and the signs.

use std::f64::consts::{PI, TAU};

use crate::acquisition::Quantity;

/// What samples are, in which unit, by which factor on what the file holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) quantity: Quantity,
    /// As the file writes it; `rad` for phase, which is computed with.
    pub(super) unit: String,
    pub(super) scale: f64,
}

/// A row of the table: the word as [`plain`] writes it, what it measures, and radians in one for phase in another unit.
type Row = (&'static str, Quantity, Option<f64>);

/// Values of a metre of fiber (`rad/s/m`, `rad/m`) are in no unit that is divided by the gauge length again: that is done
/// with `rad` only.
const UNITS: [Row; 37] = [
    ("rad", Quantity::Phase, None),
    ("mrad", Quantity::Phase, Some(1e-3)),
    ("urad", Quantity::Phase, Some(1e-6)),
    ("deg", Quantity::Phase, Some(PI / 180.0)),
    ("rad*2pi/2^16", Quantity::Phase, Some(TAU / 65536.0)),
    ("rad/m", Quantity::Phase, None),
    ("rad/s", Quantity::PhaseRate, None),
    ("mrad/s", Quantity::PhaseRate, None),
    ("rad/s/m", Quantity::PhaseRate, None),
    ("strain", Quantity::Strain, None),
    ("mstrain", Quantity::Strain, None),
    ("ustrain", Quantity::Strain, None),
    ("nstrain", Quantity::Strain, None),
    ("pstrain", Quantity::Strain, None),
    ("m/m", Quantity::Strain, None),
    ("um/m", Quantity::Strain, None),
    ("nm/m", Quantity::Strain, None),
    ("strain/s", Quantity::StrainRate, None),
    ("mstrain/s", Quantity::StrainRate, None),
    ("ustrain/s", Quantity::StrainRate, None),
    ("nstrain/s", Quantity::StrainRate, None),
    ("pstrain/s", Quantity::StrainRate, None),
    ("1/s", Quantity::StrainRate, None),
    ("m/s/m", Quantity::StrainRate, None),
    ("um/s/m", Quantity::StrainRate, None),
    ("nm/s/m", Quantity::StrainRate, None),
    ("nm/s/m*hz/m", Quantity::StrainRate, None),
    ("m/s", Quantity::Velocity, None),
    ("mm/s", Quantity::Velocity, None),
    ("um/s", Quantity::Velocity, None),
    ("nm/s", Quantity::Velocity, None),
    ("counts", Quantity::Counts, None),
    ("count", Quantity::Counts, None),
    ("adu", Quantity::Counts, None),
    ("v", Quantity::Counts, None),
    ("mv", Quantity::Counts, None),
    ("w", Quantity::Counts, None),
];

/// How signs and names are written in the table, in the order in which they are replaced.
const SPELLINGS: [(&str, &str); 41] = [
    (" ", ""),
    ("_", ""),
    ("µ", "u"),
    ("μ", "u"),
    ("ε", "strain"),
    ("ϵ", "strain"),
    ("π", "pi"),
    ("⁻¹", "^-1"),
    ("−", "-"),
    ("·", "*"),
    ("⋅", "*"),
    ("×", "*"),
    ("°", "deg"),
    ("micro", "u"),
    ("nano", "n"),
    ("pico", "p"),
    ("milli", "m"),
    ("radians", "rad"),
    ("radian", "rad"),
    ("degrees", "deg"),
    ("degree", "deg"),
    ("meters", "m"),
    ("metres", "m"),
    ("meter", "m"),
    ("metre", "m"),
    ("seconds", "s"),
    ("second", "s"),
    ("sec", "s"),
    ("per", "/"),
    ("*s^-1", "/s"),
    ("s^-1", "/s"),
    ("*m^-1", "/m"),
    ("m^-1", "/m"),
    ("*s-1", "/s"),
    ("s-1", "/s"),
    ("*m-1", "/m"),
    ("m-1", "/m"),
    ("(m/m)", "m/m"),
    ("(nm/m)", "nm/m"),
    ("(um/m)", "um/m"),
    (".m)", "*m)"),
];

/// Both orders of time and length below the line.
const ORDERS: [(&str, &str); 3] = [("/(s*m)", "/s/m"), ("/(m*s)", "/s/m"), ("/m/s", "/s/m")];

/// What a unit and a description say: the unit first, then the words of the unit, then those of the description.
pub(super) fn measured(unit: &str, description: &str) -> Measured {
    let word = plain(unit);
    match UNITS.iter().find(|(known, ..)| *known == word) {
        Some(&(_, quantity, Some(factor))) => Measured { quantity, unit: "rad".into(), scale: factor },
        _ => Measured { quantity: quantity(unit, description), unit: unit.trim().to_owned(), scale: 1.0 },
    }
}

/// The quantity that a unit names, or else that a description names; [`Quantity::Counts`] when neither does.
pub(super) fn quantity(unit: &str, description: &str) -> Quantity {
    let word = plain(unit);
    let known = UNITS.iter().find(|(known, ..)| *known == word).map(|(_, quantity, _)| *quantity);
    known.or_else(|| of_words(unit)).or_else(|| of_words(description)).unwrap_or(Quantity::Counts)
}

/// What names of spectra have in them.
const SPECTRA: [&str; 6] = ["psd", "spectr", "fft", "fbe", "bandenergy", "frequencyband"];

/// Refuses what is no series in time of a physical value, by what it is. Every reader asks before it plays anything: values
/// of a spectrum or on a logarithmic scale would be transformed as if they were samples.
///
/// # Errors
/// For spectra and logarithmic scales.
pub(super) fn is_series(unit: &str, description: &str) -> Result<(), String> {
    for words in [unit, description] {
        let plain = words.to_lowercase().replace([' ', '_', '-'], "");
        if SPECTRA.iter().any(|word| plain.contains(word)) {
            return Err(format!("`{words}` is a spectrum and no series of samples in time: it cannot be played"));
        }
        if plain.starts_with("db") {
            return Err(format!("`{words}` is a logarithmic scale, of which there are no samples to play"));
        }
    }
    let word = plain(unit);
    if word.ends_with("/hz") || word.ends_with("sqrt(hz)") {
        return Err(format!("`{unit}` is the unit of a spectrum: there are no samples in time to play"));
    }
    Ok(())
}

/// Refuses what cannot be band energy: a power, of which lines can be averaged.
///
/// # Errors
/// For decibels, and for units of amplitudes.
pub(super) fn is_energy(unit: &str) -> Result<(), String> {
    let word = plain(unit);
    if word.starts_with("db") {
        return Err(format!("`{unit}` is a logarithmic scale: band energies that can be shown are powers"));
    }
    if UNITS.iter().any(|(known, ..)| *known == word) || word.ends_with("sqrt(hz)") {
        return Err(format!("`{unit}` is the unit of an amplitude: band energies that can be shown are powers"));
    }
    Ok(())
}

/// A unit as the table writes it.
fn plain(unit: &str) -> String {
    let replace = |word: String, (from, to): &(&str, &str)| word.replace(from, to);
    let word = SPELLINGS.iter().fold(unit.trim().to_lowercase(), replace);
    ORDERS.iter().fold(word, replace)
}

fn of_words(words: &str) -> Option<Quantity> {
    let words = words.to_lowercase().replace([' ', '_', '-'], "");
    let per_second = words.contains("rate") || words.contains("/s") || words.contains("/(s");
    if words.contains("strain") || words.contains('ε') || words.contains('ϵ') {
        Some(if per_second { Quantity::StrainRate } else { Quantity::Strain })
    } else if words.contains("velocity") {
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
    fn every_row_of_the_table_is_found_however_it_is_written() {
        for (word, quantity, factor) in UNITS {
            let expected = Measured {
                quantity,
                unit: if factor.is_some() { "rad".into() } else { word.into() },
                scale: factor.unwrap_or(1.0),
            };
            assert_eq!(measured(word, "whatever"), expected, "{word}: is it as `plain` writes it?");
            let spaced = word.to_uppercase().replace('/', " / ");
            assert_eq!(super::quantity(&spaced, ""), quantity, "{spaced}");
        }
    }

    #[test]
    fn the_words_of_the_captures_and_of_other_files() {
        let cases = [
            ("strain/s", "Phase rate per distance", Quantity::StrainRate),
            ("(nm/m)/s * Hz/m", "Strain rate", Quantity::StrainRate),
            ("m/s", "velocity", Quantity::Velocity),
            ("rad/(s·m)", "", Quantity::PhaseRate),
            ("rad/(s.m)", "", Quantity::PhaseRate),
            ("rad/(s*m)", "Strain", Quantity::PhaseRate),
            ("rad / (m * s)", "", Quantity::PhaseRate),
            ("rad s⁻¹ m⁻¹", "", Quantity::PhaseRate),
            ("Radians per second", "", Quantity::PhaseRate),
            ("µε", "", Quantity::Strain),
            ("με/s", "", Quantity::StrainRate),
            ("nε·s⁻¹", "", Quantity::StrainRate),
            ("Nanostrain/Second", "", Quantity::StrainRate),
            ("microstrain", "", Quantity::Strain),
            ("nm/m/s", "", Quantity::StrainRate),
            ("1/s", "", Quantity::StrainRate),
            ("NM/S", "", Quantity::Velocity),
            ("V", "Strain", Quantity::Counts),
            ("rad * 2PI/2^16", "Single Pulse, OptaSense Native Data", Quantity::Phase),
            ("", "StrainRate", Quantity::StrainRate),
            ("nstrain", "", Quantity::Strain),
            ("", "", Quantity::Counts),
            ("bananas", "", Quantity::Counts),
        ];
        for (unit, description, expected) in cases {
            assert_eq!(quantity(unit, description), expected, "{unit:?} {description:?}");
        }
        // What is not known stays the word that it is.
        assert_eq!(measured(" bananas ", "").unit, "bananas");
        assert_eq!(measured("rad/(s*m)", "").unit, "rad/(s*m)", "a metre of fiber, so not rad");
    }

    #[test]
    fn what_is_no_series_is_named() {
        let units =
            ["dB", "dB re 1 rad", "rad2/Hz", "(nstrain)^2/Hz", "nstrain / sqrt(Hz)", "PSD"].map(|unit| (unit, ""));
        let others =
            [("dB re 1 nStrain/sqrt(Hz)", "PSD"), ("", "PSD"), ("strain", "frequency band energy"), ("", "dB")];
        for (unit, description) in units.into_iter().chain(others) {
            let why = is_series(unit, description).unwrap_err();
            assert!(why.contains("spectrum") || why.contains("logarithmic"), "{unit} {description}: {why}");
        }
        let samples = ["rad", "", "(nm/m)/s * Hz/m", "rad/s", "counts", "m / s", "µε"];
        for (unit, description) in
            samples.map(|unit| (unit, "")).into_iter().chain([("", "Strain rate"), ("m / s", "velocity")])
        {
            assert_eq!(is_series(unit, description), Ok(()), "{unit} {description}");
        }
    }

    #[test]
    fn band_energies_are_powers() {
        for unit in ["rad2/Hz", "rad^2", "(nstrain/s)^2", "", "counts²"] {
            assert_eq!(is_energy(unit), Ok(()), "{unit}");
        }
        for unit in ["dB", "dB re 1 rad", "rad", "nstrain / s", "rad/sqrt(Hz)"] {
            assert!(is_energy(unit).unwrap_err().contains("powers"), "{unit}");
        }
    }

    #[test]
    fn optasense_counts_become_radians() {
        let measured = measured("rad * 2PI/2^16", "");
        assert!((measured.scale * 65536.0 - TAU).abs() < 1e-12);
        assert_eq!((measured.quantity, measured.unit.as_str()), (Quantity::Phase, "rad"));
    }

    #[test]
    fn unknown_units_are_refused() {
        assert_eq!(metres_in(Some("ft")), Ok(0.3048));
        assert!(metres_in(Some("furlong")).is_err());
        assert!(hertz_in(Some("rpm")).is_err());
    }
}
