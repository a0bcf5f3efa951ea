//! The unit in which the values of clients' jobs are told. Existing clients read them as float16 without a scale, which
//! holds 0.00006 to 65504: amplitudes of 10⁻⁹ strain/s would be zeros there. So a job begins with the power of ten, a
//! multiple of three, in which the samples at hand are neither small nor large, and its unit says so: `nstrain/s`. It stays
//! the same as long as the job lives. Pure.

/// The samples' unit is kept while the largest of nearly all samples is within this.
const KEPT: std::ops::Range<f64> = 0.5..3000.0;

/// Otherwise the largest of nearly all samples are at least this, and less than a thousand times as much.
const LEAST: f64 = 3.0;

/// A unit serves jobs that begin later as long as their samples are within this: ten times more to either side.
const SERVED: std::ops::Range<f64> = 0.03..30_000.0;

/// Units of physics in which a fiber's samples are far below 1, and what they are about, when no sample is known.
const SMALL: [&str; 5] = ["strain", "strain/s", "m/s", "m", "m/s^2"];
const SMALL_LEVEL: f64 = 1e-7;

/// Units that take a prefix.
const PLAIN: [&str; 9] = ["strain", "strain/s", "m/s", "m", "m/s^2", "rad", "rad/s", "V", "W"];

/// From 10⁻³⁰ to 10³⁰. Plain letters, so that a unit can stand in any header.
const PREFIXES: [&str; 21] =
    ["q", "r", "y", "z", "a", "f", "p", "n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q"];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobUnit {
    samples: String,
    exponent: i32,
}

impl JobUnit {
    /// The unit of the samples as it is.
    pub(super) fn plain(samples: &str) -> Self {
        Self { samples: samples.to_owned(), exponent: 0 }
    }

    /// For samples in the unit `samples` of which nearly all are at most `level`, when that is known.
    pub(super) fn new(samples: &str, level: Option<f64>) -> Self {
        let guess = if SMALL.contains(&samples) { SMALL_LEVEL } else { 1.0 };
        let level = level.filter(|level| level.is_finite() && *level > 0.0).unwrap_or(guess);
        if KEPT.contains(&level) {
            return Self::plain(samples);
        }
        let thousands = ((level / LEAST).log10() / 3.0).floor().clamp(-12.0, 12.0);
        Self { samples: samples.to_owned(), exponent: 3 * thousands as i32 }
    }

    /// Whether it does for such samples as well.
    pub(super) fn serves(&self, samples: &str, level: Option<f64>) -> bool {
        self.samples == samples && level.is_none_or(|level| level == 0.0 || SERVED.contains(&(level * self.factor())))
    }

    /// The unit of the samples.
    pub(super) fn samples(&self) -> &str {
        &self.samples
    }

    /// What values in the unit of the samples are multiplied by.
    pub(super) fn factor(&self) -> f64 {
        10f64.powi(-self.exponent)
    }

    /// In words: `nstrain/s`, or `1e-9 counts` where a prefix would not be understood.
    pub(super) fn text(&self) -> String {
        let (before, base) = split(&self.samples);
        let all = before + self.exponent;
        let prefix = usize::try_from(all / 3 + 10).ok().and_then(|at| PREFIXES.get(at));
        match (self.exponent, prefix) {
            (0, _) => self.samples.clone(),
            (_, Some(prefix)) if PLAIN.contains(&base) => format!("{prefix}{base}"),
            (exponent, _) => format!("1e{exponent} {}", self.samples).trim_end().to_owned(),
        }
    }
}

/// A unit as a power of ten of another one, where that is a plain one.
fn split(unit: &str) -> (i32, &str) {
    let unit_of = |(at, prefix): (usize, &&'static str)| {
        let base = unit.strip_prefix(*prefix).or_else(|| unit.strip_prefix('µ').filter(|_| *prefix == "u"))?;
        PLAIN.contains(&base).then_some((3 * (at as i32 - 10), base))
    };
    // A metre is no prefix.
    let plain = PLAIN.contains(&unit).then_some((0, unit));
    plain.or_else(|| PREFIXES.iter().enumerate().find_map(unit_of)).unwrap_or((0, unit))
}

/// The level of `samples`: 999 in a thousand of them are at most that large. They lose their order.
pub(super) fn level(samples: &mut [f32]) -> Option<f64> {
    let magnitude = |sample: &f32| sample.to_bits() & 0x7fff_ffff;
    let (_, level, _) = match samples.len() {
        0 => return None,
        len => samples.select_nth_unstable_by_key((len * 999).div_ceil(1000) - 1, magnitude),
    };
    Some(f64::from(level.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    #[test]
    fn units_are_those_that_people_write() {
        let cases = [
            ("strain/s", Some(2e-8), "nstrain/s"),
            ("strain/s", None, "nstrain/s"),
            ("nstrain/s", Some(2e-8), "astrain/s"),
            ("nstrain/s", Some(40.0), "nstrain/s"),
            ("rad", Some(0.5), "rad"),
            ("rad", Some(0.02), "mrad"),
            ("mrad", Some(2e4), "rad"),
            ("µm", Some(2e-5), "pm"),
            ("m", Some(2e-5), "um"),
            ("rad", Some(2e5), "krad"),
            ("counts", Some(2e7), "1e6 counts"),
            ("", Some(2e-7), "1e-9"),
            ("strain/s", Some(0.0), "nstrain/s"),
            ("counts", Some(f64::NAN), "counts"),
        ];
        for (samples, level, wanted) in cases {
            assert_eq!(JobUnit::new(samples, level).text(), wanted, "{samples} {level:?}");
        }
    }

    proptest! {
        /// What existing clients read: float16 without a scale, of values of any level within four decades.
        #[test]
        fn values_in_the_unit_of_a_job_are_float16(
            level in -30i32..=26, spread in prop::collection::vec(0.0f64..4.0, 1..3000), dead in 0usize..4,
        ) {
            let value = |decades: &f64| 10f64.powf(f64::from(level) + decades) as f32;
            let mut values: Vec<f32> = spread.iter().map(value).collect();
            let len = values.len();
            values.iter_mut().take(dead.min(len / 10)).for_each(|value| *value = 0.0);
            let known = super::level(&mut values.clone());
            let unit = JobUnit::new("strain/s", known);
            prop_assert!(unit.serves("strain/s", known));
            let (mut lost, mut there) = (0, 0);
            for value in values.iter().filter(|value| **value != 0.0) {
                there += 1;
                let exact = f64::from(*value) * unit.factor();
                let read = f64::from(f16::from_f32(value * unit.factor() as f32));
                if read == 0.0 || read.is_infinite() {
                    lost += 1;
                } else {
                    prop_assert!((read / exact - 1.0).abs() <= 2f64.powi(-10), "{} for {} in {}", read, exact, unit.text());
                }
            }
            prop_assert!(lost * 1000 <= there, "{} of {}", lost, there);
        }

        /// As long as a unit serves, nearly all samples are within what float16 can tell.
        #[test]
        fn a_unit_that_serves_holds_the_level(exponent in -36f64..36.0, other in -36f64..36.0) {
            let unit = JobUnit::new("x", Some(10f64.powf(exponent)));
            let level = 10f64.powf(other);
            if unit.serves("x", Some(level)) {
                let read = f16::from_f64(level * unit.factor());
                prop_assert!(read.is_normal());
            }
            prop_assert!(!unit.serves("y", Some(level)));
        }
    }
}
