//! Samples that stand so far from zero that single precision would lose the signal on them: what each channel has in its
//! first trace is taken off before they are narrowed.
//!
//! Pure. It is decided by the first traces of a file, once: a level that changed on the way would be a step in the data.

/// Traces that are looked at.
pub(super) const LOOKED_AT: usize = 64;

/// By so much of the spread of a channel samples may be off before its level is taken off: 12 bits of them are kept.
const MOST_OFF: f64 = 1.0 / 4096.0;

/// The level of each channel, from its first traces, `[trace][channel]`; `None` when narrowing loses nothing that matters.
pub(super) fn levels(values: &[f64], channels: usize) -> Option<Vec<f64>> {
    let traces = values.len().checked_div(channels).filter(|traces| *traces > 1)?;
    let is_off = |channel: usize| {
        let (mut smallest, mut largest, mut off) = (f64::INFINITY, f64::NEG_INFINITY, 0f64);
        for value in (0..traces).map(|trace| values[trace * channels + channel]).filter(|value| value.is_finite()) {
            (smallest, largest) = (smallest.min(value), largest.max(value));
            off = off.max((f64::from(value as f32) - value).abs());
        }
        off > MOST_OFF * (largest - smallest) && largest > smallest
    };
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    (0..channels).any(is_off).then(|| values[..channels].iter().map(|&value| finite(value)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_narrowed_keeps_the_signal(
            level in -1e15..1e15f64, size in 1e-3..1e6f64, channels in 1usize..6, seed in 1u64..1000,
        ) {
            let signal = |i: usize| size * ((i as u64 * 7919 + seed * 104_729) % 1000) as f64 / 1000.0;
            // A double holds no more than this either.
            prop_assume!(level.abs() < size * 1e9);
            let values: Vec<f64> = (0..LOOKED_AT * channels).map(|i| level + signal(i)).collect();
            let taken = levels(&values, channels);
            for (i, &value) in values.iter().enumerate() {
                let (c, first) = (i % channels, values[i % channels]);
                let base = taken.as_ref().map_or(0.0, |levels| levels[c]);
                let kept = f64::from((value - base) as f32) - f64::from((first - base) as f32);
                prop_assert!((kept - (value - first)).abs() <= size * 2.1 * MOST_OFF, "{kept} for {}", value - first);
            }
        }
    }

    #[test]
    fn what_single_precision_holds_is_left_as_it_is() {
        assert_eq!(levels(&[16_777_215.0, 0.0, 16_777_214.0, 1.0], 2), None);
        assert_eq!(levels(&[1e9, 1e9], 1), None, "a dead channel");
        assert_eq!(levels(&[f64::NAN, 1e9 + 1.0, f64::NAN, 1e9 + 4.0], 2), Some(vec![0.0, 1e9 + 1.0]));
        assert_eq!(levels(&[1.0], 1), None);
        assert_eq!(levels(&[], 0), None);
    }
}
