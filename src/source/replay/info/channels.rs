//! Level of every channel, and which of them are dead or clipped.

use serde::Serialize;

use super::numbers::rounded;
use crate::acquisition::SampleFormat;

/// Ranges of channels that are listed; there may be as many as channels.
const MOST_RANGES: usize = 1000;

/// How a figure is spread along the fiber: 5, 50 and 95 of 100 channels have less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Of the quietest channel.
    #[serde(serialize_with = "rounded")]
    pub min: f64,
    /// 5 % of the channels have less.
    #[serde(serialize_with = "rounded")]
    pub p5: f64,
    /// Half of the channels have less.
    #[serde(serialize_with = "rounded")]
    pub p50: f64,
    /// 95 % of the channels have less.
    #[serde(serialize_with = "rounded")]
    pub p95: f64,
    /// Of the loudest channel.
    #[serde(serialize_with = "rounded")]
    pub max: f64,
}

/// Some of the channels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelSet {
    /// How many.
    pub count: usize,
    /// Which: first and last of each range, from 1; the first thousand ranges.
    pub ranges: Vec<[usize; 2]>,
}

/// Sums over the samples of each channel.
pub(super) struct Channels {
    all: Vec<Channel>,
    format: SampleFormat,
}

#[derive(Clone, Default)]
struct Channel {
    /// Finite samples.
    count: u64,
    /// The first of them: sums are of differences to it, so that a large offset costs no digits.
    first: f64,
    sum: f64,
    squares: f64,
    min: f32,
    max: f32,
    at_limit: bool,
}

impl Spread {
    /// Of these figures; `None` when there are none.
    pub(super) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let at = |share: f64| figures[(share * last as f64).round() as usize];
        Some(Self { min: figures[0], p5: at(0.05), p50: at(0.5), p95: at(0.95), max: figures[last] })
    }
}

impl ChannelSet {
    fn of(channels: impl Iterator<Item = usize>) -> Self {
        let mut set = Self::default();
        for number in channels.map(|index| index + 1) {
            set.count += 1;
            let known = set.ranges.len();
            match set.ranges.last_mut() {
                Some([_, last]) if *last + 1 == number => *last = number,
                _ if known < MOST_RANGES => set.ranges.push([number, number]),
                _ => {}
            }
        }
        set
    }

    /// `1…20, 33 and more`, with at most so many ranges.
    pub(super) fn words(&self, most: usize) -> String {
        let range = |&[first, last]: &[usize; 2]| {
            if first == last { first.to_string() } else { format!("{first}…{last}") }
        };
        let mut text = self.ranges.iter().take(most).map(range).collect::<Vec<_>>().join(", ");
        if self.ranges.len() > most {
            text.push_str(" and more");
        }
        text
    }
}

impl Channels {
    pub(super) fn new(channels: usize, format: SampleFormat) -> Self {
        Self { all: vec![Channel::default(); channels], format }
    }

    /// One trace, as it was stored; of a complex sample its magnitude.
    pub(super) fn add(&mut self, trace: &[f32]) {
        for (channel, &value) in self.all.iter_mut().zip(trace) {
            channel.add(value);
        }
    }

    /// One trace, as it was stored: whether a sample, or a part of a complex one, stands at the limit of its type.
    pub(super) fn add_limits(&mut self, trace: &[u8]) {
        let of_16 = |pair: &[u8; 2]| matches!(i16::from_ne_bytes(*pair), i16::MIN | i16::MAX);
        let of_32 = |four: &[u8; 4]| matches!(i32::from_ne_bytes(*four), i32::MIN | i32::MAX);
        for (channel, sample) in self.all.iter_mut().zip(trace.chunks_exact(self.format.bytes())) {
            channel.at_limit |= match self.format {
                SampleFormat::F32 => return,
                SampleFormat::I32 => sample.as_chunks().0.iter().any(of_32),
                SampleFormat::I16 | SampleFormat::Iq16 => sample.as_chunks().0.iter().any(of_16),
            };
        }
    }

    /// RMS of each channel about its mean, times `scale`.
    pub(super) fn rms(&self, scale: f64) -> Option<Spread> {
        Spread::of(self.with_samples().map(|channel| scale.abs() * channel.rms()).collect())
    }

    /// Greatest distance of a sample from the mean of its channel, times `scale`.
    pub(super) fn peak(&self, scale: f64) -> Option<Spread> {
        Spread::of(self.with_samples().map(|channel| scale.abs() * channel.peak()).collect())
    }

    /// Channels whose samples are all the same, or none a number. Of a single trace that says nothing.
    pub(super) fn dead(&self) -> ChannelSet {
        self.which(|channel| channel.count == 0 || channel.count > 1 && channel.min.to_bits() == channel.max.to_bits())
    }

    /// Channels with samples at the limit of their type; `None` for floats, which have none.
    pub(super) fn clipped(&self) -> Option<ChannelSet> {
        (self.format != SampleFormat::F32).then(|| self.which(|channel| channel.at_limit))
    }

    fn which(&self, is_it: impl Fn(&Channel) -> bool) -> ChannelSet {
        ChannelSet::of(self.all.iter().enumerate().filter(|(_, channel)| is_it(channel)).map(|(index, _)| index))
    }

    fn with_samples(&self) -> impl Iterator<Item = &Channel> {
        self.all.iter().filter(|channel| channel.count > 0)
    }
}

impl Channel {
    fn add(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        if self.count == 0 {
            (self.first, self.min, self.max) = (value.into(), value, value);
        }
        let away = f64::from(value) - self.first;
        self.count += 1;
        self.sum += away;
        self.squares += away * away;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn mean_away(&self) -> f64 {
        self.sum / self.count as f64
    }

    fn rms(&self) -> f64 {
        (self.squares / self.count as f64 - self.mean_away().powi(2)).max(0.0).sqrt()
    }

    fn peak(&self) -> f64 {
        let mean = self.first + self.mean_away();
        (f64::from(self.max) - mean).max(mean - f64::from(self.min))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn level_and_dead_channels_are_those_of_the_definition(
            offset in -1e6..1e6f32,
            traces in proptest::collection::vec(proptest::array::uniform3(-100.0..100f32), 2..60),
            holes in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut channels = Channels::new(3, SampleFormat::F32);
            let mut kept: [Vec<f64>; 3] = Default::default();
            for (row, hole) in traces.iter().zip(&holes) {
                // The second channel is dead, the third has holes.
                let row = [row[0] + offset, offset, if *hole { f32::NAN } else { row[2] }];
                channels.add(&row);
                for (kept, value) in kept.iter_mut().zip(row) {
                    kept.extend(value.is_finite().then_some(f64::from(value)));
                }
            }
            let rms = |kept: &Vec<f64>| {
                let mean = kept.iter().sum::<f64>() / kept.len() as f64;
                (kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / kept.len() as f64).sqrt()
            };
            let right: Vec<f64> = kept.iter().filter(|kept| !kept.is_empty()).map(|kept| 2.0 * rms(kept)).collect();
            let right = Spread::of(right).expect("two channels have samples");
            let found = channels.rms(-2.0).expect("two channels have samples");
            for (found, right) in [(found.min, right.min), (found.p50, right.p50), (found.max, right.max)] {
                prop_assert!((found - right).abs() <= 1e-3 + 1e-6 * right, "{found} for {right}");
            }
            let dead = channels.dead();
            prop_assert!(dead.ranges.first().is_some_and(|&[first, last]| first <= 2 && last >= 2), "{dead:?}");
        }
    }

    #[test]
    fn samples_at_the_limit_of_their_type_are_seen_in_either_part() {
        let mut channels = Channels::new(4, SampleFormat::Iq16);
        let row: [i16; 8] = [0, i16::MAX, 5, 5, i16::MIN, 0, 32_766, -32_767];
        channels.add_limits(bytemuck::cast_slice(&row));
        assert_eq!(channels.clipped(), Some(ChannelSet { count: 2, ranges: vec![[1, 1], [3, 3]] }));
        assert_eq!(Channels::new(4, SampleFormat::F32).clipped(), None);
        let set = ChannelSet::of([0, 1, 2, 7, 9].into_iter());
        assert_eq!((set.words(2).as_str(), set.words(9).as_str()), ("1…3, 8 and more", "1…3, 8, 10"));
    }
}
