//! Mistakes that the author of a driver makes, each in words of its own. The words of one mistake do not change from
//! slot to slot, so that a ring that goes on being wrong is told once.
//!
//! Pure: checks copies and words of the ring, knows no clock.

use super::abi::{AT_SLOTS_WRITTEN, SlotHeader};
use super::header::Geometry;
use super::memory::Memory;

/// 2000-01-01 and 2100-01-01 in ns since the UNIX epoch: what a timestamp lies between.
const FIRST_UTC_NS: i64 = 946_684_800_000_000_000;
const END_UTC_NS: i64 = 4_102_444_800_000_000_000;

/// Slots are written, and the heartbeat stands still.
pub(super) const NO_HEARTBEAT: &str = "slots are written, but the ring's heartbeat has never moved: when traces pause, \
                                       the producer will look dead";

/// Whether a timestamp can be nanoseconds of UTC; if not, what it seems to be.
pub(super) fn check_utc(utc_ns: i64) -> Result<(), &'static str> {
    let plausible = |ns: i64| (FIRST_UTC_NS..END_UTC_NS).contains(&ns);
    if plausible(utc_ns) {
        return Ok(());
    }
    let times = |factor: i64| utc_ns.checked_mul(factor).is_some_and(plausible);
    Err(match utc_ns {
        0 => "the timestamps in the ring are not set: utc_ns is 0",
        _ if times(1000) => "the timestamps in the ring are in microseconds; utc_ns is in nanoseconds",
        _ if times(1_000_000) => "the timestamps in the ring are in milliseconds; utc_ns is in nanoseconds",
        _ if times(1_000_000_000) => "the timestamps in the ring are in seconds; utc_ns is in nanoseconds",
        ..FIRST_UTC_NS => "the timestamps in the ring lie before the year 2000: utc_ns counts nanoseconds since 1970",
        _ => "the timestamps in the ring lie behind the year 2099: utc_ns counts nanoseconds since 1970",
    })
}

/// What a slot that is counted as written and carries the wrong sequence number tells.
pub(super) fn wrong_sequence(slot: u64, found: u64) -> &'static str {
    match found {
        0 => "slots of the ring are counted as written, but their sequence is 0: is it stored behind the samples?",
        found if found == slot => "the sequence of a slot in the ring is its number; its number + 1 is needed",
        _ => "slots of the ring are counted as written, but their sequence is not their number + 1",
    }
}

/// The header of the newest slot, when it stands still to be looked at.
///
/// # Errors
/// When it is counted as written and carries another number.
pub(super) fn newest(memory: &Memory, geometry: &Geometry, written: u64) -> Result<Option<SlotHeader>, &'static str> {
    let Some(slot) = written.checked_sub(1) else { return Ok(None) };
    let at = geometry.slot(slot);
    let before = memory.load(at);
    let header: SlotHeader = memory.get(at);
    Memory::fence();
    if before == written && memory.load_relaxed(at) == written {
        return Ok(Some(header));
    }
    // Whoever saw the slot invalid also sees the count that made it so.
    let has_come_around = memory.load(AT_SLOTS_WRITTEN).saturating_sub(slot) >= geometry.slots;
    if has_come_around || before == written { Ok(None) } else { Err(wrong_sequence(slot, before)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_wrong_timestamp_is_named() {
        let now = 1_790_000_000_123_456_789;
        assert_eq!(check_utc(now), Ok(()));
        for (utc, word) in [
            (0, "not set"),
            (now / 1000, "in microseconds"),
            (now / 1_000_000, "in milliseconds"),
            (now / 1_000_000_000, "in seconds"),
            (86_400_000_000_000, "before the year 2000"),
            (-1, "before the year 2000"),
            (i64::MIN, "before the year 2000"),
            (END_UTC_NS, "behind the year 2099"),
            (i64::MAX, "behind the year 2099"),
        ] {
            let why = check_utc(utc).unwrap_err();
            assert!(why.contains(word), "{utc}: {why}");
        }
    }
}
