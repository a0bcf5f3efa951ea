//! The bus against a real RabbitMQ and a real daemon on a synthetic interrogator: what each command does, what is answered
//! to those that are wrong, and which frames of jobs arrive.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::broker::{Broker, shared};
use common::bus::{Client, Headers, Rig, Wire, keepalive, roi, table, word};
use common::http::{ask, exchange};
use common::wait_for;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};
use tokio::time::timeout;

#[test]
fn each_command_has_its_effect_on_the_job_that_it_names_and_on_no_other() {
    let rig = Rig::start(shared(), "effects", "", "");
    let (one, other) = (rig.configure(0), rig.configure(2));
    let named = [("job_id", word(&one))];

    let done = rig.ok("keepalive", &named, &keepalive());
    assert_eq!(done["job_id"], one.as_str());
    rig.ok(&format!("colormap.{one}"), &[], &json!({ "type": "ColormapCommand", "value": "jet" }));
    rig.ok("caxis", &named, &json!({ "type": "CaxisCommand", "value": { "min": -1.5, "max": 3 } }));
    let watch = json!({ "type": "MonitorQueuesCommand", "value": { "queues_to_monitor": ["effects.replies"] } });
    rig.ok(&format!("monitor_queues.{one}"), &named, &watch);
    let picture = json!({ "colormap": "jet", "caxis": { "min": -1.5, "max": 3.0 } });
    let job = rig.job(&one);
    assert_eq!((&job["picture"], &job["monitored_queues"]), (&picture, &json!(["effects.replies"])));
    let untouched = rig.job(&other);
    assert_eq!(untouched["picture"], json!({ "colormap": null, "caxis": null }));
    assert_eq!(untouched["monitored_queues"], json!([]));

    // What is said of the input is shown, and does not outweigh what the interrogator declares.
    assert_eq!(rig.get("/live_metadata").json()["announced_input"], Value::Null);
    let metadata = json!({ "prr": 500.0, "num_samples_per_trace": 60, "dtype": "int16", "sw_version": "7" });
    let command = json!({ "type": "InputChangedCommand", "metadata": metadata });
    let done = rig.ok("input_changed", &[], &command);
    assert_eq!(done["details"]["jobs_ended"], json!([]), "{done}");
    let live = rig.get("/live_metadata").json();
    assert_eq!((&live["announced_input"]["prr"], &live["prr"]), (&json!(500.0), &json!(1000.0)));
    let differs = live["announced_differs"].as_array().unwrap();
    assert!(differs.len() == 1 && differs[0].as_str().unwrap().starts_with("prr: 500 "), "{live}");

    // Without an answer a command is done as well.
    rig.send("colormap", &named, json!({ "type": "ColormapCommand", "value": "turbo" }).to_string().as_bytes());
    wait_for("the other colours", || (rig.job(&one)["picture"]["colormap"] == "turbo").then_some(()));
    // Another site's is nobody's here, and no dead letter.
    let elsewhere = [("job_id", word(&one)), ("site", word("another"))];
    rig.send("colormap", &elsewhere, json!({ "type": "ColormapCommand", "value": "jet" }).to_string().as_bytes());
    wait_for("it is passed by", || (rig.commands("ignored") == 1).then_some(()));
    assert_eq!(rig.job(&one)["picture"]["colormap"], "turbo");
    rig.ok("keepalive", &[("job_id", word(&one)), ("site", word("effects"))], &keepalive());
    assert!(rig.client.next("effects.refused").is_none());
    assert_eq!((rig.commands("done"), rig.commands("refused")), (7, 0));
}

#[test]
fn a_command_without_a_job_is_for_the_configured_one() {
    let rig = Rig::start(shared(), "default", "", "default_job = \"main\"\n");
    rig.refused("keepalive", &[], keepalive().to_string().as_bytes(), 404, "unknown_job");
    let task = json!({
        "displayTimeAxisDuration": 10, "nfftSelection": 128, "canvasInfo": { "height": 100 },
        "sensors": { "min": 0, "max": 4 }, "frequencyRange": { "min": 10, "max": 400 },
        "start_time": null, "end_time": null,
    });
    let body = task.to_string();
    let head = format!(
        "POST /config/main HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(rig.address(), head.as_bytes()).unwrap().status, 200);
    let done = rig.ok("roi", &[], &roi(10, 20));
    assert_eq!(done["job_id"], "main");
    let object = rig.get("/metadata/main").json();
    assert_eq!((&object["channel_amount"], &object["channel_to_stream_index"]["10"]), (&json!(10), &json!(0)));
    rig.refused("keepalive.", &[], keepalive().to_string().as_bytes(), 400, "invalid_job_id");
}

#[test]
fn what_is_wrong_is_answered_dead_lettered_and_does_no_harm() {
    let rig = Rig::start(shared(), "wrong", "", "");
    let (id, single) = (rig.configure(0), rig.configure(1));
    let mine = [("job_id", word(&id))];
    let text = |command: Value| command.to_string().into_bytes();
    let deep = "[".repeat(50_000).into_bytes();
    let cases = [
        (b"\xff\xfe\xfd".to_vec(), 400, "malformed_json"),
        (b"{".to_vec(), 400, "malformed_json"),
        (Vec::new(), 400, "malformed_json"),
        (deep, 400, "malformed_json"),
        (vec![b'x'; 10 << 20], 400, "body_too_long"),
        (b"[1, 2]".to_vec(), 400, "not_an_object"),
        (text(json!({})), 422, "invalid_field"),
        (text(json!({ "type": "LaunchCommand", "value": {} })), 400, "unknown_command"),
        (text(json!({ "type": "KeepaliveCommand" })), 422, "invalid_field"),
        (text(json!({ "type": "KeepaliveCommand", "value": { "source": "" } })), 400, "source"),
        (text(json!({ "type": "RegionOfInterestCommand", "value": { "end": "x" } })), 422, "invalid_field"),
        (text(roi(-1, 3)), 400, "negative_start"),
        (text(roi(3, 3)), 400, "empty_region"),
        (text(roi(50, 61)), 422, "invalid_field"),
        (text(roi(50, 52)), 400, "too_few_channels"),
        (text(json!({ "type": "ColormapCommand", "value": "pink" })), 400, "unknown_colormap"),
        (text(json!({ "type": "CaxisCommand", "value": { "min": 2, "max": 2 } })), 400, "caxis_order"),
        (text(json!({ "type": "MonitorQueuesCommand", "value": { "queues_to_monitor": [] } })), 400, "queue_count"),
        (text(json!({ "type": "InputChangedCommand", "metadata": { "prr": 0 } })), 422, "invalid_field"),
        (
            text(json!({ "type": "InputChangedCommand",
                "metadata": { "prr": 0, "num_samples_per_trace": 60, "dtype": "int16" } })),
            400,
            "not_positive",
        ),
    ];
    let mut refused = cases.len() as u64;
    for (body, status, code) in cases {
        let answer = rig.refused("roi", &mine, &body, status, code);
        if status == 422 {
            assert_eq!(answer["detail"][0]["loc"][0], "body");
        }
    }
    let keep = keepalive().to_string();
    let addresses: [(&str, Headers<'_>, i64, &str); 7] = [
        ("keepalive", &[], 400, "no_job"),
        ("keepalive.1-999999", &[], 404, "unknown_job"),
        ("keepalive.a/b", &[], 400, "invalid_job_id"),
        ("keepalive.1.2", &[], 400, "invalid_job_id"),
        (&format!("keepalive.{single}"), &mine, 400, "ambiguous_job"),
        ("keepalive", &[("job_id", AMQPValue::LongInt(1))], 400, "header_type"),
        ("keepalive", &[("job_id", AMQPValue::LongString(b"\xff".as_slice().into()))], 400, "header_type"),
    ];
    for (key, headers, status, code) in addresses {
        rig.refused(key, headers, keep.as_bytes(), status, code);
        refused += 1;
    }
    let narrow = roi(3, 5).to_string();
    rig.refused("roi", &[("job_id", word(&single))], narrow.as_bytes(), 400, "not_single");
    rig.ok("roi", &[("job_id", word(&single))], &roi(59, 60));

    // An address for the answer that the broker resents takes nothing else with it.
    for to in ["nowhere", "amq.rabbitmq.reply-to.x", "amq.rabbitmq.reply-to.g2dk", ""] {
        let properties = BasicProperties::default().with_headers(table(&mine)).with_reply_to(to.into());
        rig.client.publish("wrong.commands", "keepalive", properties, keep.as_bytes());
    }
    rig.ok("keepalive", &mine, &keepalive());
    // One that goes without a queue arrives.
    let (name, options) = ("amq.rabbitmq.reply-to", BasicConsumeOptions { no_ack: true, ..Default::default() });
    let consumed = rig.client.channel.basic_consume(name.into(), "".into(), options, FieldTable::default());
    let mut direct = rig.client.runtime.block_on(consumed).unwrap();
    let properties = BasicProperties::default().with_headers(table(&mine)).with_reply_to(name.into());
    rig.client.publish("wrong.commands", "keepalive", properties, keep.as_bytes());
    let answer = rig.client.runtime.block_on(async { timeout(Duration::from_secs(60), direct.next()).await });
    let answer = answer.expect("in time").unwrap().unwrap();
    assert!(answer.data.starts_with(b"{"));
    rig.ok("keepalive", &mine, &keepalive());
    let c = (rig.commands("done"), rig.commands("refused"));
    assert_eq!(c, (8, refused + 1), "each was counted once");
    let unsent = || rig.daemon.count("fiberd_command_replies_unsent_total");
    wait_for("what became of the answers", || (unsent() == 4).then_some(()));
    assert_eq!(rig.daemon.count("fiberd_commands_heard"), 1);
    // One connection for all of them.
    rig.daemon.process.says("commands are heard", 1);
}

#[test]
fn other_channels_come_between_two_lines_and_the_frames_say_so() {
    let rig = Rig::start(shared(), "roi", "", "");
    let id = rig.configure(0);
    let mine = [("job_id", word(&id))];
    rig.client.queue("roi.lines");
    rig.client.bind("roi.lines", "roi.frames", &format!("roi.multi.{id}.*"));
    let mut frames = Vec::new();
    let more = |frames: &mut Vec<Wire>, wanted: usize| {
        let until = frames.len() + wanted;
        wait_for("frames", || {
            frames.extend(std::iter::from_fn(|| rig.client.next("roi.lines")).map(|m| Wire::of(&m.body)));
            (frames.len() >= until).then_some(())
        });
    };
    more(&mut frames, 30);
    let before = rig.get(&format!("/metadata/{id}")).json();
    assert_eq!(before["channel_amount"], 10);
    let done = rig.ok("roi", &mine, &roi(30, 37));
    assert_eq!((&done["details"]["start"], &done["details"]["end"]), (&json!(30), &json!(37)));
    let object = rig.get(&format!("/metadata/{id}")).json();
    assert_eq!((&object["channel_amount"], &object["stream_amount"]), (&json!(7), &json!(3)));
    assert_eq!((&object["stream_port"], &object["lines_dt"]), (&before["stream_port"], &before["lines_dt"]));
    let map = object["channel_to_stream_index"].as_object().unwrap();
    assert_eq!(
        (map.len(), &map["31"], &map["33"], &map["34"], &map["37"]),
        (7, &json!(0), &json!(0), &json!(1), &json!(2))
    );
    more(&mut frames, 30);

    let (old, new) = ([4..8, 8..11, 11..14], [30..33, 33..35, 35..37]);
    let mut by_stream = BTreeMap::<u32, Vec<&Wire>>::new();
    for frame in &frames {
        by_stream.entry(frame.stream).or_default().push(frame);
    }
    assert_eq!(by_stream.len(), 3);
    let mut changed_at = Vec::new();
    for (stream, frames) in by_stream {
        let (old, new) = (&old[stream as usize], &new[stream as usize]);
        let at = frames.iter().position(|frame| frame.channels == *new).expect("the new channels come");
        assert!(at > 0 && frames[..at].iter().all(|frame| frame.channels == *old));
        assert!(frames[at..].iter().all(|frame| frame.channels == *new));
        // The first may be probes.
        for pair in frames.windows(2).skip(3) {
            assert_eq!(pair[1].sequence, pair[0].sequence + 1, "none is lost or twice");
            assert!(pair[1].first_line > pair[0].first_line);
        }
        changed_at.push(frames[at].first_line);
    }
    changed_at.dedup();
    assert_eq!(changed_at.len(), 1, "all streams change at the same line");

    // And the other endpoints show the same.
    let seen = wait_for("a row of the new channels", || {
        let answer = rig.get(&format!("/waterfall/{id}/50"));
        let rows = (answer.status == 201).then(|| answer.json())?;
        let rows: Vec<_> =
            rows.as_array().unwrap().iter().flat_map(|b| b["rows"].as_array().unwrap().clone()).collect();
        let ids = |row: &Value| row["sensors"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
        let ids: Vec<Vec<u64>> = rows.iter().map(ids).collect();
        ids.into_iter().find(|ids| ids[0] == 31)
    });
    assert_eq!(seen, (31..=37).collect::<Vec<_>>());

    // A change that is refused changes nothing.
    rig.refused("roi", &mine, roi(58, 61).to_string().as_bytes(), 422, "invalid_field");
    assert_eq!(rig.get(&format!("/metadata/{id}")).json(), object);
    assert_eq!(ask(rig.address(), "DELETE", &format!("/job/{id}")).status, 200);
    rig.refused("roi", &mine, roi(1, 9).to_string().as_bytes(), 404, "unknown_job");
}

#[test]
fn frames_go_to_queues_that_are_bound_and_these_keep_a_job_alive() {
    let rig = Rig::start(shared(), "frames", "", "live_idle_s = 6\nstart_grace_s = 1\n");
    let (bound, unseen) = (rig.configure(2), rig.configure(2));
    rig.client.queue("frames.mine");
    let key = format!("frames.waterfall.{bound}.#");
    wait_for("nobody wants them", || {
        let unroutable = rig.daemon.count("fiberd_job_frames_unroutable_total");
        (unroutable >= 6 && rig.held_back("unwanted") > unroutable).then_some(())
    });
    assert_eq!(rig.daemon.count("fiberd_job_frames_confirmed_total"), 0);
    rig.client.bind("frames.mine", "frames.frames", &key);
    let mut streams = BTreeMap::<u32, Vec<u64>>::new();
    let mut ended = false;
    wait_for("frames, and the end of the other", || {
        while let Some(message) = rig.client.next("frames.mine") {
            let wire = Wire::of(&message.body);
            assert_eq!(message.key, format!("frames.waterfall.{bound}.{}", wire.stream));
            let about = &message.properties;
            assert_eq!(
                (*about.delivery_mode(), about.kind().as_ref().map(ShortString::as_str)),
                (Some(1), Some("frame.v2"))
            );
            assert_eq!(about.headers().as_ref().unwrap().inner().get("job"), Some(&word(&bound)));
            streams.entry(wire.stream).or_default().push(wire.first_line);
        }
        ended |= rig.job(&unseen)["status"] == "completed";
        (ended && streams.len() == 3 && streams.values().all(|lines| lines.len() > 20)).then_some(())
    });
    for lines in streams.values() {
        // The first may be a probe; behind it none is missing and none is twice.
        let broken = lines.windows(2).skip(3).find(|pair| pair[1] != pair[0] + 1);
        assert_eq!(broken, None, "{lines:?}");
    }
    // Nobody has asked for this job but the queue.
    let second = rig.configure(2);
    wait_for("one that came later ends before it", || (rig.job(&second)["status"] == "completed").then_some(()));
    assert_eq!(rig.job(&bound)["status"], "running");
    rig.client.unbind("frames.mine", "frames.frames", &key);
    wait_for("without its queue it ends", || (rig.job(&bound)["status"] == "completed").then_some(()));
    assert_eq!(rig.daemon.count("fiberd_frames_confirmed_total"), 0, "standing views are counted apart");
}

#[test]
fn a_keep_alive_keeps_a_job_alive() {
    let rig = Rig::start(shared(), "alive", "", "live_idle_s = 2\nstart_grace_s = 1\n");
    let (kept, left) = (rig.configure(1), rig.configure(1));
    let key = format!("keepalive.{kept}");
    for _ in 0..2 {
        let other = rig.configure(1);
        wait_for("those that nobody keeps alive end", || {
            rig.ok(&key, &[], &keepalive());
            [&left, &other].iter().all(|id| rig.job(id)["status"] == "completed").then_some(())
        });
    }
    assert_eq!(rig.job(&kept)["status"], "running");
    wait_for("and it ends as well", || (rig.job(&kept)["status"] == "completed").then_some(()));
    rig.refused(&key, &[], keepalive().to_string().as_bytes(), 404, "unknown_job");
}

#[test]
fn a_job_sends_less_while_a_queue_that_it_watches_is_deep() {
    let rig = Rig::start(shared(), "deep", "deep_queue_messages = 10\n", "");
    let (id, free) = (rig.configure(2), rig.configure(2));
    for queue in ["deep.lines", "deep.free", "deep.watched"] {
        rig.client.queue(queue);
    }
    rig.client.bind("deep.lines", "deep.frames", &format!("deep.waterfall.{id}.*"));
    rig.client.bind("deep.free", "deep.frames", &format!("deep.waterfall.{free}.*"));
    let drain = |queue| std::iter::from_fn(|| rig.client.next(queue)).count();
    let watch = json!({ "queues_to_monitor": ["deep.there-is-none", "deep.watched"] });
    rig.ok("monitor_queues", &[("job_id", word(&id))], &json!({ "type": "MonitorQueuesCommand", "value": watch }));
    let mut taken = 0;
    wait_for("frames", || {
        taken += drain("deep.lines");
        (taken > 60).then_some(())
    });
    assert_eq!(rig.job(&id)["throttled"], false);
    for _ in 0..10 {
        rig.client.publish("", "deep.watched", BasicProperties::default(), b"work");
    }
    wait_for("it is throttled", || (rig.job(&id)["throttled"] == true).then_some(()));
    let held = rig.held_back("throttled");
    drain("deep.lines");
    drain("deep.free");
    let (mut slow, mut fast) = (0, 0);
    wait_for("the other goes on", || {
        slow += drain("deep.lines");
        fast += drain("deep.free");
        (fast > 200).then_some(())
    });
    assert!(slow < fast / 3 && rig.held_back("throttled") > held + 60, "{slow} {fast}");
    assert_eq!(rig.job(&free)["throttled"], false);
    rig.client.purge("deep.watched");
    wait_for("it is not throttled any more", || (rig.job(&id)["throttled"] == false).then_some(()));
    let mut taken = 0;
    wait_for("all frames again", || {
        taken += drain("deep.lines");
        (taken > 60).then_some(())
    });
}

#[test]
fn after_a_restart_of_the_broker_everything_is_there_again() {
    let broker = Broker::start();
    let mut rig = Rig::start(&broker, "again", "commands_queue = \"again.inbox\"\n", "");
    let id = rig.configure(2);
    let mine = [("job_id", word(&id))];
    rig.client.queue("again.lines");
    rig.client.bind("again.lines", "again.frames", &format!("again.waterfall.{id}.*"));
    wait_for("a frame", || rig.client.next("again.lines"));
    broker.stop();
    wait_for("it is noticed", || (rig.daemon.count("fiberd_commands_heard") == 0).then_some(()));
    assert_eq!(rig.job(&id)["status"], "running");
    broker.restart();
    rig.client = Client::new(&broker.uri());
    rig.wait_heard(1);
    rig.ok("keepalive", &mine, &keepalive());
    rig.client.purge("again.lines");
    wait_for("frames again", || rig.client.next("again.lines"));

    // A message that the client library cannot read is taken out of a queue that outlives connections.
    let good = json!({ "type": "ColormapCommand", "value": "jet" }).to_string();
    unreadable(&broker, "again.inbox");
    rig.send("colormap", &mine, good.as_bytes());
    wait_for("the command behind it", || (rig.job(&id)["picture"]["colormap"] == "jet").then_some(()));
    rig.wait_heard(1);
    rig.ok("keepalive", &mine, &keepalive());
}

#[test]
fn an_exchange_of_the_wrong_type_is_a_state_and_holds_nothing_up() {
    let broker = shared();
    let client = Client::new(&broker.uri());
    let wrong = client.channel.exchange_declare(
        "kind.commands".into(),
        ExchangeKind::Direct,
        ExchangeDeclareOptions::default(),
        FieldTable::default(),
    );
    client.runtime.block_on(wrong).unwrap();
    let rig = Rig::deaf(broker, "kind", "", "");
    wait_for("a person is told", || (rig.daemon.process.lines_with("commands: refused") > 0).then_some(()));
    let id = rig.configure(2);
    rig.client.queue("kind.lines");
    rig.client.bind("kind.lines", "kind.frames", &format!("kind.waterfall.{id}.*"));
    wait_for("frames of jobs", || rig.client.next("kind.lines"));
    rig.client.bind("kind.lines", "kind.frames", "kind.waterfall.whole.0");
    wait_for("standing views", || rig.client.next("kind.lines").filter(|m| m.key == "kind.waterfall.whole.0"));
    assert_eq!(rig.daemon.count("fiberd_commands_heard"), 0);
    let gone = client.channel.exchange_delete("kind.commands".into(), ExchangeDeleteOptions::default());
    client.runtime.block_on(gone).unwrap();
    rig.wait_heard(1);
    rig.ok("keepalive", &[("job_id", word(&id))], &keepalive());
}

/// Publishes to `queue` a message whose correlation id is no UTF-8, which the protocol forbids and the broker lets
/// through. No client library does that, so it is said byte by byte.
fn unreadable(broker: &Broker, queue: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let frame = |kind: u8, channel: u16, payload: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend(channel.to_be_bytes());
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        bytes.push(0xce);
        bytes
    };
    let method = |class: u16, method: u16, arguments: &[u8]| {
        [&class.to_be_bytes()[..], &method.to_be_bytes()[..], arguments].concat()
    };
    let long = |text: &[u8]| [&(text.len() as u32).to_be_bytes()[..], text].concat();
    let short = |text: &[u8]| [&[text.len() as u8][..], text].concat();
    let mut say = |bytes: &[u8]| {
        stream.write_all(bytes).unwrap();
        // Whatever it answers: what follows would fail if it were not what it should be.
        let mut answer = [0; 4096];
        let _ = stream.read(&mut answer);
    };
    say(b"AMQP\0\0\x09\x01");
    let start_ok = [&0u32.to_be_bytes()[..], &short(b"PLAIN"), &long(b"\0guest\0guest"), &short(b"en_US")].concat();
    say(&frame(1, 0, &method(10, 11, &start_ok)));
    let tune_ok = frame(1, 0, &method(10, 31, &[0, 16, 0, 2, 0, 0, 0, 0]));
    let open = frame(1, 0, &method(10, 40, &[&short(b"/")[..], &short(b""), &[0]].concat()));
    say(&[tune_ok, open].concat());
    say(&frame(1, 1, &method(20, 10, &short(b""))));
    let publish = [&[0, 0][..], &short(b""), &short(queue.as_bytes()), &[0]].concat();
    // Of the properties only correlation_id, bit 10.
    let id = short(b"\xff\xfe");
    let header = [&60u16.to_be_bytes()[..], &[0, 0], &2u64.to_be_bytes(), &0x0400u16.to_be_bytes(), &id].concat();
    let parts = [frame(1, 1, &method(60, 40, &publish)), frame(2, 1, &header), frame(3, 1, b"{}")];
    say(&parts.concat());
    // An orderly end, so that nothing of it is lost.
    say(&frame(1, 0, &method(10, 50, &[0, 200, 0, 0, 0, 0, 0])));
}
