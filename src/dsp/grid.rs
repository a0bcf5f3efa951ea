//! Which traces make which line. Line `m` covers traces `round(m·L) .. round((m + 1)·L)`, with `L` the line period in
//! traces as an exact fraction: the grid of a month-old acquisition is off by nothing.
//!
//! A line's spectrum is the mean over windows ([`windows_of_line`]): half-overlapping, the last one ending at the
//! line's end, going back until together they see every trace of the line. A line no longer than `nfft` has one window.

use std::ops::Range;

use crate::units::Rational;

/// The line grid of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineGrid {
    period: Rational,
}

impl LineGrid {
    /// Lines of `period_traces` traces. At least one trace a line is needed for lines to differ; a plan checks that.
    pub const fn new(period_traces: Rational) -> Self {
        Self { period: period_traces }
    }

    /// Traces from line to line.
    pub const fn period(&self) -> Rational {
        self.period
    }

    /// First trace of line `m`: `round(m·L)`, halves upwards.
    pub fn start(&self, m: u64) -> u64 {
        self.period.times_rounded(m)
    }

    /// The traces of line `m`.
    pub fn traces(&self, m: u64) -> Range<u64> {
        self.start(m)..self.start(m.saturating_add(1))
    }

    /// The line that holds `trace`.
    pub fn line_at(&self, trace: u64) -> u64 {
        // floor(trace / L) is the line or, because of rounding, one off.
        let m = self.period.fits_into(trace);
        if self.start(m) > trace {
            m.saturating_sub(1)
        } else if self.start(m.saturating_add(1)) <= trace {
            m.saturating_add(1)
        } else {
            m
        }
    }

    /// At most this many lines end within `traces` consecutive traces: `ceil(traces / L)`.
    pub fn max_ends_within(&self, traces: usize) -> usize {
        let (num, den) = (u128::from(self.period.num()), u128::from(self.period.den()));
        usize::try_from((traces as u128 * den).div_ceil(num)).unwrap_or(usize::MAX)
    }
}

/// Traces from one window of a line to the next: half a window; one where a window is a single trace.
const fn window_hop(nfft: usize) -> u64 {
    if nfft > 1 { nfft as u64 / 2 } else { 1 }
}

/// How many half-overlapping windows of `nfft` traces, the last one ending with the line, see all `traces` of a line.
pub fn windows_of_line(traces: u64, nfft: usize) -> u64 {
    1 + traces.saturating_sub(nfft as u64).div_ceil(window_hop(nfft))
}

/// Where window `j` of a line ends (exclusive), `j = 0` being the earliest of `windows`.
pub fn window_end(line_end: u64, windows: u64, j: u64, nfft: usize) -> u64 {
    line_end - (windows - 1 - j) * window_hop(nfft)
}

/// The traces that the windows of a line see: those of the line, and some before it.
pub fn traces_seen(line: &Range<u64>, nfft: usize) -> Range<u64> {
    let windows = windows_of_line(line.end.saturating_sub(line.start), nfft);
    window_end(line.end, windows, 0, nfft).saturating_sub(nfft as u64)..line.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_trace_is_in_exactly_the_line_that_says_so(
            num in 1u64..100_000, den in 1u64..1000, trace in 0u64..1_000_000_000_000,
        ) {
            prop_assume!(num >= den);
            let grid = LineGrid::new(Rational::new(num, den).unwrap());
            let m = grid.line_at(trace);
            prop_assert!(grid.traces(m).contains(&trace), "{m} {:?}", grid.traces(m));
        }

        #[test]
        fn no_more_lines_end_in_a_block_than_promised(
            num in 1u64..2000, den in 1u64..100, first in 0u64..1_000_000, traces in 1usize..300,
        ) {
            prop_assume!(num >= den);
            let grid = LineGrid::new(Rational::new(num, den).unwrap());
            let end = first + traces as u64;
            // Lines that end at first + 1 ..= end, i.e. become complete with one of these traces.
            let ends = (grid.line_at(first)..grid.line_at(end)).count();
            prop_assert!(ends <= grid.max_ends_within(traces), "{ends}");
        }

        #[test]
        fn windows_see_the_whole_line_and_are_no_more_than_needed(traces in 1u64..5000, half in 1usize..300) {
            let nfft = if half == 299 { 1 } else { 2 * half };
            let line = 100_000..100_000 + traces;
            let n = windows_of_line(traces, nfft);
            let start = |j| window_end(line.end, n, j, nfft) - nfft as u64;
            prop_assert_eq!(window_end(line.end, n, n - 1, nfft), line.end);
            prop_assert_eq!(traces_seen(&line, nfft), start(0)..line.end);
            prop_assert!(start(0) <= line.start, "the earliest window begins with the line or before");
            prop_assert!(n == 1 || start(1) > line.start, "one window fewer would not do");
        }
    }

    #[test]
    fn absurd_trace_numbers_do_no_harm() {
        let grid = LineGrid::new(Rational::new(201, 2).unwrap());
        for trace in [u64::MAX, u64::MAX - 1, u64::MAX / 2] {
            let m = grid.line_at(trace);
            assert!(grid.start(m) <= trace);
        }
    }
}
