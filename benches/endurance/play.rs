//! Plays a script: the faults of a round, those of all origins side by side, then everything right again, then a quiet time in which the accounts
//! are looked at.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use crate::broker::Broker;
use crate::clients::{self, Tally};
use crate::daemon::Daemon;
use crate::grpc::Fault as Failure;
use crate::interrogator::Interrogator;
use crate::rules::Sample;
use crate::script::{Action, Origin, Planned, plan};
use crate::watch::{EVERY, Watch};
use crate::world::{Kind, World};

/// After a round the daemon is to be as well as before within this time: the longest excuse, and as much as a machine
/// may stand still.
const SETTLES: Duration = Duration::from_secs(90);

/// What moves as long as traces or frames are under way, without `fiberd_`.
const MOVES: [&str; 6] = [
    "traces_total",
    "gap_traces_total",
    "blocks_processed_total",
    "frames_made_total",
    "frames_confirmed_total",
    "frames_waiting",
];
/// What has not moved for so long does not move any longer.
const RESTS: Duration = Duration::from_secs(3);

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Actions of a round begin within this time.
    pub round: Duration,
    pub quiet: Duration,
}

pub struct Play {
    pub world: Arc<World>,
    pub watch: Arc<Watch>,
    pub interrogator: Interrogator,
    pub broker: Option<Arc<Broker>>,
    pub daemon: Daemon,
    pub tally: Arc<Tally>,
    pub origins: Vec<Origin>,
    pub seed: u64,
    pub pace: Pace,
}

impl Play {
    /// Rounds until `until`, at least one, the quiet times before and after them included; how many there were.
    ///
    /// # Errors
    /// When the harness itself cannot go on, or the daemon is gone.
    pub async fn rounds(&mut self, until: Instant) -> Result<u64, Failure> {
        {
            let world = Arc::clone(&self.world);
            let _start = world.begins(Kind::Start, "the daemon starts");
            self.settle().await?;
        }
        self.quiet().await?;
        let mut round = 0;
        loop {
            self.round(round).await?;
            self.interrogator.set_right()?;
            self.settle().await?;
            self.quiet().await?;
            round += 1;
            if Instant::now() >= until {
                return Ok(round);
            }
        }
    }

    async fn round(&mut self, round: u64) -> Result<(), Failure> {
        self.world.says(format!("round {}", round + 1));
        let began = Instant::now();
        let planned = |of: Origin| {
            let plays = self.origins.contains(&of);
            if plays { plan(self.seed, round, of, self.pace.round) } else { Vec::new() }
        };
        let [source, broker, process, crowds] = Origin::ALL.map(planned);
        let Self { world, watch, interrogator, broker: victim, daemon, tally, .. } = self;
        let source = async {
            for Planned { at, action } in source {
                sleep_until(began + at).await;
                interrogator.perform(action).await?;
            }
            Ok::<_, Failure>(())
        };
        let broker = async {
            for Planned { at, action } in broker {
                sleep_until(began + at).await;
                if let Some(victim) = victim.as_ref() {
                    hurt(action, victim, world).await?;
                }
            }
            Ok(())
        };
        let process = async {
            for Planned { at, action } in process {
                sleep_until(began + at).await;
                disturb(action, daemon, world).await?;
            }
            Ok(())
        };
        let crowds = async {
            for Planned { at, action } in crowds {
                sleep_until(began + at).await;
                if let Action::Come(crowd) = action {
                    let _fault = world.begins(Kind::Of(Origin::Clients), action);
                    clients::come(crowd, daemon.api, tally, watch).await;
                }
            }
            Ok(())
        };
        tokio::select! {
            played = async { tokio::try_join!(source, broker, process, crowds) } => played.map(|_| ()),
            failure = ends_by_itself(daemon) => Err(failure),
        }
    }

    /// Waits until the daemon complains of nothing and has no job left.
    async fn settle(&mut self) -> Result<(), Failure> {
        let began = self.world.now();
        self.world.says("no more faults");
        loop {
            sleep(EVERY).await;
            self.must_live()?;
            let Sample { at, ready, phase, said, .. } = self.watch.last();
            let jobs = self.watch.last().count("fiberd_jobs");
            let well = at > began && ready && phase == "acquiring" && said.is_empty() && jobs < 1.0;
            let took = self.world.now().saturating_sub(began);
            if well {
                self.world.says(format!("all is well after {:.1} s", took.as_secs_f64()));
                return Ok(());
            }
            if took > SETTLES {
                let what = format!("{phase}, {jobs} jobs: {}", said.join("; "));
                self.watch.violated("all is well after the faults", what);
                return Ok(());
            }
        }
    }

    /// The driver ends, and when nothing moves any longer the books must balance exactly.
    ///
    /// # Errors
    /// When the harness itself cannot go on.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        let world = Arc::clone(&self.world);
        let _end = world.begins(Kind::Of(Origin::Source), "driver: ends for good");
        self.interrogator.end(false)?;
        let began = self.world.now();
        let moving = |sample: &Sample| MOVES.map(|name| sample.count(&format!("fiberd_{name}")).to_bits());
        let mut before = self.watch.last();
        loop {
            sleep(RESTS).await;
            let now = self.watch.last();
            if moving(&before) == moving(&now) && now.phase == "waiting for fiber" {
                self.watch.last_books();
                return Ok(());
            }
            if self.world.now().saturating_sub(began) > SETTLES {
                self.watch.violated("all comes to rest after the driver's end", now.phase);
                return Ok(());
            }
            before = now;
        }
    }

    async fn quiet(&mut self) -> Result<(), Failure> {
        let first = self.watch.last();
        sleep(self.pace.quiet).await;
        self.must_live()?;
        self.watch.quiet(&first);
        Ok(())
    }

    fn must_live(&mut self) -> Result<(), Failure> {
        if let Some(status) = self.daemon.ended()? {
            return Err(format!("the daemon ended by itself: {status}").into());
        }
        if self.interrogator.lives() { Ok(()) } else { Err("the driver ended by itself".into()) }
    }
}

async fn ends_by_itself(daemon: &Daemon) -> Failure {
    loop {
        sleep(EVERY).await;
        match daemon.ended() {
            Ok(None) => {}
            Ok(Some(status)) => return format!("the daemon ended by itself: {status}").into(),
            Err(error) => return error.into(),
        }
    }
}

/// A helper of the broker waits, and fails in a panic.
async fn with(broker: &Arc<Broker>, deed: impl FnOnce(&Broker) + Send + 'static) -> Result<(), Failure> {
    let broker = Arc::clone(broker);
    Ok(spawn_blocking(move || deed(&broker)).await?)
}

/// What is done to the broker.
type Deed = fn(&Broker);

async fn hurt(action: Action, broker: &Arc<Broker>, world: &World) -> Result<(), Failure> {
    let _fault = world.begins(Kind::Of(Origin::Broker), action);
    let (harm, undo): (Deed, Deed) = match action {
        Action::KillBroker { .. } => (Broker::kill, Broker::restart),
        Action::FreezeBroker { .. } => (Broker::freeze, Broker::thaw),
        _ => (|broker| broker.memory_alarm(true), |broker| broker.memory_alarm(false)),
    };
    with(broker, harm).await?;
    world.set_broker(false);
    sleep(action.lasts()).await;
    // From here on it may work again at any moment: the helpers return seconds after the broker does.
    world.set_broker(true);
    with(broker, undo).await
}

async fn disturb(action: Action, daemon: &Daemon, world: &World) -> Result<(), Failure> {
    let _fault = world.begins(Kind::Of(Origin::Process), action);
    if let Action::StallLog { .. } = action {
        daemon.stall_log()?;
        sleep(action.lasts()).await;
        daemon.read_log();
    } else {
        daemon.signal(Signal::HUP)?;
    }
    Ok(())
}
