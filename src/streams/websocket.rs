//! The WebSocket endpoint: `/ws/{job_id}` sends the lines of a job in the wire format of `FRAME.md`, one frame a message.
//! Runs on tokio (`das-io-N`).
//!
//! Binary messages are frames; those of all streams come in turn, those of one stream with `?stream=N`. Text messages are
//! events: `{"event":"lost","stream":0,"lines":12}` before the frame that follows lines dropped because the client was
//! too slow, and `{"event":"end"}` when the job has ended and everything was sent; then the connection is closed in
//! order. What clients send is read and ignored; one that answers no ping is cut. One client, by its address and by its
//! token, can open a share of all connections that there may be and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::{Extensions, StatusCode};
use axum::response::Response;
use futures_util::future::select_all;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::warn;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Client, Identity, Peer};
use super::shares::{Full, Shares};
use crate::feed::{Feed, Look, Reader, Run};
use crate::refusal::ApiError;
use crate::status::StreamCounters;

/// Sockets that may be open in the whole daemon, and those of one client: an address, or a token.
const MAX_SOCKETS: usize = 1024;
const MAX_SOCKETS_OF_ONE: usize = 256;

/// Longest message that a client may send; we have no use for any.
const MAX_RECEIVED_BYTES: usize = 4 << 10;

/// A client is asked so often whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A client of which nothing was heard for so long is gone. A slow one answers pings behind the frames before them.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// How long a client may take to answer that the connection is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The feeds of a job in order; `None` when there is no such job.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Vec<Arc<Feed>>> + Send + Sync>;

/// Which frames a client wants.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Number of the stream, from 0; all when it is absent.
    stream: Option<usize>,
}

/// What the route needs.
#[derive(Clone)]
struct Sockets {
    lookup: Lookup,
    shares: Shares<Who>,
    counters: Arc<StreamCounters>,
}

/// Whose sockets are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Client(Client),
    Token(String),
}

impl Who {
    /// What a request says of its sender: an address, and a token when one was needed.
    fn of(extensions: &Extensions) -> Vec<Self> {
        let peer = extensions.get().copied().unwrap_or(Peer::UNKNOWN).0;
        let token = extensions.get::<Identity>().and_then(|identity| identity.name.clone());
        std::iter::once(Self::Client(Client::from(peer))).chain(token.map(Self::Token)).collect()
    }
}

/// The route. Sockets that are refused are counted in `counters`.
pub fn routes<S: Clone + Send + Sync + 'static>(lookup: Lookup, counters: Arc<StreamCounters>) -> OpenApiRouter<S> {
    let shares = Shares::new(MAX_SOCKETS, MAX_SOCKETS_OF_ONE);
    OpenApiRouter::new().routes(routes!(lines)).with_state(Sockets { lookup, shares, counters })
}

/// The lines of a job as they come, by WebSocket
///
/// Binary messages are frames in the wire format; text messages are events: `lost` with the lines that were dropped
/// because the client was too slow, and `end`. Keeps the job alive.
#[utoipa::path(get, path = "/ws/{job_id}", tag = "jobs",
    params(
        ("job_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Id of a job, or of a task"),
        Which,
    ),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 404, body = ApiError),
        (status = 426, body = ApiError),
        (status = 429, body = ApiError, description = "As many WebSockets as may be are open, in all or of this client"),
    ))]
async fn lines(
    State(sockets): State<Sockets>,
    Path(job_id): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
    extensions: Extensions,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    open(&sockets, &job_id, which, &Who::of(&extensions), upgrade)
}

fn open(
    sockets: &Sockets,
    job_id: &str,
    which: Result<Query<Which>, QueryRejection>,
    who: &[Who],
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let refuse = |http, code, error: &str, advice: &str| ApiError::new(http, code, error, advice);
    let Query(which) = which.map_err(|_| {
        refuse(StatusCode::BAD_REQUEST, "invalid_query", "Invalid stream", "`stream` is a whole number from 0")
    })?;
    let feeds = (sockets.lookup)(job_id).ok_or_else(|| {
        refuse(StatusCode::NOT_FOUND, "unknown_job", "Invalid job_id", "POST /configure starts a job and tells its id")
    })?;
    let feeds = chosen(feeds, which.stream).ok_or_else(|| {
        refuse(StatusCode::NOT_FOUND, "unknown_stream", "No such stream", "`stream_amount` says how many the job has")
    })?;
    let upgrade = upgrade.map_err(|_| {
        let advice = "ask for an upgrade to `websocket`, version 13, over HTTP/1.1";
        refuse(StatusCode::UPGRADE_REQUIRED, "not_a_websocket", "This is a WebSocket", advice)
    })?;
    let share = sockets.shares.take(who).map_err(|full| {
        sockets.counters.sockets_refused.add(1);
        let reason = match full {
            Full::All => format!("{MAX_SOCKETS} WebSockets are open, as many as may be"),
            Full::Own => format!("this client has {MAX_SOCKETS_OF_ONE} WebSockets open, as many as one may have"),
        };
        let advice = "close WebSockets that are not needed";
        let refusal = refuse(StatusCode::TOO_MANY_REQUESTS, "too_many_sockets", "Too many WebSockets", advice);
        ApiError { retry_after_s: Some(5), ..refusal.because(reason) }
    })?;
    let upgrade = upgrade.max_message_size(MAX_RECEIVED_BYTES).max_frame_size(MAX_RECEIVED_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        serve(socket, feeds).await;
        drop(share);
    }))
}

fn chosen(feeds: Vec<Arc<Feed>>, stream: Option<usize>) -> Option<Vec<Arc<Feed>>> {
    match stream {
        None => Some(feeds),
        Some(number) => feeds.into_iter().nth(number).map(|feed| vec![feed]),
    }
}

/// Sends all that comes out of `feeds` until the job ends or the client leaves. Each feed has one more reader meanwhile.
pub async fn serve(socket: WebSocket, feeds: Vec<Arc<Feed>>) {
    let (sink, incoming) = socket.split();
    let heard = Heard::now();
    let mut listening = std::pin::pin!(listen(incoming, &heard));
    let sent_all = tokio::select! {
        () = &mut listening => return,
        outcome = send(sink, &feeds, &heard) => outcome.is_ok(),
    };
    if sent_all {
        // The client answers to our close message; without that the last frames could be lost on the way.
        let _ = timeout(CLOSE_GRACE, listening).await;
    }
}

/// When something was heard of the client for the last time.
struct Heard {
    began: Instant,
    last_ms: AtomicU64,
}

impl Heard {
    fn now() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        self.last_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// Reads until the client is gone; pongs to its pings go out by themselves.
async fn listen(mut incoming: impl Stream<Item = Result<Message, axum::Error>> + Unpin, heard: &Heard) {
    while let Some(Ok(_)) = incoming.next().await {
        heard.touch();
    }
}

/// The client has left, or must be taken for gone.
struct Gone;

type Sink = SplitSink<WebSocket, Message>;

async fn send(mut sink: Sink, feeds: &[Arc<Feed>], heard: &Heard) -> Result<(), Gone> {
    let mut streams = Streams::of(feeds);
    let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut slow = false;
    loop {
        let (stream, run) = tokio::select! {
            next = streams.next() => match next {
                Some(next) => next,
                None => break,
            },
            _ = ping.tick() => {
                if heard.silence() > SILENCE_LIMIT {
                    return Err(Gone);
                }
                put(&mut sink, Message::Ping(bytes::Bytes::new())).await?;
                continue;
            }
        };
        if run.lines_lost > 0 {
            if !std::mem::replace(&mut slow, true) {
                warn!(stream, lines = run.lines_lost, "a WebSocket client is too slow: it loses the oldest lines");
            }
            let event = json!({"event": "lost", "stream": stream, "lines": run.lines_lost});
            put(&mut sink, Message::text(event.to_string())).await?;
        }
        for frame in run.frames {
            put(&mut sink, Message::Binary(frame.wire())).await?;
        }
    }
    put(&mut sink, Message::text(json!({"event": "end"}).to_string())).await?;
    let farewell = CloseFrame { code: close_code::NORMAL, reason: "the job has ended".into() };
    put(&mut sink, Message::Close(Some(farewell))).await
}

/// Waits for the client as long as it may be silent.
async fn put(sink: &mut Sink, message: Message) -> Result<(), Gone> {
    match timeout(SILENCE_LIMIT, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// The streams of a job, read in turn.
struct Streams {
    /// With the number of each stream.
    open: Vec<(u32, Reader)>,
    turn: usize,
}

impl Streams {
    fn of(feeds: &[Arc<Feed>]) -> Self {
        Self { open: (0..).zip(feeds.iter().map(Feed::reader)).collect(), turn: 0 }
    }

    /// What comes next, and of which stream; `None` when all have ended. Cancel-safe.
    async fn next(&mut self) -> Option<(u32, Run)> {
        loop {
            let mut looked = 0;
            while looked < self.open.len() {
                self.turn %= self.open.len();
                let (number, reader) = &mut self.open[self.turn];
                let number = *number;
                match reader.look() {
                    Look::Run(run) => {
                        self.turn += 1;
                        return Some((number, run));
                    }
                    Look::Nothing => {
                        self.turn += 1;
                        looked += 1;
                    }
                    Look::End => {
                        self.open.remove(self.turn);
                    }
                }
            }
            if self.open.is_empty() {
                return None;
            }
            select_all(self.open.iter().map(|(_, reader)| Box::pin(reader.ready()))).await;
        }
    }
}
