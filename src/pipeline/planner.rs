//! The planner thread (`das-plan`): makes what a job will need while the dsp thread goes on, and frees what that no longer
//! needs. It is given an [`Outline`] of the plans and gives a [`Stock`] of parts back; it touches nothing that is in use.
//! The dsp thread never waits for it: orders go into a queue, what is prepared comes by another, and when the thread is
//! gone the dsp thread does it all itself.

use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::config::ViewConfig;
use crate::pipeline::plan::{Outline, Stock};

/// Orders that may wait: one to prepare, and memory to free.
const WAITING: usize = 64;

/// What to make for a job.
pub(super) struct Order {
    pub(super) ticket: u64,
    pub(super) outline: Outline,
    pub(super) job: String,
    pub(super) streams: Vec<ViewConfig>,
}

/// What was made for a job: to be handed to [`Engine::begin_prepared`](super::Engine::begin_prepared).
pub struct Prepared {
    pub(super) ticket: u64,
    pub(super) stock: Stock,
}

enum Work {
    Prepare(Box<Order>),
    Free(Stock),
}

/// The thread, for as long as this is there.
pub(super) struct Planner {
    /// Some until drop.
    work_tx: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Planner {
    /// Starts the thread; what it makes comes by the queue.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(super) fn start() -> std::io::Result<(Self, Receiver<Prepared>)> {
        let (work_tx, work_rx) = bounded(WAITING);
        // One is made at a time; others that nobody waits for any more may lie there.
        let (prepared_tx, prepared_rx) = unbounded();
        let thread = Builder::new().name("das-plan".into()).spawn(move || {
            for work in work_rx {
                match work {
                    Work::Prepare(order) => {
                        let stock = order.outline.prepare(&order.job, &order.streams);
                        if prepared_tx.send(Prepared { ticket: order.ticket, stock }).is_err() {
                            return;
                        }
                    }
                    Work::Free(stock) => drop(stock),
                }
            }
        })?;
        Ok((Self { work_tx: Some(work_tx), thread: Some(thread) }, prepared_rx))
    }

    /// Asks for it; whether the order was taken.
    pub(super) fn prepare(&self, order: Order) -> bool {
        self.work_tx.as_ref().is_some_and(|work_tx| work_tx.try_send(Work::Prepare(Box::new(order))).is_ok())
    }

    /// Frees memory; here and now when there is no room in the queue.
    pub(super) fn free(&self, stock: Stock) {
        if let Some(work_tx) = self.work_tx.as_ref().filter(|_| !stock.is_empty()) {
            drop(work_tx.try_send(Work::Free(stock)).map_err(TrySendError::into_inner));
        }
    }
}

impl Drop for Planner {
    fn drop(&mut self) {
        self.work_tx = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
