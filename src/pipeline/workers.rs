//! Who works on the tiles of a block: the thread of an engine, and the threads of a pool (`das-fft-N`) that all engines
//! of the daemon share. Scratch memory is each engine's own, one [`Worker`] for each thread that may work for it.
//!
//! Tiles share nothing, so they are given out as threads become free. Which thread takes which tile changes no value.
//!
//! One engine leads a pool, the live one: its thread is worker 0, which saves a hand-over, and rayon gives its tiles out.
//! All others work [beside](Workers::beside) it, each on a thread outside the pool. Such an engine takes its tiles one
//! after the other itself, and threads of the pool help: before each tile they look whether the leading engine has a block
//! in hand, and if so they leave. From this follows:
//!
//! * The leading engine never waits for a tile of another. What its block is split into lies with its own thread until
//!   somebody takes it; a thread that is busy elsewhere comes at the end of the one tile that it has, and its own thread
//!   takes tasks of the pool only while its block is in hand, so that helpers' tasks end there before their first tile.
//! * A pool whose only thread is the leading one has no helpers: who works beside it works alone, and waits for nobody.
//! * Who works beside waits, at the end of a block, until each helper has come and found nothing left: for as long as a
//!   block of the leading engine keeps the threads of the pool. To call a helper allocates a task.
//!
//! How cores are shared between threads that want to run is the system's: who works beside at lower priority gives its own
//! thread that priority.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tracing::warn;

use crate::dsp::{Plan, Worker};
use crate::pipeline::tile::{TILE_CHANNELS, Tile};

/// Threads that engines share. See the module.
pub struct WorkerPool {
    pool: ThreadPool,
    /// Those that take work whenever there is some: all but a thread that was there before.
    helpers: usize,
    /// Blocks that leading engines have in hand.
    leading: AtomicUsize,
}

impl WorkerPool {
    /// A pool of `threads` threads, 0 being one for each core. The calling thread is one of them for as long as it lives.
    pub fn with_this_thread(threads: usize) -> Arc<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        match builder(threads).use_current_thread().build() {
            Ok(pool) => Self::of(pool, threads - 1),
            Err(error) => {
                warn!(%error, "the dsp thread cannot join its own pool and hands work over instead");
                Self::apart(threads)
            }
        }
    }

    /// A pool of `threads` threads beside the calling one, which hands work over to them.
    pub fn apart(threads: usize) -> Arc<Self> {
        Self::of(builder(threads).build().expect("the system can start a few threads"), threads)
    }

    fn of(pool: ThreadPool, helpers: usize) -> Arc<Self> {
        Arc::new(Self { pool, helpers, leading: AtomicUsize::new(0) })
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Only advice to other threads, so no order is needed; the leading thread itself always sees what it has said.
    fn is_free(&self) -> bool {
        self.leading.load(Ordering::Relaxed) == 0
    }

    fn lead(&self) -> Leading<'_> {
        self.leading.fetch_add(1, Ordering::Relaxed);
        Leading(&self.leading)
    }
}

/// A block of a leading engine is in hand until this is dropped.
struct Leading<'a>(&'a AtomicUsize);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an engine works with: a share of a pool, and its scratch memory.
pub struct Workers {
    pool: Arc<WorkerPool>,
    /// Whether this engine is the one that others make way for.
    leads: bool,
    /// One for each thread of the pool, and for a thread outside it the last; never waited for.
    scratch: Vec<Mutex<Worker>>,
}

impl Workers {
    /// For the engine that leads `pool`; one does.
    pub fn leading(pool: Arc<WorkerPool>) -> Self {
        Self::of(pool, true, 0)
    }

    /// For an engine on a thread outside `pool` that makes way for the leading one.
    pub fn beside(pool: Arc<WorkerPool>) -> Self {
        Self::of(pool, false, 1)
    }

    fn of(pool: Arc<WorkerPool>, leads: bool, outside: usize) -> Self {
        let scratch = (0..pool.threads() + outside).map(|_| Mutex::default()).collect();
        Self { pool, leads, scratch }
    }

    /// The pool, for an engine beside this one.
    pub const fn pool(&self) -> &Arc<WorkerPool> {
        &self.pool
    }

    /// How many threads may work on a block.
    pub fn threads(&self) -> usize {
        if self.leads { self.pool.threads() } else { self.pool.helpers + 1 }
    }

    /// The shape of the scratch memory, to make some elsewhere.
    pub(super) const fn scratch(&self) -> Scratch {
        Scratch { threads: self.scratch.len() }
    }

    /// Works with `scratch` from now on. Returns what was used before.
    pub(super) fn exchange(&mut self, scratch: Vec<Worker>) -> Vec<Worker> {
        let fresh = scratch.into_iter().map(Mutex::new).collect();
        let old = std::mem::replace(&mut self.scratch, fresh);
        old.into_iter().map(|worker| worker.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Makes every worker's scratch memory large enough for `plans`, and for tables of `traces` traces of a tile.
    pub fn reserve<'a>(&mut self, plans: &(impl Iterator<Item = &'a Arc<Plan>> + Clone), traces: usize) {
        for worker in &mut self.scratch {
            make_room(worker.get_mut().unwrap_or_else(PoisonError::into_inner), plans.clone(), traces);
        }
    }

    /// The same work on each tile; by all threads, or by this one alone.
    pub fn each(&self, tiles: &mut [Tile], all: bool, work: impl Fn(&mut Tile, &mut Worker) + Sync) {
        let one = |tile: &mut Tile| self.with_worker(|worker| work(tile, worker));
        if !all {
            tiles.iter_mut().for_each(one);
        } else if self.leads {
            let _in_hand = self.pool.lead();
            self.pool.pool.install(|| tiles.par_iter_mut().for_each(one));
        } else {
            self.with_help(tiles, one);
        }
    }

    /// Tile after tile, with the help of threads that have nothing better to do.
    fn with_help(&self, tiles: &mut [Tile], one: impl Fn(&mut Tile) + Sync) {
        let helpers = self.pool.helpers.min(tiles.len().saturating_sub(1));
        let left = Mutex::new(tiles.iter_mut());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.pool.pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| {
                    while self.pool.is_free()
                        && let Some(tile) = next()
                    {
                        one(tile);
                    }
                });
            }
            while let Some(tile) = next() {
                one(tile);
            }
        });
    }

    /// Each thread has its own worker and `work` gives nothing out, so the lock is always free.
    fn with_worker(&self, work: impl FnOnce(&mut Worker)) {
        let number = self.pool.pool.current_thread_index().unwrap_or(self.scratch.len() - 1);
        work(&mut self.scratch[number].lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How many pieces of scratch memory an engine has.
#[derive(Clone, Copy, Default)]
pub(super) struct Scratch {
    threads: usize,
}

impl Scratch {
    /// Memory that is large enough for `plans`, and for tables of `traces` traces of a tile.
    pub(super) fn make<'a>(self, plans: &(impl Iterator<Item = &'a Arc<Plan>> + Clone), traces: usize) -> Vec<Worker> {
        let worker = |_| {
            let mut worker = Worker::default();
            make_room(&mut worker, plans.clone(), traces);
            worker
        };
        (0..self.threads).map(worker).collect()
    }
}

fn make_room<'a>(worker: &mut Worker, plans: impl Iterator<Item = &'a Arc<Plan>>, traces: usize) {
    worker.reserve_cells(TILE_CHANNELS, traces);
    plans.for_each(|plan| worker.reserve(plan));
}

fn builder(threads: usize) -> ThreadPoolBuilder {
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("das-fft-{i}"))
}
