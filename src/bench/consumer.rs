//! The consumer of the benchmark, on a thread of its own (`bench-io`): takes every frame, keeps when it came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::BenchError;
use crate::config::BrokerConfig;
use crate::publish::amqp::Subscriber;

/// Frames that have come so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Received {
    /// How many.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// For each that says when its last trace was launched: that moment in nanoseconds since the UNIX epoch, and how
    /// many nanoseconds later the frame was here.
    pub(super) delays: Vec<(i64, i64)>,
    /// The connection ended before it was asked to.
    pub(super) cut_off: bool,
}

/// A consumer at work.
pub(super) struct Consumer {
    runtime: Runtime,
    received: Arc<Mutex<Received>>,
    stop_tx: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Consumer {
    /// Connects and begins to take frames: from now on every frame finds a queue.
    ///
    /// # Errors
    /// `Ok(Err(…))`: why there is no such broker. `Err`: when the system does not give a thread.
    pub(super) fn start(config: &BrokerConfig) -> Result<Result<Self, String>, BenchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bench-io")
            .enable_all()
            .build()
            .map_err(|error| BenchError::Io { what: "starting the consumer".into(), error })?;
        let subscriber = match runtime.block_on(Subscriber::open(config)) {
            Ok(subscriber) => subscriber,
            Err(why) => {
                runtime.shutdown_background();
                return Ok(Err(why));
            }
        };
        let received = Arc::new(Mutex::new(Received::default()));
        let (stop_tx, stop_rx) = oneshot::channel();
        let task = runtime.spawn(take(subscriber, Arc::clone(&received), stop_rx));
        Ok(Ok(Self { runtime, received, stop_tx, task }))
    }

    /// How many frames have come so far.
    pub(super) fn frames(&self) -> u64 {
        lock(&self.received).frames
    }

    /// Deletes the exchanges, ends the connection, and returns what has come.
    pub(super) fn stop(self) -> Received {
        // The task may have ended with its connection.
        let _ = self.stop_tx.send(());
        let _ = self.runtime.block_on(self.task);
        self.runtime.shutdown_background();
        std::mem::take(&mut *lock(&self.received))
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(mut subscriber: Subscriber, received: Arc<Mutex<Received>>, mut stop_rx: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            // Also when the consumer was dropped on the way out of a fault.
            _ = &mut stop_rx => return subscriber.close().await,
            arrival = subscriber.next() => {
                let now_ns = now_ns();
                let mut received = lock(&received);
                let Some(arrival) = arrival else {
                    received.cut_off = true;
                    return;
                };
                received.frames += 1;
                received.bytes += arrival.bytes as u64;
                received.delays.extend(arrival.utc_end_ns.map(|end| (end, now_ns.saturating_sub(end))));
            }
        }
    }
}

/// Nanoseconds since the UNIX epoch.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
