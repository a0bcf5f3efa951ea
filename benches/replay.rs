//! How soon a capture gives its first block, and how many times faster than real time it is read: unpaced, by the reader
//! alone. Of any format: `cargo bench --bench replay -- FILE…`; without files, the golden capture, which shows only that
//! all is read.
//!
//! Each file is read in a process of its own, so that its peak of memory is its own. Beside the time that passed stands
//! the processor time of all threads: where the machine is busy, only that can be compared. `--open` reads the first
//! block only.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::replay::{Depth, Replay, look};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use rustix::time::{ClockId, clock_gettime};

/// What reading a file has shown.
#[derive(Default)]
struct Reading {
    to_open: Duration,
    to_first_block: Duration,
    to_end: Duration,
    /// Processor time of opening, and of reading.
    busy_until_open: Duration,
    busy_behind: Duration,
    damaged: u64,
    traces: u64,
    bytes: u64,
    /// Length of what was read, at its rate.
    seconds: f64,
}

/// Processor time of this process.
fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Largest memory of this process so far, in MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Reads a file to its end, or its first block.
fn read(file: &Path, all: bool) -> Result<Reading, String> {
    let (start, mut reading) = (Instant::now(), Reading::default());
    let text = |error: fiberd::source::SourceError| error.to_string();
    let mut replay = Replay::open(&[file.to_owned()], ReplaySpeed::Unpaced, false).map_err(text)?;
    (reading.to_open, reading.busy_until_open) = (start.elapsed(), processor());
    while let Probe::Ready(acquisition) = replay.probe().map_err(text)? {
        let acquisition = Arc::new(acquisition);
        let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(20));
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        loop {
            block.clear(&acquisition);
            let outcome = replay.read_block(&mut block, Duration::from_secs(60)).map_err(text)?;
            if reading.traces == 0 {
                reading.to_first_block = start.elapsed();
            }
            reading.traces += block.traces as u64;
            reading.bytes += (block.traces * block.layout().row_bytes()) as u64;
            reading.seconds += block.traces as f64 / acquisition.prr.to_f64();
            match outcome {
                ReadOutcome::Filled if all => {}
                ReadOutcome::Filled | ReadOutcome::EndOfStream => {
                    reading.to_end = start.elapsed();
                    reading.busy_behind = processor().saturating_sub(reading.busy_until_open);
                    reading.damaged = replay.damaged_traces();
                    return Ok(reading);
                }
                ReadOutcome::EpochChanged => break,
                other => return Err(format!("{other:?}")),
            }
        }
    }
    Err("there is no signal in it".into())
}

/// Reads a file and says how it went.
fn report(file: &Path, all: bool) -> Result<(), String> {
    let read = read(file, all)?;
    let reading = read.to_end.saturating_sub(read.to_open);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{:26} open {:7.1} ms ({:6.1} of a processor), first block {:7.1} ms, reading {:6.1} x real time ({:6.1} by {:.3} s of \
         a processor), {:5.0} MB/s, peak {:.0} MiB",
        file.file_name().unwrap_or_default().display().to_string(),
        ms(read.to_open),
        ms(read.busy_until_open),
        ms(read.to_first_block),
        read.seconds / reading.as_secs_f64(),
        read.seconds / read.busy_behind.as_secs_f64(),
        read.busy_behind.as_secs_f64(),
        read.bytes as f64 / 1e6 / reading.as_secs_f64(),
        peak_mib()
    );
    let (info, _) = look(file, Depth::Metadata, true, &mut |_| {}).map_err(|error| error.to_string())?;
    let said = info.traces + info.other_pieces.iter().map(|piece| piece.traces).sum::<u64>();
    let traces = read.traces + read.damaged;
    if all && traces != said { Err(format!("{traces} traces were read, {said} are in it")) } else { Ok(()) }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let all = !args.iter().any(|arg| arg == "--open");
    let mut files: Vec<PathBuf> = args.iter().filter(|arg| !arg.starts_with("--")).map(PathBuf::from).collect();
    if args.iter().any(|arg| arg == "--one") {
        let read =
            files.first().map_or(Ok(()), |file| report(file, all).map_err(|why| format!("{}: {why}", file.display())));
        return read.map_or_else(
            |why| {
                eprintln!("{why}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    if files.is_empty() {
        files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/capture-v1.fdas"));
    }
    let this = std::env::current_exe().expect("a program has a file");
    let good = files.iter().all(|file| {
        let mut one = Command::new(&this);
        one.arg("--one").args((!all).then_some("--open")).arg(file);
        one.status().is_ok_and(|status| status.success())
    });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
