//! Rows that come in double precision are narrowed to `f32`. Where they stand so far from zero that single precision would
//! lose the signal on it, what each channel has in its first trace is taken off before, and stands in the acquisition's
//! [`levels`](crate::acquisition::Acquisition::levels): the DSP stage adds it again in double precision.
//!
//! It is decided by the first traces of a file, once: a level that changed on the way would be a step in the data.

use std::sync::Arc;

use super::capture::{Capture, Rows, RowsError};
use crate::source::{Finding, SourceError};

/// Traces that are looked at.
const LOOKED_AT: usize = 64;
/// Bytes of these at most, but for two traces.
const LOOKED_AT_BYTES: usize = 16 << 20;
/// So many damaged places are passed over to find them.
const MOST_DAMAGES: usize = 64;

/// By so much of the spread of a channel samples may be off before its level is taken off: 12 bits of them are kept.
const MOST_OFF: f64 = 1.0 / 4096.0;

/// The capture with rows of the acquisition's own format.
///
/// # Errors
/// When the first traces cannot be read.
pub(super) fn narrowed(capture: Capture) -> Result<Capture, SourceError> {
    if !capture.rows.is_wide() {
        return Ok(capture);
    }
    let Capture { mut rows, mut acquisition, mut notes, total_rows, .. } = capture;
    // Band energies are passed on as they are, and single precision holds what matters of them.
    let looked_at = if acquisition.band.is_some() { 0 } else { total_rows };
    let first = first_traces(&mut *rows, acquisition.channels, looked_at)?;
    if let Some(levels) = levels(&first, acquisition.channels) {
        let most = levels.iter().fold(0f64, |most, level| if level.abs() > most.abs() { *level } else { most });
        notes.push(Finding::note(format!(
            "samples stand far from zero (up to {most:e}): what each channel has in the first trace is taken off, so that \
             single precision holds the signal, and is put back where lines are computed"
        )));
        acquisition.levels = levels.into();
    }
    let rows = Box::new(Narrowed { levels: Arc::clone(&acquisition.levels), rows, wide: Vec::new() });
    Ok(Capture { acquisition, notes, rows, ..capture })
}

/// Some of the first traces that can be read, `[trace][channel]`.
fn first_traces(rows: &mut dyn Rows, channels: usize, total: u64) -> Result<Vec<f64>, SourceError> {
    let most = LOOKED_AT.min((LOOKED_AT_BYTES / size_of::<f64>() / channels).max(2));
    let (mut bytes, mut from) = (Vec::new(), 0);
    for _ in 0..MOST_DAMAGES {
        let count = total.saturating_sub(from).min(most as u64) as usize;
        match rows.read(from, count, &mut bytes) {
            _ if count == 0 => break,
            Ok(()) => return Ok(bytes.as_chunks().0.iter().map(|&value| f64::from_ne_bytes(value)).collect()),
            Err(RowsError::Damaged { good_from, .. }) => from = good_from.max(from + 1),
            Err(RowsError::Fatal(error)) => return Err(error),
        }
    }
    Ok(Vec::new())
}

/// Rows of `f32` out of those of `f64`.
struct Narrowed {
    rows: Box<dyn Rows>,
    levels: Arc<[f64]>,
    wide: Vec<u8>,
}

impl Rows for Narrowed {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        self.rows.read(first, rows, &mut self.wide)?;
        let values = self.wide.as_chunks().0.iter().map(|&value| f64::from_ne_bytes(value));
        if self.levels.is_empty() {
            out.extend(values.flat_map(|value| (value as f32).to_ne_bytes()));
        } else {
            let levels = self.levels.iter().cycle();
            out.extend(values.zip(levels).flat_map(|(value, level)| ((value - level) as f32).to_ne_bytes()));
        }
        Ok(())
    }

    fn written(&self) -> Option<u64> {
        self.rows.written()
    }

    fn note(&self) -> Option<String> {
        self.rows.note()
    }
}

/// The level of each channel, from its first traces, `[trace][channel]`; `None` when narrowing loses nothing that matters.
fn levels(values: &[f64], channels: usize) -> Option<Vec<f64>> {
    let traces = values.len().checked_div(channels).filter(|traces| *traces > 1)?;
    let is_off = |channel: usize| {
        let (mut smallest, mut largest, mut off) = (f64::INFINITY, f64::NEG_INFINITY, 0f64);
        for value in (0..traces).map(|trace| values[trace * channels + channel]).filter(|value| value.is_finite()) {
            (smallest, largest) = (smallest.min(value), largest.max(value));
            off = off.max((f64::from(value as f32) - value).abs());
        }
        off > MOST_OFF * (largest - smallest) && largest > smallest
    };
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    (0..channels).any(is_off).then(|| values[..channels].iter().map(|&value| finite(value)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_narrowed_keeps_the_signal(
            level in -1e15..1e15f64, size in 1e-3..1e6f64, channels in 1usize..6, seed in 1u64..1000,
        ) {
            let signal = |i: usize| size * ((i as u64 * 7919 + seed * 104_729) % 1000) as f64 / 1000.0;
            // A double holds no more than this either.
            prop_assume!(level.abs() < size * 1e9);
            let values: Vec<f64> = (0..LOOKED_AT * channels).map(|i| level + signal(i)).collect();
            let taken = levels(&values, channels);
            for (i, &value) in values.iter().enumerate() {
                let (c, first) = (i % channels, values[i % channels]);
                let base = taken.as_ref().map_or(0.0, |levels| levels[c]);
                let kept = f64::from((value - base) as f32) - f64::from((first - base) as f32);
                prop_assert!((kept - (value - first)).abs() <= size * 2.1 * MOST_OFF, "{kept} for {}", value - first);
            }
        }
    }

    #[test]
    fn what_single_precision_holds_is_left_as_it_is() {
        assert_eq!(levels(&[16_777_215.0, 0.0, 16_777_214.0, 1.0], 2), None);
        assert_eq!(levels(&[1e9, 1e9], 1), None, "a dead channel");
        assert_eq!(levels(&[f64::NAN, 1e9 + 1.0, f64::NAN, 1e9 + 4.0], 2), Some(vec![0.0, 1e9 + 1.0]));
        assert_eq!(levels(&[1.0], 1), None);
        assert_eq!(levels(&[], 0), None);
    }
}
