//! A coarse picture that grows line by line: a waterfall over distance, or a spectrogram over frequency.
//!
//! At most 512 columns (each the largest power of what falls into it), and rows of a fixed length of data time (each the
//! mean of its lines), so that a picture has a fixed size however wide the fiber and however long the time.

use std::collections::VecDeque;

use crate::frame::ValueKind;

/// Most columns that a picture keeps; no terminal is much wider.
const COLUMNS: usize = 512;

/// What the columns of a picture are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// Metres from the instrument, from the left edge to the right edge.
    Distance(f64, f64),
    /// Hz, from the left edge to the right edge.
    Frequency(f64, f64),
    /// Numbers of channels, counted from 1, from the left edge to the right edge: on a fiber of several regions, where
    /// distance does not grow evenly.
    Channel(f64, f64),
}

/// Consecutive lines of one picture, as they come from the daemon.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// What the columns are.
    pub axis: Axis,
    /// UTC of the beginning of the first line, nanoseconds since the UNIX epoch.
    pub utc_ns: i64,
    /// Nanoseconds from line to line.
    pub line_ns: i64,
    /// Traces missing before the first line.
    pub gap_traces: u64,
    /// What the values are.
    pub value: ValueKind,
    /// Values of one line; at least one.
    pub width: usize,
    /// The values, line by line.
    pub values: &'a [f32],
}

/// One row of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// UTC of its beginning, milliseconds since the UNIX epoch; `None` for the row between two times that do not follow.
    pub start_ms: Option<i64>,
    /// Mean power of each column; empty when no line came in this time.
    pub power: Vec<f32>,
    /// Lines that the mean is taken over.
    pub lines: u32,
    /// Traces missing within this row.
    pub gap_traces: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Rows, oldest first; the newest may still be growing.
    pub rows: VecDeque<Row>,
    /// What the columns are.
    pub axis: Axis,
    /// Data time of one row.
    pub row_ms: i64,
    /// Raised with every line, so that a reader knows that there is something new.
    pub version: u64,
    capacity: usize,
    columns: usize,
    /// Number of the newest row: its UTC divided by the time of a row.
    newest: i64,
    /// Where the newest line ends.
    end_ns: i64,
}

impl Picture {
    /// Keeps up to `capacity` rows of `row_ms`, both at least 1.
    pub fn new(capacity: usize, row_ms: i64) -> Self {
        Self {
            rows: VecDeque::new(),
            axis: Axis::Distance(0.0, 0.0),
            row_ms: row_ms.max(1),
            version: 0,
            capacity: capacity.max(1),
            columns: 0,
            newest: 0,
            end_ns: 0,
        }
    }

    /// Takes lines. Other columns than before begin a new picture.
    pub fn add(&mut self, lines: &Lines<'_>) {
        let columns = lines.width.clamp(1, COLUMNS);
        if columns != self.columns || lines.axis != self.axis {
            self.rows.clear();
            (self.columns, self.axis) = (columns, lines.axis);
        }
        for (i, line) in lines.values.chunks_exact(lines.width.max(1)).enumerate() {
            let begin_ns = lines.utc_ns.saturating_add(lines.line_ns.saturating_mul(i as i64));
            self.make_row(begin_ns, lines.line_ns);
            let gap_traces = if i == 0 { lines.gap_traces } else { 0 };
            self.add_line(line, gap_traces, lines.value);
        }
        self.version += 1;
    }

    /// Makes the newest row that of `begin_ns`, and those between.
    fn make_row(&mut self, begin_ns: i64, line_ns: i64) {
        let number = begin_ns.div_euclid(self.row_ms.saturating_mul(1_000_000));
        let steps = if self.rows.is_empty() { 1 } else { number.saturating_sub(self.newest) };
        let silent = begin_ns.saturating_sub(self.end_ns) > line_ns / 2;
        let before = self.newest;
        self.end_ns = begin_ns.saturating_add(line_ns);
        if steps == 0 {
            return;
        }
        self.newest = number;
        if steps < 0 {
            // A replay that begins again goes back in time: one empty row lies between.
            self.push(None, Vec::new());
        }
        // However long nothing came, no more rows than are kept.
        let first = steps.saturating_sub(self.capacity as i64).max(1);
        for between in first..steps {
            let start_ms = Some(before.saturating_add(between).saturating_mul(self.row_ms));
            // Lines may be longer than rows: a row in the middle of one is no gap.
            let power = self.rows.back().filter(|_| !silent).map(|row| row.power.clone());
            self.push(start_ms, power.unwrap_or_default());
        }
        self.push(Some(number.saturating_mul(self.row_ms)), vec![0.0; self.columns]);
    }

    fn push(&mut self, start_ms: Option<i64>, power: Vec<f32>) {
        if self.rows.len() == self.capacity {
            self.rows.pop_front();
        }
        self.rows.push_back(Row { start_ms, power, lines: 0, gap_traces: 0 });
    }

    fn add_line(&mut self, line: &[f32], gap_traces: u64, kind: ValueKind) {
        let columns = self.columns;
        let Some(row) = self.rows.back_mut() else {
            return;
        };
        row.gap_traces += gap_traces;
        row.lines += 1;
        let weight = 1.0 / row.lines as f32;
        for (column, mean) in row.power.iter_mut().enumerate() {
            let (from, to) = (column * line.len() / columns, (column + 1) * line.len() / columns);
            let largest = line[from..to].iter().map(|&value| as_power(value, kind)).fold(0.0f32, f32::max);
            *mean += (largest - *mean) * weight;
        }
    }
}

fn as_power(value: f32, kind: ValueKind) -> f32 {
    match kind {
        ValueKind::Power => value,
        ValueKind::Amplitude => value * value,
        ValueKind::Decibel { reference } => (reference * 10f64.powf(f64::from(value) / 10.0)) as f32,
    }
}
