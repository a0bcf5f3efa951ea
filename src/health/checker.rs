//! The checker: snapshots in, conditions out. Pure; what it remembers is since when each condition holds, and when each
//! count last rose.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use super::rules::{self, Found, LOSSES};
use crate::acquisition::{Phase, SourceKind};
use crate::status::{Book, BrokerState, Condition, Counters, Findings, Severity, Stage, Status, now_ms};

/// How long a loss goes on to count as happening now.
const LOSS_HOLDS: Duration = Duration::from_secs(5);

/// How long lines may take beyond the time in which they are due: a block, and a host that is busy with other things.
const LINES_LATE: Duration = Duration::from_secs(2);

/// How long there may be no free block before that is a condition: a pipeline that catches up takes no longer.
const NO_BLOCK_LATE: Duration = Duration::from_millis(500);

/// How long the pipeline may need more than it may: jobs that are too much are ended sooner.
const OVERLOAD_LATE: Duration = Duration::from_secs(3);

/// How long an equation may be off to one side.
const BOOKS_OFF: Duration = Duration::from_secs(10);

/// Timestamps of a live interrogator further from this host's clock than this are wrong: a time zone, a unit.
const UTC_OFF_MS: i64 = 10 * 60 * 1000;

/// What the configuration says of health.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Deviation of the measured PRR that is reported, parts per million.
    pub prr_tolerance_ppm: f64,
    /// Share of real time that the pipeline may need.
    pub max_load: f64,
}

/// What all stages say of themselves at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Since any fixed origin, never running backwards.
    pub at: Duration,
    /// Milliseconds since the UNIX epoch.
    pub now_ms: i64,
    /// Whether there is signal.
    pub phase: Phase,
    /// Since when.
    pub phase_since_ms: i64,
    /// How it stands with the broker.
    pub broker: BrokerState,
    /// Whether commands from the broker are heard.
    pub commands_heard: bool,
    /// What stages have found and not taken back.
    pub findings: Findings,
    /// Stages whose heartbeat has stopped.
    pub stuck: Vec<Stage>,
    /// PRR measured against the clock, Hz.
    pub prr_measured_hz: Option<f64>,
    /// UTC of the newest trace, milliseconds since the UNIX epoch.
    pub last_trace_ms: Option<i64>,
    /// Blocks that capture could take; `None` before there is a pool.
    pub free_blocks: Option<u64>,
    /// Share of real time that views and jobs need once all windows are full.
    pub demand: f64,
    /// Lines made so far.
    pub lines: u64,
    /// Times that traces were missing so far: windows begin anew behind each.
    pub gaps: u64,
    /// The quickest view has a line within this many seconds; 0 while no view is planned.
    pub lines_due_s: f64,
    /// Equations that must hold.
    pub books: Vec<Book>,
    /// What was lost so far, in the order of [`LOSSES`].
    pub(super) lost: [u64; LOSSES.len()],
}

impl Snapshot {
    /// What `status` says at `at`.
    pub fn of(status: &Status, at: Duration) -> Self {
        let (phase, report) = (status.phase(), status.report());
        let c: &Counters = &status.counters;
        Self {
            at,
            now_ms: now_ms(),
            phase: phase.phase,
            phase_since_ms: phase.since_ms,
            broker: report.broker,
            commands_heard: c.commands.heard.get() > 0.0,
            findings: status.findings(),
            stuck: status.stuck(),
            prr_measured_hz: report.prr_measured_hz,
            last_trace_ms: report.last_trace_ms,
            free_blocks: (c.capture.pool_blocks.get() > 0.0).then(|| c.capture.free_blocks.get() as u64),
            demand: c.pipeline.demand.get(),
            lines: c.pipeline.lines.get(),
            gaps: c.capture.gaps.get(),
            lines_due_s: c.pipeline.lines_due_s.get(),
            books: c.traces_books().into_iter().chain(c.frame_books()).chain(c.job_frames.books()).collect(),
            lost: std::array::from_fn(|i| (LOSSES[i].count)(c)),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Checker {
    limits: Limits,
    /// What was found last, each behind the time since when it holds, in milliseconds since the UNIX epoch.
    known: Vec<(i64, Found)>,
    losses: [Loss; LOSSES.len()],
    lines: Moving,
    lines_late: bool,
    no_block_since: Option<Duration>,
    overloaded_since: Option<Duration>,
    prr_off: bool,
    /// Since when each book is off, always to the same side.
    off: HashMap<&'static str, (Ordering, Duration)>,
}

/// A count of what is lost.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    total: u64,
    /// What the total was when the present loss began.
    before: u64,
    rose_at: Option<Duration>,
}

/// Lines, which should come.
#[derive(Debug, Default)]
struct Moving {
    /// Lines, and gaps behind which they are waited for anew.
    total: (u64, u64),
    /// When one last came, or began to be expected.
    moved_at: Option<Duration>,
}

impl Checker {
    /// Nothing has been seen yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            known: Vec::new(),
            losses: [Loss::default(); LOSSES.len()],
            lines: Moving::default(),
            lines_late: false,
            no_block_since: None,
            overloaded_since: None,
            prr_off: false,
            off: HashMap::new(),
        }
    }

    /// The conditions at the moment of `snapshot`, the worst first. Snapshots come in order of time.
    pub fn check(&mut self, snapshot: &Snapshot) -> Vec<Condition> {
        let mut found = Vec::new();
        found.extend(rules::of_phase(&snapshot.phase));
        found.extend(snapshot.stuck.iter().map(|stage| rules::stuck(*stage)));
        found.extend(rules::of_findings(&snapshot.findings));
        let told = found.iter().any(|found: &Found| found.rule.severity == Severity::NotReady);
        found.extend(self.of_lines(snapshot, told));
        found.extend(self.of_losses(snapshot));
        found.extend(self.of_blocks(snapshot));
        found.extend(self.of_load(snapshot));
        found.extend(self.of_rate(snapshot));
        found.extend(self.of_books(snapshot));
        found.extend(of_utc(snapshot));
        found.extend(rules::of_broker(&snapshot.broker, &snapshot.findings, snapshot.commands_heard));
        let mut conditions = self.dated(found, snapshot);
        conditions.sort_by_key(|condition| std::cmp::Reverse(condition.severity));
        conditions
    }

    /// Whether traces come and no lines do: then nobody may say "acquiring".
    pub const fn lines_are_late(&self) -> bool {
        self.lines_late
    }

    /// Each with the time since when it has held without a break, and none told twice. Several connections that are
    /// refused for one reason are one condition, which holds as long as one of them is; a condition whose words change,
    /// as counts do, is known by its subject.
    fn dated(&mut self, found: Vec<Found>, snapshot: &Snapshot) -> Vec<Condition> {
        let since_ms = |one: &Found| {
            let same_code = || self.known.iter().filter(|(_, known)| known.rule.code == one.rule.code);
            let same_words = same_code().find(|(_, known)| known.what == one.what);
            let known = same_words.or_else(|| same_code().find(|(_, known)| known.subject == one.subject));
            known.map_or(snapshot.now_ms, |(since_ms, _)| *since_ms)
        };
        let known: Vec<_> = found.into_iter().map(|one| (since_ms(&one), one)).collect();
        let mut conditions: Vec<Condition> = Vec::with_capacity(known.len());
        for (since_ms, Found { rule, subject, what }) in &known {
            if !conditions.iter().any(|told| (told.code, &told.what) == (rule.code, what)) {
                conditions.push(Condition {
                    code: rule.code,
                    subject: subject.clone(),
                    what: what.clone(),
                    since_ms: *since_ms,
                    severity: rule.severity,
                    advice: rule.advice,
                });
            }
        }
        self.known = known;
        conditions
    }

    /// Traces flow, a view is planned, and no line comes out. When the reason is found already, it is not told twice.
    fn of_lines(&mut self, snapshot: &Snapshot, told: bool) -> Option<Found> {
        let impossible = snapshot.findings.keys().any(|(kind, _)| rules::stops_all_lines(*kind));
        let expected = matches!(snapshot.phase, Phase::Acquiring(_)) && snapshot.lines_due_s > 0.0;
        let moves = (snapshot.lines, snapshot.gaps);
        let rose = moves != self.lines.total;
        self.lines.total = moves;
        if !expected || rose || self.lines.moved_at.is_none() {
            self.lines.moved_at = expected.then_some(snapshot.at);
        }
        let allowed = LINES_LATE + Duration::from_secs_f64(snapshot.lines_due_s.clamp(0.0, 1e6));
        let silent = self.lines.moved_at.map_or(Duration::ZERO, |moved| snapshot.at.saturating_sub(moved));
        let late = expected && silent >= allowed;
        self.lines_late = late || (impossible && matches!(snapshot.phase, Phase::Acquiring(_)));
        (late && !told).then(rules::no_lines)
    }

    fn of_losses(&mut self, snapshot: &Snapshot) -> Vec<Found> {
        let mut found = Vec::new();
        for ((loss, rule), &total) in self.losses.iter_mut().zip(&LOSSES).zip(&snapshot.lost) {
            let held = loss.rose_at.is_some_and(|at| snapshot.at.saturating_sub(at) < LOSS_HOLDS);
            if total > loss.total {
                if !held {
                    loss.before = loss.total;
                }
                loss.rose_at = Some(snapshot.at);
            } else if !held {
                loss.rose_at = None;
            }
            loss.total = total;
            if loss.rose_at.is_some() {
                found.push(Found::new(&rule.rule, rule.words(total - loss.before)));
            }
        }
        found
    }

    fn of_blocks(&mut self, snapshot: &Snapshot) -> Option<Found> {
        let none = snapshot.free_blocks == Some(0);
        lasts(&mut self.no_block_since, none, snapshot.at, NO_BLOCK_LATE).then(rules::no_free_block)
    }

    fn of_load(&mut self, snapshot: &Snapshot) -> Option<Found> {
        let (demand, max_load) = (snapshot.demand, self.limits.max_load);
        let over = demand > max_load && matches!(snapshot.phase, Phase::Acquiring(_));
        lasts(&mut self.overloaded_since, over, snapshot.at, OVERLOAD_LATE).then(|| rules::overloaded(demand, max_load))
    }

    /// While things flow, the numbers of an equation are read one after the other and are off to either side in turn. One
    /// that is off to the same side at each look has lost something, or counted it twice.
    fn of_books(&mut self, snapshot: &Snapshot) -> Vec<Found> {
        let mut found = Vec::new();
        for book in &snapshot.books {
            let side = book.left.cmp(&book.right);
            if side == Ordering::Equal || (book.has_waiting && side == Ordering::Greater) {
                self.off.remove(book.what);
                continue;
            }
            let off = self.off.entry(book.what).or_insert((side, snapshot.at));
            if off.0 != side {
                *off = (side, snapshot.at);
            }
            if snapshot.at.saturating_sub(off.1) >= BOOKS_OFF {
                found.push(rules::unbalanced(book));
            }
        }
        found
    }

    /// The measured PRR against the declared one. Back only at half the tolerance, so that a rate on the edge does not
    /// come and go.
    fn of_rate(&mut self, snapshot: &Snapshot) -> Option<Found> {
        let declared_hz = snapshot.phase.acquisition()?.prr.to_f64();
        let measured_hz = snapshot.prr_measured_hz?;
        let ppm = (measured_hz / declared_hz - 1.0) * 1e6;
        let edge = if self.prr_off { 0.5 } else { 1.0 } * self.limits.prr_tolerance_ppm;
        self.prr_off = ppm.abs() > edge;
        self.prr_off.then(|| rules::prr_off(declared_hz, measured_hz, ppm))
    }
}

/// Whether something has been so for `limit` at the moment `at`.
fn lasts(since: &mut Option<Duration>, is_so: bool, at: Duration, limit: Duration) -> bool {
    *since = is_so.then(|| since.unwrap_or(at));
    since.is_some_and(|since| at.saturating_sub(since) >= limit)
}

/// Live traces that claim to be of another time than now.
fn of_utc(snapshot: &Snapshot) -> Option<Found> {
    let Phase::Acquiring(acquisition) = &snapshot.phase else { return None };
    if acquisition.source == SourceKind::Replay {
        return None;
    }
    let behind_ms = snapshot.now_ms - snapshot.last_trace_ms?;
    (behind_ms.abs() > UTC_OFF_MS).then(|| rules::utc_off(behind_ms))
}
