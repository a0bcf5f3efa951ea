//! Frames of jobs: live only, on a connection of their own. What no queue wants comes back and is told to the job's pace,
//! what one took counts as looking at the job; nothing is sent twice.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, Connection, Event, PublisherConfirm};
use tokio::time::{Instant, interval, sleep};
use tracing::error;

use super::attend::Errand;
use super::depth;
use super::link::{Fault, Link, is_usable};
use super::message::{envelope, short};
use crate::config::BrokerConfig;
use crate::jobs::live::LiveFrame;
use crate::jobs::{Job, Jobs};
use crate::status::{Counters, Status};

/// Frames under way.
const WINDOW: usize = 256;
/// Longest wait until lapin has written one message.
const PUBLISH: Duration = Duration::from_secs(10);
/// Longest wait for a confirm while others are outstanding.
const CONFIRM: Duration = Duration::from_secs(15);
/// A frame that came back is handed over with whichever confirm is next, which may be a little later than its own.
const SETTLE: Duration = Duration::from_millis(50);
/// From look to look at what has settled, and whether the broker is blocked.
const TURN: Duration = Duration::from_millis(50);
/// How long a stream rests whose frames the broker takes for impossible.
const REST: Duration = Duration::from_secs(60);

type Number = u64;
type Outcome = (Number, Result<Confirmation, lapin::Error>);
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The publisher of jobs' frames.
pub(super) struct Live {
    config: BrokerConfig,
    status: Arc<Status>,
    jobs: Jobs,
    under_way: BTreeMap<Number, UnderWay>,
    next: Number,
    /// Confirmed, but it may still turn out that they came back.
    settling: VecDeque<(Instant, UnderWay)>,
    /// Ids that came back before their own confirm.
    returned: HashSet<String>,
}

struct UnderWay {
    job: Arc<Job>,
    stream: usize,
    id: String,
    bytes: usize,
}

impl Errand for Live {
    const NAME: &'static str = "frames of jobs";

    async fn session(&mut self, link: &mut Link) -> Fault {
        let Link { connection, channel, events, .. } = link;
        let (jobs, deep) = (self.jobs.clone(), self.config.deep_queue_messages);
        tokio::select! {
            fault = depth::watch(connection, &jobs, deep) => fault,
            fault = self.publish(connection, channel, events) => fault,
        }
    }

    fn ended(&mut self, fault: Option<&Fault>) {
        self.jobs.broker().close();
        self.counters().job_frames_lost.add(self.under_way.len() as u64);
        if let (Some(Fault::Impossible(text)), Some(largest)) =
            (fault, self.under_way.values().max_by_key(|frame| frame.bytes))
        {
            let (job, bytes) = (&largest.job.id, largest.bytes);
            error!(job, bytes, "the broker takes a frame of a job for impossible, so its stream rests: {text}");
            self.jobs.rest(&largest.job, largest.stream, REST);
        }
        self.under_way.clear();
        self.returned.clear();
        self.settle(None);
    }
}

impl Live {
    pub(super) fn new(config: BrokerConfig, status: Arc<Status>, jobs: Jobs) -> Self {
        Self {
            config,
            status,
            jobs,
            under_way: BTreeMap::new(),
            next: 0,
            settling: VecDeque::new(),
            returned: HashSet::new(),
        }
    }

    fn counters(&self) -> &Counters {
        &self.status.counters
    }

    async fn publish(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        events: &mut (impl Stream<Item = Event> + Unpin + Send),
    ) -> Fault {
        let mut confirms = FuturesUnordered::<Boxed<Outcome>>::new();
        let fault = self.steady(connection, channel, events, &mut confirms).await;
        // When a channel dies, the confirms know why, while the publish that noticed knows only that it is dead.
        let mut batch = Vec::new();
        while let Some(Some(outcome)) = confirms.next().now_or_never() {
            batch.push(outcome);
        }
        match self.answered(batch) {
            Err(cause) if cause.is_specific() => cause,
            _ => fault,
        }
    }

    async fn steady(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        events: &mut (impl Stream<Item = Event> + Unpin + Send),
        confirms: &mut FuturesUnordered<Boxed<Outcome>>,
    ) -> Fault {
        let jobs = self.jobs.clone();
        let mut turns = interval(TURN);
        let mut answer_since = None::<Instant>;
        loop {
            self.settle(Some(Instant::now()));
            let blocked = connection.status().blocked();
            if blocked {
                // What is live is old when that is over.
                jobs.broker().close();
                answer_since = None;
            } else {
                jobs.broker().open();
                if confirms.is_empty() {
                    answer_since = None;
                } else if answer_since.get_or_insert_with(Instant::now).elapsed() > CONFIRM {
                    return Fault::Away("no confirm for 15 s".into());
                }
            }
            let room = !blocked && confirms.len() < WINDOW;
            tokio::select! {
                Some(first) = confirms.next(), if !confirms.is_empty() => {
                    answer_since = None;
                    let mut batch = vec![first];
                    while let Some(Some(outcome)) = confirms.next().now_or_never() {
                        batch.push(outcome);
                    }
                    if let Err(fault) = self.answered(batch) {
                        return fault;
                    }
                }
                event = events.next() => match event {
                    // Also that of a channel of others, which is theirs to bear.
                    Some(Event::Error(error)) if !is_usable(connection, channel) => return error.into(),
                    Some(_) => {}
                    None => return Fault::Away("the connection has ended".into()),
                },
                frame = jobs.broker().take(), if room => match self.send(connection, channel, frame).await {
                    Ok((number, confirm)) => confirms.push(Box::pin(async move { (number, confirm.await) })),
                    Err(fault) => return fault,
                },
                _ = turns.tick() => {}
            }
        }
    }

    async fn send(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        LiveFrame { job, frame }: LiveFrame,
    ) -> Result<(Number, PublisherConfirm), Fault> {
        let (body, stream) = (frame.wire(), frame.frame().stream.number as usize);
        let (key, properties) = envelope(frame.frame(), &self.status.site);
        drop(frame);
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let number = self.next;
        self.next += 1;
        self.under_way.insert(number, UnderWay { job, stream, id, bytes: body.len() });
        self.counters().job_frames_published.add(1);
        let exchange = short(&self.config.frames_exchange);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let written = channel.basic_publish(exchange, key, options, &body, properties);
        tokio::pin!(written);
        loop {
            tokio::select! {
                written = &mut written => return Ok((number, written?)),
                // lapin cannot take a message back: while the broker is blocked it stays.
                () = sleep(PUBLISH) => if !connection.status().blocked() {
                    return Err(Fault::Away("a frame of a job could not be written for 10 s".into()));
                },
            }
        }
    }

    /// Takes what the broker has answered.
    fn answered(&mut self, batch: Vec<Outcome>) -> Result<(), Fault> {
        let mut fault = None::<Fault>;
        for (number, outcome) in batch {
            let confirmation = match outcome {
                Ok(confirmation) => confirmation,
                Err(error) => {
                    fault = fault.filter(Fault::is_specific).or_else(|| Some(error.into()));
                    continue;
                }
            };
            let ack = confirmation.is_ack();
            if let Some(back) = confirmation.take_message() {
                let id = back.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
                self.returned.insert(id);
            }
            let Some(frame) = self.under_way.remove(&number) else { continue };
            if ack {
                self.settling.push_back((Instant::now(), frame));
            } else {
                self.returned.remove(&frame.id);
                self.counters().job_frames_lost.add(1);
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// What was confirmed long enough before `now`, or all, was taken by a queue or has come back.
    fn settle(&mut self, now: Option<Instant>) {
        let is_due = |at: &Instant| now.is_none_or(|now| now.duration_since(*at) >= SETTLE);
        while self.settling.front().is_some_and(|(at, _)| is_due(at)) {
            let Some((_, frame)) = self.settling.pop_front() else { return };
            if self.returned.remove(&frame.id) {
                self.counters().job_frames_unroutable.add(1);
                self.jobs.came_back(&frame.job, frame.stream);
            } else {
                self.counters().job_frames_confirmed.add(1);
                self.jobs.found(&frame.job, frame.stream);
            }
        }
    }
}
