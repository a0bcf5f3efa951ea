//! Arithmetic that gives the same bits on every machine: hashing, a sine, seeded Gaussian numbers.
//!
//! The platform's `sin` and fused multiply-adds may differ in the last bit from one machine to the next; fixtures are
//! compared by checksum. Only additions, multiplications and square roots are used here, which IEEE 754 fixes exactly.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Mixes `seed` and two counters into 64 bits that look random (the finaliser of `SplitMix64`, applied twice).
pub(super) const fn hash(seed: u64, a: u64, b: u64) -> u64 {
    mix(mix(seed ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15)) ^ b.wrapping_mul(0xD1B5_4A32_D192_ED03))
}

const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in [0, 1) from 64 hashed bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// `sin(2π · turns)`, error below 1e-12.
pub(super) fn sin_turns(turns: f64) -> f64 {
    // Into [-1/4, 1/4]: the sine of the rest is the same by symmetry about a quarter turn.
    let x = turns - (turns + 0.5).floor();
    let x = if x > 0.25 {
        0.5 - x
    } else if x < -0.25 {
        -0.5 - x
    } else {
        x
    };
    let y = x * std::f64::consts::TAU;
    let y2 = y * y;
    // Taylor to y^17: the next term is (π/2)^19/19! = 4e-14.
    let mut sum = 1.0;
    for n in (1..=8u32).rev() {
        sum = 1.0 - sum * y2 / f64::from(2 * n * (2 * n + 1));
    }
    y * sum
}

/// `cos(2π · turns)`, error below 1e-12.
pub(super) fn cos_turns(turns: f64) -> f64 {
    sin_turns(turns + 0.25)
}

/// `len` independent Gaussian numbers of mean 0 and variance 1, corrected to have exactly that over the table.
pub(super) fn gaussian_table(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut table: Vec<f64> = (0..len).map(|_| StandardNormal.sample(&mut rng)).collect();
    normalise(&mut table);
    table
}

/// Makes the mean 0 and the mean square 1.
pub(super) fn normalise(table: &mut [f64]) {
    let count = table.len() as f64;
    let mean = table.iter().sum::<f64>() / count;
    let variance = table.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let gain = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    for x in table {
        *x = (*x - mean) * gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_a_sine() {
        for i in -40_000..40_000 {
            let turns = f64::from(i) * 0.000_317;
            assert!((sin_turns(turns) - (turns * std::f64::consts::TAU).sin()).abs() < 1e-11, "{turns}");
            assert!((cos_turns(turns) - (turns * std::f64::consts::TAU).cos()).abs() < 1e-11, "{turns}");
        }
    }
}
