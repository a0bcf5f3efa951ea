//! Why a job is not started. Pure words; the control API turns them into HTTP, the bus into its answers.

use super::registry::Limit;

/// Why a job is not started; nothing of it remains.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Fields are missing or cannot be had at all, all of them at once.
    Fields(Vec<Fault>),
    /// A field breaks a rule.
    Rule(Broken),
    /// There is no light in the fiber, so nobody knows the PRR.
    Waiting,
    /// The daemon has only just begun to look for the interrogator.
    NoMetadata,
    /// The daemon is stopping, or its replay has ended.
    Draining,
    /// Nothing was recorded in the time that is asked for.
    NothingRecorded,
    /// It is more than this daemon has left.
    Over(Limit),
    /// A job of another kind has this id.
    Taken,
    /// There is no such job.
    UnknownJob,
    /// The pipeline cannot make it from the acquisition at hand; in words for the client.
    DoesNotFit(String),
    /// The pipeline does not answer.
    Busy,
}

/// One field that is missing or impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, dotted: `channels.max`.
    pub field: String,
    /// What is wrong with it.
    pub msg: String,
    /// A word for programs: `missing` or `out_of_range`.
    pub kind: &'static str,
}

/// A rule that a field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// A word for programs.
    pub code: &'static str,
    /// The field, dotted.
    pub field: String,
    /// The rule.
    pub error: String,
    /// What was found instead.
    pub reason: String,
    /// What would be right.
    pub advice: String,
}

impl Refusal {
    /// `field` breaks the rule `error`; `reason` was found, `advice` helps.
    pub(crate) fn rule(
        code: &'static str,
        field: impl Into<String>,
        error: impl Into<String>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (field, error, reason) = (field.into(), error.into(), reason.into());
        Self::Rule(Broken { code, field, error, reason, advice: advice.into() })
    }
}
