//! Text: a line for every trace, UTC and the value of each channel. Gaps show in the times.

use std::fmt::Write as _;

use super::draft::{Draft, Finished};
use super::samples::Rows;
use super::{ExportError, Start, Writer, utc};
use crate::source::Finding;

pub(super) struct Csv {
    draft: Draft,
    raw: bool,
    trace: Vec<f32>,
    text: String,
}

impl Csv {
    pub(super) fn begin(mut draft: Draft, start: &Start) -> Result<Self, ExportError> {
        let a = &start.acquisition;
        let unit = if start.raw || a.unit.is_empty() { "counts" } else { &a.unit };
        // What would end a cell has no place in a unit.
        let unit: String =
            unit.chars().filter(|letter| !letter.is_control() && !matches!(letter, ',' | '"' | ';')).collect();
        let columns = (0..a.channels).map(|at| format!(",channel {} ({unit})", start.first_channel + at));
        draft.put(format!("utc{}\n", columns.collect::<String>()).as_bytes())?;
        Ok(Self { draft, raw: start.raw, trace: Vec::new(), text: String::new() })
    }
}

impl Writer for Csv {
    fn rows(&mut self, rows: &Rows<'_>) -> Result<(), ExportError> {
        let scale = if self.raw { 1.0 } else { rows.acquisition.scale };
        self.text.clear();
        for at in 0..rows.traces {
            rows.decode(at, &mut self.trace);
            self.text.push_str(&utc(rows.utc_of(at)));
            for &value in &self.trace {
                let value = (f64::from(value) * scale) as f32;
                // The shortest decimal that is this float again; writing into a String cannot fail.
                let _ = match value.abs() {
                    1e-4..1e7 | 0.0 => write!(self.text, ",{value}"),
                    _ => write!(self.text, ",{value:e}"),
                };
            }
            self.text.push('\n');
        }
        self.draft.put(self.text.as_bytes())
    }

    fn finish(self: Box<Self>, _findings: &mut Vec<Finding>) -> Result<Finished, ExportError> {
        self.draft.finish()
    }
}
