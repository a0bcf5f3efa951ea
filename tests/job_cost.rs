//! What jobs cost: the model that admits them agrees with the engine, an overload costs jobs and no traces, and a job begins
//! at once whatever its windows.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::engine::{EngineRig, fill};
use common::wait_for;
use crossbeam_channel::bounded;
use fiberd::acquisition::{Acquisition, SignalLimits};
use fiberd::block::RawBlock;
use fiberd::capture::{Capture, filled_queue_blocks};
use fiberd::config::{CaptureConfig, ProcessingConfig, ViewConfig};
use fiberd::dsp::{ConditionSpec, bins_in_range};
use fiberd::egress::fence;
use fiberd::frame::{FLAG_SHORT_WINDOW, Frame, ValueKind, View};
use fiberd::pipeline::control::{Command, control};
use fiberd::pipeline::cost::Shape;
use fiberd::pipeline::{Budget, Pipeline, calibrate};
use fiberd::source::{Interrogator, Probe, ReadOutcome, SourceError};
use fiberd::status::Status;
use fiberd::units::{Rational, TraceIndex};
use tokio::sync::oneshot;

const CHANNELS: usize = 256;
const PRR_HZ: u64 = 2000;
const BLOCK: usize = 40;

fn acquisition() -> Arc<Acquisition> {
    let prr = Rational::new(PRR_HZ, 1).unwrap();
    Arc::new(Acquisition { epoch: 1, prr, channels: CHANNELS, ..Acquisition::example() })
}

fn sample(trace: u64, channel: usize) -> i16 {
    (trace.wrapping_mul(0x9E37_79B9).wrapping_add(channel as u64 * 77) >> 5) as i16 % 1000
}

fn multi(channels: (usize, usize), nfft: usize, max_hz: f64, line_period_s: Rational) -> ViewConfig {
    ViewConfig {
        view: View::Multi,
        channel_min: channels.0,
        channel_max: Some(channels.1),
        nfft,
        line_period_s,
        frequency_range_hz: Some((0.0, max_hz)),
        value: ValueKind::Amplitude,
        ..ViewConfig::single("job", 1)
    }
}

fn period(num: u64, den: u64) -> Rational {
    Rational::new(num, den).unwrap()
}

fn rig(views: Vec<ViewConfig>, condition: ConditionSpec) -> EngineRig {
    EngineRig::new(views, condition, acquisition(), BLOCK, sample)
}

/// One block; what the engine took for it, and the frames that came.
fn feed(rig: &mut EngineRig) -> (Duration, Vec<Frame>) {
    (rig.feed(BLOCK), rig.frames())
}

fn open(rig: &mut EngineRig, job: &str, view: ViewConfig) {
    rig.open(job, vec![view]).unwrap();
}

/// Share of real time for so many blocks at the best of a few times, and what the meters say in the mean.
fn load(rig: &mut EngineRig, blocks: usize) -> (f64, f64) {
    const TIMES: usize = 4;
    let (mut best, mut metered) = (f64::INFINITY, 0.0);
    for _ in 0..TIMES {
        best = (0..blocks).map(|_| feed(rig).0.as_secs_f64()).sum::<f64>().min(best);
        metered += rig.engine.job_loads().iter().map(|(_, load)| load).sum::<f64>() / TIMES as f64;
    }
    (best * PRR_HZ as f64 / (blocks * BLOCK) as f64, metered)
}

#[test]
fn the_model_agrees_with_the_engine() {
    // Each on a thread of its own, which is worker 0 of its pool.
    let rates = std::thread::spawn(calibrate::measure).join().unwrap();
    let measure = move || {
        let mut rig = rig(Vec::new(), ConditionSpec::default());
        (0..8400 / BLOCK).for_each(|_| drop(feed(&mut rig)));
        let (idle, _) = load(&mut rig, 25);
        let mut wrong = Vec::new();
        // Windows side by side, that slide, that are long and slide, of single channels, means, and bands of all kinds.
        for (channels, nfft, max_hz, line_period_s) in [
            ((1, 99), 1024, 500.0, period(1, 10)),
            ((1, 99), 1024, 1000.0, period(1, 100)),
            ((1, 200), 2048, 1000.0, period(1, 20)),
            ((1, 50), 8192, 500.0, period(1, 100)),
            ((1, 50), 16_384, 500.0, period(1, 100)),
            ((1, 50), 65_536, 500.0, period(1, 100)),
            ((1, 20), 65_536, 500.0, period(1, 20)),
            ((7, 7), 32_768, 1000.0, period(1, 50)),
            ((7, 7), 4096, 1000.0, period(1, 50)),
            ((1, 256), 512, 100.0, period(2, 1)),
        ] {
            open(&mut rig, "job", multi(channels, nfft, max_hz, line_period_s));
            let line_blocks = (line_period_s.to_f64() * PRR_HZ as f64 / BLOCK as f64).ceil() as usize;
            (0..2 * line_blocks + 2).for_each(|_| drop(feed(&mut rig)));
            let (measured, metered) = load(&mut rig, line_blocks.max(25));
            let measured = (measured - idle).max(1e-6);
            let bins = bins_in_range(0.0, max_hz, PRR_HZ as f64, nfft);
            let shape = Shape {
                channels: channels.0 - 1..channels.1,
                values: bins.len(),
                bins,
                nfft,
                window: multi(channels, nfft, max_hz, line_period_s).window,
                line_period_s,
                prr: period(PRR_HZ, 1),
                streams: 1,
            };
            let model = rates.transform(&shape) + rates.lines(&shape);
            rig.close("job");
            let words = format!(
                "{nfft} × {channels:?} every {} s: model {model:.4}, measured {measured:.4}, by meters {metered:.4}: {:.2}, {:.2}",
                line_period_s.to_f64(),
                model / measured,
                metered / measured
            );
            println!("{words}");
            // A machine that others use as well measures with a shaky hand.
            if !(0.5..4.5).contains(&(model / measured)) || !(0.25..4.0).contains(&(metered / measured)) {
                wrong.push(words);
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    };
    std::thread::spawn(measure).join().unwrap();
}

#[test]
fn a_job_begins_within_a_line_and_a_quarter_of_a_second_at_every_window_length() {
    for condition in [ConditionSpec::default(), ConditionSpec { high_pass_hz: 5.0, ..ConditionSpec::default() }] {
        let work = move || {
            let mut rig = rig(vec![ViewConfig::waterfall()], condition);
            (0..8400 / BLOCK).for_each(|_| drop(feed(&mut rig)));
            for (exponent, per_s) in (7..=16).flat_map(|exponent| [(exponent, 10), (exponent, 100)]) {
                let nfft = 1usize << exponent;
                open(&mut rig, "job", multi((3, 9), nfft, 100.0, period(1, per_s)));
                let blocks = (PRR_HZ as f64 * (1.0 / per_s as f64 + 0.25) / BLOCK as f64) as usize;
                let frames: Vec<_> =
                    (0..blocks).flat_map(|_| feed(&mut rig).1).filter(|f| f.stream.job == "job").collect();
                let first =
                    frames.first().unwrap_or_else(|| panic!("nothing in time of nfft {nfft} at {per_s} lines/s"));
                assert_eq!(first.flags & FLAG_SHORT_WINDOW != 0, nfft > 8192, "nfft {nfft}");
                let values = first.values.flat();
                assert!(values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value > 0.0));
                rig.close("job");
            }
        };
        std::thread::spawn(work).join().unwrap();
    }
}

#[test]
fn standing_views_show_no_short_windows_and_begin_when_theirs_are_full() {
    let work = || {
        let view = multi((1, 9), 16_384, 100.0, period(1, 10));
        let standing = ViewConfig { lines_per_frame: 1, ..view.clone() };
        let mut rig = rig(vec![standing], ConditionSpec::default());
        (0..120).for_each(|_| drop(feed(&mut rig)));
        open(&mut rig, "job", view);
        let frames: Vec<_> = (0..400).flat_map(|_| feed(&mut rig).1).collect();
        let of = |job: &str| frames.iter().filter(|f| f.stream.job == job).collect::<Vec<_>>();
        assert!(of("").iter().all(|f| f.flags & FLAG_SHORT_WINDOW == 0 && f.end_trace.0 >= 16_384));
        assert!(of("job").len() > of("").len() + 50 && !of("").is_empty());
    };
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn a_job_waits_for_its_beginning_while_the_pipeline_is_behind() {
    let work = || {
        let mut rig = rig(vec![ViewConfig::waterfall()], ConditionSpec::default());
        let (control, _commands) = control();
        rig.engine.limit(Some(Budget { max_load: 1000.0, pool_blocks: 64, ended_tx: control.ended_tx() }));
        let ask = |rig: &mut EngineRig, job: &str, nfft| {
            let (reply, answer) = oneshot::channel();
            let streams = vec![multi((1, 9), nfft, 100.0, period(1, 50))];
            rig.engine.execute(Command::Open { job: job.into(), streams, reply });
            answer
        };
        feed(&mut rig);
        rig.engine.relieve(20);
        let (mut first, mut second) = (ask(&mut rig, "first", 1024), ask(&mut rig, "second", 1024));
        rig.close("first");
        assert!(first.try_recv().is_err(), "ended before it began");
        feed(&mut rig);
        rig.engine.relieve(9);
        assert!(matches!(second.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        rig.engine.relieve(8);
        assert!(second.try_recv().unwrap().is_ok());
        // One with long windows after the other.
        let (mut long, mut next) = (ask(&mut rig, "long", 16_384), ask(&mut rig, "next", 1024));
        assert!(long.try_recv().unwrap().is_ok() && next.try_recv().is_err());
        for _ in 0..4 {
            feed(&mut rig);
            rig.engine.relieve(0);
        }
        assert!(next.try_recv().unwrap().is_ok());
    };
    std::thread::spawn(work).join().unwrap();
}

/// An interrogator that keeps real time, whatever becomes of its traces.
struct Live {
    acquisition: Arc<Acquisition>,
    began: Instant,
    next: u64,
}

impl Interrogator for Live {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::Ready((*self.acquisition).clone()))
    }

    fn read_block(&mut self, block: &mut RawBlock, _: Duration) -> Result<ReadOutcome, SourceError> {
        block.first_trace = TraceIndex(self.next);
        block.utc_ns = 1_790_000_000_000_000_000 + self.acquisition.prr.traces_to_ns(self.next);
        block.traces = block.layout().capacity_traces;
        fill(block, self.next, sample);
        self.next += block.traces as u64;
        let due = self.began + Duration::from_nanos(self.acquisition.prr.traces_to_ns(self.next) as u64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        block.captured_at = Instant::now();
        Ok(ReadOutcome::Filled)
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Jobs are forced in, past all admission, until the pipeline cannot bear them.
#[tokio::test]
async fn an_overload_costs_the_costliest_jobs_and_not_one_trace() {
    let status = Status::new("test", None);
    let counters = Arc::clone(&status.counters);
    // A long queue, for the sake of a machine that others use as well.
    let config = CaptureConfig { pool_blocks: 256, ..CaptureConfig::default() };
    let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config, None));
    let (stop_tx, stop_rx) = bounded(0);
    let (egress, outlet) = fence(10_000, Arc::clone(&counters.egress));
    let (control, command_rx) = control();
    let budget = Budget { max_load: 0.5, pool_blocks: config.pool_blocks, ended_tx: control.ended_tx() };
    let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 0 };
    let pipeline = Pipeline {
        filled_rx,
        command_rx,
        egress,
        views: vec![ViewConfig::waterfall()],
        processing,
        budget: Some(budget),
        history_bytes: 40 << 20,
        counters: Arc::clone(&counters.pipeline),
        findings: status.finding_reporter(),
    };
    let dsp = pipeline.spawn().unwrap();
    let source = Box::new(Live { acquisition: acquisition(), began: Instant::now(), next: 0 });
    let capture = Capture { source, config, limits: SignalLimits::default(), status, filled_tx, tee: None, stop_rx };
    let capture = capture.spawn().unwrap();
    // Frames by job.
    let seen: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (counted, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
    let reader = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if let Some(frame) = outlet.take_within(Duration::from_millis(50)) {
                *counted.lock().unwrap().entry(frame.stream.job.clone()).or_default() += 1;
            }
        }
    });

    // As much history as long windows need to begin early.
    wait_for("two seconds and more of data", || (counters.pipeline.blocks_processed.get() > 220).then_some(()));
    control.open("cheap", vec![multi((200, 200), 256, 500.0, period(1, 10))]).await.unwrap();
    // Windows of this length do not slide so far apart, and no two of these jobs want the same.
    let mut heavy = 0;
    while counters.pipeline.jobs_overloaded.get() == 0 && heavy < 60 {
        let traces = 70 + heavy;
        let view = multi((1, 100), 65_536, 500.0, period(traces, PRR_HZ));
        if control.open(&format!("heavy-{heavy}"), vec![view]).await.is_err() {
            break;
        }
        heavy += 1;
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), control.ended()).await.expect("a job has to end");
    assert!(ended.job.starts_with("heavy") && ended.reason.contains("costliest"), "{ended:?}");
    let frames = |job: &str| seen.lock().unwrap().get(job).copied().unwrap_or_default();
    let (standing, cheap) = (frames(""), frames("cheap"));
    wait_for("the others go on", || (frames("") > standing + 50 && frames("cheap") > cheap + 20).then_some(()));
    wait_for("what is left fits", || {
        (counters.pipeline.load.get() < 0.5 && counters.pipeline.demand.get() < 0.5).then_some(())
    });
    println!(
        "{heavy} jobs forced in, {} ended, {} traces, {} dropped",
        counters.pipeline.jobs_overloaded.get(),
        counters.capture.traces.get(),
        counters.capture.traces_dropped_no_block.get()
    );
    assert_eq!((counters.capture.traces_dropped_no_block.get(), counters.capture.gap_traces.get()), (0, 0));
    drop(stop_tx);
    let _ = (capture.join().unwrap().unwrap(), dsp.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
}
