//! What is known of the fiber when a client asks for a job.

use std::sync::Arc;

use crate::acquisition::{Acquisition, DarkReason, Phase};
use crate::config::{Config, ViewConfig};
use crate::dsp::Conditioner;
use crate::frame::View;
use crate::pipeline::line_period_of_energies;
use crate::units::Rational;

/// Whether there is an acquisition to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    /// The daemon has only just begun to look.
    Starting,
    /// Waiting for fiber.
    Waiting,
    /// There is one, with this PRR in Hz.
    Acquiring(Rational),
    /// There will be none any more.
    Draining,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether there is an acquisition.
    pub light: Light,
    /// Channels that views can show; while there is no fiber, those of the configured one.
    pub channels: usize,
    /// What a waterfall of the control API looks like: the first standing one, or the built-in one without any; of lines
    /// of band energy their own band.
    pub waterfall: ViewConfig,
    /// Whether there are lines of band energy, and no samples.
    pub lines: bool,
}

impl Facts {
    /// In `phase`, with what `config` says.
    pub fn of(phase: &Phase, config: &Config) -> Self {
        let light = match phase {
            Phase::WaitingForFiber(DarkReason::Starting) => Light::Starting,
            Phase::WaitingForFiber(_) => Light::Waiting,
            Phase::Acquiring(acquisition) | Phase::Stalled(acquisition) => Light::Acquiring(acquisition.prr),
            Phase::Draining => Light::Draining,
        };
        let acquisition = phase.acquisition().map(Arc::as_ref);
        let standing = config.views.iter().find(|view| view.view == View::Waterfall && !view.bands_hz.is_empty());
        Self {
            light,
            channels: channels(config, acquisition),
            waterfall: of_lines(standing.cloned().unwrap_or_else(ViewConfig::waterfall), acquisition),
            lines: acquisition.is_some_and(|acquisition| acquisition.band.is_some()),
        }
    }

    /// Hz, when it is known.
    pub const fn prr(&self) -> Option<Rational> {
        match self.light {
            Light::Acquiring(prr) => Some(prr),
            _ => None,
        }
    }
}

/// A waterfall as lines of band energy have it; of samples, as it is.
fn of_lines(waterfall: ViewConfig, acquisition: Option<&Acquisition>) -> ViewConfig {
    let Some((acquisition, band)) = acquisition.and_then(|acquisition| Some((acquisition, acquisition.band?))) else {
        return waterfall;
    };
    ViewConfig {
        // A window is one trace.
        nfft: 1,
        line_period_s: line_period_of_energies(waterfall.line_period_s, acquisition.prr),
        bands_hz: vec![(band.low_hz, band.high_hz)],
        ..waterfall
    }
}

/// Channels that views can show of the acquisition at hand, or of the configured fiber while there is none.
pub fn channels(config: &Config, acquisition: Option<&Acquisition>) -> usize {
    match acquisition {
        Some(acquisition) => shown_channels(config, acquisition),
        None => config.fiber.channels.saturating_sub(config.processing.condition.spatial_difference_channels).max(1),
    }
}

/// Channels that views can show: a spatial difference has fewer than the interrogator. Those of the interrogator when
/// nothing can be shown.
pub fn shown_channels(config: &Config, acquisition: &Acquisition) -> usize {
    Conditioner::output_channels(&config.processing.condition, acquisition).unwrap_or(acquisition.channels)
}

/// The acquisition as views show it; as it comes when nothing can be shown.
pub fn shown(config: &Config, acquisition: &Acquisition) -> Acquisition {
    let shown = Conditioner::output_acquisition(&config.processing.condition, acquisition);
    shown.unwrap_or_else(|_| acquisition.clone())
}
