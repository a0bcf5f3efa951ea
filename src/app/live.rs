//! The live view of a run: what it looks at, and its thread (`das-terminal`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use tracing::warn;

use super::supervisor::{End, Outcome};
use crate::config::{BrokerConfig, Config, ReplaySpeed, SourceConfig};
use crate::egress::Onlooker;
use crate::source::replay::{Place, Timetable};
use crate::status::Status;
use crate::telemetry::{Sink, Times};
use crate::terminal::{self, Ended, Facts, LogTail, Pictures, Rates, ScreenSource};

/// The live view before it is shown.
pub(super) struct LiveView {
    log: LogTail,
    pictures: Arc<Pictures>,
    plain: bool,
    address: String,
    broker_address: String,
    replay: Option<ReplayFacts>,
}

/// What is said of a replay.
struct ReplayFacts {
    timetable: Timetable,
    speed: ReplaySpeed,
    looping: bool,
}

impl LiveView {
    pub(super) fn new(config: &Config, timetable: Option<Timetable>, plain: bool) -> Self {
        let replay = match (&config.source, timetable) {
            (&SourceConfig::Replay { speed, looping, .. }, Some(timetable)) => {
                Some(ReplayFacts { timetable, speed, looping })
            }
            _ => None,
        };
        Self {
            log: LogTail::new(),
            pictures: Pictures::new(),
            plain,
            address: format!("http://{}", config.http.listen),
            broker_address: config.broker.as_ref().map(BrokerConfig::address).unwrap_or_default(),
            replay,
        }
    }

    /// Shows where the control API really listens: the system chooses the port when the configuration says 0.
    pub(super) fn show_address(&mut self, address: SocketAddr) {
        self.address = format!("http://{address}");
    }

    /// Where log lines go, so that they never tear the screen.
    pub(super) fn log_writer(&self) -> Sink {
        Box::new(self.log.clone())
    }

    /// The time that stands in log lines.
    pub(super) fn log_times(&self) -> Times {
        if terminal::takes_screen(self.plain) { Times::OfDay } else { Times::Full }
    }

    /// To be shown each frame.
    pub(super) fn onlooker(&self) -> Onlooker {
        let pictures = Arc::clone(&self.pictures);
        Arc::new(move |frame| pictures.offer(frame))
    }

    /// Shows it on a thread of its own until a person leaves or `stop` is raised.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(self, status: Arc<Status>, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<Outcome>> {
        thread::Builder::new().name("das-terminal".into()).spawn(move || {
            let (log, plain) = (self.log.clone(), self.plain);
            let mut source = OwnDaemon { view: self, status, rates: Rates::default() };
            Ok(match terminal::show(&mut source, &log, plain, &stop) {
                Ok(Ended::Asked) => End::Asks("asked at the terminal"),
                Ok(Ended::Stopped) => End::Told,
                Err(error) => {
                    warn!(%error, "the terminal refuses the live view; the daemon goes on without");
                    End::Dispensable
                }
            })
        })
    }
}

/// The daemon in this process, as a screen sees it.
struct OwnDaemon {
    view: LiveView,
    status: Arc<Status>,
    rates: Rates,
}

impl ScreenSource for OwnDaemon {
    fn facts(&mut self) -> Facts {
        let LiveView { address, broker_address, replay, .. } = &self.view;
        let mut facts = Facts::of_status(&self.status, &mut self.rates, address, broker_address);
        facts.replay = replay.as_ref().map(|replay| replay.words(facts.last_trace_ms));
        facts
    }

    fn pictures(&self) -> &Pictures {
        &self.view.pictures
    }
}

impl ReplayFacts {
    /// `capture.fdas at 3 of 60 s, 10 times as fast, in a loop`.
    fn words(&self, last_trace_ms: Option<i64>) -> String {
        let place = last_trace_ms.and_then(|ms| self.timetable.place(ms.saturating_mul(1_000_000)));
        let place = match place {
            Some(Place { file, at_s, length_s }) => format!("{file} at {at_s:.0} of {length_s:.0} s"),
            None => "files".to_owned(),
        };
        let speed = match self.speed {
            ReplaySpeed::Unpaced => "as fast as possible".to_owned(),
            ReplaySpeed::Times(1.0) => "as fast as it was taken".to_owned(),
            ReplaySpeed::Times(times) => format!("{times} times as fast"),
        };
        let looping = if self.looping { ", in a loop" } else { "" };
        format!("{place}, {speed}{looping}")
    }
}
