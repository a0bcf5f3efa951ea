//! The DSP stage on one thread, in input samples a second and × real time: conditioning alone, and whole tiles from raw
//! counts to lines, beside the straightforward program (gather a channel from time-major history, `realfft`, `log10`).
//!
//! Nothing is measured before its values agree with the definition. `cargo bench --bench dsp`, or as a test with
//! `cargo test --benches`.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use fiberd::acquisition::{Acquisition, Quantity, SampleFormat};
use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{
    ConditionSpec, Conditioner, Lane, Line, Output, Plan, PlanSpec, Raw, Samples, Window, bins_in_range,
};
use fiberd::units::Rational;
use realfft::{RealFftPlanner, RealToComplex};

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

    fn count(&self, trace: usize, channel: usize) -> i16 {
        self.samples[trace % (BLOCK * BLOCKS) * self.stride + channel]
    }
}

/// Something that takes block after block.
trait Stage {
    fn take(&mut self, block: Raw<'_>);
    /// Lines that the last block completed, with the values of one channel.
    fn lines(&self, channel: usize) -> Vec<(u64, Vec<f32>)>;
}

/// What fiberd does: tiles of neighbouring channels, each conditioned and transformed while it is in cache.
struct Tiles {
    tiles: Vec<(Range<usize>, Conditioner, Lane)>,
}

impl Tiles {
    fn new(plan: &Arc<Plan>, acquisition: &Acquisition) -> Self {
        let tile = |first: usize| {
            let channels = first..(first + TILE).min(acquisition.channels);
            let conditioner = Conditioner::new(&ConditionSpec::default(), acquisition, channels.clone(), BLOCK);
            let lane = Lane::new(Arc::clone(plan), channels.len(), BLOCK);
            (channels, conditioner.expect("plain counts"), lane)
        };
        Self { tiles: (0..acquisition.channels).step_by(TILE).map(tile).collect() }
    }
}

impl Stage for Tiles {
    fn take(&mut self, block: Raw<'_>) {
        for (_, conditioner, lane) in &mut self.tiles {
            conditioner.run(block);
            lane.push(conditioner.tile());
        }
    }

    fn lines(&self, channel: usize) -> Vec<(u64, Vec<f32>)> {
        let (channels, _, lane) = self.tiles.iter().find(|(c, ..)| c.contains(&channel)).expect("a channel");
        let values = lane.plan().values_per_channel();
        let line = |(i, line): (usize, &Line)| {
            (line.index, lane.values(i)[(channel - channels.start) * values..][..values].to_vec())
        };
        lane.lines().iter().enumerate().map(line).collect()
    }
}

/// What one would write first: time-major history, and for each line each channel gathered, transformed, summed.
/// One window a line, as in all the workloads here.
struct Straightforward {
    spec: PlanSpec,
    scale: f32,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    factor: f32,
    /// `[trace][channel]`, the newest `nfft + BLOCK` traces.
    history: Vec<f32>,
    channels: usize,
    position: usize,
    next_line: u64,
    done: Vec<(u64, Vec<f32>)>,
}

impl Straightforward {
    fn new(spec: &PlanSpec, acquisition: &Acquisition) -> Self {
        let window = spec.window.table(spec.nfft);
        let energy: f64 = window.iter().map(|w| w * w).sum();
        Self {
            scale: acquisition.scale as f32,
            fft: RealFftPlanner::new().plan_fft_forward(spec.nfft),
            window: window.iter().map(|&w| w as f32).collect(),
            factor: (1.0 / (spec.nfft as f64 * energy)) as f32,
            history: vec![0.0; acquisition.channels * (spec.nfft + BLOCK)],
            channels: acquisition.channels,
            position: 0,
            next_line: 0,
            done: Vec::new(),
            spec: spec.clone(),
        }
    }

    fn line(&mut self, end: usize) -> Vec<f32> {
        let (nfft, rows) = (self.spec.nfft, self.spec.nfft + BLOCK);
        let (mut x, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let mut values = Vec::new();
        for channel in 0..self.channels {
            for ((n, x), w) in x.iter_mut().enumerate().zip(&self.window) {
                *x = self.history[(end - nfft + n) % rows * self.channels + channel] * w;
            }
            self.fft.process_with_scratch(&mut x, &mut spectrum, &mut scratch).expect("lengths of this plan");
            let power = |k: usize| {
                let sides = if k == 0 || k == nfft / 2 { 1.0 } else { 2.0 };
                spectrum[k].norm_sqr() * self.factor * sides
            };
            match &self.spec.output {
                Output::BandEnergy(bands) => values.extend(bands.iter().map(|b| b.clone().map(power).sum::<f32>())),
                Output::Power(bins) | Output::Amplitude(bins) => values.extend(bins.clone().map(power)),
                Output::Decibel { bins, reference } => {
                    values.extend(bins.clone().map(|k| 10.0 * (power(k) / *reference as f32).log10()));
                }
            }
        }
        values
    }
}

impl Stage for Straightforward {
    fn take(&mut self, block: Raw<'_>) {
        let Samples::I16(samples) = block.samples() else { panic!("the recording holds counts") };
        let stride = samples.len() / BLOCK;
        for row in samples.chunks_exact(stride) {
            let at = self.position % (self.spec.nfft + BLOCK) * self.channels;
            for (x, &count) in self.history[at..at + self.channels].iter_mut().zip(row) {
                *x = f32::from(count) * self.scale;
            }
            self.position += 1;
        }
        self.done.clear();
        while self.spec.period_traces.times_rounded(self.next_line + 1) <= self.position as u64 {
            let end = self.spec.period_traces.times_rounded(self.next_line + 1) as usize;
            if end >= self.spec.nfft {
                let values = self.line(end);
                self.done.push((self.next_line, values));
            }
            self.next_line += 1;
        }
    }

    fn lines(&self, channel: usize) -> Vec<(u64, Vec<f32>)> {
        let of_channel = |(index, values): &(u64, Vec<f32>)| {
            let per_channel = values.len() / self.channels;
            (*index, values[channel * per_channel..][..per_channel].to_vec())
        };
        self.done.iter().map(of_channel).collect()
    }
}

/// Runs a stage over the first blocks and compares three channels with the definition.
fn verify(name: &str, stage: &mut dyn Stage, spec: &PlanSpec, recording: &Recording, scale: f64) {
    let blocks = (3 * spec.nfft).div_ceil(BLOCK);
    let channels = [0, recording.channels / 2, recording.channels - 1];
    let mut got = vec![Vec::new(); channels.len()];
    for number in 0..blocks {
        stage.take(recording.block(number));
        got.iter_mut().zip(channels).for_each(|(got, channel)| got.extend(stage.lines(channel)));
    }
    for (got, channel) in got.iter().zip(channels) {
        let sample = |t| f64::from(recording.count(t, channel)) * scale;
        let run = Run { first_trace: 0, samples: (0..blocks * BLOCK).map(sample).collect() };
        let expected = naive::lines(spec, &[run]);
        assert_eq!(got.len(), expected.len(), "{name}: lines");
        for ((index, values), expected) in got.iter().zip(expected) {
            assert_eq!(*index, expected.index, "{name}: line");
            for (&got, expected) in values.iter().zip(naive::output(&spec.output, &expected.power)) {
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 1e-3 * expected.abs().max(1.0), "{name}: {got} for {expected}");
            }
        }
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

struct Workload {
    name: &'static str,
    channels: usize,
    nfft: usize,
    period_traces: u64,
    output: Output,
    peer: bool,
}

fn workloads(prr: f64) -> Vec<Workload> {
    let energy = |nfft| Output::BandEnergy(vec![bins_in_range(5.0, 200.0, prr, nfft)]);
    let decibel = |high| Output::Decibel { bins: bins_in_range(0.0, high, prr, 1024), reference: 1.0 };
    let workload = |name, channels, nfft, period_traces, output| Workload {
        name,
        channels,
        nfft,
        period_traces,
        output,
        peer: channels > 1,
    };
    vec![
        workload("waterfall, nfft 256 every 128", 2337, 256, 128, energy(256)),
        workload("waterfall, nfft 256 every 100", 2337, 256, 100, energy(256)),
        workload("dB of 0-500 Hz, nfft 1024 every 512", 2337, 1024, 512, decibel(500.0)),
        workload("one channel, dB, nfft 1024 every 200", 1, 1024, 200, decibel(1000.0)),
    ]
}

fn transforms(c: &mut Criterion) {
    for w in workloads(2000.0) {
        let acquisition = Acquisition { channels: w.channels, ..Acquisition::example() };
        let rate = acquisition.prr.to_f64() * w.channels as f64;
        let recording = Recording::new(w.channels);
        let period_traces = Rational::new(w.period_traces, 1).expect("positive");
        let spec = PlanSpec { nfft: w.nfft, window: Window::Hann, period_traces, output: w.output };
        let plan = Arc::new(Plan::new(spec.clone()).expect("a possible plan"));
        let mut stages: Vec<(&str, Box<dyn Stage>)> = vec![("fiberd", Box::new(Tiles::new(&plan, &acquisition)))];
        if w.peer {
            stages.push(("straightforward", Box::new(Straightforward::new(&spec, &acquisition))));
        }
        for (name, stage) in &mut stages {
            verify(name, stage.as_mut(), &spec, &recording, acquisition.scale);
            let mut number = (3 * w.nfft).div_ceil(BLOCK);
            // A pass is 1120 traces, so that every pass holds whole lines of each workload or nearly so.
            let samples = 28 * BLOCK * w.channels;
            measure(c, w.name, name, samples, rate, || {
                for _ in 0..28 {
                    stage.take(recording.block(number));
                    number += 1;
                }
            });
        }
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
    let float = Acquisition { sample_format: SampleFormat::F32, ..base.clone() };
    let plain = ConditionSpec::default();
    let rate = ConditionSpec { strain_rate: true, spatial_difference_channels: 10, ..plain };
    let high_pass = ConditionSpec { high_pass_hz: 1.0, ..plain };
    let cases = [
        ("int16", &base, plain),
        ("int16 to strain rate over 10 channels", &base, rate),
        ("int16, high-pass", &base, high_pass),
        ("float32", &float, plain),
        ("iq16 to strain rate over 10 channels", &iq, rate),
    ];
    let floats: Vec<f32> = recording.samples.iter().map(|&x| f32::from(x)).collect();
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
    transforms(&mut criterion);
    criterion.final_summary();
}
