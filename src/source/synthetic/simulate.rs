//! The simulator's process: writes a scene into a hardware ring, trace by trace in real time, as an instrument would.
//!
//! One thread, which sleeps until the last trace of the next slot is due by the monotonic clock (absolute deadlines:
//! no drift), makes that slot in place, and counts it. After a stall it catches up; when it is more than half the ring
//! behind it declares the missed traces lost instead. Timestamps: the wall clock at the start plus traces / PRR.
//! It beats its heart in light and darkness, answers requests for another PRR, and holds the fiber pulled as long as
//! the pull file exists.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::generator::Rows;
use super::scene::{Scene, SceneError};
use super::schedule::{Fate, Schedule};
use crate::source::ring::{Producer, REFUSED_RATE, RingError, RingSpec, STATE_LASER_ON, STATE_LIGHT};
use crate::units::Rational;

/// Longest sleep, so that heartbeat, pull file and stopping are looked after.
const NAP: Duration = Duration::from_millis(50);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);
/// How much time the ring should hold when nobody says how many slots it has.
const RING_S: f64 = 2.0;

/// What to simulate, and where.
#[derive(Clone, Debug)]
pub struct SimulateOptions {
    /// The scene.
    pub scene: Scene,
    /// The ring to make; replaces one that is there.
    pub ring: PathBuf,
    /// Slots of the ring, a power of two; `None` = enough for two seconds.
    pub slots: Option<usize>,
    /// How long; `None` = until stopped.
    pub duration: Option<Duration>,
    /// While this file exists the fiber is pulled.
    pub pull_file: Option<PathBuf>,
    /// Make so much of the scene beforehand and write that round and round, at the cost of a copy: for a producer that
    /// must leave its cores to whoever is being measured. `None` = make every trace when it is due.
    pub repeat: Option<Duration>,
    /// Write the traces below this number, and then none, but stay alive with the light on; `None` = go on.
    pub traces: Option<u64>,
}

impl SimulateOptions {
    /// `scene` into `ring` until stopped, with the pull file beside the ring.
    pub fn new(scene: Scene, ring: PathBuf) -> Self {
        let mut pull_file = ring.clone().into_os_string();
        pull_file.push(".pulled");
        Self { scene, ring, slots: None, duration: None, pull_file: Some(pull_file.into()), repeat: None, traces: None }
    }
}

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SimulateProgress {
    /// Traces written into the ring.
    pub traces: u64,
    /// Traces declared lost, by the scene or because this machine stalled.
    pub lost: u64,
    /// Those of them that were lost to a stall.
    pub lost_to_stalls: u64,
    /// Whether light comes back from the fiber.
    pub light: bool,
    /// The present PRR.
    pub prr_hz: f64,
    /// Share of one core used since the last word on progress.
    pub load: f64,
    /// Longest delay of a slot behind its due time since the last word on progress.
    pub behind: Duration,
    /// Longest such delay of all.
    pub behind_most: Duration,
}

/// Why a simulation could not run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scene is impossible.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The ring could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Simulates until `stop` or the end of the duration; calls `on_progress` once a second and at the end.
///
/// # Errors
/// When the scene is impossible or its ring cannot be made.
pub fn simulate(
    options: &SimulateOptions,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(&SimulateProgress),
) -> Result<SimulateProgress, SimulateError> {
    let mut session = Session::begin(options)?;
    let end = options.duration.map(|duration| session.began + duration);
    let over = || stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end);
    while !over() {
        session.step(&over)?;
        if session.told.elapsed() >= PROGRESS {
            on_progress(&session.progress());
        }
    }
    session.producer.set_state(0);
    session.producer.heartbeat();
    remove_own(&options.ring, session.inode);
    let progress = session.progress();
    on_progress(&progress);
    Ok(progress)
}

struct Session<'a> {
    options: &'a SimulateOptions,
    scene: Scene,
    producer: Producer,
    inode: Option<u64>,
    rows: Rows,
    schedule: Schedule,
    prr: Rational,
    traces_per_slot: u64,
    ring_traces: u64,
    /// When trace 0 of this epoch was launched, by both clocks and in the scene.
    began: Instant,
    began_utc_ns: i64,
    began_scene_s: f64,
    /// The next trace of this epoch.
    next: u64,
    pulled: bool,
    looked: Instant,
    counts: SimulateProgress,
    told: Instant,
    told_cpu: Duration,
}

impl<'a> Session<'a> {
    fn begin(options: &'a SimulateOptions) -> Result<Self, SimulateError> {
        let scene = options.scene.clone();
        // Before the ring is there and the clock runs: what is made beforehand may take its time.
        let rows = Rows::new(&scene, 0.0, options.repeat)?;
        let slots = options.slots.unwrap_or_else(|| default_slots(&scene));
        let producer = Producer::create(&options.ring, &ring_spec(&scene, slots))?;
        let now = Instant::now();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let traces_per_slot = scene.interrogator.traces_per_slot as u64;
        Ok(Self {
            options,
            inode: std::fs::metadata(&options.ring).ok().map(|m| m.ino()),
            producer,
            rows,
            schedule: Schedule::new(&scene, 0.0),
            prr: scene.prr(),
            traces_per_slot,
            ring_traces: traces_per_slot * slots as u64,
            began: now,
            began_utc_ns: i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX),
            began_scene_s: 0.0,
            next: 0,
            pulled: options.pull_file.as_deref().is_some_and(Path::exists),
            looked: now,
            counts: SimulateProgress { light: true, prr_hz: scene.interrogator.prr_hz, ..SimulateProgress::default() },
            told: now,
            told_cpu: cpu_time(),
            scene,
        })
    }

    /// One slot, one loss, or a short while of darkness.
    fn step(&mut self, over: &dyn Fn() -> bool) -> Result<(), SimulateError> {
        self.look_around()?;
        let last = self.options.traces.unwrap_or(u64::MAX);
        if self.next >= last {
            self.producer.heartbeat();
            std::thread::sleep(NAP);
            return Ok(());
        }
        let (fate, until) = if self.pulled { (Fate::LightOff, u64::MAX) } else { self.schedule.at(self.next) };
        self.show_light(fate != Fate::LightOff);
        match fate {
            Fate::Flow => {
                let end = (self.next + self.traces_per_slot).min(until).min(last);
                if self.wait_for(end, over) {
                    self.write_slot(end);
                }
            }
            Fate::Lost => {
                if self.wait_for(until, over) {
                    self.lose(until - self.next);
                }
            }
            Fate::LightOff => {
                // Pulses go on being counted while there is nothing to see.
                let nap = (self.prr.to_f64() * NAP.as_secs_f64()).ceil() as u64;
                let end = self.next.saturating_add(nap).min(until);
                if self.wait_for(end, over) {
                    self.next = end;
                }
            }
        }
        Ok(())
    }

    /// When `traces` traces of this epoch have been launched and received.
    fn due(&self, traces: u64) -> Instant {
        self.began + Duration::from_nanos(self.prr.traces_to_ns(traces).cast_unsigned())
    }

    /// Sleeps until trace `end` is due; `false` when there is something else to look after first.
    fn wait_for(&mut self, end: u64, over: &dyn Fn() -> bool) -> bool {
        let due = self.due(end);
        loop {
            self.producer.heartbeat();
            let now = Instant::now();
            if now >= due {
                self.counts.behind = self.counts.behind.max(now - due);
                self.counts.behind_most = self.counts.behind_most.max(now - due);
                return true;
            }
            if over() || self.looked.elapsed() > 2 * NAP {
                return false;
            }
            std::thread::sleep((due - now).min(NAP));
        }
    }

    /// Writes the traces up to `end`, unless this machine has stalled for so long that they would overrun the reader.
    fn write_slot(&mut self, end: u64) {
        let launched = (self.began.elapsed().as_secs_f64() * self.prr.to_f64()) as u64;
        let behind = launched.saturating_sub(self.next);
        if behind > self.ring_traces / 2 + self.traces_per_slot {
            let last = self.options.traces.unwrap_or(u64::MAX);
            let missed = behind.min(last - self.next);
            self.counts.lost_to_stalls += missed;
            self.lose(missed);
            return;
        }
        let (first, traces) = (self.next, end - self.next);
        let utc_ns = self.began_utc_ns.saturating_add(self.prr.traces_to_ns(first));
        let made = &mut self.rows;
        self.producer.write_slot(first, utc_ns, traces as usize, |rows| made.write(first, rows));
        self.next = end;
        self.counts.traces += traces;
    }

    fn lose(&mut self, traces: u64) {
        self.producer.add_lost(traces);
        self.counts.lost += traces;
        self.next += traces;
    }

    fn show_light(&mut self, light: bool) {
        if self.counts.light != light {
            self.counts.light = light;
            self.producer.set_state(if light { STATE_LASER_ON | STATE_LIGHT } else { STATE_LASER_ON });
        }
    }

    /// Now and then: the pull file, and what the consumer asks for.
    fn look_around(&mut self) -> Result<(), SimulateError> {
        if self.looked.elapsed() < NAP {
            return Ok(());
        }
        self.looked = Instant::now();
        self.pulled = self.options.pull_file.as_deref().is_some_and(Path::exists);
        if let Some((number, prr_hz)) = self.producer.requested_prr() {
            let applied = self.change_prr(prr_hz)?;
            self.producer.answer(number, if applied { Ok(()) } else { Err(REFUSED_RATE) });
        }
        Ok(())
    }

    /// Runs at another rate from the next trace on, in a new epoch; `false` when the scene does not allow it.
    fn change_prr(&mut self, prr_hz: f64) -> Result<bool, SimulateError> {
        let limits = &self.scene.interrogator;
        if prr_hz.to_bits() == limits.prr_hz.to_bits() {
            return Ok(true);
        }
        if !(limits.prr_min_hz..=limits.prr_max_hz).contains(&prr_hz) {
            return Ok(false);
        }
        let mut scene = self.scene.clone();
        scene.interrogator.prr_hz = prr_hz;
        let passed_ns = self.prr.traces_to_ns(self.next);
        let scene_s = self.began_scene_s + passed_ns as f64 * 1e-9;
        let Ok(rows) = Rows::new(&scene, scene_s, self.options.repeat) else { return Ok(false) };
        let slots = (self.ring_traces / self.traces_per_slot) as usize;
        self.producer.change_epoch(&ring_spec(&scene, slots))?;
        self.rows = rows;
        self.schedule = Schedule::new(&scene, scene_s);
        self.prr = scene.prr();
        self.began += Duration::from_nanos(passed_ns.cast_unsigned());
        (self.began_utc_ns, self.began_scene_s) = (self.began_utc_ns.saturating_add(passed_ns), scene_s);
        (self.next, self.counts.prr_hz, self.scene) = (0, prr_hz, scene);
        Ok(true)
    }

    fn progress(&mut self) -> SimulateProgress {
        let cpu = cpu_time();
        let load = (cpu.saturating_sub(self.told_cpu)).as_secs_f64() / self.told.elapsed().as_secs_f64().max(1e-9);
        let progress = SimulateProgress { load, ..self.counts };
        (self.told, self.told_cpu, self.counts.behind) = (Instant::now(), cpu, Duration::ZERO);
        progress
    }
}

/// What the ring of a scene declares.
pub fn ring_spec(scene: &Scene, slots: usize) -> RingSpec {
    let acquisition = scene.acquisition(0);
    RingSpec {
        sample_format: acquisition.sample_format,
        channels: acquisition.channels,
        traces_per_slot: scene.interrogator.traces_per_slot,
        slots,
        prr_hz: scene.interrogator.prr_hz,
        dx_m: acquisition.dx_m,
        gauge_length_m: acquisition.gauge_length_m,
        fiber_start_m: acquisition.fiber_start_m,
        scale: acquisition.scale,
        quantity: acquisition.quantity,
        unit: acquisition.unit,
        wavelength_m: acquisition.wavelength_m,
        refractive_index: acquisition.refractive_index,
        description: acquisition.description,
        clock: acquisition.clock,
        source: acquisition.source,
    }
}

fn default_slots(scene: &Scene) -> usize {
    let slots = RING_S * scene.interrogator.prr_hz / scene.interrogator.traces_per_slot as f64;
    (slots.ceil() as usize).next_power_of_two().max(8)
}

/// Removes the ring unless somebody else has put another in its place.
fn remove_own(ring: &Path, inode: Option<u64>) {
    if inode.is_some() && std::fs::metadata(ring).ok().map(|m| m.ino()) == inode {
        // Nothing is lost when this fails: a ring without a producer is recognised by its heart.
        let _ = std::fs::remove_file(ring);
    }
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
