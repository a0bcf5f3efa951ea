//! Publishing with confirms on one channel: the only place that hands a message to lapin. What may be written and what an
//! answer means is decided by the [`window`](super::window); whose messages they are is its [`Owner`].
//!
//! ```text
//!  status, frames of views ──► [spool] ──► Outbox  ─┐ kept until settled: sent again when lost, held when refused
//!  frames of jobs ─────────► LiveQueue ──► Live    ─┼──► Window ──► ConfirmChannel ──► broker   live only, sent once
//!  commands ─────────────────────────────► Replies ─┘      │                                    sent once
//!                                          Owner ◄─────────┘ taken, unroutable, refused or lost: once for each message
//! ```
//! The spool is not there yet. It will stand in front of the [`Outbox`](super::outbox), and nothing here will know of it.

use std::future;
use std::pin::Pin;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{Channel, Connection, Event, PublisherConfirm};
use tokio::time::{Instant, sleep_until};

use super::link::{Fault, heard};
use super::message::Message;
use super::window::{Answer, Number, Owner, Window};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<(Number, T), lapin::Error>> + Send>>;

/// A channel in confirm mode, and what goes on on it. When it is given up, the window [loses](Window::lose) what is under
/// way.
pub(super) struct ConfirmChannel {
    channel: Channel,
    /// The one message that is being written. lapin cannot take it back, so while the broker is blocked it stays.
    writing: Option<Boxed<PublisherConfirm>>,
    /// Written, not answered.
    confirms: FuturesUnordered<Boxed<Answer>>,
}

impl ConfirmChannel {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, writing: None, confirms: FuturesUnordered::new() }
    }

    /// Begins to write a message; the window must be [free](Window::is_free).
    pub(super) fn publish<O: Owner>(
        &mut self,
        window: &mut Window<O>,
        exchange: ShortString,
        entry: O::Entry,
        message: Message,
    ) {
        let number = window.put(entry, message.body.len(), now());
        let options = BasicPublishOptions { mandatory: message.mandatory(), immediate: false };
        let channel = self.channel.clone();
        self.writing = Some(Box::pin(async move {
            let Message { key, properties, body, .. } = message;
            Ok((number, channel.basic_publish(exchange, key, options, &body, properties).await?))
        }));
    }

    /// Whether the channel is still of use after an event of its connection.
    pub(super) fn heard(&self, event: Option<Event>, connection: &Connection) -> Result<(), Fault> {
        heard(event, connection, &self.channel)
    }

    /// Waits until something has happened to a message. An error when the channel is of no use any more. Cancel-safe.
    pub(super) async fn next<O: Owner>(&mut self, window: &mut Window<O>) -> Result<(), Fault> {
        let deadline = window.deadline();
        let silent = async {
            let Some((at, what)) = deadline else { return future::pending().await };
            sleep_until(at.into()).await;
            what
        };
        let Self { writing, confirms, .. } = self;
        let written = async {
            match writing {
                Some(write) => write.await,
                None => future::pending().await,
            }
        };
        let (written, answered) = tokio::select! {
            written = written => (Some(written), None),
            Some(answered) = confirms.next(), if !confirms.is_empty() => (None, Some(answered)),
            what = silent => return Err(Fault::Away(what.into())),
        };
        self.take(window, written, answered)
    }

    /// Takes what was answered before the connection was given up for `fault`: it need not be sent again. And when a channel
    /// dies, the confirms know why, while the publish that noticed knows only that it is dead.
    pub(super) fn end<O: Owner>(mut self, window: &mut Window<O>, fault: Fault) -> Fault {
        match self.take(window, None, None) {
            Err(cause) if cause.is_specific() => cause,
            _ => fault,
        }
    }

    /// Takes all that has happened, beginning with what is seen already. The write comes first: its confirm may be there as
    /// well, and older than one that is seen. The window needs all answers up to the newest that it gets.
    fn take<O: Owner>(
        &mut self,
        window: &mut Window<O>,
        written: Option<Result<(Number, PublisherConfirm), lapin::Error>>,
        mut answered: Option<Result<(Number, Answer), lapin::Error>>,
    ) -> Result<(), Fault> {
        let (mut answers, mut fault) = (Vec::new(), None::<Fault>);
        if let Some(written) = written.or_else(|| self.writing.as_mut().and_then(FutureExt::now_or_never)) {
            self.writing = None;
            match written {
                Ok((number, confirm)) => {
                    window.written(now());
                    self.confirms.push(Box::pin(async move { Ok((number, confirm.await?.into())) }));
                }
                Err(error) => fault = Some(error.into()),
            }
        }
        while let Some(answered) = answered.take().or_else(|| self.confirms.next().now_or_never().flatten()) {
            match answered {
                Ok(answer) => answers.push(answer),
                Err(error) => fault = fault.filter(Fault::is_specific).or_else(|| Some(error.into())),
            }
        }
        window.answered(answers, now());
        fault.map_or(Ok(()), Err)
    }
}

/// The time as what is pure takes it.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
