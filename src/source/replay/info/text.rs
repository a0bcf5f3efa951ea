//! What is in a capture, as people read it.

use std::fmt::{self, Write};

use super::numbers::{grouped, number, size};
use super::{Info, Samples, Segment, Spread, Statistics};
use crate::source::Severity;

/// Segments that are listed; of more, the first and the last ones.
const MOST_SEGMENTS: usize = 12;
/// Of the last ones so many.
const LAST_SEGMENTS: usize = 3;

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |value: Option<f64>, unit: &str| {
            value.map_or("not known".into(), |v| format!("{} {unit}", number(v, 7)).trim_end().to_owned())
        };
        let metres = |value: f64| (value * 1000.0).round() / 1000.0;
        let unit = if self.unit.is_empty() { "(unit not known)" } else { &self.unit };
        let rate = match self.prr_exact {
            [_, 1] => String::new(),
            [num, den] => format!(", exactly {num}/{den}"),
        };
        writeln!(f, "{}", self.path.display())?;
        writeln!(f, "  verdict       {}", self.verdict)?;
        for finding in &self.findings {
            writeln!(f, "  {:<14}{}", finding.severity, finding.text)?;
        }
        writeln!(f, "  format        {}, {}", self.format, size(self.bytes))?;
        let (traces, channels) = (grouped(self.traces), grouped(self.channels as u64));
        writeln!(f, "  shape         {traces} traces x {channels} channels, {}", self.dtype)?;
        writeln!(f, "  rate          {} Hz{rate}", number(self.prr_hz, 9))?;
        let (start, end, dx) = (metres(self.distance_start_m), metres(self.distance_end_m), number(self.dx_m, 7));
        writeln!(f, "  distances     {start} m to {end} m, dx {dx} m")?;
        writeln!(f, "  gauge length  {}", known(self.gauge_length_m, "m"))?;
        writeln!(f, "  wavelength    {}", known(self.wavelength_m.map(|m| m * 1e9), "nm"))?;
        writeln!(f, "  refr. index   {}", known(self.refractive_index, ""))?;
        writeln!(f, "  time          {} to {}", self.start_utc, self.end_utc)?;
        writeln!(f, "                {} s, clock {}", number(self.duration_s, 9), self.clock)?;
        writeln!(f, "  epoch         {}", self.epoch)?;
        writeln!(f, "  quantity      {}, one count is {} {unit}", self.quantity, number(self.scale, 7))?;
        if let Some(band) = self.band {
            writeln!(f, "  band          {} to {} Hz: each trace is a line of band energy", band.low_hz, band.high_hz)?;
        }
        if !self.description.is_empty() {
            writeln!(f, "  description   {}", self.description.trim().replace(['\n', '\r'], " "))?;
        }
        write!(f, "  checksums     {}", self.checksums)?;
        if self.damaged_traces > 0 {
            write!(f, ": {} traces are lost", grouped(self.damaged_traces))?;
        }
        if let Some(statistics) = &self.statistics {
            write!(f, "\n  samples       {}", self.samples)?;
            write_statistics(f, statistics, self.traces, &self.unit)?;
        }
        write_segments(f, &self.segments)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max, self.rms) {
            (Some(min), Some(max), Some(rms)) => {
                write!(f, "min {}, max {}, rms {}, as stored", number(min, 5), number(max, 5), number(rms, 5))?;
            }
            _ => write!(f, "none is a number")?,
        }
        if self.not_finite > 0 { write!(f, ", {} not finite", grouped(self.not_finite)) } else { Ok(()) }
    }
}

fn write_statistics(f: &mut fmt::Formatter<'_>, found: &Statistics, traces: u64, unit: &str) -> fmt::Result {
    if found.sampled {
        let (some, all) = (grouped(found.traces), grouped(traces));
        write!(f, "\n                of {some} of the {all} traces, evenly spread; --full looks at all")?;
    }
    let spread = |f: &mut fmt::Formatter<'_>, name: &str, spread: &Spread, unit: &str| {
        let figures = [spread.min, spread.p5, spread.p50, spread.p95, spread.max].map(|value| number(value, 4));
        let [min, p5, p50, p95, max] = figures;
        write!(f, "\n  {name:<14}{min:<12}{p5:<12}{p50:<12}{p95:<12}{max:<12}{unit}")
    };
    if let Some(rms) = &found.rms {
        write!(
            f,
            "\n  along fiber   {:<12}{:<12}{:<12}{:<12}{:<12}of the channels",
            "least", "5 %", "50 %", "95 %", "most"
        )?;
        spread(f, "rms", rms, unit)?;
    }
    if let Some(peak) = &found.peak {
        spread(f, "peak", peak, unit)?;
    }
    if let Some(noise) = &found.noise_floor {
        spread(f, "noise floor", &noise.density, &noise.unit)?;
        let (from, to) = (number(noise.from_hz, 4), number(noise.to_hz, 4));
        let windows = if noise.windows == 1 { "1 window".into() } else { format!("{} windows", noise.windows) };
        write!(f, "\n                median from {from} Hz to {to} Hz, {windows}")?;
    }
    Ok(())
}

/// All in one piece needs no table.
fn write_segments(f: &mut fmt::Formatter<'_>, segments: &[Segment]) -> fmt::Result {
    if segments.len() < 2 {
        return write!(f, "\n  segments      1, without a gap");
    }
    let gaps = segments.iter().filter(|segment| segment.gap_before > 0).count();
    let gaps = if gaps == 1 { "1 gap".into() } else { format!("{} gaps", grouped(gaps as u64)) };
    write!(f, "\n  segments      {}, {gaps} between them", grouped(segments.len() as u64))?;
    write!(f, "\n    {:>12} {:>12}  {:<32} traces missing before it", "row", "traces", "from UTC")?;
    let first = if segments.len() > MOST_SEGMENTS { MOST_SEGMENTS - LAST_SEGMENTS } else { segments.len() };
    for segment in &segments[..first] {
        write_segment(f, segment)?;
    }
    if segments.len() > first {
        let between = segments.len() - first - LAST_SEGMENTS;
        write!(f, "\n    {:>12} {:>12}  {} more, all of them in --json", "…", "…", grouped(between as u64))?;
        for segment in &segments[segments.len() - LAST_SEGMENTS..] {
            write_segment(f, segment)?;
        }
    }
    Ok(())
}

fn write_segment(f: &mut fmt::Formatter<'_>, segment: &Segment) -> fmt::Result {
    let (row, traces) = (grouped(segment.first_row), grouped(segment.traces));
    write!(f, "\n    {row:>12} {traces:>12}  {:<32}", segment.start_utc)?;
    match (segment.new_acquisition, segment.gap_before) {
        (true, _) => f.write_str(" a new acquisition: the time goes back"),
        (false, 0) => f.write_char('-'),
        (false, missing) => write!(f, " {}", grouped(missing)),
    }
}

impl Info {
    /// Whether all of it can be read.
    pub fn is_whole(&self) -> bool {
        self.verdict < Severity::Damaged
    }
}
