//! Which samples of which records make a trace: records of many channels, each with gaps and overlaps of its own, on
//! one grid.
//!
//! Pure. The records of one channel, the guide, count traces: each record lies whole traces behind the one before,
//! by its
//! time. Records of other channels are counted from the guide's record that begins before them. So a clock that
//! drifts
//! against the rate costs nothing. A trace is where all channels have a sample.

use super::times::missing_traces;
use super::timing::Block;
use crate::units::Rational;

/// A record in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Byte at which its samples begin, and their bytes.
    pub(super) at: u64,
    pub(super) bytes: u32,
    /// Its channel.
    pub(super) channel: u32,
    /// UTC of its first sample.
    pub(super) start_ns: i64,
    /// Samples; not 0.
    pub(super) samples: u32,
    /// Which coding they have.
    pub(super) coding: u8,
}

/// Samples of a record that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The record, and the first of its samples.
    pub(super) record: u32,
    pub(super) skip: u32,
    /// Number of the trace of that sample, and of the one behind the last.
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Traces that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Row of the first.
    pub(super) row: u64,
    /// Numbers of the first, and of the one behind the last.
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What comes out.
#[derive(Debug, Default)]
pub(super) struct Weave {
    /// All records, by channel and time.
    pub(super) records: Vec<Record>,
    /// Of each channel, in order, without overlaps.
    pub(super) spans: Vec<Vec<Span>>,
    /// Where all channels have samples.
    pub(super) stretches: Vec<Stretch>,
    /// Rows in them.
    pub(super) rows: u64,
    /// The stamps of rows, and their blocks.
    pub(super) stamps: Vec<i64>,
    pub(super) blocks: Vec<Block>,
    /// Samples that are there twice.
    pub(super) twice: u64,
    /// Samples at times when not all channels have some, and the channel that has most of them.
    pub(super) alone: u64,
    pub(super) most_alone: usize,
}

/// Where a record of the guide begins.
#[derive(Clone, Copy)]
struct Mark {
    number: i64,
    utc_ns: i64,
}

/// Whole traces from one time to another.
fn traces_between(rate: Rational, from_ns: i64, to_ns: i64) -> i64 {
    missing_traces(rate, from_ns, to_ns, 0)
}

/// Weaves the records of `channels` channels, each of which has at least one.
pub(super) fn weave(mut records: Vec<Record>, channels: usize, rate: Rational) -> Weave {
    records.sort_by_key(|record| (record.channel, record.start_ns, record.at));
    let mut of_channel = vec![0..0; channels];
    let mut first = 0;
    for same in records.chunk_by(|a, b| a.channel == b.channel) {
        of_channel[same[0].channel as usize] = first..first + same.len();
        first += same.len();
    }
    let samples =
        |range: &std::ops::Range<usize>| records[range.clone()].iter().map(|r| u64::from(r.samples)).sum::<u64>();
    let guide = of_channel.iter().max_by_key(|range| samples(range)).cloned().unwrap_or(0..0);
    let marks = marks(&records[guide], rate);
    let mut weave = Weave::default();
    for range in of_channel {
        let first = range.start as u32;
        let (spans, twice) = spans(&records[range], first, &marks, rate);
        weave.twice += twice;
        weave.spans.push(spans);
    }
    weave.find_stretches();
    weave.stamp(&marks, rate);
    weave.records = records;
    weave
}

fn marks(guide: &[Record], rate: Rational) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::with_capacity(guide.len());
    let mut number = 0i64;
    for (record, before) in guide.iter().zip(std::iter::once(None).chain(guide.iter().map(Some))) {
        if let Some(before) = before {
            number = follow(number, before, record, rate);
        }
        // An overlap may step back: the first record that reaches a trace gives its time.
        if marks.last().is_none_or(|last| last.number < number) {
            marks.push(Mark { number, utc_ns: record.start_ns });
        }
    }
    marks
}

/// Number of the first trace of a record that comes behind another one of its channel.
fn follow(number: i64, before: &Record, record: &Record, rate: Rational) -> i64 {
    let expected_ns = before.start_ns.saturating_add(rate.traces_to_ns(before.samples.into()));
    let steps = traces_between(rate, expected_ns, record.start_ns);
    number.saturating_add(before.samples.into()).saturating_add(steps)
}

/// Number of a trace by its time.
fn number_at(marks: &[Mark], utc_ns: i64, rate: Rational) -> i64 {
    let at = marks.partition_point(|mark| mark.utc_ns <= utc_ns).saturating_sub(1);
    marks.get(at).map_or(0, |mark| mark.number.saturating_add(traces_between(rate, mark.utc_ns, utc_ns)))
}

/// The samples of a channel's records that count, and how many are there twice.
fn spans(records: &[Record], first: u32, marks: &[Mark], rate: Rational) -> (Vec<Span>, u64) {
    let (mut spans, mut twice, mut reached) = (Vec::with_capacity(records.len()), 0, i64::MIN);
    let mut before: Option<(i64, &Record)> = None;
    for (record, index) in records.iter().zip(first..) {
        let number = match before {
            Some((number, last)) if follow(number, last, record, rate) == number + i64::from(last.samples) => {
                number + i64::from(last.samples)
            }
            _ => number_at(marks, record.start_ns, rate),
        };
        before = Some((number, record));
        let to = number.saturating_add(record.samples.into());
        let from = number.max(reached).min(to);
        twice += (from - number) as u64;
        if from < to {
            spans.push(Span { record: index, skip: (from - number) as u32, from, to });
            reached = to;
        }
    }
    (spans, twice)
}

/// Neighbouring spans as one.
fn joined(spans: &[Span]) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for span in spans {
        match joined.last_mut().filter(|last| last.1 == span.from) {
            Some(last) => last.1 = span.to,
            None => joined.push((span.from, span.to)),
        }
    }
    joined
}

/// Where both have something.
fn common(a: &[(i64, i64)], b: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (mut found, mut i, mut j) = (Vec::new(), 0, 0);
    while let (Some(&left), Some(&right)) = (a.get(i), b.get(j)) {
        let (from, to) = (left.0.max(right.0), left.1.min(right.1));
        if from < to {
            found.push((from, to));
        }
        if left.1 < right.1 { i += 1 } else { j += 1 }
    }
    found
}

impl Weave {
    fn find_stretches(&mut self) {
        let mut all = self.spans.iter().map(|spans| joined(spans));
        let first = all.next().unwrap_or_default();
        let everywhere = all.fold(first, |all, channel| common(&all, &channel));
        for (from, to) in everywhere {
            self.stretches.push(Stretch { row: self.rows, from, to });
            self.rows = self.rows.saturating_add((to - from) as u64);
        }
        let alone = |spans: &Vec<Span>| {
            spans.iter().map(|span| (span.to - span.from) as u64).sum::<u64>().saturating_sub(self.rows)
        };
        let of_each: Vec<u64> = self.spans.iter().map(alone).collect();
        self.alone = of_each.iter().sum();
        self.most_alone = of_each.iter().zip(0..).max_by_key(|(count, _)| **count).map_or(0, |(_, channel)| channel);
    }

    /// A stamp for each record of the guide within a stretch, and for the beginning of each stretch.
    fn stamp(&mut self, marks: &[Mark], rate: Rational) {
        let mut reached = self.stretches.first().map_or(0, |first| first.from);
        for &Stretch { row, from, to } in &self.stretches {
            let next = marks.partition_point(|mark| mark.number <= from);
            let Some(&mark) = marks.get(next.saturating_sub(1)) else { continue };
            let off = from.saturating_sub(mark.number);
            let span_ns = rate.traces_to_ns(off.unsigned_abs());
            let begin_ns =
                if off < 0 { mark.utc_ns.saturating_sub(span_ns) } else { mark.utc_ns.saturating_add(span_ns) };
            self.blocks.push(Block { row, lost_before: (from - reached) as u64 });
            self.stamps.push(begin_ns);
            for mark in marks[next..].iter().take_while(|mark| mark.number < to) {
                self.blocks.push(Block { row: row + (mark.number - from) as u64, lost_before: 0 });
                self.stamps.push(mark.utc_ns);
            }
            reached = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each channel is cut into records with gaps and overlaps, in any order and by a clock that drifts; the
        /// naive way
        /// keeps, for each channel, the set of the traces that its records have.
        #[test]
        fn a_trace_is_where_all_channels_have_a_sample(
            cuts in prop::collection::vec(prop::collection::vec((1u32..40, -6i64..12), 1..12), 1..5),
            drift_ppm in -80f64..80.0,
            starts in prop::collection::vec(0i64..10, 5),
            turn in any::<u64>(),
        ) {
            let rate = Rational::new(250, 1).unwrap();
            let time = |number: i64| 1_700_000_000_000_000_000 + (number as f64 * 4e6 * (1.0 + drift_ppm * 1e-6)) as i64;
            let (mut records, mut have) = (Vec::new(), Vec::new());
            for (channel, cuts) in cuts.iter().enumerate() {
                let (mut number, mut own) = (starts[channel], std::collections::BTreeSet::new());
                for &(samples, step) in cuts {
                    // Steps back never pass the record before, so that the order of times is that of the numbers.
                    number = (number + step).max(starts[channel]);
                    records.push(Record { at: number as u64, bytes: 0, channel: channel as u32, start_ns: time(number), samples, coding: 0 });
                    own.extend(number..number + i64::from(samples));
                    number += i64::from(samples);
                }
                have.push(own);
            }
            let count = records.len() as u64;
            records.sort_by_key(|r| (r.at.wrapping_mul(turn | 1)) % (count + 1));
            let woven = weave(records, cuts.len(), rate);
            let common = have.iter().skip(1).fold(have[0].clone(), |all, own| all.intersection(own).copied().collect());
            let rows: Vec<i64> = woven.stretches.iter().flat_map(|s| s.from..s.to).collect();
            prop_assert_eq!(rows.len(), common.len());
            prop_assert_eq!(woven.rows, common.len() as u64);
            // Numbers are counted from the guide's first record: the same but for a constant.
            let naive: Vec<i64> = common.into_iter().collect();
            if let (Some(a), Some(b)) = (rows.first(), naive.first()) {
                prop_assert!(rows.iter().zip(&naive).all(|(row, number)| row - a == number - b));
                for (channel, own) in have.iter().enumerate() {
                    let spans = &woven.spans[channel];
                    prop_assert!(spans.windows(2).all(|pair| pair[0].to <= pair[1].from));
                    let numbers: Vec<i64> = spans.iter().flat_map(|s| s.from..s.to).map(|n| n - a + b).collect();
                    prop_assert!(numbers.iter().copied().eq(own.iter().copied()), "channel {channel}");
                    for span in spans {
                        // The sample is the one of its time.
                        let record = woven.records[span.record as usize];
                        prop_assert_eq!(record.at as i64 + i64::from(span.skip), span.from - a + b);
                    }
                }
                let stamped: Vec<u64> = woven.blocks.iter().map(|block| block.row).collect();
                prop_assert!(stamped.windows(2).all(|pair| pair[0] < pair[1]));
                for (row, stamp) in stamped.iter().zip(&woven.stamps) {
                    prop_assert!((stamp - time(naive[*row as usize])).abs() < 20_000, "row {row}");
                }
            }
        }
    }
}
