//! The numbers of [`Facts`] in words for people, the same on the screen and in plain lines.

use super::colour::Rgb;
use super::facts::{Facts, PerSecond};
use super::text::{duration, short, utc};
use crate::status::BrokerState;

/// `waiting for fiber — no new traces (12 s)`, `acquiring — 300 channels at 2000 Hz, replayed (3 s)`.
pub(super) fn phase(facts: &Facts) -> String {
    let what = match (&facts.reason, facts.channels, facts.prr.declared) {
        (Some(reason), _, _) => format!(" — {reason}"),
        (None, Some(channels), Some(prr)) => format!(" — {channels} channels at {} Hz", short(prr)),
        _ => String::new(),
    };
    // Old or invented data must not pass for what a fiber does now.
    let source = match facts.source.as_deref() {
        Some("synthetic") => ", synthetic: no fiber at all",
        Some("replay") => ", replayed",
        _ => "",
    };
    format!("{}{what}{source} ({})", facts.phase, duration(facts.held_s))
}

/// The colour that the phase stands on.
pub(super) fn paper(facts: &Facts) -> Rgb {
    match facts.phase.as_str() {
        "acquiring" => [20, 110, 40],
        "stalled" => [150, 110, 0],
        "draining" => [30, 70, 140],
        _ => [170, 50, 20],
    }
}

/// The rows of numbers: name, text, and whether it deserves a look.
pub(super) fn rows(facts: &Facts) -> Vec<(&'static str, String, bool)> {
    let behind = matches!(facts.broker.state, BrokerState::Away | BrokerState::Blocked);
    vec![
        ("source", source(facts), false),
        ("traces", traces(facts), deviates(facts)),
        (
            "load",
            format!("{:.1} % of real time · queue {} blocks", facts.load * 100.0, facts.queue_blocks),
            facts.load > 0.8,
        ),
        ("lost", losses(facts), facts.losses.gap_traces + lost_frames(facts) > 0),
        ("frames", frames(facts), facts.frames_unroutable > 0),
        ("broker", broker(facts), behind),
        ("health", health(facts), !facts.conditions.is_empty()),
    ]
}

fn source(facts: &Facts) -> String {
    let kind = match facts.source.as_deref() {
        Some("ring") => "interrogator, through the ring",
        Some("replay") => "replay",
        Some("synthetic") => "simulation, through the ring",
        Some(other) => other,
        None => "none yet",
    };
    let replay = facts.replay.as_deref().filter(|_| facts.source.is_some()).map(|replay| format!(" of {replay}"));
    let time = facts.last_trace_ms.map(|ms| format!(" · newest trace {} UTC", utc(ms)));
    format!("{kind}{}{}", replay.unwrap_or_default(), time.unwrap_or_default())
}

/// What is not as it should be; the rows above have said what the phase and the broker are.
fn health(facts: &Facts) -> String {
    if facts.conditions.is_empty() { "nothing is wrong".to_owned() } else { facts.conditions.join(" · ") }
}

fn traces(facts: &Facts) -> String {
    let prr = facts.prr;
    let hz = |what: &str, value: Option<f64>| value.map(|hz| format!("{} {what}", short(hz)));
    let parts = [hz("asked", prr.asked), hz("declared", prr.declared), hz("measured", prr.measured)];
    let known: Vec<String> = parts.into_iter().flatten().collect();
    let known = if known.is_empty() { "unknown".to_owned() } else { known.join(", ") };
    format!("{:.0}/s · PRR Hz: {known} · {} so far", facts.per_second.traces, facts.counts.traces)
}

/// Measured or declared PRR more than 100 ppm away from what was asked for, or from each other.
fn deviates(facts: &Facts) -> bool {
    let off = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (a / b - 1.0).abs() > 100e-6);
    off(facts.prr.declared, facts.prr.asked) || off(facts.prr.measured, facts.prr.declared)
}

/// Frames that nobody could have had are not lost: those of a broker that has never been there.
fn lost_frames(facts: &Facts) -> u64 {
    if facts.broker.was_there { facts.losses.frames } else { 0 }
}

fn losses(facts: &Facts) -> String {
    let lost = facts.losses;
    let places = [
        (lost.before_ring, "traces before the ring"),
        (lost.no_block, "traces because the pipeline was too slow"),
        (lost_frames(facts), "frames on the way to the broker"),
    ];
    let mut parts = Vec::new();
    if lost.gaps > 0 {
        let gaps = if lost.gaps == 1 { "gap" } else { "gaps" };
        parts.push(format!("{} traces in {} {gaps}", lost.gap_traces, lost.gaps));
    }
    parts.extend(places.iter().filter(|(n, _)| *n > 0).map(|(n, place)| format!("{n} {place}")));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" · ") }
}

fn frames(facts: &Facts) -> String {
    let unwanted = match facts.frames_unroutable {
        0 => String::new(),
        n => format!(" · {n} wanted by no queue"),
    };
    let PerSecond { made, published, confirmed, .. } = facts.per_second;
    format!(
        "{made:.0}/s made, {published:.0}/s published, {confirmed:.0}/s confirmed · {} confirmed, {} waiting{unwanted}",
        facts.counts.confirmed, facts.frames_waiting
    )
}

/// How it stands with the broker, in a sentence.
fn broker(facts: &Facts) -> String {
    let at = facts.broker.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let within = |s: f64| if s.is_finite() { format!("≤ {} ms", short(s * 1000.0)) } else { "> 5 s".to_owned() };
    match facts.broker.state {
        BrokerState::Disabled => "no broker asked for: frames are made and shown, not published".into(),
        BrokerState::Connecting => format!("looking for a broker{at}"),
        BrokerState::Away => format!("no broker{at}: frames are made and shown, not published"),
        BrokerState::Blocked => format!("the broker{at} accepts nothing (memory or disk alarm): frames wait"),
        BrokerState::Connected => match facts.broker.latency_s {
            Some((p50, p99)) => {
                format!("connected{at} · from trace to confirm p50 {}, p99 {}", within(p50), within(p99))
            }
            None => format!("connected{at}"),
        },
    }
}

/// Everything in one line.
pub(super) fn summary(facts: &Facts) -> String {
    format!(
        "{} | {} | {} | load {:.1} % | lost: {} | {} | {} | {}",
        phase(facts),
        source(facts),
        traces(facts),
        facts.load * 100.0,
        losses(facts),
        frames(facts),
        broker(facts),
        health(facts)
    )
}
