//! A capture as a picture: level over time and distance with a colour bar, and the level along the fiber above it.

mod canvas;
mod ticks;

use std::io::{self, Write};

use self::canvas::{Align, Canvas, Ink};
use crate::acquisition::Quantity;
use crate::colour::{self, GAP, Rgb};
use crate::source::replay::{Overview, ns_to_iso};

const SIZE: (usize, usize) = (1400, 1000);
/// Left, right, and the edges of the two panels from above.
const LEFT: usize = 150;
const RIGHT: usize = 1240;
const LEVEL: (usize, usize) = (100, 250);
const WATERFALL: (usize, usize) = (275, 910);
const BAR: (usize, usize) = (1265, 1290);

const PAPER: Rgb = [255, 255, 255];
const GRID: Rgb = [222, 222, 226];
const NOTHING: Rgb = [205, 205, 210];
const CURVE: Rgb = [40, 90, 160];
const TITLE: Ink = Ink { size: 26.0, colour: [20, 20, 30] };
const SUBTITLE: Ink = Ink { size: 18.0, colour: [70, 70, 80] };
const LABEL: Ink = Ink { size: 19.0, colour: [20, 20, 30] };
const MARK: Ink = Ink { size: 17.0, colour: [40, 40, 50] };

/// A panel: its edges in pixels.
#[derive(Clone, Copy)]
struct Panel {
    top: usize,
    bottom: usize,
}

/// What stands along the fiber: distances where channels are evenly spaced, else their numbers.
struct Along {
    low: f64,
    high: f64,
    label: &'static str,
}

/// Writes the picture as a PNG. `title` stands on top; `remark` says what else there is to know, such as how much was read.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(out: impl Write, overview: &Overview, title: &str, remark: &str) -> io::Result<()> {
    let mut canvas = Canvas::new(SIZE.0, SIZE.1, PAPER).map_err(io::Error::other)?;
    let facts = facts(overview, remark);
    canvas.text((LEFT as f32, 18.0), Align(0.0, 0.0), &shortened(&canvas, title), TITLE);
    canvas.text((LEFT as f32, 56.0), Align(0.0, 0.0), &facts, SUBTITLE);
    let range = range(overview.cells.iter().copied(), 0.01, 0.998);
    let along = Along::of(overview);
    let (level, waterfall) = (Panel { top: LEVEL.0, bottom: LEVEL.1 }, Panel { top: WATERFALL.0, bottom: WATERFALL.1 });
    draw_level(&mut canvas, level, overview);
    draw_waterfall(&mut canvas, waterfall, overview, range);
    draw_distances(&mut canvas, waterfall, &along);
    draw_times(&mut canvas, waterfall, overview);
    draw_bar(&mut canvas, waterfall, range, &unit(overview));
    canvas.write_png(out, &format!("{title}; {facts}"))
}

/// Names of files may be long: their end tells them apart.
fn shortened(canvas: &Canvas, title: &str) -> String {
    let fits = |text: &str| canvas.width_of(text, TITLE.size) <= (SIZE.0 - LEFT - 20) as f32;
    let mut text: String = title.chars().filter(|letter| !letter.is_control()).collect();
    while !fits(&text) {
        text = format!("…{}", text.chars().skip(4).collect::<String>());
    }
    text
}

fn facts(overview: &Overview, remark: &str) -> String {
    let extent = &overview.extent;
    let a = &extent.acquisition;
    let seconds =
        |ns: i64| ns_to_iso(ns.div_euclid(1_000_000).saturating_mul(1_000_000)).replace('T', " ").replace('Z', "");
    let (from, to) = (seconds(extent.start_ns()), seconds(extent.end_ns()));
    let gaps = match extent.gaps().len() {
        0 => String::new(),
        1 => ", 1 gap (red)".into(),
        many => format!(", {many} gaps (red)"),
    };
    let remark = if remark.is_empty() { String::new() } else { format!(", {remark}") };
    let rate = (a.prr.to_f64() * 1000.0).round() / 1000.0;
    let to = to.split_once(' ').filter(|(date, _)| from.starts_with(date)).map_or(to.as_str(), |(_, time)| time);
    let quantity = a.quantity.name().replace('_', " ");
    format!("{quantity}, {from} to {to} UTC, {} channels at {rate} Hz{gaps}{remark}", extent.channels)
}

/// Of the level: `strain/s`, or counts.
fn unit(overview: &Overview) -> String {
    let a = &overview.extent.acquisition;
    if a.unit.is_empty() || a.quantity == Quantity::OpticalField { "count".into() } else { a.unit.clone() }
}

fn decibels(value: f32) -> f32 {
    20.0 * value.max(1e-30).log10()
}

/// Decibels from one share of the values to another; a little apart when all are the same.
fn range(values: impl Iterator<Item = f32>, from: f64, to: f64) -> (f32, f32) {
    let mut known: Vec<f32> = values.filter(|value| value.is_finite() && *value > 0.0).map(decibels).collect();
    known.sort_by(f32::total_cmp);
    let Some(last) = known.len().checked_sub(1) else { return (-1.0, 1.0) };
    let at = |share: f64| known[(share * last as f64).round() as usize];
    let (low, high) = (at(from), at(to));
    if high - low < 0.5 { (low - 1.0, high + 1.0) } else { (low, high) }
}

impl Along {
    fn of(overview: &Overview) -> Self {
        let (a, first, count) = (&overview.extent.acquisition, overview.extent.first_channel, overview.extent.channels);
        if !a.regions.is_empty() {
            return Self { low: first as f64 + 0.5, high: (first + count) as f64 + 0.5, label: "channel" };
        }
        let low = a.distance_m(first);
        let high = low + count as f64 * a.dx_m;
        if high.abs().max(low.abs()) < 10_000.0 {
            Self { low, high, label: "distance along the fiber, m" }
        } else {
            Self { low: low / 1000.0, high: high / 1000.0, label: "distance along the fiber, km" }
        }
    }
}

fn draw_level(canvas: &mut Canvas, panel: Panel, overview: &Overview) {
    let (low, high) = range(overview.level.iter().copied(), 0.0, 1.0);
    let (low, high) = (low - 0.06 * (high - low), high + 0.06 * (high - low));
    let height = (panel.bottom - panel.top) as f32;
    let y_of = |db: f32| panel.bottom as f32 - (db - low) / (high - low) * height;
    let (marks, decimals) = ticks::ticks(low.into(), high.into(), 4);
    for mark in marks {
        let y = y_of(mark as f32);
        canvas.fill((LEFT, y as usize), (RIGHT - LEFT, 1), GRID);
        canvas.text((LEFT as f32 - 12.0, y), Align(1.0, 0.5), &format!("{mark:.decimals$}"), MARK);
    }
    let mut before: Option<usize> = None;
    for x in 0..RIGHT - LEFT {
        let value = overview.level[x * overview.columns / (RIGHT - LEFT)];
        if !(value.is_finite() && value > 0.0) {
            before = None;
            continue;
        }
        let y = y_of(decibels(value)).clamp(panel.top as f32, panel.bottom as f32 - 1.0) as usize;
        let from = before.unwrap_or(y);
        canvas.fill((LEFT + x, y.min(from)), (2, y.abs_diff(from) + 2), CURVE);
        before = Some(y);
    }
    canvas.frame((LEFT, panel.top), (RIGHT - LEFT, panel.bottom - panel.top), LABEL.colour);
    let middle = f32::midpoint(panel.top as f32, panel.bottom as f32);
    canvas.text_upwards((LEFT as f32 - 88.0, middle), Align(0.5, 1.0), "RMS, dB", LABEL);
}

fn draw_waterfall(canvas: &mut Canvas, panel: Panel, overview: &Overview, (low, high): (f32, f32)) {
    let (width, height) = (RIGHT - LEFT, panel.bottom - panel.top);
    let start_ns = overview.extent.start_ns();
    let span_ns = overview.extent.end_ns().saturating_sub(start_ns);
    let gaps = overview.extent.gaps();
    for y in 0..height {
        let at = start_ns + (i128::from(span_ns) * (2 * y as i128 + 1) / (2 * height as i128)) as i64;
        let in_gap = gaps.iter().any(|&(from, to)| (from..to).contains(&at));
        let row = ((at.saturating_sub(start_ns) / overview.step_ns) as usize).min(overview.rows - 1);
        for x in 0..width {
            let cell = overview.cells[row * overview.columns + x * overview.columns / width];
            let colour = match cell {
                _ if in_gap => GAP,
                cell if cell.is_nan() => NOTHING,
                cell => colour::map((decibels(cell) - low) / (high - low)),
            };
            canvas.set(LEFT + x, panel.top + y, colour);
        }
    }
    // A gap that is shorter than a line of pixels is seen beside the picture.
    for (from, to) in gaps {
        let y_of =
            |at: i64| (i128::from(at.saturating_sub(start_ns)) * height as i128 / i128::from(span_ns.max(1))) as usize;
        canvas.fill((LEFT - 9, panel.top + y_of(from)), (8, (y_of(to) - y_of(from)).max(2)), GAP);
        canvas.fill((RIGHT + 1, panel.top + y_of(from)), (8, (y_of(to) - y_of(from)).max(2)), GAP);
    }
    canvas.frame((LEFT, panel.top), (width, height), LABEL.colour);
}

fn draw_distances(canvas: &mut Canvas, panel: Panel, along: &Along) {
    let (marks, decimals) = ticks::ticks(along.low, along.high, 8);
    for mark in marks {
        let share = (mark - along.low) / (along.high - along.low);
        let x = LEFT as f64 + share * (RIGHT - LEFT) as f64;
        canvas.fill((x as usize, panel.bottom + 1), (1, 7), LABEL.colour);
        canvas.text((x as f32, panel.bottom as f32 + 10.0), Align(0.5, 0.0), &format!("{mark:.decimals$}"), MARK);
    }
    let middle = f32::midpoint(LEFT as f32, RIGHT as f32);
    canvas.text((middle, panel.bottom as f32 + 38.0), Align(0.5, 0.0), along.label, LABEL);
}

fn draw_times(canvas: &mut Canvas, panel: Panel, overview: &Overview) {
    let (start_ns, end_ns) = (overview.extent.start_ns(), overview.extent.end_ns());
    for (mark, text) in ticks::times(start_ns, end_ns, 8) {
        let share = mark.saturating_sub(start_ns) as f64 / end_ns.saturating_sub(start_ns).max(1) as f64;
        let y = panel.top as f64 + share * (panel.bottom - panel.top) as f64;
        canvas.fill((LEFT - 7, y as usize), (7, 1), LABEL.colour);
        canvas.text((LEFT as f32 - 12.0, y as f32), Align(1.0, 0.5), &text, MARK);
    }
    let middle = f32::midpoint(panel.top as f32, panel.bottom as f32);
    canvas.text_upwards((10.0, middle), Align(0.5, 0.0), "UTC", LABEL);
}

fn draw_bar(canvas: &mut Canvas, panel: Panel, (low, high): (f32, f32), unit: &str) {
    let (width, height) = (BAR.1 - BAR.0, panel.bottom - panel.top);
    for y in 0..height {
        let level = 1.0 - y as f32 / (height - 1) as f32;
        canvas.fill((BAR.0, panel.top + y), (width, 1), colour::map(level));
    }
    canvas.frame((BAR.0, panel.top), (width, height), LABEL.colour);
    let (marks, decimals) = ticks::ticks(low.into(), high.into(), 8);
    for mark in marks {
        let y = panel.bottom as f32 - (mark as f32 - low) / (high - low) * height as f32;
        canvas.fill((BAR.1 + 1, y as usize), (6, 1), LABEL.colour);
        canvas.text((BAR.1 as f32 + 11.0, y), Align(0.0, 0.5), &format!("{mark:.decimals$}"), MARK);
    }
    let middle = f32::midpoint(panel.top as f32, panel.bottom as f32);
    canvas.text_upwards((SIZE.0 as f32 - 8.0, middle), Align(0.5, 1.0), &format!("RMS, dB re 1 {unit}"), LABEL);
}
