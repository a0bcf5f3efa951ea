//! Frames of jobs: live only, on a connection of their own. What no queue wants comes back and is told to the job's send
//! policy, what one took counts as looking at the job; nothing is sent twice.
//!
//! Frames wait in [`LiveQueue`](crate::jobs::live::LiveQueue), which throws away those that have waited too long. What
//! was given to lapin cannot be taken back: when the broker is blocked or stands still, the one frame that is being
//! written may go out late, and so may those that were written within the two seconds before. Nothing is written after
//! that until there are answers again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::Connection;
use lapin::types::ShortString;
use tokio::time::interval;
use tracing::warn;

use super::confirm_channel::{ConfirmChannel, now};
use super::depth;
use super::link::{Events, Fault, Link};
use super::message::Message;
use super::reconnect::BrokerClient;
use super::window::{Outcome, Owner, Window};
use crate::config::BrokerConfig;
use crate::jobs::live::{LIVE, LiveFrame};
use crate::jobs::{Job, Jobs};
use crate::log_limit::LogLimit;
use crate::status::{FindingKind, JobFrameCounters, Status};
use crate::wire;

/// Frames under way.
const WINDOW: usize = 256;
/// From look to look at what there is to say, and whether the broker is blocked.
const TURN: Duration = Duration::from_millis(50);
/// Frames are no longer refused when none was for so long.
const REFUSED: Duration = Duration::from_secs(10);

/// The publisher of jobs' frames.
pub(super) struct Live {
    config: BrokerConfig,
    status: Arc<Status>,
    jobs: Jobs,
    /// A frame is known by its job and the number of its stream.
    window: Window<JobFrames<(Arc<Job>, usize)>>,
    /// Whether it is said that the broker refuses frames.
    refused_said: bool,
    log_limit: LogLimit,
}

/// What becomes of frames of jobs: each is counted once. `T` is whose frame one is.
pub(super) struct JobFrames<T> {
    counters: Arc<JobFrameCounters>,
    /// Whose frames the broker has taken since the jobs were told, and whether a queue wanted them.
    pub(super) taken: Vec<(T, bool)>,
    /// When the broker last refused a frame.
    pub(super) refused_at: Option<Instant>,
}

impl<T> JobFrames<T> {
    /// The window for frames of jobs. Nothing is written while answers are so late that it would be old when it arrives.
    pub(super) fn window(counters: Arc<JobFrameCounters>) -> Window<Self> {
        Window::new(Self { counters, taken: Vec::new(), refused_at: None }, WINDOW, LIVE)
    }
}

impl<T> Owner for JobFrames<T> {
    type Entry = (T, ShortString);

    fn id((_, id): &Self::Entry) -> &str {
        id.as_str()
    }

    fn settle(&mut self, (of, _): Self::Entry, outcome: Outcome, now: Instant) {
        let c = &self.counters;
        match outcome {
            Outcome::Taken => {
                c.confirmed.add(1);
                self.taken.push((of, true));
            }
            Outcome::Unroutable => {
                c.unroutable.add(1);
                self.taken.push((of, false));
            }
            Outcome::Refused => {
                c.lost.add(1);
                self.refused_at = Some(now);
            }
            Outcome::Lost => c.lost.add(1),
        }
    }
}

impl BrokerClient for Live {
    const NAME: &'static str = "frames of jobs";

    async fn session(&mut self, link: &mut Link) -> Fault {
        let Link { connection, channel, events, .. } = link;
        let (jobs, deep) = (self.jobs.clone(), self.config.deep_queue_messages);
        self.status.take_back(FindingKind::BrokerRefused, Self::NAME);
        let mut channel = ConfirmChannel::new(channel.clone());
        let fault = tokio::select! {
            fault = depth::watch(connection, &jobs, deep) => fault,
            Err(fault) = self.steady(&mut channel, connection, events) => fault,
        };
        channel.end(&mut self.window, fault)
    }

    fn ended(&mut self, fault: Option<&Fault>) {
        self.jobs.broker().close();
        self.window.lose(fault, now());
        if let Some(Fault::Impossible(text)) = fault {
            warn!("a frame of a job is too large for the broker: {text}");
        }
        self.turn();
    }
}

impl Live {
    pub(super) fn new(config: BrokerConfig, status: Arc<Status>, jobs: Jobs) -> Self {
        jobs.broker().expect_publisher();
        let window = JobFrames::window(Arc::clone(&status.counters.job_frames));
        Self { window, refused_said: false, log_limit: LogLimit::minute(), config, status, jobs }
    }

    async fn steady(
        &mut self,
        channel: &mut ConfirmChannel,
        connection: &Connection,
        events: &mut Events,
    ) -> Result<Infallible, Fault> {
        let jobs = self.jobs.clone();
        let mut turns = interval(TURN);
        loop {
            self.turn();
            let blocked = connection.status().blocked();
            self.window.set_blocked(blocked, now());
            if blocked {
                // What is live is old when that is over.
                jobs.broker().close();
            } else {
                jobs.broker().open();
            }
            let room = self.window.has_room(now());
            tokio::select! {
                happened = channel.next(&mut self.window) => happened?,
                event = events.next() => channel.heard(event, connection)?,
                frame = jobs.broker().take(), if room => self.send(channel, frame),
                _ = turns.tick() => {}
            }
        }
    }

    /// Begins to write a frame, unless it is too large for the broker.
    fn send(&mut self, channel: &mut ConfirmChannel, LiveFrame { job, frame }: LiveFrame) {
        let (frame, counters) = (frame.frame(), &self.status.counters.job_frames);
        if self.window.is_too_large(wire::encoded_bytes(frame), now()) {
            return counters.too_large.add(1);
        }
        counters.published.add(1);
        let message = Message::frame(frame, &self.status.site, &self.status.counters.narrowed_for_broker);
        let entry = ((job, frame.stream.number as usize), message.id().into());
        channel.publish(&mut self.window, message.exchange(&self.config), entry, message);
    }

    /// What is done once a turn: tells jobs whether their frames are wanted, and everybody how it goes.
    fn turn(&mut self) {
        for ((job, stream), wanted) in self.window.owner.taken.drain(..) {
            if wanted {
                self.jobs.found(&job, stream);
            } else {
                self.jobs.came_back(&job, stream);
            }
        }
        self.status.counters.job_frames.unanswered.set(self.window.len() as f64);
        self.say();
    }

    /// Says when frames are refused or too large, and when they no longer are.
    fn say(&mut self) {
        if let Some(change) = self.window.size_change(now()) {
            change.tell("frames of jobs", Self::NAME, &self.status);
        }
        let refused = self.window.owner.refused_at.is_some_and(|at| at.elapsed() < REFUSED);
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
