//! First-order high-pass over time, one state a channel: `y[t] = b · (x[t] − x[t−1]) + a · y[t−1]`.
//!
//! Bilinear transform of `s / (s + ω)`: −3 dB exactly at the corner, `b = 1 / (1 + K)`, `a = (1 − K) / (1 + K)`,
//! `K = tan(π · corner / PRR)`; the same numbers as `scipy.signal.butter(1, corner, "highpass", fs=prr)`. It starts at
//! rest on its first trace: that one gives zero, so a standing offset makes no step. All is f64: at a corner of a
//! hundredth of a hertz it remembers 10⁵ traces, and f32 would show every one of their roundings.

/// Magnitudes below this become zero: their power could not be told from nothing, and they would slow the machine down
/// when they decay into denormal numbers.
pub(super) const TINY: f64 = 1e-25;

pub(super) struct HighPass {
    a: f64,
    b: f64,
    before: Vec<f64>,
    state: Vec<f64>,
    primed: bool,
}

/// `(a, b)` of the filter.
pub(super) fn coefficients(corner_hz: f64, prr_hz: f64) -> (f64, f64) {
    let k = (std::f64::consts::PI * corner_hz / prr_hz).tan();
    ((1.0 - k) / (1.0 + k), 1.0 / (1.0 + k))
}

impl HighPass {
    pub(super) fn new(corner_hz: f64, prr_hz: f64, channels: usize) -> Self {
        let (a, b) = coefficients(corner_hz, prr_hz);
        Self { a, b, before: vec![0.0; channels], state: vec![0.0; channels], primed: false }
    }

    pub(super) fn reset(&mut self) {
        self.primed = false;
    }

    /// One trace in place.
    #[allow(clippy::inline_always, reason = "inlined into the entry that is compiled for the best instruction set")]
    #[inline(always)]
    pub(super) fn run(&mut self, row: &mut [f64]) {
        if !self.primed {
            self.before.copy_from_slice(row);
            self.state.fill(0.0);
            self.primed = true;
        }
        let (a, b) = (self.a, self.b);
        for ((x, before), state) in row.iter_mut().zip(&mut self.before).zip(&mut self.state) {
            let y = b * (*x - *before) + a * *state;
            let y = if y.abs() < TINY { 0.0 } else { y };
            *before = *x;
            *state = y;
            *x = y;
        }
    }
}
