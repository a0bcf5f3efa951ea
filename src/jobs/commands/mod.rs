//! Commands from the bus for jobs that run.
//!
//! [`command`] reads one, [`obey`] does it: other channels by [`region`], colours by [`picture`], another input by
//! [`input`]. Knows neither broker nor messages.

pub mod command;
pub mod input;
pub mod obey;
pub mod picture;
pub mod region;
