//! What is known → what stands on the screen. Pure: facts, a picture and a size go in, a string of lines comes out.
//!
//! Lines are separated by `\n` and never wider than the screen; each resets its own colours. From above: title, phase,
//! numbers, the picture with its scale and axis, the last log lines, the keys.

use super::colour::{self, Colours, Rgb};
use super::facts::Facts;
use super::grid::{Grid, Line, Scale};
use super::look::{KEYS, Look};
use super::picture::Axis;
use super::pictures::{Shown, Subject};
use super::text::{bold, clean, dim, fit, padded, painted, short, time_of_day};
use super::words;

/// Columns left of the picture, for the time.
const MARGIN: usize = 9;

/// Lines of a picture that are not rows: title, scale, ticks, labels.
const FRAME_LINES: usize = 4;

/// The numbers leave at least so many lines to the picture.
const LEAST_PICTURE: usize = FRAME_LINES + 4;

/// A picture of fewer cells shows nothing.
const LEAST_CELLS: usize = 8;

/// Lines of the log that are shown at most.
const LOG_LINES: usize = 4;

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

impl Screen {
    /// Cells of a picture beside its margin; the last column is for marks.
    const fn cells(self) -> usize {
        self.width.saturating_sub(MARGIN + 1)
    }

    /// Rows of a picture that one line shows.
    const fn rows_per_line(self) -> usize {
        match self.colours {
            Colours::None => 1,
            Colours::Indexed | Colours::True => 2,
        }
    }
}

/// A screen, and how many rows of the picture are seen in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) rows: usize,
}

/// The whole screen: exactly `height` lines.
pub(super) fn render(facts: &Facts, shown: Option<&Shown>, look: &Look, log: &[String], screen: Screen) -> Rendered {
    let (width, height) = (screen.width.max(1), screen.height.max(1));
    let mut lines = head(facts, screen);
    // The log gives way first, then the picture; the phase stays.
    let rest = height.saturating_sub(lines.len() + 1);
    let log_lines = rest.saturating_sub(LEAST_PICTURE + 4).min(LOG_LINES).min(log.len());
    let picture_lines = rest - log_lines;
    let body = picture_lines.saturating_sub(FRAME_LINES);
    if look.help {
        lines.extend(help(screen).into_iter().take(picture_lines));
    } else if body > 0 && screen.cells() >= LEAST_CELLS {
        lines.extend(picture(facts, shown, look, body, screen));
    }
    lines.truncate(height - 1);
    lines.resize(height - 1 - log_lines.min(height - 1), String::new());
    lines.extend(log[log.len() - log_lines..].iter().map(|line| dim(&fit(&clean(line), width), screen.colours)));
    lines.push(last_line(look, screen));
    Rendered { text: lines.join("\n"), rows: body * screen.rows_per_line() }
}

/// Title, phase, and as many numbers as leave room for a picture; those that deserve a look go first.
fn head(facts: &Facts, screen: Screen) -> Vec<String> {
    let width = screen.width.max(1);
    let left = [" fiberd", &facts.version, if facts.site.is_empty() { "" } else { "·" }, &facts.site];
    let left = left.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let right = format!("{} ", facts.address);
    let space = width.saturating_sub(left.chars().count() + right.chars().count()).max(1);
    let title = clean(&format!("{left}{}{right}", " ".repeat(space)));
    let mut lines = vec![bold(&fit(&title, width), screen.colours)];
    lines.push(banner(&format!(" {} ", clean(&words::phase(facts))), words::paper(facts), screen));
    let mut rows: Vec<_> = words::rows(facts).into_iter().enumerate().collect();
    rows.sort_by_key(|(_, (_, _, warn))| !warn);
    rows.truncate(screen.height.saturating_sub(LEAST_PICTURE + 3));
    rows.sort_by_key(|(place, _)| *place);
    lines.extend(rows.into_iter().map(|(_, (name, text, warn))| {
        let text = fit(&clean(&format!(" {name:<8} {text}")), width);
        let mut line = String::new();
        if warn {
            painted(&mut line, &text, [255, 190, 80], screen.colours);
        } else {
            line.push_str(&text);
        }
        line
    }));
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

fn last_line(look: &Look, screen: Screen) -> String {
    let width = screen.width.max(1);
    if let Some(message) = &look.message {
        return bold(&fit(&clean(&format!(" {message}")), width), screen.colours);
    }
    let keys = " q ends · ? help · Tab spectrogram · b band · n normalise · + - rows · s save";
    dim(&fit(keys, width), screen.colours)
}

fn help(screen: Screen) -> Vec<String> {
    let line = |(key, text): &(&str, &str)| fit(&format!(" {key:<6} {text}"), screen.width.max(1));
    [String::new()].into_iter().chain(KEYS.iter().map(line)).collect()
}

/// Title, scale, `body` lines of picture (newest on top), axis.
fn picture(facts: &Facts, shown: Option<&Shown>, look: &Look, body: usize, screen: Screen) -> Vec<String> {
    let Some(shown) = shown else {
        let why = facts.no_picture.as_ref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
        return vec![bold(&fit(&format!(" no line yet{why}"), screen.width), screen.colours)];
    };
    let (cells, per_line) = (screen.cells(), screen.rows_per_line());
    let grid = Grid::of(&shown.picture, body * per_line, cells, look.normalised);
    let mut lines = vec![bold(&fit(&format!(" {}", title(shown, look)), screen.width), screen.colours)];
    lines.push(scale_line(grid.scale, shown, look, screen));
    for (i, rows) in (0..body).map(|i| (i, grid.lines.get(i * per_line..).unwrap_or_default())) {
        let rows = &rows[..per_line.min(rows.len())];
        // A label every fourth line, so that the eye finds the time without counting.
        let label = rows.first().filter(|_| i % 4 == 0).and_then(|row| row.start_ms).map(time_of_day);
        let mut line = format!("{:<MARGIN$}", label.unwrap_or_default());
        picture_line(&mut line, rows, grid.scale, screen.colours);
        lines.push(line);
    }
    let (ticks, labels) = shown.picture.axis.ticks(cells);
    lines.push(format!("{:<MARGIN$}{ticks}", "UTC"));
    lines.push(format!("{:<MARGIN$}{labels}", ""));
    lines
}

/// `energy from 5 to 200 Hz · a row is 0.5 s`.
pub(super) fn title(shown: &Shown, look: &Look) -> String {
    let what = match shown.subject {
        Subject::Band(_, low, high) => format!("energy from {} to {} Hz", short(low), short(high)),
        Subject::Channel(channel) => format!("spectrum of channel {channel}"),
    };
    let normalised = if look.normalised { " · normalised" } else { "" };
    format!("{what} · a row is {} s{normalised}", short(shown.picture.row_ms as f64 / 1000.0))
}

/// What 0 dB is.
pub(super) fn reference(shown: &Shown, look: &Look) -> String {
    match shown.picture.axis {
        _ if !look.normalised => shown.reference.clone(),
        Axis::Distance(..) | Axis::Channel(..) => "the mean of each place".to_owned(),
        Axis::Frequency(..) => "the mean of each frequency".to_owned(),
    }
}

/// `-60 dB ████ -20 dB re 1 rad^2`, the bar in the colours of the picture.
fn scale_line(scale: Option<Scale>, shown: &Shown, look: &Look, screen: Screen) -> String {
    let Some(Scale { low_db, high_db }) = scale else {
        return String::new();
    };
    // Adding zero takes the sign away from what is rounded to -0.
    let [low, high] = [low_db, high_db].map(|db| db.round() + 0.0);
    let (left, reference) = (format!(" {low} dB "), clean(&reference(shown, look)));
    let right = format!(" {high} dB re {reference}");
    let room = screen.width.saturating_sub(left.chars().count() + right.chars().count());
    let length = room.min(40);
    let mut line = left;
    for i in 0..length {
        let level = (i as f32 + 0.5) / length as f32;
        if screen.colours == Colours::None {
            line.push(colour::letter(level));
        } else {
            screen.colours.cells(&mut line, Some(level), Some(level));
            line.push('▀');
        }
    }
    screen.colours.style(&mut line, "0");
    if length == 0 { fit(&format!("{}…{right}", line.trim_end()), screen.width) } else { line + &right }
}

/// One line of the picture from its newer and its older row, and a mark when traces are missing in one of them.
fn picture_line(line: &mut String, rows: &[Line], scale: Option<Scale>, colours: Colours) {
    let (Some(newer), Some(scale)) = (rows.first(), scale) else {
        return;
    };
    if colours == Colours::None {
        line.push_str(&letters(newer, scale));
    } else {
        let mut last = None;
        for (at, &db) in newer.db.iter().enumerate() {
            let upper = scale.level(db);
            // Below the oldest row there is nothing, which looks like the lowest level.
            let lower = rows.get(1).map_or(Some(0.0), |older| scale.level(older.db[at]));
            if last != Some((upper, lower)) {
                colours.cells(line, upper, lower);
                last = Some((upper, lower));
            }
            line.push('▀');
        }
        colours.style(line, "0");
    }
    if rows.iter().any(|row| row.has_gap) {
        painted(line, "!", [255, 90, 120], colours);
    }
}

/// A row without colours.
pub(super) fn letters(row: &Line, scale: Scale) -> String {
    row.db.iter().map(|&db| scale.level(db).map_or('!', colour::letter)).collect()
}
