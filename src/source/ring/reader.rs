//! The place in the ring where the consumer stands, and the step from slots to block rows.
//!
//! ```text
//! slots   … | n-1 |  n: ████░░░ | n+1 |  …          ░ not read yet; the sequence word stands before the samples
//! block             ▓▓▓▓ rows, padded to 64 bytes   a slot may fill a part of a block, or several blocks
//! ```
//! Pure but for the memory it is shown: no clock, no file, no waiting. Nothing that a producer does can make it panic,
//! read outside of the ring or deliver a row that was not whole.

use super::abi::{
    AT_EPOCH, AT_SLOTS_WRITTEN, SLOT_HEADER_BYTES, STATE_CALIBRATING, STATE_LIGHT, STATE_OVERLOAD, SlotHeader,
};
use super::header::{Geometry, SlotLayout};
use super::memory::Memory;
use super::mistakes;
use super::stamps::Stamps;
use crate::acquisition::ClockQuality;
use crate::block::{InstrumentState, RawBlock};
use crate::units::{Rational, TraceIndex};

/// Trace numbers from here on are nonsense: 89 years at 100 kHz.
const MAX_TRACE: u64 = 1 << 48;
/// A count of lost traces beyond this comes from a scribble.
const MAX_LOST: u64 = 1 << 48;
/// How often one pull follows a producer that laps it before it lets the caller breathe.
const MAX_LAPS: u32 = 4;

/// What a pull came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pull {
    /// The block is full.
    Full,
    /// The block ends here: traces are missing behind it.
    Gap,
    /// Every complete slot has been read.
    Dry,
    /// As dry, and the slots since the last trace say that they were written without light.
    Dark,
    /// The next slot belongs to a later epoch.
    NewEpoch,
    /// The timestamp of a slot, which is left out, is none; what it seems to be.
    WrongTime(&'static str),
    /// A part of the file is gone.
    Damaged,
    /// The ring contradicts itself, and how.
    Nonsense(String),
}

/// Position within one epoch.
pub(super) struct Reader {
    geometry: Geometry,
    layout: SlotLayout,
    prr: Rational,
    epoch: u64,
    /// The slot to be read next.
    slot: u64,
    /// Traces of it that have been read.
    row: u32,
    /// The producer's number of the next trace, once one has been read.
    expected: Option<u64>,
    /// The producer's number of our trace 0.
    base: u64,
    /// Traces in the slot read last.
    last_traces: u32,
    /// The producer sets the light flag in the slots that it writes with light.
    flags_tell: bool,
    /// All flags of the slots since this was last taken.
    flags_seen: u32,
    /// Another acquisition was read from this ring before: traces count from the first slot on, read or not.
    follows: bool,
    /// Traces left out since the last one read, going by the slots. The next trace read tells how many they were.
    left_out: u64,
    /// Traces left out before the first one read, of which no gap can tell.
    unmarked: u64,
    /// Which timestamps go into blocks.
    stamps: Stamps,
}

impl Reader {
    /// Stands before slot `slot`. `follows` when the place before it was known.
    pub(super) fn new(
        geometry: Geometry,
        layout: SlotLayout,
        (prr, clock): (Rational, ClockQuality),
        epoch: u64,
        slot: u64,
        follows: bool,
    ) -> Self {
        Self {
            geometry,
            layout,
            prr,
            epoch,
            slot,
            row: 0,
            expected: None,
            base: 0,
            last_traces: layout.traces,
            flags_tell: false,
            flags_seen: 0,
            follows,
            left_out: 0,
            unmarked: 0,
            stamps: Stamps::of(prr, clock),
        }
    }

    /// Leaves out all slots before `slot`; their traces become part of the next gap.
    pub(super) const fn skip_to(&mut self, slot: u64) {
        if slot > self.slot {
            self.left_out = self.left_out.saturating_add(self.between(slot));
            self.slot = slot;
            self.row = 0;
        }
    }

    /// Traces from here to `slot`, if all slots are as long as the one read last.
    const fn between(&self, slot: u64) -> u64 {
        slot.saturating_sub(self.slot).saturating_mul(self.last_traces as u64).saturating_sub(self.row as u64)
    }

    /// Traces that are lost when nothing more is read here and `slot` is the next that somebody reads: exact when slots
    /// are as long as the one read last. Those before the first trace of all do not count.
    pub(super) fn lost_at(&self, slot: u64) -> u64 {
        // Whoever was lapped may have gone beyond the end of the epoch.
        let beyond = self.slot.saturating_sub(slot).saturating_mul(u64::from(self.last_traces));
        let lost = self.left_out.saturating_add(self.between(slot)).saturating_sub(beyond);
        if (self.follows || self.expected.is_some()) && lost < MAX_LOST { lost } else { 0 }
    }

    /// Traces left out before the first one read, since this was last asked.
    pub(super) const fn take_unmarked(&mut self) -> u64 {
        std::mem::replace(&mut self.unmarked, 0)
    }

    /// A slot of this epoch has these flags.
    pub(super) const fn see_flags(&mut self, flags: u32) {
        self.flags_tell |= flags & STATE_LIGHT != 0;
        self.flags_seen |= flags;
    }

    /// Flags that any slot has had since this was last asked.
    pub(super) const fn take_flags(&mut self) -> u32 {
        std::mem::replace(&mut self.flags_seen, 0)
    }

    /// Leaves out the slots from here on, before slot `until`, that say themselves that they have no light.
    pub(super) fn skip_dark(&mut self, memory: &Memory, until: u64) {
        while self.flags_tell && self.slot < until {
            let at = self.geometry.slot(self.slot);
            let before = memory.load(at);
            let header: SlotHeader = memory.get(at);
            let is_ours = before == self.slot + 1 && self.is_still_whole(memory, at) && header.epoch == self.epoch;
            if !is_ours || header.flags & STATE_LIGHT != 0 {
                return;
            }
            self.see_flags(header.flags);
            self.skip_to(self.slot + 1);
        }
    }

    /// Whether slots say by their own flags which of them have light.
    pub(super) const fn goes_by_flags(&self) -> bool {
        self.flags_tell
    }

    /// Whether a trace has been read.
    pub(super) const fn has_read(&self) -> bool {
        self.expected.is_some()
    }

    /// The slot to be read next.
    pub(super) const fn slot(&self) -> u64 {
        self.slot
    }

    /// The producer's number behind the newest trace in the ring, when that is where we stand.
    pub(super) fn newest_trace(&self, memory: &Memory) -> Option<u64> {
        let at_the_end = self.row == 0 && memory.load_relaxed(AT_SLOTS_WRITTEN) == self.slot;
        self.expected.filter(|_| at_the_end)
    }

    /// Seconds from slot to slot, going by the last one.
    pub(super) fn slot_s(&self) -> f64 {
        f64::from(self.last_traces) / self.prr.to_f64()
    }

    /// Seconds after which the next slots fill a block that has room for `traces`, and seconds until the ring comes
    /// around.
    pub(super) fn wait_s(&self, traces: usize) -> (f64, f64) {
        let fill_s = (traces as f64 / self.prr.to_f64()).max(self.slot_s());
        (fill_s, self.slot_s() * self.geometry.slots as f64)
    }

    /// Moves complete traces into `block` until it is full or must end, or there are none before slot `until`.
    pub(super) fn pull(&mut self, memory: &Memory, block: &mut RawBlock, until: u64) -> Pull {
        let mut laps = 0;
        let mut dry = Pull::Dry;
        while block.free_traces() > 0 {
            let written = memory.load(AT_SLOTS_WRITTEN);
            if written < self.slot {
                if memory.load(AT_EPOCH) != self.epoch {
                    return Pull::NewEpoch;
                }
                return Pull::Nonsense(format!(
                    "the ring's count of written slots went back from {} to {written}",
                    self.slot
                ));
            }
            if written.min(until) <= self.slot {
                return dry;
            }
            match self.read_slot(memory, block) {
                Slot::Read => dry = Pull::Dry,
                Slot::Dark => dry = Pull::Dark,
                Slot::Ends(pull) => return pull,
                Slot::Overtaken if laps < MAX_LAPS => {
                    laps += 1;
                    if let Err(nonsense) = self.catch_up(memory) {
                        return nonsense;
                    }
                }
                Slot::Overtaken => return Pull::Dry,
            }
        }
        Pull::Full
    }

    /// Our slot is not there any more: either the producer came around, and we go on at the newest slot, which is the
    /// farthest from being overtaken again; or the ring lies.
    fn catch_up(&mut self, memory: &Memory) -> Result<(), Pull> {
        if memory.is_damaged() {
            return Err(Pull::Damaged);
        }
        // Whoever saw the slot invalid also sees the count that made it so.
        Memory::fence();
        let written = memory.load(AT_SLOTS_WRITTEN);
        // A slot is invalidated only after the count has come around to it.
        if written.saturating_sub(self.slot) < self.geometry.slots {
            let found = memory.load_relaxed(self.geometry.slot(self.slot));
            return Err(Pull::Nonsense(mistakes::wrong_sequence(self.slot, found).into()));
        }
        self.skip_to(written - 1);
        Ok(())
    }

    fn read_slot(&mut self, memory: &Memory, block: &mut RawBlock) -> Slot {
        let at = self.geometry.slot(self.slot);
        if memory.load(at) != self.slot + 1 {
            return Slot::Overtaken;
        }
        let header: SlotHeader = memory.get(at);
        if !self.is_still_whole(memory, at) {
            return Slot::Overtaken;
        }
        if let Some(end) = self.check(memory, &header, block) {
            return Slot::Ends(end);
        }
        let time = mistakes::check_utc(header.utc_ns);
        self.see_flags(header.flags);
        let is_dark = self.flags_tell && header.flags & STATE_LIGHT == 0;
        if is_dark || time.is_err() {
            // What was read well goes first; the slot is met again.
            if block.traces > 0 {
                return Slot::Ends(Pull::Gap);
            }
            self.skip_to(self.slot + 1);
            return time.map_or_else(|what| Slot::Ends(Pull::WrongTime(what)), |()| Slot::Dark);
        }
        let first = header.first_trace + u64::from(self.row);
        let rows = (header.traces - self.row).min(u32::try_from(block.free_traces()).unwrap_or(u32::MAX));
        self.copy_rows(memory, at, rows, block);
        if !self.is_still_whole(memory, at) {
            return Slot::Overtaken;
        }
        if memory.is_damaged() {
            return Slot::Ends(Pull::Damaged);
        }
        self.accept(&header, first, rows, block);
        Slot::Read
    }

    /// Whether everything copied since the sequence word was first seen belongs to our slot.
    fn is_still_whole(&self, memory: &Memory, at: usize) -> bool {
        Memory::fence();
        memory.load_relaxed(at) == self.slot + 1
    }

    /// `Some` when nothing can be read from this slot into this block.
    fn check(&self, memory: &Memory, header: &SlotHeader, block: &RawBlock) -> Option<Pull> {
        let nonsense = |what: String| Some(Pull::Nonsense(format!("slot {} of the ring {what}", self.slot)));
        if header.epoch != self.epoch {
            // Only the header page can begin an epoch.
            return if header.epoch > self.epoch && memory.load(AT_EPOCH) != self.epoch {
                Some(Pull::NewEpoch)
            } else {
                nonsense(format!("belongs to epoch {}, the ring to {}", header.epoch, self.epoch))
            };
        }
        if header.traces <= self.row || header.traces > self.layout.traces {
            let most = self.layout.traces;
            return nonsense(format!("declares {} traces, 1 to {most} are possible", header.traces));
        }
        if header.first_trace >= MAX_TRACE {
            return nonsense(format!("begins with trace {}; numbers end at {MAX_TRACE}", header.first_trace));
        }
        let first = header.first_trace + u64::from(self.row);
        match self.expected {
            Some(expected) if first < expected || (first > expected && self.row > 0) => {
                nonsense(format!("begins with trace {first}, {expected} comes next"))
            }
            Some(expected) if first > expected && block.traces > 0 => Some(Pull::Gap),
            _ => None,
        }
    }

    fn copy_rows(&self, memory: &Memory, at: usize, rows: u32, block: &mut RawBlock) {
        let from = at + SLOT_HEADER_BYTES + self.row as usize * self.layout.row_bytes;
        for i in 0..rows as usize {
            let row = block.row_mut(block.traces + i);
            memory.copy_out(from + i * self.layout.row_bytes, row);
        }
    }

    /// Puts into the block what the slot says of its traces, as far as it is news.
    fn mark(&mut self, header: &SlotHeader, first: u64, gap: bool, block: &mut RawBlock) {
        let is_set = |flag: u32| header.flags & flag != 0;
        let state = InstrumentState { overloaded: is_set(STATE_OVERLOAD), calibrating: is_set(STATE_CALIBRATING) };
        // Only the first trace of a slot has a timestamp of its own.
        let stamp_ns = (self.row == 0 && self.stamps.tell(first, header.utc_ns, gap)).then_some(header.utc_ns);
        if block.traces == 0 || stamp_ns.is_some() || block.last_state() != Some(state) {
            block.mark(block.traces, stamp_ns, state);
        }
    }

    fn accept(&mut self, header: &SlotHeader, first: u64, rows: u32, block: &mut RawBlock) {
        if self.expected.is_none() {
            self.base = first;
            self.unmarked = if self.follows { self.left_out } else { 0 };
        }
        self.left_out = 0;
        let gap = self.expected.is_some_and(|expected| first > expected);
        self.mark(header, first, gap, block);
        if block.traces == 0 {
            block.gap_before = self.expected.map_or(0, |expected| first - expected);
            block.first_trace = TraceIndex(first - self.base);
            block.utc_ns = header.utc_ns.saturating_add(self.prr.traces_to_ns(u64::from(self.row)));
        }
        block.traces += rows as usize;
        self.expected = Some(first + u64::from(rows));
        self.last_traces = header.traces;
        self.row += rows;
        if self.row == header.traces {
            self.slot += 1;
            self.row = 0;
        }
    }
}

enum Slot {
    /// Rows were added to the block.
    Read,
    /// It was written without light, and is left out.
    Dark,
    /// Nothing can be added.
    Ends(Pull),
    /// It was written anew before or while it was read; nothing was added.
    Overtaken,
}
