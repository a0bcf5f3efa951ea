//! More and more displays, until something gives way: what, and at how much.

use crate::Size;
use crate::crowd::{Crowd, Held, Moment, hold, traces_lost};
use crate::displays::display;
use crate::grpc::Fault;
use crate::job::Readers;
use crate::report::Report;
use crate::rig::Rig;
use crate::say;

const LINES_PER_S: f64 = 10.0;
/// Each step has so many times the jobs of the one before.
const STEP: f64 = 1.25;
/// Faults that no load excuses. That lines are lost, calls are cut late at their end or rows skipped is what is looked for.
const NEVER: [&str; 6] = ["values", "different values", "shape", "order", "extrema", "times"];

struct Step {
    jobs: usize,
    held: Held,
}

pub async fn limit(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let mut crowd = Crowd::new();
    let (mut clean, mut gave_way) = (None::<Step>, None);
    let mut jobs = size.limit_from;
    // Of lines and traces while jobs were being started, which is another kind of load.
    let (mut lines_at_starts, mut traces_at_starts) = (0, 0);
    for _ in 0..size.limit_steps {
        // The settings of a full house, so that those who come later want something else.
        let house = size.limit_from * 40;
        let more = (crowd.live.len()..jobs)
            .map(|k| (display(size, rig, k * 7 % house, house, LINES_PER_S).0, Readers { grpc: 1, polls: false }))
            .collect();
        say(&format!("limit: {jobs} jobs"));
        let before = Moment::now(rig, &crowd.tally).await?;
        let refusal = crowd.add(rig, more).await;
        hold(rig, &crowd, size.limit_hold / 2, "settling").await?;
        let held = hold(rig, &crowd, size.limit_hold, "second").await?;
        lines_at_starts += held.from.counts.lost - before.counts.lost;
        traces_at_starts += traces_lost(&before.metrics, &held.from.metrics).0;
        let why = refusal.map(|words| format!("refused: {words}")).or_else(|| why(&crowd, &held, jobs));
        let step = Step { jobs: crowd.live.len(), held };
        if let Some(why) = why {
            gave_way = Some((step, why));
            break;
        }
        clean = Some(step);
        jobs = (jobs as f64 * STEP).ceil() as usize;
    }
    crowd.close(rig).await;
    let what = format!("displays of {} channels at {LINES_PER_S} lines/s, {STEP} times as many a step", size.channels);
    let mut report = Report::new("limit", what);
    match &clean {
        Some(step) => rate(&mut report, "most jobs without a loss", step),
        None => {
            report.words("most jobs without a loss", "the first step lost already");
        }
    }
    match &gave_way {
        Some((step, why)) => {
            rate(&mut report, "gave way at jobs", step);
            report.words("  what gave way", why.as_str());
        }
        None => {
            report.words("gave way at jobs", "never");
        }
    }
    report.count("lines lost while jobs were started", lines_at_starts);
    report.count("traces lost while jobs were started", traces_at_starts);
    if let Some(step) = clean.as_ref().or(gave_way.as_ref().map(|(step, _)| step)) {
        let at = if clean.is_some() { "without a loss" } else { "that gave way" };
        report.words("the step below", at);
        step.held.machine(&mut report);
    }
    report.faults = crowd.tally.faults().into_iter().filter(|fault| NEVER.contains(&fault.kind)).collect();
    Ok(report)
}

/// What gave way, if anything did.
fn why(crowd: &Crowd, held: &Held, jobs: usize) -> Option<String> {
    let (lines, (traces, by_daemon)) = (held.to.counts.lost - held.from.counts.lost, held.traces_lost());
    let streams = crowd.live.iter().map(|live| live.job.promises.len()).sum::<usize>() as f64;
    // But for the line that each may have at the wrong side of an end.
    let wanted = 0.98 * streams * (LINES_PER_S - 1.0 / held.seconds());
    if crowd.live.len() < jobs {
        let faults = crowd.tally.faults();
        let words = faults.first().map(|fault| format!("{}: {}", fault.kind, fault.first));
        Some(words.unwrap_or_else(|| "a job was not started".into()))
    } else if lines + traces > 0 {
        Some(format!("{lines} lines lost, {traces} traces lost, {by_daemon} of these by the daemon"))
    } else if held.lines_per_s() < wanted {
        // Whoever is behind has lost nothing yet, but will.
        Some(format!("readers fall behind: {:.0} lines/s", held.lines_per_s()))
    } else {
        None
    }
}

fn rate(report: &mut Report, name: &str, step: &Step) {
    report.count(name, step.jobs as u64);
    report.number("  lines a second", step.held.lines_per_s(), "");
    report.number("  bytes a second", step.held.mb_per_s(), "MB/s");
}
