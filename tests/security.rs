//! Who may come in: the real daemon with tokens, certificates and limits, asked by OpenSSL (Python's `ssl`) and by plain
//! sockets; refused starts; and a log that keeps secrets.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::daemon::{Daemon, Process};
use common::http::{Answer, ask, exchange, get};
use common::wait_for;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

/// Waits for a ring that is not there, and publishes nowhere.
const QUIET: &str = "[source]\npath = \"/nowhere/fiberd.ring\"\n[broker]\nenabled = false\n";

const LOOKS: &str = "looks-looks-looks-looks";
const ACTS: &str = "acts-acts-acts-acts-acts";

fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port))
}

/// Writes a file that only its owner reads.
fn private(dir: &Path, name: &str, text: &str) {
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// `METHOD path` with more header lines, each with its line end.
fn with_headers(to: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{headers}\r\n");
    exchange(to, request.as_bytes()).unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

fn has_the_one_shape(body: &Value) {
    for key in ["error", "code", "message", "status"] {
        assert!(body[key].is_string(), "{key} in {body}");
    }
    assert!(body["details"].is_object() && body.get("reason").is_some(), "{body}");
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Makes `name.pem` and `name.key` for `localhost` in `dir`.
    fn issue(&self, dir: &Path, name: &str) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        // Issuer and subject of one name would pass for a certificate that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        private(dir, &format!("{name}.pem"), &certificate.pem());
        private(dir, &format!("{name}.key"), &key.serialize_pem());
    }
}

/// Asks over TLS by OpenSSL; each case is an object of method, path, headers and perhaps a client's `certificate`. An
/// answer has status, headers and body, or only `refused`.
fn over_tls(dir: &Path, port: u16, cases: &Value) -> Vec<Value> {
    const CLIENT: &str = r#"
import http.client, json, ssl, sys
job = json.load(sys.stdin)
answers = []
for case in job["cases"]:
    context = ssl.create_default_context(cafile=job["dir"] + "/ca.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    if "tls12" in case:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if "certificate" in case:
        name = job["dir"] + "/" + case["certificate"]
        context.load_cert_chain(name + ".pem", name + ".key")
    connection = http.client.HTTPSConnection("localhost", job["port"], context=context, timeout=60)
    try:
        connection.request(case["method"], case["path"], headers=case.get("headers", {}))
        version, alpn = connection.sock.version(), connection.sock.selected_alpn_protocol()
        answer = connection.getresponse()
        answers.append({"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()},
                        "body": answer.read().decode(), "version": version, "alpn": alpn})
    except (ssl.SSLError, ConnectionError, http.client.HTTPException) as error:
        answers.append({"refused": type(error).__name__ + ": " + str(error)})
    connection.close()
print(json.dumps(answers))
"#;
    let mut command = common::python();
    let mut child = command.args(["-c", CLIENT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let job = json!({ "dir": dir, "port": port, "cases": cases });
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Python's ssl could not ask");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_start_that_would_let_everybody_in_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let start = |command: &[&str], http: &str| {
        let file = dir.path().join("fiberd.toml");
        fs::write(&file, format!("{QUIET}[http]\n{http}")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_fiberd"))
            .args(command)
            .arg(file)
            .args(if command[0] == "run" { &["--for", "1"][..] } else { &[] })
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let open = "listen = \"0.0.0.0:0\"\n";
    let local = "listen = \"127.0.0.1:0\"\n";
    let over = ["run", "--http", "0.0.0.0:0", "--config"];
    for (code, text) in [start(&["check-config"], open), start(&["run", "--config"], open), start(&over, local)] {
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("http.listen: 0.0.0.0:0 can be reached from outside"), "{text}");
    }
    private(dir.path(), "tokens", &format!("read display {LOOKS}\n"));
    let tokens = format!("tokens_file = {:?}\n", dir.path().join("tokens"));
    let (code, text) = start(&over, &(local.to_owned() + &tokens));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("travel unencrypted") && !text.contains(LOOKS), "{text}");
    fs::set_permissions(dir.path().join("tokens"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = start(&["run", "--config"], &(open.to_owned() + &tokens));
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("http.tokens_file") && text.contains("mode 644"), "{text}");
}

#[test]
fn tokens_open_what_their_role_may_do_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("servers");
    private(dir.path(), "ca.pem", &ca.0.pem());
    ca.issue(dir.path(), "server");
    private(dir.path(), "tokens", &format!("# two\nread display {LOOKS}\ncontrol desk {ACTS}\n"));
    let path = |name: &str| dir.path().join(name);
    let http = format!(
        "tokens_file = {:?}\ntls_certificate = {:?}\ntls_key = {:?}\n",
        path("tokens"),
        path("server.pem"),
        path("server.key")
    );
    let mut daemon = Daemon::start_with(dir.path(), QUIET, &http, "debug");
    let bearer = |secret: &str| json!({ "authorization": format!("Bearer {secret}"), "x-request-id": "asked-1" });
    let wrong = "nobody-nobody-nobody";
    let cases = json!([
        { "method": "GET", "path": "/healthz" },
        { "method": "GET", "path": "/healthz", "tls12": true },
        { "method": "GET", "path": "/ack" },
        { "method": "GET", "path": "/nothing" },
        { "method": "GET", "path": "/ack", "headers": bearer(wrong) },
        { "method": "GET", "path": "//focus-server/ack/", "headers": bearer(LOOKS) },
        { "method": "POST", "path": "/ack", "headers": bearer(LOOKS) },
        { "method": "POST", "path": "/ack", "headers": bearer(ACTS) },
        { "method": "GET", "path": format!("/ack?access_token={LOOKS}") },
        { "method": "OPTIONS", "path": "/ack" },
        { "method": "GET", "path": "/readyz" },
        { "method": "GET", "path": "/docs" },
        { "method": "GET", "path": "/focus-server/" },
        { "method": "GET", "path": "/openapi.json" },
    ]);
    let answers = over_tls(dir.path(), daemon.port, &cases);
    let statuses: Vec<_> = answers.iter().map(|a| a["status"].as_u64().unwrap_or_else(|| panic!("{a}"))).collect();
    assert_eq!(statuses, [200, 200, 401, 401, 401, 200, 403, 405, 401, 204, 503, 200, 200, 200]);
    assert_eq!((&answers[0]["version"], &answers[0]["alpn"]), (&json!("TLSv1.3"), &json!("http/1.1")));
    assert_eq!(answers[1]["version"], "TLSv1.2");
    let challenge = |i: usize| answers[i]["headers"]["www-authenticate"].as_str().unwrap();
    assert_eq!(challenge(2), "Bearer realm=\"fiberd\"");
    assert!(challenge(4).contains("invalid_token") && challenge(6).contains("scope=\"control\""));
    let codes = [(2, "token_missing"), (3, "token_missing"), (4, "token_invalid"), (6, "role_missing")];
    for (i, code) in codes {
        let body: Value = serde_json::from_str(answers[i]["body"].as_str().unwrap()).unwrap();
        has_the_one_shape(&body);
        assert_eq!(body["code"], code);
    }
    assert!(answers.iter().all(|a| a["headers"]["x-request-id"].is_string()), "{answers:?}");
    assert_eq!(answers[5]["headers"]["x-request-id"], "asked-1");

    let api: Value = serde_json::from_str(answers[13]["body"].as_str().unwrap()).unwrap();
    assert_eq!(api["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let security = |path: &str, method: &str| api["paths"][path][method].get("security").cloned();
    assert_eq!(security("/ack", "get"), Some(json!([{ "token": ["read"] }])));
    assert_eq!(security("/configure", "post"), Some(json!([{ "token": ["control"] }])));
    assert_eq!(security("/readyz", "get"), None);

    // A daemon that waits for fiber is critical; who may not look at it knows nothing.
    let status = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
        command.arg("status").arg(format!("https://localhost:{}", daemon.port)).args(more);
        let output = command.env_remove("FIBERD_TOKEN_FILE").env_remove("FIBERD_TOKEN").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    private(dir.path(), "token", &format!("{LOOKS}\n"));
    let (ca_file, token_file) = (path("ca.pem"), path("token"));
    let (ca_file, token_file) = (ca_file.to_str().unwrap(), token_file.to_str().unwrap());
    let (code, text) = status(&["--ca", ca_file, "--token-file", token_file]);
    assert_eq!((code, text.starts_with("CRITICAL: waiting for fiber")), (2, true), "{text}");
    let (code, text) = status(&["--ca", ca_file]);
    assert_eq!((code, text.contains("--token-file")), (3, true), "{text}");
    let (code, text) = status(&["--token-file", token_file]);
    assert_eq!((code, text.starts_with("UNKNOWN: ")), (3, true), "a certificate of an unknown CA: {text}");

    // Without TLS there is nothing to be had at this endpoint, and it stays open for others.
    assert!(exchange(address(&daemon), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").is_none());
    assert_eq!(over_tls(dir.path(), daemon.port, &json!([{ "method": "GET", "path": "/healthz" }]))[0]["status"], 200);
    assert!(daemon.process.stop().success());

    let lines = daemon.process.lines();
    for secret in [LOOKS, ACTS, wrong] {
        assert!(lines.iter().all(|line| !line.contains(secret)), "{secret} in {lines:#?}");
    }
    let named = |name: &str, words: &str| {
        lines.iter().any(|line| ["asked-1", "method=", name, words].iter().all(|text| line.contains(text)))
    };
    assert!(named("who=\"display\"", "answered") && named("who=\"desk\"", "status=405"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("a request was refused: a token is needed")), "{lines:#?}");
}

#[test]
fn mutual_tls_lets_in_who_has_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, clients, foreign) = (Ca::new("servers"), Ca::new("clients"), Ca::new("foreign"));
    private(dir.path(), "ca.pem", &ca.0.pem());
    private(dir.path(), "clients.pem", &clients.0.pem());
    ca.issue(dir.path(), "server");
    clients.issue(dir.path(), "ours");
    foreign.issue(dir.path(), "theirs");
    let path = |name: &str| dir.path().join(name);
    let http = format!(
        "client_ca = {:?}\ntls_certificate = {:?}\ntls_key = {:?}\n",
        path("clients.pem"),
        path("server.pem"),
        path("server.key")
    );
    let daemon = Daemon::start_with(dir.path(), QUIET, &http, "info");
    let cases = json!([
        { "method": "GET", "path": "/healthz" },
        { "method": "GET", "path": "/ack", "certificate": "theirs" },
        { "method": "GET", "path": "/ack", "certificate": "server", "tls12": true },
        { "method": "GET", "path": "/ack", "certificate": "ours" },
        { "method": "POST", "path": "/ack", "certificate": "ours", "tls12": true },
    ]);
    let answers = over_tls(dir.path(), daemon.port, &cases);
    for refused in &answers[..3] {
        let why = refused["refused"].as_str().unwrap_or_else(|| panic!("{answers:#?}"));
        assert!(!why.contains("CERTIFICATE_VERIFY_FAILED"), "the client refused, not the daemon: {why}");
    }
    assert_eq!((&answers[3]["status"], &answers[4]["status"]), (&json!(200), &json!(405)), "{answers:#?}");
    daemon.process.says("tls=\"mutual\"", 1);
}

#[test]
fn each_client_has_its_buckets() {
    let dir = tempfile::tempdir().unwrap();
    let http = "rate_configure_per_s = 0.01\nrate_configure_burst = 3\nrate_reads_per_s = 1000\n";
    let daemon = Daemon::start_with(dir.path(), QUIET, http, "info");
    let to = address(&daemon);
    let statuses: Vec<_> = (0..4).map(|_| ask(to, "POST", "/ack").status).collect();
    assert_eq!(statuses, [405, 405, 405, 429]);
    let refused = ask(to, "POST", "/nothing");
    assert_eq!(refused.status, 429);
    assert_eq!(ask(to, "DELETE", "/nothing").status, 404, "who makes room is not held back");
    let seconds: u32 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=100).contains(&seconds), "{seconds}");
    let body = refused.json();
    has_the_one_shape(&body);
    assert_eq!((&body["code"], &body["details"]["at_once"]), (&json!("too_many_requests"), &json!(3)));
    assert_eq!(get(to, "/ack").status, 200, "reads have a bucket of their own");
    wait_for("the log says so", || (daemon.process.lines_with("too many requests") > 0).then_some(()));
}

#[test]
fn pages_come_in_only_when_their_origin_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(dir.path(), QUIET, "cors_origins = [\"https://das.example\"]\n", "info");
    let to = address(&daemon);
    let preflight = "access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n";
    for (origin, is_in) in [("https://das.example", true), ("https://evil.example", false), ("null", false)] {
        let origin_line = format!("origin: {origin}\r\n");
        let asked = with_headers(to, "OPTIONS", "/ack", &(origin_line.clone() + preflight));
        let answered = with_headers(to, "GET", "/nothing", &origin_line);
        assert_eq!((asked.status, answered.status), (204, 404));
        for answer in [&asked, &answered] {
            let allowed = answer.headers.get("access-control-allow-origin").map(String::as_str);
            assert_eq!(allowed, is_in.then_some(origin), "{origin}: {answer:?}");
            assert!(answer.headers["vary"].contains("origin"));
            assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        }
        assert_eq!(asked.headers.get("access-control-allow-methods").is_some_and(|m| m.contains("GET")), is_in);
        let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
        let opened = with_headers(to, "GET", "/nothing", &(origin_line + socket));
        assert_eq!(opened.status, if is_in { 404 } else { 403 }, "{origin}");
    }
}

#[test]
fn a_second_daemon_is_not_kept_from_its_port_by_a_first_that_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("open.toml");
    let port = common::free_port();
    fs::write(&file, format!("{QUIET}[http]\nlisten = \"0.0.0.0:{port}\"\n")).unwrap();
    let mut refused = Process::fiberd(["run", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.ended().code(), Some(78));
    wait_for("the port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).ok());
}
