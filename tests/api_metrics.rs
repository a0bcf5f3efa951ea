//! `/metrics`, read by the reference parser of Prometheus.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::io::Write;
use std::process::Stdio;

use common::http::get;
use common::server::Server;
use fiberd::acquisition::Acquisition;
use fiberd::metrics;
use serde_json::{Value, json};

/// What the reference parser of Prometheus makes of `/metrics`: name, kind, and samples by name and labels.
fn parsed_by_prometheus(text: &str) -> Value {
    const PARSER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([{'name': f.name, 'type': f.type, 'help': f.documentation,
                   'samples': [[s.name, s.labels, str(s.value)] for s in f.samples]} for f in parse(sys.stdin.read())]))
";
    let mut child = common::python()
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("Python: {e}; set FIBERD_TEST_PYTHON to one with prometheus_client"));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Python's prometheus_client could not read /metrics");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn prometheus_reads_every_metric_of_the_table() {
    let server = Server::start();
    server.acquire(Acquisition::example());
    let counters = &server.status.counters;
    counters.capture.traces.add(1 << 40);
    counters.capture.gap_traces.add(7);
    counters.publish.confirm_latency.record(std::time::Duration::from_millis(15));
    counters.publish.confirm_latency.record(std::time::Duration::from_secs(60));
    counters.pipeline.load.set(f64::NAN);
    let answer = get(server.address, "/metrics");
    assert_eq!(answer.headers["content-type"], metrics::CONTENT_TYPE);
    let families = parsed_by_prometheus(answer.text());
    let families = families.as_array().unwrap();

    // The parser takes `_total` off the name of a counter.
    let found: Vec<_> = families.iter().map(|f| (f["name"].as_str(), f["type"].as_str(), f["help"].as_str())).collect();
    let bare = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
    let table: Vec<_> = metrics::table().map(|m| (Some(bare(m.name)), Some(m.kind()), Some(m.help))).collect();
    assert_eq!(found, table);

    let samples: Vec<_> = families.iter().flat_map(|f| f["samples"].as_array().unwrap()).collect();
    let value = |name: &str, labels: Value| {
        let sample = samples.iter().find(|s| s[0] == name && s[1] == labels);
        sample.unwrap_or_else(|| panic!("{name} {labels}"))[2].as_str().unwrap().parse::<f64>().ok()
    };
    assert_eq!(value("fiberd_traces_total", json!({})), Some((1u64 << 40) as f64));
    assert_eq!(value("fiberd_gap_traces_total", json!({})), Some(7.0));
    assert_eq!(value("fiberd_fiber_channels", json!({})), Some(2337.0));
    assert_eq!(value("fiberd_phase", json!({ "phase": "waiting for fiber" })), Some(0.0));
    assert_eq!(value("fiberd_broker_state", json!({ "state": "disabled" })), Some(1.0));
    let bucket = |edge: &str| value("fiberd_confirm_latency_seconds_bucket", json!({ "le": edge }));
    assert_eq!([bucket("0.01"), bucket("0.02"), bucket("5"), bucket("+Inf")], [0.0, 1.0, 1.0, 2.0].map(Some));
    assert_eq!(value("fiberd_confirm_latency_seconds_count", json!({})), Some(2.0));
    assert!((value("fiberd_confirm_latency_seconds_sum", json!({})).unwrap() - 60.015).abs() < 1e-9);
    assert!(value("fiberd_pipeline_load_ratio", json!({})).unwrap().is_nan());
    for name in ["resident_memory_bytes", "threads", "open_fds", "cpu_seconds_total"] {
        assert!(value(&format!("fiberd_process_{name}"), json!({})).unwrap() > 0.0, "{name}");
    }
}
