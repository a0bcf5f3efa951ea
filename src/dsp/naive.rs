//! The definitions, in f64 and without haste. What the fast code computes is what stands here, and tests hold it to that.
//!
//! Samples are `[trace][channel]` for conditioning, which looks along both, and `[trace]` of one channel for lines.
//! Everything is told in unbroken runs of traces: nothing looks across a gap.

use std::f64::consts::{PI, TAU};

use super::calibration::{ConditionError, ConditionSpec, strain_rate_factor};
use super::common_mode::CommonMode;
use super::grid::LineGrid;
use super::plan::{Output, PlanSpec};
use super::window::Window;
use crate::acquisition::{Acquisition, SampleFormat};

/// Conditioning of one unbroken run. `raw` are counts or floats as they came, or for `iq16` the phases over the gauge
/// length of [`demodulate`]. NaN, infinity and absurd values are 0 already.
///
/// # Errors
/// What cannot be done with samples of this acquisition.
pub fn condition(
    spec: &ConditionSpec,
    acquisition: &Acquisition,
    raw: &[Vec<f64>],
) -> Result<Vec<Vec<f64>>, ConditionError> {
    let iq = acquisition.sample_format == SampleFormat::Iq16;
    let scale = if iq { 1.0 } else { acquisition.scale };
    let mut traces: Vec<Vec<f64>> = raw.iter().map(|row| row.iter().map(|x| x * scale).collect()).collect();
    if spec.strain_rate {
        let factor = strain_rate_factor(spec, acquisition)?;
        traces = (0..traces.len())
            .map(|t| {
                let before = &traces[t.saturating_sub(1)];
                traces[t].iter().zip(before).map(|(now, before)| (now - before) * factor).collect()
            })
            .collect();
    }
    if !iq && spec.spatial_difference_channels > 0 {
        traces = difference_in_space(&traces, spec.spatial_difference_channels);
    }
    for trace in &mut traces {
        let offset = common_mode(spec.common_mode, trace);
        for x in trace {
            *x -= offset;
        }
    }
    if spec.high_pass_hz > 0.0 {
        traces = high_pass(&traces, spec.high_pass_hz, acquisition.prr.to_f64());
    }
    Ok(traces)
}

/// Raw optical field to phase over `gauge` channels, unwrapped along time: of `w[c] = z[c + gauge] · conj z[c]`, what the
/// ends share being gone, the argument of the first trace and, added up, the arguments of `w[t] · conj w[t − 1]` behind it.
/// Where `w` is zero there is no phase, and the one before stands.
pub fn demodulate(field: &[Vec<[f64; 2]>], gauge: usize) -> Vec<Vec<f64>> {
    let by_conjugate = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a * c + b * d, b * c - a * d];
    let argument = |[re, im]: [f64; 2]| im.atan2(re);
    let channels = field.first().map_or(0, |row| row.len().saturating_sub(gauge));
    let (mut w, mut phase) = (vec![[1.0, 0.0]; channels], vec![0.0; channels]);
    let mut traces = Vec::new();
    for row in field {
        for c in 0..channels {
            let now = by_conjugate(row[c + gauge], row[c]);
            if now == [0.0, 0.0] {
                continue;
            }
            phase[c] += argument(by_conjugate(now, w[c]));
            w[c] = now;
        }
        traces.push(phase.clone());
    }
    traces
}

/// Channel `c + gauge` minus channel `c`; the last `gauge` channels have no partner.
pub fn difference_in_space(traces: &[Vec<f64>], gauge: usize) -> Vec<Vec<f64>> {
    traces.iter().map(|row| row[gauge..].iter().zip(row).map(|(far, near)| far - near).collect()).collect()
}

/// First-order Butterworth high-pass over time, at rest on the first trace.
pub fn high_pass(traces: &[Vec<f64>], corner_hz: f64, prr_hz: f64) -> Vec<Vec<f64>> {
    let k = (PI * corner_hz / prr_hz).tan();
    let mut out: Vec<Vec<f64>> = Vec::new();
    for (t, row) in traces.iter().enumerate() {
        let filtered = |c: usize| match t {
            0 => 0.0,
            _ => (row[c] - traces[t - 1][c] + (1.0 - k) * out[t - 1][c]) / (1.0 + k),
        };
        out.push((0..row.len()).map(filtered).collect());
    }
    out
}

/// The offset of one trace.
pub fn common_mode(mode: CommonMode, trace: &[f64]) -> f64 {
    let n = trace.len();
    if n == 0 {
        return 0.0;
    }
    match mode {
        CommonMode::Keep => 0.0,
        CommonMode::Mean => trace.iter().sum::<f64>() / n as f64,
        CommonMode::Median => {
            let mut sorted = trace.to_vec();
            sorted.sort_by(f64::total_cmp);
            f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
        }
    }
}

/// One-sided power spectrum of one window, bins `0 … nfft/2`: `c_k · |X_k|² / (nfft · Σw²)`, `c_k = 2` but for DC and
/// Nyquist. A sine of amplitude `A` at a bin centre has `A²/2` in the sum over its main lobe.
pub fn power_spectrum(samples: &[f64], window: Window) -> Vec<f64> {
    let nfft = samples.len();
    let w = window.table(nfft);
    let energy: f64 = w.iter().map(|w| w * w).sum();
    let turn: Vec<(f64, f64)> = (0..nfft).map(|i| (TAU * i as f64 / nfft as f64).sin_cos()).collect();
    let bin = |k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for n in 0..nfft {
            let (sin, cos) = turn[k * n % nfft];
            re += samples[n] * w[n] * cos;
            im -= samples[n] * w[n] * sin;
        }
        let sides = if k == 0 || k == nfft / 2 { 1.0 } else { 2.0 };
        sides * (re * re + im * im) / (nfft as f64 * energy)
    };
    (0..=nfft / 2).map(bin).collect()
}

/// Power of the rate of change, from that of its first differences times the PRR: their response `sinc(f / PRR)`, squared,
/// is divided out of each bin.
pub fn complete(power: &mut [f64]) {
    let nfft = 2 * (power.len() - 1);
    for (k, power) in power.iter_mut().enumerate().skip(1) {
        let angle = PI * k as f64 / nfft as f64;
        *power /= (angle.sin() / angle).powi(2);
    }
}

/// Consecutive samples of one channel.
#[derive(Clone, Debug)]
pub struct Run {
    /// Trace of the first sample.
    pub first_trace: u64,
    /// Samples.
    pub samples: Vec<f64>,
}

impl Run {
    fn end(&self) -> u64 {
        self.first_trace + self.samples.len() as u64
    }

    fn get(&self, start: u64, end: u64) -> Option<&[f64]> {
        let inside = self.first_trace <= start && end <= self.end();
        inside.then(|| &self.samples[(start - self.first_trace) as usize..(end - self.first_trace) as usize])
    }
}

/// A line of one channel.
#[derive(Clone, Debug)]
pub struct Line {
    /// Number on the grid.
    pub index: u64,
    /// First trace.
    pub first_trace: u64,
    /// Behind the last trace.
    pub end_trace: u64,
    /// Not all of its traces are in one run, or windows were left out.
    pub partial: bool,
    /// Mean power spectrum, bins `0 … nfft/2`.
    pub power: Vec<f64>,
}

/// The lines of one channel that have ended, from the runs of one epoch in order.
///
/// A line is the mean over half-overlapping windows, the last one ending at the line's last trace, going back until
/// together they see every trace of the line. Windows that do not lie in one run are left out; a line without any
/// whole window is none.
pub fn lines(spec: &PlanSpec, runs: &[Run]) -> Vec<Line> {
    let grid = LineGrid::new(spec.period_traces);
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Vec::new() };
    let indices = grid.line_at(first.first_trace)..grid.line_at(last.end());
    indices.filter_map(|m| line(spec, &grid, m, runs)).collect()
}

fn line(spec: &PlanSpec, grid: &LineGrid, index: u64, runs: &[Run]) -> Option<Line> {
    let (start, end) = (grid.start(index), grid.start(index + 1));
    let nfft = spec.nfft as u64;
    let (mut spectra, mut planned, mut window_end) = (Vec::new(), 0, end);
    loop {
        planned += 1;
        let window = window_end.checked_sub(nfft).and_then(|s| runs.iter().find_map(|run| run.get(s, window_end)));
        spectra.extend(window.map(|samples| power_spectrum(samples, spec.window)));
        if window_end <= start + nfft {
            break;
        }
        window_end -= nfft / 2;
    }
    if spectra.is_empty() {
        return None;
    }
    let whole = runs.iter().any(|run| run.get(start, end).is_some());
    let mean = |k: usize| spectra.iter().map(|s| s[k]).sum::<f64>() / spectra.len() as f64;
    Some(Line {
        index,
        first_trace: start,
        end_trace: end,
        partial: !whole || spectra.len() < planned,
        power: (0..=spec.nfft / 2).map(mean).collect(),
    })
}

/// What comes out of a power spectrum. Decibels have a floor: power of at least `f32::MIN_POSITIVE`.
pub fn output(output: &Output, power: &[f64]) -> Vec<f64> {
    match output {
        Output::BandEnergy(bands) => bands.iter().map(|bins| power[bins.clone()].iter().sum()).collect(),
        Output::Power(bins) => power[bins.clone()].to_vec(),
        Output::Amplitude(bins) => power[bins.clone()].iter().map(|p| p.sqrt()).collect(),
        Output::Decibel { bins, reference } => {
            let floor = f64::from(f32::MIN_POSITIVE);
            power[bins.clone()].iter().map(|p| 10.0 * (p.max(floor) / reference).log10()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_has_half_its_squared_amplitude_in_its_main_lobe_whatever_the_window() {
        let (nfft, k, amplitude) = (128, 17, 3.0);
        let sine = |n: usize| amplitude * (TAU * (k * n) as f64 / nfft as f64 + 0.4).sin();
        let samples: Vec<f64> = (0..nfft).map(sine).collect();
        for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris, Window::Rectangular] {
            let power = power_spectrum(&samples, window);
            let half = window.half_lobe();
            let lobe: f64 = power[k - half..=k + half].iter().sum();
            let all: f64 = power.iter().sum();
            assert!((lobe - amplitude * amplitude / 2.0).abs() < 1e-12, "{window:?}: {lobe}");
            assert!((all - lobe).abs() < 1e-12, "{window:?}: nothing beside the main lobe");
        }
    }

    #[test]
    fn a_constant_and_the_highest_frequency_are_not_doubled() {
        let constant = power_spectrum(&[2.0; 64], Window::Rectangular);
        assert!((constant[0] - 4.0).abs() < 1e-12);
        let alternating: Vec<f64> = (0..64).map(|n| if n % 2 == 0 { 2.0 } else { -2.0 }).collect();
        assert!((power_spectrum(&alternating, Window::Rectangular)[32] - 4.0).abs() < 1e-12);
    }
}
