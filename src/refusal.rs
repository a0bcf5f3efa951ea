//! Why a request or a command is refused: the reasons ([`Refusal`]), and what clients get to read ([`ApiError`]), the same
//! over HTTP and over the bus.

mod answer;
mod words;

pub use answer::{ApiError, FieldProblem};
pub(crate) use words::unknown_job;

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

/// The limit that a job was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many jobs run already.
    Jobs(usize),
    /// The pipeline has no time left: percent of real time that it may need.
    Load(u32),
    /// There is no memory left: MiB that jobs may take.
    Memory(u64),
    /// Every port is taken: so many there are.
    Ports(usize),
}

/// What a job would need of something that it cannot have even when no other job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// MiB of memory.
    Memory {
        /// What it needs.
        wanted: u64,
        /// What all jobs together may take.
        allowed: u64,
        /// Whether most of it is for its transforms, and not for its lines.
        transforms: bool,
    },
    /// Percent of real time in the pipeline.
    Load {
        /// What it needs.
        wanted: u64,
        /// What the pipeline may need in all.
        allowed: u64,
        /// Whether most of it is for its transforms, and not for their values.
        transforms: bool,
    },
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
