use super::*;
use crate::frame::View;
use crate::jobs::cost::Shown;
use crate::units::Rational;
use proptest::prelude::*;
use std::collections::HashSet;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        jobs: 10,
        load: 0.5,
        memory_bytes: 100 << 20,
        ports: 9000..=9020,
        live_idle: 30 * SECOND,
        start_grace: 15 * SECOND,
    }
}

fn cost(nfft: usize, channels: std::ops::Range<usize>) -> Cost {
    let transform = Transform { grid: (nfft, Rational::new(1, 10).unwrap()), channels };
    let (load_per_channel, values_load) = (0.001, 0.0001);
    Cost {
        transform,
        load_per_channel,
        values_load,
        window: Duration::ZERO,
        bytes_per_channel: 1 << 20,
        shown: Shown { view: View::Multi, range_hz: (0.0, 1000.0), streams: 1 },
        line_bytes: 1 << 10,
        behind_bytes: 10 << 10,
        reader_lag: 5 * SECOND,
        feed: crate::feed::Limits::default(),
    }
}

fn registry(limits: Limits) -> Registry {
    Registry::new(limits, Vec::new(), 100)
}

fn over(denied: Result<String, Refusal>) -> Limit {
    match denied {
        Err(Refusal::Over(limit)) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_limit_is_named_when_it_is_the_one() {
    let mut jobs = registry(Limits { jobs: 2, ..limits() });
    for _ in 0..2 {
        jobs.reserve(SECOND, cost(512, 0..3), None, 0.0).unwrap();
    }
    assert_eq!(over(jobs.reserve(SECOND, cost(512, 0..3), None, 0.0)), Limit::Jobs(2));
    let mut ports = registry(Limits { ports: 9000..=9000, ..limits() });
    ports.reserve(SECOND, cost(512, 0..3), None, 0.0).unwrap();
    assert_eq!(over(ports.reserve(SECOND, cost(512, 0..3), None, 0.0)), Limit::Ports(1));
    let mut full = registry(limits());
    full.reserve(SECOND, cost(512, 0..99), None, 0.0).unwrap();
    assert_eq!(over(full.reserve(SECOND, cost(1024, 0..1), None, 0.0)), Limit::Memory(100));
    let roomy = Limits { memory_bytes: u64::MAX, ..limits() };
    assert_eq!(over(registry(roomy).reserve(SECOND, cost(512, 0..100), None, 0.45)), Limit::Load(50));
    assert!(registry(limits()).reserve(SECOND, cost(512, 0..50), None, f64::NAN).is_ok(), "no load has been measured");
}

#[test]
fn what_can_never_be_had_is_told_from_what_may_come() {
    let never = |limits: Limits, cost: Cost| match registry(limits).reserve(SECOND, cost, None, 0.0) {
        Err(Refusal::Never(never)) => never,
        other => panic!("{other:?}"),
    };
    let transforms = never(limits(), cost(512, 0..101));
    assert_eq!(transforms, Never::Memory { wanted: 102, allowed: 100, transforms: true });
    // Its lines, and the least that readers may be behind.
    let lines = Cost { line_bytes: 90 << 20, behind_bytes: 200 << 20, ..cost(512, 0..1) };
    assert_eq!(never(limits(), lines), Never::Memory { wanted: 111, allowed: 100, transforms: false });
    let roomy = Limits { memory_bytes: u64::MAX, ..limits() };
    assert_eq!(never(roomy.clone(), cost(512, 0..500)), Never::Load { wanted: 51, allowed: 50, transforms: true });
    let values = Cost { values_load: 0.7, ..cost(512, 0..1) };
    assert!(matches!(never(roomy, values), Never::Load { wanted: 71, transforms: false, .. }));
    // Beside a standing view that has its transform it costs nothing.
    let mut jobs = Registry::new(limits(), vec![cost(512, 0..500).transform], 0);
    assert!(jobs.reserve(SECOND, cost(512, 0..500), None, 0.0).is_ok());
}

#[test]
fn jobs_that_nobody_looked_at_make_room_first_and_then_readers_are_shortened() {
    let mut jobs = registry(limits());
    // 30 MiB each: 20 for the transform, and 10 that a reader may be behind.
    let of = |number: usize| Cost { behind_bytes: 10 << 20, ..cost(128 << number, 0..20) };
    let [unseen, read] = [0, 1].map(|number| jobs.reserve(SECOND, of(number), None, 0.0).unwrap());
    for id in [&unseen, &read] {
        jobs.started(id, SECOND);
    }
    let looks = |id: &str| Seen { open: id == read, reads: id == read, touched: Duration::ZERO };
    assert!(jobs.idle(2 * SECOND, looks).is_empty());
    let share = |jobs: &Registry| (100.0 * jobs.memory().1).round() as u64;
    assert_eq!((jobs.spared(4 * SECOND, &of(2)), share(&jobs)), (None, 100), "there is room for a third");
    let third = jobs.reserve(4 * SECOND, of(2), None, 0.0).unwrap();
    assert_eq!(jobs.spared(5 * SECOND, &of(3)), None, "its client has a moment to look at it");
    assert_eq!(jobs.spared(9 * SECOND, &of(3)), Some(unseen.clone()));
    assert_eq!(jobs.spared(9 * SECOND, &cost(128, 0..200)), None, "nothing is ended for what can never be had");
    jobs.begin_end(&unseen);
    assert_eq!(jobs.spared(9 * SECOND, &of(3)), None);
    jobs.release(&unseen);
    jobs.reserve(9 * SECOND, of(3), None, 0.0).unwrap();
    assert_eq!(share(&jobs), 100);
    // Lines for four readers are more than is left.
    let fourth = jobs.reserve(9 * SECOND, of(4), None, 0.0).unwrap();
    assert_eq!(share(&jobs), 50);
    assert_eq!(over(jobs.reserve(9 * SECOND, of(5), None, 0.0)), Limit::Memory(100));
    // Without readers nothing is charged for them.
    jobs.started(&third, 9 * SECOND);
    jobs.started(&fourth, 9 * SECOND);
    assert!(jobs.idle(10 * SECOND, |_| Seen::default()).is_empty());
    assert!(share(&jobs) > 99);
}

#[test]
fn a_job_that_shares_its_transform_is_cheap() {
    let standing = vec![cost(256, 0..90).transform];
    let mut jobs = Registry::new(limits(), standing, 0);
    // 90 MiB and 0.09 of real time each, were they alone.
    for _ in 0..3 {
        jobs.reserve(SECOND, cost(256, 0..90), None, 0.3).unwrap();
    }
    jobs.reserve(SECOND, cost(512, 0..90), None, 0.3).unwrap();
    jobs.reserve(SECOND, cost(512, 30..60), None, 0.3).unwrap();
    assert!(matches!(over(jobs.reserve(SECOND, cost(1024, 0..90), None, 0.3)), Limit::Memory(_)));
}

#[test]
fn a_young_job_counts_by_its_estimate_and_an_old_one_by_what_was_measured() {
    let mut jobs = registry(Limits { memory_bytes: u64::MAX, ..limits() });
    jobs.reserve(SECOND, cost(512, 0..300), None, 0.0).unwrap();
    assert!(matches!(over(jobs.reserve(3 * SECOND / 2, cost(1024, 0..300), None, 0.0)), Limit::Load(_)));
    assert!(jobs.reserve(5 * SECOND, cost(1024, 0..300), None, 0.1).is_ok());
}

#[test]
fn windows_that_are_not_full_say_nothing() {
    let mut jobs = registry(Limits { memory_bytes: u64::MAX, ..limits() });
    let long = Cost { window: 33 * SECOND, ..cost(512, 0..300) };
    jobs.reserve(SECOND, long, None, 0.0).unwrap();
    jobs.planned_anew(30 * SECOND, 1);
    for now in [20, 35, 63] {
        assert!(matches!(over(jobs.reserve(now * SECOND, cost(1024, 0..300), None, 0.0)), Limit::Load(_)), "{now}");
    }
    jobs.planned_anew(63 * SECOND, 1);
    assert!(jobs.reserve(65 * SECOND, cost(1024, 0..300), None, 0.1).is_ok());
}

#[test]
fn who_is_left_of_those_that_shared_a_transform_pays_for_it() {
    let mut jobs = registry(Limits { memory_bytes: u64::MAX, ..limits() });
    let first = jobs.reserve(SECOND, cost(512, 0..300), None, 0.0).unwrap();
    let second = jobs.reserve(SECOND, cost(512, 0..300), None, 0.0).unwrap();
    jobs.release(&first);
    assert!(matches!(over(jobs.reserve(SECOND, cost(1024, 0..300), None, 0.0)), Limit::Load(_)));
    // Its channels change while nobody has measured it yet: it still counts whole.
    assert!(matches!(jobs.exchange(SECOND, &second, cost(512, 300..900), 0.0), Err(Limit::Load(_))));
    assert!(jobs.exchange(SECOND, &second, cost(512, 300..600), 0.0).is_ok());
}

/// What the pipeline would measure: the true cost of jobs, a share of their estimates, once their windows are full.
struct Machine {
    jobs: Vec<(String, Cost, Duration)>,
    planned: Duration,
}

impl Machine {
    const TRUE_SHARE: f64 = 0.9;

    fn load<'a>(jobs: impl Iterator<Item = &'a Cost>) -> f64 {
        let mut known: Vec<&Transform> = Vec::new();
        let mut load = 0.0;
        for cost in jobs {
            load += Self::TRUE_SHARE * cost.load_beside(known.iter().copied());
            known.push(&cost.transform);
        }
        load
    }

    fn measured(&self, now: Duration) -> f64 {
        let full = |since: Duration, cost: &Cost| now >= since.max(self.planned) + cost.window;
        Self::load(self.jobs.iter().filter(|(_, cost, since)| full(*since, cost)).map(|(_, cost, _)| cost))
    }
}

proptest! {
    /// Whatever comes, goes, changes and is planned anew: once all windows are full, what was admitted fits.
    #[test]
    fn what_was_admitted_fits_when_all_windows_are_full(
        steps in prop::collection::vec((0usize..8, 0usize..200, 1usize..250, 0usize..4, 0u64..4000), 1..120),
    ) {
        let mut jobs = registry(Limits { memory_bytes: u64::MAX, jobs: 1000, ports: 9000..=9999, ..limits() });
        let mut machine = Machine { jobs: Vec::new(), planned: Duration::ZERO };
        let (mut now, mut plans) = (Duration::ZERO, 0);
        for (what, first, channels, grid, wait_ms) in steps {
            now += Duration::from_millis(wait_ms);
            let window = Duration::from_millis(64 << (3 * grid));
            let cost = Cost { window, ..cost(128 << grid, first..first + channels) };
            let measured = machine.measured(now);
            match what {
                0..5 => if let Ok(id) = jobs.reserve(now, cost.clone(), None, measured) {
                    jobs.started(&id, now);
                    machine.jobs.push((id, cost, now));
                },
                5 if !machine.jobs.is_empty() => {
                    let (id, _, _) = machine.jobs.swap_remove(first % machine.jobs.len());
                    jobs.release(&id);
                }
                6 if !machine.jobs.is_empty() => {
                    let place = first % machine.jobs.len();
                    let job = &mut machine.jobs[place];
                    if jobs.exchange(now, &job.0, cost.clone(), measured).is_ok() {
                        (job.1, job.2) = (cost, now);
                    }
                }
                7 => {
                    plans += 1;
                    machine.planned = now;
                    jobs.planned_anew(now, plans);
                }
                _ => {}
            }
            let all = Machine::load(machine.jobs.iter().map(|(_, cost, _)| cost));
            prop_assert!(all <= limits().load + 1e-9, "{all}");
        }
    }
}

#[test]
fn a_live_job_has_thirty_seconds_and_fifteen_more_at_its_start() {
    let mut jobs = registry(limits());
    let id = jobs.reserve(100 * SECOND, cost(512, 0..3), None, 0.0).unwrap();
    let unseen = |_: &str| Seen::default();
    assert!(jobs.idle(1000 * SECOND, unseen).is_empty(), "it has not been started yet");
    jobs.started(&id, 101 * SECOND);
    assert!(jobs.idle(145 * SECOND, unseen).is_empty());
    assert_eq!(jobs.idle(146 * SECOND, unseen), std::slice::from_ref(&id));
    // Polled at 140 s, then read by a stream until 200 s.
    let polled = |_: &str| Seen { touched: 140 * SECOND, ..Seen::default() };
    assert!(jobs.idle(169 * SECOND, polled).is_empty());
    assert!(jobs.idle(200 * SECOND, |_: &str| Seen { open: true, reads: true, touched: SECOND }).is_empty());
    assert!(jobs.idle(229 * SECOND, unseen).is_empty());
    assert_eq!(jobs.idle(230 * SECOND, unseen), std::slice::from_ref(&id));
    assert!(jobs.begin_end(&id) && !jobs.begin_end(&id));
    assert!(jobs.idle(999 * SECOND, unseen).is_empty(), "it is ending already");
    assert_eq!(jobs.len(), 1, "and holds what it has until it is gone");
    jobs.release(&id);
    assert!(jobs.is_empty() && !jobs.begin_end(&id));
}

#[test]
fn names_are_taken_once() {
    let mut jobs = registry(limits());
    assert_eq!(jobs.reserve(SECOND, cost(512, 0..3), Some("task"), 0.0), Ok("task".into()));
    assert_eq!(jobs.reserve(SECOND, cost(512, 0..3), Some("task"), 0.0), Err(Refusal::Taken));
    // A task that looks like the id that comes next.
    assert_eq!(jobs.reserve(SECOND, cost(512, 0..3), Some("3-101"), 0.0), Ok("3-101".into()));
    assert_eq!(jobs.reserve(SECOND, cost(512, 0..3), None, 0.0), Ok("3-102".into()));
    assert!(jobs.is_named("task") && jobs.is_named("3-101") && !jobs.is_named("3-102"));
}

#[test]
fn what_has_ended_is_remembered_for_a_while_and_not_without_bound() {
    let mut jobs = registry(limits());
    let ended = |id: usize| Ended {
        id: id.to_string(),
        how: How::Cancelled,
        reason: String::new(),
        view_type: 0,
        created_ms: 0,
        ended_ms: 0,
    };
    (0..3000).for_each(|id| jobs.remember(SECOND, ended(id)));
    assert!(jobs.ended("2999").is_some() && jobs.ended("0").is_none() && jobs.ended.len() == REMEMBERED);
    jobs.remember(SECOND + REMEMBERED_FOR, ended(5000));
    assert!(jobs.ended("2999").is_none() && jobs.ended("5000").is_some());
}

proptest! {
    /// Whatever comes and goes: limits hold, ids never come again, slots belong to one job at a time, and in
    /// the end nothing is held.
    #[test]
    fn nothing_leaks_and_nothing_is_given_twice(
        steps in prop::collection::vec((0usize..4, 0usize..12, 0usize..3, 1usize..40), 1..200),
    ) {
        let mut jobs = registry(limits());
        let (mut live, mut ids): (Vec<String>, HashSet<String>) = (Vec::new(), HashSet::new());
        for (number, (what, which, grid, channels)) in steps.into_iter().enumerate() {
            let now = number as u32 * SECOND;
            if what < 3 {
                match jobs.reserve(now, cost(128 << grid, which..which + channels), None, 0.05) {
                    Ok(id) => {
                        jobs.started(&id, now);
                        prop_assert!(ids.insert(id.clone()), "{} came twice", id);
                        live.push(id);
                    }
                    Err(denied) => prop_assert!(matches!(denied, Refusal::Over(_)) && !live.is_empty()),
                }
            } else if !live.is_empty() {
                jobs.release(&live.swap_remove(which % live.len()));
            }
            prop_assert!(jobs.len() == live.len() && jobs.len() <= 10);
            prop_assert!(jobs.memory().0 <= 100 << 20);
            let slots: HashSet<_> = jobs.jobs.values().map(|job| job.slot).collect();
            prop_assert_eq!(slots.len(), live.len());
            prop_assert!(slots.iter().all(|slot| (1..=10).contains(slot)), "slots are used again");
        }
        for id in &live {
            jobs.release(id);
        }
        prop_assert!(jobs.is_empty());
    }
}

#[test]
fn a_job_that_becomes_larger_takes_the_difference_or_stays_what_it_was() {
    let mut jobs = registry(limits());
    let id = jobs.reserve(SECOND, cost(512, 0..40), None, 0.0).unwrap();
    let other = jobs.reserve(SECOND, cost(1024, 0..40), None, 0.0).unwrap();
    // 20 MiB are left beside the 40 that it has.
    let before = jobs.exchange(SECOND, &id, cost(512, 100..155), 0.0).unwrap();
    assert_eq!(before, Some(cost(512, 0..40)));
    assert_eq!(jobs.exchange(SECOND, &id, cost(512, 0..70), 0.0), Err(Limit::Memory(100)));
    assert_eq!(over(jobs.reserve(SECOND, cost(2048, 0..10), None, 0.0)), Limit::Memory(100));
    jobs.restore(&id, cost(512, 0..40));
    jobs.reserve(SECOND, cost(2048, 0..10), None, 0.0).unwrap();
    assert_eq!(jobs.exchange(SECOND, "9-9", cost(512, 0..1), 0.0), Ok(None));
    assert_eq!(jobs.len(), 3);
    assert!(jobs.begin_end(&other) && jobs.is_ending(&other) && !jobs.is_ending(&id));
}
