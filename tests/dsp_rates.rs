//! Spectra of a strain rate are those of the rate of change, not of the first differences that it is made of.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::f64::consts::TAU;
use std::sync::Arc;

use fiberd::acquisition::{Acquisition, Quantity};
use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{
    ConditionSpec, Conditioner, Input, Lane, LaneOutput, Output, Plan, PlanSpec, Raw, Samples, Window, Worker,
};
use fiberd::units::Rational;

const CHANNELS: usize = 11;
const BLOCK: usize = 100;
const TRACES: usize = 6000;

/// A tone at `bin` of `nfft` bins, in counts.
fn phase(nfft: usize, bin: usize, t: usize, c: usize) -> i16 {
    (9000.0 * (TAU * (bin * t) as f64 / nfft as f64 + c as f64).sin()).round() as i16
}

/// The last line that comes out: values of all outputs, `[channel][value]` each.
fn last_line(plan: &Arc<Plan>, acquisition: &Acquisition, block: impl Fn(usize) -> Vec<i16>) -> Vec<Vec<f32>> {
    let spec = ConditionSpec { strain_rate: true, ..ConditionSpec::default() };
    let mut conditioner = Conditioner::new(&spec, acquisition, 0..CHANNELS, BLOCK).unwrap();
    let outputs = [0, 1].map(|output| LaneOutput { output, channels: 0..CHANNELS });
    let mut lane = Lane::new(Arc::clone(plan), &outputs, BLOCK);
    let mut store = Lane::store(std::slice::from_ref(&lane), CHANNELS, BLOCK);
    let mut worker = Worker::default();
    worker.reserve(plan);
    let mut last = Vec::new();
    for first in (0..TRACES).step_by(BLOCK) {
        conditioner.run(Raw::new(Samples::I16(&block(first)), CHANNELS, BLOCK, CHANNELS));
        store.push(conditioner.tile());
        lane.push(&store, &mut worker);
        if let Some(line) = lane.lines().len().checked_sub(1) {
            last = vec![lane.values(0, line).to_vec(), lane.values(1, line).to_vec()];
        }
    }
    last
}

#[test]
fn spectra_of_a_strain_rate_lack_nothing_at_any_frequency() {
    let acquisition =
        Acquisition { channels: CHANNELS, quantity: Quantity::Phase, scale: 1e-3, ..Acquisition::example() };
    let rate = ConditionSpec { strain_rate: true, ..ConditionSpec::default() };
    let per_radian = fiberd::dsp::calibration::strain_rate_factor(&rate, &acquisition).unwrap();
    // Whole, as a mean of several windows, sliding, and along time.
    for (nfft, hop) in [(512, 512), (256, 1000), (1024, 10), (750, 375)] {
        let period_traces = Rational::new(hop, 1).unwrap();
        for bin in [nfft / 50, nfft / 5, 2 * nfft / 5] {
            let (lobe, all) = (bin - 1..bin + 2, 0..nfft / 2 + 1);
            let outputs = vec![Output::BandEnergy(vec![lobe]), Output::Amplitude(all.clone())];
            let spec = PlanSpec { nfft, window: Window::Hann, period_traces, outputs };
            let plan = Arc::new(Plan::for_input(spec.clone(), Input::Differences).unwrap());
            let row = |t| (0..CHANNELS).map(move |c| phase(nfft, bin, t, c));
            let values = last_line(&plan, &acquisition, |first| (first..first + BLOCK).flat_map(row).collect());
            // Of a sine of the phase: amplitude · 2π f, from the factor that holds the PRR already.
            let expected = (9.0 * per_radian * TAU * bin as f64 / nfft as f64).powi(2) / 2.0;
            let raw: Vec<Vec<f64>> = (0..TRACES).map(|t| row(t).map(f64::from).collect()).collect();
            let exact = naive::condition(&rate, &acquisition, &raw).unwrap();
            for channel in [0, 5, CHANNELS - 1] {
                let energy = f64::from(values[0][channel]);
                // Each bin of the lobe is taken for its own frequency, the tone has that of the middle.
                assert!((energy / expected - 1.0).abs() < 1e-3, "nfft {nfft}, bin {bin}: {}", energy / expected);
                // As much as the last line needs.
                let first = TRACES - nfft - 2 * hop as usize;
                let samples = exact[first..].iter().map(|row| row[channel]).collect();
                let line = naive::lines(&spec, &[Run { first_trace: first as u64, samples }]).pop().unwrap();
                let mut power = line.power;
                naive::complete(&mut power);
                let largest = power.iter().sum::<f64>().sqrt();
                for (got, expected) in values[1][channel * all.len()..].iter().zip(&power) {
                    let error = (f64::from(*got) - expected.sqrt()).abs() / largest;
                    assert!(error < 3e-6, "nfft {nfft}, bin {bin}, channel {channel}: {error:e}");
                }
            }
        }
    }
}
