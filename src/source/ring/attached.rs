//! A mapped ring and what is watched about it: life, light, rate, and whether its path still leads to it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::abi::{AT_DECLARED, AT_EPOCH, AT_LOST, AT_SLOTS_WRITTEN, Declared, Identity};
use super::agree::Agreement;
use super::file::{Mapped, Seen};
use super::header::Geometry;
use super::life::{Life, Pulse};
use super::light::Light;
use super::memory::Memory;
use crate::acquisition::DarkReason;

/// How often the path is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// An increase of the lost count beyond this is a scribble.
const MAX_LOST: u64 = 1 << 48;

/// A mapping in use.
pub(super) struct Attached {
    pub(super) mapped: Mapped,
    pub(super) agreement: Agreement,
    pub(super) light: Light,
    life: Life,
    looked_at: Instant,
    /// Another file stands at the path: this one is read to its end, then let go.
    pub(super) replaced: bool,
    lost_at_first: u64,
    /// Locking it in memory has been asked for.
    pub(super) is_locked: bool,
}

/// What a header says, read whole within one epoch; not yet checked.
#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) epoch: u64,
    pub(super) declared: Declared,
    pub(super) written: u64,
}

impl Attached {
    pub(super) fn new(mapped: Mapped) -> Self {
        Self {
            agreement: Agreement::default(),
            light: Light::new(&mapped.memory),
            life: Life::new(&mapped.memory),
            looked_at: Instant::now(),
            replaced: false,
            lost_at_first: mapped.memory.load(AT_LOST),
            is_locked: false,
            mapped,
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.mapped.memory
    }

    pub(super) fn pulse(&mut self, timeout: Duration) -> Pulse {
        self.life.pulse(&self.mapped.memory, timeout)
    }

    /// Traces that the producer declared lost since we mapped the ring.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.memory().load_relaxed(AT_LOST).saturating_sub(self.lost_at_first);
        if lost < MAX_LOST { lost } else { 0 }
    }

    /// Looks whether the producer says that light comes back.
    pub(super) fn has_light(&mut self) -> bool {
        self.light.look(&self.mapped.memory)
    }

    /// Whether slots come and the heartbeat has never moved.
    pub(super) fn lacks_heartbeat(&self) -> bool {
        self.life.lacks_heartbeat(&self.mapped.memory)
    }

    /// Looks at the path when it is time. True when a part of the file is gone.
    pub(super) fn is_truncated(&mut self, path: &Path, heartbeat_timeout: Duration) -> bool {
        if self.memory().is_damaged() {
            return true;
        }
        if self.looked_at.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked_at = Instant::now();
        match self.mapped.look(path) {
            Seen::Truncated => return true,
            Seen::Replaced => self.replaced = true,
            // A producer that lives on without its name is read on; a dead one's memory is given back.
            Seen::Gone => self.replaced = self.pulse(heartbeat_timeout) == Pulse::Stopped,
            Seen::Same => self.replaced = false,
        }
        false
    }

    /// Whether a part of the file is gone, looked at now.
    pub(super) fn is_short(&self, path: &Path) -> bool {
        self.memory().is_damaged() || self.mapped.look(path) == Seen::Truncated
    }

    /// The header as of one epoch.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, DarkReason> {
        let memory = &*self.mapped.memory;
        let epoch = memory.load(AT_EPOCH);
        let identity: Identity = memory.get(0);
        let declared: Declared = memory.get(AT_DECLARED);
        Memory::fence();
        if epoch == 0 || !epoch.is_multiple_of(2) || memory.load_relaxed(AT_EPOCH) != epoch {
            return Err(DarkReason::NoInterface("the producer is writing the header of the ring".into()));
        }
        match Geometry::check(&identity, memory.len()) {
            Ok(geometry) if geometry == self.mapped.geometry => {}
            Ok(_) => {
                // Mapped anew at the next look.
                self.replaced = true;
                return Err(DarkReason::Refused("the ring changed its slot count or stride while in use".into()));
            }
            Err(why) => return Err(DarkReason::Refused(why)),
        }
        Ok(Snapshot { epoch, declared, written: memory.load(AT_SLOTS_WRITTEN) })
    }
}
