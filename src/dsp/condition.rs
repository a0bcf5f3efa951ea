//! Conditioning of a tile: raw samples of neighbouring channels to `f64` in physical units, as a worker does it before
//! any transform. In: [`Raw`] rows as they lie in a block. Out: [`Rows`], trace-major, channel `c` of the tile being
//! output channel `channels.start + c`. Single precision would not do: a phase may run away for weeks, and counts may
//! stand far from zero, while what is looked for is small.
//!
//! In this order: unpack (NaN, infinity and absurd values become 0 and are counted), add what a reader has taken off, first difference in time (strain
//! rate), difference over `g` channels, scale; then, by the pipeline's call, common mode and high-pass. Of `iq16` the
//! difference over `g` channels comes first, as a product of samples, and what follows in time is the phase of that.
//!
//! Output channel `c` of a spatial difference is input channel `c + g` minus channel `c`; its place is the middle
//! between the two, and there are `g` channels fewer. The first trace after a reset has no predecessor: its first
//! difference, like its high-pass, is 0.

// What is not inlined into the entry is compiled without the best instruction set of the machine.
#![allow(clippy::inline_always)]

use std::ops::Range;

use super::calibration::{ConditionError, ConditionSpec, LARGEST, factor};
use super::demodulate::Unwrapper;
use super::high_pass::{HighPass, TINY};
use super::lanes::vectorized;
use super::rows::{Raw, Rows, Samples};
use crate::acquisition::{Acquisition, SampleFormat};

/// Rows of a tile are padded to so many samples (64 bytes).
const ROW_SAMPLES: usize = 8;

/// See the module. One a tile; owns all it needs and allocates nothing while running.
pub struct Conditioner {
    inputs: Range<usize>,
    gauge: usize,
    difference_in_time: bool,
    /// From a raw sample, or a radian, to the output's unit.
    factor: f64,
    /// Raw floats beyond this are taken for nonsense.
    largest: f32,
    /// What was taken off the raw samples of each channel before they came; none where nothing was.
    levels: Vec<f64>,
    now: Vec<f64>,
    before: Vec<f64>,
    primed: bool,
    /// Only for `iq16`: the phase over the gauge length.
    unwrapper: Option<Unwrapper>,
    high_pass: Option<HighPass>,
    tile: Vec<f64>,
    stride: usize,
    channels: usize,
    traces: usize,
    nonfinite: usize,
    /// Traces of the last run in which there were such.
    replaced_rows: Vec<usize>,
}

impl Conditioner {
    /// Conditions output channels `channels`, at most `max_block_traces` traces at once.
    ///
    /// # Errors
    /// What cannot be done with samples of this acquisition.
    pub fn new(
        spec: &ConditionSpec,
        acquisition: &Acquisition,
        channels: Range<usize>,
        max_block_traces: usize,
    ) -> Result<Self, ConditionError> {
        let output = Self::output_acquisition(spec, acquisition)?;
        if channels.start >= channels.end || channels.end > output.channels {
            let Range { start, end } = channels;
            return Err(ConditionError::Channels { start, end, channels: output.channels });
        }
        let factor = factor(spec, acquisition)?;
        let largest = LARGEST / (4.0 * factor.abs());
        let gauge = spec.spatial_difference_channels;
        let inputs = channels.start..channels.end + gauge;
        let stride = channels.len().next_multiple_of(ROW_SAMPLES);
        let iq = acquisition.sample_format == SampleFormat::Iq16;
        let high_pass = (spec.high_pass_hz > 0.0)
            .then(|| HighPass::new(spec.high_pass_hz, acquisition.prr.to_f64(), channels.len()));
        Ok(Self {
            gauge,
            difference_in_time: spec.strain_rate,
            factor,
            // Two differences can each double a sample.
            largest: largest as f32,
            levels: (acquisition.levels.get(inputs.clone()).unwrap_or_default().iter())
                .map(|&level| if level.abs() <= largest { level } else { 0.0 })
                .collect(),
            now: vec![0.0; inputs.len()],
            before: vec![0.0; inputs.len()],
            primed: false,
            unwrapper: iq.then(|| Unwrapper::new(channels.len())),
            high_pass,
            tile: vec![0.0; stride * max_block_traces],
            stride,
            channels: channels.len(),
            traces: 0,
            nonfinite: 0,
            replaced_rows: Vec::with_capacity(max_block_traces),
            inputs,
        })
    }

    /// Forgets what was before: a gap or a new epoch.
    pub fn reset(&mut self) {
        self.primed = false;
        if let Some(unwrapper) = &mut self.unwrapper {
            unwrapper.reset();
        }
        if let Some(high_pass) = &mut self.high_pass {
            high_pass.reset();
        }
    }

    /// Fills the tile from `raw`, which follows the traces of the call before. All steps but common mode and high-pass.
    ///
    /// # Panics
    /// When `raw` has more traces than planned, fewer channels, or another format than the acquisition.
    pub fn run(&mut self, raw: Raw<'_>) {
        assert!(raw.traces() * self.stride <= self.tile.len(), "{} traces at once", raw.traces());
        vectorized(
            #[inline(always)]
            || self.run_traces(raw),
        );
    }

    #[inline(always)]
    fn run_traces(&mut self, raw: Raw<'_>) {
        self.traces = raw.traces();
        self.nonfinite = 0;
        self.replaced_rows.clear();
        for trace in 0..self.traces {
            let range = raw.range(trace, &self.inputs);
            match (raw.samples(), &mut self.unwrapper) {
                (Samples::I16(samples), None) => unpack(&samples[range], &mut self.now),
                (Samples::I32(samples), None) => unpack(&samples[range], &mut self.now),
                (Samples::F32(samples), None) => {
                    let replaced = unpack_f32(&samples[range], self.largest, &mut self.now);
                    self.nonfinite += replaced;
                    // Room for all was made when this was planned.
                    self.replaced_rows.extend((replaced > 0).then_some(trace));
                }
                (Samples::Iq16(samples), Some(unwrapper)) => unwrapper.take(&samples[range], self.gauge),
                _ => panic!("raw samples come in the format of the acquisition"),
            }
            self.now.iter_mut().zip(&self.levels).for_each(|(now, level)| *now += level);
            self.differences(trace);
        }
    }

    /// Subtracts one offset from each trace of the tile.
    ///
    /// # Panics
    /// When there are fewer offsets than traces.
    pub fn subtract_offsets(&mut self, offsets: &[f64]) {
        assert!(offsets.len() >= self.traces, "an offset for each trace");
        for (trace, offset) in offsets.iter().enumerate().take(self.traces) {
            self.row_mut(trace).iter_mut().for_each(|x| *x -= offset);
        }
    }

    /// The last step, in place; nothing when none is configured.
    pub fn high_pass(&mut self) {
        let Some(high_pass) = &mut self.high_pass else { return };
        let rows = self.tile.chunks_exact_mut(self.stride).take(self.traces);
        vectorized(
            #[inline(always)]
            || rows.for_each(|row| high_pass.run(&mut row[..self.channels])),
        );
    }

    /// The traces conditioned by the last run.
    pub fn tile(&self) -> Rows<'_> {
        Rows::new(&self.tile, self.stride, self.traces, self.channels)
    }

    /// Raw samples of the last run that were not finite, or absurdly large, and were replaced by 0. Neighbouring tiles
    /// share raw channels when there is a spatial difference; each counts what it read.
    pub const fn nonfinite(&self) -> usize {
        self.nonfinite
    }

    /// The traces of the last run in which there were such, counted from its first.
    pub fn replaced_rows(&self) -> &[usize] {
        &self.replaced_rows
    }

    fn row_mut(&mut self, trace: usize) -> &mut [f64] {
        &mut self.tile[trace * self.stride..][..self.channels]
    }

    /// From the unpacked trace in `now` to a row of the tile.
    #[inline(always)]
    fn differences(&mut self, trace: usize) {
        let out = &mut self.tile[trace * self.stride..][..self.channels];
        if let Some(unwrapper) = &self.unwrapper {
            if self.difference_in_time {
                let factor = self.factor;
                out.iter_mut().zip(unwrapper.change()).for_each(|(out, &x)| *out = flush(factor * f64::from(x)));
            } else {
                unwrapped(unwrapper, out);
            }
            return;
        }
        if self.difference_in_time {
            if !self.primed {
                self.before.copy_from_slice(&self.now);
                self.primed = true;
            }
            for (now, before) in self.now.iter_mut().zip(&mut self.before) {
                (*before, *now) = (*now, *now - *before);
            }
        }
        if self.gauge > 0 {
            difference_in_space(&self.now, self.gauge, self.factor, out);
        } else {
            scaled(&self.now, self.factor, out);
        }
    }
}

#[inline(always)]
fn difference_in_space(row: &[f64], gauge: usize, factor: f64, out: &mut [f64]) {
    for ((out, near), far) in out.iter_mut().zip(row).zip(&row[gauge..]) {
        *out = flush(factor * (far - near));
    }
}

#[inline(always)]
fn scaled(row: &[f64], factor: f64, out: &mut [f64]) {
    out.iter_mut().zip(row).for_each(|(out, x)| *out = flush(factor * x));
}

/// The unwrapped phase over the gauge length.
#[inline(always)]
fn unwrapped(unwrapper: &Unwrapper, out: &mut [f64]) {
    for ((out, phase), turns) in out.iter_mut().zip(unwrapper.phase()).zip(unwrapper.turns()) {
        *out = f64::from(*phase) + turns * std::f64::consts::TAU;
    }
}

/// Values whose power could not be told from nothing become zero before they slow the machine down as denormals.
#[inline(always)]
fn flush(x: f64) -> f64 {
    if x.abs() < TINY { 0.0 } else { x }
}

#[inline(always)]
fn unpack<T: Copy + Into<f64>>(samples: &[T], out: &mut [f64]) {
    out.iter_mut().zip(samples).for_each(|(out, &x)| *out = x.into());
}

/// Returns how many samples were replaced.
#[inline(always)]
fn unpack_f32(samples: &[f32], largest: f32, out: &mut [f64]) -> usize {
    let mut replaced = 0u32;
    for (out, &x) in out.iter_mut().zip(samples) {
        // False for NaN.
        let sound = x.abs() <= largest;
        *out = if sound { f64::from(x) } else { 0.0 };
        replaced += u32::from(!sound);
    }
    replaced as usize
}
