//! What a run came to, as text: the verdict first, then what was done and the worst that was seen, then each violation with
//! what had been done before it.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::rules::Violation;
use crate::watch::Worst;

/// Lines of the run's log that are shown before a violation.
const BEFORE: usize = 6;
/// Violations of one rule that are shown in full.
const SHOWN: usize = 5;

pub struct Report {
    pub seed: u64,
    pub time: Duration,
    pub rounds: u64,
    pub origins: String,
    pub violations: Vec<Violation>,
    pub worst: Worst,
    /// Sentences about what was done and counted.
    pub facts: Vec<String>,
    pub log: Vec<(Duration, String)>,
}

impl Report {
    /// Writes `report.txt` and `log.csv` beside the table of the watch.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        fs::write(dir.join("report.txt"), self.to_string())?;
        let mut log = String::from("at_s,what\n");
        for (at, what) in &self.log {
            let _ = writeln!(log, "{:.3},\"{}\"", at.as_secs_f64(), what.replace('"', "'"));
        }
        fs::write(dir.join("log.csv"), log)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, time, rounds, origins, violations, worst, facts, log } = self;
        match violations.len() {
            0 => writeln!(f, "CLEAN: no rule was broken")?,
            n => writeln!(f, "FAILED: {n} violations")?,
        }
        writeln!(f, "seed {seed}, {rounds} rounds in {:.0} s, faults of: {origins}", time.as_secs_f64())?;
        for fact in facts {
            writeln!(f, "{fact}")?;
        }
        writeln!(
            f,
            "worst of {} looks: /healthz after {:.0} ms, {} MiB resident without the ring, {} files, {} threads, load {:.2}, {} jobs",
            worst.looks,
            worst.healthz.as_secs_f64() * 1e3,
            worst.memory >> 20,
            worst.files,
            worst.threads,
            worst.load,
            worst.jobs
        )?;
        let mut shown = std::collections::BTreeMap::new();
        for Violation { rule, what, began, last } in violations {
            let times = shown.entry(rule).or_insert(0);
            *times += 1;
            if *times > SHOWN {
                continue;
            }
            writeln!(f, "\nat {:.1} s: {rule}", began.as_secs_f64())?;
            writeln!(f, "  {what}")?;
            if last > began {
                writeln!(f, "  until {:.1} s", last.as_secs_f64())?;
            }
            let before: Vec<_> =
                log.iter().filter(|(at, what)| at <= began && !what.starts_with("VIOLATION")).collect();
            for (at, what) in before.iter().skip(before.len().saturating_sub(BEFORE)) {
                writeln!(f, "    {:>8.1} s  {what}", at.as_secs_f64())?;
            }
        }
        for (rule, times) in shown.into_iter().filter(|(_, times)| *times > SHOWN) {
            writeln!(f, "\n{rule}: {times} times in all")?;
        }
        Ok(())
    }
}
