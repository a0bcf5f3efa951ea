//! RabbitMQ through lapin, which is used in this folder only. Standing views and status: one task on tokio, one connection
//! at a time. Beside it, on connections of their own (`attend`): the frames of jobs ([`live`]) and commands
//! ([`commands`]).
//!
//! ```text
//!            Link::open ──────────► session: publish, confirm ──────────► closed: flushed, farewell
//!                ▲                      │ fault
//!                └── back-off 0.2…10 s ◄┘   (unanswered messages stay in the outbox and are sent again first)
//! ```
//! Nothing here can make the pipeline wait or let memory grow: the outbox holds at most a window of frames, everything
//! else waits at the fence, where the oldest goes first. Passwords stay inside [`link`] and are never logged.

mod attend;
mod commands;
mod depth;
mod inbox;
mod link;
mod live;
mod message;
mod news;
mod outbox;
mod reply;
mod session;
mod subscriber;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use self::attend::attend;
use self::commands::Commands;
use self::link::{Fault, Link, place};
use self::live::Live;
use self::news::News;
use self::outbox::Outbox;
pub use self::subscriber::{Arrival, Subscriber};
use super::FrameSink;
use crate::config::BrokerConfig;
use crate::egress::Outlet;
use crate::jobs::Jobs;
use crate::status::{BrokerState, Status};

const WHILE_AWAY: &str = "frames wait at the fence, where the oldest are dropped first";
const REFUSED: &str = "Check user, password, vhost, rights, certificate and exchange types; tried again every 10 s";

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
        let counters = Arc::clone(&status.counters);
        let mut publisher = Publisher {
            place: place(&config),
            outbox: Outbox::new(Arc::clone(&counters)),
            news: News::new(Arc::clone(&status)),
            refused: false,
            config,
            status,
        };
        publisher.tell(BrokerState::Connecting, None);
        let grace_over = async {
            outlet.closed().await;
            // A broker that was looked for in vain will hardly come now, and nothing was begun that wants finishing. A
            // short replay may be over before the first attempt is: that one still gets its time.
            let in_vain = counters.broker_connections.get() == 0 && counters.broker_failures.get() > 0;
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
    let site = status.site.clone();
    let commands = Commands::new(config.clone(), default_job, Arc::clone(&status), jobs.clone());
    let live = Live::new(config.clone(), status, jobs);
    tokio::join!(attend(commands, config, &site, stop()), attend(live, config, &site, stop()));
}

/// What outlives a connection.
struct Publisher {
    config: BrokerConfig,
    status: Arc<Status>,
    place: String,
    outbox: Outbox,
    news: News,
    refused: bool,
}

impl Publisher {
    /// Connects, publishes, and begins again after each fault, until the fence is closed and nothing is left.
    async fn work(&mut self, outlet: &Outlet) {
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let answered = self.outbox.answered();
            let Err(fault) = self.connect_and_publish(outlet).await else { return };
            if self.outbox.answered() > answered {
                back_off = BACK_OFF_FIRST;
            }
            self.news.listened_to(false);
            self.status.counters.broker_failures.add(1);
            self.tell(BrokerState::Away, Some(&fault));
            self.learn_from(&fault);
            let never_there = self.status.counters.broker_connections.get() == 0;
            let nothing_left = outlet.depth() == 0 && self.outbox.len() == 0;
            if outlet.closed().now_or_never().is_some() && (never_there || nothing_left) {
                return;
            }
            // A person has to act on a refusal: often asked, it is not sooner granted.
            let wait = if matches!(fault, Fault::Refused(_)) { BACK_OFF_MAX } else { back_off };
            self.meanwhile(outlet, sleep(jittered(wait))).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// One connection, from the first packet to the last.
    async fn connect_and_publish(&mut self, outlet: &Outlet) -> Result<(), Fault> {
        let (config, site) = (self.config.clone(), self.status.site.clone());
        let mut link = self.meanwhile(outlet, Link::open(&config, &site)).await?;
        self.status.counters.broker_connections.add(1);
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
                () = self.news.gather() => {}
            }
        }
    }

    /// A message that the broker can never take must not come back with every connection.
    fn learn_from(&mut self, fault: &Fault) {
        if let Fault::Impossible(text) = fault {
            let (refused, bytes) = self.outbox.refuse_largest();
            error!(refused, bytes, "the broker takes a message for impossible, so the largest are given up: {text}");
        }
    }

    /// Called once a turn, whatever is waited for: tells how much waits, and that the publisher lives.
    fn gauge(&self, outlet: &Outlet) {
        self.status.counters.publisher_ticks.add(1);
        self.status.counters.frames_waiting.set((outlet.depth() + self.outbox.len()) as f64);
    }

    /// Sets how it stands with the broker; one line in the log for each change.
    fn tell(&mut self, state: BrokerState, fault: Option<&Fault>) {
        let place = &self.place;
        let refused = matches!(fault, Some(Fault::Refused(_)));
        let text = fault.map(ToString::to_string).unwrap_or_default();
        let before = self.status.broker();
        if before == state && self.refused == refused {
            debug!("broker {place}: {state:?} {text}");
            return;
        }
        match &state {
            BrokerState::Connecting | BrokerState::Disabled => info!("broker {place}: connecting"),
            BrokerState::Connected if before == BrokerState::Blocked => info!("broker {place}: accepts messages again"),
            BrokerState::Connected => info!("broker {place}: connected"),
            BrokerState::Blocked => warn!("broker {place}: accepts nothing (its memory or disk alarm); {WHILE_AWAY}"),
            BrokerState::Away if refused => error!("broker {place}: refuses the configuration: {text}. {REFUSED}"),
            BrokerState::Away => warn!("broker {place}: away: {text}; tried again for ever, {WHILE_AWAY}"),
        }
        self.refused = refused;
        self.status.set_broker(state);
    }

    /// The end: what is left is counted.
    fn finish(&mut self, outlet: &Outlet) {
        let unconfirmed = self.outbox.give_up();
        let mut left = 0;
        while outlet.take().now_or_never().flatten().is_some() {
            left += 1;
        }
        self.status.counters.frames_dropped_at_egress.add(left);
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
