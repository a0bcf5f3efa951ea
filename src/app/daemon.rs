//! A running daemon: started from the broker's end to the glass's end, so that every stage finds the next one ready, and
//! stopped from the glass down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::live::LiveView;
use super::reload::{self, Reload};
use super::signals::Signals;
use super::supervisor::{End, Limits, Orders, Rank, Stopping, Supervisor};
use super::{AppError, RunOptions, Show, summary};
use crate::api::{self, ApiState, ServerOptions};
use crate::capture::{Capture, CaptureEnd, filled_queue_blocks};
use crate::config::{Config, Environment};
use crate::egress::{Egress, Outlet, WorthWaiting, fence};
use crate::health::{self, Health};
use crate::jobs::Jobs;
use crate::notify;
use crate::pipeline::control::{Command, control};
use crate::pipeline::{Budget, Pipeline, calibrate};
use crate::publish;
use crate::source::replay::Timetable;
use crate::source::{Finding, Interrogator, Severity, SourceError};
use crate::status::{BrokerState, FindingKind, Stage, Status};
use crate::streams::grpc::GrpcPorts;
use crate::telemetry::{self, Logging};
use crate::terminal;
use crate::units::Rational;

/// How long frames that are made may take to be sent after a stop.
const GRACE: Duration = Duration::from_secs(5);

/// The publisher's grace, its farewell to the broker, and a little.
const LIMITS: Limits =
    Limits { data: Duration::from_secs(8), services: Duration::from_secs(3), settle: Duration::from_secs(1) };

/// How long the last lines of the log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Frames of jobs that may wait at the fence: a line of thousands of streams at once.
const JOB_FRAMES: usize = 8192;

/// Threads behind the fence: one may be busy encoding while the other answers.
const IO_THREADS: usize = 2;

/// Runs until a signal, the end of the source, `run_for`, a person at the live view, or a fault.
pub(super) fn start_and_wait(
    config: Config,
    source: Box<dyn Interrogator>,
    timetable: Option<Timetable>,
    options: &RunOptions,
) -> Result<(), AppError> {
    let status = Status::new(&config.site, config.capture.prr.map(Rational::to_f64));
    let mut log = super::log_options(&config.log, Arc::clone(&status.counters.log));
    let view = match options.show {
        Show::Log => None,
        Show::Live { plain } => Some(LiveView::new(&config, timetable, plain)),
    };
    if let Some(view) = &view {
        (log.writer, log.times) = (Some(view.log_writer()), view.log_times());
    }
    let mut logging = telemetry::init(log).map_err(|e| AppError::Config(e.to_string()))?;
    telemetry::panics_are_logged();
    let runtime = io_runtime()?;
    let run = Run { config: Arc::new(config), options, status, view };
    let outcome = runtime.block_on(run.until_stopped(source, &mut logging));
    // Whatever still hangs on a socket or a name server is left behind: everything that counts has been waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    // So is the thread of the screen when a second signal came: the terminal must not stay as it was taken.
    terminal::give_back();
    logging.flush(LAST_LINES);
    outcome
}

/// A daemon that is built and runs.
struct Run<'a> {
    config: Arc<Config>,
    options: &'a RunOptions,
    status: Arc<Status>,
    view: Option<LiveView>,
}

/// What tells services to end.
struct StopServices {
    tell: watch::Sender<()>,
    screen: Arc<AtomicBool>,
}

impl Run<'_> {
    async fn until_stopped(self, source: Box<dyn Interrogator>, logging: &mut Logging) -> Result<(), AppError> {
        let (status, run_for) = (Arc::clone(&self.status), self.options.run_for);
        let mut supervisor = Supervisor::new(LIMITS);
        let mut signals = Signals::new()?;
        summary::started(&self.config, self.options, self.config.source.kind());
        let noted = Severity::worst(source.notes());
        tell_notes(source.notes(), &status);
        let (services_tx, services_rx) = watch::channel(());
        if let Some(ended) = logging.take_ended() {
            supervisor.task("das-log", Rank::Apart, async move {
                let _ = ended.await;
            });
        }
        self.reload(&mut supervisor, &mut signals, logging, &services_rx);
        let stop_services = StopServices { tell: services_tx, screen: Arc::default() };
        let stop_tx = self.start(&mut supervisor, source, &services_rx, &stop_services.screen).await?;
        let (wish_tx, wishes) = mpsc::unbounded_channel();
        supervisor.task("signals", Rank::Apart, signals.become_wishes(run_for, wish_tx));
        let counters = Arc::clone(&status.counters);
        let orders = Orders {
            wishes,
            stop_data: move || drop(stop_tx),
            stop_services: move || {
                stop_services.screen.store(true, Ordering::Relaxed);
                drop(stop_services.tell);
            },
            progress: move || {
                counters.pipeline.blocks_processed.get()
                    + counters.publish.frames_published.get()
                    + counters.publish.frames_confirmed.get()
            },
        };
        let mut ending = supervisor.run(orders).await;
        if ending.outcome.is_ok() {
            ending.outcome = AppError::of_damage(noted, status.counters.capture.traces_damaged.get());
        }
        summary::stopped(&status, &ending);
        ending.outcome
    }

    /// SIGHUP reads the configuration again, when this run has one that it may.
    fn reload(
        &self,
        supervisor: &mut Supervisor,
        signals: &mut Signals,
        logging: &Logging,
        services_rx: &watch::Receiver<()>,
    ) {
        let Some(file) = self.options.file.clone().filter(|_| self.options.reload) else { return };
        let Some(hangups) = signals.take_hangup() else { return };
        let reload = Reload {
            file,
            environment: Environment::of_process(),
            listen: self.options.listen,
            running: Config::clone(&self.config),
            level: logging.level(),
        };
        let stop = closed(services_rx.clone());
        supervisor.task("reload", Rank::Service, reload::at_hangups(reload, hangups, stop));
    }

    /// Starts everything, from the broker's end to the glass's end. What is dropped to stop capture comes back.
    async fn start(
        self,
        supervisor: &mut Supervisor,
        source: Box<dyn Interrogator>,
        services_rx: &watch::Receiver<()>,
        stop_screen: &Arc<AtomicBool>,
    ) -> Result<Sender<()>, AppError> {
        let Self { config, status, mut view, .. } = self;
        let stop = || closed(services_rx.clone());

        // Behind the fence: endpoints and publisher.
        raise_file_limit();
        let options = ServerOptions::new(&config.http, Arc::clone(&status.counters.api))
            .map_err(|error| AppError::Config(format!("http.tls_certificate: {error}")))?;
        let (listener, address) = listen(&config).await?;
        if let Some(view) = &mut view {
            view.show_address(address);
        }
        let (control, command_rx) = control();
        let budget = source.is_live().then(|| Budget {
            max_load: config.jobs.max_load,
            pool_blocks: config.capture.pool_blocks,
            ended_tx: control.ended_tx(),
        });
        calibrate::start(&control);
        let grpc = GrpcPorts::configured(&config).map_err(|error| AppError::Config(error.to_string()))?;
        let jobs = Jobs::new(&config, Arc::clone(&status), control, grpc);
        supervisor.task("jobs", Rank::Service, jobs.clone().run(stop()));
        let limits =
            health::Limits { prr_tolerance_ppm: config.capture.prr_tolerance_ppm, max_load: config.jobs.max_load };
        let health = Health::new(Arc::clone(&status), limits);
        supervisor.task("health", Rank::Service, health::run(Arc::clone(&health), stop()));
        let state = ApiState { status: Arc::clone(&status), config: Arc::clone(&config), jobs: jobs.clone(), health };
        supervisor.task("api", Rank::Service, api::serve(listener, api::router(state), options, stop()));
        let (egress, outlet) = fence(config.processing.egress_frames, Arc::clone(&status.counters.egress));
        if let Some(broker) = config.broker.clone() {
            let (of_bus, default_job) = (broker.clone(), config.jobs.default_job.clone());
            let stop = services_rx.clone();
            let stop = move || closed(stop.clone());
            let bus = publish::serve_jobs(of_bus, default_job, Arc::clone(&status), jobs.clone(), stop);
            supervisor.task("bus", Rank::Service, bus);
            supervisor.task("publisher", Rank::Data(2), publish::run(broker, Arc::clone(&status), outlet, GRACE));
        } else {
            supervisor.task("publisher", Rank::Data(2), publish::drain(outlet, Arc::clone(&status.counters.publish)));
        }
        let (for_jobs, of_jobs) = fence(JOB_FRAMES, Arc::clone(&status.counters.job_egress));
        supervisor.task("delivery", Rank::Data(2), deliver(of_jobs, jobs));

        // In front of it: the dsp thread, then the capture thread.
        let egress = match &view {
            Some(view) => egress.seen_by(view.onlooker()),
            None => egress,
        };
        let egress = if source.is_live() {
            egress
        } else {
            egress.with_backpressure(worth_waiting(supervisor.stopping(), Arc::clone(&status)))
        };
        let (stop_tx, stop_rx) = bounded(0);
        let (dsp, capture) =
            start_threads(&config, source, egress.with_jobs(for_jobs), (command_rx, budget), &status, stop_rx)?;
        supervisor.thread("das-dsp", Rank::Data(1), dsp, |()| Ok(End::Told));
        supervisor.thread("das-capture", Rank::Data(0), capture, |end| match end? {
            CaptureEnd::Stopped => Ok(End::Told),
            CaptureEnd::EndOfStream => Ok(End::Over("the source has ended")),
        });

        // READY comes only now, with everything up.
        let watched: &[Stage] = if config.broker.is_some() { &Stage::ALL } else { &[Stage::Capture, Stage::Pipeline] };
        let manager = notify::Manager::from_env();
        supervisor.task("notify", Rank::Service, notify::run(Arc::clone(&status), manager, watched.to_vec(), stop()));
        if let Some(view) = view {
            let screen = view.start(status, Arc::clone(stop_screen));
            let screen = screen.map_err(|error| io_error("starting das-terminal", error))?;
            supervisor.thread("das-terminal", Rank::Service, screen, |outcome| outcome);
        }
        Ok(stop_tx)
    }
}

/// What is odd about the data, in the log and for as long as they are read: what is damaged apart from the rest.
fn tell_notes(notes: &[Finding], status: &Status) {
    for note in notes {
        match note.severity {
            Severity::Ok | Severity::Note => info!("{note}"),
            Severity::Warning => warn!("{note}"),
            Severity::Damaged => error!("{note}"),
        }
    }
    let (damaged, odd): (Vec<&Finding>, Vec<&Finding>) =
        notes.iter().partition(|note| note.severity == Severity::Damaged);
    for (kind, notes) in [(FindingKind::CaptureDamaged, damaged), (FindingKind::CaptureNoted, odd)] {
        // The first of the worst.
        let Some(worst) = notes.iter().rev().max_by_key(|note| note.severity) else { continue };
        let why = match notes.len() {
            1 => worst.to_string(),
            many => format!("{worst}; and {} more on the files of this replay", many - 1),
        };
        status.found(kind, "", why);
    }
}

/// Frames of jobs to their readers, until the pipeline has closed the fence.
async fn deliver(outlet: Outlet, jobs: Jobs) {
    while let Some(frame) = outlet.take().await {
        jobs.deliver(frame);
    }
}

/// How long a source that can wait does so for a publisher that is behind: for ever, unless the broker is away; when the
/// source is over, as long as frames move; and not at all when the daemon is to stop.
fn worth_waiting(stopping: Stopping, status: Arc<Status>) -> WorthWaiting {
    let given_up = AtomicBool::new(false);
    Arc::new(move |waited| {
        // Who waits for the broker does not stand still.
        status.counters.pipeline.ticks.add(1);
        let broker = status.broker();
        if stopping.is_soon() || broker == BrokerState::Away {
            return false;
        }
        if !stopping.has_begun() {
            return true;
        }
        if waited >= GRACE || broker == BrokerState::Blocked {
            given_up.store(true, Ordering::Relaxed);
        }
        !given_up.load(Ordering::Relaxed)
    })
}

fn start_threads(
    config: &Config,
    source: Box<dyn Interrogator>,
    egress: Egress,
    (command_rx, budget): (Receiver<Command>, Option<Budget>),
    status: &Arc<Status>,
    stop_rx: Receiver<()>,
) -> Result<Threads, AppError> {
    let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config.capture, None));
    let pipeline = Pipeline {
        filled_rx,
        command_rx,
        egress,
        views: config.views.clone(),
        processing: config.processing.clone(),
        budget,
        history_bytes: config.jobs.history_bytes,
        counters: Arc::clone(&status.counters.pipeline),
        findings: status.finding_reporter(),
    };
    let capture = Capture {
        source,
        config: config.capture.clone(),
        limits: config.signal,
        status: Arc::clone(status),
        filled_tx,
        tee: None,
        stop_rx,
    };
    let dsp = pipeline.spawn().map_err(|error| io_error("starting das-dsp", error))?;
    let capture = capture.spawn().map_err(|error| io_error("starting das-capture", error))?;
    Ok((dsp, capture))
}

type Threads = (JoinHandle<()>, JoinHandle<Result<CaptureEnd, SourceError>>);

/// The listener of the control API, and its address with the port that the system chose when none was named.
async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), AppError> {
    let address = config.http.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        AppError::Unavailable(format!(
            "the control API cannot listen on {address}: {error}; another fiberd may be running, --http ADDR:PORT takes another port"
        ))
    })?;
    let address = listener.local_addr().map_err(|error| io_error("listening for the control API", error))?;
    let http = &config.http;
    let tls = http.tls.as_ref().map_or("no", |tls| if tls.get().is_mutual() { "mutual" } else { "yes" });
    let tokens = http.tokens.get().as_ref().as_ref().map_or(0, Vec::len);
    info!(%address, tls, tokens, "the control API listens");
    if http.tls.is_none() && !address.ip().is_loopback() {
        warn!("tokens and data of the control API travel unencrypted; set tls_certificate and tls_key");
    }
    Ok((listener, address))
}

/// A connection is a file, and shells and service managers often allow a thousand. Nothing here uses `select`, for which
/// that low limit is kept.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// Returns once the sender is gone.
async fn closed(mut services_rx: watch::Receiver<()>) {
    while services_rx.changed().await.is_ok() {}
}

fn io_runtime() -> Result<Runtime, AppError> {
    let number = AtomicUsize::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .thread_name_fn(move || format!("das-io-{}", number.fetch_add(1, Ordering::Relaxed)))
        .enable_all()
        .build()
        .map_err(|error| io_error("starting the I/O threads", error))
}

fn io_error(what: &str, error: std::io::Error) -> AppError {
    AppError::Io { what: what.into(), error }
}
