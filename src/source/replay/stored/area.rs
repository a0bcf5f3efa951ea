//! Windows of arrays, and the runs of values in them that stand one after the other.

/// A box within an array: where it begins and how many values there are, in every dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) from: Vec<u64>,
    pub(crate) count: Vec<u64>,
}

impl Area {
    /// All of an array.
    pub(crate) fn whole(shape: &[u64]) -> Self {
        Self { from: vec![0; shape.len()], count: shape.to_vec() }
    }

    /// Part of the first dimension, and all of the others.
    pub(crate) fn rows(shape: &[u64], first: u64, rows: u64) -> Self {
        let mut area = Self::whole(shape);
        if let (Some(from), Some(count)) = (area.from.first_mut(), area.count.first_mut()) {
            (*from, *count) = (first, rows);
        }
        area
    }

    pub(super) fn is_within(&self, shape: &[u64]) -> bool {
        let dimensions = self.from.iter().zip(&self.count).zip(shape);
        self.from.len() == shape.len()
            && self.count.len() == shape.len()
            && dimensions
                .into_iter()
                .all(|((from, count), size)| from.checked_add(*count).is_some_and(|end| end <= *size))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.contains(&0)
    }

    /// What two boxes share.
    pub(super) fn shared(&self, other: &Self) -> Self {
        let ends = |area: &Self, d: usize| area.from[d].saturating_add(area.count[d]);
        let from: Vec<u64> = self.from.iter().zip(&other.from).map(|(a, b)| *a.max(b)).collect();
        let count = (0..from.len()).map(|d| ends(self, d).min(ends(other, d)).saturating_sub(from[d])).collect();
        Self { from, count }
    }

    /// Place of a value, which lies within, when values are counted row by row.
    fn index(&self, position: &[u64]) -> u64 {
        let dimensions = position.iter().zip(&self.from).zip(&self.count);
        dimensions.fold(0, |index, ((at, from), count)| index * count + (at - from))
    }
}

/// Values in an array; `None` when there are more than can be counted.
pub(crate) fn product(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1, |n: u64, &d| n.checked_mul(d))
}

/// Every run of values of `part` that stands in one piece both in `array` and in `window`, which both contain it: where
/// it begins in the array, where in the window, and its length.
pub(super) fn runs(
    part: &Area,
    array: &Area,
    window: &Area,
    each: &mut dyn FnMut(u64, usize, usize) -> Result<(), String>,
) -> Result<(), String> {
    let rank = part.count.len();
    let full = |d: usize| part.count[d] == array.count[d] && part.count[d] == window.count[d];
    // Dimensions from `inner` on are one run.
    let mut inner = rank.saturating_sub(1);
    while inner > 0 && full(inner) {
        inner -= 1;
    }
    let len = part.count[inner.min(rank)..].iter().product::<u64>() as usize;
    let mut position = part.from.clone();
    loop {
        each(array.index(&position), window.index(&position) as usize, len)?;
        // The next in the dimensions before, the last of them first.
        let mut d = inner;
        loop {
            if d == 0 {
                return Ok(());
            }
            d -= 1;
            position[d] += 1;
            if position[d] < part.from[d] + part.count[d] {
                break;
            }
            position[d] = part.from[d];
        }
    }
}
