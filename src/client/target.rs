//! Which daemon is meant: `http://host:port`, with or without the scheme and a path in front of all routes. A URL without a
//! port has that of its scheme, as everywhere.

use std::net::IpAddr;

use hyper::Uri;

/// The port of the control API when neither a scheme nor a port is given.
const DEFAULT_PORT: u16 = 5000;

/// A control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// TLS.
    pub https: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path in front of all routes; empty, or begins with a slash and does not end with one.
    pub prefix: String,
}

impl Target {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not the address of a control API; write HOST:PORT, http://HOST:PORT or https://HOST:PORT"
            )
        };
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = whole.parse().map_err(|_| wrong())?;
        let (https, default_port) = match uri.scheme_str() {
            Some("http") if whole != text => (false, DEFAULT_PORT),
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(format!("an address holds neither user nor query; {}", wrong()));
        }
        // The parser lets a port that is none pass.
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => default_port,
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(wrong)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { https, host: host.to_owned(), port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Host and port as they stand in an address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether what is sent there can be read on its way: no TLS, and not to this host alone.
    pub fn is_open_to_others(&self) -> bool {
        let loopback = self.host.parse().map_or(self.host == "localhost", |address: IpAddr| address.is_loopback());
        !self.https && !loopback
    }

    /// As a person reads it.
    pub fn url(&self) -> String {
        format!("http{}://{}{}", if self.https { "s" } else { "" }, self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_safe_with_tls_and_on_this_host() {
        let open = |text: &str| Target::parse(text).unwrap().is_open_to_others();
        assert!(
            ["localhost:5000", "127.0.0.2", "http://[::1]:5000", "https://das.example"].iter().all(|url| !open(url))
        );
        assert!(["das.example", "http://192.168.1.7:5000"].iter().all(|url| open(url)));
    }

    #[test]
    fn an_address_is_read_as_people_write_it() {
        let read = |text: &str| Target::parse(text).map(|target| target.url());
        let cases = [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("127.0.0.1:5001", "http://127.0.0.1:5001"),
            ("das.example", "http://das.example:5000"),
            ("http://das.example", "http://das.example:80"),
            ("https://das.example", "https://das.example:443"),
            ("https://das.example:443/focus-server/", "https://das.example:443/focus-server"),
            ("http://[::1]:5000/", "http://[::1]:5000"),
        ];
        for (text, url) in cases {
            assert_eq!(read(text).as_deref(), Ok(url), "{text}");
        }
        for text in
            ["", "ftp://x", "http://", "http://user:secret@x:5000", "http://x:99999", "a b", "http://x/?token=1"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
