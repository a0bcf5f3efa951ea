//! How fast the daemon answers while it acquires: what the contract asks for on loopback.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::Size;
use crate::displays::display;
use crate::grpc::{Connection, Fault};
use crate::http::Http;
use crate::job::{Job, Refused, Wish, poll_once};
use crate::report::Report;
use crate::rig::Rig;
use crate::say;
use crate::tally::{Tally, Times};

/// Clients that read as fast as they can.
const CLIENTS: usize = 8;
const ROWS: usize = 100;
/// Jobs that are polled for a hundred rows, one after the other.
const POLLED: usize = 20;

pub async fn speed(size: &Size, rig: &mut Rig) -> Result<Report, Fault> {
    let what = format!("answers on loopback, acquisition at {} channels × {} Hz", rig.channels, rig.prr_hz);
    say(&format!("speed: {what}"));
    let mut report = Report::new("speed", what);
    let tally = Tally::default();
    starts(size, rig, &mut report).await?;
    rig.must_live()?;
    reads(size, rig, &mut report, &tally).await?;
    rig.must_live()?;
    polls(size, rig, &mut report, &tally).await?;
    report.faults = tally.faults();
    Ok(report)
}

async fn start(http: &mut Http, wish: &Wish) -> Result<(Job, f64), Fault> {
    match Job::configure(http, wish).await {
        Ok(started) => Ok(started),
        Err(Refused::NoRoom(words)) => Err(words.into()),
        Err(Refused::Fault(error)) => Err(error),
    }
}

/// One job after the other, each with the wait for its first line.
async fn starts(size: &Size, rig: &Rig, report: &mut Report) -> Result<(), Fault> {
    let mut http = Http::new(rig.http_address);
    let (mut configure, mut first, mut cancel) = (Vec::new(), Vec::new(), Vec::new());
    let mut line_ms = 0.0;
    for number in 0..size.starts {
        let asked = Instant::now();
        let (job, ms) = start(&mut http, &display(size, rig, number % 40, 40, 10.0).0).await?;
        configure.push(ms);
        line_ms = job.line_ms;
        // The others are cancelled at once, so that starts do not all fall upon the same place between two lines.
        if number.is_multiple_of(2) {
            let connection = Connection::open(&job.authority).await?;
            let mut call = connection.call(0).await?;
            call.next().await?.ok_or("the call ended before its first line")?;
            first.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        cancel.push(job.cancel(&mut http).await?);
    }
    let (configure, first, cancel) = (Times::of(configure), Times::of(first), Times::of(cancel));
    say(&format!("  {} jobs started and cancelled", configure.count()));
    report.number("POST /configure, p50", configure.quantile(0.5), "ms");
    report.number("  p95", configure.quantile(0.95), "ms").at_most(20.0, "ms");
    report.number("  p99", configure.quantile(0.99), "ms").at_most(50.0, "ms");
    report.number("first line of a live job since it was asked for, p50", first.quantile(0.5), "ms");
    report.number("  max", first.quantile(1.0), "ms").at_most(line_ms + 250.0, "ms");
    report.number("DELETE /job, p50", cancel.quantile(0.5), "ms");
    report.number("  p99", cancel.quantile(0.99), "ms");
    Ok(())
}

async fn reads(size: &Size, rig: &Rig, report: &mut Report, tally: &Tally) -> Result<(), Fault> {
    let mut http = Http::new(rig.http_address);
    let (job, _) = start(&mut http, &display(size, rig, 0, 40, 10.0).0).await?;
    let metadata = format!("/metadata/{}", job.id);
    let routes = [
        ("/channels", "/channels"),
        ("/live_metadata", "/live_metadata"),
        ("/metadata", metadata.as_str()),
        ("/ack", "/ack"),
    ];
    for (name, path) in routes {
        let mut times = Vec::new();
        for _ in 0..size.reads {
            let began = Instant::now();
            let answer = http.get(path).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            if answer.status != 200 {
                tally.fault("a read", format!("{name}: {}: {}", answer.status, answer.text()));
            }
        }
        let times = Times::of(times);
        report.number(format!("GET {name}, p50"), times.quantile(0.5), "ms");
        report.number("  p95", times.quantile(0.95), "ms");
        report.number("  p99", times.quantile(0.99), "ms").at_most(5.0, "ms");
    }
    let until = Instant::now() + size.reads_hold;
    let began = Instant::now();
    let client = async || {
        let mut http = Http::new(rig.http_address);
        let mut times = Vec::new();
        for (name, path) in routes.iter().cycle() {
            let asked = Instant::now();
            if asked >= until {
                break;
            }
            match http.get(path).await {
                Ok(answer) if answer.status == 200 => times.push(asked.elapsed().as_secs_f64() * 1e3),
                Ok(answer) => tally.fault("a read", format!("{name}: {}: {}", answer.status, answer.text())),
                Err(error) => tally.fault("a read", format!("{name}: {error}")),
            }
        }
        times
    };
    let times: Vec<f64> = join_all((0..CLIENTS).map(|_| client())).await.into_iter().flatten().collect();
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    say(&format!("  {rate:.0} reads/s"));
    report.number(format!("reads a second of {CLIENTS} clients"), rate, "").at_least(2000.0, "");
    report.number("  p99 meanwhile", Times::of(times).quantile(0.99), "ms");
    job.cancel(&mut http).await?;
    Ok(())
}

/// A hundred rows at once: of the whole fiber as a waterfall, and of a single channel's spectra.
async fn polls(size: &Size, rig: &Rig, report: &mut Report, tally: &Tally) -> Result<(), Fault> {
    let single = size.channels.min(rig.channels);
    let waterfall = Wish {
        settings: 0,
        view: 2,
        channels: 1..=rig.channels,
        nfft: size.nfft,
        max_hz: size.max_hz(rig),
        lines_per_s: 20.0,
    };
    let spectra = Wish { settings: 1, view: 1, channels: single..=single, lines_per_s: 100.0, ..waterfall.clone() };
    for (name, wish, target) in
        [("a waterfall of the fiber", waterfall, Some(20.0)), ("spectra of a channel", spectra, None)]
    {
        let mut http = Http::new(rig.http_address);
        let mut jobs = Vec::new();
        for _ in 0..POLLED {
            jobs.push((start(&mut http, &wish).await?.0, None));
        }
        // From its first poll on lines are held for a client.
        for (job, last_ms) in &mut jobs {
            poll_once(job, &mut http, ROWS, last_ms, tally).await?;
        }
        let mut times = Vec::new();
        for _ in 0..size.poll_rounds {
            let line_ms = jobs.first().map_or(0.0, |(job, _)| job.line_ms);
            sleep(Duration::from_secs_f64((ROWS as f64 + 10.0) * line_ms * 1e-3)).await;
            for (job, last_ms) in &mut jobs {
                let (rows, ms) = poll_once(job, &mut http, ROWS, last_ms, tally).await?;
                if rows == ROWS {
                    times.push(ms);
                }
                // What came meanwhile: a job keeps little more than a hundred rows.
                poll_once(job, &mut http, 10 * ROWS, last_ms, tally).await?;
            }
        }
        for (job, _) in &jobs {
            job.cancel(&mut http).await?;
        }
        say(&format!("  {} times {ROWS} rows of {name}", times.len()));
        let times = Times::of(times);
        if times.count() == 0 {
            tally.fault("polling", format!("never {ROWS} rows at once of {name}"));
        }
        report.number(format!("{ROWS} rows of {name} by polling, p50"), times.quantile(0.5), "ms");
        let p95 = report.number("  p95", times.quantile(0.95), "ms");
        if let Some(target) = target {
            p95.at_most(target, "ms");
        }
    }
    Ok(())
}
