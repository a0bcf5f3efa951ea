//! Jobs are started and cancelled thousands of times, read in every way or not at all: nothing may stay behind.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::Size;
use crate::crowd::{NO_METRICS, each, traces_lost};
use crate::displays::display;
use crate::grpc::{Connection, Fault};
use crate::http::Http;
use crate::job::{Job, Refused, Wish, poll_once};
use crate::report::Report;
use crate::rig::{Account, Rig};
use crate::say;
use crate::tally::{Tally, Times};

/// Between two words on progress, and to the first measured cycle: a thousand ended jobs are remembered.
const BATCH: usize = 500;
const FIRST: usize = 1500;
/// Ways to treat a job, and the one that leaves a silent connection.
const WAYS: usize = 5;
const SILENT: usize = 1;
/// Closed connections and ended tasks are gone soon.
const SETTLE: Duration = Duration::from_secs(15);
/// What an allocator may do by itself.
const MEMORY_PERCENT: f64 = 5.0;
const MEMORY_BYTES: u64 = 4 << 20;

/// Milliseconds.
#[derive(Default)]
struct Took {
    configure: Vec<f64>,
    cancel: Vec<f64>,
    /// While somebody is connected who says nothing: the port waits a little for everybody to leave.
    cancel_silent: Vec<f64>,
}

pub async fn cycles(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let tally = Tally::default();
    let first = FIRST.min(size.cycles / 5);
    say(&format!("cycles: {} jobs started and cancelled", size.cycles));
    let began = rig.metrics().await.ok_or(NO_METRICS)?;
    let mut took = Took::default();
    turn(size, rig, &tally, 0..first, &mut took).await?;
    let base = settled(rig, None).await?;
    let at = Instant::now();
    turn(size, rig, &tally, first..size.cycles, &mut took).await?;
    let seconds = at.elapsed().as_secs_f64();
    let after = settled(rig, Some(&base)).await?;

    let mut report =
        Report::new("cycles", format!("{} jobs started and cancelled, {first} of them before", size.cycles));
    report.count("cycles", took.configure.len() as u64).must_be(size.cycles as u64);
    report.number("cycles a second", (size.cycles - first) as f64 / seconds, "");
    for (what, times) in [
        ("/configure, eight clients at a time", took.configure),
        ("DELETE, eight clients at a time", took.cancel),
        ("DELETE with a silent connection at the port", took.cancel_silent),
    ] {
        let times = Times::of(times);
        report.number(format!("{what}, p50"), times.quantile(0.5), "ms");
        report.number("  p99", times.quantile(0.99), "ms");
        report.number("  max", times.quantile(1.0), "ms");
    }
    report.count("open files", after.files as u64).must_be(base.files as u64);
    report.count("threads", after.threads as u64).must_be(base.threads as u64);
    if let (Some(before), Some(now)) = (base.ports, after.ports) {
        report.count("listening ports", now as u64).must_be(before as u64);
    }
    report.number("memory before", base.memory as f64 / 1e6, "MB");
    let grown = after.memory.saturating_sub(base.memory);
    let percent = 100.0 * grown as f64 / base.memory.max(1) as f64;
    report.number("memory growth", percent, "%").at_most(MEMORY_PERCENT, "%");
    report.number("  a cycle", grown as f64 / (size.cycles - first).max(1) as f64, "bytes");
    if percent > MEMORY_PERCENT && grown > MEMORY_BYTES {
        tally.fault("memory", format!("grown by {grown} bytes, {percent:.1} %"));
    }
    let mut http = Http::new(rig.http_address);
    let jobs: Value = serde_json::from_slice(&http.get("/jobs").await?.body)?;
    report.count("jobs left", jobs.as_array().map_or(u64::MAX, |jobs| jobs.len() as u64)).must_be(0);
    let slot = match Job::configure(&mut http, &wish(size, rig, 0)).await {
        Ok((job, _)) => {
            job.cancel(&mut http).await?;
            job.id.split_once('-').and_then(|(slot, _)| slot.parse().ok()).unwrap_or(u64::MAX)
        }
        Err(Refused::NoRoom(words)) => return Err(words.into()),
        Err(Refused::Fault(error)) => return Err(error),
    };
    report.count("slot of the next job", slot).must_be(1);
    let (lost, daemon) = traces_lost(&began, &rig.metrics().await.ok_or(NO_METRICS)?);
    report.count("traces lost", lost).must_be(0);
    report.count("  of these by the daemon", daemon);
    report.faults = tally.faults();
    Ok(report)
}

fn wish(size: &Size, rig: &Rig, number: usize) -> Wish {
    display(size, rig, number % 40, 40, 10.0).0
}

async fn turn(
    size: &Size,
    rig: &mut Rig,
    tally: &Tally,
    range: std::ops::Range<usize>,
    took: &mut Took,
) -> Result<(), Fault> {
    let numbers: Vec<_> = range.collect();
    for batch in numbers.chunks(BATCH) {
        let cycle =
            async |http: &mut Http, number: usize| (number, cycle(http, &wish(size, rig, number), number, tally).await);
        for (number, done) in each(rig, batch.to_vec(), cycle).await {
            match done {
                Ok((configure, cancel)) => {
                    took.configure.push(configure);
                    let list = if number % WAYS == SILENT { &mut took.cancel_silent } else { &mut took.cancel };
                    list.push(cancel);
                }
                Err(Refused::NoRoom(words)) => tally.fault("refused", words),
                Err(Refused::Fault(error)) => tally.fault("a cycle", error),
            }
        }
        rig.must_live()?;
        let account = rig.account().await?;
        say(&format!(
            "  {} cycles: {} files, {} threads, {:.1} MB, {} faults",
            took.configure.len(),
            account.files,
            account.threads,
            account.memory as f64 / 1e6,
            tally.faults().len()
        ));
    }
    Ok(())
}

async fn cycle(http: &mut Http, wish: &Wish, number: usize, tally: &Tally) -> Result<(f64, f64), Refused> {
    let (job, configure) = Job::configure(http, wish).await?;
    let cancel = match number % WAYS {
        // Read to the end.
        0 => {
            let connection = Connection::open(&job.authority).await?;
            let mut call = connection.call(0).await?;
            call.next().await?.ok_or("the call ended before its first line")?;
            let cancel = job.cancel(http).await?;
            while call.next().await?.is_some() {}
            let lost = call.lines_lost().await?;
            if lost > 0 {
                tally.fault("lines lost", format!("job {}: the daemon tells of {lost}", job.id));
            }
            cancel
        }
        // Somebody who leaves without a word, and somebody who says none.
        SILENT => {
            let connection = Connection::open(&job.authority).await?;
            drop(connection.call(job.promises.len() - 1).await?);
            drop(connection);
            let _silent = tokio::net::TcpStream::connect(&job.authority).await?;
            job.cancel(http).await?
        }
        2 => {
            poll_once(&job, http, 10, &mut None, tally).await?;
            job.cancel(http).await?
        }
        _ => job.cancel(http).await?,
    };
    // Everything is gone when it answers.
    let again = http.ask("DELETE", &format!("/job/{}", job.id), "").await?;
    if again.status != 404 {
        tally.fault("a cycle", format!("the second DELETE of a job was answered with {}", again.status));
    }
    Ok((configure, cancel))
}

/// What there is once nothing changes any more, or once it is as it was.
async fn settled(rig: &Rig, wanted: Option<&Account>) -> Result<Account, Fault> {
    let began = Instant::now();
    sleep(Duration::from_secs(2)).await;
    loop {
        let now = rig.account().await?;
        let like = |other: &Account| (now.files, now.threads, now.ports) == (other.files, other.threads, other.ports);
        if wanted.is_none_or(like) || began.elapsed() > SETTLE {
            return Ok(now);
        }
        sleep(Duration::from_millis(200)).await;
    }
}
