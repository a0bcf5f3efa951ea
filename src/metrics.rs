#![doc = include_str!("metrics.md")]

mod data_path;
mod frames;
mod service;

use std::fmt::{Display, Write};

use crate::status::{Counters, Histogram, LATENCY_EDGES_S, Report, Stage, Status};

/// Content type of [`render`]ed text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One exposed metric.
pub struct Metric {
    /// `fiberd_<noun>_<unit>[_total]`.
    pub name: &'static str,
    /// Unit, in a word.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
    read: Read,
}

/// How values are found: one, one for each value of a label, or a histogram.
enum Read {
    Count(fn(&Look<'_>) -> f64),
    CountBy(&'static str, ByLabel),
    Gauge(fn(&Look<'_>) -> Option<f64>),
    GaugeBy(&'static str, ByLabel),
    Histogram(fn(&Counters) -> &Histogram),
}

type ByLabel = fn(&Look<'_>) -> Vec<(&'static str, f64)>;

/// What metrics are read from, at one moment.
struct Look<'a> {
    counters: &'a Counters,
    report: Report,
    optical_power: Option<f64>,
    stuck: Vec<Stage>,
    process: Process,
}

impl Metric {
    /// `counter`, `gauge` or `histogram`.
    pub const fn kind(&self) -> &'static str {
        match self.read {
            Read::Count(_) | Read::CountBy(..) => "counter",
            Read::Gauge(_) | Read::GaugeBy(..) => "gauge",
            Read::Histogram(_) => "histogram",
        }
    }

    fn render(&self, look: &Look<'_>, text: &mut String) {
        let name = self.name;
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", self.help, self.kind());
        match self.read {
            Read::Count(read) => sample(text, name, "", read(look)),
            Read::Gauge(read) => {
                if let Some(value) = read(look) {
                    sample(text, name, "", value);
                }
            }
            Read::CountBy(label, read) | Read::GaugeBy(label, read) => {
                for (of, value) in read(look) {
                    sample(text, name, &format!("{{{label}=\"{of}\"}}"), value);
                }
            }
            Read::Histogram(read) => histogram(text, name, read(look.counters)),
        }
    }
}

fn sample(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn histogram(text: &mut String, name: &str, histogram: &Histogram) {
    let mut total = 0;
    let edges = LATENCY_EDGES_S.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    for (edge, cell) in edges.zip(histogram.cells()) {
        total += cell;
        sample(text, name, &format!("_bucket{{le=\"{edge}\"}}"), total);
    }
    sample(text, name, "_sum", histogram.sum_s());
    sample(text, name, "_count", total);
}

/// All metrics as Prometheus text, format 0.0.4.
pub fn render(status: &Status) -> String {
    let look = Look {
        counters: &status.counters,
        report: status.report(),
        optical_power: status.optical_power(),
        stuck: status.stuck(),
        process: Process::look(),
    };
    let mut text = String::with_capacity(16 << 10);
    for metric in table() {
        metric.render(&look, &mut text);
    }
    text
}

/// What the system says about this process. What it does not say is left out.
#[derive(Default)]
struct Process {
    resident_bytes: Option<f64>,
    threads: Option<f64>,
    open_fds: Option<f64>,
    cpu_s: f64,
}

impl Process {
    fn look() -> Self {
        let state = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |key: &str| {
            let line = state.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            resident_bytes: number("VmRSS").map(|kib| kib * 1024.0),
            threads: number("Threads"),
            // The listing itself holds one.
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64),
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 * 1e-9,
        }
    }
}

const fn count(name: &'static str, unit: &'static str, help: &'static str, read: fn(&Look<'_>) -> f64) -> Metric {
    Metric { name, unit, help, read: Read::Count(read) }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&Look<'_>) -> Option<f64>,
) -> Metric {
    Metric { name, unit, help, read: Read::Gauge(read) }
}

/// 1 for the name that holds, 0 for the others.
fn one_hot<const N: usize>(names: [&'static str; N], holds: &str) -> Vec<(&'static str, f64)> {
    names.map(|name| (name, flag(name == holds))).to_vec()
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Every metric there is, in the order in which it is exposed.
pub fn table() -> impl Iterator<Item = &'static Metric> {
    [data_path::TABLE, frames::TABLE, service::TABLE].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_beside_the_code_lists_exactly_these_metrics() {
        let page: Vec<_> = include_str!("metrics.md").lines().filter(|line| line.starts_with("| `fiberd_")).collect();
        let row = |m: &Metric| format!("| `{}` | {} | {} | {} |", m.name, m.kind(), m.unit, m.help);
        let table: Vec<_> = table().map(row).collect();
        assert_eq!(page, table, "metrics.md must list the metrics as the table has them, in its order");
    }

    #[test]
    fn names_follow_the_house_rule() {
        for m in table() {
            assert_eq!(m.name.ends_with("_total"), m.kind() == "counter", "{}", m.name);
            let named_unit = ["seconds", "hertz", "bytes", "ratio", "channels", "traces", "blocks", "frames"];
            if named_unit.contains(&m.unit) {
                assert!(m.name.contains(m.unit), "{} has the unit {}", m.name, m.unit);
            }
            assert!(!m.help.contains(['\\', '\n', '|']), "{}", m.name);
        }
    }
}
