//! What the service manager is told: READY, STATUS, WATCHDOG and STOPPING, as datagrams to `NOTIFY_SOCKET`.
//!
//! [`run`] is a task on tokio. Once a beat it compares the heartbeat counters of all stages ([`Progress`], pure) with
//! what they were: while every stage turns, the watchdog is fed; a stage that has stood still for too long is named in
//! the log, in [`Status`] and in the STATUS line, and is no longer covered up. Waiting for fiber or for the broker is
//! not standing still: stages tick then as well. Without a service manager all of it still happens, but the datagrams.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::acquisition::Phase;
use crate::status::{BrokerState, Condition, Report, Stage, Status, now_ms};

/// How long a stage may stand still when no watchdog says otherwise.
const DEFAULT_STUCK_AFTER: Duration = Duration::from_secs(15);

/// How often numbers in the STATUS line are renewed.
const STATUS_PERIOD: Duration = Duration::from_secs(5);

/// How long a datagram may wait for a manager whose queue is full.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say. A socket that cannot be reached is logged and done
    /// without: better a daemon that measures than one that stops over a status line.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let usec = std::env::var("WATCHDOG_USEC").ok();
        let pid = std::env::var("WATCHDOG_PID").ok();
        Self::new(socket.as_deref(), watchdog_from(usec.as_deref(), pid.as_deref(), std::process::id()))
    }

    /// A manager that listens at `socket` (a path, or `@name` in the abstract namespace) and kills after `watchdog`
    /// without a sign of life.
    pub fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let socket = socket.and_then(|address| match connect(address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(%error, "NOTIFY_SOCKET cannot be reached; the service manager will not be told anything");
                None
            }
        });
        Self { socket, watchdog }
    }

    /// Sends lines such as `READY=1`.
    pub fn tell(&self, lines: &[&str]) {
        if let Some(socket) = &self.socket {
            // A manager too busy to listen is told the same again: STATUS within five seconds, WATCHDOG within one.
            let _ = socket.send(lines.join("\n").as_bytes());
        }
    }

    /// A stage that stands still for longer is stuck: half the watchdog's time, so that the other half is left for the
    /// log and for one more chance.
    fn stuck_after(&self) -> Duration {
        self.watchdog.map_or(DEFAULT_STUCK_AFTER, |watchdog| watchdog / 2)
    }

    fn beat(&self) -> Duration {
        self.watchdog.map_or(Duration::from_secs(1), |watchdog| (watchdog / 8).min(Duration::from_secs(1)))
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let bytes = address.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_PATIENCE))?;
    Ok(socket)
}

/// The watchdog's time, when it is meant for the process `own_pid`.
fn watchdog_from(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    usec?.parse().ok().filter(|&usec| usec > 0).map(Duration::from_micros)
}

/// Who stands still. Times are durations since any fixed origin, never running backwards.
#[derive(Debug)]
pub struct Progress {
    stages: Vec<Seen>,
    limit: Duration,
}

#[derive(Debug)]
struct Seen {
    stage: Stage,
    ticks: u64,
    since: Duration,
}

impl Progress {
    /// Watches `stages` from `now` on; one without a tick for `limit` is stuck.
    pub fn new(stages: &[Stage], limit: Duration, now: Duration) -> Self {
        let stages = stages.iter().map(|&stage| Seen { stage, ticks: 0, since: now }).collect();
        Self { stages, limit }
    }

    /// The stages that are stuck at `now`, given the present heartbeats.
    pub fn stuck(&mut self, now: Duration, ticks: impl Fn(Stage) -> u64) -> Vec<Stage> {
        for seen in &mut self.stages {
            let present = ticks(seen.stage);
            if present != seen.ticks {
                (seen.ticks, seen.since) = (present, now);
            }
        }
        let limit = self.limit;
        self.stages.iter().filter(|seen| now.saturating_sub(seen.since) >= limit).map(|seen| seen.stage).collect()
    }
}

/// Says READY at once (configuration and HTTP are up when this is called), then STATUS and WATCHDOG until `stop`
/// comes. STOPPING goes out as soon as the daemon drains; from then on nothing is supervised: stages end one after the
/// other, and the manager's own stop time-out holds.
pub async fn run(status: Arc<Status>, manager: Manager, stages: Vec<Stage>, stop: impl Future<Output = ()>) {
    let started = Instant::now();
    let mut progress = Progress::new(&stages, manager.stuck_after(), Duration::ZERO);
    let mut known_stuck = Vec::new();
    let (mut phases, mut conditions) = (status.watch_phase(), status.watch_conditions());
    let mut beats = interval(manager.beat());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_status = Duration::ZERO;
    let mut stopping = false;
    manager.tell(&["READY=1", &status_line(&status.report())]);
    tokio::pin!(stop);
    loop {
        let changed = tokio::select! {
            () = &mut stop => break,
            changed = phases.changed() => changed.is_ok(),
            changed = conditions.changed() => changed.is_ok(),
            _ = beats.tick() => false,
        };
        let now = started.elapsed();
        let draining = phases.borrow_and_update().phase == Phase::Draining;
        if draining && !std::mem::replace(&mut stopping, true) {
            manager.tell(&["STOPPING=1"]);
        }
        let stuck = progress.stuck(now, |stage| status.counters.ticks(stage).get());
        let stuck = if draining { Vec::new() } else { stuck };
        if stuck != known_stuck {
            log_stuck(&known_stuck, &stuck, manager.stuck_after());
            status.set_stuck(&stuck);
            known_stuck = stuck;
        }
        if changed || now >= next_status {
            manager.tell(&[&status_line(&status.report())]);
            next_status = now + STATUS_PERIOD;
        }
        if known_stuck.is_empty() && manager.watchdog.is_some() {
            manager.tell(&["WATCHDOG=1"]);
        }
    }
    manager.tell(&["STOPPING=1", "STATUS=stopped"]);
}

fn log_stuck(before: &[Stage], after: &[Stage], limit: Duration) {
    for stage in after.iter().filter(|stage| !before.contains(stage)) {
        error!(stage = stage.name(), limit_s = limit.as_secs_f64(), "a stage stands still; the watchdog is not fed");
    }
    for stage in before.iter().filter(|stage| !after.contains(stage)) {
        info!(stage = stage.name(), "the stage turns again");
    }
}

/// One line for `systemctl status`.
fn status_line(report: &Report) -> String {
    let phase = match (&report.reason, report.channels, report.prr_declared_hz) {
        (Some(reason), ..) => {
            let since_s = (now_ms() - report.since_ms).max(0) / 1000;
            format!("{}: {} (since {since_s} s)", report.phase, one_line(reason))
        }
        (None, Some(channels), Some(prr_hz)) => format!(
            "{}: {channels} channels at {prr_hz} Hz, {} traces, {} gaps, load {:.0} %",
            report.phase,
            report.traces,
            report.gaps,
            100.0 * report.pipeline_load
        ),
        _ => report.phase.to_owned(),
    };
    let broker = match report.broker {
        BrokerState::Disabled => "no broker configured",
        BrokerState::Connecting => "connecting to the broker",
        BrokerState::Connected => "publishing",
        BrokerState::Blocked => "the broker accepts nothing",
        BrokerState::Away => "the broker is away",
    };
    // Phase and broker have said theirs.
    let said =
        |one: &&Condition| !["waiting_for_fiber", "draining"].contains(&one.code) && !one.code.starts_with("broker_");
    let mut parts = vec![phase, broker.to_owned()];
    parts.extend(report.conditions.iter().filter(said).map(|one| one_line(&one.what)));
    format!("STATUS={}", parts.join("; "))
}

/// A datagram's lines are separate messages: text from outside must not begin one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acquisition::{Acquisition, DarkReason};
    use crate::status::Severity;
    use proptest::prelude::*;

    #[test]
    fn the_watchdog_is_taken_only_when_it_is_meant_for_us() {
        let two = Some(Duration::from_secs(2));
        assert_eq!(watchdog_from(Some("2000000"), None, 7), two);
        assert_eq!(watchdog_from(Some("2000000"), Some("7"), 7), two);
        for (usec, pid) in [(None, None), (Some("2000000"), Some("8")), (Some("0"), None), (Some("soon"), None)] {
            assert_eq!(watchdog_from(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn the_status_line_says_the_phase_why_and_how_it_goes() {
        let status = Status::new("test", None);
        status.set_phase(Phase::WaitingForFiber(DarkReason::Refused("bad\nWATCHDOG=1".into())));
        let line = status_line(&status.report());
        assert_eq!(line, "STATUS=waiting for fiber: bad WATCHDOG=1 (since 0 s); no broker configured");
        status.set_phase(Phase::Acquiring(Arc::new(Acquisition::example())));
        status.set_broker(BrokerState::Away);
        status.counters.pipeline.load.set(0.125);
        let stuck = Condition {
            code: "stage_stuck",
            subject: String::new(),
            what: "pipeline stands still".into(),
            since_ms: 0,
            severity: Severity::NotReady,
            advice: "",
        };
        status.set_conditions([stuck].into(), false);
        let line = status_line(&status.report());
        let expected = "STATUS=acquiring: 2337 channels at 2000 Hz, 0 traces, 0 gaps, load 12 %; the broker is away; \
                        pipeline stands still";
        assert_eq!(line, expected);
    }

    proptest! {
        /// Against the definition: stuck = the newest tick is at least `limit` old.
        #[test]
        fn stuck_means_no_tick_for_the_limit(turns in prop::collection::vec((any::<bool>(), 1u64..400), 1..60)) {
            let limit = Duration::from_secs(1);
            let mut progress = Progress::new(&[Stage::Capture, Stage::Publisher], limit, Duration::ZERO);
            let (mut now, mut ticks, mut newest) = (Duration::ZERO, 0, Duration::ZERO);
            for (i, (turned, pause_ms)) in turns.into_iter().enumerate() {
                now += Duration::from_millis(pause_ms);
                if turned {
                    ticks += 1;
                    newest = now;
                }
                let stuck = progress.stuck(now, |stage| if stage == Stage::Capture { ticks } else { i as u64 + 1 });
                let expected = if now >= newest + limit { vec![Stage::Capture] } else { vec![] };
                prop_assert_eq!(stuck, expected);
            }
        }
    }
}
