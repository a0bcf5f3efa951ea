//! Where the ring is: code, configuration, tmpfiles.d, the page for driver authors and the help agree; and stopping the
//! unit does not delete it.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use common::python;
use fiberd::cli::Cli;
use fiberd::config::{Config, DEFAULT_RING, Environment, SIMULATED_RING, SourceConfig};

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ring_of(config: &Config) -> PathBuf {
    match &config.source {
        SourceConfig::Ring { path, .. } => path.clone(),
        SourceConfig::Replay { .. } => panic!("the default source is the ring"),
    }
}

fn help(command: &str) -> String {
    let mut cli = Cli::command();
    cli.find_subcommand_mut(command).unwrap().render_long_help().to_string()
}

/// Whether `text` has `path` with nothing behind it that would make it another one.
fn names(text: &str, path: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '.'));
    text.match_indices(path).any(|(at, _)| ends(&text[at + path.len()..]) || text[at + path.len()..].starts_with(". "))
}

#[test]
fn everybody_names_one_place_for_the_ring_and_another_for_invented_data() {
    let environment = Environment::default();
    let built_in = Config::parse("built in", "", &environment).unwrap();
    let packaged = Config::parse("fiberd.toml", &text("systemd/fiberd.toml"), &environment).unwrap();
    assert_eq!(ring_of(&built_in), Path::new(DEFAULT_RING));
    assert_eq!(ring_of(&packaged), Path::new(DEFAULT_RING));

    let folder = Path::new(DEFAULT_RING).parent().unwrap().to_str().unwrap();
    let tmpfiles = text("systemd/tmpfiles.d/fiberd.conf");
    let made = tmpfiles.lines().find(|line| line.starts_with('d')).unwrap();
    let fields: Vec<_> = made.split_whitespace().collect();
    assert_eq!(fields, ["d", folder, "2770", "root", "fiberd", "-"], "its group may write, and new files belong to it");

    for (what, text) in [
        ("the page for driver authors", text("src/source/ring/ABI.md")),
        ("tmpfiles.d", tmpfiles.clone()),
        ("the help of record", help("record")),
        ("README", text("README.md")),
    ] {
        assert!(names(&text, DEFAULT_RING), "{what} does not name {DEFAULT_RING}");
    }
    for (what, text) in [("the help of simulate", help("simulate")), ("README", text("README.md"))] {
        assert!(names(&text, SIMULATED_RING), "{what} does not name {SIMULATED_RING}");
    }
    assert!(!names(&help("simulate"), DEFAULT_RING), "the simulator stays away from the real ring");
    assert_ne!(Path::new(SIMULATED_RING).parent(), Path::new(DEFAULT_RING).parent());
}

/// Plays the end of the unit in a mount and an IPC name space of its own, with a /dev/shm of its own, so that nothing of
/// this machine is touched: what systemd does at a stop when `RemoveIPC=` says so, by systemd's own function.
const STOP_OF_THE_UNIT: &str = r#"
import ctypes, glob, os, subprocess, sys
remove, group = sys.argv[1] == "yes", int(sys.argv[2])
library = glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so") + glob.glob("/usr/lib/systemd/libsystemd-shared-*.so")
systemd = ctypes.CDLL(library[0])
clean_ipc_by_gid = systemd.clean_ipc_by_gid
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
os.makedirs("/dev/shm/fiberd")
open("/dev/shm/fiberd/ring", "w").write("a living driver's ring")
for path in "/dev/shm/fiberd", "/dev/shm/fiberd/ring":
    os.chown(path, -1, group)
if remove:
    clean_ipc_by_gid(group)
print("ring" if os.path.exists("/dev/shm/fiberd/ring") else "gone")
"#;

fn after_a_stop(remove_ipc: &str) -> Result<String, String> {
    let root = rustix::process::geteuid().is_root();
    let group = if root { 4242 } else { rustix::process::getegid().as_raw() };
    let mut unshare = Command::new("unshare");
    if root {
        unshare.args(["--mount", "--ipc"]);
    } else {
        unshare.args(["--user", "--map-current-user", "--keep-caps", "--mount", "--ipc"]);
    }
    let python = python();
    let output = unshare
        .arg(python.get_program())
        .args(["-c", STOP_OF_THE_UNIT, remove_ipc, &group.to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn stopping_the_unit_does_not_delete_the_drivers_ring() {
    let unit = text("systemd/fiberd.service");
    // systemd's default is no, and the last one counts.
    let remove_ipc = unit.lines().filter_map(|line| line.strip_prefix("RemoveIPC=")).next_back().unwrap_or("no");
    assert_eq!(remove_ipc, "no");
    match after_a_stop("yes") {
        Ok(left) => {
            assert_eq!(left, "gone", "systemd's function deletes it when it is told to: this test sees the fault");
            assert_eq!(after_a_stop(remove_ipc).as_deref(), Ok("ring"));
        }
        // Without systemd's library, or where name spaces are not permitted, the setting alone is tested.
        Err(why) => eprintln!("systemd's clean_ipc_by_gid cannot be called here: {why}"),
    }
}
