//! The capture loop on a source that does anything in any order, with consumers that hold blocks for as long as they
//! like: every block comes home or is held, and every trace is counted once.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use fiberd::acquisition::{Acquisition, DarkReason, Phase, SampleFormat, SignalLimits, SourceKind};
use fiberd::block::{Lease, RawBlock};
use fiberd::capture::{Capture, CaptureEnd, SharedBlock, Tee, filled_queue_blocks, tee};
use fiberd::config::CaptureConfig;
use fiberd::source::ring::{Producer, Ring, RingOptions, RingSpec};
use fiberd::source::{Interrogator, Probe, ReadOutcome, SourceError};
use fiberd::status::{Book, Status, TeeCounters};
use fiberd::units::{Rational, TraceIndex};
use proptest::prelude::*;

const PRR_HZ: u64 = 1000;
const POOL: usize = 5;
/// Blocks that the second consumer may hold.
const OF_TEE: usize = 3;
const UTC_NS: i64 = 1_790_000_000_000_000_000;
/// Generous: what has not happened by then will not happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn acquisition(epoch: u64, channels: usize) -> Acquisition {
    Acquisition { epoch, channels, prr: Rational::new(PRR_HZ, 1).unwrap(), ..Acquisition::example() }
}

/// What the source says next.
#[derive(Clone, Debug)]
enum Step {
    /// Traces, in thousandths of what the block can take, behind a gap, with light or without.
    Filled {
        part: u64,
        gap: u64,
        lit: bool,
    },
    TimedOut,
    FiberLost,
    /// A new acquisition, with as many channels, some traces of the old one left behind.
    NewEpoch {
        channels: usize,
        left_behind: u64,
    },
    /// Nothing, or no light, for so many probes.
    Waiting(usize),
    Error,
}

#[derive(Clone, Debug)]
struct Turn {
    step: Step,
    /// The consumer lets go of so many leases, from that end.
    let_go: usize,
    newest_first: bool,
    /// So many that the second consumer lets go of.
    tee_lets_go: usize,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let step = prop_oneof![
        8 => (0u64..=1000, prop_oneof![3 => Just(0u64), 1 => 1u64..90], prop::bool::weighted(0.8))
            .prop_map(|(part, gap, lit)| Step::Filled { part, gap, lit }),
        2 => Just(Step::TimedOut),
        1 => Just(Step::FiberLost),
        1 => (1usize..4, 0u64..50).prop_map(|(channels, left_behind)| Step::NewEpoch { channels, left_behind }),
        // Probes wait for 50 ms each.
        1 => prop_oneof![8 => Just(0usize), 1 => Just(1)].prop_map(Step::Waiting),
    ];
    // Now and then none for a long time, so that all blocks are out.
    let let_go = prop_oneof![2 => Just(0usize), 1 => 0usize..7];
    let tee_lets_go = prop_oneof![1 => Just(0usize), 2 => 0usize..=OF_TEE];
    let turn = (step, let_go, any::<bool>(), tee_lets_go).prop_map(|(step, let_go, newest_first, tee_lets_go)| Turn {
        step,
        let_go,
        newest_first,
        tee_lets_go,
    });
    prop::collection::vec(turn, 1..120)
}

/// What the test knows by itself, from what it played and what arrived.
#[derive(Default)]
struct Seen {
    /// By the indices that were played.
    launched: u64,
    arrived: u64,
    gaps_marked: u64,
    held: VecDeque<Lease>,
    /// Epoch, first trace and memory of what the pipeline got since the last look.
    passed_on: VecDeque<(u64, u64, usize)>,
    of_tee: VecDeque<SharedBlock>,
    tee_arrived: u64,
    /// Whether the second consumer may have the next block.
    tee_has_room: bool,
    faults: Vec<String>,
}

fn key(block: &RawBlock) -> (u64, u64, usize) {
    (block.acquisition.epoch, block.first_trace.0, block.bytes().as_ptr() as usize)
}

/// Plays turns, and looks at the books before each.
struct Played {
    turns: std::vec::IntoIter<Turn>,
    acquisition: Acquisition,
    next: u64,
    waiting: usize,
    left_behind: u64,
    filled_rx: Receiver<Lease>,
    tee_rx: Receiver<SharedBlock>,
    tee_counters: Arc<TeeCounters>,
    status: Arc<Status>,
    seen: Arc<Mutex<Seen>>,
    /// The first epoch of the present pool: a new shape makes a new one.
    pool_since: u64,
}

impl Played {
    /// Everything that was read up to now has been dealt with, and nothing has been given back since it was looked at.
    fn check(&self) {
        let mut seen = self.seen.lock().unwrap();
        for lease in self.filled_rx.try_iter() {
            seen.arrived += lease.traces as u64;
            seen.gaps_marked += lease.gap_before;
            drop(lease.share());
            seen.passed_on.push_back(key(&lease));
            seen.held.push_back(lease);
        }
        let (arrived, at_tee) = (seen.passed_on.len(), seen.of_tee.len());
        for block in self.tee_rx.try_iter() {
            // What passed it by lies before it, in the same order.
            if !std::iter::from_fn(|| seen.passed_on.pop_front()).any(|of_pipeline| of_pipeline == key(&block)) {
                seen.faults.push(format!("{:?} was not the pipeline's, or out of order", key(&block)));
            }
            seen.tee_arrived += block.traces as u64;
            seen.of_tee.push_back(block);
        }
        if seen.tee_has_room && arrived > 0 && seen.of_tee.len() == at_tee {
            seen.faults.push("a block passed the second consumer by that had room".into());
        }
        seen.passed_on.clear();
        let counters = &self.status.counters;
        let mut faults = Vec::new();
        let unequal = counters.traces_books().into_iter().take(3).filter(|book| !book.balances());
        faults.extend(unequal.map(|book| format!("{book:?}")));
        let known = counters.capture.traces_launched.get();
        if known != seen.launched {
            faults.push(format!("{} launched, {known} known", seen.launched));
        }
        let out = seen.held.iter().map(|lease| &**lease).chain(seen.of_tee.iter().map(|block| &**block));
        let out: HashSet<_> = out.filter(|block| block.acquisition.epoch >= self.pool_since).map(key).collect();
        let (free, out) = (counters.capture.free_blocks.get() as usize, out.len());
        // One more is being filled, unless all are out and it is the spare one.
        if free + out + 1 != POOL + OF_TEE && (free, out) != (0, POOL + OF_TEE) {
            faults.push(format!("{free} free and {out} out of {POOL} + {OF_TEE} blocks"));
        }
        if seen.of_tee.len() > OF_TEE {
            faults.push(format!("the second consumer holds {} blocks", seen.of_tee.len()));
        }
        let (given, dropped) = (self.tee_counters.traces_passed_on.get(), self.tee_counters.traces_dropped.get());
        if (given, given + dropped) != (seen.tee_arrived, counters.capture.traces_passed_on.get()) {
            faults
                .push(format!("{} traces at the second consumer, {given} given, {dropped} dropped", seen.tee_arrived));
        }
        seen.faults.extend(faults);
    }

    fn let_go(&self, turn: &Turn) {
        let mut seen = self.seen.lock().unwrap();
        for _ in 0..turn.let_go {
            if turn.newest_first {
                seen.held.pop_back()
            } else {
                seen.held.pop_front()
            };
        }
        let count = turn.tee_lets_go.min(seen.of_tee.len());
        seen.of_tee.drain(..count);
        seen.tee_has_room = seen.of_tee.len() < OF_TEE;
    }

    fn fill(&mut self, block: &mut RawBlock, part: u64, gap: u64, lit: bool) {
        let capacity = block.layout().capacity_traces;
        let traces = (capacity * part as usize / 1000).max(1);
        block.gap_before = gap;
        block.first_trace = TraceIndex(self.next + gap);
        block.traces = traces;
        block.utc_ns = UTC_NS + block.acquisition.prr.traces_to_ns(self.next + gap);
        for row in 0..traces {
            for (channel, cell) in bytemuck::cast_slice_mut::<_, i16>(block.row_mut(row)).iter_mut().enumerate() {
                *cell = if lit && channel % 2 == 0 { 1000 } else { 0 };
            }
        }
        self.next += gap + traces as u64;
        self.seen.lock().unwrap().launched += gap + traces as u64;
    }
}

impl Interrogator for Played {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        if self.waiting > 0 {
            self.waiting -= 1;
            return Ok(Probe::Waiting(DarkReason::LightOff));
        }
        Ok(Probe::Ready(self.acquisition.clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        self.check();
        let Some(turn) = self.turns.next() else {
            // Once everything has been given back, all blocks are home.
            let mut seen = self.seen.lock().unwrap();
            let (held, of_tee) = (std::mem::take(&mut seen.held), std::mem::take(&mut seen.of_tee));
            let all_home = held.is_empty() && of_tee.is_empty();
            return Ok(if all_home { ReadOutcome::EndOfStream } else { ReadOutcome::TimedOut });
        };
        self.let_go(&turn);
        Ok(match turn.step {
            Step::Filled { part, gap, lit } => {
                self.fill(block, part, gap, lit);
                ReadOutcome::Filled
            }
            Step::TimedOut => ReadOutcome::TimedOut,
            Step::FiberLost => ReadOutcome::FiberLost(DarkReason::NoHeartbeat),
            Step::Waiting(probes) => {
                self.waiting = probes;
                ReadOutcome::FiberLost(DarkReason::LightOff)
            }
            Step::NewEpoch { channels, left_behind } => {
                let epoch = self.acquisition.epoch + 1;
                if channels != self.acquisition.channels {
                    self.pool_since = epoch;
                }
                self.acquisition = acquisition(epoch, channels);
                self.next = 0;
                self.left_behind += left_behind;
                self.seen.lock().unwrap().launched += left_behind;
                ReadOutcome::EpochChanged
            }
            Step::Error => {
                return Err(SourceError::Unusable { what: "the test".into(), why: "has had enough".into() });
            }
        })
    }

    fn missing_at_ends(&self) -> u64 {
        self.left_behind
    }
}

fn limits() -> SignalLimits {
    SignalLimits { dark_power: 100.0, dark_hold: Duration::ZERO, ..SignalLimits::default() }
}

struct Rig {
    status: Arc<Status>,
    filled_tx: Sender<Lease>,
    filled_rx: Receiver<Lease>,
    config: CaptureConfig,
}

impl Rig {
    fn new() -> Self {
        let config = CaptureConfig { pool_blocks: POOL, ..CaptureConfig::default() };
        let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config, None));
        Self { status: Status::new("test", None), filled_tx, filled_rx, config }
    }

    fn capture(
        &self,
        source: impl Interrogator + 'static,
        limits: SignalLimits,
        tee: Option<Tee>,
        stop_rx: Receiver<()>,
    ) -> Capture {
        let (status, filled_tx) = (Arc::clone(&self.status), self.filled_tx.clone());
        Capture { source: Box::new(source), config: self.config.clone(), limits, status, filled_tx, tee, stop_rx }
    }
}

fn play(turns: Vec<Turn>) -> (Result<CaptureEnd, String>, Seen, Arc<Status>) {
    let rig = Rig::new();
    let seen = Arc::<Mutex<Seen>>::default();
    let tee_counters = Arc::<TeeCounters>::default();
    let (tee, tee_rx) = tee(OF_TEE, Arc::clone(&tee_counters));
    let source = Played {
        turns: turns.into_iter(),
        acquisition: acquisition(1, 2),
        next: 0,
        waiting: 0,
        left_behind: 0,
        filled_rx: rig.filled_rx.clone(),
        tee_rx,
        tee_counters: Arc::clone(&tee_counters),
        status: Arc::clone(&rig.status),
        seen: Arc::clone(&seen),
        pool_since: 1,
    };
    let (_stop_tx, stop_rx) = bounded(0);
    let end = rig.capture(source, limits(), Some(tee), stop_rx).run().map_err(|error| error.to_string());
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    // After an error the queue holds what was read before it.
    seen.arrived += rig.filled_rx.try_iter().map(|lease| lease.traces as u64).sum::<u64>();
    (end, seen, rig.status)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the source does and however long consumers hold their blocks: no block is lost, no trace uncounted.
    #[test]
    fn all_blocks_come_home_and_the_books_balance(turns in turns(), error in prop::bool::weighted(0.2)) {
        let mut turns = turns;
        if error {
            turns.push(Turn { step: Step::Error, let_go: 0, newest_first: false, tee_lets_go: 0 });
        }
        let (end, seen, status) = play(turns);
        prop_assert_eq!(end.is_err(), error);
        prop_assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
        let counters = &status.counters;
        prop_assert_eq!(counters.capture.traces_launched.get(), seen.launched);
        prop_assert_eq!(counters.capture.traces_passed_on.get(), seen.arrived);
        prop_assert_eq!(counters.capture.traces_launched.get(), seen.arrived + counters.capture.gap_traces.get());
        prop_assert!(counters.capture.gap_traces.get() >= seen.gaps_marked);
        prop_assert!(counters.traces_books()[..3].iter().all(Book::balances));
    }
}

/// A ring of this process, written on a thread of its own in slots of `slot_ms`.
struct Written {
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Written {
    fn start(path: &Path, slot_ms: u64) -> Self {
        let spec = RingSpec {
            sample_format: SampleFormat::I16,
            channels: 10,
            traces_per_slot: (slot_ms * PRR_HZ / 1000) as usize,
            slots: 16,
            prr_hz: PRR_HZ as f64,
            dx_m: 1.0,
            gauge_length_m: None,
            fiber_start_m: 0.0,
            scale: 1.0,
            quantity: fiberd::acquisition::Quantity::Phase,
            unit: "rad".into(),
            wavelength_m: None,
            refractive_index: None,
            description: String::new(),
            clock: fiberd::acquisition::ClockQuality::FreeRunning,
            source: SourceKind::Ring,
        };
        let mut producer = Producer::create(path, &spec).unwrap();
        let (stop, stop_rx) = bounded::<()>(0);
        let thread = std::thread::spawn(move || {
            let (began, traces) = (Instant::now(), spec.traces_per_slot as u64);
            for slot in 0u64.. {
                let due = began + Duration::from_millis(slot_ms * (slot + 1));
                let mut over = false;
                while !over && Instant::now() < due {
                    producer.heartbeat();
                    let nap = Duration::from_millis(20).min(due.saturating_duration_since(Instant::now()));
                    over = stop_rx.recv_timeout(nap) == Err(crossbeam_channel::RecvTimeoutError::Disconnected);
                }
                if over {
                    return;
                }
                let first = slot * traces;
                let utc_ns = UTC_NS + (first * 1_000_000) as i64;
                producer.write_slot(first, utc_ns, spec.traces_per_slot, |bytes| bytes.fill(7));
            }
        });
        Self { stop, thread }
    }

    fn end(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

/// Waits for a state with much patience.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn slow_slots_and_restarts_of_the_producer_leave_capture_with_all_its_blocks() {
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    let dir = tempfile::Builder::new().prefix("fiberd-capture-").tempdir_in(root).unwrap();
    let path = dir.path().join("ring");
    let rig = Rig::new();
    let (stop_tx, stop_rx) = bounded(0);
    let capture =
        rig.capture(Ring::new(RingOptions::new(&path)), SignalLimits::default(), None, stop_rx).spawn().unwrap();
    let consumer = {
        let (filled_rx, status) = (rig.filled_rx.clone(), Arc::clone(&rig.status));
        std::thread::spawn(move || {
            for lease in filled_rx {
                status.counters.pipeline.traces_processed.add(lease.traces as u64);
            }
        })
    };
    let counters = &rig.status.counters;
    // Slots of 120 ms are longer than one read waits: each is preceded by reads in vain. Five blocks, so that a loss of
    // one a slot would end it at once.
    for round in 1..=3 {
        let written = Written::start(&path, 120);
        let before = counters.pipeline.traces_processed.get();
        wait_for("traces of slow slots", || counters.pipeline.traces_processed.get() >= before + 10 * 120);
        written.end();
        wait_for("the loss of the producer", || matches!(rig.status.phase().phase, Phase::WaitingForFiber(_)));
        wait_for("all blocks home", || counters.capture.free_blocks.get() as usize == POOL);
        assert_eq!(counters.capture.pool_blocks.get() as usize, POOL);
        assert_eq!(counters.capture.epochs.get(), round);
    }
    drop(stop_tx);
    assert_eq!(capture.join().unwrap().unwrap(), CaptureEnd::Stopped);
    let status = Arc::clone(&rig.status);
    drop(rig);
    consumer.join().unwrap();
    assert!(status.counters.traces_books().iter().all(Book::balances), "{:#?}", status.counters.traces_books());
    // A slot fills six blocks at once, so that five may not do; but most get through.
    let (launched, missing) = (status.counters.capture.traces_launched.get(), status.counters.capture.gap_traces.get());
    assert!(missing < launched / 2, "{missing} of {launched} traces are missing");
}
