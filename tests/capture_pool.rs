//! What the capture thread does when blocks run out, with a source that waits and one that does not.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::engine::fill;
use crossbeam_channel::{Receiver, bounded};
use fiberd::acquisition::{Acquisition, Phase, SignalLimits};
use fiberd::block::{Lease, RawBlock};
use fiberd::capture::{Capture, CaptureEnd, filled_queue_blocks, tee};
use fiberd::config::CaptureConfig;
use fiberd::source::{Interrogator, Probe, ReadOutcome, SourceError};
use fiberd::status::{Status, TeeCounters};
use fiberd::units::{Rational, TraceIndex};

fn acquisition() -> Acquisition {
    Acquisition { prr: Rational::new(1000, 1).unwrap(), channels: 70, ..Acquisition::example() }
}

/// Different for each trace and channel.
fn sample(trace: u64, channel: usize) -> i16 {
    trace.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(channel as u64 * 77) as i16
}

/// Hands out blocks as the test says.
struct Scripted {
    acquisition: Acquisition,
    next: u64,
    end: u64,
    live: bool,
}

impl Interrogator for Scripted {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::Ready(self.acquisition.clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        if self.next >= self.end {
            return Ok(ReadOutcome::EndOfStream);
        }
        let traces = block.free_traces();
        (block.first_trace, block.traces) = (TraceIndex(self.next), traces);
        fill(block, self.next, sample);
        self.next += traces as u64;
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

fn capture(
    blocks: u64,
    live: bool,
    pool_blocks: usize,
) -> (Capture, Receiver<Lease>, crossbeam_channel::Sender<()>, Arc<Status>) {
    let config = CaptureConfig { pool_blocks, ..CaptureConfig::default() };
    let status = Status::new("test", None);
    let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config, None));
    let (stop_tx, stop_rx) = bounded(0);
    let source = Box::new(Scripted { acquisition: acquisition(), next: 0, end: blocks * 20, live });
    let limits = SignalLimits::default();
    let capture = Capture { source, config, limits, status: Arc::clone(&status), filled_tx, tee: None, stop_rx };
    (capture, filled_rx, stop_tx, status)
}

#[test]
fn without_a_free_block_capture_reads_on_and_the_loss_is_exact() {
    let (capture, filled_rx, _stop, status) = capture(50, true, 8);
    assert_eq!(capture.run().unwrap(), CaptureEnd::EndOfStream);
    let mut leases: VecDeque<_> = filled_rx.try_iter().collect();
    // Nobody gave a block back, so eight got through, from the beginning, and the rest is counted.
    assert_eq!(leases.len(), 8);
    assert_eq!(status.counters.capture.traces.get(), 1000);
    assert_eq!(status.counters.capture.traces_dropped_no_block.get(), 1000 - 160);
    assert_eq!(leases.pop_back().unwrap().end_trace().0, 160);
    assert_eq!(status.phase().phase, Phase::Draining);
}

#[test]
fn what_was_dropped_is_the_gap_of_the_next_block() {
    let (capture, filled_rx, stop, status) = capture(u64::MAX / 20, true, 4);
    let running = capture.spawn().unwrap();
    let mut next = 0;
    let (mut lost, mut held) = (0, VecDeque::new());
    for turn in 0..2000 {
        let lease = filled_rx.recv().unwrap();
        assert_eq!(lease.first_trace.0 - next, lease.gap_before, "turn {turn}");
        assert_eq!(lease.row_as::<i16>(3)[5], sample(lease.first_trace.0 + 3, 5));
        lost += lease.gap_before;
        next = lease.end_trace().0;
        held.push_back(lease);
        if turn % 7 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        if held.len() > 2 {
            held.clear();
        }
    }
    drop((stop, filled_rx, held));
    assert_eq!(running.join().unwrap().unwrap(), CaptureEnd::Stopped);
    assert!(lost > 0, "a source that never waits must overrun a pool of four");
    assert!(status.counters.capture.gap_traces.get() >= lost);
}

#[test]
fn a_source_that_can_wait_loses_nothing() {
    let (capture, filled_rx, _stop, status) = capture(500, false, 3);
    let running = capture.spawn().unwrap();
    let mut next = 0;
    for lease in filled_rx {
        assert_eq!((lease.first_trace.0, lease.gap_before), (next, 0));
        next = lease.end_trace().0;
    }
    assert_eq!(next, 10_000);
    assert_eq!(running.join().unwrap().unwrap(), CaptureEnd::EndOfStream);
    assert_eq!(status.counters.capture.traces_dropped_no_block.get(), 0);
}

#[test]
fn capturing_a_block_allocates_nothing() {
    let allocations = |blocks| {
        let (capture, filled_rx, stop, status) = capture(blocks, true, 8);
        let (tee, tee_rx) = tee(2, Arc::default());
        let capture = Capture { tee: Some(tee), ..capture };
        let info = allocation_counter::measure(move || {
            let _ = capture.run();
        });
        drop((filled_rx, tee_rx, stop, status));
        info.count_total
    };
    assert_eq!(allocations(1000), allocations(10), "what is allocated is allocated at the beginning");
}

#[test]
fn a_source_that_can_wait_does_so_for_a_second_consumer_and_a_live_one_does_not() {
    for live in [false, true] {
        let (capture, filled_rx, stop, status) = capture(500, live, 64);
        let counters = Arc::<TeeCounters>::default();
        let (tee, tee_rx) = tee(2, Arc::clone(&counters));
        let running = Capture { tee: Some(tee), ..capture }.spawn().unwrap();
        let pipeline = std::thread::spawn(move || filled_rx.into_iter().map(|lease| lease.traces as u64).sum::<u64>());
        let (mut next, mut missing) = (0, 0);
        for (turn, block) in tee_rx.into_iter().enumerate() {
            missing += block.first_trace.0 - next;
            assert_eq!(block.row_as::<i16>(3)[5], sample(block.first_trace.0 + 3, 5));
            next = block.end_trace().0;
            if turn % 100 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert_eq!(running.join().unwrap().unwrap(), CaptureEnd::EndOfStream);
        let passed_on = pipeline.join().unwrap();
        let (given, dropped) = (counters.traces_passed_on.get(), counters.traces_dropped.get());
        assert_eq!((passed_on, given + dropped), (status.counters.capture.traces_passed_on.get(), passed_on));
        assert_eq!(given, next - missing, "live: {live}");
        assert!(if live { dropped > 0 } else { (dropped, missing) == (0, 0) }, "{dropped} dropped, live: {live}");
        drop(stop);
    }
}

#[test]
fn a_second_consumer_that_has_gone_costs_the_pipeline_nothing() {
    let (capture, filled_rx, _stop, status) = capture(500, false, 3);
    let counters = Arc::<TeeCounters>::default();
    let (tee, tee_rx) = tee(2, Arc::clone(&counters));
    drop(tee_rx);
    let running = Capture { tee: Some(tee), ..capture }.spawn().unwrap();
    assert_eq!(filled_rx.into_iter().map(|lease| lease.traces).sum::<usize>(), 10_000);
    assert_eq!(running.join().unwrap().unwrap(), CaptureEnd::EndOfStream);
    assert_eq!(counters.traces_dropped.get(), 10_000);
    assert_eq!(status.counters.capture.gap_traces.get(), 0);
}
