//! [`Ring`]: the hardware ring as an [`Interrogator`], on the capture thread. `probe` decides what is there,
//! `read_block` waits for traces; the reading itself is in `reader.rs`.
//!
//! Never spins: it sleeps until shortly before the block can be full, then looks every 250 µs.

use std::path::PathBuf;
#[cfg(any(test, fuzzing))]
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::abi::{AT_EPOCH, Declared};
use super::attached::{Attached, Snapshot};
use super::file::{self, FileId, Mapped};
use super::header::{self, Geometry};
use super::life::Pulse;
#[cfg(any(test, fuzzing))]
use super::memory::Memory;
use super::rate::RateMeter;
use super::reader::{Pull, Reader};
use crate::acquisition::{Acquisition, DarkReason};
use crate::block::RawBlock;
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};
use crate::units::Rational;

/// How long a ring that contradicted itself is left alone.
const PENALTY: Duration = Duration::from_secs(1);
/// Shortest and longest sleep between two looks at the count of slots.
const SHORT_PAUSE_S: f64 = 250e-6;
const LONG_PAUSE_S: f64 = 5e-3;
/// Silence after which looking often brings nothing.
const SILENCE_S: f64 = 0.2;

/// How to find the ring and what to expect of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RingOptions {
    /// The file or device to map.
    pub path: PathBuf,
    /// A producer that shows no sign of life for this long is gone.
    pub heartbeat_timeout: Duration,
    /// PRR to ask for; `None` takes what the producer declares.
    pub prr_asked: Option<Rational>,
    /// Deviation of the declared from the asked PRR that still counts as agreement, parts per million.
    pub prr_tolerance_ppm: f64,
    /// Lock the ring in memory.
    pub lock_memory: bool,
    /// Ask for transparent huge pages under the ring. A ring on hugetlbfs has huge pages anyway.
    pub huge_pages: bool,
}

impl RingOptions {
    /// The ring at `path`, at whatever rate it runs.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            heartbeat_timeout: Duration::from_secs(1),
            prr_asked: None,
            prr_tolerance_ppm: 100.0,
            lock_memory: false,
            huge_pages: false,
        }
    }
}

/// The consumer of a ring.
pub struct Ring {
    options: RingOptions,
    attached: Option<Attached>,
    known: Option<Known>,
    /// Since when, and why, the ring is left alone.
    distrusted: Option<(Instant, String)>,
    penalty: Duration,
    /// What stands in the ring now must not be read again.
    only_new_slots: bool,
    last_epoch_us: u64,
    lost_in_former_mappings: u64,
    started: Instant,
    has_taken_rights: bool,
    #[cfg(any(test, fuzzing))]
    in_memory: Option<Arc<Memory>>,
}

/// The epoch that was probed last, and where we stand in it. Outlives the mapping.
struct Known {
    key: Key,
    declared: Declared,
    acquisition: Acquisition,
    reader: Reader,
    rate: RateMeter,
    last_slot_at: Instant,
}

/// What tells one epoch of one ring from every other.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    file: FileId,
    geometry: Geometry,
    instance: u64,
    epoch: u64,
}

impl Ring {
    /// A consumer that will look for the ring when it is probed.
    pub fn new(options: RingOptions) -> Self {
        Self {
            options,
            attached: None,
            known: None,
            distrusted: None,
            penalty: PENALTY,
            only_new_slots: false,
            last_epoch_us: 0,
            lost_in_former_mappings: 0,
            started: Instant::now(),
            has_taken_rights: false,
            #[cfg(any(test, fuzzing))]
            in_memory: None,
        }
    }

    /// A consumer of a ring in plain memory, which forgives at once.
    #[cfg(any(test, fuzzing))]
    pub(super) fn over(memory: Arc<Memory>, options: RingOptions) -> Self {
        let mut ring = Self::new(options);
        (ring.in_memory, ring.penalty) = (Some(memory), Duration::ZERO);
        ring
    }

    fn map(&self) -> Result<Mapped, DarkReason> {
        #[cfg(any(test, fuzzing))]
        if let Some(memory) = &self.in_memory {
            return Mapped::over(memory);
        }
        file::map(&self.options.path)
    }

    fn detach(&mut self) {
        self.lost_in_former_mappings = self.lost_before_source();
        self.attached = None;
    }

    fn truncated(&mut self) -> DarkReason {
        self.detach();
        DarkReason::Refused("the ring was truncated".into())
    }

    /// A ring that contradicts itself is left alone for a while; then only what is new in it counts, as a new epoch.
    fn distrust(&mut self, why: String) -> DarkReason {
        let reason = self.unless_truncated(DarkReason::Refused(why.clone()));
        if self.attached.is_none() {
            return reason;
        }
        self.detach();
        self.known = None;
        self.only_new_slots = true;
        self.distrusted = Some((Instant::now(), why));
        reason
    }

    /// The acquisition, or the first reason against it, from the outside inwards.
    fn examine(&mut self) -> Result<Acquisition, DarkReason> {
        if let Some((_, why)) = self.distrusted.as_ref().filter(|(since, _)| since.elapsed() < self.penalty) {
            return Err(DarkReason::Refused(why.clone()));
        }
        self.distrusted = None;
        let mut attached = self.attach()?;
        let acquisition = self.examine_header(&mut attached);
        let damaged = attached.memory().is_damaged();
        self.attached = Some(attached);
        if damaged {
            return Err(self.truncated());
        }
        let acquisition = acquisition?;
        self.take_rights();
        Ok(acquisition)
    }

    /// The mapping we have, or a new one, taken out of `self` for the time of an examination.
    fn attach(&mut self) -> Result<Attached, DarkReason> {
        if let Some(attached) = &mut self.attached {
            if attached.is_truncated(&self.options.path, self.options.heartbeat_timeout) {
                return Err(self.truncated());
            }
            if attached.replaced {
                self.detach();
            }
        }
        match self.attached.take() {
            Some(attached) => Ok(attached),
            None => self.map().map(Attached::new),
        }
    }

    fn examine_header(&mut self, attached: &mut Attached) -> Result<Acquisition, DarkReason> {
        match attached.pulse(self.options.heartbeat_timeout) {
            Pulse::Beating => {}
            Pulse::Unknown => return Err(DarkReason::Starting),
            Pulse::Stopped => return Err(DarkReason::NoHeartbeat),
        }
        attached.agreement.take_answer(&attached.mapped.memory);
        let has_light = attached.has_light();
        let snapshot = attached.snapshot()?;
        let known = self.adopt(&attached.mapped, &snapshot)?;
        let acquisition = known.acquisition.clone();
        known.reader.skip_to(attached.dark_until.min(snapshot.written));
        known.last_slot_at = Instant::now();
        let RingOptions { prr_asked, prr_tolerance_ppm, .. } = self.options;
        attached.agreement.settle(&attached.mapped.memory, prr_asked, prr_tolerance_ppm, acquisition.prr)?;
        if has_light { Ok(acquisition) } else { Err(DarkReason::LightOff) }
    }

    /// Judges a header. An epoch that is known already keeps its number and our place in it.
    fn adopt(&mut self, mapped: &Mapped, snapshot: &Snapshot) -> Result<&mut Known, DarkReason> {
        let &Snapshot { epoch, declared, written } = snapshot;
        let geometry = mapped.geometry;
        let (layout, mut acquisition) = header::judge(&declared, &geometry).map_err(DarkReason::Refused)?;
        let key = Key { file: mapped.id, geometry, instance: declared.instance, epoch };
        let same_key = self.known.as_ref().is_some_and(|known| known.key == key);
        let goes_on = self.known.take().filter(|known| {
            same_key
                && bytemuck::bytes_of(&known.declared) == bytemuck::bytes_of(&declared)
                && written >= known.reader.slot()
        });
        if let Some(known) = goes_on {
            return Ok(self.known.insert(known));
        }
        if declared.first_slot > written {
            let first = declared.first_slot;
            return Err(DarkReason::Refused(format!(
                "the ring's epoch begins with slot {first}, {written} are written"
            )));
        }
        // From the epoch's first trace while it is still there, otherwise from the newest.
        let begins_at = if self.only_new_slots || same_key {
            written
        } else if written - declared.first_slot < geometry.slots {
            declared.first_slot
        } else {
            written - 1
        };
        self.only_new_slots = false;
        self.last_epoch_us = now_us().max(self.last_epoch_us + 1);
        acquisition.epoch = self.last_epoch_us;
        let prr = acquisition.prr;
        Ok(self.known.insert(Known {
            key,
            declared,
            acquisition,
            reader: Reader::new(geometry, layout, prr, epoch, begins_at),
            rate: RateMeter::new(prr.to_f64()),
            last_slot_at: Instant::now(),
        }))
    }

    /// Memory rights that are nice to have, asked for at each new mapping, complained about once.
    fn take_rights(&mut self) {
        let Some(attached) = self.attached.as_mut().filter(|a| !a.has_rights) else { return };
        attached.has_rights = true;
        let memory = &attached.mapped.memory;
        let huge = self.options.huge_pages.then(|| ("huge pages under the ring", memory.advise_huge()));
        let lock = self.options.lock_memory.then(|| ("locking the ring in memory", memory.lock()));
        for (right, outcome) in [huge, lock].into_iter().flatten() {
            if let Err(error) = outcome
                && !self.has_taken_rights
            {
                warn!(%error, "{right}: not permitted, goes on without");
            }
        }
        self.has_taken_rights = true;
    }

    /// What is wrong before an empty block is filled.
    fn trouble(&mut self) -> Option<DarkReason> {
        let Some(attached) = &mut self.attached else { return Some(DarkReason::Starting) };
        if attached.is_truncated(&self.options.path, self.options.heartbeat_timeout) {
            return Some(self.truncated());
        }
        if attached.has_light() {
            return None;
        }
        Some(self.unless_truncated(DarkReason::LightOff))
    }

    /// Where the file is gone, zeros stand: no light, no epoch, no slots. They mean nothing.
    fn unless_truncated(&mut self, reason: DarkReason) -> DarkReason {
        let short = self.attached.as_ref().is_some_and(|attached| attached.is_short(&self.options.path));
        if short { self.truncated() } else { reason }
    }

    /// What it means that an empty block stays empty, when it means more than "not yet".
    fn silence(&mut self) -> Option<ReadOutcome> {
        let (attached, known) = (self.attached.as_mut()?, self.known.as_ref()?);
        let epoch = attached.memory().load(AT_EPOCH);
        // Epoch 0 is none; the header of a file that was cut off reads so.
        if epoch != 0 && epoch.is_multiple_of(2) && epoch != known.key.epoch {
            return Some(ReadOutcome::EpochChanged);
        }
        if attached.replaced {
            let why = format!("the ring at {} was replaced", self.options.path.display());
            self.detach();
            return Some(ReadOutcome::FiberLost(DarkReason::NoInterface(why)));
        }
        let stopped = attached.pulse(self.options.heartbeat_timeout) == Pulse::Stopped;
        stopped.then_some(ReadOutcome::FiberLost(DarkReason::NoHeartbeat))
    }

    /// Reads what is there; `None` = nothing to say yet, look again.
    fn read_step(&mut self, block: &mut RawBlock, deadline: Instant) -> Option<ReadOutcome> {
        if block.traces == 0
            && let Some(reason) = self.trouble()
        {
            return Some(ReadOutcome::FiberLost(reason));
        }
        let (Some(attached), Some(known)) = (&mut self.attached, &mut self.known) else {
            return Some(ReadOutcome::FiberLost(DarkReason::Starting));
        };
        let before = block.traces;
        let pull = known.reader.pull(attached.memory(), block);
        if block.traces > before {
            known.see(attached, self.started);
        }
        match pull {
            Pull::Full | Pull::Gap => Some(ReadOutcome::Filled),
            Pull::Dry => {
                if block.traces == 0
                    && let Some(end) = self.silence()
                {
                    return Some(end);
                }
                self.wait(block, deadline)
            }
            // First what was read well; the next call meets the same again.
            _ if block.traces > 0 => Some(ReadOutcome::Filled),
            Pull::NewEpoch => Some(ReadOutcome::EpochChanged),
            Pull::Damaged => Some(ReadOutcome::FiberLost(self.truncated())),
            Pull::Nonsense(why) => Some(ReadOutcome::FiberLost(self.distrust(why))),
        }
    }

    fn wait(&self, block: &RawBlock, deadline: Instant) -> Option<ReadOutcome> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(if block.traces > 0 { ReadOutcome::Filled } else { ReadOutcome::TimedOut });
        }
        let pause_s = self.known.as_ref().map_or(LONG_PAUSE_S, |known| known.pause_s(block.free_traces()));
        std::thread::sleep(Duration::from_secs_f64(pause_s).min(left));
        None
    }
}

impl Known {
    fn see(&mut self, attached: &Attached, origin: Instant) {
        let now = Instant::now();
        self.last_slot_at = now;
        if let Some(trace) = self.reader.newest_trace(attached.memory()) {
            let late_s = self.rate.see(trace, now.duration_since(origin).as_secs_f64());
            // The next wait begins when the slot came and not when it was seen: one late look must not make the next
            // ones late as well.
            let late = Duration::from_secs_f64(late_s.clamp(0.0, LONG_PAUSE_S));
            self.last_slot_at = now.checked_sub(late).unwrap_or(now);
        }
    }

    /// How long to sleep before `traces` more may be there.
    fn pause_s(&self, traces: usize) -> f64 {
        let silent_s = self.last_slot_at.elapsed().as_secs_f64();
        let (fill_s, ring_s) = self.reader.wait_s(traces);
        if silent_s > SILENCE_S.max(4.0 * fill_s) {
            return LONG_PAUSE_S;
        }
        // A small ring must not come around while we sleep.
        let longest = LONG_PAUSE_S.min(ring_s / 4.0).max(SHORT_PAUSE_S);
        (fill_s - silent_s - SHORT_PAUSE_S).clamp(SHORT_PAUSE_S, longest)
    }
}

impl Interrogator for Ring {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(match self.examine() {
            Ok(acquisition) => Probe::Ready(acquisition),
            Err(reason) => Probe::Waiting(reason),
        })
    }

    fn read_block(&mut self, block: &mut RawBlock, deadline: Duration) -> Result<ReadOutcome, SourceError> {
        let deadline = Instant::now() + deadline;
        loop {
            let Some(outcome) = self.read_step(block, deadline) else { continue };
            block.captured_at = Instant::now();
            return Ok(outcome);
        }
    }

    fn measured_prr_hz(&self) -> Option<f64> {
        self.known.as_ref()?.rate.hz()
    }

    fn lost_before_source(&self) -> u64 {
        self.lost_in_former_mappings.saturating_add(self.attached.as_ref().map_or(0, Attached::lost))
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
