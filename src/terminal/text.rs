//! Lines of text that fit a terminal.

use super::colour::{Colours, Rgb};

/// `text` with `filler` behind it up to `width`.
pub(super) fn padded(text: &str, filler: char, width: usize) -> String {
    let mut line = fit(text, width);
    let missing = width - line.chars().count();
    line.extend(std::iter::repeat_n(filler, missing));
    line
}

/// At most `width` characters, with a mark when there were more.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// What comes from outside may hold anything: no control character reaches the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn bold(text: &str, colours: Colours) -> String {
    styled(text, "1", colours)
}

pub(super) fn dim(text: &str, colours: Colours) -> String {
    styled(text, "2", colours)
}

fn styled(text: &str, sgr: &str, colours: Colours) -> String {
    let mut line = String::new();
    colours.style(&mut line, sgr);
    line.push_str(text);
    colours.style(&mut line, "0");
    line
}

/// Adds `text` in a colour.
pub(super) fn painted(line: &mut String, text: &str, ink: Rgb, colours: Colours) {
    colours.ink(line, ink);
    line.push_str(text);
    colours.style(line, "0");
}

/// At most two decimals, none when they are zero.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `12 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

/// `2026-11-28 23:45:33`.
pub(super) fn utc(ms: i64) -> String {
    moment(ms).map_or_else(String::new, |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `23:45:33`.
pub(super) fn time_of_day(ms: i64) -> String {
    moment(ms).map_or_else(String::new, |t| t.strftime("%H:%M:%S").to_string())
}

/// `20261128T234533Z`, for names of files.
pub(super) fn compact_utc(ms: i64) -> String {
    moment(ms).map_or_else(String::new, |t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
}

fn moment(ms: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(ms).ok()
}
