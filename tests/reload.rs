//! SIGHUP to a daemon that runs: what is taken over, what is not, and what a wrong configuration changes: nothing.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::broker::Broker;
use common::daemon::{Daemon, Process, get};
use common::{free_port, wait_for};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const QUIET: &str = "[source]\npath = \"/nowhere/fiberd.ring\"\n";
const NO_BROKER: &str = "[broker]\nenabled = false\n";

fn private(dir: &Path, name: &str, text: &str) {
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

struct Rig {
    dir: tempfile::TempDir,
    port: u16,
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), port: free_port() }
    }

    /// Writes the configuration; `http` goes into its `[http]` section.
    fn configure(&self, text: &str, http: &str) {
        let port = self.port;
        let text = format!("{text}[http]\nlisten = \"127.0.0.1:{port}\"\n{http}");
        fs::write(self.dir.path().join("fiberd.toml"), text).unwrap();
    }

    fn named(&self, file: &str) -> String {
        format!("\"{}\"", self.dir.path().join(file).display())
    }

    fn start(&self, notify: &Path) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
        command.args(["run", "--config"]).arg(self.dir.path().join("fiberd.toml"));
        command.env_remove("FIBERD_LOG").env("NOTIFY_SOCKET", notify);
        let daemon = Daemon { process: Process::spawn(&mut command), port: self.port };
        wait_for("it listens", || (daemon.process.lines_with("the control API listens") > 0).then_some(()));
        daemon
    }
}

/// Sends SIGHUP and waits for `answer` in the log, once more than before.
fn reload(daemon: &Daemon, answer: &str) {
    let before = daemon.process.lines_with(answer);
    daemon.process.signal(Signal::HUP);
    wait_for(&format!("{answer}: {:#?}", daemon.process.lines()), || {
        (daemon.process.lines_with(answer) > before).then_some(())
    });
}

fn status_with(port: u16, token: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "GET /live_metadata HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn level_and_tokens_are_taken_over_and_the_rest_is_named() {
    let rig = Rig::new();
    let socket = rig.dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (first, second) = ("first-first-first-first", "second-second-second");
    let tokens = format!("tokens_file = {}\n", rig.named("tokens"));
    private(rig.dir.path(), "tokens", &format!("read display {first}\n"));
    rig.configure(&format!("{QUIET}{NO_BROKER}"), &tokens);
    let mut daemon = rig.start(&socket);
    assert_eq!((status_with(rig.port, first), status_with(rig.port, second)), (200, 401));
    assert_eq!(daemon.process.lines_with("answered"), 0, "requests are not logged at info");

    private(rig.dir.path(), "tokens", &format!("read display {second}\n"));
    rig.configure(&format!("site = \"other\"\n[log]\nlevel = \"debug\"\n{QUIET}{NO_BROKER}"), &tokens);
    reload(&daemon, "need a restart");
    assert_eq!((status_with(rig.port, first), status_with(rig.port, second)), (401, 200));
    let said = |text: &str| daemon.process.lines_with(text);
    assert_eq!((said("keys=\"site\""), said("changed=\"log.level, tokens\"")), (1, 1), "{:#?}", daemon.process.lines());
    wait_for("requests are logged at debug", || (said("answered") > 0).then_some(()));

    // Everything that is wrong is said, and nothing changes.
    private(rig.dir.path(), "tokens", &format!("read display {first}\n"));
    rig.configure(&format!("site = \"a b\"\n{QUIET}{NO_BROKER}"), &format!("{tokens}colour = 1\n"));
    reload(&daemon, "everything stays as it was");
    assert_eq!((said("a b"), said("http.colour")), (1, 1));
    assert_eq!((status_with(rig.port, first), status_with(rig.port, second)), (401, 200));

    // The service manager sees each reload begin and end.
    let mut seen = String::new();
    while seen.matches("READY=1").count() < 3 {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        seen.push('\n');
    }
    assert_eq!((seen.matches("RELOADING=1").count(), seen.matches("MONOTONIC_USEC=").count()), (2, 2), "{seen}");
    assert!(daemon.process.stop().success());
}

fn certificate(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    private(dir, "certificate.pem", &cert.pem());
    private(dir, "key.pem", &signing_key.serialize_pem());
    cert.der().clone()
}

/// Whether the daemon shows a certificate that `trusted` vouches for.
fn shows(port: u16, trusted: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while client.is_handshaking() {
        if client.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn certificates_are_exchanged_under_a_running_daemon() {
    let rig = Rig::new();
    let first = certificate(rig.dir.path());
    let (certificate_file, key) = (rig.named("certificate.pem"), rig.named("key.pem"));
    rig.configure(&format!("{QUIET}{NO_BROKER}"), &format!("tls_certificate = {certificate_file}\ntls_key = {key}\n"));
    let mut daemon = rig.start(Path::new("/nowhere"));
    assert!(shows(rig.port, &first));
    // A key that belongs to another certificate.
    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    let right = fs::read_to_string(rig.dir.path().join("key.pem")).unwrap();
    fs::copy(other.path().join("key.pem"), rig.dir.path().join("key.pem")).unwrap();
    reload(&daemon, "everything stays as it was");
    assert!(shows(rig.port, &first));
    private(rig.dir.path(), "key.pem", &right);
    reload(&daemon, "changed=\"nothing\"");

    let second = certificate(rig.dir.path());
    reload(&daemon, "changed=\"certificates\"");
    assert!(!shows(rig.port, &first) && shows(rig.port, &second));
    assert!(daemon.process.stop().success());
}

#[test]
fn a_new_password_is_used_at_the_next_connection() {
    let broker = Broker::start();
    broker.ctl(&["add_user", "dana", "right-right-right"]);
    broker.ctl(&["set_permissions", "dana", ".*", ".*", ".*"]);
    let rig = Rig::new();
    private(rig.dir.path(), "password", "wrong\n");
    let login = format!("username = \"dana\"\npassword_file = {}\n", rig.named("password"));
    rig.configure(&format!("{QUIET}[broker]\nuri = \"{}\"\n{login}", broker.uri()), "");
    let mut daemon = rig.start(Path::new("/nowhere"));
    let said = |daemon: &Daemon, text: &str| daemon.process.lines_with(text);
    wait_for("the broker refuses", || (said(&daemon, "refused:") > 0).then_some(()));
    private(rig.dir.path(), "password", "right-right-right\n");
    reload(&daemon, "the broker's login");
    wait_for("connected", || (said(&daemon, ": connected") > 0).then_some(()));
    assert!(get(rig.port, "/healthz").is_ok());
    assert!(daemon.process.stop().success());
    assert_eq!(said(&daemon, "right-right"), 0, "no password in the log");
}
