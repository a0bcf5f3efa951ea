//! Every instruction set that this machine has, and vectors wider than it has, against the definition.

use fearless_simd::{Level as InstructionSet, Simd, dispatch, f32x16};
use proptest::prelude::*;

use super::kernel::{Lanes, kernel_for};
use super::{CELL_CHANNELS, Cell, Counts, Floats, Form, Kernel, LEVEL_TRACES, Out, Samples, Schedule};
use crate::dsp::naive;
use crate::dsp::window::Window as Shape;

/// The kernel of this machine, the one of the lowest common denominator, and sixteen lanes on whatever there is.
fn kernels() -> Vec<(&'static str, Box<dyn Kernel>)> {
    #[inline(always)]
    fn wide<S: Simd>(simd: S) -> Box<dyn Kernel> {
        Box::new(Lanes::<S, f32x16<S>>::new(simd))
    }
    let wide = dispatch!(InstructionSet::new(), simd => wide(simd));
    vec![
        ("best", kernel_for(InstructionSet::new())),
        ("baseline", kernel_for(InstructionSet::baseline())),
        ("sixteen lanes", wide),
    ]
}

fn hash(n: usize) -> i16 {
    let x = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 48) as i16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn all_kernels_answer_to_the_definition(
        exponent in 4u32..12, low in 0usize..1025, high in 0usize..1025, counts: bool, far: bool, windows in 1usize..3,
        shape in prop::sample::select(vec![Shape::Hann, Shape::Rectangular, Shape::BlackmanHarris]),
    ) {
        let nfft = 1usize << exponent;
        let (low, high) = (low.min(high) % (nfft / 2 + 1), low.max(high) % (nfft / 2 + 1));
        let bins = low.min(high)..low.max(high) + 1;
        let table: Vec<f32> = shape.table(nfft).iter().map(|&w| w as f32).collect();
        let energy: f64 = shape.table(nfft).iter().map(|w| w * w).sum();
        let schedule = Schedule::new(&table, &shape.lines(nfft), |bin| bins.contains(&bin));
        let positions: Vec<u32> = bins.clone().map(|bin| schedule.position(bin)).collect();
        for (name, mut kernel) in kernels() {
            kernel.reserve(&schedule);
            let lanes = kernel.lanes();
            // Some lanes far from zero, with little noise, and some not.
            let sample = |n: usize| match [20_000, -20_000, 0][n % lanes % 3] {
                offset if far => hash(n) / 4096 + offset,
                _ => hash(n),
            };
            let integers: Vec<i16> = (0..windows * nfft * lanes).map(sample).collect();
            // Any group of a cell, its neighbours holding something else.
            let first = nfft % 5 * lanes % CELL_CHANNELS;
            let cell = |counts: &[i16]| -> Cell {
                std::array::from_fn(|c| c.checked_sub(first).and_then(|c| counts.get(c)).copied().unwrap_or(c as i16))
            };
            let cells: Vec<Cell> = integers.chunks_exact(lanes).map(cell).collect();
            let cells: Vec<&Cell> = cells.iter().collect();
            // Levels as they come; the first traces share theirs with some that are older.
            let older = 5;
            let own = |row: usize, lane: usize| f32::from(hash(7 + (older + row) / LEVEL_TRACES * lanes + lane));
            let above = |(n, &x): (usize, &i16)| f32::from(x) - own(n / lanes, n % lanes);
            let floats: Vec<f32> = integers.iter().enumerate().map(above).collect();
            let mut sums = vec![f32::NAN; schedule.stored() * lanes];
            for window in 0..windows {
                let start = window * nfft;
                let begin = (older + start) / LEVEL_TRACES * LEVEL_TRACES;
                let levels: Vec<f64> = (begin..older + start + nfft)
                    .step_by(LEVEL_TRACES)
                    .flat_map(|row| (0..lanes).map(move |lane| (row, lane)))
                    .map(|(row, lane)| f64::from(hash(7 + row / LEVEL_TRACES * lanes + lane)))
                    .collect();
                let samples = if counts {
                    Samples::I16(Counts { cells: &cells[start..][..nfft], first })
                } else {
                    let rows = &floats[start * lanes..][..nfft * lanes];
                    Samples::F32(Floats { rows, levels: &levels, first: older + start - begin })
                };
                kernel.transform(&schedule, samples, &mut sums, window > 0);
            }

            let factor = (2.0 / (nfft as f64 * energy)) as f32;
            // Lanes that are not wanted must not be touched, wherever the wanted ones begin and end.
            for wanted in [0..lanes, 1..lanes - 1, lanes - 1..lanes] {
                let spectrum = |form| {
                    let mut values = vec![f32::NAN; wanted.len() * bins.len()];
                    kernel.spectrum(&sums, &positions, form, Out {
                        values: &mut values, per_channel: bins.len(), lanes: wanted.clone(),
                    });
                    values
                };
                let power = spectrum(Form::Power { factor });
                let amplitude = spectrum(Form::Amplitude { factor });
                let decibel = spectrum(Form::Decibel { factor, reference_db: 3.0 });
                let mut total = vec![f32::NAN; 2 * wanted.len()];
                let out = Out { values: &mut total[1..], per_channel: 2, lanes: wanted.clone() };
                kernel.energies(&sums, &positions, factor, out);
                for (place, lane) in wanted.clone().enumerate() {
                    let mut expected = vec![0.0; nfft / 2 + 1];
                    for window in 0..windows {
                        let sample = |t: usize| f64::from(integers[(window * nfft + t) * lanes + lane]);
                        let samples: Vec<f64> = (0..nfft).map(sample).collect();
                        expected.iter_mut().zip(naive::power_spectrum(&samples, shape)).for_each(|(e, p)| *e += p);
                    }
                    let rms = expected.iter().sum::<f64>().sqrt();
                    let row = |values: &[f32], i: usize| f64::from(values[place * bins.len() + i]);
                    let mut sum = 0.0;
                    for (i, bin) in bins.clone().enumerate() {
                        let error = (row(&power, i).sqrt() - expected[bin].sqrt()).abs() / rms;
                        prop_assert!(error < 1e-6, "{name}, nfft {nfft}, bin {bin}: {error:e}");
                        let root = row(&power, i).sqrt();
                        prop_assert!((row(&amplitude, i) - root).abs() <= 1e-6 * root);
                        let db = 10.0 * row(&power, i).max(f64::from(f32::MIN_POSITIVE)).log10() - 3.0;
                        prop_assert!((row(&decibel, i) - db).abs() < 1e-3, "{name}: {} dB", row(&decibel, i) - db);
                        sum += row(&power, i);
                    }
                    prop_assert!((f64::from(total[2 * place + 1]) - sum).abs() <= 1e-5 * sum);
                    prop_assert!(total[2 * place].is_nan());
                }
            }
        }
    }
}

fn floats<'a>(rows: &'a [f32], levels: &'a [f64]) -> Samples<'a> {
    Samples::F32(Floats { rows, levels, first: 0 })
}

#[test]
fn what_one_channel_holds_is_nobody_elses_business() {
    let table = vec![1.0; 256];
    let schedule = Schedule::new(&table, &[256.0], |_| true);
    for (name, mut kernel) in kernels() {
        kernel.reserve(&schedule);
        let lanes = kernel.lanes();
        let mut samples: Vec<f32> = (0..256 * lanes).map(|n| f32::from(hash(n))).collect();
        let mut clean = vec![0.0; schedule.stored() * lanes];
        let levels = vec![0.0; 256 / LEVEL_TRACES * lanes];
        kernel.transform(&schedule, floats(&samples, &levels), &mut clean, false);
        for (poison, lane) in [(f32::NAN, 0), (f32::INFINITY, lanes - 1)] {
            samples.iter_mut().skip(lane).step_by(lanes).for_each(|x| *x = poison);
        }
        let mut sums = vec![0.0; schedule.stored() * lanes];
        kernel.transform(&schedule, floats(&samples, &levels), &mut sums, false);
        for (clean, sums) in clean.chunks_exact(lanes).zip(sums.chunks_exact(lanes)) {
            assert_eq!(clean[1..lanes - 1], sums[1..lanes - 1], "{name}");
        }
    }
}
