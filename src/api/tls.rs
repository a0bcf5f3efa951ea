//! The handshake in front of a door, with a limit on its time. HTTP takes `http/1.1`, gRPC `h2`.
//!
//! With mutual TLS it is here that clients without a certificate of the configured CA are turned away, before anything
//! that they say is read.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::config::TlsFiles;

/// From the connection to the end of the handshake.
const HANDSHAKE_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Shakes hands. Cheap to clone.
#[derive(Clone)]
pub struct Handshake {
    acceptor: TlsAcceptor,
}

impl Handshake {
    /// For connections that speak the protocols `alpn`.
    ///
    /// # Errors
    /// When the files cannot be used; the configuration has tried them.
    pub fn new(files: &TlsFiles, alpn: &[&[u8]]) -> Result<Self, rustls::Error> {
        Ok(Self { acceptor: files.server_config(alpn)?.into() })
    }

    /// The stream inside; `None` when the client failed or took too long.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_TIME_LIMIT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                debug!("a TLS handshake took too long");
                None
            }
        }
    }
}
