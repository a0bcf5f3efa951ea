//! Scenes that need no file: the demonstration, noise alone, and a strain that is known exactly.

use std::ops::Range;

use super::scene::{Fiber, Format, InterrogatorSpec, Kind, Noise, Scene, Source};

impl Scene {
    /// Noise alone: the cheapest scene there is, for load tests.
    pub fn noise_only(channels: usize, prr_hz: f64) -> Self {
        Self {
            fiber: Fiber { channels, ..Fiber::default() },
            interrogator: InterrogatorSpec { prr_hz, ..InterrogatorSpec::default() },
            source: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// A scene of exactly known strain: ε(t) = `strain_nstrain` · sin(2π `frequency_hz` t) nanostrain, t = trace / PRR,
    /// on `channel_range` (from 0, half-open), nothing elsewhere; no noise, no fading, no attenuation, dx = 1 m,
    /// gauge length 10 m.
    ///
    /// With K = [`rad_per_nstrain`](Self::rad_per_nstrain), the samples are exactly
    /// - phase: `round(K · ε(t) / count_rad)` counts (`i16`), the unrounded value (`f32`);
    /// - strain rate: the first difference of ε in time times the PRR; the row before trace 0 counts as ε(−1/PRR);
    /// - `iq16`: a field of constant amplitude whose phase Φ\[c\] sums the strain of channels `0..=c`, so that
    ///   Φ\[c\] − Φ\[c − 10\] (unwrapped in time) = K · ε(t) plus a constant for each channel whose ten channels
    ///   `c − 9 ..= c` all lie in `channel_range`.
    pub fn tone(
        channels: usize,
        prr_hz: f64,
        channel_range: Range<usize>,
        frequency_hz: f64,
        strain_nstrain: f64,
        sample_format: Format,
    ) -> Self {
        let tone = Source {
            frequency_hz: Some(frequency_hz),
            strength_nstrain: Some(strain_nstrain),
            channel_min: Some(channel_range.start + 1),
            channel_max: Some(channel_range.end),
            ..Source::new(Kind::Tone)
        };
        Self {
            fiber: Fiber {
                channels,
                dx_m: 1.0,
                gauge_length_m: 10.0,
                attenuation_db_per_km: 0.0,
                fading: false,
                ..Fiber::default()
            },
            interrogator: InterrogatorSpec { prr_hz, sample_format, ..InterrogatorSpec::default() },
            noise: Noise::SILENT,
            source: Some(vec![tone]),
            ..Self::default()
        }
    }

    /// The sources, the demonstration's own when the scene names none.
    pub fn sources(&self) -> Vec<Source> {
        self.source.clone().unwrap_or_else(|| self.demonstration())
    }

    /// Places and times are shares of the fiber, so that the demonstration fits any length.
    fn demonstration(&self) -> Vec<Source> {
        let length = self.fiber.dx_m * self.fiber.channels as f64;
        let at = |share: f64| Some(self.fiber.start_m + share * length);
        vec![
            Source {
                place_m: at(0.15),
                duration_s: Some(280.0),
                repeat_every_s: Some(300.0),
                ..Source::new(Kind::Walker)
            },
            Source { start_s: 4.0, repeat_every_s: Some(length / 15.0 + 20.0), ..Source::new(Kind::Vehicle) },
            Source {
                start_s: 8.0,
                place_m: at(0.62),
                duration_s: Some(30.0),
                repeat_every_s: Some(60.0),
                ..Source::new(Kind::Digging)
            },
            Source { place_m: at(0.85), ..Source::new(Kind::Pump) },
        ]
    }
}
