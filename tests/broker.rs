//! Publishing to a real RabbitMQ: what arrives, what is counted, and what happens when the broker does not behave.

// Helpers outside #[test] functions are test code as well.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::broker::shared;
use common::publisher::{Reader, frame, id, log, rig, stream, text_of, victim};
use common::{must_succeed, python, wait_for};
use fiberd::acquisition::{Acquisition, DarkReason, Phase};
use fiberd::config::{BrokerConfig, Login, Reloadable, Secret};
use fiberd::frame::{Dtype, Stream, View};
use fiberd::status::BrokerState;
use lapin::types::{AMQPValue, FieldTable};
use tokio::runtime::Runtime;

/// A password that could not be anything else when it turns up somewhere.
const PASSWORD: &str = "xyzzy-7319-plugh";

#[test]
fn python_reads_back_what_was_published() {
    let rig = rig(&shared().uri(), "readback", 256, |_| {});
    rig.wait_connected();
    let exchanges = shared().ctl(&["list_exchanges", "name", "type", "durable"]);
    for name in ["readback.frames", "readback.status"] {
        assert!(exchanges.contains(&format!("{name}\ttopic\ttrue")), "{exchanges}");
    }
    let reader = rig.runtime.block_on(Reader::new(&shared().uri()));
    rig.runtime.block_on(reader.queue("readback", &rig.config.frames_exchange, "north.#", FieldTable::default()));

    let streams = [
        stream(View::Waterfall, "whole.fiber", Dtype::F32, 2337, 1),
        stream(View::Single, "near", Dtype::F16, 1, 513),
        stream(View::Multi, "jöb", Dtype::U8, 7, 65),
    ];
    let rounds = 10;
    for number in 0..rounds {
        for stream in &streams {
            rig.offer(frame(stream, number));
        }
    }
    let count = rounds as usize * streams.len();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker_read.py");
    let port = shared().port().to_string();
    let seen = must_succeed(python().args([script, &port, "readback", &count.to_string()]));

    for (line, seen) in seen.lines().enumerate() {
        let seen: serde_json::Value = serde_json::from_str(seen).unwrap();
        let (number, stream) = ((line / streams.len()) as u64, &streams[line % streams.len()]);
        let expected = frame(stream, number);
        let values: Vec<f32> = seen["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        assert!(values == *expected.values.flat(), "frame {number} of {}: {:?}…", stream.name, &values[..8]);
        let (shape, dtype, key) = [
            (vec![2, 2337], "<f4", "north.waterfall.whole_fiber.0"),
            (vec![2, 513], "<f2", "north.single.near.0"),
            (vec![2, 7, 65], "|u1", "north.multi.jöb.0"),
        ][line % streams.len()]
        .clone();
        let h = &seen["headers"];
        assert_eq!((&h["shape"], &h["dtype"]), (&shape.into(), &dtype.into()));
        assert_eq!((&seen["key"], &seen["message_id"]), (&key.into(), &id(&stream.name, number).into()));
        assert_eq!(seen["content_type"], "application/vnd.fiberd.frame");
        assert_eq!((&seen["type"], &seen["delivery_mode"]), (&"frame.v2".into(), &2.into()));
        assert_eq!(seen["timestamp"], 1_790_000_000);
        assert_eq!((&h["epoch"], &h["sequence"], &h["first_line"]), (&1.into(), &number.into(), &(number * 2).into()));
        assert_eq!((&h["view"], &h["unit"], &h["value"]), (&stream.view.name().into(), &"dB".into(), &"db".into()));
        assert_eq!((&h["site"], &h["lines"], &h["gap"]), (&"north".into(), &2.into(), &0.into()));
        assert_eq!(h["utc_first_ns"], 1_790_000_000_700_000_000i64);
        // Exact, although pika cuts doubles to integers.
        let fraction = |name: &str| h[name].as_str().unwrap().parse::<f64>().unwrap();
        let (acquisition, channels, frequencies) = (&expected.acquisition, stream.channels, stream.frequencies);
        assert_eq!((&h["channel_start"], &h["channel_step"]), (&channels.start.into(), &channels.step.into()));
        let place = (fraction("dx_m"), fraction("fiber_start_m"));
        assert_eq!(place, (acquisition.dx_m, acquisition.fiber_start_m));
        let axis = (fraction("frequency_start_hz"), fraction("frequency_step_hz"), fraction("prr_hz"));
        assert_eq!(axis, (frequencies.start_hz, frequencies.step_hz, acquisition.prr.to_f64()));
    }
    assert_eq!(seen.lines().count(), count);
    let status = rig.finish();
    assert_eq!(
        (status.counters.publish.frames_confirmed.get(), status.counters.publish.frames_unroutable.get()),
        (count as u64, 0)
    );
    assert!(status.counters.publish.confirm_latency.quantile_s(1.0).is_some());
}

#[test]
fn unroutable_and_refused_frames_are_counted_apart_and_the_window_holds() {
    const WINDOW: u64 = 8;
    let rig = rig(&shared().uri(), "apart", 4096, |config| config.window = WINDOW as usize);
    let reader = rig.runtime.block_on(Reader::new(&shared().uri()));
    let exchange = &rig.config.frames_exchange;
    rig.runtime.block_on(reader.queue("apart", exchange, "*.single.wanted.*", FieldTable::default()));
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(3));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    rig.runtime.block_on(reader.queue("full", exchange, "*.single.full.*", full));
    rig.wait_connected();

    let [wanted, lonely, full] = ["wanted", "lonely", "full"].map(|name| stream(View::Single, name, Dtype::F32, 1, 64));
    // One that is refused is not sent again, so that everything has its answer.
    let full = Arc::new(Stream { durable: false, ..(*full).clone() });
    let each = 300;
    for number in 0..each {
        // Live and durable messages are confirmed at different times, so outcomes come out of order.
        let live = Arc::new(Stream { durable: number % 3 == 0, ..(*wanted).clone() });
        rig.offer(frame(&live, number));
        rig.offer(frame(&lonely, number));
        rig.offer(frame(&full, number));
    }
    let c = &rig.status.counters;
    wait_for("all outcomes", || {
        // Answers first: between the two readings the window can only look emptier than it is… or full.
        let answered =
            c.publish.frames_confirmed.get() + c.publish.frames_unroutable.get() + c.publish.frames_given_up.get();
        let in_flight = c.publish.frames_published.get() - answered;
        assert!(in_flight <= 2 * WINDOW, "{in_flight} in flight");
        (answered == 3 * each).then_some(())
    });
    assert_eq!(c.publish.frames_unroutable.get(), each);
    let kept = rig.runtime.block_on(reader.ids("full"));
    assert_eq!(
        (c.publish.frames_confirmed.get(), c.publish.frames_refused.get()),
        (each + kept.len() as u64, each - kept.len() as u64)
    );
    assert!(kept.len() < each as usize, "the full queue refused nothing");
    let arrived = rig.runtime.block_on(reader.ids("apart"));
    assert_eq!(arrived, (0..each).map(|n| (id("wanted", n), 1)).collect());
    rig.finish();
}

#[test]
fn status_goes_out_on_each_change_and_every_five_seconds_and_overtakes_frames() {
    let rig = rig(&shared().uri(), "told", 2000, |config| config.window = 2);
    let reader = rig.runtime.block_on(Reader::new(&shared().uri()));
    rig.runtime.block_on(reader.queue("told", &rig.config.status_exchange, "north.state", FieldTable::default()));
    rig.runtime.block_on(reader.queue("told-frames", &rig.config.frames_exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let big = stream(View::Waterfall, "big", Dtype::F32, 37_000, 1);
    for number in 0..1000 {
        rig.offer(frame(&big, number));
    }
    let acquisition = Arc::new(Acquisition::example());
    let phases = [Phase::Acquiring(Arc::clone(&acquisition)), Phase::WaitingForFiber(DarkReason::LightOff)];
    let mut seen = Vec::new();
    let told = |seen: &mut Vec<(String, String)>| {
        let (_, headers, body) = rig.runtime.block_on(reader.next("told", Duration::from_secs(30))).expect("status");
        let word = |key: &str| text_of(&headers, key);
        let report: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&report["site"], &report["phase"]), (&"north".into(), &word("phase").into()));
        seen.push((word("event"), word("phase")));
    };
    for phase in phases {
        let name = phase.name().to_owned();
        rig.status.set_phase(phase);
        while seen.last() != Some(&("phase".into(), name.clone())) {
            told(&mut seen);
        }
    }
    assert!(rig.status.counters.publish.frames_waiting.get() > 0.0, "no frames were piling up");
    while seen.iter().filter(|(event, _)| event == "periodic").count() < 2 {
        told(&mut seen);
    }
    // The first connection may be made before or after the queue was there.
    seen.retain(|(event, _)| event != "connected");
    let changes: Vec<&str> = seen.iter().filter(|(event, _)| event == "phase").map(|(_, phase)| &**phase).collect();
    assert_eq!(changes, ["acquiring", "waiting for fiber"]);
    rig.finish();
}

#[test]
fn a_wrong_password_is_said_once_and_a_right_one_is_found_by_itself() {
    let broker = shared();
    broker.ctl(&["add_user", "dana", "not-yet"]);
    broker.ctl(&["set_permissions", "dana", ".*", ".*", ".*"]);
    let rig = rig(&broker.uri(), "password", 16, |config| {
        config.login = Reloadable::new(Login { username: "dana".into(), password: Secret::new(PASSWORD) });
    });
    rig.wait_for("two refusals", |s| s.counters.publish.failures.get() >= 2);
    assert_eq!(rig.status.broker(), BrokerState::Away);
    broker.ctl(&["change_password", "dana", PASSWORD]);
    rig.wait_connected();
    rig.finish();
    let log = log();
    let refused = log.lines().filter(|line| line.contains("ERROR") && line.contains("ACCESS_REFUSED")).count();
    assert_eq!(refused, 1, "{log}");
    assert!(log.contains("connected"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("lapin::"), "{log}");
    assert!(!log.contains(&format!("{:?}", PASSWORD.as_bytes()).replace(['[', ']'], "")), "{log}");
}

#[test]
fn a_port_that_speaks_something_else_is_a_state_and_not_a_crash() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            // Long enough to be taken for a broken TLS record and for an AMQP header.
            let _ = peer.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let tls = rig(&format!("amqps://localhost:{port}/%2f"), "tls", 16, |_| {});
    let plain = rig(&format!("amqp://[::ffff:127.0.0.1]:{port}/%2f"), "plain", 16, |_| {});
    let nonsense = rig("not a uri", "nonsense", 16, |_| {});
    for rig in [tls, plain, nonsense] {
        rig.wait_for("failure", |s| s.broker() == BrokerState::Away && s.counters.publish.failures.get() > 0);
        rig.publisher.abort();
    }
}

#[test]
fn without_a_broker_the_oldest_frames_go_first_and_are_counted() {
    let port = common::free_port();
    let rig = rig(&format!("amqp://127.0.0.1:{port}/%2f"), "nobody", 10, |_| {});
    rig.wait_for("failures", |s| s.broker() == BrokerState::Away && s.counters.publish.failures.get() >= 2);
    let stream = stream(View::Single, "s", Dtype::F32, 1, 64);
    for number in 0..50 {
        rig.offer(frame(&stream, number));
    }
    assert_eq!(rig.status.counters.egress.frames_dropped.get(), 40);
    let status = rig.finish();
    assert_eq!(status.counters.egress.frames_dropped.get(), 50);
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_twice_while_publishing() {
    let broker = victim();
    let rig = rig(&broker.uri(), "killed", 20_000, |_| {});
    let reader = rig.runtime.block_on(Reader::new(&broker.uri()));
    rig.runtime.block_on(reader.queue("killed", &rig.config.frames_exchange, "#", FieldTable::default()));
    rig.runtime.block_on(reader.queue("killed-told", &rig.config.status_exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let stream = stream(View::Waterfall, "w", Dtype::F32, 2337, 1);
    let mut number = 0;
    let mut offer_until = |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < deadline, "waited in vain: {:?}", rig.status.counters);
            rig.offer(frame(&stream, number));
            number += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let c = &rig.status.counters;
    for connections in 1..=2 {
        let confirmed = c.publish.frames_confirmed.get();
        offer_until(&|| c.publish.frames_confirmed.get() > confirmed + 200);
        broker.kill();
        offer_until(&|| rig.status.broker() == BrokerState::Away);
        rig.status.set_phase(Phase::WaitingForFiber(DarkReason::NoTraces));
        broker.restart();
        offer_until(&|| c.publish.connections.get() > connections);
    }
    let status = rig.finish();
    let c = &status.counters;
    assert_eq!((c.publish.frames_confirmed.get(), c.egress.frames_dropped.get()), (number, 0), "{c:?}");

    let runtime = Runtime::new().unwrap();
    let reader = runtime.block_on(Reader::new(&broker.uri()));
    let arrived = runtime.block_on(reader.ids("killed"));
    let expected: BTreeSet<String> = (0..number).map(|n| id("w", n)).collect();
    assert_eq!(arrived.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let duplicates: usize = arrived.values().map(|times| times - 1).sum();
    assert!(duplicates <= 2 * window(), "{duplicates} duplicates");
    // The changes that happened while nobody listened, and the two reconnections.
    let complete = |told: &[String]| {
        ["phase", "connected"].iter().all(|event| told.iter().filter(|seen| *seen == event).count() >= 2)
    };
    let told = runtime.block_on(async {
        let mut told = Vec::new();
        // A broker that has just been started on a busy machine takes its time.
        while !complete(&told)
            && let Some((_, headers, _)) = reader.next("killed-told", Duration::from_secs(90)).await
        {
            told.push(text_of(&headers, "event"));
        }
        told
    });
    // What was confirmed and is not here the broker has forgotten; what was not had no queue, or was never sent.
    assert!(complete(&told), "{told:?}, {} confirmed", status.counters.publish.status_confirmed.get());
}

/// Messages in flight by default.
fn window() -> usize {
    BrokerConfig::default().window
}

#[test]
fn a_frozen_broker_is_noticed_and_nothing_is_lost() {
    let broker = victim();
    let rig = rig(&broker.uri(), "frozen", 20_000, |_| {});
    let reader = rig.runtime.block_on(Reader::new(&broker.uri()));
    rig.runtime.block_on(reader.queue("frozen", &rig.config.frames_exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let stream = stream(View::Waterfall, "w", Dtype::F32, 2337, 1);
    for number in 0..500 {
        rig.offer(frame(&stream, number));
    }
    rig.wait_for("confirms", |s| s.counters.publish.frames_confirmed.get() == 500);
    broker.freeze();
    for number in 500..1000 {
        rig.offer(frame(&stream, number));
    }
    rig.wait_for("notice", |s| s.broker() == BrokerState::Away);
    let c = &rig.status.counters;
    assert!(c.publish.frames_published.get() - c.publish.frames_confirmed.get() <= window() as u64, "{c:?}");
    // An attempt against the frozen broker must end by itself.
    let failures = c.publish.failures.get();
    rig.wait_for("a failed attempt", |s| s.counters.publish.failures.get() > failures);
    broker.thaw();
    rig.wait_for("the rest", |s| s.counters.publish.frames_confirmed.get() == 1000);
    rig.finish();
    let runtime = Runtime::new().unwrap();
    let reader = runtime.block_on(Reader::new(&broker.uri()));
    let arrived = runtime.block_on(reader.ids("frozen"));
    assert_eq!(arrived.into_keys().collect::<BTreeSet<_>>(), (0..1000).map(|n| id("w", n)).collect());
}

#[test]
fn while_an_alarm_blocks_the_broker_memory_does_not_grow() {
    let broker = victim();
    let rig = rig(&broker.uri(), "alarm", 32, |_| {});
    let reader = rig.runtime.block_on(Reader::new(&broker.uri()));
    rig.runtime.block_on(reader.queue("alarm", &rig.config.frames_exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let big = stream(View::Waterfall, "w", Dtype::F32, 37_400, 1);
    let mut number = 0;
    let mut offer = |frames: u64| {
        for _ in 0..frames {
            rig.offer(frame(&big, number));
            number += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    offer(100);
    rig.wait_for("confirms", |s| s.counters.publish.frames_waiting.get() == 0.0);
    broker.memory_alarm(true);
    wait_for("the blocked state", || {
        offer(1);
        (rig.status.broker() == BrokerState::Blocked).then_some(())
    });
    offer(100);
    let before = resident_bytes();
    offer(700);
    let grown = resident_bytes().saturating_sub(before);
    // 700 frames are 209 MB.
    assert!(grown < 40_000_000, "{grown} bytes more after 700 frames of 299 kB");
    assert_eq!(rig.status.broker(), BrokerState::Blocked);
    let dropped = rig.status.counters.egress.frames_dropped.get();
    assert!(dropped >= 600, "only {dropped} dropped");
    broker.memory_alarm(false);
    rig.wait_for("the end of the block", |s| s.counters.publish.frames_waiting.get() == 0.0);
    assert_eq!(rig.status.broker(), BrokerState::Connected);
    let status = rig.finish();
    let c = &status.counters;
    assert_eq!((c.publish.connections.get(), c.publish.frames_unconfirmed.get()), (1, 0));
    let runtime = Runtime::new().unwrap();
    let reader = runtime.block_on(Reader::new(&broker.uri()));
    let arrived = runtime.block_on(reader.ids("alarm"));
    assert_eq!(arrived.len() as u64, c.publish.frames_confirmed.get());
    assert!(arrived.contains_key(&id("w", number - 1)), "the newest frame is not there");
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
