//! Answers to commands, to wherever the asker said, on a channel that may die of it: an asker can name an address that the
//! broker resents.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};
use tokio::time::timeout;
use tracing::debug;

use super::link::Fault;
use super::message::{int, text};

/// For one answer; nobody waits much longer.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether an answer can go there. RabbitMQ ends the connection of whoever publishes to a direct reply-to that it did not
/// make up itself: these are the name of a process in its own encoding, and a key.
fn is_address(to: &str) -> bool {
    let Some(rest) = to.strip_prefix("amq.rabbitmq.reply-to") else { return !to.is_empty() };
    let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let parts: Vec<_> = rest.split('.').collect();
    matches!(parts.as_slice(), ["", process, key]
        if process.len() >= 16 && process.starts_with("g2") && !key.is_empty() && is_base64(process) && is_base64(key))
}

/// See the module.
#[derive(Default)]
pub(super) struct Replies {
    channel: Option<Channel>,
}

impl Replies {
    /// Sends an answer, or lets it be: the command is done or refused all the same. `status` is what the HTTP API would
    /// have in its status line.
    pub(super) async fn send(
        &mut self,
        connection: &Connection,
        to: &ShortString,
        asked: &BasicProperties,
        site: &str,
        status: u16,
        body: &[u8],
    ) {
        if !is_address(to.as_str()) || connection.status().blocked() {
            return;
        }
        let mut headers = FieldTable::default();
        headers.insert("site".into(), text(site));
        headers.insert("status".into(), int(u64::from(status)));
        let kind = if status < 300 { "command.done" } else { "command.refused" };
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(kind.into())
            .with_delivery_mode(1)
            .with_headers(headers);
        if let Some(id) = asked.correlation_id() {
            properties = properties.with_correlation_id(id.clone());
        }
        let sent = match timeout(LIMIT, self.publish(connection, to.clone(), body, properties)).await {
            Ok(sent) => sent,
            Err(_) => Err(Fault::Away("not within 2 s".into())),
        };
        if let Err(fault) = sent {
            debug!(%fault, "an answer to a command was not sent");
            self.channel = None;
        }
    }

    async fn publish(
        &mut self,
        connection: &Connection,
        to: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Fault> {
        let channel = match self.channel.take() {
            Some(open) if open.status().connected() => open,
            _ => connection.create_channel().await?,
        };
        channel.basic_publish("".into(), to, BasicPublishOptions::default(), body, properties).await?;
        self.channel = Some(channel);
        Ok(())
    }
}
