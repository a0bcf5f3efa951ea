//! What the dsp thread does where traces do not follow the ones before: plans anew for a new acquisition, and lets no window
//! reach over a gap. Nothing else could be done meanwhile, so none of it is left to the planner.

use std::sync::Arc;

use tracing::{info, warn};

use super::Engine;
use super::clock::TimeBase;
use super::execute::KnownJob;
use super::plan::{Now, Plans, Stock};
use super::planned::PlannedView;
use super::view::ViewOut;
use crate::block::Lease;
use crate::status::FindingKind;

impl Engine {
    pub(super) fn replan(&mut self, block: &Lease) {
        self.flush();
        self.kept.clear();
        self.time = Some(TimeBase::of(&block.acquisition));
        self.first_trace = block.first_trace.0;
        self.missing.begin(block.first_trace.0);
        self.marked.prepare(block.layout().capacity_traces, self.condition.strain_rate);
        self.input = Some(Arc::clone(&block.acquisition));
        self.counters.plans.add(1);
        self.generation += 1;
        self.planned_at = self.generation;
        let before = self.plans.take();
        self.impossible = None;
        let max_block_traces = block.layout().capacity_traces;
        for kind in [
            FindingKind::ConditioningImpossible,
            FindingKind::ViewLeftOut,
            FindingKind::NoViewFits,
            FindingKind::ViewSilent,
        ] {
            self.findings.take_back_all(kind);
        }
        self.counters.channels.set(0.0);
        match Plans::new(&self.condition, &block.acquisition, max_block_traces, self.history_bytes) {
            Ok(mut plans) => {
                let before = before.map(|plans| plans.views).unwrap_or_default();
                plans.tiles.iter_mut().for_each(|tile| tile.restart(block.first_trace.0, true));
                self.add_all(&mut plans, &before, Now { next_trace: block.first_trace.0, kept: None });
                let (tiles, views) = (plans.tiles.len(), plans.views.len());
                info!(epoch = block.acquisition.epoch, tiles, views, "planned");
                self.counters.channels.set(plans.output.channels as f64);
                self.plans = Some(plans);
                self.kept.prepare(block);
                self.make_room();
            }
            Err(why) => {
                warn!(%why, "this acquisition cannot be conditioned as configured: nothing is shown");
                self.findings.found(FindingKind::ConditioningImpossible, "", why.to_string());
                self.counters.lines_due_s.set(0.0);
                self.impossible = Some(why.to_string());
            }
        }
    }

    /// Standing views, and the jobs that were there before. What does not fit is left out.
    fn add_all(&mut self, plans: &mut Plans, before: &[ViewOut], now: Now<'_>) {
        let unfit = |view: &str, why: &str| {
            warn!(view, %why, "this view does not fit the acquisition and is left out");
        };
        let mut left_out = Vec::new();
        let mut come = Vec::new();
        for view in &self.views {
            match PlannedView::new(view, &plans.output) {
                Ok(planned) => come.push(planned),
                Err(why) => {
                    unfit(&view.name, &why);
                    self.findings.found(FindingKind::ViewLeftOut, &view.name, why.as_str());
                    left_out.push(why);
                }
            }
        }
        if let Some(why) = left_out.first().filter(|_| left_out.len() == self.views.len()) {
            self.findings.found(FindingKind::NoViewFits, "", why.as_str());
        }
        self.jobs.retain(|known| {
            let KnownJob { job, streams, unit } = known;
            let planned = PlannedView::all_of_job(job, streams, &plans.output, unit);
            planned.map(|planned| come.extend(planned)).inspect_err(|why| unfit(job, why)).is_ok()
        });
        plans.exchange(come, &[], before, now, &mut Stock::default());
        // A new epoch is seen from its first trace on, whole or not.
        plans.views.iter_mut().for_each(ViewOut::show_all);
    }

    /// Memory for what is planned, so that the next block needs none.
    pub(super) fn make_room(&mut self) {
        let Some(plans) = &self.plans else { return };
        // A job may wait long for its first window, and nobody waits for it alone.
        let standing = plans.views.iter().flat_map(ViewOut::streams).filter(|stream| stream.job.is_empty());
        let prr_hz = plans.output.prr.to_f64();
        let due_s = standing.map(|stream| 2.0 * stream.line_period_s.to_f64() + stream.nfft as f64 / prr_hz);
        self.counters.lines_due_s.set(due_s.reduce(f64::min).unwrap_or(0.0));
        let rows = self.kept.keep(plans.counts().then(|| plans.reach()));
        self.workers.reserve(&plans.transforms(), rows);
    }

    /// Traces are missing: no window and no difference may reach over the gap.
    pub(super) fn bridge_gap(&mut self, next_trace: u64) {
        self.flush();
        self.kept.clear();
        self.missing.add(self.next_trace..next_trace);
        // Silence of a view is counted in traces that came.
        self.first_trace += next_trace.saturating_sub(self.next_trace);
        for tile in self.plans.iter_mut().flat_map(|plans| &mut plans.tiles) {
            tile.restart(next_trace, false);
        }
    }
}
