//! Band energies that the interrogator computed itself: they are passed on. A window is one trace, and a line the mean over
//! its windows, which of a single one is the value itself, to the last bit.

use super::super::traces::History;
use super::parts::Taken;
use super::{LaneOutput, Values, of, widen};

/// Sums of the line that is being gathered, in double precision, which holds every single value exactly.
pub(super) struct Means {
    /// Of the channels of the tile, up to the last that is wanted.
    sums: Vec<f64>,
}

impl Means {
    pub(super) fn new(lane_outputs: &[LaneOutput]) -> Self {
        let channels = lane_outputs.iter().map(|output| output.channels.end).max().unwrap_or(0);
        Self { sums: vec![0.0; channels] }
    }

    /// Takes over the sums of the line that is being gathered.
    pub(super) fn take_over(&mut self, before: &Self) {
        self.sums.iter_mut().zip(&before.sums).for_each(|(sum, before)| *sum = *before);
    }

    /// Takes a window in, and finishes a line in a slot, of so many windows. What is no finite number counts as zero.
    pub(super) fn window(
        &mut self,
        history: History<'_>,
        window: Option<Taken>,
        finish: Option<(usize, u64)>,
        values: &mut [Values],
    ) {
        if let (Some(taken), History::Energies(lines)) = (window, history) {
            let row = lines.rows.row((taken.end - 1 - lines.first_trace) as usize);
            for (sum, energy) in self.sums.iter_mut().zip(row) {
                let energy = if energy.is_finite() { f64::from(*energy) } else { 0.0 };
                *sum = if taken.add { *sum + energy } else { energy };
            }
        }
        let Some((slot, windows)) = finish else { return };
        for out in values {
            let channels = out.lane_output.channels.clone();
            let (means, extrema) = out.channels_mut(slot, channels.clone());
            let sums = &self.sums[channels];
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = (sum / windows as f64) as f32);
            widen(extrema, of(means));
        }
    }
}
