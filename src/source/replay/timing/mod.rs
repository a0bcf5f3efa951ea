//! When the rows of a capture were acquired, for the readers of all formats.
//!
//! Pure: [`Statements`] is whatever a file says of time, [`Timing`] is what follows from it: an exact rate, segments without
//! a gap, and findings in an operator's words. Stamps come in two passes over a column that is never held whole; memory is
//! bounded by [`sample`]'s few thousand stamps and [`runs`]' list of stretches.
//!
//! How: [`sample`] takes an approximate period and the scatter from stamps all over the file, [`runs`] follows the stamps
//! and tells single wrong ones from steps, [`rate`] lays one slope through all runs or takes the declared rate when it
//! fits, [`segments`] makes whole traces of the steps. No value of a file may panic, overflow or cost unbounded memory.

mod findings;
mod rate;
mod run;
mod runs;
mod sample;
mod segments;
mod stamps;
#[cfg(test)]
mod tests;

pub(in crate::source::replay) use findings::{Finding, Kind};
pub(in crate::source::replay) use segments::Segment;
pub(in crate::source::replay) use stamps::from_float_seconds;

use crate::source::SourceError;
use crate::units::Rational;
use findings::Findings;
use sample::Sample;
use stamps::Scale;

/// Takes the next stamps, in order; [`NO_STAMP`] where there is none.
pub(in crate::source::replay) type Sink<'a> = dyn FnMut(&[i64]) + 'a;

/// Hands all stamps to its argument, in order, each time it is called.
pub(in crate::source::replay) type Pass<'a> = dyn FnMut(&mut Sink<'_>) -> Result<(), SourceError> + 'a;

/// A stamp that was never written.
pub(in crate::source::replay) const NO_STAMP: i64 = 0;

/// Where the rows are that stamps belong to.
#[derive(Clone, Copy, Debug)]
pub(in crate::source::replay) enum Layout<'a> {
    /// Stamp `k` is that of row `k · rows`.
    Every(u64),
    /// Stamp `k` is that of the first row of block `k`.
    Blocks(&'a [Block]),
}

/// A block of rows with one stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::replay) struct Block {
    /// Its first row.
    pub(in crate::source::replay) row: u64,
    /// Traces that are missing before it by a counter of the instrument.
    pub(in crate::source::replay) lost_before: u64,
}

/// Stamps of a file.
pub(in crate::source::replay) struct Stamps<'a> {
    /// Nanoseconds in one unit of the stamps, by the format's page.
    pub(in crate::source::replay) unit_ns: i64,
    /// How finely the file's type holds a stamp, in nanoseconds: not finer than the unit.
    pub(in crate::source::replay) precision_ns: i64,
    /// Which rows they belong to.
    pub(in crate::source::replay) layout: Layout<'a>,
    /// The stamps themselves.
    pub(in crate::source::replay) pass: &'a mut Pass<'a>,
}

/// What a file says of time.
pub(in crate::source::replay) struct Statements<'a> {
    /// Rows in the file.
    pub(in crate::source::replay) rows: u64,
    /// The rate by an attribute, in Hz.
    pub(in crate::source::replay) declared_rate: Option<Rational>,
    /// UTC of the first row by an attribute, in nanoseconds since the UNIX epoch.
    pub(in crate::source::replay) start_ns: Option<i64>,
    /// UTC of the last row by an attribute, in nanoseconds since the UNIX epoch.
    pub(in crate::source::replay) end_ns: Option<i64>,
    /// Traces that are lost together: 1, or those of a block where blocks are lost whole.
    pub(in crate::source::replay) lost_together: u64,
    /// Stamps, if there are any.
    pub(in crate::source::replay) stamps: Option<Stamps<'a>>,
}

/// What follows from it.
#[derive(Debug)]
pub(in crate::source::replay) struct Timing {
    /// Traces a second, exact.
    pub(in crate::source::replay) rate: Rational,
    /// Whether the rate was worked out from the stamps, and so differs a little from file to file.
    pub(in crate::source::replay) rate_is_measured: bool,
    /// Rows that were written: fewer than in the file when the last were allocated only.
    pub(in crate::source::replay) rows: u64,
    /// In the order of rows; the first begins at row 0.
    pub(in crate::source::replay) segments: Vec<Segment>,
    /// How far stamps scatter about the segments, in nanoseconds.
    pub(in crate::source::replay) jitter_ns: u64,
    /// What is odd; stamps that were not believed are counted there.
    pub(in crate::source::replay) findings: Vec<Finding>,
}

/// Why there is no timing.
#[derive(Debug)]
pub(in crate::source::replay) enum TimingError {
    /// The stamps could not be read.
    Source(SourceError),
    /// Nothing says how fast rows follow each other.
    NoRate,
    /// Nothing says when.
    NoStart,
}

impl From<SourceError> for TimingError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl TimingError {
    /// As an error of a file; `unusable` puts the file's name to the words.
    pub(in crate::source::replay) fn into_source(self, unusable: impl FnOnce(String) -> SourceError) -> SourceError {
        match self {
            Self::Source(error) => error,
            Self::NoRate => unusable(
                "no rate is declared, and the times give no rate either: they should rise from row to row".into(),
            ),
            Self::NoStart => unusable("neither its times nor an attribute say when it begins".into()),
        }
    }
}

/// Works out when the rows of a file were acquired.
///
/// # Errors
/// When stamps cannot be read, or nothing says how fast rows follow each other, or when.
pub(in crate::source::replay) fn work_out(mut statements: Statements<'_>) -> Result<Timing, TimingError> {
    let mut findings = Findings::default();
    let from_stamps = match statements.stamps.take() {
        Some(stamps) => from_stamps(&mut statements, stamps, &mut findings)?,
        None => None,
    };
    let mut timing = match from_stamps {
        Some(timing) => timing,
        None => without_stamps(&statements, &mut findings)?,
    };
    segments::check(&statements, &timing, &mut findings);
    timing.findings = findings.finish();
    Ok(timing)
}

/// `None` when the stamps follow no rate at all; the first then says when the file begins if nothing else does.
fn from_stamps(
    statements: &mut Statements<'_>,
    stamps: Stamps<'_>,
    findings: &mut Findings,
) -> Result<Option<Timing>, TimingError> {
    let Stamps { unit_ns, precision_ns, layout, pass } = stamps;
    let mut sample = Sample::new(statements.rows, layout);
    pass(&mut |stamps| sample.push(stamps))?;
    let Some(scale) = Scale::choose(unit_ns, precision_ns, &sample, statements) else {
        findings.add(Kind::NoStamps, sample.stamps(), "");
        return Ok(None);
    };
    scale.tell(findings);
    let fitted = match sample.guess(&scale, statements) {
        Some(guess) => {
            let mut tracker = runs::Tracker::new(guess, scale, layout, sample.written());
            pass(&mut |stamps| tracker.push(stamps))?;
            let tracked = tracker.finish(statements);
            tracked.and_then(|tracked| Some((rate::fit(&tracked, &guess, &scale, statements, findings)?, tracked)))
        }
        None => None,
    };
    let Some((fit, tracked)) = fitted else {
        findings.add(Kind::StampsFollowNoRate, sample.stamps(), "");
        statements.start_ns = statements.start_ns.or_else(|| scale.to_ns(sample.median_stamp()?));
        return Ok(None);
    };
    Ok(Some(segments::from_runs(&tracked, &fit, &scale, layout, statements, findings)))
}

/// From the declared start, rate and end alone.
fn without_stamps(statements: &Statements<'_>, findings: &mut Findings) -> Result<Timing, TimingError> {
    let from_span = || {
        let span = u64::try_from(statements.end_ns?.checked_sub(statements.start_ns?)?).ok()?;
        Rational::new(statements.rows.checked_sub(1)?.checked_mul(1_000_000_000)?, span)
    };
    let rate = statements.declared_rate.or_else(from_span).ok_or(TimingError::NoRate)?;
    let start_ns = statements.start_ns.ok_or(TimingError::NoStart)?;
    if statements.declared_rate.is_none() {
        findings.add(Kind::RateFromSpan, 1, &format!("{rate} Hz"));
    }
    Ok(Timing {
        rate,
        rate_is_measured: false,
        rows: statements.rows,
        segments: vec![Segment { row: 0, utc_ns: start_ns, rows: statements.rows, gap_before: Some(0) }],
        jitter_ns: 1000,
        findings: Vec::new(),
    })
}
