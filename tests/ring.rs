//! The hardware ring across real process borders: a producer written in C from `ABI.md`, compiled here and driven line
//! by line, and fiberd's consumer. What happens in plain memory is tested beside the code.

// In helpers of tests as in tests; and every producer is waited for in its drop.
#![allow(clippy::unwrap_used, clippy::zombie_processes)]

#[path = "ring/harness.rs"]
mod harness;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiberd::acquisition::{Acquisition, ClockQuality, DarkReason, Quantity, SampleFormat, SourceKind};
use fiberd::source::ring::{Producer, Ring, RingError, RingOptions, RingSpec};
use fiberd::source::{Interrogator, Probe, ReadOutcome};
use fiberd::units::Rational;
use harness::{
    CProducer, PATIENCE, block_for, check, consumer, in_a_process, probe_until, read, read_exactly, ready, sample,
    scratch, utc_ns, waiting,
};
use proptest::prelude::*;

#[test]
fn what_the_c_producer_writes_comes_through_exactly() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut ring = consumer(&path);
    let shown = path.display();
    waiting(&mut ring, &DarkReason::NoInterface(format!("waiting for the ring at {shown}")));

    let mut producer = CProducer::start(&path, 301, 10, 16, 1000.0);
    let a = ready(&mut ring);
    let declared = Acquisition {
        epoch: a.epoch,
        prr: Rational::new(1000, 1).unwrap(),
        channels: 301,
        dx_m: 1.25,
        fiber_start_m: -3.5,
        gauge_length_m: Some(10.0),
        wavelength_m: Some(1550e-9),
        refractive_index: Some(1.468),
        sample_format: SampleFormat::I16,
        quantity: Quantity::Phase,
        scale: 1e-3,
        unit: "rad".into(),
        clock: ClockQuality::Ptp,
        description: "a fiber written in C".into(),
        source: SourceKind::Ring,
        ..Acquisition::example()
    };
    assert_eq!(a, declared);

    let mut from = 0;
    for traces in [10, 1, 7, 3] {
        producer.tell(&format!("write 8 {traces}"));
        read_exactly(&mut ring, &a, from, 8 * traces);
        from += 8 * traces as u64;
    }
    producer.tell("skip 12");
    producer.tell("write 1 5");
    let mut block = block_for(&a, 5);
    assert_eq!(read(&mut ring, &mut block), ReadOutcome::Filled);
    assert_eq!((block.first_trace.0, block.gap_before), (from + 12, 12));
    assert_eq!(ring.lost_before_source(), 12);
}

#[test]
fn a_lapped_consumer_knows_exactly_how_much_it_missed() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut producer = CProducer::start(&path, 50, 4, 8, 1000.0);
    let mut ring = consumer(&path);
    let a = ready(&mut ring);
    producer.tell("write 4 3");
    // Two and a half slots of the four, so that the gap begins inside a slot.
    read_exactly(&mut ring, &a, 0, 7);
    producer.tell("write 100 4");
    let mut block = block_for(&a, 1000);
    assert_eq!(read(&mut ring, &mut block), ReadOutcome::Filled);
    // 12 + 400 were written, 7 read; the newest slot holds the last four.
    assert_eq!((block.first_trace.0, block.traces, block.gap_before), (408, 4, 401));
    check(&block, 0);
}

#[test]
fn under_a_producer_at_full_speed_no_torn_row_gets_through_and_every_trace_is_accounted_for() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut producer = CProducer::start(&path, 512, 4, 2, 1000.0);
    let mut ring = consumer(&path);
    let a = ready(&mut ring);
    producer.tell("write 1 4");
    let mut block = block_for(&a, 9);
    // Traces are counted from the first that is read: nothing may lap the consumer before.
    read_exactly(&mut ring, &a, 0, 4);
    let (mut next, mut gaps, mut total) = (4, 0, 4 * 40_000 + 4);
    producer.begin("stream 40000 4 0");
    let mut stopped = false;
    while next < total {
        match read(&mut ring, &mut block) {
            ReadOutcome::Filled => {
                assert_eq!(block.first_trace.0, next + block.gap_before);
                check(&block, 0);
                gaps += u64::from(block.gap_before > 0);
                next = block.end_trace().0;
            }
            ReadOutcome::TimedOut if !stopped => {
                // Lapped at the very end: one more slot shows the last gap.
                assert_eq!(producer.answer(), "ok");
                producer.tell("write 1 4");
                (stopped, total) = (true, total + 4);
            }
            other => panic!("{other:?} after trace {next}"),
        }
    }
    assert_eq!(next, total);
    assert!(gaps > 0, "a ring of two slots at full speed must lap the consumer");
}

#[test]
fn a_producer_killed_in_the_middle_of_a_slot_is_missed_and_its_successor_found() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut ring = consumer(&path);
    let mut last_epoch = 0;
    for round in 0..3 {
        let mut producer = CProducer::start(&path, 300 + round, 5, 8, 1000.0);
        let a = ready(&mut ring);
        assert!(a.epoch > last_epoch && a.channels == 300 + round);
        last_epoch = a.epoch;
        producer.tell("write 3 5");
        producer.tell("half");
        producer.kill_9();
        read_exactly(&mut ring, &a, 0, 15);
        let mut block = block_for(&a, 5);
        let begun = Instant::now();
        loop {
            match read(&mut ring, &mut block) {
                ReadOutcome::TimedOut if begun.elapsed() < PATIENCE => {}
                other => {
                    assert_eq!(other, ReadOutcome::FiberLost(DarkReason::NoHeartbeat));
                    break;
                }
            }
        }
        waiting(&mut ring, &DarkReason::NoHeartbeat);
    }
}

#[test]
fn a_producer_that_is_replaced_while_it_lives_is_read_to_its_end_first() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut first = CProducer::start(&path, 40, 5, 8, 1000.0);
    let mut ring = consumer(&path);
    let a = ready(&mut ring);
    first.tell("write 4 5");
    let mut second = CProducer::start(&path, 41, 5, 8, 1000.0);
    second.tell("write 2 5");
    std::thread::sleep(Duration::from_millis(250));
    read_exactly(&mut ring, &a, 0, 20);
    let mut block = block_for(&a, 5);
    let outcome = read(&mut ring, &mut block);
    assert!(matches!(outcome, ReadOutcome::FiberLost(DarkReason::NoInterface(_))), "{outcome:?}");
    let b = ready(&mut ring);
    assert_eq!(b.channels, 41);
    read_exactly(&mut ring, &b, 0, 10);
}

#[test]
fn the_prr_is_asked_for_across_the_process_border() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let mut producer = CProducer::start(&path, 40, 5, 8, 1000.0);
    let mut ring = Ring::new(RingOptions { prr_asked: Rational::new(2000, 1), ..RingOptions::new(&path) });
    waiting(&mut ring, &DarkReason::Starting);
    let begun = Instant::now();
    while producer.tell("request") != "1 2000" {
        assert!(begun.elapsed() < PATIENCE);
        let _ = ring.probe().unwrap();
    }
    producer.tell("refuse 2");
    let refused = "the producer runs at 1000 Hz, 2000 Hz was asked for: it is busy";
    waiting(&mut ring, &DarkReason::Refused(refused.into()));
    producer.tell("apply");
    let a = ready(&mut ring);
    assert_eq!(a.prr, Rational::new(2000, 1).unwrap());
    producer.tell("write 2 5");
    read_exactly(&mut ring, &a, 0, 10);

    producer.tell("epoch 500");
    let mut block = block_for(&a, 5);
    assert_eq!(read(&mut ring, &mut block), ReadOutcome::EpochChanged);
    // Within the second that an answer may take, and for ever after.
    probe_until(&mut ring, |probe| match probe {
        Probe::Waiting(DarkReason::Refused(why)) => {
            assert_eq!(why, "the producer runs at 500 Hz, 2000 Hz was asked for: it says that it has applied it");
            Some(())
        }
        Probe::Waiting(_) => None,
        Probe::Ready(a) => panic!("taken at {} Hz", a.prr),
    });
}

#[test]
fn truncation_under_the_consumer_is_survived_and_told() {
    let test = "truncation_under_the_consumer_is_survived_and_told";
    let status = in_a_process(test, || {
        let dir = scratch();
        let path = dir.path().join("ring");
        let mut ring = consumer(&path);
        // To behind the header, to inside of it, to nothing; and while the consumer sleeps in a read.
        for (round, bytes) in [20_000, 4096, 100, 0, 20_000, 0].into_iter().enumerate() {
            let mut producer = CProducer::start(&path, 1000, 10, 16, 1000.0);
            let a = ready(&mut ring);
            producer.tell("write 12 10");
            let mut block = block_for(&a, 30);
            assert_eq!(read(&mut ring, &mut block), ReadOutcome::Filled);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let late = round >= 4;
            let cutter = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(if late { 50 } else { 0 }));
                file.set_len(bytes).unwrap();
            });
            if !late {
                cutter.join().unwrap();
            }
            let begun = Instant::now();
            let lost = loop {
                match read(&mut ring, &mut block) {
                    ReadOutcome::Filled => check(&block, 0),
                    ReadOutcome::TimedOut => {}
                    ReadOutcome::FiberLost(reason) => break reason,
                    other => panic!("{other:?}"),
                }
                assert!(begun.elapsed() < PATIENCE);
            };
            assert_eq!(lost, DarkReason::Refused("the ring was truncated".into()), "round {round}");
            let why = probe_until(&mut ring, |probe| match probe {
                Probe::Waiting(DarkReason::Refused(why)) => Some(why),
                other => panic!("{other:?}"),
            });
            assert!(why.contains("bytes"), "{why}");
        }
    });
    assert!(status.success(), "{status}");
}

#[test]
fn a_sigbus_that_is_not_ours_still_kills() {
    let status = in_a_process("a_sigbus_that_is_not_ours_still_kills", || {
        let dir = scratch();
        let _ring_maps_and_guards = Producer::create(&dir.path().join("ring"), &spec(10)).unwrap();
        // Nothing cleans up after a deadly signal, so the folder goes now; the mapping stays.
        drop(dir);
        // The first one reaches std's handler, which steps aside; nobody is left to hold up the next. Signals that are
        // sent while one is pending merge with it, so they are sent until one kills.
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(status.signal(), Some(7), "{status}");
}

#[test]
fn what_is_no_ring_is_refused_with_a_sentence() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    File::create(at("empty")).unwrap();
    fs::write(at("text"), "fiberd\n".repeat(2000)).unwrap();
    File::create(at("sparse")).unwrap().set_len(1 << 50).unwrap_or(());
    for (path, words) in [
        (at("directory"), "cannot be opened"),
        (at("empty"), "0 bytes, 4096 to"),
        (at("text"), "this is not a fiberd ring"),
        (at("sparse"), "bytes, 4096 to"),
        ("/dev/null".into(), "cannot be mapped"),
        ("/dev/zero".into(), "this is not a fiberd ring"),
    ] {
        let Probe::Waiting(reason) = consumer(&path).probe().unwrap() else { panic!("{path:?} is taken for a ring") };
        assert!(reason.to_string().contains(words), "{path:?}: {reason}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// With the producer in Rust.

fn spec(channels: usize) -> RingSpec {
    RingSpec {
        sample_format: SampleFormat::I16,
        channels,
        traces_per_slot: 4,
        slots: 8,
        prr_hz: 1000.0,
        dx_m: 1.0,
        gauge_length_m: None,
        fiber_start_m: 0.0,
        scale: 1.0,
        quantity: Quantity::Phase,
        unit: "rad".into(),
        wavelength_m: None,
        refractive_index: None,
        description: String::new(),
        source: SourceKind::Ring,
        clock: ClockQuality::FreeRunning,
    }
}

fn write(producer: &mut Producer, first: u64, traces: usize, channels: usize) {
    producer.write_slot(first, utc_ns(first), traces, |bytes| {
        for (i, value) in bytes.chunks_exact_mut(2).enumerate() {
            value.copy_from_slice(&sample(first + (i / channels) as u64, i % channels).to_le_bytes());
        }
    });
}

/// Open files, mappings of `path`, and resident bytes of this process.
fn footprint(path: &Path) -> (usize, usize, u64) {
    let files = fs::read_dir("/proc/self/fd").unwrap().count();
    let name = path.to_str().unwrap();
    let mappings = fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains(name)).count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    (files, mappings, resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[test]
fn fiber_pulled_and_restored_a_hundred_times_leaves_nothing_behind() {
    let test = "fiber_pulled_and_restored_a_hundred_times_leaves_nothing_behind";
    // Alone in a process, where nobody else opens files.
    let status = in_a_process(test, || {
        let dir = scratch();
        let path = dir.path().join("ring");
        let mut ring = consumer(&path);
        let mut at_first = None;
        let mut last_epoch = 0;
        for round in 0..100 {
            // Made beside, so that nobody waits for the one before to be dead.
            let beside = dir.path().join("beside");
            let mut producer = Producer::create(&beside, &spec(500)).unwrap();
            fs::rename(&beside, &path).unwrap();
            producer.heartbeat();
            let a = probe_until(&mut ring, |probe| {
                producer.heartbeat();
                if let Probe::Ready(a) = probe { Some(a) } else { None }
            });
            assert!(a.epoch > last_epoch, "round {round}: a new ring is a new epoch");
            last_epoch = a.epoch;
            write(&mut producer, 0, 4, 500);
            read_exactly(&mut ring, &a, 0, 4);

            producer.set_state(0);
            write(&mut producer, 4, 3, 500);
            let mut block = block_for(&a, 4);
            assert_eq!(read(&mut ring, &mut block), ReadOutcome::FiberLost(DarkReason::LightOff));
            waiting(&mut ring, &DarkReason::LightOff);
            producer.set_state(fiberd::source::ring::STATE_LASER_ON | fiberd::source::ring::STATE_LIGHT);
            assert_eq!(ready(&mut ring), a, "the epoch goes on");
            write(&mut producer, 7, 4, 500);
            assert_eq!(read(&mut ring, &mut block), ReadOutcome::Filled);
            assert_eq!((block.first_trace.0, block.gap_before), (7, 3), "the dark traces are a gap");
            check(&block, 0);
            drop(producer);

            // Every tenth time the file goes too, otherwise it is replaced.
            if round % 10 == 0 {
                fs::remove_file(&path).unwrap();
            }
            std::thread::sleep(Duration::from_millis(210));
            if round == 9 {
                at_first = Some(footprint(&path));
            }
        }
        // And consumers that come and go, each with a mapping and a guard of its own.
        for _ in 0..1000 {
            let other = dir.path().join("other");
            let producer = Producer::create(&other, &spec(5)).unwrap();
            assert!(matches!(consumer(&other).probe().unwrap(), Probe::Waiting(DarkReason::Starting)));
            drop(producer);
            fs::remove_file(&other).unwrap();
        }
        let (files, mappings, resident) = footprint(&path);
        let (files_first, mappings_first, resident_first) = at_first.unwrap();
        assert_eq!((files, mappings), (files_first, mappings_first));
        assert!(resident < resident_first + (1 << 20), "{resident_first} → {resident} bytes");
    });
    assert!(status.success(), "{status}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Somebody writes random bytes over a live ring: the consumer may say anything, but it lives.
    #[test]
    fn a_ring_scribbled_while_it_runs_is_survived(
        scribbles in prop::collection::vec((0u64..12_000, prop::collection::vec(any::<u8>(), 1..64)), 1..20),
    ) {
        let dir = scratch();
        let path = dir.path().join("ring");
        let mut producer = Producer::create(&path, &spec(100)).unwrap();
        let mut ring = consumer(&path);
        let _ = ring.probe().unwrap();
        producer.heartbeat();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut next = 0;
        for (at, bytes) in scribbles {
            let probed = ring.probe().unwrap();
            write(&mut producer, next, 4, 100);
            next += 4;
            file.write_all_at(&bytes, at).unwrap();
            if let Probe::Ready(a) = probed && a.channels <= 10_000 {
                let mut block = block_for(&a, 3);
                for _ in 0..3 {
                    let acquisition = Arc::clone(&block.acquisition);
                    block.clear(&acquisition);
                    let _ = ring.read_block(&mut block, Duration::ZERO).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_ring_is_made_only_where_nobody_lives() {
    let dir = scratch();
    let path = dir.path().join("ring");
    let refused = |words: &str| match Producer::create(&path, &spec(10)).map(drop) {
        Err(error @ RingError::Taken { .. }) => assert!(error.to_string().contains(words), "{error}"),
        other => panic!("{other:?}"),
    };
    // The C producer beats its heart by itself.
    let mut living = CProducer::start(&path, 40, 5, 8, 1000.0);
    refused("another producer writes the ring there");
    living.tell("freeze");
    std::thread::sleep(Duration::from_millis(100));
    drop(Producer::create(&path, &spec(10)).unwrap());
    fs::write(&path, "notes").unwrap();
    refused("not a ring");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("not a file");
}
