//! Traces that lines are marked for: those in which samples were replaced because they were no numbers, in any channel that
//! is processed, and those during which the interrogator was overloaded or calibrating. Every line whose windows see one
//! says so, however traces were cut into blocks. (A partial line says so for windows, too, that it went without; what a
//! high-pass keeps of such a trace is not marked.)

use std::ops::Range;

use super::ranges::TraceRanges;
use crate::block::RawBlock;
use crate::frame::{FLAG_CALIBRATION, FLAG_NONFINITE_INPUT, FLAG_OVERLOAD};

/// Ranges that are remembered beside those of a block. A line that sees more of them sees some of the newest.
const MOST: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Marked {
    replaced: TraceRanges,
    overloaded: TraceRanges,
    calibrating: TraceRanges,
    /// Traces behind one with something to be marked that are made from it.
    behind: u64,
    /// Rows of the newest block in which samples were replaced.
    rows: Vec<bool>,
}

impl Marked {
    /// Room for blocks of so many traces; `differences` in time make a trace from two samples. Trace numbers begin anew.
    pub(super) fn prepare(&mut self, block_traces: usize, differences: bool) {
        for ranges in [&mut self.replaced, &mut self.overloaded, &mut self.calibrating] {
            ranges.prepare(MOST + block_traces.div_ceil(2));
        }
        self.behind = u64::from(differences);
        self.rows.clear();
        self.rows.resize(block_traces, false);
    }

    /// Takes in what the source has said of a block's traces.
    pub(super) fn see(&mut self, block: &RawBlock) {
        for (mark, rows) in block.spans() {
            let [start, end] = [rows.start, rows.end].map(|row| block.first_trace.0 + row as u64);
            if mark.state.overloaded {
                self.overloaded.add(start..end + self.behind);
            }
            if mark.state.calibrating {
                self.calibrating.add(start..end + self.behind);
            }
        }
    }

    /// Takes in the rows, in any order and as often as they come, of a block that begins with `first_trace` in which samples
    /// were replaced.
    pub(super) fn replace(&mut self, first_trace: u64, rows: impl Iterator<Item = usize>) {
        self.rows.fill(false);
        rows.for_each(|row| self.rows[row] = true);
        for (row, _) in self.rows.iter().enumerate().filter(|(_, replaced)| **replaced) {
            let trace = first_trace + row as u64;
            self.replaced.add(trace..trace + 1 + self.behind);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of traces, however many there are in a block.
        #[test]
        fn lines_that_see_a_replaced_sample_are_marked(
            bad in prop::collection::btree_set(0u64..6000, 0..3000), differences: bool, start in 0u64..6000, len in 1u64..300,
        ) {
            const BLOCK: u64 = 2000;
            let mut marked = Marked::default();
            marked.prepare(BLOCK as usize, differences);
            for first in [0, BLOCK, 2 * BLOCK] {
                let rows: Vec<_> = bad.range(first..first + BLOCK).map(|trace| (trace - first) as usize).collect();
                marked.replace(first, rows.iter().rev().chain(&rows).copied());
                let seen = start.min(first + BLOCK - 1)..(start + len).min(first + BLOCK);
                // What a block finishes begins in it, or not long before.
                if seen.start >= first {
                    let held = bad.range(seen.start.saturating_sub(u64::from(differences))..seen.end).next().is_some();
                    prop_assert_eq!(marked.flags(&seen), if held { FLAG_NONFINITE_INPUT } else { 0 }, "{:?}", seen);
                }
            }
        }
    }
}
