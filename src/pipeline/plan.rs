//! What an acquisition needs: which tiles of channels, which lanes in each, which frames come out; and what of this is
//! the same for several views, so that it is there once. Pure.

use std::ops::Range;
use std::sync::Arc;

use crate::acquisition::Acquisition;
use crate::config::ViewConfig;
use crate::dsp::{
    CommonMode, ConditionError, ConditionSpec, Conditioner, Lane, Output, Plan, PlanError, PlanSpec, Want, bin_hz,
    bins_in_range,
};
use crate::frame::{ChannelAxis, FrequencyAxis, Stream, ValueKind, View};
use crate::pipeline::tile::{TILE_CHANNELS, Tile, plain_counts};
use crate::pipeline::view::{Part, ViewOut};

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
    /// Transforms, each shared by all views that it serves.
    pub transforms: Vec<Arc<Plan>>,
    /// What goes out; views that show the same are one here.
    pub views: Vec<ViewOut>,
    /// Whether counts are transformed as they come.
    pub counts: bool,
    /// Room for one trace over all channels.
    pub row_scratch: Vec<f32>,
    /// About what a trace costs one thread, over all tiles.
    pub ns_per_trace: f64,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            output: Arc::new(Acquisition::example()),
            tiles: Vec::new(),
            transforms: Vec::new(),
            views: Vec::new(),
            counts: false,
            row_scratch: Vec::new(),
            ns_per_trace: 0.0,
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
        let mut problem = |view: &str, why: String| problems.push(PlanProblem { view: view.into(), why });
        let output = match Conditioner::output_acquisition(condition, acquisition) {
            Ok(output) => Arc::new(output),
            Err(why) => {
                for view in views {
                    problem(&view.name, why.to_string());
                }
                return (Self::default(), problems);
            }
        };
        let mut shared = Shared::default();
        for view in views {
            match PlannedView::new(view, &output) {
                Ok(view) => shared.add(view),
                Err(why) => problem(&view.name, why),
            }
        }
        let scale = plain_counts(condition, acquisition);
        let transforms = match shared.plans(scale.unwrap_or(1.0)) {
            Ok(transforms) => transforms,
            // Each view's own plan has been checked already, and a plan of several asks for nothing more.
            Err(why) => {
                problem("all", why.to_string());
                return (Self::default(), problems);
            }
        };
        let (tiles, parts) = match shared.tiles(&transforms, condition, acquisition, &output, max_block_traces) {
            Ok(tiles) => tiles,
            Err(why) => {
                problem("all", why.to_string());
                return (Self::default(), problems);
            }
        };
        let view = |(shown, parts): (&Shown, Vec<Part>)| {
            let output = &shared.transforms[shown.transform].spec.outputs[shown.output];
            let readers = shared.shown.iter().filter(|s| (s.transform, s.output) == (shown.transform, shown.output));
            let (sole, per_channel) = (readers.count() == 1, output.values_per_channel());
            ViewOut::new(per_channel, &shown.streams, shown.lines_per_frame, parts, sole, &before.views)
        };
        let views = shared.shown.iter().zip(parts).map(view).collect();
        let row_scratch = Vec::with_capacity(output.channels);
        let ns_per_trace = tiles.iter().map(cost_ns_per_trace).sum();
        (Self { output, tiles, transforms, views, counts: scale.is_some(), row_scratch, ns_per_trace }, problems)
    }

    /// Traces before a block that windows may still reach.
    pub fn reach(&self) -> usize {
        self.tiles.iter().flat_map(|tile| &tile.lanes).map(Lane::reach).max().unwrap_or(0)
    }
}

/// About what a trace of a tile costs: finding its samples, and its share of each window (measured with AVX2
/// at nfft 256 to 4096; longer windows cost up to twice as much).
fn cost_ns_per_trace(tile: &Tile) -> f64 {
    let (found, transformed) = (0.1, 0.35);
    let windows = |lane: &Lane| {
        let hop = lane.plan().spec().period_traces.to_f64().min(lane.plan().nfft() as f64 / 2.0);
        lane.transformed() as f64 * lane.plan().nfft() as f64 / hop
    };
    found * tile.channels.len() as f64 + transformed * tile.lanes.iter().map(windows).sum::<f64>()
}

/// What all views together need, each thing once.
#[derive(Default)]
struct Shared {
    transforms: Vec<SharedTransform>,
    shown: Vec<Shown>,
}

/// A transform, and for each of its outputs the channels that it is wanted for.
struct SharedTransform {
    spec: PlanSpec,
    channels: Vec<Range<usize>>,
}

/// Views that show the same.
struct Shown {
    transform: usize,
    output: usize,
    lines_per_frame: usize,
    /// Of each view.
    streams: Vec<Vec<Stream>>,
}

impl Shared {
    /// Takes a view in: it shares its transform with those that have the same window and line grid, its values with
    /// those that want the same bins of the same channels, and its frames with those that show them alike.
    fn add(&mut self, view: PlannedView) {
        let PlannedView { spec, channels, streams, lines_per_frame } = view;
        let same_grid = |other: &SharedTransform| {
            (other.spec.nfft, other.spec.window, other.spec.period_traces)
                == (spec.nfft, spec.window, spec.period_traces)
        };
        let transform = self.transforms.iter().position(same_grid).unwrap_or_else(|| {
            self.transforms
                .push(SharedTransform { spec: PlanSpec { outputs: Vec::new(), ..spec.clone() }, channels: Vec::new() });
            self.transforms.len() - 1
        });
        let SharedTransform { spec: known, channels: of } = &mut self.transforms[transform];
        let wanted = spec.outputs.into_iter().next().expect("a view has an output");
        let output = (0..of.len()).find(|&i| known.outputs[i] == wanted && of[i] == channels).unwrap_or_else(|| {
            known.outputs.push(wanted);
            of.push(channels);
            of.len() - 1
        });
        let shows_alike = |shown: &&mut Shown| {
            (shown.transform, shown.output, shown.lines_per_frame) == (transform, output, lines_per_frame)
                && (shown.streams[0][0].view, shown.streams[0][0].value) == (streams[0].view, streams[0].value)
        };
        match self.shown.iter_mut().find(shows_alike) {
            Some(shown) => shown.streams.push(streams),
            None => self.shown.push(Shown { transform, output, lines_per_frame, streams: vec![streams] }),
        }
    }

    fn plans(&self, scale: f64) -> Result<Vec<Arc<Plan>>, PlanError> {
        self.transforms.iter().map(|t| Ok(Arc::new(Plan::for_counts(t.spec.clone(), scale)?))).collect()
    }

    /// The tiles with their lanes, and where the parts of each of `shown` are.
    fn tiles(
        &self,
        plans: &[Arc<Plan>],
        condition: &ConditionSpec,
        acquisition: &Acquisition,
        output: &Acquisition,
        max_block_traces: usize,
    ) -> Result<(Vec<Tile>, Vec<Vec<Part>>), ConditionError> {
        // Common mode is that of all channels, whoever looks at them.
        let keep_all = condition.common_mode != CommonMode::Keep && !plans.is_empty();
        let mut tiles = Vec::new();
        let mut parts = vec![Vec::new(); self.shown.len()];
        for start in (0..output.channels).step_by(TILE_CHANNELS) {
            let channels = start..(start + TILE_CHANNELS).min(output.channels);
            let mut lanes = Vec::new();
            for (number, (plan, transform)) in plans.iter().zip(&self.transforms).enumerate() {
                let wants = transform.wants(&channels);
                if wants.is_empty() {
                    continue;
                }
                for (shown, parts) in self.shown.iter().zip(&mut parts).filter(|(s, _)| s.transform == number) {
                    if let Some(want) = wants.iter().position(|want| want.output == shown.output) {
                        let channels = wants[want].channels.len();
                        parts.push(Part { tile: tiles.len(), lane: lanes.len(), want, channels });
                    }
                }
                lanes.push(Lane::new(Arc::clone(plan), &wants, max_block_traces));
            }
            if !lanes.is_empty() || keep_all {
                tiles.push(Tile::new(condition, acquisition, channels, lanes, max_block_traces)?);
            }
        }
        Ok((tiles, parts))
    }
}

impl SharedTransform {
    /// What a tile of `channels` is to compute.
    fn wants(&self, channels: &Range<usize>) -> Vec<Want> {
        let within = |(output, of): (usize, &Range<usize>)| {
            let common = of.start.max(channels.start)..of.end.min(channels.end);
            let in_tile = common.start.wrapping_sub(channels.start)..common.end.wrapping_sub(channels.start);
            (!common.is_empty()).then_some(Want { output, channels: in_tile })
        };
        self.channels.iter().enumerate().filter_map(within).collect()
    }
}

struct PlannedView {
    spec: PlanSpec,
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

/// The unit of power: `rad^2`, but `(nstrain/s)^2`.
fn squared(unit: &str) -> String {
    if unit.chars().all(char::is_alphanumeric) { format!("{unit}^2") } else { format!("({unit})^2") }
}
