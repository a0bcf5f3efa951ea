//! The WebSocket endpoint over real sockets, read by a Python client that decodes with numpy as `FRAME.md` says.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;
mod endpoints;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::wait_for;
use endpoints::{Client, lines, stream};
use fiberd::api::{ServerOptions, serve};
use fiberd::config::HttpConfig;
use fiberd::feed::{Feed, Limits};
use fiberd::frame::Dtype;
use fiberd::streams::websocket;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// More than any test here keeps.
const ROOMY: Limits = Limits { bytes: 1 << 30, age: Duration::from_secs(3600) };

struct Job {
    _runtime: Runtime,
    feeds: Vec<Arc<Feed>>,
    port: u16,
}

impl Job {
    fn start(limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let feeds = Feed::of_job(&"glass".into(), limits, 3);
        let found = feeds.clone();
        let lookup: websocket::Lookup = Arc::new(move |job_id| (job_id == "1-1").then(|| found.clone()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = ServerOptions::new(&HttpConfig::default(), Arc::default()).unwrap();
        let routes = websocket::routes(lookup, Arc::default()).split_for_parts().0;
        runtime.spawn(serve(listener, routes, options, std::future::pending()));
        Self { _runtime: runtime, feeds, port }
    }

    fn client(&self, what: &str) -> Client {
        Client::start("websocket_client.py", &[&self.port.to_string(), what])
    }

    fn push(&self, row: u64, count: usize) {
        for (number, feed) in (0..).zip(&self.feeds) {
            let dtype = if number == 1 { Dtype::F16 } else { Dtype::F32 };
            feed.push(lines(&stream(number, 9 + 2 * number as usize, 2, 5, dtype), row, count));
        }
    }

    fn end(&self) {
        self.feeds.iter().map(Arc::as_ref).for_each(Feed::end);
    }

    fn readers(&self) -> usize {
        self.feeds.iter().map(|feed| feed.readers()).sum()
    }
}

#[test]
fn a_python_client_reads_every_frame_of_a_job() {
    let job = Job::start(ROOMY);
    let mut client = job.client("rows");
    // One socket reads all streams, and another the last one.
    wait_for("the sockets of the client", || (job.readers() == 4).then_some(()));
    (1000..1100).for_each(|row| job.push(row, 1));
    client.must_say("caught up");
    job.push(1100, 3);
    job.push(1110, 1);
    job.end();
    client.finish();
    wait_for("readers are gone", || (job.readers() == 0).then_some(()));
}

/// Lines of 5,000 values, 20 kB each: far more than sockets hold.
fn slow(limits: Limits, rows: u64) -> (u64, u64, u64) {
    let job = Job::start(limits);
    let wide = stream(0, 0, 10, 500, Dtype::F32);
    job.feeds[0].push(lines(&wide, 0, 1));
    let mut client = job.client("slow");
    client.must_say("first");
    for row in 1..rows {
        job.feeds[0].push(lines(&wide, row, 1));
    }
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
fn what_is_not_there_is_refused_in_the_one_shape() {
    Job::start(ROOMY).client("rules").finish();
}

#[test]
fn readers_that_leave_are_gone() {
    let job = Job::start(ROOMY);
    job.push(0, 1);
    let mut client = job.client("leave");
    client.must_say("open");
    assert_eq!(job.readers(), 3);
    client.go();
    client.must_say("closed");
    wait_for("the readers of a socket that was closed are gone", || (job.readers() == 0).then_some(()));
    client.go();
    client.must_say("open");
    client.kill();
    wait_for("the readers of a client that died are gone", || (job.readers() == 0).then_some(()));
}

/// Asks for a WebSocket from an address of loopback; the socket with the status of the answer.
async fn open_from(address: [u8; 4], port: u16) -> (tokio::net::TcpStream, u16) {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    let mut stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    let request = "GET /ws/1-1 HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    (stream, status)
}

#[test]
fn one_client_cannot_take_the_websockets_of_all() {
    let job = Job::start(ROOMY);
    Runtime::new().unwrap().block_on(async {
        let mut taken = Vec::new();
        let refused = loop {
            let (socket, status) = open_from([127, 0, 0, 1], job.port).await;
            if status != 101 {
                break status;
            }
            taken.push(socket);
        };
        assert_eq!((refused, taken.len()), (429, 256));
        let (_other, served) = open_from([127, 0, 0, 2], job.port).await;
        assert_eq!(served, 101, "another client is served");
        // What it lets go of it can have again.
        taken.truncate(200);
        while open_from([127, 0, 0, 1], job.port).await.1 != 101 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    wait_for("no reader is left", || (job.readers() == 0).then_some(()));
}
