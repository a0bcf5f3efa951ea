//! The harness's side of the driver: starts it, stops it, tells it what to do, and keeps [`World`] true about it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::script::{Action, Origin};
use crate::shape::Shape;
use crate::world::{Kind, World};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Pulses that were launched since the run began, also while the driver stands still.
pub struct Account {
    file: PathBuf,
    /// By drivers that have ended.
    before: AtomicU64,
}

impl Account {
    pub fn launched(&self) -> u64 {
        self.before.load(Ordering::Relaxed) + self.of_this_driver()
    }

    fn of_this_driver(&self) -> u64 {
        // Written in one piece; a driver that has not begun has no account.
        fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

pub struct Interrogator {
    world: Arc<World>,
    ring: PathBuf,
    pub account: Arc<Account>,
    driver: Option<(Child, ChildStdin)>,
    shape: Shape,
    /// What keeps traces away: `light`, `power` or `write` that are off, or a driver that is stopped.
    lacks: BTreeSet<&'static str>,
}

impl Interrogator {
    pub fn new(dir: &Path, world: Arc<World>) -> Self {
        let account = Arc::new(Account { file: dir.join("account"), before: AtomicU64::new(0) });
        let (ring, shape) = (dir.join("ring"), Shape::BASE);
        Self { world, ring, account, driver: None, shape, lacks: BTreeSet::new() }
    }

    /// # Errors
    /// When the system does not give a process.
    pub fn start(&mut self, shape: Shape) -> Outcome {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("producer")
            .args([&self.ring, &self.account.file])
            .arg(shape.word())
            .stdin(Stdio::piped())
            .spawn()?;
        let lines = child.stdin.take().ok_or("a pipe was asked for")?;
        self.driver = Some((child, lines));
        self.shape = shape;
        self.lacks.clear();
        self.settle();
        self.set_catches_up(true)
    }

    fn settle(&self) {
        self.world.set_flow(self.driver.is_some() && self.lacks.is_empty(), self.shape);
    }

    fn tell(&mut self, line: &str) -> Outcome {
        let (_, lines) = self.driver.as_mut().ok_or("no driver runs")?;
        Ok(writeln!(lines, "{line}").and_then(|()| lines.flush())?)
    }

    fn signal(&self, signal: Signal) -> Outcome {
        let (child, _) = self.driver.as_ref().ok_or("no driver runs")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// # Errors
    /// When it did not end in order although it was asked to.
    pub fn end(&mut self, kill: bool) -> Outcome {
        let Some((mut child, lines)) = self.driver.take() else { return Ok(()) };
        if kill {
            child.kill()?;
        }
        // In order, it ends with its standard input.
        drop(lines);
        let status = child.wait()?;
        self.account.before.fetch_add(self.account.of_this_driver(), Ordering::Relaxed);
        let _ = fs::remove_file(&self.account.file);
        self.settle();
        if !kill && !status.success() {
            return Err(format!("the driver ended with {status}").into());
        }
        Ok(())
    }

    /// Turns `light`, `power` or `write` on or off.
    fn turn(&mut self, what: &'static str, on: bool) -> Outcome {
        self.tell(&format!("{what} {}", if on { "on" } else { "off" }))?;
        if on {
            self.lacks.remove(what)
        } else {
            self.lacks.insert(what)
        };
        self.settle();
        Ok(())
    }

    async fn flicker(&mut self, what: &'static str, times: u32, each: Duration) -> Outcome {
        for _ in 0..times {
            self.turn(what, false)?;
            sleep(each).await;
            self.turn(what, true)?;
            sleep(each).await;
        }
        Ok(())
    }

    fn set_catches_up(&mut self, on: bool) -> Outcome {
        self.tell(if on { "catch-up on" } else { "catch-up off" })
    }

    /// # Errors
    /// When the driver cannot be had as it should be, which ends the run.
    pub async fn perform(&mut self, action: Action) -> Outcome {
        let world = Arc::clone(&self.world);
        let _fault = world.begins(Kind::Of(Origin::Source), action);
        let lasts = action.lasts();
        match action {
            Action::Stop { catches_up, .. } => {
                self.set_catches_up(catches_up)?;
                // So that it has been read.
                sleep(Duration::from_millis(50)).await;
                self.signal(Signal::STOP)?;
                self.lacks.insert("running");
                self.settle();
                sleep(lasts).await;
                self.signal(Signal::CONT)?;
                self.lacks.remove("running");
                self.settle();
            }
            Action::Pause { catches_up, .. } => {
                self.set_catches_up(catches_up)?;
                self.turn("write", false)?;
                sleep(lasts).await;
                self.turn("write", true)?;
            }
            Action::Restart { shape, kill, remove, .. } => {
                self.end(kill)?;
                if remove {
                    fs::remove_file(&self.ring)?;
                }
                sleep(lasts).await;
                self.start(shape)?;
            }
            Action::Epoch { variant } => {
                self.shape = self.shape.changed(variant);
                self.tell(&format!("epoch {}", self.shape.word()))?;
                self.settle();
            }
            Action::LightOff { writes, .. } => {
                self.turn("write", writes)?;
                self.turn("light", false)?;
                sleep(lasts).await;
                self.turn("light", true)?;
                self.turn("write", true)?;
            }
            Action::LightFlicker { times, ms } => self.flicker("light", times, Duration::from_millis(ms)).await?,
            Action::Dark { .. } => {
                self.turn("power", false)?;
                sleep(lasts).await;
                self.turn("power", true)?;
            }
            Action::DarkFlicker { times, ms } => self.flicker("power", times, Duration::from_millis(ms)).await?,
            Action::Lose { traces } => self.tell(&format!("lose {traces}"))?,
            Action::StepUtc { by_ms, .. } => {
                self.tell(&format!("utc {by_ms}"))?;
                sleep(lasts).await;
                self.tell(&format!("utc {}", -by_ms))?;
            }
            _ => return Err(format!("{action} is not for the driver").into()),
        }
        Ok(())
    }

    /// As it should be, whatever was.
    ///
    /// # Errors
    /// When the driver cannot be had as it should be.
    pub fn set_right(&mut self) -> Outcome {
        if self.shape != Shape::BASE {
            let world = Arc::clone(&self.world);
            let _fault = world.begins(Kind::Of(Origin::Source), "driver: back to its first shape");
            self.end(false)?;
            self.start(Shape::BASE)?;
        }
        // When nothing is wrong no trace may be missing, even if this machine lets the driver wait.
        self.set_catches_up(true)
    }

    /// Whether the driver's process lives.
    pub fn lives(&mut self) -> bool {
        self.driver.as_mut().is_some_and(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Interrogator {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.driver.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
