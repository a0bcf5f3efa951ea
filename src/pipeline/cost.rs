//! What work costs on this host, and what follows for a job before it runs. Pure; [`calibrate`](super::calibrate) measures.
//!
//! ```text
//! thread time a second = channels × windows/s × ns(window length, bins)  +  values/s × ns(value)  +  …
//! ```
//! A window costs something for its traces and something for each bin that is wanted. Which of the three ways the
//! transform takes is what its plan says ([`PlanSpec::path`]); figures between two measured window lengths are read off
//! the line between them, by the logarithm of the length.

use std::ops::Range;

use crate::dsp::grid::windows_of_line;
use crate::dsp::{Output, Path, PlanSpec, Window, Worker};
use crate::units::Rational;

/// To find a sample and put it where windows are made of it, nanoseconds. Next to nothing beside windows.
const FOUND_NS: f64 = 1.0;

/// What a job costs is said so much too large: rather refused than ended later.
const MARGIN: f64 = 1.3;

/// What a job shows, as far as it costs anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Channels, from 0.
    pub channels: Range<usize>,
    /// Bins that its values are made of.
    pub bins: Range<usize>,
    /// Window length in traces.
    pub nfft: usize,
    /// Window function.
    pub window: Window,
    /// Seconds from line to line.
    pub line_period_s: Rational,
    /// Traces a second.
    pub prr: Rational,
    /// Values of a channel in a line.
    pub values: usize,
    /// Streams.
    pub streams: usize,
}

/// What a window of one channel costs, in nanoseconds of thread time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowCost {
    /// Window length in traces.
    pub nfft: usize,
    /// For each trace.
    pub trace_ns: f64,
    /// For each bin that is wanted.
    pub bin_ns: f64,
}

/// What a step from window to window costs one channel, for each bin that is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCost {
    /// Window length in traces.
    pub nfft: usize,
    /// Nanoseconds in any case.
    pub bin_ns: f64,
    /// Nanoseconds for each trace of the step.
    pub bin_trace_ns: f64,
}

/// See the module. Costs are those of one of many channels side by side, but for `along`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Windows on their own, by length.
    pub whole: [WindowCost; 3],
    /// Steps of sliding windows, by length.
    pub sliding: [StepCost; 3],
    /// Windows of one channel alone, by length.
    pub along: [WindowCost; 4],
    /// Nanoseconds for a line of a stream, whatever is in it, and for each of its values.
    pub line_ns: f64,
    /// See above.
    pub value_ns: f64,
}

impl Rates {
    /// As on two cores of 2020 that others used as well: until this host is measured.
    pub const BUILT_IN: Self = Self {
        whole: [
            WindowCost { nfft: 128, trace_ns: 0.3, bin_ns: 1.0 },
            WindowCost { nfft: 1024, trace_ns: 0.5, bin_ns: 1.0 },
            WindowCost { nfft: 8192, trace_ns: 1.0, bin_ns: 1.5 },
        ],
        sliding: [
            StepCost { nfft: 512, bin_ns: 2.0, bin_trace_ns: 0.04 },
            StepCost { nfft: 8192, bin_ns: 2.5, bin_trace_ns: 0.05 },
            StepCost { nfft: 65_536, bin_ns: 4.0, bin_trace_ns: 0.1 },
        ],
        along: [
            WindowCost { nfft: 128, trace_ns: 3.0, bin_ns: 3.0 },
            WindowCost { nfft: 2048, trace_ns: 3.0, bin_ns: 3.0 },
            WindowCost { nfft: 16_384, trace_ns: 3.5, bin_ns: 3.0 },
            WindowCost { nfft: 65_536, trace_ns: 4.5, bin_ns: 3.0 },
        ],
        line_ns: 3000.0,
        value_ns: 1.0,
    };

    /// Share of one thread's time for the windows of all channels.
    pub fn transform(&self, shape: &Shape) -> f64 {
        let Some(period_traces) = shape.line_period_s.checked_mul(shape.prr) else { return f64::INFINITY };
        let outputs = vec![Output::Amplitude(shape.bins.clone())];
        let spec = PlanSpec { nfft: shape.nfft, window: shape.window, period_traces, outputs };
        let (nfft, bins, traces) = (shape.nfft, shape.bins.len() as f64, shape.nfft as f64);
        let of_window = |costs: &[WindowCost]| {
            let (trace_ns, bin_ns) = between(costs, nfft, |cost| cost.nfft, |cost| (cost.trace_ns, cost.bin_ns));
            traces * trace_ns + bins * bin_ns
        };
        let along_ns = of_window(&self.along);
        let side_by_side_ns = match spec.path() {
            Path::Whole => of_window(&self.whole),
            Path::Sliding { hop } => {
                let step = |cost: &StepCost| (cost.bin_ns, cost.bin_trace_ns);
                let (bin_ns, bin_trace_ns) = between(&self.sliding, nfft, |cost| cost.nfft, step);
                bins * (bin_ns + bin_trace_ns * hop as f64)
            }
            Path::Along => along_ns,
        };
        let (side_by_side, alone) = split(&shape.channels, Worker::lanes());
        let window_ns = side_by_side as f64 * side_by_side_ns + alone as f64 * along_ns;
        let windows = windows_of_line(period_traces.to_f64().ceil() as u64, nfft) as f64;
        let found = shape.channels.len() as f64 * FOUND_NS * shape.prr.to_f64();
        MARGIN * 1e-9 * (window_ns * windows / shape.line_period_s.to_f64() + found)
    }

    /// Share of one thread's time from finished lines to frames.
    pub fn lines(&self, shape: &Shape) -> f64 {
        let values = (shape.channels.len() * shape.values) as f64;
        let line_ns = shape.streams as f64 * self.line_ns + values * self.value_ns;
        MARGIN * 1e-9 * line_ns / shape.line_period_s.to_f64()
    }
}

/// How many channels go through vectors of `lanes`, those included that only fill one, and how many go alone: a vector
/// pays from more than a quarter of its channels on, as lanes are made.
fn split(channels: &Range<usize>, lanes: usize) -> (usize, usize) {
    let (mut side_by_side, mut alone) = (0, 0);
    let mut at = channels.start;
    while at < channels.end {
        let end = ((at / lanes + 1) * lanes).min(channels.end);
        if end - at > lanes / 4 {
            side_by_side += lanes;
        } else {
            alone += end - at;
        }
        at = end;
    }
    (side_by_side, alone)
}

/// Two figures for a window length, on the line between the measured lengths on either side of it.
fn between<T>(
    costs: &[T],
    nfft: usize,
    length: impl Fn(&T) -> usize,
    figures: impl Fn(&T) -> (f64, f64),
) -> (f64, f64) {
    let above = costs.iter().position(|cost| length(cost) >= nfft).unwrap_or(costs.len() - 1);
    let below = if length(&costs[above]) <= nfft { above } else { above.saturating_sub(1) };
    let (low, high) = (figures(&costs[below]), figures(&costs[above]));
    let log = |cost: &T| (length(cost) as f64).log2();
    let (from, to) = (log(&costs[below]), log(&costs[above]));
    let share = if to > from { ((nfft as f64).log2() - from) / (to - from) } else { 0.0 };
    let share = share.clamp(0.0, 1.0);
    (low.0 + share * (high.0 - low.0), low.1 + share * (high.1 - low.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(channels: Range<usize>, nfft: usize, bins: usize, period_ms: u64) -> Shape {
        Shape {
            values: bins,
            channels,
            bins: 0..bins,
            nfft,
            window: Window::Hann,
            line_period_s: Rational::new(period_ms, 1000).unwrap(),
            prr: Rational::new(2000, 1).unwrap(),
            streams: 3,
        }
    }

    #[test]
    fn figures_between_two_lengths_lie_between_theirs() {
        let costs = Rates::BUILT_IN.along;
        let at = |nfft| between(&costs, nfft, |cost| cost.nfft, |cost| (cost.trace_ns, cost.bin_ns)).0;
        for (nfft, ns) in [(64, 3.0), (128, 3.0), (16_384, 3.5), (32_768, 4.0), (65_536, 4.5), (1 << 20, 4.5)] {
            assert!((at(nfft) - ns).abs() < 1e-9, "{nfft}: {}", at(nfft));
        }
    }

    proptest! {
        /// Whoever asks for more is never told that it costs less.
        #[test]
        fn more_costs_more(
            first in 0usize..200, channels in 1usize..300, exponent in 7u32..17, tenth in 1usize..10, period_ms in 1u64..2000,
        ) {
            let nfft = 1usize << exponent;
            let bins = (nfft / 2 * tenth / 10).max(1);
            let cost = |shape: &Shape| Rates::BUILT_IN.transform(shape) + Rates::BUILT_IN.lines(shape);
            let one = shape(first..first + channels, nfft, bins, period_ms);
            let wider = shape(first..first + channels + 40, nfft, bins, period_ms);
            prop_assert!(cost(&one) > 0.0 && cost(&one) < cost(&wider));
        }
    }
}
