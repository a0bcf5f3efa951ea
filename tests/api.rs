//! The control API over real sockets, with a daemon's knowledge of itself and no daemon behind it: every route in every
//! phase, under every spelling of its path, and against rude clients.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;

use common::http::{ask, connect, exchange, get};
use common::server::Server;
use fiberd::acquisition::{Acquisition, DarkReason, Phase, Region, SampleFormat};
use fiberd::status::{BrokerState, Stage};
use fiberd::units::Rational;
use proptest::prelude::*;
use serde_json::{Value, json};

const ROUTES: [&str; 7] = ["/live_metadata", "/channels", "/sensors", "/ack", "/healthz", "/readyz", "/metrics"];

fn waiting(reason: DarkReason) -> Phase {
    Phase::WaitingForFiber(reason)
}

/// Every phase with the name that clients see, and whether they see an acquisition.
fn phases() -> Vec<(Phase, &'static str, bool)> {
    let a = Arc::new(Acquisition::example());
    vec![
        (waiting(DarkReason::Starting), "waiting for fiber", false),
        (waiting(DarkReason::NoHeartbeat), "waiting for fiber", false),
        (Phase::Acquiring(Arc::clone(&a)), "acquiring", true),
        (Phase::Stalled(a), "stalled", true),
        (Phase::Draining, "draining", false),
    ]
}

#[test]
fn every_route_says_what_the_phase_is() {
    let server = Server::start();
    for (phase, name, live) in phases() {
        server.status.set_phase(phase);
        let channels = if live { 2337 } else { 321 };
        let body = |path: &str| {
            let answer = get(server.address, path);
            assert_eq!(answer.status, 200, "{path} while {name}");
            assert_eq!(answer.headers["content-type"], "application/json");
            answer.json()
        };
        let metadata = body("/live_metadata");
        let own = ["state", "number_of_channels", "num_samples_per_trace"].map(|key| metadata[key].clone());
        assert_eq!(own, [json!(name), json!(channels), json!(channels)]);
        assert_eq!(body("/channels"), json!({ "lowest_channel": 1, "highest_channel": channels }));
        assert_eq!(body("/sensors"), json!({ "sensors": (0..channels).collect::<Vec<_>>() }));
        let ack = body("/ack");
        assert_eq!((&ack["status"], &ack["pipeline_status"]), (&json!("ok"), &json!(name)));
        assert_eq!(ack["channels_count"], channels);
        assert!(ack["uptime_sec"].is_f64() && ack["version"].is_string(), "{ack}");
        assert!(ack["last_update_ts"].as_f64().unwrap() > 1.7e9, "seconds since the UNIX epoch: {ack}");
        assert_eq!(body("/healthz")["status"], "ok");
        let one_hot = format!("fiberd_phase{{phase=\"{name}\"}} 1\n");
        assert!(get(server.address, "/metrics").text().contains(&one_hot), "{one_hot}");
    }
}

#[test]
fn live_metadata_has_the_agreed_fields_with_and_without_fiber() {
    let server = Server::start();
    let agreed = |metadata: &Value, expected: Value| {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&metadata[key], value, "{key}");
        }
    };
    let dark = json!({
        "prr": 0.0, "dx": 0.0, "dy": null, "number_of_channels": 321, "num_samples_per_trace": 321, "dtype": "float32",
        "fiber_start_meters": null, "fiber_length_meters": null, "sw_version": "waiting for fiber",
        "fiber_description": "waiting for fiber", "state": "waiting for fiber", "reason": "no new traces",
        "reason_code": "no_traces", "optical_power": null, "measured_prr": null, "epoch": null,
    });
    server.status.set_phase(waiting(DarkReason::NoTraces));
    agreed(&get(server.address, "/live_metadata").json(), dark);

    // Too little light to acquire by is shown all the same: it is what `dark_power` is chosen by.
    server.status.counters.capture.optical_power.set(4.5);
    server.status.set_phase(waiting(DarkReason::Dark));
    agreed(&get(server.address, "/live_metadata").json(), json!({ "reason_code": "dark", "optical_power": 4.5 }));

    server.status.counters.capture.gaps.add(3);
    server.status.counters.capture.prr_measured_hz.set(1999.99);
    server.status.set_last_trace(1_800_000_000_250_000_000);
    server.acquire(Acquisition { fiber_start_m: 99.6, ..Acquisition::example() });
    let live = json!({
        "prr": 2000.0, "dx": 1.021_369_8, "dy": null, "number_of_channels": 2337, "num_samples_per_trace": 2337,
        "dtype": "int16", "fiber_start_meters": 99, "fiber_length_meters": 2487, "fiber_start_m": 99.6,
        "sw_version": env!("CARGO_PKG_VERSION"), "fiber_description": "example fiber", "state": "acquiring",
        "reason": null, "reason_code": null, "gap_count": 3, "measured_prr": 1999.99, "last_trace_time": 1_800_000_000.25,
    });
    agreed(&get(server.address, "/live_metadata").json(), live);
    assert_eq!(get(server.address, "/live_metadata").json()["regions"], json!([]));
    // Channel 20 of 40 lies a kilometre on.
    let further = Region { first_channel: 20, start_m: 1000.0, dx_m: 2.0 };
    server.acquire(Acquisition { channels: 40, regions: [further].into(), ..Acquisition::example() });
    let regions =
        json!({ "regions": [{ "first_channel": 21, "start_m": 1000.0, "dx_m": 2.0 }], "fiber_end_m": 1040.0 });
    agreed(&get(server.address, "/live_metadata").json(), regions);
    server.acquire(Acquisition { fiber_start_m: 99.6, ..Acquisition::example() });
    // Exact, and of a fiber that begins behind the instrument.
    let exact = ["fiber_end_m", "fiber_span_m"].map(|key| get(server.address, "/live_metadata").json()[key].as_f64());
    let span = 2337.0 * 1.021_369_8;
    assert_eq!(exact, [Some(99.6 + span), Some(span)]);
    for (start_m, start, end) in [
        (33_192.0, json!(33_192), json!(35_579)),
        (0.0, json!(0), json!(2387)),
        (-5.5, Value::Null, json!(2382)),
        (-9000.0, Value::Null, Value::Null),
    ] {
        server.acquire(Acquisition { fiber_start_m: start_m, ..Acquisition::example() });
        let metadata = get(server.address, "/live_metadata").json();
        assert_eq!((&metadata["fiber_start_meters"], &metadata["fiber_length_meters"]), (&start, &end), "{start_m}");
        assert_eq!(metadata["fiber_start_m"], start_m);
    }
}

fn any_phase() -> impl Strategy<Value = Phase> {
    let number = || prop_oneof![any::<f64>(), 0.0..1e6];
    let format = prop::sample::select(vec![SampleFormat::I16, SampleFormat::F32, SampleFormat::Iq16]);
    let acquisition = (1u64..1_000_000, 1u64..1000, 1usize..100_000, number(), number(), number(), format, ".*")
        .prop_map(|(num, den, channels, dx_m, fiber_start_m, gauge, sample_format, description)| {
            let prr = Rational::new(num, den).unwrap();
            let gauge_length_m = Some(gauge);
            let example = Acquisition::example();
            let a = Acquisition {
                prr,
                channels,
                dx_m,
                fiber_start_m,
                gauge_length_m,
                sample_format,
                description,
                ..example
            };
            Arc::new(a)
        });
    prop_oneof![
        acquisition.clone().prop_map(Phase::Acquiring),
        acquisition.prop_map(Phase::Stalled),
        ".*".prop_map(|why| waiting(DarkReason::Refused(why))),
        Just(waiting(DarkReason::Dark)),
        Just(Phase::Draining),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Clients read these fields without asking what they are, whatever the producer says.
    #[test]
    fn types_of_live_metadata_never_change(phases in prop::collection::vec(any_phase(), 4), measured in any::<f64>()) {
        let server = Server::start();
        server.status.counters.capture.prr_measured_hz.set(measured);
        for phase in phases {
            let live = phase.acquisition().is_some();
            server.status.set_phase(phase);
            let m = get(server.address, "/live_metadata").json();
            let integer_or_null = |v: &Value| v.is_null() || (live && v.is_i64());
            prop_assert!(m["prr"].is_f64() && m["dx"].is_f64(), "{}", m);
            prop_assert!(m["dy"].is_null() || m["dy"].is_f64(), "{}", m);
            prop_assert!(m["number_of_channels"].is_u64() && m["num_samples_per_trace"].is_u64(), "{}", m);
            let (start, end) = (&m["fiber_start_meters"], &m["fiber_length_meters"]);
            prop_assert!(integer_or_null(start) && integer_or_null(end), "{}", m);
            // Numbers so large that a metre is nothing beside them are no fiber.
            if let (Some(start), Some(end)) = (start.as_i64(), end.as_i64())
                && m["fiber_span_m"].as_f64().is_some_and(|span| span > 0.0)
                && end < 1 << 50
            {
                prop_assert!(0 <= start && start < end, "{}", m);
            }
            prop_assert!(["dtype", "sw_version", "fiber_description", "state"].iter().all(|k| m[k].is_string()), "{}", m);
            prop_assert_eq!(m["sw_version"] == "waiting for fiber", !live);
        }
    }
}

#[test]
fn readiness_lists_what_is_wrong() {
    let server = Server::start();
    let ready = || {
        let answer = get(server.address, "/readyz");
        (answer.status, answer.json())
    };
    let (status, body) = ready();
    assert_eq!((status, &body["status"], &body["code"]), (503, &json!("waiting_for_fiber"), &json!("not_ready")));
    assert!(body["reason"].as_str().unwrap().starts_with("waiting for fiber: "), "{body}");
    assert_eq!(body["details"]["ready"], false);

    server.acquire(Acquisition::example());
    let nothing = json!({ "ready": true, "phase": "acquiring", "reasons": [], "degraded": [], "conditions": [] });
    assert_eq!(ready(), (200, nothing));

    for (state, words) in [(BrokerState::Away, "broker: away"), (BrokerState::Blocked, "accepts nothing")] {
        server.status.set_broker(state);
        let (status, body) = ready();
        assert_eq!(status, 200, "acquisition goes on without a broker");
        assert!(body["degraded"][0].as_str().unwrap().contains(words), "{body}");
    }
    server.status.set_broker(BrokerState::Connected);
    assert_eq!(ready().1["degraded"], json!(["broker: commands are not heard"]));
    server.status.counters.commands.heard.set(1.0);
    server.status.counters.capture.prr_measured_hz.set(1999.0);
    let (status, body) = ready();
    assert_eq!((status, &body["degraded"]), (200, &json!(["PRR: declared 2000 Hz, measured 1999.000 Hz (-500 ppm)"])));

    server.status.set_stuck(&[Stage::Pipeline]);
    let (status, body) = ready();
    assert_eq!((status, &body["reason"]), (503, &json!("pipeline stands still")));
    server.status.set_stuck(&[]);
    server.status.set_phase(Phase::Draining);
    assert_eq!(ready().0, 503);
}

#[test]
fn no_body_names_files_of_this_machine() {
    let server = Server::start();
    let reasons = [
        DarkReason::NoInterface("/dev/shm/secret.ring: No such file".into()),
        DarkReason::Refused("/dev/shm/secret.ring: 1000 Hz instead of 2000 Hz".into()),
    ];
    for reason in reasons {
        server.status.set_phase(waiting(reason));
        for path in ROUTES.into_iter().chain(["/dev/shm/secret", "/../../etc/passwd"]) {
            let text = get(server.address, path).text().to_owned();
            assert!(!text.contains("secret") && !text.contains("/etc"), "{path}: {text}");
        }
    }
    assert!(get(server.address, "/readyz").text().contains("1000 Hz instead of 2000 Hz"), "the fact itself is told");
}

#[test]
fn every_spelling_of_a_path_leads_to_its_route() {
    let server = Server::start();
    server.acquire(Acquisition::example());
    for route in ROUTES {
        let plain = get(server.address, route);
        let name = &route[1..];
        for path in [
            format!("/focus-server/{name}"),
            format!("/{name}/"),
            format!("//{name}"),
            format!("//focus-server///{name}//"),
            format!("/{name}?unasked=1"),
        ] {
            let answer = get(server.address, &path);
            assert_eq!(
                (answer.status, &answer.headers["content-type"]),
                (200, &plain.headers["content-type"]),
                "{path}"
            );
            if ["/channels", "/sensors", "/live_metadata"].contains(&route) {
                assert_eq!(answer.text(), plain.text(), "{path}");
            }
            let head = ask(server.address, "HEAD", &path);
            assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
            assert!(head.headers["content-length"].parse::<usize>().unwrap() > 0, "HEAD {path}");
        }
    }
}

#[test]
fn the_root_is_a_page_with_the_state_and_the_way_on() {
    let server = Server::start();
    for path in ["/", "/focus-server", "/focus-server/"] {
        let page = get(server.address, path);
        assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
        let text = page.text();
        for words in ["<title>fiberd: fiber</title>", "<strong>waiting for fiber</strong>", "href=\"docs\""] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
    server.acquire(Acquisition::example());
    assert!(get(server.address, "/").text().contains("<strong>acquiring</strong>"));
}

#[test]
fn status_is_everything_in_one_answer() {
    let server = Server::start();
    server.acquire(Acquisition::example());
    server.status.set_broker(BrokerState::Away);
    let status = get(server.address, "/status").json();
    let facts = ["phase", "source", "channels", "prr_declared_hz", "broker", "ready"].map(|key| status[key].clone());
    assert_eq!(facts, [json!("acquiring"), json!("ring"), json!(2337), json!(2000.0), json!("away"), json!(true)]);
    assert_eq!(status["conditions"][0]["code"], "broker_away");
}

#[test]
fn wrong_requests_get_the_one_shape() {
    let server = Server::start();
    let refused = |method: &str, path: &str, status: u16| {
        let answer = ask(server.address, method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        let body = answer.json();
        for key in ["error", "code", "message", "status"] {
            assert!(body[key].is_string(), "{method} {path}: {key} in {body}");
        }
        assert!(body["details"].is_object() && body.get("reason").is_some(), "{body}");
        answer
    };
    for path in [
        "/nothing",
        "/focus-server/nothing",
        "/focus-server/focus-server/ack",
        "/ack/more",
        "/ACK",
        "/%61ck",
        "/%ff%fe",
    ] {
        let message = refused("GET", path, 404).json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("/docs"), "{message}");
    }
    for route in ROUTES {
        for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
            let answer = refused(method, route, 405);
            assert!(answer.headers["allow"].contains("GET"), "{method} {route}");
        }
    }
}

#[test]
fn preflight_is_answered_and_lets_nobody_in() {
    let server = Server::start();
    for path in ["/live_metadata", "/focus-server/ack/"] {
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: x\r\norigin: http://elsewhere.example\r\n\
             access-control-request-method: GET\r\nconnection: close\r\n\r\n"
        );
        let answer = exchange(server.address, request.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert!(answer.headers["allow"].contains("GET"));
        assert!(!answer.headers.keys().any(|name| name.starts_with("access-control-allow")), "{answer:?}");
    }
}

#[test]
fn every_answer_carries_a_request_id() {
    let server = Server::start();
    let with_id = |id: &str| {
        let request = format!("GET /nothing HTTP/1.1\r\nhost: x\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n");
        exchange(server.address, request.as_bytes()).unwrap().headers["x-request-id"].clone()
    };
    assert_eq!(with_id("mine-1"), "mine-1");
    let (one, other) = (with_id("two words"), with_id(&"x".repeat(300)));
    assert!(one != other && !one.contains(' ') && other.len() <= 64, "{one} {other}");
}

#[test]
fn rude_clients_are_refused_or_cut_and_others_are_served() {
    let server = Server::start();
    // Half a request each, held open until the end of the test.
    let halves: Vec<_> =
        ["", "G", "GET /ack HTT", "GET /ack HTTP/1.1\r\nhost:", "POST /ack HTTP/1.1\r\ncontent-length: 9\r\n\r\nx"]
            .into_iter()
            .map(|half| {
                let mut stream = connect(server.address);
                stream.write_all(half.as_bytes()).unwrap();
                stream
            })
            .collect();
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)).into_bytes();
    let long_header = format!("GET /ack HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(1_000_000)).into_bytes();
    let many_headers = format!("GET /ack HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(2000)).into_bytes();
    let rude: [&[u8]; 9] = [
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /ack HTTP/9.9\r\n\r\n",
        b"GET /ack\0 HTTP/1.1\r\n\r\n",
        b"GET /ack HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /ack HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzzz\r\n",
        &long_path,
        &long_header,
        &many_headers,
    ];
    for request in rude {
        let start = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
        if let Some(answer) = exchange(server.address, request) {
            assert!((400..500).contains(&answer.status), "{start:?}: {}", answer.status);
            let text = answer.text();
            assert!(text.is_empty() || answer.json()["error"].is_string(), "{start:?}: {text}");
        }
        assert_eq!(get(server.address, "/ack").status, 200, "after {start:?}");
    }
    let mut big = b"POST /ack HTTP/1.1\r\nhost: x\r\ncontent-length: 10485760\r\n\r\n".to_vec();
    let mut stream = connect(server.address);
    stream.write_all(&big).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "refused by its header, before the body comes");
    big.resize(10_485_760, b'x');
    drop(exchange(server.address, &big));
    assert_eq!(get(server.address, "/ack").status, 200);
    drop(server);
    drop(halves);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start();
    let mut stream = connect(server.address);
    let request = "GET /ack HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.repeat(49).as_bytes()).unwrap();
    stream.write_all(b"GET /ack HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 50);
}
