//! Sound: PCM of 24 bits, the loudest sample of all files at full scale, so that they can be compared.

use std::io::Write as _;

use super::draft::{Draft, Finished};
use super::samples::Rows;
use super::{ExportError, Start, Traces, Writer};
use crate::acquisition::Acquisition;
use crate::source::Finding;

/// The largest number of 24 bits.
const FULL_SCALE: f64 = 8_388_607.0;
const HEADER: usize = 44;
const SAMPLE_BYTES: u32 = 3;

pub(super) struct Wav {
    draft: Draft,
    channels: u32,
    rate: u32,
    /// From what was stored to numbers of 24 bits.
    factor: f64,
    trace: Vec<f32>,
    scratch: Vec<u8>,
}

/// The largest magnitude of all traces, as they are stored. Samples that are no numbers become silence, and are told.
pub(super) fn loudest(traces: &mut Traces<'_>, findings: &mut Vec<Finding>) -> Result<f64, ExportError> {
    let (mut loudest, mut silenced, mut trace) = (0.0f32, 0u64, Vec::new());
    while let Some(rows) = traces.next()? {
        for at in 0..rows.traces {
            rows.decode(at, &mut trace);
            silenced += trace.iter().filter(|value| !value.is_finite()).count() as u64;
            loudest = trace.iter().filter(|value| value.is_finite()).fold(loudest, |most, value| most.max(value.abs()));
        }
    }
    if silenced > 0 {
        findings.push(Finding::warning(format!("{silenced} samples are infinite or not a number: written as zero")));
    }
    Ok(loudest.into())
}

impl Wav {
    pub(super) fn begin(mut draft: Draft, start: &Start, loudest: f64) -> Result<Self, ExportError> {
        let a = &start.acquisition;
        let rate = a.prr.to_f64().round();
        if rate < 1.0 {
            return Err(ExportError::Wrong(format!("a WAV file has whole samples a second; these are {} Hz", a.prr)));
        }
        draft.put(&[0; HEADER])?;
        let factor = if loudest > 0.0 { FULL_SCALE / loudest } else { 0.0 };
        let channels = a.channels as u32;
        let mut wav = Self { draft, channels, rate: rate as u32, factor, trace: Vec::new(), scratch: Vec::new() };
        let header = wav.header(0)?;
        wav.draft.put_at(0, &header)?;
        Ok(wav)
    }

    fn header(&self, bytes: u32) -> Result<Vec<u8>, ExportError> {
        let frame = self.channels * SAMPLE_BYTES;
        let mut out = Vec::new();
        let put = |out: &mut Vec<u8>| {
            out.write_all(b"RIFF")?;
            out.write_all(&(bytes + bytes % 2 + HEADER as u32 - 8).to_le_bytes())?;
            out.write_all(b"WAVEfmt ")?;
            out.write_all(&16u32.to_le_bytes())?;
            out.write_all(&1u16.to_le_bytes())?;
            out.write_all(&(self.channels as u16).to_le_bytes())?;
            out.write_all(&self.rate.to_le_bytes())?;
            out.write_all(&self.rate.saturating_mul(frame).to_le_bytes())?;
            out.write_all(&(frame as u16).to_le_bytes())?;
            out.write_all(&24u16.to_le_bytes())?;
            out.write_all(b"data")?;
            out.write_all(&bytes.to_le_bytes())
        };
        put(&mut out).map_err(|error| ExportError::io(self.draft.name(), error))?;
        Ok(out)
    }
}

impl Writer for Wav {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        self.scratch.clear();
        for at in 0..rows.traces {
            rows.decode(at, &mut self.trace);
            for &value in &self.trace {
                // A NaN becomes 0.
                let [a, b, c, _] =
                    ((f64::from(value) * self.factor).round() as i32).clamp(-8_388_607, 8_388_607).to_le_bytes();
                self.scratch.extend(if value.is_finite() { [a, b, c] } else { [0; 3] });
            }
        }
        self.draft.put(&self.scratch)
    }

    fn finish(mut self: Box<Self>, _findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        let bytes = u32::try_from(self.draft.len() - HEADER as u64)
            .map_err(|_| ExportError::Wrong("more than the 4 GB that a WAV file can hold".into()))?;
        if bytes % 2 == 1 {
            self.draft.put(&[0])?;
        }
        let header = self.header(bytes)?;
        self.draft.put_at(0, &header)?;
        self.draft.finish()
    }
}

/// What the file itself cannot say: rounding and scale.
pub(super) fn told(a: &Acquisition, loudest: f64) -> Vec<Finding> {
    let (rate_hz, mut findings) = (a.prr.to_f64(), Vec::new());
    let whole = rate_hz.round();
    if (whole - rate_hz).abs() > 1e-9 * rate_hz {
        findings.push(Finding::note(format!(
            "the rate of {rate_hz} Hz is written as {whole} Hz: WAV has whole numbers only"
        )));
    }
    let unit = if a.unit.is_empty() { "counts" } else { &a.unit };
    let full = loudest * a.scale.abs();
    findings.push(Finding::note(format!("full scale of the sound is {full:.6e} {unit}")));
    findings
}
