//! Jobs that are held for a while with readers on all of them: `displays`, `wide` and `many`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Size;
use crate::crowd::{Crowd, Held, NO_METRICS, hold, traces_lost};
use crate::grpc::Fault;
use crate::job::{Readers, Wish};
use crate::report::Report;
use crate::rig::Rig;
use crate::say;
use crate::tally::Times;

/// One of so many displays is watched by polling as well.
const POLLED_ONE_OF: usize = 20;
/// One of so many has a second gRPC reader.
const SEEN_TWICE_ONE_OF: usize = 50;

/// After this time the daemon has given memory of jobs that ended back to the system.
const GIVES_BACK: Duration = Duration::from_secs(10);

/// `number` of the displays: ranges of channels all along the fiber, each asked for by two clients (or by as many as
/// there are for the `settings` that are allowed).
pub fn display(size: &Size, rig: &Rig, number: usize, jobs: usize, lines_per_s: f64) -> (Wish, Readers) {
    let settings = size.settings.unwrap_or(jobs.div_ceil(2)).clamp(1, jobs.max(1));
    let channels = size.channels.min(rig.channels);
    // The two are neighbours in number as long as there are settings left.
    let setting = (number * settings / jobs.max(1)) % settings;
    let first = 1 + (rig.channels - channels) * setting / settings;
    let wish = Wish {
        settings: setting,
        view: 0,
        channels: first..=first + channels - 1,
        nfft: size.nfft,
        max_hz: size.max_hz(rig),
        lines_per_s,
    };
    let grpc = if number.is_multiple_of(SEEN_TWICE_ONE_OF) { 2 } else { 1 };
    (wish, Readers { grpc, polls: number.is_multiple_of(POLLED_ONE_OF) })
}

pub async fn displays(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let wishes = (0..size.jobs).map(|k| display(size, rig, k, size.jobs, 10.0)).collect();
    held("displays", size, rig, wishes, size.hold.unwrap_or(size.displays_hold)).await
}

pub async fn many(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let wishes = (0..size.many).map(|k| display(size, rig, k, size.many, 1.0)).collect();
    held("many", size, rig, wishes, size.hold.unwrap_or(size.short_hold)).await
}

pub async fn wide(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let channels = 1..=rig.channels;
    let wish = Wish { settings: 0, view: 0, channels, nfft: size.nfft, max_hz: size.max_hz(rig), lines_per_s: 100.0 };
    let wishes = vec![(wish, Readers { grpc: 1, polls: false })];
    held("wide", size, rig, wishes, size.hold.unwrap_or(size.short_hold)).await
}

async fn held(
    name: &'static str,
    size: &Size,
    rig: &mut Rig,
    wishes: Vec<(Wish, Readers)>,
    time: Duration,
) -> Result<Report, Fault> {
    let count = |of: fn(&Readers) -> usize| wishes.iter().map(|(_, readers)| of(readers)).sum::<usize>();
    let (jobs, clients, polls) = (wishes.len(), count(|r| r.grpc), count(|r| usize::from(r.polls)));
    let what = wishes.first().map_or_else(String::new, |(wish, _)| {
        format!(
            "{jobs} jobs, {} channels, nfft {}, 0–{} Hz, {} lines/s each; {clients} gRPC clients and {polls} that poll; \
             {} channels × {} Hz",
            wish.channels.clone().count(),
            wish.nfft,
            wish.max_hz,
            wish.lines_per_s,
            rig.channels,
            rig.prr_hz
        )
    });
    say(&format!("{name}: {what}"));
    let before = rig.metrics().await.ok_or(NO_METRICS)?;
    let mut crowd = Crowd::new();
    let refusal = crowd.add(rig, wishes).await;
    if let Some(words) = &refusal {
        crowd.tally.fault("refused", words);
    }
    let started = crowd.live.len();
    hold(rig, &crowd, size.warm_up, "warm-up").await?;
    crowd.tally.delays.begin();
    let seen = hold(rig, &crowd, time, "second").await?;
    crowd.tally.delays.end();
    let ended = crowd.close(rig).await;
    let after = rig.metrics().await.ok_or(NO_METRICS)?;
    let (traces, by_daemon) = traces_lost(&before, &after);
    let [earlier, later] = [&before, &after].map(|m| m.count("fiberd_frames_dropped_total{place=\"egress\"}"));
    let lost = Lost { traces, by_daemon, dropped: later.saturating_sub(earlier) };
    let mut report = Report::new(name, what);
    report.number("measured", seen.seconds(), "s");
    report.count("jobs held", started as u64).must_be(jobs as u64);
    losses(&mut report, &crowd, &seen, lost);
    delays(&mut report, &crowd);
    let configured = Times::of(std::mem::take(&mut crowd.configured));
    report.number("/configure while jobs start, p50", configured.quantile(0.5), "ms");
    report.number("  p99", configured.quantile(0.99), "ms");
    report.number("DELETE while jobs end, p50", ended.quantile(0.5), "ms");
    report.number("  p99", ended.quantile(0.99), "ms");
    seen.machine(&mut report);
    report.number("memory growth while measured", seen.growth_percent(), "%").at_most(5.0, "%");
    tokio::time::sleep(size.warm_up.min(GIVES_BACK)).await;
    let left = rig.account().await?.memory as f64 / 1e6;
    report.number("memory when they are gone", left, "MB");
    report.faults = crowd.tally.faults();
    Ok(report)
}

/// What the daemon says that went missing.
#[derive(Clone, Copy)]
struct Lost {
    traces: u64,
    by_daemon: u64,
    dropped: u64,
}

fn losses(report: &mut Report, crowd: &Crowd, seen: &Held, lost: Lost) {
    let Lost { traces, by_daemon, dropped } = lost;
    let (from, to, all) = (seen.from.counts, seen.to.counts, crowd.tally.counts());
    report.count("lines read by gRPC", to.lines - from.lines);
    report.number("lines a second", seen.lines_per_s(), "");
    report.number("messages a second", (to.messages - from.messages) as f64 / seen.seconds(), "");
    report.number("bytes a second", seen.mb_per_s(), "MB/s");
    report.count("rows read by polling", to.rows - from.rows);
    report.count("  in polls", to.polls - from.polls);
    report.count("lines lost, from the first to the last", all.lost).must_be(0);
    report.count("  of these by being late, as the daemon tells", crowd.tally.told_lost.load(Ordering::Relaxed));
    report.count("  frames dropped at the fence", dropped);
    report.count("traces lost", traces).must_be(0);
    report.count("  of these by the daemon", by_daemon);
    report.count("lines compared between readers, gRPC and polling", all.compared);
    let alone = crowd.configured.len() < 2;
    if all.compared == 0 && !alone {
        crowd.tally.fault("different values", "nothing could be compared");
    }
}

fn delays(report: &mut Report, crowd: &Crowd) {
    for (name, q) in [
        ("delay: arrival after the end of the line (±1 ms), p50", 0.5),
        ("  p95", 0.95),
        ("  p99", 0.99),
        ("  max", 1.0),
    ] {
        report.number(name, crowd.tally.delays.quantile(q).map(|ms| ms as f64), "ms");
    }
}
