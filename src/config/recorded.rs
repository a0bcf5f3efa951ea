//! What captures hold that are to be played, and views that fit it.

use super::ViewConfig;
use crate::acquisition::Band;
use crate::frame::View;
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
    /// The band, where all traces are lines of band energy: these have no other, and a view no line of its own.
    pub band: Option<Band>,
}

impl ViewConfig {
    /// The built-in views, with no frequency above what this rate holds, and no more lines than traces. Of lines of band
    /// energy the waterfall alone, in their band.
    pub fn fitting(channels: usize, prr: Rational, band: Option<Band>) -> Vec<Self> {
        let (mut views, nyquist) = (Self::standing(channels), prr.to_f64() / 2.0);
        if let Some(band) = band {
            views.retain(|view| view.view == View::Waterfall);
            let own =
                |view: Self| Self { bands_hz: vec![(band.low_hz, band.high_hz)], line_period_s: prr.recip(), ..view };
            return views.into_iter().map(own).collect();
        }
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
            for view in ViewConfig::fitting(51, prr, None) {
                assert!(view.line_period_s.to_f64() * hz >= 1.0 - 1e-9, "{hz} Hz: {view:?}");
                assert!(view.bands_hz.iter().all(|(low, high)| low < high && *high <= hz / 2.0), "{hz} Hz: {view:?}");
            }
        }
        assert_eq!(ViewConfig::fitting(700, Rational::new(2000, 1).unwrap(), None), ViewConfig::standing(700));
    }

    #[test]
    fn of_lines_of_band_energy_the_waterfall_is_built_in() {
        let band = Band { low_hz: -0.5, high_hz: 1.5 };
        let views = ViewConfig::fitting(700, Rational::new(1, 5).unwrap(), Some(band));
        let [only] = views.as_slice() else { panic!("{views:?}") };
        assert_eq!((only.view, only.line_period_s), (View::Waterfall, Rational::new(5, 1).unwrap()));
        assert_eq!(only.bands_hz, [(-0.5, 1.5)]);
    }
}
