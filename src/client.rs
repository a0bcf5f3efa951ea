//! Asks a running daemon over its control API, for commands that look at one from outside: requests by HTTP, and sockets
//! for frames, each on a connection of its own, so that nothing of before matters when the daemon comes back. [`status`]
//! makes of an answer what an operator reads. Runs on tokio.

pub mod status;
mod target;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::config::Secret;

pub use target::Target;

/// Longest time from the beginning of a connection to the whole answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// No answer that is asked for here is longer.
const ANSWER_BYTES: usize = 16 << 20;

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at this address.
    #[error("{url} does not answer: {error}")]
    Unreachable {
        /// Whom we tried.
        url: String,
        /// Why.
        error: io::Error,
    },
    /// 401.
    #[error(
        "{url} wants a token: put it into the environment variable FIBERD_TOKEN, or into a file and name that with --token-file"
    )]
    TokenNeeded {
        /// Who wants it.
        url: String,
    },
    /// 403.
    #[error("the token may only look; for this its role must be `control`")]
    RoleNeeded,
    /// Another failure, in the words of the daemon.
    #[error("{0}")]
    Refused(String),
    /// An answer that no fiberd gives.
    #[error("{url} is not a fiberd of this version: {why}")]
    Stranger {
        /// Who it is.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The certificates to trust cannot be used.
    #[error("certificates of authorities: {0}")]
    Certificates(String),
}

/// A socket that frames come from.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a connection is made of.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// See the module.
#[derive(Clone)]
pub struct Client {
    target: Target,
    token: Option<Secret>,
    tls: Option<TlsConnector>,
}

impl Client {
    /// For the daemon `target`, which is shown `token` with each request. `ca`: certificates of authorities, PEM, instead
    /// of those that this host trusts.
    ///
    /// # Errors
    /// When TLS is wanted and no authority can be trusted.
    pub fn new(target: Target, token: Option<Secret>, ca: Option<&[u8]>) -> Result<Self, ClientError> {
        let tls = if target.https { Some(connector(ca).map_err(ClientError::Certificates)?) } else { None };
        Ok(Self { target, token, tls })
    }

    /// Whom it asks, as a person reads it.
    pub fn url(&self) -> String {
        self.target.url()
    }

    /// Status and body of `GET path`, also of refusals.
    ///
    /// # Errors
    /// When there is no answer, or the daemon wants another token.
    pub async fn look(&self, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// The JSON that answers a request. `body` is JSON or empty.
    ///
    /// # Errors
    /// Also when the daemon refuses; then in its words.
    pub async fn json(&self, method: Method, path: &str, body: String) -> Result<Value, ClientError> {
        let (status, answer) = self.ask(method, path, body.into()).await?;
        let json = serde_json::from_slice::<Value>(&answer);
        match json {
            Ok(json) if status.is_success() => Ok(json),
            Ok(json) => Err(refusal(&json, status)),
            Err(_) => Err(self.stranger(format!("{path} answers {status} without JSON"))),
        }
    }

    /// Opens the WebSocket at `path`.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn websocket(&self, path: &str) -> Result<Socket, ClientError> {
        // The key only shows that the server knows the protocol; who is there was seen by the requests before.
        let request = self
            .request(Method::GET, path)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "ZmliZXJkIHdhdGNoIDEyMw==");
        let answer = self.in_time(self.send(request, Bytes::new())).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::Refused(format!("no WebSocket: {}", answer.status())));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| self.unreachable(io::Error::other(error)))?;
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.request(method, path).header(CONNECTION, "close").header(CONTENT_TYPE, "application/json");
        self.in_time(async {
            let answer = self.send(request, body).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| self.stranger(error.to_string()))?;
            Ok((status, body.to_bytes()))
        })
        .await
        .and_then(|(status, body)| match status {
            StatusCode::UNAUTHORIZED => Err(ClientError::TokenNeeded { url: self.url() }),
            StatusCode::FORBIDDEN => Err(ClientError::RoleNeeded),
            _ => Ok((status, body)),
        })
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let uri = format!("{}{path}", self.target.prefix);
        let request = Request::builder().method(method).uri(uri).header(HOST, self.target.authority());
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())),
            None => request,
        }
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = request.body(Full::new(body)).map_err(|error| ClientError::Refused(error.to_string()))?;
        let wire = self.connect().await.map_err(|error| self.unreachable(error))?;
        let handshake = http1::handshake(TokioIo::new(wire)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.unreachable(io::Error::other(error)))?;
        // Ends with the answer, or with the WebSocket.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| {
            if error.is_parse() { self.stranger(error.to_string()) } else { self.unreachable(io::Error::other(error)) }
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port)).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.target.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    async fn in_time<T>(&self, what: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", TIME_LIMIT.as_secs()));
        timeout(TIME_LIMIT, what).await.unwrap_or_else(|_| Err(self.unreachable(late())))
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        ClientError::Unreachable { url: self.url(), error }
    }

    /// What answers is not what was expected.
    pub(crate) fn stranger(&self, why: impl Into<String>) -> ClientError {
        ClientError::Stranger { url: self.url(), why: why.into() }
    }
}

/// `Cannot configure job: PRR is 0; see to the fiber`.
fn refusal(answer: &Value, status: StatusCode) -> ClientError {
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    let words = [text("error").or_else(|| Some(status.to_string())), text("reason"), text("message")];
    ClientError::Refused(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

fn connector(ca: Option<&[u8]>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| "the file is not PEM".to_owned())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there are none; name a file with --ca".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
