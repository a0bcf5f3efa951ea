//! What all views of a transform want together, and about what that costs.

use std::ops::Range;

use crate::dsp::{Lane, LaneOutput, Output, PlanSpec};
use crate::pipeline::tile::Tile;

/// What all views of a transform want.
#[derive(Default)]
pub(super) struct Requested {
    pub(super) outputs: Vec<Output>,
    /// For each output the channels, apart from each other and in order.
    channels: Vec<Vec<Range<usize>>>,
}

impl Requested {
    /// What these views want: each an output, of channels.
    pub(super) fn of_all<'v>(views: impl Iterator<Item = (&'v Output, &'v Range<usize>)>) -> Self {
        let mut all = Self::default();
        views.for_each(|(output, channels)| all.add(output, channels));
        all
    }

    /// What the transform is made from, that has the grid of `grid`.
    pub(super) fn spec(&self, grid: &PlanSpec) -> PlanSpec {
        PlanSpec { outputs: self.outputs.clone(), ..*grid }
    }

    fn add(&mut self, output: &Output, channels: &Range<usize>) {
        let number = self.outputs.iter().position(|known| known == output).unwrap_or_else(|| {
            self.outputs.push(output.clone());
            self.channels.push(Vec::new());
            self.outputs.len() - 1
        });
        let known = &mut self.channels[number];
        // Ranges that touch become one.
        let touches = |other: &Range<usize>| other.start <= channels.end && channels.start <= other.end;
        let begin = known.iter().position(|other| other.end >= channels.start).unwrap_or(known.len());
        let count = known[begin..].iter().take_while(|other| touches(other)).count();
        let whole =
            known[begin..begin + count].iter().fold(channels.clone(), |a, b| a.start.min(b.start)..a.end.max(b.end));
        known.splice(begin..begin + count, [whole]);
    }

    /// What a tile of `tile` is to compute.
    pub(super) fn of(&self, tile: &Range<usize>) -> Vec<LaneOutput> {
        let within = |(output, known): (usize, &Vec<Range<usize>>)| {
            let common = known.iter().map(|range| overlap(range, tile)).filter(|range| !range.is_empty());
            let lane_output =
                |range: Range<usize>| LaneOutput { output, channels: range.start - tile.start..range.end - tile.start };
            common.map(lane_output).collect::<Vec<_>>()
        };
        self.channels.iter().enumerate().flat_map(within).collect()
    }
}

pub(super) fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// About what a trace of a tile costs: finding its samples, and its share of each window (measured with AVX2 at nfft 256
/// to 4096; longer windows cost up to twice as much).
pub(super) fn cost_ns_per_trace(tile: &Tile) -> f64 {
    let (found, transformed) = (0.1, 0.35);
    let windows = |lane: &Lane| {
        let hop = lane.plan().spec().period_traces.to_f64().min(lane.plan().nfft() as f64 / 2.0);
        lane.transformed() as f64 * lane.plan().nfft() as f64 / hop
    };
    found * tile.channels.len() as f64 + transformed * tile.lanes.iter().map(windows).sum::<f64>()
}
