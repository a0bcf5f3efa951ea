//! Endurance: a real daemon with a real ring and a real broker, and for as long as one likes everything that happens to an
//! installation, at random. Health must be right at every moment, and when it is quiet the books must balance.
//!
//! ```sh
//! just endurance 1h                                              # release build
//! just endurance 1h --seed 42 --report here                      # the same script again
//! cargo bench --bench endurance -- 10m --faults source,process    # only some faults
//! cargo bench --bench endurance -- 10m --daemon target/old/fiberd # another build of the daemon
//! cargo test --bench endurance -- --minutes 10                   # development build, as ./check does
//! ```
//! Without a time, as `cargo test --benches` calls it, one short round without broker. The script follows from the seed,
//! which is always printed; how far it comes in a given time depends on the machine. The report (`report.txt`), every look
//! of the watch (`samples.csv`), every action (`log.csv`) and the daemon's log go to `--report` or `target/endurance`.
//! The exit code is 1 when a rule was broken, 64 for wrong arguments.
//!
//! | origin | faults |
//! |---|---|
//! | `source` | driver stopped, paused, killed, restarted with the same and other shapes (10 Hz to 20 kHz, slots of 120 ms), epochs, light and power off or flickering, traces declared lost, laps, UTC steps |
//! | `broker` | killed and restarted, frozen, blocked by its memory alarm |
//! | `process` | the log not read while its pipe is full; SIGHUP |
//! | `clients` | jobs light and heavy, equal and different, with readers that are slow, vanish or never look |
//!
//! Down the page: [`script`] decides, [`play`] acts, [`world`] knows what is true, [`watch`] looks, [`rules`] check.

// A program of its own: nothing here is anybody's interface.
#![allow(missing_docs, unreachable_pub)]

#[path = "../../tests/common/books.rs"]
mod books;
#[allow(dead_code)]
#[path = "../../tests/common/broker.rs"]
mod broker;
mod clients;
mod consumer;
mod daemon;
#[allow(dead_code)]
#[path = "../load/grpc.rs"]
mod grpc;
#[allow(dead_code)]
#[path = "../load/http.rs"]
mod http;
mod interrogator;
mod options;
mod play;
mod producer;
mod report;
mod rules;
mod rules_verify;
mod script;
mod shape;
mod watch;
mod world;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::broker::Broker;
use crate::clients::Tally;
use crate::consumer::Consumer;
use crate::daemon::Daemon;
use crate::grpc::Fault as Failure;
use crate::interrogator::Interrogator;
use crate::options::Options;
use crate::play::{Pace, Play};
use crate::report::Report;
use crate::script::Origin;
use crate::shape::Shape;
use crate::watch::Watch;
use crate::world::World;

/// The script that `cargo test --benches` plays.
const SEED_OF_THE_TEST: u64 = 1;
/// What the daemon grants itself to end in order is 5 s; a machine may be busy.
const ENDS: Duration = Duration::from_secs(30);
/// At the end the consumer reads what is still in its queue.
const READS_OUT: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "producer") {
        return match producer::run(&words[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("driver: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let options = match Options::read(words) {
        Ok(options) => options,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(64);
        }
    };
    verify();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    match runtime.block_on(run(&options)) {
        Ok(report) => {
            println!("{report}");
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the endurance run itself failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The pure parts show that they are right.
fn verify() {
    shape::verify();
    script::verify();
    options::verify();
    books::verify();
    rules_verify::verify();
    watch::verify();
    consumer::verify();
}

async fn run(options: &Options) -> Result<Report, Failure> {
    // As a test it plays one script, so that what passes here passes there.
    let seed = options.seed.unwrap_or_else(|| if options.time.is_some() { rand::random() } else { SEED_OF_THE_TEST });
    let short = options.time.is_none();
    let pace = if short {
        Pace { round: Duration::from_secs(8), quiet: Duration::from_secs(3) }
    } else {
        // Helper threads of a runtime end after 10 s.
        Pace { round: Duration::from_secs(45), quiet: Duration::from_secs(12) }
    };
    eprintln!("seed {seed}");
    let reports =
        options.report.clone().unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("endurance"));
    fs::create_dir_all(&reports)?;
    let folder = folder()?;
    let broker = if options.broker && !short { Some(tokio::task::spawn_blocking(Broker::start).await?) } else { None };
    let broker = broker.map(Arc::new);
    let consumer = broker.as_ref().map(|broker| Consumer::new(broker.uri()));
    if let Some(consumer) = &consumer {
        consumer.declare().await?;
    }

    let world = Arc::new(World::new(Shape::BASE, broker.is_some()));
    let program = options.daemon.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_fiberd")));
    let uri = broker.as_ref().map(|broker| broker.uri());
    let daemon = Daemon::start(program, folder.path(), &reports, uri.as_deref())?;
    let mut interrogator = Interrogator::new(folder.path(), Arc::clone(&world));
    interrogator.start(Shape::BASE)?;
    let account = Arc::clone(&interrogator.account);
    let watch = Arc::new(Watch::new(Arc::clone(&world), daemon.api, daemon.pid(), account, &reports)?);
    answers(&daemon).await?;
    let looking = tokio::spawn({
        let watch = Arc::clone(&watch);
        async move { watch.run().await }
    });
    let reading = consumer.clone().map(|consumer| {
        let watch = Arc::clone(&watch);
        tokio::spawn(async move { consumer.run(Some(&watch)).await })
    });

    let (tally, origins) = (Arc::new(Tally::default()), options.origins.clone());
    let (world_of_play, watch_of_play) = (Arc::clone(&world), Arc::clone(&watch));
    let mut play =
        Play { world: world_of_play, watch: watch_of_play, interrogator, broker, daemon, tally, origins, seed, pace };
    let until = Instant::now() + options.time.unwrap_or_default();
    let rounds = play.rounds(until).await;
    if let Err(error) = &rounds {
        watch.violated("the run comes to its end", error.to_string());
    }
    if rounds.is_ok() {
        play.finish().await?;
    }
    looking.abort();
    let _ = looking.await;
    end(&play, &watch, &world).await;
    if let (Some(consumer), true) = (&consumer, rounds.is_ok()) {
        read_out(consumer, &watch).await;
    }
    reading.inspect(tokio::task::JoinHandle::abort);
    let report = report(&play, rounds.unwrap_or(0), consumer.as_deref());
    report.write(&reports)?;
    eprintln!("report, samples and logs are in {}", reports.display());
    Ok(report)
}

/// A folder in memory where the system has a place for it.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("fiberd-endurance-").tempdir_in(root)
}

async fn answers(daemon: &Daemon) -> Result<(), Failure> {
    let until = Instant::now() + ENDS;
    while http::Http::new(daemon.api).get("/healthz").await.is_err() {
        if let Some(status) = daemon.ended()? {
            let log = fs::read_to_string(&daemon.log).unwrap_or_default();
            return Err(format!("the daemon did not start ({status}): {log}").into());
        }
        if Instant::now() > until {
            return Err("the daemon does not answer".into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// SIGTERM, and how it ends.
async fn end(play: &Play, watch: &Watch, world: &World) {
    world.says("daemon: SIGTERM");
    let began = world.now();
    // Gone already: said before.
    if play.daemon.signal(Signal::TERM).is_err() {
        return;
    }
    loop {
        let took = world.now().saturating_sub(began);
        match play.daemon.ended() {
            Ok(Some(status)) => {
                world.says(format!("daemon: ended after {:.1} s with {status}", took.as_secs_f64()));
                if !status.success() {
                    watch.violated("SIGTERM ends the daemon in order", status.to_string());
                }
                return;
            }
            _ if took > ENDS => {
                return watch.violated("SIGTERM ends the daemon in order", format!("it runs on after {took:.1?}"));
            }
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What the broker has confirmed must have come.
async fn read_out(consumer: &Consumer, watch: &Watch) {
    let confirmed = watch.last().count("fiberd_frames_confirmed_total") as usize;
    let until = Instant::now() + READS_OUT;
    while consumer.book().frames() < confirmed && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
    }
    let book = consumer.book();
    if book.frames() < confirmed {
        watch.violated("what is confirmed has come", format!("{confirmed} confirmed, {} came", book.frames()));
    }
    let last = watch.last();
    let given_up = ["refused_total", "unroutable_total", "dropped_total{place=\"egress\"}"];
    let given_up: f64 = given_up.iter().map(|name| last.count(&format!("fiberd_frames_{name}"))).sum();
    if book.holes as f64 > given_up {
        watch.violated("frames that do not come are counted", format!("{} holes, {given_up} counted", book.holes));
    }
}

fn report(play: &Play, rounds: u64, consumer: Option<&Consumer>) -> Report {
    let (violations, worst) = play.watch.end();
    let last = play.watch.last();
    let count = |name: &str| last.count(&format!("fiberd_{name}"));
    let mut facts = vec![
        format!(
            "traces: {} launched, {} of them known of, {} read, {} missing in {} gaps; {} epochs, {} changes of phase; {} lines",
            last.launched,
            count("traces_launched_total"),
            count("traces_total"),
            count("gap_traces_total"),
            count("gaps_total"),
            count("epochs_total"),
            count("phase_changes_total"),
            count("lines_total")
        ),
        {
            let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
            let Tally { jobs, refused, messages, rows } = &*play.tally;
            let (jobs, refused, messages, rows) = (get(jobs), get(refused), get(messages), get(rows));
            format!("clients: {jobs} jobs, {refused} refused; {messages} messages and {rows} polled rows read")
        },
    ];
    facts.push(format!("books: {} looked at, besides those of the rules", books::kept(&last.metrics)));
    facts.extend(consumer.map(|consumer| {
        let book = consumer.book();
        format!(
            "frames: {} made, {} confirmed, {} dropped; {} came, {} of them twice, {} sequence numbers did not",
            count("frames_made_total"),
            count("frames_confirmed_total"),
            count("frames_dropped_total{place=\"egress\"}"),
            book.frames(),
            book.again,
            book.holes
        )
    }));
    let origins = play.origins.iter().filter(|origin| **origin != Origin::Broker || consumer.is_some());
    let origins: Vec<_> = origins.map(|origin| origin.name()).collect();
    Report {
        seed: play.seed,
        time: play.world.now(),
        rounds,
        origins: origins.join(", "),
        violations,
        worst,
        facts,
        log: play.world.log(),
    }
}
