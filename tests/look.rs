//! What an operator and the author of a driver see from the command line: `fiberd status` of a daemon, `fiberd info` of a
//! ring.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::daemon::{Daemon, Process, get, simulator};
use common::{free_port, wait_for};
use fiberd::acquisition::{ClockQuality, Quantity, SampleFormat, SourceKind};
use fiberd::source::ring::{Producer, RingSpec};
use serde_json::{Value, json};

/// Of the request of a consumer, in the ring's header.
const REQUEST_AT: u64 = 1280;

fn start(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    command.args(args).env_remove("FIBERD_TOKEN_FILE").env_remove("FIBERD_TOKEN").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn code_and_text(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stdout.clone()).unwrap())
}

fn fiberd(args: &[&str]) -> (i32, String) {
    code_and_text(&start(args).wait_with_output().unwrap())
}

fn request(ring: &Path) -> [u8; 64] {
    let mut line = [0; 64];
    File::open(ring).unwrap().read_exact_at(&mut line, REQUEST_AT).unwrap();
    line
}

#[test]
fn a_good_ring_has_nothing_wrong_and_is_left_as_it_is() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(dir.path(), 30);
    let ring = dir.path().join("ring");
    wait_for("the ring", || ring.exists().then_some(()));
    let before = request(&ring);
    // On a machine that is busy with other things traces may come late; not at every look.
    let found: Value = wait_for("a look that finds nothing wrong", || {
        let (code, text) = fiberd(&["info", ring.to_str().unwrap(), "--json"]);
        (code == 0).then(|| serde_json::from_str(&text).unwrap())
    });
    let header = ["source", "channels", "prr_hz", "dtype"].map(|key| found["header"][key].clone());
    assert_eq!(header, [json!("synthetic"), json!(30), json!(1000.0), json!("int16")]);
    assert_eq!((&found["state"], &found["faults"]), (&json!(["laser on", "light"]), &json!([])));
    assert!(found["slots"].as_u64().unwrap() > 0 && found["traces"].as_u64().unwrap() > 1000, "{found}");
    assert!(found["prr_deviation_ppm"].as_f64().unwrap().abs() <= 1000.0, "{found}");
    assert_eq!(request(&ring), before, "nobody asked the producer for anything");
}

#[test]
fn the_mistakes_of_a_driver_are_told_in_words_and_by_the_exit_code() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let blank = dir.path().join("blank");
    fs::write(&blank, [0; 8192]).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fiberd")).arg("info").arg(&blank).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), said.contains("the first 8 bytes should be FIBERDRG")),
        (Some(65), true),
        "{said}"
    );
    let spec = RingSpec {
        sample_format: SampleFormat::I16,
        channels: 4,
        traces_per_slot: 10,
        slots: 64,
        prr_hz: 1000.0,
        dx_m: 1.0,
        gauge_length_m: None,
        fiber_start_m: 0.0,
        scale: 1.0,
        quantity: Quantity::Counts,
        unit: String::new(),
        wavelength_m: None,
        refractive_index: None,
        description: "a driver with mistakes".into(),
        clock: ClockQuality::FreeRunning,
        source: SourceKind::Ring,
    };
    let rings = ["microseconds", "twice-as-fast", "dark"].map(|name| dir.path().join(name));
    let mut producers: Vec<_> = rings.iter().map(|ring| Producer::create(ring, &spec).unwrap()).collect();
    producers[2].set_state(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
            for slot in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let utc_ns = began + slot * 10_000_000;
                producers[0].write_slot(slot as u64 * 10, utc_ns / 1000, 10, |samples| samples.fill(1));
                producers[1].write_slot(slot as u64 * 10, utc_ns + slot * 10_000_000, 10, |samples| samples.fill(1));
                producers[2].write_slot(slot as u64 * 10, utc_ns, 10, |samples| samples.fill(0));
                // The first has no heartbeat.
                producers[1..].iter().for_each(Producer::heartbeat);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let looks: Vec<_> = rings.iter().map(|ring| start(&["info", ring.to_str().unwrap()])).collect();
        let found: Vec<_> = looks.into_iter().map(|look| code_and_text(&look.wait_with_output().unwrap())).collect();
        stop.store(true, Ordering::Relaxed);
        let faults = [
            ["the timestamps in the ring are in microseconds", "heartbeat has never moved"].as_slice(),
            &["the timestamps advance by"],
            &["bit 1 of its state has never been set", "no flag is set"],
        ];
        for ((code, text), faults) in found.iter().zip(faults) {
            assert_eq!(*code, 65, "{text}");
            assert!(text.contains("a driver with mistakes") && text.contains("wrong:"), "{text}");
            assert!(faults.iter().all(|fault| text.contains(fault)), "{faults:?} in {text}");
        }
    });
}

#[test]
fn status_says_how_a_daemon_is_in_words_and_by_the_exit_code() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(dir.path(), 30);
    let ring = dir.path().join("ring");
    let config = format!(
        "[source]\npath = {ring:?}\n[capture]\nprr_hz = 1000\n[fiber]\nchannels = 30\n\
         [broker]\nuri = \"amqp://127.0.0.1:{}/%2f\"\n[[view]]\nkind = \"waterfall\"\nname = \"whole\"\n",
        free_port()
    );
    let daemon = Daemon::start(dir.path(), &config);
    let address = format!("127.0.0.1:{}", daemon.port);
    let text = wait_for("a daemon that only lacks its broker", || {
        let (code, text) = fiberd(&["status", &address]);
        (code == 1 && text.starts_with("WARNING: acquiring since ")).then_some(text)
    });
    for words in ["synthetic: 30 channels at 1000 Hz", "degraded: broker: ", "jobs     0"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let power = &daemon.json("/live_metadata")["optical_power"];
    assert!(power.as_f64().is_some_and(|power| power > 0.0), "{power}");
    let (_, json) = fiberd(&["status", &format!("http://{address}/focus-server"), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["channels"], 30, "{json}");

    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, text) = fiberd(&["status", &nobody]);
    assert_eq!((code, text.contains(&nobody)), (3, true), "{text}");
    assert_eq!(fiberd(&["status", "ftp://das.example"]).0, 64);
}

#[test]
fn a_port_that_the_system_chooses_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fiberd.toml");
    fs::write(&file, "[source]\npath = \"/nowhere/ring\"\n[broker]\nenabled = false\n").unwrap();
    let mut daemon = Process::fiberd(["run", "--config", file.to_str().unwrap(), "--http", ":0"]);
    daemon.must_say("the control API listens");
    let lines = daemon.lines();
    let line = lines.iter().find(|line| line.contains("the control API listens")).unwrap();
    let port: String = line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(get(port.parse().unwrap(), "/healthz").unwrap().0, 200, "{line}");
}
