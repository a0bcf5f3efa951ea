//! Parts of plans that were made in advance on another thread, until the dsp thread takes them, and parts that it no longer
//! needs, until another thread frees their memory. Whether a part fits is seen from the part itself, within one acquisition;
//! what is not here, or does not fit, is made on the spot. So nothing depends on a stock but how long the dsp thread stands.

use std::sync::Arc;

use crate::dsp::{Input, Lane, LaneOutput, Plan, PlanSpec, Store, Worker};

/// See the module.
#[derive(Default)]
pub(in crate::pipeline) struct Stock {
    plans: Vec<Arc<Plan>>,
    lanes: Vec<Lane>,
    stores: Vec<Store>,
    /// Scratch memory, one for each thread.
    workers: Vec<Worker>,
    /// Tables and lanes that were needed and not here.
    made: usize,
    // What only waits to be freed.
    retired_lanes: Vec<Lane>,
    retired_stores: Vec<Store>,
    retired_workers: Vec<Worker>,
}

impl Stock {
    /// The tables of a transform.
    ///
    /// # Panics
    /// When `spec` is impossible.
    pub(super) fn plan(&mut self, spec: PlanSpec, input: Input) -> Arc<Plan> {
        if let Some(place) = self.plans.iter().position(|plan| *plan.spec() == spec) {
            return self.plans.swap_remove(place);
        }
        self.made += 1;
        // Each output was checked with its view, and nothing else can be wrong with several.
        Arc::new(Plan::for_input(spec, input).expect("outputs that are possible alone are so together"))
    }

    /// A new lane.
    pub(super) fn lane(&mut self, plan: &Arc<Plan>, outputs: &[LaneOutput], max_block_traces: usize) -> Lane {
        if let Some(place) = self.lanes.iter().position(|lane| lane.is_of(plan, outputs)) {
            return self.lanes.swap_remove(place);
        }
        self.made += 1;
        Lane::new(Arc::clone(plan), outputs, max_block_traces)
    }

    /// An empty store that keeps `keep` traces of so many channels, if there is one.
    pub(in crate::pipeline) fn store(&mut self, channels: usize, keep: usize) -> Option<Store> {
        let place = self.stores.iter().position(|store| store.channels() == channels && store.keeps() >= keep)?;
        Some(self.stores.swap_remove(place))
    }

    /// Scratch memory for all threads, if there is some.
    pub(in crate::pipeline) fn workers(&mut self) -> Option<Vec<Worker>> {
        (!self.workers.is_empty()).then(|| std::mem::take(&mut self.workers))
    }

    /// Whether there are tables of a transform in here.
    pub(super) const fn has_plans(&self) -> bool {
        !self.plans.is_empty()
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> + Clone {
        self.plans.iter()
    }

    pub(super) fn put_plan(&mut self, plan: Arc<Plan>) {
        self.plans.push(plan);
    }

    pub(super) fn put_lane(&mut self, lane: Lane) {
        self.lanes.push(lane);
    }

    pub(super) fn put_store(&mut self, store: Store) {
        self.stores.push(store);
    }

    pub(super) fn put_workers(&mut self, workers: Vec<Worker>) {
        self.workers = workers;
    }

    pub(super) fn retire(&mut self, lane: Lane) {
        self.retired_lanes.push(lane);
    }

    pub(in crate::pipeline) fn retire_store(&mut self, store: Store) {
        self.retired_stores.push(store);
    }

    pub(in crate::pipeline) fn retire_workers(&mut self, workers: Vec<Worker>) {
        self.retired_workers = workers;
    }

    /// Whether nothing is in here.
    pub(in crate::pipeline) const fn is_empty(&self) -> bool {
        self.plans.is_empty()
            && self.lanes.is_empty()
            && self.stores.is_empty()
            && self.workers.is_empty()
            && self.retired_lanes.is_empty()
            && self.retired_stores.is_empty()
            && self.retired_workers.is_empty()
    }

    /// Tables and lanes that were needed and not here.
    pub(in crate::pipeline) const fn made(&self) -> usize {
        self.made
    }

    /// Tables, lanes and stores that nobody took.
    #[cfg(test)]
    pub(super) const fn left(&self) -> usize {
        self.plans.len() + self.lanes.len() + self.stores.len()
    }
}
