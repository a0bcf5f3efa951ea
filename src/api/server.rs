//! The connection loop: accepts, limits, and ends in order.
//!
//! By hand over hyper because the loop that comes with axum waits for ever for the rest of a request, and at the end
//! for every connection that is still open.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// A connection without a whole request header for so long is closed, be it half-sent or idle.
const HEADER_TIME_LIMIT: Duration = Duration::from_secs(15);

/// Requests under way when the daemon stops may take so long to end.
const GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers on `listener` until `shutdown` comes, then lets requests under way end, within two seconds.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let (closing_tx, closing_rx) = watch::channel(());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = accept(&listener, &permits) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(talk(stream, router.clone(), closing_rx.clone(), permit));
            }
        }
    }
    drop(listener);
    drop(closing_tx);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        debug!("connections that did not end were cut");
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let mut failed = false;
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // The semaphore is never closed.
            std::future::pending().await
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    warn!(%error, "a connection to the control API could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, router: Router, mut closing: watch::Receiver<()>, _permit: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        // WebSockets: from then on they are no business of this loop.
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
