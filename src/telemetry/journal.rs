//! The journal's own protocol: one datagram an event, one `KEY=value` a line. Priority, place in the code and spans go
//! beside the message, each field of the event as `FIBERD_NAME`, and all of them once more behind the message, because
//! `journalctl` shows nothing else.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest value that is sent, so that a datagram fits into a socket's buffer.
const VALUE_BYTES: usize = 16 << 10;

/// Sends each line that is written as one datagram. May wait, so only `das-log` has it.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// To the journal that listens at `path`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let (socket, path) = (UnixDatagram::unbound()?, path.into());
        // Says whether anybody listens; the journal ignores a datagram without fields.
        socket.send_to(&[], &path)?;
        Ok(Self { socket, path })
    }
}

impl Write for Journal {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // By address each time: a journal that was restarted has another socket there.
        self.socket.send_to(event, &self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats an event as a datagram.
pub(super) struct Datagram;

impl<S, N> FormatEvent<S, N> for Datagram
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        let priority = match *about.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 6,
            Level::TRACE => 7,
        };
        writeln!(to, "PRIORITY={priority}\nSYSLOG_IDENTIFIER=fiberd\nTARGET={}", about.target())?;
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            writeln!(to, "CODE_FILE={file}\nCODE_LINE={line}")?;
        }
        let thread = std::thread::current();
        writeln!(to, "FIBERD_THREAD={}", thread.name().unwrap_or_default())?;
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let inside = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            let text = format!("{}{{{inside}}}", span.name());
            field(&mut fields.each, "FIBERD_SPAN", &text)?;
            write!(fields.behind, " {text}")?;
        }
        event.record(&mut fields);
        to.write_str(&fields.each)?;
        let mut message = String::new();
        field(&mut message, "MESSAGE", &(fields.message + &fields.behind))?;
        to.write_str(&message)
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    /// As they stand behind the message.
    behind: String,
    /// As lines of their own.
    each: String,
}

impl Fields {
    fn record(&mut self, name: &str, value: &str) {
        if name == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        let key: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        // A String takes everything.
        let _ = field(&mut self.each, &format!("FIBERD_{key}"), value);
        let _ = write!(self.behind, " {name}={value}");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, at: &Field, value: &dyn Debug) {
        self.record(at.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, at: &Field, value: &str) {
        self.record(at.name(), value);
    }
}

/// One `KEY=value`. A line break would begin another field, and text from outside must not: it becomes a space.
fn field(to: &mut String, key: &str, value: &str) -> fmt::Result {
    let mut end = value.len().min(VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    write!(to, "{key}=")?;
    to.extend(value[..end].chars().map(|c| if c == '\n' || c == '\0' { ' ' } else { c }));
    to.write_char('\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::fmt::layer;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn an_event_is_one_datagram_whose_fields_nobody_can_forge() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert!(Journal::new(&path).is_err(), "nobody listens");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::new(&path).unwrap();
        let mut buffer = vec![0; 1 << 20];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 0);

        let (queue, _alive) =
            super::super::queue::Queue::start(Box::new(journal), std::sync::Arc::default(), |_| ()).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(layer().event_format(Datagram).with_writer(queue).with_ansi(false));
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::error_span!("request", id = "7-a").entered();
            tracing::warn!(
                prr_hz = 2000,
                why = "x\nPRIORITY=0",
                long = "y".repeat(1 << 20),
                "no light\nMESSAGE=forged"
            );
        });
        let length = listener.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let values = |key: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
        };
        assert_eq!(values("PRIORITY"), ["4"]);
        assert_eq!(values("FIBERD_PRR_HZ"), ["2000"]);
        assert_eq!(values("FIBERD_WHY"), ["x PRIORITY=0"]);
        assert_eq!(values("FIBERD_SPAN"), ["request{id=\"7-a\"}"]);
        let message = values("MESSAGE");
        assert!(message.len() == 1 && message[0].starts_with("no light MESSAGE=forged "), "{message:?}");
        assert!(message[0].contains("prr_hz=2000") && text.ends_with('\n') && length < 64 << 10);
    }
}
