//! How a job wants to be drawn, for whoever makes pictures of its lines. Kept with the job and shown; no line changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Colours that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colormap {
    /// From blue over green to yellow.
    Parula,
    /// From black to white.
    Grayscale,
    /// From blue over green and yellow to red.
    Jet,
    /// From violet over green to yellow, even to the eye.
    Viridis,
    /// A rainbow that is even to the eye.
    Turbo,
    /// From black over red to yellow, even to the eye.
    Inferno,
}

impl Colormap {
    /// Every map.
    pub const ALL: [Self; 6] = [Self::Parula, Self::Grayscale, Self::Jet, Self::Viridis, Self::Turbo, Self::Inferno];

    /// The word of commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parula => "parula",
            Self::Grayscale => "grayscale",
            Self::Jet => "jet",
            Self::Viridis => "viridis",
            Self::Turbo => "turbo",
            Self::Inferno => "inferno",
        }
    }

    /// The map of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|map| map.name() == name)
    }
}

/// Values that get the first and the last colour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Caxis {
    /// The first.
    pub min: f64,
    /// The last, greater.
    pub max: f64,
}

/// What commands have said about the pictures of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Picture {
    /// Colours, when anybody has said which.
    pub colormap: Option<Colormap>,
    /// Limits of the colours, when anybody has said which.
    pub caxis: Option<Caxis>,
}
