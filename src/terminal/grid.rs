//! A picture as cells of a screen or pixels of an image: decibels, and the colour scale that they are shown with.

use super::picture::{Picture, Row};

/// One row of cells.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// UTC of its beginning, milliseconds since the UNIX epoch.
    pub(super) start_ms: Option<i64>,
    /// Decibels; NaN where no line came, minus infinity where there was no energy at all.
    pub(super) db: Vec<f32>,
    /// Traces are missing within it, although lines came.
    pub(super) has_gap: bool,
}

/// Rows of cells, the newest first.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) lines: Vec<Line>,
    /// `None` while there is no energy in any cell.
    pub(super) scale: Option<Scale>,
}

/// The colour scale: from the 2 % to the 98 % percentile, so that a single bright cell changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) low_db: f32,
    pub(super) high_db: f32,
}

impl Grid {
    /// The newest `rows` rows of `picture`, `cells` wide. `normalised`: each column against its own mean.
    pub(super) fn of(picture: &Picture, rows: usize, cells: usize, normalised: bool) -> Self {
        let mut lines: Vec<Line> = picture.rows.iter().rev().take(rows).map(|row| Line::of(row, cells)).collect();
        if normalised {
            normalise(&mut lines, cells);
        }
        let scale = Scale::of(lines.iter().flat_map(|line| line.db.iter().copied()));
        Self { lines, scale }
    }

    /// The most columns that a picture has: one cell for each.
    pub(super) fn columns(picture: &Picture) -> usize {
        picture.rows.iter().map(|row| row.power.len()).max().unwrap_or(0)
    }
}

impl Line {
    /// Each cell is the largest of its columns.
    fn of(row: &Row, cells: usize) -> Self {
        let n = row.power.len();
        let cell = |cell: usize| {
            let from = cell * n / cells;
            let to = ((cell + 1) * n / cells).max(from + 1).min(n);
            row.power.get(from..to)?.iter().copied().reduce(f32::max)
        };
        let db = (0..cells).map(|at| cell(at).map_or(f32::NAN, |power| 10.0 * power.log10())).collect();
        Self { start_ms: row.start_ms, db, has_gap: row.gap_traces > 0 }
    }
}

/// Takes the mean of each column of cells away from it.
fn normalise(lines: &mut [Line], cells: usize) {
    for at in 0..cells {
        let (sum, count) = lines
            .iter()
            .map(|line| line.db[at])
            .filter(|db| db.is_finite())
            .fold((0.0f32, 0.0f32), |(sum, count), db| (sum + db, count + 1.0));
        if count > 0.0 {
            for line in lines.iter_mut() {
                line.db[at] -= sum / count;
            }
        }
    }
}

impl Scale {
    fn of(db: impl Iterator<Item = f32>) -> Option<Self> {
        let mut db: Vec<f32> = db.filter(|db| db.is_finite()).collect();
        db.sort_unstable_by(f32::total_cmp);
        let at = |share: f32| db.get(((db.len().max(1) - 1) as f32 * share).round() as usize).copied();
        let (low_db, high_db) = (at(0.02)?, at(0.98)?);
        // Less than 6 dB between them is noise, and need not look like an event.
        Some(Self { low_db, high_db: high_db.max(low_db + 6.0) })
    }

    /// 0 at the low end, 1 at the high end; `None` where no line came.
    pub(super) fn level(self, db: f32) -> Option<f32> {
        (!db.is_nan()).then(|| ((db - self.low_db) / (self.high_db - self.low_db)).clamp(0.0, 1.0))
    }
}
