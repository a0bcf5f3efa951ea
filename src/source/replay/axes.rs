//! Axes that stand beside samples as columns of their own: times, with or without an age that they count from, and
//! distances.

use super::found::{Places, as_written, rounded_places};
use super::h5::{Attrs, H5};
use super::stamp_column::DOUBLE_NS;
use super::times::iso_to_ns;
use super::timing::{Layout, NO_STAMP, Pass, Sink, Stamps, from_float_seconds};
use super::words::metres_in;
use crate::source::{Finding, SourceError};

/// Interrogators have been there since 1990, in nanoseconds since the UNIX epoch.
const EARLIEST_NS: i128 = 631_152_000_000_000_000;
/// And no stamp is later than 2100.
const LATEST_NS: i128 = 4_102_444_800_000_000_000;
/// Stamps that are turned into nanoseconds at once.
const TOGETHER: usize = 1024;

/// Said of files that begin at no date.
pub(super) const UNDATED: &str =
    "nothing says when it begins: times count from 1970-01-01T00:00:00Z; a start_time would set them right";

/// What numbers on a time axis count: `milliseconds since 2023-01-01 00:00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Nanoseconds in one.
    pub(super) unit_ns: i64,
    /// Where they count from, in nanoseconds since the UNIX epoch; `None` when it is not said.
    pub(super) from_ns: Option<i64>,
}

impl Counts {
    /// By the words of a `units` attribute; `None` when they are none of time.
    pub(super) fn of(words: &str) -> Option<Self> {
        let (unit, from) = match words.split_once(" since ") {
            Some((unit, from)) => (unit, Some(iso_to_ns(from.trim().trim_end_matches("UTC").trim_end())?)),
            None => (words, None),
        };
        let unit_ns = match unit.trim() {
            "ns" | "nanosecond" | "nanoseconds" => 1,
            "us" | "µs" | "microsecond" | "microseconds" => 1_000,
            "ms" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "second" | "seconds" => 1_000_000_000,
            "min" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hour" | "hours" => 3_600_000_000_000,
            "day" | "days" => 86_400_000_000_000,
            _ => return None,
        };
        Some(Self { unit_ns, from_ns: from })
    }

    /// A whole number of them as nanoseconds since the UNIX epoch, or since the beginning where that is not said.
    pub(super) fn whole(self, count: i64) -> Option<i64> {
        count.checked_mul(self.unit_ns)?.checked_add(self.from_ns.unwrap_or(0))
    }

    /// As [`whole`](Self::whole), for any number of them.
    pub(super) fn part(self, count: f64) -> Option<i64> {
        if count.is_nan() || count.abs() >= 9e18 {
            return None;
        }
        let fraction = (count.fract() * self.unit_ns as f64).round() as i64;
        self.whole(count.trunc() as i64)?.checked_add(fraction)
    }
}

/// A column with the time of each row.
pub(super) struct TimeAxis<'a> {
    file: &'a H5,
    name: &'a str,
    len: u64,
    is_float: bool,
    counts: Option<Counts>,
}

impl<'a> TimeAxis<'a> {
    /// The column of this name; `None` when it is not there. `counts` is what it counts, when that is known.
    ///
    /// # Errors
    /// When it is no column of numbers.
    pub(super) fn open(file: &'a H5, name: &'a str, counts: Option<Counts>) -> Result<Option<Self>, SourceError> {
        let Some(len) = file.column_len(name)? else { return Ok(None) };
        Ok(Some(Self { file, name, len, is_float: file.is_float(name)?, counts }))
    }

    /// Stamps in it.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether its numbers say when; others count from a beginning that they do not tell.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn is_dated(&self) -> Result<bool, SourceError> {
        // Integers of an unknown unit come as they are; a date in any unit will do.
        let units: &[i128] =
            if self.is_float || self.counts.is_some() { &[1] } else { &[1, 1_000, 1_000_000, 1_000_000_000] };
        let dated =
            |stamp: i64| units.iter().any(|unit| (EARLIEST_NS..LATEST_NS).contains(&(i128::from(stamp) * unit)));
        let (mut yes, mut no) = (0u64, 0u64);
        self.pass(&mut |stamps| {
            for &stamp in stamps.iter().filter(|&&stamp| stamp != NO_STAMP) {
                *(if dated(stamp) { &mut yes } else { &mut no }) += 1;
            }
        })?;
        Ok(yes > no)
    }

    /// The start to count from: what is `declared`; or else 1970, said in `notes`, when nothing else says when.
    ///
    /// # Errors
    /// When stamps cannot be read.
    pub(super) fn begin(&self, declared: Option<i64>, notes: &mut Vec<Finding>) -> Result<Option<i64>, SourceError> {
        if declared.is_some() || self.is_dated()? {
            return Ok(declared);
        }
        notes.push(Finding::note(UNDATED));
        Ok(Some(0))
    }

    /// Hands all stamps on in nanoseconds, or integers whose unit is not known as they are.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn pass(&self, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let mut in_ns = [NO_STAMP; TOGETHER];
        if self.is_float {
            let to_ns = |value: f64| match self.counts {
                Some(counts) => counts.part(value).unwrap_or(NO_STAMP),
                None => from_float_seconds(value),
            };
            return self.file.column_f64(self.name, &mut |values| {
                for values in values.chunks(TOGETHER) {
                    in_ns.iter_mut().zip(values).for_each(|(ns, &value)| *ns = to_ns(value));
                    sink(&in_ns[..values.len()]);
                }
            });
        }
        let Some(counts) = self.counts else { return self.file.column_i64(self.name, sink) };
        self.file.column_i64(self.name, &mut |values| {
            for values in values.chunks(TOGETHER) {
                in_ns.iter_mut().zip(values).for_each(|(ns, &value)| *ns = counts.whole(value).unwrap_or(NO_STAMP));
                sink(&in_ns[..values.len()]);
            }
        })
    }

    /// The stamps, a row each.
    pub(super) fn stamps<'b>(&self, pass: &'b mut Pass<'b>) -> Stamps<'b> {
        let precision_ns = match self.counts {
            _ if self.is_float => DOUBLE_NS,
            Some(counts) => counts.unit_ns,
            None => 1,
        };
        Stamps { unit_ns: 1, precision_ns, layout: Layout::Every(1), pass }
    }
}

/// The unit that stands at a dataset.
pub(super) fn unit_of(attrs: &Attrs) -> Option<String> {
    ["units", "unit", "Units", "Unit"].iter().find_map(|name| attrs.text(name))
}

/// Where channels lie by a column of distances; `None` when there is no such column.
///
/// # Errors
/// When it is no column of rising numbers, one for each of `channels`.
pub(super) fn distances(file: &H5, name: &str, channels: usize) -> Result<Option<Places>, SourceError> {
    let Some(values) = file.numbers(name)? else { return Ok(None) };
    if values.len() != channels {
        let why = format!("{name} has {} distances for {channels} channels", values.len());
        return Err(file.unusable(why));
    }
    let unit = file.dataset_attrs(name)?.and_then(|attrs| unit_of(&attrs));
    let metres = metres_in(unit.as_deref()).map_err(|why| file.unusable(format!("{name}: {why}")))?;
    let in_m: Vec<f64> = values.iter().map(|value| value * metres).collect();
    rounded_places(&in_m).map(Some).map_err(|why| file.unusable(format!("{name}: {why}")))
}

/// Where channels lie that only have numbers, from `first` on.
pub(super) fn numbered(first: f64, dx_m: f64) -> Places {
    Places::even(as_written(first) * dx_m, dx_m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_an_age() {
        let at = |unit_ns, from_ns| Some(Counts { unit_ns, from_ns });
        assert_eq!(
            Counts::of("milliseconds since 2023-01-01 00:00:00"),
            at(1_000_000, Some(1_672_531_200_000_000_000))
        );
        assert_eq!(Counts::of("seconds since 1970-01-01T00:00:00Z"), at(1_000_000_000, Some(0)));
        assert_eq!(Counts::of("seconds since 1970-01-01"), at(1_000_000_000, Some(0)));
        assert_eq!(Counts::of("us"), at(1_000, None));
        for bad in ["m", "seconds since the flood", "", "furlongs since 1970-01-01"] {
            assert_eq!(Counts::of(bad), None, "{bad}");
        }
        let seconds = Counts { unit_ns: 1_000_000_000, from_ns: Some(5) };
        assert_eq!((seconds.part(1.25), seconds.part(f64::NAN)), (Some(1_250_000_005), None));
        assert_eq!((seconds.whole(i64::MAX), seconds.part(1e18)), (None, None));
    }
}
