//! Asks a running daemon over its control API: one GET, one answer. For commands that look at a daemon from outside; so
//! it blocks, and keeps no connection. [`status`] makes of the answer what an operator reads.

pub mod status;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::config::Secret;

/// How long connecting may take, and each wait for a part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers are a few thousand bytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;
/// Headers of an answer.
const MAX_HEADERS: usize = 64;
/// The port of an address that names neither a port nor a scheme.
const DEFAULT_PORT: u16 = 5000;

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no daemon answers at {address}: {why}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system or TLS says.
        why: String,
    },
    /// It asks for a token, or for another one.
    #[error("the daemon refuses access (status {0}): name a file that holds one of its tokens, --token-file FILE")]
    Denied(u16),
    /// Something else answers, or a daemon of another version.
    #[error("what answers at {address} is not a fiberd of this version: {why}")]
    NotFiberd {
        /// Host and port.
        address: String,
        /// What is wrong with the answer.
        why: String,
    },
}

/// The address of a daemon, and the token that it asks for.
pub struct Client {
    host: String,
    port: u16,
    /// Path in front of the routes, without a slash at its end.
    prefix: String,
    tls: Option<Arc<ClientConfig>>,
    token: Option<Secret>,
}

impl Client {
    /// For `url`: `HOST:PORT`, `http://…` or `https://…`. With TLS the daemon's certificate must come from a CA of the
    /// PEM text `ca`, or of the system when there is none.
    ///
    /// # Errors
    /// What is wrong with the address or the CA, in a sentence.
    pub fn new(url: &str, token: Option<Secret>, ca: Option<&[u8]>) -> Result<Self, String> {
        let wrong =
            || format!("{url:?} is no address of a daemon; write HOST:PORT, http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        // Neither a port that is no number nor a user in front of the host.
        let beside = uri.authority().map_or("", |authority| authority.as_str()).strip_prefix(host);
        if beside.is_none_or(|port| !port.is_empty() && uri.port_u16().is_none()) {
            return Err(wrong());
        }
        let (tls, port) = match uri.scheme_str() {
            None => (false, DEFAULT_PORT),
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            Some(_) => return Err(wrong()),
        };
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(port),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls: if tls { Some(tls_config(ca)?) } else { None },
            token,
        })
    }

    /// The body of the answer to `GET path`.
    ///
    /// # Errors
    /// When there is none, or it is no success.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let raw = self.exchange(path).map_err(|error| self.unreachable(&error.to_string()))?;
        let (status, body) = parse(&raw).map_err(|why| self.not_fiberd(why))?;
        match status {
            200 => Ok(body.to_vec()),
            401 | 403 => Err(ClientError::Denied(status)),
            other => Err(self.not_fiberd(format!("it answers {path} with status {other}"))),
        }
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn unreachable(&self, why: &str) -> ClientError {
        ClientError::Unreachable { address: self.address(), why: why.into() }
    }

    fn not_fiberd(&self, why: impl Into<String>) -> ClientError {
        ClientError::NotFiberd { address: self.address(), why: why.into() }
    }

    fn exchange(&self, path: &str) -> io::Result<Vec<u8>> {
        let token = self.token.as_ref().map(|token| format!("authorization: Bearer {}\r\n", token.reveal()));
        let (prefix, address, token) = (&self.prefix, self.address(), token.unwrap_or_default());
        let request = format!("GET {prefix}{path} HTTP/1.0\r\nhost: {address}\r\n{token}\r\n");
        let stream = self.connect()?;
        let Some(tls) = &self.tls else { return ask(stream, &request) };
        let name = ServerName::try_from(self.bare_host().to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        ask(StreamOwned::new(session, stream), &request)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(ErrorKind::NotFound, "this name has no address");
        for address in (self.bare_host(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// An IPv6 address stands in brackets in a URL only.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

fn tls_config(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| "the CA file holds no certificate in PEM")?;
                roots.add(certificate).map_err(|error| format!("the CA cannot be used: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there is no CA to check the daemon's certificate with: name one, --ca FILE".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Everything that comes until the other side closes, which HTTP/1.0 ends an answer by.
fn ask(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut raw = Vec::new();
    match stream.take(MAX_ANSWER_BYTES).read_to_end(&mut raw) {
        // TLS closed without its closing message: the length in the header says whether the answer is whole.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !raw.is_empty() => Ok(raw),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(io::Error::new(ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs())))
        }
        Err(error) => Err(error),
        Ok(_) => Ok(raw),
    }
}

/// Status code and whole body of an answer.
fn parse(raw: &[u8]) -> Result<(u16, &[u8]), &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = answer.parse(raw) else {
        return Err("its answer is not HTTP");
    };
    let body = &raw[head_bytes..];
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return Err("its answer ends in the middle");
    }
    Ok((answer.code.unwrap_or(0), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let parts = |url: &str| Client::new(url, None, None).map(|c| (c.host, c.port, c.prefix, c.tls.is_some()));
        let plain = |host: &str, port, prefix: &str| Ok((host.into(), port, prefix.into(), false));
        assert_eq!(parts("127.0.0.1:5001"), plain("127.0.0.1", 5001, ""));
        assert_eq!(parts("das.example"), plain("das.example", 5000, ""));
        assert_eq!(parts("http://das.example/focus-server/"), plain("das.example", 80, "/focus-server"));
        assert_eq!(parts("http://[::1]:5000"), plain("[::1]", 5000, ""));
        for wrong in ["", "http://", "ftp://das.example", "das.example:x", "me@das.example", "das example"] {
            assert!(parts(wrong).is_err_and(|text| text.contains("HOST:PORT")), "{wrong}");
        }
        let no_ca = Client::new("https://das.example", None, Some(b"no certificate"));
        assert!(no_ca.is_err_and(|text| text.contains("CA")));
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        let whole = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole), Ok((200, &b"{}"[..])));
        assert_eq!(parse(&whole[..whole.len() - 1]), Err("its answer ends in the middle"));
        assert_eq!(parse(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), Ok((401, &b""[..])));
        for noise in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200"] {
            assert_eq!(parse(noise), Err("its answer is not HTTP"));
        }
    }
}
