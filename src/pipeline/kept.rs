//! Blocks of counts that windows still reach into: held as leases, so that nothing is copied, and let go as soon as no
//! window can reach them any more. Somewhat more is kept than today's windows need, so that a client's job begins with a
//! whole line at once.

use std::collections::VecDeque;

use crate::block::{BlockLayout, Lease, MAX_KEPT, PoolGrower};
use crate::dsp::{Raw, Spare, Traces};

/// Traces that are kept for jobs to come, if memory allows: as far as windows look back that are read here, and enough of
/// longer ones for their lines to begin early.
pub(super) const FOR_LATER: usize = 8192 + 64;

/// See the module.
#[derive(Default)]
pub(super) struct KeptBlocks {
    /// What may be kept for jobs to come.
    bytes: usize,
    /// Unbroken, oldest first.
    leases: VecDeque<Lease>,
    /// A share of a block of the epoch's pool.
    pool: Option<Lease>,
    /// Traces before the newest block that are kept, and those of them that windows of today reach.
    keep: usize,
    reach: usize,
    /// Blocks that hold them where a source fills its blocks.
    blocks: usize,
    /// Leases that the pool has been told of.
    provided: usize,
    rows: Spare<[i16]>,
}

/// What it takes that windows look back.
struct Needs {
    /// Traces before the newest block.
    keep: usize,
    /// Blocks that the pool must have for that.
    blocks: usize,
    /// Rows that a table can have at most.
    rows: usize,
}

impl Needs {
    /// For windows that reach back `reach` traces, when up to `bytes` may be kept for jobs to come.
    fn of(reach: usize, bytes: usize, layout: BlockLayout) -> Self {
        // Blocks that a pool gets for this are not without end.
        let most = (MAX_KEPT - 8) * layout.capacity_traces;
        let keep = reach.max(FOR_LATER.min(bytes / layout.stride_bytes().max(1)).min(most));
        let blocks = keep.div_ceil(layout.capacity_traces) + 3;
        Self { keep, blocks, rows: keep + 2 * layout.capacity_traces }
    }
}

/// Gets blocks for windows that reach back further than those of today.
#[derive(Clone)]
pub(super) struct Provider {
    grower: PoolGrower,
    bytes: usize,
    keep: usize,
}

impl Provider {
    /// Gets the blocks for windows that reach back `reach` traces.
    pub(super) fn provide(&self, reach: usize) {
        self.grower.keep_for_long(self.needs(reach).blocks);
    }

    /// Rows that a table can then have at most.
    pub(super) fn rows(&self, reach: usize) -> usize {
        self.needs(reach).rows
    }

    fn needs(&self, reach: usize) -> Needs {
        Needs::of(reach.max(self.keep), self.bytes, self.grower.layout())
    }
}

impl KeptBlocks {
    /// A new epoch begins with this block.
    pub(super) fn prepare(&mut self, first: &Lease) {
        let (rows, bytes) = (std::mem::take(&mut self.rows), self.bytes);
        *self = Self { rows, bytes, pool: Some(first.share()), ..Self::default() };
    }

    /// Up to so many bytes are kept for jobs to come, from the next epoch on.
    pub(super) const fn allow(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// Keeps as much as windows reach back from a block from now on, or nothing at all. Returns how many rows a table can
    /// have at most.
    pub(super) fn keep(&mut self, reach: Option<usize>) -> usize {
        self.pool = self.pool.take().filter(|_| reach.is_some());
        let (Some(reach), Some(layout)) = (reach, self.pool.as_ref().map(|lease| lease.layout())) else { return 0 };
        let needs = Needs::of(reach, self.bytes, layout);
        (self.keep, self.reach, self.blocks) = (needs.keep, reach, needs.blocks);
        self.provide(needs.blocks);
        self.rows.reserve(needs.rows);
        needs.rows
    }

    /// A way for another thread to get the blocks for windows to come, where there are any to keep.
    pub(super) fn provider(&self) -> Option<Provider> {
        let (bytes, keep) = (self.bytes, self.keep);
        self.pool.as_ref().map(|lease| Provider { grower: lease.grower(), bytes, keep })
    }

    fn provide(&mut self, blocks: usize) {
        self.provided = self.provided.max(blocks);
        self.leases.reserve(blocks + 1);
        self.pool.iter().for_each(|lease| lease.keep_for_long(blocks));
    }

    /// The traces that are here, unless there are none.
    pub(super) fn recall<R>(&self, work: impl FnOnce(Option<&Traces<'_>>) -> R) -> R {
        let Some(oldest) = self.leases.front() else { return work(None) };
        let mut traces = Traces::new(oldest.first_trace.0, &mut Spare::default());
        self.leases.iter().for_each(|lease| traces.push(Raw::of_block(lease)));
        work(Some(&traces))
    }

    /// Forgets everything: windows begin with the next block.
    pub(super) fn clear(&mut self) {
        self.leases.clear();
    }

    /// Those of the traces that are here in whose blocks trace `from` or a later one lies, and those of `newest` behind
    /// them. A table of all that is kept for jobs to come would cost more than most lines do.
    pub(super) fn with<R>(&mut self, newest: &Lease, from: u64, work: impl FnOnce(&Traces<'_>) -> R) -> R {
        let skipped = self.leases.partition_point(|lease| lease.end_trace().0 <= from);
        let oldest = self.leases.get(skipped).unwrap_or(newest);
        let mut traces = Traces::new(oldest.first_trace.0, &mut self.rows);
        for lease in self.leases.range(skipped..).chain([newest]) {
            traces.push(Raw::of_block(lease));
        }
        let result = work(&traces);
        traces.put_away(&mut self.rows);
        result
    }

    /// Takes the newest block over and lets the oldest go that are not needed for the next.
    pub(super) fn push(&mut self, newest: Lease) {
        let end = newest.end_trace().0;
        let [kept_from, reached_from] = [self.keep, self.reach].map(|traces| end.saturating_sub(traces as u64));
        self.leases.push_back(newest);
        // A block that a source has filled in part takes as much memory as a whole one: what is kept for jobs to come is
        // bounded by blocks, too.
        while self.leases.front().is_some_and(|oldest| {
            let needed_from = if self.leases.len() > 2 * self.blocks { reached_from } else { kept_from };
            oldest.end_trace().0 <= needed_from
        }) {
            self.leases.pop_front();
        }
        // A source may fill its blocks in part only; that shows before the first window is whole.
        if self.leases.len() > self.provided {
            self.provide(2 * self.leases.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::acquisition::{Acquisition, SampleFormat};
    use crate::block::BlockPool;
    use crate::units::TraceIndex;

    const CAPACITY: usize = 50;
    const HISTORY: usize = 2000;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        /// However little of its blocks a source fills: what windows reach is there, what is kept beyond that takes no more
        /// blocks than twice those of a source that fills them, and capture always has a free one.
        #[test]
        fn what_is_kept_is_bounded_by_blocks_and_holds_what_windows_reach(
            reach in 1usize..500, fills in prop::collection::vec((1usize..=CAPACITY, 1usize..200), 1..12),
        ) {
            let acquisition = Arc::new(Acquisition { channels: 1, ..Acquisition::example() });
            let layout = BlockLayout { channels: 1, format: SampleFormat::I16, capacity_traces: CAPACITY };
            let pool = BlockPool::new(layout, 4, &acquisition);
            let mut kept = KeptBlocks::default();
            kept.allow(HISTORY * layout.stride_bytes());
            let (mut next, mut ends) = (0, Vec::new());
            for fill in fills.into_iter().flat_map(|(fill, times)| std::iter::repeat_n(fill, times)) {
                let mut blank = pool.take().expect("a block is free");
                blank.block().clear(&acquisition);
                (blank.block().first_trace, blank.block().traces) = (TraceIndex(next), fill);
                let lease = blank.seal();
                if next == 0 {
                    kept.prepare(&lease);
                    kept.keep(Some(reach));
                }
                next += fill as u64;
                ends.push(next);
                kept.push(lease);
                let oldest = kept.leases.front().map_or(next, |lease| lease.first_trace.0);
                prop_assert!(oldest <= next.saturating_sub(reach as u64), "windows reach {} back from {}", reach, next);
                let reached = ends.iter().filter(|end| **end > next.saturating_sub(reach as u64)).count();
                prop_assert!(kept.leases.len() <= reached.max(2 * kept.blocks), "{} blocks", kept.leases.len());
            }
        }
    }
}
