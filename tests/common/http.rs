//! A client that says exactly what a test wants said, byte by byte, and reads one answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }
}

/// Opens a connection that gives up after 30 s of silence.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends `bytes` and reads until the server closes. `None` when it closes without a whole answer.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(to);
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    parse(&raw)
}

/// `method path` with nothing but what HTTP asks for.
pub fn ask(to: SocketAddr, method: &str, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
    exchange(to, request.as_bytes()).unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

pub fn get(to: SocketAddr, path: &str) -> Answer {
    ask(to, "GET", path)
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).expect("headers are ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = &raw[end + 4..];
    let body = match headers.get("transfer-encoding").map(String::as_str) {
        None => body.to_vec(),
        Some("chunked") => joined(body)?,
        Some(other) => panic!("nobody asked for {other}"),
    };
    Some(Answer { status, headers, body })
}

/// A body that came in chunks; `None` when its end is missing.
fn joined(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|w| w == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?, 16).ok()?;
        body.extend_from_slice(raw.get(end + 2..end + 2 + len)?);
        if len == 0 {
            return Some(body);
        }
        raw = raw.get(end + 2 + len..)?.strip_prefix(b"\r\n")?;
    }
}
