//! Conditioning on one thread, in input samples a second and × real time; what it computes is verified by the tests of
//! the same functions. `cargo bench --bench dsp`, or as a test with `cargo test --benches`. The transforms have a
//! benchmark of their own, beside their peers: `transform`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use fiberd::acquisition::{Acquisition, Quantity, SampleFormat};
use fiberd::dsp::{ConditionSpec, Conditioner, Raw, Samples};

/// 20 ms at 2000 Hz.
const BLOCK: usize = 40;
/// Blocks that come round and round: 26 MB at 2337 channels × 2 bytes × 5600 traces, more than caches hold.
const BLOCKS: usize = 140;
/// Channels of a tile.
const TILE: usize = 48;

/// Raw counts as blocks hold them.
struct Recording {
    samples: Vec<i16>,
    channels: usize,
    stride: usize,
}

impl Recording {
    fn new(channels: usize) -> Self {
        let stride = channels.next_multiple_of(32);
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 50) as i16
        };
        Self { samples: (0..stride * BLOCK * BLOCKS).map(|_| noise()).collect(), channels, stride }
    }

    fn block(&self, number: usize) -> Raw<'_> {
        let len = self.stride * BLOCK;
        let samples = &self.samples[number % BLOCKS * len..][..len];
        Raw::new(Samples::I16(samples), self.stride, BLOCK, self.channels)
    }
}

/// Time that this thread has had: one thread's work is measured, not the neighbours on the machine.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures `pass`, which takes in `samples`, and says × real time.
fn measure(c: &mut Criterion, group: &str, name: &str, samples: usize, rate: f64, mut pass: impl FnMut()) {
    let mut best = Duration::MAX;
    let mut criterion_group = c.benchmark_group(group);
    criterion_group.throughput(Throughput::Elements(samples as u64));
    criterion_group.bench_function(name, |b| {
        b.iter_custom(|passes| {
            let begin = thread_time();
            (0..passes).for_each(|_| pass());
            let spent = thread_time().saturating_sub(begin);
            best = best.min(spent / u32::try_from(passes).unwrap_or(u32::MAX));
            spent
        });
    });
    criterion_group.finish();
    if best < Duration::MAX {
        let real_time = samples as f64 / rate / best.as_secs_f64();
        println!(
            "{group}/{name}: {:.0} M samples/s, {real_time:.0} × real time at best",
            samples as f64 / best.as_secs_f64() / 1e6
        );
    }
}

/// Conditioning alone, each format and step; what it computes is verified by the tests of the same functions.
fn conditioning(c: &mut Criterion) {
    let recording = Recording::new(2337);
    let base = Acquisition::example();
    let iq = Acquisition {
        channels: 1168,
        sample_format: SampleFormat::Iq16,
        quantity: Quantity::OpticalField,
        ..base.clone()
    };
    let long = Acquisition { sample_format: SampleFormat::I32, scale: 1e-6, ..base.clone() };
    let float = Acquisition { sample_format: SampleFormat::F32, ..base.clone() };
    let plain = ConditionSpec::default();
    let rate = ConditionSpec { strain_rate: true, spatial_difference_channels: 10, ..plain };
    let high_pass = ConditionSpec { high_pass_hz: 1.0, ..plain };
    let cases = [
        ("int16", &base, plain),
        ("int16 to strain rate over 10 channels", &base, rate),
        ("int16, high-pass", &base, high_pass),
        ("int32", &long, plain),
        ("float32", &float, plain),
        ("iq16 to strain rate over 10 channels", &iq, rate),
    ];
    let floats: Vec<f32> = recording.samples.iter().map(|&x| f32::from(x)).collect();
    let longs: Vec<i32> = recording.samples.iter().map(|&x| i32::from(x) * 1000).collect();
    for (name, acquisition, spec) in cases {
        let channels = Conditioner::output_channels(&spec, acquisition).expect("channels");
        let tile =
            |first| Conditioner::new(&spec, acquisition, first..(first + TILE).min(channels), BLOCK).expect("possible");
        let mut tiles: Vec<_> = (0..channels).step_by(TILE).map(tile).collect();
        let mut number = 0;
        let mut pass = || {
            for _ in 0..28 {
                let at = number % BLOCKS * BLOCK * recording.stride..;
                let raw = match acquisition.sample_format {
                    SampleFormat::I16 => recording.block(number),
                    SampleFormat::I32 => Raw::new(Samples::I32(&longs[at]), recording.stride, BLOCK, 2337),
                    SampleFormat::F32 => Raw::new(Samples::F32(&floats[at]), recording.stride, BLOCK, 2337),
                    SampleFormat::Iq16 => {
                        let pairs = bytemuck::cast_slice(&recording.samples[at]);
                        Raw::new(Samples::Iq16(pairs), recording.stride / 2, BLOCK, 1168)
                    }
                };
                for tile in &mut tiles {
                    tile.run(raw);
                    tile.high_pass();
                    black_box(tile.tile());
                }
                number += 1;
            }
        };
        pass();
        measure(c, "condition", name, 28 * BLOCK * channels, 2000.0 * channels as f64, pass);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    conditioning(&mut criterion);
    criterion.final_summary();
}
