//! Raw optical field to phase over the gauge length: each channel times the conjugate of the one a gauge length before,
//! the argument of that, and its change from trace to trace.
//!
//! What both ends of the gauge share, noise of the laser and all motion before it, is gone before anything is unwrapped:
//! only what happens within the gauge length has to stay below half a turn a trace. The unwrapped phase grows without
//! bound, so it is never added up in floats: it is kept as the present phase in −π … π and a whole number of turns, both
//! exact however long the run.

// What is not inlined into the entry is compiled without the best instruction set of the machine.
#![allow(clippy::inline_always)]

use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// Phases over the gauge length, and turns since the first trace, of some channels.
pub(super) struct Unwrapper {
    phase: Vec<f32>,
    turns: Vec<f64>,
    /// Since the trace before, −π … π; zero for the first trace.
    change: Vec<f32>,
    primed: bool,
}

impl Unwrapper {
    pub(super) fn new(channels: usize) -> Self {
        Self { phase: vec![0.0; channels], turns: vec![0.0; channels], change: vec![0.0; channels], primed: false }
    }

    pub(super) fn reset(&mut self) {
        self.primed = false;
    }

    /// The phase of the trace taken last, −π … π.
    pub(super) fn phase(&self) -> &[f32] {
        &self.phase
    }

    /// Whole turns to be added to [`phase`](Self::phase).
    pub(super) fn turns(&self) -> &[f64] {
        &self.turns
    }

    /// How the phase changed from the trace before.
    pub(super) fn change(&self) -> &[f32] {
        &self.change
    }

    /// Takes the next trace: as many channels as there are, and `gauge` more. Where either end of the gauge is 0 + 0i
    /// there is no phase, and the one before stands.
    #[inline(always)]
    pub(super) fn take(&mut self, field: &[[i16; 2]], gauge: usize) {
        if !self.primed {
            self.phase.fill(0.0);
            self.turns.fill(0.0);
        }
        let ends = field.iter().zip(&field[gauge..]);
        for ((near, far), (change, before)) in ends.zip(self.change.iter_mut().zip(&self.phase)) {
            let (re, im) = far_by_near(*far, *near);
            let dark = re == 0.0 && im == 0.0;
            *change = if dark { *before } else { atan2(im, re) };
        }
        if !self.primed {
            self.phase.copy_from_slice(&self.change);
            self.primed = true;
        }
        for ((change, phase), turns) in self.change.iter_mut().zip(&mut self.phase).zip(&mut self.turns) {
            let now = *change;
            let step = now - *phase;
            let turn = i32::from(step < -PI) - i32::from(step > PI);
            *phase = now;
            *turns += f64::from(turn);
            *change = step + turn as f32 * TAU;
        }
    }
}

/// `far · conj near`. Products of two samples reach 2³⁰ and their sums 2³¹, one more than `i32` holds; rounded to `f32`
/// they turn the phase by 2e-7 rad at most.
#[inline(always)]
fn far_by_near([far_re, far_im]: [i16; 2], [near_re, near_im]: [i16; 2]) -> (f32, f32) {
    let [a, b, c, d] = [far_re, far_im, near_re, near_im].map(f32::from);
    (a * c + b * d, b * c - a * d)
}

/// Phase of `re + i·im` in −π … π; 0 for 0 + 0i. Error below 4e-7 rad, a hundredth of the step of a full-scale 16-bit
/// sample. No branches, so that loops over channels vectorise.
#[inline(always)]
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

        /// Two traces of one gauge, full scale included: the phase and its change, apart from whole turns.
        #[test]
        fn the_phase_over_a_gauge_is_right_for_any_samples(
            traces in prop::array::uniform2(prop::array::uniform2(end())),
        ) {
            let mut unwrapper = Unwrapper::new(1);
            let mut before: Option<f64> = None;
            for [near, far] in traces {
                unwrapper.take(&[near, far], 1);
                let [a, b, c, d] = [far[0], far[1], near[0], near[1]].map(i64::from);
                let (re, im) = (a * c + b * d, b * c - a * d);
                let phase = if (re, im) == (0, 0) { before.unwrap_or(0.0) } else { (im as f64).atan2(re as f64) };
                let turn = std::f64::consts::TAU;
                let turns = |x: f64| (x / turn - (x / turn).round()).abs() * turn;
                prop_assert!(turns(f64::from(unwrapper.phase()[0]) - phase) < 6e-7);
                prop_assert!(turns(f64::from(unwrapper.change()[0]) - (phase - before.unwrap_or(phase))) < 2e-6);
                prop_assert!(unwrapper.change()[0].abs() < PI + 1e-6);
                before = Some(phase);
            }
        }
    }

    /// A sample, more often than not at the limits of what there is.
    fn end() -> impl Strategy<Value = [i16; 2]> {
        let part = prop_oneof![Just(i16::MIN), Just(i16::MAX), Just(0), Just(-1), any::<i16>()];
        prop::array::uniform2(part)
    }

    #[test]
    fn axes_and_nothing() {
        let cases = [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, FRAC_PI_2), (0.0, -1.0, PI), (-1.0, 0.0, -FRAC_PI_2)];
        for (im, re, expected) in cases {
            assert!((atan2(im, re) - expected).abs() < 4e-7, "{im} {re}");
        }
    }

    #[test]
    fn years_of_turns_in_one_direction_lose_nothing() {
        let mut unwrapper = Unwrapper::new(1);
        let far = |quarter: i32| [[1000, 0], [0, 1000], [-1000, 0], [0, -1000]][quarter as usize % 4];
        unwrapper.take(&[[1000, 0], far(0)], 1);
        unwrapper.turns[0] = 1e12;
        for quarter in 1..=16 {
            unwrapper.take(&[[1000, 0], far(quarter)], 1);
            assert!((unwrapper.change()[0] - FRAC_PI_2).abs() < 1e-6);
        }
        assert!((unwrapper.turns()[0] - 1e12 - 4.0).abs() < 1e-9);
        assert!(unwrapper.phase()[0].abs() < 4e-7);
    }
}
