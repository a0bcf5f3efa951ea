//! Which daemon is meant: `http://host:port`, with or without the scheme and a path in front of all routes.

use hyper::Uri;

/// The port of the control API when none is given.
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
        let wrong =
            || format!("{text:?} is not the address of a control API; write http://host:port or https://host:port");
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = whole.parse().map_err(|_| wrong())?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(format!("an address holds neither user nor query; {}", wrong()));
        }
        // The parser lets a port that is none pass.
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => DEFAULT_PORT,
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

    /// As a person reads it.
    pub fn url(&self) -> String {
        format!("http{}://{}{}", if self.https { "s" } else { "" }, self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        let read = |text: &str| Target::parse(text).map(|target| target.url());
        let cases = [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("127.0.0.1:5001", "http://127.0.0.1:5001"),
            ("das.example", "http://das.example:5000"),
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
