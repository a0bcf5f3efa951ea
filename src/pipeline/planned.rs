//! What a view is in terms of an acquisition: bins instead of frequencies, traces instead of seconds. Pure.

use std::ops::Range;

use crate::acquisition::Acquisition;
use crate::config::ViewConfig;
use crate::dsp::{Output, PlanSpec, bin_hz, bins_in_range};
use crate::frame::{ChannelAxis, FrequencyAxis, Stream, ValueKind, View, squared};

/// A view as this acquisition can show it.
pub(super) struct PlannedView {
    /// Window, grid and the one output.
    pub(super) spec: PlanSpec,
    pub(super) channels: Range<usize>,
    /// One for each band of a waterfall.
    pub(super) streams: Vec<Stream>,
    pub(super) lines_per_frame: usize,
}

impl PlannedView {
    /// Plans all streams of a client's job.
    ///
    /// # Errors
    /// Why one of them does not fit.
    pub(super) fn all_of_job(job: &str, streams: &[ViewConfig], output: &Acquisition) -> Result<Vec<Self>, String> {
        streams.iter().enumerate().map(|(number, view)| Self::of_job(job, number, view, output)).collect()
    }

    /// Plans stream `number` of a client's job.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when it is more than one stream.
    fn of_job(job: &str, number: usize, view: &ViewConfig, output: &Acquisition) -> Result<Self, String> {
        let mut planned = Self::new(view, output)?;
        let [stream] = planned.streams.as_mut_slice() else { return Err("a job has one band".into()) };
        (stream.job, stream.number) = (job.to_owned(), number as u32);
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
        let squared = squared(&output.unit);
        let unit = match view.value {
            ValueKind::Amplitude => output.unit.clone(),
            ValueKind::Power => squared,
            ValueKind::Decibel { reference } => format!("dB re {reference} {squared}"),
        };
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
                nfft: view.nfft,
                line_period_s: view.line_period_s,
                value: view.value,
                unit: unit.clone(),
                dtype: view.dtype,
                u8_range: view.u8_range,
                durable: view.durable,
            })
            .collect();
        Ok(Self { spec, channels, streams, lines_per_frame: view.lines_per_frame.max(1) })
    }
}
