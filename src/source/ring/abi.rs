//! The words of the ring in memory, ABI version 1: what `ABI.md` tells people and `fiberd_ring.h` tells C compilers,
//! said to Rust. Offsets are asserted at compile time; a change here that moves a field does not build.
//!
//! Pure declarations: nothing here touches shared memory, checks a value or knows a clock.

use std::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

/// First eight bytes of every ring.
pub const MAGIC: [u8; 8] = *b"FIBERDRG";
/// The version that this file describes.
pub const ABI_VERSION: u32 = 1;
/// Bytes before slot 0.
pub const HEADER_BYTES: usize = 4096;
/// What [`Identity::byte_order`] reads on a host with the producer's byte order.
pub const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes before the samples of each slot.
pub const SLOT_HEADER_BYTES: usize = 64;
/// Slots begin on cache lines.
pub const SLOT_ALIGN: usize = 64;

/// State flag: the laser is on.
pub const STATE_LASER_ON: u32 = 1;
/// State flag: light comes back from the fiber. Without it fiberd waits for fiber.
pub const STATE_LIGHT: u32 = 2;
/// State flag: the receiver is overloaded.
pub const STATE_OVERLOAD: u32 = 4;
/// State flag: a calibration is running; samples may mean little.
pub const STATE_CALIBRATING: u32 = 8;

/// Refusal code: the producer cannot run at the rate asked for.
pub const REFUSED_RATE: u32 = 1;
/// Refusal code: not now (a calibration is running, another party holds the instrument).
pub const REFUSED_BUSY: u32 = 2;
/// Refusal code: the rate of this instrument cannot be changed from outside.
pub const REFUSED_FIXED: u32 = 3;

/// A refusal code in words.
pub const fn refusal(code: u64) -> &'static str {
    match code {
        1 => "it cannot run at that rate",
        2 => "it is busy",
        3 => "its rate cannot be changed from outside",
        _ => "it gave no known reason",
    }
}

/// Bytes 0–63: what this memory is. Written once, before the ring can be found, and never again.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Identity {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// [`BYTE_ORDER`].
    pub byte_order: u32,
    /// [`SLOT_HEADER_BYTES`].
    pub slot_header_bytes: u32,
    /// Slots, a power of two.
    pub slot_count: u64,
    /// Bytes from one slot to the next, a multiple of 64.
    pub slot_stride: u64,
    /// `header_bytes + slot_count * slot_stride`; the file may be larger.
    pub ring_bytes: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Bytes 128–1023: everything that holds within one epoch. Changed only while the epoch word at byte 64 is odd.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Declared {
    /// Any number that differs at each start of the producer, e.g. its clock in ns.
    pub instance: u64,
    /// Number of the first slot of this epoch.
    pub first_slot: u64,
    /// Samples in a trace.
    pub channels: u32,
    /// Most traces that a slot may hold.
    pub traces_per_slot: u32,
    /// 1 `i16`, 2 `f32`, 3 `iq16`.
    pub sample_format: u32,
    /// What `sample * scale` measures: `Quantity::code`.
    pub quantity: u32,
    /// Pulse repetition rate, Hz.
    pub prr_hz: f64,
    /// From channel to channel, m.
    pub dx_m: f64,
    /// Gauge length, m; 0 = unknown.
    pub gauge_length_m: f64,
    /// Place of channel 0 on the fiber, m.
    pub fiber_start_m: f64,
    /// Value of one count, in `unit`.
    pub scale: f64,
    /// Vacuum wavelength of the laser, m; 0 = unknown.
    pub wavelength_m: f64,
    /// Refractive index of the fiber; 0 = unknown.
    pub refractive_index: f64,
    /// 0 free-running, 1 NTP, 2 PTP, 3 GPS.
    pub clock_quality: u32,
    /// 0 an instrument, 1 a replayed capture, 2 a simulation: `SourceKind::code`.
    pub source: u32,
    /// UTF-8, ended by a zero byte unless full.
    pub unit: [u8; 32],
    /// UTF-8, ended by a zero byte unless full.
    pub description: [u8; 512],
    /// Zero.
    pub reserved: [u64; 32],
}

/// The consumer's line: the PRR that the configuration asks for. The number is stored last.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Request {
    /// Hz.
    pub prr_hz: f64,
    /// 0 = nothing asked yet; rises with each request.
    pub number: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

/// The producer's answer. The number is stored last.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Answer {
    /// The request that this answers.
    pub number: u64,
    /// 0 = applied, otherwise a refusal code.
    pub refusal: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

/// One word that lives alone on its cache line.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Line {
    /// The word.
    pub value: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// The header page.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// What this memory is.
    pub identity: Identity,
    /// Even: [`Declared`] is whole and belongs to this epoch. Odd: it is being changed. 0: not ready yet.
    pub epoch: Line,
    /// What holds within this epoch.
    pub declared: Declared,
    /// Slots completely written since the ring was made; the number of the next one.
    pub slots_written: Line,
    /// Changes at least every 200 ms while the producer lives: its clock in ns.
    pub heartbeat_ns: Line,
    /// State flags.
    pub state: Line,
    /// Traces that the instrument lost before they could be put into the ring.
    pub lost_before_ring: Line,
    /// The consumer's line.
    pub request: Request,
    /// The producer's answer to it.
    pub answer: Answer,
    /// Zero.
    pub reserved: [[u64; 8]; 32],
    /// Zero.
    pub reserved_too: [[u64; 8]; 10],
}

/// The first 64 bytes of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SlotHeader {
    /// Slot number + 1; 0 while the slot is being written.
    pub sequence: u64,
    /// Epoch that the traces belong to.
    pub epoch: u64,
    /// Number of the first trace within the epoch.
    pub first_trace: u64,
    /// When the first trace was launched, ns since the UNIX epoch.
    pub utc_ns: i64,
    /// Traces in this slot, at least 1.
    pub traces: u32,
    /// Clock quality at that moment, as in [`Declared::clock_quality`].
    pub clock_quality: u32,
    /// State flags at that moment.
    pub flags: u32,
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

pub(super) const AT_EPOCH: usize = offset_of!(Header, epoch);
pub(super) const AT_DECLARED: usize = offset_of!(Header, declared);
pub(super) const AT_SLOTS_WRITTEN: usize = offset_of!(Header, slots_written);
pub(super) const AT_HEARTBEAT: usize = offset_of!(Header, heartbeat_ns);
pub(super) const AT_STATE: usize = offset_of!(Header, state);
pub(super) const AT_LOST: usize = offset_of!(Header, lost_before_ring);
pub(super) const AT_REQUEST_PRR: usize = offset_of!(Header, request);
pub(super) const AT_REQUEST_NUMBER: usize = offset_of!(Header, request) + offset_of!(Request, number);
pub(super) const AT_ANSWER_NUMBER: usize = offset_of!(Header, answer);
pub(super) const AT_ANSWER_REFUSAL: usize = offset_of!(Header, answer) + offset_of!(Answer, refusal);

// The offsets of ABI.md and fiberd_ring.h, once more.
const _: () = {
    assert!(size_of::<Header>() == HEADER_BYTES);
    assert!(size_of::<SlotHeader>() == SLOT_HEADER_BYTES);
    assert!(size_of::<Identity>() == 64 && size_of::<Line>() == 64);
    assert!(size_of::<Request>() == 64 && size_of::<Answer>() == 64);

    assert!(offset_of!(Identity, abi_version) == 8);
    assert!(offset_of!(Identity, header_bytes) == 12);
    assert!(offset_of!(Identity, byte_order) == 16);
    assert!(offset_of!(Identity, slot_header_bytes) == 20);
    assert!(offset_of!(Identity, slot_count) == 24);
    assert!(offset_of!(Identity, slot_stride) == 32);
    assert!(offset_of!(Identity, ring_bytes) == 40);

    assert!(AT_EPOCH == 64);
    assert!(AT_DECLARED == 128);
    assert!(offset_of!(Declared, instance) == 0);
    assert!(offset_of!(Declared, first_slot) == 8);
    assert!(offset_of!(Declared, channels) == 16);
    assert!(offset_of!(Declared, traces_per_slot) == 20);
    assert!(offset_of!(Declared, sample_format) == 24);
    assert!(offset_of!(Declared, quantity) == 28);
    assert!(offset_of!(Declared, prr_hz) == 32);
    assert!(offset_of!(Declared, dx_m) == 40);
    assert!(offset_of!(Declared, gauge_length_m) == 48);
    assert!(offset_of!(Declared, fiber_start_m) == 56);
    assert!(offset_of!(Declared, scale) == 64);
    assert!(offset_of!(Declared, wavelength_m) == 72);
    assert!(offset_of!(Declared, refractive_index) == 80);
    assert!(offset_of!(Declared, clock_quality) == 88);
    assert!(offset_of!(Declared, source) == 92);
    assert!(offset_of!(Declared, unit) == 96);
    assert!(offset_of!(Declared, description) == 128);
    assert!(size_of::<Declared>() == 896);

    assert!(AT_SLOTS_WRITTEN == 1024);
    assert!(AT_HEARTBEAT == 1088);
    assert!(AT_STATE == 1152);
    assert!(AT_LOST == 1216);
    assert!(AT_REQUEST_PRR == 1280 && AT_REQUEST_NUMBER == 1288);
    assert!(AT_ANSWER_NUMBER == 1344 && AT_ANSWER_REFUSAL == 1352);

    assert!(offset_of!(SlotHeader, sequence) == 0);
    assert!(offset_of!(SlotHeader, epoch) == 8);
    assert!(offset_of!(SlotHeader, first_trace) == 16);
    assert!(offset_of!(SlotHeader, utc_ns) == 24);
    assert!(offset_of!(SlotHeader, traces) == 32);
    assert!(offset_of!(SlotHeader, clock_quality) == 36);
    assert!(offset_of!(SlotHeader, flags) == 40);
};

// The ring is little-endian, and so are all hosts that fiberd runs on.
const _: () = assert!(cfg!(target_endian = "little"), "fiberd runs on little-endian hosts only");
