//! From runs to segments: exact times and whole traces.

use super::findings::{Findings, Kind, duration};
use super::rate::Fit;
use super::run::Run;
use super::runs::Tracked;
use super::stamps::Scale;
use super::{Layout, Statements, Timing};
use crate::units::Rational;

/// An uneven clock is followed when it leaves the line by more than this, and by more than two periods.
const WANDER_NS: f64 = 1e6;
/// A declared start or end that is off by less than this does not contradict: attributes are often rounded.
const ATTRIBUTE_NS: f64 = 1e6;

/// Rows that follow each other by the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::replay) struct Segment {
    /// Its first row.
    pub(in crate::source::replay) row: u64,
    /// Its UTC in nanoseconds since the UNIX epoch.
    pub(in crate::source::replay) utc_ns: i64,
    /// Its rows.
    pub(in crate::source::replay) rows: u64,
    /// Traces missing before it; `None` where the time goes back.
    pub(in crate::source::replay) gap_before: Option<u64>,
}

/// Where a line begins.
#[derive(Clone, Copy)]
struct Begin {
    row: u64,
    trace: u64,
    utc_ns: i64,
}

/// Makes segments of runs.
pub(super) fn from_runs(
    tracked: &Tracked,
    fit: &Fit,
    scale: &Scale,
    layout: Layout<'_>,
    statements: &Statements<'_>,
    findings: &mut Findings,
) -> Timing {
    let lost = counted_losses(layout);
    let mut made =
        Made { fit, lost: &lost, together: statements.lost_together.max(1), segments: Vec::new(), wander: 0 };
    let mut before: Option<Begin> = None;
    for (number, run) in tracked.runs.iter().enumerate() {
        let begin = begin_of(run, fit, statements, number == 0);
        let end_row = tracked.runs.get(number + 1).map_or(tracked.rows, |next| next.begins.0);
        made.add_run(run, begin, before, end_row);
        before = Some(begin);
    }
    let wander = made.wander;
    let mut segments = made.segments;
    segments.retain(|segment| segment.row < tracked.rows.max(1));
    set_lengths(&mut segments, tracked.rows);
    tell(tracked, &segments, fit, statements, findings);
    findings.add(Kind::Wander, wander, "");
    let jitter_ns = (2.0 * fit.scatter_ns).max(scale.precision_ns as f64).max(1000.0) as u64;
    Timing {
        rate: fit.rate,
        rate_is_measured: fit.is_measured,
        rows: tracked.rows,
        segments,
        jitter_ns,
        findings: Vec::new(),
    }
}

/// Row, number of the trace and traces lost before it, wherever a counter of the instrument says that some were.
fn counted_losses(layout: Layout<'_>) -> Vec<(u64, u64, u64)> {
    let Layout::Blocks(blocks) = layout else { return Vec::new() };
    let mut sum = 0u64;
    let mut losses = Vec::new();
    for block in blocks.iter().filter(|block| block.lost_before > 0) {
        sum = sum.saturating_add(block.lost_before);
        losses.push((block.row, block.row.saturating_add(sum), block.lost_before));
    }
    losses
}

/// When the first row of a run was acquired.
fn begin_of(run: &Run, fit: &Fit, statements: &Statements<'_>, is_first: bool) -> Begin {
    let off = if fit.through_ends {
        (run.last.1 - fit.longer_ns * run.last.0) / 2.0
    } else {
        (run.sums.y - fit.longer_ns * run.sums.x) / run.sums.n
    };
    // A stamp within its own resolution of the line is the truth: no rounding is added to it.
    let is_exact = off.abs() <= fit.resolution_ns;
    let at_stamp = if is_exact { run.base_ns } else { run.base_ns.saturating_add(off.round() as i64) };
    let (row, trace) = if is_first { (0, 0) } else { run.begins };
    let utc_ns = on_line(at_stamp, fit.rate, run.trace, trace);
    // An attribute may be finer than the stamps.
    let declared = statements.start_ns.filter(|start| is_first && start.abs_diff(utc_ns) as f64 <= fit.resolution_ns);
    Begin { row, trace, utc_ns: declared.unwrap_or(utc_ns) }
}

/// UTC of trace `to` on a line through `utc_ns` at trace `from`.
fn on_line(utc_ns: i64, rate: Rational, from: u64, to: u64) -> i64 {
    if to >= from {
        utc_ns.saturating_add(rate.traces_to_ns(to - from))
    } else {
        utc_ns.saturating_sub(rate.traces_to_ns(from - to))
    }
}

/// Segments as they are made.
struct Made<'a> {
    fit: &'a Fit,
    lost: &'a [(u64, u64, u64)],
    together: u64,
    segments: Vec<Segment>,
    wander: u64,
}

impl Made<'_> {
    fn push(&mut self, row: u64, utc_ns: i64, gap_before: Option<u64>) {
        self.segments.push(Segment { row, utc_ns, rows: 0, gap_before });
    }

    fn add_run(&mut self, run: &Run, begin: Begin, before: Option<Begin>, end_row: u64) {
        let (rate, losses) = (self.fit.rate, self.lost);
        let first = losses.partition_point(|lost| lost.0 < begin.row);
        let until = losses.partition_point(|lost| lost.0 < end_row).max(first);
        let (counted, within) = match &losses[first..until] {
            [at_begin, within @ ..] if at_begin.0 == begin.row => (at_begin.2, within),
            within => (0, within),
        };
        let gap_before = match before {
            None => Some(0),
            Some(before) => {
                let expected = on_line(before.utc_ns, rate, before.trace, begin.trace);
                let steps = missing(rate, self.together, begin.utc_ns, expected);
                u64::try_from(steps.saturating_add(i64::try_from(counted).unwrap_or(i64::MAX))).ok()
            }
        };
        self.push(begin.row, begin.utc_ns, gap_before);
        for &(row, trace, lost) in within {
            self.push(row, on_line(begin.utc_ns, rate, begin.trace, trace), Some(lost));
        }
        if within.is_empty() {
            self.follow_wander(run, begin, end_row);
        }
    }

    /// Sets the times again where the clock left the line.
    fn follow_wander(&mut self, run: &Run, begin: Begin, end_row: u64) {
        let period = 1e9 / self.fit.rate.to_f64();
        let start_off =
            begin.utc_ns.saturating_sub(run.base_ns) as f64 + run.trace.saturating_sub(begin.trace) as f64 * period;
        let offs = || run.bins.iter().map(|&(x, y)| (x, y - self.fit.longer_ns * x - start_off));
        let largest = offs().fold(0.0, |largest: f64, (_, off)| largest.max(off.abs()));
        if largest <= WANDER_NS.max(2.0 * period).max(2.0 * self.fit.spread_ns).max(self.fit.resolution_ns) {
            return;
        }
        let mut set = 0.0f64;
        let mut found = Vec::new();
        for (x, off) in offs() {
            // Never by a period at once, so that times never go back.
            let step = (off - set).clamp(-0.9 * period, 0.9 * period);
            let rows = ((run.trace as f64 + x) as u64).saturating_sub(begin.trace);
            let row = begin.row.saturating_add(rows);
            if step.abs() > period / 4.0 && row > begin.row && row < end_row {
                set += step;
                let utc_ns = on_line(begin.utc_ns, self.fit.rate, 0, rows).saturating_add(set.round() as i64);
                found.push((row, utc_ns));
            }
        }
        self.wander += found.len() as u64;
        for (row, utc_ns) in found {
            self.push(row, utc_ns, Some(0));
        }
    }
}

/// How many traces lie between where a trace was expected and where it came, in whole multiples of `together`.
fn missing(rate: Rational, together: u64, came_ns: i64, expected_ns: i64) -> i64 {
    let late = i128::from(came_ns) - i128::from(expected_ns);
    let exact = || {
        let den = i128::from(rate.den()).checked_mul(1_000_000_000)?.checked_mul(i128::from(together))?;
        let halves = late.checked_mul(i128::from(rate.num()))?.checked_mul(2)?.checked_add(den)?;
        i64::try_from(halves.div_euclid(den.checked_mul(2)?).checked_mul(i128::from(together))?).ok()
    };
    // What does not fit is too much in any case.
    exact().unwrap_or(if late < 0 { i64::MIN } else { i64::MAX })
}

fn set_lengths(segments: &mut [Segment], rows: u64) {
    let ends: Vec<u64> = segments.iter().skip(1).map(|next| next.row).chain([rows]).collect();
    for (segment, end) in segments.iter_mut().zip(ends) {
        segment.rows = end.saturating_sub(segment.row);
    }
}

fn tell(tracked: &Tracked, segments: &[Segment], fit: &Fit, statements: &Statements<'_>, findings: &mut Findings) {
    findings.add(Kind::Unwritten, statements.rows.saturating_sub(tracked.rows), "");
    let first = format!("the first is that of row {}", tracked.first_not_believed);
    findings.add(Kind::NotBelieved, tracked.not_believed, &first);
    let (gaps, traces) = segments
        .iter()
        .filter_map(|segment| segment.gap_before.filter(|&gap| gap > 0))
        .fold((0, 0u64), |(gaps, traces), gap| (gaps + 1, traces.saturating_add(gap)));
    findings.add(Kind::Gap, gaps, &format!("{traces} traces are missing"));
    let mut back = segments.windows(2).filter(|pair| pair[1].gap_before.is_none());
    if let Some([before, after]) = back.next() {
        let by = after.utc_ns as f64 - on_line(before.utc_ns, fit.rate, 0, before.rows) as f64;
        let detail = format!("first by {} before row {}", duration(by.abs()), after.row);
        findings.add(Kind::StepBack, 1 + back.count() as u64, &detail);
    }
}

/// Holds what the file declares against what was found.
pub(super) fn check(statements: &Statements<'_>, timing: &Timing, findings: &mut Findings) {
    let (Some(first), Some(last)) = (timing.segments.first(), timing.segments.last()) else { return };
    let allowed = ATTRIBUTE_NS.max(2.0 * timing.rate.traces_to_ns(1) as f64).max(3.0 * timing.jitter_ns as f64);
    let end_ns = on_line(last.utc_ns, timing.rate, 0, last.rows.saturating_sub(1));
    if let Some(start) = statements.start_ns {
        let off = first.utc_ns as f64 - start as f64;
        if off.abs() > allowed {
            let by = later(off);
            let text = format!("the times begin {by} than the declared start: the times are used");
            findings.add(Kind::StartContradicts, 1, &text);
        }
    }
    check_span(timing, first, end_ns, findings);
    let Some(end) = statements.end_ns else { return };
    let off = end_ns as f64 - end as f64;
    if statements.start_ns.is_some_and(|start| end < start) {
        findings.add(Kind::EndBeforeStart, 1, "the declared end lies before the declared start: it is not used");
    } else if off.abs() > allowed && timing.rows == statements.rows {
        let by = later(off);
        let text = format!("rows and rate make an end {by} than the declared one: the declared one is not used");
        findings.add(Kind::EndContradicts, 1, &text);
    }
}

/// Traces and gaps at the rate must take as long as lies between the first and the last time.
fn check_span(timing: &Timing, first: &Segment, end_ns: i64, findings: &mut Findings) {
    if end_ns < first.utc_ns {
        let by = duration(first.utc_ns as f64 - end_ns as f64);
        let text = format!("the last trace lies {by} before the first by the times of the file");
        findings.add(Kind::EndBeforeStart, 1, &text);
    }
    let rows = timing.rows.saturating_sub(1);
    let traces = timing.segments.iter().try_fold(rows, |sum, segment| sum.checked_add(segment.gap_before?));
    let Some(traces) = traces else { return };
    let off = end_ns as f64 - on_line(first.utc_ns, timing.rate, 0, traces) as f64;
    let period = timing.rate.traces_to_ns(1) as f64;
    if off.abs() > period.max(3.0 * timing.jitter_ns as f64) {
        let by = duration(off.abs());
        let more = if off > 0.0 { "more" } else { "less" };
        let text = format!("the times span {by} {more} than traces and gaps take at this rate");
        findings.add(Kind::SpanDiffers, 1, &text);
    }
}

fn later(by_ns: f64) -> String {
    format!("{} {}", duration(by_ns.abs()), if by_ns < 0.0 { "earlier" } else { "later" })
}
