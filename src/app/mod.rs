//! Composition root: builds the rooms in order, starts them, waits, and stops them in reverse. The only file that names
//! all the others.
//!
//! Stopping starts at the head: capture ends and drops its sender, each stage drains and drops its own, the publisher
//! flushes its confirms. Closing a queue tells the next part. `supervisor` looks after all threads and tasks.

mod daemon;
mod demo;
mod live;
mod reload;
mod signals;
mod summary;
mod supervisor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::acquisition::Acquisition;
use crate::config::{Config, LogConfig, LogFormat, Recorded, SourceConfig, ViewConfig};
use crate::source::replay::{self, Contents, Replay, Timetable};
use crate::source::ring::{Ring, RingOptions};
use crate::source::synthetic::SceneError;
use crate::source::{Interrogator, Probe, Severity, SourceError};
use crate::status::LogCounters;
use crate::telemetry;

pub use demo::demo;

/// How a run shows itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// Log lines only: a service.
    #[default]
    Log,
    /// The live view: full screen on a terminal, lines elsewhere.
    Live {
        /// Lines even on a terminal.
        plain: bool,
    },
}

/// What a run is told beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// How it shows itself.
    pub show: Show,
    /// End by itself after this time.
    pub run_for: Option<Duration>,
    /// Put built-in views where the fiber at hand has channels: for runs without a configuration.
    pub fit_views: bool,
    /// The file that the configuration came from; `None` = built in.
    pub file: Option<PathBuf>,
    /// Where the control API listens instead of where the configuration says.
    pub listen: Option<SocketAddr>,
    /// SIGHUP reads `file` again; otherwise it stops the daemon: its terminal is gone.
    pub reload: bool,
}

/// What the demo is told.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Where the control API listens; `None` = 127.0.0.1:5000.
    pub http: Option<SocketAddr>,
    /// Do not look for a broker.
    pub no_broker: bool,
    /// Captures to replay in a loop instead of the synthetic interrogator.
    pub replay: Vec<PathBuf>,
    /// Scene of the synthetic interrogator; `None` = the built-in one.
    pub scene: Option<PathBuf>,
    /// End by itself after this time.
    pub run_for: Option<Duration>,
    /// Lines even on a terminal.
    pub plain: bool,
}

/// Why the daemon cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is wrong. Exit code 78.
    #[error("{0}")]
    Config(String),
    /// Something it needs is taken or missing: the port, the device. Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// An input file is not what it should be. Exit code 65.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A replay has come to its end, but files are damaged: so many traces are known to be lost. Exit code 65.
    #[error("{}files are damaged; `fiberd info FILE` says where", lost(*.0))]
    Damaged(u64),
    /// The scene of the demo makes none. Exit code 65.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A stage died. Exit code 70.
    #[error("{0}")]
    Software(String),
    /// The operating system said no. Exit code 74.
    #[error("{what}: {error}")]
    Io {
        /// The deed.
        what: String,
        /// The answer.
        #[source]
        error: std::io::Error,
    },
}

fn lost(traces: u64) -> String {
    match traces {
        0 => String::new(),
        1 => "1 trace is lost because ".into(),
        many => format!("{many} traces are lost because "),
    }
}

impl AppError {
    /// What there is to say of files of which `findings` were told before, and so many `traces` were lost; the verdict is
    /// that of `fiberd info`.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn of_damage(findings: Severity, traces: u64) -> Result<(), Self> {
        if traces > 0 || findings == Severity::Damaged { Err(Self::Damaged(traces)) } else { Ok(()) }
    }

    /// The sysexits code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Unavailable(_) => 69,
            Self::Source(SourceError::Unusable { .. }) | Self::Scene(SceneError::Invalid(_)) | Self::Damaged(_) => 65,
            Self::Software(_) => 70,
            Self::Source(SourceError::Io { .. }) | Self::Scene(SceneError::Io { .. }) | Self::Io { .. } => 74,
        }
    }
}

/// Runs the daemon until a signal, the end of a replay, or a fault.
///
/// # Errors
/// What makes going on impossible; a dark fiber and an absent broker do not.
pub fn run(mut config: Config, options: &RunOptions) -> Result<(), AppError> {
    config.http.listen = options.listen.unwrap_or(config.http.listen);
    // Checked with the file, but `--http` goes over it.
    config.http.exposure().map_err(|text| AppError::Config(format!("http.listen: {text}")))?;
    let (mut source, timetable) = open_source(&config)?;
    if options.fit_views
        && let Probe::Ready(acquisition) = source.probe()?
    {
        config.views = ViewConfig::fitting(acquisition.channels, acquisition.prr);
    }
    daemon::start_and_wait(config, source, timetable, options)
}

/// What captures hold, for the configuration that they are to be played with.
///
/// # Errors
/// When one cannot be read.
pub fn recorded(files: &[PathBuf]) -> Result<Recorded, SourceError> {
    let contents = replay::contents(files)?;
    let name = match files {
        [one] => one.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        _ => "the captures".into(),
    };
    let longest = |epoch: &Contents| epoch.stretches.iter().map(|(from, to)| to - from).max().unwrap_or(0);
    let rates = contents.iter().map(|epoch| epoch.acquisition.prr);
    let fastest = rates.reduce(|a, b| if a.to_f64() < b.to_f64() { b } else { a });
    Ok(Recorded {
        name,
        prr: fastest.unwrap_or(Acquisition::example().prr),
        channels: contents.iter().map(|epoch| epoch.acquisition.channels).max().unwrap_or(1),
        longest_s: contents.iter().map(longest).max().unwrap_or(0) as f64 / 1e9,
    })
}

/// The source, and of a replay when its files begin and end.
fn open_source(config: &Config) -> Result<(Box<dyn Interrogator>, Option<Timetable>), SourceError> {
    Ok(match &config.source {
        SourceConfig::Ring { path, heartbeat_timeout } => {
            let options = RingOptions {
                heartbeat_timeout: *heartbeat_timeout,
                prr_asked: config.capture.prr,
                prr_tolerance_ppm: config.capture.prr_tolerance_ppm,
                lock_memory: config.capture.lock_ring,
                ..RingOptions::new(path)
            };
            (Box::new(Ring::new(options)), None)
        }
        SourceConfig::Replay { files, speed, looping } => {
            let replay = Replay::open(files, *speed, *looping)?;
            let timetable = replay.timetable().clone();
            (Box::new(replay), Some(timetable))
        }
    })
}

fn log_options(log: &LogConfig, counters: Arc<LogCounters>) -> telemetry::Options {
    telemetry::Options {
        level: log.level.to_string(),
        format: match log.format {
            LogFormat::Auto => telemetry::Format::Auto,
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        },
        counters,
        ..telemetry::Options::default()
    }
}
