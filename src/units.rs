//! Quantities with their meaning: exact rationals for rates and periods, and the trace index.
//!
//! Time inside fiberd is a [`TraceIndex`] and a rational rate, never a float that is added up: a line grid that runs
//! for months must not drift by one trace. Floats appear only at the edges, where people and files write them.

use std::fmt;
use std::ops::{Add, Sub};

/// Number of a trace since its acquisition began; trace `i` was launched `i / prr` seconds after trace 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceIndex(pub u64);

impl Add<u64> for TraceIndex {
    type Output = Self;
    fn add(self, traces: u64) -> Self {
        Self(self.0 + traces)
    }
}

impl Sub for TraceIndex {
    type Output = u64;
    /// Traces from `earlier` to `self`; zero when `earlier` is not earlier.
    fn sub(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A positive exact fraction, always reduced: a rate in Hz, a period in seconds or in traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rational {
    num: u64,
    den: u64,
}

impl Rational {
    /// `num / den`, reduced; `None` when either is zero.
    pub const fn new(num: u64, den: u64) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        let g = gcd(num, den);
        Some(Self { num: num / g, den: den / g })
    }

    /// The simplest fraction that differs from `value` by less than one part in 10¹², found by continued fractions.
    ///
    /// A rate written as `3217.8` becomes 16089/5 and not a dyadic monster. `None` for zero, negative, non-finite or
    /// extreme (outside 10⁻⁹…10¹²) values.
    pub fn from_f64(value: f64) -> Option<Self> {
        const TOLERANCE: f64 = 1e-12;
        if !(value.is_finite() && (1e-9..=1e12).contains(&value)) {
            return None;
        }
        let (mut before, mut current) = ((0u64, 1u64), (1u64, 0u64));
        let mut rest = value;
        for _ in 0..40 {
            let whole = rest.floor();
            let step = whole as u64;
            let num = step.checked_mul(current.0)?.checked_add(before.0)?;
            let den = step.checked_mul(current.1)?.checked_add(before.1)?;
            (before, current) = (current, (num, den));
            if ((num as f64 / den as f64) / value - 1.0).abs() < TOLERANCE {
                return Self::new(num, den);
            }
            let fraction = rest - whole;
            if fraction <= 0.0 {
                break;
            }
            rest = 1.0 / fraction;
        }
        None
    }

    /// Exactly the number that a decimal such as `0.3`, `12` or `2.5e-3` stands for; `None` when it is zero or negative,
    /// is no decimal, or needs more than 64 bits.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        let digits = [whole, fraction].concat();
        if digits.bytes().any(|digit| !digit.is_ascii_digit()) {
            return None;
        }
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let (digits, power) = (digits.parse::<u64>().ok()?, 10u64.checked_pow(exponent.unsigned_abs())?);
        if exponent < 0 { Self::new(digits, power) } else { Self::new(digits.checked_mul(power)?, 1) }
    }

    /// Numerator of the reduced fraction.
    pub const fn num(self) -> u64 {
        self.num
    }

    /// Denominator of the reduced fraction.
    pub const fn den(self) -> u64 {
        self.den
    }

    /// Nearest double.
    pub fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// `1 / self`.
    #[must_use]
    pub const fn recip(self) -> Self {
        Self { num: self.den, den: self.num }
    }

    /// Exact product; `None` when it does not fit.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        // Cross-reduction first keeps realistic rates far from overflow.
        let (g1, g2) = (gcd(self.num, other.den), gcd(other.num, self.den));
        let num = (self.num / g1).checked_mul(other.num / g2)?;
        let den = (self.den / g2).checked_mul(other.den / g1)?;
        Self::new(num, den)
    }

    /// `round(k · self)`, halves upwards, exact for every `k` whose result fits a `u64` (saturates beyond).
    pub fn times_rounded(self, k: u64) -> u64 {
        let (num, den) = (u128::from(self.num), u128::from(self.den));
        let rounded = (2 * u128::from(k) * num + den) / (2 * den);
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }

    /// `floor(k / self)`: how many whole periods of `self` fit into `k`.
    pub fn fits_into(self, k: u64) -> u64 {
        let whole = u128::from(k) * u128::from(self.den) / u128::from(self.num);
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// Nanoseconds that `traces` take at the rate `self` Hz, rounded to nearest.
    pub fn traces_to_ns(self, traces: u64) -> i64 {
        let (num, den) = (u128::from(self.num), u128::from(self.den));
        let ns = (2 * u128::from(traces) * 1_000_000_000 * den + num) / (2 * num);
        i64::try_from(ns).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Rational {
    /// As a person writes it: a plain number when it is one, otherwise the nearest double.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_f64())
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_that_people_write_become_the_fraction_they_mean() {
        let cases = [(2000.0, (2000, 1)), (3217.8, (16089, 5)), (0.1, (1, 10)), (1.0 / 3.0, (1, 3)), (0.05, (1, 20))];
        for (value, (num, den)) in cases {
            assert_eq!(Rational::from_f64(value), Rational::new(num, den), "{value}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            assert_eq!(Rational::from_f64(bad), None, "{bad}");
        }
    }

    #[test]
    fn decimals_are_taken_as_they_are_written() {
        let cases = [("0.3", (3, 10)), ("12", (12, 1)), ("2.50e-3", (1, 400)), ("1E2", (100, 1)), ("0.1e1", (1, 1))];
        for (text, (num, den)) in cases {
            assert_eq!(Rational::from_decimal(text), Rational::new(num, den), "{text}");
        }
        for bad in
            ["", ".", "0", "0.000", "-1", "+1", "1e-40", "1e40", "1e99999999999", "nan", "1.2.3", "0x1", "1e", "1 "]
        {
            assert_eq!(Rational::from_decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_year_of_traces_is_a_year_of_nanoseconds() {
        let prr = Rational::from_f64(3217.8).unwrap();
        assert_eq!(prr.traces_to_ns(16089 * 6_307_200), 31_536_000 * 1_000_000_000);
    }

    proptest! {
        #[test]
        fn times_rounded_is_the_nearest_integer(num in 1u64..1_000_000, den in 1u64..1_000_000, k in 0u64..1_000_000_000) {
            let r = Rational::new(num, den).unwrap();
            let got = i128::from(r.times_rounded(k));
            // 2·|got − k·num/den| ≤ 1, without division.
            let twice_error = 2 * (got * i128::from(den) - i128::from(k) * i128::from(num));
            prop_assert!(twice_error.abs() <= i128::from(den));
        }

        #[test]
        fn from_decimal_is_the_double_that_was_written(digits in 1u64..1_000_000_000, exponent in -9i32..6) {
            // Scaled by an exact power on either side, so that one rounding is all there is.
            let value: f64 = format!("{digits}e{exponent}").parse().unwrap();
            let exact = Rational::from_decimal(&value.to_string()).unwrap();
            prop_assert_eq!(Some(exact), Rational::from_decimal(&format!("{digits}e{exponent}")));
            prop_assert_eq!(exact.to_f64().to_bits(), value.to_bits());
        }

        #[test]
        fn from_f64_stays_within_its_promise(value in 1e-3f64..1e6) {
            if let Some(r) = Rational::from_f64(value) {
                prop_assert!((r.to_f64() / value - 1.0).abs() < 1e-11);
            }
        }

        #[test]
        fn fits_into_is_the_floor(num in 1u64..10_000, den in 1u64..10_000, k in 0u64..1_000_000_000) {
            let r = Rational::new(num, den).unwrap();
            let n = r.fits_into(k);
            prop_assert!(u128::from(n) * u128::from(r.num()) <= u128::from(k) * u128::from(r.den()));
            prop_assert!(u128::from(n + 1) * u128::from(r.num()) > u128::from(k) * u128::from(r.den()));
        }
    }
}
