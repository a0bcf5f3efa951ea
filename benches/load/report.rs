//! What a scenario found: rows of measurements with their targets beside them, as a table or as JSON.

use std::fmt;

use serde::Serialize;

use crate::tally::Fault;

const NAME: usize = 50;
const VALUE: usize = 22;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub scenario: &'static str,
    pub what: String,
    pub rows: Vec<Row>,
    pub faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub value: Option<f64>,
    pub text: String,
    pub target: Option<String>,
    pub met: Option<bool>,
    /// Whether a missed target is a fault. A time never is.
    pub counts: bool,
}

impl Report {
    pub fn new(scenario: &'static str, what: String) -> Self {
        Self { scenario, what, ..Self::default() }
    }

    fn row(&mut self, name: impl Into<String>, value: Option<f64>, text: String) -> &mut Row {
        self.rows.push(Row { name: name.into(), value, text, target: None, met: None, counts: false });
        self.rows.last_mut().expect("just pushed")
    }

    /// A measurement with as many decimals as it deserves.
    pub fn number(&mut self, name: impl Into<String>, value: impl Into<Option<f64>>, unit: &str) -> &mut Row {
        let value = value.into();
        let text = value.map_or_else(|| "-".into(), |value| format!("{} {unit}", shown(value)).trim_end().to_owned());
        self.row(name, value, text)
    }

    pub fn count(&mut self, name: impl Into<String>, count: u64) -> &mut Row {
        self.row(name, Some(count as f64), count.to_string())
    }

    pub fn words(&mut self, name: impl Into<String>, words: impl Into<String>) -> &mut Row {
        self.row(name, None, words.into())
    }

    /// An error, a lost line or a lost trace was seen.
    pub fn failed(&self) -> bool {
        !self.faults.is_empty() || self.rows.iter().any(|row| row.counts && row.met == Some(false))
    }
}

impl Row {
    pub fn at_most(&mut self, most: f64, unit: &str) -> &mut Self {
        self.met = self.value.map(|value| value <= most);
        self.target = Some(format!("≤ {} {unit}", shown(most)).trim_end().to_owned());
        self
    }

    pub fn at_least(&mut self, least: f64, unit: &str) -> &mut Self {
        self.met = self.value.map(|value| value >= least);
        self.target = Some(format!("≥ {} {unit}", shown(least)).trim_end().to_owned());
        self
    }

    /// To miss it is a fault.
    pub fn must_be(&mut self, wanted: u64) {
        self.met = self.value.map(|value| value.to_bits() == (wanted as f64).to_bits());
        self.target = Some(wanted.to_string());
        self.counts = true;
    }
}

fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 1.0 => 1,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {}", self.scenario, self.what)?;
        for Row { name, text, target, met, .. } in &self.rows {
            let mark = match met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let line = format!("  {name:<NAME$}{text:>VALUE$}   {:<12}{mark}", target.as_deref().unwrap_or_default());
            writeln!(f, "{}", line.trim_end())?;
        }
        for Fault { kind, count, first } in &self.faults {
            writeln!(f, "  FAULT, {kind}, {count} times, first: {first}")?;
        }
        writeln!(f, "  {}", if self.failed() { "FAILED" } else { "no error, no lost line, no lost trace" })
    }
}
