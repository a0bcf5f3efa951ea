//! What stands far from zero, or runs away, costs no precision: not of what moves in it, and not of the constant itself.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::sync::Arc;

use fiberd::acquisition::{Acquisition, Quantity, SampleFormat};
use fiberd::dsp::{
    ConditionSpec, Conditioner, Lane, LaneOutput, Output, Plan, PlanSpec, Raw, Rows, Samples, Spare, Traces, Window,
    Worker, naive,
};
use fiberd::units::Rational;
use proptest::prelude::*;

const BLOCK: usize = 100;
/// Error of an amplitude in parts of the largest of its row, with the bins of the constant and without them.
const ERROR: f64 = 1e-5;

/// Even noise between −1 and 1.
fn noise(trace: usize, channel: usize) -> f64 {
    let mut x =
        (trace as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// What samples are made of, and how far from zero they stand at most.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Counts with noise of 3, up to 32,000.
    Counts,
    /// Floats with noise of 1, up to 1e6.
    Floats,
    /// What conditioning makes of 32-bit integers, with noise of 10, up to 2³¹.
    Wide,
}

impl Kind {
    fn sample(self, offset: f64, trace: usize, channel: usize) -> f64 {
        // Neighbours stand elsewhere, on either side of zero.
        let side = [1.0, -1.0, 0.5, 0.0, -0.01][channel % 5] * offset;
        match self {
            Self::Counts => (side * 32_000.0 + 3.0 * noise(trace, channel)).round(),
            Self::Floats => f64::from((side * 1e6 + noise(trace, channel)) as f32),
            Self::Wide => (side * f64::from(1u32 << 31) + 10.0 * noise(trace, channel)).round(),
        }
    }
}

/// The lines of power of `channels` channels with all bins, fed by blocks.
fn lines(
    plan: &Arc<Plan>,
    kind: Kind,
    channels: usize,
    traces: usize,
    sample: impl Fn(usize, usize) -> f64,
) -> Vec<(u64, Vec<f32>)> {
    let mut lane = Lane::new(Arc::clone(plan), &[LaneOutput { output: 0, channels: 0..channels }], BLOCK);
    let mut store = Lane::store(std::slice::from_ref(&lane), channels, BLOCK);
    let mut worker = Worker::default();
    worker.reserve(plan);
    let stride = channels.next_multiple_of(32);
    let (mut counts, mut out) = (Vec::new(), Vec::new());
    for first in (0..traces).step_by(BLOCK) {
        let rows = (first..first + BLOCK).flat_map(|t| (0..channels).map(move |c| (t, c)));
        let rows: Vec<f64> = rows.map(|(t, c)| sample(t, c)).collect();
        if matches!(kind, Kind::Counts) {
            for row in rows.chunks_exact(channels) {
                counts.extend((0..stride).map(|c| row.get(c).map_or(0, |&x| x as i16)));
            }
            let mut table = Traces::new(0, &mut Spare::default());
            table.push(Raw::new(Samples::I16(&counts), stride, first + BLOCK, channels));
            worker.take_counts(std::slice::from_mut(&mut lane), &(0..channels), &table, |_| ());
        } else {
            store.push(Rows::new(&rows, channels, BLOCK, channels));
            lane.push(&store, &mut worker);
        }
        out.extend(lane.lines().iter().enumerate().map(|(i, line)| (line.end_trace, lane.values(0, i).to_vec())));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_offset_costs_no_precision(
        nfft in prop_oneof![(4u32..11).prop_map(|e| 1usize << e), (8usize..200).prop_map(|n| 2 * n)],
        window in prop::sample::select(vec![
            Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris, Window::Rectangular,
        ]),
        kind in prop::sample::select(vec![Kind::Counts, Kind::Floats, Kind::Wide]), offset in 0.0f64..1.0,
        // Lines a few traces apart slide; long ones are means.
        hop in prop_oneof![1usize..30, 100usize..2000], channels in prop_oneof![Just(1usize), 2usize..20],
    ) {
        let period_traces = Rational::new(hop as u64, 1).unwrap();
        let outputs = vec![Output::Power(0..nfft / 2 + 1)];
        let plan = Arc::new(Plan::new(PlanSpec { nfft, window, period_traces, outputs }).unwrap());
        let traces = (3 * nfft.max(hop)).max(1500).next_multiple_of(BLOCK);
        let sample = |t, c| kind.sample(offset, t, c);
        let all = lines(&plan, kind, channels, traces, sample);
        let (end, values) = all.last().unwrap();
        for channel in [0, channels / 2, channels - 1] {
            // As much as the last line needs.
            let first = traces.saturating_sub(nfft + 2 * hop);
            let samples = (first..traces).map(|t| sample(t, channel)).collect();
            let run = naive::Run { first_trace: first as u64, samples };
            let line = naive::lines(&PlanSpec { outputs: Vec::new(), ..plan.spec().clone() }, &[run]).pop().unwrap();
            prop_assert_eq!(line.end_trace, *end);
            let got = &values[channel * (nfft / 2 + 1)..][..=nfft / 2];
            let pairs = || got.iter().zip(&line.power).map(|(&got, expected)| (f64::from(got).sqrt(), expected.sqrt()));
            let worst = |skip| {
                let largest = pairs().skip(skip).map(|(_, expected)| expected).fold(0.0, f64::max);
                pairs().skip(skip).map(|(got, expected)| (got - expected).abs() / largest).fold(0.0, f64::max)
            };
            let (moving, all) = (worst(window.half_lobe() + 1), worst(0));
            prop_assert!(moving < ERROR && all < ERROR, "channel {channel}: {moving:e} of what moves, {all:e} of all");
        }
    }
}

/// A phase that turns on and on: after 4000 rad the noise is what it was at the beginning.
#[test]
fn a_phase_that_runs_away_keeps_its_precision() {
    let (channels, gauge, nfft, traces) = (12, 4, 1024, 400 * 1000);
    let acquisition = Acquisition {
        channels,
        sample_format: SampleFormat::Iq16,
        quantity: Quantity::OpticalField,
        ..Acquisition::example()
    };
    let spec = ConditionSpec { spatial_difference_channels: gauge, ..ConditionSpec::default() };
    let phase = |t: usize, c: usize| if c < gauge { 0.0 } else { 0.01 * t as f64 + 1e-4 * noise(t, c) };
    let field = |t: usize, c: usize| {
        let (sin, cos) = phase(t, c).sin_cos();
        [(30_000.0 * cos).round() as i16, (30_000.0 * sin).round() as i16]
    };
    let bins = 300..500;
    let period_traces = Rational::new(nfft as u64, 1).unwrap();
    let outputs = vec![Output::BandEnergy(vec![bins.clone()])];
    let plan = Arc::new(Plan::new(PlanSpec { nfft, window: Window::Hann, period_traces, outputs }).unwrap());
    let mut lane = Lane::new(Arc::clone(&plan), &[LaneOutput { output: 0, channels: 0..gauge }], BLOCK);
    let mut store = Lane::store(std::slice::from_ref(&lane), gauge, BLOCK);
    let mut worker = Worker::default();
    worker.reserve(&plan);
    let mut conditioner = Conditioner::new(&spec, &acquisition, 0..gauge, BLOCK).unwrap();
    let mut last = Vec::new();
    for first in (0..traces).step_by(BLOCK) {
        let block: Vec<[i16; 2]> =
            (first..first + BLOCK).flat_map(|t| (0..channels).map(move |c| (t, c))).map(|(t, c)| field(t, c)).collect();
        conditioner.run(Raw::new(Samples::Iq16(&block), channels, BLOCK, channels));
        store.push(conditioner.tile());
        lane.push(&store, &mut worker);
        for (number, line) in lane.lines().iter().enumerate() {
            last = vec![(line.end_trace as usize, lane.values(0, number).to_vec())];
        }
    }
    let (end, values) = &last[0];
    for (channel, &got) in values.iter().enumerate().take(gauge) {
        let window: Vec<Vec<[f64; 2]>> = (end - nfft..*end)
            .map(|t| [field(t, channel), field(t, channel + gauge)].map(|z| z.map(f64::from)).to_vec())
            .collect();
        let exact: Vec<f64> = naive::demodulate(&window, 1).iter().map(|row| row[0]).collect();
        let expected: f64 = naive::power_spectrum(&exact, Window::Hann)[bins.clone()].iter().sum();
        let got = f64::from(got);
        assert!((got / expected - 1.0).abs() < 0.01, "channel {channel}: {got:e} for {expected:e}");
    }
}
