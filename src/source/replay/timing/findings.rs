//! What is odd about the times of a file, in an operator's words.

use crate::source::Severity;

/// What kind of oddity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::source::replay) enum Kind {
    /// There is a column of stamps, but nothing in it.
    NoStamps,
    /// No rate can be seen in the stamps.
    StampsFollowNoRate,
    /// Stamps have another unit than the format says.
    OtherUnit,
    /// Stamps count from the beginning of the file.
    RelativeStamps,
    /// The declared rate is not that of the stamps.
    RateContradicts,
    /// No rate is declared; start and end give it.
    RateFromSpan,
    /// Rows at the end that were allocated but never written.
    Unwritten,
    /// Single stamps that lie off the others.
    NotBelieved,
    /// Traces are missing.
    Gap,
    /// The time goes back within the file.
    StepBack,
    /// The clock ran unevenly by more than a millisecond; times follow it.
    Wander,
    /// The declared start is not that of the stamps.
    StartContradicts,
    /// The declared end is not what rows, rate and gaps give.
    EndContradicts,
    /// An end lies before the start.
    EndBeforeStart,
    /// The times span more or less than traces and gaps take.
    SpanDiffers,
}

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::replay) struct Finding {
    /// What kind.
    pub(in crate::source::replay) kind: Kind,
    /// How much it matters.
    pub(in crate::source::replay) severity: Severity,
    /// How often.
    pub(in crate::source::replay) count: u64,
    /// A sentence for the operator.
    pub(in crate::source::replay) text: String,
}

/// Collects findings, one of each kind.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Something odd was found `count` times; `detail` is what its sentence needs: numbers with their units.
    pub(super) fn add(&mut self, kind: Kind, count: u64, detail: &str) {
        if count > 0 {
            let text = sentence(kind, count, detail);
            self.0.push(Finding { kind, severity: severity(kind), count, text });
        }
    }

    /// All of them.
    pub(super) fn finish(self) -> Vec<Finding> {
        self.0
    }
}

const fn severity(kind: Kind) -> Severity {
    match kind {
        Kind::OtherUnit | Kind::RelativeStamps | Kind::RateFromSpan | Kind::Gap | Kind::Wander => Severity::Note,
        Kind::RateContradicts
        | Kind::Unwritten
        | Kind::NotBelieved
        | Kind::StepBack
        | Kind::StartContradicts
        | Kind::EndContradicts
        | Kind::EndBeforeStart
        | Kind::SpanDiffers
        | Kind::NoStamps
        | Kind::StampsFollowNoRate => Severity::Warning,
    }
}

fn sentence(kind: Kind, count: u64, detail: &str) -> String {
    let times = counted(count, "time stamp");
    match kind {
        Kind::NoStamps => "none of the time stamps was written: the declared start and rate are used".into(),
        Kind::StampsFollowNoRate => {
            format!("{times} that follow no rate: they are not used, the declared start and rate are")
        }
        Kind::OtherUnit => format!("the time stamps are {detail}"),
        Kind::RelativeStamps => "the time stamps count from the declared start".into(),
        Kind::RateContradicts => format!("the declared rate of {detail}"),
        Kind::RateFromSpan => format!("no rate is declared: start, end and number of traces give {detail}"),
        Kind::Unwritten => {
            format!("{} at the end {} never written: not read", counted(count, "trace"), was(count))
        }
        Kind::NotBelieved => {
            format!("{times} {} not believed: {detail}", was(count))
        }
        Kind::Gap => format!("{}: {detail}", counted(count, "gap")),
        Kind::StepBack => format!(
            "the time goes back {}, {detail}: a new acquisition begins there (a clock that was set, or an overlap)",
            if count == 1 { "once".into() } else { format!("{count} times") }
        ),
        Kind::Wander => format!("the clock ran unevenly: times are set to it again in {}", counted(count, "place")),
        Kind::StartContradicts | Kind::EndContradicts | Kind::EndBeforeStart | Kind::SpanDiffers => detail.to_owned(),
    }
}

const fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// `1 gap`, `2 gaps`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A span of time with a unit that suits it.
pub(super) fn duration(ns: f64) -> String {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    match ns.abs() {
        ns if ns < 1e3 => format!("{} ns", rounded(ns)),
        ns if ns < 1e6 => format!("{} µs", rounded(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", rounded(ns / 1e6)),
        ns => format!("{} s", rounded(ns / 1e9)),
    }
}
