//! Window functions, periodic form: `w[n] = Σ (−1)^j a_j cos(2π j n / nfft)`, so that `w[nfft]` would equal `w[0]`.
//!
//! Periodic, not symmetric, windows are the ones whose spectrum falls exactly on the bins: a Hann window then leaks into
//! the two neighbouring bins and no further, and half-overlapping Hann windows add up to one.

use std::f64::consts::TAU;

/// Window functions, periodic form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// Hann.
    #[default]
    Hann,
    /// Hamming (0.54, 0.46).
    Hamming,
    /// Blackman (0.42, 0.5, 0.08).
    Blackman,
    /// Blackman-Harris, four terms, −92 dB.
    BlackmanHarris,
    /// None: all ones.
    Rectangular,
}

impl Window {
    /// The cosine terms `a_j` of the definition.
    pub const fn terms(self) -> &'static [f64] {
        match self {
            Self::Hann => &[0.5, 0.5],
            Self::Hamming => &[0.54, 0.46],
            Self::Blackman => &[0.42, 0.5, 0.08],
            // Harris 1978, minimum four-term.
            Self::BlackmanHarris => &[0.358_75, 0.488_29, 0.141_28, 0.011_68],
            Self::Rectangular => &[1.0],
        }
    }

    /// Half width of the main lobe in bins: a sine at a bin centre shows in `k − half_lobe ..= k + half_lobe` only.
    pub const fn half_lobe(self) -> usize {
        self.terms().len() - 1
    }

    /// `w[n]` of `nfft`.
    pub fn coefficient(self, n: usize, nfft: usize) -> f64 {
        let angle = TAU * n as f64 / nfft as f64;
        let terms = self.terms().iter().enumerate();
        terms.map(|(j, a)| if j % 2 == 0 { a * (angle * j as f64).cos() } else { -a * (angle * j as f64).cos() }).sum()
    }

    /// The spectrum of the window itself, `Σ w[n]·exp(−2πi k n / nfft)`, in bins 0 … [`half_lobe`](Self::half_lobe): it is
    /// real, and zero elsewhere (below the middle).
    pub fn lines(self, nfft: usize) -> Vec<f64> {
        let line = |(j, a): (usize, &f64)| match j {
            0 => a * nfft as f64,
            _ if j % 2 == 0 => a * nfft as f64 / 2.0,
            _ => -a * nfft as f64 / 2.0,
        };
        self.terms().iter().enumerate().map(line).collect()
    }

    /// All `nfft` coefficients.
    pub fn table(self, nfft: usize) -> Vec<f64> {
        (0..nfft).map(|n| self.coefficient(n, nfft)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_overlapping_hann_windows_add_up_to_one() {
        let w = Window::Hann.table(64);
        assert!(w[0].abs() < 1e-15);
        for n in 0..32 {
            assert!((w[n] + w[n + 32] - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn every_window_peaks_in_the_middle_and_is_symmetric_about_it() {
        for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::BlackmanHarris, Window::Rectangular] {
            let w = window.table(128);
            assert!((w[64] - 1.0).abs() < 1e-12, "{window:?}");
            for n in 1..64 {
                assert!((w[n] - w[128 - n]).abs() < 1e-12, "{window:?} {n}");
                assert!(w[n] > -1e-12 && w[n] <= w[64], "{window:?} {n}");
            }
        }
    }
}
