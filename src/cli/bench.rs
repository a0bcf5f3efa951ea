//! `fiberd bench`: what may be measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// What `fiberd bench` can measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The whole service, from the ring to the broker's confirm, each part a process of its own
    #[command(after_help = "\
Examples:
  fiberd bench service                         2337 x 2000 Hz, 10000 x 2000 Hz, 50000 x 1000 Hz
  fiberd bench service --channels 5000 --prr 4000 --singles 4
  fiberd bench service --channels 50000 --prr 1000 --line-period-ms 128
  fiberd bench service --broker amqp://broker.example:5672/%2f --username das --password-file pw
  fiberd bench service --no-broker --seconds 60 --json > host.json

A producer writes a synthetic fiber into a ring in memory in real time; `fiberd run` takes it from there \
and publishes to the broker; a consumer takes every frame. The exchanges are the benchmark's own and are \
deleted afterwards. Without --broker the one at 127.0.0.1:5672 is used when there is one; when there is \
none, frames are made and not published.

Traces and frames are counted over the whole run and must be exact; processor shares (percent of one \
core), load and latencies hold for the measured seconds, which begin after a warm-up. Lost traces are told \
in words and end with exit code 0; another code means that the measurement failed or was stopped.")]
    Service(ServiceBench),
}

/// `fiberd bench service`.
#[derive(Debug, Args)]
pub struct ServiceBench {
    /// A case of your own instead of the three: channels, with one waterfall over all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub channels: Option<u32>,
    /// Pulse repetition rate of your own case, in Hz [default: 2000]
    #[arg(long, value_name = "HZ", requires = "channels", value_parser = bench_prr)]
    pub prr: Option<f64>,
    /// Single channels of your own case, with spectra of 1024 traces [default: 0]
    #[arg(long, value_name = "K", requires = "channels", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub singles: Option<u32>,
    /// From line to line of the waterfall (nfft 256), in milliseconds
    #[arg(long, value_name = "MS", default_value = "50", value_parser = bench_line_period)]
    pub line_period_ms: f64,
    /// How long each case is measured, in seconds
    #[arg(long, value_name = "S", default_value = "20", value_parser = bench_seconds)]
    pub seconds: Duration,
    /// Threads of the DSP stage; 0 = one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub threads: u16,
    /// The broker, without user and password; must be there [default: 127.0.0.1:5672, when it is there]
    #[arg(long, value_name = "URI")]
    pub broker: Option<String>,
    /// User at the broker [default: guest]
    #[arg(long, value_name = "NAME", conflicts_with = "no_broker")]
    pub username: Option<String>,
    /// File that holds the password and nothing else [default: the password is guest]
    #[arg(long, value_name = "FILE", conflicts_with = "no_broker")]
    pub password_file: Option<PathBuf>,
    /// Do not look for a broker
    #[arg(long, conflicts_with = "broker")]
    pub no_broker: bool,
    /// For programs: one JSON object
    #[arg(long)]
    pub json: bool,
}

fn bench_prr(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(hz) if (100.0..=100_000.0).contains(&hz) => Ok(hz),
        _ => Err("write a number of Hz from 100 to 100000".into()),
    }
}

fn bench_line_period(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ms) if (10.0..=10_000.0).contains(&ms) => Ok(ms),
        _ => Err("write a number of milliseconds from 10 to 10000".into()),
    }
}

fn bench_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if (1.0..=86_400.0).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("write a number of seconds from 1 to 86400".into()),
    }
}
