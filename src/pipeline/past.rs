//! Blocks of counts that windows still reach into: held as leases, so that nothing is copied, and let go as soon as no
//! window can reach them any more.

use std::collections::VecDeque;

use crate::block::Lease;
use crate::dsp::{Raw, Spare, Traces};

/// See the module.
#[derive(Default)]
pub(super) struct Past {
    /// Unbroken, oldest first.
    leases: VecDeque<Lease>,
    /// Traces before the newest block that windows may reach.
    reach: usize,
    /// Leases that the pool has been told of.
    provided: usize,
    rows: Spare<[i16]>,
}

impl Past {
    /// Prepares for windows that reach `reach` traces back, in blocks like that of `lease`, and returns how many rows a
    /// table can have at most.
    pub(super) fn prepare(&mut self, reach: usize, lease: &Lease) -> usize {
        self.reach = reach;
        let block_traces = lease.layout().capacity_traces;
        self.provided = 0;
        if reach > 0 {
            self.provide(reach.div_ceil(block_traces) + 2, lease);
        }
        let rows = reach + 2 * block_traces;
        self.rows.reserve(rows);
        rows
    }

    fn provide(&mut self, blocks: usize, lease: &Lease) {
        self.provided = blocks;
        lease.keep_for_long(blocks);
        self.leases.reserve(blocks + 1);
    }

    /// Forgets everything: windows begin with the next block.
    pub(super) fn clear(&mut self) {
        self.leases.clear();
    }

    /// The traces that are here, and those of `newest` behind them.
    pub(super) fn with<R>(&mut self, newest: &Lease, work: impl FnOnce(&Traces<'_>) -> R) -> R {
        let oldest = self.leases.front().unwrap_or(newest);
        let mut traces = Traces::new(oldest.first_trace.0, &mut self.rows);
        for lease in self.leases.iter().chain([newest]) {
            traces.push(Raw::of_block(lease));
        }
        let result = work(&traces);
        traces.put_away(&mut self.rows);
        result
    }

    /// Takes the newest block over and lets the oldest go that are not needed for the next.
    pub(super) fn push(&mut self, newest: Lease) {
        let needed = newest.end_trace().0.saturating_sub(self.reach as u64);
        self.leases.push_back(newest);
        while self.leases.front().is_some_and(|oldest| oldest.end_trace().0 <= needed) {
            self.leases.pop_front();
        }
        // A source may fill its blocks in part only; that shows before the first window is whole.
        if self.leases.len() > self.provided {
            let lease = self.leases.back().map(Lease::share);
            lease.iter().for_each(|lease| self.provide(2 * self.leases.len(), lease));
        }
    }
}
