//! Arithmetic on slices: no threads, no I/O, no clock. [`naive`] is the public definition that every kernel answers to.
//!
//! In the order in which a sample meets them: [`rows`] (raw and conditioned traces as they lie in memory), [`condition`]
//! (unpack, demodulate, strain rate, differences, then [`common_mode`](mod@common_mode) and high-pass; units and factors
//! in [`calibration`]), [`Traces`] and [`Store`] (the newest
//! traces), [`grid`] (which traces make which line), [`lane`] (window
//! and spectrum, mean over windows) by a [`plan`] (what comes out, in [`bins`] of a [`window`]); the transforms themselves
//! are in `lanes`, for channels side by side, and `along`, for a channel alone.

mod along;
pub mod bins;
pub mod calibration;
pub mod common_mode;
pub mod condition;
mod decibel;
mod demodulate;
pub mod grid;
mod high_pass;
pub mod lane;
mod lanes;
pub mod naive;
pub mod plan;
pub mod rows;
mod store;
mod traces;
pub mod window;

pub use bins::{bin_hz, bins_in_range};
pub use calibration::{ConditionError, ConditionSpec};
pub use common_mode::{CommonMode, common_mode};
pub use condition::Conditioner;
pub use grid::{LineGrid, traces_seen};
pub use lane::{Clock, Lane, LaneOutput, Line, Spent, Worker};
pub use plan::{Input, Output, Path, Plan, PlanError, PlanSpec};
pub use rows::{Raw, Rows, Samples};
pub use store::Store;
pub use traces::{Cells, Energies, History, Spare, Traces};
pub use window::Window;

/// Name of the instruction set that the kernels use on this machine, and how many channels they transform together.
pub fn instruction_set() -> (&'static str, usize) {
    (lanes::instruction_set(), lanes::lanes())
}
