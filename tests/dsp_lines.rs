//! Lanes against the definition: random sizes, periods, outputs, cuts, gaps, signals, and dirty memory.
//!
//! Errors are compared as amplitudes, in parts of the line's own RMS, so that 1e-6 means 120 dB below the signal.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{Lane, Line, Output, Plan, PlanError, PlanSpec, Rows, Window};
use fiberd::units::Rational;
use proptest::prelude::*;

/// The worst of 4000 random cases was 2.4e-7 (−132 dB); 20,000 stayed below this.
const AMPLITUDE_ERROR: f64 = 1e-6;
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
        output(nfft).prop_map(move |output| PlanSpec { nfft, window, period_traces, output })
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

/// Feeds a lane and returns what comes out.
fn feed(lane: &mut Lane, signal: Signal, scene: &Scene, cuts: &[usize]) -> Vec<(Line, Vec<f32>)> {
    let (channels, mut cuts, mut out) = (lane.channels(), cuts.iter().cycle(), Vec::new());
    for (number, run) in scene.runs().into_iter().enumerate() {
        if number == 0 {
            lane.reset(run.start);
        } else {
            lane.gap(run.start);
        }
        let mut t = run.start;
        while t < run.end {
            let traces = (*cuts.next().expect("endless") as u64).min(run.end - t);
            // Padded rows whose padding is poison.
            let stride = channels + 3;
            let mut rows = vec![f32::NAN; stride * traces as usize];
            for (row, trace) in rows.chunks_exact_mut(stride).zip(t..) {
                row[..channels].iter_mut().enumerate().for_each(|(c, x)| *x = signal.sample(trace, c));
            }
            lane.push(Rows::new(&rows, stride, traces as usize, channels));
            out.extend(lane.lines().iter().enumerate().map(|(i, &line)| (line, lane.values(i).to_vec())));
            t += traces;
        }
    }
    out
}

/// Largest error of a channel's values, as an amplitude in parts of the line's RMS.
fn error(output: &Output, got: &[f32], power: &[f64]) -> f64 {
    // Powers near the smallest that f32 can hold (1e-38) are rounded to what it holds: no error.
    let rms = power.iter().sum::<f64>().sqrt().max(1e-14);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn lanes_answer_to_the_definition(
        spec in spec(), channels in 1usize..70, signal in signal(), scene in scene(),
        cuts in prop::collection::vec(1usize..120, 1..6), other_cuts in prop::collection::vec(1usize..120, 1..6),
        checked in 0usize..70,
    ) {
        let plan = Arc::new(Plan::new(spec.clone()).unwrap());
        let mut lane = Lane::new(Arc::clone(&plan), channels, 120);
        // Dirty memory: everything that a lane owns has held poison and overflow before.
        for dirt in [f32::NAN, f32::MAX] {
            for _ in 0..2 + 2 * spec.nfft / 120 {
                lane.push(Rows::new(&vec![dirt; 120 * channels], channels, 120, channels));
            }
        }
        let got = feed(&mut lane, signal, &scene, &cuts);

        let mut other = Lane::new(plan, channels, 120);
        let again = feed(&mut other, signal, &scene, &other_cuts);
        prop_assert_eq!(got.len(), again.len());
        for ((line, values), (other_line, other_values)) in got.iter().zip(&again) {
            prop_assert_eq!(line, other_line);
            let same = values.iter().zip(other_values).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same, "line {} depends on how its traces were cut into pushes", line.index);
        }

        let per_channel = lane.plan().values_per_channel();
        for channel in [0, checked % channels, channels - 1] {
            let runs: Vec<Run> = scene.runs().into_iter().map(|run| Run {
                first_trace: run.start,
                samples: run.map(|t| f64::from(signal.sample(t, channel))).collect(),
            }).collect();
            let expected = naive::lines(&spec, &runs);
            prop_assert_eq!(got.len(), expected.len());
            for ((line, values), expected) in got.iter().zip(&expected) {
                let naive::Line { index, first_trace, end_trace, partial, .. } = *expected;
                prop_assert_eq!(*line, Line { index, first_trace, end_trace, partial });
                let values = &values[channel * per_channel..][..per_channel];
                let error = error(&spec.output, values, &expected.power);
                prop_assert!(error < AMPLITUDE_ERROR, "line {index} channel {channel}: {error:e}");
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
        Arc::new(Plan::new(PlanSpec { nfft, window, period_traces, output }).unwrap())
    };
    let scene = Scene { first: 0, runs: vec![(20_000, 0)] };
    for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris] {
        let half = window.half_lobe();
        let mut lane = Lane::new(plan(window, Output::BandEnergy(vec![bin - half..bin + half + 1, 60..129])), 2, 64);
        for (line, values) in feed(&mut lane, Signal::Tone(bin as f64 / nfft as f64), &scene, &[64]) {
            assert_eq!(line.partial, line.index == 0, "only the first line lacks a window");
            assert!((values[0] / 5000.0 - 1.0).abs() < 1e-5, "{window:?}: amplitude 100 has power {}", values[0]);
            assert!(values[1] < 1e-6, "{window:?}: {} beside the main lobe", values[1]);
        }
    }
    // Uniform in −1 … 1 has the variance 1/3.
    let mut lane = Lane::new(plan(Window::Hann, Output::BandEnergy(vec![0..9, 9..129])), 8, 64);
    let lines = feed(&mut lane, Signal::Noise, &scene, &[64]);
    let mean = lines.iter().flat_map(|(_, both_bands)| both_bands).sum::<f32>() / (8 * lines.len()) as f32;
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
        output: Output::Power(0..33),
    };
    let mut lane = Lane::new(Arc::new(Plan::new(spec).unwrap()), 3, 64);
    // Traces 0..490 and 530..1000: line 4 loses its end, line 5 its beginning.
    let scene = Scene { first: 0, runs: vec![(490, 40), (470, 0)] };
    let lines = feed(&mut lane, Signal::Noise, &scene, &[64]);
    let seen: Vec<_> = lines.iter().map(|(line, _)| (line.index, line.first_trace, line.partial)).collect();
    let expected = [
        (0, 0, true),
        (1, 100, false),
        (2, 200, false),
        (3, 300, false),
        (5, 500, true),
        (6, 600, false),
        (7, 700, false),
    ];
    assert_eq!(seen[..expected.len()], expected);
    assert_eq!(seen.len(), 9);
}

#[test]
fn absurd_trace_numbers_do_no_harm() {
    let period_traces = Rational::new(7, 3).unwrap();
    let spec = PlanSpec { nfft: 16, window: Window::Hann, period_traces, output: Output::Power(0..9) };
    let mut lane = Lane::new(Arc::new(Plan::new(spec).unwrap()), 1, 64);
    for first in [u64::MAX, u64::MAX - 40, u64::MAX - 1000] {
        lane.reset(first);
        for _ in 0..20 {
            lane.push(Rows::new(&[1.0; 64], 1, 64, 1));
            assert!(lane.lines().len() <= lane.plan().max_lines(64));
        }
        lane.gap(3);
    }
}

#[test]
fn impossible_plans_say_what_would_be_possible() {
    let good = PlanSpec {
        nfft: 256,
        window: Window::Hann,
        period_traces: Rational::new(100, 1).unwrap(),
        output: Output::Power(0..129),
    };
    let refusal = |spec: PlanSpec| Plan::new(spec).unwrap_err().to_string();
    for nfft in [0, 2, 255, 1 << 21] {
        assert!(refusal(PlanSpec { nfft, ..good.clone() }).contains("must be even"));
    }
    let short = Rational::new(99, 100).unwrap();
    assert!(refusal(PlanSpec { period_traces: short, ..good.clone() }).contains("at least 1 / PRR"));
    for output in [Output::Power(5..5), Output::Amplitude(0..130), Output::BandEnergy(vec![0..4, 9..9])] {
        assert!(refusal(PlanSpec { output, ..good.clone() }).contains("widen the range"));
    }
    let none = PlanSpec { output: Output::BandEnergy(vec![]), ..good.clone() };
    assert_eq!(Plan::new(none).unwrap_err(), PlanError::NoBands);
    for reference in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let output = Output::Decibel { bins: 0..129, reference };
        assert!(refusal(PlanSpec { output, ..good.clone() }).contains("positive power"));
    }
}
