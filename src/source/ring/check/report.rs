//! What a check found: for programs by its fields, for people by its words.

use std::fmt;

use serde::Serialize;

use crate::acquisition::Acquisition;
use crate::source::ring::header::{Geometry, SlotLayout};
use crate::source::ring::{STATE_CALIBRATING, STATE_LASER_ON, STATE_LIGHT, STATE_OVERLOAD};

/// Seconds of traces that a ring should hold at least, so that its reader may sleep through a page fault.
const ENOUGH_S: f64 = 0.5;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Path of the ring.
    pub ring: String,
    /// What the ring declares; `None` when that cannot be used.
    pub header: Option<RingHeader>,
    /// State flags that are set.
    pub state: Vec<&'static str>,
    /// How long it was watched, s.
    pub watched_s: f64,
    /// Epochs that were met.
    pub epochs: u64,
    /// Slots that were written meanwhile.
    pub slots: u64,
    /// Traces that were read.
    pub traces: u64,
    /// Times that traces were missing.
    pub gaps: u64,
    /// Traces missing by their numbers: not written, or written over before they were read.
    pub missing_traces: u64,
    /// Pulse repetition rate against the clock of this host, Hz; `None` when traces came for less than 5 s.
    pub measured_prr_hz: Option<f64>,
    /// Its deviation from the declared one, parts per million.
    pub prr_deviation_ppm: Option<f64>,
    /// How far the newest timestamp was behind the clock of this host, s.
    pub utc_behind_s: Option<f64>,
    /// What is wrong; empty when nothing is.
    pub faults: Vec<String>,
}

/// What a ring declares.
#[derive(Clone, Debug, Serialize)]
pub struct RingHeader {
    /// `ring`, `replay` or `synthetic`.
    pub source: &'static str,
    /// Pulse repetition rate, Hz.
    pub prr_hz: f64,
    /// Samples in a trace.
    pub channels: usize,
    /// How a sample is stored.
    pub dtype: &'static str,
    /// What a scaled sample measures.
    pub quantity: &'static str,
    /// Value of one count, in `unit`.
    pub scale: f64,
    /// Unit of a scaled sample.
    pub unit: String,
    /// From channel to channel, m.
    pub dx_m: f64,
    /// Place of channel 0 on the fiber, m.
    pub fiber_start_m: f64,
    /// Gauge length, m.
    pub gauge_length_m: Option<f64>,
    /// Trust in the timestamps.
    pub clock_quality: &'static str,
    /// Free text about the fiber.
    pub description: String,
    /// Slots of the ring.
    pub slots: u64,
    /// Most traces in a slot.
    pub traces_per_slot: u32,
    /// What the whole ring holds, s.
    pub holds_s: f64,
}

impl RingHeader {
    pub(super) fn new(geometry: &Geometry, layout: SlotLayout, acquisition: &Acquisition) -> Self {
        let a = acquisition;
        Self {
            source: a.source.name(),
            prr_hz: a.prr.to_f64(),
            channels: a.channels,
            dtype: a.sample_format.dtype(),
            quantity: a.quantity.name(),
            scale: a.scale,
            unit: a.unit.clone(),
            dx_m: a.dx_m,
            fiber_start_m: a.fiber_start_m,
            gauge_length_m: a.gauge_length_m,
            clock_quality: a.clock.name(),
            description: a.description.clone(),
            slots: geometry.slots,
            traces_per_slot: layout.traces,
            holds_s: geometry.slots as f64 * f64::from(layout.traces) / a.prr.to_f64(),
        }
    }
}

/// Names of the flags that are set in a state word.
pub(super) fn state_words(state: u64) -> Vec<&'static str> {
    let flags = [
        (STATE_LASER_ON, "laser on"),
        (STATE_LIGHT, "light"),
        (STATE_OVERLOAD, "overload"),
        (STATE_CALIBRATING, "calibrating"),
    ];
    flags.into_iter().filter(|(flag, _)| state & u64::from(*flag) != 0).map(|(_, name)| name).collect()
}

impl fmt::Display for RingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, dtype, prr_hz, quantity, scale, unit, .. } = self;
        writeln!(f, "  source       {}", self.source)?;
        writeln!(
            f,
            "  traces       {channels} channels of {dtype} at {prr_hz} Hz: {quantity}, {scale} {unit} a count"
        )?;
        write!(f, "  fiber        from {} m on, {} m from channel to channel", self.fiber_start_m, self.dx_m)?;
        if let Some(gauge_m) = self.gauge_length_m {
            write!(f, ", gauge length {gauge_m} m")?;
        }
        writeln!(f)?;
        if !self.description.is_empty() {
            writeln!(f, "  description  {}", self.description)?;
        }
        let advice = if self.holds_s < ENOUGH_S { "; at least half a second is better" } else { "" };
        let (slots, traces, holds_s) = (self.slots, self.traces_per_slot, self.holds_s);
        writeln!(f, "  slots        {slots} of up to {traces} traces: {holds_s:.3} s in all{advice}")
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: a ring of ABI version 1", self.ring)?;
        if let Some(header) = &self.header {
            write!(f, "{header}")?;
        }
        let state = if self.state.is_empty() { "no flag is set".into() } else { self.state.join(", ") };
        writeln!(f, "  state        {state}")?;
        let Self { watched_s, slots, traces, gaps, missing_traces, epochs, .. } = self;
        writeln!(f, "  watched      {watched_s:.1} s: {slots} slots written, {traces} traces read, {epochs} epoch(s)")?;
        writeln!(f, "  missing      {missing_traces} traces in {gaps} gaps")?;
        match (self.measured_prr_hz, self.prr_deviation_ppm) {
            (Some(hz), Some(ppm)) => writeln!(f, "  rate         {hz:.3} Hz measured ({ppm:+.0} ppm)")?,
            _ => writeln!(f, "  rate         not measured: traces did not come for 5 s")?,
        }
        if let (Some(behind_s), Some(header)) = (self.utc_behind_s, &self.header) {
            let clock = header.clock_quality;
            writeln!(f, "  time         {behind_s:.3} s behind the clock of this host; the ring's clock is {clock}")?;
        }
        if self.faults.is_empty() {
            return write!(f, "nothing wrong");
        }
        write!(f, "wrong:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}
