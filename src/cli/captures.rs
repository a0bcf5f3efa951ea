//! `fiberd info` and `fiberd export`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::seconds;
use crate::export::Format;
use crate::source::replay::iso_to_ns;

pub(super) const INFO: &str = "\
Examples:
  fiberd info capture.fdas
  fiberd info '/data/*.h5' --quick                   what the files say of themselves, without a look at samples
  fiberd info vendor.h5 --json | jq .
  fiberd info capture.fdas --plot capture.png  level over time and distance, and along the fiber
  fiberd info /dev/shm/fiberd/ring             a ring, watched for 5 s: a check for authors of drivers
  fiberd info --cpu                            which instruction set the transforms use here

Of a file: a verdict (ok, note, warning or damaged) with all that led to it; format, times (UTC), PRR (Hz), \
channels, distance between them (m), gauge length (m), sample type, quantity and scale; level and noise along \
the fiber, dead and clipped channels; segments, gaps, and whether the checksums hold. Of a large file a sample of \
64 MB is looked at unless --full is given. Of a ring: what its header declares, light, rate, missing traces and \
timestamps as they come, and all that is wrong; it is only read, and a daemon that reads it does not notice.

note: good to know, nothing is lost. warning: data are missing or not what they should be, or the file says \
something that is wrong. damaged: a part of the file cannot be read.
Exit code 0 up to warning; 65 when a file is damaged or no capture, or something is wrong with a ring. \
--json: one object, or an array of them for several files; its keys, in docs/info.md, stay as they are.";

pub(super) const EXPORT: &str = "\
Examples:
  fiberd export capture.fdas --to prodml               capture.h5, for DASCore, xdas and DASPy
  fiberd export a.h5 b.h5 --to npz -o night.npz        samples, times and distances for NumPy
  fiberd export capture.fdas --to npy --raw --channels 100..200
  fiberd export capture.fdas --to csv --channel 1200 --from 2026-11-29T14:00:00Z --for 60
  fiberd export capture.fdas --to wav --channel 1200   to be listened to
  fiberd export capture.fdas --to png                  the picture of `fiberd info --plot`, of all traces

prodml, npy, npz and wav get a file for every stretch without a gap: NAME.h5, NAME-2.h5 and so on. csv says \
the time of every trace, png shows gaps in red. Samples are those of the quantity (float32; complex64 of a raw \
optical field) unless --raw asks for counts; PRODML keeps int16 where the scale is 1. wav is 24-bit PCM with the \
loudest sample of all files at full scale.

Nothing is written over without --force, and nothing is left of an export that fails or is stopped. Exit code 64 \
when something is asked for that cannot be, 65 when a file is no capture.";

/// `fiberd info`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Info {
    /// Captured files of any format that replay reads, or a ring
    #[arg(value_name = "FILE", required_unless_present = "cpu", conflicts_with = "cpu")]
    pub files: Vec<PathBuf>,
    /// Look at all samples of a large file, not at a sample of them
    #[arg(long)]
    pub full: bool,
    /// Do not look at samples
    #[arg(long, conflicts_with_all = ["full", "plot"])]
    pub quick: bool,
    /// Write a picture of one capture, PNG
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Write over the picture when it is there already
    #[arg(long, requires = "plot")]
    pub force: bool,
    /// Instead of a file: the instruction set of the transforms, channels computed together, threads
    #[arg(long)]
    pub cpu: bool,
    /// For programs: one JSON object, or an array of them for several files
    #[arg(long)]
    pub json: bool,
}

/// `fiberd export`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("end").args(["to_time", "length"]),
    group = ArgGroup::new("which").args(["channel", "channels"])
)]
pub struct Export {
    /// Captured files of any format that replay reads, in order of time
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What to make of them: prodml, npy, npz, wav, csv or png
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub to: Format,
    /// The file to write [default: named after the first capture, in this folder]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// These channels only, from 1, both included: 100..200
    #[arg(long, value_name = "A..B", value_parser = channels)]
    pub channels: Option<(usize, usize)>,
    /// This channel only, from 1
    #[arg(long, value_name = "N")]
    pub channel: Option<usize>,
    /// From this time on: 2026-11-29T14:00:00Z
    #[arg(long, value_name = "UTC", value_parser = utc)]
    pub from: Option<i64>,
    /// Up to before this time
    #[arg(long, value_name = "UTC", value_parser = utc)]
    pub to_time: Option<i64>,
    /// Length of data, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub length: Option<Duration>,
    /// Counts as they are stored, not the quantity that they stand for
    #[arg(long)]
    pub raw: bool,
    /// Write over files that are there already
    #[arg(long)]
    pub force: bool,
}

fn format(text: &str) -> Result<Format, String> {
    let known = Format::ALL.iter().find(|(name, _)| *name == text);
    known.map(|(_, format)| *format).ok_or_else(|| "write prodml, npy, npz, wav, csv or png".into())
}

fn channels(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once("..").and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    let numbers = numbers.filter(|&(first, last): &(usize, usize)| first >= 1 && last >= first);
    numbers.ok_or_else(|| "write the first and the last channel, from 1, such as 100..200".into())
}

fn utc(text: &str) -> Result<i64, String> {
    iso_to_ns(text).ok_or_else(|| "write UTC such as 2026-11-29T14:00:00Z".into())
}
