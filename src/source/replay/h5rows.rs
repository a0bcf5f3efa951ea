//! Rows out of an HDF5 dataset, whichever way round it is stored.

use std::ops::Range;

use super::capture::{MAX_TRACES, Rows, RowsError, SLAB_BYTES};
use super::format::MAX_CHANNELS;
use super::h5::Samples;
use super::stored::Area;
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

/// Bytes of the rows that are turned together: so many that each channel gives a few pages of the file.
const TURNED_BYTES: u64 = 16 << 20;
/// The same at most, where chunks are long in time and must be decoded as a whole.
const MAX_WINDOW: u64 = 128 << 20;

/// Values between rows that are turned.
const APART: usize = 32;
/// Channels, and rows of each, that are turned together: so few that the processor's nearest cache holds them.
const TOGETHER: usize = 32;

/// A dataset of two dimensions in either order. Rows are read in windows, of which one is held: large enough that each
/// chunk is decoded once for a window, and as a rule once in all.
pub(super) struct Windows {
    samples: Samples,
    channel_first: bool,
    channels: u64,
    traces: u64,
    /// Rows of a window.
    window_rows: u64,
    /// Values from one row that is held to the next.
    stride: usize,
    /// Rows that `held` holds, `[trace][channel]`.
    loaded: Range<u64>,
    held: Vec<u8>,
    /// Values on their way into rows.
    waiting: Vec<u8>,
}

impl Windows {
    fn new(samples: Samples, channel_first: bool) -> Result<Self, SourceError> {
        let [first, second] = samples.shape[..] else {
            let why = format!("samples have the shape {:?}; it should have two dimensions", samples.shape);
            return Err(samples.unusable(why));
        };
        let (traces, channels) = if channel_first { (second, first) } else { (first, second) };
        if channels > MAX_CHANNELS as u64 || traces > MAX_TRACES {
            return Err(samples.unusable(format!(
                "{traces} traces of {channels} channels; at most {MAX_TRACES} of {MAX_CHANNELS} make sense"
            )));
        }
        let time = usize::from(channel_first);
        let row_bytes = channels.saturating_mul(samples.bytes() as u64).max(1);
        let together = samples.decoded_together().map_or(1, |edges| edges[time]).clamp(1, traces.max(1));
        let wanted = if channel_first { TURNED_BYTES } else { SLAB_BYTES as u64 };
        let window_rows = window_rows(row_bytes, together, wanted).min(traces.max(1));
        // Rows whose beginnings share places of the processor's cache would push each other out while they are turned.
        let stride = channels as usize + if channel_first { APART } else { 0 };
        let (held, waiting) = (Vec::new(), Vec::new());
        Ok(Self { samples, channel_first, channels, traces, window_rows, stride, loaded: 0..0, held, waiting })
    }

    /// Makes the window that `row` lies in the one that is held.
    fn load(&mut self, row: u64) -> Result<(), SourceError> {
        let first = row / self.window_rows * self.window_rows;
        let rows = self.window_rows.min(self.traces - first);
        self.loaded = 0..0;
        self.held.resize(rows as usize * self.stride * self.samples.bytes(), 0);
        if self.channel_first {
            let window = Area { from: vec![0, first], count: vec![self.channels, rows] };
            match self.samples.bytes() {
                2 => self.load_turned::<2>(&window)?,
                8 => self.load_turned::<8>(&window)?,
                _ => self.load_turned::<4>(&window)?,
            }
        } else {
            let window = Area { from: vec![first, 0], count: vec![rows, self.channels] };
            let (size, held) = (self.samples.bytes(), &mut self.held);
            self.samples.read(&window, &mut |index, bytes| {
                held[index * size..index * size + bytes.len()].copy_from_slice(bytes);
            })?;
        }
        self.loaded = first..first + rows;
        Ok(())
    }

    fn load_turned<const SIZE: usize>(&mut self, window: &Area) -> Result<(), SourceError> {
        let mut turned = Turned::<SIZE> {
            rows: window.count[1] as usize,
            stride: self.stride,
            out: self.held.as_chunks_mut().0,
            run: Run::default(),
            values: &mut self.waiting,
        };
        self.samples.read(window, &mut |index, bytes| turned.take(index, bytes))?;
        turned.put();
        Ok(())
    }
}

/// Rows of a window: as many as give the wanted bytes, in whole chunks, of which each has `together` rows. Longer chunks
/// are taken whole while that is possible, and else in equal parts.
fn window_rows(row_bytes: u64, together: u64, wanted: u64) -> u64 {
    let fit = |bytes: u64| (bytes / row_bytes).max(1);
    if together <= fit(wanted) {
        fit(wanted) / together * together
    } else {
        together.div_ceil(together.div_ceil(fit(MAX_WINDOW)))
    }
}

/// Puts values that stand `[channel][trace]` where they belong in rows of `stride` values. Values of the same rows of
/// neighbouring channels wait for each other: those that stand side by side in a row are put there at once.
struct Turned<'a, const SIZE: usize> {
    rows: usize,
    stride: usize,
    out: &'a mut [[u8; SIZE]],
    run: Run,
    /// Values that wait, channel by channel.
    values: &'a mut Vec<u8>,
}

/// Which values wait.
#[derive(Clone, Copy, Default)]
struct Run {
    channel: usize,
    channels: usize,
    row: usize,
    rows: usize,
}

impl<const SIZE: usize> Turned<'_, SIZE> {
    /// Takes values, of which the first has this index.
    fn take(&mut self, index: usize, mut bytes: &[u8]) {
        let (mut channel, mut row) = (index / self.rows, index % self.rows);
        while bytes.len() >= SIZE {
            // What is left of this channel.
            let these = bytes.split_off(..((self.rows - row) * SIZE).min(bytes.len())).unwrap_or_default();
            let next = Run { channel, channels: 1, row, rows: these.len() / SIZE };
            let run = self.run;
            let follows = (run.row, run.rows, run.channel + run.channels) == (next.row, next.rows, channel);
            if follows && run.channels < TOGETHER {
                self.run.channels += 1;
            } else {
                self.put();
                self.run = next;
            }
            self.values.extend_from_slice(these);
            (channel, row) = (channel + 1, 0);
        }
    }

    /// Puts what waits where it belongs.
    fn put(&mut self) {
        let Run { channel, row, rows, .. } = std::mem::take(&mut self.run);
        let values = self.values.as_chunks::<SIZE>().0;
        for some in (0..rows).step_by(TOGETHER) {
            for (nth, values) in values.chunks_exact(rows).enumerate() {
                let places = self.out[(row + some) * self.stride + channel + nth..].iter_mut().step_by(self.stride);
                places.zip(&values[some..]).take(TOGETHER).for_each(|(place, value)| *place = *value);
            }
        }
        self.values.clear();
    }
}

impl Rows for Windows {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let row_bytes = self.channels as usize * self.samples.bytes();
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            if !self.loaded.contains(&row) {
                self.load(row)?;
            }
            let (from, to) = (row - self.loaded.start, end.min(self.loaded.end) - self.loaded.start);
            for row in from as usize..to as usize {
                let at = row * self.stride * self.samples.bytes();
                out.extend_from_slice(&self.held[at..at + row_bytes]);
            }
            row = self.loaded.start + to;
        }
        Ok(())
    }

    fn written(&self) -> Option<u64> {
        Some(self.samples.written(usize::from(self.channel_first)))
    }

    fn note(&self) -> Option<String> {
        self.samples.note()
    }

    fn is_wide(&self) -> bool {
        self.samples.is_wide()
    }
}

/// A dataset stored `[block][time][channel]`, of which each block overlaps its neighbours: only rows `keep` of each
/// block count.
pub(super) struct Blocks {
    samples: Samples,
    keep: Range<u64>,
}

impl Blocks {
    /// Takes the dataset; `keep` lies within its second dimension and is not empty.
    pub(super) const fn new(samples: Samples, keep: Range<u64>) -> Self {
        Self { samples, keep }
    }
}

impl Rows for Blocks {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        let (channels, size) = (self.samples.shape[2], self.samples.bytes());
        let row_bytes = channels as usize * size;
        out.resize(rows * row_bytes, 0);
        let kept = self.keep.end - self.keep.start;
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            let (block, within) = (row / kept, row % kept);
            let count = (kept - within).min(end - row);
            let part = Area { from: vec![block, self.keep.start + within, 0], count: vec![1, count, channels] };
            let into = &mut out[(row - first) as usize * row_bytes..];
            self.samples.read(&part, &mut |index, bytes| {
                into[index * size..index * size + bytes.len()].copy_from_slice(bytes);
            })?;
            row += count;
        }
        Ok(())
    }

    fn written(&self) -> Option<u64> {
        Some(self.samples.written(0).saturating_mul(self.keep.end - self.keep.start))
    }

    fn is_wide(&self) -> bool {
        self.samples.is_wide()
    }

    fn note(&self) -> Option<String> {
        self.samples.note()
    }
}

/// `samples` as rows, when they are stored `[time][channel]` or, `channel_first`, the other way round. Also says how
/// many traces and channels there are and how samples are handed on.
///
/// # Errors
/// When there are not two dimensions, or the order cannot be read.
pub(super) fn table(samples: Samples, channel_first: bool) -> Result<Table, SourceError> {
    let (format, bytes) = (samples.format, samples.bytes());
    let windows = Windows::new(samples, channel_first)?;
    let (traces, channels) = (windows.traces, windows.channels as usize);
    // Windows that are larger than a slab are read slab by slab.
    let window_bytes = (windows.window_rows as usize).saturating_mul(channels * bytes);
    let slab_rows = if window_bytes <= SLAB_BYTES { windows.window_rows as usize } else { 1 };
    Ok(Table { traces, channels, format, slab_rows, rows: Box::new(windows) })
}

/// What [`table`] makes of a dataset.
pub(super) struct Table {
    /// Rows in time.
    pub(super) traces: u64,
    /// Channels.
    pub(super) channels: usize,
    /// How samples are handed on.
    pub(super) format: SampleFormat,
    /// Traces stored together.
    pub(super) slab_rows: usize,
    /// Access.
    pub(super) rows: Box<dyn Rows>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::replay::h5::H5;

    /// A value that says where it belongs.
    fn value(trace: u64, channel: u64) -> i16 {
        (trace * 131 + channel * 7 + 1) as i16
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_window_of_every_layout_is_what_was_written(
            (traces, channels) in (1u64..60, 1u64..80), chunks in prop::option::of((1u64..70, 1u64..90)),
            channel_first in any::<bool>(), packed in any::<bool>(), window in 1u64..70,
            reads in prop::collection::vec((0u64..60, 1u64..60), 1..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.h5");
            let stored: Vec<i16> = if channel_first {
                (0..channels).flat_map(|c| (0..traces).map(move |t| value(t, c))).collect()
            } else {
                (0..traces).flat_map(|t| (0..channels).map(move |c| value(t, c))).collect()
            };
            let mut file = hdf5_pure::FileBuilder::new();
            let dataset = file.create_dataset("d").with_i16_data(&stored);
            dataset.with_shape(&if channel_first { [channels, traces] } else { [traces, channels] });
            if let Some((a, b)) = chunks {
                // A chunk may not be larger than a dimension that cannot grow.
                let (a, b) = (a.min(traces), b.min(channels));
                dataset.with_chunks(&if channel_first { [b, a] } else { [a, b] });
                if packed {
                    dataset.with_shuffle().with_deflate(1);
                }
            }
            file.write(&path).unwrap();
            let samples = H5::open(&path).unwrap().samples("d").unwrap().unwrap();
            let mut windows = Windows::new(samples, channel_first).unwrap();
            prop_assert_eq!((windows.traces, windows.channels), (traces, channels));
            prop_assert_eq!(windows.written(), Some(traces));
            windows.window_rows = window;
            let mut out = Vec::new();
            for (first, rows) in reads {
                let (first, rows) = (first % traces, rows.min(traces - first % traces));
                windows.read(first, rows as usize, &mut out).unwrap();
                let expected: Vec<u8> = (first..first + rows)
                    .flat_map(|t| (0..channels).flat_map(move |c| value(t, c).to_ne_bytes()))
                    .collect();
                prop_assert!(out == expected, "rows {first} + {rows}");
            }
        }

        #[test]
        fn windows_are_bounded_and_hold_whole_chunks_while_that_is_possible(
            row_bytes in 1u64..1 << 30, together in 1u64..1 << 40, wanted in 1u64..1 << 25,
        ) {
            let rows = window_rows(row_bytes, together, wanted);
            prop_assert!(rows == 1 || rows * row_bytes <= MAX_WINDOW);
            let whole = together.saturating_mul(row_bytes) <= MAX_WINDOW;
            prop_assert!(!whole || rows.is_multiple_of(together), "{rows} rows for chunks of {together}");
            prop_assert!(rows >= 1 && (rows >= wanted / row_bytes / 2 || rows >= together));
        }
    }
}
