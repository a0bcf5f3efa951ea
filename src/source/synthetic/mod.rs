//! The synthetic interrogator: a seeded scene, written into the hardware ring in real time.
//!
//! [`Scene`] is what a file says (`SCENES.md` explains it), [`Generator`] makes its traces: strain in nanostrain along
//! the fiber → differential optical phase in radians → counts `[trace][channel]`.
//! Runs in a process of its own (`fiberd simulate`), so that demo and tests cross a real process border.

mod builtin;
mod generator;
mod math;
mod noise;
mod optics;
mod parse;
mod scene;
mod schedule;
mod simulate;
mod source;
mod sources;
mod validate;

pub use generator::Generator;
pub use scene::{
    Fiber, Format, InterrogatorSpec, Kind, Lost, Noise, OutputQuantity, PHOTO_ELASTIC, Pulled, Scene, SceneError,
    Source,
};
pub use simulate::{SimulateError, SimulateOptions, SimulateProgress, ring_spec, simulate};
pub use source::{SCENE_BEGINS_UTC_NS, SceneSource};
