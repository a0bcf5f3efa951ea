//! The peers: what one would write first, `realfft` after a transposition, and FFTW in two layouts. Their loops are
//! compiled for the same instruction set as fiberd's kernels, and their decibels are the same polynomial.

use std::sync::Arc;

use fearless_simd::{Level, Simd, dispatch};
use fiberd::dsp::{Output, Window};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::work::{Contender, Recording, Workload};

/// What all peers share: tables, and memory for the lines.
pub struct Common {
    pub nfft: usize,
    pub hop: usize,
    pub first: usize,
    pub lines: usize,
    pub channels: usize,
    pub window: Vec<f32>,
    pub factor: f32,
    pub output: Output,
    /// `[line][channel][value]`.
    pub values: Vec<f32>,
    level: Level,
}

impl Common {
    pub fn new(workload: &Workload, scale: f64) -> Self {
        let nfft = workload.spec.nfft;
        let table = Window::Hann.table(nfft);
        let energy: f64 = table.iter().map(|w| w * w).sum();
        let output = workload.output().clone();
        Self {
            nfft,
            hop: workload.hop(),
            first: workload.start(0),
            lines: workload.lines(),
            channels: workload.channels,
            window: table.iter().map(|&w| w as f32).collect(),
            factor: (2.0 * scale * scale / (nfft as f64 * energy)) as f32,
            values: vec![0.0; workload.lines() * workload.channels * output.values_per_channel()],
            output,
            level: Level::new(),
        }
    }

    pub fn per_channel(&self) -> usize {
        self.output.values_per_channel()
    }

    pub fn of(&self, line: usize, channel: usize) -> Vec<f32> {
        let per_channel = self.per_channel();
        self.values[(line * self.channels + channel) * per_channel..][..per_channel].to_vec()
    }

    /// Windowed samples of `count ≤ TILE` channels, `[channel][trace]`, eight traces at a time.
    pub fn transpose(&self, recording: &Recording, start: usize, channel: usize, count: usize, out: &mut [f32]) {
        let (nfft, window) = (self.nfft, &self.window);
        dispatch!(self.level, simd => transposed(simd, recording, start, channel, count, window, nfft, out));
    }

    /// Finishes a channel's spectrum, `count` apart.
    pub fn finish(&mut self, line: usize, channel: usize, spectrum: &[Complex<f32>]) {
        let (per_channel, factor, nfft) = (self.per_channel(), self.factor, self.nfft);
        let values = &mut self.values[(line * self.channels + channel) * per_channel..][..per_channel];
        let output = &self.output;
        dispatch!(self.level, simd => finished(simd, output, factor, nfft, spectrum, values));
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // a loop cut out of its function for the compiler's sake
fn transposed<S: Simd>(
    _: S,
    recording: &Recording,
    start: usize,
    channel: usize,
    count: usize,
    window: &[f32],
    nfft: usize,
    out: &mut [f32],
) {
    let row = |t: usize| &recording.samples[(start + t) * recording.stride + channel..][..count];
    for t in (0..nfft).step_by(8) {
        for c in (0..count / 8 * 8).step_by(8) {
            let mut tile = [[0.0f32; 8]; 8];
            for (i, tile) in tile.iter_mut().enumerate() {
                let (samples, w) = (&row(t + i)[c..c + 8], window[t + i]);
                for (x, &sample) in tile.iter_mut().zip(samples) {
                    *x = f32::from(sample) * w;
                }
            }
            for j in 0..8 {
                let column: [f32; 8] = std::array::from_fn(|i| tile[i][j]);
                out[(c + j) * nfft + t..][..8].copy_from_slice(&column);
            }
        }
        for c in count / 8 * 8..count {
            for i in 0..8 {
                out[c * nfft + t + i] = f32::from(row(t + i)[c]) * window[t + i];
            }
        }
    }
}

#[inline(always)]
fn finished<S: Simd>(_: S, output: &Output, factor: f32, nfft: usize, spectrum: &[Complex<f32>], values: &mut [f32]) {
    let sides = |bin: usize| if bin == 0 || bin == nfft / 2 { 0.5 } else { 1.0 };
    match output {
        Output::BandEnergy(bands) => {
            for (value, band) in values.iter_mut().zip(bands) {
                let mut sums = [0.0f32; 8];
                let (eights, rest) = spectrum[band.clone()].as_chunks::<8>();
                for eight in eights {
                    sums.iter_mut().zip(eight).for_each(|(sum, z)| *sum += z.re * z.re + z.im * z.im);
                }
                let rest: f32 = rest.iter().map(Complex::norm_sqr).sum();
                *value = factor * (sums.iter().sum::<f32>() + rest);
            }
        }
        output => {
            let bins = output.ranges()[0].clone();
            for (value, z) in values.iter_mut().zip(&spectrum[bins.clone()]) {
                *value = fast_decibel(factor * (z.re * z.re + z.im * z.im));
            }
            for bin in [0, nfft / 2].into_iter().filter(|bin| bins.contains(bin)) {
                values[bin - bins.start] = fast_decibel(factor * sides(bin) * spectrum[bin].norm_sqr());
            }
        }
    }
}

/// Exponent and cubic, 0.0004 dB.
#[inline(always)]
fn fast_decibel(x: f32) -> f32 {
    let bits = x.max(f32::MIN_POSITIVE).to_bits() as i32;
    let exponent = (bits - 0x3f35_04f3) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let polynomial = ((-0.329_629_24 * f + 0.517_509_34) * f - 0.724_904_2) * f + 1.441_760_7;
    (exponent as f32 + f * polynomial) * 3.010_3
}

/// One channel after the other out of the time-major rows, `realfft`, `log10`.
pub struct Straightforward {
    common: Common,
    fft: Arc<dyn RealToComplex<f32>>,
}

impl Straightforward {
    pub fn new(workload: &Workload, scale: f64) -> Self {
        let common = Common::new(workload, scale);
        Self { fft: RealFftPlanner::new().plan_fft_forward(common.nfft), common }
    }
}

impl Contender for Straightforward {
    fn name(&self) -> String {
        "gather, realfft, log10".into()
    }

    fn pass(&mut self, recording: &Recording) {
        let c = &mut self.common;
        let (mut x, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let per_channel = c.per_channel();
        for line in 0..c.lines {
            let start = c.first + line * c.hop;
            for channel in 0..c.channels {
                for (t, (x, w)) in x.iter_mut().zip(&c.window).enumerate() {
                    *x = f32::from(recording.samples[(start + t) * recording.stride + channel]) * w;
                }
                self.fft.process_with_scratch(&mut x, &mut spectrum, &mut scratch).expect("lengths of this plan");
                spectrum[0] *= std::f32::consts::FRAC_1_SQRT_2;
                spectrum[c.nfft / 2] *= std::f32::consts::FRAC_1_SQRT_2;
                let values = &mut c.values[(line * c.channels + channel) * per_channel..][..per_channel];
                match &c.output {
                    Output::BandEnergy(bands) => values.iter_mut().zip(bands).for_each(|(value, band)| {
                        *value = c.factor * spectrum[band.clone()].iter().map(Complex::norm_sqr).sum::<f32>();
                    }),
                    output => values.iter_mut().zip(&spectrum[output.ranges()[0].clone()]).for_each(|(value, z)| {
                        *value = 10.0 * (c.factor * z.norm_sqr()).log10();
                    }),
                }
            }
        }
    }

    fn values(&self, line: usize, channel: usize) -> Vec<f32> {
        self.common.of(line, channel)
    }
}

/// Channels that are transposed together: one cache line of `int16` a row.
const TILE: usize = 32;

/// Tiles of channels transposed into cache, windowed on the way, then `realfft`.
pub struct Transposed {
    common: Common,
    fft: Arc<dyn RealToComplex<f32>>,
}

impl Transposed {
    pub fn new(workload: &Workload, scale: f64) -> Self {
        let common = Common::new(workload, scale);
        Self { fft: RealFftPlanner::new().plan_fft_forward(common.nfft), common }
    }
}

impl Contender for Transposed {
    fn name(&self) -> String {
        "transposition, realfft".into()
    }

    fn pass(&mut self, recording: &Recording) {
        let c = &mut self.common;
        let mut tile = vec![0.0; TILE * c.nfft];
        let (mut spectrum, mut scratch) = (self.fft.make_output_vec(), self.fft.make_scratch_vec());
        for line in 0..c.lines {
            let start = c.first + line * c.hop;
            for first in (0..c.channels).step_by(TILE) {
                let count = TILE.min(c.channels - first);
                c.transpose(recording, start, first, count, &mut tile);
                for (i, x) in tile.chunks_exact_mut(c.nfft).take(count).enumerate() {
                    self.fft.process_with_scratch(x, &mut spectrum, &mut scratch).expect("lengths of this plan");
                    c.finish(line, first + i, &spectrum);
                }
            }
        }
    }

    fn values(&self, line: usize, channel: usize) -> Vec<f32> {
        self.common.of(line, channel)
    }
}

/// FFTW as Debian builds it. A foreign library is unsafe by nature; it is here for comparison only.
#[cfg(feature = "bench-fftw")]
#[allow(unsafe_code)]
pub mod fftw {
    use std::ffi::{c_int, c_uint, c_void};
    use std::ptr::null;

    use super::{Common, Complex, Contender, Recording, TILE, Workload};

    const PATIENT: c_uint = 1 << 5;
    const DESTROY_INPUT: c_uint = 1 << 0;

    #[link(name = "fftw3f")]
    unsafe extern "C" {
        fn fftwf_malloc(bytes: usize) -> *mut c_void;
        fn fftwf_free(memory: *mut c_void);
        fn fftwf_set_timelimit(seconds: f64);
        fn fftwf_destroy_plan(plan: *mut c_void);
        fn fftwf_execute(plan: *mut c_void);
        fn fftwf_plan_many_dft_r2c(
            rank: c_int,
            n: *const c_int,
            howmany: c_int,
            input: *mut f32,
            inembed: *const c_int,
            istride: c_int,
            idist: c_int,
            output: *mut Complex<f32>,
            onembed: *const c_int,
            ostride: c_int,
            odist: c_int,
            flags: c_uint,
        ) -> *mut c_void;
    }

    /// A plan over a tile of `howmany` channels with its memory.
    struct Plan {
        handle: *mut c_void,
        input: *mut f32,
        output: *mut Complex<f32>,
        input_len: usize,
        output_len: usize,
    }

    impl Plan {
        /// Channel after channel (`interleaved` = false) or trace after trace.
        fn new(nfft: usize, howmany: usize, interleaved: bool) -> Self {
            let (input_len, output_len) = (nfft * howmany, (nfft / 2 + 1) * howmany);
            let (stride, idist, odist) = if interleaved { (howmany, 1, 1) } else { (1, nfft, nfft / 2 + 1) };
            // SAFETY: memory of the sizes that the plan is told; the plan and the memory live as long as `self`.
            unsafe {
                fftwf_set_timelimit(60.0);
                let input = fftwf_malloc(4 * input_len).cast::<f32>();
                let output = fftwf_malloc(8 * output_len).cast::<Complex<f32>>();
                let plan = fftwf_plan_many_dft_r2c(
                    1,
                    &(nfft as c_int),
                    howmany as c_int,
                    input,
                    null(),
                    stride as c_int,
                    idist as c_int,
                    output,
                    null(),
                    stride as c_int,
                    odist as c_int,
                    PATIENT | DESTROY_INPUT,
                );
                assert!(!plan.is_null(), "FFTW made no plan");
                Self { handle: plan, input, output, input_len, output_len }
            }
        }

        fn input(&mut self) -> &mut [f32] {
            // SAFETY: allocated with this length; all bit patterns are floats.
            unsafe { std::slice::from_raw_parts_mut(self.input, self.input_len) }
        }

        fn execute(&mut self) -> &[Complex<f32>] {
            // SAFETY: the plan was made for these two pieces of memory, which nobody else holds.
            unsafe {
                fftwf_execute(self.handle);
                std::slice::from_raw_parts(self.output, self.output_len)
            }
        }
    }

    impl Drop for Plan {
        fn drop(&mut self) {
            // SAFETY: made in `new`, used nowhere after.
            unsafe {
                fftwf_destroy_plan(self.handle);
                fftwf_free(self.input.cast());
                fftwf_free(self.output.cast());
            }
        }
    }

    /// `FFTW_PATIENT` on tiles in cache.
    pub struct Fftw {
        common: Common,
        plan: Plan,
        tile: usize,
        interleaved: bool,
        spectrum: Vec<Complex<f32>>,
    }

    impl Fftw {
        pub fn new(workload: &Workload, scale: f64, interleaved: bool) -> Self {
            let common = Common::new(workload, scale);
            let tile = TILE.min(common.channels);
            let mut plan = Plan::new(common.nfft, tile, interleaved);
            plan.input().fill(0.0);
            Self { spectrum: vec![Complex::default(); common.nfft / 2 + 1], common, plan, tile, interleaved }
        }
    }

    impl Contender for Fftw {
        fn name(&self) -> String {
            let layout = if self.interleaved { "channels interleaved" } else { "transposition" };
            format!("FFTW, {layout}")
        }

        fn pass(&mut self, recording: &Recording) {
            let (c, tile) = (&mut self.common, self.tile);
            let bins = c.nfft / 2 + 1;
            for line in 0..c.lines {
                let start = c.first + line * c.hop;
                for first in (0..c.channels).step_by(tile) {
                    let count = tile.min(c.channels - first);
                    if self.interleaved {
                        let rows = self.plan.input().chunks_exact_mut(tile).zip(&c.window);
                        for ((x, w), t) in rows.zip(start..) {
                            let samples = &recording.samples[t * recording.stride + first..][..count];
                            x.iter_mut().zip(samples).for_each(|(x, &sample)| *x = f32::from(sample) * w);
                        }
                    } else {
                        c.transpose(recording, start, first, count, self.plan.input());
                    }
                    let spectra = self.plan.execute();
                    for i in 0..count {
                        if self.interleaved {
                            let column = spectra[i..].iter().step_by(tile);
                            self.spectrum.iter_mut().zip(column).for_each(|(z, x)| *z = *x);
                            c.finish(line, first + i, &self.spectrum);
                        } else {
                            c.finish(line, first + i, &spectra[i * bins..(i + 1) * bins]);
                        }
                    }
                }
            }
        }

        fn values(&self, line: usize, channel: usize) -> Vec<f32> {
            self.common.of(line, channel)
        }
    }
}
