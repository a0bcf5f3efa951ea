//! What a view is in terms of an acquisition: bins instead of frequencies, traces instead of seconds. Pure.

use std::ops::Range;

use crate::acquisition::{Acquisition, Band};
use crate::config::ViewConfig;
use crate::dsp::{Output, PlanSpec, Window, bin_hz, bins_in_range};
use crate::frame::{ChannelAxis, FrequencyAxis, MAX_UNIT_BYTES, Stream, ValueKind, View, units};
use crate::pipeline::job_unit::JobUnit;
use crate::units::Rational;

/// A view as this acquisition can show it.
pub(super) struct PlannedView {
    /// Window, grid and the one output.
    pub(super) spec: PlanSpec,
    pub(super) channels: Range<usize>,
    /// One for each band of a waterfall.
    pub(super) streams: Vec<Stream>,
    pub(super) lines_per_frame: usize,
    /// Where it shows something else than it was configured for: what, in words for its owner.
    pub(super) remark: Option<String>,
}

impl PlannedView {
    /// Plans all streams of a client's job, whose values are told in `unit`.
    ///
    /// # Errors
    /// Why one of them does not fit.
    pub(super) fn all_of_job(
        job: &str,
        streams: &[ViewConfig],
        output: &Acquisition,
        unit: &JobUnit,
    ) -> Result<Vec<Self>, String> {
        let now = units(output).0;
        if unit.samples() != now {
            let then = unit.samples();
            return Err(format!("the samples are in {now:?} and were in {then:?} when the job began"));
        }
        streams.iter().enumerate().map(|(number, view)| Self::of_job(job, number, view, output, unit)).collect()
    }

    /// Plans stream `number` of a client's job.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when it is more than one stream.
    fn of_job(
        job: &str,
        number: usize,
        view: &ViewConfig,
        output: &Acquisition,
        unit: &JobUnit,
    ) -> Result<Self, String> {
        let mut planned = Self::new(view, output)?;
        let [stream] = planned.streams.as_mut_slice() else { return Err("a job has one band".into()) };
        (stream.job, stream.number) = (job.to_owned(), number as u32);
        // Powers and decibels of a job, which nobody can ask for today, would stay in the unit of the samples.
        if stream.value == ValueKind::Amplitude {
            (stream.unit, stream.unit_factor) = (fitting(unit.text())?, unit.factor());
        }
        // A display wants each line as soon as it is there.
        planned.lines_per_frame = 1;
        Ok(planned)
    }

    /// Plans a view for what conditioning makes of the samples, `output`.
    ///
    /// # Errors
    /// Why it does not fit, in words for its owner.
    pub(super) fn new(view: &ViewConfig, output: &Acquisition) -> Result<Self, String> {
        let end = view.channel_max.unwrap_or(output.channels);
        let channels = view.channel_min.saturating_sub(1)..end;
        if channels.is_empty() || end > output.channels {
            return Err(format!(
                "channels {}…{end} are asked for, the fiber has 1…{}",
                view.channel_min, output.channels
            ));
        }
        if let Some(band) = output.band {
            return Self::of_energies(view, output, band, channels);
        }
        let prr_hz = output.prr.to_f64();
        let bins_of = |(min, max): (f64, f64)| {
            let bins = bins_in_range(min, max, prr_hz, view.nfft);
            if bins.is_empty() {
                let width = bin_hz(1, prr_hz, view.nfft);
                return Err(format!(
                    "{min}…{max} Hz holds no bin: bins lie {width} Hz apart up to {} Hz",
                    prr_hz / 2.0
                ));
            }
            Ok(bins)
        };
        let (bins, axes) = match view.view {
            View::Waterfall => {
                let bins = view.bands_hz.iter().map(|&band| bins_of(band)).collect::<Result<Vec<_>, _>>()?;
                let axis = |&(min, max): &(f64, f64)| FrequencyAxis { start_hz: min, step_hz: max - min, count: 1 };
                (bins, view.bands_hz.iter().map(axis).collect())
            }
            View::Single | View::Multi => {
                let bins = bins_of(view.frequency_range_hz.unwrap_or((0.0, prr_hz / 2.0)))?;
                let axis = FrequencyAxis {
                    start_hz: bin_hz(bins.start, prr_hz, view.nfft),
                    step_hz: bin_hz(1, prr_hz, view.nfft),
                    count: bins.len(),
                };
                (vec![bins], vec![axis])
            }
        };
        let spectrum = bins[0].clone();
        let output_kind = match (view.view, view.value) {
            // Energies first, whatever they are shown as: the value kind is applied when the frame is made.
            (View::Waterfall, _) => Output::BandEnergy(bins),
            (_, ValueKind::Power) => Output::Power(spectrum),
            (_, ValueKind::Amplitude) => Output::Amplitude(spectrum),
            (_, ValueKind::Decibel { reference }) => Output::Decibel { bins: spectrum, reference },
        };
        let period_traces =
            view.line_period_s.checked_mul(output.prr).ok_or("the line period and the PRR have no exact product")?;
        if period_traces.to_f64() < 1.0 {
            return Err(format!("a line every {} s is more than one line a pulse", view.line_period_s));
        }
        let spec = PlanSpec { nfft: view.nfft, window: view.window, period_traces, outputs: vec![output_kind] };
        spec.check().map_err(|why| why.to_string())?;
        Self::of_spec(view, output, spec, channels, axes)
    }

    /// The same for lines of band energy, which are shown as they are: in their own band, and no faster than they come.
    fn of_energies(
        view: &ViewConfig,
        output: &Acquisition,
        band: Band,
        channels: Range<usize>,
    ) -> Result<Self, String> {
        if view.view != View::Waterfall {
            return Err(NO_SAMPLES.into());
        }
        let line_period_s = line_period_of_energies(view.line_period_s, output.prr);
        let period_traces = line_period_s.checked_mul(output.prr);
        let period_traces = period_traces.ok_or("the line period and the line rate have no exact product")?;
        let view = ViewConfig { line_period_s, ..view.clone() };
        let axis = FrequencyAxis { start_hz: band.low_hz, step_hz: band.high_hz - band.low_hz, count: 1 };
        let is_other = |&(low, high): &(f64, f64)| {
            let differ = |a: f64, b: f64| (a - b).abs() > 1e-6 * a.abs().max(1.0);
            differ(low, band.low_hz) || differ(high, band.high_hz)
        };
        let remark = (view.bands_hz.len() != 1 || view.bands_hz.iter().any(is_other)).then(|| {
            let Band { low_hz, high_hz } = band;
            format!("the capture has lines of {low_hz} to {high_hz} Hz, and they are what is shown")
        });
        let spec = PlanSpec::of_energies(period_traces);
        Ok(Self { remark, ..Self::of_spec(&view, output, spec, channels, vec![axis])? })
    }

    /// What `spec` computes, in streams of these frequencies.
    fn of_spec(
        view: &ViewConfig,
        output: &Acquisition,
        spec: PlanSpec,
        channels: Range<usize>,
        axes: Vec<FrequencyAxis>,
    ) -> Result<Self, String> {
        let (amplitude, power) = units(output);
        let unit = fitting(match view.value {
            ValueKind::Amplitude => amplitude,
            ValueKind::Power => power,
            ValueKind::Decibel { reference } => format!("dB re {} {power}", short(reference)),
        })?;
        let nfft = spec.nfft;
        let window_energy = nfft as f64 * mean_square(spec.window);
        let streams = axes
            .into_iter()
            .enumerate()
            .map(|(number, frequencies)| Stream {
                view: view.view,
                name: view.name.clone(),
                job: String::new(),
                number: number as u32,
                channels: ChannelAxis { start: channels.start, step: 1, count: channels.len() },
                frequencies,
                nfft,
                line_period_s: view.line_period_s,
                value: view.value,
                unit: unit.clone(),
                unit_factor: 1.0,
                window_code: window_code(spec.window),
                power_factor: 1.0 / (nfft as f64 * window_energy),
                difference_corrected: false,
                dtype: view.dtype,
                u8_range: view.u8_range,
                durable: view.durable,
            })
            .collect();
        Ok(Self { spec, channels, streams, lines_per_frame: view.lines_per_frame.max(1), remark: None })
    }
}

/// Seconds from line to line of a view that wants `wanted_s`, of lines of band energy that come with this rate.
pub(crate) fn line_period_of_energies(wanted_s: Rational, rate: Rational) -> Rational {
    let is_shorter = wanted_s.checked_mul(rate).is_some_and(|lines| lines.to_f64() < 1.0);
    if is_shorter { rate.recip() } else { wanted_s }
}

/// Why there is no spectrum of lines.
pub(crate) const NO_SAMPLES: &str = "the capture has lines of band energy and no samples, of which there are no spectra: only a waterfall can show them";

/// A unit that a frame has room for.
///
/// # Errors
/// When it has not.
fn fitting(unit: String) -> Result<String, String> {
    if unit.len() <= MAX_UNIT_BYTES {
        return Ok(unit);
    }
    let shown: String = unit.chars().take(40).collect();
    Err(format!(
        "the unit of its values, {shown:?} …, has {} bytes, and frames have room for {MAX_UNIT_BYTES}: have the \
         interrogator declare a shorter one",
        unit.len()
    ))
}

/// A number as people write it, and no digits without end.
fn short(number: f64) -> String {
    if (1e-4..1e7).contains(&number) { number.to_string() } else { format!("{number:e}") }
}

/// Mean of the squares of a window function: its cosines are orthogonal over windows of more than a few traces.
fn mean_square(window: Window) -> f64 {
    let terms = window.terms().iter().enumerate();
    terms.map(|(j, a)| if j == 0 { a * a } else { a * a / 2.0 }).sum()
}

/// As frames have it.
const fn window_code(window: Window) -> u8 {
    match window {
        Window::Hann => 0,
        Window::Hamming => 1,
        Window::Blackman => 2,
        Window::BlackmanHarris => 3,
        Window::Rectangular => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energy_of_a_window_is_that_of_its_table() {
        for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris, Window::Rectangular] {
            for nfft in [16, 64, 1024] {
                let energy: f64 = window.table(nfft).iter().map(|w| w * w).sum();
                assert!((nfft as f64 * mean_square(window) / energy - 1.0).abs() < 1e-12, "{window:?} {nfft}");
            }
        }
    }

    #[test]
    fn a_unit_is_never_cut() {
        let of = |unit: &str, value| {
            let view = ViewConfig { value, ..ViewConfig::single("one", 1) };
            let acquisition = Acquisition { unit: unit.into(), ..Acquisition::example() };
            PlannedView::new(&view, &acquisition).map(|planned| planned.streams[0].unit.clone())
        };
        let decibel = |reference| ValueKind::Decibel { reference };
        assert_eq!(of("nstrain/s", decibel(1e-30)).unwrap(), "dB re 1e-30 (nstrain/s)^2");
        assert_eq!(of("rad", decibel(0.25)).unwrap(), "dB re 0.25 rad^2");
        assert_eq!(of(&"u".repeat(64), ValueKind::Amplitude).unwrap(), "u".repeat(64));
        for (unit, value) in [("u".repeat(65), ValueKind::Amplitude), ("u".repeat(63), ValueKind::Power)] {
            let why = of(&unit, value).unwrap_err();
            assert!(why.contains("65 bytes") && why.contains("room for 64"), "{why}");
        }
    }
}
