//! The description of the API against the daemon itself: schemathesis makes requests of every kind that the description
//! allows and forbids, and judges every answer.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use common::daemon::{Daemon, acquisition, simulator};
use common::{must_succeed, python};

#[test]
fn schemathesis_finds_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let _simulator = simulator(dir.path(), 30);
    let config = format!(
        "{}[broker]\nenabled = false\n[[view]]\nkind = \"waterfall\"\nname = \"whole\"\n[jobs]\nmax_load = 100\n\
         live_idle_s = 2\nstart_grace_s = 1\n",
        acquisition(dir.path(), 30)
    );
    let daemon = Daemon::start(dir.path(), &config);
    daemon.wait_state("acquiring");
    let url = format!("http://127.0.0.1:{}/openapi.json", daemon.port);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml");
    let said = must_succeed(
        python()
            .args(["-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"])
            .args(["--config-file", rules, "run", &url, "--no-color"])
            .current_dir(dir.path()),
    );
    println!("{said}");
    // It says that itself by its exit code; that it has asked at all is seen here: `1297 generated, 1297 passed`.
    let passed = said.lines().find_map(|line| line.trim().strip_suffix(" passed")?.split(" generated, ").nth(1));
    assert!(passed.is_some_and(|number| number.parse::<usize>().unwrap() > 500), "{said}");
    assert_eq!(daemon.process.lines_with("panicked"), 0);
    assert_eq!(daemon.get("/healthz").0, 200);
}
