//! A tile: neighbouring channels that one worker takes through conditioning and all transforms while they are in cache.

use std::ops::Range;

use crate::dsp::{Conditioner, Lane};

/// Channels of a tile: what one worker takes at a time. One cache line of `int16` a row, and a working set that stays
/// in the second-level cache.
pub const TILE_CHANNELS: usize = 32;

/// Neighbouring channels, with all that is computed from them.
pub struct Tile {
    /// Channels after conditioning.
    pub channels: Range<usize>,
    /// From raw samples to conditioned ones.
    pub conditioner: Conditioner,
    /// The transforms that touch this tile: columns of the tile for each lane.
    pub columns: Vec<Range<usize>>,
    /// As `columns`.
    pub lanes: Vec<Lane>,
}

impl Tile {
    /// Pushes the conditioned samples into every lane.
    pub fn push(&mut self) {
        let rows = self.conditioner.tile();
        for (columns, lane) in self.columns.iter().zip(&mut self.lanes) {
            lane.push(rows.columns(columns.clone()));
        }
    }
}
