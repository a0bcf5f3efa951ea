use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::acquisition::{Acquisition, ClockQuality, Region, SourceKind};
use crate::frame::{ChannelAxis, Frame, FrequencyAxis, Stream, ValueKind};
use crate::units::{Rational, TraceIndex};

/// The example frame with every field set to something that could not be mistaken for its neighbour.
fn golden(dtype: Dtype) -> Frame {
    let frame = Frame::example();
    let stream = Stream {
        name: "Grüße".into(),
        job: "0f8b".into(),
        number: 3,
        channels: ChannelAxis { start: 11, step: 2, count: 3 },
        value: ValueKind::Decibel { reference: 1e-6 },
        unit: "dB re 1e-6 (nstrain/s)^2".into(),
        unit_factor: 1e9,
        window_code: 3,
        power_factor: 0.25,
        difference_corrected: true,
        dtype,
        u8_range: (0.5, -60.0),
        ..(*frame.stream).clone()
    };
    let acquisition = Acquisition {
        epoch: 1_790_000_000_000_000,
        prr: Rational::new(16089, 5).unwrap(),
        fiber_start_m: 120.5,
        regions: Arc::new([
            Region { first_channel: 4, start_m: 200.0, dx_m: 2.0 },
            Region { first_channel: 12, start_m: 1000.25, dx_m: 0.5 },
            Region { first_channel: 900, start_m: 9000.0, dx_m: 3.0 },
        ]),
        clock: ClockQuality::Ptp,
        ..(*frame.acquisition).clone()
    };
    Frame {
        acquisition: Arc::new(acquisition),
        stream: Arc::new(stream),
        gap_traces: 17,
        utc_uncertainty_ns: 250_000,
        missing: vec![0..1290, 1500..1517].into(),
        flags: 3,
        running_min: -61.5,
        running_max: 70.25,
        values: vec![-61.5, -60.0, -0.25, 0.0, 67.5, 70.25].into(),
        ..frame
    }
}

#[test]
fn the_bytes_of_version_2_never_change() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
    for (dtype, name) in [(Dtype::F32, "f32"), (Dtype::F16, "f16"), (Dtype::U8, "u8")] {
        let path = folder.join(format!("frame-v2-{name}.bin"));
        let bytes = encode_vec(&golden(dtype), "north");
        if std::env::var_os("FIBERD_WRITE_FIXTURES").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        let difference = kept.iter().zip(&bytes).position(|(a, b)| a != b);
        assert_eq!((difference, kept.len()), (None, bytes.len()), "first difference in {}", path.display());
    }
}

#[test]
fn stored_u8_is_the_nearest_step_and_saturates() {
    let bytes = encode_vec(&golden(Dtype::U8), "north");
    // (−61.5, −60, −0.25, 0, 67.5, 70.25 + 60) / 0.5, halves upwards
    assert_eq!(decode(&bytes).unwrap().payload, [0, 0, 120, 120, 255, 255]);
    let clipped = |bytes: &[u8]| decode(bytes).map(|read| (read.header.clipped_low, read.header.clipped_high));
    assert_eq!(clipped(&bytes), Ok((1, 1)));
    let frame =
        Frame { values: vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.1, 0.2, 0.3].into(), ..golden(Dtype::U8) };
    let bytes = encode_vec(&frame, "north");
    assert_eq!(decode(&bytes).unwrap().payload, [0, 255, 0, 120, 120, 121]);
    assert_eq!(clipped(&bytes), Ok((2, 1)));
}

#[test]
fn channels_lie_where_the_acquisition_says_with_the_regions_that_they_touch() {
    let frame = golden(Dtype::F32);
    let bytes = encode_vec(&frame, "north");
    let read = decode(&bytes).unwrap();
    assert_eq!((read.regions().count(), usize::from(read.header.header_bytes)), (2, header_bytes(2, 2)));
    for i in 0..3 {
        assert!((read.distance_m(i) - frame.acquisition.distance_m(11 + 2 * i as usize)).abs() < 1e-9, "{i}");
    }
    assert!(read.missing().map(|row| row.first_trace..row.end_trace).eq(frame.missing.iter().cloned()));
    // However many regions a fiber has, the length of the header fits its field.
    let region = |at: usize| Region { first_channel: at + 1, start_m: 10.0 * at as f64, dx_m: 1.0 };
    let acquisition = Acquisition { regions: (0..5000).map(region).collect(), ..(*frame.acquisition).clone() };
    let channels = ChannelAxis { start: 0, step: 2500, count: 3 };
    let stream = Stream { channels, ..(*frame.stream).clone() };
    let missing = vec![1..2; 5000].into();
    let bytes =
        encode_vec(&Frame { acquisition: acquisition.into(), stream: stream.into(), missing, ..frame }, "north");
    let read = decode(&bytes).unwrap();
    assert_eq!((read.regions().count(), read.missing().count()), (MAX_REGION_ROWS, MAX_MISSING_ROWS));
}

#[test]
fn the_windows_of_a_line_are_where_the_grid_has_them() {
    let windows = |nfft: usize, period: (u64, u64)| {
        let frame = Frame::example();
        let line_period_s = Rational::new(period.0, period.1).unwrap();
        let stream = Stream { nfft, line_period_s, ..(*frame.stream).clone() };
        let bytes = encode_vec(&Frame { stream: stream.into(), first_line: 3, ..frame }, "");
        let header = decode(&bytes).unwrap().header;
        (header.windows, header.window_hop, header.window_offset)
    };
    // At 2000 Hz: 100 traces within one window; 1000 traces, seen by windows that begin with the line or before it.
    assert_eq!(windows(256, (1, 20)), (1, 128, -156));
    assert_eq!(windows(256, (1, 2)), (7, 128, -24));
    assert_eq!(windows(250, (1, 2)), (7, 125, 0));
}

#[test]
fn texts_are_cut_between_characters() {
    let site = "ä".repeat(40);
    let bytes = encode_vec(&golden(Dtype::F32), &site);
    assert_eq!(decode(&bytes).unwrap().site(), "ä".repeat(32));
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let shape = (0usize..3, 0usize..5, 0usize..40, 0usize..20);
    let axis = (0usize..5000, 1usize..9, 0.0f64..1e4, 1e-3f64..1e3);
    let rates = (1u64..1_000_000, 1u64..1000, 1u64..1000, 1u64..1000);
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>());
    let words = ("[a-z]{1,12}", "\\PC{0,16}", "[ -~]{0,12}");
    (shape, axis, rates, numbers, words, 0usize..3, 0usize..3, any::<u64>()).prop_map(
        |((view, lines, channels, bins), axis, rates, numbers, words, value, dtype, seed)| {
            let view = [View::Multi, View::Single, View::Waterfall][view];
            let channels = if view == View::Single { 1 } else { channels };
            let bins = if view == View::Waterfall { 1 } else { bins };
            let stream = Stream {
                view,
                name: words.0,
                job: words.1,
                number: seed as u32,
                channels: ChannelAxis { start: axis.0, step: axis.1, count: channels },
                frequencies: FrequencyAxis { start_hz: axis.2, step_hz: axis.3, count: bins },
                nfft: 1 << (seed % 15),
                line_period_s: Rational::new(rates.2, rates.3).unwrap(),
                value: [ValueKind::Amplitude, ValueKind::Power, ValueKind::Decibel { reference: axis.3 }][value],
                unit: words.2,
                unit_factor: 1.0,
                window_code: (seed % 5) as u8,
                power_factor: axis.3,
                difference_corrected: seed % 2 == 1,
                dtype: [Dtype::F32, Dtype::F16, Dtype::U8][dtype],
                u8_range: (0.25, -10.0),
                durable: false,
            };
            let acquisition = Acquisition {
                epoch: numbers.0,
                prr: Rational::new(rates.0, rates.1).unwrap(),
                clock: ClockQuality::ALL[(seed % 4) as usize],
                source: SourceKind::ALL[(seed % 3) as usize],
                ..Acquisition::example()
            };
            // Multiples of 1/4 in −10…53: exact in all three dtypes.
            let values: Vec<f32> = (0..lines * channels * bins)
                .map(|i| (seed.rotate_left(i as u32 % 64).wrapping_add(i as u64) % 253) as f32 * 0.25 - 10.0)
                .collect();
            Frame {
                acquisition: Arc::new(acquisition),
                stream: Arc::new(stream),
                sequence: numbers.1,
                first_line: numbers.2,
                lines,
                first_trace: TraceIndex(numbers.0),
                end_trace: TraceIndex(numbers.1),
                utc_first_ns: numbers.3,
                utc_end_ns: numbers.4,
                gap_traces: seed,
                flags: numbers.5,
                values: values.into(),
                ..Frame::example()
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_was_encoded(frame in any_frame(), site in "[a-z-]{1,20}") {
        let mut bytes = vec![0xA5; 17]; // dirty
        encode(&frame, &site, &mut bytes);
        let decoded = decode(&bytes).unwrap();
        let (stream, header) = (&frame.stream, &decoded.header);
        prop_assert_eq!((decoded.view, decoded.value, decoded.dtype), (stream.view, stream.value, stream.dtype));
        prop_assert_eq!((decoded.prr, decoded.line_period_s), (frame.acquisition.prr, stream.line_period_s));
        prop_assert_eq!((decoded.site(), decoded.name(), decoded.unit()), (&*site, &*stream.name, &*stream.unit));
        prop_assert_eq!(decoded.job(), stream.job.split('\0').next().unwrap_or_default());
        prop_assert_eq!(decoded.axes().split(',').count(), decoded.shape().len());
        prop_assert_eq!((header.epoch, header.sequence), (frame.acquisition.epoch, frame.sequence));
        prop_assert_eq!((header.first_line, header.first_trace), (frame.first_line, frame.first_trace.0));
        prop_assert_eq!((header.end_trace, header.gap_traces), (frame.end_trace.0, frame.gap_traces));
        prop_assert_eq!((header.utc_first_ns, header.utc_end_ns), (frame.utc_first_ns, frame.utc_end_ns));
        prop_assert_eq!((header.flags, header.nfft), (frame.flags, stream.nfft as u32));
        prop_assert_eq!(u32::from(header.clock), frame.acquisition.clock.code());
        prop_assert_eq!(u32::from(header.source), frame.acquisition.source.code());
        prop_assert!(decoded.values().eq(frame.values.flat().iter().copied()));
    }

    #[test]
    fn damage_is_noticed_and_never_panics(frame in any_frame(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = encode_vec(&frame, "north");
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode(&bytes[..at]).is_err());
    }

    /// A liar who knows how to compute checksums gets an error or a frame that can be read to the end.
    #[test]
    fn lies_with_right_checksums_never_panic(frame in any_frame(), lies in prop::collection::vec((0usize..640, any::<u8>()), 1..8)) {
        let mut bytes = encode_vec(&frame, "north");
        for (at, byte) in lies {
            bytes[at] = byte;
        }
        bytes[12..16].fill(0);
        let header_bytes = usize::from(u16::from_le_bytes([bytes[10], bytes[11]])).clamp(640, bytes.len());
        let crc = crc32fast::hash(&bytes[..header_bytes]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        if let Ok(decoded) = decode(&bytes) {
            let values = decoded.shape().iter().map(|&n| n as usize).product::<usize>();
            prop_assert_eq!(decoded.values().count(), values);
            prop_assert!(decoded.regions().count() + decoded.missing().count() <= 4096);
            let _ = decoded.distance_m(decoded.header.channel_count);
            let _ = (decoded.site(), decoded.name(), decoded.job(), decoded.unit(), decoded.axes());
        }
    }

    #[test]
    fn noise_is_not_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode(&bytes).is_err());
    }
}
