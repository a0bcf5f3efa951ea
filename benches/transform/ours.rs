//! fiberd's own stage, the code that the service runs: tiles and lanes over tables of the rows of blocks.

use std::sync::Arc;

use fiberd::dsp::{ConditionSpec, Input, Lane, LaneOutput, Plan, Raw, Samples, Spare, Traces};
use fiberd::pipeline::tile::{TILE_CHANNELS, Tile};
use fiberd::pipeline::workers::{WorkerPool, Workers};

use crate::work::{Contender, Recording, Workload};

/// Traces of a block: 128 ms at 2000 Hz.
const BLOCK: usize = 256;

/// Lines whose memory is kept, at most: as many as a stream's frames in flight.
const KEPT: usize = 64;

/// A tile's part of every line: memory that changed hands, as frames get it.
struct Part {
    lines: Vec<Vec<f32>>,
    done: usize,
}

pub struct Ours {
    tiles: Vec<Tile>,
    parts: Vec<Part>,
    workers: Workers,
    rows: Spare<[i16]>,
    reach: usize,
    channels: usize,
    traces: usize,
    kept: usize,
    per_channel: usize,
}

impl Ours {
    pub fn new(workload: &Workload, threads: usize) -> Self {
        let acquisition = workload.acquisition();
        let condition = ConditionSpec::default();
        let plan =
            Arc::new(Plan::for_input(workload.spec.clone(), Input::Counts(acquisition.scale)).expect("possible"));
        let per_channel = workload.output().values_per_channel();
        let kept = KEPT.min(workload.lines());
        let part = |first: usize| {
            let channels = first..(first + TILE_CHANNELS).min(workload.channels);
            let want = LaneOutput { output: 0, channels: 0..channels.len() };
            let lanes = vec![Lane::new(Arc::clone(&plan), &[want], BLOCK)];
            let lines = vec![vec![0.0; channels.len() * per_channel]; kept];
            let tile = Tile::new(&condition, &acquisition, channels, lanes, BLOCK).expect("plain counts");
            (tile, Part { lines, done: 0 })
        };
        let mut workers = Workers::leading(WorkerPool::apart(threads));
        let (tiles, parts): (Vec<Tile>, _) = (0..workload.channels).step_by(TILE_CHANNELS).map(part).unzip();
        let reach = tiles.iter().flat_map(|tile| &tile.lanes).map(Lane::reach).max().unwrap_or(0);
        let mut rows = Spare::default();
        rows.reserve(reach + BLOCK);
        workers.reserve(&std::iter::once(&plan), reach + BLOCK);
        Self {
            tiles,
            parts,
            workers,
            rows,
            reach,
            channels: workload.channels,
            traces: workload.traces,
            kept,
            per_channel,
        }
    }
}

impl Part {
    /// Takes the lines over that the last block completed.
    fn collect(&mut self, tile: &mut Tile) {
        let lane = &mut tile.lanes[0];
        for line in 0..lane.lines().len() {
            let kept = self.lines.len();
            lane.swap_values(0, line, &mut self.lines[self.done % kept]);
            self.done += 1;
        }
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        match self.workers.threads() {
            1 => "fiberd".into(),
            n => format!("fiberd, {n} threads"),
        }
    }

    fn pass(&mut self, recording: &Recording) {
        self.tiles.iter_mut().for_each(|tile| tile.restart(0, true));
        self.parts.iter_mut().for_each(|part| part.done = 0);
        for first in (0..self.traces).step_by(BLOCK) {
            let traces = BLOCK.min(self.traces - first);
            let oldest = first.saturating_sub(self.reach);
            let samples = &recording.samples[oldest * recording.stride..(first + traces) * recording.stride];
            let mut table = Traces::new(oldest as u64, &mut self.rows);
            table.push(Raw::new(Samples::I16(samples), recording.stride, first + traces - oldest, self.channels));
            self.workers.each(&mut self.tiles, self.workers.threads() > 1, |tile, worker| {
                tile.transform_counts(&table, worker);
            });
            table.put_away(&mut self.rows);
            self.tiles.iter_mut().zip(&mut self.parts).for_each(|(tile, part)| part.collect(tile));
        }
    }

    fn kept(&self) -> usize {
        self.kept
    }

    fn values(&self, line: usize, channel: usize) -> Vec<f32> {
        let number = channel / TILE_CHANNELS;
        let place = (channel - self.tiles[number].channels.start) * self.per_channel;
        self.parts[number].lines[line % self.kept][place..][..self.per_channel].to_vec()
    }
}
