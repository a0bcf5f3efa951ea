//! Where the marks of an axis stand, and what they say.

use crate::source::replay::ns_to_iso;

/// Round numbers within `low..=high`, about `wanted` of them; and how many decimals tell them apart.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> (Vec<f64>, usize) {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return (vec![low], 0);
    }
    let rough = span / wanted.max(1) as f64;
    let power = 10f64.powi(rough.log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let decimals = (-step.log10()).ceil().clamp(0.0, 12.0) as usize;
    let first = (low / step).ceil() as i64;
    let marks = (first..).map(|number| number as f64 * step).take_while(|mark| *mark <= high + 1e-9 * span);
    (marks.take(100).collect(), decimals)
}

/// Steps of time that people count in, in nanoseconds.
const STEPS_NS: [i64; 27] = {
    const MS: i64 = 1_000_000;
    const S: i64 = 1000 * MS;
    const H: i64 = 3600 * S;
    [
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        20 * S,
        30 * S,
        60 * S,
        120 * S,
        300 * S,
        600 * S,
        1200 * S,
        1800 * S,
        H,
        2 * H,
        6 * H,
        12 * H,
        24 * H,
        7 * 24 * H,
    ]
};

/// Round UTC times within `from..=to`, in nanoseconds, about `wanted` of them, each with what it says.
pub(super) fn times(from: i64, to: i64, wanted: usize) -> Vec<(i64, String)> {
    let rough = to.saturating_sub(from) / wanted.max(1) as i64;
    let longest = STEPS_NS[STEPS_NS.len() - 1];
    let whole_weeks = || (rough / longest + 1).saturating_mul(longest);
    let step = STEPS_NS.into_iter().find(|step| *step >= rough).unwrap_or_else(whole_weeks);
    let first = from.div_euclid(step).saturating_mul(step);
    let marks = (0..200).filter_map(|number| first.checked_add(step.checked_mul(number)?));
    let marks = marks.filter(|mark| (from..=to).contains(mark));
    marks.map(|mark| (mark, clock(mark, step))).collect()
}

/// Date from a day on, else the time of the day with as many decimals as the step has.
fn clock(utc_ns: i64, step: i64) -> String {
    let iso = ns_to_iso(utc_ns.div_euclid(1_000_000).saturating_mul(1_000_000));
    let (date, time) = iso.split_once('T').unwrap_or((&iso, ""));
    let time = time.trim_end_matches('Z');
    let (seconds, millis) = time.split_once('.').unwrap_or((time, "000"));
    match step {
        86_400_000_000_000.. => date.to_owned(),
        60_000_000_000.. => seconds.get(..5).unwrap_or(seconds).to_owned(),
        1_000_000_000.. => seconds.to_owned(),
        _ => format!("{seconds}.{millis:0<3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), (vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0], 0));
        let (marks, decimals) = ticks(-0.13, 0.31, 4);
        assert_eq!((marks, decimals), (vec![0.0, 0.2], 1));
        assert_eq!(ticks(3.0, 3.0, 4).0, [3.0]);
        assert_eq!(ticks(f64::NAN, 1.0, 4).0.len(), 1);
        assert!(ticks(-1e300, 1e300, 6).0.len() <= 100);
    }

    #[test]
    fn times_are_those_that_people_count_in() {
        let start = 1_700_000_000_000_000_000;
        let said =
            |span_ns: i64| times(start, start + span_ns, 6).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(
            said(1_000_000_000),
            ["22:13:20.000", "22:13:20.200", "22:13:20.400", "22:13:20.600", "22:13:20.800", "22:13:21.000"]
        );
        assert_eq!(said(3_600_000_000_000)[..2], ["22:20", "22:30"]);
        assert!(said(30 * 86_400_000_000_000)[0].starts_with("2023-11-"));
        assert!(!times(i64::MIN, i64::MAX, 6).is_empty());
    }
}
