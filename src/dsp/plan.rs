//! What a transform computes, fixed before data flows: window, FFT, line grid, normalisation and outputs. Immutable and
//! shared by all lanes. Whatever asks for the same window and line grid is an output of one plan, so that it costs one
//! transform.
//!
//! Power is one-sided and normalised by the window's energy: `power_k = c_k · |X_k|² / (nfft · Σw²)`, with `c_k = 2` but
//! for DC and the Nyquist bin, where `c_k = 1`. By Parseval a sine of amplitude `A` at a bin centre gives `A²/2` in the
//! sum over its main lobe, whatever the window, and white noise of variance σ² gives σ² in the sum over all bins.

mod spec;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::decibel;
use super::grid::{LineGrid, windows_of_line};
use super::lanes::{Form, Schedule, Sliding};
use super::window::Window;
use crate::units::Rational;
pub use spec::Path;

/// Longest window, in traces.
pub const MAX_NFFT: usize = 1 << 20;

/// Window length of lines of band energy, which nothing is transformed of: each trace by itself.
pub(super) const ENERGY_NFFT: usize = 1;

/// Longest window of channels side by side that is read where samples are kept for all. Counts stay in their blocks for as long, of all channels whoever looks at
/// them, so that longer windows are worth a copy of the channels that are wanted.
const MAX_SIDE_BY_SIDE: usize = 8192;

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
    /// What comes out, at least one.
    pub outputs: Vec<Output>,
}

/// What the samples are that a plan is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// In their unit.
    Samples,
    /// To be multiplied by this to be in their unit. It costs nothing: the factor of the powers holds it.
    Counts(f64),
    /// A rate of change made of [first differences](super::ConditionSpec::strain_rate), in its unit. What these lack of a
    /// derivative is put back, bin by bin: power `k` is divided by `sinc²(k / nfft)`.
    Differences,
    /// Band energies that the interrogator computed itself, which are [passed on](Plan::passes).
    Energies,
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
    /// No bands at all, or nothing that is to come out.
    #[error("band energy needs at least one band, and a plan at least one output")]
    NoBands,
    /// Reference of decibels.
    #[error("a decibel reference of {0} is not possible: it must be a positive power")]
    Reference(f64),
}

/// How channels side by side are transformed.
pub(super) enum SideBySide {
    /// Each window on its own.
    Whole(Schedule),
    /// From window to window.
    Sliding(Sliding),
    /// The same for windows that are too long to keep blocks for: groups have rings of their own.
    Long(Sliding),
}

impl SideBySide {
    /// Powers that come out, a vector of channels each.
    pub(super) const fn stored(&self) -> usize {
        match self {
            Self::Whole(schedule) => schedule.stored(),
            Self::Sliding(sliding) | Self::Long(sliding) => sliding.stored(),
        }
    }

    pub(super) fn position(&self, bin: usize) -> u32 {
        match self {
            Self::Whole(schedule) => schedule.position(bin),
            Self::Sliding(sliding) | Self::Long(sliding) => sliding.position(bin),
        }
    }
}

/// See the module. Made once, shared by lanes.
pub struct Plan {
    spec: PlanSpec,
    grid: LineGrid,
    window: Vec<f32>,
    /// Spectrum of the window function, from the constant on.
    lines: Vec<f64>,
    /// Energy of the newest 0, 1, 2 … times [`ENERGY_STEP`] traces of the window, and of all.
    energies: Vec<f64>,
    /// `2 / (nfft · Σw²)`; sums hold `|X_k|²`, DC and Nyquist halved.
    factor: f64,
    /// Bins that are wanted, with what their powers have to be multiplied by first; none where it is nothing.
    lacking: Vec<(usize, f32)>,
    /// For channels side by side; `None` when the length is no power of two, or too long.
    pub(super) side_by_side: Option<SideBySide>,
    /// For each output and each of its bands (a spectrum counts as one): where its bins stand among these powers.
    pub(super) places: Vec<Vec<Vec<u32>>>,
    /// For a channel alone, of `nfft / 2` complex numbers, each two neighbouring samples.
    pub(super) fft: Arc<dyn Fft<f32>>,
    /// `exp(−2πi k / nfft)`, `k = 0 … nfft/2`.
    pub(super) twiddles: Vec<Complex<f32>>,
}

impl Plan {
    /// Checks `spec` and computes the tables, for samples that are in their unit already.
    ///
    /// # Errors
    /// What cannot be planned, and what would be possible.
    pub fn new(spec: PlanSpec) -> Result<Self, PlanError> {
        Self::for_input(spec, Input::Samples)
    }

    /// As [`new`](Self::new), for samples that are something else.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_input(spec: PlanSpec, input: Input) -> Result<Self, PlanError> {
        if input == Input::Energies {
            spec.check_energies()?;
        } else {
            spec.check()?;
        }
        let scale = if let Input::Counts(scale) = input { scale } else { 1.0 };
        let exact = spec.window.table(spec.nfft);
        let energy: f64 = exact.iter().map(|w| w * w).sum();
        let window: Vec<f32> = exact.iter().map(|&w| w as f32).collect();
        let ranges: Vec<Range<usize>> = spec.outputs.iter().flat_map(|o| o.ranges().iter().cloned()).collect();
        let (hops, lines) = (spec.hops(), spec.window.lines(spec.nfft));
        let sliding = || Sliding::new(spec.nfft, hops, spec.bins().start, spec.bins().len(), spec.window.terms());
        let side_by_side = match spec.path() {
            Path::Whole => {
                let needed = |bin| ranges.iter().any(|range| range.contains(&bin));
                Some(SideBySide::Whole(Schedule::new(&window, &lines, needed)))
            }
            Path::Sliding { .. } if spec.nfft <= MAX_SIDE_BY_SIDE => Some(SideBySide::Sliding(sliding())),
            Path::Sliding { .. } => Some(SideBySide::Long(sliding())),
            Path::Along => None,
        };
        let lacks = |bin: usize| (input == Input::Differences).then(|| (bin, (1.0 / response(bin, spec.nfft)) as f32));
        let lacking: Vec<(usize, f32)> =
            ranges.iter().cloned().flatten().collect::<BTreeSet<_>>().into_iter().filter_map(lacks).collect();
        let places = |range: &Range<usize>| match &side_by_side {
            Some(side_by_side) => range.clone().map(|bin| side_by_side.position(bin)).collect(),
            None => Vec::new(),
        };
        Ok(Self {
            grid: LineGrid::new(spec.period_traces),
            factor: 2.0 * scale * scale / (spec.nfft as f64 * energy),
            places: spec.outputs.iter().map(|o| o.ranges().iter().map(places).collect()).collect(),
            lacking,
            side_by_side,
            energies: energies(&window),
            window,
            lines,
            fft: FftPlanner::new().plan_fft_forward((spec.nfft / 2).max(1)),
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

    /// Whether values are passed on: band energies, of which a line is the mean over its traces.
    pub const fn passes(&self) -> bool {
        self.spec.nfft == ENERGY_NFFT
    }

    /// Which traces make which line.
    pub const fn grid(&self) -> &LineGrid {
        &self.grid
    }

    /// At most this many lines come out of one push of up to `block_traces` traces.
    pub fn max_lines(&self, block_traces: usize) -> usize {
        self.grid.max_ends_within(block_traces)
    }

    /// Whether spectra slide from window to window where channels lie side by side, which is cheaper when windows overlap
    /// almost entirely. Amplitudes then have an error of up to 3e-6 of the largest that the channel has had, in any one
    /// bin and without a window function, within the last 1024 lines and a window.
    pub const fn slides(&self) -> bool {
        matches!(self.side_by_side, Some(SideBySide::Sliding(_) | SideBySide::Long(_)))
    }

    /// Windows that a line is made of, at most.
    pub fn windows_per_line(&self) -> u64 {
        windows_of_line(self.spec.period_traces.to_f64().ceil() as u64, self.nfft())
    }

    /// Whether a line may be the mean over several windows.
    pub(super) fn averages(&self) -> bool {
        self.windows_per_line() > 1
    }

    /// Whether channels have samples of their own, because windows are too long to keep those of all channels for them.
    pub(super) const fn keeps_own(&self) -> bool {
        !matches!(self.side_by_side, Some(SideBySide::Whole(_) | SideBySide::Sliding(_)))
    }

    pub(super) fn window(&self) -> &[f32] {
        &self.window
    }

    /// Spectrum of the window function, from the constant on.
    pub(super) fn lines(&self) -> &[f64] {
        &self.lines
    }

    /// From the first to the last bin that anything needs.
    pub(super) fn bins(&self) -> Range<usize> {
        self.spec.bins()
    }

    /// How much larger powers are made of a window of which only the newest `traces` are there: its energy over theirs.
    pub(super) fn gain(&self, traces: u64) -> f64 {
        let there = usize::try_from(traces).map_or(self.nfft(), |traces| traces.min(self.nfft()));
        let place = there / ENERGY_STEP;
        let from = self.nfft() - there;
        let there = self.energies[place] + energy(&self.window[from..from + there % ENERGY_STEP]);
        self.energies[self.energies.len() - 1] / there.max(f64::MIN_POSITIVE)
    }

    /// Puts back what first differences lack into the sums of a line, [places](SideBySide::position) of so many lanes.
    pub(super) fn complete(&self, sums: &mut [f32], lanes: usize) {
        let Some(side_by_side) = &self.side_by_side else { return };
        for &(bin, gain) in &self.lacking {
            let place = side_by_side.position(bin) as usize * lanes;
            sums[place..place + lanes].iter_mut().for_each(|power| *power *= gain);
        }
    }

    /// The same for the [bins](Self::bins) of a channel alone.
    pub(super) fn complete_alone(&self, sums: &mut [f32]) {
        let first = self.bins().start;
        self.lacking.iter().for_each(|&(bin, gain)| sums[bin - first] *= gain);
    }

    /// What sums of `|X_k|²` over `windows` windows, times `gain`, become, as output number `output` wants them.
    pub(super) fn form(&self, output: usize, windows: u64, gain: f64) -> Form {
        let factor = (gain * self.factor / windows as f64) as f32;
        match self.spec.outputs[output] {
            Output::BandEnergy(_) | Output::Power(_) => Form::Power { factor },
            Output::Amplitude(_) => Form::Amplitude { factor },
            Output::Decibel { reference, .. } => {
                Form::Decibel { factor, reference_db: (10.0 * reference.log10()) as f32 }
            }
        }
    }
}

impl Form {
    /// The same for a slice of sums of one channel.
    pub(super) fn apply(self, sums: &mut [f32]) {
        match self {
            Self::Power { factor } => sums.iter_mut().for_each(|s| *s *= factor),
            Self::Amplitude { factor } => sums.iter_mut().for_each(|s| *s = (*s * factor).sqrt()),
            Self::Decibel { factor, reference_db } => decibel::power_to_decibel(sums, factor, reference_db),
        }
    }
}

impl Output {
    /// The ranges of bins: one a band, or that of the spectrum.
    pub fn ranges(&self) -> &[Range<usize>] {
        match self {
            Self::BandEnergy(bands) => bands,
            Self::Power(bins) | Self::Amplitude(bins) | Self::Decibel { bins, .. } => std::slice::from_ref(bins),
        }
    }

    /// Values of one channel of one line: bands or bins.
    pub fn values_per_channel(&self) -> usize {
        match self {
            Self::BandEnergy(bands) => bands.len(),
            Self::Power(bins) | Self::Amplitude(bins) | Self::Decibel { bins, .. } => bins.len(),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Power of a first difference over that of the derivative, in bin `k`: `sinc²(k / nfft)`.
fn response(bin: usize, nfft: usize) -> f64 {
    let angle = std::f64::consts::PI * bin as f64 / nfft as f64;
    if bin == 0 { 1.0 } else { (angle.sin() / angle).powi(2) }
}

/// Traces from one energy of a part of the window to the next.
const ENERGY_STEP: usize = 64;

fn energy(window: &[f32]) -> f64 {
    window.iter().map(|&w| f64::from(w).powi(2)).sum()
}

fn energies(window: &[f32]) -> Vec<f64> {
    let mut sum = 0.0;
    let whole_steps = window.rchunks(ENERGY_STEP).map(|chunk| {
        sum += energy(chunk);
        sum
    });
    std::iter::once(0.0).chain(whole_steps).collect()
}

fn twiddle(k: usize, nfft: usize) -> Complex<f32> {
    let angle = -std::f64::consts::TAU * k as f64 / nfft as f64;
    Complex::new(angle.cos() as f32, angle.sin() as f32)
}
