//! Rows out of miniSEED records: those that the rows lie in are read as they stand in the file, many at once, and each is
//! unpacked once as a rule, though rows end where no record does.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::capture::{Rows, RowsError, io_error};
use super::mseed_codec::Coding;
use super::mseed_weave::{Record, Span, Weave};
use crate::acquisition::SampleFormat;

/// Bytes that are read at once, at most, when records are small; and bytes between two records that are cheaper to read
/// than to leave out.
const READ_TOGETHER: u64 = 256 << 10;
const WORTH_READING: u64 = 4096;
/// Bytes of unpacked records that are kept because the next rows need them too, at most: else they are unpacked again.
const MAX_KEPT: usize = 128 << 20;

/// The samples of all channels.
pub(super) struct Series {
    path: PathBuf,
    file: File,
    weave: Weave,
    codings: Vec<Coding>,
    numbers: Numbers,
    bytes: Vec<u8>,
    values: Vec<f64>,
    /// What the rows that are read now are in.
    needed: Vec<Need>,
    /// Of each channel, the record that reaches beyond the rows read last; none when that would be too much.
    kept: Vec<Kept>,
}

/// How samples are handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    I16,
    F32,
    /// As `f64`, for others to narrow: single precision may lose something of them.
    F64,
}

impl Numbers {
    /// Those that come into blocks in this format.
    pub(super) fn of(format: SampleFormat, wide: bool) -> Self {
        match format {
            SampleFormat::I16 => Self::I16,
            _ if wide => Self::F64,
            _ => Self::F32,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// A record that is needed, and the part of it that counts.
#[derive(Clone, Copy)]
struct Need {
    record: Record,
    span: Span,
}

/// A record, unpacked.
#[derive(Clone, Default)]
struct Kept {
    record: Option<u32>,
    values: Vec<f64>,
}

/// Rows that are being read.
struct Window<'a> {
    /// Number of the first trace, and behind the last.
    from: i64,
    to: i64,
    channels: usize,
    numbers: Numbers,
    out: &'a mut [u8],
}

/// From which trace on, up to which, and what is wrong.
type Damage = (i64, i64, String);

impl Window<'_> {
    /// Puts the samples of a record where they belong.
    fn put(&mut self, Need { record, span }: Need, values: &[f64]) {
        let (from, to) = (span.from.max(self.from), span.to.min(self.to));
        let skipped = (from - span.from) as usize + span.skip as usize;
        let (size, rows) = (self.numbers.bytes(), (to - from) as usize);
        let first = ((from - self.from) as usize * self.channels + record.channel as usize) * size;
        let places = self.out[first..].chunks_mut(self.channels * size).take(rows);
        let each = places.zip(&values[skipped..]);
        match self.numbers {
            Numbers::I16 => each.for_each(|(place, value)| place[..2].copy_from_slice(&(*value as i16).to_ne_bytes())),
            Numbers::F32 => each.for_each(|(place, value)| place[..4].copy_from_slice(&(*value as f32).to_ne_bytes())),
            Numbers::F64 => each.for_each(|(place, value)| place[..8].copy_from_slice(&value.to_ne_bytes())),
        }
    }
}

impl Series {
    /// Samples as these numbers; no record has more of them than `most_samples`.
    pub(super) fn new(
        path: PathBuf,
        file: File,
        weave: Weave,
        codings: Vec<Coding>,
        (numbers, most_samples): (Numbers, u32),
    ) -> Self {
        let channels = weave.spans.len();
        let kept_bytes = (most_samples as usize).saturating_mul(channels * size_of::<f64>());
        let kept = vec![Kept::default(); if kept_bytes <= MAX_KEPT { channels } else { 0 }];
        Self { path, file, weave, codings, numbers, bytes: Vec::new(), values: Vec::new(), needed: Vec::new(), kept }
    }

    /// Puts what was kept into the window, and lists the records that must be read for the rest, as they stand in the file.
    fn need(&mut self, window: &mut Window<'_>) {
        self.needed.clear();
        let to = window.to;
        for (channel, spans) in self.weave.spans.iter().enumerate() {
            let first = spans.partition_point(|span| span.to <= window.from);
            for span in spans[first..].iter().take_while(|span| span.from < to) {
                let need = Need { record: self.weave.records[span.record as usize], span: *span };
                match self.kept.get(channel).filter(|kept| kept.record == Some(span.record)) {
                    Some(kept) => window.put(need, &kept.values),
                    None => self.needed.push(need),
                }
            }
        }
        self.needed.sort_unstable_by_key(|need| need.record.at);
    }

    /// Reads records that stand close to each other at once; the first damage in time.
    fn read_needed(&mut self, window: &mut Window<'_>) -> Result<Option<Damage>, RowsError> {
        let mut damage: Option<Damage> = None;
        let needed = std::mem::take(&mut self.needed);
        let end = |need: &Need| need.record.at + u64::from(need.record.bytes);
        let mut rest = &needed[..];
        while let Some(&Need { record: Record { at, .. }, .. }) = rest.first() {
            let close = |pair: &[Need]| {
                pair[1].record.at <= end(&pair[0]) + WORTH_READING && end(&pair[1]) - at <= READ_TOGETHER
            };
            let count = 1 + rest.windows(2).take_while(|pair| close(pair)).count();
            let (these, others) = rest.split_at(count);
            let until = these.iter().map(end).max().unwrap_or(at);
            self.bytes.resize((until - at) as usize, 0);
            self.file.read_exact_at(&mut self.bytes, at).map_err(|e| io_error(&self.path, "read a record", e))?;
            for &need in these {
                if let Err(why) = self.unpack(need, at, window)
                    && damage.as_ref().is_none_or(|(from, ..)| need.span.from < *from)
                {
                    let why = format!("record with samples at byte {}: {why}", need.record.at);
                    damage = Some((need.span.from, need.span.to, why));
                }
            }
            rest = others;
        }
        self.needed = needed;
        Ok(damage)
    }

    /// Unpacks a record, of which the bytes were read from `at` on.
    fn unpack(&mut self, need: Need, at: u64, window: &mut Window<'_>) -> Result<(), String> {
        let Need { record, span } = need;
        let bytes = &self.bytes[(record.at - at) as usize..][..record.bytes as usize];
        self.codings[usize::from(record.coding)].decode(bytes, record.samples, &mut self.values)?;
        window.put(need, &self.values);
        if span.to > window.to
            && let Some(kept) = self.kept.get_mut(record.channel as usize)
        {
            kept.record = Some(span.record);
            std::mem::swap(&mut kept.values, &mut self.values);
        }
        Ok(())
    }

    /// As many of the rows from `first` on as lie in one stretch, appended; how many these are.
    fn append(&mut self, first: u64, most: u64, out: &mut Vec<u8>) -> Result<u64, RowsError> {
        let at = self.weave.stretches.partition_point(|stretch| stretch.row <= first).saturating_sub(1);
        let stretch = self.weave.stretches[at];
        let from = stretch.from + (first - stretch.row) as i64;
        let rows = most.min((stretch.to - from) as u64) as usize;
        let (before, channels, numbers) = (out.len(), self.weave.spans.len(), self.numbers);
        let row_bytes = channels * numbers.bytes();
        out.resize(before + rows * row_bytes, 0);
        let mut window = Window { from, to: from + rows as i64, channels, numbers, out: &mut out[before..] };
        self.need(&mut window);
        let Some((bad, good, why)) = self.read_needed(&mut window)? else { return Ok(rows as u64) };
        out.truncate(before + usize::try_from(bad - from).unwrap_or(0) * row_bytes);
        if out.is_empty() {
            let good_from = first + (good.min(stretch.to) - from) as u64;
            return Err(RowsError::Damaged { good_from, why });
        }
        Ok(0)
    }
}

impl Rows for Series {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            match self.append(row, end - row, out)? {
                0 => return Ok(()),
                count => row += count,
            }
        }
        Ok(())
    }

    fn is_wide(&self) -> bool {
        self.numbers == Numbers::F64
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::source::replay::mseed_codec::Encoding;
    use crate::source::replay::mseed_weave::weave;
    use crate::units::Rational;

    /// What stands at a trace of a channel.
    fn value(trace: usize, channel: usize) -> i16 {
        (trace * 31 + channel * 7) as i16
    }

    /// Records of each channel, so many samples each, in any order and with bytes between them. One of them has too few bytes
    /// for its samples.
    fn series(lengths: &[Vec<u16>], apart: usize, order: u64, broken: Option<usize>) -> Series {
        let mut parts = Vec::new();
        for (channel, lengths) in lengths.iter().enumerate() {
            let mut trace = 0;
            for &samples in lengths {
                parts.push((channel, trace, usize::from(samples)));
                trace += usize::from(samples);
            }
        }
        let turn = order | 1;
        parts.sort_by_key(|(channel, trace, _)| ((trace * 5 + channel) as u64).wrapping_mul(turn) % 251);
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (nth, &(channel, trace, samples)) in parts.iter().enumerate() {
            let hurt = broken.is_some_and(|broken| broken % parts.len() == nth);
            records.push(Record {
                at: bytes.len() as u64,
                bytes: if hurt { 1 } else { 2 * samples as u32 },
                channel: channel as u32,
                start_ns: 1_700_000_000_000_000_000 + trace as i64 * 4_000_000,
                samples: samples as u32,
                coding: 0,
            });
            bytes.extend((trace..trace + samples).flat_map(|trace| value(trace, channel).to_be_bytes()));
            bytes.resize(bytes.len() + apart, 0xEE);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let woven = weave(records, lengths.len(), Rational::new(250, 1).unwrap());
        let coding = Coding { encoding: Encoding::I16, big_endian: true };
        Series::new("made".into(), file, woven, vec![coding], (Numbers::I16, 64))
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_records_however_they_are_asked_for(
            lengths in prop::collection::vec(prop::collection::vec(1u16..64, 1..8), 1..5),
            apart in prop_oneof![Just(0usize), Just(60), Just(5000)],
            order in any::<u64>(), broken in prop::option::of(any::<usize>()), keeps in any::<bool>(),
            asked in prop::collection::vec((0u64..400, 1u64..200), 1..8),
        ) {
            let channels = lengths.len();
            let mut series = series(&lengths, apart, order, broken);
            if !keeps {
                series.kept.clear();
            }
            let all = series.weave.rows;
            // Rows before those of the broken record are good.
            let hurt = series.weave.records.iter().position(|record| record.bytes == 1);
            let span = hurt.map(|hurt| series.weave.spans.iter().flatten().find(|span| span.record == hurt as u32).unwrap());
            let bad = span.map_or(all..all, |span| span.from as u64..(span.to as u64).min(all));
            let mut out = Vec::new();
            for (first, rows) in asked {
                let (first, rows) = (first % all, rows.min(all - first % all));
                let read = series.read(first, rows as usize, &mut out);
                if bad.contains(&first) {
                    let told = matches!(read, Err(RowsError::Damaged { good_from, .. }) if good_from == bad.end);
                    prop_assert!(told, "{read:?}");
                    continue;
                }
                let rows = if first < bad.start { rows.min(bad.start - first) } else { rows };
                let expected: Vec<u8> = (first..first + rows)
                    .flat_map(|trace| (0..channels).flat_map(move |channel| value(trace as usize, channel).to_ne_bytes()))
                    .collect();
                prop_assert!(read.is_ok() && out == expected, "rows {first} + {rows}: {read:?}");
            }
        }
    }
}
