//! Every rule of commands, and that nothing that anybody sends does harm.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(command: &Value) -> Result<Command, Refusal> {
    parse(command.to_string().as_bytes())
}

fn metadata() -> Value {
    json!({ "prr": 1000.5, "num_samples_per_trace": 60, "dtype": "int16" })
}

#[test]
fn each_command_is_read() {
    let announced = Announced {
        prr: 1000.5,
        num_samples_per_trace: 60,
        dtype: "int16".into(),
        dx: None,
        fiber_start_meters: None,
        fiber_length_meters: None,
        sw_version: None,
        number_of_channels: None,
    };
    let mut all = metadata();
    for (name, value) in [("dx", json!(1.5)), ("fiber_start_meters", json!(-3)), ("sw_version", json!("7"))] {
        all[name] = value;
    }
    let whole =
        Announced { dx: Some(1.5), fiber_start_meters: Some(-3.0), sw_version: Some("7".into()), ..announced.clone() };
    let cases = [
        (
            json!({ "type": "KeepaliveCommand", "value": { "source": "ui" } }),
            Command::Keepalive { source: "ui".into() },
        ),
        (json!({ "type": "RegionOfInterestCommand", "value": { "start": 0, "end": 1 } }), Command::Region(0..1)),
        (json!({ "type": "ColormapCommand", "value": "jet", "more": [1] }), Command::Colormap(Colormap::Jet)),
        (
            json!({ "type": "CaxisCommand", "value": { "min": -1, "max": 2.5 } }),
            Command::Caxis(Caxis { min: -1.0, max: 2.5 }),
        ),
        (
            json!({ "type": "MonitorQueuesCommand", "value": { "queues_to_monitor": ["b", "a", "b"] } }),
            Command::MonitorQueues(vec!["a".into(), "b".into()]),
        ),
        (json!({ "type": "InputChangedCommand", "metadata": metadata() }), Command::InputChanged(announced)),
        (json!({ "type": "InputChangedCommand", "metadata": all }), Command::InputChanged(whole)),
    ];
    for (command, wanted) in cases {
        assert_eq!(read(&command), Ok(wanted.clone()), "{command}");
        assert_eq!(command["type"], wanted.name());
    }
    for map in Colormap::ALL {
        let command = json!({ "type": "ColormapCommand", "value": map.name() });
        assert_eq!(read(&command), Ok(Command::Colormap(map)));
        assert_eq!(serde_json::to_value(map).unwrap(), map.name());
    }
}

#[test]
fn each_rule_has_its_code_and_its_field() {
    let roi = |start: Value, end: Value| json!({ "type": "RegionOfInterestCommand", "value": { "start": start, "end": end } });
    let caxis = |min: Value, max: Value| json!({ "type": "CaxisCommand", "value": { "min": min, "max": max } });
    let queues = |names: Value| json!({ "type": "MonitorQueuesCommand", "value": { "queues_to_monitor": names } });
    let input = |name: &str, value: Value| {
        let mut metadata = metadata();
        metadata[name] = value;
        json!({ "type": "InputChangedCommand", "metadata": metadata })
    };
    let many: Vec<_> = (0..=MAX_QUEUES).map(|number| format!("q{number}")).collect();
    let rules = [
        (json!([]), "not_an_object", "body"),
        (json!("KeepaliveCommand"), "not_an_object", "body"),
        (json!({ "type": "LaunchCommand" }), "unknown_command", "type"),
        (json!({ "type": "" }), "unknown_command", "type"),
        (json!({ "type": "KeepaliveCommand", "value": { "source": "" } }), "source", "value.source"),
        (json!({ "type": "KeepaliveCommand", "value": { "source": "x".repeat(300) } }), "source", "value.source"),
        (roi(json!(-1), json!(4)), "negative_start", "value.start"),
        (roi(json!(4), json!(4)), "empty_region", "value.end"),
        (roi(json!(4), json!(3)), "empty_region", "value.end"),
        (roi(json!(4), json!(-3)), "empty_region", "value.end"),
        (json!({ "type": "ColormapCommand", "value": "Jet" }), "unknown_colormap", "value"),
        (caxis(json!(1), json!(1)), "caxis_order", "value.max"),
        (caxis(json!(1), json!(0.5)), "caxis_order", "value.max"),
        (queues(json!([])), "queue_count", "value.queues_to_monitor"),
        (queues(json!(many)), "queue_count", "value.queues_to_monitor"),
        (queues(json!([""])), "queue_name", "value.queues_to_monitor"),
        (queues(json!(["a\u{0}"])), "queue_name", "value.queues_to_monitor"),
        (queues(json!(["q".repeat(256)])), "queue_name", "value.queues_to_monitor"),
        (input("prr", json!(0)), "not_positive", "metadata.prr"),
        (input("num_samples_per_trace", json!(-5)), "not_positive", "metadata.num_samples_per_trace"),
        (input("dx", json!(0)), "not_positive", "metadata.dx"),
        (input("fiber_length_meters", json!(-1)), "not_positive", "metadata.fiber_length_meters"),
        (input("number_of_channels", json!(0)), "not_positive", "metadata.number_of_channels"),
        (input("dtype", json!("")), "text_length", "metadata.dtype"),
        (input("sw_version", json!("x".repeat(256))), "text_length", "metadata.sw_version"),
    ];
    for (command, code, field) in rules {
        match read(&command) {
            Err(Refusal::Rule(broken)) => assert_eq!((broken.code, broken.field.as_str()), (code, field), "{command}"),
            other => panic!("{command}: {other:?}"),
        }
    }

    let faults = [
        (json!({}), vec!["type"]),
        (json!({ "type": null }), vec!["type"]),
        (json!({ "type": 7 }), vec!["type"]),
        (json!({ "type": "KeepaliveCommand" }), vec!["value"]),
        (json!({ "type": "KeepaliveCommand", "value": "ui" }), vec!["value"]),
        (json!({ "type": "KeepaliveCommand", "value": { "source": 1 } }), vec!["value.source"]),
        (json!({ "type": "RegionOfInterestCommand", "value": {} }), vec!["value.start", "value.end"]),
        (roi(json!(1.5), json!("4")), vec!["value.start", "value.end"]),
        (json!({ "type": "ColormapCommand", "value": { "name": "jet" } }), vec!["value"]),
        (caxis(json!(true), Value::Null), vec!["value.min", "value.max"]),
        (queues(json!("q")), vec!["value.queues_to_monitor"]),
        (queues(json!(["q", 1])), vec!["value.queues_to_monitor"]),
        (json!({ "type": "InputChangedCommand", "value": {} }), vec!["metadata"]),
        (
            json!({ "type": "InputChangedCommand", "metadata": { "dx": "1" } }),
            vec!["metadata.prr", "metadata.num_samples_per_trace", "metadata.dtype", "metadata.dx"],
        ),
    ];
    for (command, wanted) in faults {
        match read(&command) {
            Err(Refusal::Fields(faults)) => {
                let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
                assert_eq!(fields, wanted, "{command}");
            }
            other => panic!("{command}: {other:?}"),
        }
    }
}

fn code(refusal: Result<impl std::fmt::Debug, Refusal>) -> &'static str {
    match refusal {
        Err(Refusal::Rule(broken)) => broken.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_json_is_said_to_be_none() {
    let deep = "[".repeat(60_000);
    let cut = br#"{"type": "KeepaliveComm"#;
    for body in [b"".as_slice(), b"{", b"\xff\xfe{}", b"{\"type\": \"\xc3\x28\"}", cut, deep.as_bytes(), b"{} {}"] {
        assert_eq!(code(parse(body)), "malformed_json");
    }
    assert_eq!(code(parse(&vec![b'['; 10 << 20])), "body_too_long");
}

#[test]
fn a_command_reaches_the_job_that_it_names_and_no_other() {
    let ask = |key, header, default| address(key, header, default);
    assert_eq!(ask("roi", Some("1-17"), Some("main")), Ok("1-17".into()));
    assert_eq!(ask("roi.1-17", None, Some("main")), Ok("1-17".into()));
    assert_eq!(ask("roi.1-17", Some("1-17"), None), Ok("1-17".into()));
    assert_eq!(ask("roi", None, Some("main")), Ok("main".into()));
    // Sent to the queue itself: its name says nothing of jobs.
    assert_eq!(ask("fiberd.commands", None, Some("main")), Ok("main".into()));
    assert_eq!(code(ask("roi.1-17", Some("1-18"), Some("main"))), "ambiguous_job");
    assert_eq!(code(ask("roi", None, None)), "no_job");
    for key in ["roi.", "roi.1-17.2", "roi..", "caxis.a/b", "keepalive.\u{e9}"] {
        assert_eq!(code(ask(key, None, Some("main"))), "invalid_job_id", "{key}: the default job is not meant");
    }
    assert_eq!(code(ask("roi", Some(""), Some("main"))), "invalid_job_id");
    assert_eq!(code(ask("roi", Some(&"x".repeat(65)), None)), "invalid_job_id");
}

proptest! {
    #[test]
    fn no_bytes_do_harm(body in prop::collection::vec(any::<u8>(), 0..200), key in ".{0,40}", header in ".{0,40}") {
        prop_assert!(parse(&body).is_err());
        if let Ok(id) = address(&key, Some(&header), None) {
            prop_assert_eq!(id, header);
        }
    }

    #[test]
    fn any_region_is_read_as_it_is_or_refused(start: i64, end: i64) {
        let command = json!({ "type": "RegionOfInterestCommand", "value": { "start": start, "end": end } });
        match read(&command) {
            Ok(Command::Region(region)) => prop_assert_eq!((region.start as i64, region.end as i64), (start, end)),
            other => prop_assert!(other.is_err() && (start < 0 || end <= start)),
        }
    }
}
