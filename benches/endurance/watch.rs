//! The watch: four times a second everything that the daemon says of itself, and what the system says of it, is judged
//! and kept as one row of a table.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fiberd::bench::observe::Metrics;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::daemon::resources;
use crate::http::Http;
use crate::interrogator::Account;
use crate::rules::{Broken, Checker, Sample, Violation, Violations, at_the_end};
use crate::world::{BrokerTruth, Kind, Truth, World};

/// From look to look.
pub const EVERY: Duration = Duration::from_millis(250);
/// A daemon that does not answer within this time does not answer.
const ANSWER: Duration = Duration::from_secs(10);
/// A look that comes so late says that this machine had no time for us.
const LATE: Duration = Duration::from_millis(1500);

/// Metrics in the table, without `fiberd_`.
const COLUMNS: [&str; 24] = [
    "traces_total",
    "gap_traces_total",
    "gaps_total",
    "traces_dropped_total{place=\"no_block\"}",
    "traces_dropped_total{place=\"before_ring\"}",
    "epochs_total",
    "phase_changes_total",
    "blocks_total",
    "blocks_processed_total",
    "capture_queue_blocks",
    "capture_free_blocks",
    "lines_total",
    "pipeline_load_ratio",
    "prr_measured_hertz",
    "frames_made_total",
    "frames_dropped_total{place=\"egress\"}",
    "frames_waiting",
    "frames_published_total",
    "frames_confirmed_total",
    "frames_refused_total",
    "broker_connections_total",
    "jobs",
    "jobs_refused_total",
    "log_lines_lost_total",
];

/// The largest of what was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    pub looks: u64,
    pub healthz: Duration,
    pub memory: u64,
    pub files: usize,
    pub threads: usize,
    pub load: f64,
    pub jobs: f64,
}

pub struct Watch {
    world: Arc<World>,
    api: SocketAddr,
    pid: u32,
    account: Arc<Account>,
    state: Mutex<State>,
}

struct State {
    checker: Checker,
    violations: Violations,
    worst: Worst,
    last: Sample,
    table: BufWriter<File>,
}

impl Watch {
    /// # Errors
    /// When the table cannot be written.
    pub fn new(
        world: Arc<World>,
        api: SocketAddr,
        pid: u32,
        account: Arc<Account>,
        dir: &Path,
    ) -> std::io::Result<Self> {
        let mut table = BufWriter::new(File::create(dir.join("samples.csv"))?);
        let columns = COLUMNS.map(|name| name.replace('"', "")).join(",");
        writeln!(
            table,
            "at_s,traces_flow,broker_down,causes,ready,phase,said,healthz_ms,launched,memory_bytes,files,threads,{columns}"
        )?;
        let (checker, violations) = (Checker::default(), Violations::default());
        let state = State { checker, violations, worst: Worst::default(), last: Sample::default(), table };
        Ok(Self { world, api, pid, account, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it is dropped.
    pub async fn run(&self) {
        let mut http = Http::new(self.api);
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waits = Instant::now();
            ticks.tick().await;
            let late = waits.elapsed().saturating_sub(EVERY);
            if late > LATE {
                drop(self.world.begins(Kind::Machine, format!("machine: the watch had to wait {late:.1?}")));
            }
            let before = self.world.truth();
            let sample = self.look(&mut http).await;
            let truth = self.world.truth();
            let mut state = self.state();
            // A table that cannot be written is missed at the end; the checker goes on.
            let _ = writeln!(state.table, "{}", row(&sample, &truth));
            state.worst.take(&sample);
            // What changed during the look cannot be judged by it.
            if before.flow == truth.flow && before.broker == truth.broker {
                let broken = state.checker.look(&sample, &truth);
                self.note(&mut state, sample.at, broken);
            }
            state.last = sample;
        }
    }

    async fn look(&self, http: &mut Http) -> Sample {
        let at = self.world.now();
        let mut sample = Sample { at, launched: self.account.launched(), ..Sample::default() };
        let began = Instant::now();
        if self.ask(http, "/healthz").await.is_none_or(|(status, _)| status != 200) {
            return sample;
        }
        sample.healthz = Some(began.elapsed());
        if let Some((status, body)) = self.ask(http, "/readyz").await {
            sample.ready = status == 200;
            read_readiness(&body, &mut sample);
        }
        if let Some((200, body)) = self.ask(http, "/metrics").await {
            sample.metrics = Metrics::parse(&body);
        }
        sample.resources = resources(self.pid).unwrap_or_default();
        sample
    }

    async fn ask(&self, http: &mut Http, path: &str) -> Option<(u16, String)> {
        if let Ok(Ok(answer)) = timeout(ANSWER, http.get(path)).await {
            return Some((answer.status, String::from_utf8_lossy(&answer.body).into_owned()));
        }
        *http = Http::new(self.api);
        None
    }

    fn note(&self, state: &mut State, at: Duration, broken: Vec<Broken>) {
        for Violation { rule, what, .. } in state.violations.note(at, broken) {
            self.world.says(format!("VIOLATION: {rule}: {what}"));
        }
    }

    /// A rule was broken once, seen by somebody else.
    pub fn violated(&self, rule: &'static str, what: impl Into<String>) {
        let (at, what) = (self.world.now(), what.into());
        self.world.says(format!("VIOLATION: {rule}: {what}"));
        self.state().violations.once(at, rule, what);
    }

    pub fn last(&self) -> Sample {
        self.state().last.clone()
    }

    /// Judges a quiet time that began with `first` and ends now.
    pub fn quiet(&self, first: &Sample) {
        let mut state = self.state();
        let last = state.last.clone();
        for (rule, what) in state.checker.quiet(first, &last) {
            self.world.says(format!("VIOLATION: {rule}: {what}"));
            state.violations.once(last.at, rule, what);
        }
    }

    /// Judges the books when nothing moves any longer.
    pub fn last_books(&self) {
        for (rule, what) in at_the_end(&self.last()) {
            self.violated(rule, what);
        }
    }

    /// What was broken, and the largest of what was seen; the table is complete.
    pub fn end(&self) -> (Vec<Violation>, Worst) {
        let mut state = self.state();
        let _ = state.table.flush();
        (state.violations.all.clone(), state.worst)
    }
}

impl Worst {
    fn take(&mut self, sample: &Sample) {
        self.looks += 1;
        self.healthz = self.healthz.max(sample.healthz.unwrap_or(ANSWER));
        self.memory = self.memory.max(sample.resources.memory);
        self.files = self.files.max(sample.resources.files);
        self.threads = self.threads.max(sample.resources.threads);
        self.load = self.load.max(sample.count("fiberd_pipeline_load_ratio"));
        self.jobs = self.jobs.max(sample.count("fiberd_jobs"));
    }
}

/// The answer of `/readyz`, ready or not: its phase and all that it complains of, as sentences or as conditions.
fn read_readiness(body: &str, sample: &mut Sample) {
    let Ok(answer) = serde_json::from_str::<Value>(body) else { return };
    let readiness = if answer["details"].is_object() { &answer["details"] } else { &answer };
    readiness["phase"].as_str().unwrap_or_default().clone_into(&mut sample.phase);
    for list in ["reasons", "degraded", "conditions"] {
        for item in readiness[list].as_array().into_iter().flatten() {
            let sentence = item.as_str().or_else(|| item["what"].as_str()).unwrap_or("?");
            if !sample.said.iter().any(|said| said == sentence) {
                sample.said.push(sentence.to_owned());
            }
        }
    }
}

fn row(sample: &Sample, truth: &Truth) -> String {
    let Sample { at, healthz, ready, phase, said, resources, launched, .. } = sample;
    let causes = truth.causes.iter().filter(|cause| cause.ended.is_none()).map(|cause| cause.what.as_str());
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "'"));
    let mut row = format!(
        "{:.3},{},{},{},{ready},{phase},{},{},{launched},{},{},{}",
        at.as_secs_f64(),
        truth.flow.flowing,
        matches!(truth.broker, BrokerTruth::Down(_)),
        quoted(causes.collect::<Vec<_>>().join("; ")),
        quoted(said.join("; ")),
        healthz.map_or(String::new(), |time| format!("{:.1}", time.as_secs_f64() * 1e3)),
        resources.memory,
        resources.files,
        resources.threads,
    );
    for name in COLUMNS {
        let value = sample.metrics.value(&format!("fiberd_{name}"));
        let _ = write!(row, ",{}", value.map_or(String::new(), |value| value.to_string()));
    }
    row
}

/// Shows that both forms of readiness are understood.
pub fn verify() {
    let mut old = Sample::default();
    read_readiness(r#"{"ready":true,"phase":"acquiring","reasons":[],"degraded":["broker: away"]}"#, &mut old);
    assert_eq!((old.phase.as_str(), old.said), ("acquiring", vec!["broker: away".to_owned()]));
    let mut new = Sample::default();
    let body = r#"{"details":{"phase":"stalled","reasons":["a"],"conditions":[{"code":"x","what":"a"},{"what":"b"}]}}"#;
    read_readiness(body, &mut new);
    assert_eq!((new.phase.as_str(), new.said.len()), ("stalled", 2));
}
