//! A capture at a glance: its level over time and distance, in as many cells as a picture has.
//!
//! A cell holds the RMS of its samples about their own mean within it, channel by channel: what is slower than a cell does
//! not count. Of lines of band energy it holds the root of their mean, so that decibels are those of a power. Traces may come with holes between them, and from several stretches of time.

use std::sync::Arc;

use crate::acquisition::Acquisition;

/// Traces of a cell, at least: an RMS of fewer says little.
const LEAST_TRACES: u64 = 8;

/// What is to be seen at a glance.
#[derive(Clone, Debug)]
pub struct Extent {
    /// What was acquired.
    pub acquisition: Arc<Acquisition>,
    /// Channels of it that are shown, from the one with this index on.
    pub first_channel: usize,
    /// How many.
    pub channels: usize,
    /// Traces that there are.
    pub traces: u64,
    /// Stretches of time in which there are traces, in order: from and to, UTC in nanoseconds.
    pub stretches: Vec<(i64, i64)>,
}

/// A picture of level: `rows` of time from the start on, each of `columns` along the fiber.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What it is of.
    pub extent: Extent,
    /// Cells in time.
    pub rows: usize,
    /// Cells along the fiber.
    pub columns: usize,
    /// Duration of a row in nanoseconds.
    pub step_ns: i64,
    /// RMS in the unit of a scaled sample, or the root of the mean band energy, row by row; NaN where no trace is.
    pub cells: Vec<f32>,
    /// RMS over all rows, for each column; NaN where there is none.
    pub level: Vec<f32>,
}

/// Gathers an [`Overview`] from traces.
pub struct Gatherer {
    picture: Overview,
    /// Sum of squares, and number of values, of each cell.
    sums: Vec<(f64, f64)>,
    /// The row that traces are gathered for, and each channel's first value, sum and sum of squares.
    row: usize,
    gathered: u64,
    channels: Vec<Sums>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    count: u32,
    first: f32,
    sum: f64,
    squares: f64,
}

impl Extent {
    /// UTC of the first trace, in nanoseconds.
    pub fn start_ns(&self) -> i64 {
        self.stretches.iter().map(|&(from, _)| from).min().unwrap_or(0)
    }

    /// UTC behind the last trace, in nanoseconds.
    pub fn end_ns(&self) -> i64 {
        self.stretches.iter().map(|&(_, to)| to).max().unwrap_or(0)
    }

    /// Stretches of time between the first and the last trace in which there is none.
    pub fn gaps(&self) -> Vec<(i64, i64)> {
        let mut stretches = self.stretches.clone();
        stretches.sort_unstable();
        let (mut gaps, mut end) = (Vec::new(), self.start_ns());
        for (from, to) in stretches {
            if from > end {
                gaps.push((end, from));
            }
            end = end.max(to);
        }
        gaps
    }
}

impl Gatherer {
    /// For a picture of at most so many cells; `rows` in time and `columns` along the fiber are at least 1.
    pub fn new(extent: Extent, rows: usize, columns: usize) -> Self {
        let least = if extent.acquisition.band.is_some() { 1 } else { LEAST_TRACES };
        let rows = rows.min((extent.traces / least) as usize).max(1);
        let columns = columns.min(extent.channels).max(1);
        let span_ns = extent.end_ns().saturating_sub(extent.start_ns()).max(1);
        let step_ns = (span_ns as u64).div_ceil(rows as u64) as i64;
        let channels = vec![Sums::default(); extent.channels];
        let picture = Overview { extent, rows, columns, step_ns, cells: Vec::new(), level: vec![f32::NAN; columns] };
        Self { picture, sums: vec![(0.0, 0.0); rows * columns], row: 0, gathered: 0, channels }
    }

    /// One trace, as it was stored, of all channels that are shown.
    pub fn add(&mut self, utc_ns: i64, trace: &[f32]) {
        let since = utc_ns.saturating_sub(self.picture.extent.start_ns()).max(0);
        let row = ((since / self.picture.step_ns) as usize).min(self.picture.rows - 1);
        if row != self.row {
            self.end_row();
            self.row = row;
        }
        self.gathered += 1;
        let is_energy = self.picture.extent.acquisition.band.is_some();
        for (sums, &value) in self.channels.iter_mut().zip(trace) {
            if value.is_finite() && is_energy {
                sums.count += 1;
                sums.squares += f64::from(value.max(0.0));
            } else if value.is_finite() {
                if sums.count == 0 {
                    sums.first = value;
                }
                let away = f64::from(value - sums.first);
                sums.count += 1;
                sums.sum += away;
                sums.squares += away * away;
            }
        }
    }

    fn end_row(&mut self) {
        let (columns, channels) = (self.picture.columns, self.channels.len());
        // Of one sample there is nothing about its mean.
        let least = if self.picture.extent.acquisition.band.is_some() { 1 } else { 2 };
        for (channel, sums) in self.channels.iter_mut().enumerate() {
            let Sums { count, sum, squares, .. } = std::mem::take(sums);
            if count >= least {
                let (cell, count) = (self.row * columns + channel * columns / channels, f64::from(count));
                self.sums[cell].0 += (squares - sum * sum / count).max(0.0);
                self.sums[cell].1 += count;
            }
        }
        self.gathered = 0;
    }

    /// What was gathered.
    pub fn finish(mut self) -> Overview {
        if self.gathered > 0 {
            self.end_row();
        }
        let scale = self.picture.extent.acquisition.scale.abs();
        let rms = |(squares, count): (f64, f64)| (scale * (squares / count).sqrt()) as f32;
        self.picture.cells = self.sums.iter().map(|&sums| rms(sums)).collect();
        for (column, level) in self.picture.level.iter_mut().enumerate() {
            let of_column = self.sums.iter().skip(column).step_by(self.picture.columns);
            *level = rms(of_column.fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1)));
        }
        self.picture
    }
}

impl Overview {
    /// Gives rows in which no trace was looked at, although there are some, the values of the row before.
    pub(super) fn fill_between_samples(&mut self) {
        let start_ns = self.extent.start_ns();
        for row in 1..self.rows {
            let (before, this) = self.cells[(row - 1) * self.columns..].split_at_mut(self.columns);
            let from = start_ns.saturating_add(self.step_ns.saturating_mul(row as i64));
            let has_traces =
                self.extent.stretches.iter().any(|&(a, b)| a < from.saturating_add(self.step_ns) && b > from);
            if has_traces && this[..self.columns].iter().all(|cell| cell.is_nan()) {
                this[..self.columns].copy_from_slice(before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_band_energy_hold_the_root_of_its_mean() {
        let band = Some(crate::acquisition::Band { low_hz: 1.0, high_hz: 2.0 });
        let acquisition = Arc::new(Acquisition { channels: 2, scale: 1.0, band, ..Acquisition::example() });
        let extent = Extent { acquisition, first_channel: 0, channels: 2, traces: 4, stretches: vec![(0, 4)] };
        let mut gatherer = Gatherer::new(extent, 4, 1);
        for (at, energies) in [[4.0, 4.0], [1.0, 17.0], [f32::NAN, 25.0], [0.0, 0.0]].iter().enumerate() {
            gatherer.add(at as i64, energies);
        }
        let overview = gatherer.finish();
        assert_eq!((overview.cells, overview.rows), (vec![2.0, 3.0, 5.0, 0.0], 4));
    }

    #[test]
    fn cells_hold_what_lies_in_them_and_gaps_hold_nothing() {
        let acquisition = Arc::new(Acquisition { channels: 4, scale: 0.5, ..Acquisition::example() });
        let ms = 1_000_000;
        let stretches = vec![(0, 100 * ms), (300 * ms, 400 * ms)];
        let extent = Extent { acquisition, first_channel: 0, channels: 4, traces: 200, stretches };
        assert_eq!(extent.gaps(), [(100 * ms, 300 * ms)]);
        let mut gatherer = Gatherer::new(extent, 4, 2);
        for at in (0..100).chain(300..400) {
            // ±2 and ±4 about 7, the second pair of channels twice as loud behind the gap.
            let sign = if at % 2 == 0 { 1.0 } else { -1.0 };
            let loud = if at >= 300 { 4.0 } else { 2.0 };
            gatherer.add(at * ms, &[7.0 + 2.0 * sign, f32::NAN, 7.0 + loud * sign, 7.0 - loud * sign]);
        }
        let overview = gatherer.finish();
        assert_eq!((overview.rows, overview.columns, overview.step_ns), (4, 2, 100 * ms));
        let nan = f32::NAN;
        let right = [1.0, 1.0, nan, nan, nan, nan, 1.0, 2.0];
        for (cell, right) in overview.cells.iter().zip(right) {
            assert!(cell.is_nan() && right.is_nan() || (cell - right).abs() < 1e-6, "{:?}", overview.cells);
        }
        assert!((overview.level[1] - 2.5f32.sqrt()).abs() < 1e-6, "{:?}", overview.level);
    }
}
