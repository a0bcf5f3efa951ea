//! fiberd: from the glass of a distributed acoustic sensing interrogator to the message broker.

pub mod acquisition;
pub mod api;
pub mod app;
pub mod block;
pub mod capture;
pub mod cli;
pub mod config;
pub mod dsp;
pub mod egress;
pub mod frame;
pub mod metrics;
pub mod notify;
pub mod pipeline;
pub mod publish;
pub mod record;
pub mod source;
pub mod status;
pub mod telemetry;
pub mod terminal;
pub mod units;
pub mod wire;
