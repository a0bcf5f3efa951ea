//! The live view of a run: what it looks at, and its thread (`das-terminal`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use tracing::warn;

use super::supervisor::{End, Outcome};
use crate::config::{BrokerConfig, Config};
use crate::egress::Onlooker;
use crate::status::Status;
use crate::telemetry::{Sink, Times};
use crate::terminal::{self, Ended, LogTail, ViewOptions, WaterfallTap};

/// The live view before it is shown.
pub(super) struct LiveView {
    log: LogTail,
    tap: Arc<WaterfallTap>,
    options: ViewOptions,
}

impl LiveView {
    pub(super) fn new(config: &Config, plain: bool) -> Self {
        let broker_address = config.broker.as_ref().map(BrokerConfig::address).unwrap_or_default();
        let options = ViewOptions { http: format!("http://{}", config.http.listen), broker_address, plain };
        Self { log: LogTail::new(), tap: WaterfallTap::new(), options }
    }

    /// Shows where the control API really listens: the system chooses the port when the configuration says 0.
    pub(super) fn show_address(&mut self, address: SocketAddr) {
        self.options.http = format!("http://{address}");
    }

    /// Where log lines go, so that they never tear the screen.
    pub(super) fn log_writer(&self) -> Sink {
        Box::new(self.log.clone())
    }

    /// The time that stands in log lines.
    pub(super) fn log_times(&self) -> Times {
        if terminal::takes_screen(&self.options) { Times::OfDay } else { Times::Full }
    }

    /// To be shown each frame.
    pub(super) fn onlooker(&self) -> Onlooker {
        let tap = Arc::clone(&self.tap);
        Arc::new(move |frame| tap.offer(frame))
    }

    /// Shows it on a thread of its own until a person leaves or `stop` is raised.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(self, status: Arc<Status>, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<Outcome>> {
        thread::Builder::new().name("das-terminal".into()).spawn(move || {
            Ok(match terminal::show(&status, &self.tap, &self.log, &self.options, &stop) {
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
