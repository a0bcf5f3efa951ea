//! What is wrong with a configuration: where it stands, which key, what is wrong, and what would be right.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file; both count from 1, columns in characters.
    File {
        /// Name of the file as it was given.
        name: Arc<str>,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// Nowhere: the whole file, or a default.
    Whole(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
            Self::Whole(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong. Shown as `fiberd.toml:12:8: broker.window: 0 is too small; 1 to 4096 … are allowed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// Dotted key; empty when the problem is not about one key.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.text)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.text)
        }
    }
}

/// Everything that is wrong, in the order of the file, never empty. Shown as one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok(value)` when there are none, otherwise all of them in the order of the file.
    pub(super) fn or(mut problems: Vec<Problem>, value: super::Config) -> Result<super::Config, Self> {
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::Whole(_) => (0, 0, 0),
            Origin::File { line, column, .. } => (1, *line, *column),
            Origin::Variable(_) => (2, 0, 0),
        });
        problems.dedup();
        Err(Self(problems))
    }

    /// A single problem with the whole file.
    pub(super) fn whole(name: &str, text: String) -> Self {
        Self(vec![Problem { origin: Origin::Whole(name.into()), key: String::new(), text }])
    }

    /// The problems.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
