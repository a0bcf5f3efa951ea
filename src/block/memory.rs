//! The memory of a block: where its cache lines lie, so that a window finds them quickly.
//!
//! A window takes one cache line, or a few, from each of many rows, which lie in many blocks. A cache keeps a line in one of
//! eight places or so, and which eight is a matter of the line's address modulo 4 kB (first level) or 64 kB (second level).
//! If all blocks began at the same of these, their rows would want the same places, and a window would push its own lines
//! out: 256 rows of 50,000 channels in blocks of 20 took up to 1.8 times as long. So each block of a pool begins at another
//! place. Rows of 100 kB are each in another small page as well; blocks that fill huge pages get them.

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

use super::ROW_ALIGN;

/// A huge page.
const HUGE: usize = 2 << 20;

/// The places of caches repeat after so many bytes.
const CACHE_PERIOD: usize = 64 << 10;

/// From where one block of a pool begins to where the next does, modulo [`CACHE_PERIOD`]: an odd number of cache lines, about
/// the golden section of them, so that any few blocks in a row are spread evenly. Where one ends would be no good place: the
/// rows that a butterfly takes together are a power of two apart.
const SKEW: usize = 633 * ROW_ALIGN;

/// What fresh memory holds.
const FRESH: u8 = 0xA5;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct CacheLine([u8; ROW_ALIGN]);

/// Bytes that begin with a cache line.
pub(super) struct Memory {
    pages: Pages,
    offset: usize,
    len: usize,
}

enum Pages {
    Small(Vec<CacheLine>),
    /// If the system has some left.
    Huge(MmapMut),
}

impl Memory {
    /// `len` bytes, a multiple of [`ROW_ALIGN`], all touched; number `number` of many that are read together.
    pub(super) fn new(len: usize, number: usize) -> Self {
        // Small blocks lie side by side at different places anyway, and there may be thousands of them.
        let period = CACHE_PERIOD.min(len.next_power_of_two().max(ROW_ALIGN));
        let shift = number.wrapping_mul(SKEW) % period;
        let (pages, offset) = huge(len + shift).unwrap_or_else(|| {
            let lines = (shift + len) / ROW_ALIGN;
            let mut memory = Vec::with_capacity(lines);
            memory.resize(lines, CacheLine([0; ROW_ALIGN]));
            (Pages::Small(memory), 0)
        });
        let mut memory = Self { pages, offset: offset + shift, len };
        memory.bytes_mut().fill(FRESH);
        memory
    }

    pub(super) fn bytes(&self) -> &[u8] {
        let pages = match &self.pages {
            Pages::Small(lines) => bytemuck::cast_slice(lines),
            Pages::Huge(map) => &map[..],
        };
        &pages[self.offset..][..self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let pages = match &mut self.pages {
            Pages::Small(lines) => bytemuck::cast_slice_mut(lines),
            Pages::Huge(map) => &mut map[..],
        };
        &mut pages[self.offset..][..self.len]
    }
}

/// Huge pages for `len` bytes, and the offset where these begin, unless too much would stay empty.
fn huge(len: usize) -> Option<(Pages, usize)> {
    let whole = len.next_multiple_of(HUGE);
    if whole - len > whole / 4 {
        return None;
    }
    // Address space for the way to where a huge page can begin; what is not touched costs nothing.
    let map = MmapMut::map_anon(whole.checked_add(HUGE)?).ok()?;
    let offset = map.as_ptr().align_offset(HUGE);
    // A system without huge pages goes on with small ones.
    let _ = map.advise_range(memmap2::Advice::HugePage, offset, whole);
    Some((Pages::Huge(map), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_little_more_than_it_holds() {
        for len in [64, 256, 4800, 64 << 10] {
            for number in 0..200 {
                let taken = match Memory::new(len, number).pages {
                    Pages::Small(lines) => lines.len() * ROW_ALIGN,
                    Pages::Huge(map) => map.len(),
                };
                assert!(taken <= 3 * len, "{taken} for {len}");
            }
        }
    }

    #[test]
    fn memory_is_aligned_and_whole_wherever_it_lies() {
        for len in [0, 64, 128 * 1024, HUGE * 3 / 4, HUGE - 64, HUGE, HUGE + 64, 2 * HUGE - 64, 5 * HUGE] {
            for number in [0, 1, 2, 3, 1000, usize::MAX] {
                let mut memory = Memory::new(len, number);
                assert!(memory.bytes().iter().all(|byte| *byte == FRESH));
                assert_eq!((memory.bytes().len(), memory.bytes().as_ptr() as usize % ROW_ALIGN), (len, 0));
                memory.bytes_mut().iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
                assert!(memory.bytes().iter().enumerate().all(|(i, byte)| *byte == i as u8));
            }
        }
    }
}
