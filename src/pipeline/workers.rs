//! Who works on the tiles of a block: the dsp thread alone, or it and the other threads of its pool (`das-fft-N`).
//!
//! Tiles share nothing, so they are given out by rayon as threads become free; each thread has a [`Worker`] of its own.
//! Which thread takes which tile changes no value.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tracing::warn;

use crate::dsp::{Plan, Worker};
use crate::pipeline::tile::{TILE_CHANNELS, Tile};

/// See the module.
pub struct Workers {
    pool: ThreadPool,
    /// One for each thread of the pool; never waited for.
    workers: Vec<Mutex<Worker>>,
}

impl Workers {
    /// A pool of `threads` threads, 0 being one for each core. The calling thread is one of them for as long as it lives.
    pub fn with_this_thread(threads: usize) -> Self {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        match builder(threads).use_current_thread().build() {
            Ok(pool) => Self::of(pool),
            Err(error) => {
                warn!(%error, "the dsp thread cannot join its own pool and hands work over instead");
                Self::apart(threads)
            }
        }
    }

    /// A pool of `threads` threads beside the calling one, which hands work over to them.
    pub fn apart(threads: usize) -> Self {
        Self::of(builder(threads).build().expect("the system can start a few threads"))
    }

    fn of(pool: ThreadPool) -> Self {
        Self { workers: (0..pool.current_num_threads()).map(|_| Mutex::default()).collect(), pool }
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    /// Makes every worker's scratch memory large enough for `plans`, and for tables of `traces` traces of a tile.
    pub fn reserve<'a>(&mut self, plans: &(impl Iterator<Item = &'a Arc<Plan>> + Clone), traces: usize) {
        for worker in &mut self.workers {
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            worker.reserve_cells(TILE_CHANNELS, traces);
            for plan in plans.clone() {
                worker.reserve(plan);
            }
        }
    }

    /// The same work on each tile; by all threads, or by this one alone.
    pub fn each(&self, tiles: &mut [Tile], all: bool, work: impl Fn(&mut Tile, &mut Worker) + Sync) {
        let one = |tile: &mut Tile| self.with_worker(|worker| work(tile, worker));
        if all {
            self.pool.install(|| tiles.par_iter_mut().for_each(one));
        } else {
            tiles.iter_mut().for_each(one);
        }
    }

    /// Each thread has its own worker and `work` gives nothing out, so the lock is always free.
    fn with_worker(&self, work: impl FnOnce(&mut Worker)) {
        let number = self.pool.current_thread_index().unwrap_or(0);
        work(&mut self.workers[number].lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn builder(threads: usize) -> ThreadPoolBuilder {
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("das-fft-{i}"))
}
