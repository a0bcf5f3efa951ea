//! Commands from the bus for jobs that run.
//!
//! [`command`] reads one, [`execute`] does it: other channels by [`region`], colours by [`picture`], another input by
//! [`input`]. Knows neither broker nor messages.

pub mod command;
pub mod execute;
pub mod input;
pub mod picture;
pub mod region;
