//! What a job asks of this machine: shares of real time and bytes, estimated before it is started. Pure.
//!
//! Times are those that the pipeline has measured on this host ([`Rates`]), for one thread; what is measured when the job
//! runs replaces them. A job whose transform is computed already, for whoever, pays only for its values.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::plan::JobPlan;
use crate::config::ViewConfig;
use crate::feed::{FRAME_BYTES, Limits, VALUE_BYTES};
use crate::frame::View;
use crate::pipeline::cost::{Rates, Shape};
use crate::units::Rational;

/// What readers of a stream may be behind by: lines of so long, and of longer while they are few bytes.
const KEPT_S: f64 = 5.0;
const KEPT_AGE: Duration = Duration::from_secs(20);
const KEPT_BYTES: RangeInclusive<f64> = 2e6..=128e6;

/// What is the same for all that share a transform: window length in traces and line period in seconds.
pub type Grid = (usize, Rational);

/// A transform of some channels (from 0), which others may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Window and lines.
    pub grid: Grid,
    /// Of these channels.
    pub channels: Range<usize>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// What is transformed.
    pub transform: Transform,
    /// Share of real time for the transform of one channel.
    pub load_per_channel: f64,
    /// Share of real time for its values.
    pub values_load: f64,
    /// Length of its windows: before they are full they may cost next to nothing.
    pub window: Duration,
    /// Memory of one channel's transform.
    pub bytes_per_channel: u64,
    /// What its lines show: jobs that show the same share the memory of their values.
    pub shown: Shown,
    /// Memory of the newest line, which is always held.
    pub line_bytes: u64,
    /// Memory of all that readers that are as far behind as they may be make it hold.
    pub behind_bytes: u64,
    /// How far these may be behind at most.
    pub reader_lag: Duration,
    /// What each of its streams may hold.
    pub feed: Limits,
}

/// What the lines of a job show, beside the transform that they come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Kind of view.
    pub view: View,
    /// Frequencies, Hz.
    pub range_hz: (f64, f64),
    /// Streams that the channels are divided into.
    pub streams: usize,
}

impl Transform {
    /// That of a standing view on a fiber of so many channels.
    pub fn of_view(view: &ViewConfig) -> Self {
        let channels = view.channel_min.saturating_sub(1)..view.channel_max.unwrap_or(usize::MAX);
        Self { grid: (view.nfft, view.line_period_s), channels }
    }

    /// Channels of it that none of `others` has.
    pub fn alone<'a>(&self, others: impl Iterator<Item = &'a Self>) -> usize {
        let mut shared: Vec<_> = others.filter(|other| other.grid == self.grid).map(|other| &other.channels).collect();
        shared.sort_by_key(|channels| channels.start);
        let (mut alone, mut from) = (0, self.channels.start);
        for channels in shared {
            alone += channels.start.min(self.channels.end).saturating_sub(from);
            from = from.max(channels.end).min(self.channels.end);
        }
        alone + self.channels.end.saturating_sub(from)
    }
}

/// Memory of the lines of a job.
pub(super) struct Lines {
    /// Of the newest one, over all streams.
    pub(super) bytes: u64,
    /// Of all that readers may be behind by.
    pub(super) behind_bytes: u64,
    /// How far they may be behind at most.
    pub(super) lag: Duration,
    /// What each stream may hold.
    pub(super) limits: Limits,
}

impl Lines {
    /// Of `values` a line, divided into `streams`, one line every `period_s`.
    pub(super) fn of(values: usize, streams: usize, period_s: Rational) -> Self {
        let line_s = period_s.to_f64();
        let bytes = FRAME_BYTES as f64 + VALUE_BYTES as f64 * values as f64 / streams as f64;
        let kept = (bytes * KEPT_S / line_s).clamp(*KEPT_BYTES.start(), *KEPT_BYTES.end());
        let lag_s = (kept / bytes * line_s).min(KEPT_AGE.as_secs_f64());
        let behind = (bytes * lag_s / line_s).max(bytes);
        Self {
            bytes: (bytes * streams as f64) as u64,
            behind_bytes: (behind * streams as f64) as u64,
            lag: Duration::try_from_secs_f64(lag_s).unwrap_or(KEPT_AGE),
            limits: Limits { bytes: kept as usize, age: KEPT_AGE },
        }
    }
}

impl Cost {
    /// Share of real time that it takes beside `others`.
    pub(super) fn load_beside<'a>(&self, others: impl Iterator<Item = &'a Transform>) -> f64 {
        self.load_per_channel * self.transform.alone(others) as f64 + self.values_load
    }

    pub(super) fn of(plan: &JobPlan, rates: &Rates) -> Self {
        let (prr_hz, nfft) = (plan.prr.to_f64(), plan.pattern.nfft as f64);
        let channels = plan.channels.start() - 1..*plan.channels.end();
        let values_per_line = channels.len() * plan.bins_per_channel();
        let streams = plan.streams().len();
        let shape = Shape {
            channels: channels.clone(),
            bins: plan.bins(),
            nfft: plan.pattern.nfft,
            window: plan.pattern.window,
            line_period_s: plan.pattern.line_period_s,
            prr: plan.prr,
            values: plan.bins_per_channel(),
            streams,
        };
        let lines = Lines::of(values_per_line, streams, plan.pattern.line_period_s);
        let shown = Shown { view: plan.view(), range_hz: plan.range_hz(), streams };
        Self {
            transform: Transform { grid: (plan.pattern.nfft, plan.pattern.line_period_s), channels },
            load_per_channel: rates.transform(&shape) / shape.channels.len().max(1) as f64,
            values_load: rates.lines(&shape),
            window: Duration::from_secs_f64(nfft / prr_hz),
            // A window of float32, or the counts that stay in their blocks for it.
            bytes_per_channel: 4 * plan.pattern.nfft as u64,
            shown,
            line_bytes: lines.bytes,
            behind_bytes: lines.behind_bytes,
            reader_lag: lines.lag,
            feed: lines.limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn alone_counts_the_channels_that_nobody_else_has(
            own in (0usize..50, 0usize..50),
            others in prop::collection::vec((0usize..50, 0usize..50, any::<bool>()), 0..8),
        ) {
            let grid = (256, Rational::new(1, 10).unwrap());
            let other_grid = (512, Rational::new(1, 10).unwrap());
            let range = |a: usize, b: usize| a.min(b)..a.max(b);
            let own = Transform { grid, channels: range(own.0, own.1) };
            let others: Vec<_> = others
                .into_iter()
                .map(|(a, b, same)| Transform { grid: if same { grid } else { other_grid }, channels: range(a, b) })
                .collect();
            let taken = |channel: &usize| others.iter().any(|o| o.grid == grid && o.channels.contains(channel));
            let naive = own.channels.clone().filter(|channel| !taken(channel)).count();
            prop_assert_eq!(own.alone(others.iter()), naive);
        }
    }
}
