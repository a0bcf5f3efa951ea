//! Row numbers that never go back, the same for all streams of a job.

use std::sync::{Mutex, PoisonError};

use crate::frame::Frame;
use crate::units::Rational;

/// A pause that is longer is no pause but a clock that was set: the numbers go on without a step.
const LONGEST_PAUSE_NS: i64 = 30 * 24 * 3600 * 1_000_000_000;

/// Numbers the rows of a job. A row has the number of its line on the grid of the acquisition. A new acquisition or line
/// period begins a new grid at 0: from then on its numbers are shifted to go on behind the last row, and behind those
/// that are missing between the two by UTC, so that a pause counts alike whatever ended it.
#[derive(Default)]
pub(super) struct RowNumbers(Mutex<Grid>);

#[derive(Default)]
struct Grid {
    /// Epoch and line period.
    of: Option<(u64, Rational)>,
    shift: u64,
    next: u64,
    /// UTC at which the row `next` begins, when nothing is missing.
    next_utc_ns: i64,
}

impl RowNumbers {
    /// The row of the first line of `frame`.
    pub(super) fn place(&self, frame: &Frame) -> u64 {
        let mut grid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let period = frame.stream.line_period_s;
        let of = Some((frame.acquisition.epoch, period));
        if grid.of != of {
            if grid.of.is_some() {
                let missing = missing_rows(grid.next_utc_ns, frame.utc_first_ns, period);
                grid.shift = grid.next.saturating_add(missing).wrapping_sub(frame.first_line);
            }
            grid.of = of;
        }
        let row = frame.first_line.wrapping_add(grid.shift);
        let next = row.saturating_add(frame.lines as u64);
        if next > grid.next {
            let lines_ns = (period.to_f64() * 1e9 * frame.lines as f64).round() as i64;
            (grid.next, grid.next_utc_ns) = (next, frame.utc_first_ns.saturating_add(lines_ns));
        }
        row
    }
}

/// Rows that fit into a pause.
fn missing_rows(from_ns: i64, to_ns: i64, period: Rational) -> u64 {
    let pause_ns = to_ns.saturating_sub(from_ns);
    if !(0..=LONGEST_PAUSE_NS).contains(&pause_ns) {
        return 0;
    }
    (pause_ns as f64 / (period.to_f64() * 1e9)).round() as u64
}
