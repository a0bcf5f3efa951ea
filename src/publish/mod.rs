//! Frames and status to where they are wanted. Runs on tokio (`das-io-N`), behind the fence.
//!
//! A [`FrameSink`] takes frames from the fence's [`Outlet`] until it closes: [`amqp`] publishes them to RabbitMQ with
//! confirms, [`memory`] encodes and keeps the last few for tests and benchmarks, [`drain`] forgets them. A spool on
//! disk will stand in front of the publisher of [`amqp`]: durable messages enter it before they are published and leave
//! it on their confirm, with the same message id; its place is described in `amqp/outbox.rs`. No sink ever makes the
//! pipeline wait: what is not taken in time is dropped at the fence, oldest first, and counted there.

pub mod amqp;
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use crate::config::BrokerConfig;
use crate::egress::Outlet;
use crate::jobs::Jobs;
use crate::status::{PublishCounters, Status};

/// Where frames go.
pub trait FrameSink: Send {
    /// Takes frames until the fence is closed and empty, then finishes what it has begun.
    fn run(self, outlet: Outlet) -> impl Future<Output = ()> + Send;
}

/// Publishes frames and status to the broker until the pipeline has closed the fence, then waits for outstanding
/// confirms for at most `grace` (not at all when there never was a connection) and closes the connection within another 2 s. Absent brokers, faults and wrong
/// configurations are states, told in `status` and the log; nothing makes this return early.
pub async fn run(config: BrokerConfig, status: Arc<Status>, outlet: Outlet, grace: Duration) {
    amqp::Amqp { config, status, grace }.run(outlet).await;
}

/// Hears commands for jobs from the bus and publishes the frames of jobs, live only, each on a connection of its own, until
/// `stop` comes. A command that names no job is for `default_job`.
pub async fn serve_jobs<S: Future<Output = ()> + Send>(
    config: BrokerConfig,
    default_job: Option<String>,
    status: Arc<Status>,
    jobs: Jobs,
    stop: impl Fn() -> S,
) {
    amqp::serve_jobs(&config, default_job, status, jobs, stop).await;
}

/// For a daemon without a broker: forgets every frame, so that the fence is not full of frames that nobody wants.
pub async fn drain(outlet: Outlet, counters: Arc<PublishCounters>) {
    while outlet.take().await.is_some() {
        counters.frames_without_broker.add(1);
    }
}
