//! A real RabbitMQ that refuses something: frames because a queue is full or they are too large, the topology, or
//! everything because it is frozen.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::broker::shared;
use common::publisher::{Reader, Rig, frame, id, log, rig, stream, victim};
use common::wait_for;
use fiberd::acquisition::{DarkReason, Phase};
use fiberd::frame::{Dtype, Stream, View};
use fiberd::status::{BrokerState, FindingKind};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

/// A queue that refuses what it has no room for.
fn full(messages: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(messages));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

fn small(name: &str) -> Arc<Stream> {
    stream(View::Single, name, Dtype::F32, 1, 64)
}

fn wait_finding(rig: &Rig, kind: FindingKind, stands: bool) {
    rig.wait_for(&format!("{kind:?} {stands}"), |_| rig.finding(kind).is_some() == stands);
}

/// All tests of this program write one log: those of which frames are refused come one after the other.
fn refusals() -> MutexGuard<'static, ()> {
    static REFUSALS: Mutex<()> = Mutex::new(());
    REFUSALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the log says that frames are refused.
fn said_refused() -> usize {
    log().lines().filter(|line| line.contains("WARN") && line.contains("refuses frames")).count()
}

#[test]
fn a_full_queue_costs_no_durable_frame_holds_up_nobody_and_is_said() {
    const EACH: u64 = 200;
    let _alone = refusals();
    let said_before = said_refused();
    let rig = rig(&shared().uri(), "brim", 4096, |config| config.window = 8);
    let reader = rig.runtime.block_on(Reader::new(&shared().uri()));
    let exchange = rig.config.frames_exchange.clone();
    rig.runtime.block_on(reader.queue("brim", &exchange, "*.single.kept.*", full(5)));
    rig.runtime.block_on(reader.queue("brim-beside", &exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let (kept, other) = (small("kept"), small("other"));
    for number in 0..EACH {
        rig.offer(frame(&kept, number));
        rig.offer(frame(&other, number));
    }
    let c = &rig.status.counters;
    wait_finding(&rig, FindingKind::FramesRefused, true);
    rig.wait_for("the other stream", |s| s.counters.publish.frames_confirmed.get() >= EACH);
    rig.wait_for("refusals", |s| {
        s.counters.publish.frames_refused.get() > 10 && s.counters.publish.frames_held.get() > 100.0
    });
    assert_eq!((c.publish.frames_given_up.get(), c.egress.frames_dropped.get()), (0, 0), "nothing is lost");
    // Status goes out as ever.
    let told = c.publish.status_confirmed.get();
    rig.status.set_phase(Phase::WaitingForFiber(DarkReason::NoTraces));
    rig.wait_for("status", |s| s.counters.publish.status_confirmed.get() > told);

    // Somebody reads the full queue.
    let mut seen = Vec::new();
    wait_for("every frame", || {
        while let Some((id, ..)) = rig.runtime.block_on(reader.next("brim", Duration::ZERO)) {
            seen.push(id);
        }
        (c.publish.frames_confirmed.get() == 2 * EACH && seen.len() >= EACH as usize).then_some(())
    });
    let wanted: BTreeSet<_> = (0..EACH).map(|number| id("kept", number)).collect();
    assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), wanted);
    wait_finding(&rig, FindingKind::FramesRefused, false);
    // Other queues had each frame when it was made, in order, whatever came again later.
    let mut beside = Vec::new();
    while let Some((id, ..)) = rig.runtime.block_on(reader.next("brim-beside", Duration::from_millis(300))) {
        if !beside.contains(&id) {
            beside.push(id);
        }
    }
    let in_order = |name: &str| (0..EACH).map(|number| id(name, number)).collect::<Vec<_>>();
    let of = |name: &str| beside.iter().filter(|id| id.contains(name)).cloned().collect::<Vec<_>>();
    assert!(of("/kept/") == in_order("kept") && of("/other/") == in_order("other"));
    let status = rig.finish();
    let c = &status.counters;
    assert_eq!(
        (c.publish.frames_given_up.get(), c.publish.frames_unconfirmed.get(), c.publish.connections.get()),
        (0, 0, 1)
    );
    assert_eq!(said_refused() - said_before, 1);
}

#[test]
fn what_is_not_durable_is_given_up_and_said_and_the_rest_is_counted_at_the_end() {
    let _alone = refusals();
    let rig = rig(&shared().uri(), "over", 4096, |_| {});
    let reader = rig.runtime.block_on(Reader::new(&shared().uri()));
    rig.runtime.block_on(reader.queue("over", &rig.config.frames_exchange, "#", full(3)));
    rig.wait_connected();
    let durable = small("durable");
    let live = Arc::new(Stream { durable: false, name: "live".into(), ..(*durable).clone() });
    for number in 0..50 {
        rig.offer(frame(&live, number));
    }
    let c = &rig.status.counters;
    rig.wait_for("answers", |s| {
        s.counters.publish.frames_confirmed.get() + s.counters.publish.frames_given_up.get() == 50
    });
    assert!(c.publish.frames_given_up.get() >= 40, "{c:?}");
    wait_finding(&rig, FindingKind::FramesRefused, true);
    // A live frame that is refused is forgotten after a while.
    wait_finding(&rig, FindingKind::FramesRefused, false);
    for number in 0..20 {
        rig.offer(frame(&durable, number));
    }
    rig.wait_for("refusals", |s| s.counters.publish.frames_held.get() > 19.0);
    let status = rig.finish();
    assert_eq!(status.counters.publish.frames_unconfirmed.get(), 20);
    assert!(status.counters.publish.frames_held.get() + status.counters.publish.frames_waiting.get() < 0.5);
}

#[test]
fn frames_that_are_too_large_cost_one_connection_in_all() {
    let broker = victim();
    broker.ctl(&["eval", "application:set_env(rabbit, max_message_size, 100000)."]);
    let rig = rig(&broker.uri(), "huge", 256, |_| {});
    let reader = rig.runtime.block_on(Reader::new(&broker.uri()));
    rig.runtime.block_on(reader.queue("huge", &rig.config.frames_exchange, "#", FieldTable::default()));
    rig.wait_connected();
    let (fits, huge) = (small("fits"), stream(View::Waterfall, "huge", Dtype::F32, 37_400, 1));
    let mut number = 0;
    wait_for("many large frames", || {
        rig.offer(frame(&huge, number));
        rig.offer(frame(&fits, number));
        number += 1;
        (rig.status.counters.publish.frames_too_large.get() > 20).then_some(())
    });
    let why = rig.finding(FindingKind::FramesTooLarge).expect("it is said");
    assert!(why.contains("100000 bytes"), "{why}");
    rig.wait_for("the others", |s| s.counters.publish.frames_confirmed.get() == number);
    let status = rig.finish();
    broker.ctl(&["eval", "application:set_env(rabbit, max_message_size, 134217728)."]);
    let c = &status.counters;
    assert_eq!(c.publish.frames_too_large.get() + c.publish.frames_given_up.get(), number, "{c:?}");
    assert_eq!((c.publish.connections.get(), c.publish.failures.get()), (2, 1), "{c:?}");
}

#[test]
fn an_exchange_of_another_type_is_said_and_mended_without_a_restart() {
    let reader = tokio::runtime::Runtime::new().unwrap();
    let client = reader.block_on(Reader::new(&shared().uri()));
    let declared = client.channel.exchange_declare(
        "bent.frames".into(),
        ExchangeKind::Direct,
        ExchangeDeclareOptions::default(),
        FieldTable::default(),
    );
    reader.block_on(declared).unwrap();
    let rig = rig(&shared().uri(), "bent", 64, |_| {});
    wait_finding(&rig, FindingKind::BrokerRefused, true);
    let why = rig.finding(FindingKind::BrokerRefused).unwrap();
    assert!(why.starts_with("the exchange bent.frames exists with type direct, but topic is needed"), "{why}");
    rig.wait_for("away", |s| s.broker() == BrokerState::Away);
    let said = |word: &str| {
        let log = log();
        log.lines().filter(|l| l.contains("ERROR") && l.contains("'bent.frames'") && l.contains(word)).count()
    };
    rig.wait_for("a second attempt", |s| s.counters.publish.failures.get() >= 2);
    assert_eq!(said("inequivalent arg 'type'"), 1);
    let gone = client.channel.exchange_delete("bent.frames".into(), ExchangeDeleteOptions::default());
    reader.block_on(gone).unwrap();
    rig.wait_connected();
    wait_finding(&rig, FindingKind::BrokerRefused, false);
    rig.finish();
}

#[test]
fn a_broker_that_freezes_while_nothing_is_under_way_is_away_within_two_heartbeats() {
    let broker = victim();
    let rig = rig(&broker.uri(), "still", 64, |_| {});
    rig.wait_connected();
    // The status message of the connection is answered: from here on only heartbeats go to and fro.
    rig.wait_for("quiet", |s| s.counters.publish.status_confirmed.get() > 0);
    broker.freeze();
    let began = Instant::now();
    rig.wait_for("notice", |s| s.broker() == BrokerState::Away);
    let took = began.elapsed();
    broker.thaw();
    // 10 s, and what a busy machine adds.
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("a frozen broker was noticed after {took:?}");
    rig.wait_connected();
    rig.finish();
}
