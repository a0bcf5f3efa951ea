//! A tile: neighbouring channels that one worker takes through conditioning and all transforms while they are in cache.

use std::ops::Range;

use crate::acquisition::{Acquisition, SampleFormat};
use crate::dsp::{CommonMode, ConditionError, ConditionSpec, Conditioner, Energies, Lane, Raw, Store, Traces, Worker};
use crate::pipeline::load::Stopwatch;
use crate::pipeline::plan::Stock;

/// Channels of a tile: what one worker takes at a time. Many enough that the memory of one group of channels is asked for
/// while another is transformed, few enough that tiles share out evenly.
pub const TILE_CHANNELS: usize = 128;

/// Neighbouring channels, with all that is computed from them.
pub struct Tile {
    /// Channels after conditioning.
    pub channels: Range<usize>,
    /// From raw samples to conditioned ones, and the newest of these; `None` when counts are transformed as they are, and
    /// band energies passed on.
    conditioned: Option<(Conditioner, Store)>,
    /// Of the last block of band energies, values that are no finite number, and the traces that they are in.
    nonfinite: usize,
    replaced_rows: Vec<usize>,
    /// The transforms that touch this tile.
    pub lanes: Vec<Lane>,
    /// Nobody needs this tile.
    idle: bool,
}

/// The scale of a count, when conditioning is nothing but that: kernels then load the counts themselves.
pub fn plain_counts(spec: &ConditionSpec, acquisition: &Acquisition) -> Option<f64> {
    let plain = acquisition.sample_format == SampleFormat::I16
        && !spec.strain_rate
        && spec.spatial_difference_channels == 0
        && spec.common_mode == CommonMode::Keep
        && spec.high_pass_hz <= 0.0;
    // Powers hold the square of the scale; it must be a number that f32 can tell from nothing.
    (plain && (1e-12..=1e12).contains(&acquisition.scale.abs())).then_some(acquisition.scale)
}

impl Tile {
    /// A tile for conditioned channels `channels`, which `lanes` share.
    ///
    /// # Errors
    /// What cannot be done with samples of this acquisition.
    pub fn new(
        spec: &ConditionSpec,
        acquisition: &Acquisition,
        channels: Range<usize>,
        lanes: Vec<Lane>,
        max_block_traces: usize,
    ) -> Result<Self, ConditionError> {
        let is_energy = acquisition.band.is_some();
        let conditioned = if is_energy || plain_counts(spec, acquisition).is_some() {
            None
        } else {
            let conditioner = Conditioner::new(spec, acquisition, channels.clone(), max_block_traces)?;
            Some((conditioner, Lane::store(&lanes, channels.len(), max_block_traces)))
        };
        let replaced_rows = Vec::with_capacity(if is_energy { max_block_traces } else { 0 });
        Ok(Self { channels, conditioned, nonfinite: 0, replaced_rows, lanes, idle: false })
    }

    /// The conditioned samples that are here; `None` where counts are transformed as they are, and while nobody needs
    /// this tile.
    pub fn store(&self) -> Option<&Store> {
        self.conditioned.as_ref().filter(|_| !self.idle).map(|(_, store)| store)
    }

    /// The lanes, and what [`store`](Self::store) says.
    pub fn lanes_and_store(&mut self) -> (&mut Vec<Lane>, Option<&Store>) {
        (&mut self.lanes, self.conditioned.as_ref().filter(|_| !self.idle).map(|(_, store)| store))
    }

    /// Traces that the store keeps, if there is one.
    pub(super) fn keeps(&self) -> Option<usize> {
        self.conditioned.as_ref().map(|(_, store)| store.keeps())
    }

    /// Lets the store keep what its lanes may reach, and `later` traces for jobs to come. A tile without lanes rests, unless
    /// it is `needed` by others; the next sample is of trace `next_trace`. More memory may be in `stock`.
    pub(super) fn settle(
        &mut self,
        (later, max_block_traces): (usize, usize),
        needed: bool,
        next_trace: u64,
        stock: &mut Stock,
    ) {
        let rested = std::mem::replace(&mut self.idle, self.lanes.is_empty() && !needed);
        let Some((mut conditioner, mut store)) = self.conditioned.take() else { return };
        if rested && !self.idle {
            conditioner.reset();
            store.reset(next_trace);
        }
        let later = if self.idle { 0 } else { later };
        let reach = self.lanes.iter().map(Lane::reach).max().unwrap_or(0).max(later);
        if reach > store.keeps()
            && let Some(roomier) = stock.store(self.channels.len(), reach)
        {
            stock.retire_store(store.move_to(roomier));
        }
        self.conditioned = Some((conditioner, store.keeping(reach, max_block_traces)));
    }

    /// A new epoch, or a gap within one: the next sample is of trace `next_trace`.
    pub fn restart(&mut self, next_trace: u64, epoch: bool) {
        if let Some((conditioner, store)) = &mut self.conditioned {
            conditioner.reset();
            store.reset(next_trace);
        }
        for lane in &mut self.lanes {
            if epoch {
                lane.reset(next_trace);
            } else {
                lane.gap(next_trace);
            }
        }
    }

    /// From raw samples to conditioned ones, up to where common mode is removed.
    pub fn condition(&mut self, raw: Raw<'_>) {
        if let Some((conditioner, _)) = self.conditioned.as_mut().filter(|_| !self.idle) {
            conditioner.run(raw);
        }
    }

    /// Conditioned samples of one trace of the last block.
    pub fn conditioned_row(&self, trace: usize) -> Option<&[f64]> {
        self.conditioned.as_ref().filter(|_| !self.idle).map(|(conditioner, _)| conditioner.tile().row(trace))
    }

    /// Subtracts the common mode of each trace.
    pub fn subtract(&mut self, offsets: &[f64]) {
        if let Some((conditioner, _)) = self.conditioned.as_mut().filter(|_| !self.idle) {
            conditioner.subtract_offsets(offsets);
        }
    }

    /// The last step of conditioning, into the store, and all transforms of what came in.
    pub fn transform(&mut self, worker: &mut Worker) {
        let Some((conditioner, store)) = self.conditioned.as_mut().filter(|_| !self.idle) else { return };
        conditioner.high_pass();
        store.push(conditioner.tile());
        let mut watch = Stopwatch::start();
        for lane in &mut self.lanes {
            lane.push(store, worker);
            watch.charge(lane);
        }
    }

    /// All transforms of the counts that came in.
    pub fn transform_counts(&mut self, traces: &Traces<'_>, worker: &mut Worker) {
        if !self.lanes.is_empty() {
            let mut watch = Stopwatch::start();
            worker.take_counts(&mut self.lanes, &self.channels, traces, |lane| watch.charge(lane));
        }
    }

    /// Band energies that came in, from trace `first_trace` on, to all lanes as they are.
    pub fn pass(&mut self, raw: Raw<'_>, first_trace: u64, worker: &mut Worker) {
        self.nonfinite = 0;
        self.replaced_rows.clear();
        let Some(rows) = raw.floats().filter(|_| !self.lanes.is_empty()) else { return };
        let rows = rows.columns(self.channels.clone());
        for trace in 0..rows.traces() {
            let wrong = rows.row(trace).iter().filter(|energy| !energy.is_finite()).count();
            self.nonfinite += wrong;
            self.replaced_rows.extend((wrong > 0).then_some(trace));
        }
        let mut watch = Stopwatch::start();
        for lane in &mut self.lanes {
            lane.pass(Energies { first_trace, rows }, worker);
            watch.charge(lane);
        }
    }

    /// Traces of the last block, counted from its first, in which samples were replaced.
    pub fn replaced_rows(&self) -> &[usize] {
        let conditioned = self.conditioned.as_ref().filter(|_| !self.idle);
        conditioned.map_or(&self.replaced_rows, |(conditioner, _)| conditioner.replaced_rows())
    }

    /// Raw samples of the last block that were not finite, or absurdly large, and were replaced by 0.
    pub fn nonfinite(&self) -> usize {
        let conditioned = self.conditioned.as_ref().filter(|_| !self.idle);
        conditioned.map_or(self.nonfinite, |(conditioner, _)| conditioner.nonfinite())
    }
}
