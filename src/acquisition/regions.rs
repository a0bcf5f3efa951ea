//! Where channels lie on a fiber of which only some regions are acquired.
//!
//! Most fibers are evenly spaced from end to end: `dx_m` and `fiber_start_m` of the acquisition say it all. An interrogator
//! with several regions of interest has a [`Region`] for each of the others.

use std::sync::Arc;

use super::Acquisition;

/// Regions behind the first, at most. No acquisition has more, whatever it comes from: so many fit the headers of a frame
/// and of its message.
pub const MAX_REGIONS: usize = 512;

/// Channels behind the first region that are evenly spaced again, but lie elsewhere or another distance apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Its first channel, counted from 0. It reaches to the next region's, or to the last channel.
    pub first_channel: usize,
    /// Distance of that channel on the fiber in metres.
    pub start_m: f64,
    /// Distance from one of its channels to the next in metres.
    pub dx_m: f64,
}

/// Where the channels of an acquisition lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// Distance of the first channel in metres.
    pub start_m: f64,
    /// Distance from one channel to the next in metres, in the first region.
    pub dx_m: f64,
    /// Regions behind the first.
    pub regions: Arc<[Region]>,
}

impl Places {
    /// Evenly spaced from end to end.
    pub fn even(start_m: f64, dx_m: f64) -> Self {
        Self { start_m, dx_m, regions: Arc::default() }
    }
}

impl Acquisition {
    /// All regions, at least one; the first begins with channel 0.
    pub fn all_regions(&self) -> impl DoubleEndedIterator<Item = Region> {
        let first = Region { first_channel: 0, start_m: self.fiber_start_m, dx_m: self.dx_m };
        std::iter::once(first).chain(self.regions.iter().copied())
    }

    /// Distance of a channel on the fiber in metres.
    pub fn distance_m(&self, channel: usize) -> f64 {
        let behind = self.regions.partition_point(|region| region.first_channel <= channel);
        let (first, start_m, dx_m) = match behind.checked_sub(1).map(|at| self.regions[at]) {
            Some(Region { first_channel, start_m, dx_m }) => (first_channel, start_m, dx_m),
            None => (0, self.fiber_start_m, self.dx_m),
        };
        start_m + (channel - first) as f64 * dx_m
    }

    /// Length of fiber from the first channel to behind the last one, in metres, with what lies between regions.
    pub fn fiber_length_m(&self) -> f64 {
        // Not by the difference where there is but one region: that would round.
        if self.regions.is_empty() { self.dx_m * self.channels as f64 } else { self.fiber_end_m() - self.fiber_start_m }
    }

    /// Distance from the instrument to the end of the last channel, in metres.
    pub fn fiber_end_m(&self) -> f64 {
        match self.regions.last() {
            Some(last) => last.start_m + self.channels.saturating_sub(last.first_channel) as f64 * last.dx_m,
            None => self.fiber_start_m + self.dx_m * self.channels as f64,
        }
    }

    /// Where channels `first .. first + count` lie, when they are all there is.
    pub fn places_of(&self, first: usize, count: usize) -> Places {
        let inside = self.regions.iter().filter(|region| region.first_channel > first);
        let regions = inside
            .filter(|region| region.first_channel < first.saturating_add(count))
            .map(|region| Region { first_channel: region.first_channel - first, ..*region })
            .collect();
        let dx_m = self.all_regions().rfind(|region| region.first_channel <= first).map_or(self.dx_m, |r| r.dx_m);
        Places { start_m: self.distance_m(first), dx_m, regions }
    }
}

/// The regions of channels that lie at these distances, in metres. Two distances belong to one region when they are `dx` apart to within `tolerance_m`.
///
/// # Errors
/// When the distances do not rise, are no numbers, or make more than [`MAX_REGIONS`] regions.
pub fn places_at(distances: &[f64], tolerance_m: f64) -> Result<Places, String> {
    let falls = distances.windows(2).position(|pair| pair[1] <= pair[0]).map(|before| before + 1);
    if let Some(at) = distances.iter().position(|d| !d.is_finite()).or(falls) {
        let (number, metres) = (at + 1, distances[at]);
        return Err(format!("the distances of the channels do not rise: channel {number} lies at {metres} m"));
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut first = 0;
    while first < distances.len() {
        let (dx_m, count) = evenly_spaced(&distances[first..], tolerance_m);
        if regions.len() > MAX_REGIONS {
            return Err(format!("channels lie in more than {MAX_REGIONS} regions of even spacing"));
        }
        regions.push(Region { first_channel: first, start_m: distances[first], dx_m });
        first += count;
    }
    // The one channel of a region has no next one: the spacing is that of the region before.
    for at in 0..regions.len() {
        if regions[at].dx_m == 0.0 {
            regions[at].dx_m = if at > 0 { regions[at - 1].dx_m } else { 1.0 };
        }
    }
    match regions.split_first() {
        Some((first, further)) => Ok(Places { start_m: first.start_m, dx_m: first.dx_m, regions: further.into() }),
        None => Err("there are no distances of channels".into()),
    }
}

/// How many of the distances, from the first on, are evenly spaced, and how far they are apart: from end to end, so that
/// rounded distances add no error up.
fn evenly_spaced(distances: &[f64], tolerance_m: f64) -> (f64, usize) {
    let [first, second, ..] = *distances else { return (0.0, distances.len()) };
    let step = second - first;
    let off = |at: usize| (distances[at] - distances[at - 1] - step).abs() > tolerance_m;
    let count = (2..distances.len()).find(|&at| off(at)).unwrap_or(distances.len());
    ((distances[count - 1] - first) / (count - 1) as f64, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn acquisition(channels: usize, places: Places) -> Acquisition {
        let Places { start_m, dx_m, regions } = places;
        Acquisition { channels, fiber_start_m: start_m, dx_m, regions, ..Acquisition::example() }
    }

    #[test]
    fn two_regions_of_interest_lie_where_they_are() {
        let distances: Vec<f64> = (0..20).chain(1000..1020).map(f64::from).collect();
        let places = places_at(&distances, 1e-6).expect("they rise");
        let further = Region { first_channel: 20, start_m: 1000.0, dx_m: 1.0 };
        assert_eq!(places, Places { start_m: 0.0, dx_m: 1.0, regions: [further].into() });
        let a = acquisition(40, places);
        assert_eq!((a.distance_m(39), a.fiber_end_m(), a.fiber_length_m()), (1019.0, 1020.0, 1020.0));
    }

    #[test]
    fn distances_that_do_not_rise_are_refused() {
        for distances in [&[0.0, 1.0, 1.0][..], &[2.0, 1.0], &[0.0, f64::NAN], &[f64::INFINITY], &[]] {
            assert!(places_at(distances, 1e-6).is_err(), "{distances:?}");
        }
    }

    proptest! {
        #[test]
        fn every_channel_keeps_its_distance(
            start in -100.0..1e5f64,
            pieces in proptest::collection::vec((1usize..40, 1u32..50, 2.0..5000f64), 1..6),
            cut in (0usize..60, 1usize..100),
        ) {
            let mut distances = Vec::new();
            let mut at = start;
            for (count, dx, jump) in pieces {
                let dx = f64::from(dx) / 4.0;
                distances.extend((0..count).map(|i| at + i as f64 * dx));
                at += count as f64 * dx + jump;
            }
            let places = places_at(&distances, 1e-6).expect("they rise");
            let a = acquisition(distances.len(), places);
            let near = |got: f64, right: f64| (got - right).abs() < 1e-5;
            for (channel, &distance) in distances.iter().enumerate() {
                prop_assert!(near(a.distance_m(channel), distance), "channel {channel}: {} for {distance}", a.distance_m(channel));
            }


            let (from, count) = (cut.0 % distances.len(), cut.1);
            let count = count.min(distances.len() - from);
            let part = acquisition(count, a.places_of(from, count));
            for channel in 0..count {
                prop_assert!(near(part.distance_m(channel), distances[from + channel]), "channel {channel} from {from} on");
            }
        }
    }
}
