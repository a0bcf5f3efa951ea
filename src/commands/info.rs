//! `fiberd info`.

use std::path::Path;

use fiberd::cli;
use fiberd::source::replay::{self, Info, Listing};
use fiberd::source::ring;

use super::{Failure, all_there, remark, say, stop_flag};

pub(crate) fn info(args: &cli::Info) -> Result<(), Failure> {
    if args.files.is_empty() {
        return cpu(args.json);
    }
    all_there(&args.files)?;
    if let [file] = &args.files[..]
        && ring::is_ring(file)
    {
        return info_ring(file, args.json);
    }
    let Listing { files, notes } = replay::list(&args.files)?;
    for note in notes {
        remark(format_args!("fiberd: {note}"));
    }
    let (mut infos, mut failed) = (Vec::new(), None);
    for file in &files {
        match describe(file) {
            Ok(info) if args.json => infos.push(info),
            Ok(info) => say(info)?,
            // Of several files, one that cannot be read leaves the others to be told of.
            Err(failure) if failed.is_none() => failed = Some(failure),
            Err(failure) => remark(failure.text),
        }
    }
    match &infos[..] {
        [] => {}
        [info] if files.len() == 1 => say(json(info)?)?,
        infos => say(json(infos)?)?,
    }
    failed.map_or(Ok(()), Err)
}

fn describe(file: &Path) -> Result<Info, Failure> {
    replay::describe(file).map_err(|error| {
        // The first mistake of a driver: nobody can see yet that this is a ring.
        let hint = "; if this is a ring, its header is not written: the first 8 bytes should be FIBERDRG";
        let mut failure = Failure::from(error);
        failure.text.push_str(if ring::is_blank(file) { hint } else { "" });
        failure
    })
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(70, error))
}

fn info_ring(path: &Path, json: bool) -> Result<(), Failure> {
    let stop = stop_flag()?;
    let found = ring::inspect(path, &stop)?;
    if json {
        say(serde_json::to_string_pretty(&found).map_err(|error| Failure::new(70, error))?)?;
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
