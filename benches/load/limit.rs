//! More and more displays, until something gives way: what, and at how much.

use crate::Size;
use crate::crowd::{Crowd, Held, hold};
use crate::displays::display;
use crate::grpc::Fault;
use crate::job::Readers;
use crate::report::Report;
use crate::rig::Rig;
use crate::say;

/// Each step has so many times the jobs of the one before.
const STEP: f64 = 1.25;
/// Faults that no load excuses. That lines are lost, calls are cut late at their end or rows skipped is what is looked for.
const NEVER: [&str; 6] = ["values", "different values", "shape", "order", "extrema", "times"];

struct Step {
    jobs: usize,
    held: Held,
}

pub async fn limit(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let lines_per_s = 10.0;
    let mut crowd = Crowd::new();
    let (mut clean, mut gave_way) = (None::<Step>, None);
    let mut jobs = size.limit_from;
    for _ in 0..size.limit_steps {
        // The settings of a full house, so that those who come later want something else.
        let house = size.limit_from * 20;
        let more = (crowd.live.len()..jobs)
            .map(|k| (display(size, rig, k * 7 % house, house, lines_per_s).0, Readers { grpc: 1, polls: false }))
            .collect();
        say(&format!("limit: {jobs} jobs"));
        let refusal = crowd.add(rig, more).await;
        let settling = hold(rig, &crowd, size.limit_hold / 4, "settling").await?;
        let held = hold(rig, &crowd, size.limit_hold, "second").await?;
        let lost = held.to.counts.lost;
        let (traces, daemon) = (settling.traces_lost().0 + held.traces_lost().0, held.traces_lost().1);
        let streams = crowd.live.iter().map(|live| live.job.promises.len()).sum::<usize>() as f64;
        // But for the line that each may have at the wrong side of an end.
        let wanted = streams * (lines_per_s - 1.0 / held.seconds());
        let why = if let Some(words) = refusal {
            Some(format!("refused: {words}"))
        } else if crowd.live.len() < jobs {
            let faults = crowd.tally.faults();
            Some(faults.first().map_or_else(|| "a job was not started".into(), |f| format!("{}: {}", f.kind, f.first)))
        } else if traces > 0 {
            Some(format!("{traces} traces lost, {daemon} of them by the daemon; {lost} lines lost"))
        } else if lost > 0 {
            Some(format!("{lost} lines lost"))
        } else if held.lines_per_s() < 0.98 * wanted {
            // Whoever is behind loses nothing yet, but will.
            Some(format!("readers fall behind: {:.0} of {wanted:.0} lines/s", held.lines_per_s()))
        } else {
            None
        };
        let step = Step { jobs: crowd.live.len(), held };
        if let Some(why) = why {
            gave_way = Some((step, why));
            break;
        }
        clean = Some(step);
        jobs = (jobs as f64 * STEP).ceil() as usize;
    }
    crowd.close(rig).await;
    let what = format!("displays of {} channels at {lines_per_s} lines/s, {STEP} times as many a step", size.channels);
    let mut report = Report::new("limit", what);
    if let Some(Step { jobs, held }) = &clean {
        report.count("most jobs without a loss", *jobs as u64);
        rate(&mut report, held);
        held.machine(&mut report);
    } else {
        report.words("most jobs without a loss", "the first step lost already");
    }
    match &gave_way {
        Some((Step { jobs, held }, why)) => {
            report.count("gave way at jobs", *jobs as u64);
            rate(&mut report, held);
            report.words("  what gave way", why.as_str());
        }
        None => {
            report.words("gave way at jobs", "never");
        }
    }
    report.faults = crowd.tally.faults().into_iter().filter(|fault| NEVER.contains(&fault.kind)).collect();
    Ok(report)
}

fn rate(report: &mut Report, held: &Held) {
    report.number("  lines a second", held.lines_per_s(), "");
    report.number("  bytes a second", held.mb_per_s(), "MB/s");
}
