//! Times and rates of files: seconds as floats, ISO strings, tables of stamps, and which rate is true.
//!
//! Pure. Stamps become [`Anchor`]s: one at the start, and a new one wherever the file's own stamp is further than a
//! microsecond from what the rate says, so that neither a slow clock nor a gap is ever averaged away.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::capture::Anchor;
use crate::source::SourceError;
use crate::units::Rational;

/// Stamps closer than this to the prediction are the prediction: files round to microseconds.
const AGREES_NS: i64 = 1000;
/// How far a declared rate may be from the one that the file's stamps show, beyond their resolution.
const RATE_TOLERANCE: f64 = 1e-4;

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
pub(super) fn iso_to_ns(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('\0');
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(stamp.as_nanosecond()).ok().filter(|&ns| ns >= 0)
}

/// UTC in ISO 8601.
pub(super) fn ns_to_iso(utc_ns: i64) -> String {
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

/// The rate to believe, and whether it is not the declared one: the declared rate when it agrees with the stamps,
/// otherwise theirs. `pass` hands all stamps to its argument, in order, each time it is called; `resolution_ns` is how
/// finely they are given. Gaps do not count: only steps near the usual one do.
pub(super) fn believable_rate(
    declared: Option<Rational>,
    resolution_ns: i64,
    mut pass: impl FnMut(&mut dyn FnMut(i64)) -> Result<(), SourceError>,
) -> Result<Option<(Rational, bool)>, SourceError> {
    let mut steps = Steps::near(declared.map(|prr| prr.traces_to_ns(1)));
    pass(&mut |stamp| steps.push(stamp))?;
    if steps.usual * 2 < steps.all {
        // Not even half of the steps are like the declared one: look at what is usual instead.
        steps = Steps::near(steps.median());
        pass(&mut |stamp| steps.push(stamp))?;
    }
    let shown = Rational::new(steps.usual.saturating_mul(1_000_000_000), steps.sum_ns.max(0) as u64);
    Ok(match (declared, shown) {
        (Some(declared), Some(shown)) => {
            let allowed = resolution_ns as f64 + steps.sum_ns as f64 * RATE_TOLERANCE;
            let agrees = (declared.traces_to_ns(steps.usual) as f64 - steps.sum_ns as f64).abs() <= allowed;
            Some(if agrees { (declared, false) } else { (shown, true) })
        }
        (Some(rate), None) => Some((rate, false)),
        (None, shown) => shown.map(|rate| (rate, true)),
    })
}

/// Adds up the steps between stamps that are within half of `near_ns`.
struct Steps {
    near_ns: Option<i64>,
    before: Option<i64>,
    first: Vec<i64>,
    all: u64,
    usual: u64,
    sum_ns: i64,
}

impl Steps {
    const fn near(near_ns: Option<i64>) -> Self {
        Self { near_ns, before: None, first: Vec::new(), all: 0, usual: 0, sum_ns: 0 }
    }

    fn push(&mut self, stamp: i64) {
        if let Some(step) = self.before.and_then(|before| stamp.checked_sub(before)) {
            self.all += 1;
            if self.first.len() < 1001 {
                self.first.push(step);
            }
            if self.near_ns.is_some_and(|near| step.abs_diff(near) <= near.unsigned_abs() / 2) {
                self.usual += 1;
                self.sum_ns = self.sum_ns.saturating_add(step);
            }
        }
        self.before = Some(stamp);
    }

    fn median(&self) -> Option<i64> {
        let mut steps: Vec<i64> = self.first.iter().copied().filter(|&step| step > 0).collect();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied()
    }
}

/// Makes anchors of stamps that come row by row.
pub(super) struct Anchors {
    prr: Rational,
    found: Vec<Anchor>,
    rows: u64,
}

impl Anchors {
    /// No rows yet.
    pub(super) const fn new(prr: Rational) -> Self {
        Self { prr, found: Vec::new(), rows: 0 }
    }

    /// The stamp of the next `rows` rows' first.
    pub(super) fn push(&mut self, utc_ns: i64, rows: u64, gap_before: Option<u64>) {
        let agrees = gap_before.unwrap_or(0) == 0
            && self.found.last().is_some_and(|anchor| {
                let predicted = anchor.utc_ns.saturating_add(self.prr.traces_to_ns(self.rows - anchor.row));
                utc_ns.abs_diff(predicted) <= AGREES_NS as u64
            });
        if !agrees {
            self.found.push(Anchor { row: self.rows, utc_ns, gap_before });
        }
        self.rows += rows;
    }

    /// The anchors.
    pub(super) fn finish(self) -> Vec<Anchor> {
        self.found
    }
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

    #[test]
    fn a_declared_rate_is_believed_only_when_the_stamps_agree() {
        let believed = |declared, stamps: Vec<i64>| {
            believable_rate(declared, 1000, |each| {
                stamps.iter().copied().for_each(&mut *each);
                Ok(())
            })
            .unwrap()
        };
        let declared = Rational::new(1000, 1);
        let millis = |n: i64| (0..n).map(|i| i * 1_000_000);
        assert_eq!(believed(declared, millis(1000).collect()), declared.map(|r| (r, false)));
        assert_eq!(believed(declared, millis(1000).map(|s| 2 * s).collect()), Rational::new(500, 1).map(|r| (r, true)));
        assert_eq!(believed(None, millis(1000).collect()), declared.map(|r| (r, true)));
        assert_eq!(believed(declared, vec![5]), declared.map(|r| (r, false)));
        assert_eq!(believed(None, vec![5]), None);
        let with_gap = millis(10).chain(millis(10).map(|s| s + 3_600_000_000_000)).collect();
        assert_eq!(believed(None, with_gap), declared.map(|r| (r, true)), "a gap is no slower rate");
    }
}
