//! The other direction: what the control API and the bus ask of the dsp thread while data flows.
//!
//! A [`Control`] may be held by anybody; what it asks is applied between two blocks, and the answer names the trace from
//! which it holds. Asking never makes the pipeline wait: a reply that nobody waits for any more is dropped.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::config::ViewConfig;
use crate::pipeline::cost::Rates;
use crate::refusal::Refusal;

/// Commands that may wait for the dsp thread; more are refused at once.
const WAITING: usize = 4096;

/// What the dsp thread is asked.
pub enum Command {
    /// Start these streams, all of them or none: stream `i` of job `job` shows `streams[i]`. A job that is there already
    /// gets these streams in place of its own, between two lines.
    Open {
        /// Job id.
        job: String,
        /// Its streams in order.
        streams: Vec<ViewConfig>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Opened, Refusal>>,
    },
    /// End a job: no frame of it is made after the answer.
    Close {
        /// Job id.
        job: String,
        /// Where the answer goes: whether there was such a job.
        reply: oneshot::Sender<bool>,
    },
}

/// From when on a job holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Epoch of the acquisition.
    pub epoch: u64,
    /// Lines that end behind this trace are shown.
    pub first_trace: u64,
    /// Unit of the job's values as long as it lives.
    pub unit: String,
    /// Unit of the samples.
    pub sample_unit: String,
}

/// A job that the pipeline has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// Its id.
    pub job: String,
    /// Why, in words for its client.
    pub reason: String,
}

/// Where the pipeline says which jobs it has ended; never waits.
pub type EndedTx = mpsc::UnboundedSender<EndedJob>;

/// A way to ask.
#[derive(Clone, Debug)]
pub struct Control {
    command_tx: Sender<Command>,
    ended_tx: EndedTx,
    ended_rx: Arc<Mutex<mpsc::UnboundedReceiver<EndedJob>>>,
    rates: Arc<OnceLock<Rates>>,
}

/// A way to ask, and where the dsp thread hears it.
pub fn control() -> (Control, Receiver<Command>) {
    let (command_tx, command_rx) = bounded(WAITING);
    let (ended_tx, ended_rx) = mpsc::unbounded_channel();
    let ended_rx = Arc::new(Mutex::new(ended_rx));
    (Control { command_tx, ended_tx, ended_rx, rates: Arc::default() }, command_rx)
}

impl Control {
    /// Starts the streams of a job, or exchanges them.
    ///
    /// # Errors
    /// When they cannot be had from the acquisition at hand.
    pub async fn open(&self, job: &str, streams: Vec<ViewConfig>) -> Result<Opened, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Open { job: job.to_owned(), streams, reply })?;
        answer.await.map_err(|_| Refusal::Busy)?
    }

    /// Ends a job; whether there was one.
    ///
    /// # Errors
    /// When the pipeline is gone: then the job is, too.
    pub async fn close(&self, job: &str) -> Result<bool, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Close { job: job.to_owned(), reply })?;
        answer.await.map_err(|_| Refusal::Busy)
    }

    /// Where the pipeline says which jobs it has ended.
    pub fn ended_tx(&self) -> EndedTx {
        self.ended_tx.clone()
    }

    /// The next job that the pipeline has ended by itself; for one who waits.
    pub async fn ended(&self) -> EndedJob {
        match self.ended_rx.lock().await.recv().await {
            Some(ended) => ended,
            // There is a sender in here.
            None => std::future::pending().await,
        }
    }

    /// What work costs on this host: as it was measured, or as it is on another one until then.
    pub fn rates(&self) -> &Rates {
        self.rates.get().unwrap_or(&Rates::BUILT_IN)
    }

    /// Takes what has been measured on this host; the first time counts.
    pub fn calibrate(&self, rates: Rates) {
        let _ = self.rates.set(rates);
    }

    fn ask(&self, command: Command) -> Result<(), Refusal> {
        self.command_tx.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Refusal::Busy,
        })
    }
}
