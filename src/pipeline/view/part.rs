//! Where the values of a view lie among those of the tiles.

use crate::pipeline::plan::Transform;
use crate::pipeline::tile::Tile;

/// Where some channels of a view come from: output number `lane_output` of its transform's lane in tile `tile`.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct Part {
    pub(in crate::pipeline) tile: usize,
    pub(in crate::pipeline) lane_output: usize,
    /// The first of them among those of the output.
    pub(in crate::pipeline) offset: usize,
    /// How many channels.
    pub(in crate::pipeline) channels: usize,
}

impl Part {
    /// Whether the window of a line that ends there reaches back before what is known.
    pub(super) fn is_short(&self, transform: &Transform, tiles: &[Tile], end: u64) -> bool {
        let Some(lane) = transform.lane_of(self.tile, tiles) else { return false };
        let first = lane.lane_outputs().nth(self.lane_output).map_or(0, |output| output.channels.start) + self.offset;
        lane.is_short(&(first..first + self.channels), end)
    }
}
