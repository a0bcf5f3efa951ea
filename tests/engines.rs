//! Engines side by side in one process: each has its own counters and findings and the values that it has alone, also when
//! they share the threads of a pool; and who leads a pool waits for nobody beside it.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::engine::{EngineRig, Sample};
use crossbeam_channel::bounded;
use fiberd::acquisition::Acquisition;
use fiberd::config::ViewConfig;
use fiberd::dsp::ConditionSpec;
use fiberd::frame::Frame;
use fiberd::pipeline::Engine;
use fiberd::pipeline::tile::Tile;
use fiberd::pipeline::workers::{WorkerPool, Workers};
use fiberd::status::{Counter, FindingKind, FindingReporter, Findings, PipelineCounters};
use fiberd::units::Rational;

const CHANNELS: usize = 1000;
const BLOCK: usize = 100;
const BLOCKS: usize = 6;

fn acquisition() -> Arc<Acquisition> {
    let prr = Rational::new(1000, 1).unwrap();
    Arc::new(Acquisition { epoch: 1, prr, channels: CHANNELS, ..Acquisition::example() })
}

fn hash(x: u64) -> i16 {
    (x.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as i16
}

/// What an engine is given: its samples, the traces of its blocks, and a view that may not fit.
#[derive(Clone, Copy)]
struct Part {
    sample: Sample,
    traces: usize,
    misfit: bool,
}

const LIVE: Part = Part { sample: |trace, channel| hash(trace << 12 | channel as u64), traces: BLOCK, misfit: false };
const RECORDED: Part = Part { sample: |trace, channel| hash(trace << 20 ^ channel as u64), traces: 70, misfit: true };

impl Part {
    fn views(self) -> Vec<ViewConfig> {
        // Windows so close to each other that all threads are worth their while.
        let bands = ViewConfig {
            nfft: 256,
            line_period_s: Rational::new(5, 1000).unwrap(),
            bands_hz: vec![(20.0, 90.0), (100.0, 400.0)],
            ..ViewConfig::waterfall()
        };
        let beyond = ViewConfig::single("beyond", CHANNELS + 1);
        [bands].into_iter().chain(self.misfit.then_some(beyond)).collect()
    }

    fn rig(self, workers: Workers) -> (EngineRig, FindingReporter) {
        let findings = FindingReporter::default();
        let (views, said) = (self.views(), findings.clone());
        let engine = |egress, counters| Engine::with(views, ConditionSpec::default(), egress, counters, said, workers);
        (EngineRig::of(engine, acquisition(), BLOCK, self.sample), findings)
    }

    /// All that comes of an engine that works with `workers`; `between` is called behind each block.
    fn run(self, workers: Workers, mut between: impl FnMut()) -> Outcome {
        let (mut rig, findings) = self.rig(workers);
        for _ in 0..BLOCKS {
            rig.feed(self.traces);
            between();
        }
        Outcome::of(&rig.last_frames(), &rig.counters, findings.findings())
    }

    fn alone(self) -> Outcome {
        std::thread::spawn(move || self.run(Workers::leading(WorkerPool::with_this_thread(1)), || {})).join().unwrap()
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    /// Stream, line, and the bits of the values.
    frames: Vec<(u32, u64, Vec<u32>)>,
    counts: [u64; 5],
    findings: Findings,
}

impl Outcome {
    fn of(frames: &[Frame], counters: &PipelineCounters, findings: Findings) -> Self {
        let bits = |frame: &Frame| frame.values.flat().iter().map(|value| value.to_bits()).collect();
        let c = counters;
        Self {
            frames: frames.iter().map(|frame| (frame.stream.number, frame.first_line, bits(frame))).collect(),
            counts: [&c.ticks, &c.blocks_processed, &c.traces_processed, &c.lines, &c.plans].map(Counter::get),
            findings,
        }
    }
}

#[test]
fn engines_side_by_side_are_each_what_they_are_alone() {
    let (live, recorded) = (LIVE.alone(), RECORDED.alone());
    assert!(live.frames.len() > 100 && recorded.frames.len() > 50 && live.counts != recorded.counts);
    assert!(live.findings.is_empty());
    let left_out = (FindingKind::ViewLeftOut, "beyond".to_owned());
    assert_eq!(recorded.findings.keys().collect::<Vec<_>>(), [&left_out]);

    // Each with a pool of its own.
    let together = std::thread::scope(|scope| {
        let run = |part: Part| {
            scope.spawn(move || part.run(Workers::leading(WorkerPool::with_this_thread(1)), std::thread::yield_now))
        };
        [run(LIVE), run(RECORDED)].map(|thread| thread.join().unwrap())
    });
    assert!(together == [live, recorded], "with pools of their own");
}

#[test]
fn engines_that_share_a_pool_are_each_what_they_are_alone() {
    let (live, recorded) = (LIVE.alone(), RECORDED.alone());
    for threads in [1, 3] {
        let (pool_tx, pool_rx) = bounded(1);
        let work = move || {
            let pool = WorkerPool::with_this_thread(threads);
            pool_tx.send(Arc::clone(&pool)).unwrap();
            LIVE.run(Workers::leading(pool), std::thread::yield_now)
        };
        let leading = std::thread::spawn(work);
        let pool = pool_rx.recv().unwrap();
        let beside: Vec<_> = (0..2)
            .map(|_| {
                let workers = Workers::beside(Arc::clone(&pool));
                std::thread::spawn(move || RECORDED.run(workers, || {}))
            })
            .collect();
        assert!(leading.join().unwrap() == live, "the live one of {threads} threads");
        for thread in beside {
            assert!(thread.join().unwrap() == recorded, "beside it, {threads} threads");
        }
        // The thread that was worker 0 has ended; whoever is left goes on.
        let late = std::thread::spawn(move || RECORDED.run(Workers::beside(pool), || {}));
        assert!(late.join().unwrap() == recorded, "behind its end, {threads} threads");
    }
}

#[test]
fn a_pool_of_one_thread_that_is_busy_elsewhere_keeps_nobody_waiting() {
    let (pool_tx, pool_rx) = bounded(1);
    let (done_tx, done_rx) = bounded::<()>(0);
    // The only thread of the pool does something else until the engine beside it has finished.
    let owner = std::thread::spawn(move || {
        let pool = WorkerPool::with_this_thread(1);
        pool_tx.send(Arc::clone(&pool)).unwrap();
        let _ = done_rx.recv();
    });
    let pool = pool_rx.recv().unwrap();
    let beside = std::thread::spawn(move || RECORDED.run(Workers::beside(pool), || {}));
    assert!(beside.join().unwrap() == RECORDED.alone());
    drop(done_tx);
    owner.join().unwrap();
}

fn tiles(count: usize) -> Vec<Tile> {
    let tile = |n: usize| Tile::new(&ConditionSpec::default(), &acquisition(), n..n + 1, Vec::new(), BLOCK).unwrap();
    (0..count).map(tile).collect()
}

/// Waits, with much patience, until it is so.
fn wait_until(is_so: impl Fn() -> bool) {
    common::wait_for("the other thread", || is_so().then_some(()));
}

#[test]
fn who_leads_a_pool_waits_for_no_tile_of_another() {
    for threads in [2, 3] {
        let (pool_tx, pool_rx) = bounded(1);
        let (go_tx, go_rx) = bounded::<()>(0);
        let [stuck, led] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let leading = {
            let led = Arc::clone(&led);
            std::thread::spawn(move || {
                let workers = Workers::leading(WorkerPool::with_this_thread(threads));
                pool_tx.send(Arc::clone(workers.pool())).unwrap();
                go_rx.recv().unwrap();
                for _ in 0..100 {
                    workers.each(&mut tiles(20), true, |_, _| {
                        led.fetch_add(1, Ordering::SeqCst);
                    });
                }
                std::thread::current().id()
            })
        };
        // Every tile stands still until the leading engine is through.
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let beside = {
            let workers = Workers::beside(pool_rx.recv().unwrap());
            let (stuck, led, seen) = (Arc::clone(&stuck), Arc::clone(&led), Arc::clone(&seen));
            std::thread::spawn(move || {
                workers.each(&mut tiles(20), true, |_, _| {
                    seen.lock().unwrap().push(std::thread::current().id());
                    stuck.fetch_add(1, Ordering::SeqCst);
                    wait_until(|| led.load(Ordering::SeqCst) == 2000);
                });
            })
        };
        // All helpers and the engine's own thread have a tile.
        wait_until(|| stuck.load(Ordering::SeqCst) == threads);
        go_tx.send(()).unwrap();
        let leader = leading.join().unwrap();
        assert_eq!(led.load(Ordering::SeqCst), 2000, "all of its tiles, by itself");
        beside.join().unwrap();
        assert_eq!(stuck.load(Ordering::SeqCst), 20);
        assert!(seen.lock().unwrap().iter().all(|thread| *thread != leader), "and none of another's");
    }
}
