//! One test a rule, by tables: what is changed in a good request, and what is said to that.

use super::*;
use crate::acquisition::{Acquisition, Band, Phase};
use crate::config::Config;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const NOW_S: i64 = 1_790_000_000;

fn facts() -> Facts {
    let light = Light::Acquiring(Rational::new(2000, 1).unwrap());
    Facts { light, channels: 2337, waterfall: ViewConfig::waterfall(), lines: false }
}

/// A good request of each view.
fn good(view: u8) -> Value {
    let mut request = json!({
        "view_type": view, "channels": { "min": 5, "max": 14 }, "displayInfo": { "height": 200 },
        "displayTimeAxisDuration": 10, "nfftSelection": 512, "frequencyRange": { "min": 10, "max": 500 },
    });
    if view == 1 {
        request["channels"]["max"] = json!(5);
    }
    if view == 2 {
        for field in ["displayTimeAxisDuration", "nfftSelection", "frequencyRange"] {
            request[field] = Value::Null;
        }
    }
    request
}

/// `request` with the field at the dotted `path` set.
fn with(mut request: Value, path: &str, value: Value) -> Value {
    let place = path.split('.').fold(&mut request, |place, key| &mut place[key]);
    *place = value;
    request
}

fn decide(request: &Value) -> Result<JobPlan, Refusal> {
    plan(&serde_json::from_value(request.clone()).unwrap(), &facts(), NOW_S)
}

fn broken(request: &Value) -> (String, String) {
    match decide(request) {
        Err(Refusal::Rule(rule)) => (rule.field, format!("{} ({}); {}", rule.error, rule.reason, rule.advice)),
        other => panic!("{request}: {other:?}"),
    }
}

fn faults(request: &Value) -> Vec<(String, String)> {
    match decide(request) {
        Err(Refusal::Fields(faults)) => faults.into_iter().map(|fault| (fault.field, fault.msg)).collect(),
        other => panic!("{request}: {other:?}"),
    }
}

/// Each `(path, value)` put into a good request of `view` breaks a rule of `field`, and the message says `words`.
fn each_breaks(view: u8, field: &str, words: &[&str], cases: &[(&str, Value)]) {
    for (path, value) in cases {
        let (named, text) = broken(&with(good(view), path, value.clone()));
        assert_eq!(named, field, "{path} = {value}: {text}");
        for word in words {
            assert!(text.contains(word), "{path} = {value}: {text}");
        }
    }
}

fn each_is_fine(view: u8, cases: &[(&str, Value)]) {
    for (path, value) in cases {
        let decided = decide(&with(good(view), path, value.clone()));
        assert!(decided.is_ok(), "{path} = {value}: {decided:?}");
    }
}

#[test]
fn good_requests_of_every_view_are_planned() {
    for view in 0..3 {
        assert_eq!(decide(&good(view)).unwrap().view() as u8, view);
        assert_eq!(decide(&with(good(view), "view_type", json!(view.to_string()))).unwrap().view() as u8, view);
    }
}

#[test]
fn an_unknown_view_type_is_refused() {
    let cases =
        [json!(3), json!(-1), json!("x"), json!(1.5), json!("1.0"), json!([0]), json!({}), json!(true), json!("")]
            .map(|value| ("view_type", value));
    each_breaks(0, "view_type", &["view_type", "waterfall"], &cases);
}

#[test]
fn missing_fields_are_all_named_at_once() {
    let fields = |request: &Value| faults(request).into_iter().map(|(field, _)| field).collect::<Vec<_>>();
    assert_eq!(fields(&json!({})), ["view_type", "channels.min", "channels.max", "displayInfo.height"]);
    let of_view = |view: u8| fields(&json!({ "view_type": view, "channels": { "min": 1 } }));
    let spectra = ["channels.max", "displayInfo.height", "displayTimeAxisDuration", "nfftSelection"];
    assert_eq!((of_view(0), of_view(1)), (spectra.map(String::from).to_vec(), spectra.map(String::from).to_vec()));
    assert_eq!(of_view(2), spectra[..2]);
    for (given, missing) in [("min", "frequencyRange.max"), ("max", "frequencyRange.min")] {
        assert_eq!(fields(&with(good(0), "frequencyRange", json!({ given: 5 }))), [missing]);
    }
    for path in ["channels", "displayInfo", "displayTimeAxisDuration", "nfftSelection", "view_type"] {
        let said = faults(&with(good(0), path, Value::Null));
        assert!(said[0].0.starts_with(path) && said[0].1 == "Field required", "null is absent: {said:?}");
    }
    each_is_fine(0, &[("frequencyRange", Value::Null), ("frequencyRange", json!({})), ("start_time", Value::Null)]);
}

#[test]
fn channels_beyond_the_fiber_are_named_with_the_highest() {
    for (path, value) in [("channels.max", 2338), ("channels.min", 0), ("channels.min", -5), ("channels.max", i64::MAX)]
    {
        let said = faults(&with(good(0), path, json!(value)));
        assert_eq!(said.len(), 1);
        assert!(said[0].0 == path && said[0].1.contains("2337") && said[0].1.contains(&value.to_string()), "{said:?}");
    }
    let both = with(with(good(0), "channels.min", json!(3000)), "channels.max", json!(4000));
    assert_eq!(faults(&both).len(), 2);
    each_is_fine(0, &[("channels.max", json!(2337)), ("channels.min", json!(1)), ("channels.min", json!(14))]);
}

#[test]
fn channels_are_in_order() {
    each_breaks(0, "channels.max", &["at least", "min is 15"], &[("channels.min", json!(15))]);
}

#[test]
fn a_single_channel_view_has_one_channel() {
    each_breaks(1, "channels", &["view_type 1", "equal"], &[("channels.max", json!(6))]);
}

#[test]
fn height_is_positive() {
    for view in 0..3 {
        let cases = [("displayInfo.height", json!(0)), ("displayInfo.height", json!(-1))];
        each_breaks(view, "displayInfo.height", &["must be positive"], &cases);
    }
}

#[test]
fn the_duration_is_positive_and_exact() {
    let field = "displayTimeAxisDuration";
    each_breaks(0, field, &["must be positive"], &[(field, json!(0)), (field, json!(-0.5)), (field, json!(0.0))]);
    each_breaks(0, field, &["exactly", "fewer digits"], &[(field, json!(1e-30)), (field, json!(1e30))]);
}

#[test]
fn a_line_has_a_trace_and_not_more_than_an_hour() {
    let field = "displayTimeAxisDuration";
    each_breaks(
        0,
        field,
        &["0.0005 s from pulse to pulse"],
        &[(field, json!(0.01)), ("displayInfo.height", json!(30_000))],
    );
    each_breaks(0, field, &["cannot be longer than 3600 s"], &[(field, json!(720_001))]);
    let (_, text) = broken(&with(with(good(0), field, json!(0.123_456_789)), "displayInfo.height", json!(i64::MAX)));
    assert!(text.contains("exactly") && text.contains("fewer digits"), "{text}");
    each_is_fine(0, &[(field, json!(0.1)), (field, json!(720_000)), ("displayInfo.height", json!(20_000))]);
}

#[test]
fn nfft_is_a_power_of_two_in_range() {
    let cases = [0, 1, -512, 64, 127, 129, 500, 131_072, i64::MIN, i64::MAX].map(|n| ("nfftSelection", json!(n)));
    each_breaks(0, "nfftSelection", &["power of 2", "128", "65536"], &cases);
    let powers: Vec<_> = (7..=16).map(|power| ("nfftSelection", json!(1 << power))).collect();
    each_is_fine(0, &powers);
}

#[test]
fn a_frequency_range_is_in_order_and_a_hertz_wide() {
    let range = |min: f64, max: f64| ("frequencyRange", json!({ "min": min, "max": max }));
    each_breaks(0, "frequencyRange", &["at least 1 Hz"], &[range(5.0, 5.5), range(9.0, 3.0), range(7.0, 7.0)]);
    each_breaks(0, "frequencyRange.min", &["negative"], &[range(-1.0, 5.0)]);
    each_is_fine(0, &[range(0.0, 1000.0), range(3.0, 4.0), range(996.0, 1000.0)]);
}

#[test]
fn nothing_lies_above_the_nyquist_limit() {
    let range = |min: f64, max: f64| ("frequencyRange", json!({ "min": min, "max": max }));
    let cases = [range(0.0, 1000.1), range(0.0, 1e300), range(1500.0, 1600.0)];
    each_breaks(0, "frequencyRange.max", &["Nyquist limit of 1000 Hz"], &cases);
}

#[test]
fn a_range_holds_a_frequency() {
    let narrow = ("frequencyRange", json!({ "min": 1, "max": 3 }));
    each_breaks(0, "frequencyRange", &["3.90625 Hz apart"], &[narrow]);
}

#[test]
fn a_waterfall_takes_no_spectral_fields() {
    for (path, bad, tolerated) in [
        ("displayTimeAxisDuration", json!(10), Some(json!(1))),
        ("displayTimeAxisDuration", json!(1.5), Some(json!(1.0))),
        ("nfftSelection", json!(512), Some(json!(1))),
        ("frequencyRange", json!({ "min": 0, "max": 500 }), None),
    ] {
        each_breaks(2, path, &["waterfall", "view_type 2", path], &[(path, bad)]);
        each_is_fine(2, &[(path, tolerated.unwrap_or(Value::Null))]);
    }
}

#[test]
fn a_recording_has_both_ends_in_the_past_and_in_order() {
    let times = |start: Value, end: Value| broken(&with(with(good(0), "start_time", start), "end_time", end)).1;
    assert!(times(json!(5), Value::Null).contains("mbiguous") && times(Value::Null, json!(5)).contains("mbiguous"));
    for (start, end) in [(10, 10), (11, 10), (NOW_S + 9, NOW_S + 5)] {
        assert!(times(json!(start), json!(end)).contains("end_time must be > start_time"));
    }
    for (start, end) in [(NOW_S - 5, NOW_S + 5), (NOW_S + 1, NOW_S + 2)] {
        assert!(times(json!(start), json!(end)).contains("future"));
    }
}

#[test]
fn a_recording_that_is_not_there_is_not_found_whatever_the_fiber_does() {
    let historic = with(with(good(0), "start_time", json!(NOW_S - 10)), "end_time", json!(NOW_S));
    let request: ConfigureRequest = serde_json::from_value(historic.clone()).unwrap();
    for light in [Light::Starting, Light::Waiting, facts().light, Light::Draining] {
        assert_eq!(plan(&request, &Facts { light, ..facts() }, NOW_S), Err(Refusal::NothingRecorded));
    }
    each_breaks(0, "nfftSelection", &["power of 2"], &[("nfftSelection", json!(3))]);
    assert!(broken(&with(historic, "nfftSelection", json!(3))).1.contains("power of 2"), "after everything is checked");
}

#[test]
fn in_the_dark_the_request_itself_is_checked_first() {
    let decide = |request: Value, light| {
        plan(&serde_json::from_value(request).unwrap(), &Facts { light, ..facts() }, NOW_S).unwrap_err()
    };
    let lights = [
        (Light::Waiting, Refusal::Waiting),
        (Light::Starting, Refusal::NoMetadata),
        (Light::Draining, Refusal::Draining),
    ];
    for (light, refusal) in lights {
        assert_eq!(decide(good(0), light), refusal);
        assert!(matches!(decide(with(good(0), "nfftSelection", json!(3)), light), Refusal::Rule(_)));
        assert!(matches!(decide(with(good(0), "channels.max", json!(9999)), light), Refusal::Fields(_)));
        assert_eq!(decide(with(good(0), "frequencyRange.max", json!(1e6)), light), refusal, "no PRR, no Nyquist limit");
    }
}

#[test]
fn a_line_that_no_client_can_take_is_refused() {
    let whole = with(with(good(0), "channels.max", json!(2337)), "frequencyRange", Value::Null);
    let whole = with(with(whole, "channels.min", json!(1)), "nfftSelection", json!(65_536));
    let (field, text) = broken(&whole);
    assert!(field == "channels" && text.contains("48000000 bytes"), "{text}");
}

#[test]
fn an_older_task_is_the_same_in_other_words() {
    let task = json!({
        "displayTimeAxisDuration": 10, "nfftSelection": 512, "canvasInfo": { "height": 200 },
        "sensors": { "min": 4, "max": 13 }, "frequencyRange": { "min": 10, "max": 500 },
    });
    let decide_task = |request: &Value| plan_task(&serde_json::from_value(request.clone()).unwrap(), &facts(), NOW_S);
    let (planned, job) = (decide_task(&task).unwrap(), decide(&good(0)).unwrap());
    assert_eq!(planned, JobPlan { first_channel: 0, ..job });
    let breaks = [
        ("canvasInfo.height", json!(0), "canvasInfo.height must be positive"),
        ("sensors.max", json!(4), "sensors.max must be greater than sensors.min"),
        ("nfftSelection", json!(1), "power of 2"),
        ("frequencyRange.max", json!(10), "frequencyRange.max must be greater than"),
        ("frequencyRange.max", json!(1001), "Nyquist"),
        ("start_time", json!("260101000000"), "Ambiguous"),
    ];
    for (path, value, words) in breaks {
        match decide_task(&with(task.clone(), path, value)) {
            Err(Refusal::Rule(rule)) => assert!(rule.error.contains(words), "{path}: {rule:?}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    for (path, value) in [("sensors.max", 2337), ("sensors.min", -1)] {
        match decide_task(&with(task.clone(), path, json!(value))) {
            Err(Refusal::Fields(faults)) => assert!(faults[0].field == path && faults[0].msg.contains("2336")),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(decide_task(&with(task.clone(), "sensors.max", json!(2336))).is_ok());
    assert!(decide_task(&with(task, "frequencyRange.max", json!(10.5))).is_err(), "no bin there");
    match plan_task(&TaskRequest::default(), &facts(), NOW_S) {
        Err(Refusal::Fields(faults)) => assert_eq!(faults.len(), 5, "{faults:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn twelve_digits_are_a_time() {
    assert_eq!(twelve_digits("start_time", "260921141320").unwrap(), NOW_S);
    assert_eq!(twelve_digits("start_time", "000101000000").unwrap(), 946_684_800);
    for bad in [
        "",
        "26092114132",
        "2609211413200",
        "261321141320",
        "260230000000",
        "26092124000a",
        "+60921141320",
        "é60921141",
    ] {
        assert!(matches!(twelve_digits("start_time", bad), Err(Refusal::Rule(_))), "{bad}");
    }
}

#[test]
fn the_job_object_counts_what_it_lists() {
    let address = crate::jobs::plan::Address { scheme: "http", host: "das.example".into(), port: 12_301 };
    let object = |request: &Value| json!(decide(request).unwrap().describe("1-7", &address, Duration::from_secs(5)));
    let job = object(&good(0));
    let expected = json!({
        "status": "success", "job_id": "1-7", "view_type": 0, "channel_amount": 10, "frequencies_amount": 126,
        "stream_amount": 3, "lines_dt": 0.05, "stream_url": "http://das.example", "stream_port": 12_301,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&job[key], value, "{key}");
    }
    let streams = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2];
    let map: serde_json::Map<_, _> =
        (5..=14).zip(streams).map(|(c, s): (u32, u32)| (c.to_string(), json!(s))).collect();
    assert_eq!(job["channel_to_stream_index"], Value::Object(map));
    // numpy: f = rfftfreq(512, 1/2000); f[(f >= 10) & (f <= 500)]
    let frequencies: Vec<_> = (3..=128).map(|bin| f64::from(bin) * 3.90625).collect();
    assert_eq!(job["frequencies_list"], json!(frequencies));
    let other = object(&with(good(0), "channels.max", json!(5)));
    assert_eq!((&other["channel_amount"], &other["stream_amount"]), (&json!(1), &json!(1)));
    for key in ["frequencies_list", "frequencies_amount", "lines_dt", "view_type"] {
        assert_eq!(job[key], other[key], "requests that differ only in channels: {key}");
    }
    let waterfall = object(&good(2));
    assert_eq!((&waterfall["lines_dt"], &waterfall["frequencies_amount"]), (&json!(0.05), &json!(25)));
}

#[test]
fn the_pipeline_is_asked_for_exactly_that() {
    let plan =
        decide(&with(with(good(0), "displayTimeAxisDuration", json!(0.3)), "displayInfo.height", json!(7))).unwrap();
    let views = plan.views("3-9");
    let ranges: Vec<_> = views.iter().map(|view| (view.channel_min, view.channel_max.unwrap())).collect();
    assert_eq!(ranges, [(5, 8), (9, 11), (12, 14)]);
    for view in &views {
        assert_eq!((view.name.as_str(), view.nfft, view.frequency_range_hz), ("3-9", 512, Some((10.0, 500.0))));
        assert_eq!(
            (view.value, view.dtype, view.lines_per_frame, view.durable),
            (ValueKind::Amplitude, Dtype::F16, 1, false)
        );
        assert_eq!(view.line_period_s, Rational::new(3, 70).unwrap(), "0.3 s / 7, exactly");
    }
    let standing = ViewConfig { nfft: 1024, bands_hz: vec![(20.0, 80.0), (1.0, 9.0)], ..ViewConfig::waterfall() };
    let facts = Facts { waterfall: standing.clone(), ..facts() };
    let waterfall = super::plan(&serde_json::from_value(good(2)).unwrap(), &facts, NOW_S).unwrap().views("3-9");
    assert_eq!(waterfall.len(), 3);
    let asked = &waterfall[0];
    assert_eq!((asked.nfft, asked.line_period_s, &asked.bands_hz), (1024, standing.line_period_s, &vec![(20.0, 80.0)]));
    assert_eq!((asked.value, asked.dtype, asked.durable), (ValueKind::Amplitude, Dtype::F16, false));
}

#[test]
fn of_lines_of_band_energy_there_is_a_waterfall_of_their_band_and_no_spectrum() {
    let acquisition = Acquisition {
        prr: Rational::new(1, 5).unwrap(),
        band: Some(Band { low_hz: -0.5, high_hz: 1.5 }),
        ..Acquisition::example()
    };
    let facts = Facts::of(&Phase::Acquiring(acquisition.into()), &Config::default());
    let decide = |view| super::plan(&serde_json::from_value(good(view)).unwrap(), &facts, NOW_S);
    let waterfall = decide(2).unwrap();
    assert_eq!((waterfall.frequencies(), waterfall.bins_per_channel()), (vec![-0.5, 1.5], 1));
    assert_eq!(waterfall.pattern.line_period_s, Rational::new(5, 1).unwrap(), "no faster than lines come");
    for view in [0, 1] {
        let mut request = good(view);
        request["channels"] = json!({ "min": 5, "max": 5 });
        match super::plan(&serde_json::from_value(request).unwrap(), &facts, NOW_S) {
            Err(Refusal::DoesNotFit(why)) => assert!(why.contains("no samples"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    /// Neighbours, in order, none twice, none missing; the longer ones first.
    #[test]
    fn channels_are_split_evenly(first in 1usize..2000, count in 1usize..300) {
        let pattern = ViewConfig::waterfall();
        let plan = JobPlan::new(pattern, first..=first + count - 1, Rational::new(2000, 1).unwrap(), 1);
        let streams = plan.streams();
        let together: Vec<_> = streams.iter().cloned().flatten().collect();
        prop_assert_eq!(together, (first..first + count).collect::<Vec<_>>());
        let lengths: Vec<_> = streams.iter().map(|stream| stream.clone().count()).collect();
        prop_assert_eq!(lengths.len(), count.min(3));
        let longer = if count >= 3 { count % 3 } else { 0 };
        let expected: Vec<_> = (0..count.min(3)).map(|i| count / count.min(3) + usize::from(i < longer)).collect();
        prop_assert_eq!(lengths, expected);
    }

    /// The period is the quotient itself and no neighbour of it.
    #[test]
    fn the_line_period_is_exact(thousandths in 1u64..100_000_000, height in 1i64..100_000) {
        let seconds = thousandths as f64 / 1000.0;
        let request = with(with(good(0), "displayTimeAxisDuration", json!(seconds)), "displayInfo.height", json!(height));
        let exact = Rational::new(thousandths, 1000 * height as u64).unwrap();
        match decide(&request) {
            Ok(plan) => prop_assert_eq!(plan.pattern.line_period_s, exact),
            Err(Refusal::Rule(rule)) => {
                prop_assert_eq!(rule.code, "line_period");
                prop_assert!(exact.to_f64() < 1.0 / 2000.0 || exact.to_f64() > 3600.0);
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Whatever stands in the fields, there is an answer, and a plan keeps what it promises.
    #[test]
    fn no_request_is_too_strange(
        view in -1i64..4, min in any::<i64>(), max in any::<i64>(), small in 0i64..3000, height in any::<i64>(),
        duration in any::<f64>(), nfft in prop::sample::select(vec![1, 128, 512, 65_536, -1, i64::MAX]),
        low in any::<f64>(), high in 0.0f64..1000.0, start in any::<Option<i64>>(), end in any::<Option<i64>>(),
    ) {
        for (min, max) in [(min, max), (small, small), (1, small)] {
            let mut request = good(0);
            request["view_type"] = json!(view);
            request["channels"] = json!({ "min": min, "max": max });
            request["displayInfo"]["height"] = json!(height);
            request["displayTimeAxisDuration"] = json!(duration);
            request["nfftSelection"] = json!(nfft);
            request["frequencyRange"] = json!({ "min": low, "max": high });
            request["start_time"] = json!(start);
            request["end_time"] = json!(end);
            if let Ok(plan) = decide(&request) {
                prop_assert!(*plan.channels.end() <= 2337 && !plan.frequencies().is_empty());
                prop_assert!(plan.frequencies().iter().all(|hz| (0.0..=1000.0).contains(hz)));
            }
        }
    }
}
