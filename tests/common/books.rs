//! The books of a daemon, read from its `/metrics`.

use std::collections::BTreeMap;

use super::daemon::Daemon;
use super::wait_for;

/// Waits until the books of frames and of frames of jobs balance: frames may be on their way from one place to the next.
///
/// # Panics
/// With the numbers, when they never do.
pub fn wait_balanced(daemon: &Daemon) {
    let mut last = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    wait_for("balanced books", || {
        last = unbalanced(&daemon.get("/metrics").1);
        assert!(last.is_empty() || std::time::Instant::now() < deadline, "{last:?}");
        last.is_empty().then_some(())
    });
}

/// The accounts that do not balance: name, what came, what went.
pub fn unbalanced(metrics: &str) -> Vec<(&'static str, u64, u64)> {
    let values: BTreeMap<&str, f64> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' ').and_then(|(name, value)| Some((name, value.parse().ok()?))))
        .collect();
    let sum = |names: &[&str]| {
        names
            .iter()
            .map(|name| values.get(format!("fiberd_{name}").as_str()).copied().unwrap_or(0.0) as u64)
            .sum::<u64>()
    };
    let fence = sum(&["frames_waiting"]) - sum(&["frames_unanswered"]).min(sum(&["frames_waiting"]));
    let frames_made = [
        "frames_dropped_total{place=\"egress\"}",
        "frames_dropped_total{place=\"too_large\"}",
        "frames_without_broker_total",
        "frames_published_total",
    ];
    let frames_published = [
        "frames_confirmed_total",
        "frames_unroutable_total",
        "frames_dropped_total{place=\"broker\"}",
        "frames_unconfirmed_total",
        "frames_unanswered",
    ];
    let job_frames_offered = [
        "job_frames_held_back_total{reason=\"unwanted\"}",
        "job_frames_held_back_total{reason=\"throttled\"}",
        "job_frames_held_back_total{reason=\"not_connected\"}",
        "job_frames_held_back_total{reason=\"too_large\"}",
        "job_frames_dropped_total{place=\"queue\"}",
        "job_frames_dropped_total{place=\"late\"}",
        "job_frames_published_total",
        "job_frames_waiting",
    ];
    let job_frames_published = [
        "job_frames_confirmed_total",
        "job_frames_unroutable_total",
        "job_frames_dropped_total{place=\"broker\"}",
        "job_frames_unanswered",
    ];
    let accounts = [
        ("frames made", sum(&["frames_made_total"]), sum(&frames_made) + fence),
        ("frames published", sum(&["frames_published_total"]), sum(&frames_published)),
        ("job frames offered", sum(&["job_frames_offered_total"]), sum(&job_frames_offered)),
        ("job frames published", sum(&["job_frames_published_total"]), sum(&job_frames_published)),
    ];
    accounts.into_iter().filter(|(_, came, went)| came != went).collect()
}
