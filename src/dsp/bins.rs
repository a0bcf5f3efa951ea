//! Bins of a spectrum: `f_k = k · PRR / nfft`, `k = 0 … nfft/2`.

use std::ops::Range;

/// Relative slack at the edges of a range: a limit written as a decimal must not lose its bin to the last digit of a
/// double, and no bin is nearer to another than 2⁻²⁰ of the highest frequency.
const EDGE_SLACK: f64 = 1e-9;

/// Frequency of bin `k` in Hz.
pub fn bin_hz(k: usize, prr_hz: f64, nfft: usize) -> f64 {
    k as f64 * prr_hz / nfft as f64
}

/// The bins from `min_hz` to `max_hz`, both ends included, as a half-open range; empty when none lies there.
pub fn bins_in_range(min_hz: f64, max_hz: f64, prr_hz: f64, nfft: usize) -> Range<usize> {
    let bins = nfft / 2 + 1;
    let position = |hz: f64| hz * nfft as f64 / prr_hz;
    let slack = |x: f64| EDGE_SLACK * x.abs().max(1.0);
    let (low, high) = (position(min_hz), position(max_hz));
    // Casts of negative numbers and NaN give 0, of large ones the maximum: both are then cut to the bins that exist.
    let first = (low - slack(low)).ceil().max(0.0) as usize;
    let behind = if high >= 0.0 { ((high + slack(high)).floor() as usize).saturating_add(1).min(bins) } else { 0 };
    first.min(behind)..behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_written_as_decimals_are_included() {
        assert_eq!(bins_in_range(0.1, 0.3, 1.0, 10), 1..4);
        assert_eq!(bins_in_range(0.0, 1000.0, 2000.0, 256), 0..129);
        assert_eq!(bins_in_range(5.0, 200.0, 2000.0, 256), 1..26);
        // 3217.8 / 1000 · 7 = 22.5246, 3217.8 / 1000 · 35 = 112.623.
        assert_eq!(bins_in_range(22.5246, 112.623, 3217.8, 1000), 7..36);
        assert!(bins_in_range(5.1, 5.2, 2000.0, 256).is_empty());
        assert!(bins_in_range(-5.0, -1.0, 2000.0, 256).is_empty());
        assert!(bins_in_range(1500.0, 9000.0, 2000.0, 256).is_empty());
        assert!(bins_in_range(f64::NAN, f64::NAN, 2000.0, 256).is_empty());
    }

    proptest! {
        #[test]
        fn the_range_holds_exactly_the_frequencies_between_its_ends(
            nfft in (2usize..600).prop_map(|n| 2 * n), prr in 1.0f64..1e5, a in 0.0f64..0.6, b in 0.0f64..0.6,
        ) {
            let (low, high) = (a.min(b) * prr, a.max(b) * prr);
            let got = bins_in_range(low, high, prr, nfft);
            let inside = |k: &usize| (low..=high).contains(&bin_hz(*k, prr, nfft));
            let expected: Vec<_> = (0..=nfft / 2).filter(inside).collect();
            prop_assert_eq!(got.collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_range_from_bin_to_bin_includes_both(
            nfft in (2usize..600).prop_map(|n| 2 * n), prr in 1.0f64..1e5, a in 0usize..600, b in 0usize..600,
        ) {
            let (first, last) = (a.min(b).min(nfft / 2), a.max(b).min(nfft / 2));
            let got = bins_in_range(bin_hz(first, prr, nfft), bin_hz(last, prr, nfft), prr, nfft);
            prop_assert_eq!(got, first..last + 1);
        }
    }
}
