//! Ranges of traces of which something is known, the newest ones: as far as lines of today may still reach.

use std::collections::VecDeque;
use std::ops::Range;

/// See the module.
#[derive(Default)]
pub(super) struct TraceRanges {
    /// In order, none touching another.
    ranges: VecDeque<Range<u64>>,
    most: usize,
}

impl TraceRanges {
    /// None, and room for `most`: where there are more, the oldest go.
    pub(super) fn prepare(&mut self, most: usize) {
        self.most = most;
        self.ranges.clear();
        self.ranges.reserve(most + 1);
    }

    /// Takes traces in that do not end before those that came before.
    pub(super) fn add(&mut self, traces: Range<u64>) {
        if traces.is_empty() {
            return;
        }
        match self.ranges.back_mut() {
            Some(last) if last.end >= traces.start => last.end = traces.end,
            _ => self.ranges.push_back(traces),
        }
        if self.ranges.len() > self.most {
            self.ranges.pop_front();
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    /// The places of those that hold one of the traces `seen`.
    pub(super) fn within(&self, seen: &Range<u64>) -> Range<usize> {
        let begin = self.ranges.partition_point(|range| range.end <= seen.start);
        let end = self.ranges.partition_point(|range| range.start < seen.end);
        begin..end.max(begin)
    }

    /// Whether one of the traces `seen` is among them.
    pub(super) fn touch(&self, seen: &Range<u64>) -> bool {
        !self.within(seen).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain list of traces; of more ranges than there is room for, the newest are known.
        #[test]
        fn a_range_holds_its_traces(
            steps in prop::collection::vec((0u64..5, 1u64..5), 0..200), most in 1usize..60, start in 0u64..1000, len in 1u64..50,
        ) {
            let mut ranges = TraceRanges::default();
            ranges.prepare(most);
            let (mut next, mut held) = (0, Vec::new());
            for (apart, traces) in steps {
                ranges.add(next + apart..next + apart + traces);
                held.extend(next + apart..next + apart + traces);
                next += apart + traces;
            }
            prop_assert!(ranges.iter().len() <= most);
            let known_from = if ranges.iter().len() < most { 0 } else { ranges.iter().next().map_or(0, |range| range.start) };
            prop_assert!(ranges.iter().flat_map(Clone::clone).eq(held.iter().copied().filter(|trace| *trace >= known_from)));
            prop_assert!(ranges.iter().is_sorted_by(|a, b| a.end < b.start), "apart from each other");
            let seen = start..start + len;
            prop_assert_eq!(ranges.touch(&seen), held.iter().any(|trace| *trace >= known_from && seen.contains(trace)));
            let touched = ranges.iter().enumerate().filter(|(_, range)| range.start < seen.end && seen.start < range.end);
            prop_assert!(ranges.within(&seen).eq(touched.map(|(place, _)| place)));
        }
    }
}
