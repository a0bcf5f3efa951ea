//! SIGHUP: reads the configuration again, takes over what can change while the daemon runs (the level of the log,
//! credentials, tokens, certificates), and names what needs a restart. A wrong configuration changes nothing.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::AppError;
use super::supervisor::{End, Outcome};
use crate::config::{Config, Environment, HttpConfig};
use crate::notify::Manager;
use crate::telemetry;

/// What a reload needs to know.
pub(super) struct Reload {
    /// What is read again.
    pub(super) file: PathBuf,
    /// Variables that go over the file.
    pub(super) environment: Environment,
    /// The address that goes over the file's.
    pub(super) listen: Option<SocketAddr>,
    /// What runs.
    pub(super) running: Config,
    /// The level of the log.
    pub(super) level: telemetry::Level,
}

/// Reloads at each SIGHUP until `stop` comes, and tells the service manager so.
pub(super) async fn at_hangups(mut reload: Reload, mut hangups: Signal, stop: impl Future<Output = ()>) -> Outcome {
    let manager = Manager::from_env();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            Some(()) = hangups.recv() => {}
            () = &mut stop => return Ok(End::Told),
        }
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        manager.tell(&["RELOADING=1", &format!("MONOTONIC_USEC={usec}")]);
        // Files may be slow.
        let again = spawn_blocking(move || {
            reload.once();
            reload
        });
        reload = again.await.map_err(|_| AppError::Software("reloading the configuration died".into()))?;
        manager.tell(&["READY=1"]);
    }
}

impl Reload {
    /// Reads and takes over, once. What is wrong is said.
    pub(super) fn once(&mut self) {
        let mut new = match Config::load(&self.file, &self.environment) {
            Ok(new) => new,
            Err(problems) => {
                for problem in problems.list() {
                    error!("reload: {problem}");
                }
                let count = problems.list().len();
                error!(problems = count, "the configuration is wrong: everything stays as it was");
                return;
            }
        };
        new.http.listen = self.listen.unwrap_or(new.http.listen);
        if let Err(why) = self.exposure(&new.http) {
            error!("reload: http: {why}; everything stays as it was");
            return;
        }
        let taken = self.take_over(&new);
        info!(changed = if taken.is_empty() { "nothing".into() } else { taken.join(", ") }, "configuration reloaded");
        let restart = self.running.needs_restart(&new);
        if !restart.is_empty() {
            warn!(keys = restart.join(", "), "these keys have changed and need a restart");
        }
    }

    /// Whether the address that is listened on may be, with the credentials that would hold from now on.
    fn exposure(&self, new: &HttpConfig) -> Result<(), String> {
        let running = &self.running.http;
        let tls = if running.tls.is_some() && new.tls.is_some() { &new.tls } else { &running.tls };
        HttpConfig { listen: running.listen, tls: tls.clone(), ..new.clone() }.exposure()
    }

    fn take_over(&mut self, new: &Config) -> Vec<&'static str> {
        let mut taken = Vec::new();
        if self.running.log.level != new.log.level {
            self.running.log.level = new.log.level;
            match self.level.set(new.log.level.as_str()) {
                Ok(true) => taken.push("log.level"),
                Ok(false) => warn!("{} stands above log.level", telemetry::LEVEL_VARIABLE),
                Err(error) => error!(%error, "the level of the log stays as it is"),
            }
        }
        if let (Some(running), Some(new)) = (&self.running.broker, &new.broker)
            && running.login.follow(&new.login)
        {
            taken.push("the broker's login, from the next connection on");
        }
        if self.running.http.tokens.follow(&new.http.tokens) {
            taken.push("tokens");
        }
        if let (Some(running), Some(new)) = (&self.running.http.tls, &new.http.tls)
            && running.follow(new)
        {
            taken.push("certificates");
        }
        taken
    }
}
