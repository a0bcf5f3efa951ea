//! What a transform computes, fixed before data flows: window, FFT, line grid, normalisation and output. Immutable and
//! shared by all lanes of a stream.
//!
//! Power is one-sided and normalised by the window's energy: `power_k = c_k · |X_k|² / (nfft · Σw²)`, with `c_k = 2` but
//! for DC and the Nyquist bin, where `c_k = 1`. By Parseval a sine of amplitude `A` at a bin centre gives `A²/2` in the
//! sum over its main lobe, whatever the window, and white noise of variance σ² gives σ² in the sum over all bins.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::decibel;
use super::grid::LineGrid;
use super::window::Window;
use crate::units::Rational;

/// Longest window, in traces.
pub const MAX_NFFT: usize = 1 << 20;

/// What comes out of a transform for each channel of a line. Bin ranges are half-open indices within `0 .. nfft/2 + 1`;
/// [`bins_in_range`](super::bins::bins_in_range) makes them from Hz.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// One value a band: the sum of power over its bins.
    BandEnergy(Vec<Range<usize>>),
    /// Power of each bin, squared units of the samples.
    Power(Range<usize>),
    /// Square root of power.
    Amplitude(Range<usize>),
    /// `10·log10(power / reference)`; power is first raised to at least `f32::MIN_POSITIVE` (1.2e-38), the floor.
    Decibel {
        /// Bins.
        bins: Range<usize>,
        /// Power that is 0 dB.
        reference: f64,
    },
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSpec {
    /// Window length in traces: even, 4…2²⁰.
    pub nfft: usize,
    /// Window function.
    pub window: Window,
    /// Traces from line to line, at least one.
    pub period_traces: Rational,
    /// What comes out.
    pub output: Output,
}

/// Why a plan is impossible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Window length.
    #[error("a window of {0} traces is not possible: nfft must be even, at least 4 and at most {MAX_NFFT}")]
    Nfft(usize),
    /// Line period.
    #[error("a line period of {0} traces is shorter than one trace: lengthen it to at least 1 / PRR")]
    Period(Rational),
    /// A band or range without bins.
    #[error("bins {start}..{end} of {bins} hold nothing: widen the range, raise nfft or stay below PRR / 2")]
    Bins {
        /// First bin asked for.
        start: usize,
        /// Behind the last bin asked for.
        end: usize,
        /// Bins that there are.
        bins: usize,
    },
    /// No bands at all.
    #[error("band energy needs at least one band")]
    NoBands,
    /// Reference of decibels.
    #[error("a decibel reference of {0} is not possible: it must be a positive power")]
    Reference(f64),
}

/// See the module. Made once, shared by lanes.
pub struct Plan {
    spec: PlanSpec,
    grid: LineGrid,
    window: Vec<f32>,
    /// `2 / (nfft · Σw²)`, and ¼ because sums are of `|2 X_k|²`; DC and Nyquist are halved before it is applied.
    factor: f64,
    /// Of `nfft / 2` complex numbers, each two neighbouring samples.
    pub(super) fft: Arc<dyn Fft<f32>>,
    /// `exp(−2πi k / nfft)`, `k = 0 … nfft/2`.
    pub(super) twiddles: Vec<Complex<f32>>,
}

impl Plan {
    /// Checks `spec` and computes the tables.
    ///
    /// # Errors
    /// What cannot be planned, and what would be possible.
    pub fn new(spec: PlanSpec) -> Result<Self, PlanError> {
        check(&spec)?;
        let window = spec.window.table(spec.nfft);
        let energy: f64 = window.iter().map(|w| w * w).sum();
        Ok(Self {
            grid: LineGrid::new(spec.period_traces),
            factor: 0.5 / (spec.nfft as f64 * energy),
            window: window.iter().map(|&w| w as f32).collect(),
            fft: FftPlanner::new().plan_fft_forward(spec.nfft / 2),
            twiddles: (0..=spec.nfft / 2).map(|k| twiddle(k, spec.nfft)).collect(),
            spec,
        })
    }

    /// What the plan was made from.
    pub const fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Window length in traces.
    pub const fn nfft(&self) -> usize {
        self.spec.nfft
    }

    /// Which traces make which line.
    pub const fn grid(&self) -> &LineGrid {
        &self.grid
    }

    /// Values of one channel of one line: bands or bins.
    pub fn values_per_channel(&self) -> usize {
        match &self.spec.output {
            Output::BandEnergy(bands) => bands.len(),
            Output::Power(bins) | Output::Amplitude(bins) | Output::Decibel { bins, .. } => bins.len(),
        }
    }

    /// At most this many lines come out of one push of up to `block_traces` traces.
    pub fn max_lines(&self, block_traces: usize) -> usize {
        self.grid.max_ends_within(block_traces)
    }

    pub(super) fn window(&self) -> &[f32] {
        &self.window
    }

    /// From the first to the last bin that anything needs.
    pub(super) fn bins(&self) -> Range<usize> {
        match &self.spec.output {
            Output::BandEnergy(bands) => {
                let first = bands.iter().map(|b| b.start).min().unwrap_or(0);
                first..bands.iter().map(|b| b.end).max().unwrap_or(first)
            }
            Output::Power(bins) | Output::Amplitude(bins) | Output::Decibel { bins, .. } => bins.clone(),
        }
    }

    /// Turns sums of `|2 X_k|²` (DC and Nyquist halved) over `windows` windows into what was asked for, in place.
    pub(super) fn finish(&self, sums: &mut [f32], windows: u64) {
        let factor = (self.factor / windows as f64) as f32;
        match self.spec.output {
            Output::BandEnergy(_) | Output::Power(_) => sums.iter_mut().for_each(|s| *s *= factor),
            Output::Amplitude(_) => sums.iter_mut().for_each(|s| *s = (*s * factor).sqrt()),
            Output::Decibel { reference, .. } => decibel::power_to_decibel(sums, factor, reference),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("spec", &self.spec).finish_non_exhaustive()
    }
}

fn twiddle(k: usize, nfft: usize) -> Complex<f32> {
    let angle = -std::f64::consts::TAU * k as f64 / nfft as f64;
    Complex::new(angle.cos() as f32, angle.sin() as f32)
}

fn check(spec: &PlanSpec) -> Result<(), PlanError> {
    if !(4..=MAX_NFFT).contains(&spec.nfft) || !spec.nfft.is_multiple_of(2) {
        return Err(PlanError::Nfft(spec.nfft));
    }
    if spec.period_traces.num() < spec.period_traces.den() {
        return Err(PlanError::Period(spec.period_traces));
    }
    let bins = spec.nfft / 2 + 1;
    let check_bins = |range: &Range<usize>| {
        if range.start < range.end && range.end <= bins {
            return Ok(());
        }
        Err(PlanError::Bins { start: range.start, end: range.end, bins })
    };
    match &spec.output {
        Output::BandEnergy(bands) if bands.is_empty() => Err(PlanError::NoBands),
        Output::BandEnergy(bands) => bands.iter().try_for_each(check_bins),
        Output::Power(range) | Output::Amplitude(range) => check_bins(range),
        Output::Decibel { bins: range, reference } => {
            if !(reference.is_finite() && *reference > 0.0) {
                return Err(PlanError::Reference(*reference));
            }
            check_bins(range)
        }
    }
}
