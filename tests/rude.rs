//! Rude clients against the real daemon over real sockets, one kind after the other, with what they hold kept open to
//! the end; meanwhile polite clients ask on, and every single answer they get must be right.
//!
//! The rude come from 127.0.0.1 and the polite from 127.0.0.2: one client's excess is not to be felt by another.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::daemon::Daemon;
use common::http::exchange;
use common::wait_for;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The daemon's own limit; far fewer than there will be connections.
const MAX_CONNECTIONS: usize = 500;

/// Handshakes under way at a time: with more, what is measured is the patience of the kernel's queue.
const HANDSHAKES: usize = 400;

/// Files that this test and the program that runs it need beside sockets.
const SPARE_FILES: u64 = 500;

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A connection from another address than the rude ones have.
fn connect_politely(port: u16) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 0))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Asks on one connection and reads the answer by its length.
fn ask_on(stream: &mut TcpStream, path: &str) -> Result<serde_json::Value, String> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| format!("GET {path}: {what}: {error}");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").map_err(|error| wrong("sending", &error))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| wrong("header", &error))?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(|error| wrong("header", &error))?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = vec![0; length.ok_or_else(|| wrong("header", &head))?];
    stream.read_exact(&mut body).map_err(|error| wrong("body", &error))?;
    if !head.starts_with("HTTP/1.1 20") || !head.contains("x-request-id: ") {
        return Err(wrong("header", &head));
    }
    if body.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| wrong("body", &error))
}

/// Asks until it is told to stop, and is content with right answers only.
fn ask_politely(port: u16, keeps: bool, stop: &AtomicBool, answers: &AtomicU64) -> Result<(), String> {
    let connect = || connect_politely(port).map_err(|error| format!("connecting: {error}"));
    let mut stream = connect()?;
    while !stop.load(Ordering::Relaxed) {
        if !keeps {
            stream = connect()?;
        }
        let ack = ask_on(&mut stream, "/ack")?;
        let metadata = ask_on(&mut stream, "/live_metadata")?;
        let right = ack["status"] == "ok"
            && ack["channels_count"] == metadata["number_of_channels"]
            && metadata["sw_version"].is_string();
        if !right {
            return Err(format!("wrong answers: {ack} {metadata}"));
        }
        answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Clients that ask for what they may ask for, one with a connection for each request and one with a single one.
struct Polite {
    stop: Arc<AtomicBool>,
    answers: Arc<[AtomicU64; 2]>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Polite {
    fn start(port: u16) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let threads = [true, false].map(|keeps| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || {
                let all_right = ask_politely(port, keeps, &stop, &answers[usize::from(keeps)]);
                all_right.map_err(|error| format!("a client that keeps its connection ({keeps}): {error}"))
            })
        });
        Self { stop, answers, threads: threads.into() }
    }

    /// Waits until both have been answered three more times, whatever is going on.
    fn are_served(&mut self, during: &str) {
        let counts = || [0, 1].map(|i| self.answers[i].load(Ordering::Relaxed));
        let before = counts();
        wait_for(&format!("polite clients are served during {during}"), || {
            let gone_on = counts().iter().zip(before).all(|(now, then)| *now >= then + 3);
            (gone_on || self.threads.iter().any(JoinHandle::is_finished)).then_some(())
        });
        if let Some(ended) = self.threads.iter().position(JoinHandle::is_finished) {
            panic!("during {during}: {:?}", self.threads.remove(ended).join());
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    }
}

/// A live job that a polite client polls.
struct Job {
    port: u16,
    id: String,
    last_ms: f64,
}

impl Job {
    fn start(port: u16) -> Self {
        let body = r#"{"view_type":2,"channels":{"min":1,"max":3},"displayInfo":{"height":100}}"#;
        let request = format!(
            "POST /configure HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(SocketAddr::from(([127, 0, 0, 1], port)), request.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self { port, id: answer.json()["job_id"].as_str().unwrap().to_owned(), last_ms: 0.0 }
    }

    /// More of its rows come, each later than the one before and none twice.
    fn goes_on(&mut self, during: &str) {
        let mut stream = connect_politely(self.port).unwrap();
        let path = format!("/waterfall/{}/1000", self.id);
        let blocks = wait_for(&format!("rows during {during}"), || {
            let blocks = ask_on(&mut stream, &path).unwrap_or_else(|error| panic!("during {during}: {error}"));
            blocks.is_array().then_some(blocks)
        });
        let rows = blocks.as_array().unwrap().iter().flat_map(|block| block["rows"].as_array().unwrap());
        for row in rows {
            let (start, end) = (row["startTimestamp"].as_f64().unwrap(), row["endTimestamp"].as_f64().unwrap());
            assert!(self.last_ms < end && start < end, "during {during}: {start} … {end} after {}", self.last_ms);
            assert_eq!(row["sensors"].as_array().unwrap().len(), 3);
            self.last_ms = end;
        }
    }
}

/// Half a request each, then silence.
fn half_open(to: SocketAddr) -> Vec<TcpStream> {
    let halves = [
        "",
        "G",
        "GET /ack HTT",
        "GET /ack HTTP/1.1\r\nhost:",
        "POST /configure HTTP/1.1\r\ncontent-length: 9\r\n\r\nx",
    ];
    let half = |i: usize| {
        let mut stream = connect(to);
        stream.write_all(halves[i % halves.len()].as_bytes()).unwrap();
        if i.is_multiple_of(7) {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        stream
    };
    (0..MAX_CONNECTIONS + 100).map(half).collect()
}

/// Byte by byte, header or body, for ever: each is cut off.
fn slowloris(to: SocketAddr) {
    let header = "GET /ack HTTP/1.1\r\n".to_owned() + &"x-slow: 1\r\n".repeat(10_000);
    let body =
        "POST /configure HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    let drips = [(header.as_str(), 0), (body, body.len())].map(|(text, at_once)| {
        let text = text.to_owned() + &" ".repeat(10_000);
        let mut stream = connect(to);
        thread::spawn(move || {
            stream.write_all(&text.as_bytes()[..at_once]).unwrap();
            let mut reading = stream.try_clone().unwrap();
            let cut = thread::spawn(move || {
                let mut answer = Vec::new();
                // Reset or closed: either way it is over.
                let _ = reading.read_to_end(&mut answer);
                answer
            });
            for byte in &text.as_bytes()[at_once..] {
                if cut.is_finished() || stream.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
            assert!(cut.is_finished() || stream.write_all(b" ").is_err(), "a dripping client may go on for ever");
            let answer = cut.join().unwrap();
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        })
    });
    for drip in drips {
        drip.join().unwrap();
    }
}

/// Sends all of it, and says what came back.
fn throw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(to);
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// 10 MB, declared and not declared, several at a time.
fn big_bodies(to: SocketAddr) {
    let ten_mb = vec![b'x'; 10 << 20];
    let head = "POST /configure HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let declared = [format!("{head}content-length: {}\r\n\r\n", ten_mb.len()).as_bytes(), &ten_mb].concat();
    let chunk = [format!("{:x}\r\n", ten_mb.len()).as_bytes(), &ten_mb, b"\r\n0\r\n\r\n"].concat();
    let chunked = [format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes(), &chunk].concat();
    let endless =
        [format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n").as_bytes(), &ten_mb].concat();
    let bodies = [&declared, &chunked, &endless];
    thread::scope(|scope| {
        for bytes in bodies.iter().cycle().take(9) {
            scope.spawn(move || {
                let answer = throw(to, bytes);
                assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
            });
        }
    });
}

/// What is no request, or one that nobody should send.
fn nonsense(to: SocketAddr) {
    let long = "a".repeat(200_000);
    let flood = "x-many: 1\r\n".repeat(50_000);
    let mut all: Vec<Vec<u8>> = [
        "GET /\u{ff}\u{fe} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /%ff%00%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /waterfall/..%2f..%2fetc%2fpasswd/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /ack HTTP/9.9\r\n\r\n",
        "GET /ack\0 HTTP/1.1\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
        "POST /configure HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /configure HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "POST /configure HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST /configure HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzzz\r\n",
        "POST /configure HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\nconnection: close\r\n\r\nzzz",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    all.push(b"GET /ack HTTP/1.1\r\nhost: \xff\xfe\r\nx-request-id: \xff\r\nauthorization: \xff\r\nconnection: close\r\n\r\n".into());
    all.push(b"POST /configure HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\xff\xfe{}".into());
    all.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into());
    all.push(vec![0; 100_000]);
    all.push((0..=255).cycle().take(100_000).collect());
    all.push(format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes());
    all.push(format!("GET /ack HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n").into_bytes());
    all.push(format!("GET /ack HTTP/1.1\r\nhost: x\r\n{flood}\r\n").into_bytes());
    for bytes in &all {
        let answer = throw(to, bytes);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let text = String::from_utf8_lossy(&answer);
        // A header's value may be any bytes; that one is well-formed.
        let allowed = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || start.contains("host: \u{fffd}");
        assert!(allowed && !text.contains("/etc"), "{start:?}: {text}");
    }
}

/// HTTP/2 where HTTP/1 is spoken: its preface, then streams that are begun and reset at once.
fn http2_resets(to: SocketAddr) {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    for stream in (1_u32..20_000).step_by(2) {
        // HEADERS: GET / http with END_HEADERS; RST_STREAM: CANCEL.
        bytes.extend([0, 0, 3, 1, 5]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend([0x82, 0x84, 0x86]);
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(8_u32.to_be_bytes());
    }
    for _ in 0..20 {
        let answer = throw(to, &bytes);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    let upgrade = b"GET /ack HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    assert!(throw(to, upgrade).starts_with(b"HTTP/1.1 200"), "an upgrade that is not offered is not taken");
}

/// In the middle of a request, and in the middle of an answer.
fn resets(to: SocketAddr) {
    for i in 0..2000 {
        let mut stream = connect(to);
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        let text = if i % 2 == 0 { "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" } else { "GET /ack HTTP/1.1\r\nho" };
        stream.write_all(text.as_bytes()).unwrap();
    }
}

/// Asks for much and never reads.
fn unread(to: SocketAddr) -> Vec<TcpStream> {
    let requests = "GET /sensors HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2000);
    let ask = |_| {
        let mut stream = connect(to);
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // It stops taking requests as soon as its answers are stuck.
        let _ = stream.write_all(requests.as_bytes());
        stream
    };
    (0..20).map(ask).collect()
}

/// As many connections as files are allowed, up to 10,000, all at once, each with half a header, held until `is_enough`.
fn parallel(to: SocketAddr, is_enough: impl FnOnce(usize)) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let allowed = limit.maximum.unwrap_or(u64::MAX).saturating_sub(SPARE_FILES).min(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (opened, turns) = (Arc::new(AtomicU64::new(0)), Arc::new(tokio::sync::Semaphore::new(HANDSHAKES)));
    for _ in 0..allowed {
        let (opened, turns) = (Arc::clone(&opened), Arc::clone(&turns));
        runtime.spawn(async move {
            let turn = turns.acquire().await.unwrap();
            let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
            drop(turn);
            // It may have been sent away already.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /ack HTTP/1.1\r\nhost: ").await;
            opened.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        });
    }
    wait_for("all connections are there", || (opened.load(Ordering::Relaxed) == allowed).then_some(()));
    is_enough(allowed as usize);
    runtime.shutdown_background();
}

#[test]
fn whatever_some_clients_do_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let tone = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tone.fdas");
    let config = format!("[source]\nkind = \"replay\"\nfiles = [{tone:?}]\nloop = true\n[broker]\nenabled = false\n");
    let view = "[[view]]\nkind = \"waterfall\"\nname = \"w\"\n";
    // All that is rude comes from one address and must not be stopped by its rate alone.
    let http =
        format!("max_connections = {MAX_CONNECTIONS}\nrate_reads_burst = 1000000\nrate_configure_burst = 1000000\n");
    let mut daemon = Daemon::start_with(dir.path(), &(config + view), &http, "info");
    daemon.wait_state("acquiring");
    let to = SocketAddr::from(([127, 0, 0, 1], daemon.port));
    let mut polite = Polite::start(daemon.port);
    polite.are_served("peace");
    let mut job = Job::start(daemon.port);
    job.goes_on("peace");
    let (files, rss) = (daemon.process.handles().0, daemon.process.rss());
    // Polite clients come and go; what they hold at a time is little.
    let own = files + 8;

    let traces = AtomicU64::new(0);
    let mut goes_on = |during: &str| {
        polite.are_served(during);
        job.goes_on(during);
        let now = daemon.count("fiberd_traces_total");
        assert!(now > traces.swap(now, Ordering::Relaxed), "traces flow during {during}");
    };
    let halves = half_open(to);
    goes_on("half-open sockets");
    let unread = unread(to);
    goes_on("answers that nobody reads");
    slowloris(to);
    goes_on("slowloris");
    big_bodies(to);
    goes_on("bodies of 10 MB");
    nonsense(to);
    goes_on("nonsense");
    http2_resets(to);
    goes_on("resets of HTTP/2 streams");
    resets(to);
    goes_on("resets of connections");
    parallel(to, |connections| {
        goes_on("parallel connections");
        let open = daemon.process.handles().0;
        assert!(
            open <= own + MAX_CONNECTIONS + MAX_CONNECTIONS / 4,
            "{open} files for {connections} connections, {files} before"
        );
    });
    drop((halves, unread));
    wait_for("open sockets are as few as before", || {
        let open = daemon.process.handles().0;
        (open <= own).then_some(())
    });
    goes_on("peace again");
    let grown = daemon.process.rss().saturating_sub(rss) >> 20;
    assert!(grown < 128, "{grown} MB more than before");
    polite.stop();
    assert_eq!(daemon.json("/live_metadata")["state"], "acquiring");
    assert_eq!(daemon.process.lines_with("panic"), 0, "{:#?}", daemon.process.lines());
    assert!(daemon.process.stop().success());
}

/// Nothing but the kernel notices this one: the daemon has written what it had to write.
#[test]
fn a_client_that_never_reads_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[source]\npath = \"/nowhere/fiberd.ring\"\n[broker]\nenabled = false\n";
    let daemon = Daemon::start_with(dir.path(), config, "rate_reads_burst = 1000000\n", "info");
    let to = SocketAddr::from(([127, 0, 0, 1], daemon.port));
    let files = || daemon.process.handles().0;
    let peace = files();
    let unread = unread(to);
    // The last polite one may have been there still when peace was counted.
    wait_for("they are there", || (files() > peace + unread.len() / 2).then_some(()));
    wait_for("they are cut, though they hold on", || (files() <= peace + 2).then_some(()));
    drop(unread);
}
