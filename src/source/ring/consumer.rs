//! [`Ring`]: the hardware ring as an [`Interrogator`], on the capture thread. `probe` decides what is there,
//! `read_block` waits for traces; the reading itself is in `reader.rs`.
//!
//! Never spins: it sleeps until shortly before the block can be full, then looks every 250 µs.

use std::path::PathBuf;
#[cfg(any(test, fuzzing))]
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::abi::{AT_EPOCH, AT_SLOTS_WRITTEN, AT_STATE, STATE_CALIBRATING, STATE_OVERLOAD};
use super::attached::{Attached, Snapshot};
use super::file::{self, Mapped};
use super::header;
use super::known::{Key, Known};
use super::life::Pulse;
#[cfg(any(test, fuzzing))]
use super::memory::Memory;
use super::mistakes;
use super::rate::RateMeter;
use super::reader::{Pull, Reader};
use crate::acquisition::{Acquisition, DarkReason};
use crate::block::RawBlock;
use crate::source::{InstrumentState, Interrogator, Probe, ReadOutcome, SourceError};
use crate::units::Rational;

/// How long a ring that contradicted itself is left alone.
const PENALTY: Duration = Duration::from_secs(1);
/// Longest sleep between two looks when nothing is known.
const LONG_PAUSE: Duration = Duration::from_millis(5);

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
    /// Map the ring for reading only: for a look that must change nothing. Goes with `prr_asked` = `None`.
    pub read_only: bool,
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
            read_only: false,
        }
    }
}

/// The consumer of a ring.
pub struct Ring {
    options: RingOptions,
    pub(super) attached: Option<Attached>,
    known: Option<Known>,
    /// Since when, and why, the ring is left alone.
    distrusted: Option<(Instant, String)>,
    penalty: Duration,
    /// What stands in the ring now must not be read again.
    only_new_slots: bool,
    last_epoch_us: u64,
    lost_in_former_mappings: u64,
    /// Traces that were left unread when their acquisition ended.
    missing_at_ends: u64,
    started: Instant,
    has_complained: bool,
    #[cfg(any(test, fuzzing))]
    in_memory: Option<Arc<Memory>>,
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
            missing_at_ends: 0,
            started: Instant::now(),
            has_complained: false,
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
        file::map(&self.options.path, self.options.read_only)
    }

    fn detach(&mut self) {
        self.lost_in_former_mappings = self.lost_before_source();
        if let (Some(attached), Some(known)) = (self.attached.take(), &mut self.known) {
            known.leave(&attached);
        }
    }

    /// The acquisition ends: what was not read of it is counted. `goes_on` is where the next one begins, when it is in
    /// the same ring.
    fn end_known(&mut self, goes_on: Option<u64>) {
        if let Some(known) = self.known.take() {
            self.missing_at_ends = self.missing_at_ends.saturating_add(known.lost_at_end(goes_on));
        }
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
        let slots = self.attached.as_ref().map_or(0, |attached| attached.mapped.geometry.slots);
        self.detach();
        // A count that contradicts the rest is believed as far as slots could still be there.
        let end = self.known.as_ref().map(|known| known.last_written.min(known.reader.slot().saturating_add(slots)));
        self.end_known(end);
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
        self.lock_memory();
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
        let RingOptions { prr_asked, prr_tolerance_ppm, heartbeat_timeout, .. } = self.options;
        let known = self.adopt(&attached.mapped, &snapshot)?;
        let acquisition = known.acquisition.clone();
        if !known.reader.goes_by_flags() {
            known.reader.skip_to(attached.light.go_on_at(known.reader.slot()).min(snapshot.written));
        }
        known.last_slot_at = Instant::now();
        attached.agreement.settle(&attached.mapped.memory, prr_asked, prr_tolerance_ppm, acquisition.prr)?;
        // Slots that were written with light are read first.
        if !has_light {
            known.reader.skip_dark(attached.memory(), snapshot.written);
        }
        let read_until = if known.reader.goes_by_flags() { snapshot.written } else { attached.light.read_until() };
        if !has_light && known.reader.slot() >= read_until {
            return Err(if attached.light.never_lit() { DarkReason::NeverLit } else { DarkReason::LightOff });
        }
        let newest = mistakes::newest(attached.memory(), &attached.mapped.geometry, snapshot.written);
        if let Some(slot) = newest.map_err(|why| DarkReason::Refused(why.into()))?
            && slot.epoch == snapshot.epoch
        {
            known.reader.see_flags(slot.flags);
            mistakes::check_utc(slot.utc_ns).map_err(DarkReason::WrongTime)?;
        }
        known.why_empty(snapshot.written, heartbeat_timeout).map_or(Ok(acquisition), Err)
    }

    /// Judges a header. An epoch that is known already keeps its number and our place in it.
    fn adopt(&mut self, mapped: &Mapped, snapshot: &Snapshot) -> Result<&mut Known, DarkReason> {
        let &Snapshot { epoch, declared, written } = snapshot;
        let geometry = mapped.geometry;
        let (layout, mut acquisition) = header::check(&declared, &geometry).map_err(DarkReason::Refused)?;
        let key = Key { file: mapped.id, geometry, instance: declared.instance, epoch };
        let same_key = self.known.as_ref().is_some_and(|known| known.key == key);
        let same_ring = self.known.as_ref().is_some_and(|known| known.key.is_same_ring(&key));
        let goes_on = self.known.take_if(|known| {
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
        self.end_known(same_ring.then_some(begins_at));
        self.last_epoch_us = now_us().max(self.last_epoch_us.saturating_add(1));
        acquisition.epoch = self.last_epoch_us;
        let (prr, clock) = (acquisition.prr, acquisition.clock);
        Ok(self.known.insert(Known {
            key,
            declared,
            acquisition,
            reader: Reader::new(geometry, layout, (prr, clock), epoch, begins_at, same_ring),
            rate: RateMeter::new(prr.to_f64()),
            last_slot_at: Instant::now(),
            begun: Instant::now(),
            last_written: begins_at,
        }))
    }

    /// Locks each new mapping in memory where that is wanted, and says once that it cannot be had.
    fn lock_memory(&mut self) {
        let Some(attached) = self.attached.as_mut().filter(|a| self.options.lock_memory && !a.is_locked) else {
            return;
        };
        attached.is_locked = true;
        if let Err(error) = attached.mapped.memory.lock()
            && !std::mem::replace(&mut self.has_complained, true)
        {
            warn!(%error, "locking the ring in memory: not permitted, goes on without");
        }
    }

    /// Where the file is gone, zeros stand: no light, no epoch, no slots. They mean nothing.
    fn unless_truncated(&mut self, reason: DarkReason) -> DarkReason {
        if self.is_short() { self.truncated() } else { reason }
    }

    fn is_short(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.is_short(&self.options.path))
    }

    /// What it means that an empty block stays empty, when it means more than "not yet".
    fn silence(&mut self) -> Option<ReadOutcome> {
        let (attached, known) = (self.attached.as_mut()?, self.known.as_ref()?);
        let epoch = attached.memory().load(AT_EPOCH);
        // Epoch 0 is none; the header of a file that was cut off reads so.
        let is_over = epoch != 0 && epoch.is_multiple_of(2) && epoch != known.key.epoch;
        let is_replaced = attached.replaced;
        let has_stopped = attached.pulse(self.options.heartbeat_timeout) == Pulse::Stopped;
        // Slots may have come since the look that found none, before the epoch or the producer ended: those first.
        let written = attached.memory().load(AT_SLOTS_WRITTEN);
        if written > known.reader.slot() {
            return None;
        }
        if is_over {
            return Some(ReadOutcome::EpochChanged);
        }
        if is_replaced {
            let why = format!("the ring at {} was replaced", self.options.path.display());
            self.detach();
            return Some(ReadOutcome::FiberLost(DarkReason::NoInterface(why)));
        }
        if has_stopped {
            return Some(ReadOutcome::FiberLost(DarkReason::NoHeartbeat));
        }
        known.why_empty(written, self.options.heartbeat_timeout).map(ReadOutcome::FiberLost)
    }

    /// Reads what is there; `None` = nothing to say yet, look again.
    fn read_step(&mut self, block: &mut RawBlock, deadline: Instant) -> Option<ReadOutcome> {
        let Some(attached) = &mut self.attached else {
            return Some(ReadOutcome::FiberLost(DarkReason::Starting));
        };
        if block.traces == 0 && attached.is_truncated(&self.options.path, self.options.heartbeat_timeout) {
            return Some(ReadOutcome::FiberLost(self.truncated()));
        }
        let (Some(attached), Some(known)) = (&mut self.attached, &mut self.known) else {
            return Some(ReadOutcome::FiberLost(DarkReason::Starting));
        };
        attached.has_light();
        // The state word is for producers whose slots do not say themselves which of them have light.
        let mut read_until = u64::MAX;
        if !known.reader.goes_by_flags() {
            known.reader.skip_to(attached.light.go_on_at(known.reader.slot()));
            read_until = attached.light.read_until();
        }
        let before = block.traces;
        let pull = known.reader.pull(attached.memory(), block, read_until);
        self.missing_at_ends = self.missing_at_ends.saturating_add(known.reader.take_unmarked());
        if block.traces > before {
            known.see(attached, self.started);
        }
        let is_dark = attached.light.is_off();
        match pull {
            Pull::Full | Pull::Gap => Some(ReadOutcome::Filled),
            Pull::Dry if !is_dark => {
                if block.traces == 0
                    && let Some(end) = self.silence()
                {
                    return Some(end);
                }
                self.wait(block, deadline)
            }
            // First what was read well; the next call meets the same again.
            _ if block.traces > 0 => Some(ReadOutcome::Filled),
            Pull::Dry | Pull::Dark => Some(ReadOutcome::FiberLost(self.unless_truncated(DarkReason::LightOff))),
            Pull::NewEpoch if self.is_short() => Some(ReadOutcome::FiberLost(self.truncated())),
            Pull::NewEpoch => Some(ReadOutcome::EpochChanged),
            Pull::WrongTime(what) => Some(ReadOutcome::FiberLost(self.unless_truncated(DarkReason::WrongTime(what)))),
            Pull::Damaged => Some(ReadOutcome::FiberLost(self.truncated())),
            Pull::Nonsense(why) => Some(ReadOutcome::FiberLost(self.distrust(why))),
        }
    }

    fn wait(&self, block: &RawBlock, deadline: Instant) -> Option<ReadOutcome> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(if block.traces > 0 { ReadOutcome::Filled } else { ReadOutcome::TimedOut });
        }
        let pause = self.known.as_ref().map_or(LONG_PAUSE, |known| known.pause(block.free_traces()));
        std::thread::sleep(pause.min(left));
        None
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

    fn holds_unread(&self) -> bool {
        let (Some(attached), Some(known)) = (&self.attached, &self.known) else { return false };
        let unread = attached.memory().load_relaxed(AT_SLOTS_WRITTEN).saturating_sub(known.reader.slot());
        // The last eighth is left for the time that reading on takes.
        unread.saturating_mul(8) <= known.key.geometry.slots.saturating_mul(7)
    }

    fn missing_at_ends(&self) -> u64 {
        self.missing_at_ends
    }

    fn take_state(&mut self) -> InstrumentState {
        let slots = self.known.as_mut().map_or(0, |known| known.reader.take_flags());
        // What a producer said before it died does not hold any more.
        let timeout = self.options.heartbeat_timeout;
        let word = self.attached.as_mut().map_or(0, |attached| match attached.pulse(timeout) {
            Pulse::Beating => attached.memory().load_relaxed(AT_STATE),
            Pulse::Unknown | Pulse::Stopped => 0,
        });
        let is_set = |flag: u32| (u64::from(slots) | word) & u64::from(flag) != 0;
        InstrumentState { overloaded: is_set(STATE_OVERLOAD), calibrating: is_set(STATE_CALIBRATING) }
    }

    fn complaint(&self) -> Option<&'static str> {
        self.attached.as_ref().filter(|attached| attached.lacks_heartbeat()).map(|_| mistakes::NO_HEARTBEAT)
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
