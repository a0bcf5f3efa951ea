//! What the state word says of light, and which slots were written without it.
//!
//! ```text
//! slots written   … lit, read or not yet │ without light │ …
//!                                    lit_until       dark_until
//! ```
//! The word changes behind the slots, so the count of slots at the first look that finds it off tells which of them are
//! still to be read. A producer that sets the flags of its slots tells it exactly; that is the reader's part.

use super::abi::{AT_SLOTS_WRITTEN, AT_STATE, STATE_LIGHT};
use super::memory::Memory;

/// Light as of the looks at one mapping.
#[derive(Debug)]
pub(super) struct Light {
    /// It has been on.
    seen: bool,
    off: bool,
    /// The count of slots when it was found off; 0 when it never was on.
    lit_until: u64,
    /// The count of slots when it was last seen off.
    dark_until: u64,
    written_at_first: u64,
}

impl Light {
    /// Before the first look.
    pub(super) fn new(memory: &Memory) -> Self {
        let written_at_first = memory.load(AT_SLOTS_WRITTEN);
        Self { seen: false, off: false, lit_until: 0, dark_until: 0, written_at_first }
    }

    /// Looks, and says whether there is light.
    pub(super) fn look(&mut self, memory: &Memory) -> bool {
        if memory.load(AT_STATE) & u64::from(STATE_LIGHT) != 0 {
            (self.seen, self.off) = (true, false);
            return true;
        }
        let written = memory.load(AT_SLOTS_WRITTEN);
        if !self.off {
            self.off = true;
            self.lit_until = if self.seen { written } else { 0 };
        }
        self.dark_until = written;
        false
    }

    /// Whether the last look found no light.
    pub(super) const fn is_off(&self) -> bool {
        self.off
    }

    /// Whether slots have come while nobody ever said that there is light.
    pub(super) const fn never_lit(&self) -> bool {
        !self.seen && self.dark_until > self.written_at_first
    }

    /// The slots before this number may be read.
    pub(super) const fn read_until(&self) -> u64 {
        if self.off { self.lit_until } else { u64::MAX }
    }

    /// Where a reader that stands before `slot` goes on: behind the slots without light.
    pub(super) const fn go_on_at(&self, slot: u64) -> u64 {
        if slot >= self.lit_until && slot < self.dark_until { self.dark_until } else { slot }
    }
}
