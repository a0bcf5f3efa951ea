//! What is odd about the data of a source, known before the first trace, and how much it matters.

use std::fmt;

/// How much a finding matters; of a file as a whole, the worst of its findings. The same four words stand in `fiberd info`,
/// its JSON, the log and the conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is odd.
    #[default]
    Ok,
    /// Good to know; nothing is lost.
    Note,
    /// Data are missing or not what they should be, or a statement of the file is wrong.
    Warning,
    /// A part of the file cannot be read.
    Damaged,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Damaged => "damaged",
        }
    }

    /// The worst of these; [`Ok`](Self::Ok) when there are none.
    pub fn worst<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        findings.into_iter().map(|finding| finding.severity).max().unwrap_or_default()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something odd about the data of a source, in words for everybody.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A sentence without a stop.
    pub text: String,
}

impl Finding {
    /// Good to know; nothing is lost.
    pub fn note(text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, text: text.into() }
    }

    /// Data are missing or not what they should be, or a statement of the file is wrong.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into() }
    }

    /// A part of the file cannot be read.
    pub fn damaged(text: impl Into<String>) -> Self {
        Self { severity: Severity::Damaged, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.text)
    }
}
