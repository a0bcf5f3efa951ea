//! What can be seen of processes from outside: the daemon's `/metrics`, and the system's own accounts in `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the daemon may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// Body of `GET path`, when the answer is 200.
///
/// # Errors
/// When there is no such answer within a few seconds.
pub fn get(to: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("GET {path}: {}", answer.lines().next().unwrap_or("no answer")))),
    }
}

/// One look at `/metrics`: values by name with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus text; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(values.collect())
    }

    /// The value of `name`, labels included.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A count; 0 when the daemon does not tell it.
    pub fn count(&self, name: &str) -> u64 {
        self.value(name).unwrap_or(0.0) as u64
    }

    /// Every count, for seeing whether anything still moves.
    pub fn counts(&self, names: &[&str]) -> Vec<u64> {
        names.iter().map(|name| self.count(name)).collect()
    }

    /// The edge in seconds under which at least the share `q` (0…1) of what a histogram has seen since `before` lies;
    /// `None` when that is nothing, infinity above the last edge.
    pub fn quantile_since(&self, before: &Self, name: &str, q: f64) -> Option<f64> {
        let start = format!("{name}_bucket{{le=\"");
        let mut cells: Vec<(f64, f64)> = self
            .0
            .range(start.clone()..)
            .take_while(|(key, _)| key.starts_with(&start))
            .filter_map(|(key, now)| {
                let edge = key[start.len()..].strip_suffix("\"}")?;
                let edge = if edge == "+Inf" { f64::INFINITY } else { edge.parse().ok()? };
                Some((edge, now - before.value(key).unwrap_or(0.0)))
            })
            .collect();
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = cells.last()?.1;
        (total > 0.0).then(|| cells.iter().find(|cell| cell.1 >= q * total).map(|cell| cell.0)).flatten()
    }
}

/// Processor time of a process, user and system, over all its threads, also those that have ended.
///
/// # Errors
/// When the process is gone.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks_of_stat(&stat).map(ticks).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat cannot be understood")))
}

/// `utime` + `stime` in a line of `/proc/PID/stat`. The name before them may hold spaces and brackets.
fn ticks_of_stat(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Processor time of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// All processes and the kernel.
    pub busy: Duration,
    /// What the hypervisor gave to others while somebody here wanted it.
    pub stolen: Duration,
}

impl Machine {
    /// What has been used up until now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn look() -> io::Result<Self> {
        let [busy, stolen] = ticks_of_machine(&fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| io::Error::other("/proc/stat cannot be understood"))?;
        Ok(Self { busy: ticks(busy), stolen: ticks(stolen) })
    }
}

/// Busy and stolen ticks in `/proc/stat`.
fn ticks_of_machine(stat: &str) -> Option<[u64; 2]> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests stand in user already.
    let &[user, nice, system, _, _, irq, softirq, steal, ..] = fields.as_slice() else { return None };
    Some([user + nice + system + irq + softirq, steal])
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Most that was ever resident, mapped files and the ring among it.
    pub peak: u64,
    /// The same now.
    pub resident: u64,
    /// Resident now and shared: the ring.
    pub shared: u64,
}

impl Memory {
    /// Of the process with this number.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |key| kib_of_status(&status, key).unwrap_or(0) * 1024;
        Ok(Self { peak: bytes("VmHWM"), resident: bytes("VmRSS"), shared: bytes("RssShmem") })
    }
}

fn kib_of_status(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Name of the processor, when the system tells it.
pub fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP fiberd_traces_total Traces.
# TYPE fiberd_traces_total counter
fiberd_traces_total 1200
fiberd_traces_dropped_total{place=\"no_block\"} 3
fiberd_pipeline_load_ratio 0.25
lat_bucket{le=\"0.001\"} 0
lat_bucket{le=\"0.01\"} 90
lat_bucket{le=\"0.1\"} 99
lat_bucket{le=\"+Inf\"} 100
lat_sum 1.5
lat_count 100
nonsense
";

    #[test]
    fn metrics_are_read_by_name_and_label() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.count("fiberd_traces_total"), 1200);
        assert_eq!(metrics.count("fiberd_traces_dropped_total{place=\"no_block\"}"), 3);
        assert_eq!(metrics.value("fiberd_pipeline_load_ratio"), Some(0.25));
        assert_eq!(metrics.value("nonsense"), None);
        assert_eq!(metrics.counts(&["lat_count", "nothing"]), [100, 0]);
    }

    #[test]
    fn quantiles_hold_for_what_came_since() {
        let (empty, metrics) = (Metrics::default(), Metrics::parse(TEXT));
        let since = |before: &Metrics, q| metrics.quantile_since(before, "lat", q);
        let edges = [(0.5, 0.01), (0.9, 0.01), (0.99, 0.1), (1.0, f64::INFINITY)];
        assert!(edges.iter().all(|&(q, edge)| since(&empty, q) == Some(edge)));
        // The ninety quick ones were before: nine of ten are left below 0.1 s.
        let quick = "lat_bucket{le=\"0.01\"} 90\nlat_bucket{le=\"0.1\"} 90\nlat_bucket{le=\"+Inf\"} 90\n";
        assert_eq!(since(&Metrics::parse(quick), 0.5), Some(0.1));
        assert_eq!(since(&metrics, 0.5), None);
        assert_eq!(metrics.quantile_since(&empty, "nothing", 0.5), None);
    }

    #[test]
    fn accounts_of_the_system_by_hand() {
        let stat = "12 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 700 55 0 0 20 0 9";
        assert_eq!(ticks_of_stat(stat), Some(755));
        assert_eq!(ticks_of_stat("12 (short) S 1"), None);
        let stat = "cpu  100 1 50 9000 7 2 3 4 60 0\ncpu0 1 1 1 1\n";
        assert_eq!(ticks_of_machine(stat), Some([156, 4]));
        assert_eq!(ticks_of_machine("cpu 1 2"), None);
        assert_eq!(kib_of_status("VmHWMx: 1 kB\nVmHWM:\t  2048 kB\n", "VmHWM"), Some(2048));
        let own = std::process::id();
        assert!(cpu_time(own).is_ok() && Memory::of(own).unwrap().peak > 0 && Machine::look().is_ok());
    }
}
