//! The configuration in unit types, checked. TOML and environment are read in [`load`], views in `view`, `[source]` in
//! `source`, `[http]` in `http` with the files that it names (`tokens`, `tls`), by the typed getters of `section` over the
//! tree of `tree`, in which every value knows its line and column. `notes` is what is worth a word and not wrong.
//!
//! What a reload may exchange while the daemon runs is `reloadable`; `changes` names the rest.
//!
//! Reading never stops at the first mistake: all problems come back at once, each saying what would be right.

mod changes;
mod environment;
mod http;
mod load;
mod notes;
mod problem;
mod recorded;
mod reloadable;
mod section;
mod source;
mod tls;
mod tokens;
mod tree;
mod view;

pub use changes::RELOADED_KEYS;
pub use environment::Environment;
pub use http::{HttpConfig, RateConfig, is_host, listen_address, loopback_address};
pub use load::check_uri;
pub use problem::{Origin, Problem, Problems};
pub use recorded::Recorded;
pub use reloadable::{Login, Reloadable};
pub use tls::{TlsFile, TlsFiles};
pub use tokens::{Digest, Role, Token, digest_of};

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::acquisition::{SignalLimits, SourceKind};
use crate::dsp::{ConditionSpec, Window};
use crate::frame::{Dtype, ValueKind, View};
pub use crate::source::ReplaySpeed;
use crate::units::Rational;

const TENTH: Rational = Rational::new(1, 10).expect("positive");
const TWENTIETH: Rational = Rational::new(1, 20).expect("positive");

/// The ring that daemon and recorder read when they are told nothing, in the folder that `systemd/tmpfiles.d` makes.
pub const DEFAULT_RING: &str = "/dev/shm/fiberd/ring";

/// The ring that the simulator writes when it is told nothing: another one, so that invented data never pass for real.
pub const SIMULATED_RING: &str = "/dev/shm/fiberd-simulated.ring";

/// The site when none is named.
pub const DEFAULT_SITE: &str = "fiber";

/// The site of replayed captures when none is named.
pub const REPLAY_SITE: &str = "replay";

/// Whether `text` can be a name in a routing key.
pub fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Everything a running daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of this fiber: first word of every routing key.
    pub site: String,
    /// Where traces come from.
    pub source: SourceConfig,
    /// How they are captured.
    pub capture: CaptureConfig,
    /// When there is signal.
    pub signal: SignalLimits,
    /// Conditioning and threads of the DSP stage.
    pub processing: ProcessingConfig,
    /// Standing views.
    pub views: Vec<ViewConfig>,
    /// The broker; `None` = publish nowhere.
    pub broker: Option<BrokerConfig>,
    /// The control API.
    pub http: HttpConfig,
    /// Jobs of the control API.
    pub jobs: JobsConfig,
    /// What the configured fiber should look like before the interrogator says so.
    pub fiber: FiberConfig,
    /// Log lines.
    pub log: LogConfig,
}

/// Log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is written.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Fields to the journal when the journal listens, otherwise text.
    #[default]
    Auto,
    /// Text on stderr.
    Text,
    /// One JSON object a line on stderr.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: tracing::Level::INFO, format: LogFormat::Auto }
    }
}

/// Where traces come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// The memory-mapped hardware ring.
    Ring {
        /// The file or device to map.
        path: PathBuf,
        /// Heartbeat older than this means that the producer is gone.
        heartbeat_timeout: Duration,
    },
    /// Captured files as if live.
    Replay {
        /// Files in order of time.
        files: Vec<PathBuf>,
        /// How fast.
        speed: ReplaySpeed,
        /// Begin again at the end, with a new epoch.
        looping: bool,
    },
}

/// The capture thread.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureConfig {
    /// PRR to ask for and to hold the producer to; `None` takes what it declares.
    pub prr: Option<Rational>,
    /// Deviation of the declared or measured PRR that is reported, parts per million.
    pub prr_tolerance_ppm: f64,
    /// Length of a block.
    pub block: Duration,
    /// Blocks in the pool.
    pub pool_blocks: usize,
    /// Core to pin the capture thread to.
    pub cpu: Option<usize>,
    /// `SCHED_FIFO` priority of the capture thread.
    pub realtime_priority: Option<u8>,
    /// Lock the ring in memory.
    pub lock_ring: bool,
}

/// The DSP stage.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessingConfig {
    /// Conditioning of all samples.
    pub condition: ConditionSpec,
    /// Threads of the pool; 0 = one for each core.
    pub threads: usize,
    /// Frames that may wait for the publisher.
    pub egress_frames: usize,
}

/// A standing view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewConfig {
    /// Kind.
    pub view: View,
    /// Name in routing keys and headers, unique.
    pub name: String,
    /// First channel, from 1.
    pub channel_min: usize,
    /// Last channel, inclusive; `None` = the last of the fiber.
    pub channel_max: Option<usize>,
    /// Window length in traces.
    pub nfft: usize,
    /// Window function.
    pub window: Window,
    /// Seconds from line to line.
    pub line_period_s: Rational,
    /// Bands of a waterfall, Hz, both ends included; one stream each.
    pub bands_hz: Vec<(f64, f64)>,
    /// Frequency range of spectra, Hz; `None` = 0…PRR/2.
    pub frequency_range_hz: Option<(f64, f64)>,
    /// What values are.
    pub value: ValueKind,
    /// How values are stored.
    pub dtype: Dtype,
    /// Scale and offset for `u8`.
    pub u8_range: (f32, f32),
    /// Lines in one frame.
    pub lines_per_frame: usize,
    /// Must survive an absent broker once there is a spool.
    pub durable: bool,
}

/// The broker.
#[derive(Clone, PartialEq)]
pub struct BrokerConfig {
    /// `amqp://host:port/vhost` or `amqps://…`, without user and password.
    pub uri: String,
    /// As whom; a connection takes the login that holds when it is made.
    pub login: Reloadable<Login>,
    /// Topic exchange for frames.
    pub frames_exchange: String,
    /// Topic exchange for status.
    pub status_exchange: String,
    /// Topic exchange that commands come from.
    pub commands_exchange: String,
    /// A durable queue for commands, which outlives the daemon; `None` = one of its own, which does not.
    pub commands_queue: Option<String>,
    /// Where commands that are refused go.
    pub dead_letter_exchange: Option<String>,
    /// From so many messages on, a queue that a job watches is deep.
    pub deep_queue_messages: usize,
    /// Unconfirmed frames in flight.
    pub window: usize,
}

/// Jobs of the control API.
#[derive(Clone, Debug, PartialEq)]
pub struct JobsConfig {
    /// Jobs at once.
    pub max_jobs: usize,
    /// Share of real time that the pipeline may need, standing views included.
    pub max_load: f64,
    /// Bytes that jobs may take, about.
    pub memory_bytes: u64,
    /// Bytes of samples that are kept so that jobs begin at once.
    pub history_bytes: usize,
    /// A live job ends after so long without a consumer.
    pub live_idle: Duration,
    /// A job that plays a recording, after so long. Nothing reads it before there are such jobs.
    pub historic_idle: Duration,
    /// What either has more of at its start.
    pub start_grace: Duration,
    /// Ports of their streams.
    pub ports: RangeInclusive<u16>,
    /// The job of commands that name none.
    pub default_job: Option<String>,
}

/// Declared facts. Channels and dtype are used where a client asks while no acquisition is there.
#[derive(Clone, Debug, PartialEq)]
pub struct FiberConfig {
    /// Number of channels.
    pub channels: usize,
    /// Sample dtype name.
    pub dtype: String,
    /// Shown as `fiber_description` of `/live_metadata` while there is signal; empty = what the interrogator says.
    pub description: String,
}

/// A word that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the word over.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerConfig").field("uri", &"<set>").field("login", &self.login).finish_non_exhaustive()
    }
}

impl SourceConfig {
    /// Where traces come from, as far as the configuration knows: a ring may be that of a simulator.
    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::Ring { .. } => SourceKind::Ring,
            Self::Replay { .. } => SourceKind::Replay,
        }
    }
}

impl Config {
    /// Plays captured files instead of what the configuration says of the source. Old data must not pass for live, so
    /// what would go out under the [default site](DEFAULT_SITE) goes out under [`REPLAY_SITE`], unless `site` is given.
    pub fn replay(&mut self, files: Vec<PathBuf>, speed: ReplaySpeed, looping: bool, site: Option<String>) {
        self.source = SourceConfig::Replay { files, speed, looping };
        // A file was taken at its own rate, whatever the interrogator is asked for.
        self.capture.prr = None;
        match site {
            Some(site) => self.site = site,
            None if self.site == DEFAULT_SITE => REPLAY_SITE.clone_into(&mut self.site),
            None => {}
        }
    }
}

impl Config {
    /// What is worth knowing although nothing is wrong, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        notes::notes(self)
    }
}

impl Default for Config {
    /// What `fiberd` does when it is told nothing: the ring of the built-in simulator, one waterfall, two channels.
    fn default() -> Self {
        Self {
            site: DEFAULT_SITE.into(),
            source: SourceConfig::Ring { path: DEFAULT_RING.into(), heartbeat_timeout: Duration::from_secs(1) },
            capture: CaptureConfig::default(),
            signal: SignalLimits::default(),
            processing: ProcessingConfig { condition: ConditionSpec::default(), threads: 0, egress_frames: 256 },
            views: ViewConfig::standing(2337),
            broker: Some(BrokerConfig::default()),
            http: HttpConfig::default(),
            jobs: JobsConfig::default(),
            fiber: FiberConfig { channels: 2337, dtype: "int16".into(), description: String::new() },
            log: LogConfig::default(),
        }
    }
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            max_jobs: 1000,
            max_load: 0.8,
            memory_bytes: 2048 << 20,
            history_bytes: 40 << 20,
            live_idle: Duration::from_secs(30),
            historic_idle: Duration::from_secs(180),
            start_grace: Duration::from_secs(15),
            ports: 12_301..=14_300,
            default_job: None,
        }
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            prr: Rational::new(2000, 1),
            prr_tolerance_ppm: 100.0,
            block: Duration::from_millis(20),
            pool_blocks: 64,
            cpu: None,
            realtime_priority: None,
            lock_ring: false,
        }
    }
}

impl ViewConfig {
    /// The built-in views of a fiber of so many channels: the whole as a waterfall, and two single channels.
    pub fn standing(channels: usize) -> Vec<Self> {
        let (near, far) = (100.min(channels / 10 + 1), 1000.min(channels / 2 + 1));
        vec![Self::waterfall(), Self::single("near", near), Self::single("far", far)]
    }

    /// The waterfall of the whole fiber: energy of 5–200 Hz, 20 lines a second.
    pub fn waterfall() -> Self {
        Self {
            view: View::Waterfall,
            name: "whole-fiber".into(),
            channel_min: 1,
            channel_max: None,
            nfft: 256,
            window: Window::Hann,
            line_period_s: TWENTIETH,
            bands_hz: vec![(5.0, 200.0)],
            frequency_range_hz: None,
            value: ValueKind::Power,
            dtype: Dtype::F32,
            u8_range: (1.0, 0.0),
            lines_per_frame: 1,
            durable: true,
        }
    }
}

impl ViewConfig {
    /// Spectra of one channel: the whole frequency range in decibels, ten lines a second.
    pub fn single(name: &str, channel: usize) -> Self {
        Self {
            view: View::Single,
            name: name.into(),
            channel_min: channel,
            channel_max: Some(channel),
            nfft: 1024,
            line_period_s: TENTH,
            bands_hz: Vec::new(),
            value: ValueKind::Decibel { reference: 1.0 },
            ..Self::waterfall()
        }
    }
}

impl BrokerConfig {
    /// Host and port, for people.
    pub fn address(&self) -> String {
        let rest = self.uri.split_once("://").map_or(self.uri.as_str(), |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default().to_owned()
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            uri: "amqp://127.0.0.1:5672/%2f".into(),
            login: Reloadable::new(Login { username: "guest".into(), password: Secret::new("guest") }),
            frames_exchange: "fiberd.frames".into(),
            status_exchange: "fiberd.status".into(),
            commands_exchange: "baby_analyzer_commands".into(),
            commands_queue: None,
            dead_letter_exchange: None,
            deep_queue_messages: 1000,
            window: 64,
        }
    }
}
