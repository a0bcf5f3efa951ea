//! One connection to the broker, from the first packet to the last. The only file that knows how lapin connects.
//!
//! lapin runs a thread per connection that lives as long as its socket: a hanging handshake or a connection blocked by
//! an alarm would keep the thread and all it has queued. So we hold a handle of the socket ourselves, and when a
//! [`Link`] is dropped, for whatever reason, the socket is shut and everything behind it ends.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AsyncTcpStream, TLSConfig};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event, ExchangeKind};
use tokio::time::timeout;

use super::refusal;
use crate::config::BrokerConfig;

/// For TCP, TLS and the AMQP handshake; and again for channel and exchanges.
const CONNECT: Duration = Duration::from_secs(5);
/// For the farewell.
const CLOSE: Duration = Duration::from_secs(2);
/// Asked of the broker, which then says something every 2 s. lapin looks for silence every half of a heartbeat and gives
/// a peer up that was silent for two: a frozen broker is noticed 6 to 10 s after it froze, by every connection of ours,
/// whether messages are under way or not. The broker in turn gives us up after two.
const HEARTBEAT_S: u16 = 4;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The broker is absent, broken or does not answer: tried again soon.
    #[error("{0}")]
    Away(String),
    /// The broker does not accept what the configuration says: tried again slowly, a person has to act.
    #[error("{text}")]
    Refused {
        /// In the broker's words, for the log: they may name users and hosts.
        text: String,
        /// In words for everybody.
        plain: String,
    },
    /// A message that the broker takes for impossible, most likely too large: sent again it would fail again.
    #[error("{0}")]
    Impossible(String),
}

impl Fault {
    /// A refusal in the broker's words.
    pub(super) fn refused(text: String) -> Self {
        Self::Refused { plain: refusal::plain(&text), text }
    }

    /// The configuration is wrong, in words for everybody.
    fn wrong(plain: &str) -> Self {
        Self::Refused { text: plain.into(), plain: plain.into() }
    }

    /// Why something could not be declared. What exists already as something else is for a person to choose.
    pub(super) fn of_declaration(error: lapin::Error) -> Self {
        match Self::from(error) {
            Self::Impossible(text) => Self::refused(text),
            other => other,
        }
    }

    /// Whether it says more than that the connection is gone.
    pub(super) const fn is_specific(&self) -> bool {
        !matches!(self, Self::Away(_))
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        let text = error.to_string();
        match error.kind() {
            ErrorKind::ProtocolError(protocol) => match protocol.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Self::Impossible(text),
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
                | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::COMMANDINVALID) => Self::refused(text),
                _ => Self::Away(text),
            },
            // What rustls says about certificates.
            ErrorKind::IOError(io) if io.kind() == io::ErrorKind::InvalidData => Self::refused(text),
            ErrorKind::AuthProviderError(_) => Self::refused(text),
            _ => Self::Away(text),
        }
    }
}

/// A connection with its channel in confirm mode and both exchanges declared.
pub(super) struct Link {
    // Dropped first: ends lapin's thread whatever state it is in.
    _socket: SocketGuard,
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    pub(super) events: Events,
}

/// What happens to a connection and its channels.
pub(super) type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

impl Link {
    /// Connects and makes everything ready, or says why not, within 10 s.
    pub(super) async fn open(config: &BrokerConfig, site: &str) -> Result<Self, Fault> {
        let (socket, uri) = (SocketGuard::default(), with_credentials(config)?);
        let late = |_| Fault::Away("no answer within 5 s".into());
        let connection = timeout(CONNECT, connect(uri, site, Arc::clone(&socket.0))).await.map_err(late)??;
        let events = Box::pin(connection.events_listener());
        let channel = timeout(CONNECT, prepare(&connection, config)).await.map_err(late)??;
        Ok(Self { _socket: socket, connection, channel, events })
    }

    /// Says farewell, for at most 2 s.
    pub(super) async fn close(self) {
        // Nothing depends on the answer: every message is confirmed or counted already.
        let _ = timeout(CLOSE, self.connection.close(200, "fiberd stops".into())).await;
    }
}

/// Whether both still work after an event. One may be about a channel of others, which is theirs to bear.
pub(super) fn heard(event: Option<Event>, connection: &Connection, channel: &Channel) -> Result<(), Fault> {
    let is_usable = connection.status().connected() && channel.status().connected();
    match event {
        Some(Event::Error(error)) if !is_usable => Err(error.into()),
        Some(_) => Ok(()),
        None => Err(Fault::Away("the connection has ended".into())),
    }
}

/// A channel on which the broker confirms what is published.
pub(super) async fn confirming(connection: &Connection) -> Result<Channel, Fault> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// `host:port/vhost` for logs; never more of the URI than that.
pub(super) fn place(config: &BrokerConfig) -> String {
    config.uri.parse::<AMQPUri>().map_or_else(
        |_| "an address that cannot be read".into(),
        |uri| format!("{}:{}/{}", host(&config.uri, &uri), uri.authority.port, uri.vhost.trim_start_matches('/')),
    )
}

/// The host, also when it is an IPv6 address in brackets, which the URI parser takes for `localhost`.
fn host(text: &str, uri: &AMQPUri) -> String {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or_else(|| uri.authority.host.clone(), |(address, _)| address.into())
}

fn with_credentials(config: &BrokerConfig) -> Result<AMQPUri, Fault> {
    // The parser's own words could repeat the URI, and that may hold what nobody should read.
    let wrong = || Fault::wrong("the broker's URI cannot be read: it should be amqp://host:port/vhost");
    let mut uri: AMQPUri = config.uri.parse().map_err(|_| wrong())?;
    // lapin panics on longer ones.
    let vhost = ShortString::try_new(uri.vhost.clone());
    vhost.map_err(|_| Fault::wrong("the vhost has more than 255 bytes"))?;
    uri.authority.host = host(&config.uri, &uri);
    let login = config.login.get();
    uri.authority.userinfo.username.clone_from(&login.username);
    uri.authority.userinfo.password = login.password.reveal().into();
    uri.query.heartbeat = Some(HEARTBEAT_S);
    Ok(uri)
}

async fn connect(uri: AMQPUri, site: &str, slot: Arc<Mutex<Slot>>) -> Result<Connection, lapin::Error> {
    let properties = ConnectionProperties::default()
        .with_connection_name(format!("fiberd {site}").into())
        .with_client_property("product".into(), "fiberd".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let runtime = lapin::runtime::default_runtime()?;
    // The same runtime comes back as an argument, but only this one has a type that can be told.
    let reactor = runtime.clone();
    let connector = async move |uri: AMQPUri, _| {
        let host = uri.authority.host.clone();
        let open = async {
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), uri.authority.port)).await?.collect();
            let stream = AsyncTcpStream::connect(&reactor, addresses).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                keep(&slot, plain.get_ref().as_fd().try_clone_to_owned()?)?;
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => stream.into_tls(&host, TLSConfig::default()).await,
            }
        };
        // lapin's thread waits for this: without a limit it would wait for a black hole for minutes.
        let opened = timeout(CONNECT, open).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(lapin::Error::from)
    };
    Connection::connector(uri, runtime, connector, properties).await
}

async fn prepare(connection: &Connection, config: &BrokerConfig) -> Result<Channel, Fault> {
    let channel = confirming(connection).await?;
    for name in [&config.frames_exchange, &config.status_exchange] {
        let long = |_| Fault::wrong("the name of an exchange has more than 255 bytes");
        let exchange = ShortString::try_new(name.as_str()).map_err(long)?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default()).await;
        declared.map_err(Fault::of_declaration)?;
    }
    Ok(channel)
}

/// The socket of a connection that is being made or is there.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Open(TcpStream),
    GivenUp,
}

#[derive(Default)]
struct SocketGuard(Arc<Mutex<Slot>>);

/// Puts a fresh socket under guard; an error when nobody waits for it any more.
fn keep(slot: &Mutex<Slot>, socket: OwnedFd) -> io::Result<()> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*slot, Slot::GivenUp) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    *slot = Slot::Open(socket.into());
    Ok(())
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Open(socket) = std::mem::replace(&mut *slot, Slot::GivenUp) {
            // Already shut by the peer: all the better.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
