//! Looks at the samples of a capture: at all of them, or at windows evenly spread over it, so that a large file takes no
//! longer than a small one.

use std::ops::Range;
use std::sync::Arc;

use super::channels::Channels;
use super::noise::Noise;
use super::overview::Gatherer;
use super::{Depth, Samples};
use crate::acquisition::SampleFormat;
use crate::source::replay::capture::{Capture, RowsError};
use crate::source::replay::playlist::{Epoch, Part};
use crate::source::{Finding, SourceError};

/// Bytes that a sample of a file has.
const SAMPLE_BYTES: u64 = 64 << 20;
/// The same, with a picture.
const PICTURED_BYTES: u64 = 256 << 20;
/// Windows that make up a sample, without and with a picture, which wants more of them.
const WINDOWS: (u64, u64) = (32, 256);
/// Damaged places that are named; the rest is counted.
const MOST_NAMED: usize = 20;

/// What is known of the samples that were looked at.
pub(super) struct Survey {
    pub(super) samples: Samples,
    pub(super) channels: Channels,
    pub(super) noise: Option<Noise>,
    /// Traces that were looked at, damaged ones included.
    pub(super) traces: u64,
    pub(super) damaged: u64,
    /// Damaged places.
    pub(super) findings: Vec<Finding>,
}

/// Rows that are looked at, in order; none reaches over a gap.
pub(super) fn windows(capture: &Capture, parts: &[(&Epoch, &Part)], depth: Depth, pictured: bool) -> Vec<Range<u64>> {
    let row_bytes = (capture.acquisition.channels * capture.acquisition.sample_format.bytes()) as u64;
    let ends: Vec<u64> = parts.iter().map(|(_, part)| part.first_row + part.rows).collect();
    let (count, bytes) = if pictured { (WINDOWS.1, PICTURED_BYTES) } else { (WINDOWS.0, SAMPLE_BYTES) };
    let rows = (bytes / count / row_bytes.max(1)).max(1);
    if depth == Depth::Metadata {
        return Vec::new();
    }
    if depth == Depth::Whole || rows.saturating_mul(count) >= capture.total_rows {
        return parts.iter().map(|(_, part)| part.first_row..part.first_row + part.rows).collect();
    }
    let window = |number: u64| {
        let at = (u128::from(capture.total_rows - rows) * u128::from(number) / u128::from(count - 1)) as u64;
        let end = ends.get(ends.partition_point(|&end| end <= at)).copied().unwrap_or(capture.total_rows);
        at..(at + rows).min(end)
    };
    (0..count).map(window).collect()
}

/// Looks at these windows.
///
/// # Errors
/// When the file cannot be read; what is damaged is in the answer.
pub(super) fn survey(
    capture: &mut Capture,
    parts: &[(&Epoch, &Part)],
    windows: &[Range<u64>],
    mut picture: Option<&mut Gatherer>,
    progress: &mut dyn FnMut(f64),
) -> Result<Survey, SourceError> {
    let (channels, format) = (capture.acquisition.channels, capture.acquisition.sample_format);
    let wanted: u64 = windows.iter().map(|window| window.end - window.start).sum();
    let longest = windows.iter().map(|window| window.end - window.start).max().unwrap_or(0);
    // Neither the magnitude of a complex field nor lines of band energy have a spectrum that means anything.
    let has_none = format == SampleFormat::Iq16 || capture.acquisition.band.is_some();
    let noise = if has_none { None } else { Noise::new(channels, longest) };
    let levels = Arc::clone(&capture.acquisition.levels);
    let channels = Channels::new(channels, format);
    let mut found =
        Survey { samples: Samples::default(), channels, noise, traces: 0, damaged: 0, findings: Vec::new() };
    let mut sums = Sums::default();
    let (mut bytes, mut trace) = (Vec::new(), Vec::new());
    let mut reader = Reader { capture, bytes: &mut bytes, found: &mut found };
    for window in windows {
        let mut row = window.start;
        if let Some(noise) = &mut reader.found.noise {
            noise.interrupt();
        }
        while row < window.end {
            let rows = reader.read(row..window.end)?;
            for at in 0..rows.good {
                let stored = &reader.bytes[at * rows.bytes..][..rows.bytes];
                decode(stored, format, &mut trace);
                sums.add(stored, format, (&trace, &levels));
                reader.found.add(stored, &trace);
                if let Some(picture) = &mut picture {
                    picture.add(utc_ns(parts, row + at as u64), &trace);
                }
            }
            row = rows.next;
            progress(reader.found.traces as f64 / wanted.max(1) as f64);
        }
    }
    found.samples = sums.finish();
    let unnamed = found.findings.len().saturating_sub(MOST_NAMED);
    if unnamed > 0 {
        found.findings.truncate(MOST_NAMED);
        found.findings.push(Finding::damaged(format!("and {unnamed} more places like these")));
    }
    Ok(found)
}

/// UTC of a row, in nanoseconds.
fn utc_ns(parts: &[(&Epoch, &Part)], row: u64) -> i64 {
    let at = parts.partition_point(|(_, part)| part.first_row <= row).saturating_sub(1);
    parts.get(at).map_or(0, |(epoch, part)| part.utc_ns(&epoch.acquisition, row))
}

struct Reader<'a> {
    capture: &'a mut Capture,
    bytes: &'a mut Vec<u8>,
    found: &'a mut Survey,
}

/// Rows that came.
struct Came {
    good: usize,
    /// Of a row.
    bytes: usize,
    /// The row to go on with.
    next: u64,
}

impl Reader<'_> {
    /// The next rows of this window, at most a slab; what is damaged is counted and passed over.
    fn read(&mut self, rows: Range<u64>) -> Result<Came, SourceError> {
        let row_bytes = self.capture.acquisition.channels * self.capture.acquisition.sample_format.bytes();
        let wanted = (self.capture.slab_rows as u64).min(rows.end - rows.start);
        match self.capture.rows.read(rows.start, wanted as usize, self.bytes) {
            Ok(()) => {
                let good = self.bytes.len() / row_bytes;
                let next = rows.start + (good as u64).max(1);
                self.found.traces += next - rows.start;
                Ok(Came { good, bytes: row_bytes, next })
            }
            Err(RowsError::Damaged { good_from, why }) => {
                let next = good_from.clamp(rows.start + 1, rows.end);
                self.found.damaged += next - rows.start;
                self.found.traces += next - rows.start;
                if self.found.findings.last().is_none_or(|last| last.text != why) {
                    self.found.findings.push(Finding::damaged(why));
                }
                if let Some(noise) = &mut self.found.noise {
                    noise.interrupt();
                }
                Ok(Came { good: 0, bytes: row_bytes, next })
            }
            Err(RowsError::Fatal(error)) => Err(error),
        }
    }
}

impl Survey {
    fn add(&mut self, stored: &[u8], trace: &[f32]) {
        self.channels.add(trace);
        self.channels.add_limits(stored);
        if let Some(noise) = &mut self.noise {
            noise.add(trace);
        }
    }
}

/// A trace as numbers; of a complex sample its magnitude.
pub(crate) fn decode(stored: &[u8], format: SampleFormat, out: &mut Vec<f32>) {
    out.clear();
    match format {
        SampleFormat::I16 => out.extend(stored.as_chunks().0.iter().map(|&b| f32::from(i16::from_ne_bytes(b)))),
        SampleFormat::I32 => out.extend(stored.as_chunks().0.iter().map(|&b| i32::from_ne_bytes(b) as f32)),
        SampleFormat::F32 => out.extend(stored.as_chunks().0.iter().map(|&b| f32::from_ne_bytes(b))),
        SampleFormat::Iq16 => {
            out.extend(stored.as_chunks().0.iter().map(|&[a, b, c, d]| {
                f32::from(i16::from_ne_bytes([a, b])).hypot(f32::from(i16::from_ne_bytes([c, d])))
            }));
        }
    }
}

/// Over all samples; of both parts of a complex one.
#[derive(Default)]
struct Sums {
    min: f64,
    max: f64,
    squares: f64,
    finite: u64,
    not_finite: u64,
}

impl Sums {
    /// One trace, and what was taken off its samples.
    fn add(&mut self, stored: &[u8], format: SampleFormat, (trace, levels): (&[f32], &[f64])) {
        match format {
            SampleFormat::Iq16 => {
                stored.as_chunks().0.iter().for_each(|&b| self.one(f64::from(i16::from_ne_bytes(b))));
            }
            SampleFormat::I32 => {
                stored.as_chunks().0.iter().for_each(|&b| self.one(f64::from(i32::from_ne_bytes(b))));
            }
            SampleFormat::F32 if !levels.is_empty() => {
                trace.iter().zip(levels).for_each(|(&value, level)| self.one(f64::from(value) + level));
            }
            SampleFormat::I16 | SampleFormat::F32 => trace.iter().for_each(|&value| self.one(value.into())),
        }
    }

    fn one(&mut self, value: f64) {
        if !value.is_finite() {
            self.not_finite += 1;
            return;
        }
        let first = self.finite == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.squares += value * value;
        self.finite += 1;
    }

    fn finish(self) -> Samples {
        let known = |value: f64| (self.finite > 0).then_some(value);
        Samples {
            min: known(self.min),
            max: known(self.max),
            rms: known((self.squares / self.finite as f64).sqrt()),
            not_finite: self.not_finite,
        }
    }
}
