//! Numbers that many threads read while one or several change them, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Raises the value to `total`, for what another party counts.
    pub fn raise_to(&self, total: u64) {
        self.0.fetch_max(total, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Upper edges of the latency histogram in seconds.
pub const LATENCY_EDGES_S: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Counts of durations by upper edge; the last cell holds what is longer than all edges.
#[derive(Debug, Default)]
pub struct Histogram {
    cells: [Counter; LATENCY_EDGES_S.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: std::time::Duration) {
        let seconds = duration.as_secs_f64();
        let cell = LATENCY_EDGES_S.partition_point(|&edge| edge < seconds);
        self.cells[cell].add(1);
        self.sum_ns.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts by cell.
    pub fn cells(&self) -> [u64; LATENCY_EDGES_S.len() + 1] {
        std::array::from_fn(|i| self.cells[i].get())
    }

    /// Sum of all durations in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns.get() as f64 * 1e-9
    }

    /// The edge under which at least the share `q` (0…1) of all durations lies; `None` when there are none, infinity
    /// when it is above the last edge.
    pub fn quantile_s(&self, q: f64) -> Option<f64> {
        quantile_s(&self.cells(), q)
    }
}

/// [`Histogram::quantile_s`] of counts by cell, wherever they come from.
pub fn quantile_s(cells: &[u64], q: f64) -> Option<f64> {
    let total = cells.iter().fold(0, |total: u64, &n| total.saturating_add(n));
    let wanted = (q * total as f64).ceil().max(1.0) as u64;
    let mut seen: u64 = 0;
    let cell = cells.iter().position(|&n| {
        seen = seen.saturating_add(n);
        seen >= wanted
    })?;
    (total > 0).then(|| LATENCY_EDGES_S.get(cell).copied().unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn histogram_counts_by_upper_edge() {
        let h = Histogram::default();
        assert_eq!(h.quantile_s(0.99), None);
        for _ in 0..99 {
            h.record(Duration::from_millis(5));
        }
        h.record(Duration::from_secs(60));
        assert_eq!(h.quantile_s(0.99), Some(0.005));
        assert_eq!(h.quantile_s(1.0), Some(f64::INFINITY));
    }
}
