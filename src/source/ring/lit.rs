//! Flags of slots, in plain memory: which traces are delivered, and what is said of them, goes by the slot of each trace and
//! not by when somebody looked.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::consumer::{Ring, RingOptions};
use super::hostile::{block_for, small_spec};
use super::{Producer, STATE_CALIBRATING, STATE_LIGHT, STATE_OVERLOAD};
use crate::acquisition::DarkReason;
use crate::block::{InstrumentState, RawBlock};
use crate::source::{Interrogator, Probe, ReadOutcome};

const UTC_NS: i64 = 1_700_000_000_000_000_000;
/// More than a script writes: nothing is overtaken.
const SLOTS: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Action {
    /// A slot of so many traces with these flags.
    Write(usize, u32),
    /// The state word, which changes behind the slots.
    Word(u32),
    Skip(u64),
    Read(usize),
    Probe,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (1usize..=7, 0u32..16).prop_map(|(traces, flags)| Action::Write(traces, flags)),
        3 => (0u32..16).prop_map(Action::Word),
        1 => (1u64..50).prop_map(Action::Skip),
        5 => (1usize..20).prop_map(Action::Read),
        2 => Just(Action::Probe),
    ];
    prop::collection::vec(action, 1..200)
}

/// A trace as it was written or delivered: its number, and how the interrogator was.
type Trace = (u64, InstrumentState);

fn state_of(flags: u32) -> InstrumentState {
    let is_set = |flag| flags & flag != 0;
    InstrumentState { overloaded: is_set(STATE_OVERLOAD), calibrating: is_set(STATE_CALIBRATING) }
}

/// Takes a block's traces in, and checks that its gap is exactly what is missing.
fn take(block: &RawBlock, delivered: &mut Vec<Trace>) {
    let reached = delivered.last().map_or(0, |&(trace, _)| trace + 1);
    assert_eq!(block.first_trace.0, reached + block.gap_before);
    for (mark, rows) in block.spans() {
        assert!(
            mark.stamp_ns.is_none_or(|utc_ns| {
                utc_ns == UTC_NS + (block.first_trace.0 + rows.start as u64) as i64 * 1_000_000
            })
        );
        delivered.extend(rows.map(|row| (block.first_trace.0 + row as u64, mark.state)));
    }
    for row in 0..block.traces {
        let number = (block.first_trace.0 + row as u64) as i16;
        assert!(block.row_as::<i16>(row).iter().all(|&sample| sample == number), "trace {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 400 }, ..ProptestConfig::default() })]

    /// Whatever flags slots have, whatever the state word says meanwhile and however it is read: what is delivered are
    /// exactly the traces of slots with light, each with what its own slot says, and gaps are exactly the others.
    #[test]
    fn a_trace_is_lit_or_dark_by_its_slot(traces_per_slot in 1usize..=7, actions in actions()) {
        let spec = small_spec(3, traces_per_slot, SLOTS);
        let (mut producer, memory) = Producer::in_memory(&spec).unwrap();
        let options = RingOptions { heartbeat_timeout: Duration::from_secs(3600), ..RingOptions::new("in memory") };
        let mut ring = Ring::over(Arc::clone(&memory), options);
        let (mut next, mut word, mut lit, mut delivered) = (0u64, STATE_LIGHT, Vec::new(), Vec::new());
        let mut acquisition = None;
        let first = [Action::Write(1, STATE_LIGHT), Action::Word(STATE_LIGHT), Action::Probe, Action::Read(1)];
        for action in first.into_iter().chain(actions).chain([Action::Probe, Action::Read(1 << 20)]) {
            match action {
                Action::Write(traces, flags) => {
                    let traces = 1 + traces % traces_per_slot;
                    // A slot carries what the word says when it is written.
                    producer.set_state(flags);
                    producer.write_slot(next, UTC_NS + next as i64 * 1_000_000, traces, |bytes| {
                        for (i, value) in bytes.chunks_exact_mut(2).enumerate() {
                            value.copy_from_slice(&((next + i as u64 / 3) as i16).to_le_bytes());
                        }
                    });
                    producer.set_state(word);
                    if flags & STATE_LIGHT != 0 {
                        lit.extend((0..traces as u64).map(|i| (next + i, state_of(flags))));
                    }
                    next += traces as u64;
                }
                Action::Word(to) => {
                    word = to;
                    producer.set_state(word);
                }
                Action::Skip(traces) => next += traces,
                Action::Probe => {
                    for _ in 0..2 {
                        if let Probe::Ready(known) = ring.probe().unwrap() {
                            let known = acquisition.get_or_insert_with(|| known.clone()).clone() == known;
                            prop_assert!(known, "the acquisition goes on");
                        }
                        producer.heartbeat();
                    }
                }
                Action::Read(capacity) => {
                    let Some(acquisition) = acquisition.clone() else { continue };
                    let (mut block, to_the_end) = (block_for(acquisition, capacity.min(50)), capacity > 50);
                    loop {
                        let acquisition = Arc::clone(&block.acquisition);
                        block.clear(&acquisition);
                        match ring.read_block(&mut block, Duration::ZERO).unwrap() {
                            ReadOutcome::Filled => take(&block, &mut delivered),
                            ReadOutcome::TimedOut | ReadOutcome::FiberLost(DarkReason::LightOff) => break,
                            other => prop_assert!(false, "{:?}", other),
                        }
                        if !to_the_end {
                            break;
                        }
                    }
                }
            }
        }
        prop_assert_eq!(delivered, lit);
    }
}

#[test]
fn a_state_that_changes_with_every_trace_makes_no_block_shorter() {
    let (mut producer, memory) = Producer::in_memory(&small_spec(3, 1, SLOTS)).unwrap();
    let options = RingOptions { heartbeat_timeout: Duration::from_secs(3600), ..RingOptions::new("in memory") };
    let mut ring = Ring::over(memory, options);
    let traces = 200;
    let mut written = Vec::new();
    for trace in 0..traces {
        let flags = STATE_LIGHT | [STATE_OVERLOAD, STATE_CALIBRATING][trace as usize % 2];
        producer.set_state(flags);
        producer.write_slot(trace, UTC_NS + trace as i64 * 1_000_000, 1, |bytes| {
            bytes.as_chunks_mut().0.iter_mut().for_each(|value| *value = (trace as i16).to_le_bytes());
        });
        written.push((trace, state_of(flags)));
    }
    let acquisition = std::iter::from_fn(|| {
        let found = ring.probe().unwrap();
        producer.heartbeat();
        Some(found)
    });
    let acquisition = acquisition.take(3).find_map(|found| match found {
        Probe::Ready(acquisition) => Some(acquisition),
        Probe::Waiting(_) => None,
    });
    let mut block = block_for(acquisition.unwrap(), traces as usize);
    assert_eq!(ring.read_block(&mut block, Duration::ZERO).unwrap(), ReadOutcome::Filled);
    let mut delivered = Vec::new();
    take(&block, &mut delivered);
    assert_eq!((block.traces, delivered), (traces as usize, written));
}
