//! Asks for memory before it is needed: the window of the next group while this one is transformed. A window is a few
//! kilobytes that the transform reads in eight short pieces, too short for the hardware to notice; without this, half of
//! the time goes by waiting for the third-level cache.
#![allow(unsafe_code)]

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// A hint that `slice[index]` will be read soon; nothing when there is no such element, or no such hint on this machine.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], index: usize) {
    if let Some(element) = slice.get(index) {
        hint(std::ptr::from_ref(element));
    }
}

/// A hint that what lies behind `object` in memory will be read soon.
#[inline(always)]
pub(super) fn prefetch_behind<T>(object: &T) {
    hint(std::ptr::from_ref(object).wrapping_add(1));
}

#[inline(always)]
fn hint<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
