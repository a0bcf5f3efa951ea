//! Commands from the bus: a queue of our own on the command exchange, on a connection of its own. What a command means
//! and does is the business of [`jobs`](crate::jobs); here messages become commands, and results become replies.
//!
//! Every message is settled once: acknowledged when it was done or is another site's, rejected without requeue when it was
//! refused, so that the dead-letter exchange gets it. No message ends the consumer, and everything is declared anew with
//! each connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Connection};
use tokio::time::timeout;
use tracing::{info, warn};

use super::inbox::{self, Inbox};
use super::link::{Fault, Link, heard};
use super::message::Message;
use super::reconnect::BrokerClient;
use super::reply::Replies;
use crate::config::BrokerConfig;
use crate::jobs::Jobs;
use crate::jobs::commands::command::{address, parse};
use crate::jobs::commands::execute::Done;
use crate::log_limit::LogLimit;
use crate::refusal::{ApiError, Refusal};
use crate::status::{FindingKind, Status};

/// For all that has to be declared.
const SETUP: Duration = Duration::from_secs(5);

/// After so many connections that ended before a single message was settled, messages are taken one by one.
const BARREN: u32 = 2;

/// Who hears commands.
pub(super) struct Commands {
    config: BrokerConfig,
    default_job: Option<String>,
    status: Arc<Status>,
    jobs: Jobs,
    replies: Replies,
    /// Connections in a row that ended before a message was settled.
    barren: u32,
    log_limit: LogLimit,
}

/// What became of a command.
enum Answer {
    Done(Done),
    Refused(ApiError),
    /// It is for another daemon.
    Ignored,
}

impl BrokerClient for Commands {
    const NAME: &'static str = "commands";

    async fn session(&mut self, link: &mut Link) -> Fault {
        self.barren = self.barren.saturating_add(1);
        // It ends by a fault only.
        self.hear(link).await.err().unwrap_or_else(|| Fault::Away("the queue of commands is gone".into()))
    }

    fn ended(&mut self, _: Option<&Fault>) {
        self.replies.lose(Fault::Away("the connection has ended".into()));
        self.status.counters.commands.heard.set(0.0);
    }
}

impl Commands {
    pub(super) fn new(config: BrokerConfig, default_job: Option<String>, status: Arc<Status>, jobs: Jobs) -> Self {
        let replies = Replies::new(Arc::clone(&status.counters.commands));
        Self { config, default_job, status, jobs, replies, barren: 0, log_limit: LogLimit::minute() }
    }

    async fn hear(&mut self, link: &mut Link) -> Result<(), Fault> {
        let Link { connection, events, .. } = link;
        let late = |_| Fault::Away("no answer within 5 s".into());
        let inbox = timeout(SETUP, inbox::declare(connection, &self.config)).await.map_err(late)??;
        if self.barren > BARREN && self.config.commands_queue.is_some() {
            self.one_by_one(connection, &inbox).await?;
        }
        let mut consumer = timeout(SETUP, inbox.consume()).await.map_err(late)??;
        self.status.counters.commands.heard.set(1.0);
        self.status.take_back(FindingKind::BrokerRefused, Self::NAME);
        info!(exchange = self.config.commands_exchange, queue = inbox.queue.as_str(), "commands are heard");
        loop {
            tokio::select! {
                delivery = consumer.next() => match delivery {
                    Some(delivery) => {
                        let delivery = delivery?;
                        let answer = self.answer(&delivery).await;
                        // Settled before it is answered: an answer may go wrong, and must not bring it back.
                        if matches!(answer, Answer::Refused(_)) {
                            delivery.reject(BasicRejectOptions { requeue: false }).await?;
                        } else {
                            delivery.ack(BasicAckOptions::default()).await?;
                        }
                        self.barren = 0;
                        self.reply(&answer, &delivery, connection).await;
                    }
                    None => return Ok(()),
                },
                // Also that of a channel of others: a look for an exchange that is not there, an answer.
                event = events.next() => heard(event, connection, &inbox.channel)?,
                () = self.replies.gather() => {}
            }
        }
    }

    /// Empties a queue that outlives connections, each message gone before it is looked at: there may be one among them
    /// that the client library cannot read, and that would end every connection.
    async fn one_by_one(&mut self, connection: &Connection, inbox: &Inbox) -> Result<(), Fault> {
        warn!("no connection for commands lasts: the messages that wait are taken one by one");
        let late = |_| Fault::Away("a message could not be read within 5 s".into());
        // What cannot be read ends the connection without an answer.
        let get = || timeout(SETUP, inbox.channel.basic_get(inbox.queue.clone(), BasicGetOptions { no_ack: true }));
        while let Some(got) = get().await.map_err(late)?? {
            let answer = self.answer(&got.delivery).await;
            self.reply(&answer, &got.delivery, connection).await;
        }
        self.barren = 0;
        Ok(())
    }

    /// Does what a message says, and counts it.
    async fn answer(&mut self, delivery: &Delivery) -> Answer {
        let done = self.execute(delivery).await;
        let counters = &self.status.counters;
        match done {
            Ok(Some(done)) => {
                counters.commands.done.add(1);
                Answer::Done(done)
            }
            Ok(None) => {
                counters.commands.ignored.add(1);
                Answer::Ignored
            }
            Err(refusal) => {
                let refusal = ApiError::from(refusal);
                // Anybody may send any number of wrong commands.
                if let Some(unwritten) = self.log_limit.turn(refusal.code) {
                    let code = refusal.code;
                    warn!(code, unwritten, "a command is refused: {}", refusal.error);
                }
                counters.commands.refused.add(1);
                Answer::Refused(refusal)
            }
        }
    }

    /// Says what came of it, to whoever wants to know.
    async fn reply(&mut self, answer: &Answer, delivery: &Delivery, connection: &Connection) {
        let (status, body) = match answer {
            Answer::Done(done) => (200, serde_json::to_vec(done)),
            Answer::Refused(refusal) => (refusal.http.as_u16(), serde_json::to_vec(refusal)),
            Answer::Ignored => return,
        };
        if let (Some(to), Ok(body)) = (delivery.properties.reply_to(), body) {
            let id = delivery.properties.correlation_id().clone();
            self.replies.send(connection, Message::reply(to.clone(), id, &self.status.site, status, body)).await;
        }
    }

    async fn execute(&mut self, delivery: &Delivery) -> Result<Option<Done>, Refusal> {
        if header(&delivery.properties, "site")?.is_some_and(|site| site != self.status.site) {
            return Ok(None);
        }
        let command = parse(&delivery.data)?;
        if !command.is_for_a_job() {
            return self.jobs.execute(command, None).await.map(Some);
        }
        let named = header(&delivery.properties, "job_id")?;
        let id = address(delivery.routing_key.as_str(), named, self.default_job.as_deref())?;
        self.jobs.execute(command, Some(&id)).await.map(Some)
    }
}

/// A header that is text, when there is one.
fn header<'a>(properties: &'a BasicProperties, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = properties.headers().as_ref().and_then(|table| table.inner().get(name)) else {
        return Ok(None);
    };
    let text = match value {
        AMQPValue::Void => return Ok(None),
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(ShortString::as_str(text)),
        _ => None,
    };
    text.map(Some).ok_or_else(|| {
        let (error, found) = (format!("The header {name} must be a string"), "it is something else");
        Refusal::rule("header_type", name, error, found, "send it as a string")
    })
}
