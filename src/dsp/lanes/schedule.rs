//! What a lane kernel does for one window length, worked out before data flows: passes, twiddles, and where each bin's
//! power ends up. The same for all instruction sets.
//!
//! A real transform of `N` is made of one pass that loads the samples and takes three levels at once,
//! ```text
//! real N ──► complex N/8 (bins 8q+2), complex N/8 (8q+1), complex N/8 (8q+5), real N/4 (bins 4q)
//! ```
//! the same again for the real part until 4 or 2 are left, and complex transforms by fours, in place, ending in
//! butterflies of 8, 4, 2 or 1 whose outputs become powers at once. Bins come out in the order of these last butterflies;
//! nobody ever sorts them, whoever wants bin `k` reads at [`Schedule::position`]. A last butterfly's outputs lie evenly
//! over the whole frequency axis, so that a range of bins (say below PRR/4) needs some of its outputs only, the same
//! ones everywhere: the others are never computed.

use std::f64::consts::TAU;
use std::ops::Range;

use super::butterfly::{Pairs, Twiddles};

/// Complex numbers that a pass works through at once: 64 bytes each with eight lanes, so that half of a first-level
/// cache holds them.
const BREADTH: usize = 128;

/// Window coefficients of the eight samples of a butterfly of the first pass, then its twiddles.
#[derive(Clone, Copy)]
pub(super) struct FirstRow {
    pub(super) window: [f32; 8],
    pub(super) twiddles: Twiddles,
}

/// A pass over real numbers that earlier passes left: `8 × twiddles.len()` numbers at `from` in the real memory, to the
/// numbers behind them and three complex transforms at `to`.
pub(super) struct RealPass {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) twiddles: Vec<Twiddles>,
}

/// What is left of the real numbers: a transform of `len` (2 or 4) at `from`.
pub(super) struct RealEnd {
    pub(super) from: usize,
    pub(super) len: usize,
    pub(super) position: usize,
}

/// A step of the complex transforms.
pub(super) enum Step {
    /// Butterflies of four in place: transforms of `4 × twiddles[table].len()` in the range.
    Four {
        /// Complex numbers.
        range: Range<usize>,
        /// Which table of [`Schedule::tables`].
        table: usize,
    },
    /// Last butterflies of `radix` over the range; powers go to `position` and behind.
    Last {
        /// Complex numbers.
        range: Range<usize>,
        /// 8, 4, 2 or 1.
        radix: usize,
        /// Which outputs are stored.
        pairs: Pairs,
        /// Where the first power goes.
        position: usize,
    },
}

/// A bin next to the constant, where the window function has a line of its own: what it is the sum of, last of all.
pub(super) struct Peak {
    /// The complex numbers of the last butterfly that it comes out of.
    pub(super) range: Range<usize>,
    /// What each is turned by, `[cos, sin]`.
    pub(super) turns: Vec<[f32; 2]>,
    /// Where the power goes.
    pub(super) position: usize,
    /// The line of the window function.
    pub(super) weight: f32,
}

/// Bins that the spectrum of a window function has at most, the constant included.
pub(in crate::dsp) const MOST_PEAKS: usize = 4;

/// See the module.
pub(in crate::dsp) struct Schedule {
    nfft: usize,
    /// The line that the window function has in the bin of the constant, and those next to it that are needed.
    pub(super) constant: f32,
    pub(super) peaks: Vec<Peak>,
    pub(super) first: Vec<FirstRow>,
    pub(super) real: Vec<RealPass>,
    pub(super) real_end: RealEnd,
    pub(super) steps: Vec<Step>,
    pub(super) tables: Vec<Vec<Twiddles>>,
    /// Length of the work space, complex and real numbers.
    pub(super) complex_len: usize,
    pub(super) real_len: usize,
    /// By bin; `u32::MAX` where none was asked for and none is computed.
    positions: Vec<u32>,
    stored: usize,
}

impl Schedule {
    /// Shortest window that the kernel takes.
    pub(in crate::dsp) const MIN_NFFT: usize = 16;

    /// For windows of `window.len()` traces, a power of two, of a window function that has the spectrum `lines` from the
    /// constant on; `needed` says which bins are wanted.
    pub(in crate::dsp) fn new(window: &[f32], lines: &[f64], needed: impl Fn(usize) -> bool) -> Self {
        let nfft = window.len();
        assert!(nfft.is_power_of_two() && nfft >= Self::MIN_NFFT, "a lane kernel for {nfft} traces");
        let mut making = Making {
            needed: (0..=nfft / 2).map(needed).collect(),
            nfft,
            steps: Vec::new(),
            tables: Vec::new(),
            positions: vec![u32::MAX; nfft / 2 + 1],
            stored: 0,
            lines: lines.iter().map(|&line| line as f32).collect(),
            peaks: Vec::new(),
        };
        assert!((1..=MOST_PEAKS).contains(&lines.len()), "a window function of {} lines", lines.len());
        let eighth = nfft / 8;
        let row = |n| FirstRow {
            window: std::array::from_fn(|j| window[n + j * eighth]),
            twiddles: twiddles([2 * n, n, 5 * n], nfft),
        };
        making.three(0, eighth, 1);
        let (mut from, mut len, mut stride) = (0, nfft / 4, 4);
        let (mut real, mut complex_len) = (Vec::new(), 3 * eighth);
        while len > 4 {
            let table = (0..len / 8).map(|n| twiddles([2 * n, n, 5 * n], len)).collect();
            real.push(RealPass { from, to: complex_len, twiddles: table });
            making.three(complex_len, len / 8, stride);
            complex_len += 3 * (len / 8);
            from += len;
            len /= 4;
            stride *= 4;
        }
        let real_end = RealEnd { from, len, position: making.stored };
        let ends: &[usize] = if len == 4 { &[0, nfft / 4, nfft / 2] } else { &[0, nfft / 2] };
        for &bin in ends {
            making.store(bin);
        }
        let Making { steps, tables, positions, stored, lines, peaks, .. } = making;
        let constant = lines[0];
        let first = (0..eighth).map(row).collect();
        let real_len = from + len;
        Self { nfft, constant, peaks, first, real, real_end, steps, tables, complex_len, real_len, positions, stored }
    }

    /// Window length in traces.
    pub(in crate::dsp) const fn nfft(&self) -> usize {
        self.nfft
    }

    /// Powers that a transform stores, a vector of channels each.
    pub(in crate::dsp) const fn stored(&self) -> usize {
        self.stored
    }

    /// Where the power of `bin` is stored.
    ///
    /// # Panics
    /// When the bin is not needed by what the schedule was made for.
    pub(in crate::dsp) fn position(&self, bin: usize) -> u32 {
        let position = self.positions[bin];
        assert!(position != u32::MAX, "bin {bin} is among those that were asked for");
        position
    }
}

/// A schedule in the making.
struct Making {
    needed: Vec<bool>,
    nfft: usize,
    steps: Vec<Step>,
    tables: Vec<Vec<Twiddles>>,
    positions: Vec<u32>,
    stored: usize,
    lines: Vec<f32>,
    peaks: Vec<Peak>,
}

impl Making {
    fn store(&mut self, bin: usize) {
        self.positions[bin] = self.stored as u32;
        self.stored += 1;
    }

    /// The three complex transforms of `len` that a real pass leaves at `at`; its own bins are `stride` apart.
    fn three(&mut self, at: usize, len: usize, stride: usize) {
        for (i, residue) in [2, 1, 5].into_iter().enumerate() {
            self.complex(at + i * len, len, Bins { first: residue * stride, step: 8 * stride });
        }
    }

    /// A complex transform of `len` at `at`: depth first while it is larger than the cache likes, then breadth first.
    fn complex(&mut self, at: usize, len: usize, bins: Bins) {
        if !(0..len).any(|q| self.needed[bins.folded(q, self.nfft)]) {
            return;
        }
        if len > BREADTH {
            self.fours(at, len, len);
            bins.split().enumerate().for_each(|(r, bins)| self.complex(at + r * (len / 4), len / 4, bins));
            return;
        }
        let (mut size, mut parts) = (len, vec![bins]);
        while size > 8 {
            self.fours(at, len, size);
            parts = parts.iter().flat_map(Bins::split).collect();
            size /= 4;
        }
        self.last(at, size, &parts);
    }

    fn fours(&mut self, at: usize, len: usize, size: usize) {
        let known = self.tables.iter().position(|t| 4 * t.len() == size);
        let table = known.unwrap_or_else(|| {
            self.tables.push((0..size / 4).map(|n| twiddles([n, 2 * n, 3 * n], size)).collect());
            self.tables.len() - 1
        });
        self.steps.push(Step::Four { range: at..at + len, table });
    }

    /// Keeps where `bin` comes from, output `j` of a last butterfly of these numbers, if the window function has a line there.
    fn peak(&mut self, bin: usize, range: Range<usize>, j: usize) {
        let Some(&weight) = self.lines.get(bin) else { return };
        let radix = range.len();
        let turn = |m: usize| {
            let (sin, cos) = (-TAU * (j * m % radix) as f64 / radix as f64).sin_cos();
            [cos as f32, sin as f32]
        };
        self.peaks.push(Peak { turns: (0..radix).map(turn).collect(), range, position: self.stored, weight });
    }

    /// The last butterflies, neighbours that need anything together.
    fn last(&mut self, at: usize, radix: usize, parts: &[Bins]) {
        let wanted = |bins: &Bins, j: usize| self.needed[bins.folded(j, self.nfft)];
        let pairs = (0..radix.div_ceil(2))
            .filter(|&j| parts.iter().any(|bins| wanted(bins, j) || wanted(bins, radix - 1 - j)))
            .fold(0, |pairs, j| pairs | 1 << j);
        // Kernels exist for all outputs, for those below PRR/4 and for those below PRR/8.
        let pairs = match (radix, pairs) {
            (8, 0b0001) | (4, 0b01) => 0b0001,
            (8, 0b0010 | 0b0011) | (4, _) => 0b0011,
            (8, _) => 0b1111,
            _ => 1,
        };
        let useful: Vec<bool> = parts.iter().map(|bins| (0..radix).any(|j| wanted(bins, j))).collect();
        let mut begin = 0;
        for run in useful.chunk_by(|a, b| a == b) {
            let range = begin..begin + run.len();
            begin = range.end;
            if !run[0] {
                continue;
            }
            self.steps.push(Step::Last {
                range: at + radix * range.start..at + radix * range.end,
                radix,
                pairs,
                position: self.stored,
            });
            for (number, bins) in range.clone().zip(&parts[range]) {
                for j in (0..radix).filter(|&j| pairs & (1 << j.min(radix - 1 - j)) != 0) {
                    let bin = bins.folded(j, self.nfft);
                    self.peak(bin, at + radix * number..at + radix * (number + 1), j);
                    self.store(bin);
                }
            }
        }
    }
}

/// The bins of a complex transform within the whole: `first + step·q`.
#[derive(Clone, Copy)]
struct Bins {
    first: usize,
    step: usize,
}

impl Bins {
    /// The four transforms that a pass of fours leaves.
    fn split(&self) -> impl Iterator<Item = Self> + use<> {
        let Self { first, step } = *self;
        (0..4).map(move |r| Self { first: first + step * r, step: 4 * step })
    }

    /// Bin of output `q`; those above the middle are conjugates of those below, with the same power.
    fn folded(&self, q: usize, nfft: usize) -> usize {
        let bin = (self.first + self.step * q) % nfft;
        bin.min(nfft - bin)
    }
}

/// `exp(−2πi·e/len)` for three exponents, in f64 until the end.
fn twiddles(exponents: [usize; 3], len: usize) -> Twiddles {
    let [a, b, c] = exponents.map(|e| (-TAU * (e % len) as f64 / len as f64).sin_cos());
    [a.1, a.0, b.1, b.0, c.1, c.0].map(|x| x as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needed_bin_has_one_place_and_no_place_has_two() {
        for exponent in 4..=12 {
            let nfft = 1usize << exponent;
            for range in [0..nfft / 2 + 1, 0..1, 1..nfft / 8, 1..nfft / 4 + 1, nfft / 3..nfft / 2, 5..6] {
                let schedule = Schedule::new(&vec![1.0; nfft], &[nfft as f64], |bin| range.contains(&bin));
                let mut places: Vec<_> = range.map(|bin| schedule.position(bin)).collect();
                places.sort_unstable();
                assert!(places.windows(2).all(|p| p[0] < p[1]), "nfft {nfft}");
                assert!(places.iter().all(|&p| (p as usize) < schedule.stored()));
            }
        }
    }

    #[test]
    fn a_low_band_costs_a_part_of_the_last_butterflies() {
        let stored = |high| Schedule::new(&[1.0; 1024], &[1024.0], |bin| bin < high).stored();
        assert_eq!(stored(513), 513);
        assert!(stored(256) < 300, "{}", stored(256));
        assert!(stored(128) < 170, "{}", stored(128));
    }
}
