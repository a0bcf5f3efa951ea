//! What is known → what stands on the screen. Pure: numbers, a picture and a size go in, a string of lines comes out.
//!
//! Lines are separated by `\n` and never wider than the screen; each resets its own colours. From above: title, phase,
//! numbers, waterfall with its axis, the last log lines, the keys.

use super::colour::{self, Colours, Rgb};
use super::tap::{Row, WaterfallPicture};
use super::words::{self, Snapshot};

/// Columns left of the waterfall, for the time.
const MARGIN: usize = 8;

/// Size and colours of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// What it can show.
    pub colours: Colours,
}

/// The whole screen: exactly `height` lines.
pub fn render(now: &Snapshot, picture: &WaterfallPicture, log: &[String], screen: Screen) -> String {
    let (width, height) = (screen.width.max(1), screen.height.max(1));
    let mut lines = head(now, screen);
    // The log gives way first, then the waterfall; the numbers stay.
    let rest = height.saturating_sub(lines.len() + 1);
    let log_lines = if rest >= 12 { 4.min(log.len()) } else { 0 };
    if rest - log_lines >= 5 {
        lines.extend(waterfall(picture, rest - log_lines, screen));
    }
    lines.truncate(height - 1);
    lines.resize(height - 1 - log_lines.min(height - 1), String::new());
    lines.extend(log[log.len() - log_lines..].iter().map(|line| dim(&fit(&clean(line), width), screen.colours)));
    lines.push(dim(&fit(" q or Ctrl-C ends", width), screen.colours));
    lines.join("\n")
}

fn head(now: &Snapshot, screen: Screen) -> Vec<String> {
    let width = screen.width.max(1);
    let mut lines = Vec::new();
    let left = format!(" fiberd {} · {}", now.report.version, now.report.site);
    let right = format!("{} ", now.http);
    let space = width.saturating_sub(left.chars().count() + right.chars().count());
    lines.push(bold(&fit(&format!("{left}{}{right}", " ".repeat(space)), width), screen.colours));
    lines.push(banner(&format!(" {} ", words::phase(&now.report)), words::paper(&now.report), screen));
    for (name, text, warn) in words::rows(now) {
        let mut line = String::new();
        let text = fit(&format!(" {name:<8} {text}"), width);
        if warn {
            painted(&mut line, &text, [255, 190, 80], screen.colours);
        } else {
            line.push_str(&text);
        }
        lines.push(line);
    }
    lines
}

/// The phase over the whole width: it must be seen from the other side of the room.
fn banner(text: &str, paper: Rgb, screen: Screen) -> String {
    let width = screen.width.max(1);
    if screen.colours == Colours::None {
        return padded(&format!("==={text}"), '=', width);
    }
    let mut line = String::new();
    screen.colours.style(&mut line, "1");
    screen.colours.put(&mut line, [255, 255, 255], paper);
    line.push_str(&padded(text, ' ', width));
    screen.colours.style(&mut line, "0");
    line
}

/// Title, picture (newest on top) and distance axis in `height` lines.
fn waterfall(picture: &WaterfallPicture, height: usize, screen: Screen) -> Vec<String> {
    let cells = screen.width.saturating_sub(MARGIN + 1);
    if cells < 8 {
        return Vec::new();
    }
    let body = height - 3;
    let per_line = if screen.colours == Colours::None { 1 } else { 2 };
    let rows: Vec<&Row> = picture.rows.iter().rev().take(body * per_line).collect();
    let levels = Levels::of(rows.iter().flat_map(|row| row.power.iter().copied()));
    let (low, high) = picture.band_hz;
    let title = match &levels {
        Some(levels) => {
            format!(
                " band energy {low}–{high} Hz, {:.0} to {:.0} dB, the last {:.0} s",
                levels.low_db,
                levels.high_db,
                rows.len() as f64 * picture.row_s
            )
        }
        None => " band energy: no line yet".to_owned(),
    };
    let mut lines = vec![bold(&fit(&title, screen.width), screen.colours)];
    for i in 0..body {
        let mut line = String::new();
        let age_s = (i * per_line) as f64 * picture.row_s;
        // A label every fourth line, so that the eye finds the time without counting.
        let label = if i % 4 == 0 { format!("{age_s:>5.0} s ") } else { " ".repeat(MARGIN) };
        line.push_str(&label[..MARGIN.min(label.len())]);
        let part = rows.get(i * per_line..).unwrap_or_default();
        body_line(&mut line, &part[..per_line.min(part.len())], levels.as_ref(), cells, screen.colours);
        lines.push(line);
    }
    let (ticks, labels) = axis(picture.start_m, picture.end_m, cells);
    lines.push(format!("{}{ticks}", " ".repeat(MARGIN)));
    lines.push(format!("{}{labels}", " ".repeat(MARGIN)));
    lines
}

/// One line of the picture from its newer and its older row, and a mark when traces are missing in one of them.
fn body_line(line: &mut String, rows: &[&Row], levels: Option<&Levels>, cells: usize, colours: Colours) {
    let (Some(newer), Some(levels)) = (rows.first(), levels) else {
        return;
    };
    if colours == Colours::None {
        line.extend(shades(newer, cells).map(|s| s.map_or('!', |power| colour::letter(levels.level(power)))));
    } else {
        let black = [0, 0, 0];
        let tone = |shade: Option<f32>| shade.map_or(colour::GAP, |power| colour::map(levels.level(power)));
        let upper: Vec<Rgb> = shades(newer, cells).map(tone).collect();
        let lower: Vec<Rgb> = match rows.get(1) {
            Some(older) => shades(older, cells).map(tone).collect(),
            None => vec![black; cells],
        };
        let mut last = None;
        for pair in upper.into_iter().zip(lower) {
            if last != Some(pair) {
                colours.put(line, pair.0, pair.1);
                last = Some(pair);
            }
            line.push('▀');
        }
        colours.style(line, "0");
    }
    if rows.iter().any(|row| row.gap_traces > 0) {
        painted(line, "!", [255, 90, 120], colours);
    }
}

/// Power of each screen cell: the largest of its columns; `None` where no line came.
fn shades(row: &Row, cells: usize) -> impl Iterator<Item = Option<f32>> + '_ {
    (0..cells).map(move |cell| {
        let n = row.power.len();
        let from = cell * n / cells;
        let to = ((cell + 1) * n / cells).max(from + 1);
        row.power.get(from..to.min(n)).filter(|part| !part.is_empty())?.iter().copied().reduce(f32::max)
    })
}

/// The colour scale: from the 2 % to the 98 % percentile, in decibels, so that a single bright cell changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Levels {
    low_db: f32,
    high_db: f32,
}

impl Levels {
    fn of(power: impl Iterator<Item = f32>) -> Option<Self> {
        let mut db: Vec<f32> = power.filter(|p| p.is_finite() && *p > 0.0).map(decibels).collect();
        db.sort_unstable_by(f32::total_cmp);
        let at = |share: f32| db.get(((db.len().max(1) - 1) as f32 * share).round() as usize).copied();
        let (low_db, high_db) = (at(0.02)?, at(0.98)?);
        // Less than 6 dB between them is noise, and need not look like an event.
        Some(Self { low_db, high_db: high_db.max(low_db + 6.0) })
    }

    /// 0 at the low end, 1 at the high end.
    fn level(self, power: f32) -> f32 {
        if power > 0.0 { ((decibels(power) - self.low_db) / (self.high_db - self.low_db)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn decibels(power: f32) -> f32 {
    10.0 * power.log10()
}

/// Ticks and labels for distances from `start_m` to `end_m` over `cells` columns, in steps of 1, 2 or 5.
fn axis(start_m: f64, end_m: f64, cells: usize) -> (String, String) {
    let span = end_m - start_m;
    if !(span.is_finite() && span > 0.0) {
        return ("─".repeat(cells), String::new());
    }
    let wanted = (cells / 12).max(1) as f64;
    let rough = span / wanted;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|s| *s >= rough).unwrap_or(rough);
    let (mut ticks, mut labels) = (vec!['─'; cells], String::new());
    let mut k = (start_m / step).ceil();
    while k * step < end_m {
        let at = (((k * step - start_m) / span) * cells as f64) as usize;
        let label = distance(k * step, step);
        let used = labels.chars().count();
        if at < cells {
            ticks[at] = '┴';
            // A label stands where its tick stands, or not at all.
            if used <= at && at + label.chars().count() <= cells {
                labels.push_str(&" ".repeat(at - used));
                labels.push_str(&label);
            }
        }
        k += 1.0;
    }
    (ticks.into_iter().collect(), labels)
}

fn distance(m: f64, step: f64) -> String {
    if step >= 1000.0 || m >= 10_000.0 {
        let digits = usize::from(step < 1000.0) + usize::from(step < 100.0);
        format!("{:.digits$} km", m / 1000.0)
    } else {
        let digits = usize::from(step < 1.0);
        format!("{m:.digits$} m")
    }
}

/// One line for a log or a pipe: the newest whole row as letters between bars.
pub fn plain_line(picture: &WaterfallPicture, cells: usize) -> Option<String> {
    // The newest row still grows.
    let row = picture.rows.iter().rev().nth(1)?;
    let levels = Levels::of(picture.rows.iter().flat_map(|row| row.power.iter().copied()))?;
    let letters: String =
        shades(row, cells).map(|s| s.map_or('!', |power| colour::letter(levels.level(power)))).collect();
    let gap = if row.gap_traces > 0 { " gap" } else { "" };
    Some(format!("|{letters}|{gap}"))
}

/// Ticks and labels below [`plain_line`].
pub fn plain_axis(picture: &WaterfallPicture, cells: usize) -> (String, String) {
    let (ticks, labels) = axis(picture.start_m, picture.end_m, cells);
    (format!(" {ticks}"), format!(" {labels}"))
}

/// `text` with `filler` behind it up to `width`.
fn padded(text: &str, filler: char, width: usize) -> String {
    let mut line = fit(text, width);
    let missing = width - line.chars().count();
    line.extend(std::iter::repeat_n(filler, missing));
    line
}

fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A log line may hold what came from outside: no control characters reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn styled(text: &str, sgr: &str, colours: Colours) -> String {
    let mut line = String::new();
    colours.style(&mut line, sgr);
    line.push_str(text);
    colours.style(&mut line, "0");
    line
}

fn bold(text: &str, colours: Colours) -> String {
    styled(text, "1", colours)
}

fn dim(text: &str, colours: Colours) -> String {
    styled(text, "2", colours)
}

fn painted(line: &mut String, text: &str, ink: Rgb, colours: Colours) {
    colours.ink(line, ink);
    line.push_str(text);
    colours.style(line, "0");
}
