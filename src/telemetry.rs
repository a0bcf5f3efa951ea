//! Log lines: what is logged, how it looks, and where it goes.
//!
//! Called once, from the main thread, before any other starts. Under systemd, when stderr is the journal, lines go to
//! the journal with their fields; otherwise to stderr as text or JSON, or to a writer that the caller gives (the demo's
//! terminal view draws them itself). Saying a thing once a change and not once a block is the caller's business.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

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

/// What to log and where.
#[derive(Debug, Default)]
pub struct Options {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives; empty means `info`.
    pub level: String,
    /// How a line looks.
    pub format: Format,
    /// Where lines go instead of stderr.
    pub writer: Option<BoxMakeWriter>,
}

/// Why logging could not begin.
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
}

/// Sets logging up for the whole process.
///
/// # Errors
/// When the level cannot be understood, or logging was set up before.
pub fn init(options: Options) -> Result<(), TelemetryError> {
    let from_environment = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let filter = filter(from_environment.as_deref().unwrap_or(&options.level))?;
    // lapin logs whole returned messages as warnings, and its handshake, password included, as traces; no level may
    // show them. What there is to say about the broker `publish` says in its own words.
    let filter = filter.and(filter_fn(|metadata| !metadata.target().starts_with("lapin")));
    tracing_subscriber::registry().with(lines(options).with_filter(filter)).try_init()?;
    Ok(())
}

/// A bare level is ours alone: of the libraries underneath, warnings are enough.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
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
    EnvFilter::try_new(directives).map_err(|error| refused(error.to_string()))
}

fn lines(options: Options) -> Box<dyn Layer<Registry> + Send + Sync> {
    let to_stderr = options.writer.is_none();
    if to_stderr && options.format == Format::Auto && stderr_is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref())
    {
        // A journal that cannot be reached leaves stderr, which systemd reads as well.
        if let Ok(journal) = tracing_journald::layer() {
            return journal.with_field_prefix(Some("FIBERD".into())).boxed();
        }
    }
    let colours = to_stderr && std::io::stderr().is_terminal();
    let writer = options.writer.unwrap_or_else(|| BoxMakeWriter::new(std::io::stderr));
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    match options.format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Auto | Format::Text => lines.boxed(),
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
    use std::sync::{Arc, Mutex};

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
        let options = Options { level: level.into(), format, writer: Some(BoxMakeWriter::new(move || copy.clone())) };
        let filter = filter(level).unwrap();
        let subscriber = tracing_subscriber::registry().with(lines(options).with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "fiberd::capture", traces = 40, "block");
            tracing::debug!(target: "fiberd::capture", "detail");
            tracing::info!(target: "lapin", "chatter");
            tracing::warn!(target: "lapin", "trouble");
        });
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
}
