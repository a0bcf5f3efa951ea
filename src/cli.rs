//! The command line: what may be asked, and the help that teaches it. Knows clap and the types it parses into; does
//! nothing itself.

mod access;
mod bench;
mod captures;
mod status;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use access::Access;
pub use bench::{Bench, ServiceBench};
pub use captures::{Export, Info};
pub use status::Status;

use crate::config::{ReplaySpeed, SIMULATED_RING, is_name, listen_address, loopback_address};

pub use watch::Watch;

const ABOUT: &str = "Acquisition and DSP daemon for fiber-optic interrogators (distributed acoustic sensing)";

const LONG_ABOUT: &str = "\
Acquisition and DSP daemon for fiber-optic interrogators (distributed acoustic sensing, DAS).

A laser launches pulses into a fiber; the light that comes back from each pulse is one trace, with one \
sample for each channel, a place on the fiber. fiberd takes the traces from the interrogator's \
memory-mapped ring at the pulse repetition rate (PRR, Hz), makes waterfalls (band energy over distance \
and time) and spectra of channels from them, and publishes these as frames to RabbitMQ.";

const AFTER: &str = "\
Begin here:
  fiberd demo                          a synthetic fiber, live in this terminal; nothing to install
  fiberd check-config fiberd.toml      every mistake at once, with its line and what would be right
  fiberd run --config fiberd.toml      the daemon
  fiberd status                        how it is
  fiberd watch                         a daemon that runs, live in this terminal

Each command explains itself: fiberd help COMMAND";

const AFTER_LONG: &str = "\
Begin here:
  fiberd demo                          a synthetic fiber, live in this terminal; nothing to install
  fiberd check-config fiberd.toml      every mistake at once, with its line and what would be right
  fiberd run --config fiberd.toml      the daemon
  fiberd status                        how it is
  fiberd watch                         a daemon that runs, live in this terminal
  fiberd replay capture.fdas           a recording as if it were live
  fiberd info capture.h5               what is in a file, and whether it is good
  fiberd export capture.h5 --to npz    for other programs
  fiberd bench service                 how large a fiber this host can serve

Words:
  trace     backscatter of one laser pulse over all channels
  channel   a place on the fiber, dx metres from the next; they count from 1
  PRR       pulses launched in a second, Hz: the sampling rate in time
  frame     what is published: lines of a waterfall, or spectra
  waiting for fiber   no signal; not an error, fiberd looks again by itself

Environment:
  FIBERD__SECTION__KEY=VALUE   goes over a key of the configuration: FIBERD__CAPTURE__PRR_HZ=1000
  FIBERD_LOG                   level of log lines, over the configuration: debug, fiberd::capture=trace
  CREDENTIALS_DIRECTORY        where systemd puts the broker's password; may stand in password_file
  FIBERD_TOKEN                 token for the control API of a daemon: fiberd status, fiberd watch
  FIBERD_TOKEN_FILE            the same, in a file: as --token-file
  NO_COLOR                     when set, no colours in the terminal

Exit codes:
   0  done, or stopped by a signal        69  something needed is taken or missing
  64  wrong arguments                     70  a fault in fiberd itself
  65  a file is not what it should be,    74  the operating system refused to read or write
      or traces of it are lost to damage  78  the configuration is wrong
  66  a file is not there
A second signal ends at once, with 128 and its number. fiberd status has codes of its own.";

/// Everything that stands on the command line.
#[derive(Debug, Parser)]
#[command(name = "fiberd", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER,
    after_long_help = AFTER_LONG, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What fiberd can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: from the interrogator's ring to the broker, until a signal
    #[command(after_help = "\
Examples:
  fiberd run --config /etc/fiberd/fiberd.toml
  FIBERD__BROKER__URI=amqp://broker.example:5672/%2f fiberd run --config fiberd.toml

An absent broker or a dark fiber never ends the daemon: both are tried again. SIGTERM or SIGINT stops it \
in order, frames that are inside still go out; a second signal leaves at once.
What it does, in numbers: http://127.0.0.1:5000/live_metadata, /readyz and /metrics.")]
    Run(Run),

    /// Show everything at once: a synthetic fiber, live in the terminal
    #[command(after_help = "\
Examples:
  fiberd demo                                  the built-in scene, until q or Ctrl-C
  fiberd demo --scene scene.toml --http 127.0.0.1:5001
  fiberd demo --replay capture.fdas            a recording in a loop instead of the synthetic fiber
  fiberd demo --for 10 --plain > demo.txt      lines of text, for a log or a pipe

The synthetic interrogator is a process of its own that writes the same ring as hardware would. Frames \
go to the broker at 127.0.0.1:5672 when there is one; without it they are made and shown. Keys: ? shows them.")]
    Demo(Demo),

    /// Show a daemon that runs, here or elsewhere, live in the terminal
    #[command(after_help = watch::AFTER)]
    Watch(Watch),

    /// Check a configuration and list every problem at once
    #[command(after_help = "\
Example:
  $ fiberd check-config fiberd.toml
  fiberd.toml:12:10: broker.window: 0 is too small; 1 to 4096 unconfirmed frames are allowed

A line holds file:line:column, the key, what is wrong, and what would be right. FIBERD__… variables are \
checked as well. Exit code 0 when nothing is wrong, 78 otherwise. Nothing is started or contacted; a \
password file under ${CREDENTIALS_DIRECTORY} need not be there yet.")]
    CheckConfig(CheckConfig),

    /// Be an interrogator: write a synthetic fiber into a ring in real time
    #[command(after_help = "\
Examples:
  fiberd simulate &                            the built-in scene into /dev/shm/fiberd-simulated.ring
  FIBERD__SOURCE__PATH=/dev/shm/fiberd-simulated.ring fiberd run --config fiberd.toml
  fiberd simulate --scene scene.toml --ring /dev/shm/other.ring --for 60

The ring is not the one that `fiberd run` reads by itself, so that invented data never pass for real. Where \
a ring is already, it is replaced only when its heartbeat has stood still for a second; a producer that \
lives is left alone, with exit code 69.

A scene is a small TOML file: fiber, noise, and what happens where and when (a walking person, a \
vehicle, digging, a pump, a break). The same seed gives the same samples on every machine.

While it runs: create the file RING.pulled (the ring's path with .pulled behind it) to pull the fiber, \
remove it to plug the fiber in again. A daemon may ask for another PRR within the scene's limits. Ctrl-C \
or SIGTERM switches the laser off, removes the ring and ends.")]
    Simulate(Simulate),

    /// Play captured files through the daemon as if they were live
    #[command(after_help = "\
Examples:
  fiberd replay capture.fdas                   at the speed at which it was taken
  fiberd replay capture.h5 --speed 10 --loop   ten times as fast, again and again
  fiberd replay 'capture.h5#Raw[1]'            one of several pieces that lie side by side in a file
  fiberd replay 'energy.h5#FbeData[2]'         one band of a file of band energies
  fiberd replay a.h5 b.h5 --speed max          as fast as the pipeline takes it; loses nothing
  fiberd replay /data/2024-12-20               all captures of a folder, in the order of their times
  fiberd replay '/data/*/*.tdms'               a pattern, for when the shell should not look for the files

Reads own captures, Sintela (.pb), Silixa TDMS, miniSEED, SEG-Y, and HDF5 of PRODML 2.0 and 2.1, ASN OptoDAS, Terra15, \
Febus, DAS-RCN, Silixa, AP Sensing, Neubrex, OptaSense ODH4, DASDAE, xdas (netCDF-4) and plain data with axes; the content \
tells which. Files that are named are played in the order in which they are named. \
A replay is deterministic: the same file gives the same frames, bit for bit. What is damaged in a file becomes a gap, and \
the exit code 65. Channels, PRR and scale \
come from the file; views and broker from --config, or else the built-in ones.")]
    Replay(Replay),

    /// Record raw traces into files
    #[command(after_help = "\
Examples:
  fiberd record raw.h5 --for 60                a minute from /dev/shm/fiberd/ring, PRODML that every reader opens
  fiberd record raw.fdas --for 60              the same in our own format, with checksums and every stamp
  fiberd record raw.fdas --ring /dev/uio0 --traces 20000
  fiberd record scene.fdas --scene scene.toml --for 10
  fiberd record copy.fdas --replay vendor.h5   another format into our own

Samples are stored as they came. A PRODML file (.h5, .hdf5) can be opened while it is written, and is whole whatever \
moment the machine stops at; a new one begins after a minute, at a gap, and where the clock is set. Ctrl-C, SIGTERM and a terminal that hangs up (SIGHUP) \
end a recording in order: everything up to then is kept. A new acquisition (epoch) begins a new file beside the first. \
Exit code 65 when files given with --replay are damaged: what is whole was recorded, the rest is a gap.")]
    Record(Record),

    /// Ask a running daemon how it is; exit codes as monitoring wants them
    #[command(after_help = status::HELP)]
    Status(Status),

    /// Say what is in captured files and judge it, check a ring, or say what this machine computes with
    #[command(after_help = captures::INFO)]
    Info(Info),

    /// Turn captures into files of other programs: PRODML, NumPy, WAV, CSV, or a picture
    #[command(after_help = captures::EXPORT)]
    Export(Export),

    /// Measure what this host can do
    #[command(
        after_help = "\
Example:
  fiberd bench service                         the whole service at three sizes of fiber

Each benchmark explains itself: fiberd bench service --help",
        subcommand_required = true,
        arg_required_else_help = true
    )]
    Bench {
        /// What to measure
        #[command(subcommand)]
        what: Bench,
    },
}

/// `fiberd run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where the control API listens, instead of what the configuration says; beyond loopback only with credentials;
    /// :PORT is on 127.0.0.1, port 0 any that is free
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub http: Option<SocketAddr>,
    /// End by itself after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// End when the process that started this one ends, whichever way that happens
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// `fiberd demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the control API listens [default: 127.0.0.1:5000]; loopback only
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback_address)]
    pub http: Option<SocketAddr>,
    /// Do not look for a broker
    #[arg(long)]
    pub no_broker: bool,
    /// Replay these captures in a loop instead of the synthetic fiber
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "scene")]
    pub replay: Vec<PathBuf>,
    /// Scene of the synthetic fiber, TOML [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    pub scene: Option<PathBuf>,
    /// End by itself after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// Lines of text even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// `fiberd check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration, TOML
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `fiberd simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The scene, TOML [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    pub scene: Option<PathBuf>,
    /// The ring to write
    #[arg(long, value_name = "PATH", default_value = SIMULATED_RING)]
    pub ring: PathBuf,
    /// End by itself after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// End when the process that started this one ends, whichever way that happens
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// Make so many seconds beforehand and write them round and round
    #[arg(long, hide = true, value_name = "SECONDS", value_parser = seconds)]
    pub repeat: Option<Duration>,
    /// Write so many traces and then none, but stay alive until a signal
    #[arg(long, hide = true, value_name = "N")]
    pub traces: Option<u64>,
    /// At the end, what was done as one JSON object instead of words
    #[arg(long, hide = true)]
    pub json: bool,
}

/// `fiberd replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Captured files in order of time, folders of captures, and patterns of names in quotes
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// So many times as fast as it was taken, or "max": as fast as the pipeline takes it
    #[arg(long, value_name = "N|max", default_value = "1", value_parser = speed)]
    pub speed: ReplaySpeed,
    /// Begin again at the end, as a new acquisition
    #[arg(long = "loop", action = ArgAction::SetTrue)]
    pub looping: bool,
    /// The configuration, TOML; what it says of the source is not used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The first word of routing keys [default: the configuration's; "replay" where that names none or "fiber"]
    #[arg(long, value_name = "NAME", value_parser = site)]
    pub site: Option<String>,
    /// Where the control API listens, instead of what the configuration says; beyond loopback only with credentials;
    /// :PORT is on 127.0.0.1, port 0 any that is free
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub http: Option<SocketAddr>,
    /// End by itself after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// Do not look for a broker
    #[arg(long)]
    pub no_broker: bool,
    /// Lines of text even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// `fiberd record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The capture to write; must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Record this ring [default: /dev/shm/fiberd/ring]
    #[arg(long, value_name = "PATH", group = "input")]
    pub ring: Option<PathBuf>,
    /// Record these captures (files, folders, patterns in quotes), as fast as they can be read
    #[arg(long, value_name = "FILE", num_args = 1.., group = "input")]
    pub replay: Vec<PathBuf>,
    /// Record this scene, as fast as it can be computed
    #[arg(long, value_name = "FILE", group = "input")]
    pub scene: Option<PathBuf>,
    /// Length of data, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// Number of traces
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub traces: Option<u64>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let longest = 1e9;
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= longest => Ok(Duration::from_secs_f64(s)),
        _ => Err("write a number of seconds above 0, such as 10 or 0.5".into()),
    }
}

fn speed(text: &str) -> Result<ReplaySpeed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(ReplaySpeed::Unpaced),
        Ok(times) if (0.001..=100_000.0).contains(&times) => Ok(ReplaySpeed::Times(times)),
        _ => Err("write a number from 0.001 to 100000, or max".into()),
    }
}

fn site(text: &str) -> Result<String, String> {
    if is_name(text) && !text.is_empty() {
        return Ok(text.into());
    }
    Err("write letters, digits, _ and -, at most 64".into())
}
