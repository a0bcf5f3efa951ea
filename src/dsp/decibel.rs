//! Decibels of a row of powers by exponent and polynomial, so that the loop vectorises.

/// 10·log10(2): dB in one octave of power.
const DB_PER_OCTAVE: f64 = 3.010_299_956_639_812;

/// Bits of √½: mantissas are folded into √½ … √2, where the polynomial is most accurate.
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// `p ← 10·log10(max(p · factor, f32::MIN_POSITIVE) / reference)` for each value. Error below 0.001 dB.
pub(super) fn power_to_decibel(powers: &mut [f32], factor: f32, reference: f64) {
    let reference_db = (10.0 * reference.log10()) as f32;
    for p in powers {
        *p = log2(*p * factor) * DB_PER_OCTAVE as f32 - reference_db;
    }
}

/// log2 of `max(x, f32::MIN_POSITIVE)`; NaN counts as zero power. Error below 1e-5 of an octave.
#[inline]
fn log2(x: f32) -> f32 {
    // Minimax for log2(1 + f) / f on √½ − 1 … √2 − 1.
    const C: [f32; 6] = [1.442_713_5, -0.721_131_86, 0.479_348_03, -0.367_490_04, 0.322_154_7, -0.206_591_33];
    let x = if x > f32::MIN_POSITIVE { x } else { f32::MIN_POSITIVE };
    let bits = x.to_bits() as i32;
    let exponent = (bits - SQRT_HALF_BITS) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let polynomial = ((((C[5] * f + C[4]) * f + C[3]) * f + C[2]) * f + C[1]) * f + C[0];
    exponent as f32 + f * polynomial
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decibel(p: f32, reference: f64) -> f32 {
        let mut one = [p];
        power_to_decibel(&mut one, 1.0, reference);
        one[0]
    }

    #[test]
    fn nothing_and_nonsense_give_the_floor() {
        let floor = 10.0 * f64::from(f32::MIN_POSITIVE).log10();
        for p in [0.0, 1e-45, -1.0, f32::NAN] {
            assert!((f64::from(decibel(p, 1.0)) - floor).abs() < 1e-3, "{p}");
        }
        assert!(decibel(f32::INFINITY, 1.0) > 380.0);
        assert!(decibel(1.0, 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn decibels_are_right_to_a_thousandth(bits in 0x0080_0000u32..0x7f80_0000, reference in 1e-12f64..1e12) {
            let p = f32::from_bits(bits);
            let expected = 10.0 * (f64::from(p) / reference).log10();
            prop_assert!((f64::from(decibel(p, reference)) - expected).abs() < 1e-3);
        }
    }
}
