//! The live view of a run: what it looks at, and its thread (`das-terminal`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::Notify;
use tracing::warn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{BrokerConfig, Config};
use crate::egress::Onlooker;
use crate::status::Status;
use crate::terminal::{self, Ended, LogTail, ViewOptions, WaterfallTap};

/// The live view before it is shown.
pub(super) struct LiveView {
    log: LogTail,
    tap: Arc<WaterfallTap>,
    options: ViewOptions,
}

/// The live view on its thread; dropping this ends it and gives the terminal back.
pub(super) struct Screen {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Told when a person leaves.
    pub(super) left: Arc<Notify>,
}

impl LiveView {
    pub(super) fn new(config: &Config, plain: bool) -> Self {
        let broker_address = config.broker.as_ref().map(BrokerConfig::address).unwrap_or_default();
        let options = ViewOptions { http: format!("http://{}", config.http.listen), broker_address, plain };
        Self { log: LogTail::new(), tap: WaterfallTap::new(), options }
    }

    /// Where log lines go, so that they never tear the screen.
    pub(super) fn log_writer(&self) -> BoxMakeWriter {
        let log = self.log.clone();
        BoxMakeWriter::new(move || log.clone())
    }

    /// To be shown each frame.
    pub(super) fn onlooker(&self) -> Onlooker {
        let tap = Arc::clone(&self.tap);
        Arc::new(move |frame| tap.offer(frame))
    }

    pub(super) fn start(self, status: Arc<Status>) -> Screen {
        let (stop, left) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let (raised, told) = (Arc::clone(&stop), Arc::clone(&left));
        let body = move || match terminal::show(&status, &self.tap, &self.log, &self.options, &raised) {
            Ok(Ended::Asked) => told.notify_one(),
            Ok(Ended::Stopped) => {}
            Err(error) => warn!(%error, "the terminal refuses the live view; the daemon goes on without"),
        };
        let thread = thread::Builder::new().name("das-terminal".into()).spawn(body).ok();
        Screen { thread, stop, left }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
