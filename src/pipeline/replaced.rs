//! Traces in which samples were replaced because they were no numbers, in any channel that is processed: every line whose
//! windows see one says so, however traces were cut into blocks. (A partial line says so for windows, too, that it went
//! without; what a high-pass keeps of a replaced sample is not marked.)

use std::collections::VecDeque;
use std::ops::Range;

/// Ranges that are remembered beside those of a block. A line that sees more of them sees some of the newest.
const MOST: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Replaced {
    /// In order, none touching another.
    ranges: VecDeque<Range<u64>>,
    most: usize,
    /// Rows of the newest block.
    rows: Vec<bool>,
    /// Traces behind a replaced sample that are made from it.
    behind: u64,
}

impl Replaced {
    /// Room for blocks of so many traces; `differences` in time make a trace from two samples. Trace numbers begin anew.
    pub(super) fn prepare(&mut self, block_traces: usize, differences: bool) {
        self.most = MOST + block_traces.div_ceil(2);
        self.behind = u64::from(differences);
        self.ranges.clear();
        self.ranges.reserve(self.most + 1);
        self.rows.clear();
        self.rows.resize(block_traces, false);
    }

    /// Takes the rows of a block that begins with `first_trace` in, in any order and as often as they come.
    pub(super) fn add(&mut self, first_trace: u64, rows: impl Iterator<Item = usize>) {
        self.rows.fill(false);
        rows.for_each(|row| self.rows[row] = true);
        for (trace, _) in (first_trace..).zip(&self.rows).filter(|(_, replaced)| **replaced) {
            let end = trace + 1 + self.behind;
            match self.ranges.back_mut() {
                Some(last) if last.end >= trace => last.end = end,
                _ => self.ranges.push_back(trace..end),
            }
            if self.ranges.len() > self.most {
                self.ranges.pop_front();
            }
        }
    }

    /// Whether one of the traces `seen` is among them.
    pub(super) fn touches(&self, seen: &Range<u64>) -> bool {
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
            let mut replaced = Replaced::default();
            replaced.prepare(BLOCK as usize, differences);
            for first in [0, BLOCK, 2 * BLOCK] {
                let rows: Vec<_> = bad.range(first..first + BLOCK).map(|trace| (trace - first) as usize).collect();
                replaced.add(first, rows.iter().rev().chain(&rows).copied());
                let seen = start.min(first + BLOCK - 1)..(start + len).min(first + BLOCK);
                // What a block finishes begins in it, or not long before.
                if seen.start >= first {
                    let held = bad.range(seen.start.saturating_sub(u64::from(differences))..seen.end).next().is_some();
                    prop_assert_eq!(replaced.touches(&seen), held, "{:?} of {:?}", seen, replaced.ranges);
                }
            }
        }
    }
}
