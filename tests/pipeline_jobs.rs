//! Clients' jobs in the pipeline: they come and go while data flows, have what a standing view would have, and nobody
//! else notices.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::engine::EngineRig;
use fiberd::acquisition::{Acquisition, SourceKind};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::frame::{FLAG_PARTIAL_LINE, Frame, ValueKind};
use fiberd::pipeline::Engine;
use fiberd::pipeline::control::Opened;
use fiberd::refusal::Refusal;
use fiberd::status::{FindingKind, FindingReporter};
use fiberd::units::Rational;
use proptest::prelude::*;

const CHANNELS: usize = 150;
const BLOCK: usize = 100;

fn acquisition() -> Arc<Acquisition> {
    let prr = Rational::from_f64(1000.0).unwrap();
    Arc::new(Acquisition { epoch: 1, prr, channels: CHANNELS, ..Acquisition::example() })
}

fn sample(trace: u64, channel: usize) -> i16 {
    let x = (trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64) << 7).wrapping_mul(0xD134_2543_DE82_EF95);
    (x >> 52) as i16 + (2000.0 * (std::f64::consts::TAU * (20 + channel) as f64 * trace as f64 / 1000.0).sin()) as i16
}

fn rig(views: Vec<ViewConfig>, condition: ConditionSpec) -> EngineRig {
    EngineRig::new(views, condition, acquisition(), BLOCK, sample)
}

/// The engine's thread is worker 0 of its pool for as long as it lives.
fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn multi(name: &str, channels: (usize, usize), nfft: usize, period_ms: u64) -> ViewConfig {
    ViewConfig {
        view: fiberd::frame::View::Multi,
        channel_min: channels.0,
        channel_max: Some(channels.1),
        nfft,
        line_period_s: Rational::new(period_ms, 1000).unwrap(),
        frequency_range_hz: Some((0.0, 200.0)),
        value: ValueKind::Amplitude,
        ..ViewConfig::single(name, 1)
    }
}

fn standing() -> Vec<ViewConfig> {
    let waterfall = ViewConfig {
        nfft: 64,
        line_period_s: Rational::new(25, 1000).unwrap(),
        bands_hz: vec![(20.0, 90.0), (100.0, 400.0)],
        ..ViewConfig::waterfall()
    };
    // A mean over several windows, and a single channel in the same transform as some of the jobs.
    let welch = ViewConfig { lines_per_frame: 1, ..multi("welch", (1, 150), 64, 333) };
    vec![waterfall, welch, ViewConfig { value: ValueKind::Amplitude, ..multi("one", (33, 33), 128, 40) }]
}

/// What a client may ask for: alone and side by side, means over windows, sliding windows, other bins of a transform that
/// is there.
fn wish() -> impl Strategy<Value = ViewConfig> {
    let channels = (1usize..=CHANNELS, 1usize..=CHANNELS).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let settings = prop::sample::select(vec![(64, 333), (128, 40), (128, 100), (256, 10), (64, 25), (512, 1000)]);
    (channels, any::<bool>(), settings, any::<bool>()).prop_map(|((a, b), one, (nfft, period), wide)| {
        let view = multi("job", (a, if one { a } else { b }), nfft, period);
        ViewConfig { frequency_range_hz: wide.then_some((0.0, 200.0)), ..view }
    })
}

#[derive(Clone, Debug)]
enum Act {
    Open(usize, ViewConfig),
    Close(usize),
    Feed(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (0usize..4, wish()).prop_map(|(job, view)| Act::Open(job, view)),
        1 => (0usize..4).prop_map(Act::Close),
        5 => (1usize..=BLOCK).prop_map(Act::Feed),
    ];
    prop::collection::vec(act, 10..50)
}

/// Frames of a view that stands from the first trace on, by line.
fn alone(view: ViewConfig, condition: ConditionSpec, cuts: Vec<usize>) -> BTreeMap<u64, Frame> {
    in_a_thread(move || {
        let mut rig = rig(vec![ViewConfig { lines_per_frame: 1, ..view }], condition);
        for traces in cuts {
            rig.feed(traces);
        }
        rig.last_frames().into_iter().map(|frame| (frame.first_line, frame)).collect()
    })
}

fn close_enough(a: &Frame, b: &Frame) -> bool {
    let (a, b) = (a.values.flat(), b.values.flat());
    // Sliding spectra may be off by 3e-6 of the largest amplitude.
    let allowed = 1e-4 * a.iter().fold(1.0f32, |most, value| most.max(value.abs()));
    a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() <= allowed)
}

/// A job as it was: when it was opened, what it was, the trace at which it was closed.
struct Life {
    view: ViewConfig,
    opened: Opened,
    asked_at: u64,
    closed_at: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn jobs_have_what_standing_views_have_and_nobody_notices(
        acts in acts(), conditioned in any::<bool>(), apart in any::<bool>(),
    ) {
        let condition =
            ConditionSpec { high_pass_hz: if conditioned { 5.0 } else { 0.0 }, ..ConditionSpec::default() };
        let cuts: Vec<usize> = [BLOCK, BLOCK, BLOCK].into_iter().chain(acts.iter().filter_map(|act| match act {
            Act::Feed(traces) => Some(*traces),
            _ => None,
        })).collect();
        let script = acts.clone();
        let (frames, lives) = in_a_thread(move || {
            let mut rig = rig(standing(), condition);
            if apart {
                rig.plan_apart();
            }
            for _ in 0..3 {
                rig.feed(BLOCK);
            }
            let mut lives: Vec<Life> = Vec::new();
            // Which life each job number lives, and how often it began.
            let mut now: [Option<usize>; 4] = [None; 4];
            for act in script {
                match act {
                    Act::Feed(traces) => {
                        rig.feed(traces);
                    }
                    Act::Open(job, view) => {
                        let asked_at = rig.next;
                        if let Some(before) = now[job].take() {
                            assert!(rig.close(&before.to_string()));
                            lives[before].closed_at = asked_at;
                        }
                        let opened = rig.open(&lives.len().to_string(), vec![view.clone()]).unwrap();
                        now[job] = Some(lives.len());
                        lives.push(Life { view, opened, asked_at, closed_at: u64::MAX });
                    }
                    Act::Close(job) => {
                        if let Some(before) = now[job].take() {
                            assert!(rig.close(&before.to_string()));
                            assert!(!rig.close(&before.to_string()));
                            lives[before].closed_at = rig.next;
                        }
                    }
                }
            }
            (rig.last_frames(), lives)
        });
        for view in standing() {
            let expected = alone(view.clone(), condition, cuts.clone());
            let got: Vec<_> = frames.iter().filter(|f| f.stream.job.is_empty() && f.stream.name == view.name).collect();
            for (sequence, frame) in got.iter().filter(|f| f.stream.number == 0).enumerate() {
                prop_assert_eq!(frame.sequence, sequence as u64, "{}", &view.name);
            }
            // Bands share the line numbers; the first one stands for both.
            let lines: Vec<_> = got.iter().filter(|f| f.stream.number == 0).map(|f| f.first_line).collect();
            prop_assert!(lines.iter().eq(expected.keys()), "{}: {lines:?}", view.name);
            for frame in got.iter().filter(|f| view.bands_hz.len() < 2 || f.stream.number == 1) {
                prop_assert!(close_enough(frame, &expected[&frame.first_line]), "{} {}", view.name, frame.first_line);
                prop_assert_eq!(frame.flags, expected[&frame.first_line].flags);
            }
        }
        for (number, life) in lives.iter().enumerate() {
            let expected = alone(life.view.clone(), condition, cuts.clone());
            let job = number.to_string();
            let got: Vec<_> = frames.iter().filter(|f| f.stream.job == job).collect();
            let end = cuts.iter().sum::<usize>() as u64;
            let shown: Vec<_> = expected.values().filter(|f| {
                f.first_trace.0 >= life.opened.first_trace && f.end_trace.0 > life.asked_at
                    && f.end_trace.0 <= life.closed_at.min(end)
            }).collect();
            let lines = |frames: &[&Frame]| frames.iter().map(|f| f.first_line).collect::<Vec<_>>();
            prop_assert_eq!(lines(&got), lines(&shown), "job {} {:?} {:?}", &job, &life.view, life.opened);
            for (sequence, (got, expected)) in got.iter().zip(shown).enumerate() {
                prop_assert!(close_enough(got, expected), "job {job} line {}", got.first_line);
                prop_assert_eq!((got.sequence, got.flags & FLAG_PARTIAL_LINE), (sequence as u64, 0));
            }
            // What has been kept makes the very next line whole, but for means of which windows are gone by.
            let period = life.view.line_period_s.to_f64() * 1000.0;
            if !conditioned && period as usize <= life.view.nfft / 2 && life.asked_at > 700 {
                prop_assert!(life.opened.first_trace <= life.asked_at, "{} {}", life.opened.first_trace, life.asked_at);
            }
        }
    }
}

#[test]
fn jobs_that_want_the_same_are_told_apart_and_one_can_stay_when_the_other_goes() {
    in_a_thread(|| {
        let mut rig = rig(Vec::new(), ConditionSpec::default());
        // Capture says that there is light before the first block is here: a job of that moment begins behind it.
        let mut early = rig.ask("early", vec![multi("early", (1, 50), 64, 25)]);
        assert!(early.try_recv().is_err(), "there is nothing yet");
        rig.feed(BLOCK);
        rig.engine.relieve(0);
        assert!(early.try_recv().expect("answered behind the first block").is_ok());
        assert!(rig.close("early"));
        for job in ["a", "b"] {
            rig.open(job, vec![multi(job, (1, 30), 64, 25), multi(job, (31, 50), 64, 25)]).unwrap();
        }
        rig.feed(BLOCK);
        assert!(rig.close("a"));
        rig.feed(BLOCK);
        let too_far = rig.open("c", vec![multi("c", (1, 30), 64, 25), multi("c", (100, 151), 64, 25)]);
        assert!(matches!(&too_far, Err(Refusal::DoesNotFit(why)) if why.contains("1…150")), "{too_far:?}");
        rig.feed(BLOCK);
        let frames = rig.last_frames();
        for (job, stream, count) in [("a", 0, 4), ("a", 1, 4), ("b", 0, 12), ("b", 1, 12), ("c", 0, 0)] {
            let of = |f: &&Frame| f.stream.job == job && f.stream.number == stream;
            let sequences: Vec<_> = frames.iter().filter(of).map(|f| f.sequence).collect();
            assert!(sequences.iter().copied().eq(0..count), "{job} {stream}: {sequences:?}");
        }
    });
}

#[test]
fn other_channels_take_effect_between_two_lines() {
    in_a_thread(|| {
        let mut rig = rig(Vec::new(), ConditionSpec::default());
        for _ in 0..8 {
            rig.feed(BLOCK);
        }
        rig.open("job", vec![multi("job", (1, 20), 64, 25)]).unwrap();
        rig.feed(BLOCK);
        rig.open("job", vec![multi("job", (60, 75), 64, 25)]).unwrap();
        rig.feed(BLOCK);
        let frames = rig.last_frames();
        let seen: Vec<_> = frames.iter().map(|f| (f.sequence, f.first_line, f.stream.channels.start)).collect();
        let expected: Vec<_> = (0..8).map(|n| (n, 32 + n, if n < 4 { 0 } else { 59 })).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_thousand_jobs_come_and_go_and_nothing_is_left() {
    in_a_thread(|| {
        let mut rig = rig(standing(), ConditionSpec::default());
        rig.feed(BLOCK);
        for round in 0..50usize {
            for job in 0..20 {
                let first = 1 + (round * 7 + job * 5) % 100;
                let nfft = [64, 128, 256][job % 3];
                rig.open(&job.to_string(), vec![multi("job", (first, first + 40), nfft, 10 + job as u64)]).unwrap();
            }
            rig.feed(BLOCK);
            (0..20).for_each(|job| assert!(rig.close(&job.to_string())));
        }
        let made = rig.last_frames().len();
        rig.feed(BLOCK);
        rig.feed(BLOCK);
        let after = rig.last_frames();
        assert!(made > 1000 && after.iter().all(|frame| frame.stream.job.is_empty()), "{made}");
        assert_eq!(rig.engine.transforms(), 3, "one for each standing view");
    });
}

/// Frames as far as anybody can tell them apart.
fn essence(frames: &[Frame]) -> Vec<(String, u32, u64, u64, Vec<u32>)> {
    let bits = |frame: &Frame| frame.values.flat().iter().map(|value| value.to_bits()).collect();
    let of = |frame: &Frame| {
        let stream = &frame.stream;
        (format!("{} {}", stream.job, stream.name), stream.number, frame.sequence, frame.first_line, bits(frame))
    };
    frames.iter().map(of).collect()
}

/// What happens while something is prepared for a job.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    /// Another job, with which it would share, ends.
    SharerEnds,
    /// A new acquisition begins, with fewer channels.
    NewEpoch,
    /// It is cancelled, and asked for again.
    AskedAgain,
}

#[test]
fn what_is_prepared_for_a_job_is_what_it_would_have_got_on_the_spot() {
    let run = |apart: bool, conditioned: bool, meanwhile: Meanwhile| {
        let condition = ConditionSpec { high_pass_hz: if conditioned { 5.0 } else { 0.0 }, ..ConditionSpec::default() };
        in_a_thread(move || {
            let mut rig = rig(standing(), condition);
            if apart {
                rig.plan_apart();
            }
            for _ in 0..12 {
                rig.feed(BLOCK);
            }
            let wider = ViewConfig { frequency_range_hz: None, ..multi("sharer", (1, 90), 256, 40) };
            rig.open("sharer", vec![wider]).unwrap();
            rig.feed(BLOCK);
            let streams = || vec![multi("job", (20, 69), 256, 40), multi("job", (70, 120), 256, 40)];
            let mut answer = apart.then(|| rig.ask("job", streams()));
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::SharerEnds => assert!(rig.close("sharer")),
                Meanwhile::NewEpoch => {
                    rig.acquire(Acquisition { epoch: 2, channels: 130, ..(*acquisition()).clone() });
                    rig.feed(BLOCK);
                }
                Meanwhile::AskedAgain => {
                    assert!(!rig.close("job"));
                    if let Some(mut answer) = answer.replace(rig.ask("job", streams())).filter(|_| apart) {
                        assert!(answer.try_recv().is_err());
                    }
                }
            }
            if !apart && answer.is_none() {
                answer = Some(rig.ask("job", streams()));
            }
            let mut answer = answer.unwrap();
            let opened = loop {
                match answer.try_recv() {
                    Ok(opened) => break opened.unwrap(),
                    Err(_) => rig.put_in_place(),
                }
            };
            for _ in 0..8 {
                rig.feed(BLOCK);
            }
            (opened, essence(&rig.last_frames()))
        })
    };
    for conditioned in [false, true] {
        for meanwhile in [Meanwhile::Nothing, Meanwhile::SharerEnds, Meanwhile::NewEpoch, Meanwhile::AskedAgain] {
            let (apart, here) = (run(true, conditioned, meanwhile), run(false, conditioned, meanwhile));
            assert!(apart == here, "{meanwhile:?}, conditioned: {conditioned}");
            assert!(apart.1.iter().any(|frame| frame.0.starts_with("job ")), "{meanwhile:?}");
        }
    }
}

#[test]
fn a_planner_that_has_gone_is_done_without() {
    in_a_thread(|| {
        let mut rig = rig(standing(), ConditionSpec::default());
        rig.plan_apart();
        rig.feed(BLOCK);
        let mut answer = rig.ask("job", vec![multi("job", (1, 30), 64, 25)]);
        rig.engine.plan_here();
        assert!(answer.try_recv().unwrap().is_ok());
        assert!(rig.ask("other", vec![multi("other", (1, 30), 64, 25)]).try_recv().unwrap().is_ok());
    });
}

#[test]
fn a_view_of_which_no_line_can_come_is_told_until_one_does() {
    let silent = |reporter: &FindingReporter| {
        let findings = reporter.findings();
        findings
            .keys()
            .filter(|(kind, _)| *kind == FindingKind::ViewSilent)
            .map(|(_, view)| view.clone())
            .collect::<Vec<_>>()
    };
    let rig = |views: Vec<ViewConfig>, acquisition: Arc<Acquisition>, reporter: &FindingReporter| {
        let processing = ProcessingConfig { condition: ConditionSpec::default(), threads: 1, egress_frames: 0 };
        let engine = |egress, counters| Engine::new(views, &processing, egress, counters, reporter.clone());
        EngineRig::of(engine, acquisition, BLOCK, sample)
    };
    in_a_thread(|| {
        let reporter = FindingReporter::default();
        let mut rig =
            rig(vec![multi("deep", (1, 9), 512, 40), multi("quick", (1, 9), 64, 40)], acquisition(), &reporter);
        // No 512 traces come without a break.
        let mut told_at = None;
        for block in 1..20 {
            rig.feed(BLOCK);
            rig.next += u64::from(block % 4 == 0);
            told_at = told_at.or((!silent(&reporter).is_empty()).then_some(rig.next));
        }
        assert!(told_at.is_some_and(|trace| (1025..=1210).contains(&trace)), "{told_at:?}");
        assert_eq!(silent(&reporter), ["deep"]);
        for _ in 0..7 {
            rig.feed(BLOCK);
        }
        assert_eq!(silent(&reporter), [""; 0]);
    });
    in_a_thread(|| {
        let reporter = FindingReporter::default();
        let replayed = Acquisition { source: SourceKind::Replay, ..(*acquisition()).clone() };
        let mut rig = rig(vec![multi("long", (1, 9), 64, 5000)], Arc::new(replayed), &reporter);
        rig.feed(BLOCK);
        assert_eq!(silent(&reporter), [""; 0]);
        assert!(rig.last_frames().is_empty());
        assert_eq!(silent(&reporter), ["long"], "the capture is shorter than a line");
    });
}
