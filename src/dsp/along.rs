//! The spectrum of one channel along time, for channels that are wanted alone and for window lengths that are no power
//! of two: one `rustfft` over `nfft/2` pairs of samples (the usual real transform of half the length), and the untangling
//! of its output fused with the squared magnitude, for the bins that are needed and no others.

use std::ops::Range;

use rustfft::num_complex::Complex;

use super::lanes::{LEVEL_TRACES, Level, MOST_PEAKS, NO_LEVEL};
use super::plan::Plan;

/// The newest samples of one channel, or of a group of neighbours: `[trace][lane]`, above levels that [`LEVEL_TRACES`] rows
/// share, as in [`Store`](super::Store). Nothing is ever moved: the ring wraps, and a window is pieces of it.
pub(super) struct Ring {
    samples: Vec<f32>,
    /// `[row / LEVEL_TRACES][lane]`.
    levels: Vec<f64>,
    lanes: usize,
    /// The trace that follows the newest.
    next: Option<u64>,
}

impl Ring {
    /// Room for `traces` traces of `lanes` channels.
    pub(super) fn new(traces: usize, lanes: usize) -> Self {
        // A level is not replaced before the last of its old rows is older than what is asked for.
        let levels = if traces == 0 { 0 } else { traces.div_ceil(LEVEL_TRACES) + 1 };
        let (samples, levels) = (vec![0.0; levels * LEVEL_TRACES * lanes], vec![0.0; levels * lanes]);
        Self { samples, levels, lanes, next: None }
    }

    /// Writes consecutive traces, the first of them trace `first`, over the oldest ones: `put` makes a row of each.
    pub(super) fn write_rows<T>(&mut self, first: u64, traces: impl Iterator<Item = T>, put: impl Fn(&mut [f64], T)) {
        let (lanes, mut row) = (self.lanes, NO_LEVEL);
        let (mut at, mut next, mut begins) = (self.place(first), first, self.next != Some(first));
        let mut traces = traces.peekable();
        while traces.peek().is_some() {
            // As many as share a level.
            begins |= at.is_multiple_of(LEVEL_TRACES);
            let (level, end) = (at / LEVEL_TRACES, (at / LEVEL_TRACES + 1) * LEVEL_TRACES);
            let level = &mut self.levels[level * lanes..][..lanes];
            for (out, trace) in self.samples[at * lanes..end * lanes].chunks_exact_mut(lanes).zip(&mut traces) {
                put(&mut row[..lanes], trace);
                if begins {
                    level.copy_from_slice(&row[..lanes]);
                    begins = false;
                }
                for ((out, sample), level) in out.iter_mut().zip(&row).zip(&*level) {
                    *out = (sample - level) as f32;
                }
                (at, next) = (at + 1, next + 1);
            }
            if at * lanes >= self.samples.len() {
                at = 0;
            }
        }
        self.next = Some(next);
    }

    /// Writes to all of its memory.
    pub(super) fn touch(&mut self) {
        self.samples.fill(0.0);
        self.levels.fill(0.0);
    }

    /// The samples of a trace.
    pub(super) fn row(&self, trace: u64) -> Level {
        let (samples, levels) = self.row_and_level(trace);
        let mut row = NO_LEVEL;
        row.iter_mut().zip(samples).zip(levels).for_each(|((out, x), level)| *out = f64::from(*x) + level);
        row
    }

    /// One of them.
    pub(super) fn sample(&self, trace: u64, lane: usize) -> f64 {
        let at = self.place(trace);
        f64::from(self.samples[at * self.lanes + lane]) + self.levels[at / LEVEL_TRACES * self.lanes + lane]
    }

    /// The samples of a trace above `level`.
    pub(super) fn row_above(&self, trace: u64, level: &Level, out: &mut [f32]) {
        let (samples, levels) = self.row_and_level(trace);
        for (((out, x), own), level) in out.iter_mut().zip(samples).zip(levels).zip(level) {
            *out = x + (own - level) as f32;
        }
    }

    fn row_and_level(&self, trace: u64) -> (&[f32], &[f64]) {
        let (at, lanes) = (self.place(trace), self.lanes);
        (&self.samples[at * lanes..][..lanes], &self.levels[at / LEVEL_TRACES * lanes..][..lanes])
    }

    /// Traces `first .. first + len` of a ring of one lane, as pieces of one level each, with the level.
    fn pieces(&self, first: u64, len: usize) -> impl Iterator<Item = (&[f32], f64)> {
        debug_assert!(self.lanes == 1 && len <= self.samples.len());
        let (mut at, mut left) = (self.place(first), len);
        std::iter::from_fn(move || {
            let level = *self.levels.get(at / LEVEL_TRACES).filter(|_| left > 0)?;
            let count = left.min(LEVEL_TRACES - at % LEVEL_TRACES);
            let piece = &self.samples[at..at + count];
            left -= count;
            at = (at + count) % self.samples.len();
            Some((piece, level))
        })
    }

    /// Number of the row of a trace.
    fn place(&self, trace: u64) -> usize {
        (trace % (self.samples.len() / self.lanes) as u64) as usize
    }
}

/// Work space; nothing survives in it from one window to the next.
#[derive(Default)]
pub(super) struct Along {
    /// Windowed samples, two by two.
    pairs: Vec<Complex<f32>>,
    tangled: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Along {
    /// Makes the work space large enough for `plan`.
    pub(super) fn reserve(&mut self, plan: &Plan) {
        for (space, len) in [
            (&mut self.pairs, plan.nfft() / 2),
            (&mut self.tangled, plan.nfft() / 2),
            (&mut self.scratch, plan.fft.get_outofplace_scratch_len()),
        ] {
            space.resize(len.max(space.len()), Complex::ZERO);
        }
    }

    /// The window of `nfft` traces before `end`, of which those before `since` are zero: `|X_k|²` of the plan's bins, DC and
    /// Nyquist halved, into `sums` or added to what is there.
    pub(super) fn transform(
        &mut self,
        plan: &Plan,
        ring: &Ring,
        (since, end): (u64, u64),
        sums: &mut [f32],
        add: bool,
    ) {
        let (half, nfft) = (plan.nfft() / 2, plan.nfft() as u64);
        let (pairs, tangled) = (&mut self.pairs[..half], &mut self.tangled[..half]);
        let mut level = 0.0;
        if let Some(first) = end.checked_sub(nfft).filter(|&first| first >= since) {
            if plan.nfft() >= SHORTEST_ABOVE {
                level = ring.sample(first + nfft / 2, 0);
            }
            let mut place = 0;
            for (samples, own) in ring.pieces(first, plan.nfft()) {
                multiply(pairs, place, samples, (own - level) as f32, &plan.window()[place..]);
                place += samples.len();
            }
        } else {
            pairs.fill(Complex::ZERO);
            for trace in since..end {
                let place = (trace + nfft - end) as usize;
                let sample = ring.sample(trace, 0) as f32 * plan.window()[place];
                put_sample(pairs, place, sample);
            }
        }
        let scratch = &mut self.scratch[..plan.fft.get_outofplace_scratch_len()];
        plan.fft.process_outofplace_with_scratch(pairs, tangled, scratch);
        // The bins that the window function has a line in: of these there is more than was transformed.
        let bins = plan.bins();
        let peaks = || bins.clone().take_while(|&bin| bin < plan.lines().len() && plan.nfft() >= SHORTEST_ABOVE);
        let mut before = [0.0; MOST_PEAKS];
        if add {
            before.iter_mut().zip(peaks()).for_each(|(before, bin)| *before = sums[bin - bins.start]);
            powers(tangled, &plan.twiddles, bins.clone(), sums, |sum, power| *sum += power);
        } else {
            powers(tangled, &plan.twiddles, bins.clone(), sums, |sum, power| *sum = power);
        }
        for (bin, before) in peaks().zip(before) {
            let mut sum = untangled(tangled, &plan.twiddles, bin);
            sum.re += (level * plan.lines()[bin]) as f32;
            sums[bin - bins.start] = before + if bin == 0 { 0.5 * sum.re * sum.re } else { sum.norm_sqr() };
        }
    }
}

/// Windows shorter than this, in which the lines of a window function may meet, are taken as they are.
const SHORTEST_ABOVE: usize = 16;

/// One sample among pairs.
#[inline]
fn put_sample(pairs: &mut [Complex<f32>], place: usize, sample: f32) {
    let pair = &mut pairs[place / 2];
    *(if place.is_multiple_of(2) { &mut pair.re } else { &mut pair.im }) = sample;
}

/// Raises samples by `rise`, multiplies them by the window and puts them among pairs, the first at `place`.
fn multiply(pairs: &mut [Complex<f32>], mut place: usize, mut samples: &[f32], rise: f32, mut window: &[f32]) {
    if !place.is_multiple_of(2)
        && let ([first, rest @ ..], [w, later @ ..]) = (samples, window)
    {
        put_sample(pairs, place, (first + rise) * w);
        (place, samples, window) = (place + 1, rest, later);
    }
    let (twos, last) = samples.as_chunks::<2>();
    for ((out, [a, b]), [v, w]) in pairs[place / 2..].iter_mut().zip(twos).zip(window.as_chunks::<2>().0) {
        *out = Complex::new((a + rise) * v, (b + rise) * w);
    }
    if let [last] = last {
        let end = samples.len() - 1;
        put_sample(pairs, place + end, (last + rise) * window[end]);
    }
}

/// `|X_k|²` of `bins`, DC and Nyquist halved, from the transform `Z` of the pairs. With `m = nfft/2`:
/// `2 X_k = Z_k + Z*_{m−k} − i·exp(−2πi k/nfft)·(Z_k − Z*_{m−k})`, indices modulo `m`.
fn powers(
    tangled: &[Complex<f32>],
    twiddles: &[Complex<f32>],
    bins: Range<usize>,
    out: &mut [f32],
    put: impl Fn(&mut f32, f32),
) {
    let m = tangled.len();
    let inner = bins.start.max(1)..bins.end.min(m);
    if bins.start == 0 {
        put(&mut out[0], 0.5 * (tangled[0].re + tangled[0].im).powi(2));
    }
    if bins.end == m + 1 {
        put(&mut out[bins.len() - 1], 0.5 * (tangled[0].re - tangled[0].im).powi(2));
    }
    if inner.is_empty() {
        return;
    }
    let mirrored = tangled[m + 1 - inner.end..=m - inner.start].iter().rev();
    let inputs = tangled[inner.clone()].iter().zip(mirrored).zip(&twiddles[inner.clone()]);
    for (out, ((a, b), w)) in out[inner.start - bins.start..].iter_mut().zip(inputs) {
        let (sum, difference) = (a + b.conj(), a - b.conj());
        let turned = w * difference;
        let (re, im) = (sum.re + turned.im, sum.im - turned.re);
        put(out, 0.25 * (re * re + im * im));
    }
}

impl Along {
    /// The transform of a window without a window function, of one lane of `ring`, with the phase of the absolute trace
    /// number: `put(row, S_k)` for `rows` bins from `first_bin` on, which may lie outside `0 … nfft/2`. The window is the
    /// `nfft` traces before `end`; those before `since` are zero.
    pub(super) fn sums(
        &mut self,
        plan: &Plan,
        (ring, lane): (&Ring, usize),
        (since, end): (u64, u64),
        (first_bin, rows): (i64, usize),
        mut put: impl FnMut(usize, Complex<f32>),
    ) {
        let (half, nfft) = (plan.nfft() / 2, plan.nfft() as u64);
        let (pairs, tangled) = (&mut self.pairs[..half], &mut self.tangled[..half]);
        pairs.fill(Complex::ZERO);
        let start = end.saturating_sub(nfft);
        // A window of which a part is missing, and so zero, has no level.
        let level = if start >= since && end >= nfft { ring.sample(start + nfft / 2, lane) } else { 0.0 };
        // Where a trace's number says, so that nothing has to be turned afterwards.
        for trace in since.max(start)..end {
            put_sample(pairs, (trace % nfft) as usize, (ring.sample(trace, lane) - level) as f32);
        }
        let scratch = &mut self.scratch[..plan.fft.get_outofplace_scratch_len()];
        plan.fft.process_outofplace_with_scratch(pairs, tangled, scratch);
        for row in 0..rows {
            let bin = first_bin + row as i64;
            let folded = bin.unsigned_abs() as usize;
            let (folded, mirrored) = if folded > half { (plan.nfft() - folded, bin > 0) } else { (folded, bin < 0) };
            let mut sum = untangled(tangled, &plan.twiddles, folded);
            if bin == 0 {
                sum.re += (level * nfft as f64) as f32;
            }
            put(row, if mirrored { sum.conj() } else { sum });
        }
    }
}

/// `X_k`, as in [`powers`], `k = 0 … nfft/2`.
fn untangled(tangled: &[Complex<f32>], twiddles: &[Complex<f32>], bin: usize) -> Complex<f32> {
    let m = tangled.len();
    let (a, b) = (tangled[bin % m], tangled[(m - bin) % m].conj());
    let turned = twiddles[bin] * (a - b);
    let twice = a + b + Complex::new(turned.im, -turned.re);
    twice * 0.5
}

/// Sum in eight parts, so that it vectorises and loses no accuracy in long bands.
pub(super) fn total(powers: &[f32]) -> f32 {
    let (eights, rest) = powers.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, p)| *sum += p);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
