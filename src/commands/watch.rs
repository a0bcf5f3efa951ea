//! `fiberd watch`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fiberd::cli;
use fiberd::config::Secret;
use fiberd::watch::{self, WatchError, WatchOptions};

use super::{Failure, all_there, one_word};

/// The token, when it is not in a file.
const TOKEN: &str = "FIBERD_TOKEN";

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
    all_there(args.token_file.iter().chain(&args.ca))?;
    let token = match &args.token_file {
        Some(file) => Some(one_word(&std::fs::read_to_string(file)?)?),
        None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(Secret::new),
    };
    let options = WatchOptions {
        target: args.url.clone(),
        token,
        ca: args.ca.as_ref().map(std::fs::read).transpose()?,
        channel: args.channel,
        run_for: args.run_for,
        plain: args.plain,
    };
    Ok(watch::watch(&options, &stop_flag()?)?)
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
