//! Times as files write them: seconds as floats, ISO strings; and whole traces between two times.
//!
//! Pure. Which stamps to believe is worked out in `timing`.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::units::Rational;

/// Seconds since the UNIX epoch in nanoseconds; `None` before 1970 or after 2250, where no interrogator was.
///
/// A double holds today's seconds to 0.24 µs only; rounding to 0.1 µs gives back the decimals that were meant.
pub(super) fn seconds_to_ns(seconds: f64) -> Option<i64> {
    if !(0.0..8.8e9).contains(&seconds) {
        return None;
    }
    Some(seconds.floor() as i64 * 1_000_000_000 + (seconds.fract() * 1e7).round() as i64 * 100)
}

/// ISO 8601 with an offset, or without one in UTC, as nanoseconds since the UNIX epoch.
pub fn iso_to_ns(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('\0');
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(stamp.as_nanosecond()).ok().filter(|&ns| ns >= 0)
}

/// UTC in ISO 8601.
pub fn ns_to_iso(utc_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(utc_ns)).map_or_else(|_| format!("{utc_ns} ns"), |t| t.to_string())
}

/// Half a sample period, and not less than a nanosecond.
pub(super) fn half_period_ns(prr: Rational) -> i64 {
    (prr.traces_to_ns(1) / 2).max(1)
}

/// How many traces lie between where a trace was expected and where it came: positive for a gap, negative for an
/// overlap, zero within half a period or the given jitter.
pub(super) fn missing_traces(prr: Rational, expected_ns: i64, came_ns: i64, jitter_ns: u64) -> i64 {
    let late = i128::from(came_ns) - i128::from(expected_ns);
    if late.unsigned_abs() <= u128::from(jitter_ns.max(half_period_ns(prr) as u64)) {
        return 0;
    }
    let (num, den) = (i128::from(prr.num()), i128::from(prr.den()) * 1_000_000_000);
    // round(late · prr), halves away from zero, and never zero here.
    let traces = late.checked_mul(num).map_or(i128::MAX, |x| (2 * x.abs() + den) / (2 * den));
    let traces = i64::try_from(traces).unwrap_or(i64::MAX).max(1);
    if late < 0 { -traces } else { traces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_mean_the_decimals_they_were_written_with() {
        assert_eq!(seconds_to_ns(1_698_416_617.02), Some(1_698_416_617_020_000_000));
        assert_eq!(seconds_to_ns(1_758_627_613.084_954_5), Some(1_758_627_613_084_954_500));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e18] {
            assert_eq!(seconds_to_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn time_strings_with_and_without_offset() {
        let expected = Some(1_559_291_930_626_928_000);
        for text in [
            "2019-05-31T08:38:50.626928+00:00",
            "2019-05-31T08:38:50.626928000Z",
            "2019-05-31T10:38:50.626928+02:00",
            "2019-05-31T08:38:50.626928",
        ] {
            assert_eq!(iso_to_ns(text), expected, "{text}");
        }
        assert_eq!(iso_to_ns("NaN"), None);
        assert_eq!(ns_to_iso(1_559_291_930_626_928_000), "2019-05-31T08:38:50.626928Z");
    }

    #[test]
    fn gaps_count_whole_traces_and_small_deviations_are_none() {
        let prr = Rational::new(1000, 1).unwrap();
        let cases = [(0, 0), (400_000, 0), (-400_000, 0), (1_000_000, 1), (10_499_999, 10), (-3_000_000, -3)];
        for (late, traces) in cases {
            assert_eq!(missing_traces(prr, 5_000_000_000, 5_000_000_000 + late, 0), traces, "{late}");
        }
        assert_eq!(missing_traces(prr, 0, 2_000_000, 2_000_000), 0, "within the file's own scatter");
    }
}
