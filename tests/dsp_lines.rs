//! Lanes against the definition: random sizes, periods, outputs, cuts, gaps, signals, and dirty memory.
//!
//! Errors are compared as amplitudes, in parts of the line's own RMS, so that 1e-6 means 120 dB below the signal.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{
    Lane, LaneOutput, Line, Output, Plan, PlanError, PlanSpec, Raw, Rows, Samples, Spare, Store, Traces, Window, Worker,
};
use fiberd::units::Rational;
use proptest::prelude::*;

/// The worst of 4000 random cases was 2.4e-7 (−132 dB); 20,000 stayed below this.
const AMPLITUDE_ERROR: f64 = 1e-6;
/// What spectra that slide from window to window may be off, in parts of the largest amplitude that there has been.
const SLIDING_ERROR: f64 = 3e-6;
/// Stated error of decibels, beside that of the power itself.
const DECIBEL_ERROR: f64 = 1e-3;

#[derive(Clone, Copy, Debug)]
enum Signal {
    Noise,
    Tone(f64),
    Impulse(u64),
    /// Noise of 1 on a standing offset of 1000.
    Offset,
    /// So small that its power is denormal or nothing.
    Tiny,
    /// What an instrument gives: 16-bit integers.
    Counts,
}

/// A hash is as good as noise, and has a value at every (trace, channel) without a past.
fn noise(trace: u64, channel: usize) -> f32 {
    let mut x = trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

impl Signal {
    fn sample(self, trace: u64, channel: usize) -> f32 {
        match self {
            Self::Noise => noise(trace, channel),
            Self::Tone(cycles) => ((TAU * cycles * trace as f64 + channel as f64).sin() * 100.0) as f32,
            Self::Impulse(at) => f32::from(u8::from(trace == at + channel as u64)),
            Self::Offset => 1000.0 + noise(trace, channel),
            Self::Tiny => 1e-21 * noise(trace, channel),
            Self::Counts => (30_000.0 * noise(trace, channel)).trunc(),
        }
    }
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Noise),
        (0.0f64..0.5).prop_map(Signal::Tone),
        (0u64..600).prop_map(Signal::Impulse),
        Just(Signal::Offset),
        Just(Signal::Tiny),
        Just(Signal::Counts),
    ]
}

fn output(nfft: usize) -> impl Strategy<Value = Output> {
    let bins = nfft / 2 + 1;
    let range = move || (0..bins, 0..bins).prop_map(|(a, b)| a.min(b)..a.max(b) + 1);
    prop_oneof![
        prop::collection::vec(range(), 1..4).prop_map(Output::BandEnergy),
        range().prop_map(Output::Power),
        range().prop_map(Output::Amplitude),
        (range(), 1e-6f64..1e6).prop_map(|(bins, reference)| Output::Decibel { bins, reference }),
    ]
}

fn spec() -> impl Strategy<Value = PlanSpec> {
    let nfft = prop_oneof![(3u32..10).prop_map(|e| 1usize << e), (2usize..200).prop_map(|n| 2 * n)];
    let window = prop::sample::select(vec![Window::Hann, Window::Hamming, Window::BlackmanHarris, Window::Rectangular]);
    (nfft, window, 0.0f64..1.0, 1u64..40).prop_flat_map(|(nfft, window, length, den)| {
        // From one trace to three windows a line, more often short than long.
        let num = ((length * length * 3.0 * nfft as f64) as u64).max(1) * den + den / 3;
        let period_traces = Rational::new(num, den).expect("positive");
        prop::collection::vec(output(nfft), 1..4).prop_map(move |outputs| PlanSpec {
            nfft,
            window,
            period_traces,
            outputs,
        })
    })
}

/// Unbroken runs of traces: where the first begins, and (length, traces missing behind it) of each.
#[derive(Clone, Debug)]
struct Scene {
    first: u64,
    runs: Vec<(usize, u64)>,
}

impl Scene {
    fn runs(&self) -> Vec<Range<u64>> {
        let mut first = self.first;
        let run = |&(len, missing): &(usize, u64)| {
            let run = first..first + len as u64;
            first = run.end + missing;
            run
        };
        self.runs.iter().map(run).collect()
    }
}

fn scene() -> impl Strategy<Value = Scene> {
    let first = prop_oneof![Just(0u64), 0u64..5000, Just(1 << 50)];
    let runs = prop::collection::vec((1usize..900, prop_oneof![Just(0u64), 1u64..5, 1u64..1500]), 1..4);
    (first, runs).prop_map(|(first, runs)| Scene { first, runs })
}

/// A lane with the store that it reads and the worker that runs it.
struct Rig {
    lane: Lane,
    store: Store,
    worker: Worker,
}

const MAX_BLOCK: usize = 120;

impl Rig {
    fn new(plan: &Arc<Plan>, channels: usize, outputs: &[LaneOutput]) -> Self {
        let lane = Lane::new(Arc::clone(plan), outputs, MAX_BLOCK);
        let store = Lane::store(std::slice::from_ref(&lane), channels, MAX_BLOCK);
        let mut worker = Worker::default();
        worker.reserve(plan);
        Self { lane, store, worker }
    }

    /// All outputs for all channels.
    fn whole(plan: &Arc<Plan>, channels: usize) -> Self {
        let all = |output| LaneOutput { output, channels: 0..channels };
        Self::new(plan, channels, &(0..plan.spec().outputs.len()).map(all).collect::<Vec<_>>())
    }

    fn restart(&mut self, trace: u64, gap: bool) {
        self.store.reset(trace);
        if gap {
            self.lane.gap(trace);
        } else {
            self.lane.reset(trace);
        }
    }

    fn push(&mut self, rows: &[f32], stride: usize, traces: usize) {
        self.store.push(Rows::new(rows, stride, traces, self.store.channels()));
        self.lane.push(&self.store, &mut self.worker);
    }

    /// The newest traces of counts, the last `traces` of them new. No more than the lane's reach may be needed.
    fn push_counts(&mut self, past: &[i16], stride: usize, traces: usize, end: u64) {
        let rows = (past.len() / stride).min(self.lane.reach() + traces);
        let past = &past[past.len() - rows * stride..];
        let mut table = Traces::new(end - rows as u64, &mut Spare::default());
        table.push(Raw::new(Samples::I16(past), stride, rows, self.store.channels()));
        let channels = 0..self.store.channels();
        self.worker.take_counts(std::slice::from_mut(&mut self.lane), &channels, &table, |_| ());
    }
}

/// Lines with the values of each output.
type Lines = Vec<(Line, Vec<Vec<f32>>)>;

/// Feeds a lane and returns what comes out. Samples that are given as counts must be integers.
fn feed(rig: &mut Rig, counts: bool, signal: Signal, scene: &Scene, cuts: &[usize], outputs: usize) -> Lines {
    let (channels, mut cuts, mut out) = (rig.store.channels(), cuts.iter().cycle(), Vec::new());
    for (number, run) in scene.runs().into_iter().enumerate() {
        rig.restart(run.start, number > 0);
        let (mut t, mut past) = (run.start, Vec::new());
        while t < run.end {
            let traces = (*cuts.next().expect("endless") as u64).min(run.end - t);
            // Padded rows whose padding is poison.
            let stride = (channels + 3).next_multiple_of(32);
            let mut rows = vec![f32::NAN; stride * traces as usize];
            for (row, trace) in rows.chunks_exact_mut(stride).zip(t..) {
                row[..channels].iter_mut().enumerate().for_each(|(c, x)| *x = signal.sample(trace, c));
            }
            if counts {
                past.extend(rows.iter().map(|&x| if x.is_nan() { i16::MIN } else { x as i16 }));
                rig.push_counts(&past, stride, traces as usize, t + traces);
            } else {
                rig.push(&rows, stride, traces as usize);
            }
            let values = |line| (0..outputs).map(|output| rig.lane.values(output, line).to_vec()).collect();
            out.extend(rig.lane.lines().iter().enumerate().map(|(i, &line)| (line, values(i))));
            t += traces;
        }
    }
    out
}

/// Largest error of a channel's values, as an amplitude in parts of the line's RMS or of `reference`, if that is larger.
fn error(output: &Output, got: &[f32], power: &[f64], reference: f64) -> f64 {
    // Powers near the smallest that f32 can hold (1e-38) are rounded to what it holds: no error.
    let rms = power.iter().sum::<f64>().sqrt().max(1e-14).max(reference);
    let got = got.iter().map(|&x| f64::from(x));
    let expected = naive::output(output, power);
    let errors = got.zip(expected).map(|(got, expected)| match output {
        Output::BandEnergy(_) | Output::Power(_) => (got.sqrt() - expected.sqrt()).abs() / rms,
        Output::Amplitude(_) => (got - expected).abs() / rms,
        Output::Decibel { reference, .. } => {
            let amplitude = |db: f64| (reference * 10f64.powf(db / 10.0)).sqrt();
            let allowed = amplitude(expected) * (10f64.powf(DECIBEL_ERROR / 20.0) - 1.0);
            ((amplitude(got) - amplitude(expected)).abs() - allowed).max(0.0) / rms
        }
    });
    // NaN must not pass for small.
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

/// At least the largest amplitude that one bin can have in a window, without a window function, in units of the output.
fn largest_amplitude(spec: &PlanSpec, runs: &[Run]) -> f64 {
    let weight: f64 = spec.window.table(spec.nfft).iter().map(|w| w * w).sum();
    let energy = |samples: &[f64]| samples.iter().map(|x| x * x).sum::<f64>();
    let largest = runs.iter().flat_map(|run| run.samples.windows(spec.nfft.min(run.samples.len()))).map(energy);
    // |Σ x·exp(…)|² ≤ N·Σ x², and power is 2·|X|² / (N·Σ w²).
    (2.0 * largest.fold(0.0, f64::max) / weight).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn lanes_answer_to_the_definition(
        spec in spec(), channels in 1usize..70, signal in signal(), scene in scene(),
        cuts in prop::collection::vec(1usize..MAX_BLOCK, 1..6), other_cuts in prop::collection::vec(1usize..MAX_BLOCK, 1..6),
        ends in prop::collection::vec((0usize..70, 0usize..70), 3), checked in 0usize..70,
    ) {
        let plan = Arc::new(Plan::new(spec.clone()).unwrap());
        let outputs: Vec<LaneOutput> = (0..spec.outputs.len()).map(|output| {
            let (a, b) = (ends[output].0 % channels, ends[output].1 % channels);
            LaneOutput { output, channels: if output == 0 { 0..channels } else { a.min(b)..a.max(b) + 1 } }
        }).collect();
        let mut rig = Rig::new(&plan, channels, &outputs);
        // Dirty memory: everything that a lane owns has held poison and overflow before.
        for dirt in [f32::NAN, f32::MAX] {
            for _ in 0..2 + 2 * spec.nfft / MAX_BLOCK {
                rig.push(&vec![dirt; MAX_BLOCK * channels], channels, MAX_BLOCK);
            }
        }
        let got = feed(&mut rig, false, signal, &scene, &cuts, outputs.len());

        // Counts as they are, where samples are such, and other cuts: the same to the last bit.
        let counts = matches!(signal, Signal::Counts);
        let mut other = Rig::new(&plan, channels, &outputs);
        let again = feed(&mut other, counts, signal, &scene, &other_cuts, outputs.len());
        prop_assert_eq!(got.len(), again.len());
        for ((line, values), (other_line, other_values)) in got.iter().zip(&again) {
            prop_assert_eq!(line, other_line);
            let bits = |values: &[Vec<f32>]| values.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
            let same = bits(values) == bits(other_values);
            prop_assert!(same, "line {} depends on how its traces were cut into pushes", line.index);
        }

        for channel in [0, checked % channels, channels - 1] {
            let runs: Vec<Run> = scene.runs().into_iter().map(|run| Run {
                first_trace: run.start,
                samples: run.map(|t| f64::from(signal.sample(t, channel))).collect(),
            }).collect();
            let expected = naive::lines(&spec, &runs);
            prop_assert_eq!(got.len(), expected.len());
            let largest = if plan.slides() { largest_amplitude(&spec, &runs) * SLIDING_ERROR / AMPLITUDE_ERROR } else { 0.0 };
            for ((line, values), expected) in got.iter().zip(&expected) {
                let naive::Line { index, first_trace, end_trace, partial, .. } = *expected;
                prop_assert_eq!(*line, Line { index, first_trace, end_trace, partial });
                for (wanted, values) in outputs.iter().zip(values).filter(|(wanted, _)| wanted.channels.contains(&channel)) {
                    let output = &spec.outputs[wanted.output];
                    let per_channel = output.values_per_channel();
                    let values = &values[(channel - wanted.channels.start) * per_channel..][..per_channel];
                    let error = error(output, values, &expected.power, largest);
                    prop_assert!(error < AMPLITUDE_ERROR, "line {index} channel {channel}: {error:e}");
                }
            }
        }
    }
}

/// Kernel and definition could share a wrong factor; a tone and noise of known size cannot.
#[test]
fn a_tone_and_noise_have_the_power_that_they_have() {
    let (nfft, bin) = (256, 20);
    let plan = |window, output| {
        let period_traces = Rational::new(1000, 1).unwrap();
        Arc::new(Plan::new(PlanSpec { nfft, window, period_traces, outputs: vec![output] }).unwrap())
    };
    let scene = Scene { first: 0, runs: vec![(20_000, 0)] };
    for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris] {
        let half = window.half_lobe();
        let bands = Output::BandEnergy(vec![bin - half..bin + half + 1, 60..129]);
        let mut rig = Rig::whole(&plan(window, bands), 2);
        for (line, values) in feed(&mut rig, false, Signal::Tone(bin as f64 / nfft as f64), &scene, &[64], 1) {
            let values = &values[0];
            assert_eq!(line.partial, line.index == 0, "only the first line lacks a window");
            assert!((values[0] / 5000.0 - 1.0).abs() < 1e-5, "{window:?}: amplitude 100 has power {}", values[0]);
            assert!(values[1] < 1e-6, "{window:?}: {} beside the main lobe", values[1]);
        }
    }
    // Uniform in −1 … 1 has the variance 1/3.
    let mut rig = Rig::whole(&plan(Window::Hann, Output::BandEnergy(vec![0..9, 9..129])), 8);
    let lines = feed(&mut rig, false, Signal::Noise, &scene, &[64], 1);
    let mean = lines.iter().flat_map(|(_, both_bands)| &both_bands[0]).sum::<f32>() / (8 * lines.len()) as f32;
    assert_eq!(lines.len(), 20);
    assert!((mean * 3.0 - 1.0).abs() < 0.02, "{mean}");
}

#[test]
fn the_grid_does_not_move_over_a_gap_and_touched_lines_say_so() {
    // Lines of 100 traces, windows of 64: three windows a line (ends at +36, +68, +100).
    let spec = PlanSpec {
        nfft: 64,
        window: Window::Hann,
        period_traces: Rational::new(100, 1).unwrap(),
        outputs: vec![Output::Power(0..33)],
    };
    let mut rig = Rig::whole(&Arc::new(Plan::new(spec).unwrap()), 3);
    // Traces 0..490 and 530..1000: line 4 loses its end and has two windows, line 5 its beginning and has one.
    let scene = Scene { first: 0, runs: vec![(490, 40), (470, 0)] };
    let lines = feed(&mut rig, false, Signal::Noise, &scene, &[64], 1);
    let seen: Vec<_> = lines.iter().map(|(line, _)| (line.index, line.first_trace, line.partial)).collect();
    let expected = [
        (0, 0, true),
        (1, 100, false),
        (2, 200, false),
        (3, 300, false),
        (4, 400, true),
        (5, 500, true),
        (6, 600, false),
        (7, 700, false),
    ];
    assert_eq!(seen[..expected.len()], expected);
    assert_eq!(seen.len(), 10);
}

#[test]
fn absurd_trace_numbers_do_no_harm() {
    let period_traces = Rational::new(7, 3).unwrap();
    let spec = PlanSpec { nfft: 16, window: Window::Hann, period_traces, outputs: vec![Output::Power(0..9)] };
    let plan = Arc::new(Plan::new(spec).unwrap());
    for channels in [1, 8] {
        let mut rig = Rig::whole(&plan, channels);
        for first in [u64::MAX, u64::MAX - 40, u64::MAX - 1000] {
            rig.restart(first, false);
            for _ in 0..20 {
                rig.push(&vec![1.0; 64 * channels], channels, 64);
                assert!(rig.lane.lines().len() <= plan.max_lines(64));
            }
            rig.restart(3, true);
        }
    }
}

#[test]
fn impossible_plans_say_what_would_be_possible() {
    let good = PlanSpec {
        nfft: 256,
        window: Window::Hann,
        period_traces: Rational::new(100, 1).unwrap(),
        outputs: vec![Output::Power(0..129)],
    };
    let refusal = |spec: PlanSpec| Plan::new(spec).unwrap_err().to_string();
    for nfft in [0, 2, 255, 1 << 21] {
        assert!(refusal(PlanSpec { nfft, ..good.clone() }).contains("must be even"));
    }
    let short = Rational::new(99, 100).unwrap();
    assert!(refusal(PlanSpec { period_traces: short, ..good.clone() }).contains("at least 1 / PRR"));
    for output in [Output::Power(5..5), Output::Amplitude(0..130), Output::BandEnergy(vec![0..4, 9..9])] {
        assert!(refusal(PlanSpec { outputs: vec![output], ..good.clone() }).contains("widen the range"));
    }
    for outputs in [vec![Output::BandEnergy(vec![])], vec![]] {
        assert_eq!(Plan::new(PlanSpec { outputs, ..good.clone() }).unwrap_err(), PlanError::NoBands);
    }
    for reference in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let output = Output::Decibel { bins: 0..129, reference };
        assert!(refusal(PlanSpec { outputs: vec![output], ..good.clone() }).contains("positive power"));
    }
}

/// Thousands of steps, and a blow that is a million times as strong as what comes before and after it.
#[test]
fn a_sliding_spectrum_stays_as_exact_as_it_says() {
    let spec = PlanSpec {
        nfft: 256,
        window: Window::Hann,
        period_traces: Rational::new(9, 2).unwrap(),
        outputs: vec![Output::Power(0..60)],
    };
    let plan = Arc::new(Plan::new(spec.clone()).unwrap());
    assert!(plan.slides());
    let (traces, blow) = (20_000u64, 7000);
    let sample = |t: u64, c: usize| noise(t, c) + if t == blow { 1e6 } else { 0.0 };
    let channels = 11;
    let mut rig = Rig::whole(&plan, channels);
    rig.restart(0, false);
    let mut checked = 0;
    for first in (0..traces).step_by(100) {
        let rows: Vec<f32> = (first..first + 100).flat_map(|t| (0..channels).map(move |c| sample(t, c))).collect();
        rig.push(&rows, channels, 100);
        for (number, line) in rig.lane.lines().iter().enumerate().filter(|(_, line)| line.index % 97 == 0) {
            let values = &rig.lane.values(0, number)[3 * 60..4 * 60];
            let samples: Vec<f64> = (line.end_trace - 256..line.end_trace).map(|t| f64::from(sample(t, 3))).collect();
            let power = naive::power_spectrum(&samples, Window::Hann);
            // Until sums have been made afresh the blow is in the bound.
            let recent = (blow..blow + 256 + 1024 * 5).contains(&line.end_trace);
            let largest = if recent { 1e6 } else { 32.0 } * (2.0f64 / (0.375 * 256.0)).sqrt();
            for (got, expected) in values.iter().zip(power) {
                let error = (f64::from(*got).sqrt() - expected.sqrt()).abs();
                assert!(error < SLIDING_ERROR * largest, "line {}: {error:e} of {largest}", line.index);
            }
            checked += 1;
        }
    }
    assert!(checked > 40);
}
