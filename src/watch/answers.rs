//! What the control API says → [`Facts`]. Pure.

use serde_json::Value;

use crate::status::{BrokerState, quantile_s};
use crate::terminal::{Broker, Counts, Facts, Losses, Prr};

/// The facts in `/live_metadata`, `/readyz` and `/metrics`. Rates and the site are not among them.
pub(super) fn facts(live: &Value, ready: &Value, metrics: &Metrics<'_>, now_ms: i64) -> Facts {
    let text = |key: &str| live[key].as_str().map(str::to_owned);
    let ms = |key: &str| live[key].as_f64().map(|s| (s * 1000.0) as i64);
    let acquires = live["epoch"].is_u64();
    Facts {
        version: metrics.label("fiberd_build_info", "version").unwrap_or_default().to_owned(),
        phase: text("state").unwrap_or_default(),
        reason: text("reason"),
        held_s: ms("since").map_or(0.0, |since_ms| (now_ms - since_ms).max(0) as f64 / 1000.0),
        source: text("source"),
        last_trace_ms: ms("last_trace_time"),
        channels: live["number_of_channels"].as_u64().filter(|_| acquires).map(|n| n as usize),
        prr: Prr {
            asked: live["configured_prr"].as_f64(),
            declared: live["prr"].as_f64().filter(|hz| *hz > 0.0),
            measured: live["measured_prr"].as_f64(),
        },
        counts: Counts {
            traces: metrics.count("fiberd_traces_total"),
            made: metrics.count("fiberd_frames_made_total"),
            published: metrics.count("fiberd_frames_published_total"),
            confirmed: metrics.count("fiberd_frames_confirmed_total"),
        },
        load: metrics.value("fiberd_pipeline_load_ratio"),
        queue_blocks: metrics.value("fiberd_capture_queue_blocks"),
        losses: Losses {
            gaps: metrics.count("fiberd_gaps_total"),
            gap_traces: metrics.count("fiberd_gap_traces_total"),
            before_ring: metrics.count("fiberd_traces_dropped_total{place=\"before_ring\"}"),
            no_block: metrics.count("fiberd_traces_dropped_total{place=\"no_block\"}"),
            frames: metrics.count("fiberd_frames_dropped_total{place=\"egress\"}"),
        },
        frames_waiting: metrics.value("fiberd_frames_waiting"),
        frames_unroutable: metrics.count("fiberd_frames_unroutable_total"),
        broker: Broker {
            state: broker_state(metrics.label("fiberd_broker_state", "state")),
            was_there: metrics.count("fiberd_broker_connections_total") > 0,
            latency_s: metrics.latency_s("fiberd_confirm_latency_seconds"),
            ..Broker::default()
        },
        conditions: conditions(ready),
        ..Facts::default()
    }
}

/// Those of a daemon that is ready, or among the details of why it is not.
fn conditions(ready: &Value) -> Vec<String> {
    let list = ready["conditions"].as_array().or_else(|| ready["details"]["conditions"].as_array());
    let what = |one: &Value| one["what"].as_str().map(str::to_owned);
    list.into_iter().flatten().filter_map(what).collect()
}

fn broker_state(word: Option<&str>) -> BrokerState {
    match word {
        Some("connecting") => BrokerState::Connecting,
        Some("connected") => BrokerState::Connected,
        Some("blocked") => BrokerState::Blocked,
        Some("away") => BrokerState::Away,
        _ => BrokerState::Disabled,
    }
}

/// Prometheus text.
pub(super) struct Metrics<'a>(pub(super) &'a str);

impl<'a> Metrics<'a> {
    /// The value of a metric, named with its labels when it has some; 0 when it is not there.
    fn value(&self, name: &str) -> f64 {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(value).unwrap_or(0.0)
    }

    fn count(&self, name: &str) -> u64 {
        self.value(name) as u64
    }

    /// 50 % and 99 % of a histogram, when there is something in it.
    fn latency_s(&self, name: &str) -> Option<(f64, f64)> {
        let mut below = 0;
        let mut cells = Vec::new();
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix("_bucket{le=\"")) else {
                continue;
            };
            let up_to: u64 = rest.split_once("\"} ")?.1.trim().parse().ok()?;
            cells.push(up_to.saturating_sub(below));
            below = up_to;
        }
        quantile_s(&cells, 0.5).zip(quantile_s(&cells, 0.99))
    }

    /// The value of `label` where the metric is 1.
    fn label(&self, name: &str, label: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?.strip_prefix(label)?.strip_prefix("=\"")?;
            rest.strip_suffix("\"} 1")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::acquisition::{Acquisition, Phase};
    use crate::status::Status;
    use crate::terminal::{PerSecond, Rates};
    use serde_json::json;

    /// Whoever looks from outside reads the same as the daemon itself shows.
    #[test]
    fn facts_from_outside_are_those_from_inside() {
        let status = Status::new("north", Some(2000.0));
        status.set_phase(Phase::Acquiring(Arc::new(Acquisition::example())));
        status.set_broker(BrokerState::Away);
        let c = &status.counters;
        for (counter, n) in [
            (&c.capture.traces, 12_345),
            (&c.capture.gaps, 2),
            (&c.capture.gap_traces, 70),
            (&c.capture.traces_dropped_no_block, 30),
            (&c.capture.traces_lost_before_ring, 40),
            (&c.egress.frames_made, 9),
            (&c.publish.frames_published, 8),
            (&c.publish.frames_confirmed, 7),
            (&c.publish.frames_unroutable, 1),
            (&c.egress.frames_dropped, 3),
            (&c.publish.connections, 1),
        ] {
            counter.add(n);
        }
        c.pipeline.load.set(0.25);
        c.capture.queue_blocks.set(2.0);
        c.publish.frames_waiting.set(5.0);
        c.capture.prr_measured_hz.set(1999.5);
        for (times, ms) in [(98, 15), (2, 700)] {
            (0..times).for_each(|_| c.publish.confirm_latency.record(std::time::Duration::from_millis(ms)));
        }
        status.set_last_trace(1_790_000_000_123_000_000);
        let inside = Facts::of_status(&status, &mut Rates::default(), "", "");
        let live = json!({
            "state": "acquiring", "reason": null, "since": 1_790_000_000.0, "epoch": 1, "source": "ring", "prr": 2000.0,
            "configured_prr": 2000.0, "measured_prr": 1999.5, "number_of_channels": 2337,
            "last_trace_time": 1_790_000_000.123,
        });
        assert_eq!(inside.broker.latency_s, Some((0.02, 1.0)));
        let text = crate::metrics::render(&status);
        let outside = facts(&live, &json!({ "conditions": [] }), &Metrics(&text), 1_790_000_007_000);
        assert!((outside.held_s - 7.0).abs() < 1e-9);
        let same = Facts { held_s: inside.held_s, site: "north".into(), ..outside };
        assert_eq!(same, Facts { per_second: PerSecond::default(), ..inside });
    }

    #[test]
    fn a_daemon_that_is_not_ready_says_why() {
        let live = json!({ "state": "waiting for fiber", "reason": "no light", "prr": 0.0, "epoch": null });
        let refusal = json!({ "details": { "conditions": [{ "what": "no light comes back" }] } });
        let facts = facts(&live, &refusal, &Metrics(""), 0);
        assert_eq!((facts.phase.as_str(), facts.reason.as_deref()), ("waiting for fiber", Some("no light")));
        assert_eq!((facts.channels, facts.prr.declared), (None, None));
        assert_eq!(facts.conditions, ["no light comes back"]);
    }
}
