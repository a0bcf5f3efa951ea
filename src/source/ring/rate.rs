//! The PRR measured against the host's monotonic clock over a sliding window.
//!
//! A trace can only be seen late, never early, and the scheduler makes some of them very late. So each half second
//! keeps the one sighting that was least late, and a straight line through the last 10 s of those gives the rate.

/// Seconds that one bucket covers.
const BUCKET_S: f64 = 0.5;
/// Buckets in the window of 10 s.
const BUCKETS: usize = 20;
/// Buckets needed for a statement: 5 s.
const ENOUGH: usize = 10;

#[derive(Clone, Copy, Default)]
struct Sighting {
    bucket: u64,
    trace: f64,
    at_s: f64,
}

/// Sightings of the newest trace.
pub(super) struct RateMeter {
    nominal_hz: f64,
    origin: Option<(u64, f64)>,
    /// By bucket number modulo; the newest is still open.
    sightings: [Sighting; BUCKETS + 1],
    newest: u64,
}

impl RateMeter {
    /// `nominal_hz` is used only to tell which of two sightings is later than it should be.
    pub(super) fn new(nominal_hz: f64) -> Self {
        Self { nominal_hz, origin: None, sightings: [Sighting::default(); BUCKETS + 1], newest: 0 }
    }

    /// Trace number `trace` was the newest one at `at_s` seconds on the monotonic clock. Returns by how many seconds that
    /// was later than the least late sighting of the last half to whole second would have it.
    pub(super) fn see(&mut self, trace: u64, at_s: f64) -> f64 {
        let (trace_0, s_0) = *self.origin.get_or_insert((trace, at_s));
        let (trace, at_s) = (trace.saturating_sub(trace_0) as f64, at_s - s_0);
        // Bucket 0 means empty.
        let bucket = (at_s / BUCKET_S) as u64 + 1;
        self.newest = bucket;
        let slot = |bucket: u64| (bucket % (BUCKETS as u64 + 1)) as usize;
        let lateness = |s: &Sighting| s.at_s - s.trace / self.nominal_hz;
        let new = Sighting { bucket, trace, at_s };
        let before = self.sightings[slot(bucket - 1)];
        let kept = &mut self.sightings[slot(bucket)];
        if kept.bucket != bucket || lateness(&new) < lateness(kept) {
            *kept = new;
        }
        let mut least = lateness(kept);
        if bucket > 1 && before.bucket == bucket - 1 {
            least = least.min(lateness(&before));
        }
        lateness(&new) - least
    }

    /// Traces per second; `None` until 5 s of the last 10 s have sightings.
    pub(super) fn hz(&self) -> Option<f64> {
        let oldest = self.newest.saturating_sub(BUCKETS as u64).max(1);
        let closed = || self.sightings.iter().filter(|s| (oldest..self.newest).contains(&s.bucket));
        let n = closed().count();
        if n < ENOUGH {
            return None;
        }
        let mean = |f: fn(&Sighting) -> f64| closed().map(f).sum::<f64>() / n as f64;
        let (mean_trace, mean_s) = (mean(|s| s.trace), mean(|s| s.at_s));
        let (covariance, variance) = closed().fold((0.0, 0.0), |(c, v), s| {
            let (trace, seconds) = (s.trace - mean_trace, s.at_s - mean_s);
            (c + trace * seconds, v + seconds * seconds)
        });
        Some(covariance / variance).filter(|hz| hz.is_finite() && *hz > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn a_rate_300_ppm_off_is_measured_to_10_ppm_through_a_late_scheduler() {
        let true_hz = 2000.6;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut meter = RateMeter::new(2000.0);
        for slot in 1..=3000u64 {
            let trace = slot * 20;
            // Half a millisecond of polling, and one in twenty is 30 ms late.
            let late = rng.random_range(0.0..0.0005) + if rng.random_range(0..20) == 0 { 0.03 } else { 0.0 };
            let said = meter.see(5_000_000 + trace, 1e5 + trace as f64 / true_hz + late);
            // 300 ppm drift by 0.3 ms in the second that is looked back over.
            assert!((0.0..0.0312).contains(&said) && (late < 0.02 || said > 0.029), "{said} s for {late} s");
            let ppm = meter.hz().map(|hz| (hz / true_hz - 1.0) * 1e6);
            assert!(ppm.is_none_or(|ppm| ppm.abs() < 30.0), "{ppm:?} ppm after slot {slot}");
            let seconds = trace as f64 / true_hz;
            assert!(ppm.is_some() == (seconds > 5.0) || (5.0..5.05).contains(&seconds), "{ppm:?} after {seconds} s");
        }
        let ppm = (meter.hz().unwrap() / true_hz - 1.0) * 1e6;
        assert!(ppm.abs() < 10.0, "{ppm} ppm");
    }
}
