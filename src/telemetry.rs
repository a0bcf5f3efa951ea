//! Log lines: what is logged, how it looks, and where it goes.
//!
//! Set up once, from the main thread, before any other starts. Every line goes through one bounded queue that nobody
//! waits for, written out by `das-log` ([`queue`]): to the journal with its fields when stderr is the journal ([`journal`]),
//! otherwise to stderr as text or JSON, or to a writer that the caller gives (the live view draws lines itself). Panics
//! go the same way. Saying a thing once a change and not once a block is the caller's business; a change that may come
//! often is said through a [`Throttle`].

mod journal;
mod queue;
mod throttle;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, warn};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, reload};

use self::journal::{Datagram, Journal};
use self::queue::Queue;
pub use self::queue::Sink;
pub use self::throttle::{Throttle, and_more};
use crate::status::LogCounters;

/// Overrides [`Options::level`]: a level, or tracing's directives such as `info,fiberd::capture=debug`.
pub const LEVEL_VARIABLE: &str = "FIBERD_LOG";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The journal when stderr is the journal, text otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much of the time stands in a line. Always UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Date and time to the microsecond, RFC 3339: for files and pipes.
    #[default]
    Full,
    /// `HH:MM:SS`: for a screen.
    OfDay,
}

impl FormatTime for Times {
    fn format_time(&self, to: &mut format::Writer<'_>) -> std::fmt::Result {
        let now = jiff::Timestamp::now();
        match self {
            Self::Full => write!(to, "{now:.6}"),
            Self::OfDay => write!(to, "{}", now.strftime("%H:%M:%S")),
        }
    }
}

/// What to log and where.
#[derive(Default)]
pub struct Options {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives; empty means `info`.
    pub level: String,
    /// How a line looks.
    pub format: Format,
    /// Where lines go instead of stderr.
    pub writer: Option<Sink>,
    /// The time in a line.
    pub times: Times,
    /// Where lost lines are counted.
    pub counters: Arc<LogCounters>,
}

/// Why logging could not begin or change.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Neither a level nor directives.
    #[error("log level {level:?}: {why}; write error, warn, info, debug or trace, or e.g. info,fiberd::capture=debug")]
    Level {
        /// What was written.
        level: String,
        /// What is wrong with it.
        why: String,
    },
    /// Logging is set up once for each process.
    #[error("logging was already set up: {0}")]
    Twice(#[from] TryInitError),
    /// The system gives no thread.
    #[error("starting das-log: {0}")]
    Thread(#[from] io::Error),
    /// The level is gone with the subscriber; cannot happen in a running daemon.
    #[error("the level cannot be changed: {0}")]
    Fixed(#[from] reload::Error),
}

/// The log of this process, once it is set up.
pub struct Logging {
    queue: Queue,
    level: Level,
    ended: Option<oneshot::Receiver<()>>,
}

/// Changes the level of a log that runs. Cheap to clone.
#[derive(Clone)]
pub struct Level {
    filter: reload::Handle<Targets, Registry>,
    from_environment: bool,
}

impl Level {
    /// Logs from `level` on; `false` when [`LEVEL_VARIABLE`] is set, which stands above it.
    ///
    /// # Errors
    /// When the level cannot be understood.
    pub fn set(&self, level: &str) -> Result<bool, TelemetryError> {
        if !self.from_environment {
            self.filter.reload(filter(level)?)?;
        }
        Ok(!self.from_environment)
    }
}

impl Logging {
    /// To change the level.
    pub fn level(&self) -> Level {
        self.level.clone()
    }

    /// Closes when `das-log` ends, which it must not do before the process. To be taken once.
    pub fn take_ended(&mut self) -> Option<oneshot::Receiver<()>> {
        self.ended.take()
    }

    /// Waits until the lines so far are written out, but not longer than `limit`; whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.flush(limit)
    }
}

/// Sets logging up for the whole process.
///
/// # Errors
/// When the level cannot be understood, logging was set up before, or the system gives no thread.
pub fn init(options: Options) -> Result<Logging, TelemetryError> {
    let from_environment = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let first = filter(from_environment.as_deref().unwrap_or(&options.level))?;
    let (filter, handle) = reload::Layer::new(first);
    // lapin logs whole returned messages as warnings, and its handshake, password included, as traces; no level may
    // show them. What there is to say about the broker `publish` says in its own words.
    let filter = filter.and(filter_fn(|metadata| !metadata.target().starts_with("lapin")));
    let (lines, queue, ended) = lines(options)?;
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    let level = Level { filter: handle, from_environment: from_environment.is_some() };
    Ok(Logging { queue, level, ended: Some(ended) })
}

/// From here on a panic is a line of the log. The hook of the standard library would hold a dying thread up in front of
/// a reader of stderr that stands still, and nobody would notice that it dies.
pub fn panics_are_logged() {
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current();
        error!(thread = thread.name().unwrap_or("?"), at, "panicked: {}{trace}", words_of_panic(panic.payload()));
    }));
}

/// What a panic says.
pub fn words_of_panic(payload: &dyn Any) -> &str {
    let words =
        payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    words.unwrap_or("no words")
}

/// A bare level is ours alone: of the libraries underneath, warnings are enough.
fn filter(level: &str) -> Result<Targets, TelemetryError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = if level.is_empty() { "info" } else { level };
    let word = level.to_ascii_lowercase();
    let refused = |why: String| TelemetryError::Level { level: level.to_owned(), why };
    let directives = match LEVELS.iter().position(|&known| known == word) {
        Some(0 | 1) => word,
        Some(_) => format!("warn,fiberd={word}"),
        // Tracing would take a mistyped level for the name of a module, and log nothing.
        None if !level.contains(['=', ',']) => return Err(refused("no such level".into())),
        None => level.to_owned(),
    };
    directives.parse::<Targets>().map_err(|error| refused(error.to_string()))
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

fn lines(options: Options) -> io::Result<(Lines, Queue, oneshot::Receiver<()>)> {
    let Options { format, writer, times, counters, .. } = options;
    let to_stderr = writer.is_none();
    let to_journal =
        to_stderr && format == Format::Auto && stderr_is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    // A journal that cannot be reached leaves stderr, which systemd reads as well.
    let journal = to_journal.then(|| Journal::new(journal::SOCKET).ok()).flatten();
    if let Some(journal) = journal {
        let (queue, ended) = Queue::start(Box::new(journal), counters, tell_lost)?;
        let layer = fmt::layer().event_format(Datagram).with_writer(queue.clone()).with_ansi(false).boxed();
        return Ok((layer, queue, ended));
    }
    let colours = to_stderr && io::stderr().is_terminal();
    let (queue, ended) = Queue::start(writer.unwrap_or_else(stderr), counters, tell_lost)?;
    let lines = fmt::layer().with_timer(times).with_writer(queue.clone()).with_ansi(colours);
    let layer = match format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Auto | Format::Text => lines.boxed(),
    };
    Ok((layer, queue, ended))
}

fn tell_lost(lines: u64) {
    warn!(lines, "log lines were lost before this one: whoever reads the log was too slow");
}

/// A handle of its own: whoever waits in it must not hold the lock of the standard library's stderr.
fn stderr() -> Sink {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        Err(_) => Box::new(io::stderr()),
    }
}

/// systemd sets `JOURNAL_STREAM=device:inode`; a stderr redirected elsewhere no longer matches.
fn stderr_is_journal(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: Format) -> String {
        let sink = Lines::default();
        let copy = sink.clone();
        let options = Options { format, writer: Some(Box::new(copy)), ..Options::default() };
        let filter = filter(level).unwrap();
        let (lines, queue, _ended) = lines(options).unwrap();
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "fiberd::capture", traces = 40, "block");
            tracing::debug!(target: "fiberd::capture", "detail");
            tracing::info!(target: "lapin", "chatter");
            tracing::warn!(target: "lapin", "trouble");
        });
        assert!(queue.flush(Duration::from_secs(60)));
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_bare_level_is_ours_and_libraries_only_warn() {
        let lines = logged("", Format::Text);
        assert!(lines.contains("block") && lines.contains("trouble"), "{lines}");
        assert!(!lines.contains("detail") && !lines.contains("chatter"), "{lines}");
        assert!(logged("DEBUG", Format::Text).contains("detail"));
        assert!(logged("lapin=info", Format::Text).contains("chatter"), "directives are taken as they are");
        assert_eq!(logged("off", Format::Text), "");
    }

    #[test]
    fn json_lines_carry_their_fields() {
        let lines = logged("info", Format::Json);
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&first["message"], &first["traces"]), (&"block".into(), &40.into()));
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for level in ["fiberd=loud", "inof"] {
            let error = filter(level).unwrap_err().to_string();
            assert!(error.contains(level) && error.contains("debug"), "{error}");
        }
    }

    #[test]
    fn only_the_very_stream_counts_as_the_journal() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        assert!(stderr_is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!stderr_is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino + 1))));
        assert!(!stderr_is_journal(Some("nonsense")) && !stderr_is_journal(None));
    }

    #[test]
    fn a_screen_shows_the_time_of_day_and_a_file_the_whole() {
        let shown = |times: Times| {
            let mut text = String::new();
            times.format_time(&mut format::Writer::new(&mut text)).unwrap();
            text
        };
        assert_eq!((shown(Times::OfDay).len(), shown(Times::OfDay).matches(':').count()), (8, 2));
        let full = shown(Times::Full);
        assert!(full.len() == "2026-11-28T20:03:42.123456Z".len() && full.ends_with('Z'), "{full}");
    }

    #[test]
    fn the_level_of_a_log_that_runs_can_be_changed() {
        let sink = Lines::default();
        let (layer, handle) = reload::Layer::new(filter("info").unwrap());
        let options = Options { writer: Some(Box::new(sink.clone())), ..Options::default() };
        let (lines, queue, _ended) = lines(options).unwrap();
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(layer));
        let level = Level { filter: handle.clone(), from_environment: false };
        tracing::subscriber::with_default(subscriber, || {
            let say = |text: &str| tracing::debug!(target: "fiberd::capture", "{text}");
            say("before");
            assert!(level.set("debug").unwrap());
            say("meanwhile");
            assert!(level.set("loud").is_err(), "a wrong level changes nothing");
            say("still");
            assert!(level.set("info").unwrap());
            say("after");
            assert!(!Level { filter: handle, from_environment: true }.set("debug").unwrap());
            say("environment");
        });
        assert!(queue.flush(Duration::from_secs(60)));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let said = ["before", "meanwhile", "still", "after", "environment"].map(|word| text.contains(word));
        assert_eq!(said, [false, true, true, false, false], "{text}");
    }
}
