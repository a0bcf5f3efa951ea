//! The mistakes of drivers, and what is lost at the ends of light and epochs, in plain memory. The rest of the ring's
//! tests is in `tests.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::abi::{AT_DECLARED, AT_HEARTBEAT, AT_SLOTS_WRITTEN, AT_STATE, Declared};
use super::consumer::{Ring, RingOptions};
use super::hostile::{block_for, small_spec};
use super::memory::Memory;
use super::{Producer, RingSpec, STATE_CALIBRATING, STATE_LASER_ON, STATE_LIGHT, STATE_OVERLOAD};
use crate::acquisition::{Acquisition, DarkReason};
use crate::block::RawBlock;
use crate::source::{InstrumentState, Interrogator, Probe, ReadOutcome};

const UTC_NS: i64 = 1_790_000_000_000_000_000;
const TIME_LIMIT: Duration = Duration::from_secs(30);

struct Bench {
    producer: Producer,
    memory: Arc<Memory>,
    ring: Ring,
    next: u64,
}

impl Bench {
    fn new(spec: &RingSpec) -> Self {
        let (producer, memory) = Producer::in_memory(spec).unwrap();
        let options = RingOptions { heartbeat_timeout: Duration::from_millis(300), ..RingOptions::new("in memory") };
        let ring = Ring::over(Arc::clone(&memory), options);
        Self { producer, memory, ring, next: 0 }
    }

    fn write(&mut self, traces: usize) {
        self.write_at(UTC_NS + self.next as i64 * 1_000_000, traces);
    }

    fn write_at(&mut self, utc_ns: i64, traces: usize) {
        self.producer.write_slot(self.next, utc_ns, traces, |bytes| bytes.fill(1));
        self.next += traces as u64;
    }

    fn light(&self, on: bool) {
        self.producer.set_state(if on { STATE_LASER_ON | STATE_LIGHT } else { STATE_LASER_ON });
    }

    /// Probes as capture does, with a sign of life between.
    fn probe(&mut self) -> Result<Acquisition, DarkReason> {
        let mut last = DarkReason::Starting;
        for _ in 0..3 {
            match self.ring.probe().unwrap() {
                Probe::Ready(acquisition) => return Ok(acquisition),
                Probe::Waiting(reason) => last = reason,
            }
            self.producer.heartbeat();
        }
        Err(last)
    }

    /// Probes until it says `reason`.
    fn waits_for(&mut self, reason: &DarkReason) {
        let begun = Instant::now();
        loop {
            let said = self.probe();
            if said.as_ref() == Err(reason) {
                return;
            }
            assert!(begun.elapsed() < TIME_LIMIT, "{said:?} instead of {reason:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn read(&mut self, block: &mut RawBlock) -> ReadOutcome {
        let acquisition = Arc::clone(&block.acquisition);
        block.clear(&acquisition);
        self.ring.read_block(block, Duration::ZERO).unwrap()
    }

    /// First trace, number of traces and gap of the next block.
    fn filled(&mut self, block: &mut RawBlock) -> (u64, usize, u64) {
        assert_eq!(self.read(block), ReadOutcome::Filled);
        (block.first_trace.0, block.traces, block.gap_before)
    }
}

#[test]
fn what_was_written_with_light_is_read_before_darkness_is_told() {
    for flags_tell in [true, false] {
        let mut bench = Bench::new(&small_spec(4, 2, 16));
        // A driver that leaves the flags of its slots 0 has no light in the state when it begins a slot.
        let write = |bench: &mut Bench, lit: bool| {
            bench.light(lit && flags_tell);
            bench.write(2);
            bench.light(lit);
        };
        write(&mut bench, true);
        let mut block = block_for(bench.probe().unwrap(), 20);
        for _ in 0..3 {
            write(&mut bench, true);
        }
        bench.light(false);
        if flags_tell {
            write(&mut bench, false);
        }
        assert_eq!(bench.filled(&mut block), (0, 8, 0), "all that had light, flags {flags_tell}");
        assert_eq!(bench.read(&mut block), ReadOutcome::FiberLost(DarkReason::LightOff));
        write(&mut bench, false);
        assert_eq!(bench.probe(), Err(DarkReason::LightOff));
        write(&mut bench, true);
        let dark = if flags_tell { 4 } else { 2 };
        bench.probe().unwrap();
        assert_eq!(bench.filled(&mut block), (8 + dark, 2, dark));
        assert_eq!(bench.ring.missing_at_ends(), 0, "a gap tells of them");
    }
}

#[test]
fn slots_without_light_between_two_looks_are_left_out_by_their_own_flags() {
    let mut bench = Bench::new(&small_spec(4, 2, 16));
    bench.write(2);
    let mut block = block_for(bench.probe().unwrap(), 20);
    bench.light(false);
    bench.write(2);
    bench.light(true);
    bench.write(2);
    assert_eq!(bench.filled(&mut block), (0, 2, 0));
    assert_eq!(bench.filled(&mut block), (4, 2, 2));
}

#[test]
fn slots_of_an_epoch_that_ends_between_two_looks_are_read_or_counted() {
    let spec = small_spec(4, 2, 8);
    let next_epoch = |bench: &mut Bench| {
        bench.producer.change_epoch(&spec).unwrap();
        bench.next = 0;
    };
    // Written, and the epoch ended, while the consumer sleeps in a read.
    let mut bench = Bench::new(&spec);
    bench.write(2);
    let acquisition = bench.probe().unwrap();
    let mut block = block_for(acquisition, 20);
    assert_eq!(bench.filled(&mut block), (0, 2, 0));
    bench.write(2);
    next_epoch(&mut bench);
    assert_eq!(bench.filled(&mut block), (2, 2, 0), "the old epoch is read to its end");
    assert_eq!(bench.read(&mut block), ReadOutcome::EpochChanged);
    let mut block = block_for(bench.probe().unwrap(), 20);

    // Overtaken: one slot is read of each of two epochs, 20 are written, and of one epoch between them none is seen.
    bench.write(2);
    assert_eq!(bench.filled(&mut block), (0, 2, 0));
    (0..20).for_each(|_| bench.write(2));
    next_epoch(&mut bench);
    (0..5).for_each(|_| bench.write(2));
    next_epoch(&mut bench);
    (0..10).for_each(|_| bench.write(2));
    assert_eq!(bench.read(&mut block), ReadOutcome::EpochChanged);
    assert_eq!(bench.ring.missing_at_ends(), 0, "not over yet");
    let mut block = block_for(bench.probe().unwrap(), 20);
    assert_eq!(bench.filled(&mut block), (0, 2, 0));
    assert_eq!(bench.ring.missing_at_ends(), 2 * (20 + 5 + 9), "all but the newest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 300 }, ..ProptestConfig::default() })]

    /// Any interleaving of slots, darkness, epochs and reads: from the first trace read on, each trace is read, in a gap,
    /// or counted as left behind.
    #[test]
    fn every_trace_is_read_or_missing(
        per_slot in 1usize..4, slots_log2 in 1u32..5,
        actions in prop::collection::vec((0u8..12, 1usize..9), 1..150),
    ) {
        let spec = small_spec(3, per_slot, 1 << slots_log2);
        let mut bench = Bench::new(&spec);
        bench.write(per_slot);
        let mut block = block_for(bench.probe().unwrap(), 7);
        let (_, first_read, _) = bench.filled(&mut block);
        let (mut launched, mut read, mut gaps) = (per_slot as u64, first_read as u64, 0);
        let mut must_probe = false;
        let end = [(9, 1), (0, 1), (11, 0)];
        for (action, n) in actions.into_iter().chain(end) {
            match action {
                0..5 => {
                    (0..n).for_each(|_| bench.write(per_slot));
                    launched += (n * per_slot) as u64;
                }
                5 => {
                    bench.producer.change_epoch(&spec).unwrap();
                    bench.next = 0;
                }
                6 => bench.light(false),
                7 | 9 => bench.light(true),
                _ => for _ in 0..if action == 11 && n == 0 { 100 } else { n } {
                    if must_probe {
                        let Ok(acquisition) = bench.probe() else { break };
                        must_probe = false;
                        block = block_for(acquisition, 7);
                    }
                    match bench.read(&mut block) {
                        ReadOutcome::Filled => {
                            read += block.traces as u64;
                            gaps += block.gap_before;
                        }
                        ReadOutcome::TimedOut => break,
                        ReadOutcome::EpochChanged | ReadOutcome::FiberLost(DarkReason::LightOff) => must_probe = true,
                        other => prop_assert!(false, "{:?}", other),
                    }
                },
            }
        }
        prop_assert!(!must_probe, "light is on and all has been read");
        prop_assert_eq!(launched, read + gaps + bench.ring.missing_at_ends());
    }
}

#[test]
fn timestamps_in_another_unit_are_never_taken() {
    for (utc, word) in [(UTC_NS / 1000, "microseconds"), (0, "not set")] {
        let mut bench = Bench::new(&small_spec(4, 2, 8));
        bench.write_at(utc, 2);
        let Err(DarkReason::WrongTime(why)) = bench.probe() else { panic!("{utc} is taken") };
        assert!(why.contains(word), "{why}");
        bench.write_at(utc, 2);
        assert_eq!(bench.probe(), Err(DarkReason::WrongTime(why)), "the same words from slot to slot");

        // Right from here on: what was wrong is left out.
        bench.write(2);
        let acquisition = bench.probe().unwrap();
        let mut block = block_for(acquisition.clone(), 20);
        let mut outcome = bench.read(&mut block);
        while outcome == ReadOutcome::FiberLost(DarkReason::WrongTime(why)) {
            assert_eq!(bench.probe().as_ref(), Ok(&acquisition));
            outcome = bench.read(&mut block);
        }
        assert_eq!((outcome, block.traces, block.utc_ns), (ReadOutcome::Filled, 2, UTC_NS + 4_000_000));

        // Wrong again in the middle: told, and an exact gap.
        bench.write_at(utc, 2);
        bench.write(2);
        assert_eq!(bench.read(&mut block), ReadOutcome::FiberLost(DarkReason::WrongTime(why)));
        assert_eq!(bench.probe(), Ok(acquisition));
        assert_eq!(bench.filled(&mut block), (4, 2, 2));
    }
}

#[test]
fn a_ring_without_slots_says_so() {
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    let acquisition = bench.probe().unwrap();
    bench.waits_for(&DarkReason::NoSlots);
    bench.write(2);
    assert_eq!(bench.probe(), Ok(acquisition.clone()));
    assert_eq!(bench.filled(&mut block_for(acquisition, 20)), (0, 2, 0));

    // The same while it is being read.
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    let mut block = block_for(bench.probe().unwrap(), 20);
    let begun = Instant::now();
    loop {
        bench.producer.heartbeat();
        match bench.read(&mut block) {
            ReadOutcome::TimedOut => std::thread::sleep(Duration::from_millis(10)),
            outcome => break assert_eq!(outcome, ReadOutcome::FiberLost(DarkReason::NoSlots)),
        }
        assert!(begun.elapsed() < TIME_LIMIT);
    }
}

#[test]
fn slots_without_their_sequence_are_told_and_begin_no_acquisition() {
    for (sequence, words) in
        [(0u64, "their sequence is 0"), (2, "its number + 1 is needed"), (99, "is not their number")]
    {
        let spec = small_spec(4, 2, 8);
        let mut bench = Bench::new(&spec);
        let stride = (bench.memory.len() - 4096) / 8;
        (0..3).for_each(|_| bench.write(2));
        bench.memory.store(4096 + 2 * stride, sequence);
        for _ in 0..3 {
            let Err(DarkReason::Refused(why)) = bench.probe() else { panic!("{sequence} is taken") };
            assert!(why.contains(words), "{sequence}: {why}");
        }
        bench.write(2);
        bench.probe().unwrap();
    }
}

#[test]
fn a_light_flag_that_is_never_set_is_told_apart_from_a_fiber_that_is_dark() {
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    bench.light(false);
    assert_eq!(bench.probe(), Err(DarkReason::LightOff));
    bench.write(2);
    assert_eq!(bench.probe(), Err(DarkReason::NeverLit));
    bench.light(true);
    bench.write(2);
    let mut block = block_for(bench.probe().unwrap(), 20);
    bench.light(false);
    bench.write(2);
    while bench.read(&mut block) == ReadOutcome::Filled {}
    assert_eq!(bench.probe(), Err(DarkReason::LightOff));
}

#[test]
fn a_heartbeat_that_never_moves_is_complained_of_while_slots_flow() {
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    assert!(matches!(bench.ring.probe().unwrap(), Probe::Waiting(DarkReason::Starting)));
    bench.write(2);
    let begun = Instant::now();
    while bench.ring.complaint().is_none() {
        assert!(matches!(bench.ring.probe().unwrap(), Probe::Ready(_) | Probe::Waiting(DarkReason::NoHeartbeat)));
        assert!(begun.elapsed() < TIME_LIMIT);
        std::thread::sleep(Duration::from_millis(50));
        bench.write(2);
    }
    bench.memory.store(AT_HEARTBEAT, 1 + bench.memory.load(AT_HEARTBEAT));
    assert_eq!(bench.ring.complaint(), None);
}

#[test]
fn a_rate_that_is_not_set_is_told() {
    for (prr_hz, words) in [(0.0, "prr_hz is 0"), (f64::NAN, "prr_hz = NaN"), (-1.0, "prr_hz = -1")] {
        let mut bench = Bench::new(&small_spec(4, 2, 8));
        let mut declared: Declared = bench.memory.get(AT_DECLARED);
        declared.prr_hz = prr_hz;
        bench.memory.copy_in(AT_DECLARED, bytemuck::bytes_of(&declared));
        let Err(DarkReason::Refused(why)) = bench.probe() else { panic!("{prr_hz} Hz are taken") };
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_count_of_slots_that_jumps_to_the_end_of_numbers_is_survived() {
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    bench.write(2);
    let mut block = block_for(bench.probe().unwrap(), 20);
    assert_eq!(bench.filled(&mut block), (0, 2, 0));
    for written in [u64::MAX, u64::MAX - 1, 1 << 60] {
        bench.memory.store(AT_SLOTS_WRITTEN, written);
        let _ = bench.read(&mut block);
        let _ = bench.probe();
    }
    assert!(bench.ring.missing_at_ends() < 1 << 40, "{} traces", bench.ring.missing_at_ends());
}

#[test]
fn what_an_interrogator_says_of_itself_is_heard_in_the_state_and_in_the_slots() {
    let mut bench = Bench::new(&small_spec(4, 2, 8));
    let none = InstrumentState::default();
    bench.write(2);
    let mut block = block_for(bench.probe().unwrap(), 20);
    assert_eq!(bench.ring.take_state(), none);
    let lit = u64::from(STATE_LIGHT);
    bench.memory.store(AT_STATE, lit | u64::from(STATE_OVERLOAD));
    bench.producer.heartbeat();
    assert_eq!(bench.ring.take_state(), InstrumentState { overloaded: true, ..none });
    bench.memory.store(AT_STATE, lit);
    assert_eq!(bench.ring.take_state(), none);
    // A slot tells what was over before anybody looked.
    bench.write(2);
    let flags = 4096 + (bench.memory.len() - 4096) / 8 + 40;
    bench.memory.store(flags, bench.memory.load(flags) | u64::from(STATE_CALIBRATING));
    assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
    assert_eq!(bench.ring.take_state(), InstrumentState { calibrating: true, ..none });
    assert_eq!(bench.ring.take_state(), none);
    // A producer that has died with a flag set says nothing any more.
    bench.memory.store(AT_STATE, lit | u64::from(STATE_OVERLOAD));
    bench.producer.heartbeat();
    assert_eq!(bench.ring.take_state(), InstrumentState { overloaded: true, ..none });
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(bench.ring.take_state(), none);
}
