//! PRODML 2.1 ([`prodml`](crate::prodml)), a file a stretch of traces.

use std::sync::Arc;

use super::draft::{Draft, Finished};
use super::samples::{Rows, Times};
use super::{ExportError, Start, Writer};
use crate::prodml::{Extent, Raw, rounded_us};
use crate::source::Finding;

pub(super) struct Prodml {
    draft: Draft,
    raw: Raw,
    /// Whether samples are written as they were stored.
    stored: bool,
    times: Times,
    /// Byte of the first sample.
    at: u64,
    scratch: Vec<u8>,
}

impl Prodml {
    pub(super) fn begin(mut draft: Draft, start: &Start) -> Result<Self, ExportError> {
        // PRODML has no scale beside the unit.
        let stored = start.raw || (start.acquisition.scale - 1.0).abs() < f64::EPSILON;
        let raw = Raw::new(Arc::clone(&start.acquisition), start.utc_ns, start.raw);
        let at = raw.head_bytes();
        draft.put(&vec![0; at as usize])?;
        Ok(Self { draft, raw, stored, times: Times::default(), at, scratch: Vec::new() })
    }
}

impl Writer for Prodml {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        if self.stored {
            rows.stored_le(&mut self.scratch);
        } else {
            rows.scaled(&mut self.scratch);
        }
        self.times.add(rows);
        self.draft.put(&self.scratch)
    }

    fn finish(mut self: Box<Self>, findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        let end = self.draft.len();
        let times_at = end.next_multiple_of(8);
        self.draft.put(&vec![0; (times_at - end) as usize])?;
        let (draft, times) = (&mut self.draft, &self.times);
        times.each(&self.raw.acquisition, |utc_ns| draft.put(&rounded_us(utc_ns).to_le_bytes()))?;
        let (rows, last_ns) = (times.rows, times.last(&self.raw.acquisition));
        let extent = Extent { rows, last_ns, room: rows, samples_at: self.at, times_at, end: self.draft.len() };
        self.draft.put_at(0, &self.raw.head(&extent))?;
        findings.extend(self.raw.findings(rows).filter(|found| !findings.contains(found)).collect::<Vec<_>>());
        self.draft.finish()
    }
}
