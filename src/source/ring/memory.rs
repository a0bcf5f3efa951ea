//! Memory that another process writes while we read it, and the only place that touches it.
//!
//! Nobody gets a reference into it: words are loaded and stored as atomics, samples are copied out. What was copied is
//! believed only after the caller has checked the slot's sequence word behind the copy ([`Memory::fence`]). The backing
//! is a mapped file, or plain heap for tests, the fuzzer and miri; both look the same from here.
//!
//! A data race with another *process* is outside what Rust's memory model speaks of. Samples are plain integers and
//! floats without invalid bit patterns, so the worst that a race can leave in our copy is a wrong number, which the
//! sequence check throws away.
#![allow(unsafe_code)]

#[cfg(any(test, fuzzing))]
use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::sigbus;

/// A whole ring in memory.
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

enum Backing {
    /// The guard is dropped before the mapping that it guards.
    Mapped(sigbus::Guard, MmapRaw),
    /// A vector, because a box claims its contents for itself each time it is moved.
    #[cfg(any(test, fuzzing))]
    Heap { _words: Vec<UnsafeCell<u64>> },
}

// SAFETY: `base` points into `backing`, which is owned, does not move its contents, and is freed only with `self`. All
// access goes through atomics or raw copies that make no reference outlive a call.
unsafe impl Send for Memory {}
// SAFETY: as above; concurrent copies may tear, which every caller expects and checks.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed heap memory of at least `len` bytes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn heap(len: usize) -> Self {
        let words: Vec<UnsafeCell<u64>> = (0..len.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect();
        let base = NonNull::from(words.as_slice()).cast();
        Self { base, len: words.len() * 8, backing: Backing::Heap { _words: words } }
    }

    /// Maps the first `len` bytes of `file` shared, for reading and writing. `page_bytes` is the page size of the file
    /// system that the file lives on.
    pub(super) fn map(file: &File, len: usize, page_bytes: usize) -> io::Result<Self> {
        Self::over(MmapOptions::new().len(len).map_raw(file)?, len, page_bytes)
    }

    /// The same for reading only: nothing may be stored into it.
    pub(super) fn map_read_only(file: &File, len: usize, page_bytes: usize) -> io::Result<Self> {
        Self::over(MmapOptions::new().len(len).map_raw_read_only(file)?, len, page_bytes)
    }

    fn over(map: MmapRaw, len: usize, page_bytes: usize) -> io::Result<Self> {
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let guard = sigbus::Guard::new(base.as_ptr() as usize, len, page_bytes)?;
        Ok(Self { base, len, backing: Backing::Mapped(guard, map) })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether a part of the file was gone when it was touched. From then on that part reads as zeros.
    pub(super) fn is_damaged(&self) -> bool {
        match &self.backing {
            Backing::Mapped(guard, _) => guard.was_hit(),
            #[cfg(any(test, fuzzing))]
            Backing::Heap { .. } => false,
        }
    }

    /// Keeps the pages in memory.
    pub(super) fn lock(&self) -> io::Result<()> {
        match &self.backing {
            Backing::Mapped(_, map) => map.lock(),
            #[cfg(any(test, fuzzing))]
            Backing::Heap { .. } => Ok(()),
        }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "word {offset} outside of {} bytes", self.len);
        // SAFETY: in bounds and 8-byte aligned (mappings start on pages, the heap on u64); AtomicU64 has no invalid
        // values, and the memory lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// Loads a word (acquire).
    pub(super) fn load(&self, offset: usize) -> u64 {
        // Memory that is mapped for reading only bears no other load than a relaxed one; the fence makes it an acquire.
        let value = self.word(offset).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    /// Loads a word (relaxed).
    pub(super) fn load_relaxed(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    /// Stores a word (release).
    pub(super) fn store(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// Reader: copies before this are done before loads after it. To be followed by a relaxed load of the guard word.
    pub(super) fn fence() {
        fence(Ordering::Acquire);
    }

    /// Writer: the invalidation of a guard word before this is seen before any write after it.
    pub(super) fn write_fence() {
        fence(Ordering::Release);
    }

    /// Copies `into.len()` bytes out.
    ///
    /// # Panics
    /// When they are not all inside; callers have checked the geometry before.
    pub(super) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        assert!(offset.checked_add(into.len()).is_some_and(|end| end <= self.len), "read outside of the ring");
        // SAFETY: the source is in bounds, `into` is ours alone and cannot overlap it: no reference into the ring ever
        // leaves this file except for the time of `fill`, and that one is write-only in the producer.
        unsafe { ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), into.as_mut_ptr(), into.len()) }
    }

    /// Copies a value out.
    pub(super) fn get<T: bytemuck::Pod>(&self, offset: usize) -> T {
        let mut value = T::zeroed();
        self.copy_out(offset, bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// When they do not fit.
    pub(super) fn copy_in(&self, offset: usize, from: &[u8]) {
        assert!(offset.checked_add(from.len()).is_some_and(|end| end <= self.len), "write outside of the ring");
        // SAFETY: the target is in bounds and cannot overlap `from`, for the reason given in `copy_out`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.base.as_ptr().add(offset), from.len()) }
    }

    /// Lets `fill` write `len` bytes in place. For the producer, of which a ring has one; it must hold itself mutably,
    /// so that no two fills overlap in time.
    ///
    /// # Panics
    /// When they do not fit.
    pub(super) fn fill(&self, offset: usize, len: usize, fill: impl FnOnce(&mut [u8])) {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "write outside of the ring");
        // SAFETY: in bounds; the single producer is the single writer of slots and calls this through `&mut self`;
        // readers make no references.
        fill(unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), len) });
    }
}
