use super::*;
use proptest::prelude::*;
use std::sync::Mutex;
use std::thread;
use tokio::sync::watch;

/// How a part of a fake daemon behaves. The first data part is told to end; each other one by the end of the one above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    AsTold,
    EndsEarly,
    Panics,
    Fails,
    Over,
    Asks,
    Dispensable,
    Hangs,
    /// Does what it is told, and fails at its end.
    FailsAtTheEnd,
}

const EVERY: [Does; 9] = [
    Does::AsTold,
    Does::EndsEarly,
    Does::Panics,
    Does::Fails,
    Does::Over,
    Does::Asks,
    Does::Dispensable,
    Does::Hangs,
    Does::FailsAtTheEnd,
];

#[derive(Clone, Copy, Debug)]
struct Fake {
    does: Does,
    as_thread: bool,
}

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    ending: Ending,
    /// `data` and `services` when these were told, and names of parts as they ended by being told.
    events: Vec<&'static str>,
}

fn failure() -> AppError {
    AppError::Software("broken".into())
}

/// Waits for its turn and does as it does. `told` closes when it is to end.
fn body(name: &'static str, does: Does, told: &mut dyn FnMut(), events: &Mutex<Vec<&'static str>>) -> Outcome {
    match does {
        Does::EndsEarly => return Ok(End::Told),
        Does::Panics => panic!("fell over"),
        Does::Fails => return Err(failure()),
        Does::Over => return Ok(End::Over("the source has ended")),
        Does::Asks => return Ok(End::Asks("a person")),
        Does::Dispensable => return Ok(End::Dispensable),
        Does::AsTold | Does::FailsAtTheEnd | Does::Hangs => {}
    }
    told();
    events.lock().unwrap().push(name);
    if does == Does::FailsAtTheEnd { Err(failure()) } else { Ok(End::Told) }
}

const NAMES: [&str; 6] = ["capture", "dsp", "publisher", "api", "jobs", "notify"];

/// Runs three data parts and three services. `wishes`: so many wishes to stop, the first after all parts run.
fn run(fakes: [Fake; 6], wishes: usize) -> Ran {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ran = runtime.block_on(async {
        let limits = Limits {
            data: Duration::from_millis(300),
            services: Duration::from_millis(300),
            settle: Duration::from_millis(300),
        };
        let mut supervisor = Supervisor::new(limits);
        let events = Arc::<Mutex<Vec<&'static str>>>::default();
        let (data_tx, mut told) = watch::channel(());
        let (services_tx, services_rx) = watch::channel(());
        for (number, (name, fake)) in NAMES.into_iter().zip(fakes).enumerate() {
            let rank = if number < 3 { Rank::Data(number as u8) } else { Rank::Service };
            let (below_tx, below_rx) = watch::channel(());
            let mut mine = if rank.is_data() { std::mem::replace(&mut told, below_rx) } else { services_rx.clone() };
            let events = Arc::clone(&events);
            let hangs = fake.does == Does::Hangs;
            if fake.as_thread {
                let handle = tokio::runtime::Handle::current();
                let thread = thread::spawn(move || {
                    let _below = below_tx;
                    let mut wait = || {
                        handle.block_on(async { while mine.changed().await.is_ok() {} });
                        if hangs {
                            thread::sleep(Duration::from_secs(3600));
                        }
                    };
                    body(name, fake.does, &mut wait, &events)
                });
                supervisor.thread(name, rank, thread, |outcome| outcome);
            } else {
                supervisor.task(name, rank, async move {
                    let _below = below_tx;
                    if matches!(fake.does, Does::AsTold | Does::FailsAtTheEnd | Does::Hangs) {
                        while mine.changed().await.is_ok() {}
                        if hangs {
                            std::future::pending::<()>().await;
                        }
                    }
                    body(name, fake.does, &mut || (), &events)
                });
            }
        }
        let (wish_tx, wish_rx) = mpsc::unbounded_channel();
        (0..wishes).for_each(|_| wish_tx.send("SIGTERM").unwrap());
        let (of_data, of_services) = (Arc::clone(&events), Arc::clone(&events));
        let orders = Orders {
            wishes: wish_rx,
            stop_data: move || {
                of_data.lock().unwrap().push("stop data");
                drop(data_tx);
            },
            stop_services: move || {
                of_services.lock().unwrap().push("stop services");
                drop(services_tx);
            },
            progress: || 0,
        };
        let ending = supervisor.run(orders).await;
        let events = events.lock().unwrap().clone();
        Ran { ending, events }
    });
    runtime.shutdown_timeout(Duration::from_millis(1));
    ran
}

fn all(does: Does) -> [Fake; 6] {
    [Fake { does, as_thread: false }; 6]
}

fn with(number: usize, does: Does, as_thread: bool) -> [Fake; 6] {
    let mut fakes = all(Does::AsTold);
    fakes[number] = Fake { does, as_thread };
    fakes
}

#[test]
fn a_stop_that_was_asked_for_ends_all_parts_in_order() {
    let ran = run(all(Does::AsTold), 1);
    assert!(ran.ending.outcome.is_ok(), "{ran:?}");
    assert_eq!(ran.ending.reason, "SIGTERM");
    assert_eq!(ran.events[..5], ["stop data", "capture", "dsp", "publisher", "stop services"]);
    let mut services = ran.events[5..].to_vec();
    services.sort_unstable();
    assert_eq!(services, ["api", "jobs", "notify"]);
}

#[test]
fn any_unexpected_end_of_any_part_stops_all_others_and_is_a_fault_of_that_name() {
    for (number, name) in NAMES.into_iter().enumerate() {
        for as_thread in [false, true] {
            for (does, words) in
                [(Does::Panics, "died: fell over"), (Does::EndsEarly, "ended although nobody"), (Does::Fails, "broken")]
            {
                let ran = run(with(number, does, as_thread), 0);
                let context = format!("{name} {does:?} {as_thread}: {ran:?}");
                let error = ran.ending.outcome.unwrap_err();
                assert_eq!(error.exit_code(), 70, "{context}");
                assert!(error.to_string().contains(words), "{context}");
                assert!(does == Does::Fails || error.to_string().starts_with(name), "{context}");
                let told: Vec<_> = NAMES.iter().filter(|name| ran.events.contains(name)).collect();
                assert_eq!(told.len(), 5, "{context}");
            }
        }
    }
}

#[test]
fn what_comes_to_its_end_is_no_fault() {
    for (does, reason) in [(Does::Over, "the source has ended"), (Does::Asks, "a person")] {
        let ran = run(with(0, does, true), 0);
        assert!(ran.ending.outcome.is_ok() && ran.ending.reason == reason, "{ran:?}");
        assert_eq!(ran.events.iter().filter(|event| !event.starts_with("stop")).count(), 5, "{ran:?}");
    }
    let ran = run(with(4, Does::Dispensable, false), 1);
    assert!(ran.ending.outcome.is_ok(), "{ran:?}");
}

#[test]
fn the_first_of_two_faults_is_told() {
    let mut fakes = with(0, Does::Panics, true);
    fakes[2].does = Does::FailsAtTheEnd;
    let ran = run(fakes, 0);
    assert!(ran.ending.outcome.unwrap_err().to_string().starts_with("capture died"));
    assert!(ran.events.contains(&"notify"));
}

#[test]
fn what_hangs_is_left_behind() {
    for (number, as_thread) in [(0, false), (1, true), (2, false), (3, false), (5, false)] {
        let ran = run(with(number, Does::Hangs, as_thread), 1);
        // A connection that does not end is its client's affair; data that does not get out is ours.
        assert_eq!(ran.ending.outcome.is_err(), number < 3, "{ran:?}");
        assert!(!ran.events.contains(&NAMES[number]) && ran.events.contains(&"stop services"), "{ran:?}");
        assert!(ran.events.contains(&"jobs"), "{ran:?}");
    }
}

#[test]
fn a_second_wish_leaves_at_once() {
    let ran = run(all(Does::Hangs), 2);
    assert!(ran.ending.outcome.is_ok() && !ran.events.contains(&"stop services"), "{ran:?}");
}

#[test]
fn a_source_that_is_over_has_time_as_long_as_something_moves() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ending = runtime.block_on(async {
        let short = Duration::from_millis(20);
        let mut supervisor = Supervisor::new(Limits { data: short, services: short, settle: short });
        let stopping = supervisor.stopping();
        let seen = stopping.clone();
        supervisor.task("capture", Rank::Data(0), async { Outcome::Ok(End::Over("the source has ended")) });
        supervisor.task("publisher", Rank::Data(1), async move {
            tokio::time::sleep(20 * short).await;
            assert!(seen.has_begun() && !seen.is_soon());
        });
        let (_wish_tx, wishes) = mpsc::unbounded_channel();
        let count = std::cell::Cell::new(0);
        let progress = || {
            count.set(count.get() + 1);
            count.get()
        };
        supervisor.run(Orders { wishes, stop_data: || (), stop_services: || (), progress }).await
    });
    assert!(ending.outcome.is_ok(), "{ending:?}");
}

fn fake() -> impl Strategy<Value = Fake> {
    // A thread that hangs for good would outlive the test.
    let any = (0..EVERY.len(), any::<bool>());
    any.prop_map(|(does, thread)| Fake { does: EVERY[does], as_thread: thread && EVERY[does] != Does::Hangs })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the parts do: it comes to an end, data is stopped once and before services, and the outcome is a fault
    /// when a part gave a reason for one before or while stopping.
    #[test]
    fn any_mix_of_ends_comes_to_an_orderly_end(fakes in prop::array::uniform6(fake())) {
        let ran = run(fakes, 1);
        let at = |event: &str| ran.events.iter().position(|&e| e == event);
        let count = |event: &str| ran.events.iter().filter(|&&e| e == event).count();
        // Another part may have asked first; then the wish is the second and leaves at once.
        let asked_twice = fakes.iter().any(|fake| fake.does != Does::AsTold);
        if !asked_twice {
            prop_assert!(ran.ending.outcome.is_ok());
        }
        prop_assert_eq!(count("stop data").max(1), 1);
        prop_assert_eq!(count("stop services").max(1), 1);
        prop_assert!(at("stop services").is_none_or(|services| at("stop data").is_some_and(|data| data < services)));
        prop_assert!(!ran.ending.reason.is_empty());
        let faulty = |does| matches!(does, Does::Panics | Does::Fails | Does::FailsAtTheEnd | Does::EndsEarly | Does::Hangs);
        if ran.ending.outcome.is_err() {
            prop_assert!(fakes.iter().any(|fake| faulty(fake.does)), "a fault out of nothing: {:?}", ran);
        }
    }
}
