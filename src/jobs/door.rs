//! The port of a job, on which clients find its streams.
//!
//! This is the one place where jobs meet the gRPC door: whoever brings that door exchanges the body of [`open`] for it.
//! Until then the port is held open and nobody answers on it; what holds for it (a busy one is skipped, none stays
//! behind) is true already.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use super::feed::Feed;

/// An open port; closed when dropped.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) port: u16,
    _held: TcpListener,
}

/// Opens the first of `ports` that is free on `host` for the streams of a job.
#[expect(clippy::unused_async, reason = "the door that comes here waits")]
pub(super) async fn open(host: IpAddr, ports: Vec<u16>, _streams: &[Arc<Feed>]) -> io::Result<Door> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match TcpListener::bind((host, port)) {
            Ok(held) => return Ok(Door { port: held.local_addr()?.port(), _held: held }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Door {
    /// Ends everything behind the port, and then is gone.
    #[expect(clippy::unused_async, reason = "the door that comes here waits")]
    pub(super) async fn close(self) {
        drop(self);
    }
}
