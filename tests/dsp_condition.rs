//! Conditioning against the definition, and a raw optical field with a known strain in it.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use fiberd::acquisition::{Acquisition, Quantity, Region, SampleFormat};
use fiberd::dsp::{CommonMode, ConditionError, ConditionSpec, Conditioner, Raw, Rows, Samples, common_mode, naive};
use fiberd::units::Rational;
use proptest::prelude::*;

/// Raw traces in memory as a block holds them, with padding that must not be read.
enum Memory {
    I16(Vec<i16>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Iq16(Vec<[i16; 2]>),
}

struct Recording {
    memory: Memory,
    channels: usize,
    stride: usize,
    traces: usize,
}

impl Recording {
    fn raw(&self, first: usize, traces: usize) -> Raw<'_> {
        let skip = first * self.stride;
        let samples = match &self.memory {
            Memory::I16(m) => Samples::I16(&m[skip..]),
            Memory::I32(m) => Samples::I32(&m[skip..]),
            Memory::F32(m) => Samples::F32(&m[skip..]),
            Memory::Iq16(m) => Samples::Iq16(&m[skip..]),
        };
        Raw::new(samples, self.stride, traces, self.channels)
    }

    fn row<'a, T>(&self, memory: &'a [T], t: usize) -> &'a [T] {
        &memory[t * self.stride..][..self.channels]
    }

    /// The same samples as the definition takes them: of an optical field, the phase over `gauge` channels.
    fn exact(&self, gauge: usize) -> Vec<Vec<f64>> {
        let traces = 0..self.traces;
        match &self.memory {
            Memory::I16(m) => traces.map(|t| self.row(m, t).iter().map(|&x| f64::from(x)).collect()).collect(),
            Memory::I32(m) => traces.map(|t| self.row(m, t).iter().map(|&x| f64::from(x)).collect()).collect(),
            Memory::F32(m) => traces
                .map(|t| self.row(m, t).iter().map(|&x| if x.is_finite() { f64::from(x) } else { 0.0 }).collect())
                .collect(),
            Memory::Iq16(m) => {
                let pair = |&[re, im]: &[i16; 2]| [f64::from(re), f64::from(im)];
                let field: Vec<Vec<[f64; 2]>> = traces.map(|t| self.row(m, t).iter().map(pair).collect()).collect();
                naive::demodulate(&field, gauge)
            }
        }
    }
}

fn fill<T: Copy>(
    channels: usize,
    stride: usize,
    traces: usize,
    poison: T,
    sample: impl Fn(usize, usize) -> T,
) -> Vec<T> {
    let mut memory = vec![poison; stride * traces];
    for (t, row) in memory.chunks_exact_mut(stride).enumerate() {
        row[..channels].iter_mut().enumerate().for_each(|(c, x)| *x = sample(t, c));
    }
    memory
}

/// As the pipeline does it: tiles, offsets from all of them, high-pass.
fn condition(
    spec: &ConditionSpec,
    acquisition: &Acquisition,
    recording: &Recording,
    tile: usize,
    cuts: &[usize],
) -> (Vec<Vec<f64>>, usize) {
    let channels = Conditioner::output_channels(spec, acquisition).expect("possible");
    let mut tiles: Vec<_> = (0..channels)
        .step_by(tile)
        .map(|c| Conditioner::new(spec, acquisition, c..(c + tile).min(channels), 64).expect("possible"))
        .collect();
    // Dirty memory, then a new beginning.
    let dirt = recording.raw(0, recording.traces.min(7));
    for tile in &mut tiles {
        tile.run(dirt);
        tile.high_pass();
        tile.reset();
    }
    let (mut out, mut nonfinite, mut first) = (Vec::new(), 0, 0);
    for &cut in cuts.iter().cycle() {
        let traces = cut.min(recording.traces - first);
        for tile in &mut tiles {
            tile.run(recording.raw(first, traces));
        }
        let mut scratch = Vec::new();
        let pieces = |t| tiles.iter().map(move |tile| tile.tile().row(t));
        let offsets: Vec<f64> = (0..traces).map(|t| common_mode(spec.common_mode, pieces(t), &mut scratch)).collect();
        for tile in &mut tiles {
            nonfinite += tile.nonfinite();
            tile.subtract_offsets(&offsets);
            tile.high_pass();
        }
        let rows: Vec<Rows<'_>> = tiles.iter().map(Conditioner::tile).collect();
        out.extend((0..traces).map(|t| rows.iter().flat_map(|rows| rows.row(t)).copied().collect()));
        first += traces;
        if first == recording.traces {
            break;
        }
    }
    (out, nonfinite)
}

/// Largest error in parts of the largest value that any step handles.
fn worst_error(got: &[Vec<f64>], expected: &[Vec<f64>], size: f64) -> f64 {
    assert_eq!((got.len(), got[0].len()), (expected.len(), expected[0].len()));
    let pairs = got.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(&got, expected)| (got - expected).abs() / size).fold(0.0, |w, e| if e <= w { w } else { e })
}

fn phase_acquisition(channels: usize, sample_format: SampleFormat) -> Acquisition {
    let quantity = if sample_format == SampleFormat::Iq16 { Quantity::OpticalField } else { Quantity::Phase };
    Acquisition { channels, sample_format, quantity, ..Acquisition::example() }
}

fn spec() -> impl Strategy<Value = ConditionSpec> {
    let mode = prop::sample::select(vec![CommonMode::Keep, CommonMode::Mean, CommonMode::Median]);
    let corner = prop_oneof![Just(0.0), 0.05f64..200.0];
    (any::<bool>(), 0usize..12, mode, corner).prop_map(|(strain_rate, gauge, common_mode, high_pass_hz)| {
        ConditionSpec { strain_rate, spatial_difference_channels: gauge, common_mode, high_pass_hz }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn real_samples_are_conditioned_as_defined(
        spec in spec(), channels in 13usize..90, padding in 0usize..20, traces in 1usize..300, tile in 1usize..70,
        cuts in prop::collection::vec(1usize..65, 1..5), seed: u64,
        (format, level) in prop::sample::select(vec![
            (SampleFormat::I16, 0.0), (SampleFormat::I32, 0.0), (SampleFormat::F32, 0.0), (SampleFormat::F32, 1e9),
        ]),
        bad in prop::option::of(0usize..50),
    ) {
        let noise = |t: usize, c: usize| (seed ^ (t * 7919 + c) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        let stride = channels + padding;
        let float = format == SampleFormat::F32;
        let levels: Arc<[f64]> = (0..if level > 0.0 { channels } else { 0 }).map(|c| level * (c as f64).cos()).collect();
        let memory = if float {
            let sample = |t, c| match bad {
                Some(b) if t == b && c % 3 == 0 => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][c % 9 / 3],
                _ => noise(t, c) as f32 - 3e4 + 0.1,
            };
            Memory::F32(fill(channels, stride, traces, f32::NAN, sample))
        } else if format == SampleFormat::I32 {
            let sample = |t, c| i32::from(noise(t, c) as i16) * 65_536 + 7;
            Memory::I32(fill(channels, stride, traces, i32::MIN, sample))
        } else {
            Memory::I16(fill(channels, stride, traces, i16::MIN, |t, c| noise(t, c) as i16))
        };
        let recording = Recording { memory, channels, stride, traces };
        let scale = if float { 1e-3 } else { 1e-6 };
        let acquisition = Acquisition { scale, levels: Arc::clone(&levels), ..phase_acquisition(channels, format) };

        let (got, nonfinite) = condition(&spec, &acquisition, &recording, tile, &cuts);
        let mut exact = recording.exact(spec.spatial_difference_channels);
        for row in &mut exact {
            row.iter_mut().zip(&levels[..]).for_each(|(x, level)| *x += level);
        }
        let expected = naive::condition(&spec, &acquisition, &exact).unwrap();
        let factor = if spec.strain_rate { fiberd::dsp::calibration::strain_rate_factor(&spec, &acquisition).unwrap() } else { 1.0 };
        let error = worst_error(&got, &expected, 65536.0 * acquisition.scale * factor);
        prop_assert!(error < 2e-6, "{error:e}");
        let replaced = bad.is_some_and(|b| float && b < traces);
        prop_assert_eq!(nonfinite > 0, replaced);
        if tile >= channels && replaced {
            prop_assert_eq!(nonfinite, channels.div_ceil(3));
        }
    }
}

/// A fiber as light sees it. Strain `ε(t) = a sin(2π f t)` on channels `place`, nothing elsewhere: the phase at a channel
/// is all the strain before it, `φ = (4π n ξ / λ) ∫ ε dx`, on a random static profile, with slow drift of the laser and
/// steps of `laser_rad` rms from trace to trace.
struct Scene {
    strain: f64,
    hz: f64,
    place: std::ops::Range<usize>,
    laser_rad: f64,
}

impl Scene {
    fn phase(&self, a: &Acquisition, t: usize, channel: usize) -> f64 {
        let seconds = t as f64 / a.prr.to_f64();
        let strained_m = a.dx_m * (channel.clamp(self.place.start, self.place.end) - self.place.start) as f64;
        let radians_per_m = 4.0 * PI * a.refractive_index.expect("known") * 0.78 / a.wavelength_m.expect("known");
        let drift = 300.0 * seconds;
        self.strain * (TAU * self.hz * seconds).sin() * strained_m * radians_per_m
            + 1.7 * (channel * channel) as f64
            + drift
    }

    fn record(&self, a: &Acquisition, traces: usize) -> Recording {
        // A sum of twelve even random numbers is as good as normal.
        let even = |n: u64| {
            n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD1B5_4A32_D192_ED03)
                >> 40
        };
        let normal = |t: u64| (0..12).map(|i| even(12 * t + i) as f64 / (1u64 << 24) as f64).sum::<f64>() - 6.0;
        let mut phase = 0.0;
        let mut step = |t: usize| {
            phase += self.laser_rad * normal(t as u64);
            phase
        };
        let laser: Vec<f64> = (0..traces).map(&mut step).collect();
        let sample = |t: usize, c: usize| {
            let (sin, cos) = (self.phase(a, t, c) + laser[t]).sin_cos();
            let brightness = 4000.0 + 3000.0 * (c as f64).sin();
            [(brightness * cos).round() as i16, (brightness * sin).round() as i16]
        };
        let memory = Memory::Iq16(fill(a.channels, a.channels + 5, traces, [i16::MAX, 3], sample));
        Recording { memory, channels: a.channels, stride: a.channels + 5, traces }
    }
}

/// Amplitude of a sine of a whole number of cycles.
fn amplitude(samples: impl Iterator<Item = f64>, cycles_per_sample: f64) -> f64 {
    let (mut re, mut im, mut n) = (0.0, 0.0, 0.0);
    for (t, x) in samples.enumerate() {
        let angle = TAU * cycles_per_sample * t as f64;
        re += x * angle.cos();
        im += x * angle.sin();
        n += 1.0;
    }
    2.0 * f64::hypot(re, im) / n
}

#[test]
fn a_known_strain_is_found_in_the_raw_optical_field() {
    let scene = Scene { strain: 20e-9, hz: 20.0, place: 40..80, laser_rad: 0.0 };
    let a = phase_acquisition(128, SampleFormat::Iq16);
    let recording = scene.record(&a, 4001);
    let spec = ConditionSpec { strain_rate: true, spatial_difference_channels: 10, ..ConditionSpec::default() };
    let output = Conditioner::output_acquisition(&spec, &a).unwrap();
    assert_eq!((output.channels, output.quantity, output.unit.as_str()), (118, Quantity::StrainRate, "nstrain/s"));
    assert!((output.gauge_length_m.unwrap() - 10.0 * a.dx_m).abs() < 1e-9);
    assert!((output.fiber_start_m - 5.0 * a.dx_m).abs() < 1e-9);

    let (got, _) = condition(&spec, &a, &recording, 48, &[40, 1, 64]);
    // The first trace has no predecessor.
    assert!(got[0].iter().all(|&x| x == 0.0));
    let of_channel = |c: usize| got[1..].iter().map(move |row| row[c]);
    // nstrain/s, less what a first difference loses of a sine.
    let rate = scene.strain * 1e9 * TAU * scene.hz;
    for c in 0..118 {
        let measured = amplitude(of_channel(c), scene.hz / 2000.0);
        match c {
            // The gauge length lies within the strained part, or without.
            40..=70 => assert!((measured / rate - 1.0).abs() < 0.01, "channel {c}: {measured} for {rate}"),
            0..30 | 80.. => assert!(measured < rate / 1000.0, "channel {c}: {measured} where nothing moves"),
            _ => assert!(measured < rate * 1.01),
        }
    }
    // To the definition: quantisation is the same in both, only arithmetic differs.
    let expected = naive::condition(&spec, &a, &recording.exact(spec.spatial_difference_channels)).unwrap();
    let error = worst_error(&got, &expected, rate);
    assert!(error < 2e-5, "{error:e}");
}

/// What both ends of a gauge share is gone before anything is unwrapped: each channel alone would slip by a turn in every
/// third trace here.
#[test]
fn noise_of_the_laser_does_not_reach_the_strain() {
    let scene = Scene { strain: 5e-9, hz: 100.0, place: 0..64, laser_rad: 1.75 };
    let a = phase_acquisition(64, SampleFormat::Iq16);
    let recording = scene.record(&a, 4001);
    let spec = ConditionSpec { strain_rate: true, spatial_difference_channels: 10, ..ConditionSpec::default() };
    let (got, _) = condition(&spec, &a, &recording, 48, &[40, 1, 64]);
    // 3142 nstrain/s, of which a first difference at a twentieth of the PRR leaves 3129.
    let rate = scene.strain * 1e9 * TAU * scene.hz;
    let left = rate * (PI * 0.05).sin() / (PI * 0.05);
    for c in 0..54 {
        let of_channel = || got[1..].iter().map(|row| row[c]);
        let tone = amplitude(of_channel(), scene.hz / 2000.0);
        let floor = (of_channel().map(|x| x * x).sum::<f64>() / 4000.0 - tone * tone / 2.0).max(0.0).sqrt();
        assert!((tone / left - 1.0).abs() < 1e-3 && floor < 45.0, "channel {c}: {tone} for {left}, floor {floor}");
    }
}

/// A shutter, a fade to nothing: where one end of the gauge is dark the phase stands, and nothing is lost behind it.
#[test]
fn the_phase_stands_while_it_is_dark() {
    let scene = Scene { strain: 2e-8, hz: 10.0, place: 0..30, laser_rad: 0.5 };
    let a = phase_acquisition(30, SampleFormat::Iq16);
    let mut recording = scene.record(&a, 600);
    let Memory::Iq16(memory) = &mut recording.memory else { unreachable!() };
    for (t, row) in memory.chunks_exact_mut(recording.stride).enumerate() {
        for (c, sample) in row.iter_mut().enumerate().filter(|(c, _)| (t / 3 + c) % 11 == 0 || t / 100 == 2) {
            *sample = if c < 29 || t > 0 { [0, 0] } else { *sample };
        }
    }
    for strain_rate in [true, false] {
        let spec = ConditionSpec { strain_rate, spatial_difference_channels: 4, ..ConditionSpec::default() };
        let (got, _) = condition(&spec, &a, &recording, 12, &[64, 5]);
        let expected = naive::condition(&spec, &a, &recording.exact(4)).unwrap();
        let largest = expected.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
        let error = worst_error(&got, &expected, largest);
        assert!(error < 1e-6, "{error:e}");
    }
}

#[test]
fn unwrapped_phase_stays_exact_while_it_runs_away() {
    // 150 turns in 4000 traces at every channel, and a strain of several turns within the gauge length.
    let scene = Scene { strain: 2e-7, hz: 10.0, place: 10..40, laser_rad: 0.0 };
    let a = phase_acquisition(64, SampleFormat::Iq16);
    let recording = scene.record(&a, 4000);
    let spec = ConditionSpec { spatial_difference_channels: 8, ..ConditionSpec::default() };
    let output = Conditioner::output_acquisition(&spec, &a).unwrap();
    assert_eq!((output.quantity, output.unit.as_str()), (Quantity::Phase, "rad"));
    let (got, _) = condition(&spec, &a, &recording, 20, &[64]);
    let expected = naive::condition(&spec, &a, &recording.exact(spec.spatial_difference_channels)).unwrap();
    let largest = expected.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(largest > 4.0 * PI, "the scene must wrap: {largest}");
    let error = worst_error(&got, &expected, 1.0);
    assert!(error < 2e-5, "{error:e} rad");
}

#[test]
fn absurd_floats_poison_nothing_that_follows() {
    let a = Acquisition { scale: 1.0, ..phase_acquisition(16, SampleFormat::F32) };
    let spec = ConditionSpec { strain_rate: true, high_pass_hz: 1.0, ..ConditionSpec::default() };
    let absurd = [f32::MAX, f32::MIN, f32::NAN, f32::INFINITY, 1e-40, -1e-45, 1e30, 0.0];
    let sample = |t: usize, c: usize| if t < 50 { absurd[(t * 5 + c) % 8] } else { (t * c) as f32 };
    let memory = Memory::F32(fill(16, 16, 5000, 0.0, sample));
    let (got, nonfinite) =
        condition(&spec, &a, &Recording { memory, channels: 16, stride: 16, traces: 5000 }, 16, &[64]);
    assert!(nonfinite > 400);
    assert!(got.iter().flatten().all(|x| x.is_finite() && (*x == 0.0 || x.is_normal())));
    // A ramp has a constant rate of change: behind the high-pass nothing of it remains, nor of the nonsense before it.
    let rate = a.prr.to_f64();
    assert!(got[4999].iter().all(|x| x.abs() < 1e-3 * rate), "{:?}", got[4999]);
}

#[test]
fn what_cannot_be_conditioned_is_refused_with_the_reason() {
    let a = phase_acquisition(100, SampleFormat::I16);
    let iq = phase_acquisition(100, SampleFormat::Iq16);
    let rate = ConditionSpec { strain_rate: true, ..ConditionSpec::default() };
    let refusal = |spec: ConditionSpec, a: &Acquisition| Conditioner::output_acquisition(&spec, a).unwrap_err();
    assert_eq!(refusal(rate, &Acquisition { wavelength_m: None, ..a.clone() }), ConditionError::Missing("wavelength"));
    assert_eq!(
        refusal(rate, &Acquisition { gauge_length_m: None, ..a.clone() }),
        ConditionError::Missing("gauge length")
    );
    let no_index = Acquisition { refractive_index: Some(0.0), ..a.clone() };
    assert_eq!(refusal(rate, &no_index), ConditionError::Missing("refractive index"));
    let strain = Acquisition { quantity: Quantity::Strain, unit: "strain".into(), ..a.clone() };
    assert!(matches!(refusal(rate, &strain), ConditionError::NotPhase { quantity: "strain", .. }));
    assert_eq!(refusal(ConditionSpec::default(), &iq), ConditionError::NoGauge);
    let long = ConditionSpec { spatial_difference_channels: 100, ..ConditionSpec::default() };
    let further = Region { first_channel: 50, start_m: 1000.0, dx_m: 1.0 };
    let regions = Acquisition { regions: [further].into(), ..a.clone() };
    let short = ConditionSpec { spatial_difference_channels: 2, ..ConditionSpec::default() };
    assert_eq!(refusal(short, &regions), ConditionError::Regions(2));
    assert_eq!(refusal(long, &a), ConditionError::GaugeTooLong { gauge: 100, channels: 100 });
    for corner in [-1.0, 1000.0, f64::NAN, f64::INFINITY] {
        let spec = ConditionSpec { high_pass_hz: corner, ..ConditionSpec::default() };
        assert!(matches!(refusal(spec, &a), ConditionError::HighPass { .. }), "{corner}");
    }
    for scale in [0.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        let a = Acquisition { scale, ..a.clone() };
        assert!(matches!(refusal(ConditionSpec::default(), &a), ConditionError::Scale(_)), "{scale}");
    }
    for channels in [5..5, 90..101, 101..200] {
        assert!(matches!(
            Conditioner::new(&ConditionSpec::default(), &a, channels, 10),
            Err(ConditionError::Channels { channels: 100, .. })
        ));
    }
}

/// The number itself, worked out by hand: 2000 Hz, 1550 nm, n = 1.468, ξ = 0.78, G = 10 m.
#[test]
fn the_strain_rate_factor_is_the_published_one() {
    let a = Acquisition { gauge_length_m: Some(10.0), ..Acquisition::example() };
    let rate = ConditionSpec { strain_rate: true, ..ConditionSpec::default() };
    // 1550e-9 / (4π · 1.468 · 0.78 · 10) = 1.077212e-8 strain a radian.
    let factor = fiberd::dsp::calibration::strain_rate_factor(&rate, &a).unwrap();
    assert!((factor / (2000.0 * 10.772_12) - 1.0).abs() < 1e-6, "{factor}");
    let two = Acquisition { prr: Rational::new(4000, 1).unwrap(), ..a };
    assert!((fiberd::dsp::calibration::strain_rate_factor(&rate, &two).unwrap() / factor - 2.0).abs() < 1e-12);
}
