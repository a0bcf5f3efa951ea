//! A light HTTP/1.1 client: one connection that is kept, one request at a time, whole answers. It stands between the
//! clock and the daemon, so it does as little as it can.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A daemon that does not answer for so long is a fault.
const ANSWER: Duration = Duration::from_secs(30);
/// The daemon closes connections that rest for 15 s; a request that meets the end of its connection is lost.
const KEPT: Duration = Duration::from_secs(10);

pub struct Http {
    to: SocketAddr,
    stream: Option<(BufReader<TcpStream>, Instant)>,
    /// Memory of an answer that is done with: the daemon is measured, not how fast a client gets fresh pages.
    spare: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(300).collect()
    }
}

impl Http {
    pub fn new(to: SocketAddr) -> Self {
        Self { to, stream: None, spare: Vec::new() }
    }

    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "").await
    }

    /// One request with a JSON body, or none.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let kept = self.stream.take().filter(|(_, used)| used.elapsed() < KEPT);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {method} {path}"));
        let exchange = async {
            let mut stream = if let Some((stream, _)) = kept {
                stream
            } else {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            };
            let to = self.to;
            let head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\n");
            let request = if body.is_empty() {
                format!("{head}\r\n")
            } else {
                let len = body.len();
                format!("{head}content-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}")
            };
            stream.write_all(request.as_bytes()).await?;
            let answer = read(&mut stream, std::mem::take(&mut self.spare)).await?;
            Ok::<_, io::Error>((stream, answer))
        };
        let (stream, answer) = timeout(ANSWER, exchange).await.map_err(late)??;
        self.stream = Some((stream, Instant::now()));
        Ok(answer)
    }

    /// Takes the memory of an answer back for the next one.
    pub fn done_with(&mut self, answer: Answer) {
        self.spare = answer.body;
    }
}

async fn read(stream: &mut BufReader<TcpStream>, mut body: Vec<u8>) -> io::Result<Answer> {
    let bad = |what: &str| io::Error::other(format!("not an answer: {what}"));
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| bad(&line))?;
    let (mut len, mut chunked) = (None, false);
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => len = value.trim().parse().ok(),
            Some((name, value)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                chunked = value.trim() == "chunked";
            }
            Some(_) => {}
            None => break,
        }
    }
    body.clear();
    if chunked {
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let len = usize::from_str_radix(line.trim_end(), 16).map_err(|_| bad(&line))?;
            append(stream, len, &mut body).await?;
            line.clear();
            stream.read_line(&mut line).await?;
            if len == 0 {
                break;
            }
        }
    } else {
        append(stream, len.ok_or_else(|| bad("no content-length"))?, &mut body).await?;
    }
    Ok(Answer { status, body })
}

async fn append(stream: &mut BufReader<TcpStream>, len: usize, body: &mut Vec<u8>) -> io::Result<()> {
    let before = body.len();
    body.resize(before + len, 0);
    stream.read_exact(&mut body[before..]).await.map(|_| ())
}
