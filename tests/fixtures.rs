//! The small captures in `fixtures/`: made from their scenes byte for byte, and holding what their sidecars say.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic, in its helpers too")]

mod common;

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use common::{must_succeed, python};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::replay::Replay;
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use fiberd::wire;
use serde_json::{Value, json};
use toml::Table;

const NAMES: [&str; 4] = ["tone", "iq-tone", "walker", "gap"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn sidecar(name: &str) -> Table {
    std::fs::read_to_string(fixtures().join(name).with_extension("toml")).unwrap().parse().unwrap()
}

fn number(table: &Table, key: &str) -> f64 {
    let value = &table[key];
    value.as_float().or(value.as_integer().map(|i| i as f64)).unwrap_or_else(|| panic!("{key} = {value}: a number"))
}

/// What a replay of the capture delivers.
struct Capture<T> {
    channels: usize,
    rows: Vec<Vec<T>>,
    /// First trace behind the gap, traces missing.
    gaps: Vec<(u64, u64)>,
}

impl<T: Pod> Capture<T> {
    fn read(name: &str) -> Self {
        let mut replay =
            Replay::open(&[fixtures().join(name).with_extension("fdas")], ReplaySpeed::Unpaced, false).unwrap();
        let Probe::Ready(acquisition) = replay.probe().unwrap() else { panic!("{name}: nothing to replay") };
        let acquisition = Arc::new(acquisition);
        let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(70));
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        let mut capture = Self { channels: acquisition.channels, rows: Vec::new(), gaps: Vec::new() };
        loop {
            block.clear(&acquisition);
            match replay.read_block(&mut block, Duration::from_secs(10)).unwrap() {
                ReadOutcome::EndOfStream => return capture,
                ReadOutcome::Filled => {}
                other => panic!("{name}: {other:?}"),
            }
            if block.gap_before > 0 {
                capture.gaps.push((block.first_trace.0, block.gap_before));
            }
            capture.rows.extend((0..block.traces).map(|t| block.row_as(t).to_vec()));
        }
    }
}

#[test]
fn the_same_scenes_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for name in NAMES {
        let (sidecar, made) = (sidecar(name), dir.path().join(name));
        let scene = fixtures().join(sidecar["scene"].as_str().unwrap());
        let seconds = number(&sidecar, "seconds").to_string();
        must_succeed(
            Command::new(env!("CARGO_BIN_EXE_fiberd"))
                .arg("record")
                .arg(&made)
                .arg("--scene")
                .arg(scene)
                .args(["--for", &seconds]),
        );
        let (made, kept) =
            (std::fs::read(made).unwrap(), std::fs::read(fixtures().join(name).with_extension("fdas")).unwrap());
        let stated = sidecar["capture"]["crc32"].as_str().unwrap();
        assert_eq!(format!("{:08x}", crc32fast::hash(&kept)), stated, "{name}: the file is not what its sidecar says");
        assert!(made == kept, "{name}: the scene now gives other bytes; fixtures/README.md says what to do");
        assert!(kept.len() <= 1 << 20, "{name}: a fixture has at most 1 MiB");
    }
}

#[test]
fn every_sidecar_says_the_shape_of_its_capture() {
    for name in NAMES {
        let info = must_succeed(
            Command::new(env!("CARGO_BIN_EXE_fiberd"))
                .args(["info", "--json"])
                .arg(fixtures().join(name).with_extension("fdas")),
        );
        let stated = sidecar(name)["capture"].clone();
        for key in ["traces", "channels", "bytes", "gap_traces"] {
            let value = &stated[key];
            assert!(info.contains(&value.to_string()), "{name}: {key} = {value} is not in\n{info}");
        }
        assert!(info.contains(stated["sample_format"].as_str().unwrap()), "{name}: {info}");
    }
}

/// Amplitude of the sine at `frequency_hz` in `x`, by projection; exact when `x` holds whole periods.
fn amplitude(x: &[f64], frequency_hz: f64, prr_hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (t, x) in x.iter().enumerate() {
        let (sin, cos) = (TAU * frequency_hz * t as f64 / prr_hz).sin_cos();
        re += x * cos;
        im += x * sin;
    }
    2.0 * re.hypot(im) / x.len() as f64
}

#[test]
fn the_tone_has_the_stated_amplitude_on_the_stated_channels() {
    let capture = Capture::<i16>::read("tone");
    let expected = sidecar("tone")["expected"].as_table().unwrap().clone();
    let (hz, rad) = (number(&expected, "frequency_hz"), number(&expected, "amplitude_rad"));
    assert!((number(&expected, "power_rad2") / (rad * rad / 2.0) - 1.0).abs() < 1e-6);
    let tone = number(&expected, "channel_min") as usize - 1..number(&expected, "channel_max") as usize;
    for c in 0..capture.channels {
        let x: Vec<f64> = capture.rows[..1920].iter().map(|row| f64::from(row[c]) * 1e-3).collect();
        if tone.contains(&c) {
            let found = amplitude(&x, hz, 1000.0);
            assert!((found / rad - 1.0).abs() < 1e-4, "channel {c}: {found} rad for {rad}");
        } else {
            assert!(x.iter().all(|x| x.abs() < 1e-12), "channel {c} is silent");
        }
    }
}

#[test]
fn the_raw_field_holds_the_stated_strain() {
    let capture = Capture::<[i16; 2]>::read("iq-tone");
    let expected = sidecar("iq-tone")["expected"].as_table().unwrap().clone();
    let (hz, rad) = (number(&expected, "frequency_hz"), number(&expected, "amplitude_rad"));
    let gauge = number(&expected, "gauge_channels") as usize;
    // The difference over the gauge first, so that what its ends share cannot make either of them slip.
    let over_gauge = |c: usize| {
        let (mut sum, mut last) = (0.0, None);
        let phase = |row: &Vec<[i16; 2]>| {
            let [[a, b], [c, d]] = [row[c], row[c - gauge]].map(|z| z.map(f64::from));
            (b * c - a * d).atan2(a * c + b * d)
        };
        capture.rows[..1440]
            .iter()
            .map(phase)
            .map(|phase| {
                let step: f64 = phase - last.replace(phase).unwrap_or(phase);
                sum += step - TAU * (step / TAU).round();
                sum
            })
            .collect::<Vec<f64>>()
    };
    let mut found: Vec<f64> = (number(&expected, "full_min") as usize - 1..number(&expected, "full_max") as usize)
        .map(|c| amplitude(&over_gauge(c), hz, 1000.0))
        .collect();
    // A faded channel may slip; the field as a whole may not.
    found.sort_by(f64::total_cmp);
    let median = found[found.len() / 2];
    assert!((median / rad - 1.0).abs() < 0.005, "{median} rad for {rad}");
}

#[test]
fn the_walker_is_where_the_sidecar_says() {
    let capture = Capture::<i16>::read("walker");
    let expected = sidecar("walker")["expected"].as_table().unwrap().clone();
    for second in 0..6 {
        let rows = &capture.rows[second * 500..(second + 1) * 500];
        let energy: Vec<f64> = (0..capture.channels)
            .map(|c| rows.windows(4).map(|w| (f64::from(w[3][c]) - f64::from(w[0][c])).powi(2)).sum())
            .collect();
        let mut sorted = energy.clone();
        sorted.sort_by(f64::total_cmp);
        let floor = 4.0 * sorted[sorted.len() / 2];
        let above = energy.iter().map(|e| (e - floor).max(0.0));
        let centre = above.clone().enumerate().map(|(c, e)| 2.0 * c as f64 * e).sum::<f64>() / above.sum::<f64>();
        let place = number(&expected, "place_m") + number(&expected, "speed_m_per_s") * (second as f64 + 0.5);
        assert!((centre - place).abs() < number(&expected, "tolerance_m"), "second {second}: {centre} m for {place} m");
    }
}

#[test]
fn the_gaps_are_where_the_sidecar_says() {
    let stated: Vec<(u64, u64)> = sidecar("gap")["expected"]["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| {
            let gap = gap.as_table().unwrap();
            (number(gap, "before_trace") as u64, number(gap, "traces") as u64)
        })
        .collect();
    let capture = Capture::<i16>::read("gap");
    assert_eq!(capture.gaps, stated);
    assert_eq!(capture.rows.len(), 1813);
}

#[test]
fn header_py_reads_the_golden_frames_as_we_do_and_refuses_damage() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/header.py");
    for dtype in ["f32", "f16", "u8"] {
        let file = fixtures().join(format!("wire/frame-v2-{dtype}.bin"));
        let said = must_succeed(python().arg(&script).arg(&file).env("PYTHONIOENCODING", "utf-8"));
        let read: Value = serde_json::from_str(&said).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let ours = wire::decode(&bytes).unwrap();
        let header = &ours.header;
        assert_eq!(read["dtype"], dtype);
        assert_eq!(read["numpy_dtype"], wire::numpy_dtype(ours.dtype));
        assert_eq!(read["shape"], json!(ours.shape()));
        for (name, text) in [("site", ours.site()), ("name", ours.name()), ("job", ours.job()), ("axes", ours.axes())] {
            assert_eq!(read[name], text, "{name}");
        }
        for (name, number) in [
            ("payload_crc32", u64::from(header.payload_crc32)),
            ("epoch", header.epoch),
            ("end_trace", header.end_trace),
            ("gap_traces", header.gap_traces),
            ("channel_start", header.channel_start.into()),
            ("channel_step", header.channel_step.into()),
            ("line_count", header.line_count.into()),
            ("nfft", header.nfft.into()),
        ] {
            assert_eq!(read[name], number, "{name}");
        }
        for (name, number) in [
            ("prr_hz", header.prr_hz),
            ("fiber_start_m", header.fiber_start_m),
            ("frequency_step_hz", header.frequency_step_hz),
            ("db_reference", header.db_reference),
            ("running_max", header.running_max.into()),
            ("offset", header.offset.into()),
        ] {
            assert_eq!(read[name], number, "{name}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(fixtures().join("wire/frame-v2-f32.bin")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = folder.path().join("damaged.bin");
    std::fs::write(&damaged, bytes).unwrap();
    let refused = python().arg(&script).arg(&damaged).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("checksum of the values"), "{refused:?}");
}
