//! What is known of the fiber when a client asks for a job.

use crate::acquisition::{DarkReason, Phase};
use crate::config::{Config, ViewConfig};
use crate::frame::View;
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
    /// Channels of the fiber, or the configured number while there is none.
    pub channels: usize,
    /// What a waterfall of the control API looks like: the first standing one, or the built-in one without any.
    pub waterfall: ViewConfig,
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
        let standing = config.views.iter().find(|view| view.view == View::Waterfall && !view.bands_hz.is_empty());
        Self {
            light,
            channels: phase.acquisition().map_or(config.fiber.channels, |acquisition| acquisition.channels),
            waterfall: standing.cloned().unwrap_or_else(ViewConfig::waterfall),
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
