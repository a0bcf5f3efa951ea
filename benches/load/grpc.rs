//! A light gRPC reader over HTTP/2: messages as they come, and what the trailing metadata say.

use std::error::Error;

use axum::http::{HeaderMap, Request};
use bytes::{Buf, Bytes, BytesMut};
use fiberd::streams::grpc::{DataStream, StreamDataRequest};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

const STREAM_DATA: &str = "/pandadatastream.DataStreamService/StreamData";
/// What existing clients allow for one message.
const MESSAGE_LIMIT: usize = 50 << 20;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Compression flag and length before each message.
const PREFIX: usize = 5;

pub type Fault = Box<dyn Error + Send + Sync>;

/// One connection to a job's port; dropped, it is cut.
pub struct Connection {
    send: SendRequest<Bytes>,
    authority: String,
    talk: AbortHandle,
}

impl Connection {
    pub async fn open(authority: &str) -> Result<Self, Fault> {
        let tcp = TcpStream::connect(authority).await?;
        tcp.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (send, connection) = builder.handshake::<_, Bytes>(tcp).await?;
        let talk = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { send, authority: authority.to_owned(), talk })
    }

    pub async fn call(&self, stream: usize) -> Result<Call, Fault> {
        let request = StreamDataRequest { stream_id: i32::try_from(stream)? };
        let mut words = vec![0, 0, 0, 0, request.encoded_len() as u8];
        request.encode(&mut words)?;
        let head = Request::post(format!("http://{}{STREAM_DATA}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (answer, mut body) = self.send.clone().ready().await?.send_request(head, false)?;
        body.send_data(words.into(), true)?;
        let answer = answer.await?;
        if answer.status() != 200 || answer.headers().contains_key("grpc-status") {
            return Err(format!("the call was refused: {answer:?}").into());
        }
        Ok(Call { body: answer.into_body(), buffer: BytesMut::new() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.talk.abort();
    }
}

/// One open call.
pub struct Call {
    body: RecvStream,
    buffer: BytesMut,
}

impl Call {
    /// The next message and its length in bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(DataStream, usize)>, Fault> {
        loop {
            if let Some(len) = self.waiting()? {
                self.buffer.advance(PREFIX);
                let message = self.buffer.split_to(len).freeze();
                return Ok(Some((DataStream::decode(message)?, PREFIX + len)));
            }
            let Some(chunk) = self.body.data().await else {
                return if self.buffer.is_empty() { Ok(None) } else { Err("the call ended within a message".into()) };
            };
            let chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Length of the message that is whole in the buffer; makes room for one that is not.
    fn waiting(&mut self) -> Result<Option<usize>, Fault> {
        let Some(&[compressed, a, b, c, d]) = self.buffer.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 || len > MESSAGE_LIMIT {
            return Err(format!("a message of {len} bytes, compressed: {compressed}").into());
        }
        if self.buffer.len() >= PREFIX + len {
            return Ok(Some(len));
        }
        self.buffer.reserve(PREFIX + len - self.buffer.len());
        Ok(None)
    }

    /// After the end: how many lines the daemon says that this call lost.
    pub async fn lines_lost(mut self) -> Result<u64, Fault> {
        let trailers = self.body.trailers().await?.ok_or("no trailing metadata")?;
        match number(&trailers, "grpc-status") {
            Some(0) => {}
            status => return Err(format!("the call ended with status {status:?}: {trailers:?}").into()),
        }
        number(&trailers, "fiberd-lines-lost").ok_or_else(|| format!("no fiberd-lines-lost in {trailers:?}").into())
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
