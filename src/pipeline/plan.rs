//! What an acquisition needs: which tiles of channels, which lanes in each, which frames come out. Pure.

use std::ops::Range;
use std::sync::Arc;

use crate::acquisition::Acquisition;
use crate::config::ViewConfig;
use crate::dsp::{CommonMode, ConditionSpec, Conditioner, Lane, Output, Plan, PlanSpec, bin_hz, bins_in_range};
use crate::frame::{ChannelAxis, FrequencyAxis, Stream, ValueKind, View};
use crate::pipeline::tile::{TILE_CHANNELS, Tile};
use crate::pipeline::view::ViewOut;

/// A view that cannot be made from this acquisition.
#[derive(Debug)]
pub struct PlanProblem {
    /// Its name.
    pub view: String,
    /// Why, in words for the operator.
    pub why: String,
}

/// All tiles and views of an acquisition.
pub struct Plans {
    /// The acquisition as it looks after conditioning.
    pub output: Arc<Acquisition>,
    /// In order of channels.
    pub tiles: Vec<Tile>,
    /// Standing views that fit.
    pub views: Vec<ViewOut>,
    /// Room for one trace over all channels.
    pub row_scratch: Vec<f32>,
    /// Input samples that are touched for each trace, over all lanes.
    pub work_per_trace: usize,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            output: Arc::new(Acquisition::example()),
            tiles: Vec::new(),
            views: Vec::new(),
            row_scratch: Vec::new(),
            work_per_trace: 0,
        }
    }
}

impl Plans {
    /// Plans `views` for `acquisition`; those that do not fit are named in the second value. Frame counters go on from
    /// `before`.
    pub fn new(
        views: &[ViewConfig],
        condition: &ConditionSpec,
        acquisition: &Acquisition,
        max_block_traces: usize,
        before: &Self,
    ) -> (Self, Vec<PlanProblem>) {
        let mut problems = Vec::new();
        let output = match Conditioner::output_acquisition(condition, acquisition) {
            Ok(output) => Arc::new(output),
            Err(why) => {
                let why = why.to_string();
                problems.extend(views.iter().map(|v| PlanProblem { view: v.name.clone(), why: why.clone() }));
                return (Self::default(), problems);
            }
        };
        let mut planned = Vec::new();
        for view in views {
            match PlannedView::new(view, &output) {
                Ok(view) => planned.push(view),
                Err(why) => problems.push(PlanProblem { view: view.name.clone(), why }),
            }
        }
        let keep_all = condition.common_mode != CommonMode::Keep && !planned.is_empty();
        let mut tiles = Vec::new();
        let mut parts: Vec<Vec<(usize, usize)>> = vec![Vec::new(); planned.len()];
        for start in (0..output.channels).step_by(TILE_CHANNELS) {
            let channels = start..(start + TILE_CHANNELS).min(output.channels);
            let mut columns = Vec::new();
            let mut lanes = Vec::new();
            for (view, parts) in planned.iter().zip(&mut parts) {
                let common = view.channels.start.max(channels.start)..view.channels.end.min(channels.end);
                if !common.is_empty() {
                    parts.push((tiles.len(), lanes.len()));
                    columns.push(common.start - channels.start..common.end - channels.start);
                    lanes.push(Lane::new(Arc::clone(&view.plan), common.len(), max_block_traces));
                }
            }
            if lanes.is_empty() && !keep_all {
                continue;
            }
            match Conditioner::new(condition, acquisition, channels.clone(), max_block_traces) {
                Ok(conditioner) => tiles.push(Tile { channels, conditioner, columns, lanes }),
                // The same for all tiles, and output_acquisition has already said yes.
                Err(why) => problems.push(PlanProblem { view: "all".into(), why: why.to_string() }),
            }
        }
        let work_per_trace = tiles.iter().map(|t| t.columns.iter().map(Range::len).sum::<usize>()).sum();
        let views = planned
            .into_iter()
            .zip(parts)
            .map(|(view, parts)| ViewOut::new(&view.plan, view.streams, view.lines_per_frame, parts, &before.views))
            .collect();
        let row_scratch = Vec::with_capacity(output.channels);
        (Self { output, tiles, views, row_scratch, work_per_trace }, problems)
    }
}

struct PlannedView {
    plan: Arc<Plan>,
    channels: Range<usize>,
    streams: Vec<Stream>,
    lines_per_frame: usize,
}

impl PlannedView {
    fn new(view: &ViewConfig, output: &Acquisition) -> Result<Self, String> {
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
        let spec = PlanSpec { nfft: view.nfft, window: view.window, period_traces, output: output_kind };
        let plan = Arc::new(Plan::new(spec).map_err(|why| why.to_string())?);
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
        Ok(Self { plan, channels, streams, lines_per_frame: view.lines_per_frame.max(1) })
    }
}

/// The unit of power: `rad^2`, but `(nstrain/s)^2`.
fn squared(unit: &str) -> String {
    if unit.chars().all(char::is_alphanumeric) { format!("{unit}^2") } else { format!("({unit})^2") }
}
