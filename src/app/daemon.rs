//! A running daemon: started from the broker's end to the glass's end, so that every stage finds the next one ready, and
//! stopped from the glass down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::live::LiveView;
use super::{AppError, RunOptions, Show};
use crate::api::{self, ApiState, Door};
use crate::capture::{Capture, CaptureEnd, filled_queue_blocks};
use crate::config::Config;
use crate::egress::{Egress, Outlet, fence};
use crate::health::{self, Health};
use crate::jobs::Jobs;
use crate::notify;
use crate::pipeline::Pipeline;
use crate::pipeline::control::{Command, control};
use crate::publish;
use crate::source::{Interrogator, SourceError};
use crate::status::{BrokerState, Stage, Status};
use crate::telemetry;
use crate::units::Rational;

/// How long what is inside may take to leave after a stop.
const GRACE: Duration = Duration::from_secs(5);

/// Frames of jobs that may wait at the fence: a line of thousands of streams at once.
const JOB_FRAMES: usize = 8192;

/// Threads behind the fence: one may be busy encoding while the other answers.
const IO_THREADS: usize = 2;

/// Runs until a signal, the end of the source, `run_for`, a person at the live view, or a fault.
pub(super) fn start_and_wait(
    config: Config,
    source: Box<dyn Interrogator>,
    options: &RunOptions,
) -> Result<(), AppError> {
    let mut log = super::log_options(&config.log);
    let view = match options.show {
        Show::Log => None,
        Show::Live { plain } => Some(LiveView::new(&config, plain)),
    };
    log.writer = view.as_ref().map(LiveView::log_writer);
    telemetry::init(log).map_err(|e| AppError::Config(e.to_string()))?;
    let runtime = io_runtime()?;
    let outcome = runtime.block_on(run(config, source, options.run_for, view));
    // Whatever still hangs on a socket is left behind: everything that counts has been waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

async fn run(
    config: Config,
    source: Box<dyn Interrogator>,
    run_for: Option<Duration>,
    view: Option<LiveView>,
) -> Result<(), AppError> {
    let config = Arc::new(config);
    let status = Status::new(&config.site, config.capture.prr.map(Rational::to_f64));
    let signals = Signals::new()?;

    // Behind the fence: doors and publisher.
    raise_file_limit();
    let door = Door::new(&config.http, Arc::clone(&status.counters))
        .map_err(|error| AppError::Config(format!("http.tls_certificate: {error}")))?;
    let listener = listen(&config).await?;
    let (services_tx, services_rx) = watch::channel(());
    let (control, command_rx) = control();
    let jobs = Jobs::new(&config, Arc::clone(&status), control).map_err(|e| AppError::Config(e.to_string()))?;
    let jobs_task = tokio::spawn(jobs.clone().run(closed(services_rx.clone())));
    let limits = health::Limits { prr_tolerance_ppm: config.capture.prr_tolerance_ppm };
    let health = Health::new(Arc::clone(&status), limits);
    let health_task = tokio::spawn(health::run(Arc::clone(&health), closed(services_rx.clone())));
    let state = ApiState { status: Arc::clone(&status), config: Arc::clone(&config), jobs: jobs.clone(), health };
    let router = api::router(state);
    let api = tokio::spawn(api::serve(listener, router, door, closed(services_rx.clone())));
    let (egress, outlet) = fence(config.processing.egress_frames, Arc::clone(&status.counters));
    let publisher = match config.broker.clone() {
        Some(broker) => tokio::spawn(publish::run(broker, Arc::clone(&status), outlet, GRACE)),
        None => tokio::spawn(publish::drain(outlet)),
    };

    let bus = config.broker.clone().map(|broker| {
        let (default_job, stop) = (config.jobs.default_job.clone(), services_rx.clone());
        let stop = move || closed(stop.clone());
        tokio::spawn(publish::serve_jobs(broker, default_job, Arc::clone(&status), jobs.clone(), stop))
    });
    let (for_jobs, of_jobs) = fence(JOB_FRAMES, Arc::clone(&status.counters));
    let delivery = tokio::spawn(deliver(of_jobs, jobs));

    // In front of it: the dsp thread, then the capture thread.
    let egress = dressed(egress, source.is_live(), &status, view.as_ref()).with_jobs(for_jobs);
    let (stop_tx, stop_rx) = bounded(0);
    let (dsp, capture) = start_threads(&config, source, egress, command_rx, &status, stop_rx)?;

    let (news_tx, news_rx) = mpsc::unbounded_channel();
    let (of_capture, of_dsp) = (news_tx.clone(), news_tx.clone());
    spawn_blocking(move || of_capture.send(News::Capture(capture.join())));
    spawn_blocking(move || of_dsp.send(News::Dsp(dsp.join())));
    tokio::spawn(async move { news_tx.send(News::Publisher(publisher.await)) });

    // READY comes only now, with everything up.
    let watched: &[Stage] = if config.broker.is_some() { &Stage::ALL } else { &[Stage::Capture, Stage::Pipeline] };
    let manager = notify::Manager::from_env();
    let notify = tokio::spawn(notify::run(Arc::clone(&status), manager, watched.to_vec(), closed(services_rx)));
    let screen = view.map(|view| view.start(Arc::clone(&status)));

    let left = screen.as_ref().map(|screen| Arc::clone(&screen.left));
    let outcome = until_all_have_ended(news_rx, signals, asked_to_stop(run_for, left), stop_tx).await;
    drop(services_tx);
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        let bus = async {
            if let Some(bus) = bus {
                let _ = bus.await;
            }
        };
        tokio::join!(bus, async { (api.await, jobs_task.await, delivery.await, notify.await, health_task.await) })
    })
    .await;
    drop(screen);
    outcome
}

/// Frames of jobs to their readers, until the pipeline has closed the fence.
async fn deliver(outlet: Outlet, jobs: Jobs) {
    while let Some(frame) = outlet.take().await {
        jobs.deliver(frame);
    }
}

/// Returns, with the reason, when the time is over or a person has left the live view.
async fn asked_to_stop(run_for: Option<Duration>, left: Option<Arc<Notify>>) -> &'static str {
    let time = async {
        match run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let person = async {
        match left {
            Some(left) => left.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => "the time is over",
        () = person => "asked at the terminal",
    }
}

/// A stage has ended.
enum News {
    Capture(thread::Result<Result<CaptureEnd, SourceError>>),
    Dsp(thread::Result<()>),
    Publisher(Result<(), tokio::task::JoinError>),
}

impl News {
    fn judge(self) -> Result<(), AppError> {
        let died = |name| Err(AppError::Software(format!("{name} died; the log above says where")));
        match self {
            Self::Capture(Ok(Ok(CaptureEnd::Stopped))) | Self::Dsp(Ok(())) | Self::Publisher(Ok(())) => Ok(()),
            Self::Capture(Ok(Ok(CaptureEnd::EndOfStream))) => {
                info!("the source has ended; what is inside still goes out");
                Ok(())
            }
            Self::Capture(Ok(Err(error))) => Err(error.into()),
            Self::Capture(Err(_)) => died("the capture thread"),
            Self::Dsp(Err(_)) => died("the dsp thread"),
            Self::Publisher(Err(_)) => died("the publisher"),
        }
    }
}

/// Waits for a reason to stop, drops `stop_tx`, and waits until the three stages have ended one after the other: closing
/// queues carry the news down. A second signal leaves at once.
async fn until_all_have_ended(
    mut news_rx: mpsc::UnboundedReceiver<News>,
    mut signals: Signals,
    asked: impl Future<Output = &'static str>,
    stop_tx: Sender<()>,
) -> Result<(), AppError> {
    let mut stop_tx = Some(stop_tx);
    let mut outcome = Ok(());
    tokio::pin!(asked);
    loop {
        let reason = tokio::select! {
            news = news_rx.recv() => match news {
                Some(news) => {
                    // The first fault is the one to tell: others may only follow from it.
                    outcome = outcome.and(news.judge());
                    stop_tx = None;
                    continue;
                }
                None => return outcome,
            },
            reason = &mut asked, if stop_tx.is_some() => reason,
            signal = signals.next() => signal,
        };
        if stop_tx.take().is_none() {
            warn!(reason, "leaving at once");
            return outcome;
        }
        info!(reason, "stopping: what is inside still goes out; a second signal leaves at once");
    }
}

fn start_threads(
    config: &Config,
    source: Box<dyn Interrogator>,
    egress: Egress,
    command_rx: Receiver<Command>,
    status: &Arc<Status>,
    stop_rx: Receiver<()>,
) -> Result<Threads, AppError> {
    let (filled_tx, filled_rx) = bounded(filled_queue_blocks(&config.capture));
    let pipeline = Pipeline {
        filled_rx,
        command_rx,
        egress,
        views: config.views.clone(),
        processing: config.processing.clone(),
        status: Arc::clone(status),
    };
    let capture = Capture {
        source,
        config: config.capture.clone(),
        limits: config.signal,
        status: Arc::clone(status),
        filled_tx,
        stop_rx,
    };
    let dsp = pipeline.spawn().map_err(|error| io_error("starting das-dsp", error))?;
    let capture = capture.spawn().map_err(|error| io_error("starting das-capture", error))?;
    Ok((dsp, capture))
}

type Threads = (JoinHandle<()>, JoinHandle<Result<CaptureEnd, SourceError>>);

/// The fence with what this run needs: an onlooker for the live view, and patience when the source can wait. Patience
/// ends when the broker is away: a replay must not hang on a broker that is not there.
fn dressed(egress: Egress, live: bool, status: &Arc<Status>, view: Option<&LiveView>) -> Egress {
    let egress = match view {
        Some(view) => egress.seen_by(view.onlooker()),
        None => egress,
    };
    if live {
        return egress;
    }
    let status = Arc::clone(status);
    egress.patient(Arc::new(move || status.broker() != BrokerState::Away))
}

async fn listen(config: &Config) -> Result<TcpListener, AppError> {
    let address = config.http.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        AppError::Unavailable(format!(
            "the control API cannot listen on {address}: {error}; another fiberd may be running, --http ADDR:PORT takes another port"
        ))
    })?;
    let http = &config.http;
    let tls = http.tls.as_ref().map_or("no", |tls| if tls.is_mutual() { "mutual" } else { "yes" });
    info!(%address, tls, tokens = http.tokens.as_ref().map_or(0, Vec::len), "the control API listens");
    if http.tls.is_none() && !address.ip().is_loopback() {
        warn!("tokens and data of the control API travel unencrypted; set tls_certificate and tls_key");
    }
    Ok(listener)
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

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, AppError> {
        let listen = |kind| signal(kind).map_err(|error| io_error("listening for signals", error));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
