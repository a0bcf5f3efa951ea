//! What captures hold that are to be played, and views that fit it.

use super::ViewConfig;
use crate::units::Rational;

/// What captures hold that are to be played: what views are held to. Of several acquisitions, what the best of them has.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The files, for messages.
    pub name: String,
    /// Traces a second.
    pub prr: Rational,
    /// Number of channels.
    pub channels: usize,
    /// The longest acquisition, in seconds.
    pub longest_s: f64,
}

impl ViewConfig {
    /// The built-in views, with no frequency above what this rate holds, and no more lines than traces.
    pub fn fitting(channels: usize, prr: Rational) -> Vec<Self> {
        let (mut views, nyquist) = (Self::standing(channels), prr.to_f64() / 2.0);
        for view in &mut views {
            for (low, high) in &mut view.bands_hz {
                *high = high.min(nyquist);
                *low = if *low < *high / 2.0 { *low } else { 0.0 };
            }
            if view.line_period_s.to_f64() < prr.recip().to_f64() {
                view.line_period_s = prr.recip();
            }
        }
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_views_fit_a_slow_interrogator() {
        for hz in [0.5, 8.0, 100.0, 2000.0] {
            let prr = Rational::from_f64(hz).unwrap();
            for view in ViewConfig::fitting(51, prr) {
                assert!(view.line_period_s.to_f64() * hz >= 1.0 - 1e-9, "{hz} Hz: {view:?}");
                assert!(view.bands_hz.iter().all(|(low, high)| low < high && *high <= hz / 2.0), "{hz} Hz: {view:?}");
            }
        }
        assert_eq!(ViewConfig::fitting(700, Rational::new(2000, 1).unwrap()), ViewConfig::standing(700));
    }
}
