//! The handshake in front of an endpoint, with a limit on its time. HTTP takes `http/1.1`, gRPC `h2`.
//!
//! With mutual TLS it is here that clients without a certificate of the configured CA are turned away, before anything
//! that they say is read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error};

use crate::config::{Reloadable, TlsFiles};

/// From the connection to the end of the handshake.
const HANDSHAKE_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Shakes hands with the certificates that hold at the moment. Cheap to clone.
#[derive(Clone)]
pub struct Handshake {
    files: Reloadable<TlsFiles>,
    alpn: Arc<[Vec<u8>]>,
    /// Made of which files.
    made: Arc<Mutex<(Arc<TlsFiles>, TlsAcceptor)>>,
}

impl Handshake {
    /// For connections that speak the protocols `alpn`.
    ///
    /// # Errors
    /// When the files cannot be used; the configuration has tried them.
    pub fn new(files: &Reloadable<TlsFiles>, alpn: &[&[u8]]) -> Result<Self, rustls::Error> {
        let present = files.get();
        let acceptor = present.server_config(alpn)?.into();
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { files: files.clone(), alpn, made: Arc::new(Mutex::new((present, acceptor))) })
    }

    fn acceptor(&self) -> TlsAcceptor {
        let present = self.files.get();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&present, &made.0) {
            let alpn: Vec<&[u8]> = self.alpn.iter().map(Vec::as_slice).collect();
            match present.server_config(&alpn) {
                Ok(config) => made.1 = config.into(),
                // The reload has tried them.
                Err(error) => error!(%error, "the new certificates cannot be used; the old ones stay"),
            }
            made.0 = present;
        }
        made.1.clone()
    }

    /// The stream inside; `None` when the client failed or took too long.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_TIME_LIMIT, self.acceptor().accept(stream)).await {
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
