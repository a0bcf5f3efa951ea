//! The spectrum of one channel along time, for channels that are wanted alone and for window lengths that are no power
//! of two: one `rustfft` over `nfft/2` pairs of samples (the usual real transform of half the length), and the untangling
//! of its output fused with the squared magnitude, for the bins that are needed and no others.

use std::ops::Range;

use rustfft::num_complex::Complex;

use super::plan::Plan;

/// The newest samples of one channel, or of a group of neighbours: `[trace][lane]`. Nothing is ever moved: the ring wraps,
/// and a window of one channel is one or two pieces.
pub(super) struct Ring {
    samples: Vec<f32>,
    lanes: usize,
}

impl Ring {
    /// Room for `traces` traces of `lanes` channels.
    pub(super) fn new(traces: usize, lanes: usize) -> Self {
        Self { samples: vec![0.0; traces * lanes], lanes }
    }

    /// Writes consecutive samples of a lane, the first of trace `first`, over the oldest ones.
    pub(super) fn write(&mut self, first: u64, lane: usize, samples: impl Iterator<Item = f32>) {
        let mut at = self.place(first) + lane;
        for sample in samples {
            self.samples[at] = sample;
            at += self.lanes;
            if at >= self.samples.len() {
                at = lane;
            }
        }
    }

    /// Writes consecutive traces, the first of them trace `first`, over the oldest ones: `put` makes a row of each.
    pub(super) fn write_rows<T>(&mut self, first: u64, traces: impl Iterator<Item = T>, put: impl Fn(&mut [f32], T)) {
        let mut at = self.place(first);
        for trace in traces {
            put(&mut self.samples[at..at + self.lanes], trace);
            at += self.lanes;
            if at >= self.samples.len() {
                at = 0;
            }
        }
    }

    /// Writes to all of its memory.
    pub(super) fn touch(&mut self) {
        self.samples.fill(0.0);
    }

    /// Traces `first .. first + len` of a ring of one lane, the older and the newer piece.
    fn read(&self, first: u64, len: usize) -> (&[f32], &[f32]) {
        debug_assert!(self.lanes == 1 && len <= self.samples.len());
        let at = self.place(first);
        let older = &self.samples[at..(at + len).min(self.samples.len())];
        (older, &self.samples[..len - older.len()])
    }

    /// The samples of a trace.
    pub(super) fn row(&self, trace: u64) -> &[f32] {
        &self.samples[self.place(trace)..][..self.lanes]
    }

    fn place(&self, trace: u64) -> usize {
        (trace % (self.samples.len() / self.lanes) as u64) as usize * self.lanes
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
        if let Some(first) = end.checked_sub(nfft).filter(|&first| first >= since) {
            let (older, newer) = ring.read(first, plan.nfft());
            window_pairs(pairs, older, newer, plan.window());
        } else {
            pairs.fill(Complex::ZERO);
            for trace in since..end {
                let place = (trace + nfft - end) as usize;
                let sample = ring.row(trace)[0] * plan.window()[place];
                put_sample(pairs, place, sample);
            }
        }
        let scratch = &mut self.scratch[..plan.fft.get_outofplace_scratch_len()];
        plan.fft.process_outofplace_with_scratch(pairs, tangled, scratch);
        if add {
            powers(tangled, &plan.twiddles, plan.bins(), sums, |sum, power| *sum += power);
        } else {
            powers(tangled, &plan.twiddles, plan.bins(), sums, |sum, power| *sum = power);
        }
    }
}

/// One sample among pairs.
fn put_sample(pairs: &mut [Complex<f32>], place: usize, sample: f32) {
    let pair = &mut pairs[place / 2];
    *(if place.is_multiple_of(2) { &mut pair.re } else { &mut pair.im }) = sample;
}

/// Multiplies by the window and makes pairs; the seam between the two pieces of history may fall within a pair.
fn window_pairs(out: &mut [Complex<f32>], older: &[f32], newer: &[f32], window: &[f32]) {
    let (head, tail) = out.split_at_mut(older.len() / 2);
    let (early, late) = window.split_at(older.len());
    multiply(head, older, early);
    match (older.as_chunks::<2>().1, newer) {
        (&[last], &[next, ref newer @ ..]) => {
            tail[0] = Complex::new(last * early[early.len() - 1], next * late[0]);
            multiply(&mut tail[1..], newer, &late[1..]);
        }
        _ => multiply(tail, newer, late),
    }
}

fn multiply(out: &mut [Complex<f32>], samples: &[f32], window: &[f32]) {
    let pairs = samples.as_chunks::<2>().0.iter().zip(window.as_chunks::<2>().0);
    for (out, ([a, b], [v, w])) in out.iter_mut().zip(pairs) {
        *out = Complex::new(a * v, b * w);
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
        // Where a trace's number says, so that nothing has to be turned afterwards.
        for trace in since.max(end.saturating_sub(nfft))..end {
            put_sample(pairs, (trace % nfft) as usize, ring.row(trace)[lane]);
        }
        let scratch = &mut self.scratch[..plan.fft.get_outofplace_scratch_len()];
        plan.fft.process_outofplace_with_scratch(pairs, tangled, scratch);
        for row in 0..rows {
            let bin = first_bin + row as i64;
            let folded = bin.unsigned_abs() as usize;
            let (folded, mirrored) = if folded > half { (plan.nfft() - folded, bin > 0) } else { (folded, bin < 0) };
            let sum = untangled(tangled, &plan.twiddles, folded);
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
