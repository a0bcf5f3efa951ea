//! Frames as their page describes them: Python that is copied from the page computes their values again from the samples,
//! and the C of the page reads them.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::engine::EngineRig;
use common::{must_succeed, python};
use fiberd::acquisition::{Acquisition, Band, Quantity, Region, SampleFormat};
use fiberd::config::ViewConfig;
use fiberd::dsp::{ConditionSpec, Window};
use fiberd::frame::{Dtype, FLAG_GAP_BEFORE, FLAG_PARTIAL_LINE, Frame, ValueKind, View};
use fiberd::units::Rational;
use fiberd::wire;
use serde_json::{Value, json};

const CHANNELS: usize = 150;
const BLOCK: usize = 100;
const PAGE: &str = include_str!("../src/wire/FRAME.md");

/// Strain rates of some 10⁻⁹ strain/s, on a fiber in three regions.
fn acquisition() -> Acquisition {
    Acquisition {
        epoch: 1,
        prr: Rational::new(1000, 1).unwrap(),
        channels: CHANNELS,
        regions: Arc::new([
            Region { first_channel: 40, start_m: 500.0, dx_m: 2.0 },
            Region { first_channel: 130, start_m: 9000.0, dx_m: 0.5 },
        ]),
        scale: 1e-12,
        unit: "strain/s".into(),
        ..Acquisition::example()
    }
}

fn sample(trace: u64, channel: usize) -> i16 {
    let x = (trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64) << 7).wrapping_mul(0xD134_2543_DE82_EF95);
    (x >> 52) as i16 + (2000.0 * (std::f64::consts::TAU * (20 + channel) as f64 * trace as f64 / 1000.0).sin()) as i16
}

fn spectra(name: &str, channels: (usize, usize), nfft: usize, period: (u64, u64)) -> ViewConfig {
    ViewConfig {
        view: if channels.0 == channels.1 { View::Single } else { View::Multi },
        channel_min: channels.0,
        channel_max: Some(channels.1),
        nfft,
        line_period_s: Rational::new(period.0, period.1).unwrap(),
        value: ValueKind::Amplitude,
        ..ViewConfig::single(name, 1)
    }
}

/// One window a line and means over several, whole and rational line lengths, all kinds of values, windows and dtypes.
fn views() -> Vec<ViewConfig> {
    let decibel = ValueKind::Decibel { reference: 1e-24 };
    let waterfall = ViewConfig {
        nfft: 128,
        line_period_s: Rational::new(1, 40).unwrap(),
        bands_hz: vec![(20.0, 90.0), (100.0, 500.0)],
        ..ViewConfig::waterfall()
    };
    let average = ViewConfig {
        name: "average".into(),
        line_period_s: Rational::new(1, 3).unwrap(),
        nfft: 64,
        ..waterfall.clone()
    };
    let u8_range = (0.25, 0.0);
    vec![
        waterfall,
        average,
        ViewConfig { window: Window::BlackmanHarris, ..spectra("single", (33, 33), 256, (1, 10)) },
        ViewConfig { value: decibel, dtype: Dtype::U8, u8_range, ..spectra("loud", (1, 150), 128, (1, 5)) },
        ViewConfig { dtype: Dtype::F16, value: ValueKind::Power, ..spectra("half", (20, 60), 64, (1, 7)) },
        ViewConfig { frequency_range_hz: Some((20.0, 200.0)), ..spectra("long", (100, 150), 64, (1, 1)) },
    ]
}

fn write(folder: &Path, frames: &[Frame]) {
    for (number, frame) in frames.iter().enumerate() {
        let name = format!("{}-{number}.frame", frame.stream.name);
        std::fs::write(folder.join(name), wire::encode_vec(frame, "north")).unwrap();
    }
}

/// The engine's thread is worker 0 of its pool for as long as it lives.
fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
fn frames_can_be_computed_again_from_the_samples_by_their_page_alone() {
    let acquisition = acquisition();
    // Within a line of one second; over its end; and before lines of which windows reach back.
    let missing: [(u64, u64); 3] = [(1450, 1453), (2990, 3020), (4000, 4001)];
    let (frames, unit, end) = in_a_thread(|| {
        let mut rig = EngineRig::new(views(), ConditionSpec::default(), acquisition.clone().into(), BLOCK, sample);
        let mut unit = String::new();
        let mut gaps = missing.iter().peekable();
        while rig.next < 7000 {
            if let Some((_, end)) = gaps.next_if(|(first, _)| *first == rig.next) {
                rig.next = *end;
            } else {
                let until = gaps.peek().map_or(7000, |(first, _)| *first);
                rig.feed(BLOCK.min((until - rig.next) as usize));
            }
            if rig.next == 600 {
                let streams = vec![spectra("job", (30, 45), 64, (1, 20)), spectra("job", (46, 60), 64, (1, 20))];
                let streams = streams.into_iter().map(|view| ViewConfig { dtype: Dtype::F16, ..view }).collect();
                unit = rig.open("job", streams).unwrap().unit;
            }
        }
        (rig.last_frames(), unit, rig.next)
    });
    let samples: Vec<i16> = (0..end).flat_map(|trace| (0..CHANNELS).map(move |c| sample(trace, c))).collect();
    let distances: Vec<f64> = (0..CHANNELS).map(|channel| acquisition.distance_m(channel)).collect();
    let about = json!({
        "channels": CHANNELS, "scale": acquisition.scale, "missing": missing, "distances_m": distances,
    });
    let said = computed_again(&frames, &samples, &about);

    // Each line of a second comes, from what is whole of it, whether traces are missing within it or at its end; the first
    // window of the first line would begin before the first trace.
    assert_eq!(said["long.0"]["partial"], json!([0, 1, 2, 3, 4]), "{said}");
    assert_eq!(said["long.0"]["lines"], 7);
    for view in ["whole-fiber.0", "whole-fiber.1", "average.0", "average.1", "single.0", "loud.0", "half.0"] {
        assert!(said[view]["lines"].as_u64().unwrap() > 15, "{view}: {said}");
    }
    assert_eq!((unit.as_str(), &said["job.1"]["unit"]), ("nstrain/s", &json!("nstrain/s")));
    assert_eq!(said["loud.0"]["unit"], "dB re 1e-24 (strain/s)^2");
    assert_eq!((&said["job.0"]["clipped"], &said["half.0"]["clipped"]), (&json!(0), &json!(0)));
}

/// What the script of the page finds in these frames and samples.
fn computed_again(frames: &[Frame], samples: &[i16], about: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), frames);
    std::fs::write(folder.path().join("samples.bin"), bytemuck::cast_slice(samples)).unwrap();
    std::fs::write(folder.path().join("about.json"), about.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frame_page.py");
    serde_json::from_str(&must_succeed(python().arg(script).arg(folder.path()))).unwrap()
}

#[test]
fn lines_of_band_energy_are_what_the_page_says_of_them() {
    let energy = |trace: u64, channel| sample(trace, channel).saturating_abs();
    let acquisition = Acquisition {
        epoch: 1,
        prr: Rational::new(1, 5).unwrap(),
        channels: CHANNELS,
        sample_format: SampleFormat::F32,
        quantity: Quantity::BandEnergy,
        scale: 1.0,
        unit: "rad2/Hz".into(),
        band: Some(Band { low_hz: -0.5, high_hz: 1.5 }),
        ..Acquisition::example()
    };
    let lines = |name: &str, period: (u64, u64), value| ViewConfig {
        name: name.into(),
        line_period_s: Rational::new(period.0, period.1).unwrap(),
        lines_per_frame: 3,
        value,
        ..ViewConfig::waterfall()
    };
    let decibel = ValueKind::Decibel { reference: 0.01 };
    let half = ViewConfig { dtype: Dtype::F16, ..lines("half", (61, 2), ValueKind::Amplitude) };
    let views = vec![
        lines("all", (1, 10), ValueKind::Power),
        lines("mean", (37, 1), ValueKind::Power),
        half,
        lines("db", (12, 1), decibel),
    ];
    let missing: [(u64, u64); 2] = [(350, 353), (590, 620)];
    let (frames, end) = in_a_thread(|| {
        let mut rig = EngineRig::new(views, ConditionSpec::default(), acquisition.clone().into(), BLOCK, energy);
        for (until, next) in [(350, 353), (590, 620), (1000, 1000)] {
            while rig.next < until {
                rig.feed(BLOCK.min((until - rig.next) as usize).min(17));
            }
            rig.next = next;
        }
        (rig.last_frames(), rig.next)
    });
    let samples: Vec<i16> = (0..end).flat_map(|trace| (0..CHANNELS).map(move |c| energy(trace, c))).collect();
    let distances: Vec<f64> = (0..CHANNELS).map(|channel| acquisition.distance_m(channel)).collect();
    let about = json!({ "channels": CHANNELS, "scale": 1.0, "missing": missing, "distances_m": distances });
    let said = computed_again(&frames, &samples, &about);
    assert_eq!(said["all.0"]["lines"], 1000 - 33, "{said}");
    assert_eq!((&said["all.0"]["unit"], &said["half.0"]["unit"]), (&json!("rad2/Hz"), &json!("rad/sqrt(Hz)")));
    assert_eq!(said["db.0"]["unit"], "dB re 0.01 rad2/Hz");
    // 37 s are 7.4 lines: 350 to 352 are within line 47, 590 to 619 end in 79 and 83.
    assert_eq!(said["mean.0"]["partial"], json!([47, 79, 83]), "{said}");
    assert_eq!(
        frames.iter().map(|frame| wire::decode(&wire::encode_vec(frame, "n")).unwrap().header.computed_by).min(),
        Some(1)
    );
}

#[test]
fn spectra_of_a_strain_rate_are_those_of_a_derivative_as_the_page_says() {
    let acquisition = Acquisition {
        epoch: 1,
        prr: Rational::new(1000, 1).unwrap(),
        channels: CHANNELS,
        scale: 1e-4,
        ..Acquisition::example()
    };
    let condition = ConditionSpec { strain_rate: true, ..ConditionSpec::default() };
    let views = views().into_iter().filter(|view| !matches!(view.value, ValueKind::Decibel { .. })).collect();
    let (frames, end) = in_a_thread(|| {
        let mut rig = EngineRig::new(views, condition, acquisition.clone().into(), BLOCK, sample);
        for _ in 0..40 {
            rig.feed(BLOCK);
        }
        (rig.last_frames(), rig.next)
    });
    let difference = |trace: u64, c| if trace == 0 { 0 } else { sample(trace, c) - sample(trace - 1, c) };
    let samples: Vec<i16> = (0..end).flat_map(|trace| (0..CHANNELS).map(move |c| difference(trace, c))).collect();
    // λ / (4π n ξ G) · 10⁹ nanostrain a radian, and 1000 traces a second.
    let nstrain_per_rad = 1550e-9 / (4.0 * std::f64::consts::PI * 1.468 * 0.78 * 10.213_698) * 1e9;
    let distances: Vec<f64> = (0..CHANNELS).map(|channel| acquisition.distance_m(channel)).collect();
    let about = json!({
        "channels": CHANNELS, "scale": 1e-4 * nstrain_per_rad * 1000.0, "missing": [], "distances_m": distances,
    });
    let said = computed_again(&frames, &samples, &about);
    for view in ["whole-fiber.0", "whole-fiber.1", "average.0", "single.0", "half.0", "long.0"] {
        assert!(said[view]["lines"].as_u64().unwrap() > 2, "{view}: {said}");
    }
    assert_eq!(said["single.0"]["unit"], "nstrain/s");
}

#[test]
fn lines_that_never_came_are_marked_though_one_cut_short_by_the_same_gap_came_before() {
    let frames = in_a_thread(|| {
        let view = ViewConfig { lines_per_frame: 1, ..spectra("one", (3, 3), 64, (1, 10)) };
        let mut rig = EngineRig::new(vec![view], ConditionSpec::default(), acquisition().into(), BLOCK, sample);
        for traces in [BLOCK, BLOCK, BLOCK, BLOCK, 50] {
            rig.feed(traces);
        }
        // Line 4 has one of its windows; of line 5 nothing comes, of line 6 the end.
        rig.next = 620;
        for _ in 0..4 {
            rig.feed(BLOCK);
        }
        rig.last_frames()
    });
    let marked = |frame: &Frame| (frame.first_line, frame.flags & FLAG_GAP_BEFORE != 0);
    let behind: Vec<_> = frames.iter().map(marked).skip_while(|(line, _)| *line < 4).take(3).collect();
    assert_eq!(behind, [(4, true), (6, true), (7, false)]);
}

#[test]
fn streams_of_a_job_begin_with_the_same_line() {
    let frames = in_a_thread(|| {
        let acquisition = Arc::new(acquisition());
        let mut rig = EngineRig::new(Vec::new(), ConditionSpec::default(), acquisition, BLOCK, sample);
        rig.feed(BLOCK);
        let stream = |name: &str, channels| spectra(name, channels, 64, (333, 1000));
        // One of the streams is there already; the windows of its next line have been taken in for some part.
        rig.open("first", vec![stream("first", (1, 10))]).unwrap();
        for _ in 0..9 {
            rig.feed(BLOCK);
        }
        let wanted = [(1, 10), (11, 20), (140, 150)].map(|channels| stream("second", channels));
        rig.open("second", wanted.to_vec()).unwrap();
        for _ in 0..20 {
            rig.feed(BLOCK);
        }
        rig.last_frames()
    });
    let mut lines: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.stream.job == "second") {
        assert_eq!(frame.flags & FLAG_PARTIAL_LINE, 0);
        lines.entry(frame.stream.number).or_default().push((frame.sequence, frame.first_line));
    }
    assert!(lines.len() == 3 && lines.values().all(|of| *of == lines[&0]), "{lines:?}");
    assert!(lines[&0].iter().zip(0..).all(|((sequence, _), number)| *sequence == number), "{lines:?}");
    // The stream that was there before goes on without a break.
    let first = frames.iter().filter(|frame| frame.stream.job == "first").map(|frame| frame.first_line);
    assert!(first.clone().eq((first.clone().next().unwrap()..).take(first.count())));
}

#[test]
fn the_c_of_the_page_reads_a_frame() {
    let code = PAGE.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let main = "#include <stdio.h>\nint main(int argc, char **argv) {\n\
        static uint8_t body[1 << 20]; FILE *f = fopen(argv[argc - 1], \"rb\"); uint64_t n = fread(body, 1, sizeof body, f);\n\
        uint32_t shape[4], ndim; int dtype; float range[2];\n\
        const uint8_t *v = frame_values(body, n, shape, &ndim, &dtype, range);\n\
        if (!v || frame_values(body, n - 1, shape, &ndim, &dtype, range)) return 1;\n\
        for (uint32_t i = 0; i < shape[0] * shape[1]; i++) printf(\"%g \", range[1] + range[0] * v[i]);\n\
        printf(\"%u %d\\n\", ndim, dtype); return 0; }\n";
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("frame.c"), folder.path().join("frame"));
    std::fs::write(&source, format!("{code}\n{main}")).unwrap();
    must_succeed(Command::new("cc").args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"]).args([&program, &source]));
    let frame = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire/frame-v2-u8.bin");
    assert_eq!(must_succeed(Command::new(&program).arg(frame)), "-60 -60 0 0 67.5 67.5 2 2\n");
}
