//! The demo: the whole daemon on an interrogator of our own, in a process of its own. The same ring, the same threads,
//! the same endpoints as on an instrument's host; only the light is made up.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tracing::{info, warn};

use super::{AppError, DemoOptions, RunOptions, Show};
use crate::config::{Config, Environment, ReplaySpeed, SourceConfig, ViewConfig};
use crate::frame::View;
use crate::source::synthetic::Scene;

/// The site of the demo: its frames must not reach who listens to a fiber.
const DEMO_SITE: &str = "demo";

/// Bands of the demo's waterfall beside the usual one: footsteps and vehicles; machines.
const MORE_BANDS_HZ: [(f64, f64); 2] = [(5.0, 50.0), (50.0, 200.0)];

/// How long the simulator may take to leave after SIGTERM.
const SIMULATOR_GRACE: Duration = Duration::from_secs(2);

/// Runs the daemon on a synthetic interrogator in a process of its own, or on captures in a loop.
///
/// # Errors
/// As [`run`](super::run).
pub fn demo(options: &DemoOptions) -> Result<(), AppError> {
    let mut config = Config::parse("built-in configuration", "", &Environment::of_process())
        .map_err(|problems| AppError::Config(problems.to_string()))?;
    config.site = DEMO_SITE.into();
    config.http.listen = options.http.unwrap_or(config.http.listen);
    if options.no_broker {
        config.broker = None;
    }
    let run = RunOptions {
        show: Show::Live { plain: options.plain },
        run_for: options.run_for,
        fit_views: !options.replay.is_empty(),
        ..RunOptions::default()
    };
    if !options.replay.is_empty() {
        config.replay(options.replay.clone(), ReplaySpeed::Times(1.0), true, None);
        return super::run(config, &run);
    }
    let scene = match &options.scene {
        Some(path) => Scene::from_file(path)?,
        None => Scene::default(),
    };
    let ring = ring_path();
    config.source = SourceConfig::Ring { path: ring.clone(), heartbeat_timeout: Duration::from_secs(1) };
    config.capture.prr = Some(scene.prr());
    config.views = ViewConfig::standing(scene.fiber.channels);
    for view in config.views.iter_mut().filter(|view| view.view == View::Waterfall) {
        view.bands_hz.extend(MORE_BANDS_HZ);
    }
    let _simulator = Simulator::start(&ring, options.scene.as_deref())?;
    super::run(config, &run)
}

/// A ring of this run alone, in memory where the system has a place for it.
fn ring_path() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    dir.join(format!("fiberd-demo-{}.ring", std::process::id()))
}

/// `fiberd simulate` as a child. It goes when this goes, whichever way that happens.
struct Simulator {
    child: Child,
    ring: PathBuf,
}

impl Simulator {
    fn start(ring: &Path, scene: Option<&Path>) -> Result<Self, AppError> {
        let failed = |error| AppError::Io { what: "starting the simulator".into(), error };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("simulate").arg("--with-parent").arg("--ring").arg(ring);
        if let Some(scene) = scene {
            command.arg("--scene").arg(scene);
        }
        // Its own group: Ctrl-C is for the daemon, which then ends the simulator when it has drained.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(stderr) = child.stderr.take() {
            // Its lines join the log, so that they never tear the live view.
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    info!(target: "simulator", "{line}");
                }
            });
        }
        Ok(Self { child, ring: ring.to_path_buf() })
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + SIMULATOR_GRACE;
        while asked.is_ok() && Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Err(error) = std::fs::remove_file(&self.ring)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(%error, ring = %self.ring.display(), "the ring of the demo stays behind");
        }
    }
}
