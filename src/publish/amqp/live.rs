//! Frames of jobs: live only, on a connection of their own. What no queue wants comes back and is told to the job's send policy,
//! what one took counts as looking at the job; nothing is sent twice.
//!
//! Frames wait in [`LiveQueue`](crate::jobs::live::LiveQueue), which throws away those that have waited too long. What
//! was given to lapin cannot be taken back: when the broker is blocked or stands still, the one frame that is being
//! written may go out late, and so may those that were written within the two seconds before. Nothing is written after
//! that until there are answers again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Connection, Event, PublisherConfirm};
use tokio::time::{Instant, interval};
use tracing::warn;

use super::depth;
use super::link::{Fault, Link, is_usable};
use super::message::{Number, envelope, short};
use super::outbox::{Answer, Outcome};
use super::reconnect::BrokerClient;
use super::size::{SizeChange, SizeLimit};
use super::window::{Settled, Window};
use crate::config::BrokerConfig;
use crate::jobs::live::{LIVE, LiveFrame};
use crate::jobs::{Job, Jobs};
use crate::log_limit::LogLimit;
use crate::status::{FindingKind, Status};
use crate::wire;

/// Frames under way.
const WINDOW: usize = 256;
/// Longest wait until lapin has written one message.
const PUBLISH: Duration = Duration::from_secs(10);
/// Longest wait for a confirm while others are outstanding.
const CONFIRM: Duration = Duration::from_secs(15);
/// From look to look at what has settled, and whether the broker is blocked.
const TURN: Duration = Duration::from_millis(50);
/// Frames are no longer refused when none was for so long.
const REFUSED: Duration = Duration::from_secs(10);

type Written = (Number, Result<PublisherConfirm, lapin::Error>);
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A job and the number of one of its streams.
type Of = (Arc<Job>, usize);

/// The publisher of jobs' frames.
pub(super) struct Live {
    config: BrokerConfig,
    status: Arc<Status>,
    jobs: Jobs,
    window: Window<Of>,
    size_limit: SizeLimit,
    /// When the broker last refused a frame; `None` when that is long ago.
    refused_at: Option<Instant>,
    /// Whether that is said.
    refused_said: bool,
    log_limit: LogLimit,
}

/// What is going on with one connection.
#[derive(Default)]
struct Flight {
    /// The one frame that is being written.
    writing: Option<Boxed<Written>>,
    /// Written, not answered.
    confirms: FuturesUnordered<Boxed<Outcome>>,
    /// Since when the write, or the next answer, is waited for; blocked time does not count.
    writing_since: Option<Instant>,
    answer_since: Option<Instant>,
}

impl BrokerClient for Live {
    const NAME: &'static str = "frames of jobs";

    async fn session(&mut self, link: &mut Link) -> Fault {
        let Link { connection, channel, events, .. } = link;
        let (jobs, deep) = (self.jobs.clone(), self.config.deep_queue_messages);
        self.status.take_back(FindingKind::BrokerRefused, Self::NAME);
        tokio::select! {
            fault = depth::watch(connection, &jobs, deep) => fault,
            fault = self.publish(connection, channel, events) => fault,
        }
    }

    fn ended(&mut self, fault: Option<&Fault>) {
        self.jobs.broker().close();
        if let Some(Fault::Impossible(text)) = fault {
            self.size_limit.learn(text, self.window.largest(), now());
            warn!("a frame of a job is too large for the broker: {text}");
        }
        let settled = self.window.lose();
        self.tell_jobs(settled);
        self.say();
    }
}

impl Live {
    pub(super) fn new(config: BrokerConfig, status: Arc<Status>, jobs: Jobs) -> Self {
        jobs.broker().expect_publisher();
        Self {
            window: Window::new(Arc::clone(&status.counters.job_frames)),
            size_limit: SizeLimit::default(),
            refused_at: None,
            refused_said: false,
            log_limit: LogLimit::minute(),
            config,
            status,
            jobs,
        }
    }

    async fn publish(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        events: &mut (impl Stream<Item = Event> + Unpin + Send),
    ) -> Fault {
        let mut flight = Flight::default();
        let fault = self.steady(connection, channel, events, &mut flight).await;
        // When a channel dies, the confirms know why, while the publish that noticed knows only that it is dead.
        match self.answered(flight.collect(Vec::new())) {
            Err(cause) if cause.is_specific() => cause,
            _ => fault,
        }
    }

    async fn steady(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        events: &mut (impl Stream<Item = Event> + Unpin + Send),
        flight: &mut Flight,
    ) -> Fault {
        let jobs = self.jobs.clone();
        let mut turns = interval(TURN);
        loop {
            let settled = self.window.settle(Some(now()));
            self.tell_jobs(settled);
            self.say();
            let blocked = connection.status().blocked();
            if blocked {
                // What is live is old when that is over.
                jobs.broker().close();
            } else {
                jobs.broker().open();
            }
            if let Err(fault) = flight.look(blocked) {
                return fault;
            }
            let room = !blocked && flight.is_free() && self.window.len() < WINDOW;
            let Flight { writing, confirms, .. } = flight;
            let written = async {
                match writing {
                    Some(write) => write.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (number, written) = written => match written {
                    Ok(confirm) => flight.written(number, confirm),
                    Err(error) => return error.into(),
                },
                Some(first) = confirms.next(), if !confirms.is_empty() => {
                    if let Err(fault) = self.answered(flight.collect(vec![first])) {
                        return fault;
                    }
                }
                event = events.next() => match event {
                    // Also that of a channel of others, which is theirs to bear.
                    Some(Event::Error(error)) if !is_usable(connection, channel) => return error.into(),
                    Some(_) => {}
                    None => return Fault::Away("the connection has ended".into()),
                },
                frame = jobs.broker().take(), if room => self.send(flight, channel, frame),
                _ = turns.tick() => {}
            }
        }
    }

    /// Begins to write a frame, unless it is too large for the broker.
    fn send(&mut self, flight: &mut Flight, channel: &Channel, LiveFrame { job, frame }: LiveFrame) {
        if self.size_limit.refuses(wire::encoded_bytes(frame.frame()), now()).is_some() {
            self.status.counters.job_frames.too_large.add(1);
            return;
        }
        let (body, stream) = (frame.wire(), frame.frame().stream.number as usize);
        let (key, properties) = envelope(frame.frame(), &self.status.site);
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let number = self.window.put((job, stream), id, body.len());
        let (channel, exchange) = (channel.clone(), short(&self.config.frames_exchange));
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        flight.writing_since = Some(Instant::now());
        flight.writing =
            Some(Box::pin(
                async move { (number, channel.basic_publish(exchange, key, options, &body, properties).await) },
            ));
    }

    /// Takes what the broker has answered.
    fn answered(&mut self, batch: Vec<Outcome>) -> Result<(), Fault> {
        if self.window.answered(batch, now())? > 0 {
            self.refused_at = Some(Instant::now());
        }
        Ok(())
    }

    fn tell_jobs(&self, settled: Vec<Settled<Of>>) {
        for Settled { of: (job, stream), wanted } in settled {
            if wanted {
                self.jobs.found(&job, stream);
            } else {
                self.jobs.came_back(&job, stream);
            }
        }
    }

    /// Says when frames are refused or too large, and when they no longer are.
    fn say(&mut self) {
        match self.size_limit.change(now()) {
            Some(SizeChange::TooLarge { limit }) => {
                let why =
                    format!("frames of jobs are larger than the {limit} bytes that the broker takes in one message");
                warn!("{why}: they are not sent, and counted as too large");
                self.status.found(FindingKind::FramesTooLarge, Self::NAME, why);
            }
            Some(SizeChange::Over) => self.status.take_back(FindingKind::FramesTooLarge, Self::NAME),
            None => {}
        }
        let refused = self.refused_at.is_some_and(|at| at.elapsed() < REFUSED);
        if refused == std::mem::replace(&mut self.refused_said, refused) {
            return;
        }
        if !refused {
            self.status.take_back(FindingKind::FramesRefused, Self::NAME);
            return;
        }
        let why = "the broker refuses frames of jobs because a queue that they go to is full";
        self.status.found(FindingKind::FramesRefused, Self::NAME, why);
        if let Some(unwritten) = self.log_limit.turn("refused") {
            warn!(unwritten, "{why}; they are live, so they are lost");
        }
    }
}

impl Flight {
    /// Whether another frame may be given to lapin: none while one is being written or answers are overdue.
    fn is_free(&self) -> bool {
        self.writing.is_none() && self.answer_since.is_none_or(|since| since.elapsed() < LIVE)
    }

    /// Looks at the time limits, which do not run while the broker is `blocked`.
    fn look(&mut self, blocked: bool) -> Result<(), Fault> {
        if self.confirms.is_empty() {
            self.answer_since = None;
        }
        if blocked {
            for since in [&mut self.writing_since, &mut self.answer_since] {
                *since = since.map(|_| Instant::now());
            }
        }
        if self.writing_since.is_some_and(|since| since.elapsed() > PUBLISH) {
            return Err(Fault::Away("a frame of a job could not be written for 10 s".into()));
        }
        if self.answer_since.is_some_and(|since| since.elapsed() > CONFIRM) {
            return Err(Fault::Away("no confirm for 15 s".into()));
        }
        Ok(())
    }

    fn written(&mut self, number: Number, confirm: PublisherConfirm) {
        (self.writing, self.writing_since) = (None, None);
        self.answer_since.get_or_insert_with(Instant::now);
        self.confirms.push(Box::pin(async move { (number, confirm.await.map(Answer::from).map_err(Fault::from)) }));
    }

    /// Adds all answers that are there to `batch`.
    fn collect(&mut self, mut batch: Vec<Outcome>) -> Vec<Outcome> {
        while let Some(Some(outcome)) = self.confirms.next().now_or_never() {
            batch.push(outcome);
        }
        self.answer_since = (!self.confirms.is_empty()).then(Instant::now);
        batch
    }
}

/// The time as what is pure takes it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
