//! The words of all conditions: code, how bad, what to do. What an operator reads stands here and nowhere else.

use crate::acquisition::Phase;
use crate::status::{Book, BrokerState, Counters, FindingKind, Findings, Severity, Stage};

/// What is always the same about a kind of condition.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    pub(super) advice: &'static str,
}

/// A condition that holds now. The checker knows since when.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) rule: &'static Rule,
    /// Tells several conditions of one code apart.
    pub(super) subject: String,
    pub(super) what: String,
}

impl Found {
    pub(super) fn new(rule: &'static Rule, what: impl Into<String>) -> Self {
        Self { rule, subject: String::new(), what: what.into() }
    }

    fn about(self, subject: &str) -> Self {
        Self { subject: subject.into(), ..self }
    }
}

/// A count whose rise is a condition.
pub(super) struct LossRule {
    pub(super) rule: Rule,
    pub(super) count: fn(&Counters) -> u64,
    /// One of what is lost, several of them, and how they get lost.
    words: (&'static str, &'static str, &'static str),
}

impl LossRule {
    pub(super) fn words(&self, lost: u64) -> String {
        let (one, many, how) = self.words;
        format!("{lost} {} {how}", if lost == 1 { one } else { many })
    }
}

const fn degraded(code: &'static str, advice: &'static str) -> Rule {
    Rule { code, severity: Severity::Degraded, advice }
}

const fn not_ready(code: &'static str, advice: &'static str) -> Rule {
    Rule { code, severity: Severity::NotReady, advice }
}

const WAITING: Rule =
    not_ready("waiting_for_fiber", "see to light, fiber or driver; fiberd carries on by itself when traces come");
const DRAINING: Rule = not_ready("draining", "wait: the daemon is stopping or the replay has ended");
const STALLED: Rule = degraded("stalled", "see to the driver if it does not become another state within a second");
const STUCK: Rule = not_ready("stage_stuck", "restart the daemon and report this with the log");
const NO_LINES: Rule =
    not_ready("no_lines", "see the other conditions and the log; restart the daemon if there is nothing else");
const NO_FREE_BLOCK: Rule =
    degraded("no_free_block", "take load off: fewer or cheaper views and jobs, or more [processing] threads");
const OVERLOADED: Rule =
    degraded("pipeline_overloaded", "take load off: fewer channels, longer line periods, or more [processing] threads");
const PRR_OFF: Rule = degraded("prr_off", "check the clock of the interrogator, and the PRR that it declares");
const UTC_OFF: Rule = degraded("utc_implausible", "check clock, time zone and unit of the driver's timestamps");
const BROKER_CONNECTING: Rule = degraded("broker_connecting", "wait a moment");
const BROKER_BLOCKED: Rule = degraded("broker_blocked", "see to memory and disk of RabbitMQ");
const BROKER_AWAY: Rule = degraded("broker_away", "see to RabbitMQ and the network; fiberd reconnects for ever");
const COMMANDS_UNHEARD: Rule = degraded("commands_unheard", "see the log for what the broker says");

const BOOKS: Rule = degraded("books_unbalanced", "report this with the log: something is lost without being counted");

/// Every count whose rise is a condition.
pub(super) const LOSSES: [LossRule; 14] = [
    LossRule {
        rule: degraded(
            "traces_dropped",
            "take load off: fewer or cheaper views and jobs, or more [processing] threads",
        ),
        count: |c| c.capture.traces_dropped_no_block.get(),
        words: ("trace", "traces", "dropped because the pipeline was too slow"),
    },
    LossRule {
        rule: degraded("traces_missing", "see to the driver, and to the load of this host"),
        count: |c| c.capture.traces_missed_in_source.get(),
        words: ("trace", "traces", "missing from the interrogator"),
    },
    LossRule {
        rule: degraded("frames_dropped", "see to RabbitMQ: it is away, blocked or too slow"),
        count: |c| c.egress.frames_dropped.get(),
        words: ("frame", "frames", "dropped because the broker did not take them in time"),
    },
    LossRule {
        rule: degraded("frames_lost", "see to queues with a length limit and to the broker's message size limit"),
        count: |c| c.publish.frames_given_up.get() + c.publish.frames_too_large.get(),
        words: ("frame", "frames", "lost because the broker refuses them"),
    },
    LossRule {
        rule: degraded("job_frames_lost", "see to RabbitMQ: it is away, blocked or too slow"),
        count: |c| {
            let on_the_way = c.job_egress.frames_dropped.get() + c.job_frames.dropped.get() + c.job_frames.late.get();
            on_the_way + c.job_frames.too_large.get() + c.job_frames.lost.get()
        },
        words: ("frame of a job", "frames of jobs", "lost on the way to the broker"),
    },
    LossRule {
        rule: degraded(
            "jobs_ended_for_load",
            "ask for fewer or cheaper jobs, or raise [jobs] max_load on a host that bears it",
        ),
        count: |c| c.pipeline.jobs_overloaded.get(),
        words: ("job", "jobs", "ended because all together were more than the pipeline bears"),
    },
    LossRule {
        rule: degraded("nonfinite_input", "see to the driver: samples must be finite numbers"),
        count: |c| c.pipeline.nonfinite_samples.get(),
        words: ("sample", "samples", "that were no finite number, replaced by zero"),
    },
    LossRule {
        rule: degraded("clock_stepped", "see to the time source of the interrogator"),
        count: |c| c.pipeline.clock_steps.get(),
        words: ("step", "steps", "of the interrogator's clock"),
    },
    LossRule {
        rule: degraded(
            "stamps_doubted",
            "see to the time source of the interrogator, and to how its driver stamps traces",
        ),
        count: |c| c.pipeline.stamps_doubted.get(),
        words: ("time stamp", "time stamps", "not believed: not where those before say that it should be"),
    },
    LossRule {
        rule: degraded("log_lines_lost", "see to whoever reads the log: it is too slow"),
        count: |c| c.log.lines_lost.get(),
        words: ("log line", "log lines", "lost because nobody took them"),
    },
    LossRule {
        rule: degraded("job_lines_lost", "see to clients that read jobs too slowly, and to the network between"),
        count: |c| c.jobs.lines_lost.get(),
        words: ("line of a job", "lines of jobs", "lost because clients read too slowly"),
    },
    LossRule {
        rule: degraded("job_polls_refused", "see to clients that ask for rows of jobs and do not read the answers"),
        count: |c| c.jobs.polls_refused.get(),
        words: ("poll", "polls", "refused because answers that nobody reads take all the memory there is for them"),
    },
    LossRule {
        rule: degraded("sockets_refused", "close WebSockets that nobody looks at: as many as may be are open"),
        count: |c| c.streams.sockets_refused.get(),
        words: ("WebSocket", "WebSockets", "refused because as many as may be are open"),
    },
    LossRule {
        rule: degraded(
            "values_narrowed",
            "start the job again, which takes a unit for the signal of now; frames with dtype f32 lose nothing",
        ),
        count: |c| c.narrowed_for_jobs.poor_frames.get() + c.narrowed_for_broker.poor_frames.get(),
        words: ("frame", "frames", "in which more than one value in a hundred became 0 or infinite as float16"),
    },
];

/// Every code that there is, for metrics.
pub const CODES: [&str; 41] = [
    WAITING.code,
    DRAINING.code,
    STALLED.code,
    STUCK.code,
    NO_LINES.code,
    NO_FREE_BLOCK.code,
    PRR_OFF.code,
    UTC_OFF.code,
    BROKER_CONNECTING.code,
    BROKER_BLOCKED.code,
    BROKER_AWAY.code,
    COMMANDS_UNHEARD.code,
    BOOKS.code,
    OVERLOADED.code,
    finding(FindingKind::ConditioningImpossible).code,
    finding(FindingKind::ViewLeftOut).code,
    finding(FindingKind::NoViewFits).code,
    finding(FindingKind::ViewSilent).code,
    finding(FindingKind::CaptureNoted).code,
    finding(FindingKind::CaptureDamaged).code,
    finding(FindingKind::SourceFlawed).code,
    finding(FindingKind::ReceiverOverloaded).code,
    finding(FindingKind::Calibrating).code,
    finding(FindingKind::BrokerRefused).code,
    finding(FindingKind::FramesRefused).code,
    finding(FindingKind::FramesTooLarge).code,
    finding(FindingKind::ReadersShortened).code,
    LOSSES[0].rule.code,
    LOSSES[1].rule.code,
    LOSSES[2].rule.code,
    LOSSES[3].rule.code,
    LOSSES[4].rule.code,
    LOSSES[5].rule.code,
    LOSSES[6].rule.code,
    LOSSES[7].rule.code,
    LOSSES[8].rule.code,
    LOSSES[9].rule.code,
    LOSSES[10].rule.code,
    LOSSES[11].rule.code,
    LOSSES[12].rule.code,
    LOSSES[13].rule.code,
];

/// What a finding of this kind means.
const fn finding(kind: FindingKind) -> &'static Rule {
    match kind {
        FindingKind::ConditioningImpossible => {
            &const { not_ready("conditioning_impossible", "change [processing], or have the driver declare what is missing") }
        }
        FindingKind::NoViewFits => {
            &const { not_ready("no_view_fits", "change the views, or [processing], or what the driver declares") }
        }
        FindingKind::ViewLeftOut => &const { degraded("view_left_out", "change the view or what the driver declares") },
        FindingKind::ViewSilent => {
            &const {
                degraded(
                    "view_silent",
                    "a shorter line period or nfft, or a longer capture; or see to what breaks the traces",
                )
            }
        }
        FindingKind::CaptureNoted => {
            &const { degraded("capture_noted", "look at each file with `fiberd info`; the data are as good as what it says") }
        }
        FindingKind::CaptureDamaged => {
            &const {
                degraded(
                    "capture_damaged",
                    "look at each file with `fiberd info`; copy it again from where it came, if that one is whole",
                )
            }
        }
        FindingKind::SourceFlawed => {
            &const { degraded("source_flawed", "see to the driver: it does something against the ring's interface") }
        }
        FindingKind::ReceiverOverloaded => {
            &const { degraded("receiver_overloaded", "less laser power or gain, or see to a strong reflection of the fiber") }
        }
        FindingKind::Calibrating => {
            &const { degraded("calibrating", "wait; when it does not end, see to the interrogator") }
        }
        FindingKind::ReadersShortened => {
            &const { degraded("job_memory_short", "fewer or smaller jobs, or more [jobs] memory_mib") }
        }
        FindingKind::FramesRefused => {
            &const { degraded("frames_refused", "make room: a queue that takes these frames is full and refuses more") }
        }
        FindingKind::FramesTooLarge => {
            &const {
                degraded("frames_too_large", "raise max_message_size of RabbitMQ, or lower lines per frame or channels")
            }
        }
        FindingKind::BrokerRefused => {
            &const { degraded("broker_refused", "correct [broker] or what RabbitMQ grants; tried again by itself") }
        }
    }
}

/// Whether no line can come while there is such a finding.
pub(super) const fn stops_all_lines(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::ConditioningImpossible)
}

/// Whether the stage that knows it first logs it.
pub(super) fn is_logged_by_its_stage(code: &str) -> bool {
    [WAITING.code, DRAINING.code, STALLED.code, BROKER_CONNECTING.code, BROKER_BLOCKED.code, BROKER_AWAY.code]
        .contains(&code)
}

pub(super) fn of_phase(phase: &Phase) -> Option<Found> {
    match phase {
        Phase::WaitingForFiber(reason) => {
            Some(Found::new(&WAITING, format!("{}: {}", phase.name(), reason.for_everybody())))
        }
        Phase::Draining => Some(Found::new(&DRAINING, "draining: the daemon is stopping or the replay has ended")),
        Phase::Stalled(_) => Some(Found::new(&STALLED, "stalled: light, but no new traces")),
        Phase::Acquiring(_) => None,
    }
}

pub(super) fn stuck(stage: Stage) -> Found {
    Found::new(&STUCK, format!("{} stands still", stage.name())).about(stage.name())
}

pub(super) fn no_lines() -> Found {
    Found::new(&NO_LINES, "traces come, but no lines come out")
}

pub(super) fn unbalanced(book: &Book) -> Found {
    Found::new(&BOOKS, format!("counters do not add up: {}: {} is not {}", book.what, book.left, book.right))
        .about(book.what)
}

pub(super) fn overloaded(demand: f64, max_load: f64) -> Found {
    let percent = |share: f64| (100.0 * share).round();
    let (needed, allowed) = (percent(demand), percent(max_load));
    Found::new(&OVERLOADED, format!("views and jobs need {needed} % of real time, {allowed} % are allowed"))
}

pub(super) fn no_free_block() -> Found {
    Found::new(&NO_FREE_BLOCK, "no block is free for new traces: the pipeline is behind")
}

pub(super) fn prr_off(declared_hz: f64, measured_hz: f64, ppm: f64) -> Found {
    Found::new(&PRR_OFF, format!("PRR: declared {declared_hz} Hz, measured {measured_hz:.3} Hz ({ppm:+.0} ppm)"))
}

pub(super) fn utc_off(behind_ms: i64) -> Found {
    let (minutes, side) = (behind_ms.abs() / 60_000, if behind_ms > 0 { "behind" } else { "ahead of" });
    Found::new(&UTC_OFF, format!("timestamps of the traces are {minutes} minutes {side} the clock of this host"))
}

pub(super) fn of_findings(findings: &Findings) -> impl Iterator<Item = Found> {
    findings.iter().map(|((kind, subject), why)| {
        let what = match kind {
            FindingKind::ConditioningImpossible => {
                format!("this acquisition cannot be conditioned as configured: {why}")
            }
            FindingKind::ViewLeftOut => format!("view {subject} is left out: {why}"),
            FindingKind::ViewSilent => format!("view {subject} has no line: {why}"),
            FindingKind::NoViewFits => format!("none of the views fits the acquisition: {why}"),
            FindingKind::CaptureNoted
            | FindingKind::CaptureDamaged
            | FindingKind::SourceFlawed
            | FindingKind::ReceiverOverloaded
            | FindingKind::Calibrating
            | FindingKind::FramesRefused
            | FindingKind::FramesTooLarge
            | FindingKind::ReadersShortened => why.clone(),
            FindingKind::BrokerRefused => format!("the broker refuses us: {why}"),
        };
        Found::new(finding(*kind), what).about(subject)
    })
}

pub(super) fn of_broker(broker: &BrokerState, findings: &Findings, commands_heard: bool) -> Option<Found> {
    let refused = findings.keys().any(|(kind, _)| *kind == FindingKind::BrokerRefused);
    match broker {
        BrokerState::Connecting if !refused => Some(Found::new(&BROKER_CONNECTING, "broker: connecting")),
        BrokerState::Blocked => Some(Found::new(&BROKER_BLOCKED, "broker: connected, but it accepts nothing")),
        BrokerState::Away if !refused => Some(Found::new(&BROKER_AWAY, "broker: away")),
        BrokerState::Connected if !refused && !commands_heard => {
            Some(Found::new(&COMMANDS_UNHEARD, "broker: commands are not heard"))
        }
        _ => None,
    }
}
