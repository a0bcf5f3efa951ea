//! The gRPC endpoint over real sockets, read by a Python client that grpcio-tools made from the proto file.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;
mod endpoints;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::wait_for;
use endpoints::{Client, lines, stream};
use fiberd::config::{HttpConfig, Reloadable, Role, TlsFiles, Token, digest_of};
use fiberd::feed::{Feed, Limits};
use fiberd::frame::Dtype;
use fiberd::streams::grpc::{GrpcOptions, GrpcPorts, OpenPort};
use tokio::runtime::Runtime;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// More than any test here keeps.
const ROOMY: Limits = Limits { bytes: 1 << 30, age: Duration::from_secs(3600) };

struct Job {
    runtime: Runtime,
    feeds: Vec<Arc<Feed>>,
    port: OpenPort,
}

impl Job {
    fn start(limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let feeds = Feed::of_job(&"glass".into(), limits, 3);
        let ports = GrpcPorts::new(GrpcOptions { host: LOCALHOST, ports: 0..=0 });
        let port = runtime.block_on(ports.open_port(feeds.clone())).unwrap();
        Self { runtime, feeds, port }
    }

    fn client(&self, args: &[&str]) -> Client {
        let port = self.port.port.to_string();
        Client::start("grpc_client.py", &[&[port.as_str()], args].concat())
    }

    /// One frame for each stream, with `count` lines from `row` on.
    fn push(&self, layout: [(usize, usize); 3], row: u64, count: usize) {
        for ((number, feed), (start, channels)) in (0..).zip(&self.feeds).zip(layout) {
            // One of the streams goes out as float16 by every endpoint.
            let dtype = if number == 1 { Dtype::F16 } else { Dtype::F32 };
            feed.push(lines(&stream(number, start, channels, 5, dtype), row, count));
        }
    }

    fn end(&self) {
        self.feeds.iter().map(Arc::as_ref).for_each(Feed::end);
    }

    fn readers(&self) -> [usize; 3] {
        [0, 1, 2].map(|number: usize| self.feeds[number].readers())
    }
}

/// Start (counted from 0) and number of the channels of each stream: seven in all.
const LAYOUT: [(usize, usize); 3] = [(9, 3), (12, 2), (14, 2)];

#[test]
fn a_python_client_reads_every_line_of_a_job() {
    let job = Job::start(ROOMY);
    let mut client = job.client(&["rows"]);
    wait_for("the calls of the client", || (job.readers() == [1; 3]).then_some(()));
    (1000..1300).for_each(|row| job.push(LAYOUT, row, 1));
    client.must_say("caught up");
    for row in 1300..1320 {
        job.push(LAYOUT, row, 1);
        client.must_say("line");
    }
    for row in [1320, 1323, 1326] {
        job.push(LAYOUT, row, 3);
    }
    job.push(LAYOUT, 1340, 1);
    for row in [1341, 1342] {
        job.push([(20, 1), (21, 1), (22, 1)], row, 1);
    }
    job.end();
    client.must_say("ended");
    client.finish();
    wait_for("readers are gone", || (job.readers() == [0; 3]).then_some(()));
    assert!(job.feeds.iter().all(|feed| feed.counts().lines_lost == 0));
}

#[test]
fn a_port_has_the_locks_of_the_control_api() {
    let certified = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let tls = TlsFiles::from_pem(certificate.as_bytes(), key.as_bytes(), None).unwrap();
    let token = Token { name: "display".into(), role: Role::Read, digest: digest_of(b"looks-looks-looks-looks") };
    let http = HttpConfig {
        tls: Some(Reloadable::new(tls)),
        tokens: Reloadable::new(Some(vec![token])),
        ..HttpConfig::default()
    };
    let runtime = Runtime::new().unwrap();
    let feeds = Feed::of_job(&"glass".into(), ROOMY, 3);
    let ports = GrpcPorts::new(GrpcOptions { host: LOCALHOST, ports: 0..=0 }).locked_as(&http).unwrap();
    let port = runtime.block_on(ports.open_port(feeds.clone())).unwrap();
    let job = Job { runtime, feeds, port };
    job.push(LAYOUT, 7, 1);
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let mut client = job.client(&["locked", ca.to_str().unwrap(), "looks-looks-looks-looks"]);
    for wanted in ["UNAVAILABLE", "UNAUTHENTICATED", "UNAUTHENTICATED", "row 7"] {
        client.must_say(wanted);
    }
    client.finish();
}

#[test]
fn what_is_not_there_is_refused_and_health_and_reflection_answer() {
    let job = Job::start(ROOMY);
    job.client(&["rules"]).finish();
    assert_eq!(job.readers(), [0; 3]);
}

/// Lines of 5,000 values, 10 kB as float16: far more than sockets and windows hold.
fn slow(limits: Limits, rows: u64) -> (u64, u64, u64) {
    let job = Job::start(limits);
    let wide = stream(0, 0, 10, 500, Dtype::F32);
    job.feeds[0].push(lines(&wide, 0, 1));
    let mut client = job.client(&["slow", "500"]);
    client.must_say("first");
    (1..rows).for_each(|row| job.feeds[0].push(lines(&wide, row, 1)));
    job.end();
    client.go();
    let said = client.said();
    let numbers: Vec<u64> = said.split(' ').map(|number| number.parse().unwrap()).collect();
    client.finish();
    assert_eq!(numbers[3], rows - 1, "the newest line always comes: {said}");
    assert_eq!(job.feeds[0].counts().lines_lost, numbers[1]);
    (numbers[0], numbers[1], numbers[2])
}

#[test]
fn a_slow_reader_within_the_buffer_loses_nothing() {
    assert_eq!(slow(ROOMY, 3000), (3000, 0, 0));
}

#[test]
fn a_reader_that_is_too_slow_is_told_what_it_lost() {
    let (read, lost, missing) = slow(Limits { bytes: 2 << 20, ..ROOMY }, 4000);
    assert!(lost > 0 && read > 1);
    assert_eq!((read + lost, missing), (4000, lost));
}

#[test]
fn readers_that_leave_are_gone() {
    let job = Job::start(ROOMY);
    job.push(LAYOUT, 0, 1);
    let mut client = job.client(&["leave"]);
    client.must_say("open");
    assert_eq!(job.readers(), [1; 3]);
    client.go();
    client.must_say("cancelled");
    wait_for("the call that was cancelled is gone", || (job.readers() == [0, 1, 1]).then_some(()));
    client.kill();
    wait_for("the calls of a client that died are gone", || (job.readers() == [0; 3]).then_some(()));
}

#[test]
fn rude_connections_keep_nobody_out_and_are_gone_with_the_port() {
    let job = Job::start(ROOMY);
    job.push(LAYOUT, 0, 1);
    let rude = [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0xff; 4096]];
    let dial = |words: &[u8]| {
        let mut socket = TcpStream::connect((LOCALHOST, job.port.port)).unwrap();
        // It may have been cut already.
        let _ = socket.write_all(words);
        socket
    };
    let sockets: Vec<_> = rude.iter().cycle().take(200).map(|words| dial(words)).collect();
    let mut client = job.client(&["leave"]);
    client.must_say("open");
    let more: Vec<_> = rude.iter().cycle().take(200).map(|words| dial(words)).collect();
    client.go();
    client.must_say("cancelled");
    wait_for("the call that was cancelled is gone", || (job.readers() == [0, 1, 1]).then_some(()));
    let Job { runtime, port, .. } = job;
    runtime.block_on(port.close(Duration::ZERO));
    for mut socket in sockets.into_iter().chain(more) {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        match socket.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    client.kill();
}

#[test]
fn a_port_that_closes_takes_everything_along() {
    let job = Job::start(ROOMY);
    job.push(LAYOUT, 0, 1);
    let mut client = job.client(&["cut"]);
    client.must_say("open");
    let Job { runtime, feeds, port } = job;
    let number = port.port;
    runtime.block_on(port.close(Duration::from_millis(50)));
    // Nobody listens there any more.
    TcpListener::bind((LOCALHOST, number)).unwrap();
    client.must_say("UNAVAILABLE");
    client.finish();
    wait_for("readers are gone", || feeds.iter().all(|feed| feed.readers() == 0).then_some(()));
}

#[test]
fn a_port_that_is_dropped_is_closed_even_to_a_client_that_does_not_read() {
    let job = Job::start(ROOMY);
    let wide = stream(0, 0, 10, 500, Dtype::F32);
    job.feeds[0].push(lines(&wide, 0, 1));
    let mut client = job.client(&["slow", "500"]);
    client.must_say("first");
    (1..1000).for_each(|row| job.feeds[0].push(lines(&wide, row, 1)));
    let Job { runtime, feeds, port } = job;
    let number = port.port;
    drop(port);
    wait_for("the reader is gone", || (feeds[0].readers() == 0).then_some(()));
    wait_for("the port is free", || TcpListener::bind((LOCALHOST, number)).ok());
    client.kill();
    drop(runtime);
}

#[test]
fn busy_ports_are_skipped_and_used_again_as_late_as_possible() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        // Find four neighbours; somebody else may have one of them.
        let (busy, first) = wait_for("neighbouring ports", || {
            let busy = TcpListener::bind((LOCALHOST, 0)).unwrap();
            let first = busy.local_addr().unwrap().port().checked_sub(1)?;
            let free = |port: u16| TcpListener::bind((LOCALHOST, port)).is_ok();
            (free(first) && free(first.checked_add(2)?)).then_some((busy, first))
        });
        let ports = GrpcPorts::new(GrpcOptions { host: LOCALHOST, ports: first..=first + 2 });
        let open = || async { ports.open_port(Feed::of_job(&"".into(), ROOMY, 1)).await };
        let (one, two) = (open().await.unwrap(), open().await.unwrap());
        assert_eq!((one.port, two.port), (first, first + 2));
        assert!(open().await.is_err());
        two.close(Duration::ZERO).await;
        one.close(Duration::ZERO).await;
        drop(busy);
        // The one that nobody had first, and then the one whose job ended first.
        let again = [open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
        assert_eq!(again.each_ref().map(|port| port.port), [first + 1, first + 2, first]);
        for port in again {
            port.close(Duration::ZERO).await;
        }
        // Another daemon begins where its counter says.
        let options = GrpcOptions { host: LOCALHOST, ports: first..=first + 2 };
        let later = GrpcPorts::new(options).beginning_at(3_000_002);
        let port = later.open_port(Feed::of_job(&"".into(), ROOMY, 1)).await.unwrap().port;
        assert_eq!(port, first + (3_000_002 % 3) as u16);
    });
}
