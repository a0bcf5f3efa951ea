//! Jobs over real sockets: every status and body of the contract, from a real daemon in the dark and on a synthetic
//! interrogator.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::time::Duration;

use common::http::ask;
use common::jobs::{JobsRig, good, refused, with};
use common::{free_port, wait_for};
use serde_json::{Value, json};

#[test]
fn what_is_wrong_with_a_request_is_said_in_the_dark_as_well() {
    let rig = JobsRig::dark("");
    wait_for("the first look is over", || {
        (rig.post("/configure", &good(0)).json()["status"] == "waiting_for_fiber").then_some(())
    });
    let body = refused(&rig.post("/configure", &good(0)), 400, "Cannot configure job: waiting for fiber");
    assert_eq!(body["reason"], "Missing required fiber metadata fields: prr");
    let details = json!({ "prr": 0.0, "sw_version": "waiting for fiber", "fiber_description": "waiting for fiber" });
    assert_eq!(body["details"], details);

    let cases = [
        (with(good(0), "displayInfo.height", json!(0)), 400, "must be positive"),
        (with(good(0), "nfftSelection", json!(500)), 400, "power of 2"),
        (with(good(0), "channels.max", json!(61)), 422, "60"),
        (with(good(0), "channels.max", json!(4)), 400, "channels.min"),
        (with(good(0), "start_time", json!(5)), 400, "mbiguous"),
        (with(with(good(0), "start_time", json!(5)), "end_time", json!(5)), 400, "end_time must be > start_time"),
        (with(with(good(0), "start_time", json!(-5)), "end_time", json!(5)), 400, "start_time must not be negative"),
        (with(with(good(0), "start_time", json!(5)), "end_time", json!(4_000_000_000_i64)), 400, "future"),
        (
            with(with(good(0), "start_time", json!(5)), "end_time", json!(6)),
            404,
            "No recording found in given time range",
        ),
        (with(good(1), "channels.max", json!(6)), 400, "view_type 1"),
        (with(good(0), "view_type", json!(7)), 400, "view_type"),
        (with(good(2), "nfftSelection", json!(512)), 400, "waterfall"),
        (with(good(0), "channels", Value::Null), 422, "channels.min"),
        (with(good(0), "channels.min", json!("x")), 422, "channels.min"),
        (with(good(0), "nfftSelection", json!(1.5)), 422, "nfftSelection"),
        (json!([good(0)]), 422, "invalid type"),
    ];
    for path in ["/configure", "/focus-server/configure"] {
        for (request, status, words) in &cases {
            refused(&rig.post(path, request), *status, words);
        }
    }
    let detail = rig.post("/configure", &cases[2].0).json()["detail"][0].clone();
    assert_eq!(detail["loc"], json!(["body", "channels", "max"]));
    assert!(detail["msg"].is_string() && detail["type"].is_string(), "{detail}");

    refused(&rig.send("/configure", "application/json", b"{\"view_type\": 0,"), 400, "Malformed JSON");
    refused(&rig.send("/configure", "text/plain", b"{}"), 415, "content-type");
    refused(&rig.send("/configure", "application/json", &vec![b' '; 2 << 20]), 413, "too long");
    let wrong = ask(rig.address(), "PUT", "/configure");
    refused(&wrong, 405, "Method not allowed");
    assert!(wrong.headers["allow"].contains("POST"));
    assert_eq!(rig.daemon.process.lines_with("panicked"), 0);
    assert_eq!(rig.get("/jobs").json(), json!([]));
}

#[test]
fn unknown_and_hostile_ids_are_refused_the_same_everywhere() {
    let rig = JobsRig::dark("");
    let long = "a".repeat(10_000);
    for (id, statuses) in [
        ("1-1", [404, 404]),
        ("no-such-task", [404, 404]),
        ("..%2f..%2fetc%2fpasswd", [400, 404]),
        ("%27%20OR%201%3D1%20--", [400, 404]),
        ("1-1%00", [400, 404]),
        ("%ff%fe", [400, 404]),
        (&long, [400, 404]),
        ("%3Cscript%3E", [400, 404]),
        ("%F0%9F%A6%80", [400, 404]),
    ] {
        for path in [format!("/metadata/{id}"), format!("/job/{id}"), format!("/waterfall/{id}/5")] {
            let answer = rig.get(&path);
            assert!(statuses.contains(&answer.status), "{path}: {}", answer.status);
            refused(&answer, answer.status, "");
        }
        assert!(statuses.contains(&rig.delete(id).status), "{id}");
    }
    let body = refused(&rig.get("/metadata/1-1"), 404, "");
    assert_eq!(body["error"], "Invalid job_id");
    for count in ["0", "-1", "x", "1.5", "99999999999999999999999999", "%20"] {
        refused(&rig.get(&format!("/waterfall/1-1/{count}")), 400, "row_count");
    }
    refused(&rig.get("/waterfall/1-1"), 404, "No such route");
    refused(&rig.post("/config/a%2fb", &json!({})), 400, "id");
}

#[test]
fn recordings_say_truthfully_that_there_are_none() {
    let rig = JobsRig::dark("");
    let range = |start: Value, end: Value| {
        rig.post("/recordings_in_time_range", &json!({ "start_time": start, "end_time": end }))
    };
    let found = range(json!(1), json!(1_900_000_000));
    assert_eq!((found.status, found.json()), (200, json!([])));
    refused(&range(json!(5), json!(5)), 400, "end_time must be > start_time");
    refused(&range(json!(-5), json!(5)), 400, "start_time must not be negative");
    refused(&range(Value::Null, json!(5)), 422, "start_time");
    refused(&range(json!("a"), json!(5)), 422, "start_time");
    refused(&rig.post("/recordings_in_time_range", &json!([1, 2])), 422, "");
    let page = rig.get("/get_recordings_timeline");
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains("<svg") && page.text().contains("Nothing has been recorded."));
}

#[test]
fn the_description_names_every_route_and_its_page_needs_nobody() {
    let rig = JobsRig::dark("");
    let api = rig.get("/openapi.json").json();
    let schemas = &api["components"]["schemas"];
    for (name, field) in [("ConfigureRequest", "view_type"), ("ConfigureResponse", "frequencies_list")] {
        assert!(schemas[name]["properties"][field].is_object(), "{name}: {}", schemas[name]);
    }
    assert_eq!(schemas["ConfigureRequest"]["required"], json!(["view_type", "channels", "displayInfo"]));
    let paths = [
        "/configure",
        "/metadata/{job_id}",
        "/job/{job_id}",
        "/jobs",
        "/channels",
        "/sensors",
        "/live_metadata",
        "/recordings_in_time_range",
        "/get_recordings_timeline",
        "/ack",
        "/waterfall/{job_id}/{row_count}",
        "/ws/{job_id}",
        "/config/{task_id}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/pandadatastream.proto",
        "/status",
        "/",
    ];
    for path in paths {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    assert_eq!(api["paths"].as_object().unwrap().len(), paths.len());
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let body = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(body, "#/components/schemas/ApiError", "{method} {path} {status}");
            }
        }
    }
    let page = rig.get("/focus-server/docs/");
    assert!(page.headers["content-type"].starts_with("text/html"));
    let text = page.text();
    assert!(text.contains("/waterfall/{job_id}/{row_count}") && !text.contains("\"DESCRIPTION\""));
    assert!(!text.contains(" src=") && !text.contains("<link") && !text.contains("https://"), "nothing from elsewhere");
    assert!(api["info"]["description"].as_str().unwrap().contains("pandadatastream.DataStreamService"));
    assert!(rig.get("/pandadatastream.proto").text().contains("service DataStreamService"));
    let bodies = &api["paths"]["/configure"]["post"]["requestBody"]["content"]["application/json"];
    for (view, name) in ["multi", "single", "waterfall"].into_iter().enumerate() {
        assert_eq!(bodies["examples"][name]["value"]["view_type"], view);
    }
    assert!(api["paths"]["/ack"]["get"].get("security").is_none(), "this daemon asks for no token");
}

#[test]
fn head_works_where_get_does() {
    let rig = JobsRig::dark("");
    for path in ["/jobs", "/openapi.json", "/docs", "/get_recordings_timeline"] {
        let head = ask(rig.address(), "HEAD", path);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    for path in ["/job/1-1", "/metadata/1-1", "/waterfall/1-1/5"] {
        assert_eq!(ask(rig.address(), "HEAD", path).status, 404, "{path}");
    }
}

#[test]
fn a_job_of_each_view_is_described_read_and_ended() {
    let rig = JobsRig::lit("");
    refused(&rig.post("/configure", &with(good(0), "frequencyRange.max", json!(501))), 400, "Nyquist limit of 500 Hz");
    for view in 0..3 {
        let job = rig.configure(&with(good(view), "unknown", json!({ "field": [1] })));
        let id = job["job_id"].as_str().unwrap();
        assert!(id.split_once('-').is_some_and(|(a, b)| [a, b].iter().all(|n| n.parse::<u64>().is_ok())), "{id}");
        let channels = if view == 1 { 1 } else { 10 };
        assert_eq!((&job["status"], &job["view_type"]), (&json!("success"), &json!(view)));
        assert_eq!((&job["channel_amount"], &job["stream_url"]), (&json!(channels), &json!("http://das.example")));
        assert_eq!(job["channel_to_stream_index"].as_object().unwrap().len(), channels);
        assert_eq!(
            job["frequencies_list"].as_array().unwrap().len(),
            job["frequencies_amount"].as_u64().unwrap() as usize
        );
        assert_eq!(job["lines_dt"], if view == 2 { 0.05 } else { 0.1 });
        assert_eq!(rig.get(&format!("/metadata/{id}")).json(), job, "the same object, at once");
        let status = rig.get(&format!("/job/{id}")).json();
        assert_eq!((&status["job_id"], &status["status"]), (&json!(id), &json!("running")));
        assert!(status.get("progress").is_none() && status["created_at"].as_str().unwrap().ends_with('Z'), "{status}");
        assert_eq!(rig.get("/jobs").json()[0]["job_id"], id);

        let bins = if view == 2 { 1 } else { job["frequencies_amount"].as_u64().unwrap() as usize };
        let rows = rows_of(&rig, id, 12, 5);
        for row in &rows {
            assert_eq!(row["canvasId"], id);
            let sensors = row["sensors"].as_array().unwrap();
            let ids: Vec<_> = sensors.iter().map(|sensor| sensor["id"].as_u64().unwrap()).collect();
            assert_eq!(ids, (5..5 + channels as u64).collect::<Vec<_>>());
            for sensor in sensors {
                let intensity = sensor["intensity"].as_array().unwrap();
                assert!(intensity.len() == bins && intensity.iter().all(|v| v.as_f64().unwrap() >= 0.0));
            }
        }
        let time = |row: &Value, key: &str| row[key].as_i64().unwrap();
        assert!(rows.iter().all(|row| time(row, "endTimestamp") > time(row, "startTimestamp")));
        for pair in rows.windows(2) {
            let step = time(&pair[1], "startTimestamp") - time(&pair[0], "startTimestamp");
            let period = (job["lines_dt"].as_f64().unwrap() * 1000.0).round() as i64;
            assert!((period - 1..=period + 1).contains(&step), "in order, none twice, none missing: {step}");
        }

        let ended = rig.delete(id);
        assert_eq!((ended.status, ended.json()), (200, json!({ "status": "cancelled", "job_id": id })));
        let port = job["stream_port"].as_u64().unwrap() as u16;
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "its port is free again");
        assert_eq!(refused(&rig.delete(id), 404, "")["error"], "Invalid job_id");
        assert_eq!(rig.get(&format!("/job/{id}")).json()["status"], "cancelled");
        refused(&rig.get(&format!("/metadata/{id}")), 404, "Invalid job_id");
        refused(&rig.get(&format!("/waterfall/{id}/1")), 404, "Invalid job_id");
    }
    assert_eq!(rig.get("/jobs").json(), json!([]));
    let metrics = rig.get("/metrics");
    let number = |name: &str| {
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}")).parse::<u64>().unwrap()
    };
    assert_eq!((number("fiberd_jobs"), number("fiberd_jobs_started_total")), (0, 3));
    assert_eq!((number("fiberd_job_lines_lost_total"), number("fiberd_connections_spared_total")), (0, 0));
    assert!(number("fiberd_requests_total{answer=\"done\"}") >= 3 * 6);
    assert!(number("fiberd_requests_total{answer=\"refused\"}") > 3 * 3);
    assert_eq!(number("fiberd_requests_total{answer=\"failed\"}"), 0);
}

#[test]
fn many_rows_at_once_come_in_pieces_and_are_the_same() {
    let rig = JobsRig::lit("");
    let whole = with(with(good(0), "channels.min", json!(1)), "channels.max", json!(60));
    let job = rig.configure(&with(whole, "nfftSelection", json!(512)));
    let (id, bins) = (job["job_id"].as_str().unwrap(), job["frequencies_amount"].as_u64().unwrap() as usize);
    // More numbers than are sent as one piece; whoever comes too early waits longer.
    let mut pause = Duration::from_millis(500);
    let answer = wait_for("many rows at once", || {
        std::thread::sleep(pause);
        pause *= 2;
        let answer = rig.get(&format!("/waterfall/{id}/1000"));
        (answer.headers.get("transfer-encoding").map(String::as_str) == Some("chunked")).then_some(answer)
    });
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers["content-type"], "application/json");
    let blocks = answer.json();
    assert_eq!(blocks.as_array().unwrap().len(), 1);
    let of_block = blocks[0]["rows"].as_array().unwrap();
    let rows = of_block.len();
    assert!(rows * 60 * bins > 10_000);
    for row in of_block {
        let sensors = row["sensors"].as_array().unwrap();
        assert!(sensors.iter().map(|sensor| sensor["id"].as_u64().unwrap()).eq(1..=60));
        assert!(sensors.iter().all(|sensor| sensor["intensity"].as_array().unwrap().len() == bins));
    }
    // Every key that is written is one that the description has.
    let api = rig.get("/openapi.json").json();
    let row_schema = &api["components"]["schemas"]["WaterfallRow"]["properties"];
    assert!(of_block[0].as_object().unwrap().keys().eq(row_schema.as_object().unwrap().keys()), "{row_schema}");
    let block_schema = &api["components"]["schemas"]["WaterfallBlock"]["properties"];
    assert!(blocks[0].as_object().unwrap().keys().eq(block_schema.as_object().unwrap().keys()), "{block_schema}");
    // And the next one begins where this one ended.
    let last = of_block[rows - 1]["startTimestamp"].as_i64().unwrap();
    let next = rows_of_any(&rig, id);
    assert_eq!(next["startTimestamp"].as_i64().unwrap() - last, (job["lines_dt"].as_f64().unwrap() * 1e3) as i64);
}

/// The next row, when there is one.
fn rows_of_any(rig: &JobsRig, id: &str) -> Value {
    let mut row = Value::Null;
    wait_for("a row", || {
        let answer = rig.get(&format!("/waterfall/{id}/1"));
        (answer.status == 201).then(|| row = answer.json()[0]["rows"][0].clone())
    });
    row
}

/// Polls up to `at_once` rows at a time until there are `count`.
fn rows_of(rig: &JobsRig, id: &str, count: usize, at_once: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut extrema = (f64::INFINITY, 0.0f64);
    wait_for("rows", || {
        let answer = rig.get(&format!("/waterfall/{id}/{at_once}"));
        match answer.status {
            200 => assert!(answer.body.is_empty()),
            201 => {
                for block in answer.json().as_array().unwrap() {
                    let of_block = block["rows"].as_array().unwrap();
                    assert!((1..=at_once).contains(&of_block.len()));
                    let values = of_block.iter().flat_map(|row| row["sensors"].as_array().unwrap());
                    for value in values.flat_map(|sensor| sensor["intensity"].as_array().unwrap()) {
                        let value = value.as_f64().unwrap();
                        extrema = (extrema.0.min(value), extrema.1.max(value));
                    }
                    let said = ["current_min_amp", "current_max_amp"].map(|key| block[key].as_f64().unwrap());
                    assert!(said[0] <= extrema.0 && said[1] >= extrema.1, "over the whole job");
                    rows.extend(of_block.iter().cloned());
                }
            }
            other => panic!("{other}: {}", answer.text()),
        }
        (rows.len() >= count).then_some(())
    });
    rows
}

#[test]
fn requests_that_differ_only_in_channels_agree() {
    let rig = JobsRig::lit("");
    let (one, other) = (rig.configure(&good(0)), rig.configure(&with(good(0), "channels.min", json!(12))));
    for key in ["frequencies_list", "frequencies_amount", "lines_dt", "view_type"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    assert_ne!((&one["job_id"], &one["stream_port"]), (&other["job_id"], &other["stream_port"]));
}

#[test]
fn an_older_client_finds_its_task_under_its_own_id() {
    let rig = JobsRig::lit("");
    let task = json!({
        "displayTimeAxisDuration": 10, "nfftSelection": 128, "canvasInfo": { "height": 100 },
        "sensors": { "min": 0, "max": 4 }, "frequencyRange": { "min": 10, "max": 400 },
        "start_time": null, "end_time": null,
    });
    for _ in 0..2 {
        let answer = rig.post("/config/my_task-7", &task);
        let expected = json!({ "status": "Config received successfully", "task_id": "my_task-7" });
        assert_eq!((answer.status, answer.json()), (200, expected), "also when it is configured anew");
    }
    assert_eq!(rig.get("/jobs").json().as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/metadata/my_task-7").json()["channel_to_stream_index"]["0"], 0);
    let rows = rows_of(&rig, "my_task-7", 2, 2);
    assert_eq!(rows[0]["sensors"][4]["id"], 4);
    let job = rig.configure(&good(0));
    refused(&rig.post(&format!("/config/{}", job["job_id"].as_str().unwrap()), &task), 409, "this id already");
}

#[test]
fn limits_are_named_and_jobs_that_nobody_reads_make_room_again() {
    let ports = free_port();
    let rig = JobsRig::lit(&format!(
        "max_jobs = 2\nlive_idle_s = 1\nstart_grace_s = 0.5\nfirst_port = {ports}\nlast_port = {}\n",
        ports + 9
    ));
    let (first, second) = (rig.configure(&good(0)), rig.configure(&good(1)));
    let full = rig.post("/configure", &good(2));
    assert_eq!(refused(&full, 429, "2 jobs run already")["details"]["limit"], "max_jobs");
    assert!(full.headers["retry-after"].parse::<u32>().unwrap() > 0);
    let kept = first["job_id"].as_str().unwrap();
    let left = second["job_id"].as_str().unwrap();
    wait_for("the one that nobody reads ends", || {
        assert!([200, 201].contains(&rig.get(&format!("/waterfall/{kept}/100")).status), "the other is being read");
        (rig.get(&format!("/job/{left}")).json()["status"] == "completed").then_some(())
    });
    assert_eq!(rig.get(&format!("/waterfall/{left}/1")).status, 208);
    refused(&rig.delete(left), 404, "Invalid job_id");
    let third = rig.configure(&good(2));
    let slot = |job: &Value| job["job_id"].as_str().unwrap().split('-').next().unwrap().to_owned();
    assert_eq!(slot(&third), slot(&second), "a slot is used again");
    assert_ne!(third["job_id"], second["job_id"], "an id is not");
}

#[test]
fn two_hundred_jobs_come_and_go_and_leave_nothing() {
    let rig = JobsRig::lit("");
    let round = || {
        let ids: Vec<_> = (0..200)
            .map(|number| {
                let first = number % 50 + 1;
                let request = with(good(0), "channels", json!({ "min": first, "max": first + 9 }));
                rig.configure(&request)["job_id"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(rig.get("/jobs").json().as_array().unwrap().len(), 200);
        for id in &ids {
            assert_eq!(rig.delete(id).status, 200);
        }
        assert_eq!(rig.get("/jobs").json(), json!([]));
    };
    round();
    let (files, _, threads) = rig.daemon.process.handles();
    round();
    wait_for("as many files and threads as before", || {
        let now = rig.daemon.process.handles();
        (now.0 <= files && now.2 <= threads).then_some(())
    });
}
