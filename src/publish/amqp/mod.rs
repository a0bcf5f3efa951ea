//! RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use super::FrameSink;
use crate::config::BrokerConfig;
use crate::egress::Outlet;
use crate::status::Status;

/// The publisher for one broker.
#[derive(Debug)]
pub struct Amqp {
    /// Where and as whom.
    pub config: BrokerConfig,
    /// What is told and counted.
    pub status: Arc<Status>,
    /// How long outstanding confirms are waited for at the end.
    pub grace: Duration,
}

impl FrameSink for Amqp {
    async fn run(self, outlet: Outlet) {
        // The connection follows in the next change; until then frames go nowhere.
        while outlet.take().await.is_some() {}
    }
}
