//! Blocks of raw traces, and the pool they come from.
//!
//! A [`RawBlock`] is a pre-allocated piece of memory that holds consecutive traces exactly as the hardware gave them:
//! trace-major `[trace][channel]`, each row padded to an odd number of cache lines. Blocks never copy and are never
//! allocated while data flows: capture takes the free one that came back last, fills it, and sends a [`Lease`] on; every
//! consumer that needs the block holds a share of the lease, and when the last share drops the block goes back by a queue.

mod marks;
mod memory;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::acquisition::{Acquisition, SampleFormat};
use crate::units::TraceIndex;
use marks::Marks;
pub use marks::{InstrumentState, Mark};
use memory::Memory;

/// How many parties may hold shares of one lease: the pipeline, a recorder, and one to spare.
const MAX_SHARES: usize = 4;

/// Blocks that consumers may [keep for long](Lease::keep_for_long) from one pool: enough for windows of 8192 traces in
/// blocks of one.
pub const MAX_KEPT: usize = 8448;

/// Rows start on cache lines: 64 bytes.
pub const ROW_ALIGN: usize = 64;

/// Shape of a block's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// Samples in a row.
    pub channels: usize,
    /// How one sample is stored.
    pub format: SampleFormat,
    /// Rows that the block can hold.
    pub capacity_traces: usize,
}

impl BlockLayout {
    /// Layout for blocks of about `length` of this acquisition: at least one trace.
    pub fn for_acquisition(acquisition: &Acquisition, length: Duration) -> Self {
        let traces = (length.as_secs_f64() * acquisition.prr.to_f64()).round() as usize;
        Self { channels: acquisition.channels, format: acquisition.sample_format, capacity_traces: traces.max(1) }
    }

    /// Bytes of samples in one row, without padding.
    pub const fn row_bytes(&self) -> usize {
        self.channels * self.format.bytes()
    }

    /// Bytes from one row to the next: [`row_bytes`](Self::row_bytes) rounded up to an odd number of cache lines. The same
    /// channels of many rows then spread over all sets of a cache; 1024 channels of counts, were they 2048 bytes apart,
    /// would fight for a few of them.
    pub const fn stride_bytes(&self) -> usize {
        (self.row_bytes().div_ceil(ROW_ALIGN) | 1) * ROW_ALIGN
    }
}

/// Consecutive traces of one acquisition.
pub struct RawBlock {
    layout: BlockLayout,
    memory: Memory,
    /// What the interrogator was doing when these traces were taken.
    pub acquisition: Arc<Acquisition>,
    /// Index of the first row.
    pub first_trace: TraceIndex,
    /// Rows in use.
    pub traces: usize,
    /// UTC of the first row, nanoseconds since the UNIX epoch: its own stamp, or counted on from one before. What a time is
    /// built from are the stamps among the [marks](Self::marks).
    pub utc_ns: i64,
    /// What the source has said of single rows.
    marks: Marks,
    /// Traces that are missing between the end of the previous block and this one.
    pub gap_before: u64,
    /// When the last row was in hand, on the monotonic clock.
    pub captured_at: Instant,
}

impl RawBlock {
    /// An empty block with all its memory touched, so that no page fault waits on the capture path.
    pub fn new(layout: BlockLayout, acquisition: Arc<Acquisition>) -> Self {
        Self::numbered(layout, acquisition, 0)
    }

    /// Block `number` of a pool.
    fn numbered(layout: BlockLayout, acquisition: Arc<Acquisition>, number: usize) -> Self {
        let memory = Memory::new(layout.stride_bytes() * layout.capacity_traces, number);
        Self {
            layout,
            memory,
            acquisition,
            first_trace: TraceIndex(0),
            traces: 0,
            utc_ns: 0,
            marks: Marks::for_rows(layout.capacity_traces),
            gap_before: 0,
            captured_at: Instant::now(),
        }
    }

    /// Shape of the memory.
    pub const fn layout(&self) -> BlockLayout {
        self.layout
    }

    /// Makes the block empty again for new traces of `acquisition`.
    pub fn clear(&mut self, acquisition: &Arc<Acquisition>) {
        if !Arc::ptr_eq(&self.acquisition, acquisition) {
            self.acquisition = Arc::clone(acquisition);
        }
        self.traces = 0;
        self.gap_before = 0;
        self.marks.clear();
    }

    /// Says what holds from `row` on, which lies behind the last row that was marked: a stamp of that row's own, when there
    /// is one, and how the interrogator is. A block that is marked at all is marked at row 0.
    pub fn mark(&mut self, row: usize, stamp_ns: Option<i64>, state: InstrumentState) {
        self.marks.push(Mark { row, stamp_ns, state });
    }

    /// What was said last of how the interrogator is; `None` before the first mark.
    pub fn last_state(&self) -> Option<InstrumentState> {
        self.marks.last_state()
    }

    /// The block in spans of rows, from mark to mark, as `(mark, rows)`. A block that its source did not mark has one span,
    /// stamped with [`utc_ns`](Self::utc_ns).
    pub fn spans(&self) -> impl Iterator<Item = (Mark, Range<usize>)> {
        self.marks.spans(self.utc_ns, self.traces)
    }

    /// Rows that still fit.
    pub const fn free_traces(&self) -> usize {
        self.layout.capacity_traces - self.traces
    }

    /// Index just behind the last row.
    pub fn end_trace(&self) -> TraceIndex {
        self.first_trace + self.traces as u64
    }

    /// Bytes of row `trace` (an offset within the block), without padding.
    ///
    /// # Panics
    /// When `trace` is beyond the block's capacity.
    pub fn row(&self, trace: usize) -> &[u8] {
        let start = trace * self.layout.stride_bytes();
        &self.bytes()[start..start + self.layout.row_bytes()]
    }

    /// As [`row`](Self::row), to be written by a source.
    ///
    /// # Panics
    /// When `trace` is beyond the block's capacity.
    pub fn row_mut(&mut self, trace: usize) -> &mut [u8] {
        let (start, len) = (trace * self.layout.stride_bytes(), self.layout.row_bytes());
        &mut self.memory.bytes_mut()[start..start + len]
    }

    /// Row `trace` as samples of type `T` (`i16` or `f32`; interleaved re, im for `iq16`).
    ///
    /// # Panics
    /// When `trace` is beyond the block's capacity.
    pub fn row_as<T: Pod>(&self, trace: usize) -> &[T] {
        bytemuck::cast_slice(self.row(trace))
    }

    /// The whole memory, rows [`BlockLayout::stride_bytes`] apart, 64-byte aligned.
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }
}

/// A share of a filled block. Dropping the last one sends the block back.
pub struct Lease {
    // Some until drop.
    block: Option<Arc<RawBlock>>,
    returns: Returns,
}

/// The way back to a pool.
#[derive(Clone)]
struct Returns {
    free_tx: Sender<Arc<RawBlock>>,
    /// Blocks of the pool's own.
    own: usize,
    /// Blocks that the pool has got beyond its own.
    kept: Arc<AtomicUsize>,
}

impl Returns {
    /// Every share sends its own reference back; the pool recognises the last. The queue has room for all shares of all
    /// blocks, and when the pool itself is gone the memory is simply freed.
    fn take_in(&self, block: Arc<RawBlock>) {
        let _ = self.free_tx.try_send(block);
    }
}

impl Lease {
    /// A way to let this pool have more blocks.
    pub fn grower(&self) -> PoolGrower {
        let (returns, layout, acquisition) = (self.returns.clone(), self.layout(), Arc::clone(&self.acquisition));
        PoolGrower { returns, layout, acquisition }
    }

    /// See [`PoolGrower::keep_for_long`].
    pub fn keep_for_long(&self, blocks: usize) {
        self.grower().keep_for_long(blocks);
    }

    /// A second share for another consumer; allocates nothing.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { block: self.block.clone(), returns: self.returns.clone() }
    }
}

/// Lets a pool have more blocks, from any thread, and holds none.
#[derive(Clone)]
pub struct PoolGrower {
    returns: Returns,
    layout: BlockLayout,
    acquisition: Arc<Acquisition>,
}

impl PoolGrower {
    /// Shape of the blocks.
    pub const fn layout(&self) -> BlockLayout {
        self.layout
    }

    /// Says that a consumer will hold on to up to `blocks` leases of this pool at any time, up to [`MAX_KEPT`]. The pool
    /// gets so many more blocks, if it has not got them yet, so that there are as many free ones for capture as before.
    /// Allocates; not for the hot path.
    pub fn keep_for_long(&self, blocks: usize) {
        let blocks = blocks.min(MAX_KEPT);
        let before = self.returns.kept.fetch_max(blocks, Ordering::Relaxed);
        for number in before..blocks {
            let number = self.returns.own + number;
            let block = Arc::new(RawBlock::numbered(self.layout, Arc::clone(&self.acquisition), number));
            self.returns.take_in(block);
        }
    }
}

impl std::ops::Deref for Lease {
    type Target = RawBlock;
    fn deref(&self) -> &RawBlock {
        self.block.as_deref().expect("a lease holds its block until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.returns.take_in(block);
        }
    }
}

/// The blocks of one layout, all allocated before they are needed.
pub struct BlockPool {
    layout: BlockLayout,
    returns: Returns,
    returned_rx: Receiver<Arc<RawBlock>>,
    /// Came back, the latest on top: that is the one whose memory may still be in a cache.
    idle: RefCell<Vec<Arc<RawBlock>>>,
}

/// A free block, writable until it is [`sealed`](Blank::seal). Dropped unsealed it goes back, as a lease does.
pub struct Blank {
    // Some until it is sealed or dropped.
    block: Option<Arc<RawBlock>>,
    returns: Returns,
}

impl Blank {
    /// The memory to fill.
    pub fn block(&mut self) -> &mut RawBlock {
        let block = self.block.as_mut().expect("a blank holds its block until it is sealed");
        Arc::get_mut(block).expect("the pool hands out blocks that nobody else holds")
    }

    /// Ends writing; from here on the block is shared and read-only.
    pub fn seal(mut self) -> Lease {
        Lease { block: self.block.take(), returns: self.returns.clone() }
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.returns.take_in(block);
        }
    }
}

impl BlockPool {
    /// `count` blocks (at least two) of `layout`.
    pub fn new(layout: BlockLayout, count: usize, acquisition: &Arc<Acquisition>) -> Self {
        let count = count.max(2);
        let (free_tx, returned_rx) = bounded((count + MAX_KEPT) * MAX_SHARES);
        for number in 0..count {
            let block = Arc::new(RawBlock::numbered(layout, Arc::clone(acquisition), number));
            free_tx.try_send(block).expect("the queue has room for every block");
        }
        let idle = RefCell::new(Vec::with_capacity(count + MAX_KEPT));
        Self { layout, returns: Returns { free_tx, own: count, kept: Arc::default() }, returned_rx, idle }
    }

    /// Shape of the blocks.
    pub const fn layout(&self) -> BlockLayout {
        self.layout
    }

    /// How many blocks there are, without those that were added for consumers who keep some.
    pub const fn count(&self) -> usize {
        self.returns.own
    }

    /// How many blocks there are, with those for consumers who keep some.
    pub fn total(&self) -> usize {
        self.returns.own + self.returns.kept.load(Ordering::Relaxed)
    }

    /// How many blocks are free at this moment.
    pub fn free(&self) -> usize {
        self.collect_returned();
        self.idle.borrow().len()
    }

    /// A free block, or `None` when all are in use; never waits.
    pub fn take(&self) -> Option<Blank> {
        self.collect_returned();
        let block = self.idle.borrow_mut().pop();
        block.map(|block| Blank { block: Some(block), returns: self.returns.clone() })
    }

    /// Puts blocks that have come back to the free ones.
    fn collect_returned(&self) {
        self.idle.borrow_mut().extend(self.returned_rx.try_iter().filter_map(last_share));
    }

    /// A free block, waiting up to `timeout` for one: for sources that can wait (replay as fast as it goes).
    pub fn take_within(&self, timeout: Duration) -> Option<Blank> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(blank) = self.take() {
                return Some(blank);
            }
            let block = self.returned_rx.recv_deadline(deadline).ok()?;
            self.idle.borrow_mut().extend(last_share(block));
        }
    }
}

/// Only the last reference that comes back is unique; the others just vanish here.
fn last_share(mut block: Arc<RawBlock>) -> Option<Arc<RawBlock>> {
    Arc::get_mut(&mut block).is_some().then_some(block)
}
