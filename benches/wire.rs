//! Encoding of frames, in samples per second, beside a plain copy of the same bytes and beside JSON.
//!
//! `line`: one waterfall line of the whole fiber (2337 values); `spectrogram`: 146 lines of 513 bins (299 kB as f32).
//! Every encoding is decoded and compared before it is timed. As a test (`cargo test --benches`) each runs once.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fiberd::frame::{ChannelAxis, Dtype, Frame, FrequencyAxis, Stream, View};
use fiberd::wire::{decode, encode};

/// Values between 0 and 200, no two neighbours alike.
fn frame(view: View, lines: usize, channels: usize, bins: usize, dtype: Dtype) -> Frame {
    let example = Frame::example();
    let stream = Stream {
        view,
        channels: ChannelAxis { start: 0, step: 1, count: channels },
        frequencies: FrequencyAxis { start_hz: 0.0, step_hz: 1.953_125, count: bins },
        dtype,
        u8_range: (1.0, 0.0),
        ..(*example.stream).clone()
    };
    let values: Vec<f32> = (0..lines * channels * bins).map(|i| (i * 7919 % 20_011) as f32 * 0.01).collect();
    Frame { stream: Arc::new(stream), lines, values: values.into(), ..example }
}

/// Largest difference that storing may make.
fn tolerance(dtype: Dtype, value: f32) -> f32 {
    match dtype {
        Dtype::F32 => 0.0,
        // 11 significant bits.
        Dtype::F16 => value.abs() / 2048.0,
        Dtype::U8 => 0.501,
    }
}

fn verify(frame: &Frame, bytes: &[u8]) {
    let decoded = decode(bytes).expect("what was encoded is a frame");
    assert_eq!(decoded.values().count(), frame.values.len());
    for (stored, &value) in decoded.values().zip(frame.values.flat().iter()) {
        assert!((stored - value).abs() <= tolerance(frame.stream.dtype, value), "{stored} for {value}");
    }
}

fn encodings(group: &mut BenchmarkGroup<'_, WallTime>, view: View, shape: (usize, usize, usize)) {
    let (lines, channels, bins) = shape;
    group.throughput(Throughput::Elements((lines * channels * bins) as u64));
    for (dtype, name) in [(Dtype::F32, "f32"), (Dtype::F16, "f16"), (Dtype::U8, "u8")] {
        let frame = frame(view, lines, channels, bins, dtype);
        let mut bytes = Vec::new();
        encode(&frame, "bench", &mut bytes);
        verify(&frame, &bytes);
        group.bench_function(name, |b| b.iter(|| encode(black_box(&frame), "bench", &mut bytes)));
    }
    let frame = frame(view, lines, channels, bins, Dtype::F32);
    let source: &[f32] = &frame.values.flat();
    let mut copy = vec![0.0f32; source.len()];
    group.bench_function("peer: memcpy of the f32 values", |b| {
        b.iter(|| {
            copy.copy_from_slice(black_box(source));
            black_box(&mut copy);
        });
    });
    assert_eq!(copy, source);
    let mut json = Vec::new();
    group.bench_function("peer: serde_json", |b| {
        b.iter(|| {
            json.clear();
            serde_json::to_writer(&mut json, black_box(source)).expect("numbers have a JSON form");
        });
    });
    let back: Vec<f32> = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(back, source);
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/line");
    encodings(&mut group, View::Waterfall, (1, 2337, 1));
    group.finish();
    let mut group = criterion.benchmark_group("wire/spectrogram");
    encodings(&mut group, View::Single, (146, 1, 513));
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
