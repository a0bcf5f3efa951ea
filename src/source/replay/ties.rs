//! Coordinates by tie points: values at some indices, and straight lines between them. Two that follow each other directly
//! are the two sides of a jump.
//!
//! Pure.

/// A coordinate of at least one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ties<T>(Vec<(u64, T)>);

impl<T: Copy> Ties<T> {
    /// Values at indices from 0 to `len - 1`.
    ///
    /// # Errors
    /// When indices and values are not as many, or indices do not rise from the first to the last.
    pub(super) fn new(indices: &[f64], values: &[T], len: u64) -> Result<Self, String> {
        if indices.len() != values.len() {
            return Err(format!("{} tie points have {} values", indices.len(), values.len()));
        }
        let wrong = || format!("tie points should rise from 0 to {}", len.saturating_sub(1));
        // Below 2^53 doubles are whole numbers exactly.
        if !indices.iter().all(|at| (0.0..9e15).contains(at) && at.fract() == 0.0) {
            return Err(wrong());
        }
        let points: Vec<(u64, T)> = indices.iter().map(|&at| at as u64).zip(values.iter().copied()).collect();
        let ends = points.first().map(|point| point.0).zip(points.last().map(|point| point.0 + 1));
        if ends != Some((0, len)) || points.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(wrong());
        }
        Ok(Self(points))
    }

    /// Hands all values on in their order; `between(a, b, k, n)` is the value `k` of `n` steps from `a` to `b`.
    fn each(&self, between: impl Fn(T, T, u64, u64) -> T, sink: &mut dyn FnMut(T)) {
        for pair in self.0.windows(2) {
            let ((from, a), (to, b)) = (pair[0], pair[1]);
            (0..to - from).for_each(|k| sink(between(a, b, k, to - from)));
        }
        if let Some(&(_, last)) = self.0.last() {
            sink(last);
        }
    }
}

impl Ties<f64> {
    /// All values.
    pub(super) fn all(&self) -> Vec<f64> {
        let mut all = Vec::new();
        self.each(|a, b, k, n| a + (b - a) * (k as f64 / n as f64), &mut |value| all.push(value));
        all
    }
}

impl Ties<i64> {
    /// Hands all values on, some at a time, each to the nearest whole number.
    pub(super) fn pass(&self, sink: &mut dyn FnMut(&[i64])) {
        let mut together = Vec::with_capacity(1024);
        let between = |a: i64, b: i64, k: u64, n: u64| {
            let (way, k, n) = (i128::from(b) - i128::from(a), i128::from(k), i128::from(n.max(1)));
            // Between two values of 64 bits lie only such.
            (i128::from(a) + (2 * way * k + n * way.signum()) / (2 * n)) as i64
        };
        self.each(between, &mut |value| {
            together.push(value);
            if together.len() == together.capacity() {
                sink(&together);
                together.clear();
            }
        });
        if !together.is_empty() {
            sink(&together);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tie_points_that_are_none_are_refused() {
        for (indices, len) in [
            (&[0.0, 5.0][..], 7),
            (&[1.0, 6.0], 7),
            (&[0.0, 6.0, 6.0], 7),
            (&[0.0, 0.5, 6.0], 7),
            (&[f64::NAN, 6.0], 7),
            (&[], 0),
        ] {
            let values = vec![0i64; indices.len()];
            assert!(Ties::new(indices, &values, len).is_err(), "{indices:?}");
        }
        assert!(Ties::new(&[0.0], &[1i64, 2], 1).is_err());
        assert!(Ties::new(&[0.0], &[1i64], 1).is_ok(), "one value");
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_line(
            steps in prop::collection::vec((1u64..3000, any::<i64>()), 1..6), first in any::<i64>(),
        ) {
            let mut points = vec![(0u64, first)];
            for (step, value) in steps {
                points.push((points[points.len() - 1].0 + step, value));
            }
            let indices: Vec<f64> = points.iter().map(|point| point.0 as f64).collect();
            let values: Vec<i64> = points.iter().map(|point| point.1).collect();
            let len = points[points.len() - 1].0 + 1;
            let ties = Ties::new(&indices, &values, len).map_err(TestCaseError::fail)?;
            let mut all = Vec::new();
            ties.pass(&mut |some| all.extend_from_slice(some));
            prop_assert_eq!(all.len() as u64, len);
            for (at, &found) in all.iter().enumerate() {
                let behind = points.iter().position(|point| point.0 >= at as u64).unwrap();
                let (from, to) = (points[behind.saturating_sub(1)], points[behind]);
                // Twice the value times the steps, so that halves are whole.
                let n = i128::from((to.0 - from.0).max(1));
                let way = i128::from(to.1) - i128::from(from.1);
                let exact = i128::from(from.1) * n + way * i128::from(at as u64 - from.0);
                prop_assert!(2 * (i128::from(found) * n - exact).abs() <= n, "value {at}: {found}");
            }
        }
    }
}
