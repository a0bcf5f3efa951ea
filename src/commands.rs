//! What each command does: arguments → one call into the library → an exit code and a sentence. No logic of its own.

mod captures;
mod client;
mod watch;

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use fiberd::app::{self, AppError, DemoOptions, RunOptions, Show};
use fiberd::bench::{self, BenchError, BenchOptions, Broker, Case};
use fiberd::cli;
use fiberd::config::{BrokerConfig, Config, DEFAULT_RING, Environment, Problems, ReplaySpeed, SourceConfig};
use fiberd::record::{self, Progress};
use fiberd::source::replay::{self, Replay};
use fiberd::source::ring::{Ring, RingError, RingOptions};
use fiberd::source::synthetic::{self, Scene, SceneError, SceneSource, SimulateError, SimulateOptions};
use fiberd::source::{Interrogator, Severity, SourceError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use captures::{export, info};
pub(crate) use client::status;
pub(crate) use watch::watch;

/// How long the last sign of progress may take to be taken away.
const METER_GRACE: Duration = Duration::from_secs(1);

/// Why a command ends with another code than 0.
pub(crate) struct Failure {
    /// sysexits.
    pub(crate) code: u8,
    /// For stderr; may have several lines.
    pub(crate) text: String,
}

impl Failure {
    fn new(code: u8, text: impl Display) -> Self {
        Self { code, text: format!("fiberd: {text}") }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Source(error) => error.into(),
            other => Self::new(other.exit_code(), &other),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let code = match &error {
            SourceError::Unusable { .. } => 65,
            SourceError::Io { error, .. } if error.kind() == ErrorKind::NotFound => 66,
            SourceError::Io { .. } => 74,
        };
        Self::new(code, error)
    }
}

impl From<SceneError> for Failure {
    fn from(error: SceneError) -> Self {
        Self::new(if matches!(error, SceneError::Io { .. }) { 74 } else { 65 }, error)
    }
}

impl From<SimulateError> for Failure {
    fn from(error: SimulateError) -> Self {
        match error {
            SimulateError::Scene(error) => error.into(),
            SimulateError::Ring(error @ RingError::Io { .. }) => Self::new(74, error),
            SimulateError::Ring(error @ RingError::Spec(_)) => Self::new(65, error),
            SimulateError::Ring(error @ RingError::Taken { .. }) => Self::new(69, error),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let code = match &error {
            BenchError::Wrong(_) => 64,
            BenchError::NoBroker(_) => 69,
            BenchError::Failed(_) | BenchError::Stopped => 70,
            BenchError::Io { .. } => 74,
        };
        Self::new(code, error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self { code: 78, text: problems.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(74, error)
    }
}

/// A configuration that is not there is a missing input; one that is wrong is a wrong configuration.
fn must_be_there(path: &Path) -> Result<(), Failure> {
    match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::new(66, format_args!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn load(path: &Path, environment: &Environment) -> Result<Config, Failure> {
    must_be_there(path)?;
    let mut config = Config::load(path, environment)?;
    // Views are held to what there is to play, as far as it is there.
    if let SourceConfig::Replay { files, .. } = &config.source {
        match app::recorded(files) {
            Ok(recorded) => config.views = Config::load_for(path, environment, Some(&recorded))?.views,
            Err(SourceError::Io { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(config)
}

/// Asks for SIGTERM when the parent ends; `false` when it is gone already.
fn end_with_parent() -> io::Result<bool> {
    // Asked for before the parent is looked at, so that one that is gone already is noticed as well.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    Ok(rustix::process::getppid().is_some_and(|parent| !rustix::process::Pid::is_init(parent)))
}

pub(crate) fn run(args: &cli::Run) -> Result<(), Failure> {
    if args.with_parent && !end_with_parent()? {
        return Ok(());
    }
    let config = load(&args.config, &Environment::of_process())?;
    let options = RunOptions {
        run_for: args.run_for,
        file: Some(args.config.clone()),
        listen: args.http,
        reload: true,
        ..RunOptions::default()
    };
    Ok(app::run(config, &options)?)
}

pub(crate) fn demo(args: &cli::Demo) -> Result<(), Failure> {
    all_there(args.replay.iter().chain(&args.scene))?;
    let options = DemoOptions {
        http: args.http,
        no_broker: args.no_broker,
        replay: args.replay.clone(),
        scene: args.scene.clone(),
        run_for: args.run_for,
        plain: args.plain,
    };
    Ok(app::demo(&options)?)
}

pub(crate) fn check_config(args: &cli::CheckConfig) -> Result<(), Failure> {
    let config = load(&args.file, &Environment::of_process().offline())?;
    let source = match &config.source {
        SourceConfig::Ring { path, .. } => format!("ring {}", path.display()),
        SourceConfig::Replay { files, .. } => format!("replay of {} file(s)", files.len()),
    };
    let broker = if config.broker.is_some() { "published to the broker" } else { "not published (no broker)" };
    let views = config.views.len();
    let file = args.file.display();
    for note in config.notes() {
        say(format_args!("{file}: note: {note}"))?;
    }
    say(format_args!("{file}: nothing wrong: {source}, {views} view(s), {broker}"))
}

pub(crate) fn simulate(args: &cli::Simulate) -> Result<(), Failure> {
    all_there(&args.scene)?;
    let stop = stop_flag()?;
    let mut options = SimulateOptions::new(scene(args.scene.as_deref())?, args.ring.clone());
    options.duration = args.run_for;
    (options.repeat, options.traces) = (args.repeat, args.traces);
    if args.with_parent && !end_with_parent()? {
        return Ok(());
    }
    let shape = options.scene.acquisition(0);
    let (channels, prr, length_km) = (shape.channels, shape.prr, shape.fiber_length_m() / 1000.0);
    let ring = args.ring.display();
    if !args.json {
        say(format_args!("{channels} channels over {length_km:.3} km at {prr} Hz into {ring}"))?;
    }
    let meter = Meter::new(None);
    let done = synthetic::simulate(&options, &stop, &mut |p| {
        let light = if p.light { "light" } else { "no light" };
        let load = 100.0 * p.load;
        meter.show(p.traces, format!("{light}, {} traces, {} lost, {load:.1} % of a core", p.traces, p.lost));
    })?;
    meter.finish();
    if args.json {
        return say(serde_json::to_string(&done).map_err(|error| Failure::new(70, error))?);
    }
    say(format_args!("{} traces, {} lost, {} of them to stalls", done.traces, done.lost, done.lost_to_stalls))
}

/// The scene of a file, or the built-in one.
fn scene(file: Option<&Path>) -> Result<Scene, Failure> {
    Ok(file.map_or_else(|| Ok(Scene::default()), Scene::from_file)?)
}

pub(crate) fn replay(args: &cli::Replay) -> Result<(), Failure> {
    all_there(&args.files)?;
    let environment = Environment::of_process();
    let mut config = match &args.config {
        Some(path) => {
            must_be_there(path)?;
            Config::load_for(path, &environment, Some(&app::recorded(&args.files)?))?
        }
        None => Config::parse("built-in configuration", "", &environment)?,
    };
    config.replay(args.files.clone(), args.speed, args.looping, args.site.clone());
    if args.no_broker {
        config.broker = None;
    }
    let options = RunOptions {
        show: Show::Live { plain: args.plain },
        run_for: args.run_for,
        fit_views: args.config.is_none(),
        file: args.config.clone(),
        listen: args.http,
        reload: false,
    };
    Ok(app::run(config, &options)?)
}

pub(crate) fn record(args: &cli::Record) -> Result<(), Failure> {
    all_there(args.replay.iter().chain(&args.scene))?;
    let stop = stop_flag()?;
    let source = record_source(args)?;
    for note in source.notes() {
        remark(format_args!("fiberd: {note}"));
    }
    let noted = Severity::worst(source.notes());
    let limits = record::Limits { duration: args.run_for, traces: args.traces };
    let length = limits.traces.or_else(|| limits.duration.map(|d| d.as_millis() as u64));
    let meter = Meter::new(length);
    let recorded = record::record(source, &args.file, limits, &stop, &mut |p| {
        let done = if limits.traces.is_some() { p.traces } else { p.recorded.as_millis() as u64 };
        let missing = if p.gap_traces > 0 { format!(", {} traces missing", p.gap_traces) } else { String::new() };
        let seconds = p.recorded.as_secs_f64();
        meter.show(done, format!("{}: {} traces, {seconds:.1} s{missing}", p.state, p.traces));
    })?;
    meter.finish();
    let Progress { traces, recorded: length, bytes, gap_traces, damaged_traces, .. } = recorded.progress;
    for file in &recorded.files {
        say(file.display())?;
    }
    let seconds = length.as_secs_f64();
    say(format_args!("{traces} traces, {seconds:.3} s, {bytes} bytes, {gap_traces} traces missing"))?;
    Ok(app::AppError::of_damage(noted, damaged_traces)?)
}

fn record_source(args: &cli::Record) -> Result<Box<dyn Interrogator>, Failure> {
    if !args.replay.is_empty() {
        return Ok(Box::new(Replay::open(&args.replay, ReplaySpeed::Unpaced, false)?));
    }
    if args.scene.is_some() {
        return Ok(Box::new(SceneSource::new(&scene(args.scene.as_deref())?)?));
    }
    let path = args.ring.clone().unwrap_or_else(|| DEFAULT_RING.into());
    Ok(Box::new(Ring::new(RingOptions::new(path))))
}

pub(crate) fn bench_service(args: &cli::ServiceBench) -> Result<(), Failure> {
    all_there(&args.password_file)?;
    let own = args
        .channels
        .map(|channels| Case::new(channels as usize, args.prr.unwrap_or(2000.0), args.singles.unwrap_or(0) as usize));
    let mut cases = own.map_or_else(|| Case::DEFAULTS.to_vec(), |case| vec![case]);
    for case in &mut cases {
        case.line_period_ms = args.line_period_ms;
    }
    let options = BenchOptions {
        cases,
        interval: args.seconds,
        threads: usize::from(args.threads),
        broker: (!args.no_broker).then(|| Broker {
            uri: args.broker.clone().unwrap_or_else(|| BrokerConfig::default().uri),
            username: args.username.clone(),
            password_file: args.password_file.clone(),
            required: args.broker.is_some(),
        }),
    };
    let stop = stop_flag()?;
    let report = bench::service(&options, &stop, &mut |line| remark(line))?;
    if args.json {
        say(serde_json::to_string_pretty(&report).map_err(|error| Failure::new(70, error))?)
    } else {
        say(report)
    }
}

/// One or more lines to stdout. A reader that has gone (`| head`) is no failure.
fn say(text: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One or more lines to stderr. A reader that has gone is no failure either.
fn remark(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Names the first file that is not there, before anything is begun.
fn all_there<'p>(files: impl IntoIterator<Item = &'p std::path::PathBuf>) -> Result<(), Failure> {
    // Whether a pattern matches anything is said by whoever reads it.
    for file in files.into_iter().filter(|file| !replay::is_pattern(file)) {
        std::fs::metadata(replay::file_of(file)).map_err(|error| {
            let code = if error.kind() == ErrorKind::NotFound { 66 } else { 74 };
            Failure::new(code, format_args!("{}: {error}", file.display()))
        })?;
    }
    Ok(())
}

/// Raised by SIGINT, SIGTERM, and SIGHUP unless that is ignored, as under nohup; a second one ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        // The order matters: the first signal must find the flag still down.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Whether whoever started this wants it to outlive its terminal.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal n is bit n - 1, and SIGHUP is 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Progress on stderr: a bar or a spinner on a terminal, a line every five seconds elsewhere. Written by a thread of its
/// own: whoever reads or writes traces must not wait for a reader of stderr that stands still. What comes while that
/// thread is busy is left out.
struct Meter {
    progress: Option<SyncSender<(u64, String)>>,
    cleared: mpsc::Receiver<()>,
}

impl Meter {
    /// `length` in whatever unit [`show`](Self::show) is told; `None` when nobody knows the end.
    fn new(length: Option<u64>) -> Self {
        let (progress, progress_rx) = mpsc::sync_channel(1);
        let (cleared_tx, cleared) = mpsc::channel();
        // Without a thread nothing is shown.
        let _ = thread::Builder::new().name("das-meter".into()).spawn(move || {
            show_all(length, &progress_rx);
            let _ = cleared_tx.send(());
        });
        Self { progress: Some(progress), cleared }
    }

    fn show(&self, done: u64, text: String) {
        if let Some(progress) = &self.progress {
            let _ = progress.try_send((done, text));
        }
    }

    /// Takes the bar away, so that what is said next stands alone.
    fn finish(self) {
        drop(self);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.progress = None;
        let _ = self.cleared.recv_timeout(METER_GRACE);
    }
}

fn show_all(length: Option<u64>, progress: &mpsc::Receiver<(u64, String)>) {
    let template = if length.is_some() { "{wide_bar} {percent:>3} %  {msg}" } else { "{spinner} {msg}" };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let on_terminal = io::stderr().is_terminal();
    let mut last_line = None::<Instant>;
    for (done, text) in progress {
        if on_terminal {
            bar.set_position(done);
            bar.set_message(text);
        } else if last_line.is_none_or(|at| at.elapsed() >= Duration::from_secs(5)) {
            last_line = Some(Instant::now());
            remark(text);
        }
    }
    bar.finish_and_clear();
}
