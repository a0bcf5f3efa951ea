//! `fiberd watch`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fiberd::cli;
use fiberd::watch::{self, WatchError, WatchOptions};

use super::Failure;
use super::client::client;

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        let code = match &error {
            WatchError::Client(_) => 69,
            WatchError::Io { .. } => 74,
        };
        Self::new(code, error)
    }
}

pub(crate) fn watch(args: &cli::Watch) -> Result<(), Failure> {
    let client = client(&args.access)?;
    let options = WatchOptions { channel: args.channel, run_for: args.run_for, plain: args.plain };
    Ok(watch::watch(&client, &options, &stop_flag()?)?)
}

/// Raised by SIGINT, SIGTERM and SIGHUP. Unlike elsewhere a second one ends nothing: the terminal must be given back
/// first, and all is over within seconds in any case.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
