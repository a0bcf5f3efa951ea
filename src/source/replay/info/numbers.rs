//! Numbers as people and programs want them: with as many digits as they mean.

use serde::Serializer;

/// Digits that are left in JSON: more than any instrument has, fewer than a double's noise.
const JSON_DIGITS: i32 = 10;

/// `value` with so many significant digits.
pub(super) fn round_to(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // Through its text: that is the double nearest to the decimal, which arithmetic is not.
    format!("{value:.*e}", (digits - 1).max(0) as usize).parse().unwrap_or(value)
}

/// `value` as text, with so many significant digits at most: plain, or with an exponent when it is very large or small.
pub(super) fn number(value: f64, digits: i32) -> String {
    let value = round_to(value, digits);
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) { format!("{value}") } else { format!("{value:e}") }
}

/// For `serialize_with`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(round_to(*value, JSON_DIGITS))
}

/// The same of what may not be known.
#[allow(clippy::ref_option, reason = "serde's signature")]
pub(super) fn rounded_if_known<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => rounded(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// `12.3 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", number(value, 4), UNITS[unit])
}

/// `1 234 567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_mean() {
        assert_eq!(number(0.1 + 0.2, 6), "0.3");
        assert_eq!(number(3_217.804_3, 10), "3217.8043");
        assert_eq!(number(-4.123_456e-9, 4), "-4.123e-9");
        assert_eq!(number(0.0, 4), "0");
        assert_eq!(number(f64::NAN, 4), "NaN");
        assert_eq!(round_to(10.213_001_907_746_815, 10).to_string(), "10.21300191");
        assert_eq!((size(999), size(12_345_678)), ("999 bytes".into(), "12.35 MB".into()));
        assert_eq!((grouped(1), grouped(1234), grouped(1_234_567)), ("1".into(), "1 234".into(), "1 234 567".into()));
    }
}
