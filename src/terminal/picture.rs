//! What the live view shows of the waterfall: a small picture that the io side feeds and the view copies.
//!
//! [`WaterfallTap::offer`] never waits: while the view copies the picture, a line is skipped. The picture keeps at most
//! 512 columns (largest power of the channels in each) and rows of half a second (mean of the lines in each).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::frame::{Frame, Stream, ValueKind, View};

/// Most columns that a picture keeps; no terminal is much wider.
const COLUMNS: usize = 512;

/// One row of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Mean power of each column; empty when no line came in this time.
    pub power: Vec<f32>,
    /// Lines that the mean is taken over.
    pub lines: u32,
    /// Traces missing within this row.
    pub gap_traces: u64,
}

/// A coarse waterfall.
#[derive(Clone, Debug, Default)]
pub struct WaterfallPicture {
    /// Rows, oldest first; the newest may still be growing.
    pub rows: VecDeque<Row>,
    /// Distance of the left edge in metres.
    pub start_m: f64,
    /// Distance of the right edge in metres.
    pub end_m: f64,
    /// Data time of one row in seconds.
    pub row_s: f64,
    /// Lower and upper edge of the band, Hz.
    pub band_hz: (f64, f64),
    /// Raised by every line, so that a view knows that there is something new.
    pub version: u64,
    capacity: usize,
    columns: usize,
    /// Number of the newest row on the half-second grid of UTC.
    newest: i64,
    stream: Option<(Arc<Stream>, u64)>,
}

impl WaterfallPicture {
    /// Keeps up to `capacity` rows of `row_s` seconds.
    pub fn new(capacity: usize, row_s: f64) -> Self {
        Self { capacity: capacity.max(1), row_s, ..Self::default() }
    }

    /// Takes the lines of a frame of the first waterfall stream; other frames are none of its business.
    pub fn add(&mut self, frame: &Frame) {
        let stream = &frame.stream;
        if stream.view != View::Waterfall || stream.number != 0 || !stream.job.is_empty() {
            return;
        }
        let known =
            self.stream.as_ref().is_some_and(|(s, epoch)| Arc::ptr_eq(s, stream) && *epoch == frame.acquisition.epoch);
        if !known {
            // Two standing waterfalls would be torn into each other: the first one seen stays.
            if self.stream.as_ref().is_some_and(|(s, _)| s.name != stream.name) {
                return;
            }
            self.begin(frame);
        }
        let (lines, channels, bins) = frame.shape();
        let values = frame.values.flat();
        let values = values.chunks_exact((channels * bins).max(1)).take(lines);
        let line_ns = stream.line_period_s.to_f64() * 1e9;
        for (i, line) in values.enumerate() {
            let utc_ns = frame.utc_first_ns.saturating_add((i as f64 * line_ns) as i64);
            let gap = if i == 0 { frame.gap_traces } else { 0 };
            self.add_line(utc_ns, line, gap, stream.value);
        }
        self.version += 1;
    }

    /// A new acquisition or a re-planned stream: another fiber may be another picture.
    fn begin(&mut self, frame: &Frame) {
        let (a, axis) = (&frame.acquisition, frame.stream.channels);
        let columns = axis.count.clamp(1, COLUMNS);
        let start_m = a.fiber_start_m + axis.start as f64 * a.dx_m;
        let end_m = start_m + (axis.count * axis.step) as f64 * a.dx_m;
        if columns != self.columns
            || start_m.to_bits() != self.start_m.to_bits()
            || end_m.to_bits() != self.end_m.to_bits()
        {
            self.rows.clear();
        }
        (self.columns, self.start_m, self.end_m) = (columns, start_m, end_m);
        let band = frame.stream.frequencies;
        self.band_hz = (band.start_hz, band.start_hz + band.step_hz);
        self.stream = Some((Arc::clone(&frame.stream), a.epoch));
    }

    fn add_line(&mut self, utc_ns: i64, line: &[f32], gap_traces: u64, kind: ValueKind) {
        let number = (utc_ns as f64 * 1e-9 / self.row_s).floor() as i64;
        let steps = if self.rows.is_empty() { 1 } else { number.saturating_sub(self.newest) };
        if steps != 0 {
            // A replay that begins again goes back in time: one empty row is its seam.
            let missing = if steps < 0 { 1 } else { (steps - 1).min(self.capacity as i64) };
            for _ in 0..missing {
                self.push(Row { power: Vec::new(), lines: 0, gap_traces: 0 });
            }
            self.push(Row { power: vec![0.0; self.columns], lines: 0, gap_traces: 0 });
            self.newest = number;
        }
        let Some(row) = self.rows.back_mut() else {
            return;
        };
        row.gap_traces += gap_traces;
        row.lines += 1;
        let weight = 1.0 / row.lines as f32;
        for (column, mean) in row.power.iter_mut().enumerate() {
            let (from, to) = (column * line.len() / self.columns, (column + 1) * line.len() / self.columns);
            let largest = line[from..to].iter().map(|&value| as_power(value, kind)).fold(0.0f32, f32::max);
            *mean += (largest - *mean) * weight;
        }
    }

    fn push(&mut self, row: Row) {
        if self.rows.len() == self.capacity {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }
}

fn as_power(value: f32, kind: ValueKind) -> f32 {
    match kind {
        ValueKind::Power => value,
        ValueKind::Amplitude => value * value,
        ValueKind::Decibel { reference } => (reference * 10f64.powf(f64::from(value) / 10.0)) as f32,
    }
}

/// The way into the picture. One per live view, shared by reference.
#[derive(Debug)]
pub struct WaterfallTap {
    picture: Mutex<WaterfallPicture>,
}

impl WaterfallTap {
    /// A picture of two minutes.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { picture: Mutex::new(WaterfallPicture::new(240, 0.5)) })
    }

    /// Looks at a frame on its way to the broker. Never waits.
    pub fn offer(&self, frame: &Frame) {
        match self.picture.try_lock() {
            Ok(mut picture) => picture.add(frame),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().add(frame),
            // The view is copying: one line less in a mean.
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// A copy of the picture.
    pub fn picture(&self) -> WaterfallPicture {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
