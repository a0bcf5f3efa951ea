//! `fiberd info` and `fiberd export`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fiberd::cli;
use fiberd::export::{self, ExportError, Request};
use fiberd::source::replay::{self, Depth, Info, Listing, Overview};
use fiberd::source::ring;

use super::{Failure, Meter, all_there, remark, say, stop_flag};

/// What is done sooner needs no progress.
const WORTH_SHOWING: Duration = Duration::from_secs(1);

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Source(error) => error.into(),
            ExportError::Wrong(_) => Self::new(64, error),
            ExportError::Exists(_) | ExportError::Unfinished(_) | ExportError::Io { .. } => Self::new(74, error),
            ExportError::Stopped => Self::new(130, error),
        }
    }
}

pub(crate) fn info(args: &cli::Info) -> Result<(), Failure> {
    if args.cpu {
        return cpu(args.json);
    }
    all_there(&args.files)?;
    if let [only] = &args.files[..]
        && ring::is_ring(only)
    {
        return info_ring(only, args.json);
    }
    let Listing { files, notes } = replay::list(&args.files)?;
    for note in notes {
        remark(format_args!("fiberd: {note}"));
    }
    let [only] = &files[..] else { return infos(args, &files) };
    if let Some(lines) = replay::describe_lines(only)? {
        return if args.json { say(json(&lines)?) } else { say(lines) };
    }
    let (info, picture) = look(only, args)?;
    if let (Some(path), Some(picture)) = (&args.plot, picture) {
        plot(path, &info, &picture, args.force)?;
    }
    if args.json {
        say(json(&info)?)?;
    } else {
        say(&info)?;
    }
    verdict(&info)
}

/// Several files: what is wrong with one does not keep the others from being looked at.
fn infos(args: &cli::Info, files: &[PathBuf]) -> Result<(), Failure> {
    if args.plot.is_some() {
        return Err(Failure::new(64, "--plot is of one file; `fiberd export FILE… --to png` takes several"));
    }
    let mut all = Vec::new();
    let mut failures = Vec::new();
    for file in files {
        match look(file, args) {
            Ok((info, _)) => {
                failures.extend(verdict(&info).err());
                if args.json {
                    all.push(info);
                } else {
                    say(format_args!("{info}\n"))?;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    if args.json {
        say(json(&all)?)?;
    }
    let Some(code) = failures.first().map(|failure| failure.code) else { return Ok(()) };
    let text = failures.into_iter().map(|failure| failure.text).collect::<Vec<_>>().join("\n");
    Err(Failure { code, text })
}

fn look(file: &Path, args: &cli::Info) -> Result<(Info, Option<Overview>), Failure> {
    let depth = match (args.full, args.quick) {
        (true, _) => Depth::Whole,
        (false, true) => Depth::Metadata,
        (false, false) => Depth::Sample,
    };
    let (meter, begun) = (Meter::new(Some(1000)), Instant::now());
    let name = file.file_name().unwrap_or_default().display().to_string();
    let looked = replay::look(file, depth, args.plot.is_some(), &mut |share| {
        if begun.elapsed() < WORTH_SHOWING {
            return;
        }
        meter.show((1000.0 * share) as u64, format!("{name}: looking at samples, {:.0} %", 100.0 * share));
    });
    meter.finish();
    looked.map_err(|error| {
        // The first mistake of a driver: nobody can see yet that this is a ring.
        let hint = "; if this is a ring, its header is not written: the first 8 bytes should be FIBERDRG";
        let mut failure = Failure::from(error);
        failure.text.push_str(if ring::is_blank(file) { hint } else { "" });
        failure
    })
}

fn verdict(info: &Info) -> Result<(), Failure> {
    if info.is_whole() {
        return Ok(());
    }
    Err(Failure::new(65, format_args!("{}: damaged: a part of it cannot be read", info.path.display())))
}

fn plot(path: &Path, info: &Info, picture: &Overview, force: bool) -> Result<(), Failure> {
    if path
        .canonicalize()
        .is_ok_and(|path| replay::file_of(&info.path).canonicalize().is_ok_and(|capture| capture == path))
    {
        return Err(Failure::new(64, format_args!("{}: --plot names the capture itself", path.display())));
    }
    let title = info.path.file_name().unwrap_or_default().to_string_lossy();
    let sampled = info.statistics.as_ref().filter(|statistics| statistics.sampled);
    let remark = sampled.map_or(String::new(), |statistics| {
        format!("a sample of {:.2} % of the traces", 100.0 * statistics.traces as f64 / info.traces as f64)
    });
    Ok(export::save_plot(path, picture, &title, &remark, force)?)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(70, error))
}

fn info_ring(path: &Path, as_json: bool) -> Result<(), Failure> {
    let stop = stop_flag()?;
    let found = ring::inspect(path, &stop)?;
    if as_json {
        say(json(&found)?)?;
    } else {
        say(&found)?;
    }
    match found.faults.len() {
        0 => Ok(()),
        1 => Err(Failure::new(65, format_args!("{}: something is wrong with this ring", path.display()))),
        many => Err(Failure::new(65, format_args!("{}: {many} things are wrong with this ring", path.display()))),
    }
}

/// What transforms are computed with on this machine.
fn cpu(json: bool) -> Result<(), Failure> {
    let (instruction_set, lanes) = fiberd::dsp::instruction_set();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if json {
        return say(serde_json::json!({ "instruction_set": instruction_set, "lanes": lanes, "threads": threads }));
    }
    let each = if threads == 1 { "1 thread" } else { &*format!("{threads} threads") };
    say(format_args!("transforms use {instruction_set}: {lanes} channels at once, on up to {each}"))
}

pub(crate) fn export(args: &cli::Export) -> Result<(), Failure> {
    all_there(&args.files)?;
    let stop = stop_flag()?;
    let request = Request {
        files: args.files.clone(),
        to: args.to,
        out: args.out.clone(),
        force: args.force,
        raw: args.raw,
        channels: args.channels.or(args.channel.map(|channel| (channel, channel))),
        from_ns: args.from,
        until_ns: args.to_time,
        length: args.length,
    };
    let (meter, begun) = (Meter::new(Some(1000)), Instant::now());
    let exported = export::export(&request, &stop, &mut |done| {
        if begun.elapsed() < WORTH_SHOWING {
            return;
        }
        let share = done.traces as f64 / done.total.max(1) as f64;
        meter.show((1000.0 * share) as u64, format!("{} of {} traces", done.traces, done.total));
    });
    meter.finish();
    let exported = exported?;
    for finding in &exported.findings {
        remark(format_args!("fiberd: {finding}"));
    }
    for file in &exported.files {
        say(format_args!("{}: {} traces from {}", file.path.display(), file.traces, replay::ns_to_iso(file.start_ns)))?;
    }
    Ok(())
}
