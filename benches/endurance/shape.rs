//! What the interrogator of the endurance run measures: a few shapes of fiber and of its ring, as far apart as drivers
//! are. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fiberd::acquisition::{ClockQuality, Quantity, SampleFormat, SourceKind};
use fiberd::source::ring::RingSpec;

/// One shape. Its ring holds at least two seconds, so that a machine that stands still for a moment loses nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub channels: usize,
    /// Samples are `f32` instead of `i16`.
    pub float: bool,
    pub prr_hz: f64,
    pub traces_per_slot: usize,
    pub slots: usize,
}

/// Shapes that a restart may bring.
pub const OTHERS: [Shape; 5] = [
    // Another fiber.
    Shape { channels: 64, float: true, prr_hz: 2000.0, traces_per_slot: 20, slots: 256 },
    Shape { channels: 600, float: false, prr_hz: 500.0, traces_per_slot: 5, slots: 256 },
    // Slots of 120 ms: more than a block, and nearly what counts as stalled.
    Shape { channels: 200, float: false, prr_hz: 1000.0, traces_per_slot: 120, slots: 32 },
    // The slowest and the fastest pulses.
    Shape { channels: 100, float: false, prr_hz: 10.0, traces_per_slot: 1, slots: 64 },
    Shape { channels: 32, float: false, prr_hz: 20_000.0, traces_per_slot: 200, slots: 256 },
];

impl Shape {
    /// What runs when nothing is wrong.
    pub const BASE: Self = Self { channels: 200, float: false, prr_hz: 1000.0, traces_per_slot: 10, slots: 256 };

    pub fn slot(&self) -> Duration {
        Duration::from_secs_f64(self.traces_per_slot as f64 / self.prr_hz)
    }

    /// Another epoch that fits the slots of the same ring.
    pub fn changed(self, variant: u8) -> Self {
        match variant {
            // The same once more.
            0 => self,
            // The rate alone.
            1 => Self { prr_hz: if self.prr_hz > 1000.0 { self.prr_hz / 2.0 } else { self.prr_hz * 2.0 }, ..self },
            // A shorter fiber.
            _ => Self { channels: (self.channels / 2).max(16), ..self },
        }
    }

    pub fn spec(&self) -> RingSpec {
        RingSpec {
            sample_format: if self.float { SampleFormat::F32 } else { SampleFormat::I16 },
            channels: self.channels,
            traces_per_slot: self.traces_per_slot,
            slots: self.slots,
            prr_hz: self.prr_hz,
            dx_m: 2.0,
            gauge_length_m: Some(10.0),
            fiber_start_m: 0.0,
            scale: 1e-3,
            quantity: Quantity::Phase,
            unit: "rad".into(),
            wavelength_m: Some(1550e-9),
            refractive_index: Some(1.468),
            description: "endurance".into(),
            clock: ClockQuality::Ntp,
            source: SourceKind::Ring,
        }
    }

    /// As one word, for the driver's process.
    pub fn word(&self) -> String {
        let Self { channels, float, prr_hz, traces_per_slot, slots } = self;
        format!("{channels},{float},{prr_hz},{traces_per_slot},{slots}")
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let fields: Vec<_> = word.split(',').collect();
        let &[channels, float, prr_hz, traces_per_slot, slots] = fields.as_slice() else {
            return Err(format!("{word} is no shape"));
        };
        Ok(Self {
            channels: number(channels)?,
            float: number(float)?,
            prr_hz: number(prr_hz)?,
            traces_per_slot: number(traces_per_slot)?,
            slots: number(slots)?,
        })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} in a shape"))
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.float { "f32" } else { "i16" };
        let (channels, prr_hz, slot_ms) = (self.channels, self.prr_hz, self.slot().as_secs_f64() * 1e3);
        write!(f, "{channels} channels {format} at {prr_hz} Hz in slots of {slot_ms} ms")
    }
}

/// Shows that shapes are what they are said to be.
pub fn verify() {
    for shape in OTHERS.into_iter().chain([Shape::BASE]) {
        assert_eq!(shape.word().parse(), Ok(shape));
        assert!(shape.slot() * shape.slots as u32 >= Duration::from_secs(2), "{shape}");
        for variant in 0..3 {
            let changed = shape.changed(variant);
            let bytes = |s: &Shape| s.channels * s.traces_per_slot * s.spec().sample_format.bytes();
            assert!(changed.slots == shape.slots && bytes(&changed) <= bytes(&shape), "{changed} fits {shape}");
        }
    }
}
