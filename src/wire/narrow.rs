//! From 32-bit values to fewer bits, and what that does to them, counted.
//!
//! float16 holds 0.00006 to 65504 with a relative error of 2⁻¹¹. In a frame every value is first divided by a power of two,
//! the scale, which brings the largest of them to the upper end of that: so nothing becomes infinite, and only what is
//! nine decades below the largest becomes 0. A power of two costs no precision. The scale is that of each frame, because
//! a frame then needs nothing but itself to be read, whatever the level of the signal was before it.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Header;

/// float16 in a header.
pub(super) const F16_CODE: u8 = 1;

/// Values converted at a time, on the stack.
const CHUNK: usize = 512;

/// The largest value of a frame is stored as at least this power of two, and less than twice that.
const TOP_EXPONENT: i32 = 14;

/// More clipped values than one in so many make a frame poor.
const POOR: u64 = 100;

/// Values that were clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clipped {
    /// f16: values that were not 0 and became 0. u8: values below the range.
    pub low: u64,
    /// f16: finite values that became infinite. u8: values above the range.
    pub high: u64,
}

impl AddAssign for Clipped {
    fn add_assign(&mut self, other: Self) {
        (self.low, self.high) = (self.low + other.low, self.high + other.high);
    }
}

/// What became of values as float16, added up by whoever makes them, for whoever shows counts.
#[derive(Debug, Default)]
pub struct Tally {
    zeros: AtomicU64,
    infinities: AtomicU64,
    poor_frames: AtomicU64,
}

impl Tally {
    /// Adds what became of `values` values of one frame.
    pub fn add(&self, clipped: Clipped, values: usize) {
        if clipped == Clipped::default() {
            return;
        }
        self.zeros.fetch_add(clipped.low, Ordering::Relaxed);
        self.infinities.fetch_add(clipped.high, Ordering::Relaxed);
        if clipped.low + clipped.high > values as u64 / POOR {
            self.poor_frames.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what became of the `values` values of a frame with this header; nothing where they are no float16.
    pub fn add_frame(&self, header: &Header, values: usize) {
        if header.dtype == F16_CODE {
            self.add(Clipped { low: header.clipped_low.into(), high: header.clipped_high.into() }, values);
        }
    }

    /// Values that were not 0 and became 0.
    pub fn zeros(&self) -> u64 {
        self.zeros.load(Ordering::Relaxed)
    }

    /// Finite values that became infinite.
    pub fn infinities(&self) -> u64 {
        self.infinities.load(Ordering::Relaxed)
    }

    /// Frames of which more than one value in a hundred became 0 or infinite.
    pub fn poor_frames(&self) -> u64 {
        self.poor_frames.load(Ordering::Relaxed)
    }
}

/// The scale of values that are stored as float16: a power of two.
pub(super) fn f16_scale<'v>(pieces: impl Iterator<Item = &'v [f32]>) -> f32 {
    // Magnitudes of finite floats are in the order of their bits.
    const INFINITE: u32 = 0x7f80_0000;
    let largest_of = |piece: &[f32]| {
        piece.iter().fold(0, |largest: u32, value| {
            let bits = value.to_bits() & 0x7fff_ffff;
            largest.max(if bits < INFINITE { bits } else { 0 })
        })
    };
    let largest = pieces.map(largest_of).max().unwrap_or(0);
    if largest == 0 {
        return 1.0;
    }
    // A scale stays a normal number, and so does what values are multiplied by.
    let exponent = ((largest >> 23) as i32 - 127 - TOP_EXPONENT).clamp(-126, 126);
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Appends `values / scale` as little-endian float16; `scale` is a power of two.
pub(crate) fn extend_f16(values: &[f32], scale: f32, out: &mut Vec<u8>) -> Clipped {
    let (mut scaled, mut stored) = ([0.0; CHUNK], [f16::ZERO; CHUNK]);
    let per_step = scale.recip();
    let mut clipped = Clipped::default();
    for chunk in values.chunks(CHUNK) {
        let (scaled, stored) = (&mut scaled[..chunk.len()], &mut stored[..chunk.len()]);
        scaled.iter_mut().zip(chunk).for_each(|(scaled, value)| *scaled = value * per_step);
        stored.convert_from_f32_slice(scaled);
        let (mut low, mut high) = (0u32, 0u32);
        for (value, stored) in chunk.iter().zip(&*stored) {
            let magnitude = stored.to_bits() & 0x7fff;
            low += u32::from(magnitude == 0 && *value != 0.0);
            high += u32::from(magnitude == 0x7c00 && value.is_finite());
        }
        clipped += Clipped { low: low.into(), high: high.into() };
        out.extend_from_slice(bytemuck::cast_slice(stored));
    }
    clipped
}

/// Appends `round((values − offset) / scale)` in 8 bits; NaN becomes 0.
pub(super) fn extend_u8(values: &[f32], (scale, offset): (f32, f32), out: &mut Vec<u8>) -> Clipped {
    let per_step = 1.0 / scale;
    let mut clipped = Clipped::default();
    // A float cast saturates and turns NaN into 0, which is the whole contract.
    out.extend(values.iter().map(|value| {
        let step = (value - offset) * per_step + 0.5;
        // Not in the range; NaN is in none.
        clipped.low += u64::from(step.is_nan() || step < 0.0);
        clipped.high += u64::from(step >= 256.0);
        step as u8
    }));
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], scale: f32) -> Vec<f32> {
        bytes.chunks_exact(2).map(|two| f16::from_le_bytes([two[0], two[1]]).to_f32() * scale).collect()
    }

    proptest! {
        /// Whatever the unit that somebody chose, and however far values lie apart within four decades.
        #[test]
        fn values_of_any_level_come_back(
            level in -30i32..=26, spread in prop::collection::vec((0.0f64..4.0, any::<bool>()), 1..2000),
        ) {
            let value = |&(decades, negative): &(f64, bool)| {
                (10f64.powf(f64::from(level) + decades) * if negative { -1.0 } else { 1.0 }) as f32
            };
            let values: Vec<f32> = spread.iter().map(value).collect();
            let scale = f16_scale([values.as_slice()].into_iter());
            let mut bytes = Vec::new();
            prop_assert_eq!(extend_f16(&values, scale, &mut bytes), Clipped::default());
            for (value, read) in values.iter().zip(read(&bytes, scale)) {
                prop_assert!((read / value - 1.0).abs() <= 2f32.powi(-11) * 1.0001, "{} for {}", read, value);
            }
        }

        /// Any bits at all: what is counted is what happened, and nothing finite becomes infinite.
        #[test]
        fn what_is_lost_is_counted(bits in prop::collection::vec(any::<u32>(), 0..2000), exponent in -126i32..=126) {
            let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let own = f16_scale([values.as_slice()].into_iter());
            for scale in [own, 2f32.powi(exponent)] {
                let mut bytes = Vec::new();
                let clipped = extend_f16(&values, scale, &mut bytes);
                let stored = read(&bytes, 1.0);
                let low = values.iter().zip(&stored).filter(|(v, s)| **v != 0.0 && **s == 0.0).count() as u64;
                let high = values.iter().zip(&stored).filter(|(v, s)| v.is_finite() && s.is_infinite()).count() as u64;
                prop_assert_eq!(clipped, Clipped { low, high });
                prop_assert!(scale.to_bits() != own.to_bits() || high == 0);
            }
        }
    }
}
