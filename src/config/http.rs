//! `[http]`: where the control API listens, who may come in, and how much of it anybody may have.
//!
//! The one rule that ties its keys together: beyond loopback there must be credentials, tokens or a CA whose clients
//! are let in. It is checked here for the file and again at the start, for `--http` goes over the file.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::environment::Environment;
use super::problem::Origin;
use super::reloadable::Reloadable;
use super::section::{Section, quoted};
use super::tls::{TlsFile, TlsFiles};
use super::tokens::{self, Token};

/// Files of tokens and certificates are a few thousand bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The control API.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Where it listens; beyond loopback only with credentials, see [`exposure`](Self::exposure).
    pub listen: SocketAddr,
    /// The name by which clients reach this host, for the addresses that answers hold; `None` = what they asked for.
    pub public_host: Option<String>,
    /// Who may come in; `None` = whoever reaches it.
    pub tokens: Reloadable<Option<Vec<Token>>>,
    /// Certificates; `None` = plain HTTP.
    pub tls: Option<Reloadable<TlsFiles>>,
    /// Origins whose pages may ask, such as `https://das.example`; `*` = every page.
    pub cors_origins: Vec<String>,
    /// What one client may ask.
    pub rates: RateConfig,
    /// Connections at a time.
    pub max_connections: usize,
}

/// What one client may ask in the long run, and at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateConfig {
    /// Requests a second that start or change something; ending is not held back.
    pub configure_per_s: f64,
    /// So many of them at once.
    pub configure_burst: u32,
    /// All other requests a second.
    pub reads_per_s: f64,
    /// So many of them at once.
    pub reads_burst: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            public_host: None,
            tokens: Reloadable::default(),
            tls: None,
            cors_origins: Vec::new(),
            rates: RateConfig { configure_per_s: 50.0, configure_burst: 200, reads_per_s: 2000.0, reads_burst: 4000 },
            max_connections: 512,
        }
    }
}

impl HttpConfig {
    /// Whether it may listen where it wants to.
    ///
    /// # Errors
    /// What is missing, when it can be reached from outside without credentials.
    pub fn exposure(&self) -> Result<(), String> {
        let guarded = self.tokens.get().is_some() || self.tls.as_ref().is_some_and(|tls| tls.get().is_mutual());
        if guarded || self.listen.ip().is_loopback() { Ok(()) } else { Err(unguarded(self.listen)) }
    }
}

fn unguarded(address: SocketAddr) -> String {
    format!(
        "{address} can be reached from outside, and there are no credentials: set tokens_file, or tls_certificate, \
         tls_key and client_ca, or write 127.0.0.1:{}",
        address.port()
    )
}

/// Reads `ADDRESS:PORT`, or `:PORT` for 127.0.0.1. Also used for `--http`.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        format!("{} is not an address and a port; write ADDRESS:PORT, such as 127.0.0.1:5000", quoted(text))
    })
}

/// The same for runs that cannot have credentials.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    let address = listen_address(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{address} can be reached from outside; that needs credentials, and a configuration to name them: write \
         127.0.0.1:{}",
        address.port()
    ))
}

pub(super) fn http(mut s: Section<'_>, default: &HttpConfig, environment: &Environment) -> HttpConfig {
    let listen = match s.text("listen").map(|text| listen_address(&text)) {
        Some(Ok(address)) => address,
        Some(Err(fault)) => {
            s.complain("listen", fault);
            default.listen
        }
        None => default.listen,
    };
    let config = HttpConfig {
        listen,
        public_host: public_host(&mut s),
        tokens: Reloadable::new(tokens(&mut s, environment)),
        tls: tls(&mut s, environment).map(Reloadable::new),
        cors_origins: cors_origins(&mut s),
        rates: rates(&mut s, default.rates),
        max_connections: s.integer("max_connections", default.max_connections, 8..=65_536, "connections"),
    };
    // Credentials that are named but wrong are a problem of their own.
    let named = s.has("tokens_file") || s.has("client_ca");
    if !named && !listen.ip().is_loopback() {
        s.complain("listen", unguarded(listen));
    }
    s.finish();
    config
}

fn rates(s: &mut Section<'_>, default: RateConfig) -> RateConfig {
    let burst = |s: &mut Section<'_>, key, default: u32| {
        s.integer(key, default as usize, 1..=1_000_000, "requests at once") as u32
    };
    let configure_per_s = s.number("rate_configure_per_s", default.configure_per_s, 0.01..=1e6, "requests a second");
    let configure_burst = burst(s, "rate_configure_burst", default.configure_burst);
    let reads_per_s = s.number("rate_reads_per_s", default.reads_per_s, 0.01..=1e6, "requests a second");
    let reads_burst = burst(s, "rate_reads_burst", default.reads_burst);
    RateConfig { configure_per_s, configure_burst, reads_per_s, reads_burst }
}

/// Whether `text` is a name or an address as it stands between `http://` and a port.
pub fn is_host(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = inside {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

fn public_host(s: &mut Section<'_>) -> Option<String> {
    let host = s.text("public_host")?;
    let fits = is_host(&host);
    if !fits {
        s.complain("public_host", format!("{} is no name or address of a host; such as das.example", quoted(&host)));
    }
    fits.then_some(host)
}

fn cors_origins(s: &mut Section<'_>) -> Vec<String> {
    let origins = s.texts("cors_origins").unwrap_or_default();
    for origin in origins.iter().filter(|origin| !is_origin(origin)) {
        let text = format!(
            "{} is not what a browser sends as its origin; write scheme and host in lower case, without a path, such as \
             https://das.example or http://127.0.0.1:8080, or * for every page",
            quoted(origin)
        );
        s.complain("cors_origins", text);
    }
    origins
}

fn is_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
    origin == "*" || (!host.is_empty() && host.bytes().all(plain))
}

/// `Some` when a file is named, even one that could not be read: then nobody comes in.
fn tokens(s: &mut Section<'_>, environment: &Environment) -> Option<Vec<Token>> {
    let path = s.text("tokens_file")?;
    let (name, text) = match read(&path, true, environment) {
        Ok(Some(read)) => read,
        Ok(None) => return Some(Vec::new()),
        Err(fault) => {
            s.complain("tokens_file", fault);
            return Some(Vec::new());
        }
    };
    let Ok(text) = String::from_utf8(text) else {
        s.complain("tokens_file", format!("{} is not UTF-8 text", quoted(&name)));
        return Some(Vec::new());
    };
    let faults = match tokens::parse(&text) {
        Ok(tokens) => return Some(tokens),
        Err(faults) => faults,
    };
    for (line, fault) in faults {
        if line == 0 {
            s.complain("tokens_file", format!("{}: {fault}", quoted(&name)));
        } else {
            s.complain_at(Origin::File { name: name.as_str().into(), line, column: 1 }, fault);
        }
    }
    Some(Vec::new())
}

fn tls(s: &mut Section<'_>, environment: &Environment) -> Option<TlsFiles> {
    let mut named = |file: TlsFile| s.text(file.config_key()).map(|path| (file, path));
    let files = [TlsFile::Certificate, TlsFile::Key, TlsFile::ClientCa].map(&mut named);
    let has = |file: TlsFile| s.has(file.config_key());
    for (file, needs) in [
        (TlsFile::Certificate, TlsFile::Key),
        (TlsFile::Key, TlsFile::Certificate),
        (TlsFile::ClientCa, TlsFile::Certificate),
    ] {
        if has(file) && !has(needs) {
            let words = format!("is of no use without {}; write both, or none", needs.config_key());
            s.complain(file.config_key(), words);
        }
    }
    let [certificate, key, client_ca] = files.map(|named| {
        let (file, path) = named?;
        let content = read(&path, file == TlsFile::Key, environment);
        content.unwrap_or_else(|fault| {
            s.complain(file.config_key(), fault);
            None
        })
    });
    // Whoever wants clients to be known must not get a server that lets all of them in.
    if client_ca.is_none() && has(TlsFile::ClientCa) {
        return None;
    }
    let ((_, certificate), (_, key)) = (certificate?, key?);
    match TlsFiles::from_pem(&certificate, &key, client_ca.as_ref().map(|(_, pem)| pem.as_slice())) {
        Ok(tls) => {
            if let Err(error) = tls.server_config(&[]) {
                let text = format!("certificate, tls_key and client_ca cannot be used together: {error}");
                s.complain(TlsFile::Certificate.config_key(), text);
            }
            Some(tls)
        }
        Err((file, fault)) => {
            s.complain(file.config_key(), fault);
            None
        }
    }
}

/// Name and content of a file; `None` when only the service manager could know it and this is an offline check.
fn read(path: &str, secret: bool, environment: &Environment) -> Result<Option<(String, Vec<u8>)>, String> {
    let Some(path) = environment.resolve(path)? else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", quoted(&path));
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", quoted(&path)));
    }
    // Others must not read it, and neither they nor the group may exchange it.
    if secret && metadata.permissions().mode() & 0o027 != 0 {
        let mode = metadata.permissions().mode() & 0o777;
        return Err(format!("{} is open to others (mode {mode:03o}); chmod it to 600 or 640", quoted(&path)));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", quoted(&path)));
    }
    Ok(Some((path, content)))
}
