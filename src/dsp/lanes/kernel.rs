//! The passes over a window, one instruction set at a time. [`Lanes`] is the same code for all of them: `V` is as many
//! channels as fit into a vector.

use fearless_simd::{Level as InstructionSet, Simd, dispatch};

use super::butterfly::{
    Complex, Eighth, Pairs, Twiddles, Vector, four, last_eight, last_four, last_two, power, real_eight, real_four,
    real_two,
};
use super::finish::{energies, spectrum};
use super::level::{far, peaks, put_back};
use super::load::{CountsAbove, FloatsAbove, Traces, vector};
use super::schedule::{FirstRow, RealPass, Schedule, Step};
use super::sliding::{self, Sliding, slide, weigh};
use super::{CELL_CHANNELS, Counts, Floats, Form, Kernel, LEVEL_TRACES, Level, Move, NO_LEVEL, Out, Samples};

/// Memory and code of one worker; see [`Kernel`].
pub(super) struct Lanes<S: Simd, V> {
    simd: S,
    complex: Vec<Complex<V>>,
    real: Vec<V>,
    sliding: Vec<V>,
    /// The levels of the samples of a window.
    levels: Vec<V>,
}

/// The best kernel of an instruction set.
pub(super) fn kernel_for(set: InstructionSet) -> Box<dyn Kernel> {
    #[inline(always)]
    fn native<S: Simd>(simd: S) -> Box<dyn Kernel> {
        Box::new(Lanes::<S, S::f32s>::new(simd))
    }
    dispatch!(set, simd => native(simd))
}

impl<S: Simd, V: Vector<S> + Send> Lanes<S, V> {
    pub(super) const fn new(simd: S) -> Self {
        Self { simd, complex: Vec::new(), real: Vec::new(), sliding: Vec::new(), levels: Vec::new() }
    }
}

impl<S: Simd, V: Vector<S> + Send> Kernel for Lanes<S, V> {
    fn lanes(&self) -> usize {
        V::LEN
    }

    fn reserve(&mut self, schedule: &Schedule) {
        let zero = V::splat(self.simd, 0.0);
        let (complex, real) = (schedule.complex_len.max(self.complex.len()), schedule.real_len.max(self.real.len()));
        self.complex.resize(complex, Complex { re: zero, im: zero });
        self.real.resize(real, zero);
        // The first and the last may be levels of a part of their traces.
        let levels = (schedule.nfft() / LEVEL_TRACES + 2).max(self.levels.len());
        self.levels.resize(levels, zero);
    }

    fn transform(&mut self, schedule: &Schedule, samples: Samples<'_>, sums: &mut [f32], add: bool) {
        let traces = match samples {
            Samples::I16(counts) => counts.cells.len(),
            Samples::F32(floats) => floats.rows.len() / V::LEN,
        };
        assert!(traces == schedule.nfft(), "a window of {} traces", schedule.nfft());
        assert!(sums.len() >= schedule.stored() * V::LEN, "room for {} powers", schedule.stored());
        let Self { simd, complex, real, levels, .. } = self;
        let simd = *simd;
        simd.vectorize(
            #[inline(always)]
            || {
                let level = match samples {
                    Samples::I16(counts) => {
                        assert!(counts.first + V::LEN <= CELL_CHANNELS, "a group lies within a cell");
                        let far = far::<S, V, _>(simd, counts).map(|far| far.of(counts.row(traces / 2, V::LEN)));
                        match &far {
                            Some(level) => {
                                let samples = CountsAbove { counts, level: vector::<S, V>(simd, level) };
                                // Rare, and so in a function of its own.
                                simd.vectorize(
                                    #[inline(always)]
                                    || first_pass(simd, samples, &schedule.first, complex, real),
                                );
                            }
                            None => first_pass(simd, counts, &schedule.first, complex, real),
                        }
                        far
                    }
                    Samples::F32(floats) => {
                        let as_they_are = FloatsAbove::new(simd, floats, &NO_LEVEL, levels);
                        let far = far::<S, V, _>(simd, as_they_are).map(|far| far.of(floats.row(traces / 2, V::LEN)));
                        let samples = FloatsAbove::new(simd, floats, far.as_ref().unwrap_or(&NO_LEVEL), levels);
                        first_pass(simd, samples, &schedule.first, complex, real);
                        far
                    }
                };
                for pass in &schedule.real {
                    real_pass(simd, pass, complex, real);
                }
                let before = peaks::<S, V>(simd, schedule, sums, add && level.is_some());
                real_end(simd, schedule, real, sums, add);
                for step in &schedule.steps {
                    complex_step(simd, schedule, step, complex, sums, add);
                }
                if let Some(level) = &level {
                    simd.vectorize(
                        #[inline(always)]
                        || put_back(simd, schedule, level, (complex, real), before, sums),
                    );
                }
            },
        );
    }

    fn reserve_sliding(&mut self, plan: &Sliding) {
        let len = plan.scratch_len().max(self.sliding.len());
        self.sliding.resize(len, V::splat(self.simd, 0.0));
    }

    fn slide(&mut self, plan: &Sliding, first: u64, moves: &mut [Move<'_>]) {
        let Self { simd, sliding, .. } = self;
        let simd = *simd;
        assert!(moves.iter().all(|m| m.state.len() == plan.state_len() * V::LEN), "sums of {} bins", plan.stored());
        simd.vectorize(
            #[inline(always)]
            || match moves {
                [a, b] => match (a.new.samples, b.new.samples) {
                    (Samples::I16(x), Samples::I16(y)) => {
                        slide(simd, plan, first, [counts_step(simd, a, x), counts_step(simd, b, y)], sliding);
                    }
                    (Samples::F32(x), Samples::F32(y)) => {
                        let zero = V::splat(simd, 0.0);
                        let (mut of_a, mut of_b) = ([[zero; STEP_LEVELS]; 2], [[zero; STEP_LEVELS]; 2]);
                        let steps = [floats_step(simd, a, x, &mut of_a), floats_step(simd, b, y, &mut of_b)];
                        slide(simd, plan, first, steps, sliding);
                    }
                    _ => unreachable!("a tile holds samples of one kind"),
                },
                [a] => match a.new.samples {
                    Samples::I16(x) => slide(simd, plan, first, [counts_step(simd, a, x)], sliding),
                    Samples::F32(x) => {
                        let mut levels = [[V::splat(simd, 0.0); STEP_LEVELS]; 2];
                        slide(simd, plan, first, [floats_step(simd, a, x, &mut levels)], sliding);
                    }
                },
                _ => unreachable!("one or two groups move at once"),
            },
        );
    }

    fn weigh(&self, plan: &Sliding, start: u64, state: &[f32], powers: &mut [f32]) {
        assert!(powers.len() >= plan.stored() * V::LEN, "room for {} powers", plan.stored());
        let simd = self.simd;
        simd.vectorize(
            #[inline(always)]
            || weigh::<S, V>(simd, plan, start, state, &mut powers[..plan.stored() * V::LEN]),
        );
    }

    fn spectrum(&self, powers: &[f32], positions: &[u32], form: Form, out: Out<'_>) -> (f32, f32) {
        let simd = self.simd;
        simd.vectorize(
            #[inline(always)]
            || spectrum::<S, V>(simd, powers, positions, form, out),
        )
    }

    fn energies(&self, powers: &[f32], positions: &[u32], factor: f32, out: Out<'_>) {
        let simd = self.simd;
        simd.vectorize(
            #[inline(always)]
            || energies::<S, V>(simd, powers, positions, factor, out),
        );
    }
}

/// Levels that the traces of a step have at most: a step is no longer than what shares a level.
const STEP_LEVELS: usize = 2;

/// The step of a group with its traces as what they are.
#[inline(always)]
fn counts_step<'a, S: Simd, V: Vector<S>>(
    simd: S,
    step: &'a mut Move<'_>,
    new: Counts<'a>,
) -> sliding::Step<'a, CountsAbove<'a, V>> {
    let level = vector(simd, &step.new.level);
    let old = step.old.map(
        #[inline(always)]
        |old| match old.samples {
            Samples::I16(counts) => CountsAbove { counts, level },
            Samples::F32(_) => unreachable!("a tile holds samples of one kind"),
        },
    );
    sliding::Step { new: CountsAbove { counts: new, level }, old, state: step.state }
}

#[inline(always)]
fn floats_step<'a, S: Simd, V: Vector<S>>(
    simd: S,
    step: &'a mut Move<'_>,
    new: Floats<'a>,
    [of_new, of_old]: &'a mut [[V; STEP_LEVELS]; 2],
) -> sliding::Step<'a, FloatsAbove<'a, V>> {
    let level: &Level = &step.new.level;
    let old = step.old.map(
        #[inline(always)]
        |old| match old.samples {
            Samples::F32(floats) => FloatsAbove::new(simd, floats, level, of_old),
            Samples::I16(_) => unreachable!("a tile holds samples of one kind"),
        },
    );
    sliding::Step { new: FloatsAbove::new(simd, new, level, of_new), old, state: step.state }
}

/// Loads, converts and windows the samples and takes the first three levels: from traces to three complex transforms at
/// the front of `complex` and a real one at the front of `real`.
#[inline(always)]
fn first_pass<S: Simd, V: Vector<S>, T: Traces<S, V>>(
    simd: S,
    samples: T,
    rows: &[FirstRow],
    complex: &mut [Complex<V>],
    real: &mut [V],
) {
    let eighth = rows.len();
    let (x0, rest) = samples.split_at(eighth);
    let (x1, rest) = rest.split_at(eighth);
    let (x2, rest) = rest.split_at(eighth);
    let (x3, rest) = rest.split_at(eighth);
    let (x4, rest) = rest.split_at(eighth);
    let (x5, rest) = rest.split_at(eighth);
    let (x6, x7) = rest.split_at(eighth);
    let mut places = Places::new(eighth, complex, real);
    for (n, row) in rows.iter().enumerate() {
        let w = &row.window;
        let x = [
            load(simd, x0, n, w[0]),
            load(simd, x1, n, w[1]),
            load(simd, x2, n, w[2]),
            load(simd, x3, n, w[3]),
            load(simd, x4, n, w[4]),
            load(simd, x5, n, w[5]),
            load(simd, x6, n, w[6]),
            load(simd, x7, n, w[7]),
        ];
        places.put(n, real_eight(simd, x, &row.twiddles));
    }
}

/// Samples of trace `n`, windowed.
#[inline(always)]
fn load<S: Simd, V: Vector<S>, T: Traces<S, V>>(simd: S, samples: T, n: usize, window: f32) -> V {
    samples.load(simd, n) * V::splat(simd, window)
}

/// As the first pass, for what it left real.
#[inline(always)]
fn real_pass<S: Simd, V: Vector<S>>(simd: S, pass: &RealPass, complex: &mut [Complex<V>], real: &mut [V]) {
    let eighth = pass.twiddles.len();
    let (x, rest) = real[pass.from..].split_at_mut(8 * eighth);
    let mut places = Places::new(eighth, &mut complex[pass.to..], rest);
    let (x0, x) = x.split_at(eighth);
    let (x1, x) = x.split_at(eighth);
    let (x2, x) = x.split_at(eighth);
    let (x3, x) = x.split_at(eighth);
    let (x4, x) = x.split_at(eighth);
    let (x5, x) = x.split_at(eighth);
    let (x6, x7) = x.split_at(eighth);
    for (n, twiddles) in pass.twiddles.iter().enumerate() {
        let x = [x0[n], x1[n], x2[n], x3[n], x4[n], x5[n], x6[n], x7[n]];
        places.put(n, real_eight(simd, x, twiddles));
    }
}

/// Where the outputs of a real pass go, each piece as long as the pass.
struct Places<'a, V> {
    complex: [&'a mut [Complex<V>]; 3],
    real: [&'a mut [V]; 2],
}

impl<'a, V: Copy> Places<'a, V> {
    #[inline(always)]
    fn new(len: usize, complex: &'a mut [Complex<V>], real: &'a mut [V]) -> Self {
        let (two, rest) = complex.split_at_mut(len);
        let (one, rest) = rest.split_at_mut(len);
        let (near, far) = real.split_at_mut(len);
        Self { complex: [two, one, &mut rest[..len]], real: [near, &mut far[..len]] }
    }

    #[inline(always)]
    fn put(&mut self, n: usize, eighth: Eighth<V>) {
        let Eighth { real, complex } = eighth;
        (self.real[0][n], self.real[1][n]) = (real[0], real[1]);
        (self.complex[0][n], self.complex[1][n], self.complex[2][n]) = (complex[0], complex[1], complex[2]);
    }
}

/// The constant, the middle and the highest bin.
#[inline(always)]
fn real_end<S: Simd, V: Vector<S>>(simd: S, schedule: &Schedule, real: &[V], sums: &mut [f32], add: bool) {
    let end = &schedule.real_end;
    let (x, out) = (&real[end.from..end.from + end.len], &mut sums[end.position * V::LEN..]);
    match *x {
        [a, b, c, d] => store(simd, real_four([a, b, c, d]), out, add),
        [a, b] => store(simd, real_two([a, b]), out, add),
        _ => unreachable!("a schedule leaves two or four real numbers"),
    }
}

/// Writes vectors of power one behind the other, or adds them to what is there.
#[inline(always)]
fn store<S: Simd, V: Vector<S>, const N: usize>(simd: S, powers: [V; N], out: &mut [f32], add: bool) {
    for (power, out) in powers.into_iter().zip(out.chunks_exact_mut(V::LEN)) {
        let sum = if add { power + V::from_slice(simd, out) } else { power };
        sum.store_slice(out);
    }
}

#[inline(always)]
fn complex_step<S: Simd, V: Vector<S>>(
    simd: S,
    schedule: &Schedule,
    step: &Step,
    complex: &mut [Complex<V>],
    sums: &mut [f32],
    add: bool,
) {
    match step {
        Step::Four { range, table } => {
            let table = &schedule.tables[*table];
            for block in complex[range.clone()].chunks_exact_mut(4 * table.len()) {
                fours(simd, block, table);
            }
        }
        Step::Last { range, radix, pairs, position } => {
            let (z, out) = (&complex[range.clone()], &mut sums[position * V::LEN..]);
            match (radix, pairs, add) {
                (8, 0b0001, false) => last_eights::<S, V, 0b0001, 2>(simd, z, out, false),
                (8, 0b0011, false) => last_eights::<S, V, 0b0011, 4>(simd, z, out, false),
                (8, _, false) => last_eights::<S, V, 0b1111, 8>(simd, z, out, false),
                (8, 0b0001, true) => last_eights::<S, V, 0b0001, 2>(simd, z, out, true),
                (8, 0b0011, true) => last_eights::<S, V, 0b0011, 4>(simd, z, out, true),
                (8, _, true) => last_eights::<S, V, 0b1111, 8>(simd, z, out, true),
                (4, 0b0001, _) => last_fours::<S, V, 0b0001, 2>(simd, z, out, add),
                (4, _, _) => last_fours::<S, V, 0b0011, 4>(simd, z, out, add),
                (2, _, _) => {
                    for (z, out) in z.as_chunks().0.iter().zip(out.chunks_exact_mut(2 * V::LEN)) {
                        store(simd, last_two(z), out, add);
                    }
                }
                _ => {
                    for (&z, out) in z.iter().zip(out.chunks_exact_mut(V::LEN)) {
                        store(simd, [power(z)], out, add);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn fours<S: Simd, V: Vector<S>>(simd: S, block: &mut [Complex<V>], table: &[Twiddles]) {
    let quarter = table.len();
    let (a, rest) = block.split_at_mut(quarter);
    let (b, rest) = rest.split_at_mut(quarter);
    let (c, d) = rest.split_at_mut(quarter);
    let d = &mut d[..quarter];
    for n in 0..quarter {
        [a[n], b[n], c[n], d[n]] = four(simd, [a[n], b[n], c[n], d[n]], &table[n]);
    }
}

/// `STORED` outputs of each butterfly: those of the pairs in `PAIRS`.
#[inline(always)]
fn last_eights<S: Simd, V: Vector<S>, const PAIRS: Pairs, const STORED: usize>(
    simd: S,
    z: &[Complex<V>],
    out: &mut [f32],
    add: bool,
) {
    for (z, out) in z.as_chunks().0.iter().zip(out.chunks_exact_mut(STORED * V::LEN)) {
        store(simd, chosen::<V, 8, STORED>(last_eight::<S, V, PAIRS>(simd, z)), out, add);
    }
}

#[inline(always)]
fn last_fours<S: Simd, V: Vector<S>, const PAIRS: Pairs, const STORED: usize>(
    simd: S,
    z: &[Complex<V>],
    out: &mut [f32],
    add: bool,
) {
    for (z, out) in z.as_chunks().0.iter().zip(out.chunks_exact_mut(STORED * V::LEN)) {
        store(simd, chosen::<V, 4, STORED>(last_four::<S, V, PAIRS>(simd, z)), out, add);
    }
}

/// The outputs of the `STORED / 2` outermost pairs, in order.
#[inline(always)]
fn chosen<V: Copy, const RADIX: usize, const STORED: usize>(out: [V; RADIX]) -> [V; STORED] {
    std::array::from_fn(
        #[inline(always)]
        |i| out[if i < STORED / 2 { i } else { i + RADIX - STORED }],
    )
}
