//! Row numbers that never go back, the same for all streams of a job.

use std::sync::{Mutex, PoisonError};

use crate::frame::Frame;
use crate::units::Rational;

/// Numbers the rows of a job. A row has the number of its line on the grid of the acquisition. A new acquisition or line
/// period begins a new grid at 0: from then on its numbers are shifted to go on behind the last row.
#[derive(Default)]
pub(super) struct RowNumbers(Mutex<Grid>);

#[derive(Default)]
struct Grid {
    /// Epoch and line period.
    of: Option<(u64, Rational)>,
    shift: u64,
    next: u64,
}

impl RowNumbers {
    /// The row of the first line of `frame`.
    pub(super) fn place(&self, frame: &Frame) -> u64 {
        let mut grid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Some((frame.acquisition.epoch, frame.stream.line_period_s));
        if grid.of != of {
            if grid.of.is_some() {
                grid.shift = grid.next.wrapping_sub(frame.first_line);
            }
            grid.of = of;
        }
        let row = frame.first_line.wrapping_add(grid.shift);
        grid.next = grid.next.max(row.saturating_add(frame.lines as u64));
        row
    }
}
