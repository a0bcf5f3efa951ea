//! The tee: a second consumer of blocks beside the pipeline, by reference. What a recorder writes is what the pipeline got.
//!
//! The consumer may hold up to a fixed number of blocks, in its queue and in its hands together; the pool has so many more,
//! so that it can take none from the pipeline. While it holds them all, a live source is not waited for: blocks pass it by,
//! and their traces are counted. It sees from [`first_trace`](crate::block::RawBlock::first_trace) what is missing between
//! two blocks: `gap_before` of a block tells what is missing for all consumers. A source that can wait does.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::block::{Lease, RawBlock};
use crate::status::TeeCounters;

/// The end that capture has.
pub struct Tee {
    block_tx: Sender<SharedBlock>,
    permit_tx: Sender<()>,
    permit_rx: Receiver<()>,
    max_blocks: usize,
    counters: Arc<TeeCounters>,
}

/// A block that the consumer may hold; it goes back when this is dropped.
pub struct SharedBlock {
    lease: Lease,
    _permit: Permit,
}

impl Deref for SharedBlock {
    type Target = RawBlock;
    fn deref(&self) -> &RawBlock {
        &self.lease
    }
}

/// One of the blocks that the consumer may hold at a time.
struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // There are no more permits than the queue has room for.
        let _ = self.0.try_send(());
    }
}

/// A tee, and where its consumer gets the blocks, of which it may hold `max_blocks` at a time, at least one. The queue ends
/// when capture does.
pub fn tee(max_blocks: usize, counters: Arc<TeeCounters>) -> (Tee, Receiver<SharedBlock>) {
    let max_blocks = max_blocks.max(1);
    let (block_tx, block_rx) = bounded(max_blocks);
    let (permit_tx, permit_rx) = bounded(max_blocks);
    (0..max_blocks).for_each(|_| drop(Permit(permit_tx.clone())));
    (Tee { block_tx, permit_tx, permit_rx, max_blocks, counters }, block_rx)
}

impl Tee {
    /// How many blocks its consumer may hold.
    pub(super) const fn max_blocks(&self) -> usize {
        self.max_blocks
    }

    /// Waits until the consumer may have another block, for a source that can wait. Whether it may.
    pub(super) fn has_room_within(&self, timeout: Duration) -> bool {
        self.permit_rx.recv_timeout(timeout).map(|()| drop(self.permit())).is_ok()
    }

    /// A share of `lease` for the consumer, or `None` when it holds as many blocks as it may; never waits and allocates
    /// nothing.
    pub(super) fn share(&self, lease: &Lease) -> Option<SharedBlock> {
        self.permit_rx.try_recv().ok()?;
        Some(SharedBlock { lease: lease.share(), _permit: self.permit() })
    }

    /// Gives the consumer what it may have of a block of `traces` traces.
    pub(super) fn pass_on(&self, share: Option<SharedBlock>, traces: u64) {
        let passed_on = share.is_some_and(|share| self.block_tx.try_send(share).is_ok());
        let count = if passed_on { &self.counters.traces_passed_on } else { &self.counters.traces_dropped };
        count.add(traces);
    }

    fn permit(&self) -> Permit {
        Permit(self.permit_tx.clone())
    }
}
