//! What a plan is made from: whether it can be planned, and which way channels take.

use std::ops::Range;

use super::super::lanes::{Schedule, Sliding};
use super::super::window::Window;
use super::{ENERGY_NFFT, MAX_NFFT, MAX_SIDE_BY_SIDE, Output, PlanError, PlanSpec};
use crate::units::Rational;

/// The way that channels side by side take; a channel alone always goes [along](Self::Along).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Each window on its own, many channels at once.
    Whole,
    /// From window to window, up to `hop` traces apart, many channels at once.
    Sliding {
        /// Longest step between windows.
        hop: usize,
    },
    /// Each channel and each window on its own.
    Along,
}

impl PlanSpec {
    /// Lines of band energy that come as they are, `period_traces` from one to the next: each the mean over its traces.
    pub fn of_energies(period_traces: Rational) -> Self {
        let only_bin = 0..1;
        let outputs = vec![Output::BandEnergy(vec![only_bin])];
        Self { nfft: ENERGY_NFFT, window: Window::Rectangular, period_traces, outputs }
    }

    /// Whether it has the same window and line grid, so that one transform does for both.
    pub fn has_grid_of(&self, other: &Self) -> bool {
        (self.nfft, self.window, self.period_traces) == (other.nfft, other.window, other.period_traces)
    }

    /// The way that channels side by side take.
    pub fn path(&self) -> Path {
        let (nfft, (_, hop)) = (self.nfft, self.hops());
        let pays = |whole_ns| Sliding::pays(nfft, hop, self.bins().len(), self.window.terms(), whole_ns);
        let lengths = Schedule::MIN_NFFT..=MAX_SIDE_BY_SIDE;
        match () {
            () if !nfft.is_power_of_two() || nfft < Schedule::MIN_NFFT => Path::Along,
            // Measured with AVX2 for eight channels: a trace of a whole transform, and of one channel after the other.
            () if lengths.contains(&nfft) && pays(2.75) => Path::Sliding { hop },
            () if lengths.contains(&nfft) => Path::Whole,
            () if pays(20.0) => Path::Sliding { hop },
            () => Path::Along,
        }
    }

    /// The steps between windows that the line grid has: the shortest, and the longest.
    pub(super) fn hops(&self) -> (usize, usize) {
        let (num, den) = (self.period_traces.num(), self.period_traces.den());
        ((num / den) as usize, num.div_ceil(den) as usize)
    }

    /// From the first to the last bin that anything needs.
    pub(super) fn bins(&self) -> Range<usize> {
        let ranges = || self.outputs.iter().flat_map(Output::ranges);
        let first = ranges().map(|r| r.start).min().unwrap_or(0);
        first..ranges().map(|r| r.end).max().unwrap_or(first)
    }

    /// Whether this can be planned.
    ///
    /// # Errors
    /// What cannot be planned, and what would be possible.
    pub fn check(&self) -> Result<(), PlanError> {
        if !(4..=MAX_NFFT).contains(&self.nfft) || !self.nfft.is_multiple_of(2) {
            return Err(PlanError::Nfft(self.nfft));
        }
        self.check_period()?;
        let bins = self.nfft / 2 + 1;
        let check_bins = |range: &Range<usize>| {
            if range.start < range.end && range.end <= bins {
                return Ok(());
            }
            Err(PlanError::Bins { start: range.start, end: range.end, bins })
        };
        if self.outputs.is_empty() {
            return Err(PlanError::NoBands);
        }
        self.outputs.iter().try_for_each(|output| {
            match output {
                Output::BandEnergy(bands) if bands.is_empty() => return Err(PlanError::NoBands),
                Output::Decibel { reference, .. } if !(reference.is_finite() && *reference > 0.0) => {
                    return Err(PlanError::Reference(*reference));
                }
                _ => {}
            }
            output.ranges().iter().try_for_each(check_bins)
        })
    }
    /// The same for lines of band energy: only they have windows of one trace, and they have no others.
    pub(super) fn check_energies(&self) -> Result<(), PlanError> {
        if *self != Self::of_energies(self.period_traces) {
            return Err(PlanError::Nfft(self.nfft));
        }
        self.check_period()
    }

    fn check_period(&self) -> Result<(), PlanError> {
        if self.period_traces.num() < self.period_traces.den() {
            return Err(PlanError::Period(self.period_traces));
        }
        Ok(())
    }
}
