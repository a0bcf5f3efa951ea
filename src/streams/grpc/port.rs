//! One HTTP/2 endpoint for each job, as existing clients dial it. Runs on tokio (`das-io-N`).
//!
//! By hand over hyper because the server that comes with tonic leaves its connections alone with a client that does not
//! read: here a job's end takes everything along.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{StdError, http};
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::service::DataStreamService;
use crate::config::{Config, HttpConfig, Role};
use crate::feed::Feed;
use crate::status::now_ms;
use crate::streams::access::{Access, Denied};
use crate::streams::tls::Handshake;

/// Connections to one job at a time. Beyond it those that have asked for nothing make room, and without such a one the
/// new connection is closed at once.
const MAX_CONNECTIONS: usize = 64;

/// Open calls of one connection.
const MAX_CALLS: u32 = 64;

/// A connection that has not asked for anything for so long after its beginning is closed.
const FIRST_CALL_LIMIT: Duration = Duration::from_secs(60);

/// We ask a silent client so often whether it is still there; clients do the same to us.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A client that does not answer for so long is gone.
const PING_LIMIT: Duration = Duration::from_secs(20);

/// Longest header of a call.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Calls have small messages: little room for what clients send.
const RECEIVE_WINDOW_BYTES: u32 = 64 << 10;

/// Data of one call that may wait in the connection for the client's window, beside one message.
const SEND_BUFFER_BYTES: usize = 512 << 10;

/// Pause after a failed accept, e.g. when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A port of a job that has ended is not given to another one for so long, unless no other is free: clients that
/// reconnect by themselves may still dial it.
const PORT_REST: Duration = Duration::from_secs(300);

/// Where ports for jobs are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcOptions {
    /// Address to listen on.
    pub host: IpAddr,
    /// Ports that may be used; `0..=0` leaves the choice to the system.
    pub ports: RangeInclusive<u16>,
}

/// Opens ports for jobs.
pub struct GrpcPorts {
    options: GrpcOptions,
    /// Where the next search begins: a port is used again as late as possible.
    next: AtomicU64,
    resting: Arc<Resting>,
    /// Services that are the same for every job.
    common: Routes,
    access: Access,
    handshake: Option<Handshake>,
}

impl GrpcPorts {
    /// Opens nothing yet. Whoever reaches a port may read there.
    pub fn new(options: GrpcOptions) -> Self {
        let (access, handshake) = (Access::default(), None);
        let (next, resting) = (AtomicU64::new(0), Arc::default());
        Self { options, next, resting, common: super::common_services(), access, handshake }
    }

    /// As the configuration has it.
    ///
    /// # Errors
    /// When the certificates cannot be used; the configuration has tried them.
    pub fn configured(config: &Config) -> Result<Self, rustls::Error> {
        let options = GrpcOptions { host: config.http.listen.ip(), ports: config.jobs.ports.clone() };
        // As ids do, ports go on where a daemon before this one was: a client that reconnects by itself must not find
        // somebody else's job.
        let counter = u64::try_from(now_ms() / 1000).unwrap_or_default();
        Self::new(options).beginning_at(counter).locked_as(&config.http)
    }

    /// The same whose first port is number `counter` of those that it may use, counted round and round.
    #[must_use]
    pub fn beginning_at(self, counter: u64) -> Self {
        Self { next: AtomicU64::new(counter), ..self }
    }

    /// The same with the locks of the control API: its TLS, its clients' certificates, its tokens (metadata
    /// `authorization`, role read), so that no port of a job is a side entrance.
    ///
    /// # Errors
    /// When the certificates cannot be used; the configuration has tried them.
    pub fn locked_as(mut self, http: &HttpConfig) -> Result<Self, rustls::Error> {
        self.access = Access::new(http);
        self.handshake = http.tls.as_ref().map(|files| Handshake::new(files, &[b"h2"])).transpose()?;
        Ok(self)
    }

    /// An endpoint for a job with these streams. Ports that are in use by anybody are skipped.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn open_port(&self, feeds: Vec<Arc<Feed>>) -> io::Result<OpenPort> {
        let listener = self.listen().await?;
        let port = listener.local_addr()?.port();
        let routes = self.common.clone().add_service(DataStreamService::new(feeds)).prepare();
        let (closing_tx, closing_rx) = watch::channel(());
        let guarded = Guarded { routes, access: self.access.clone(), handshake: self.handshake.clone() };
        let task = tokio::spawn(serve(listener, guarded, closing_rx));
        Ok(OpenPort { port, closing: Some(closing_tx), task, resting: Arc::clone(&self.resting) })
    }

    async fn listen(&self) -> io::Result<TcpListener> {
        let (first, last) = (u64::from(*self.options.ports.start()), u64::from(*self.options.ports.end()));
        let count = (last + 1).saturating_sub(first);
        let resting = self.resting.ports();
        let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "no ports are configured");
        for _ in 0..count {
            let port = (first + self.next.fetch_add(1, Ordering::Relaxed) % count) as u16;
            if resting.contains(&port) {
                continue;
            }
            match self.bind(port).await {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        // Those that have rested longest come first.
        for port in resting {
            match self.bind(port).await {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn bind(&self, port: u16) -> io::Result<TcpListener> {
        TcpListener::bind(SocketAddr::new(self.options.host, port)).await
    }
}

/// Ports whose job has ended a short while ago, and when it did, oldest first.
#[derive(Debug, Default)]
struct Resting(Mutex<VecDeque<(u16, Instant)>>);

impl Resting {
    fn add(&self, port: u16) {
        let mut ports = self.fresh();
        ports.retain(|(other, _)| *other != port);
        ports.push_back((port, Instant::now()));
    }

    fn ports(&self) -> Vec<u16> {
        self.fresh().iter().map(|(port, _)| *port).collect()
    }

    fn fresh(&self) -> MutexGuard<'_, VecDeque<(u16, Instant)>> {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while ports.front().is_some_and(|(_, since)| since.elapsed() >= PORT_REST) {
            ports.pop_front();
        }
        ports
    }
}

/// What a port serves, and to whom.
#[derive(Clone)]
struct Guarded {
    routes: Routes,
    access: Access,
    handshake: Option<Handshake>,
}

impl Guarded {
    /// Answers one call.
    async fn answer<B>(self, request: http::Request<B>) -> Result<http::Response<Body>, Infallible>
    where
        B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let shown = request.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        match self.access.check(shown, Role::Read) {
            Ok(_) => self.routes.oneshot(request).await,
            Err(denied @ Denied::Role(_)) => Ok(Status::permission_denied(denied.to_string()).into_http()),
            Err(denied) => Ok(Status::unauthenticated(denied.to_string()).into_http()),
        }
    }
}

/// An open endpoint; dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct OpenPort {
    /// Where it listens.
    pub port: u16,
    /// Says nothing; that it is dropped is the message.
    closing: Option<watch::Sender<()>>,
    task: JoinHandle<()>,
    resting: Arc<Resting>,
}

impl OpenPort {
    /// Takes no further calls, lets those that are open end for at most `grace` (which they do when the job has ended and
    /// their clients read), and cuts the rest. Nothing of the endpoint is left when this returns.
    pub async fn close(mut self, grace: Duration) {
        self.closing = None;
        if tokio::time::timeout(grace, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        self.resting.add(self.port);
        self.task.abort();
    }
}

/// Accepts until `closing`, then waits for the connections to end. They end with this task in any case.
async fn serve(listener: TcpListener, guarded: Guarded, mut closing: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut silent = Silent::default();
    loop {
        tokio::select! {
            _ = closing.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS || silent.make_room() => {
                    let _ = stream.set_nodelay(true);
                    let asked = Arc::new(AtomicBool::new(false));
                    let talking = welcome(stream, guarded.clone(), Arc::clone(&asked), closing.clone());
                    silent.add(asked, connections.spawn(talking));
                }
                Ok(_) => debug!("a job has too many gRPC connections; one was closed"),
                Err(error) => {
                    warn!(%error, "a gRPC connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Connections that have not asked for anything, oldest first.
#[derive(Default)]
struct Silent(VecDeque<(Arc<AtomicBool>, AbortHandle)>);

impl Silent {
    fn add(&mut self, asked: Arc<AtomicBool>, connection: AbortHandle) {
        self.0.retain(|(asked, connection)| !asked.load(Ordering::Relaxed) && !connection.is_finished());
        self.0.push_back((asked, connection));
    }

    /// Cuts the oldest; whether there was one.
    fn make_room(&mut self) -> bool {
        while let Some((asked, connection)) = self.0.pop_front() {
            if !asked.load(Ordering::Relaxed) && !connection.is_finished() {
                connection.abort();
                return true;
            }
        }
        false
    }
}

/// Shakes hands, where that is asked for, and talks.
async fn welcome(stream: TcpStream, guarded: Guarded, asked: Arc<AtomicBool>, closing: watch::Receiver<()>) {
    match &guarded.handshake {
        Some(handshake) => {
            if let Some(stream) = handshake.accept(stream).await {
                talk(stream, guarded, asked, closing).await;
            }
        }
        None => talk(stream, guarded, asked, closing).await,
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    guarded: Guarded,
    asked: Arc<AtomicBool>,
    mut closing: watch::Receiver<()>,
) {
    let asking = Arc::clone(&asked);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asking.store(true, Ordering::Relaxed);
        guarded.clone().answer(request)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_LIMIT)
        .max_concurrent_streams(MAX_CALLS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(RECEIVE_WINDOW_BYTES)
        .initial_connection_window_size(RECEIVE_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let idle = async {
        tokio::time::sleep(FIRST_CALL_LIMIT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    // How a connection ended is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = idle => {}
        // Who has asked for nothing has nothing to wait for.
        _ = closing.changed() => if asked.load(Ordering::Relaxed) {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
