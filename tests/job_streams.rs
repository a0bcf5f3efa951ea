//! Jobs of several streams, which share with each other as they come, change and go: a client puts their lines side by side,
//! so all streams of a job have the same.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::sync::Arc;

use common::engine::EngineRig;
use fiberd::acquisition::Acquisition;
use fiberd::config::ViewConfig;
use fiberd::dsp::ConditionSpec;
use fiberd::frame::{Frame, ValueKind, View};
use fiberd::units::Rational;
use proptest::prelude::*;

const CHANNELS: usize = 150;
const BLOCK: usize = 100;

fn rig() -> EngineRig {
    rig_of(1e-3, ConditionSpec::default())
}

/// An engine without standing views, of samples that are up to 32767 times `scale`.
fn rig_of(scale: f64, condition: ConditionSpec) -> EngineRig {
    let prr = Rational::from_f64(1000.0).unwrap();
    let acquisition = Acquisition { epoch: 1, prr, scale, channels: CHANNELS, ..Acquisition::example() };
    let sample = |trace: u64, channel: usize| (trace * 3100 + channel as u64 * 7) as i16;
    EngineRig::new(Vec::new(), condition, Arc::new(acquisition), BLOCK, sample)
}

fn multi(channels: (usize, usize), nfft: usize, period_ms: u64) -> ViewConfig {
    ViewConfig {
        view: View::Multi,
        channel_min: channels.0,
        channel_max: Some(channels.1),
        nfft,
        line_period_s: Rational::new(period_ms, 1000).unwrap(),
        frequency_range_hz: Some((0.0, 200.0)),
        value: ValueKind::Amplitude,
        ..ViewConfig::single("job", 1)
    }
}

/// The engine's thread is worker 0 of its pool for as long as it lives.
fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// What happens to jobs of several streams, which often share.
#[derive(Clone, Debug)]
enum Turn {
    /// Also for a job that is there: it changes.
    Open(usize, Vec<ViewConfig>),
    Close(usize),
    /// Traces, behind so many that are missing.
    Feed(usize, u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let channels = prop::sample::select(vec![(1, 30), (31, 60), (1, 60), (100, 150), (10, 140)]);
    let settings = prop::sample::select(vec![(64, 25), (128, 40), (64, 333)]);
    let streams = (prop::collection::vec(channels, 1..4), settings).prop_map(|(channels, (nfft, period))| {
        channels.into_iter().map(|channels| multi(channels, nfft, period)).collect::<Vec<_>>()
    });
    let turn = prop_oneof![
        3 => (0usize..3, streams).prop_map(|(job, streams)| Turn::Open(job, streams)),
        1 => (0usize..3).prop_map(Turn::Close),
        4 => (1usize..=BLOCK, prop_oneof![9 => Just(0u64), 1 => 1u64..100]).prop_map(|(n, gap)| Turn::Feed(n, gap)),
    ];
    prop::collection::vec(turn, 5..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// However jobs come, change and go that share with each other: the streams of each have the same lines, from the one on
    /// that was told, and none is left out.
    #[test]
    fn all_streams_of_a_job_begin_with_the_same_line(turns in turns()) {
        let (lives, frames) = in_a_thread(move || {
            let mut rig = rig();
            rig.feed(BLOCK);
            let mut now: [Option<usize>; 3] = [None; 3];
            // Streams, and the first trace that was told; frames of each by number of the life.
            let (mut lives, mut frames) = (Vec::new(), Vec::new());
            for turn in turns {
                match turn {
                    Turn::Open(job, streams) => {
                        let count = streams.len();
                        let opened = rig.open(&job.to_string(), streams).unwrap();
                        now[job] = Some(lives.len());
                        lives.push((count, opened.first_trace));
                    }
                    Turn::Close(job) => {
                        rig.close(&job.to_string());
                        now[job] = None;
                    }
                    Turn::Feed(traces, gap) => {
                        rig.next += gap;
                        rig.feed(traces);
                    }
                }
                let life = |frame: Frame| (now[frame.stream.job.parse::<usize>().unwrap()].unwrap(), frame);
                frames.extend(rig.frames().into_iter().map(life));
            }
            (lives, frames)
        });
        for (number, &(count, first_trace)) in lives.iter().enumerate() {
            let of_stream = |stream: u32| {
                let mine = frames.iter().filter(move |(life, frame)| (*life, frame.stream.number) == (number, stream));
                mine.map(|(_, frame)| (frame.first_line, frame.first_trace.0)).collect::<Vec<_>>()
            };
            let lines = of_stream(0);
            prop_assert!(lines.first().is_none_or(|&(_, first)| first >= first_trace), "life {}: {:?}", number, lines);
            for stream in 1..count as u32 {
                prop_assert_eq!(&of_stream(stream), &lines, "life {}, stream {} against 0", number, stream);
            }
        }
    }
}

#[test]
fn the_first_job_of_a_daemon_without_views_has_a_unit_that_its_values_fit() {
    for high_pass_hz in [0.0, 5.0] {
        for (scale, unit) in [(1e-3, "rad"), (1e-10, "urad"), (1e5, "Grad")] {
            let told = in_a_thread(move || {
                let mut rig = rig_of(scale, ConditionSpec { high_pass_hz, ..ConditionSpec::default() });
                for _ in 0..5 {
                    rig.feed(BLOCK);
                }
                rig.open("job", vec![multi((1, 30), 64, 25)]).unwrap().unit
            });
            assert_eq!(told, unit, "{scale} rad a count, high-pass {high_pass_hz} Hz");
        }
    }
}
