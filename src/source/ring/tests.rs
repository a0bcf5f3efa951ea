//! The ring in plain memory: exact data or exact gaps, whatever the interleaving; nothing that bytes can do crashes it.
//! Real files, processes and signals are in `tests/ring.rs`.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::consumer::{Ring, RingOptions};
use super::hostile::{block_for, play, small_spec};
use super::memory::Memory;
use super::{Producer, REFUSED_FIXED, RingSpec, STATE_LIGHT, header};
use crate::acquisition::{Acquisition, ClockQuality, DarkReason, Quantity, SampleFormat, SourceKind};
use crate::block::RawBlock;
use crate::source::{Interrogator, Probe, ReadOutcome};
use crate::units::Rational;

/// What channel `c` of trace `t` holds.
fn sample(trace: u64, channel: usize) -> i16 {
    (trace.wrapping_mul(0x9E37_79B9).wrapping_add(channel as u64 * 0x85EB) >> 7) as i16
}

fn utc_ns(trace: u64) -> i64 {
    1_700_000_000_000_000_000 + trace as i64 * 1_000_000
}

struct Bench {
    producer: Producer,
    ring: Ring,
    channels: usize,
    next_trace: u64,
}

impl Bench {
    fn new(spec: &RingSpec, prr_asked: Option<Rational>) -> Self {
        let (producer, memory) = Producer::in_memory(spec).unwrap();
        Self::over(producer, memory, spec, prr_asked)
    }

    fn over(producer: Producer, memory: Arc<Memory>, spec: &RingSpec, prr_asked: Option<Rational>) -> Self {
        // Nobody dies here, however slow the machine is, or miri.
        let heartbeat_timeout = Duration::from_secs(3600);
        let options = RingOptions { heartbeat_timeout, prr_asked, ..RingOptions::new("in memory") };
        Self { producer, ring: Ring::over(memory, options), channels: spec.channels, next_trace: 0 }
    }

    fn write(&mut self, traces: usize) {
        let (first, channels) = (self.next_trace, self.channels);
        self.producer.write_slot(first, utc_ns(first), traces, |bytes| {
            for (i, value) in bytes.chunks_exact_mut(2).enumerate() {
                let value_now = sample(first + (i / channels) as u64, i % channels);
                value.copy_from_slice(&value_now.to_le_bytes());
            }
        });
        self.next_trace += traces as u64;
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

    fn read(&mut self, block: &mut RawBlock) -> ReadOutcome {
        let acquisition = Arc::clone(&block.acquisition);
        block.clear(&acquisition);
        self.ring.read_block(block, Duration::ZERO).unwrap()
    }
}

/// Checks every sample of a block whose trace 0 is the producer's trace `base`.
fn check(block: &RawBlock, base: u64) {
    assert_eq!(block.utc_ns, utc_ns(base + block.first_trace.0));
    for t in 0..block.traces {
        let trace = base + block.first_trace.0 + t as u64;
        for (c, &got) in block.row_as::<i16>(t).iter().enumerate() {
            assert_eq!(got, sample(trace, c), "trace {trace}, channel {c}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Write(usize),
    Skip(u64),
    Read(usize),
    Dark(bool),
    Probe,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (1usize..=7).prop_map(Action::Write),
        1 => (1u64..50).prop_map(Action::Skip),
        6 => (1usize..20).prop_map(Action::Read),
        1 => any::<bool>().prop_map(Action::Dark),
        1 => Just(Action::Probe),
    ];
    prop::collection::vec(action, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 400 }, ..ProptestConfig::default() })]

    /// Any interleaving of writing, losing, darkness and reading with any slot and block sizes gives exactly the traces
    /// that were produced, or the exact number of those that are missing; and at the end everything adds up.
    #[test]
    fn exact_samples_or_exact_gaps(
        channels in 1usize..70, traces_per_slot in 1usize..=7, slots_log2 in 1u32..5, actions in actions(),
    ) {
        let mut bench = Bench::new(&small_spec(channels, traces_per_slot, 1 << slots_log2), None);
        bench.write(1);
        let acquisition = bench.probe().unwrap();
        // The producer's number of our trace 0: the first one read, should we be lapped before that.
        let mut base = None;
        let mut accounted = 0;
        for action in actions.into_iter().chain([Action::Dark(false), Action::Probe, Action::Read(1000)]) {
            match action {
                Action::Write(traces) => bench.write(1 + traces % traces_per_slot),
                Action::Skip(lost) => {
                    bench.producer.add_lost(lost);
                    bench.next_trace += lost;
                }
                Action::Dark(dark) => bench.producer.set_state(if dark { 0 } else { STATE_LIGHT }),
                Action::Probe => {
                    if let Ok(again) = bench.probe() {
                        prop_assert_eq!(&again, &acquisition, "the epoch goes on");
                    }
                }
                Action::Read(capacity) => loop {
                    let mut block = block_for(acquisition.clone(), capacity);
                    match bench.read(&mut block) {
                        ReadOutcome::Filled => {
                            prop_assert_eq!(block.first_trace.0, accounted + block.gap_before);
                            let base = *base.get_or_insert(((block.utc_ns - utc_ns(0)) / 1_000_000) as u64);
                            check(&block, base);
                            accounted = block.end_trace().0;
                            if capacity < 1000 {
                                break;
                            }
                        }
                        ReadOutcome::TimedOut | ReadOutcome::FiberLost(DarkReason::LightOff) => break,
                        other => prop_assert!(false, "{:?}", other),
                    }
                },
            }
        }
        // One more slot shows what was lost behind the last one.
        bench.write(1);
        let mut block = block_for(acquisition.clone(), 1);
        prop_assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
        prop_assert_eq!(block.first_trace.0, accounted + block.gap_before);
        prop_assert_eq!(block.end_trace().0, bench.next_trace - base.unwrap_or(bench.next_trace - 1));
        let lost = bench.ring.lost_before_source();
        prop_assert!(lost < bench.next_trace);
    }

    /// The stable half of `fuzz/`: no script makes the consumer panic or read outside (the memory asserts its bounds).
    #[test]
    fn hostile_bytes_never_crash(script in prop::collection::vec(any::<u8>(), 0..600)) {
        play(&script);
    }

    /// Random bytes as a header, alone and behind a good identity line.
    #[test]
    fn random_headers_never_crash(bytes in prop::collection::vec(any::<u8>(), 4096..5000), good in any::<bool>()) {
        let spec = small_spec(8, 2, 4);
        let (producer, memory) = Producer::in_memory(&spec).unwrap();
        let from = if good { 64 } else { 0 };
        memory.copy_in(from, &bytes[from..bytes.len().min(memory.len())]);
        let mut bench = Bench::over(producer, memory, &spec, None);
        if let Ok(acquisition) = bench.probe() && acquisition.channels < 10_000 {
            let mut block = block_for(acquisition, 3);
            bench.read(&mut block);
        }
    }

    /// What a producer declares comes out as it went in.
    #[test]
    fn declarations_survive(
        channels in 1usize..5000, prr_hz in 1.0f64..10_000.0, dx_m in 0.1f64..20.0, start in -1e3f64..1e5,
        gauge in prop::option::of(0.5f64..50.0), scale in prop_oneof![-1e3f64..-1e-9, 1e-9f64..1e3],
        quantity in 0u32..7, clock in 0u32..4, source in 0u32..3, whole: bool, description in "[a-zA-Z äöü·→0-9]{0,100}",
    ) {
        let quantity = Quantity::from_code(quantity).unwrap();
        let real = if whole { SampleFormat::I32 } else { SampleFormat::F32 };
        let sample_format = if quantity == Quantity::OpticalField { SampleFormat::Iq16 } else { real };
        let spec = RingSpec {
            sample_format, channels, prr_hz, dx_m, fiber_start_m: start, gauge_length_m: gauge, scale, quantity,
            clock: ClockQuality::from_code(clock).unwrap(), source: SourceKind::from_code(source).unwrap(), description, unit: "nstrain/s".into(),
            wavelength_m: Some(1550e-9), refractive_index: Some(1.468), ..small_spec(1, 1, 2)
        };
        let (identity, declared) = header::describe(&spec, 7).unwrap();
        let geometry = header::Geometry::check(&identity, usize::MAX).unwrap();
        let (layout, a) = header::check(&declared, &geometry).unwrap();
        prop_assert_eq!(layout.row_bytes, channels * 4);
        prop_assert!((a.prr.to_f64() / prr_hz - 1.0).abs() < 1e-11);
        let back = RingSpec {
            sample_format: a.sample_format, channels: a.channels, prr_hz, dx_m: a.dx_m,
            gauge_length_m: a.gauge_length_m, fiber_start_m: a.fiber_start_m, scale: a.scale, quantity: a.quantity,
            unit: a.unit, wavelength_m: a.wavelength_m, refractive_index: a.refractive_index,
            description: a.description, clock: a.clock, source: a.source, ..spec.clone()
        };
        prop_assert_eq!(back, spec);
    }
}

#[test]
fn a_script_that_does_no_harm_brings_all_traces_through() {
    // Channels, traces, slots, no PRR asked; then ten slots of one trace each, each followed by a read.
    let mut script = vec![3, 1, 3, 0];
    for _ in 0..10 {
        script.extend([0, 0, 6, 31]);
    }
    // The first probe comes before any sign of life.
    assert_eq!(play(&script), 10);
}

#[test]
fn a_new_epoch_begins_at_its_first_trace_and_the_old_one_is_read_to_its_end() {
    let spec = small_spec(5, 2, 8);
    let mut bench = Bench::new(&spec, None);
    bench.write(2);
    let first = bench.probe().unwrap();
    bench.write(2);
    bench.producer.change_epoch(&RingSpec { prr_hz: 500.0, channels: 3, ..spec }).unwrap();
    (bench.next_trace, bench.channels) = (0, 3);
    bench.write(2);
    bench.write(1);
    let mut block = block_for(first.clone(), 10);
    assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
    assert_eq!(block.traces, 4);
    check(&block, 0);
    assert_eq!(bench.read(&mut block), ReadOutcome::EpochChanged);
    let second = bench.probe().unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!((second.prr, second.channels), (Rational::new(500, 1).unwrap(), 3));
    let mut block = block_for(second, 3);
    assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
    assert_eq!((block.first_trace.0, block.traces, block.gap_before), (0, 3, 0));
}

#[test]
fn an_epoch_that_does_not_fit_the_slots_is_refused_and_changes_nothing() {
    let spec = small_spec(5, 2, 8);
    let mut bench = Bench::new(&spec, None);
    assert!(bench.producer.change_epoch(&small_spec(500, 2, 8)).is_err());
    assert!(bench.producer.change_epoch(&small_spec(5, 2, 16)).is_err());
    bench.write(2);
    assert_eq!(bench.probe().unwrap().channels, 5);
}

#[test]
fn a_prr_is_asked_for_and_nothing_is_taken_at_another_one() {
    let spec = small_spec(4, 1, 4);
    let mut bench = Bench::new(&spec, Rational::new(2000, 1));
    assert_eq!(bench.probe(), Err(DarkReason::Starting), "asked, and not yet answered");
    let (number, prr_hz) = bench.producer.requested_prr().unwrap();
    assert_eq!(Rational::from_f64(prr_hz), Rational::new(2000, 1));
    bench.producer.answer(number, Err(REFUSED_FIXED));
    assert_eq!(bench.producer.requested_prr(), None);
    let Err(DarkReason::Refused(why)) = bench.probe() else { panic!("a refusal is told") };
    assert_eq!(why, "the producer runs at 1000 Hz, 2000 Hz was asked for: its rate cannot be changed from outside");
    bench.producer.change_epoch(&RingSpec { prr_hz: 2000.1, ..spec.clone() }).unwrap();
    assert_eq!(bench.probe().map(|a| a.prr.to_f64()), Ok(2000.1), "50 ppm are within the tolerance");
}

#[test]
fn a_ring_without_life_is_not_read() {
    let spec = small_spec(4, 1, 4);
    let (_producer, memory) = Producer::in_memory(&spec).unwrap();
    let options = RingOptions { heartbeat_timeout: Duration::from_millis(5), ..RingOptions::new("in memory") };
    let mut ring = Ring::over(memory, options);
    assert!(matches!(ring.probe().unwrap(), Probe::Waiting(DarkReason::Starting)));
    std::thread::sleep(Duration::from_millis(10));
    assert!(matches!(ring.probe().unwrap(), Probe::Waiting(DarkReason::NoHeartbeat)));
}

#[test]
fn traces_that_go_backwards_or_come_twice_are_nonsense_and_then_a_new_epoch() {
    for back in [1, 3] {
        let mut bench = Bench::new(&small_spec(4, 2, 8), None);
        bench.write(2);
        let first = bench.probe().unwrap();
        bench.write(1);
        let mut block = block_for(first.clone(), 3);
        assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
        bench.next_trace -= back;
        bench.write(1);
        let ReadOutcome::FiberLost(DarkReason::Refused(why)) = bench.read(&mut block) else { panic!("not refused") };
        assert_eq!(why, format!("slot 2 of the ring begins with trace {}, 3 comes next", 3 - back));
        let again = bench.probe().unwrap();
        assert!(again.epoch > first.epoch);
        let base = bench.next_trace;
        bench.write(2);
        let mut block = block_for(again, 2);
        assert_eq!(bench.read(&mut block), ReadOutcome::Filled);
        assert_eq!((block.first_trace.0, block.gap_before), (0, 0));
        check(&block, base);
    }
}
