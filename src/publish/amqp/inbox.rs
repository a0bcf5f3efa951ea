//! Where commands come in: the command exchange, our queue on it with its bindings, and the dead-letter exchange.

use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ExchangeKind};

use super::link::Fault;
use super::message::{short, text};
use crate::config::BrokerConfig;
use crate::jobs::commands::command::KEYS;

/// Messages that are here and not settled: few, because nothing else bounds their bytes.
const PREFETCH: u16 = 8;

/// A channel with everything declared on it.
pub(super) struct Inbox {
    pub(super) channel: Channel,
    pub(super) queue: ShortString,
}

impl Inbox {
    /// Messages from now on.
    pub(super) async fn consume(&self) -> Result<Consumer, Fault> {
        let consumer =
            self.channel.basic_consume(self.queue.clone(), "".into(), BasicConsumeOptions::default(), none()).await?;
        Ok(consumer)
    }
}

/// Declares and binds everything.
pub(super) async fn declare(connection: &Connection, config: &BrokerConfig) -> Result<Inbox, Fault> {
    let exchange = short(&config.commands_exchange);
    let mut arguments = FieldTable::default();
    if let Some(name) = &config.dead_letter_exchange {
        dead_letters(connection, name).await?;
        arguments.insert("x-dead-letter-exchange".into(), text(name));
    }
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, durable, none()).await;
    declared.map_err(Fault::of_declaration)?;
    let (name, options) = if let Some(name) = &config.commands_queue {
        (short(name), QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() })
    } else {
        ("".into(), QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() })
    };
    let queue = channel.queue_declare(name, options, arguments).await.map_err(Fault::of_declaration)?.name().clone();
    for key in KEYS {
        // `#` is also nothing: the plain key is among them.
        let key = short(&format!("{key}.#"));
        channel.queue_bind(queue.clone(), exchange.clone(), key, QueueBindOptions::default(), none()).await?;
    }
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    Ok(Inbox { channel, queue })
}

/// The dead-letter exchange, of whatever type it is; a topic exchange when there is none.
async fn dead_letters(connection: &Connection, name: &str) -> Result<(), Fault> {
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let looking = connection.create_channel().await?;
    if looking.exchange_declare(short(name), ExchangeKind::Topic, passive, none()).await.is_ok() {
        return close(&looking).await;
    }
    let making = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    making.exchange_declare(short(name), ExchangeKind::Topic, durable, none()).await.map_err(Fault::of_declaration)?;
    close(&making).await
}

async fn close(channel: &Channel) -> Result<(), Fault> {
    Ok(channel.close(200, "done".into()).await?)
}

fn none() -> FieldTable {
    FieldTable::default()
}
