//! Many jobs at once, and what is measured while they are held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fiberd::bench::observe::Metrics;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::grpc::Fault;
use crate::http::Http;
use crate::job::{Job, Live, Readers, Refused, Wish};
use crate::report::Report;
use crate::rig::{Account, Rig, Spent};
use crate::say;
use crate::tally::{Counts, Tally, Times};

/// Clients that start or end jobs at the same time.
const HANDS: usize = 8;
/// Words of a fault.
pub const NO_METRICS: &str = "the daemon does not tell its metrics";
const LOOK: Duration = Duration::from_secs(1);

/// Does `work` for each of `items`, some at a time, over as many connections. What comes of it stands in no order.
pub async fn each<T, R>(rig: &Rig, items: Vec<T>, work: impl AsyncFn(&mut Http, T) -> R) -> Vec<R> {
    let queue = Mutex::new(VecDeque::from(items));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let hand = async || {
        let mut http = Http::new(rig.http_address);
        let mut done = Vec::new();
        while let Some(item) = next() {
            done.push(work(&mut http, item).await);
        }
        done
    };
    join_all((0..HANDS).map(|_| hand())).await.into_iter().flatten().collect()
}

/// Jobs that are held, with all who read them.
pub struct Crowd {
    pub tally: Arc<Tally>,
    pub live: Vec<Live>,
    /// What `/configure` took, ms.
    pub configured: Vec<f64>,
}

impl Crowd {
    pub fn new() -> Self {
        Self { tally: Arc::default(), live: Vec::new(), configured: Vec::new() }
    }

    /// Starts jobs and opens their readers; the words of the first refusal when there is no more room.
    pub async fn add(&mut self, rig: &Rig, wishes: Vec<(Wish, Readers)>) -> Option<String> {
        let started = each(rig, wishes, async |http, (wish, readers)| {
            let (job, ms) = Job::configure(http, &wish).await?;
            Ok::<_, Refused>((Live::open(job, readers, rig, &self.tally).await?, ms))
        })
        .await;
        let mut refusal = None;
        for started in started {
            match started {
                Ok((live, ms)) => {
                    self.live.push(live);
                    self.configured.push(ms);
                }
                Err(Refused::NoRoom(words)) => refusal = Some(words),
                Err(Refused::Fault(error)) => self.tally.fault("starting a job", error),
            }
        }
        refusal
    }

    /// Ends all jobs; what `DELETE` took, ms.
    pub async fn close(&mut self, rig: &Rig) -> Times {
        let live = std::mem::take(&mut self.live);
        let took = each(rig, live, async |http, live: Live| live.close(http, &self.tally).await).await;
        Times::of(took.into_iter().flatten().collect())
    }
}

/// What there was at a moment.
pub struct Moment {
    pub spent: Spent,
    pub account: Account,
    pub counts: Counts,
    pub metrics: Metrics,
}

impl Moment {
    pub async fn now(rig: &Rig, tally: &Tally) -> Result<Self, Fault> {
        let metrics = rig.metrics().await.ok_or(NO_METRICS)?;
        let (account, spent) = (rig.account().await?, rig.spent().await?);
        Ok(Self { spent, account, counts: tally.counts(), metrics })
    }
}

/// An interval with its beginning, its end, and looks in between.
pub struct Held {
    pub from: Moment,
    pub to: Moment,
    /// Memory of the daemon, once a second.
    memory: Vec<u64>,
    loads: Vec<f64>,
}

/// Looks on for `time`.
pub async fn hold(rig: &mut Rig, crowd: &Crowd, time: Duration, what: &str) -> Result<Held, Fault> {
    let tally = &crowd.tally;
    let from = Moment::now(rig, tally).await?;
    let (mut memory, mut loads) = (Vec::new(), Vec::new());
    let (began, mut before, mut told) = (Instant::now(), (Instant::now(), from.counts), Duration::ZERO);
    let often = LOOK.max(time / 60);
    while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        sleep(left.min(LOOK)).await;
        rig.must_live()?;
        memory.push(rig.account().await?.memory);
        if began.elapsed() < told + often {
            continue;
        }
        told = began.elapsed();
        let metrics = rig.metrics().await.ok_or(NO_METRICS)?;
        let load = metrics.value("fiberd_pipeline_load_ratio").unwrap_or_default();
        loads.push(load);
        let counts = tally.counts();
        let s = before.0.elapsed().as_secs_f64();
        say(&format!(
            "  {what} {:.0} of {:.0} s: {} jobs, {:.0} lines/s, {:.1} MB/s, {} lines lost, {} faults, pipeline load {:.0} %, \
             daemon {:.0} MB",
            told.as_secs_f64(),
            time.as_secs_f64(),
            crowd.live.len(),
            (counts.lines - before.1.lines) as f64 / s,
            (counts.bytes - before.1.bytes) as f64 / s / 1e6,
            counts.lost,
            tally.faults().len(),
            100.0 * load,
            memory.last().copied().unwrap_or_default() as f64 / 1e6,
        ));
        before = (Instant::now(), counts);
    }
    let to = Moment::now(rig, tally).await?;
    Ok(Held { from, to, memory, loads })
}

impl Held {
    pub fn seconds(&self) -> f64 {
        (self.to.spent.at - self.from.spent.at).as_secs_f64()
    }

    pub fn lines_per_s(&self) -> f64 {
        (self.to.counts.lines - self.from.counts.lines) as f64 / self.seconds()
    }

    pub fn mb_per_s(&self) -> f64 {
        (self.to.counts.bytes - self.from.counts.bytes) as f64 / self.seconds() / 1e6
    }

    /// Traces lost since the beginning, and those of them that the daemon lost.
    pub fn traces_lost(&self) -> (u64, u64) {
        traces_lost(&self.from.metrics, &self.to.metrics)
    }

    /// From the median of the first tenth to that of the last, percent.
    pub fn growth_percent(&self) -> Option<f64> {
        let tenth = self.memory.len().div_ceil(10);
        let median = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part.get(part.len() / 2).map(|bytes| *bytes as f64)
        };
        let (first, last) = (self.memory.get(..tenth)?, self.memory.get(self.memory.len() - tenth..)?);
        Some(100.0 * (median(last)? / median(first)? - 1.0))
    }

    /// Processor, memory and pipeline into the report.
    pub fn machine(&self, report: &mut Report) {
        let s = self.seconds();
        let cores = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / s;
        let (from, to) = (&self.from.spent, &self.to.spent);
        let daemon = cores(from.daemon, to.daemon);
        report.number("CPU: daemon", daemon, "cores");
        let (producer, own) = (cores(from.producer, to.producer), cores(from.own, to.own));
        report.number("CPU: readers and checks", own, "cores");
        report.number("CPU: interrogator", producer, "cores");
        let others = cores(from.machine.busy, to.machine.busy) - daemon - producer - own;
        report.number("CPU: others on this machine", others.max(0.0), "cores");
        report.number("CPU: kept back by the hypervisor", cores(from.machine.stolen, to.machine.stolen), "cores");
        let load = self.loads.iter().sum::<f64>() / self.loads.len() as f64;
        report.number("pipeline load, mean", Some(100.0 * load).filter(|load| load.is_finite()), "%");
        // Only of our own daemon is more known than it tells itself.
        let ring = if self.to.account.ports.is_some() { "without" } else { "with" };
        report.number(format!("memory of the daemon {ring} the ring"), self.to.account.memory as f64 / 1e6, "MB");
        report.count("  open files", self.to.account.files as u64);
        report.count("  threads", self.to.account.threads as u64);
    }
}

/// Traces that were lost between two looks: all, and those that the daemon lost itself.
pub fn traces_lost(from: &Metrics, to: &Metrics) -> (u64, u64) {
    let since = |name: &str| to.count(name).saturating_sub(from.count(name));
    let all = since("fiberd_gap_traces_total");
    (all, all.saturating_sub(since("fiberd_traces_dropped_total{place=\"before_ring\"}")))
}
