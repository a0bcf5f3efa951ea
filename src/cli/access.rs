//! Which daemon a command asks, and as whom.

use std::path::PathBuf;

use clap::Args;

use crate::client::Target;

/// For commands that look at a daemon over its control API.
#[derive(Debug, Args)]
pub struct Access {
    /// The daemon: HOST:PORT, or a URL with http or https
    #[arg(value_name = "URL", default_value = "127.0.0.1:5000", value_parser = Target::parse)]
    pub url: Target,
    /// File that holds one token of the daemon and nothing else [default: the token is in `FIBERD_TOKEN`]
    #[arg(long, value_name = "FILE", env = "FIBERD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust, PEM [default: those of this host]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}
