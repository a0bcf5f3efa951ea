//! What a client of the control API can have and what it cannot, said with the right words and numbers, by a real daemon
//! on a synthetic interrogator.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::net::SocketAddr;

use common::daemon::{Daemon, Process, acquisition, simulator};
use common::http::{Answer, exchange, get};
use common::wait_for;
use serde_json::{Value, json};

struct Rig {
    daemon: Daemon,
    _simulator: Process,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// A daemon that acquires 60 channels at 1000 Hz, with `more` in its configuration.
    fn start(more: &str) -> Self {
        let rig = Self::begin(more);
        rig.daemon.wait_state("acquiring");
        rig
    }

    /// The same, not yet acquiring.
    fn begin(more: &str) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let simulator = simulator(dir.path(), 60);
        let config = format!("site = \"test\"\n{}[broker]\nenabled = false\n{more}\n", acquisition(dir.path(), 60));
        let daemon = Daemon::start(dir.path(), &config);
        Self { daemon, _simulator: simulator, _dir: dir }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.daemon.port))
    }

    fn configure(&self, request: &Value) -> Answer {
        let body = request.to_string();
        let head = format!(
            "POST /configure HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        exchange(self.address(), &[head.as_bytes(), body.as_bytes()].concat()).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        get(self.address(), path).json()
    }
}

fn multi(channels: (u64, u64), nfft: u64, height: u64) -> Value {
    json!({
        "view_type": 0, "channels": { "min": channels.0, "max": channels.1 }, "displayInfo": { "height": height },
        "displayTimeAxisDuration": 10, "nfftSelection": nfft,
    })
}

#[test]
fn the_highest_channel_is_one_that_views_accept() {
    // Strain rate over a gauge of seven channels: seven channels fewer than the interrogator has.
    let rig = Rig::start("[processing]\nstrain_rate = true\nspatial_difference_channels = 7\n");
    assert_eq!(rig.json("/channels"), json!({ "lowest_channel": 1, "highest_channel": 53 }));
    assert_eq!(rig.json("/sensors")["sensors"].as_array().unwrap().len(), 53);
    assert_eq!(rig.json("/ack")["channels_count"], 53);
    let metadata = rig.json("/live_metadata");
    assert_eq!((&metadata["number_of_channels"], &metadata["num_samples_per_trace"]), (&json!(53), &json!(60)));
    wait_for("the pipeline has seen the acquisition", || (rig.json("/status")["channels"] == 53).then_some(()));
    assert_eq!(rig.daemon.count("fiberd_fiber_channels"), 53);
    // A value lies in the middle of its gauge, which is that of the difference.
    let number = |field: &str| metadata[field].as_f64().unwrap();
    let (dx, gauge) = (number("dx"), number("gauge_length"));
    assert!((gauge - 7.0 * dx).abs() < 1e-9 && (number("fiber_span_m") - 53.0 * dx).abs() < 1e-6, "{metadata}");
    assert_eq!((&metadata["unit"], &metadata["quantity"]), (&json!("nstrain/s"), &json!("strain_rate")));
    let answer = rig.configure(&multi((50, 53), 128, 100));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let job = answer.json();
    assert_eq!(
        (&job["sample_unit"], &job["value"], &job["dtype"]),
        (&metadata["unit"], &json!("amplitude"), &json!("f16"))
    );
    let unit = job["unit"].clone();
    assert!(unit.as_str().unwrap().ends_with("strain/s"), "{unit}");
    let refused = rig.configure(&multi((50, 54), 128, 100));
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("54 is outside the fiber") && refused.text().contains("the highest 53"));
    // A job that uses the last channel is not taken for one that the fiber has become too short for.
    let id = answer.json()["job_id"].as_str().unwrap().to_owned();
    wait_for("rows of the last channel", || {
        let rows = get(rig.address(), &format!("/waterfall/{id}/1"));
        assert!([200, 201].contains(&rows.status), "{}", rows.text());
        (rows.status == 201).then(|| {
            assert_eq!(rows.json()[0]["rows"][0]["sensors"][3]["id"], 53);
            assert_eq!(rows.json()[0]["unit"], unit);
        })
    });
}

#[test]
fn what_cannot_be_conditioned_is_not_called_waiting_for_fiber() {
    // A gauge that is longer than the fiber.
    let rig = Rig::begin("[processing]\nspatial_difference_channels = 60\n");
    rig.daemon.wait_state("stalled");
    let body = wait_for("the pipeline has seen the acquisition", || {
        let answer = rig.configure(&multi((1, 4), 128, 100));
        assert_eq!(answer.status, 400, "{}", answer.text());
        let body = answer.json();
        (body["status"] != "waiting_for_fiber").then_some(body)
    });
    assert_eq!((&body["status"], &body["code"]), (&json!("conditioning_impossible"), &json!("not_conditioned")));
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.contains("60") && !body["error"].as_str().unwrap().contains("waiting"), "{body}");
}

#[test]
fn what_can_never_be_had_is_400_with_numbers_and_logged_once() {
    let rig = Rig::start("[jobs]\nmemory_mib = 16\nmax_load = 100\n");
    for _ in 0..3 {
        let answer = rig.configure(&multi((1, 60), 65_536, 10));
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(!answer.headers.contains_key("retry-after"));
        let body = answer.json();
        let details = &body["details"];
        assert_eq!(
            (&body["code"], &details["limit"], &details["unit"]),
            (&json!("above_limit"), &json!("memory_mib"), &json!("MiB"))
        );
        assert!(details["wanted"].as_u64().unwrap() > details["allowed"].as_u64().unwrap(), "{body}");
        assert_eq!(details["allowed"], 16);
        assert!(details["lower"].as_array().unwrap().contains(&json!("nfftSelection")), "{body}");
        assert!(body["message"].as_str().unwrap().contains("nfftSelection"), "{body}");
    }
    assert_eq!(rig.daemon.count("fiberd_jobs_refused_total"), 3);
    wait_for("the log says so", || (rig.daemon.process.lines_with("a job was refused") > 0).then_some(()));
    assert_eq!(rig.daemon.process.lines_with("a job was refused"), 1, "one line for a reason and a minute");
    // The same with less is possible.
    assert_eq!(rig.configure(&multi((1, 60), 512, 10)).status, 200);
}
