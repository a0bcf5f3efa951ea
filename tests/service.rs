//! The daemon as a process, on a ring written by another process: the states a person sees, and what is lost when
//! fiber, producer or broker go away and come back.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::broker::Broker;
use common::daemon::{Daemon, Process};
use common::{must_succeed, python, wait_for};
use rustix::process::Signal;

/// A small fiber, so that a hundred pulls are quick and cheap.
const SCENE: &str = "
seed = 7
[fiber]
channels = 200
[interrogator]
prr_hz = 1000.0
";

fn config(ring: &Path, more: &str) -> String {
    format!(
        "site = \"test\"\n[source]\nkind = \"ring\"\npath = \"{}\"\n[capture]\nprr_hz = 1000\n[fiber]\nchannels = 200\n\
         [[view]]\nkind = \"waterfall\"\nname = \"whole\"\n{more}",
        ring.display()
    )
}

struct Rig {
    dir: tempfile::TempDir,
    ring: PathBuf,
    pulled: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::write(dir.path().join("scene.toml"), SCENE).unwrap();
        Self { ring: dir.path().join("ring"), pulled: dir.path().join("ring.pulled"), dir }
    }

    fn simulator(&self) -> Process {
        let scene = self.dir.path().join("scene.toml");
        Process::fiberd(["simulate", "--scene", scene.to_str().unwrap(), "--ring", self.ring.to_str().unwrap()])
    }

    fn daemon(&self, more: &str) -> Daemon {
        Daemon::start(self.dir.path(), &config(&self.ring, more))
    }
}

const NO_BROKER: &str = "[broker]\nenabled = false\n";

#[test]
fn waiting_for_fiber_is_said_everywhere_and_ends_by_itself() {
    let rig = Rig::new();
    let mut daemon = rig.daemon(NO_BROKER);

    let metadata = daemon.json("/live_metadata");
    assert_eq!(metadata["state"], "waiting for fiber");
    assert_eq!(metadata["sw_version"], "waiting for fiber");
    assert_eq!(metadata["prr"], 0.0);
    assert_eq!(metadata["number_of_channels"], 200);
    let (ready, why) = daemon.get("/readyz");
    assert_eq!(ready, 503);
    assert!(why.contains("waiting for fiber"), "{why}");
    assert_eq!(daemon.count("fiberd_phase{phase=\"waiting for fiber\"}"), 1);
    wait_for("one line in the log", || (daemon.process.lines_with("waiting for fiber") == 1).then_some(()));

    let mut simulator = rig.simulator();
    daemon.wait_state("acquiring");
    assert_eq!(daemon.json("/live_metadata")["prr"], 1000.0);
    assert_eq!(daemon.get("/readyz").0, 200);
    wait_for("frames are made", || (daemon.count("fiberd_frames_made_total") > 3).then_some(()));

    simulator.kill();
    daemon.wait_state("waiting for fiber");
    let mut simulator = rig.simulator();
    daemon.wait_state("acquiring");
    assert!(simulator.stop().success());
    daemon.wait_state("waiting for fiber");
    assert!(daemon.process.stop().success(), "{:#?}", daemon.process.lines());
}

#[test]
fn a_hundred_pulls_of_the_fiber_leave_nothing_behind() {
    let rig = Rig::new();
    let _simulator = rig.simulator();
    let mut daemon = rig.daemon(NO_BROKER);
    daemon.wait_state("acquiring");

    let pull = |times: usize| {
        for _ in 0..times {
            fs::write(&rig.pulled, "").unwrap();
            daemon.wait_state("waiting for fiber");
            fs::remove_file(&rig.pulled).unwrap();
            daemon.wait_state("acquiring");
        }
    };
    pull(10);
    let (rss, handles) = (daemon.process.rss(), daemon.process.handles());
    let changes = daemon.count("fiberd_phase_changes_total");
    pull(100);
    assert_eq!(daemon.count("fiberd_phase_changes_total") - changes, 200, "two changes a pull: no flapping");
    let grown = daemon.process.rss().saturating_sub(rss);
    assert!(grown < 4 << 20, "{grown} bytes more after a hundred pulls");
    // A connection of the request just before may still be closing.
    wait_for("as many file descriptors and threads as before", || {
        let now = daemon.process.handles();
        (now.0 <= handles.0 && now.2 <= handles.2).then_some(())
    });
    // One acquisition all along: the light was gone, the instrument was not.
    assert_eq!(daemon.count("fiberd_epochs_total"), 1);
    assert!(daemon.count("fiberd_gap_traces_total") > 0);
    assert!(daemon.process.stop().success());
}

#[test]
fn a_producer_that_stands_still_again_and_again_leaves_the_daemon_hearing() {
    let rig = Rig::new();
    let mut simulator = rig.simulator();
    // Each stop costs ten reads in vain: eight blocks would not outlast the first.
    let config = config(&rig.ring, NO_BROKER).replace("prr_hz = 1000", "prr_hz = 1000\npool_blocks = 8");
    let mut daemon = Daemon::start(rig.dir.path(), &config);
    for _ in 0..3 {
        daemon.wait_state("acquiring");
        let processed = daemon.count("fiberd_traces_processed_total");
        wait_for("traces are processed", || {
            (daemon.count("fiberd_traces_processed_total") > processed + 200).then_some(())
        });
        simulator.signal(Signal::STOP);
        daemon.wait_state("waiting for fiber");
        simulator.signal(Signal::CONT);
    }
    daemon.wait_state("acquiring");
    assert!(simulator.stop().success());
    daemon.wait_state("waiting for fiber");
    wait_for("all traces are processed or missing", || {
        let [launched, processed, missing] = ["launched", "processed", "missed_in_source"]
            .map(|what| daemon.count(&format!("fiberd_traces_{what}_total")));
        let dropped = daemon.count("fiberd_traces_dropped_total{place=\"no_block\"}");
        assert_eq!(daemon.count("fiberd_gap_traces_total"), missing + dropped);
        (launched == processed + missing + dropped).then_some(())
    });
    // The pipeline holds one block of the present shape, and those that windows reach back to, which are extra.
    assert!(daemon.count("fiberd_capture_free_blocks") >= 7, "of {}", daemon.count("fiberd_capture_pool_blocks"));
    assert!(daemon.process.stop().success());
}

#[test]
fn a_taken_port_is_told_and_ends_with_its_own_code() {
    let rig = Rig::new();
    let first = rig.daemon(NO_BROKER);
    let file = rig.dir.path().join("second.toml");
    fs::write(&file, config(&rig.ring, NO_BROKER)).unwrap();
    let address = format!("127.0.0.1:{}", first.port);
    let mut second = Process::fiberd(["run", "--config", file.to_str().unwrap(), "--http", &address]);
    assert_eq!(second.ended().code(), Some(69));
    wait_for("it says so", || (second.lines_with(&address) > 0).then_some(()));
}

/// Declares a durable queue and, at the end, says for each acquisition how many lines of it arrived; a line that comes
/// twice must be the same line, and none may come out of order otherwise.
const CONSUMER: &str = r##"
import json, sys, pika
uri, what = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(uri)).channel()
if what == "declare":
    channel.exchange_declare("fiberd.frames", "topic", durable=True)
    channel.queue_declare("all", durable=True)
    channel.queue_bind("all", "fiberd.frames", "#")
    sys.exit()
lines, bodies = {}, {}
while True:
    method, properties, body = channel.basic_get("all", auto_ack=True)
    if method is None:
        break
    first = bodies.setdefault(properties.message_id, body)
    assert first == body, properties.message_id
    if first is body:
        lines.setdefault(properties.headers["epoch"], []).append(properties.headers["first_line"])
for epoch, of_epoch in lines.items():
    assert of_epoch == sorted(of_epoch), (epoch, of_epoch)
print(json.dumps([len(of_epoch) for _, of_epoch in sorted(lines.items())]))
"##;

#[test]
fn fiber_producer_and_broker_go_and_come_back_while_all_of_it_runs() {
    let broker = Broker::start();
    let uri = broker.uri().replace("amqp://", "amqp://guest:guest@");
    let consume = |what: &str| must_succeed(python().args(["-c", CONSUMER, &uri, what]));
    consume("declare");
    let rig = Rig::new();
    let mut simulator = rig.simulator();
    let mut daemon = rig.daemon(&format!("[broker]\nuri = \"{}\"\n", broker.uri()));
    let more_confirmed = |daemon: &Daemon| {
        let before = daemon.count("fiberd_frames_confirmed_total");
        wait_for("frames are confirmed", || (daemon.count("fiberd_frames_confirmed_total") > before + 5).then_some(()));
    };
    daemon.wait_state("acquiring");
    more_confirmed(&daemon);

    // The fiber is pulled: the same acquisition goes on afterwards, with an exact gap.
    fs::write(&rig.pulled, "").unwrap();
    daemon.wait_state("waiting for fiber");
    fs::remove_file(&rig.pulled).unwrap();
    daemon.wait_state("acquiring");
    more_confirmed(&daemon);
    assert_eq!(daemon.count("fiberd_epochs_total"), 1);

    // The broker dies. Acquisition does not notice.
    broker.kill();
    let traces = daemon.count("fiberd_traces_total");
    wait_for("traces go on without a broker", || (daemon.count("fiberd_traces_total") > traces + 2000).then_some(()));
    let (ready, body) = daemon.get("/readyz");
    assert_eq!(ready, 200, "{body}");
    assert!(body.contains("broker"), "{body}");
    broker.restart();
    more_confirmed(&daemon);

    // The producer dies without a word and comes back: a new acquisition.
    simulator.kill();
    daemon.wait_state("waiting for fiber");
    let _again = rig.simulator();
    daemon.wait_state("acquiring");
    more_confirmed(&daemon);
    assert_eq!(daemon.count("fiberd_epochs_total"), 2);

    assert!(daemon.process.stop().success(), "{:#?}", daemon.process.lines());
    let arrived: Vec<usize> = serde_json::from_str(&consume("judge")).unwrap();
    assert_eq!(arrived.len(), 2, "two acquisitions: {arrived:?}");
    assert!(arrived.iter().all(|&lines| lines > 5), "{arrived:?}");
    assert_eq!(daemon.process.lines_with("panicked"), 0);
}
