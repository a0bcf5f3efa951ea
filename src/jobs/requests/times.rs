//! Rules about the time range of a recording. Pure: what time it is now is passed in.

use crate::refusal::Refusal;

/// Whether a time range, seconds since the UNIX epoch, has any time in it.
///
/// # Errors
/// When a time is negative, or its end does not come after its start.
pub fn time_order(start: i64, end: i64) -> Result<(), Refusal> {
    for (field, time) in [("start_time", start), ("end_time", end)] {
        if time < 0 {
            let error = format!("{field} must not be negative");
            let advice = "times are seconds since 1970-01-01, UTC";
            return Err(Refusal::rule("negative_time", field, error, format!("it is {time}"), advice));
        }
    }
    if end > start {
        return Ok(());
    }
    let (error, found) = ("end_time must be > start_time", format!("start_time is {start}, end_time is {end}"));
    Err(Refusal::rule("time_order", "end_time", error, found, "exchange the two"))
}

/// Both in the past, the end behind the start.
pub(super) fn times(times: Option<(i64, i64)>, now_s: i64) -> Result<(), Refusal> {
    let Some((start, end)) = times else {
        return Ok(());
    };
    time_order(start, end)?;
    let found = format!("start_time is {start}, end_time is {end}");
    for (field, time) in [("start_time", start), ("end_time", end)] {
        if time > now_s {
            let (error, advice) = (format!("{field} is in the future"), "ask for a time that has passed");
            return Err(Refusal::rule("future_time", field, error, format!("{found}; now is {now_s}"), advice));
        }
    }
    Ok(())
}

/// Seconds since the UNIX epoch of `yymmddHHMMSS`, UTC.
pub(super) fn twelve_digits(field: &'static str, text: &str) -> Result<i64, Refusal> {
    let read = || {
        let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        let two = |at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
        let date =
            digits.then(|| jiff::civil::Date::new(2000 + i16::from(two(0)?), two(2)?, two(4)?).ok()).flatten()?;
        let time = jiff::civil::Time::new(two(6)?, two(8)?, two(10)?, 0).ok()?;
        Some(date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
    };
    read().ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let error = format!("{field} must be twelve digits, yymmddHHMMSS (UTC), or null");
        Refusal::rule("time_format", field, error, format!("it is {shown:?}"), "such as 260131235959")
    })
}

/// Half a range is none.
pub(super) fn ambiguous() -> Refusal {
    let error = "Ambiguous: start_time and end_time must be both there or both absent";
    let advice = "both for a recording, neither for live data";
    Refusal::rule("ambiguous_time", "start_time", error, "only one of the two is there", advice)
}
