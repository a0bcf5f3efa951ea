use super::*;
use proptest::prelude::*;

const BLOCK_S: f64 = 0.02;
const POOL: usize = 64;

fn guard() -> Guard {
    let (ended_tx, _) = tokio::sync::mpsc::unbounded_channel();
    Guard::new(Budget { max_load: 0.8, pool_blocks: POOL, ended_tx })
}

/// A pipeline in front of a queue, in seconds: jobs with their loads from a moment on, and pauses of the machine.
struct World {
    guard: Guard,
    jobs: Vec<(String, f64)>,
    standing: f64,
    load: f64,
    /// Seconds of data that wait.
    behind_s: f64,
    meters: Vec<Meter>,
    ended: Vec<String>,
    lost: bool,
}

impl World {
    fn new(standing: f64, jobs: &[f64]) -> Self {
        let jobs: Vec<_> = jobs.iter().enumerate().map(|(number, load)| (number.to_string(), *load)).collect();
        let meters = vec![Meter::default(); jobs.len()];
        Self { guard: guard(), jobs, standing, load: standing, behind_s: 0.0, meters, ended: Vec::new(), lost: false }
    }

    /// One block, during which the machine does something else for `pause_s`.
    fn block(&mut self, pause_s: f64) {
        let own = self.standing + self.jobs.iter().map(|(_, load)| load).sum::<f64>();
        let spent_s = own * BLOCK_S + pause_s;
        for (number, ((_, load), meter)) in self.jobs.iter().zip(&mut self.meters).enumerate() {
            // The first of them is the one that is interrupted.
            let pause_s = if number == 0 { pause_s } else { 0.0 };
            meter.add(((load * BLOCK_S + pause_s) * 1e9) as u64, 2);
        }
        self.behind_s = (self.behind_s + spent_s - BLOCK_S).max(0.0);
        self.load += BLOCK_S * (spent_s / BLOCK_S - self.load);
        let waiting = (self.behind_s / BLOCK_S) as usize;
        self.lost |= waiting >= POOL;
        let per_s = 2.0 / BLOCK_S;
        let loads: Vec<_> =
            self.jobs.iter().zip(&self.meters).map(|((job, _), meter)| (job.clone(), meter.load(per_s))).collect();
        let demand = self.standing + loads.iter().map(|(_, load)| load).sum::<f64>();
        let look = Look { length_s: BLOCK_S, block_load: spent_s / BLOCK_S, load: self.load, demand, waiting };
        if let Some(verdict) = self.guard.decide(look) {
            for (job, _) in costliest(loads, verdict, demand, 0.8) {
                let place = self.jobs.iter().position(|(other, _)| *other == job).unwrap();
                self.jobs.remove(place);
                self.meters.remove(place);
                self.ended.push(job);
            }
        }
    }
}

proptest! {
    /// Whatever jobs there are at once: no trace is lost, what is left fits, and nothing ends that could have stayed.
    #[test]
    fn jobs_end_before_a_trace_is_lost_and_no_more_than_must(
        standing in 0.01f64..0.6, loads in prop::collection::vec(0.001f64..3.0, 1..8),
    ) {
        let mut world = World::new(standing, &loads);
        (0..2000).for_each(|_| world.block(0.0));
        let left = standing + world.jobs.iter().map(|(_, load)| load).sum::<f64>();
        prop_assert!(!world.lost && left <= 0.8 + 1e-6, "{left}");
        let cheapest = world.ended.iter().map(|job| loads[job.parse::<usize>().unwrap()]).fold(f64::INFINITY, f64::min);
        prop_assert!(world.ended.is_empty() || left + cheapest > 0.8 - 1e-6, "{left} and {cheapest} would have fitted");
        prop_assert!(world.jobs.iter().all(|(_, load)| *load <= cheapest + 1e-9), "the costliest go first");
    }

    /// A machine that now and then does something else for a while is no reason.
    #[test]
    fn a_pause_of_the_machine_ends_no_job(
        loads in prop::collection::vec(0.001f64..0.1, 1..6), pauses in prop::collection::vec((0usize..400, 0.0f64..1.2), 0..5),
    ) {
        let mut world = World::new(0.1, &loads);
        for block in 0..2500 {
            // At least ten seconds from one to the next.
            let pause = pauses.get(block / 500).filter(|(at, _)| *at == block % 500).map_or(0.0, |(_, pause)| *pause);
            world.block(pause);
        }
        prop_assert!(world.ended.is_empty(), "{:?}", world.ended);
    }
}

#[test]
fn a_machine_that_is_used_up_by_others_costs_a_job_rather_than_a_trace() {
    let mut world = World::new(0.1, &[0.2, 0.1]);
    // Each block waits for others for nearly twice its length: the meters cannot say whose fault it is.
    for _ in 0..400 {
        let pause = if world.jobs.len() == 2 { 0.018 } else { 0.0 };
        world.block(pause);
    }
    assert!(!world.lost && world.ended == ["0"], "{:?}", world.ended);
}

#[test]
fn a_meter_believes_what_it_saw_twice() {
    let mut meter = Meter::default();
    for (ns, pieces, load) in [(1000, 1, 0.0), (0, 0, 0.0), (6000, 2, 1.0), (1_000_000, 1, 3.0)] {
        meter.add(ns, pieces);
        assert!((meter.load(1e6) - load).abs() < 1e-9, "{ns}: {}", meter.load(1e6));
    }
}
