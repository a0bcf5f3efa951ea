//! A scene as an ordinary source, without a clock: for recording captures that are the same bytes each time.
//!
//! Delivers traces as fast as they are asked for. Traces that the scene loses, or that fall into a noticed pull, are a
//! gap. Timestamps count from a fixed moment.

use std::time::{Duration, Instant};

use super::generator::Generator;
use super::scene::{Scene, SceneError};
use super::schedule::{Fate, Schedule};
use crate::acquisition::Acquisition;
use crate::block::RawBlock;
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};
use crate::units::TraceIndex;

/// 2026-01-01T00:00:00Z: when a recorded scene begins.
pub const SCENE_BEGINS_UTC_NS: i64 = 1_767_225_600 * 1_000_000_000;

/// A scene without a clock. See the module's page.
pub struct SceneSource {
    acquisition: Acquisition,
    generator: Generator,
    schedule: Schedule,
    next: u64,
    gap: u64,
    lost: u64,
}

impl SceneSource {
    /// Beginning with trace 0 at [`SCENE_BEGINS_UTC_NS`].
    ///
    /// # Errors
    /// When the scene is impossible.
    pub fn new(scene: &Scene) -> Result<Self, SceneError> {
        Ok(Self {
            generator: Generator::new(scene)?,
            acquisition: scene.acquisition(SCENE_BEGINS_UTC_NS.cast_unsigned() / 1000),
            schedule: Schedule::new(scene, 0.0),
            next: 0,
            gap: 0,
            lost: 0,
        })
    }

    fn skip(&mut self, until: u64) {
        self.gap += until - self.next;
        self.next = until;
    }
}

impl Interrogator for SceneSource {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::Ready(self.acquisition.clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _deadline: Duration) -> Result<ReadOutcome, SourceError> {
        let until = loop {
            match self.schedule.at(self.next) {
                (Fate::Flow, until) => break until,
                (Fate::Lost, until) => {
                    self.lost += until - self.next;
                    self.skip(until);
                }
                (Fate::LightOff, until) => self.skip(until),
            }
        };
        block.first_trace = TraceIndex(self.next);
        block.utc_ns = SCENE_BEGINS_UTC_NS + self.acquisition.prr.traces_to_ns(self.next);
        block.gap_before = std::mem::take(&mut self.gap);
        block.traces = (until - self.next).min(block.layout().capacity_traces as u64) as usize;
        for row in 0..block.traces {
            self.generator.generate(self.next, block.row_mut(row));
            self.next += 1;
        }
        block.captured_at = Instant::now();
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn lost_before_source(&self) -> u64 {
        self.lost
    }
}
