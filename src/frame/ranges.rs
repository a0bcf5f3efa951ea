//! Ranges of traces that frames share.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// Ranges of traces in order, as a slice: some of those that many frames share, so that naming them allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct SharedRanges {
    all: Arc<[Range<u64>]>,
    some: Range<usize>,
}

impl SharedRanges {
    /// Those of `all` at these places, as far as there are any.
    pub fn some(all: &Arc<[Range<u64>]>, some: Range<usize>) -> Self {
        let end = some.end.min(all.len());
        Self { all: Arc::clone(all), some: some.start.min(end)..end }
    }
}

impl Deref for SharedRanges {
    type Target = [Range<u64>];

    fn deref(&self) -> &[Range<u64>] {
        &self.all[self.some.clone()]
    }
}

impl From<Vec<Range<u64>>> for SharedRanges {
    fn from(ranges: Vec<Range<u64>>) -> Self {
        Self { some: 0..ranges.len(), all: ranges.into() }
    }
}
