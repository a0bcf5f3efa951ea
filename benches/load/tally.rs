//! What all readers count together, while they read: lines, bytes, losses, delays, faults.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::check::{Complaint, Samples};

/// Longest delay that is told apart.
const DELAYS_MS: usize = 60_000;

#[derive(Default)]
pub struct Tally {
    pub lines: AtomicU64,
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
    /// Lines that did not come, as row numbers tell.
    pub lost: AtomicU64,
    /// The same as calls tell it at their end.
    pub told_lost: AtomicU64,
    /// Rows by polling.
    pub rows: AtomicU64,
    pub polls: AtomicU64,
    pub samples: Samples,
    pub delays: Delays,
    faults: Mutex<BTreeMap<&'static str, Fault>>,
}

/// What went wrong: how often, and the first time in words.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    pub kind: &'static str,
    pub count: u64,
    pub first: String,
}

/// Counts at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub lines: u64,
    pub messages: u64,
    pub bytes: u64,
    pub lost: u64,
    pub rows: u64,
    pub polls: u64,
    pub compared: u64,
}

impl Tally {
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            lines: get(&self.lines),
            messages: get(&self.messages),
            bytes: get(&self.bytes),
            lost: get(&self.lost),
            rows: get(&self.rows),
            polls: get(&self.polls),
            compared: get(&self.samples.compared),
        }
    }

    pub fn fault(&self, kind: &'static str, what: impl Display) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.entry(kind).or_insert_with(|| Fault { kind, count: 0, first: what.to_string() });
        fault.count += 1;
    }

    /// Notes what is wrong; whether nothing was.
    pub fn hear<T>(&self, outcome: Result<T, Complaint>) -> Option<T> {
        outcome.map_err(|(kind, what)| self.fault(kind, what)).ok()
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Delays in whole milliseconds, which is what the times of lines have.
pub struct Delays {
    cells: Vec<AtomicU64>,
    counting: AtomicBool,
}

impl Default for Delays {
    fn default() -> Self {
        Self { cells: (0..=DELAYS_MS).map(|_| AtomicU64::new(0)).collect(), counting: AtomicBool::new(false) }
    }
}

impl Delays {
    /// Nothing is counted before.
    pub fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.counting.store(false, Ordering::Relaxed);
    }

    pub fn add(&self, delay_ms: i64) {
        if self.counting.load(Ordering::Relaxed) {
            self.cells[delay_ms.clamp(0, DELAYS_MS as i64) as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The smallest delay that at least the share `q` does not exceed.
    pub fn quantile(&self, q: f64) -> Option<usize> {
        let counts: Vec<_> = self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        let rank = (q * counts.iter().sum::<u64>() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        counts.iter().position(|count| {
            below += count;
            below >= rank
        })
    }
}

/// UTC, ms since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Times of requests, ms.
#[derive(Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that at least the share `q` does not exceed.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }
}
