//! What a benchmark says: numbers, the table that a person reads, and in words whether the host keeps up. Pure.

mod text;

use serde::Serialize;

use super::consumer::Received;
use super::observe::{self, Metrics};
use super::{BenchOptions, Moment};
use crate::source::synthetic::SimulateProgress;

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of fiberd.
    pub version: &'static str,
    /// Where.
    pub host: Host,
    /// Threads of the DSP stage that were asked for; 0 = one for each core.
    pub threads: usize,
    /// Whether frames went to a broker.
    pub broker: bool,
    /// Why not, when one was looked for.
    pub broker_absent: Option<String>,
    /// Asked to stop: cases are missing.
    pub stopped: bool,
    /// One after the other.
    pub cases: Vec<CaseReport>,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// What the system says about it.
    pub processor: Option<String>,
    /// Cores that may be used.
    pub cores: usize,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// Channels; one waterfall covers them all.
    pub channels: usize,
    /// Pulse repetition rate, Hz.
    pub prr_hz: f64,
    /// Single channels with spectra.
    pub singles: usize,
    /// From line to line of the waterfall, in ms.
    pub line_period_ms: f64,
    /// Length of the measured interval.
    pub measured_s: f64,
    /// In the interval.
    pub cpu: Cpu,
    /// In the interval.
    pub load: Load,
    /// In the whole run.
    pub producer: ProducerReport,
    /// In the whole run.
    pub traces: Traces,
    /// In the whole run.
    pub frames: Frames,
    /// In the interval.
    pub latency: Latency,
    /// At the end.
    pub memory: Memory,
    /// The benchmark's own consumer lost its connection: what it received is no account of the service.
    pub consumer_cut_off: bool,
}

/// Processor time ÷ wall time, percent of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// The daemon, all its threads.
    pub daemon_percent: f64,
    /// The producer.
    pub producer_percent: f64,
    /// This process: the consumer and the looking.
    pub bench_percent: f64,
    /// Everything else on the machine, the broker among it. Rough: the kernel samples the machine's time at its ticks,
    /// and what is short falls between them; the time of processes it measures.
    pub others_percent: f64,
    /// What the hypervisor kept back.
    pub stolen_percent: f64,
}

/// Time that the pipeline spends on a block ÷ length of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    /// Mean; 1 is as much as can be borne.
    pub mean: f64,
    /// Highest of the looks, one a second.
    pub max: f64,
    /// 1 ÷ mean: so many times as much would just be borne. 0 when nothing was seen.
    pub times_real_time: f64,
}

/// The producer's own account. What it loses is not the daemon's fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProducerReport {
    /// Traces that it could not write in time and declared lost.
    pub traces_lost: u64,
    /// Longest delay of a slot behind its due time.
    pub behind_most_ms: f64,
}

/// Where the traces went: `launched = lost_before_ring + lapped + no_block + arrived`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traces {
    /// Pulses of the whole run: written by the producer, or declared lost by it.
    pub launched: u64,
    /// Declared lost by the producer.
    pub lost_before_ring: u64,
    /// Overwritten in the ring before they were read.
    pub lapped: u64,
    /// Read, and thrown away because no block was free.
    pub no_block: u64,
    /// Taken on to the pipeline.
    pub arrived: u64,
    /// Sum of the three losses.
    pub lost: u64,
    /// Traces missing according to the gaps that the daemon marked in its data. Differs from `lost` only when traces
    /// are missing at the very end, with no block behind them to mark it, or when the daemon counts wrongly.
    pub marked: u64,
    /// What the daemon says was lost before the ring. Differs from `lost_before_ring` as `marked` differs from `lost`.
    pub told_before_ring: u64,
}

/// Where the frames went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// Frames that the line grid asks for when no trace is lost.
    pub expected: u64,
    /// Made by the pipeline.
    pub made: u64,
    /// Dropped at the fence: the publisher was too slow.
    pub dropped: u64,
    /// Handed to the broker.
    pub published: u64,
    /// Confirmed by it.
    pub confirmed: u64,
    /// Refused by it, or wanted by no queue.
    pub refused_or_unroutable: u64,
    /// Published without any answer.
    pub unconfirmed: u64,
    /// Taken by the benchmark's consumer.
    pub received: u64,
    /// Bytes of these.
    pub received_bytes: u64,
}

/// How late frames are, milliseconds after their last trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// From the last trace in the daemon's hand to the broker's confirm: edges of the daemon's histogram that so many
    /// lie below; `null` without confirms or above all edges.
    pub confirmed_p50_below_ms: Option<f64>,
    /// As above.
    pub confirmed_p99_below_ms: Option<f64>,
    /// From the launch of the last trace to the consumer's hand: slot and block are in it.
    pub delivered_p50_ms: Option<f64>,
    /// As above.
    pub delivered_p99_ms: Option<f64>,
    /// As above.
    pub delivered_max_ms: Option<f64>,
}

/// Memory of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Most that was ever resident, the mapped ring in it.
    pub peak_rss_bytes: u64,
    /// Shared memory in it: the ring.
    pub shared_bytes: u64,
}

impl Report {
    pub(super) fn new(options: &BenchOptions) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            host: Host { processor: observe::processor(), cores },
            threads: options.threads,
            broker: options.broker.is_some(),
            broker_absent: None,
            stopped: false,
            cases: Vec::new(),
        }
    }

    pub(super) fn without_broker(&mut self, why: String) {
        (self.broker, self.broker_absent) = (false, Some(why));
    }
}

impl Cpu {
    pub(super) fn between(from: &Moment, to: &Moment) -> Self {
        let wall = (to.at - from.at).as_secs_f64().max(1e-9);
        let percent =
            |from: std::time::Duration, to: std::time::Duration| 100.0 * to.saturating_sub(from).as_secs_f64() / wall;
        let daemon_percent = percent(from.daemon, to.daemon);
        let producer_percent = percent(from.producer, to.producer);
        let bench_percent = percent(from.own, to.own);
        let all = percent(from.machine.busy, to.machine.busy);
        Self {
            daemon_percent,
            producer_percent,
            bench_percent,
            others_percent: (all - daemon_percent - producer_percent - bench_percent).max(0.0),
            stolen_percent: percent(from.machine.stolen, to.machine.stolen),
        }
    }
}

impl Load {
    pub(super) fn of(looks: &[f64]) -> Self {
        let mean = looks.iter().sum::<f64>() / looks.len().max(1) as f64;
        let max = looks.iter().copied().fold(0.0, f64::max);
        Self { mean, max, times_real_time: if mean > 0.0 { 1.0 / mean } else { 0.0 } }
    }
}

impl Traces {
    /// The account at the end of a run: what the producer says of itself beside what the daemon says.
    pub(super) fn count(produced: &SimulateProgress, metrics: &Metrics) -> Self {
        let read = metrics.count("fiberd_traces_total");
        let lost_before_ring = produced.lost;
        let no_block = metrics.count("fiberd_traces_dropped_total{place=\"no_block\"}");
        let lapped = produced.traces.saturating_sub(read);
        Self {
            launched: produced.traces + produced.lost,
            lost_before_ring,
            lapped,
            no_block,
            arrived: read.saturating_sub(no_block),
            lost: lost_before_ring + lapped + no_block,
            marked: metrics.count("fiberd_gap_traces_total"),
            told_before_ring: metrics.count("fiberd_traces_dropped_total{place=\"before_ring\"}"),
        }
    }
}

impl Frames {
    pub(super) fn count(expected: u64, metrics: &Metrics, received: Option<&Received>) -> Self {
        let published = metrics.count("fiberd_frames_published_total");
        let confirmed = metrics.count("fiberd_frames_confirmed_total");
        let refused_or_unroutable = metrics.count("fiberd_frames_unroutable_total")
            + metrics.count("fiberd_frames_dropped_total{place=\"broker\"}");
        Self {
            expected,
            made: metrics.count("fiberd_frames_made_total"),
            dropped: metrics.count("fiberd_frames_dropped_total{place=\"egress\"}"),
            published,
            confirmed,
            refused_or_unroutable,
            unconfirmed: published.saturating_sub(confirmed + refused_or_unroutable),
            received: received.map_or(0, |r| r.frames),
            received_bytes: received.map_or(0, |r| r.bytes),
        }
    }
}

impl Latency {
    pub(super) fn between(from: &Moment, to: &Moment, received: Option<&Received>) -> Self {
        let confirmed = |q| {
            let edge = to.metrics.quantile_since(&from.metrics, "fiberd_confirm_latency_seconds", q)?;
            edge.is_finite().then_some(edge * 1e3)
        };
        let interval = from.utc_ns..to.utc_ns;
        let delays = received.map_or(&[][..], |r| &r.delays);
        let mut delays: Vec<i64> = delays.iter().filter(|d| interval.contains(&d.0)).map(|d| d.1).collect();
        delays.sort_unstable();
        let delivered = |q| quantile(&delays, q).map(|ns| ns as f64 * 1e-6);
        Self {
            confirmed_p50_below_ms: confirmed(0.5),
            confirmed_p99_below_ms: confirmed(0.99),
            delivered_p50_ms: delivered(0.5),
            delivered_p99_ms: delivered(0.99),
            delivered_max_ms: delivered(1.0),
        }
    }
}

/// The smallest value that at least the share `q` of `sorted` does not exceed.
fn quantile(sorted: &[i64], q: f64) -> Option<i64> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_accounted_for_to_the_last() {
        let text = "fiberd_traces_total 900\nfiberd_gap_traces_total 100\n\
                    fiberd_traces_dropped_total{place=\"before_ring\"} 20\nfiberd_traces_dropped_total{place=\"no_block\"} 50\n";
        let produced = SimulateProgress { traces: 980, lost: 20, ..SimulateProgress::default() };
        let traces = Traces::count(&produced, &Metrics::parse(text));
        let expected = Traces {
            launched: 1000,
            lost_before_ring: 20,
            lapped: 80,
            no_block: 50,
            arrived: 850,
            lost: 150,
            marked: 100,
            told_before_ring: 20,
        };
        assert_eq!(traces, expected);
    }

    #[test]
    fn quantiles_of_a_list() {
        assert_eq!(quantile(&[], 0.5), None);
        let list: Vec<i64> = (1..=100).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|q| quantile(&list, q).unwrap()), [50, 99, 100]);
        assert_eq!(quantile(&[7], 0.01), Some(7));
    }
}
