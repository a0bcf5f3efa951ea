//! Arguments in, exit code out. The only place that may exit.

mod commands;

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use fiberd::cli::{Bench, Cli, Command};

use crate::commands::Failure;

/// sysexits: wrong arguments.
const USAGE: u8 = 64;

/// How long the reason of a failure may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe under the help is nobody's fault.
            let _ = error.print();
            let asked_for_help = !error.use_stderr();
            return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let done = match &cli.command {
        Command::Run(args) => commands::run(args),
        Command::Demo(args) => commands::demo(args),
        Command::Watch(args) => commands::watch(args),
        Command::CheckConfig(args) => commands::check_config(args),
        Command::Simulate(args) => commands::simulate(args),
        Command::Replay(args) => commands::replay(args),
        Command::Record(args) => commands::record(args),
        Command::Info(args) => commands::info(args),
        Command::Export(args) => commands::export(args),
        Command::Status(args) => return ended(commands::status(args)),
        Command::Bench { what: Bench::Service(args) } => commands::bench_service(args),
    };
    ended(done.map(|()| 0))
}

fn ended(done: Result<u8, Failure>) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, text }) => {
            say_last(text);
            ExitCode::from(code)
        }
    }
}

/// To stderr, but without waiting long for a reader that stands still: the exit code says it as well.
fn say_last(text: String) {
    let (said_tx, said_rx) = mpsc::channel();
    let say = move || {
        eprintln!("{text}");
        let _ = said_tx.send(());
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = said_rx.recv_timeout(LAST_WORDS);
    }
}
