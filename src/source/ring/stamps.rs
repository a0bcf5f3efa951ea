//! Which timestamps of slots are told: one now and then is enough for whoever lays a line through them, and recordings stay
//! small; but each that is odd, and the one behind it, because two together tell a step of the clock from a bad stamp.
//!
//! Pure.

use crate::acquisition::ClockQuality;
use crate::units::Rational;

/// From one stamp to the next, when they say nothing odd.
const EVERY_NS: i64 = 50_000_000;

/// See the module.
pub(super) struct Stamps {
    prr: Rational,
    /// What the stamp of a slot may be off the one before, counted on by the declared rate: at least what a rate that is off
    /// by 100 ppm makes in 50 ms.
    usual_ns: u64,
    /// Trace and time of the last one told.
    last: Option<(u64, i64)>,
    was_odd: bool,
}

impl Stamps {
    pub(super) const fn of(prr: Rational, clock: ClockQuality) -> Self {
        let usual_ns = match clock {
            ClockQuality::Gps | ClockQuality::Ptp => 20_000,
            ClockQuality::Ntp | ClockQuality::FreeRunning => 5_000_000,
        };
        Self { prr, usual_ns, last: None, was_odd: false }
    }

    /// Whether the stamp of `trace` is to be told. `gap`: traces are missing before it.
    pub(super) fn tell(&mut self, trace: u64, utc_ns: i64, gap: bool) -> bool {
        let (passed_ns, odd) = self.last.map_or((EVERY_NS, false), |(at, at_ns)| {
            let passed_ns = self.prr.traces_to_ns(trace.saturating_sub(at));
            (passed_ns, utc_ns.abs_diff(at_ns.saturating_add(passed_ns)) > self.usual_ns)
        });
        let tells = gap || odd || self.was_odd || passed_ns >= EVERY_NS;
        if tells {
            (self.last, self.was_odd) = (Some((trace, utc_ns)), odd);
        }
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_stamps_are_told_and_every_odd_one_with_the_next() {
        let prr = Rational::new(1000, 1).expect("positive");
        let mut stamps = Stamps::of(prr, ClockQuality::Gps);
        // Slots of 10 ms; slot 7 has a bad stamp, from slot 13 on the clock is a second ahead, slot 21 follows a gap.
        let odd = |slot: u64| if slot == 7 { 1_000_000 } else { 0 } + if slot >= 13 { 1_000_000_000 } else { 0 };
        let told = (0..30u64).filter(|&slot| {
            let trace = slot * 10;
            stamps.tell(trace, trace as i64 * 1_000_100 + odd(slot), slot == 21)
        });
        assert_eq!(told.collect::<Vec<_>>(), [0, 5, 7, 8, 9, 13, 14, 19, 21, 26]);
    }
}
