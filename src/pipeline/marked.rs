//! Traces that lines are marked for: those in which samples were replaced because they were no numbers, in any channel that
//! is processed, and those during which the interrogator was overloaded or calibrating. Every line whose windows see one
//! says so, however traces were cut into blocks. (A partial line says so for windows, too, that it went without; what a
//! high-pass keeps of such a trace is not marked.)

use std::collections::VecDeque;
use std::ops::Range;

use crate::block::RawBlock;
use crate::frame::{FLAG_CALIBRATION, FLAG_NONFINITE_INPUT, FLAG_OVERLOAD};

/// Ranges that are remembered beside those of a block. A line that sees more of them sees some of the newest.
const MOST: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Marked {
    pub(super) replaced: TraceRanges,
    overloaded: TraceRanges,
    calibrating: TraceRanges,
}

impl Marked {
    /// Room for blocks of so many traces; `differences` in time make a trace from two samples. Trace numbers begin anew.
    pub(super) fn prepare(&mut self, block_traces: usize, differences: bool) {
        for ranges in [&mut self.replaced, &mut self.overloaded, &mut self.calibrating] {
            ranges.prepare(block_traces, differences);
        }
    }

    /// Takes in what the source has said of a block's traces.
    pub(super) fn see(&mut self, block: &RawBlock) {
        for (mark, rows) in block.spans() {
            let traces = block.first_trace.0 + rows.start as u64..block.first_trace.0 + rows.end as u64;
            if mark.state.overloaded {
                self.overloaded.add(traces.clone());
            }
            if mark.state.calibrating {
                self.calibrating.add(traces);
            }
        }
    }

    /// Flags of a frame with a line whose windows have seen these traces.
    pub(super) fn flags(&self, seen: &Range<u64>) -> u32 {
        let all = [
            (&self.replaced, FLAG_NONFINITE_INPUT),
            (&self.overloaded, FLAG_OVERLOAD),
            (&self.calibrating, FLAG_CALIBRATION),
        ];
        all.iter().filter(|(ranges, _)| ranges.touch(seen)).fold(0, |flags, (_, flag)| flags | flag)
    }
}

/// Ranges of traces, the newest ones.
#[derive(Default)]
pub(super) struct TraceRanges {
    /// In order, none touching another.
    ranges: VecDeque<Range<u64>>,
    most: usize,
    /// Rows of the newest block.
    rows: Vec<bool>,
    /// Traces behind a replaced sample that are made from it.
    behind: u64,
}

impl TraceRanges {
    fn prepare(&mut self, block_traces: usize, differences: bool) {
        self.most = MOST + block_traces.div_ceil(2);
        self.behind = u64::from(differences);
        self.ranges.clear();
        self.ranges.reserve(self.most + 1);
        self.rows.clear();
        self.rows.resize(block_traces, false);
    }

    /// Takes the rows of a block that begins with `first_trace` in, in any order and as often as they come.
    pub(super) fn add_rows(&mut self, first_trace: u64, rows: impl Iterator<Item = usize>) {
        self.rows.fill(false);
        rows.for_each(|row| self.rows[row] = true);
        for row in 0..self.rows.len() {
            if self.rows[row] {
                let trace = first_trace + row as u64;
                self.add(trace..trace + 1);
            }
        }
    }

    /// Takes traces in that lie behind all that came before.
    fn add(&mut self, traces: Range<u64>) {
        let end = traces.end + self.behind;
        match self.ranges.back_mut() {
            Some(last) if last.end >= traces.start => last.end = end,
            _ => self.ranges.push_back(traces.start..end),
        }
        if self.ranges.len() > self.most {
            self.ranges.pop_front();
        }
    }

    /// Whether one of the traces `seen` is among them.
    fn touch(&self, seen: &Range<u64>) -> bool {
        let place = self.ranges.partition_point(|range| range.end <= seen.start);
        self.ranges.get(place).is_some_and(|range| range.start < seen.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of traces, however many there are in a block.
        #[test]
        fn a_range_touches_what_it_holds(
            bad in prop::collection::btree_set(0u64..6000, 0..3000), differences: bool, start in 0u64..6000, len in 1u64..300,
        ) {
            const BLOCK: u64 = 2000;
            let mut replaced = TraceRanges::default();
            replaced.prepare(BLOCK as usize, differences);
            for first in [0, BLOCK, 2 * BLOCK] {
                let rows: Vec<_> = bad.range(first..first + BLOCK).map(|trace| (trace - first) as usize).collect();
                replaced.add_rows(first, rows.iter().rev().chain(&rows).copied());
                let seen = start.min(first + BLOCK - 1)..(start + len).min(first + BLOCK);
                // What a block finishes begins in it, or not long before.
                if seen.start >= first {
                    let held = bad.range(seen.start.saturating_sub(u64::from(differences))..seen.end).next().is_some();
                    prop_assert_eq!(replaced.touch(&seen), held, "{:?} of {:?}", seen, replaced.ranges);
                }
            }
        }
    }
}
