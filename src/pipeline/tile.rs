//! A tile: neighbouring channels that one worker takes through conditioning and all transforms while they are in cache.

use std::ops::Range;

use crate::acquisition::{Acquisition, SampleFormat};
use crate::dsp::{CommonMode, ConditionError, ConditionSpec, Conditioner, Lane, Raw, Samples, Store, Worker};

/// Channels of a tile: what one worker takes at a time. Many enough that the memory of one group of channels is asked for
/// while another is transformed, few enough that tiles share out evenly.
pub const TILE_CHANNELS: usize = 64;

/// Neighbouring channels, with all that is computed from them.
pub struct Tile {
    /// Channels after conditioning.
    pub channels: Range<usize>,
    /// From raw samples to conditioned ones; `None` when counts are transformed as they are.
    pub conditioner: Option<Conditioner>,
    /// The newest traces.
    pub store: Store,
    /// The transforms that touch this tile.
    pub lanes: Vec<Lane>,
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
        let counts = plain_counts(spec, acquisition).is_some();
        let conditioner = Conditioner::new(spec, acquisition, channels.clone(), max_block_traces)?;
        Ok(Self {
            store: Lane::store(&lanes, channels.len(), counts, max_block_traces),
            conditioner: (!counts).then_some(conditioner),
            channels,
            lanes,
        })
    }

    /// A new epoch, or a gap within one: the next sample is of trace `next_trace`.
    pub fn restart(&mut self, next_trace: u64, epoch: bool) {
        self.store.reset(next_trace);
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.reset();
        }
        for lane in &mut self.lanes {
            if epoch {
                lane.reset(next_trace);
            } else {
                lane.gap(next_trace);
            }
        }
    }

    /// From raw samples to conditioned ones, up to where common mode is removed; nothing for counts that stay such.
    pub fn condition(&mut self, raw: Raw<'_>) {
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.run(raw);
        }
    }

    /// The last step of conditioning, and into the store; counts that stay such are there already.
    pub fn store(&mut self) {
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.high_pass();
            self.store.push(conditioner.tile());
        }
    }

    /// All transforms of what came into the store.
    pub fn transform(&mut self, worker: &mut Worker) {
        for lane in &mut self.lanes {
            lane.push(&self.store, worker);
        }
    }

    /// Raw samples of the last block that were not finite, or absurdly large, and were replaced by 0.
    pub fn nonfinite(&self) -> usize {
        self.conditioner.as_ref().map_or(0, Conditioner::nonfinite)
    }
}

/// Puts a block of counts into the stores of neighbouring tiles, trace by trace: memory is fast when it is read in order,
/// and from a block that has left the caches a small piece of each trace for one tile after the other would take several
/// times as long. Nor must there be too many tiles, or the many places that are written to fall out of the caches.
///
/// # Panics
/// When the samples are no counts.
pub fn store_counts(tiles: &mut [Tile], raw: Raw<'_>) {
    let Samples::I16(samples) = raw.samples() else { panic!("counts are 16-bit integers") };
    for tile in &mut *tiles {
        tile.store.begin_push(raw.traces());
    }
    // Four traces at once fill the cache lines that are written to.
    let fours = raw.traces() / 4 * 4;
    for first in (0..fours).step_by(4) {
        for tile in &mut *tiles {
            let traces = [0, 1, 2, 3].map(|i| &samples[raw.range(first + i, &tile.channels)]);
            tile.store.put_counts(raw.traces() - first, traces);
        }
    }
    for trace in fours..raw.traces() {
        for tile in &mut *tiles {
            tile.store.put_counts(raw.traces() - trace, [&samples[raw.range(trace, &tile.channels)]]);
        }
    }
}
