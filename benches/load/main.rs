//! Clients of the control API by the hundred: live jobs with their readers against the real daemon, every line checked.
//!
//! ```sh
//! cargo bench --bench load                                   # all scenarios
//! cargo bench --bench load -- displays --minutes 10          # one, for so long
//! cargo bench --bench load -- displays --jobs 400 --settings 4
//! cargo bench --bench load -- speed --url http://127.0.0.1:5000 --json
//! ```
//! Without `--url` each scenario starts a daemon and an interrogator of its own, as processes beside this one: 2337
//! channels at 2000 Hz, no broker, limits of requests and budget out of the way. Another daemon must have such limits
//! itself. Progress goes to stderr, tables or JSON to stdout. The exit code is 1 when an error, a lost line or a lost
//! trace was seen, never for a time that was missed. As a test (`cargo test --benches`) every scenario runs small.
//!
//! | scenario | what |
//! |---|---|
//! | `displays` | 200 jobs of 50 channels, nfft 1024, 10 lines/s, gRPC readers on every stream, some that poll (`--jobs`) |
//! | `wide` | one job over the whole fiber at 100 lines/s |
//! | `many` | 1000 jobs of one line a second |
//! | `limit` | more and more displays until lines are lost |
//! | `cycles` | 10,000 jobs started and cancelled; files, threads, ports, slots and memory are as before |
//! | `speed` | what control-API requests, first lines and polls take |
//!
//! The delay of a line is its arrival here minus its end; both clocks are this machine's, and times of lines are whole
//! milliseconds, so it is known to a millisecond.

// A program of its own: nothing here is anybody's interface.
#![allow(missing_docs, unreachable_pub)]

mod check;
mod crowd;
mod cycles;
mod displays;
mod grpc;
mod http;
mod job;
mod limit;
mod report;
mod rig;
mod speed;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use fiberd::bench::Case;

use crate::grpc::Fault;
use crate::report::Report;
use crate::rig::Rig;

const SCENARIOS: [&str; 6] = ["displays", "wide", "many", "limit", "cycles", "speed"];
/// As a test: a machine that stands still may lose traces, which says nothing about this program.
const TRIES: usize = 3;

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Size {
    pub case: Case,
    pub nfft: usize,
    /// Of a display.
    pub channels: usize,
    pub jobs: usize,
    /// How many different things displays want to see; `None` = two displays each.
    pub settings: Option<usize>,
    pub many: usize,
    pub warm_up: Duration,
    /// As asked for on the command line.
    pub hold: Option<Duration>,
    pub displays_hold: Duration,
    pub short_hold: Duration,
    pub limit_from: usize,
    pub limit_steps: usize,
    pub limit_hold: Duration,
    pub cycles: usize,
    pub starts: usize,
    pub reads: usize,
    pub reads_hold: Duration,
    pub poll_rounds: usize,
}

impl Size {
    fn full() -> Self {
        let s = Duration::from_secs;
        Self {
            case: Case::new(2337, 2000.0, 0),
            nfft: 1024,
            channels: 50,
            jobs: 200,
            settings: None,
            many: 1000,
            // Feeds keep 20 s at most.
            warm_up: s(30),
            hold: None,
            displays_hold: s(600),
            short_hold: s(60),
            limit_from: 100,
            limit_steps: 20,
            limit_hold: s(12),
            cycles: 10_000,
            starts: 400,
            reads: 2000,
            reads_hold: s(5),
            poll_rounds: 5,
        }
    }

    fn tiny() -> Self {
        let s = Duration::from_secs;
        Self {
            case: Case::new(64, 1000.0, 0),
            nfft: 128,
            channels: 10,
            jobs: 4,
            many: 6,
            warm_up: s(1),
            displays_hold: s(3),
            short_hold: s(3),
            limit_from: 2,
            limit_steps: 2,
            limit_hold: s(2),
            cycles: 60,
            starts: 6,
            reads: 20,
            reads_hold: s(1),
            poll_rounds: 1,
            ..Self::full()
        }
    }

    pub fn max_hz(&self, rig: &Rig) -> f64 {
        500_f64.min(rig.prr_hz / 2.0)
    }
}

struct Options {
    size: Size,
    url: Option<String>,
    json: bool,
    scenarios: Vec<&'static str>,
}

fn options(words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { size: Size::full(), url: None, json: false, scenarios: Vec::new() };
    let mut words = words.filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut number = || {
            let value: Option<f64> = words.next().and_then(|value| value.parse().ok());
            value.filter(|value| *value > 0.0).ok_or(format!("{word} wants a number"))
        };
        match word.as_str() {
            "--minutes" => {
                let hold = Duration::try_from_secs_f64(60.0 * number()?).map_err(|error| error.to_string())?;
                options.size.hold = Some(hold);
            }
            "--jobs" => options.size.jobs = number()?.ceil() as usize,
            "--settings" => options.size.settings = Some(number()?.ceil() as usize),
            "--cycles" => options.size.cycles = number()?.ceil() as usize,
            "--url" => options.url = Some(words.next().ok_or("--url wants http://HOST:PORT")?),
            "--json" => options.json = true,
            name => match SCENARIOS.iter().find(|scenario| **scenario == name) {
                Some(scenario) => options.scenarios.push(scenario),
                None => {
                    return Err(format!(
                        "{name} is none of {SCENARIOS:?}, --minutes, --jobs, --settings, --cycles, --url, --json"
                    ));
                }
            },
        }
    }
    if options.scenarios.is_empty() {
        options.scenarios = SCENARIOS.to_vec();
    }
    Ok(options)
}

fn main() -> ExitCode {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    if !std::env::args().any(|word| word == "--bench") {
        return runtime.block_on(smoke());
    }
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(64);
        }
    };
    let mut reports = Vec::new();
    for scenario in &options.scenarios {
        match runtime.block_on(run(scenario, &options.size, options.url.as_deref())) {
            Ok(report) => {
                if !options.json {
                    println!("{report}");
                }
                reports.push(report);
            }
            Err(error) => {
                eprintln!("{scenario}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports).expect("reports are plain"));
    }
    if reports.iter().any(Report::failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn run(scenario: &str, size: &Size, url: Option<&str>) -> Result<Report, Fault> {
    let mut rig = match url {
        Some(url) => Rig::at(url).await?,
        None => Rig::start(size.case).await?,
    };
    let rig_ref = &mut rig;
    let report = match scenario {
        "displays" => displays::displays(size, rig_ref).await,
        "wide" => displays::wide(size, rig_ref).await,
        "many" => displays::many(size, rig_ref).await,
        "limit" => limit::limit(size, rig_ref).await,
        "cycles" => cycles::cycles(size, rig_ref).await,
        _ => speed::speed(size, rig_ref).await,
    }?;
    rig.stop()?;
    Ok(report)
}

/// Every scenario, small, and the checks themselves.
async fn smoke() -> ExitCode {
    check::verify();
    for scenario in SCENARIOS {
        let mut left = TRIES;
        loop {
            let report = run(scenario, &Size::tiny(), None).await.unwrap_or_else(|error| panic!("{scenario}: {error}"));
            println!("{report}");
            left -= 1;
            if !report.failed() {
                break;
            }
            let stood_still = report.rows.iter().any(|row| row.name == "traces lost" && row.value > Some(0.0));
            assert!(stood_still && left > 0, "{scenario} failed");
        }
    }
    ExitCode::SUCCESS
}

/// How far it has come.
pub fn say(words: &str) {
    eprintln!("{words}");
}

/// Every reader is a connection, and shells often allow a thousand files.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
