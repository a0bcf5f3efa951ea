//! What the bus does when it is hurt or misused, seen from outside a real daemon: frames of jobs that have become old,
//! wrong commands in any number, a broker that freezes.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::broker::{Broker, shared};
use common::bus::{Rig, keepalive};
use common::wait_for;
use lapin::types::AMQPValue;

fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[test]
fn after_a_block_no_frame_of_a_job_is_old() {
    let broker = Broker::start();
    let rig = Rig::start(&broker, "stale", "", "");
    let id = rig.configure(2);
    rig.client.queue("stale.lines");
    rig.client.bind("stale.lines", "stale.frames", &format!("stale.waterfall.{id}.*"));
    let utc_of = |message: common::bus::Message| {
        let headers = message.properties.headers().clone().unwrap();
        match headers.inner().get("utc_end_ns") {
            Some(&AMQPValue::LongLongInt(ns)) => ns,
            other => panic!("{other:?}"),
        }
    };
    wait_for("a frame", || rig.client.next("stale.lines"));
    broker.memory_alarm(true);
    let blocked = || rig.daemon.metric("fiberd_broker_state{state=\"blocked\"}") > 0.0;
    wait_for("the block", || blocked().then_some(()));
    let held_back = rig.held_back("not_connected");
    wait_for("frames are not sent", || (rig.held_back("not_connected") > held_back + 20).then_some(()));
    let began = now_ns();
    std::thread::sleep(Duration::from_secs(6));
    let over = now_ns() - 4_000_000_000;
    broker.memory_alarm(false);
    let (mut old, mut new) = (0, 0);
    wait_for("new frames", || {
        while let Some(message) = rig.client.next("stale.lines") {
            let utc = utc_of(message);
            old += u32::from((began..over).contains(&utc));
            new += u32::from(utc > over + 4_000_000_000);
        }
        (new > 30).then_some(())
    });
    assert_eq!(old, 0, "frames from the time of the block were sent as live");
    rig.daemon.wait_balanced();
}

#[test]
fn a_thousand_wrong_commands_are_a_line_for_each_reason() {
    let rig = Rig::start(shared(), "flood", "", "");
    for number in 0..1000 {
        let body: &[u8] = if number % 2 == 0 { b"{" } else { b"[1]" };
        rig.send("keepalive", &[], body);
    }
    wait_for("all are refused", || (rig.commands("refused") == 1000).then_some(()));
    rig.daemon.process.says("a command is refused", 2);
    let (status, answer) = rig.ask("keepalive", &[], keepalive().to_string().as_bytes());
    assert_eq!((status, &answer["code"]), (400, &"no_job".into()));
    rig.daemon.process.says("a command is refused", 3);
}

#[test]
fn a_frozen_broker_is_noticed_by_every_connection() {
    let broker = Broker::start();
    let rig = Rig::start(&broker, "ice", "", "");
    let id = rig.configure(2);
    rig.client.queue("ice.lines");
    rig.client.bind("ice.lines", "ice.frames", &format!("ice.waterfall.{id}.*"));
    wait_for("a frame", || rig.client.next("ice.lines"));
    broker.freeze();
    let began = Instant::now();
    let away = || rig.daemon.metric("fiberd_broker_state{state=\"away\"}") > 0.0;
    let deaf = || rig.daemon.count("fiberd_commands_heard") == 0;
    let silent = || rig.held_back("not_connected") > 0;
    let [mut at_away, mut at_deaf, mut at_silent] = [None; 3];
    wait_for("notice", || {
        let now = began.elapsed();
        for (at, noticed) in [(&mut at_away, away()), (&mut at_deaf, deaf()), (&mut at_silent, silent())] {
            if noticed {
                at.get_or_insert(now);
            }
        }
        at_away.and(at_deaf).and(at_silent)
    });
    broker.thaw();
    println!("frozen: noticed by standing views {at_away:?}, commands {at_deaf:?}, frames of jobs {at_silent:?}");
    for at in [at_away, at_deaf, at_silent] {
        assert!(at < Some(Duration::from_secs(20)), "{at_away:?} {at_deaf:?} {at_silent:?}");
    }
    rig.wait_heard(1);
    wait_for("frames again", || rig.client.next("ice.lines"));
    rig.daemon.wait_balanced();
}
