//! The connection loop: accepts, limits, and ends in order.
//!
//! By hand over hyper because the loop that comes with axum waits for ever for the rest of a request, and at the end
//! for every connection that is still open. When all places are taken, whoever keeps a place without using it makes
//! room (see `connections`); when nobody can be spared, a few wait, and more are closed at once rather than left to fill the
//! kernel's queue, in which everybody waits. A connection that becomes a WebSocket leaves its place: its endpoint has limits
//! of its own.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tower::util::ServiceExt;
use tracing::{debug, warn};

use super::connections::{Activity, Connections};
use crate::config::HttpConfig;
use crate::status::ApiCounters;
use crate::streams::access::{Client, Peer};
use crate::streams::tls::Handshake;

/// A connection without a whole request header for so long is closed, be it half-sent or idle.
const HEADER_TIME_LIMIT: Duration = Duration::from_secs(15);

/// Longest header of a request, and most that is buffered for a connection in either direction.
const BUFFER_LIMIT_BYTES: usize = 64 * 1024;

/// Requests under way when the daemon stops may take so long to end.
const GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept, e.g. when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// While somebody waits for a place, looked again after this time.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// A client that takes nothing of an answer, or is not there any more, is cut after this time.
const UNREAD_TIME_LIMIT_MS: u32 = 30_000;

/// What the server keeps to.
#[derive(Clone)]
pub struct ServerOptions {
    /// Connections at a time.
    pub max_connections: usize,
    /// `None` = plain HTTP.
    pub tls: Option<Handshake>,
    /// Where connections that made room are counted.
    pub counters: Arc<ApiCounters>,
}

impl ServerOptions {
    /// As the configuration has it.
    ///
    /// # Errors
    /// When rustls cannot use the certificates; the configuration has tried them.
    pub fn new(http: &HttpConfig, counters: Arc<ApiCounters>) -> Result<Self, rustls::Error> {
        let tls = http.tls.as_ref().map(|files| Handshake::new(files, &[b"http/1.1"])).transpose()?;
        Ok(Self { max_connections: http.max_connections, tls, counters })
    }
}

/// Answers on `listener` until `shutdown` comes, then lets requests under way end, within two seconds.
pub async fn serve(listener: TcpListener, router: Router, options: ServerOptions, shutdown: impl Future<Output = ()>) {
    let (closing_tx, closing_rx) = watch::channel(());
    let mut room = Room::new(options.max_connections, Arc::clone(&options.counters));
    let mut shutdown = pin!(shutdown);
    let mut failed = false;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = room.tasks.join_next_with_id() => room.left(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    failed = false;
                    room.pending.push_back((stream, from.ip()));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        warn!(%error, "a connection to the control API could not be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = tokio::time::sleep(ROOM_PAUSE), if !room.pending.is_empty() => {}
        }
        while let Some((stream, from)) = room.next() {
            let (closing, router, tls) = (closing_rx.clone(), router.clone(), options.tls.clone());
            let start = room.start;
            room.enter(from, |activity| talk(stream, tls, closing, Talk { router, peer: Peer(from), activity, start }));
        }
    }
    drop(listener);
    drop(closing_tx);
    let all_ended = async { while room.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        debug!("connections that did not end were cut");
    }
}

/// The connections and their tasks.
struct Room {
    start: Instant,
    tasks: JoinSet<()>,
    handles: HashMap<Id, AbortHandle>,
    connections: Connections<Id>,
    /// Those without a place.
    pending: VecDeque<(TcpStream, IpAddr)>,
    pending_limit: usize,
    counters: Arc<ApiCounters>,
}

impl Room {
    fn new(places: usize, counters: Arc<ApiCounters>) -> Self {
        Self {
            start: Instant::now(),
            tasks: JoinSet::new(),
            handles: HashMap::new(),
            connections: Connections::new(places.max(1)),
            pending: VecDeque::new(),
            pending_limit: places.div_ceil(4),
            counters,
        }
    }

    fn enter<T: Future<Output = ()> + Send + 'static>(&mut self, from: IpAddr, talk: impl FnOnce(Activity) -> T) {
        let activity = Connections::<Id>::activity(elapsed_ms(self.start));
        let task = self.tasks.spawn(talk(activity.clone()));
        self.connections.insert(task.id(), Client::from(from), activity);
        self.handles.insert(task.id(), task);
    }

    fn left(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.connections.remove(id);
        self.handles.remove(&id);
    }

    /// The first of those who wait for whom there is a place, or for whom another can be spared. When there is none, as
    /// many go on waiting as may, and the rest are closed.
    fn next(&mut self) -> Option<(TcpStream, IpAddr)> {
        let now_ms = elapsed_ms(self.start);
        let mut hopeless = Vec::new();
        let found = self.pending.iter().position(|(_, from)| {
            let client = Client::from(*from);
            if !self.connections.is_full() {
                return true;
            }
            // Most of a crowd is one client.
            if hopeless.contains(&client) {
                return false;
            }
            let Some(id) = self.connections.dispensable(now_ms, client) else {
                hopeless.push(client);
                return false;
            };
            self.connections.remove(id);
            if let Some(task) = self.handles.remove(&id) {
                debug!("a connection that waited for its client made room for another");
                self.counters.connections_spared.add(1);
                task.abort();
            }
            true
        });
        if found.is_none() {
            self.pending.truncate(self.pending_limit);
        }
        self.pending.remove(found?)
    }
}

fn elapsed_ms(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}

/// What a conversation needs.
struct Talk {
    router: Router,
    peer: Peer,
    activity: Activity,
    start: Instant,
}

async fn talk(stream: TcpStream, tls: Option<Handshake>, mut closing: watch::Receiver<()>, talk: Talk) {
    tune(&stream);
    let Some(tls) = tls else {
        return serve_connection(stream, closing, talk).await;
    };
    let stream = tokio::select! {
        stream = tls.accept(stream) => stream,
        _ = closing.changed() => None,
    };
    if let Some(stream) = stream {
        serve_connection(stream, closing, talk).await;
    }
}

/// No delay for small answers, and an end to clients that are gone or take nothing, also of upgraded ones. A kernel that
/// does not know one of these serves all the same.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_user_timeout(stream, UNREAD_TIME_LIMIT_MS);
}

async fn serve_connection<S>(stream: S, mut closing: watch::Receiver<()>, talk: Talk)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Talk { router, peer, activity, start } = talk;
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        activity.waits(elapsed_ms(start));
        let mut request = request.map(|body| Arriving::new(body, activity.clone()));
        request.extensions_mut().insert(peer);
        let (answer, activity) = (router.clone().oneshot(request), activity.clone());
        async move {
            let answer = answer.await;
            activity.waits(elapsed_ms(start));
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_LIMIT)
        .max_buf_size(BUFFER_LIMIT_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // How a connection ended is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// The body of a request. Until all of it is there, the connection waits for its client.
struct Arriving {
    body: Incoming,
    activity: Activity,
}

impl Arriving {
    fn new(body: Incoming, activity: Activity) -> Self {
        if body.is_end_stream() {
            activity.busy();
        }
        Self { body, activity }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.activity.busy();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
