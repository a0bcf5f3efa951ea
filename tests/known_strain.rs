//! The known strain of fixtures comes out of the pipeline with its amplitude.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::sync::Arc;
use std::time::Duration;

use fiberd::block::{BlockLayout, BlockPool};
use fiberd::config::{ProcessingConfig, ViewConfig};
use fiberd::dsp::ConditionSpec;
use fiberd::egress::fence;
use fiberd::frame::{Frame, ValueKind, View};
use fiberd::pipeline::Engine;
use fiberd::source::replay::Replay;
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use fiberd::status::FindingReporter;
use fiberd::units::Rational;

/// Plays a fixture through the engine and returns the mean amplitude over all whole lines at the tone's bin, per channel.
fn tone_amplitudes(name: &str, condition: ConditionSpec, frequency_hz: f64) -> Vec<f64> {
    let file = format!("{}/fixtures/{name}.fdas", env!("CARGO_MANIFEST_DIR"));
    let mut replay = Replay::open(&[file.into()], ReplaySpeed::Unpaced, false).unwrap();
    let Probe::Ready(acquisition) = replay.probe().unwrap() else { panic!("{name} is there") };
    let acquisition = Arc::new(acquisition);
    let bin_hz = acquisition.prr.to_f64() / 256.0;
    let view = ViewConfig {
        view: View::Multi,
        name: "all".into(),
        nfft: 256,
        line_period_s: Rational::new(1, 4).unwrap(),
        // The main lobe of a Hann window: three bins around the tone.
        frequency_range_hz: Some((frequency_hz - bin_hz, frequency_hz + bin_hz)),
        value: ValueKind::Power,
        bands_hz: Vec::new(),
        ..ViewConfig::waterfall()
    };
    let (egress, outlet) = fence(1000, Arc::default());
    let processing = ProcessingConfig { condition, threads: 1, egress_frames: 1000 };
    let mut engine = Engine::new(vec![view], &processing, egress, Arc::default(), FindingReporter::default());
    let pool = BlockPool::new(BlockLayout::for_acquisition(&acquisition, Duration::from_millis(70)), 4, &acquisition);
    loop {
        let mut blank = pool.take().unwrap();
        blank.block().clear(&acquisition);
        match replay.read_block(blank.block(), Duration::from_secs(10)).unwrap() {
            ReadOutcome::Filled => engine.process(blank.seal()),
            _ => break,
        }
    }
    let frames: Vec<_> = std::iter::from_fn(|| outlet.take_within(Duration::ZERO)).collect();
    assert!(frames.len() > 3, "{name}: {} lines", frames.len());
    let channels = frames[0].stream.channels.count;
    let power = |c: usize| {
        let of_frame = |f: &Frame| f.values.flat()[c * 3..c * 3 + 3].iter().map(|&v| f64::from(v)).sum::<f64>();
        frames.iter().map(of_frame).sum::<f64>() / frames.len() as f64
    };
    (0..channels).map(|c| (2.0 * power(c)).sqrt()).collect()
}

#[test]
fn the_known_strain_of_the_fixtures_comes_out_of_the_pipeline() {
    let sidecar = |name: &str| -> toml::Table {
        let file = format!("{}/fixtures/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(file).unwrap().parse::<toml::Table>().unwrap()["expected"].as_table().unwrap().clone()
    };
    let close = |got: f64, expected: f64, what: &str| {
        assert!((got / expected - 1.0).abs() < 0.01, "{what}: {got} rad for {expected} rad");
    };

    // Phase as the instrument gives it.
    let tone = sidecar("tone");
    let number = |table: &toml::Table, key: &str| {
        table[key].as_float().unwrap_or_else(|| table[key].as_integer().unwrap() as f64)
    };
    let amplitudes = tone_amplitudes("tone", ConditionSpec::default(), number(&tone, "frequency_hz"));
    let expected = number(&tone, "strain_nstrain") * number(&tone, "rad_per_nstrain");
    for channel in number(&tone, "channel_min") as usize..=number(&tone, "channel_max") as usize {
        close(amplitudes[channel - 1], expected, &format!("tone, channel {channel}"));
    }

    // Phase demodulated by us from the raw optical field, then strain rate: amplitude × 2π f.
    let iq = sidecar("iq-tone");
    let gauge = number(&iq, "gauge_channels") as usize;
    let demodulated = ConditionSpec { spatial_difference_channels: gauge, ..ConditionSpec::default() };
    let rate = ConditionSpec { strain_rate: true, ..demodulated };
    let (frequency_hz, strain) = (number(&iq, "frequency_hz"), number(&iq, "strain_nstrain"));
    let phases = tone_amplitudes("iq-tone", demodulated, frequency_hz);
    let rates = tone_amplitudes("iq-tone", rate, frequency_hz);
    let expected_rate = strain * 2.0 * std::f64::consts::PI * frequency_hz;
    for channel in number(&iq, "full_min") as usize..=number(&iq, "full_max") as usize {
        // Output channel c is input c + gauge minus input c.
        let output = channel - 1 - gauge;
        close(phases[output], number(&iq, "amplitude_rad"), &format!("iq, channel {channel}"));
        close(rates[output], expected_rate, &format!("iq strain rate, channel {channel}"));
    }
}
