//! Judging a header: bytes that another process wrote, in; a [`Geometry`] and an [`Acquisition`] that the rest of the
//! house can rely on, or one sentence that says what is wrong, out.
//!
//! Pure: works on copies, knows no mapping and no clock, so that proptest, the fuzzer and miri can run it. Nothing in a
//! header is believed before it has passed here.

use std::sync::Arc;

use bytemuck::Zeroable;

use super::RingSpec;
use super::abi::{ABI_VERSION, BYTE_ORDER, Declared, HEADER_BYTES, Identity, MAGIC, SLOT_ALIGN, SLOT_HEADER_BYTES};
use crate::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat, SourceKind};
use crate::units::Rational;

/// Most channels: two thousand kilometres at two metres.
const MAX_CHANNELS: u32 = 1 << 20;
/// Most slots.
const MAX_SLOTS: u64 = 1 << 24;
/// Largest ring that is mapped.
pub(super) const MAX_RING_BYTES: u64 = 1 << 36;
/// Fastest stream of samples that is believed; blocks are allocated in proportion to it.
const MAX_BYTES_PER_SECOND: f64 = (1u64 << 30) as f64;

/// Where the slots are. Holds for the life of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Slots, a power of two, at least two.
    pub(super) slots: u64,
    /// Bytes from slot to slot, a multiple of 64 and more than a slot header.
    pub(super) stride: usize,
}

impl Geometry {
    /// Checks the identity line against the memory that is really there.
    pub(super) fn check(id: &Identity, memory_bytes: usize) -> Result<Self, String> {
        if id.magic != MAGIC {
            return Err("this is not a fiberd ring: its first 8 bytes should be FIBERDRG".into());
        }
        if id.byte_order != BYTE_ORDER {
            return Err(format!(
                "the ring has a foreign byte order: mark {:#010x}, little-endian needed",
                id.byte_order
            ));
        }
        if id.abi_version != ABI_VERSION {
            return Err(format!("the ring speaks ABI version {}, this fiberd speaks {ABI_VERSION}", id.abi_version));
        }
        if id.header_bytes as usize != HEADER_BYTES || id.slot_header_bytes as usize != SLOT_HEADER_BYTES {
            return Err(format!(
                "the ring declares headers of {} and {} bytes, ABI version 1 has {HEADER_BYTES} and {SLOT_HEADER_BYTES}",
                id.header_bytes, id.slot_header_bytes
            ));
        }
        let (slots, stride) = (id.slot_count, id.slot_stride);
        if !slots.is_power_of_two() || !(2..=MAX_SLOTS).contains(&slots) {
            return Err(format!("the ring declares {slots} slots, a power of two from 2 to {MAX_SLOTS} is needed"));
        }
        if stride % SLOT_ALIGN as u64 != 0 || stride <= SLOT_HEADER_BYTES as u64 || stride > MAX_RING_BYTES {
            return Err(format!(
                "the ring declares a slot stride of {stride} bytes, a multiple of 64 above 64 is needed"
            ));
        }
        let bytes = slots * stride + HEADER_BYTES as u64;
        if bytes > MAX_RING_BYTES || id.ring_bytes != bytes {
            return Err(format!(
                "the ring declares {} bytes, its {slots} slots of {stride} bytes make {bytes} (at most {MAX_RING_BYTES})",
                id.ring_bytes
            ));
        }
        if bytes > memory_bytes as u64 {
            return Err(format!("the ring declares {bytes} bytes and has only {memory_bytes}"));
        }
        Ok(Self { slots, stride: stride as usize })
    }

    /// Bytes from the start of the ring to the end of its last slot.
    pub(super) const fn ring_bytes(&self) -> usize {
        HEADER_BYTES + self.slots as usize * self.stride
    }

    /// Offset of the slot with this number.
    pub(super) const fn slot(&self, number: u64) -> usize {
        HEADER_BYTES + (number % self.slots) as usize * self.stride
    }
}

/// What one slot of an epoch can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotLayout {
    /// Bytes of one packed trace.
    pub(super) row_bytes: usize,
    /// Most traces in a slot.
    pub(super) traces: u32,
}

/// Checks what an epoch declares. The [`Acquisition`] comes back with `epoch` 0, to be numbered by the consumer.
pub(super) fn check(d: &Declared, geometry: &Geometry) -> Result<(SlotLayout, Acquisition), String> {
    let sample_format = SampleFormat::from_code(d.sample_format).ok_or_else(|| {
        format!("the ring declares sample format {}; 1 is i16, 2 f32, 3 iq16, 4 i32", d.sample_format)
    })?;
    if d.channels == 0 || d.channels > MAX_CHANNELS {
        return Err(format!("the ring declares {} channels, 1 to {MAX_CHANNELS} are possible", d.channels));
    }
    let row_bytes = d.channels as usize * sample_format.bytes();
    let room = (geometry.stride - SLOT_HEADER_BYTES) as u64;
    if d.traces_per_slot == 0 || u64::from(d.traces_per_slot) * row_bytes as u64 > room {
        return Err(format!(
            "the ring declares {} traces of {row_bytes} bytes in a slot, which has room for 1 to {}",
            d.traces_per_slot,
            room / row_bytes as u64
        ));
    }
    let number = |name: &str, value: f64, low: f64, high: f64| {
        if (low..=high).contains(&value) {
            return Ok(value);
        }
        Err(format!("the ring declares {name} = {value}, {low} to {high} is possible"))
    };
    let optional = |name, value, high| number(name, value, 0.0, high).map(|v| (v > 0.0).then_some(v));
    if d.prr_hz == 0.0 {
        return Err("the ring declares no pulse repetition rate: prr_hz is 0".into());
    }
    let prr_hz = number("prr_hz", d.prr_hz, 1e-3, 1e7)?;
    let prr = Rational::from_f64(prr_hz).ok_or_else(|| format!("the ring declares prr_hz = {prr_hz}"))?;
    if prr_hz * row_bytes as f64 > MAX_BYTES_PER_SECOND {
        return Err(format!("the ring declares {} channels at {prr_hz} Hz: more than 1 GiB/s", d.channels));
    }
    if !d.scale.is_normal() {
        return Err(format!("the ring declares scale = {}, a number other than 0 is needed", d.scale));
    }
    let known = |what, code: u32| format!("the ring declares {what} {code}, which ABI version 1 does not have");
    let acquisition = Acquisition {
        epoch: 0,
        prr,
        channels: d.channels as usize,
        dx_m: number("dx_m", d.dx_m, 1e-6, 1e6)?,
        fiber_start_m: number("fiber_start_m", d.fiber_start_m, -1e9, 1e9)?,
        regions: Arc::default(),
        gauge_length_m: optional("gauge_length_m", d.gauge_length_m, 1e6)?,
        wavelength_m: optional("wavelength_m", d.wavelength_m, 1e-3)?,
        refractive_index: optional("refractive_index", d.refractive_index, 10.0)?,
        sample_format,
        quantity: of_samples(d.quantity).ok_or_else(|| known("quantity", d.quantity))?,
        scale: d.scale,
        levels: Arc::default(),
        unit: text("unit", &d.unit)?,
        band: None,
        clock: ClockQuality::from_code(d.clock_quality).ok_or_else(|| known("clock quality", d.clock_quality))?,
        description: text("description", &d.description)?,
        source: SourceKind::from_code(d.source).ok_or_else(|| known("source", d.source))?,
    };
    if (acquisition.quantity == Quantity::OpticalField) != (sample_format == SampleFormat::Iq16) {
        return Err(format!(
            "the ring declares {} as {}; the optical field and iq16 belong together",
            acquisition.quantity.name(),
            sample_format.dtype()
        ));
    }
    Ok((SlotLayout { row_bytes, traces: d.traces_per_slot }, acquisition))
}

/// A quantity that samples can be of: lines of band energy come from captures alone.
fn of_samples(code: u32) -> Option<Quantity> {
    Quantity::from_code(code).filter(|quantity| *quantity != Quantity::BandEnergy)
}

fn text(name: &str, bytes: &[u8]) -> Result<String, String> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("the {name} in the ring is not plain UTF-8 text")),
    }
}

/// The two static parts of a header for `spec`; errors as the consumer would word them.
pub(super) fn describe(spec: &RingSpec, instance: u64) -> Result<(Identity, Declared), String> {
    let row_bytes = spec.channels.checked_mul(spec.sample_format.bytes());
    let stride = row_bytes
        .and_then(|row| row.checked_mul(spec.traces_per_slot))
        .and_then(|samples| samples.checked_add(SLOT_HEADER_BYTES))
        .and_then(|bytes| bytes.checked_next_multiple_of(SLOT_ALIGN))
        .ok_or("the slots are too large")?;
    let bytes =
        stride.checked_mul(spec.slots).and_then(|all| all.checked_add(HEADER_BYTES)).ok_or("the ring is too large")?;
    let small = |n: usize| u32::try_from(n).map_err(|_| format!("{n} is too large"));
    let identity = Identity {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        header_bytes: HEADER_BYTES as u32,
        byte_order: BYTE_ORDER,
        slot_header_bytes: SLOT_HEADER_BYTES as u32,
        slot_count: spec.slots as u64,
        slot_stride: stride as u64,
        ring_bytes: bytes as u64,
        reserved: [0; 2],
    };
    let mut declared = Declared {
        instance,
        channels: small(spec.channels)?,
        traces_per_slot: small(spec.traces_per_slot)?,
        sample_format: spec.sample_format.code(),
        quantity: spec.quantity.code(),
        prr_hz: spec.prr_hz,
        dx_m: spec.dx_m,
        gauge_length_m: spec.gauge_length_m.unwrap_or(0.0),
        fiber_start_m: spec.fiber_start_m,
        scale: spec.scale,
        wavelength_m: spec.wavelength_m.unwrap_or(0.0),
        refractive_index: spec.refractive_index.unwrap_or(0.0),
        clock_quality: spec.clock.code(),
        source: spec.source.code(),
        ..Declared::zeroed()
    };
    put_text("unit", &spec.unit, &mut declared.unit)?;
    put_text("description", &spec.description, &mut declared.description)?;
    Ok((identity, declared))
}

fn put_text(name: &str, text: &str, into: &mut [u8]) -> Result<(), String> {
    let room = into.len();
    let place = into.get_mut(..text.len()).ok_or_else(|| format!("{name} has {} bytes, {room} fit", text.len()))?;
    place.copy_from_slice(text.as_bytes());
    Ok(())
}
