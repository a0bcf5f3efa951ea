//! What is not as it should be: what stages find, and the conditions that health makes of it and of all counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, although the daemon as a whole does.
    Degraded,
    /// The daemon cannot do its job.
    NotReady,
}

/// Something that is not as it should be, as every outlet shows it: `/readyz`, the bus, the log, metrics, the screen and
/// the service manager. Holds no path, no address of a host and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Short and stable, for programs: `broker_away`.
    pub code: &'static str,
    /// Which of several things of one code: a stage, a view, a connection; empty where there is one. In `what`, too.
    #[serde(skip)]
    pub subject: String,
    /// What is the matter, in a sentence without a stop.
    pub what: String,
    /// Since when, milliseconds since the UNIX epoch.
    pub since_ms: i64,
    /// How bad it is.
    pub severity: Severity,
    /// What a person can do about it.
    pub advice: &'static str,
}

impl Condition {
    /// Whether it is the same condition although its numbers change, or although another connection stands for those
    /// that are refused in the same words.
    pub fn is_same(&self, other: &Self) -> bool {
        let about_the_same = self.subject == other.subject || self.what == other.what;
        (self.code, self.since_ms) == (other.code, other.since_ms) && about_the_same
    }
}

/// What kind of thing a stage has found. Health makes a condition of each that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The present acquisition cannot be conditioned as configured: no view has lines.
    ConditioningImpossible,
    /// A standing view does not fit the present acquisition. The subject is its name.
    ViewLeftOut,
    /// None of the standing views fits the present acquisition.
    NoViewFits,
    /// A standing view shows another band than it was configured for. The subject is its name.
    OtherBand,
    /// A standing view has no line although the traces for it have come. The subject is its name.
    ViewSilent,
    /// The files of a replay say something that cannot be quite right, or something in them is left out.
    CaptureNoted,
    /// A part of the files of a replay cannot be read.
    CaptureDamaged,
    /// The source does something against its interface, although traces come.
    SourceFlawed,
    /// The interrogator says that its receiver is overloaded.
    ReceiverOverloaded,
    /// The interrogator says that it calibrates.
    Calibrating,
    /// Readers of jobs may be behind by less than usual because memory is short.
    ReadersShortened,
    /// The broker refuses what the configuration asks of it: login, virtual host, topology, certificate. The subject is
    /// what the connection is for.
    BrokerRefused,
    /// The broker refuses frames: a queue that they go to is full. The subject is whose frames.
    FramesRefused,
    /// Frames are larger than what the broker takes, so they are not sent. The subject is whose frames.
    FramesTooLarge,
}

/// What stages have found and not taken back, by kind and subject. Set at changes, never on the hot path.
pub type Findings = BTreeMap<(FindingKind, String), String>;

/// Where a stage says what it finds: all that it needs of the daemon's [`Status`](super::Status) for that. Clones speak at
/// the same place; a new one is heard by nobody but who has a clone of it. Two stages that say the same kinds of things, as
/// two engines do, need one each: what one takes back altogether would be the other's, too.
#[derive(Clone, Debug, Default)]
pub struct FindingReporter(Arc<Mutex<Findings>>);

impl FindingReporter {
    /// Says that something stands in the way until it is [taken back](Self::take_back): why, in words for everybody.
    pub fn found(&self, kind: FindingKind, subject: &str, why: impl Into<String>) {
        self.slot().insert((kind, subject.to_owned()), why.into());
    }

    /// What was found of this subject no longer holds.
    pub fn take_back(&self, kind: FindingKind, subject: &str) {
        self.slot().remove(&(kind, subject.to_owned()));
    }

    /// Nothing of this kind holds any longer.
    pub fn take_back_all(&self, kind: FindingKind) {
        self.slot().retain(|(of, _), _| *of != kind);
    }

    /// What stands now.
    pub fn findings(&self) -> Findings {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Findings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
