//! The kernel and scratch memory of one thread, which runs lanes.

use std::ops::Range;

use super::super::along::Along;
use super::super::lanes::{self, Cell, Kernel};
use super::super::plan::{Plan, SideBySide};
use super::super::traces::{Cells, History, Spare, Traces};
use super::Lane;

/// The kernel and scratch memory of one thread.
pub struct Worker {
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) along: Along,
    /// Powers of a line of one window, `[place][lane]`.
    pub(super) powers: Vec<f32>,
    /// Where the counts of a tile are.
    pub(super) cells: Spare<Cell>,
    /// Traces by which two groups slide.
    pub(super) steps: Vec<f32>,
}

impl Default for Worker {
    fn default() -> Self {
        let (powers, steps) = (Vec::new(), Vec::new());
        Self { kernel: lanes::kernel(), along: Along::default(), powers, cells: Spare::default(), steps }
    }
}

impl Worker {
    /// Channels that this machine's kernel transforms together.
    pub fn lanes() -> usize {
        lanes::lanes()
    }

    /// Room to find the counts of `channels` channels in, over `traces` traces.
    pub fn reserve_cells(&mut self, channels: usize, traces: usize) {
        self.cells.reserve(channels.div_ceil(lanes::CELL_CHANNELS) * traces);
    }

    /// Runs `lanes`, of a tile of `channels`, on the counts that `traces` has got since the last call, and calls `done`
    /// behind each.
    pub fn take_counts(
        &mut self,
        lanes: &mut [Lane],
        channels: &Range<usize>,
        traces: &Traces<'_>,
        mut done: impl FnMut(&mut Lane),
    ) {
        let from = lanes.iter().map(|lane| lane.reads_from(traces.end())).min().unwrap_or(u64::MAX);
        // A job of a few channels must not pay for the table of all.
        let wanted =
            lanes.iter().flat_map(Lane::lane_outputs).map(|lane_output| lane_output.channels.end).max().unwrap_or(0);
        let cells = Cells::new(traces, from, &(channels.start..channels.start + wanted), &mut self.cells);
        for lane in lanes {
            lane.advance(History::Counts(&cells), self);
            done(lane);
        }
        cells.put_away(&mut self.cells);
    }

    /// Makes the scratch memory large enough for `plan`. This and [`reserve_cells`](Self::reserve_cells) are the only
    /// places that allocate.
    pub fn reserve(&mut self, plan: &Plan) {
        match &plan.side_by_side {
            Some(SideBySide::Whole(schedule)) => self.kernel.reserve(schedule),
            Some(SideBySide::Sliding(sliding)) => self.kernel.reserve_sliding(sliding),
            Some(SideBySide::Long(sliding)) => {
                self.kernel.reserve_sliding(sliding);
                let steps = 4 * sliding.longest_hop() * self.kernel.lanes();
                self.steps.resize(steps.max(self.steps.len()), 0.0);
            }
            None => {}
        }
        let needed = plan.side_by_side.as_ref().map_or(0, SideBySide::stored) * self.kernel.lanes();
        self.powers.resize(needed.max(self.powers.len()), 0.0);
        self.along.reserve(plan);
    }
}
