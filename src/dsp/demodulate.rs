//! Raw optical field to phase: atan2 of each complex sample, and unwrapping along time.
//!
//! The unwrapped phase of a channel grows without bound, so it is never added up in floats: it is kept as the present
//! phase in −π … π and a whole number of turns, both exact however long the run.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// Phases, and turns since the first trace, of some channels.
pub(super) struct Unwrapper {
    before: Vec<f32>,
    turns: Vec<i32>,
    primed: bool,
}

impl Unwrapper {
    pub(super) fn new(channels: usize) -> Self {
        Self { before: vec![0.0; channels], turns: vec![0; channels], primed: false }
    }

    pub(super) fn reset(&mut self) {
        self.primed = false;
    }

    /// The phase of the trace taken last, −π … π.
    pub(super) fn phase(&self) -> &[f32] {
        &self.before
    }

    /// Whole turns to be added to [`phase`](Self::phase). Only differences mean anything; they wrap like integers do.
    pub(super) fn turns(&self) -> &[i32] {
        &self.turns
    }

    /// Takes the phases of the next trace and replaces them by their change since the trace before, −π … π; zero for
    /// the first trace.
    pub(super) fn step(&mut self, phases: &mut [f32]) {
        if !self.primed {
            self.before.copy_from_slice(phases);
            self.turns.fill(0);
            self.primed = true;
        }
        for ((now, before), turns) in phases.iter_mut().zip(&mut self.before).zip(&mut self.turns) {
            let change = *now - *before;
            *before = *now;
            let turn = i32::from(change < -PI) - i32::from(change > PI);
            *turns = turns.wrapping_add(turn);
            *now = change + turn as f32 * TAU;
        }
    }
}

/// Phase of `re + i·im` in −π … π; 0 for 0 + 0i. Error below 4e-7 rad, a hundredth of the step of a full-scale 16-bit
/// sample. No branches, so that loops over channels vectorise.
#[inline]
pub(super) fn atan2(im: f32, re: f32) -> f32 {
    // Minimax for atan(t) / t in t² on 0 … 1, error 4e-8.
    const C: [f32; 8] = [
        0.999_999_34,
        -0.333_298_6,
        0.199_465_66,
        -0.139_086_3,
        0.096_421_97,
        -0.055_912_327,
        0.021_862_958,
        -0.004_054_567,
    ];
    let (x, y) = (re.abs(), im.abs());
    let (low, high) = if x < y { (x, y) } else { (y, x) };
    let t = low / if high > 0.0 { high } else { 1.0 };
    let t2 = t * t;
    let even = ((C[7] * t2 + C[6]) * t2 + C[5]) * t2 + C[4];
    let first_octant = (((even * t2 + C[3]) * t2 + C[2]) * t2 + C[1]) * t2 * t + C[0] * t;
    let quadrant = if x < y { FRAC_PI_2 - first_octant } else { first_octant };
    let half_plane = if re < 0.0 { PI - quadrant } else { quadrant };
    if im < 0.0 { -half_plane } else { half_plane }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn atan2_is_right_to_the_stated_error(re: i16, im: i16) {
            let expected = f64::from(im).atan2(f64::from(re));
            let got = f64::from(atan2(f32::from(im), f32::from(re)));
            prop_assert!((got - expected).abs() < 4e-7, "{got} for {expected}");
        }
    }

    #[test]
    fn axes_and_nothing() {
        let cases = [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, FRAC_PI_2), (0.0, -1.0, PI), (-1.0, 0.0, -FRAC_PI_2)];
        for (im, re, expected) in cases {
            assert!((atan2(im, re) - expected).abs() < 4e-7, "{im} {re}");
        }
    }

    #[test]
    fn a_month_of_turns_in_one_direction_loses_nothing() {
        let mut unwrapper = Unwrapper::new(2);
        // Channel 0 stands still at 0.5; channel 1 has made 2³¹ − 2 turns and makes four more.
        unwrapper.step(&mut [0.5, 0.5]);
        unwrapper.turns[0] = i32::MAX - 1;
        unwrapper.turns[1] = i32::MAX - 1;
        for step in 1..=8 {
            let phase = 0.5 + step as f32 * FRAC_PI_2;
            let wrapped = phase - TAU * (phase / TAU).round();
            let mut row = [0.5, wrapped];
            unwrapper.step(&mut row);
            assert!((row[1] - FRAC_PI_2).abs() < 1e-6);
        }
        let turns = unwrapper.turns()[1].wrapping_sub(unwrapper.turns()[0]);
        assert_eq!(turns, 2);
        assert!((unwrapper.phase()[1] - unwrapper.phase()[0]).abs() < 2e-6);
    }
}
