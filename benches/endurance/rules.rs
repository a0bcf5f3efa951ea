//! The rules, as a pure checker over what the watch has seen and what the script knows to be true. No clock, no process.
//!
//! Every limit is generous, because the machine may be busy: a daemon that is right is right within a tenth of it, and
//! one that is deaf stays so for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use fiberd::bench::observe::Metrics;

use crate::books::{Moving, unequal};
use crate::daemon::Resources;
use crate::world::{BrokerTruth, Flow, Truth};

/// A standing view of the run. Both fit every shape of fiber, from 10 Hz to 20 kHz.
pub struct ViewOfRun {
    pub kind: &'static str,
    pub name: &'static str,
    pub nfft: u32,
    pub line_ms: u32,
    pub rest: &'static str,
}

pub const VIEWS: [ViewOfRun; 2] = [
    ViewOfRun { kind: "waterfall", name: "whole", nfft: 128, line_ms: 500, rest: "bands_hz = [[0, 4]]\n" },
    ViewOfRun { kind: "single", name: "one", nfft: 128, line_ms: 200, rest: "channel_min = 10\n" },
];

/// What a busy machine may add to any of the limits below: whole seconds in which nobody of us gets the processor.
const MACHINE: Duration = Duration::from_secs(8);
/// Silence after which the daemon says that it waits (its default), and the pulses that it grants at least.
const NO_TRACE: Duration = Duration::from_millis(500);
const NO_TRACE_PULSES: f64 = 20.0;
/// A ring that contradicted itself is left alone for 1 s, and a missing one is looked for every 50 ms.
const ATTACHES: Duration = Duration::from_secs(2);
/// After this time a daemon must know that its broker takes nothing: two heartbeats of 5 s, and as much again, because a
/// memory alarm is told only after the next publish.
const BROKER_KNOWN: Duration = Duration::from_secs(20);
/// How long something may be said to be wrong although nothing is.
const UNEXPLAINED: Duration = Duration::from_secs(5);
/// Blocks of the pool by default. Those beyond are for the history, which holds them when it is full.
const POOL_BLOCKS: f64 = 64.0;
/// Blocks between capture and pipeline in a quiet moment: 0.4 s.
const BLOCKS_UNDER_WAY: f64 = 20.0;
/// Frames under way in a quiet moment: the window of unconfirmed ones.
const FRAMES_UNDER_WAY: f64 = 64.0;
/// Seconds of traces that are under way or not yet looked at, between two looks that are not at the same moment.
const TRACES_UNDER_WAY_S: f64 = 1.5;
/// Connections that are about to be closed, and the daemon's own reconnecting.
const MORE_FILES: usize = 8;
/// Helpers of the runtime end after 10 s.
const MORE_THREADS: usize = 4;
/// What allocators keep for the next time.
const MORE_MEMORY: u64 = 128 << 20;

/// What one look saw.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub at: Duration,
    /// How long `/healthz` took; `None` when it did not answer.
    pub healthz: Option<Duration>,
    pub ready: bool,
    pub phase: String,
    /// All that `/readyz` complains of.
    pub said: Vec<String>,
    pub metrics: Metrics,
    pub resources: Resources,
    /// Pulses launched, by the driver's own account.
    pub launched: u64,
}

impl Sample {
    pub fn count(&self, name: &str) -> f64 {
        self.metrics.value(name).unwrap_or(0.0)
    }

    fn acquiring(&self) -> bool {
        self.phase == "acquiring"
    }
}

const BALANCE: &str = "books balance";

/// A rule that is broken, and how.
pub type Broken = (&'static str, String);

/// What has to be remembered from look to look.
#[derive(Default)]
pub struct Checker {
    lines: (f64, Duration),
    ready_since: Option<Duration>,
    /// Since when it does not acquire.
    silent_since: Option<Duration>,
    complains_since: Option<Duration>,
    no_block: f64,
    /// First quiet time: how things are at the start.
    start: Option<Sample>,
}

impl Checker {
    /// What must hold at every moment.
    pub fn look(&mut self, sample: &Sample, truth: &Truth) -> Vec<Broken> {
        let mut broken = Vec::new();
        if sample.healthz.is_none() {
            broken.push(("/healthz answers", "no answer".into()));
            return broken;
        }
        broken.extend(self.flow(sample, &truth.flow));
        broken.extend(self.complaints(sample, truth));
        let no_block = sample.count("fiberd_traces_dropped_total{place=\"no_block\"}");
        if no_block > self.no_block {
            let lost = no_block - self.no_block;
            broken.push(("no trace is dropped without a free block", format!("{lost} traces, {no_block} in all")));
        }
        self.no_block = no_block;
        broken
    }

    fn flow(&mut self, sample: &Sample, flow: &Flow) -> Vec<Broken> {
        let mut broken = Vec::new();
        let (at, lines) = (sample.at, sample.count("fiberd_lines_total"));
        let says_flow = sample.ready && sample.acquiring();
        if lines.to_bits() != self.lines.0.to_bits() {
            self.lines = (lines, at);
        }
        self.ready_since = says_flow.then(|| self.ready_since.unwrap_or(at));
        if let Some(since) = self.ready_since {
            // The windows may have been emptied by what happened last.
            let still = at.saturating_sub(since.max(self.lines.1).max(flow.since));
            if still > lines_within(flow) {
                broken.push(("ready and acquiring only while lines come", format!("no line for {still:.1?}")));
            }
        }
        let for_so_long = at.saturating_sub(flow.since);
        if !flow.flowing && sample.acquiring() && for_so_long > waits_within(flow) {
            let what = format!("acquiring, but no traces for {for_so_long:.1?}");
            broken.push(("waiting for fiber soon after traces stop", what));
        }
        // A machine that lets the driver wait for a moment makes it stall for a moment.
        self.silent_since = (!sample.acquiring()).then(|| self.silent_since.unwrap_or(at));
        let silent = self.silent_since.map_or(Duration::ZERO, |since| at.saturating_sub(since.max(flow.since)));
        if flow.flowing && silent > acquires_within(flow) {
            let what = format!("{} ({}), but traces for {silent:.1?}", sample.phase, sample.said.join("; "));
            broken.push(("acquiring soon after traces come back", what));
        }
        broken
    }

    fn complaints(&mut self, sample: &Sample, truth: &Truth) -> Vec<Broken> {
        let mut broken = Vec::new();
        let at = sample.at;
        let complains = !sample.ready || !sample.said.is_empty();
        let unexplained = complains && truth.excuse(at).is_none();
        self.complains_since = unexplained.then(|| self.complains_since.unwrap_or(at));
        if let Some(since) = self.complains_since.filter(|since| at.saturating_sub(*since) > UNEXPLAINED) {
            let what = format!("for {:.1?}: {}", at.saturating_sub(since), sample.said.join("; "));
            broken.push(("no complaint without a cause", what));
        }
        if let BrokerTruth::Down(since) = truth.broker {
            let for_so_long = at.saturating_sub(since);
            if for_so_long > BROKER_KNOWN + MACHINE && !complains {
                broken.push(("a broker that takes nothing is said", format!("nothing said for {for_so_long:.1?}")));
            }
        }
        broken
    }

    /// What must hold over a quiet time, seen at its beginning and at its end.
    pub fn quiet(&mut self, first: &Sample, last: &Sample) -> Vec<Broken> {
        let start = self.start.get_or_insert_with(|| last.clone());
        let mut broken = books(first, last);
        let (now, then) = (last.resources, start.resources);
        if now.files > then.files + MORE_FILES {
            broken.push(("as many files as at the start", format!("{} after {}", now.files, then.files)));
        }
        if now.threads > then.threads + MORE_THREADS {
            broken.push(("as many threads as at the start", format!("{} after {}", now.threads, then.threads)));
        }
        if now.memory > then.memory + MORE_MEMORY {
            let mib = |bytes: u64| bytes >> 20;
            let what = format!("{} MiB after {} MiB", mib(now.memory), mib(then.memory));
            broken.push(("as much memory as at the start", what));
        }
        // A gauge that not every version of the daemon has.
        let free = |sample: &Sample| sample.metrics.value("fiberd_capture_free_blocks");
        if let (Some(now), Some(then)) = (free(last), free(start))
            && now < then.min(POOL_BLOCKS) - BLOCKS_UNDER_WAY
        {
            broken.push(("all blocks come home", format!("{now} free, {then} at the start")));
        }
        broken
    }
}

/// What must hold when the driver has ended and all is read, computed and answered: exactly.
pub fn at_the_end(last: &Sample) -> Vec<Broken> {
    let mut broken: Vec<Broken> =
        unequal(&last.metrics, Moving::NOTHING).into_iter().map(|what| (BALANCE, what)).collect();
    // As far as the daemon knows; it cannot know of those before the first and behind the last that it saw.
    if let Some(known) =
        last.metrics.value("fiberd_traces_launched_total").filter(|known| *known > last.launched as f64)
    {
        broken.push(("no more traces than were launched", format!("{known} known of, {} launched", last.launched)));
    }
    let (passed_on, processed) = (last.count("fiberd_blocks_total"), last.count("fiberd_blocks_processed_total"));
    if passed_on.to_bits() != processed.to_bits() {
        broken.push(("blocks passed on are blocks processed", format!("{passed_on} passed on, {processed} processed")));
    }
    broken
}

/// The books of a quiet time.
fn books(first: &Sample, last: &Sample) -> Vec<Broken> {
    let mut broken = Vec::new();
    let grown = |name: &str| last.count(name) - first.count(name);
    let launched = (last.launched - first.launched) as f64;
    let (read, missing) = (grown("fiberd_traces_total"), grown("fiberd_gap_traces_total"));
    let prr_hz = last.metrics.value("fiberd_prr_declared_hertz").unwrap_or(0.0);
    if (launched - read).abs() > TRACES_UNDER_WAY_S * prr_hz {
        broken.push(("traces launched are traces read", format!("{launched} launched, {read} read")));
    }
    if missing > 0.0 {
        broken.push(("no trace is missing while it is quiet", format!("{missing} traces")));
    }
    let blocks = last.count("fiberd_blocks_total") - last.count("fiberd_blocks_processed_total");
    if blocks.abs() > BLOCKS_UNDER_WAY {
        broken.push(("blocks passed on are blocks processed", format!("{blocks} are neither here nor there")));
    }
    let moving = Moving { traces: TRACES_UNDER_WAY_S * prr_hz, frames: FRAMES_UNDER_WAY };
    broken.extend(unequal(&last.metrics, moving).into_iter().map(|what| (BALANCE, what)));
    let jobs = last.count("fiberd_jobs");
    if jobs > 0.0 {
        broken.push(("jobs end after their clients", format!("{jobs} jobs are left")));
    }
    broken
}

/// Longest time between two lines of all views: a window must fill, then a line.
fn lines_within(flow: &Flow) -> Duration {
    let view = |view: &ViewOfRun| {
        Duration::from_secs_f64(2.0 * f64::from(view.nfft) / flow.shape.prr_hz)
            + Duration::from_millis(view.line_ms.into())
    };
    VIEWS.iter().map(view).min().unwrap_or_default() + 2 * flow.shape.slot() + MACHINE
}

fn waits_within(flow: &Flow) -> Duration {
    NO_TRACE.max(Duration::from_secs_f64(NO_TRACE_PULSES / flow.shape.prr_hz)) + 2 * flow.shape.slot() + MACHINE
}

/// "acquiring" is said when lines come.
fn acquires_within(flow: &Flow) -> Duration {
    ATTACHES + 2 * flow.shape.slot() + lines_within(flow)
}

/// Rules that are broken for a while are one violation.
#[derive(Default)]
pub struct Violations {
    pub all: Vec<Violation>,
    open: BTreeMap<&'static str, usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub rule: &'static str,
    /// As it was seen first.
    pub what: String,
    pub began: Duration,
    pub last: Duration,
}

impl Violations {
    /// All rules that are broken at `at`; returns those that were not broken a look ago.
    pub fn note(&mut self, at: Duration, broken: Vec<Broken>) -> Vec<Violation> {
        let mut open = BTreeMap::new();
        let mut new = Vec::new();
        for (rule, what) in broken {
            let place = *self.open.get(rule).unwrap_or(&self.all.len());
            if place == self.all.len() {
                self.all.push(Violation { rule, what, began: at, last: at });
                new.push(self.all[place].clone());
            }
            self.all[place].last = at;
            open.insert(rule, place);
        }
        self.open = open;
        new
    }

    /// One that has no duration.
    pub fn once(&mut self, at: Duration, rule: &'static str, what: String) -> Violation {
        self.all.push(Violation { rule, what, began: at, last: at });
        self.all[self.all.len() - 1].clone()
    }
}
