//! `fiberd bench service`: what this host can serve, measured from outside.
//!
//! ```text
//!  fiberd simulate ──ring──► fiberd run ──frames──► RabbitMQ ──frames──► consumer (thread of this process)
//!        │                       │ /metrics, /proc                          │
//!        └── its own account ────┴──────────────► report ◄──────────────────┘
//! ```
//! Parts are processes of their own, as in production, and nothing in them knows that it is measured. The producer
//! copies a second of a synthetic fiber round and round, so that it costs little more than the copy.
//!
//! Counts of traces and frames hold for the whole run: the producer writes a known number of traces and stays alive
//! until everything has gone through, so they are exact. Processor shares, load and latencies hold for the measured
//! interval, which begins after a warm-up and ends before the last trace.

mod case;
mod consumer;
pub mod observe;
mod process;
mod report;

pub use case::Case;
pub use report::{CaseReport, Cpu, Frames, Host, Latency, Load, Memory, ProducerReport, Report, Traces};

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::consumer::{Consumer, Received, now_ns};
use self::observe::{Machine, Metrics, cpu_time};
use self::process::{Folder, Part};
use crate::config::{Config, Environment, check_uri};
use crate::source::synthetic::SimulateProgress;

/// From the first trace to the measured interval: queues, caches and clocks settle.
const WARM_UP: Duration = Duration::from_secs(3);
/// From the measured interval to the last trace, so that the interval's end sees the service still at work, also when
/// the first trace was noticed late.
const TAIL: Duration = Duration::from_secs(2);
/// How often the daemon is looked at meanwhile, as a monitoring system would.
const LOOK: Duration = Duration::from_secs(1);
/// How long a part may take until it is ready. A million channels take a while to make beforehand.
const READY: Duration = Duration::from_secs(60);
/// Nothing has moved for so long: everything has gone through. Longer than a lost confirm of a busy broker takes.
const STILL: Duration = Duration::from_secs(2);
/// How much of the scene the producer makes beforehand.
const REPEAT_S: f64 = 1.0;

/// What to measure, and with what.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchOptions {
    /// One after the other.
    pub cases: Vec<Case>,
    /// How long each is measured.
    pub interval: Duration,
    /// Threads of the DSP stage; 0 = one for each core.
    pub threads: usize,
    /// The broker; `None` = publish nowhere.
    pub broker: Option<Broker>,
}

/// Where to find the broker, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `amqp://…` or `amqps://…` without user and password.
    pub uri: String,
    /// User; `None` = guest.
    pub username: Option<String>,
    /// File with the password; `None` = the password is guest.
    pub password_file: Option<PathBuf>,
    /// Whether its absence is a fault. Otherwise the measurement goes on without.
    pub required: bool,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Something asked for is impossible.
    #[error("{0}")]
    Wrong(String),
    /// The broker that was asked for is not there or does not let us in.
    #[error("{0}")]
    NoBroker(String),
    /// A part of the service did not do what it must, with its last words.
    #[error("{0}")]
    Failed(String),
    /// The operating system said no.
    #[error("{what}: {error}")]
    Io {
        /// The deed.
        what: String,
        /// Its answer.
        #[source]
        error: std::io::Error,
    },
    /// Asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Measures one case after the other; `say` is told how far it has come, a line at a time. When `stop` is raised the
/// report holds the cases that are whole.
///
/// # Errors
/// When a case cannot be measured. That traces are lost is a result and no error.
pub fn service(options: &BenchOptions, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    if let Some(broker) = &options.broker {
        check_uri(&broker.uri).map_err(|why| BenchError::Wrong(format!("--broker: {why}")))?;
    }
    let mut report = Report::new(options);
    for (number, case) in options.cases.iter().enumerate() {
        say(&format!("case {} of {}: {case}", number + 1, options.cases.len()));
        let mut bench = Bench { options, case: *case, stop, say };
        match bench.measure(&mut report) {
            Ok(measured) => report.cases.push(measured),
            Err(BenchError::Stopped) => {
                report.stopped = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// One case under way.
struct Bench<'a> {
    options: &'a BenchOptions,
    case: Case,
    stop: &'a AtomicBool,
    say: &'a mut dyn FnMut(&str),
}

/// The daemon as a process, and the address of its HTTP server.
struct Daemon {
    part: Part,
    http_address: SocketAddr,
}

impl Daemon {
    fn metrics(&mut self) -> Result<Metrics, BenchError> {
        self.part.must_live()?;
        match observe::get(self.http_address, "/metrics") {
            Ok(text) => Ok(Metrics::parse(&text)),
            Err(error) => Err(self.part.failed(&format!("does not answer: {error}"))),
        }
    }
}

/// What has been used up by a moment.
struct Moment {
    at: Instant,
    utc_ns: i64,
    daemon: Duration,
    producer: Duration,
    own: Duration,
    machine: Machine,
    metrics: Metrics,
}

impl Bench<'_> {
    fn measure(&mut self, report: &mut Report) -> Result<CaseReport, BenchError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |error| BenchError::Io { what, error }
        };
        let folder = Folder::make().map_err(io("making a folder for the ring"))?;
        let ring = folder.at("ring");
        let http_address = free_address().map_err(io("looking for a free port"))?;
        // One that was looked for in vain is not looked for again.
        let broker = self.options.broker.as_ref().filter(|_| report.broker);
        let config = |broker| self.case.config(&ring, http_address.port(), self.options.threads, broker);
        let file = folder.write("fiberd.toml", &config(broker)).map_err(io("writing the configuration"))?;
        let scene = folder.write("scene.toml", &self.case.scene()).map_err(io("writing the scene"))?;
        // The same file tells the daemon and us about the broker: secrets stand nowhere else.
        let loaded = Config::load(&file, &Environment::default()).map_err(|p| BenchError::Wrong(p.to_string()))?;

        let consumer = match loaded.broker.as_ref().map(Consumer::start).transpose()? {
            None => None,
            Some(Ok(consumer)) => Some(consumer),
            Some(Err(why)) => {
                let address = loaded.broker.map(|b| b.address()).unwrap_or_default();
                let why = format!("no broker at {address}: {why}");
                if broker.is_some_and(|broker| broker.required) {
                    return Err(BenchError::NoBroker(why));
                }
                (self.say)(&format!("{why}; frames are made and not published"));
                report.without_broker(why);
                folder.write("fiberd.toml", &config(None)).map_err(io("writing the configuration"))?;
                None
            }
        };
        let outcome =
            self.run_parts(&file.to_string_lossy(), &scene.to_string_lossy(), &ring, http_address, consumer.as_ref());
        // Also after a fault: the exchanges must not stay.
        let received = consumer.map(Consumer::stop);
        Ok(outcome?.report(self, received))
    }

    fn run_parts(
        &mut self,
        config: &str,
        scene: &str,
        ring: &std::path::Path,
        http_address: SocketAddr,
        consumer: Option<&Consumer>,
    ) -> Result<Measured, BenchError> {
        let mut daemon = Daemon { part: Part::start("the daemon", ["run", "--config", config])?, http_address };
        self.until("the daemon answers", READY, |_| {
            daemon.part.must_live()?;
            Ok(observe::get(http_address, "/healthz").is_ok().then_some(()))
        })?;
        if consumer.is_some() {
            self.until("the daemon reaches the broker", READY, |_| {
                let connected = daemon.metrics()?.count("fiberd_broker_state{state=\"connected\"}") == 1;
                Ok(connected.then_some(()))
            })?;
        }
        // With the daemon waiting for fiber, trace 0 is the first it sees.
        let traces = self.case.traces_in(WARM_UP + self.options.interval + TAIL);
        let (traces, repeat, ring) = (traces.to_string(), REPEAT_S.to_string(), ring.to_string_lossy());
        let mut producer = Part::start(
            "the producer",
            ["simulate", "--scene", scene, "--ring", &ring, "--repeat", &repeat, "--traces", &traces, "--json"],
        )?;
        self.until("traces flow", READY, |_| {
            producer.must_live()?;
            Ok((daemon.metrics()?.count("fiberd_traces_total") > 0).then_some(()))
        })?;
        self.wait(WARM_UP)?;

        let from = Moment::now(&mut daemon, &producer)?;
        let mut loads = Vec::new();
        let end = from.at + self.options.interval;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.wait(left.min(LOOK))?;
            producer.must_live()?;
            let metrics = daemon.metrics()?;
            loads.extend(metrics.value("fiberd_pipeline_load_ratio"));
            let lost = metrics.count("fiberd_gap_traces_total");
            let load = 100.0 * loads.last().copied().unwrap_or_default();
            let second = (from.at.elapsed().as_secs_f64()).min(self.options.interval.as_secs_f64());
            (self.say)(&format!("  {second:.0} s: pipeline load {load:.0} %, {lost} traces missing"));
        }
        let to = Moment::now(&mut daemon, &producer)?;
        if to.metrics.count("fiberd_traces_total") >= self.case.traces_in(WARM_UP + self.options.interval + TAIL) {
            return Err(BenchError::Failed("this machine stood still for so long that the traces ended early".into()));
        }
        let metrics = self.settled(&mut daemon, &mut producer, consumer)?;
        let memory = observe::Memory::of(daemon.part.pid())
            .map_err(|error| BenchError::Io { what: "looking at the daemon's memory".into(), error })?;
        let words = producer.stop()?;
        let produced = words.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let produced = produced.ok_or_else(|| BenchError::Failed("the producer gave no account of itself".into()))?;
        daemon.part.stop()?;
        Ok(Measured { from, to, loads, metrics, memory, produced })
    }

    /// Waits until nothing moves any more, and returns what the daemon then says.
    fn settled(
        &mut self,
        daemon: &mut Daemon,
        producer: &mut Part,
        consumer: Option<&Consumer>,
    ) -> Result<Metrics, BenchError> {
        const MOVING: [&str; 8] = [
            "fiberd_traces_total",
            "fiberd_blocks_processed_total",
            "fiberd_frames_made_total",
            "fiberd_frames_dropped_total{place=\"egress\"}",
            "fiberd_frames_published_total",
            "fiberd_frames_confirmed_total",
            "fiberd_frames_unroutable_total",
            "fiberd_frames_dropped_total{place=\"broker\"}",
        ];
        (self.say)("  frames that are made are still sent");
        let mut last = (Vec::new(), Instant::now());
        // A broker under alarm may stand still for ever: that is a result.
        self.until("everything has gone through", READY.max(self.options.interval), |_| {
            producer.must_live()?;
            let metrics = daemon.metrics()?;
            let mut counts = metrics.counts(&MOVING);
            counts.extend(consumer.map(Consumer::frames));
            if counts != last.0 {
                last = (counts, Instant::now());
            }
            Ok((last.1.elapsed() >= STILL).then_some(metrics))
        })
    }

    /// Asks `ready` again and again until it gives a value.
    fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut(&mut Self) -> Result<Option<T>, BenchError>,
    ) -> Result<T, BenchError> {
        let began = Instant::now();
        loop {
            if let Some(value) = ready(self)? {
                return Ok(value);
            }
            if began.elapsed() > limit {
                return Err(BenchError::Failed(format!("waited {} s in vain: {what}", limit.as_secs())));
            }
            self.wait(Duration::from_millis(50))?;
        }
    }

    /// Sleeps, unless asked to stop.
    fn wait(&self, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(BenchError::Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

impl Moment {
    fn now(daemon: &mut Daemon, producer: &Part) -> Result<Self, BenchError> {
        let metrics = daemon.metrics()?;
        let look = || {
            Ok(Self {
                at: Instant::now(),
                utc_ns: now_ns(),
                daemon: cpu_time(daemon.part.pid())?,
                producer: cpu_time(producer.pid())?,
                own: cpu_time(std::process::id())?,
                machine: Machine::look()?,
                metrics,
            })
        };
        look().map_err(|error| BenchError::Io { what: "looking at processor times".into(), error })
    }
}

/// All that was seen of one case.
struct Measured {
    from: Moment,
    to: Moment,
    loads: Vec<f64>,
    /// At the end, when nothing moved any more.
    metrics: Metrics,
    memory: observe::Memory,
    produced: SimulateProgress,
}

impl Measured {
    fn report(self, bench: &Bench<'_>, received: Option<Received>) -> CaseReport {
        let Self { from, to, loads, metrics, memory, produced } = self;
        let launched = produced.traces + produced.lost;
        CaseReport {
            channels: bench.case.channels,
            prr_hz: bench.case.prr_hz,
            singles: bench.case.singles,
            line_period_ms: bench.case.line_period_ms,
            measured_s: (to.at - from.at).as_secs_f64(),
            cpu: Cpu::between(&from, &to),
            load: Load::of(&loads),
            producer: ProducerReport {
                traces_lost: produced.lost,
                behind_most_ms: produced.behind_most.as_secs_f64() * 1e3,
            },
            traces: Traces::count(&produced, &metrics),
            frames: Frames::count(bench.case.frames_expected(launched), &metrics, received.as_ref()),
            latency: Latency::between(&from, &to, received.as_ref()),
            memory: Memory { peak_rss_bytes: memory.peak, shared_bytes: memory.shared },
            consumer_cut_off: received.is_some_and(|r| r.cut_off),
        }
    }
}

/// A port of loopback that is free now.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
