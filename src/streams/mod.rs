//! Endpoints that give out the lines of jobs as they come: gRPC, a port for each job, and WebSocket, a route of the control
//! API. Runs on tokio (`das-io-N`).
//!
//! They read [`feed`](crate::feed)s and know nothing of jobs: who opens a port hands it the feeds. [`access`] and [`tls`]
//! stand in front of them, and of the control API as well, so that there is one check for all.

pub mod access;
pub mod grpc;
mod shares;
pub mod tls;
pub mod websocket;
