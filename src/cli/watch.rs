//! `fiberd watch`.

use std::time::Duration;

use clap::Args;

use super::access::Access;
use super::seconds;

pub(super) const AFTER: &str = "\
Examples:
  fiberd watch                                 the daemon on this host
  fiberd watch https://das.example:5000 --token-file token
  FIBERD_TOKEN=... fiberd watch https://das.example:5000 --channel 1200
  fiberd watch --for 10 --plain > watch.txt    lines of text, for a log or a pipe

The same screen as the demo's, over the control API: state, numbers, what is wrong, and two live jobs (a \
waterfall of the whole fiber in the band that the daemon gives its clients, the spectrogram of one channel), \
which end with it. Keys: ? shows them.

A token is never an argument, because other users of a host can read those. One of the role `read` shows \
state and numbers; pictures need `control`. When the daemon stops answering, the screen says so and goes \
on when it is back. Exit code 69 when it does not answer in the beginning, or wants another token.";

/// `fiberd watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Which daemon, and as whom
    #[command(flatten)]
    pub access: Access,
    /// The channel of the spectrogram, from 1 [default: the one in the middle]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub channel: Option<u32>,
    /// End by itself after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub run_for: Option<Duration>,
    /// Lines of text even on a terminal
    #[arg(long)]
    pub plain: bool,
}
