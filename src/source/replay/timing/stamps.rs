//! From a file's stamps to nanoseconds: units, and what cannot be a time.

use super::super::times::seconds_to_ns;
use super::findings::{Findings, Kind};
use super::sample::Sample;
use super::{NO_STAMP, Statements};

/// Interrogators have been there since this year, in seconds since the UNIX epoch: 1990.
const EARLIEST_S: f64 = 631_152_000.0;
/// And no stamp is later: 2100.
const LATEST_S: f64 = 4_102_444_800.0;
/// How far a declared start may be from the stamps and still say which unit they have: a day.
const SAME_DAY_NS: f64 = 86_400e9;
/// How far two rates may differ and still say which unit stamps have; units are a factor of 1000 apart.
const SAME_RATE: f64 = 0.5;
/// The resolution is a step that all but one in twenty stamps are a multiple of.
const ODD_STAMPS: usize = 20;

/// A double of seconds since the UNIX epoch, or of milli-, micro- or nanoseconds, as nanoseconds; [`NO_STAMP`] where it is
/// none. The ranges of dates that the units stand for do not meet.
///
/// A double holds today's seconds to 0.24 µs only; rounding to 0.1 µs gives back the decimals that were meant.
pub(in crate::source::replay) fn from_float_seconds(value: f64) -> i64 {
    for (in_a_second, unit_ns) in [(1e3, 1e6), (1e6, 1e3), (1e9, 1.0)] {
        if (EARLIEST_S..LATEST_S).contains(&(value / in_a_second)) {
            return value.trunc() as i64 * unit_ns as i64 + (value.fract() * unit_ns).round() as i64;
        }
    }
    seconds_to_ns(value).unwrap_or(NO_STAMP)
}

/// How stamps become nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    unit_ns: i64,
    /// Nanoseconds that stamps count from, and not zero where they count from the beginning of the file.
    offset_ns: i64,
    /// How finely stamps can be held.
    pub(super) precision_ns: i64,
    /// What nearly all stamps are multiples of, in nanoseconds: the resolution, or the period when that is coarser.
    pub(super) multiple_ns: i64,
    is_other_unit: bool,
}

impl Scale {
    /// Recognises the unit: the one of the format, unless it puts the file into another age or contradicts what is
    /// declared. `None` when there is no stamp at all.
    pub(super) fn choose(
        unit_ns: i64,
        precision_ns: i64,
        sample: &Sample<'_>,
        statements: &Statements<'_>,
    ) -> Option<Self> {
        let middle = sample.median_stamp()?;
        // Doubles come in nanoseconds, whatever they were written in: finer than they can hold.
        let units = if precision_ns > unit_ns { [unit_ns; 5] } else { [unit_ns, 1, 1000, 1_000_000, 1_000_000_000] };
        let contradicts = |unit: i64| {
            let (Some(declared), Some(period)) = (statements.declared_rate, sample.period_in_units()) else {
                return None;
            };
            Some((period * unit as f64 * declared.to_f64() / 1e9).ln().abs())
        };
        let dated =
            units.into_iter().find(|&unit| (EARLIEST_S..LATEST_S).contains(&(middle as f64 * unit as f64 / 1e9)));
        let by_start = || {
            let start = statements.start_ns? as f64;
            units.into_iter().find(|&unit| (middle as f64 * unit as f64 - start).abs() < SAME_DAY_NS)
        };
        let by_rate = || units.into_iter().find(|&unit| contradicts(unit).is_some_and(|off| off < SAME_RATE));
        // A number may look like a date in a wrong unit by chance: then the rates are worlds apart.
        let dated = dated.filter(|&unit| by_rate().is_none_or(|other| other == unit || statements.start_ns.is_none()));
        if let Some(unit) = dated.or_else(by_start) {
            return Some(Self::new(unit, 0, precision_ns, unit != unit_ns, sample));
        }
        // Not a date in any unit: stamps that count from the beginning of the file.
        let unit = by_rate().unwrap_or(unit_ns);
        Some(Self::new(unit, statements.start_ns.unwrap_or(0), precision_ns, unit != unit_ns, sample))
    }

    fn new(unit_ns: i64, offset_ns: i64, precision_ns: i64, is_other_unit: bool, sample: &Sample<'_>) -> Self {
        let precision_ns = if is_other_unit { unit_ns } else { precision_ns.max(unit_ns) };
        let multiple_ns = multiple(sample).saturating_mul(unit_ns).max(precision_ns);
        Self { unit_ns, offset_ns, precision_ns, multiple_ns, is_other_unit }
    }

    /// Nanoseconds in one unit of the stamps.
    pub(super) const fn unit_ns(&self) -> i64 {
        self.unit_ns
    }

    /// UTC in nanoseconds; `None` where there is no stamp, or one that cannot be a time.
    pub(super) fn to_ns(self, stamp: i64) -> Option<i64> {
        if stamp < 0 || stamp == i64::MAX || (stamp == NO_STAMP && self.offset_ns == 0) {
            return None;
        }
        stamp.checked_mul(self.unit_ns)?.checked_add(self.offset_ns)
    }

    /// Says what is not as the format's page has it.
    pub(super) fn tell(self, findings: &mut Findings) {
        if self.is_other_unit {
            let unit = match self.unit_ns {
                1 => "in nanoseconds",
                1000 => "in microseconds",
                1_000_000 => "in milliseconds",
                _ => "in seconds",
            };
            findings.add(Kind::OtherUnit, 1, &format!("{unit}, which is not the unit of this format"));
        }
        if self.offset_ns != 0 {
            findings.add(Kind::RelativeStamps, 1, "");
        }
    }
}

/// The largest 1, 2 or 5 times a power of ten that nearly all stamps are a multiple of.
fn multiple(sample: &Sample<'_>) -> i64 {
    let stamps: Vec<i64> = sample.values().collect();
    let mut found = 1i64;
    for power in 0..10 {
        for digit in [1i64, 2, 5] {
            let step = digit * 10i64.pow(power);
            let odd = stamps.iter().filter(|&&stamp| stamp % step != 0).count();
            if odd * ODD_STAMPS > stamps.len() {
                if digit == 1 {
                    return found;
                }
            } else {
                found = step;
            }
        }
    }
    found
}
