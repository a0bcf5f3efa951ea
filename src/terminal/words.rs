//! The numbers of a [`Report`] in words for people, the same on the screen and in plain lines.

use std::time::Instant;

use super::colour::Rgb;
use crate::status::{BrokerState, Report, Status};

/// A report, and what only two reports together say.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The report.
    pub report: Report,
    /// Traces read in a second.
    pub traces_per_s: f64,
    /// Frames made in a second.
    pub made_per_s: f64,
    /// Frames published in a second.
    pub published_per_s: f64,
    /// Frames confirmed in a second.
    pub confirmed_per_s: f64,
    /// From the last trace of a frame to its confirm, 50 % and 99 %, in seconds.
    pub latency_s: Option<(f64, f64)>,
    /// Where the control API listens.
    pub http: String,
    /// Host and port of the broker; empty when there is none.
    pub broker_address: String,
}

/// Counters at one moment.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    counts: [u64; 4],
}

/// Turns counters into rates over about two seconds.
pub struct Rates {
    marks: std::collections::VecDeque<Mark>,
}

impl Rates {
    /// No rates yet.
    pub fn new() -> Self {
        Self { marks: std::collections::VecDeque::new() }
    }

    /// Looks at `status` now.
    pub fn snapshot(&mut self, status: &Status, http: &str, broker_address: &str) -> Snapshot {
        let c = &status.counters;
        let counts = [
            c.capture.traces.get(),
            c.egress.frames_made.get(),
            c.publish.frames_published.get(),
            c.publish.frames_confirmed.get(),
        ];
        let now = Mark { at: Instant::now(), counts };
        while self.marks.len() > 1 && (now.at - self.marks[1].at).as_secs_f64() > 2.0 {
            self.marks.pop_front();
        }
        let first = self.marks.front().copied().unwrap_or(now);
        self.marks.push_back(now);
        let seconds = (now.at - first.at).as_secs_f64();
        let rate = |i: usize| {
            if seconds > 0.0 { now.counts[i].saturating_sub(first.counts[i]) as f64 / seconds } else { 0.0 }
        };
        let latency = &c.publish.confirm_latency;
        Snapshot {
            report: status.report(),
            traces_per_s: rate(0),
            made_per_s: rate(1),
            published_per_s: rate(2),
            confirmed_per_s: rate(3),
            latency_s: latency.quantile_s(0.5).zip(latency.quantile_s(0.99)),
            http: http.to_owned(),
            broker_address: broker_address.to_owned(),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

/// `waiting for fiber — no new traces (12 s)`, `acquiring — 300 channels at 2000 Hz, replayed (3 s)`.
pub(super) fn phase(report: &Report) -> String {
    let since = age((report.now_ms - report.since_ms).max(0) as f64 / 1000.0);
    let what = match (&report.reason, report.channels, report.prr_declared_hz) {
        (Some(reason), _, _) => format!(" — {reason}"),
        (None, Some(channels), Some(prr)) => format!(" — {channels} channels at {} Hz", short(prr)),
        _ => String::new(),
    };
    // Old or invented data must not pass for what a fiber does now.
    let source = match report.source {
        Some("synthetic") => ", synthetic: no fiber at all",
        Some("replay") => ", replayed",
        _ => "",
    };
    format!("{}{what}{source} ({since})", report.phase)
}

/// The colour that the phase stands on.
pub(super) fn paper(report: &Report) -> Rgb {
    match report.phase {
        "acquiring" => [20, 110, 50],
        "stalled" => [150, 110, 0],
        "draining" => [30, 70, 140],
        _ => [170, 50, 20],
    }
}

/// The rows of numbers: name, text, and whether it deserves a look.
pub(super) fn rows(now: &Snapshot) -> Vec<(&'static str, String, bool)> {
    let r = &now.report;
    let lost = r.gap_traces + r.frames_dropped_at_egress;
    let behind = matches!(r.broker, BrokerState::Away | BrokerState::Blocked);
    vec![
        ("traces", traces(now), deviates(r)),
        (
            "load",
            format!("{:.1} % of real time · queue {} blocks", r.pipeline_load * 100.0, r.capture_queue_blocks),
            r.pipeline_load > 0.8,
        ),
        ("lost", losses(r), lost > 0),
        ("frames", frames(now), r.frames_unroutable > 0),
        ("broker", broker(now), behind),
        ("health", health(r), !r.conditions.is_empty()),
    ]
}

/// What is not as it should be; the rows above have said what the phase and the broker are.
fn health(r: &Report) -> String {
    let whats: Vec<&str> = r.conditions.iter().map(|one| one.what.as_str()).collect();
    if whats.is_empty() { "nothing is wrong".to_owned() } else { whats.join(" · ") }
}

fn traces(now: &Snapshot) -> String {
    let r = &now.report;
    let hz = |what: &str, value: Option<f64>| value.map(|hz| format!("{} {what}", short(hz)));
    let parts = [hz("asked", r.prr_asked_hz), hz("declared", r.prr_declared_hz), hz("measured", r.prr_measured_hz)];
    let prr: Vec<String> = parts.into_iter().flatten().collect();
    let prr = if prr.is_empty() { "unknown".to_owned() } else { prr.join(", ") };
    format!("{:.0}/s · PRR Hz: {prr} · {} so far", now.traces_per_s, r.traces)
}

/// Measured or declared PRR more than 100 ppm away from what was asked for, or from each other.
fn deviates(r: &Report) -> bool {
    let off = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (a / b - 1.0).abs() > 100e-6);
    off(r.prr_declared_hz, r.prr_asked_hz) || off(r.prr_measured_hz, r.prr_declared_hz)
}

fn losses(r: &Report) -> String {
    let places = [
        (r.traces_lost_before_ring, "traces before the ring"),
        (r.traces_dropped_no_block, "traces because the pipeline was too slow"),
        (r.frames_dropped_at_egress, "frames on the way to the broker"),
    ];
    let mut parts = Vec::new();
    if r.gaps > 0 {
        let gaps = if r.gaps == 1 { "gap" } else { "gaps" };
        parts.push(format!("{} traces in {} {gaps}", r.gap_traces, r.gaps));
    }
    parts.extend(places.iter().filter(|(n, _)| *n > 0).map(|(n, place)| format!("{n} {place}")));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" · ") }
}

fn frames(now: &Snapshot) -> String {
    let r = &now.report;
    let unwanted = match r.frames_unroutable {
        0 => String::new(),
        n => format!(" · {n} wanted by no queue"),
    };
    format!(
        "{:.0}/s made, {:.0}/s published, {:.0}/s confirmed · {} confirmed, {} waiting{unwanted}",
        now.made_per_s, now.published_per_s, now.confirmed_per_s, r.frames_confirmed, r.frames_waiting
    )
}

/// How it stands with the broker, in a sentence.
pub(super) fn broker(now: &Snapshot) -> String {
    let at = &now.broker_address;
    let within = |s: f64| if s.is_finite() { format!("≤ {} ms", short(s * 1000.0)) } else { "> 5 s".to_owned() };
    match now.report.broker {
        BrokerState::Disabled => "no broker asked for: frames are made and shown, not published".into(),
        BrokerState::Connecting => format!("looking for a broker at {at}"),
        BrokerState::Away => format!("no broker at {at}: frames are made and shown, not published"),
        BrokerState::Blocked => format!("the broker at {at} accepts nothing (memory or disk alarm): frames wait"),
        BrokerState::Connected => match now.latency_s {
            Some((p50, p99)) => {
                format!("publishing to {at} · to confirm p50 {}, p99 {}", within(p50), within(p99))
            }
            None => format!("connected to {at}"),
        },
    }
}

/// Everything in one line.
pub fn summary(now: &Snapshot) -> String {
    let r = &now.report;
    format!(
        "{} | {} | load {:.1} % | lost: {} | {} | {} | {}",
        phase(r),
        traces(now),
        r.pipeline_load * 100.0,
        losses(r),
        frames(now),
        broker(now),
        health(r)
    )
}

/// At most two decimals, none when they are zero.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `12 s`, `3 min 5 s`, `2 h 10 min`.
fn age(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}
