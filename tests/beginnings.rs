//! How long the dsp thread stands between two blocks when jobs begin. It asserts no time and needs a quiet machine, so it
//! is run by hand: `cargo test --test beginnings -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::engine::EngineRig;
use fiberd::acquisition::Acquisition;
use fiberd::config::ViewConfig;
use fiberd::dsp::ConditionSpec;
use fiberd::frame::{ValueKind, View};
use fiberd::units::Rational;

const CHANNELS: usize = 2337;
const PRR_HZ: u64 = 2000;
const BLOCK: usize = 40;

fn sample(trace: u64, channel: usize) -> i16 {
    (trace.wrapping_mul(0x9E37_79B9).wrapping_add(channel as u64 * 77) >> 5) as i16 % 1000
}

fn multi(channels: (usize, usize), nfft: usize, max_hz: f64, lines_per_s: u64) -> ViewConfig {
    ViewConfig {
        view: View::Multi,
        channel_min: channels.0,
        channel_max: Some(channels.1),
        nfft,
        line_period_s: Rational::new(1, lines_per_s).unwrap(),
        frequency_range_hz: Some((0.0, max_hz)),
        value: ValueKind::Amplitude,
        ..ViewConfig::single("job", 1)
    }
}

/// A job of the whole fiber, as it is asked for: in three streams.
fn whole_fiber(nfft: usize, max_hz: f64, lines_per_s: u64) -> Vec<ViewConfig> {
    [(1, 779), (780, 1558), (1559, CHANNELS)].map(|channels| multi(channels, nfft, max_hz, lines_per_s)).to_vec()
}

/// One of two hundred display jobs of four settings.
fn display(number: usize) -> Vec<ViewConfig> {
    let (first, max_hz) = (100 + 500 * (number % 4), 500.0 - (number % 4) as f64);
    [(0, 16), (17, 33), (34, 49)].map(|(a, b)| multi((first + a, first + b), 1024, max_hz, 100)).to_vec()
}

fn rig(condition: ConditionSpec) -> EngineRig {
    let prr = Rational::new(PRR_HZ, 1).unwrap();
    let acquisition = Arc::new(Acquisition { epoch: 1, prr, channels: CHANNELS, ..Acquisition::example() });
    let mut rig = EngineRig::new(vec![ViewConfig::waterfall()], condition, acquisition, BLOCK, sample);
    feed(&mut rig, 8400 / BLOCK);
    rig
}

/// The longest of so many blocks.
fn feed(rig: &mut EngineRig, blocks: usize) -> Duration {
    let longest = (0..blocks).map(|_| rig.feed(BLOCK)).max().unwrap_or_default();
    drop(rig.frames());
    longest
}

/// The longest of the blocks with which jobs begin one after the other, a block after each, and of those after that.
fn begin(rig: &mut EngineRig, jobs: impl Iterator<Item = Vec<ViewConfig>>) -> (Duration, usize) {
    let (mut block, mut count) = (Duration::ZERO, 0);
    for (number, streams) in jobs.enumerate() {
        rig.open(&format!("job-{number}"), streams).unwrap();
        block = block.max(feed(rig, 1));
        count += 1;
    }
    (block.max(feed(rig, 10)), count)
}

#[test]
#[ignore = "measures; needs a quiet machine"]
fn how_long_the_dsp_thread_stands_when_jobs_begin() {
    let conditioned = ConditionSpec { high_pass_hz: 5.0, ..ConditionSpec::default() };
    for (samples, condition) in [("counts", ConditionSpec::default()), ("conditioned", conditioned)] {
        let cases: [(&str, Vec<Vec<ViewConfig>>); 4] = [
            ("nfft 8192, whole fiber, 10 lines/s", vec![whole_fiber(8192, 500.0, 10)]),
            ("nfft 8192, whole fiber, 100 lines/s", vec![whole_fiber(8192, 100.0, 100)]),
            ("nfft 65536, whole fiber, 20 lines/s", vec![whole_fiber(65_536, 50.0, 20)]),
            ("200 jobs of four settings", (0..200).map(display).collect()),
        ];
        for (words, jobs) in cases {
            for apart in [false, true] {
                let jobs = jobs.clone();
                let work = move || {
                    let mut rig = rig(condition);
                    if apart {
                        rig.plan_apart();
                    }
                    let (block, count) = begin(&mut rig, jobs.into_iter());
                    let stands = std::mem::take(&mut rig.longest_stand);
                    (0..count).for_each(|number| assert!(rig.close(&format!("job-{number}"))));
                    let (end, planner) = (rig.longest_stand, if apart { "a planner" } else { "no planner" });
                    println!("{samples}, {words}, {planner}: stands {stands:.1?}; block {block:.1?}; end {end:.1?}");
                };
                std::thread::spawn(work).join().unwrap();
            }
        }
    }
}
