//! The checker on snapshots that are made up: one thing wrong at a time, and then anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::acquisition::{Acquisition, DarkReason, Phase, SourceKind};
use crate::status::{Book, BrokerState, FindingKind, Stage};

fn limits() -> Limits {
    Limits { prr_tolerance_ppm: 100.0, max_load: 0.8 }
}

fn well(at_ms: u64) -> Snapshot {
    Snapshot {
        at: Duration::from_millis(at_ms),
        now_ms: 1_790_000_000_000 + at_ms as i64,
        phase: Phase::Acquiring(Arc::new(Acquisition::example())),
        phase_since_ms: 1_790_000_000_000,
        broker: BrokerState::Connected,
        commands_heard: true,
        findings: [].into(),
        stuck: Vec::new(),
        prr_measured_hz: Some(2000.0),
        last_trace_ms: Some(1_790_000_000_000 + at_ms as i64),
        free_blocks: Some(60),
        gaps: 0,
        demand: 0.1,
        lines: at_ms / 50,
        lines_due_s: 0.2,
        books: Vec::new(),
        lost: [0; rules::LOSSES.len()],
    }
}

fn codes(conditions: &[Condition]) -> Vec<&'static str> {
    conditions.iter().map(|one| one.code).collect()
}

/// Checks `snapshot` at 0, 100, … `for_ms`, changed by `change`; the conditions at the end.
fn after(for_ms: u64, change: impl Fn(&mut Snapshot)) -> (Vec<Condition>, bool) {
    let mut checker = Checker::new(limits());
    let mut last = Vec::new();
    for at_ms in (0..=for_ms).step_by(100) {
        let mut snapshot = well(at_ms);
        change(&mut snapshot);
        last = checker.check(&snapshot);
    }
    (last, checker.lines_are_late())
}

#[test]
fn nothing_is_wrong_while_lines_come_out() {
    assert_eq!(after(60_000, |_| {}), (Vec::new(), false));
}

#[test]
fn each_fault_has_its_code_and_the_worst_stands_first() {
    type Change = fn(&mut Snapshot);
    let found = |kind: FindingKind| move |a: &mut Snapshot| drop(a.findings.insert((kind, "w".into()), "why".into()));
    let cases: [(Change, &[&str]); 13] = [
        (|a| a.phase = Phase::WaitingForFiber(DarkReason::NoTraces), &["waiting_for_fiber"]),
        (|a| a.phase = Phase::Draining, &["draining"]),
        (|a| a.phase = Phase::Stalled(Arc::new(Acquisition::example())), &["stalled"]),
        (|a| a.stuck = vec![Stage::Pipeline, Stage::Publisher], &["stage_stuck", "stage_stuck"]),
        (|a| a.lines = 7, &["no_lines"]),
        (|a| a.free_blocks = Some(0), &["no_free_block"]),
        (|a| a.demand = 0.9, &["pipeline_overloaded"]),
        (|a| a.prr_measured_hz = Some(1999.0), &["prr_off"]),
        (|a| a.last_trace_ms = Some(1_790_000_000), &["utc_implausible"]),
        (|a| a.broker = BrokerState::Away, &["broker_away"]),
        (|a| a.broker = BrokerState::Blocked, &["broker_blocked"]),
        (|a| a.commands_heard = false, &["commands_unheard"]),
        (|a| (a.lines, a.broker) = (7, BrokerState::Away), &["no_lines", "broker_away"]),
    ];
    for (change, expected) in cases {
        let (conditions, _) = after(3000, change);
        assert_eq!(codes(&conditions), expected);
    }
    for (kind, code, not_ready) in [
        (FindingKind::ConditioningImpossible, "conditioning_impossible", true),
        (FindingKind::NoViewFits, "no_view_fits", true),
        (FindingKind::ViewLeftOut, "view_left_out", false),
        (FindingKind::BrokerRefused, "broker_refused", false),
        (FindingKind::ViewSilent, "view_silent", false),
        (FindingKind::FramesRefused, "frames_refused", false),
        (FindingKind::FramesTooLarge, "frames_too_large", false),
        (FindingKind::CaptureNoted, "capture_noted", false),
        (FindingKind::CaptureDamaged, "capture_damaged", false),
        (FindingKind::SourceFlawed, "source_flawed", false),
        (FindingKind::ReceiverOverloaded, "receiver_overloaded", false),
        (FindingKind::Calibrating, "calibrating", false),
    ] {
        let (conditions, late) = after(3000, found(kind));
        assert_eq!(codes(&conditions), [code]);
        assert_eq!(conditions[0].severity == Severity::NotReady, not_ready);
        assert!(conditions[0].what.contains("why"), "{}", conditions[0].what);
        assert_eq!(late, kind == FindingKind::ConditioningImpossible);
    }
}

#[test]
fn lines_may_be_as_rare_as_their_view_asks_and_replays_as_old() {
    let rare = |a: &mut Snapshot| (a.lines_due_s, a.lines) = (120.0, a.at.as_secs() / 60);
    assert_eq!(after(300_000, rare), (Vec::new(), false));
    let gaps = |a: &mut Snapshot| (a.lines_due_s, a.lines, a.gaps) = (10.0, 7, a.at.as_secs() / 8);
    assert_eq!(after(60_000, gaps), (Vec::new(), false), "windows begin anew behind a gap");
    let none_planned = |a: &mut Snapshot| (a.lines_due_s, a.lines) = (0.0, 0);
    assert_eq!(after(10_000, none_planned), (Vec::new(), false));
    let old = |a: &mut Snapshot| {
        a.phase = Phase::Acquiring(Arc::new(Acquisition { source: SourceKind::Replay, ..Acquisition::example() }));
        a.last_trace_ms = Some(0);
    };
    assert_eq!(after(10_000, old).0, Vec::new());
}

#[test]
fn a_loss_is_told_while_it_goes_on_with_how_much_it_was_and_ends() {
    let mut checker = Checker::new(limits());
    let mut dropped = 1000;
    let mut seen = Vec::new();
    for at_ms in (0..20_000).step_by(250) {
        let mut snapshot = well(at_ms);
        // 40 in the second from 2 s on.
        dropped += if (2000..3000).contains(&at_ms) { 10 } else { 0 };
        snapshot.lost[0] = dropped;
        let conditions = checker.check(&snapshot);
        seen.extend(
            conditions.first().map(|one| (at_ms, one.code, one.since_ms - 1_790_000_000_000, one.what.clone())),
        );
    }
    // What was lost before the checker began counts as lost when it looks first.
    let (first, rest): (Vec<_>, Vec<_>) = seen.iter().partition(|(at, ..)| *at < 2000);
    assert!(first.iter().all(|(_, code, ..)| *code == "traces_dropped"), "{first:?}");
    let last = rest.last().unwrap();
    assert_eq!((last.1, last.0), ("traces_dropped", 7500));
    assert!(last.3.starts_with("1040 traces dropped"), "{last:?}");
}

#[test]
fn every_loss_has_a_condition_of_its_own_that_does_not_keep_the_daemon_from_its_job() {
    for (i, rule) in rules::LOSSES.iter().enumerate() {
        let (conditions, _) = after(1000, |a| a.lost[i] = 1);
        assert_eq!(codes(&conditions), [rule.rule.code]);
        assert_eq!(conditions[0].severity, Severity::Degraded);
        assert!(conditions[0].what.starts_with("1 "), "{}", conditions[0].what);
    }
}

#[test]
fn connections_refused_in_the_same_words_are_one_condition_that_lasts_as_long_as_one_is() {
    let mut checker = Checker::new(limits());
    let refused = |names: &[&str]| {
        names.iter().map(|name| ((FindingKind::BrokerRefused, (*name).to_owned()), "no such user".to_owned())).collect()
    };
    let mut last = None;
    for (at_ms, names) in [(0, &["live"][..]), (100, &["commands", "live"]), (200, &["commands"])] {
        let conditions = checker.check(&Snapshot { findings: refused(names), ..well(at_ms) });
        assert_eq!(conditions.len(), 1, "{conditions:?}");
        assert_eq!(conditions[0].since_ms, well(0).now_ms);
        assert!(last.is_none_or(|last| conditions[0].is_same(&last)));
        last = conditions.into_iter().next();
    }
    // Two views are two conditions: one is over, the other holds.
    let left_out = |name: &str| ((FindingKind::ViewLeftOut, name.to_owned()), "why".to_owned());
    let both = checker.check(&Snapshot { findings: [left_out("a"), left_out("b")].into(), ..well(300) });
    let one = checker.check(&Snapshot { findings: [left_out("b")].into(), ..well(400) });
    assert!(both[1].is_same(&one[0]) && !both[0].is_same(&one[0]), "{both:?} {one:?}");
}

#[test]
fn a_book_that_is_off_to_one_side_is_told_and_one_that_swings_is_not() {
    let book = |left, right, has_waiting| Book { what: "b", left, right, has_waiting };
    let one_missing = |a: &mut Snapshot| a.books = vec![book(1000, 999, false)];
    assert_eq!(after(9000, one_missing).0, Vec::new());
    let told = after(11_000, one_missing).0;
    assert_eq!(codes(&told), ["books_unbalanced"]);
    assert!(told[0].what.contains("1000 is not 999"), "{told:?}");
    let swings = |a: &mut Snapshot| a.books = vec![book(1000, 999 + a.at.as_millis() as u64 / 100 % 3, false)];
    assert_eq!(after(30_000, swings).0, Vec::new());
    let waiting = |a: &mut Snapshot| a.books = vec![book(1000, 900, true)];
    assert_eq!(after(30_000, waiting).0, Vec::new());
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let phase = prop_oneof![
        Just(Phase::WaitingForFiber(DarkReason::Dark)),
        Just(Phase::Draining),
        Just(Phase::Acquiring(Arc::new(Acquisition::example()))),
        Just(Phase::Stalled(Arc::new(Acquisition::example()))),
    ];
    let broker = prop_oneof![Just(BrokerState::Away), Just(BrokerState::Connected), Just(BrokerState::Disabled)];
    let findings = prop::collection::btree_map(
        (
            prop_oneof![
                Just(FindingKind::ConditioningImpossible),
                Just(FindingKind::ViewLeftOut),
                Just(FindingKind::BrokerRefused)
            ],
            "[ab]",
        ),
        // Few words, so that one thing often takes over those of another.
        "[ab]",
        0..4,
    );
    let numbers = (0u64..3, prop::option::of(0u64..2), prop::option::of(1990.0f64..2010.0), 0.0f64..2.0, any::<bool>());
    (phase, broker, findings, numbers, prop::array::uniform14(0u64..3)).prop_map(
        |(phase, broker, findings, (lines, free_blocks, prr_measured_hz, lines_due_s, commands_heard), lost)| {
            Snapshot {
                phase,
                broker,
                commands_heard,
                findings,
                prr_measured_hz,
                free_blocks,
                lines,
                lines_due_s,
                lost,
                ..well(0)
            }
        },
    )
}

proptest! {
    /// Whatever the snapshots are: no condition is listed twice, none changes its beginning while it holds, "ready" is
    /// never said without flow, and a quiet healthy daemon is free of conditions within the time that losses hold.
    #[test]
    fn what_holds_is_told_once_from_when_it_began(snapshots in prop::collection::vec((any_snapshot(), 10u64..2000), 1..40)) {
        let mut checker = Checker::new(limits());
        let mut before: HashMap<(&str, String), i64> = HashMap::new();
        let (mut at, mut lines, mut lost) = (0, 0, [0; rules::LOSSES.len()]);
        let mut moved = None::<u64>;
        for (mut snapshot, pause_ms) in snapshots {
            at += pause_ms;
            let rose = snapshot.lines;
            lines += rose;
            lost.iter_mut().zip(snapshot.lost).for_each(|(total, more)| *total += more);
            snapshot.at = Duration::from_millis(at);
            snapshot.now_ms = well(at).now_ms;
            snapshot.last_trace_ms = Some(snapshot.now_ms);
            (snapshot.lines, snapshot.lost) = (lines, lost);
            let conditions = checker.check(&snapshot);

            let flowing = matches!(snapshot.phase, Phase::Acquiring(_));
            moved = match moved {
                _ if !flowing || snapshot.lines_due_s <= 0.0 => None,
                Some(moved) if rose == 0 => Some(moved),
                _ => Some(at),
            };
            let allowed_ms = 2000.0 + 1000.0 * snapshot.lines_due_s;
            let silent = moved.is_some_and(|moved| (at - moved) as f64 > allowed_ms + 1.0);
            let ready = conditions.iter().all(|one| one.severity < Severity::NotReady);
            prop_assert!(!(silent && ready), "ready without lines: {:?}", conditions);
            prop_assert!(!silent || checker.lines_are_late());

            let mut now = HashMap::new();
            for one in &conditions {
                prop_assert!(CODES.contains(&one.code), "{}", one.code);
                prop_assert!(one.since_ms <= snapshot.now_ms);
                let key = (one.code, one.what.split(": why").next().unwrap_or_default().to_owned());
                prop_assert!(now.insert(key, one.since_ms).is_none(), "twice: {:?}", conditions);
            }
            for (key, since) in &now {
                if let Some(known) = before.get(key) {
                    prop_assert_eq!(known, since);
                }
            }
            prop_assert!(conditions.is_sorted_by(|a, b| a.severity >= b.severity));
            before = now;
        }
        // Everything is well again: within the time that a loss holds nothing is left.
        let mut last = Vec::new();
        for step in 1..=60 {
            let quiet = well(at + step * 100);
            let quiet = Snapshot { lines: lines + step * 2, lost, ..quiet };
            last = checker.check(&quiet);
        }
        prop_assert_eq!(last, Vec::new());
    }
}
