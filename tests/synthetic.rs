//! The synthetic interrogator against its own promises: the same traces however they are asked for, noise with the
//! stated spectra, strain with the stated size at the stated place and time.

use std::f64::consts::TAU;

use fiberd::source::synthetic::{Format, Generator, Kind, Noise, OutputQuantity, Pulled, Scene, Source};
use proptest::prelude::*;

/// All channels of `traces` traces as numbers of type `T`, `[trace][channel]`.
fn samples<T: bytemuck::Pod>(scene: &Scene, first_trace: u64, traces: usize) -> Vec<T> {
    let mut generator = Generator::new(scene).expect("a scene that can be played");
    let mut rows = vec![T::zeroed(); traces * generator.row_bytes() / size_of::<T>()];
    generator.generate(first_trace, bytemuck::cast_slice_mut(&mut rows));
    rows
}

/// One channel of `i16` samples in physical units.
fn channel(scene: &Scene, first_trace: u64, traces: usize, channel: usize) -> Vec<f64> {
    let counts: Vec<i16> = samples(scene, first_trace, traces);
    counts.chunks(scene.fiber.channels).map(|row| f64::from(row[channel]) * scene.scale()).collect()
}

/// Everything at once, on few channels: whatever depends on the past would show.
fn busy(format: Format, quantity: OutputQuantity) -> Scene {
    let mut scene = Scene::from_toml(
        "seed = 11
        [fiber]\nchannels = 300\ndx_m = 2.0
        [interrogator]\nprr_hz = 500.0
        [[source]]\nkind = 'walker'\nplace_m = 100.0
        [[source]]\nkind = 'vehicle'\nspeed_m_per_s = -20.0
        [[source]]\nkind = 'train'\nspeed_m_per_s = 30.0\nduration_s = 2.0\nrepeat_every_s = 3.0
        [[source]]\nkind = 'digging'\nduration_s = 0.7\nrepeat_every_s = 1.1
        [[source]]\nkind = 'pump'
        [[source]]\nkind = 'quake'\nstart_s = 1.0\nduration_s = 5.0
        [[source]]\nkind = 'break'\nstart_s = 3.0\nplace_m = 500.0
        [[pulled]]\nfrom_s = 2.0\nto_s = 2.1\nunnoticed = true",
    )
    .expect("a scene that can be played");
    scene.interrogator.sample_format = format;
    scene.interrogator.quantity = quantity;
    scene
}

const OUTPUTS: [(Format, OutputQuantity); 6] = [
    (Format::I16, OutputQuantity::Phase),
    (Format::I16, OutputQuantity::StrainRate),
    (Format::F32, OutputQuantity::Phase),
    (Format::F32, OutputQuantity::StrainRate),
    (Format::Iq16, OutputQuantity::Phase),
    (Format::I32, OutputQuantity::Phase),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However the traces are split, in whatever order the pieces are asked for, after whatever else.
    #[test]
    fn traces_do_not_depend_on_how_they_are_asked_for(
        output in 0usize..6, seed in 0u64..1000, first in 0u64..2000, cuts in prop::collection::vec(1usize..60, 1..8),
        backwards: bool, elsewhere in 0u64..3000,
    ) {
        let (format, quantity) = OUTPUTS[output];
        let scene = Scene { seed, ..busy(format, quantity) };
        let total: usize = cuts.iter().sum();
        let whole: Vec<u8> = samples(&scene, first, total);

        let mut generator = Generator::new(&scene).unwrap();
        let row_bytes = generator.row_bytes();
        generator.generate(elsewhere, &mut vec![0; row_bytes]);
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(from..from + cut);
            from += cut;
        }
        if backwards {
            pieces.reverse();
        }
        let mut split = vec![0u8; whole.len()];
        for piece in pieces {
            generator.generate(first + piece.start as u64, &mut split[piece.start * row_bytes..piece.end * row_bytes]);
        }
        prop_assert!(split == whole, "{format:?} {quantity:?}");
    }
}

/// The same numbers on every machine and in every version: a changed checksum is a changed scene, and every recorded
/// fixture with it.
#[test]
fn known_scenes_have_known_checksums() {
    let golden = [0x4e7a_9510, 0x3f3c_029b, 0x6e79_b8ca, 0x9192_2764, 0x8af5_c80e, 0x7c66_4461];
    let found = OUTPUTS.map(|(format, quantity)| {
        let scene = busy(format, quantity);
        [0, 400, 1490]
            .map(|first| samples::<u8>(&scene, first, 64))
            .iter()
            .fold(0u32, |sum, rows| sum.rotate_left(1) ^ crc32fast::hash(rows))
    });
    assert_eq!(found, golden, "{found:#010x?}");
    let other = Scene { seed: 12, ..busy(Format::I16, OutputQuantity::Phase) };
    assert_ne!(samples::<u8>(&other, 0, 64), samples::<u8>(&busy(Format::I16, OutputQuantity::Phase), 0, 64));
}

#[test]
fn counts_of_32_bits_are_those_of_16_with_more_digits() {
    let [short, long] = [Format::I16, Format::I32].map(|format| busy(format, OutputQuantity::Phase));
    let counts = (samples::<i16>(&short, 7, 64).into_iter()).zip(samples::<i32>(&long, 7, 64));
    let worst =
        counts.map(|(a, b)| (f64::from(a) * short.scale() - f64::from(b) * long.scale()).abs()).fold(0.0, f64::max);
    assert!((1e-6..=0.5 * short.scale() + 0.5 * long.scale() + 1e-6).contains(&worst), "{worst:e}");
}

/// One-sided power density at `frequency_hz`, averaged over segments, periodic Hann window, straight from the definition.
fn density(x: &[f64], rate_hz: f64, frequency_hz: f64, segment: usize) -> f64 {
    let window: Vec<f64> = (0..segment).map(|i| (TAU * i as f64 / segment as f64 / 2.0).sin().powi(2)).collect();
    let energy: f64 = window.iter().map(|w| w * w).sum();
    let segments: Vec<f64> = x
        .chunks_exact(segment)
        .map(|chunk| {
            let mean = chunk.iter().sum::<f64>() / segment as f64;
            let (mut re, mut im) = (0.0, 0.0);
            for (i, (&x, &w)) in chunk.iter().zip(&window).enumerate() {
                let (sin, cos) = (TAU * frequency_hz * i as f64 / rate_hz).sin_cos();
                re += (x - mean) * w * cos;
                im += (x - mean) * w * sin;
            }
            2.0 * (re * re + im * im) / (energy * rate_hz)
        })
        .collect();
    segments.iter().sum::<f64>() / segments.len() as f64
}

fn quiet(channels: usize) -> Scene {
    let mut scene = Scene::noise_only(channels, 1000.0);
    scene.fiber.fading = false;
    scene.fiber.attenuation_db_per_km = 0.0;
    scene.interrogator.sample_format = Format::F32;
    scene
}

#[test]
fn receiver_noise_is_white_with_the_stated_density_in_every_channel_and_between_them() {
    let mut scene = quiet(700);
    scene.noise = Noise { receiver_rad_per_sqrt_hz: 3e-3, ..Noise::SILENT };
    let traces = 16_384;
    let rows: Vec<f32> = samples(&scene, 0, traces);
    let of = |c: usize| -> Vec<f64> { rows.chunks(700).map(|row| f64::from(row[c])).collect() };
    for c in [0, 255, 256, 699] {
        let x = of(c);
        for band in [20.0, 90.0, 250.0, 410.0, 455.0] {
            // 64 segments and five bins: 5.6 % standard error.
            let mean = (0..5).map(|i| density(&x, 1000.0, band + 8.0 * f64::from(i), 256)).sum::<f64>() / 5.0;
            assert!((mean / 9e-6 - 1.0).abs() < 0.25, "channel {c} at {band} Hz: {mean:e}");
        }
    }
    let variance = of(17).iter().map(|x| x * x).sum::<f64>() / traces as f64;
    for (a, b) in [(17, 18), (17, 273), (17, 529), (0, 699)] {
        let product = of(a).iter().zip(of(b)).map(|(x, y)| x * y).sum::<f64>() / traces as f64;
        assert!((product / variance).abs() < 0.05, "channels {a} and {b}: {}", product / variance);
    }
}

#[test]
fn laser_noise_falls_with_one_over_f_and_is_common_to_all_channels() {
    let mut scene = quiet(3);
    scene.noise = Noise { laser_rad_per_sqrt_hz_at_1hz: 0.02, laser_corner_hz: 0.1, ..Noise::SILENT };
    let rows: Vec<f32> = samples(&scene, 0, 1 << 18);
    assert!(
        rows.chunks(3).all(|row| [row[1], row[2]].map(f32::to_bits) == [row[0]; 2].map(f32::to_bits)),
        "common to all channels"
    );
    let x: Vec<f64> = rows.chunks(3).map(|row| f64::from(row[0])).collect();
    for frequency in [1.0, 2.0, 5.0, 20.0] {
        // Bins away from the lowest, where the window leaks; four neighbours, 16 segments: 12 % standard error.
        let mean = (0..4)
            .map(|i| {
                let f = frequency * (1.0 + 0.03 * f64::from(i));
                density(&x, 1000.0, f, 1 << 14) * (f * f + 0.01) / 4e-4
            })
            .sum::<f64>()
            / 4.0;
        assert!((mean - 1.0).abs() < 0.5, "at {frequency} Hz: {mean} of what is stated");
    }
    let whole = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    assert!(whole < 10.0 * 4e-4 * TAU / 4.0 / 0.1, "it stays within bounds");
}

#[test]
fn noise_grows_with_attenuation_and_in_faded_channels() {
    let spread = |scene: &Scene| -> Vec<f64> {
        let rows: Vec<f32> = samples(scene, 0, 2000);
        let n = scene.fiber.channels;
        (0..n).map(|c| (rows.chunks(n).map(|r| f64::from(r[c]).powi(2)).sum::<f64>() / 2000.0).sqrt()).collect()
    };
    let mut scene = quiet(500);
    scene.noise = Noise { receiver_rad_per_sqrt_hz: 1e-3, ..Noise::SILENT };
    scene.fiber.dx_m = 20.0;
    scene.fiber.attenuation_db_per_km = 0.5;
    let clear = spread(&scene);
    // 10 km at 0.5 dB/km: 10 dB of power there and back, a factor of √10 in amplitude.
    assert!((clear[499] / clear[0] / 10f64.sqrt() - 1.0).abs() < 0.1, "{}", clear[499] / clear[0]);
    scene.fiber.fading = true;
    let mut faded: Vec<f64> = spread(&scene).iter().zip(&clear).map(|(f, c)| f / c).collect();
    faded.sort_by(f64::total_cmp);
    assert!(faded[450] > 1.4 && faded[50] < 0.9, "a tenth is much worse, a tenth better: {} {}", faded[450], faded[50]);
}

#[test]
fn a_tone_is_the_stated_strain_to_the_last_count() {
    for (prr, frequency, strain) in [(1000.0, 50.0, 20.0), (2000.0, 37.5, 250.0), (512.0, 100.3, 1.0)] {
        let scene = Scene::tone(40, prr, 10..20, frequency, strain, Format::I16);
        let k = scene.rad_per_nstrain();
        let expected_k = 4.0 * std::f64::consts::PI * 1.468 * 0.78 * 10.0 / 1550e-9 * 1e-9;
        assert!((k / expected_k - 1.0).abs() < 1e-12);
        for (t, row) in (700u32..).zip(samples::<i16>(&scene, 700, 500).chunks(40)) {
            let phase = k * strain * (TAU * frequency * f64::from(t) / prr).sin() / 1e-3;
            for (c, &count) in row.iter().enumerate() {
                let wanted = if (10..20).contains(&c) { phase } else { 0.0 };
                assert!((f64::from(count) - wanted).abs() <= 0.51, "trace {t} channel {c}: {count} for {wanted}");
            }
        }
        // Strain rate is the first difference, from trace 0 on.
        let mut rate = scene.clone();
        rate.interrogator.quantity = OutputQuantity::StrainRate;
        rate.interrogator.sample_format = Format::F32;
        let at = |t: f64| strain * (TAU * frequency * t / prr).sin();
        for (t, row) in samples::<f32>(&rate, 0, 200).chunks(40).enumerate() {
            let wanted = (at(t as f64) - at(t as f64 - 1.0)) * prr;
            assert!(
                (f64::from(row[15]) - wanted).abs() < 1e-3 * strain * prr.sqrt(),
                "trace {t}: {} {wanted}",
                row[15]
            );
            assert!(row[5].abs() < 1e-9);
        }
    }
}

#[test]
fn strain_beyond_the_range_saturates_at_the_last_count() {
    let scene = Scene::tone(4, 1000.0, 0..4, 10.0, 1e6, Format::I16);
    let counts: Vec<i16> = samples(&scene, 0, 1000);
    assert_eq!((counts.iter().max(), counts.iter().min()), (Some(&32_767), Some(&-32_767)));
}

#[test]
fn the_gauge_difference_of_the_raw_field_is_the_stated_strain() {
    let (strain, frequency) = (30.0, 40.0);
    let mut scene = Scene::tone(200, 1000.0, 50..150, frequency, strain, Format::Iq16);
    scene.fiber.fading = true;
    let gauge = scene.gauge_channels();
    let rows: Vec<i16> = samples(&scene, 0, 400);
    let phase = |t: usize, c: usize| {
        let at = 2 * (t * 200 + c);
        f64::from(rows[at + 1]).atan2(f64::from(rows[at]))
    };
    let near = |c: usize| f64::from(rows[2 * c]).hypot(f64::from(rows[2 * c + 1]));
    let mut checked = 0;
    for c in gauge..200 {
        if near(c).min(near(c - gauge)) < 500.0 {
            continue;
        }
        checked += 1;
        // How many of the gauge's channels lie in the range.
        let share = (c + 1).min(150).saturating_sub((c + 1 - gauge).max(50)) as f64 / gauge as f64;
        let (mut unwrapped, mut last) = (0.0, phase(0, c) - phase(0, c - gauge));
        for t in 1..400 {
            let now = phase(t, c) - phase(t, c - gauge);
            let step = now - last;
            unwrapped += step - TAU * (step / TAU).round();
            last = now;
            let wanted = share * scene.rad_per_nstrain() * strain * (TAU * frequency * t as f64 / 1000.0).sin();
            // Rounding to counts: half a count in 500 at each end.
            assert!((unwrapped - wanted).abs() < 6e-3, "trace {t} channel {c}: {unwrapped} for {wanted}");
        }
    }
    assert!(checked > 100, "most channels are bright: {checked}");
}

/// Mean square over `traces` traces of what changes between traces 5 apart, per channel: slow drifts do not count.
fn liveliness(scene: &Scene, at_s: f64, seconds: f64) -> Vec<f64> {
    let prr = scene.interrogator.prr_hz;
    let n = scene.fiber.channels;
    let rows: Vec<i16> = samples(scene, (at_s * prr) as u64, (seconds * prr) as usize);
    let rows: Vec<&[i16]> = rows.chunks(n).collect();
    let mut energy = vec![0.0; n];
    for pair in rows.windows(6) {
        for c in 0..n {
            energy[c] += (f64::from(pair[5][c]) - f64::from(pair[0][c])).powi(2);
        }
    }
    energy.iter().map(|e| e / rows.len() as f64).collect()
}

/// The place in metres around which the energy above the median gathers.
fn centre_m(scene: &Scene, energy: &[f64]) -> f64 {
    let mut sorted = energy.to_vec();
    sorted.sort_by(f64::total_cmp);
    let floor = 3.0 * sorted[sorted.len() / 2];
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (c, &e) in energy.iter().enumerate() {
        let above = (e - floor).max(0.0);
        sum += above;
        weighted += above * (scene.fiber.start_m + scene.fiber.dx_m * c as f64);
    }
    assert!(sum > 0.0, "nothing to be heard");
    weighted / sum
}

fn with(source: Source) -> Scene {
    let mut scene = Scene { source: Some(vec![source]), ..Scene::noise_only(600, 1000.0) };
    scene.fiber.dx_m = 2.0;
    scene.fiber.start_m = 500.0;
    scene.fiber.fading = false;
    scene
}

#[test]
fn what_moves_is_found_at_its_place_at_its_time() {
    let walker = Source { start_s: 3.0, place_m: Some(800.0), ..Source::new(Kind::Walker) };
    let vehicle =
        Source { start_s: 3.0, place_m: Some(1500.0), speed_m_per_s: Some(-20.0), ..Source::new(Kind::Vehicle) };
    for (source, speed, tolerance_m) in [(walker, 1.4, 6.0), (vehicle, -20.0, 20.0)] {
        let scene = with(source.clone());
        for at_s in [5.0, 20.0, 40.0] {
            let wanted = source.place_m.unwrap() + speed * (at_s + 1.0 - 3.0);
            let found = centre_m(&scene, &liveliness(&scene, at_s, 2.0));
            assert!((found - wanted).abs() < tolerance_m, "{:?} at {at_s} s: {found} m for {wanted} m", source.kind);
        }
        let before = liveliness(&scene, 0.5, 2.0);
        let loudest = before.iter().copied().fold(0.0, f64::max);
        assert!(loudest < 2.0 * before[0], "{:?} is not there yet", source.kind);
    }
}

#[test]
fn what_stands_is_found_at_its_place_and_keeps_its_hours() {
    let digging = Source {
        start_s: 2.0,
        place_m: Some(1100.0),
        duration_s: Some(10.0),
        repeat_every_s: Some(30.0),
        ..Source::new(Kind::Digging)
    };
    let scene = with(digging);
    for (from_s, heard) in [(3.0, true), (14.0, false), (33.0, true), (44.0, false)] {
        let energy = liveliness(&scene, from_s, 8.0);
        let (here, far) = (energy[300], energy[20]);
        assert_eq!(here > 20.0 * far, heard, "from {from_s} s on: {here} beside {far}");
        if heard {
            let found = centre_m(&scene, &energy);
            assert!((found - 1100.0).abs() < 4.0, "{found} m");
        }
    }
    let pump = with(Source { place_m: Some(900.0), frequency_hz: Some(30.0), ..Source::new(Kind::Pump) });
    let (here, far) = (channel(&pump, 0, 4096, 200), channel(&pump, 0, 4096, 400));
    let density_here = |f| density(&here, 1000.0, f, 1024);
    // 8 nanostrain at the place itself; the window's main lobe spreads the line over 1.5 bins.
    let amplitude = (density_here(30.0) * 1.5 * 1000.0 / 1024.0 * 2.0).sqrt() / pump.rad_per_nstrain();
    assert!((amplitude / 8.0 - 1.0).abs() < 0.15, "{amplitude} nstrain");
    assert!(density_here(60.0) > 100.0 * density_here(45.0), "a harmonic");
    assert!(density(&far, 1000.0, 30.0, 1024) < 3.0 * density(&far, 1000.0, 45.0, 1024), "out of reach");
}

#[test]
fn an_earthquake_crosses_the_fiber_at_its_speed_and_a_train_is_long() {
    let quake = with(Source {
        start_s: 2.0,
        duration_s: Some(20.0),
        wave_speed_m_per_s: Some(2000.0),
        strength_nstrain: Some(200.0),
        ..Source::new(Kind::Quake)
    });
    let (first, last) = (channel(&quake, 2000, 8000, 0), channel(&quake, 2000, 8000, 599));
    let alike = |lag: usize| -> f64 { first.iter().zip(&last[lag..]).map(|(a, b)| a * b).sum() };
    let best = (0..2000).max_by(|&a, &b| alike(a).total_cmp(&alike(b))).unwrap();
    assert!((best as f64 - 599.0).abs() <= 3.0, "1198 m at 2000 m/s are 599 ms; found {best} ms");

    let train = with(Source { place_m: Some(600.0), length_m: Some(300.0), ..Source::new(Kind::Train) });
    let energy = liveliness(&train, 19.5, 1.0);
    // At 20 s its head is at 1200 m and its tail at 900 m.
    let loud = |m: usize| energy[(m - 500) / 2];
    assert!([930, 1050, 1170].iter().all(|&m| loud(m) > 30.0 * loud(560)), "loud along its length");
}

#[test]
fn behind_a_break_and_while_pulled_only_the_receiver_is_heard() {
    let mut scene =
        with(Source { place_m: Some(900.0), start_s: 2.0, duration_s: Some(4.0), ..Source::new(Kind::Break) });
    scene.noise.dark_counts = 2.0;
    scene.noise.receiver_rad_per_sqrt_hz = 1e-3;
    scene.pulled = vec![Pulled { from_s: 8.0, to_s: 9.0, unnoticed: true }];
    let spread = |at_s: f64, c: usize| {
        let x = channel(&scene, (at_s * 1000.0) as u64, 900, c);
        (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt() / scene.scale()
    };
    // 1 mrad/√Hz at 1000 Hz is 22 counts.
    for (at_s, place, lit) in
        [(0.0, 199, true), (0.0, 200, true), (2.0, 199, true), (2.0, 200, false), (5.0, 599, false), (6.0, 599, true)]
    {
        let found = spread(at_s, place);
        assert!(if lit { found > 15.0 } else { (found - 2.0).abs() < 0.3 }, "channel {place} at {at_s} s: {found}");
    }
    assert!((spread(8.05, 3) - 2.0).abs() < 0.3 && spread(9.0, 3) > 15.0, "pulled");
}

#[test]
fn every_scene_in_the_fixtures_can_be_played() {
    let scenes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenes");
    let mut count = 0;
    for file in std::fs::read_dir(scenes).unwrap() {
        let scene = Scene::from_file(&file.unwrap().path()).unwrap();
        let rows: Vec<u8> = samples(&scene, 0, 3);
        assert!(rows.iter().any(|&b| b != 0));
        count += 1;
    }
    assert!(count >= 4);
}
