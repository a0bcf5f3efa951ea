//! The picture as lines of text, for a log, a pipe, or a terminal without cursor movement.
//!
//! The axis stands before the first row and again every twenty; each row has the largest energy of each place in one
//! second and its UTC. A summary of everything comes every five seconds.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::grid::Grid;
use super::pictures::Shown;
use super::render::letters;
use super::text::time_of_day;
use super::{Ended, ScreenSource, TICK, words};

/// Columns of the picture; bars and time make them 80.
const CELLS: usize = 69;

/// Number of the row time: one second.
const ROW_TIME: usize = 3;

/// Rows from one axis to the next.
const ROWS_PER_AXIS: usize = 20;

/// From one summary to the next.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(5);

/// Writes lines to stdout until `stop` is raised.
pub(super) fn lines(source: &mut dyn ScreenSource, stop: &AtomicBool) -> io::Result<Ended> {
    let mut rows = PlainRows::default();
    let mut next_summary = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let mut out = io::stdout().lock();
        if Instant::now() >= next_summary {
            next_summary += SUMMARY_INTERVAL;
            writeln!(out, "{}", words::summary(&source.facts()))?;
        }
        let subjects = source.pictures().subjects();
        let shown = subjects.first().and_then(|subject| source.pictures().picture(subject, ROW_TIME));
        if let Some(shown) = shown {
            rows.take(&shown).iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        out.flush()?;
        drop(out);
        std::thread::sleep(TICK);
    }
    Ok(Ended::Stopped)
}

/// Which rows have been written.
#[derive(Debug, Default)]
pub(super) struct PlainRows {
    last_ms: Option<i64>,
    written: usize,
}

impl PlainRows {
    /// The lines for rows that are complete and have not been written.
    pub(super) fn take(&mut self, shown: &Shown) -> Vec<String> {
        let grid = Grid::of(&shown.picture, usize::MAX, CELLS, false);
        let Some(scale) = grid.scale else {
            return Vec::new();
        };
        // The newest row still grows. Before it, those behind the last one that was written; after a jump in time only
        // the newest.
        let complete = grid.lines.get(1..).unwrap_or_default();
        let fresh = complete.iter().position(|row| row.start_ms.is_some() && row.start_ms == self.last_ms).unwrap_or(1);
        let mut lines = Vec::new();
        for row in complete.iter().take(fresh).rev() {
            if self.written.is_multiple_of(ROWS_PER_AXIS) {
                let (ticks, labels) = shown.picture.axis.ticks(CELLS);
                lines.extend([format!(" {labels}"), format!(" {ticks}")]);
            }
            let time = row.start_ms.map(time_of_day).unwrap_or_default();
            let gap = if row.has_gap { " traces are missing" } else { "" };
            lines.push(format!("|{}| {time}{gap}", letters(row, scale)));
            self.last_ms = row.start_ms;
            self.written += 1;
        }
        lines
    }
}
