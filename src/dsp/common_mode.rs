//! Common mode: what all channels of a trace share (the interrogator's own phase noise, a knock at its table).
//!
//! It needs one number from a whole trace, so it is the one step that joins the tiles: all tiles are conditioned, the
//! pipeline computes an offset for each trace from all of them, and each tile subtracts the offsets.

/// What is subtracted from all channels of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CommonMode {
    /// Nothing.
    #[default]
    Keep,
    /// The mean over channels.
    Mean,
    /// The median over channels; of an even number, the mean of the two in the middle.
    Median,
}

/// The offset of one trace whose channels come in `pieces`, one slice from each tile. `scratch` is work space; give it
/// the capacity of a whole trace once, and nothing is allocated here. Zero for an empty trace.
pub fn common_mode<'a>(mode: CommonMode, pieces: impl IntoIterator<Item = &'a [f64]>, scratch: &mut Vec<f64>) -> f64 {
    match mode {
        CommonMode::Keep => 0.0,
        CommonMode::Mean => mean(pieces),
        CommonMode::Median => {
            scratch.clear();
            pieces.into_iter().for_each(|piece| scratch.extend_from_slice(piece));
            median(scratch)
        }
    }
}

fn mean<'a>(pieces: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    // Four partial sums: short enough a chain to keep up.
    let (mut sums, mut count) = ([0.0f64; 4], 0);
    for piece in pieces {
        let (fours, rest) = piece.as_chunks::<4>();
        for four in fours {
            sums.iter_mut().zip(four).for_each(|(sum, &x)| *sum += x);
        }
        sums.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += x);
        count += piece.len();
    }
    if count == 0 { 0.0 } else { sums.iter().sum::<f64>() / count as f64 }
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = !values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn offsets_are_those_of_the_definition_however_the_trace_is_cut(
            values in prop::collection::vec(-1e3f64..1e3, 1..200), cut in 0usize..200,
        ) {
            let (a, b) = values.split_at(cut.min(values.len()));
            let mut scratch = vec![7.0; 3];
                        for mode in [CommonMode::Mean, CommonMode::Median] {
                let got = common_mode(mode, [a, b], &mut scratch);
                let expected = crate::dsp::naive::common_mode(mode, &values);
                prop_assert!((got - expected).abs() < 1e-9, "{mode:?}: {got} for {expected}");
            }
        }
    }

    #[test]
    fn nothing_is_its_own_offset() {
        for mode in [CommonMode::Keep, CommonMode::Mean, CommonMode::Median] {
            assert!(common_mode(mode, [], &mut Vec::new()).abs() < f64::MIN_POSITIVE);
        }
    }
}
