//! Shows the checker right runs and wrong ones: a checker that cannot condemn is none.

use std::fmt::Write as _;
use std::time::Duration;

use fiberd::bench::observe::Metrics;

use crate::rules::{Broken, Checker, Sample, Violations, at_the_end};
use crate::script::Origin;
use crate::shape::Shape;
use crate::watch::EVERY;
use crate::world::{BrokerTruth, Cause, Flow, Kind, Truth};

const MINUTE: u64 = 60;

/// What a daemon shows after `seconds` of traces at 1000 Hz.
fn sample(at_s: f64, flow_s: f64) -> Sample {
    let counts = [
        ("lines_total", 7.0 * flow_s),
        ("traces_total", 1000.0 * flow_s),
        ("prr_declared_hertz", 1000.0),
        ("blocks_total", 50.0 * flow_s),
        ("blocks_processed_total", 50.0 * flow_s),
        ("capture_free_blocks", 60.0),
    ];
    let mut text = String::new();
    for (name, value) in counts {
        let _ = writeln!(text, "fiberd_{name} {}", value.floor());
    }
    Sample {
        at: Duration::from_secs_f64(at_s),
        healthz: Some(Duration::from_millis(1)),
        ready: true,
        phase: "acquiring".into(),
        metrics: Metrics::parse(&text),
        launched: (1000.0 * flow_s) as u64,
        ..Sample::default()
    }
}

fn truth() -> Truth {
    let flow = Flow { flowing: true, since: Duration::ZERO, shape: Shape::BASE };
    Truth { flow, broker: BrokerTruth::Up, causes: Vec::new() }
}

fn metric(sample: &mut Sample, line: &str) {
    sample.metrics = Metrics::parse(line);
}

/// The rules that are broken within two minutes in which `change` makes the second one what it is.
fn judged(change: impl Fn(&mut Sample, &mut Truth)) -> Vec<&'static str> {
    let (mut checker, mut violations) = (Checker::default(), Violations::default());
    let looks = 2 * MINUTE * 1000 / EVERY.as_millis() as u64;
    for look in 0..looks {
        let at_s = look as f64 * EVERY.as_secs_f64();
        let (mut sample, mut truth) = (sample(at_s, at_s), truth());
        if at_s >= MINUTE as f64 {
            change(&mut sample, &mut truth);
        }
        let broken = checker.look(&sample, &truth);
        violations.note(sample.at, broken);
    }
    violations.all.iter().map(|violation| violation.rule).collect()
}

fn cause(ended_s: Option<u64>) -> Cause {
    let (began, ended) = (Duration::from_secs(MINUTE), ended_s.map(Duration::from_secs));
    Cause { kind: Kind::Of(Origin::Source), what: "a fault".into(), began, ended }
}

fn stopped(truth: &mut Truth, flowing: bool) {
    truth.flow.flowing = flowing;
    truth.flow.since = Duration::from_secs(MINUTE);
}

pub fn verify() {
    moments();
    quiet_times();
    let mut violations = Violations::default();
    let second = Duration::from_secs(1);
    let broken = || vec![("rule", "what".to_owned())];
    for (at, broken) in [(1, broken()), (2, broken()), (3, Vec::new()), (4, broken())] {
        violations.note(at * second, broken);
    }
    let spans: Vec<_> = violations.all.iter().map(|v| (v.began / 1000, v.last / 1000)).collect();
    assert_eq!(
        spans,
        [(second / 1000, 2 * second / 1000), (4 * second / 1000, 4 * second / 1000)],
        "one while it lasts"
    );
}

fn moments() {
    assert_eq!(judged(|_, _| {}), [""; 0]);
    let deaf = judged(|sample, _| metric(sample, "fiberd_lines_total 420"));
    assert_eq!(deaf, ["ready and acquiring only while lines come"]);
    // The same, when it says so and there is a cause.
    let told = judged(|sample, truth| {
        (sample.ready, sample.phase) = (false, "waiting for fiber".into());
        metric(sample, "fiberd_lines_total 420");
        stopped(truth, false);
        truth.causes.push(cause(None));
    });
    assert_eq!(told, [""; 0]);
    let lies = judged(|_, truth| stopped(truth, false));
    assert_eq!(lies, ["waiting for fiber soon after traces stop"]);
    let late = judged(|sample, truth| {
        (sample.ready, sample.phase) = (false, "waiting for fiber".into());
        stopped(truth, true);
        truth.causes.push(cause(None));
    });
    assert_eq!(late, ["acquiring soon after traces come back"]);
    let moment = judged(|sample, _| {
        if sample.at.as_secs().is_multiple_of(20) {
            sample.phase = "stalled".into();
        }
    });
    assert_eq!(moment, [""; 0], "a moment is not worth a word");
    assert_eq!(judged(|sample, _| sample.said.push("x".into())), ["no complaint without a cause"]);
    let forgets = judged(|sample, truth| {
        sample.said.push("x".into());
        truth.causes.push(cause(Some(MINUTE + 5)));
    });
    assert_eq!(forgets, ["no complaint without a cause"], "an excuse does not last for ever");
    assert_eq!(judged(|sample, _| sample.healthz = None), ["/healthz answers"]);
    let broker = |truth: &mut Truth| {
        truth.broker = BrokerTruth::Down(Duration::from_secs(MINUTE));
        truth.causes.push(cause(None));
    };
    assert_eq!(judged(|_, truth| broker(truth)), ["a broker that takes nothing is said"]);
    let said = judged(|sample, truth| {
        broker(truth);
        sample.said.push("broker: away".into());
    });
    assert_eq!(said, [""; 0]);
    let starved = judged(|sample, _| {
        let lines = sample.count("fiberd_lines_total");
        let text = format!("fiberd_lines_total {lines}\nfiberd_traces_dropped_total{{place=\"no_block\"}} 20\n");
        metric(sample, &text);
    });
    assert_eq!(starved, ["no trace is dropped without a free block"]);
}

fn quiet_times() {
    let quiet = |change: &dyn Fn(&mut Sample)| {
        let mut checker = Checker::default();
        let (first, second) = (sample(10.0, 10.0), sample(20.0, 20.0));
        assert_eq!(checker.quiet(&first, &second), Vec::<Broken>::new());
        let mut last = sample(30.0, 30.0);
        change(&mut last);
        checker.quiet(&second, &last).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    assert_eq!(quiet(&|_| {}), [""; 0]);
    assert_eq!(quiet(&|last| last.launched += 5000), ["traces launched are traces read"]);
    assert_eq!(quiet(&|last| last.resources.files = 50), ["as many files as at the start"]);
    assert_eq!(quiet(&|last| last.resources.threads = 50), ["as many threads as at the start"]);
    assert_eq!(quiet(&|last| last.resources.memory = 1 << 30), ["as much memory as at the start"]);
    let with = |last: &mut Sample, name: &str, value: f64| {
        let names = ["traces_total", "blocks_total", "blocks_processed_total", "prr_declared_hertz"];
        let mut text: String = names
            .iter()
            .filter_map(|n| Some(format!("fiberd_{n} {}\n", last.metrics.value(&format!("fiberd_{n}"))?)))
            .collect();
        let _ = writeln!(text, "fiberd_{name} {value}");
        metric(last, &text);
    };
    assert_eq!(quiet(&|last| with(last, "jobs", 1.0)), ["jobs end after their clients"]);
    assert_eq!(quiet(&|last| with(last, "gap_traces_total", 3.0)), ["no trace is missing while it is quiet"]);
    assert_eq!(quiet(&|last| with(last, "blocks_total", 1900.0)), ["blocks passed on are blocks processed"]);
    let end = |last: &Sample| at_the_end(last).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>();
    assert_eq!(end(&sample(30.0, 30.0)), [""; 0]);
    let mut last = sample(30.0, 30.0);
    with(&mut last, "traces_launched_total", 30_001.0);
    assert_eq!(end(&last), ["no more traces than were launched"]);
    let mut last = sample(30.0, 30.0);
    with(&mut last, "blocks_total", 1501.0);
    assert_eq!(end(&last), ["blocks passed on are blocks processed"]);
    // The gauge of free blocks: 30 of 60 are not home.
    assert_eq!(quiet(&|last| with(last, "capture_free_blocks", 30.0)), ["all blocks come home"]);
}
