//! The other end: a queue of our own that takes every frame of an exchange, so that a benchmark's frames are really
//! routed and really read. Lives on tokio; the queue goes with the connection, the exchanges are deleted by
//! [`close`](Subscriber::close).

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::link::{Fault, Link};
use super::message::short;
use crate::config::BrokerConfig;

/// One connection with one queue.
pub struct Subscriber {
    link: Link,
    consumer: Consumer,
    exchanges: [String; 2],
}

/// A frame that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Length of the message.
    pub bytes: usize,
    /// UTC behind its last trace, nanoseconds since the UNIX epoch; `None` for a message that does not say.
    pub utc_end_ns: Option<i64>,
}

impl Subscriber {
    /// Connects, declares both exchanges and a queue of its own, and binds it to every frame.
    ///
    /// # Errors
    /// Why there is no such connection, in words without credentials.
    pub async fn open(config: &BrokerConfig) -> Result<Self, String> {
        let link = Link::open(config, "bench").await.map_err(|fault| fault.to_string())?;
        let consumer = consume(&link, config).await.map_err(|error| Fault::from(error).to_string())?;
        let exchanges = [config.frames_exchange.clone(), config.status_exchange.clone()];
        Ok(Self { link, consumer, exchanges })
    }

    /// The next frame; `None` when the connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arrival> {
        let delivery = self.consumer.next().await?.ok()?;
        let headers = delivery.properties.headers().as_ref();
        let utc_end_ns = headers.and_then(|table| match table.inner().get("utc_end_ns") {
            Some(&AMQPValue::LongLongInt(ns)) => Some(ns),
            _ => None,
        });
        Some(Arrival { bytes: delivery.data.len(), utc_end_ns })
    }

    /// Deletes both exchanges and says farewell. What cannot be deleted stays: the connection may be gone.
    pub async fn close(self) {
        for name in &self.exchanges {
            let _ = self.link.channel.exchange_delete(short(name), ExchangeDeleteOptions::default()).await;
        }
        self.link.close().await;
    }
}

async fn consume(link: &Link, config: &BrokerConfig) -> Result<Consumer, lapin::Error> {
    let channel = &link.channel;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?;
    let (name, exchange) = (queue.name().clone(), short(&config.frames_exchange));
    let bind = QueueBindOptions::default();
    channel.queue_bind(name.clone(), exchange, "#".into(), bind, FieldTable::default()).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name, "".into(), options, FieldTable::default()).await
}
