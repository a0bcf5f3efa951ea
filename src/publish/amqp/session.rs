//! Steady state on one connection: status before frames, a bounded window of unanswered messages, and an eye on a
//! broker that is blocked or has gone quiet. One task; it returns when the connection is of no use any more.

use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Event, PublisherConfirm};
use tokio::time::{Instant, sleep_until};

use super::Publisher;
use super::link::{Fault, Link};
use super::message::{Kind, Message, Number, short};
use super::outbox::{Answer, Outcome};
use super::status_messages::StatusMessages;
use crate::config::BrokerConfig;
use crate::egress::Outlet;
use crate::frame::Frame;
use crate::status::BrokerState;
use crate::wire;

/// Longest wait for a confirm while others are outstanding.
const CONFIRM: Duration = Duration::from_secs(15);
/// Longest wait until lapin has written one message.
const PUBLISH: Duration = Duration::from_secs(10);

type Published = (Number, Result<PublisherConfirm, lapin::Error>);
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is going on with one connection.
#[derive(Default)]
struct Flight {
    /// The one publish that is being written. lapin cannot take it back, so while the broker is blocked it stays.
    publishing: Option<Boxed<Published>>,
    /// Written, not answered.
    confirms: FuturesUnordered<Boxed<Outcome>>,
    blocked: bool,
    /// Since when the write, or the next answer, is waited for; blocked time does not count.
    writing_since: Option<Instant>,
    answer_since: Option<Instant>,
}

/// One step of the loop; it lives for that step only, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
enum Next {
    Published(Published),
    Answered(Outcome),
    Frame(Option<Frame>),
    Event(Option<Event>),
    StatusMessages,
    Silent(&'static str),
}

impl Publisher {
    /// Publishes on `link` until the fence is closed and everything is answered, or until a fault.
    pub(super) async fn session(&mut self, link: &mut Link, outlet: &Outlet) -> Result<(), Fault> {
        let mut flight = Flight::default();
        let result = self.steady(&mut flight, link, outlet).await;
        // What was answered before the fault need not be sent again; and when a channel dies, the confirms know why,
        // while the publish that noticed knows only that it is dead.
        let mut batch = Vec::new();
        flight.collect(&mut batch);
        match (result, self.outbox.settle(batch, now())) {
            (Err(_), Err(cause)) if cause.is_specific() => Err(cause),
            (result, _) => result,
        }
    }

    async fn steady(&mut self, flight: &mut Flight, link: &mut Link, outlet: &Outlet) -> Result<(), Fault> {
        let window = self.config.window.max(1);
        let mut resend = self.outbox.unanswered();
        let mut closed = false;
        self.status_messages.connected();
        loop {
            self.see_blocked(link, flight);
            self.gauge(outlet);
            if flight.is_free() {
                let status_first = resend.front().is_none_or(|(_, m)| matches!(m.kind, Kind::Frame { .. }));
                let status_messages = if status_first { self.status_messages.pop() } else { None };
                let mut next = status_messages.map(|message| self.outbox.put(message)).or_else(|| resend.pop_front());
                if next.is_none() && self.outbox.under_way() < window {
                    next = self.outbox.again(now());
                }
                if let Some((number, message)) = next {
                    flight.publish(link, &self.config, number, message);
                    continue;
                }
            }
            if closed && self.outbox.len() == 0 && !self.status_messages.has_more() {
                return Ok(());
            }
            let held = self.outbox.held();
            let held_up = held.is_catching_up() || (outlet.is_patient() && held.is_half_full());
            let room = !closed && flight.is_free() && !held_up && self.outbox.under_way() < window;
            match flight.next(link, outlet, &mut self.status_messages, room).await {
                Next::Published((number, Ok(confirm))) => flight.written(number, confirm),
                Next::Published((_, Err(error))) | Next::Event(Some(Event::Error(error))) => return Err(error.into()),
                Next::Answered(first) => self.answered(flight, first)?,
                Next::Frame(Some(frame)) if self.size_limit.refuses(wire::encoded_bytes(&frame), now()).is_some() => {
                    self.status.counters.publish.frames_too_large.add(1);
                }
                Next::Frame(Some(frame)) => {
                    let (number, message) = self.outbox.put(Message::frame(&frame, &self.status.site));
                    flight.publish(link, &self.config, number, message);
                }
                Next::Frame(None) => closed = true,
                Next::Event(None) => return Err(Fault::Away("the connection has ended".into())),
                Next::Event(Some(_)) | Next::StatusMessages => {}
                Next::Silent(what) => return Err(Fault::Away(what.into())),
            }
        }
    }

    fn see_blocked(&mut self, link: &Link, flight: &mut Flight) {
        let blocked = link.connection.status().blocked();
        self.status_messages.listened_to(!blocked);
        if blocked != flight.blocked {
            flight.set_blocked(blocked);
            self.tell(if blocked { BrokerState::Blocked } else { BrokerState::Connected }, None);
        }
    }

    /// Settles the outcome `first` and all others that are there.
    fn answered(&mut self, flight: &mut Flight, first: Outcome) -> Result<(), Fault> {
        let mut batch = vec![first];
        flight.collect(&mut batch);
        flight.answer_since = (!flight.confirms.is_empty()).then(Instant::now);
        self.outbox.settle(batch, now())
    }
}

/// The time as what is pure takes it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Flight {
    /// Whether another message may be given to lapin.
    fn is_free(&self) -> bool {
        self.publishing.is_none() && !self.blocked
    }

    fn publish(&mut self, link: &Link, config: &BrokerConfig, number: Number, message: Arc<Message>) {
        let exchange = match message.kind {
            Kind::Frame { .. } => short(&config.frames_exchange),
            Kind::Status => short(&config.status_exchange),
        };
        let options = BasicPublishOptions { mandatory: message.mandatory(), immediate: false };
        let channel = link.channel.clone();
        self.writing_since = Some(Instant::now());
        self.publishing = Some(Box::pin(async move {
            let (key, properties) = (message.key.clone(), message.properties.clone());
            (number, channel.basic_publish(exchange, key, options, &message.body, properties).await)
        }));
    }

    fn written(&mut self, number: Number, confirm: PublisherConfirm) {
        self.writing_since = None;
        self.answer_since.get_or_insert_with(Instant::now);
        self.confirms.push(Box::pin(async move { (number, confirm.await.map(Answer::from).map_err(Fault::from)) }));
    }

    fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        for since in [&mut self.writing_since, &mut self.answer_since] {
            *since = since.map(|_| Instant::now());
        }
    }

    fn collect(&mut self, batch: &mut Vec<Outcome>) {
        while let Some(Some(outcome)) = self.confirms.next().now_or_never() {
            batch.push(outcome);
        }
    }

    /// Whatever happens first. A frame is taken only when there is `room` for one.
    async fn next(
        &mut self,
        link: &mut Link,
        outlet: &Outlet,
        status_messages: &mut StatusMessages,
        room: bool,
    ) -> Next {
        let writing = self.writing_since.map(|since| (since + PUBLISH, "a message could not be written for 10 s"));
        let answer = self.answer_since.map(|since| (since + CONFIRM, "no confirm for 15 s"));
        let limit = writing.into_iter().chain(answer).min().filter(|_| !self.blocked);
        let publishing = &mut self.publishing;
        let published = async {
            match publishing {
                Some(write) => write.await,
                None => future::pending().await,
            }
        };
        let silent = async {
            match limit {
                Some((at, what)) => {
                    sleep_until(at).await;
                    what
                }
                None => future::pending().await,
            }
        };
        let next = tokio::select! {
            published = published => Next::Published(published),
            Some(outcome) = self.confirms.next(), if !self.confirms.is_empty() => Next::Answered(outcome),
            event = link.events.next() => Next::Event(event),
            () = status_messages.gather() => Next::StatusMessages,
            frame = outlet.take(), if room => Next::Frame(frame),
            what = silent => Next::Silent(what),
        };
        if matches!(next, Next::Published(_)) {
            self.publishing = None;
        }
        next
    }
}
