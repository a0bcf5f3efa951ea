//! Why a job is not started. Pure words; the control API turns them into HTTP, the bus into its answers.

use super::registry::{Limit, Never};
use crate::pipeline::control::Refused;

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
    /// It is more than this daemon could ever have left.
    Never(Never),
    /// A job of another kind has this id.
    Taken,
    /// There is no such job.
    UnknownJob,
    /// The pipeline cannot make it from the acquisition at hand; in words for the client.
    DoesNotFit(String),
    /// The samples cannot be conditioned as configured, so there are no lines of anything; why, in words for the client.
    NotConditioned(String),
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

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Waiting => Self::Waiting,
            Refused::NotConditioned(why) => Self::NotConditioned(why),
            Refused::DoesNotFit(why) => Self::DoesNotFit(why),
            Refused::Busy => Self::Busy,
        }
    }
}

impl Refusal {
    /// The reason in a word, for programs and for counting.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fields(_) => "invalid_field",
            Self::Rule(broken) => broken.code,
            Self::Waiting => "waiting_for_fiber",
            Self::NoMetadata => "metadata_unavailable",
            Self::Draining => "draining",
            Self::NothingRecorded => "nothing_recorded",
            Self::Over(_) => "over_limit",
            Self::Never(_) => "above_limit",
            Self::Taken => "id_taken",
            Self::UnknownJob => "unknown_job",
            Self::DoesNotFit(_) => "does_not_fit",
            Self::NotConditioned(_) => "not_conditioned",
            Self::Busy => "pipeline_busy",
        }
    }

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
