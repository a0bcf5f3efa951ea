//! TOML text and environment → [`Config`], every problem at once. The keys, ranges and defaults stand here and nowhere
//! else; `systemd/fiberd.toml` repeats them for people, and a test compares the two.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::environment::Environment;
use super::problem::{Origin, Problem, Problems};
use super::section::{Findings, NumberOrWord, Section, UNKNOWN_KEY, quoted};
use super::{
    BrokerConfig, CaptureConfig, Config, FiberConfig, JobsConfig, LogConfig, LogFormat, Login, ProcessingConfig,
    REPLAY_SITE, Recorded, Reloadable, Secret, SourceConfig, ViewConfig, http, source, tree, view,
};
use crate::acquisition::SignalLimits;
use crate::dsp::{CommonMode, ConditionSpec};
use crate::units::Rational;

/// Highest PRR that makes sense: light needs 10 µs for 1 km of fiber and back.
pub(super) const PRR_RANGE_HZ: std::ops::RangeInclusive<f64> = 0.1..=1_000_000.0;

/// Whatever is larger was given by mistake: a capture, a device.
const MAX_FILE_BYTES: usize = 1 << 20;

impl Config {
    /// Reads the file at `path` and puts `FIBERD__SECTION__KEY` variables over it.
    ///
    /// # Errors
    /// Everything that is wrong, at once; also when the file cannot be read.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, Problems> {
        Self::load_for(path, environment, None)
    }

    /// As [`load`](Self::load); views and processing are held to what was `recorded`, when captures are played, instead of
    /// what the file says of the interrogator.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for(path: &Path, environment: &Environment, recorded: Option<&Recorded>) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let bytes = read_at_most(path, MAX_FILE_BYTES)
            .map_err(|error| Problems::whole(&name, format!("cannot be read: {error}")))?;
        if bytes.len() > MAX_FILE_BYTES {
            let text = format!("is larger than {MAX_FILE_BYTES} bytes; a configuration is a few thousand");
            return Err(Problems::whole(&name, text));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Problems::whole(&name, format!("is not UTF-8 text: byte {at} belongs to no character"))
        })?;
        Self::parse_for(&name, &text, environment, recorded)
    }

    /// As [`load`](Self::load), from text; `name` is what problems call the file.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(name: &str, text: &str, environment: &Environment) -> Result<Self, Problems> {
        Self::parse_for(name, text, environment, None)
    }

    fn parse_for(
        name: &str,
        text: &str,
        environment: &Environment,
        recorded: Option<&Recorded>,
    ) -> Result<Self, Problems> {
        let (config, findings) = read(name, text, environment, recorded);
        let mut problems = findings.problems.into_inner();
        drop_echoes(&mut problems);
        Problems::or(problems, config)
    }

    /// Every key that there is, dotted: `capture.prr_hz`, `view.nfft`.
    pub fn known_keys() -> Vec<String> {
        // All keys are asked for whatever the file says, but a view's only when there is one.
        let (_, findings) = read("", "[[view]]\n", &Environment::default(), None);
        findings.known.into_inner()
    }
}

/// One byte more than `limit` tells the caller that there is more.
fn read_at_most(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(name: &str, text: &str, environment: &Environment, recorded: Option<&Recorded>) -> (Config, Findings) {
    let findings = Findings::default();
    let entries = {
        let mut problems = findings.problems.borrow_mut();
        let mut entries = tree::parse(name, text, &mut problems);
        for (variable, value) in &environment.variables {
            tree::override_with(&mut entries, variable, value, &mut problems);
        }
        entries
    };
    let mut top = Section::new("", String::new(), Origin::Whole(name.into()), &entries, &findings);
    let default = Config::default();
    let site = top.word("site");
    let log = log(top.section("log"));
    let source = source::source(top.section("source"), environment);
    let site = site.unwrap_or_else(|| match source {
        SourceConfig::Ring { .. } => default.site,
        SourceConfig::Replay { .. } => REPLAY_SITE.into(),
    });
    let capture = capture(top.section("capture"), &source, recorded);
    let signal = signal(top.section("signal"));
    let rate = recorded.map_or(capture.prr, |recorded| Some(recorded.prr));
    let processing = processing(top.section("processing"), &default.processing, rate, recorded);
    let (fiber, channels_told) = fiber(top.section("fiber"), default.fiber);
    let limits = view::Limits {
        // Lines of band energy are shown in their own band, and no faster than they come, whatever a view says.
        prr: rate.filter(|_| recorded.is_none_or(|recorded| recorded.band.is_none())),
        channels: recorded.map_or(channels_told.then_some(fiber.channels), |recorded| Some(recorded.channels)),
        recorded,
    };
    let built_in =
        recorded.map_or(default.views, |recorded| ViewConfig::fitting(recorded.channels, recorded.prr, recorded.band));
    let views = top.sections("view").map_or(built_in, |sections| view::views(sections, &limits));
    let broker = broker(top.section("broker"), environment);
    let http = http::http(top.section("http"), &default.http, environment);
    let jobs = jobs(top.section("jobs"));
    top.finish();
    (Config { site, source, capture, signal, processing, views, broker, http, jobs, fiber, log }, findings)
}

/// Below a broken line, keys may have ended up in the wrong section: that they are unknown there says nothing.
fn drop_echoes(problems: &mut Vec<Problem>) {
    let line = |problem: &Problem| match problem.origin {
        Origin::File { line, .. } => Some(line),
        _ => None,
    };
    if let Some(first) = problems.iter().filter(|p| p.text.starts_with(tree::SYNTAX)).filter_map(line).min() {
        problems.retain(|p| !p.text.starts_with(UNKNOWN_KEY) || line(p).is_none_or(|line| line <= first));
    }
}

pub(super) fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

fn log(mut s: Section<'_>) -> LogConfig {
    use tracing::Level;
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let default = LogConfig::default();
    let config = LogConfig {
        level: s.choice("level", default.level, &levels),
        format: s.choice("format", default.format, &formats),
    };
    s.finish();
    config
}

fn capture(mut s: Section<'_>, source: &SourceConfig, recorded: Option<&Recorded>) -> CaptureConfig {
    let default = CaptureConfig::default();
    let prr = match s.number_or_word("prr_hz", PRR_RANGE_HZ, "Hz", "declared") {
        Some(NumberOrWord::Number(hz)) => {
            let exact = Rational::from_f64(hz);
            if exact.is_none() {
                s.complain("prr_hz", format!("{hz} has too many digits for an exact rate; write it in fewer"));
            }
            exact
        }
        Some(NumberOrWord::Word) => None,
        // Written, but wrong: nothing can be held to it.
        None if s.has("prr_hz") => None,
        // A file was taken at its own rate.
        None if matches!(source, SourceConfig::Replay { .. }) || recorded.is_some() => None,
        None => default.prr,
    };
    let block_ms = s.number("block_ms", 20.0, 1.0..=1000.0, "ms");
    // Whatever the interrogator is asked for.
    let prr = prr.filter(|_| recorded.is_none());
    let config = CaptureConfig {
        prr,
        prr_tolerance_ppm: s.number(
            "prr_tolerance_ppm",
            default.prr_tolerance_ppm,
            0.1..=100_000.0,
            "parts per million",
        ),
        block: millis(block_ms),
        pool_blocks: s.integer("pool_blocks", default.pool_blocks, 4..=4096, "blocks"),
        cpu: s.optional_integer("cpu", 0..=1023, "(number of a core)"),
        realtime_priority: s.optional_integer("realtime_priority", 1..=99, "(SCHED_FIFO priority)").map(|p| p as u8),
        lock_ring: s.boolean("lock_ring", default.lock_ring),
    };
    if let Some(prr_hz) = config.prr.map(Rational::to_f64).filter(|hz| hz * block_ms < 1000.0) {
        let pulse_ms = 1000.0 / prr_hz;
        s.complain(
            "block_ms",
            format!(
                "{block_ms} ms are shorter than the {pulse_ms} ms from pulse to pulse; at least one trace must fit"
            ),
        );
    }
    let held_ms = block_ms * config.pool_blocks as f64;
    if held_ms < 100.0 {
        s.complain(
            "pool_blocks",
            format!(
                "{} blocks of {block_ms} ms hold {held_ms} ms; the pool must hold at least 100 ms",
                config.pool_blocks
            ),
        );
    }
    s.finish();
    config
}

fn signal(mut s: Section<'_>) -> SignalLimits {
    let default = SignalLimits::default();
    let limits = SignalLimits {
        no_trace: millis(s.number("no_trace_ms", 500.0, 10.0..=600_000.0, "ms")),
        stall: millis(s.number("stall_ms", 150.0, 1.0..=600_000.0, "ms")),
        dark_power: s.number("dark_power", default.dark_power, 0.0..=1e18, "counts squared"),
        light_factor: s.number("light_factor", default.light_factor, 1.0..=1e6, "times dark_power"),
        dark_hold: millis(s.number("dark_hold_ms", 500.0, 0.0..=600_000.0, "ms")),
    };
    if limits.stall > limits.no_trace {
        let text = format!(
            "a stall of {} ms is longer than no_trace_ms, {} ms, after which the fiber counts as dark; make it shorter",
            limits.stall.as_millis(),
            limits.no_trace.as_millis()
        );
        s.complain("stall_ms", text);
    }
    s.finish();
    limits
}

fn processing(
    mut s: Section<'_>,
    default: &ProcessingConfig,
    prr: Option<Rational>,
    recorded: Option<&Recorded>,
) -> ProcessingConfig {
    let modes = [("keep", CommonMode::Keep), ("mean", CommonMode::Mean), ("median", CommonMode::Median)];
    let condition = ConditionSpec {
        strain_rate: s.boolean("strain_rate", false),
        spatial_difference_channels: s.integer("spatial_difference_channels", 0, 0..=10_000, "channels"),
        common_mode: s.choice("common_mode", CommonMode::Keep, &modes),
        high_pass_hz: s.number("high_pass_hz", 0.0, 0.0..=100_000.0, "Hz"),
    };
    if let Some(nyquist) = prr.map(|prr| prr.to_f64() / 2.0).filter(|nyquist| condition.high_pass_hz >= *nyquist) {
        let text = format!(
            "{} Hz leaves nothing; it must be below {nyquist} Hz, half of {}",
            condition.high_pass_hz,
            recorded.map_or("capture.prr_hz".into(), |recorded| format!("the rate of {}", recorded.name))
        );
        s.complain("high_pass_hz", text);
    }
    let config = ProcessingConfig {
        condition,
        threads: s.integer("threads", default.threads, 0..=1024, "threads"),
        egress_frames: s.integer("egress_frames", default.egress_frames, 1..=65_536, "frames"),
    };
    s.finish();
    config
}

fn broker(mut s: Section<'_>, environment: &Environment) -> Option<BrokerConfig> {
    let default = BrokerConfig::default();
    let enabled = s.boolean("enabled", true);
    let uri = s.text("uri").unwrap_or(default.uri);
    if let Err(text) = check_uri(&uri) {
        s.complain("uri", text);
    }
    let default_login = default.login.get();
    let username = s.text("username").unwrap_or_else(|| default_login.username.clone());
    let password = s.text("password_file").and_then(|path| {
        read_secret(&path, environment).unwrap_or_else(|text| {
            s.complain("password_file", text);
            None
        })
    });
    let password = password.unwrap_or_else(|| default_login.password.clone());
    let config = BrokerConfig {
        uri,
        login: Reloadable::new(Login { username, password }),
        frames_exchange: exchange(&mut s, "frames_exchange", default.frames_exchange),
        status_exchange: exchange(&mut s, "status_exchange", default.status_exchange),
        commands_exchange: exchange(&mut s, "commands_exchange", default.commands_exchange),
        commands_queue: name(&mut s, "commands_queue", "a queue"),
        dead_letter_exchange: name(&mut s, "dead_letter_exchange", "an exchange"),
        deep_queue_messages: s.integer(
            "deep_queue_messages",
            default.deep_queue_messages,
            1..=1_000_000_000,
            "messages",
        ),
        window: s.integer("window", default.window, 1..=4096, "unconfirmed frames"),
    };
    if s.has("password") {
        s.refuse(
            "password",
            "a password has no place in this file or in a variable; put it into a file and name that in password_file",
        );
    }
    s.finish();
    enabled.then_some(config)
}

fn exchange(s: &mut Section<'_>, key: &'static str, default: String) -> String {
    name(s, key, "an exchange").unwrap_or(default)
}

/// The name of something at the broker that is ours.
fn name(s: &mut Section<'_>, key: &'static str, what: &str) -> Option<String> {
    let name = s.text(key)?;
    if name.len() > 255 || name.starts_with("amq.") || name.chars().any(char::is_control) {
        s.complain(
            key,
            format!("{} is no name for {what} of ours; at most 255 bytes, not beginning with amq.", quoted(&name)),
        );
    }
    Some(name)
}

/// Says what is wrong with a broker's address without ever showing it: it may hold a password.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_uri(uri: &str) -> Result<(), String> {
    const RIGHT: &str = "write amqp://HOST:PORT/VHOST or amqps://HOST:PORT/VHOST, such as amqp://127.0.0.1:5672/%2f";
    let rest = uri.strip_prefix("amqp://").or_else(|| uri.strip_prefix("amqps://"));
    let rest = rest.ok_or_else(|| format!("this does not begin with amqp:// or amqps://; {RIGHT}"))?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if rest.contains('@') {
        return Err("user and password stand inside the address; put them into username and password_file".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of [::1] are not those of a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() || uri.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("there is no host in this address; {RIGHT}"));
    }
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err(format!("the port of this address is not a number from 1 to 65535; {RIGHT}"));
    }
    let vhost = rest[authority.len()..].split('?').next().unwrap_or_default().strip_prefix('/');
    if vhost == Some("") {
        return Err("the vhost behind the slash of this address is empty; write %2f for the default one".into());
    }
    if vhost.is_some_and(|vhost| vhost.contains('/')) {
        return Err(format!("a slash inside the vhost must be written %2f; {RIGHT}"));
    }
    Ok(())
}

/// The secret in the file; `None` when only the service manager could know it and this is an offline check.
fn read_secret(path: &str, environment: &Environment) -> Result<Option<Secret>, String> {
    let Some(path) = environment.resolve(path)? else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!("{} cannot be read: {error}; it must hold the password and nothing else", quoted(&path))
    })?;
    let word = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if word.is_empty() || word.contains('\n') {
        return Err(format!("{} must hold one line, the password", quoted(&path)));
    }
    Ok(Some(Secret::new(word)))
}

fn jobs(mut s: Section<'_>) -> JobsConfig {
    let default = JobsConfig::default();
    let seconds = |s: &mut Section<'_>, key, default: Duration| {
        Duration::from_secs_f64(s.number(key, default.as_secs_f64(), 0.0..=86_400.0, "s"))
    };
    let port = |s: &mut Section<'_>, key, default: &u16| {
        s.integer(key, usize::from(*default), 1..=65_535, "(number of a port)") as u16
    };
    let memory_mib = s.integer("memory_mib", (default.memory_bytes >> 20) as usize, 16..=1_048_576, "MiB");
    let history_mib = s.integer("history_mib", default.history_bytes >> 20, 0..=65_536, "MiB");
    let ports = port(&mut s, "first_port", default.ports.start())..=port(&mut s, "last_port", default.ports.end());
    let config = JobsConfig {
        max_jobs: s.integer("max_jobs", default.max_jobs, 0..=100_000, "jobs"),
        max_load: s.number("max_load", default.max_load, 0.0..=1000.0, "times real time"),
        memory_bytes: (memory_mib as u64) << 20,
        history_bytes: history_mib << 20,
        live_idle: seconds(&mut s, "live_idle_s", default.live_idle),
        historic_idle: seconds(&mut s, "historic_idle_s", default.historic_idle),
        start_grace: seconds(&mut s, "start_grace_s", default.start_grace),
        ports,
        default_job: s.word("default_job"),
    };
    if config.ports.is_empty() {
        let (first, last) = (config.ports.start(), config.ports.end());
        s.complain(
            "last_port",
            format!("{last} is less than first_port, {first}; the last port cannot come before the first"),
        );
    }
    s.finish();
    config
}

fn fiber(mut s: Section<'_>, default: FiberConfig) -> (FiberConfig, bool) {
    let types = [("int16", "int16"), ("float32", "float32"), ("iq16", "iq16")];
    let config = FiberConfig {
        channels: s.integer("channels", default.channels, 1..=1_000_000, "channels"),
        dtype: s.choice("dtype", "int16", &types).to_owned(),
        description: s.text("description").unwrap_or(default.description),
    };
    let told = s.has("channels");
    s.finish();
    (config, told)
}
