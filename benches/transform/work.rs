//! What is computed: workloads, the raw counts they run on, and what a contender must be able to do.

use std::time::Duration;

use fiberd::acquisition::Acquisition;
use fiberd::block::BlockLayout;
use fiberd::dsp::naive::{self, Run};
use fiberd::dsp::{Output, PlanSpec, Window, bins_in_range};
use fiberd::units::Rational;

/// From raw counts in memory to finished lines.
pub struct Workload {
    pub name: &'static str,
    pub channels: usize,
    pub prr_hz: u64,
    pub spec: PlanSpec,
    /// Traces of a pass.
    pub traces: usize,
}

pub fn spec(nfft: usize, hop: u64, output: Output) -> PlanSpec {
    let period_traces = Rational::new(hop, 1).expect("positive");
    PlanSpec { nfft, window: Window::Hann, period_traces, outputs: vec![output] }
}

pub fn decibel(high_hz: f64, prr_hz: u64, nfft: usize) -> Output {
    Output::Decibel { bins: bins_in_range(0.0, high_hz, prr_hz as f64, nfft), reference: 1.0 }
}

pub fn energy(prr_hz: u64, nfft: usize) -> Output {
    Output::BandEnergy(vec![bins_in_range(5.0, 200.0, prr_hz as f64, nfft)])
}

impl Workload {
    /// The workloads that transforms of fiberd are judged by.
    pub fn all() -> Vec<Self> {
        let workload = |name, channels, prr_hz, spec: PlanSpec, windows: usize| {
            let hop = spec.period_traces.num() as usize;
            let traces = spec.nfft + (windows - 1) * hop;
            Self { name, channels, prr_hz, spec, traces }
        };
        vec![
            workload("W1", 2337, 2000, spec(1024, 512, decibel(500.0, 2000, 1024)), 11),
            workload("W2", 2337, 2000, spec(256, 128, energy(2000, 256)), 47),
            workload("W3", 10_000, 1000, spec(256, 128, energy(1000, 256)), 15),
            workload("W4", 1, 2000, spec(65_536, 32_768, decibel(1000.0, 2000, 65_536)), 15),
            workload("W5", 50_000, 1000, spec(256, 128, energy(1000, 256)), 7),
        ]
    }

    pub fn output(&self) -> &Output {
        &self.spec.outputs[0]
    }

    pub fn hop(&self) -> usize {
        self.spec.period_traces.num() as usize
    }

    /// Lines whose window lies in a pass.
    pub fn lines(&self) -> usize {
        (self.traces - self.spec.nfft) / self.hop() + 1
    }

    /// Where the window of a line begins.
    pub fn start(&self, line: usize) -> usize {
        // Windows end with their line, so the first whole one begins where its end is a multiple of the hop.
        self.spec.nfft.next_multiple_of(self.hop()) - self.spec.nfft + line * self.hop()
    }

    pub fn acquisition(&self) -> Acquisition {
        let prr = Rational::new(self.prr_hz, 1).expect("positive");
        Acquisition { channels: self.channels, prr, ..Acquisition::example() }
    }

    /// Input samples of a pass. Those before the first hop only fill the first window.
    pub fn samples(&self) -> f64 {
        (self.lines() * self.hop() * self.channels) as f64
    }

    /// `× real time` of so many samples a second.
    pub fn real_time(&self, samples_per_s: f64) -> f64 {
        samples_per_s / (self.channels as f64 * self.prr_hz as f64)
    }
}

/// Raw counts, time-major, rows padded to 64 bytes, as blocks hold them.
pub struct Recording {
    pub samples: Vec<i16>,
    pub stride: usize,
}

impl Recording {
    pub fn new(workload: &Workload) -> Self {
        // As blocks lay their rows out.
        let length = Duration::from_millis(100);
        let stride = BlockLayout::for_acquisition(&workload.acquisition(), length).stride_bytes() / size_of::<i16>();
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 50) as i16 - 8192
        };
        Self { samples: (0..stride * workload.traces).map(|_| noise()).collect(), stride }
    }
}

/// Something that makes lines of counts.
pub trait Contender {
    fn name(&self) -> String;
    /// From the first trace to the last line.
    fn pass(&mut self, recording: &Recording);
    /// How many of the last lines of a pass are still there.
    fn kept(&self) -> usize {
        usize::MAX
    }
    /// Values of a channel in a line of the last pass that is still there.
    fn values(&self, line: usize, channel: usize) -> Vec<f32>;
}

/// Runs a pass and holds some channels of the first, a middle and the last line against the definition.
pub fn verify(workload: &Workload, contender: &mut dyn Contender, recording: &Recording, scale: f64) {
    contender.pass(recording);
    let nfft = workload.spec.nfft;
    let first = workload.lines().saturating_sub(contender.kept());
    for line in [first, usize::midpoint(first, workload.lines()), workload.lines() - 1] {
        for channel in [0, workload.channels / 3, workload.channels - 1] {
            let start = workload.start(line);
            let sample = |t: usize| f64::from(recording.samples[t * recording.stride + channel]) * scale;
            let samples: Vec<f64> = (start..start + nfft).map(sample).collect();
            let got = contender.values(line, channel);
            let bins: Vec<usize> = match workload.output() {
                // The definition takes nfft² steps; in long windows some bins must do.
                Output::Decibel { bins, .. } if nfft > 4096 => bins.clone().step_by(bins.len() / 50).collect(),
                output => output.ranges()[0].clone().collect(),
            };
            let power = some_bins(&samples, workload.spec.window, &bins);
            let name = contender.name();
            match workload.output() {
                Output::BandEnergy(_) => {
                    let expected: f64 = power.iter().sum();
                    let error = (f64::from(got[0]) / expected - 1.0).abs();
                    assert!(error < 1e-5, "{name}, line {line}: {} for {expected}", got[0]);
                }
                _ => {
                    for (&bin, power) in bins.iter().zip(power) {
                        // Below −60 dB of the mean the rounding of f32 input shows.
                        let (got, expected) = (f64::from(got[bin]), 10.0 * power.log10());
                        let allowed = if expected > -80.0 { 0.01 } else { 1.0 };
                        assert!(
                            (got - expected).abs() < allowed,
                            "{name}, line {line} bin {bin}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// Power of some bins, by the definition where that ends within reason and by its formula for each bin elsewhere.
fn some_bins(samples: &[f64], window: Window, bins: &[usize]) -> Vec<f64> {
    let nfft = samples.len();
    if nfft <= 4096 {
        let run = Run { first_trace: 0, samples: samples.to_vec() };
        let whole = spec(nfft, nfft as u64, Output::Power(0..nfft / 2 + 1));
        let lines = naive::lines(&PlanSpec { window, ..whole }, &[run]);
        return bins.iter().map(|&bin| lines[0].power[bin]).collect();
    }
    let table = window.table(nfft);
    let energy: f64 = table.iter().map(|w| w * w).sum();
    let bin = |&k: &usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, (x, w)) in samples.iter().zip(&table).enumerate() {
            let (sin, cos) = (std::f64::consts::TAU * (k * n % nfft) as f64 / nfft as f64).sin_cos();
            (re, im) = (re + x * w * cos, im - x * w * sin);
        }
        let sides = if k == 0 || k == nfft / 2 { 1.0 } else { 2.0 };
        sides * (re * re + im * im) / (nfft as f64 * energy)
    };
    bins.iter().map(bin).collect()
}
