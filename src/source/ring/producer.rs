//! The writing side of the ring in Rust: the simulator's, the tests' and the benchmarks'. A vendor's driver does the
//! same in C from `ABI.md`; what is said there about ordering is done here.
//!
//! Slots: invalidate the sequence word, write the slot, store the sequence word, count the slot. Epochs: make the epoch
//! odd, write, make it even.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytemuck::Zeroable;

use super::abi::{
    AT_ANSWER_NUMBER, AT_ANSWER_REFUSAL, AT_DECLARED, AT_EPOCH, AT_HEARTBEAT, AT_LOST, AT_REQUEST_NUMBER,
    AT_REQUEST_PRR, AT_SLOTS_WRITTEN, AT_STATE, Header, Line, REFUSED_RATE, SLOT_HEADER_BYTES, SlotHeader,
};
use super::header::{self, Geometry, SlotLayout};
use super::memory::Memory;
use super::{RingError, RingSpec, file, taken};

/// The first stable epoch of a ring.
const FIRST_EPOCH: u64 = 2;
/// Readable and writable by owner and group: the consumer writes its request.
const MODE: u32 = 0o660;

/// The one writer of a ring.
pub struct Producer {
    memory: Arc<Memory>,
    geometry: Geometry,
    layout: SlotLayout,
    clock_quality: u32,
    epoch: u64,
    written: u64,
    lost: std::sync::atomic::AtomicU64,
}

impl Producer {
    /// Makes a ring at `path`, with the state flags [`STATE_LASER_ON`](super::STATE_LASER_ON) and
    /// [`STATE_LIGHT`](super::STATE_LIGHT) set. The file is complete before it appears there: a ring that was at `path`
    /// before lives on for whoever has it mapped, and is found replaced. The file stays when the producer ends.
    ///
    /// Where a ring is already, its heartbeat is watched for 1.2 s: only a dead producer's is replaced.
    ///
    /// # Errors
    /// [`RingError::Spec`] for a ring that no consumer would accept, [`RingError::Taken`] where a producer lives or
    /// something else than a ring is, [`RingError::Io`] when the file cannot be made.
    pub fn create(path: &Path, spec: &RingSpec) -> Result<Self, RingError> {
        let (header, geometry, layout) = first_header(spec)?;
        let shown = path.display();
        let taken = taken::why_taken(path)
            .map_err(|error| RingError::Io { what: format!("cannot look at what is at {shown}"), error })?;
        if let Some(why) = taken {
            return Err(RingError::Taken { path: shown.to_string(), why });
        }
        let beside = beside(path);
        let made = make_file(&beside, geometry.ring_bytes())
            .and_then(|memory| {
                let producer = Self::begin(Arc::new(memory), &header, geometry, layout);
                fs::rename(&beside, path)?;
                Ok(producer)
            })
            .map_err(|error| RingError::Io { what: format!("cannot make the ring {}", path.display()), error });
        if made.is_err() {
            let _ = fs::remove_file(&beside);
        }
        made
    }

    /// A ring in plain memory, for a reader in the same process.
    #[cfg(any(test, fuzzing))]
    pub(super) fn in_memory(spec: &RingSpec) -> Result<(Self, Arc<Memory>), RingError> {
        let (header, geometry, layout) = first_header(spec)?;
        let memory = Arc::new(Memory::heap(geometry.ring_bytes()));
        Ok((Self::begin(Arc::clone(&memory), &header, geometry, layout), memory))
    }

    fn begin(memory: Arc<Memory>, header: &Header, geometry: Geometry, layout: SlotLayout) -> Self {
        memory.copy_in(0, bytemuck::bytes_of(header));
        memory.store(AT_EPOCH, FIRST_EPOCH);
        let clock_quality = header.declared.clock_quality;
        Self { memory, geometry, layout, clock_quality, epoch: FIRST_EPOCH, written: 0, lost: 0.into() }
    }

    /// Writes the next slot: `traces` traces from `first_trace` on (numbered within the epoch), the first launched at
    /// `utc_ns`. `fill` gets their memory: packed rows, `traces × channels` samples; what it does not write is left from
    /// an older slot.
    ///
    /// # Panics
    /// When `traces` is 0 or more than the ring's `traces_per_slot`.
    pub fn write_slot(&mut self, first_trace: u64, utc_ns: i64, traces: usize, fill: impl FnOnce(&mut [u8])) {
        assert!(traces > 0 && traces <= self.layout.traces as usize, "{traces} traces do not fit a slot");
        let at = self.geometry.slot(self.written);
        // Release: whoever sees the slot invalid also sees that the ring has come around to it.
        self.memory.store(at, 0);
        Memory::write_fence();
        let header = SlotHeader {
            epoch: self.epoch,
            first_trace,
            utc_ns,
            traces: traces as u32,
            clock_quality: self.clock_quality,
            flags: self.memory.load_relaxed(AT_STATE) as u32,
            ..SlotHeader::default()
        };
        // Everything but the sequence word.
        self.memory.copy_in(at + 8, &bytemuck::bytes_of(&header)[8..]);
        self.memory.fill(at + SLOT_HEADER_BYTES, traces * self.layout.row_bytes, fill);
        self.written += 1;
        self.memory.store(at, self.written);
        self.memory.store(AT_SLOTS_WRITTEN, self.written);
    }

    /// Says that the producer lives; to be called at least every 200 ms.
    pub fn heartbeat(&self) {
        self.memory.store(AT_HEARTBEAT, now_ns());
    }

    /// Sets the state flags, all of them.
    pub fn set_state(&self, state: u32) {
        self.memory.store(AT_STATE, u64::from(state));
    }

    /// Declares traces that never reached the ring. Their trace numbers must be left out as well.
    pub fn add_lost(&self, traces: u64) {
        let before = self.lost.fetch_add(traces, std::sync::atomic::Ordering::Relaxed);
        self.memory.store(AT_LOST, before.wrapping_add(traces));
    }

    /// A PRR in Hz that the consumer asks for and that has no answer yet, with the number of the request.
    pub fn requested_prr(&self) -> Option<(u64, f64)> {
        let number = self.memory.load(AT_REQUEST_NUMBER);
        let prr_hz = f64::from_bits(self.memory.load_relaxed(AT_REQUEST_PRR));
        (number != 0 && number != self.memory.load_relaxed(AT_ANSWER_NUMBER)).then_some((number, prr_hz))
    }

    /// Answers a request: applied (after the epoch has been changed, if it had to be), or refused with a code such as
    /// [`REFUSED_FIXED`](super::REFUSED_FIXED).
    pub fn answer(&self, number: u64, applied: Result<(), u32>) {
        let code = applied.err().map_or(0, |code| if code == 0 { REFUSED_RATE } else { code });
        self.memory.store(AT_ANSWER_REFUSAL, u64::from(code));
        self.memory.store(AT_ANSWER_NUMBER, number);
    }

    /// Begins a new epoch: from the next slot on `spec` holds, and traces are numbered from 0 again. Slot count and
    /// stride stay as they are; a slot of the new shape must fit.
    ///
    /// # Errors
    /// [`RingError::Spec`]; then nothing has changed.
    pub fn change_epoch(&mut self, spec: &RingSpec) -> Result<(), RingError> {
        let instance = self.memory.get::<Header>(0).declared.instance;
        let (identity, mut declared) = header::describe(spec, instance).map_err(RingError::Spec)?;
        if identity.slot_count != self.geometry.slots {
            let (asked, has) = (identity.slot_count, self.geometry.slots);
            return Err(RingError::Spec(format!(
                "the ring has {has} slots, and cannot have {asked} without a restart"
            )));
        }
        declared.first_slot = self.written;
        let (layout, _) = header::check(&declared, &self.geometry).map_err(RingError::Spec)?;
        self.memory.store(AT_EPOCH, self.epoch + 1);
        Memory::write_fence();
        self.memory.copy_in(AT_DECLARED, bytemuck::bytes_of(&declared));
        self.epoch += 2;
        self.memory.store(AT_EPOCH, self.epoch);
        (self.layout, self.clock_quality) = (layout, declared.clock_quality);
        Ok(())
    }
}

fn first_header(spec: &RingSpec) -> Result<(Header, Geometry, SlotLayout), RingError> {
    let (identity, declared) = header::describe(spec, now_ns()).map_err(RingError::Spec)?;
    let memory_bytes = usize::try_from(identity.ring_bytes).unwrap_or(usize::MAX);
    let geometry = Geometry::check(&identity, memory_bytes).map_err(RingError::Spec)?;
    let (layout, _) = header::check(&declared, &geometry).map_err(RingError::Spec)?;
    let line = |value| Line { value, reserved: [0; 7] };
    let header = Header {
        identity,
        declared,
        heartbeat_ns: line(now_ns()),
        state: line(u64::from(super::STATE_LASER_ON | super::STATE_LIGHT)),
        ..Header::zeroed()
    };
    Ok((header, geometry, layout))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn make_file(path: &Path, ring_bytes: usize) -> io::Result<Memory> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(MODE).open(path)?;
    // The umask does not decide who may consume.
    file.set_permissions(Permissions::from_mode(MODE))?;
    let page_bytes = file::page_bytes(&file)?;
    let len = ring_bytes.next_multiple_of(page_bytes);
    reserve(&file, len as u64)?;
    Memory::map(&file, len, page_bytes)
}

/// Room for the whole ring now, rather than a SIGBUS later when the file system is full.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
