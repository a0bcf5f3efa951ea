//! RabbitMQ through lapin, which is used in this folder only. Standing views and status: one task on tokio, one connection
//! at a time. Beside it, on connections of their own (`keep_connected`): the frames of jobs ([`live`]) and commands
//! ([`commands`]) with their answers ([`reply`]). All that is published goes through a [`confirm_channel`].
//!
//! ```text
//!            Link::open ──────────► session: publish, confirm ──────────► closed: flushed, farewell
//!                ▲                      │ fault
//!                └── back-off 0.2…10 s ◄┘   (unanswered messages go back to the outbox and are sent again first)
//! ```
//! Nothing here can make the pipeline wait or let memory grow: at most a window of frames is unanswered, everything
//! else waits at the fence, where the oldest goes first. Frames that a full queue refuses wait in a bounded place of their
//! own ([`held`]) and hold up nothing. Passwords stay inside [`link`] and are never logged.

mod commands;
mod confirm_channel;
mod depth;
mod held;
mod inbox;
mod link;
mod live;
mod message;
mod outbox;
mod reconnect;
mod refusal;
mod reply;
mod session;
mod size;
mod status_messages;
mod subscriber;
mod window;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::commands::Commands;
use self::confirm_channel::now;
use self::link::{Fault, Link, place};
use self::live::Live;
use self::outbox::Outbox;
use self::reconnect::keep_connected;
use self::refusal::Refusals;
use self::status_messages::StatusMessages;
pub use self::subscriber::{Arrival, Subscriber};
use self::window::Window;
use super::FrameSink;
use crate::config::BrokerConfig;
use crate::egress::Outlet;
use crate::jobs::Jobs;
use crate::log_limit::LogLimit;
use crate::status::{BrokerState, FindingKind, Status};

/// What the connection of standing views is for, in words.
const STANDING: &str = "standing views";
const WHILE_AWAY: &str = "frames wait in memory; when there are too many, the oldest are dropped";

const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// The publisher for one broker.
#[derive(Debug)]
pub struct Amqp {
    /// Where and as whom.
    pub config: BrokerConfig,
    /// What is told and counted.
    pub status: Arc<Status>,
    /// How long the end waits for outstanding confirms; not at all when there never was a connection.
    pub grace: Duration,
}

impl FrameSink for Amqp {
    async fn run(self, outlet: Outlet) {
        let Self { config, status, grace } = self;
        let counters = Arc::clone(&status.counters.publish);
        let mut publisher = Publisher {
            place: place(&config),
            window: Outbox::window(config.window, Arc::clone(&counters)),
            status_messages: StatusMessages::new(Arc::clone(&status)),
            refusals: Refusals::new(STANDING),
            refused_frames: None,
            log_limit: LogLimit::minute(),
            config,
            status,
        };
        publisher.tell(BrokerState::Connecting, None);
        let grace_over = async {
            outlet.closed().await;
            // A broker that was looked for in vain will hardly come now, and nothing was begun that wants finishing. A
            // short replay may be over before the first attempt is: that one still gets its time.
            let in_vain = counters.connections.get() == 0 && counters.failures.get() > 0;
            sleep(if in_vain { Duration::ZERO } else { grace }).await;
        };
        tokio::select! {
            () = publisher.work(&outlet) => {}
            () = grace_over => {}
        }
        publisher.finish(&outlet);
    }
}

/// Hears commands for jobs, and publishes their frames, until `stop` comes.
pub(super) async fn serve_jobs<S: Future<Output = ()> + Send>(
    config: &BrokerConfig,
    default_job: Option<String>,
    status: Arc<Status>,
    jobs: Jobs,
    stop: impl Fn() -> S,
) {
    let of_all = Arc::clone(&status);
    let commands = Commands::new(config.clone(), default_job, Arc::clone(&status), jobs.clone());
    let live = Live::new(config.clone(), status, jobs);
    tokio::join!(keep_connected(commands, config, &of_all, stop()), keep_connected(live, config, &of_all, stop()));
}

/// What outlives a connection.
struct Publisher {
    config: BrokerConfig,
    status: Arc<Status>,
    place: String,
    window: Window<Outbox>,
    status_messages: StatusMessages,
    refusals: Refusals,
    /// Frames refused and given up before those that are refused now; `None` while none are.
    refused_frames: Option<[u64; 2]>,
    log_limit: LogLimit,
}

impl Publisher {
    /// Connects, publishes, and begins again after each fault, until the fence is closed and nothing is left.
    async fn work(&mut self, outlet: &Outlet) {
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let answered = self.window.owner.answered();
            let Err(fault) = self.connect_and_publish(outlet).await else { return };
            if self.window.owner.answered() > answered {
                back_off = BACK_OFF_FIRST;
            }
            self.status_messages.listened_to(false);
            self.status.counters.publish.failures.add(1);
            self.refusals.see(&fault, &self.config, &self.status);
            self.tell(BrokerState::Away, Some(&fault));
            self.learn_from(&fault);
            let never_there = self.status.counters.publish.connections.get() == 0;
            let nothing_left = outlet.depth() == 0 && self.window.is_settled();
            if outlet.closed().now_or_never().is_some() && (never_there || nothing_left) {
                return;
            }
            // A person has to act on a refusal: often asked, it is not sooner granted.
            let wait = if matches!(fault, Fault::Refused { .. }) { BACK_OFF_MAX } else { back_off };
            self.meanwhile(outlet, sleep(jittered(wait))).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// One connection, from the first packet to the last.
    async fn connect_and_publish(&mut self, outlet: &Outlet) -> Result<(), Fault> {
        let (config, site) = (self.config.clone(), self.status.site.clone());
        let mut link = self.meanwhile(outlet, Link::open(&config, &site)).await?;
        self.status.counters.publish.connections.add(1);
        self.refusals.accepted(&self.status);
        self.tell(BrokerState::Connected, None);
        self.session(&mut link, outlet).await?;
        link.close().await;
        Ok(())
    }

    /// Waits for `work` and keeps the changes of the phase that happen in between.
    async fn meanwhile<T>(&mut self, outlet: &Outlet, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.gauge(outlet);
            tokio::select! {
                done = &mut work => return done,
                () = self.status_messages.gather() => {}
            }
        }
    }

    /// Keeps what the connection left without an answer, but for messages that the broker can never take: these must not
    /// come back with every connection.
    fn learn_from(&mut self, fault: &Fault) {
        let Some(limit) = self.window.lose(Some(fault), now()) else { return };
        let given_up = self.window.owner.give_up_larger(limit);
        warn!(given_up, "broker {}: a message is too large: {fault}", self.place);
    }

    /// Called once a turn, whatever is waited for: tells how much waits, and that the publisher lives.
    fn gauge(&mut self, outlet: &Outlet) {
        let c = &self.status.counters;
        let unanswered = self.window.frames();
        c.publish.ticks.add(1);
        c.publish.frames_unanswered.set(unanswered as f64);
        c.publish.frames_held.set(self.window.owner.held().len() as f64);
        c.publish.frames_waiting.set((outlet.depth() + unanswered) as f64);
        if let Some(change) = self.window.size_change(now()) {
            change.tell("frames", STANDING, &self.status);
        }
        self.see_refused_frames();
    }

    /// Says when the broker begins to refuse frames, and when it takes them again.
    fn see_refused_frames(&mut self) {
        let refused = self.window.owner.refused_streams(now()) > 0;
        if refused == self.refused_frames.is_some() {
            return;
        }
        let c = &self.status.counters;
        let counts = [c.publish.frames_refused.get(), c.publish.frames_given_up.get()];
        let place = &self.place;
        if let Some(before) = self.refused_frames.take() {
            self.status.take_back(FindingKind::FramesRefused, STANDING);
            let [refused, given_up] = [0, 1].map(|i| counts[i] - before[i]);
            if self.log_limit.turn("frames are taken again").is_some() {
                info!(refused, given_up, "broker {place}: takes all frames again");
            }
        } else {
            self.refused_frames = Some(counts);
            let why = "the broker refuses frames because a queue that they go to is full";
            self.status.found(FindingKind::FramesRefused, STANDING, why);
            if let Some(unwritten) = self.log_limit.turn("frames are refused") {
                warn!(
                    unwritten,
                    "broker {place}: refuses frames: a queue that they go to is full; durable ones are kept and sent again, as long as there is room for them"
                );
            }
        }
    }

    /// Sets how it stands with the broker; one line in the log for each change.
    fn tell(&mut self, state: BrokerState, fault: Option<&Fault>) {
        let place = &self.place;
        let refused = matches!(fault, Some(Fault::Refused { .. }));
        let text = fault.map(ToString::to_string).unwrap_or_default();
        let before = self.status.broker();
        if before == state {
            debug!("broker {place}: {state:?} {text}");
            return;
        }
        match &state {
            BrokerState::Connecting | BrokerState::Disabled => info!("broker {place}: connecting"),
            BrokerState::Connected if before == BrokerState::Blocked => info!("broker {place}: accepts messages again"),
            BrokerState::Connected => info!("broker {place}: connected"),
            BrokerState::Blocked => warn!("broker {place}: accepts nothing (its memory or disk alarm); {WHILE_AWAY}"),
            BrokerState::Away if refused => warn!("broker {place}: away, because it refuses us; {WHILE_AWAY}"),
            BrokerState::Away => warn!("broker {place}: away: {text}; tried again for ever, {WHILE_AWAY}"),
        }
        self.status.set_broker(state);
    }

    /// The end: what is left is counted.
    fn finish(&mut self, outlet: &Outlet) {
        let unconfirmed = self.window.give_up(now());
        let mut left = 0;
        while outlet.take().now_or_never().flatten().is_some() {
            left += 1;
        }
        self.status.counters.egress.frames_dropped.add(left);
        self.gauge(outlet);
        if unconfirmed + left > 0 {
            warn!("broker {}: stopped with {unconfirmed} frames unconfirmed and {left} never sent", self.place);
        }
    }
}

/// Between half of `wait` and all of it, so that many daemons do not come back in step.
fn jittered(wait: Duration) -> Duration {
    // A fresh hasher's keys are random enough to spread clients.
    let random = RandomState::new().hash_one(0u8);
    wait.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}
