//! Answers to commands, to wherever the asker said, on a channel that may die of it: an asker can name an address that the
//! broker resents. An answer is sent once and not waited for: the command is done or refused all the same. One that nobody
//! got, as far as is known, is counted.

use std::future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::Connection;
use lapin::types::ShortString;
use tokio::time::timeout;
use tracing::debug;

use super::confirm_channel::{ConfirmChannel, now};
use super::link::{Fault, confirming};
use super::message::{DIRECT, Message};
use super::window::{Outcome, Owner, Window};
use crate::status::CommandCounters;

/// Until one answer is written; nobody waits much longer.
const LIMIT: Duration = Duration::from_secs(2);
/// Answers that are not confirmed. A queue that confirms late does not hold up the answers to others.
const WINDOW: usize = 256;

/// Whether an answer can go there. RabbitMQ ends the connection of whoever publishes to a direct reply-to that it did not
/// make up itself: these are the name of a process in Erlang's encoding, of which there is an old and a new one, and a key.
fn is_address(to: &str) -> bool {
    let Some(rest) = to.strip_prefix(DIRECT) else { return !to.is_empty() };
    let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let is_process = |text: &str| text.len() >= 16 && (text.starts_with("g2d") || text.starts_with("g1h"));
    let parts: Vec<_> = rest.split('.').collect();
    matches!(parts.as_slice(), ["", process, key]
        if is_process(process) && !key.is_empty() && is_base64(process) && is_base64(key))
}

/// See the module.
pub(super) struct Replies {
    channel: Option<ConfirmChannel>,
    window: Window<Unsent>,
    /// The answer that is to be written as soon as there is a channel.
    waiting: Option<Message>,
}

/// Counts the answers that nobody got.
struct Unsent(Arc<CommandCounters>);

impl Owner for Unsent {
    type Entry = ();

    fn id((): &()) -> &'static str {
        ""
    }

    fn settle(&mut self, (): (), outcome: Outcome, _: Instant) {
        if outcome != Outcome::Taken {
            self.count(&format!("{outcome:?}"));
        }
    }
}

impl Unsent {
    fn count(&self, why: &str) {
        debug!(why, "an answer to a command was not sent");
        self.0.replies_unsent.add(1);
    }
}

impl Replies {
    /// None so far.
    pub(super) fn new(counters: Arc<CommandCounters>) -> Self {
        Self { channel: None, window: Window::new(Unsent(counters), WINDOW, Duration::MAX), waiting: None }
    }

    /// Writes an answer, or lets it be.
    pub(super) async fn send(&mut self, connection: &Connection, message: Message) {
        if !is_address(message.key.as_str()) {
            return self.window.owner.count("there is no such address");
        }
        if connection.status().blocked() || !self.window.has_room(now()) {
            return self.window.owner.count("the broker accepts nothing");
        }
        self.waiting = Some(message);
        let late = |_| Fault::Away("not written within 2 s".into());
        if let Err(fault) = timeout(LIMIT, self.write(connection)).await.map_err(late).flatten() {
            self.lose(fault);
        }
    }

    async fn write(&mut self, connection: &Connection) -> Result<(), Fault> {
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => none.insert(ConfirmChannel::new(confirming(connection).await?)),
        };
        let Some(message) = self.waiting.take() else { return Ok(()) };
        channel.publish(&mut self.window, ShortString::default(), (), message);
        while !self.window.is_free(now()) {
            channel.next(&mut self.window).await?;
        }
        Ok(())
    }

    /// Takes what the broker says to answers that are written. Does not end; cancel-safe.
    pub(super) async fn gather(&mut self) {
        loop {
            let Some(channel) = &mut self.channel else { return future::pending().await };
            if let Err(fault) = channel.next(&mut self.window).await {
                self.lose(fault);
            }
        }
    }

    /// The channel is of no use any more; the next answer opens another.
    pub(super) fn lose(&mut self, fault: Fault) {
        if let Some(channel) = self.channel.take() {
            let fault = channel.end(&mut self.window, fault);
            debug!(%fault, "the channel for answers to commands is given up");
        }
        if self.waiting.take().is_some() {
            self.window.owner.count("there is no channel for it");
        }
        self.window.lose(None, now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_queue_or_what_the_broker_made_up() {
        for to in [
            "nowhere",
            "amq.gen-1",
            "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA4NTkwNTUwOAAAArEAAAAAawvCtg==.oNm/ktcCOIM/Zt2DI9q1YQ==",
            "amq.rabbitmq.reply-to.g2dkABBmaWJlckBsb2NhbGhvc3QAAAK0AAAAAAM=.MXa+8Hn/ktcCOIM==",
        ] {
            assert!(is_address(to), "{to}");
        }
        let key = "oNm/ktcCOIM";
        for process in ["", "x", "g2dk", "g3h2AA5yZXBseUA4NTkw", "g1h2AA5yZXBseUA4NTk\u{e9}", "g1h2AA5yZXBseUA4.NTkw"] {
            assert!(!is_address(&format!("{DIRECT}.{process}.{key}")), "{process}");
        }
        assert!(!is_address("") && !is_address(DIRECT) && !is_address(&format!("{DIRECT}.g1h2AA5yZXBseUA4NTkw.")));
    }
}
