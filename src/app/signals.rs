//! Signals and the time limit of a run, as wishes to stop.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::AppError;

/// SIGINT, SIGTERM and SIGHUP. From the moment this is made, none of them ends the process by itself.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// # Errors
    /// When the system does not let us listen.
    pub(super) fn new() -> Result<Self, AppError> {
        let listen = |kind| signal(kind).map_err(|error| AppError::Io { what: "listening for signals".into(), error });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: Some(listen(SignalKind::hangup())?),
        })
    }

    /// SIGHUP, for whoever makes something else of it than a wish to stop.
    pub(super) fn take_hangup(&mut self) -> Option<Signal> {
        self.hangup.take()
    }

    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }

    /// Hands every signal on as a wish to stop, and the end of `run_for` as another. Ends only when nobody listens.
    pub(super) async fn become_wishes(
        mut self,
        run_for: Option<Duration>,
        wishes: mpsc::UnboundedSender<&'static str>,
    ) {
        let time = async {
            match run_for {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time);
        let mut over = false;
        loop {
            let reason = tokio::select! {
                signal = self.next() => signal,
                () = &mut time, if !over => {
                    over = true;
                    "the time is over"
                }
                () = wishes.closed() => return,
            };
            let _ = wishes.send(reason);
        }
    }
}
