//! What transforms, views and jobs cost, by their meters.

use std::collections::BTreeMap;

use super::{Plans, Transform};
use crate::dsp::Spent;
use crate::pipeline::view::ViewOut;

/// Shares of one thread's time that a job costs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pipeline) struct JobLoad {
    /// For its windows.
    pub(in crate::pipeline) transform: f64,
    /// From finished lines to frames.
    pub(in crate::pipeline) lines: f64,
}

impl Plans {
    /// Takes in what the last block cost. Returns the thread time of transforms and views, in nanoseconds.
    pub(in crate::pipeline) fn measure(&mut self) -> u64 {
        let mut all = self.views.iter().map(ViewOut::spent_ns).sum();
        for transform in self.transforms.iter_mut().flatten() {
            let mut spent = Spent::default();
            for (lane, tile) in transform.lanes.iter().zip(&self.tiles) {
                let Some(of_lane) = lane.map(|lane| tile.lanes[lane].spent()) else { continue };
                // Lanes of a transform see the same windows.
                spent = Spent { ns: spent.ns + of_lane.ns, windows: spent.windows.max(of_lane.windows) };
            }
            transform.meter.add(spent.ns, spent.windows);
            all += spent.ns;
        }
        all
    }

    /// Share of one thread's time that everything costs once all windows are full.
    pub(in crate::pipeline) fn demand(&self) -> f64 {
        let prr_hz = self.output.prr.to_f64();
        let transforms: f64 = self.transforms.iter().flatten().map(|transform| transform.load(prr_hz)).sum();
        transforms + self.views.iter().map(|view| self.load_of_lines(view)).sum::<f64>()
    }

    fn load_of_lines(&self, view: &ViewOut) -> f64 {
        let Some(transform) = &self.transforms[view.transform()] else { return 0.0 };
        view.load(transform.lines_per_s(self.output.prr.to_f64()))
    }

    /// What each job costs: its share of its transforms, by channels, and of what it shows. Jobs that show the same
    /// share evenly.
    pub(in crate::pipeline) fn job_loads(&self) -> BTreeMap<String, JobLoad> {
        let prr_hz = self.output.prr.to_f64();
        let mut channels = vec![0; self.transforms.len()];
        self.views.iter().for_each(|view| channels[view.transform()] += view.channels().len());
        let mut loads: BTreeMap<String, JobLoad> = BTreeMap::new();
        for view in &self.views {
            let Some(transform) = &self.transforms[view.transform()] else { continue };
            let share = view.channels().len() as f64 / channels[view.transform()].max(1) as f64;
            let streams = view.streams().count() as f64;
            for stream in view.streams().filter(|stream| !stream.job.is_empty()) {
                let load = loads.entry(stream.job.clone()).or_default();
                load.transform += transform.load(prr_hz) * share / streams;
                load.lines += self.load_of_lines(view) / streams;
            }
        }
        loads
    }
}

impl Transform {
    /// Lines a second.
    fn lines_per_s(&self, prr_hz: f64) -> f64 {
        prr_hz / self.plan.spec().period_traces.to_f64()
    }

    /// Share of one thread's time, by what windows have cost.
    fn load(&self, prr_hz: f64) -> f64 {
        self.meter.load(self.lines_per_s(prr_hz) * self.plan.windows_per_line() as f64)
    }
}
