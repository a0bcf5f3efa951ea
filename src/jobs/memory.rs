//! What jobs take of memory, and how far their readers may be behind so that it stays within its limit. Pure.
//!
//! Counted is what is there: the transforms, and the newest line of each stream; and what may come to be there: lines
//! that readers who exist have yet to read. What several jobs share counts once. When all of it together is above the
//! limit, all readers may be behind by a [share](Taken::share) of what they may otherwise, but not by less than
//! [`LEAST_SHARE`]: before that, no further job is started.

use std::ops::Range;

use super::cost::{Cost, Grid, Transform};

/// Jobs are started as long as readers keep at least this share of what they may be behind.
pub const LEAST_SHARE: f64 = 0.1;

/// Memory of some jobs, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Transforms.
    pub transforms: u64,
    /// The newest lines.
    pub lines: u64,
    /// Lines that readers may make the feeds hold.
    pub behind: u64,
}

impl Taken {
    /// Of `jobs`, each with whether somebody reads it, beside transforms that are there anyway.
    pub fn by<'a>(jobs: impl Iterator<Item = (&'a Cost, bool)> + Clone, standing: &[Transform]) -> Self {
        let mut taken =
            Self { transforms: transforms(jobs.clone().map(|(cost, _)| cost), standing), ..Self::default() };
        // With whether a job that shows the same is read.
        let mut shown: Vec<(&Cost, bool)> = Vec::new();
        for (cost, read) in jobs {
            match shown.iter_mut().find(|(known, _)| known.shows_as(cost)) {
                Some((_, known)) => *known |= read,
                None => shown.push((cost, read)),
            }
        }
        for (cost, read) in shown {
            taken.lines += cost.line_bytes;
            taken.behind += if read { cost.behind_bytes } else { 0 };
        }
        taken
    }

    /// Whether it fits, with readers that may be behind by as much as they may at most.
    pub fn is_ample(&self, limit: u64) -> bool {
        self.at_least(1.0) <= limit
    }

    /// Whether it fits at all.
    pub fn fits(&self, limit: u64) -> bool {
        self.at_least(LEAST_SHARE) <= limit
    }

    /// What it needs when readers may be behind by `share` of what they may at most.
    pub fn at_least(&self, share: f64) -> u64 {
        let behind = (self.behind as f64 * share).ceil() as u64;
        self.transforms.saturating_add(self.lines).saturating_add(behind)
    }

    /// By which share of what they may at most readers may be behind: 1, or less when that is more than is left.
    pub fn share(&self, limit: u64) -> f64 {
        let left = limit.saturating_sub(self.at_least(0.0));
        if self.behind <= left { 1.0 } else { left as f64 / self.behind as f64 }
    }
}

impl Cost {
    /// Whether the lines of both have the same values.
    fn shows_as(&self, other: &Self) -> bool {
        self.shown == other.shown && self.transform == other.transform
    }
}

/// Memory of all channels that are transformed for `jobs` only, each once.
fn transforms<'a>(jobs: impl Iterator<Item = &'a Cost>, standing: &[Transform]) -> u64 {
    let mut grids: Vec<(Grid, u64, Vec<Range<usize>>)> = Vec::new();
    for cost in jobs {
        let Transform { grid, channels } = &cost.transform;
        match grids.iter_mut().find(|(known, ..)| known == grid) {
            Some((_, _, ranges)) => ranges.push(channels.clone()),
            None => grids.push((*grid, cost.bytes_per_channel, vec![channels.clone()])),
        }
    }
    let of_grid = |(grid, bytes, mut ranges): (Grid, u64, Vec<Range<usize>>)| {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        let mut alone = 0;
        for range in ranges {
            // What was counted is not counted again.
            let channels = range.start.max(end)..range.end;
            end = end.max(range.end);
            if !channels.is_empty() {
                alone += Transform { grid, channels }.alone(standing.iter());
            }
        }
        bytes * alone as u64
    };
    grids.into_iter().map(of_grid).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Limits;
    use crate::frame::View;
    use crate::jobs::cost::Shown;
    use crate::units::Rational;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const CHANNEL: u64 = 1000;

    fn cost(nfft: usize, channels: Range<usize>, max_hz: u32) -> Cost {
        let line_bytes = channels.len() as u64 * u64::from(max_hz);
        Cost {
            window: Duration::ZERO,
            transform: Transform { grid: (nfft, Rational::new(1, 10).unwrap()), channels },
            load_per_channel: 0.0,
            values_load: 0.0,
            bytes_per_channel: CHANNEL,
            shown: Shown { view: View::Multi, range_hz: (0.0, f64::from(max_hz)), streams: 3 },
            line_bytes,
            behind_bytes: 50 * line_bytes,
            reader_lag: Duration::from_secs(5),
            feed: Limits::default(),
        }
    }

    proptest! {
        /// Against sets of channels and of what is shown.
        #[test]
        fn what_is_shared_counts_once(
            jobs in prop::collection::vec((0usize..2, 0usize..20, 1usize..20, 1u32..3, any::<bool>()), 0..20),
            standing in (0usize..20, 0usize..20),
        ) {
            let costs: Vec<_> = jobs
                .iter()
                .map(|&(grid, start, len, hz, read)| (cost(256 << grid, start..start + len, hz), read))
                .collect();
            let standing = cost(256, standing.0..standing.0 + standing.1, 1).transform;
            let taken = Taken::by(costs.iter().map(|(cost, read)| (cost, *read)), std::slice::from_ref(&standing));
            let mut transformed = BTreeSet::new();
            let mut shown = BTreeMap::new();
            for &(grid, start, len, hz, read) in &jobs {
                let there = |channel: &usize| grid == 0 && standing.channels.contains(channel);
                transformed.extend((start..start + len).filter(|c| !there(c)).map(|c| (grid, c)));
                *shown.entry((grid, start, len, hz)).or_insert(false) |= read;
            }
            let line = |&(_, _, len, hz): &(usize, usize, usize, u32)| len as u64 * u64::from(hz);
            prop_assert_eq!(taken.transforms, CHANNEL * transformed.len() as u64);
            prop_assert_eq!(taken.lines, shown.keys().map(line).sum::<u64>());
            let read = shown.iter().filter(|(_, read)| **read).map(|(key, _)| 50 * line(key)).sum::<u64>();
            prop_assert_eq!(taken.behind, read);
        }

        /// At the share that readers get, everything fits whenever the newest lines do.
        #[test]
        fn readers_get_as_much_as_there_is(transforms in 0u64..1000, lines in 0u64..1000, behind in 0u64..5000, limit in 0u64..4000) {
            let taken = Taken { transforms, lines, behind };
            let share = taken.share(limit);
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert_eq!(taken.is_ample(limit), share >= 1.0 && transforms + lines <= limit);
            if transforms + lines <= limit {
                prop_assert!(taken.at_least(share) <= limit + 1);
                prop_assert!(share >= 1.0 || taken.at_least(share + 0.01) >= limit);
                prop_assert_eq!(taken.fits(limit), taken.at_least(LEAST_SHARE) <= limit);
            }
        }
    }

    #[test]
    fn two_hundred_ordinary_jobs_with_readers_fit_the_default() {
        // 200 channels × 1025 frequencies, 10 lines a second, each job other channels.
        let line = 200 * 1025 * 6;
        let job = |number: usize| {
            let transform =
                Transform { grid: (2048, Rational::new(1, 10).unwrap()), channels: number * 10..number * 10 + 200 };
            let sizes =
                Cost { bytes_per_channel: 4 * 2048, line_bytes: line, behind_bytes: 50 * line, ..cost(2048, 0..1, 1) };
            Cost { transform, ..sizes }
        };
        let jobs: Vec<_> = (0..200).map(job).collect();
        let taken = Taken::by(jobs.iter().map(|job| (job, true)), &[]);
        let limit = crate::config::JobsConfig::default().memory_bytes;
        assert!(taken.fits(limit) && taken.share(limit) > LEAST_SHARE, "{taken:?}");
    }
}
