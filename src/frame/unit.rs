//! Units of amplitudes and of powers.

use crate::acquisition::Acquisition;

/// The unit of power of samples in this unit: `rad^2`, but `(nstrain/s)^2`; of samples whose unit is not known,
/// `(unknown)^2`.
pub fn squared(sample_unit: &str) -> String {
    match sample_unit.trim() {
        "" => "(unknown)^2".into(),
        plain if plain.chars().all(char::is_alphanumeric) => format!("{plain}^2"),
        other => format!("({other})^2"),
    }
}

/// The unit of what has this unit as its power: `rad/sqrt(Hz)` of `rad2/Hz`, and where that is not plain `sqrt(…)`.
fn root(power_unit: &str) -> String {
    let unit = power_unit.trim();
    let (squared, per) = unit.strip_suffix("/Hz").map_or((unit, ""), |squared| (squared, "/sqrt(Hz)"));
    let base = ["^2", "²", "2"].iter().find_map(|two| squared.trim().strip_suffix(two));
    let plain = |base: &&str| !base.is_empty() && base.chars().all(char::is_alphabetic);
    let in_brackets = |base: &str| {
        let inside = base.strip_prefix('(')?.strip_suffix(')')?;
        (!inside.contains(['(', ')'])).then(|| if per.is_empty() { inside.to_owned() } else { base.to_owned() })
    };
    let base = base.and_then(|base| Some(base).filter(plain).map(str::to_owned).or_else(|| in_brackets(base)));
    base.map_or_else(|| format!("sqrt({})", if unit.is_empty() { "unknown" } else { unit }), |base| base + per)
}

/// The units in which amplitudes and powers of an acquisition are: band energy is a power already.
pub fn units(acquisition: &Acquisition) -> (String, String) {
    match acquisition.band {
        Some(_) => (root(&acquisition.unit), acquisition.unit.clone()),
        None => (acquisition.unit.clone(), squared(&acquisition.unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::{root, squared};

    #[test]
    fn the_root_of_a_unit_is_what_people_write() {
        let cases = [
            ("rad2/Hz", "rad/sqrt(Hz)"),
            ("rad^2", "rad"),
            ("nstrain²/Hz", "nstrain/sqrt(Hz)"),
            ("(nstrain/s)^2", "nstrain/s"),
            ("(nstrain/s)^2/Hz", "(nstrain/s)/sqrt(Hz)"),
            ("rad", "sqrt(rad)"),
            ("m2/s2", "sqrt(m2/s2)"),
            ("2", "sqrt(2)"),
            ("", "sqrt(unknown)"),
        ];
        for (power, amplitude) in cases {
            assert_eq!(root(power), amplitude, "{power:?}");
        }
    }

    #[test]
    fn a_squared_unit_always_has_something_to_be_squared() {
        let cases = [
            ("rad", "rad^2"),
            ("nstrain/s", "(nstrain/s)^2"),
            ("rad/(s*m)", "(rad/(s*m))^2"),
            ("dB re 1 rad", "(dB re 1 rad)^2"),
            ("bananas", "bananas^2"),
            ("", "(unknown)^2"),
            (" ", "(unknown)^2"),
        ];
        for (unit, expected) in cases {
            assert_eq!(squared(unit), expected, "{unit:?}");
        }
    }
}
