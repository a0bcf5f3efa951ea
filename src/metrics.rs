#![doc = include_str!("metrics.md")]

use std::fmt::{Display, Write};

use crate::acquisition::Phase;
use crate::health::CODES;
use crate::status::{BrokerState, Counters, Histogram, LATENCY_EDGES_S, Report, Stage, Status};

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
    for metric in TABLE {
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

const BROKER_STATES: [&str; 5] = ["disabled", "connecting", "connected", "blocked", "away"];

const fn broker_word(state: &BrokerState) -> &'static str {
    match state {
        BrokerState::Disabled => "disabled",
        BrokerState::Connecting => "connecting",
        BrokerState::Connected => "connected",
        BrokerState::Blocked => "blocked",
        BrokerState::Away => "away",
    }
}

const OPTICAL_POWER: &str = "Optical power of the newest block: variance over the channels, what `dark_power` is compared with; absent while no traces come.";
const LAUNCHED: &str = "Traces launched, as far as is known, from the first one read of each acquisition on.";
const MISSED: &str = "Traces of the gaps above that the source did not deliver: lost before the ring, overwritten before they were read, written without light, damaged, or unread at the end of their acquisition.";

/// Every metric there is, in the order in which it is exposed.
pub const TABLE: &[Metric] = &[
    Metric {
        name: "fiberd_build_info",
        unit: "1",
        help: "Always 1; the label is the version of the daemon.",
        read: Read::GaugeBy("version", |look| vec![(look.report.version, 1.0)]),
    },
    gauge("fiberd_uptime_seconds", "seconds", "Time since the daemon began.", |look| Some(look.report.uptime_s)),
    // signal
    Metric {
        name: "fiberd_phase",
        unit: "1",
        help: "1 for the phase that holds, 0 for the others.",
        read: Read::GaugeBy("phase", |look| one_hot(Phase::NAMES, look.report.phase)),
    },
    gauge(
        "fiberd_phase_since_timestamp_seconds",
        "seconds",
        "When the present phase began, since the UNIX epoch.",
        |look| Some(look.report.since_ms as f64 / 1e3),
    ),
    gauge("fiberd_ready", "1", "1 while no condition keeps the daemon from its job, as `/readyz` says.", |look| {
        Some(flag(look.report.ready))
    }),
    Metric {
        name: "fiberd_condition",
        unit: "conditions",
        help: "How many conditions of this code hold now: what is not as it should be, as `/readyz` lists it.",
        read: Read::GaugeBy("code", |look| {
            let holding = |code: &str| look.report.conditions.iter().filter(|one| one.code == code).count();
            CODES.iter().map(|&code| (code, holding(code) as f64)).collect()
        }),
    },
    count("fiberd_phase_changes_total", "changes", "Times that the phase changed.", |look| {
        look.counters.phase_changes.get() as f64
    }),
    count("fiberd_epochs_total", "acquisitions", "Acquisitions begun.", |look| look.counters.epochs.get() as f64),
    gauge(
        "fiberd_fiber_channels",
        "channels",
        "Channels of the present acquisition; absent while there is none.",
        |look| look.report.channels.map(|n| n as f64),
    ),
    gauge(
        "fiberd_prr_configured_hertz",
        "hertz",
        "PRR that the configuration asks for; absent when it asks for none.",
        |look| look.report.prr_asked_hz,
    ),
    gauge(
        "fiberd_prr_declared_hertz",
        "hertz",
        "PRR that the producer declares; absent while there is no acquisition.",
        |look| look.report.prr_declared_hz,
    ),
    gauge("fiberd_prr_measured_hertz", "hertz", "PRR measured against the clock; absent until it is known.", |look| {
        look.report.prr_measured_hz
    }),
    gauge("fiberd_optical_power_squared_counts", "squared counts", OPTICAL_POWER, |look| look.optical_power),
    gauge(
        "fiberd_last_trace_timestamp_seconds",
        "seconds",
        "UTC of the newest trace, since the UNIX epoch; absent before the first.",
        |look| look.report.last_trace_ms.map(|ms| ms as f64 / 1e3),
    ),
    // capture
    count("fiberd_traces_launched_total", "traces", LAUNCHED, |look| look.counters.traces_launched.get() as f64),
    count("fiberd_traces_total", "traces", "Traces read from the source.", |look| look.counters.traces.get() as f64),
    count("fiberd_blocks_total", "blocks", "Blocks passed from capture to the pipeline.", |look| {
        look.counters.blocks.get() as f64
    }),
    count("fiberd_traces_passed_on_total", "traces", "Traces in the blocks passed to the pipeline.", |look| {
        look.counters.traces_passed_on.get() as f64
    }),
    count("fiberd_gaps_total", "gaps", "Times that traces were missing.", |look| look.counters.gaps.get() as f64),
    count("fiberd_gap_traces_total", "traces", "Traces missing, for whatever reason.", |look| {
        look.counters.gap_traces.get() as f64
    }),
    count("fiberd_traces_missed_in_source_total", "traces", MISSED, |look| {
        look.counters.traces_missed_in_source.get() as f64
    }),
    Metric {
        name: "fiberd_traces_dropped_total",
        unit: "traces",
        help: "Traces of the gaps above by the place that lost them: before_ring (declared by the producer; also among those missed in the source), no_block (no free block, the pipeline was too slow) or dark (below the dark threshold).",
        read: Read::CountBy("place", |look| {
            vec![
                ("before_ring", look.counters.traces_lost_before_ring.get() as f64),
                ("no_block", look.counters.traces_dropped_no_block.get() as f64),
                ("dark", look.counters.traces_dropped_dark.get() as f64),
            ]
        }),
    },
    gauge("fiberd_capture_queue_blocks", "blocks", "Blocks that wait for the pipeline.", |look| {
        Some(look.report.capture_queue_blocks)
    }),
    gauge("fiberd_capture_free_blocks", "blocks", "Free blocks, besides the one that is being filled.", |look| {
        Some(look.counters.capture_free_blocks.get())
    }),
    gauge("fiberd_capture_pool_blocks", "blocks", "All blocks of the pool; 0 before the first acquisition.", |look| {
        Some(look.counters.capture_pool_blocks.get())
    }),
    // pipeline
    count("fiberd_blocks_processed_total", "blocks", "Blocks that went through the pipeline.", |look| {
        look.counters.blocks_processed.get() as f64
    }),
    count("fiberd_traces_processed_total", "traces", "Traces in the blocks that went through the pipeline.", |look| {
        look.counters.traces_processed.get() as f64
    }),
    count("fiberd_lines_total", "lines", "Lines computed.", |look| look.counters.lines.get() as f64),
    count(
        "fiberd_nonfinite_samples_total",
        "samples",
        "Input samples that were not finite and were replaced by zero.",
        |look| look.counters.nonfinite_samples.get() as f64,
    ),
    count("fiberd_clock_steps_total", "steps", "Steps of the time base.", |look| {
        look.counters.clock_steps.get() as f64
    }),
    gauge(
        "fiberd_pipeline_load_ratio",
        "ratio",
        "Time spent on a block divided by the length of the block; 1 is as much as can be borne.",
        |look| Some(look.report.pipeline_load),
    ),
    gauge(
        "fiberd_pipeline_demand_ratio",
        "ratio",
        "Share of real time that all transforms and views cost by what their last windows took, once all windows are full.",
        |look| Some(look.counters.pipeline_demand.get()),
    ),
    count(
        "fiberd_pipeline_plans_total",
        "plans",
        "Times that the pipeline was planned anew for a new acquisition.",
        |look| look.counters.pipeline_plans.get() as f64,
    ),
    count(
        "fiberd_jobs_overloaded_total",
        "jobs",
        "Jobs that the pipeline ended because all together were more than its budget.",
        |look| look.counters.jobs_overloaded.get() as f64,
    ),
    // frames and broker
    count("fiberd_frames_made_total", "frames", "Frames of standing views made by the pipeline.", |look| {
        look.counters.frames_made.get() as f64
    }),
    Metric {
        name: "fiberd_frames_dropped_total",
        unit: "frames",
        help: "Frames dropped, by place: egress (the publisher was too slow or the broker away), too_large (larger than what the broker takes, so not sent) or broker (refused and given up).",
        read: Read::CountBy("place", |look| {
            let c = look.counters;
            vec![
                ("egress", c.frames_dropped_at_egress.get() as f64),
                ("too_large", c.frames_too_large.get() as f64),
                ("broker", c.frames_given_up.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_frames_without_broker_total",
        "frames",
        "Frames that nobody publishes, because the configuration names no broker.",
        |look| look.counters.frames_without_broker.get() as f64,
    ),
    gauge("fiberd_frames_waiting", "frames", "Frames that wait for the broker.", |look| {
        Some(look.report.frames_waiting)
    }),
    gauge(
        "fiberd_frames_unanswered",
        "frames",
        "Those of them that were handed to the broker and have no final answer.",
        |look| Some(look.counters.frames_unanswered.get()),
    ),
    gauge(
        "fiberd_frames_held",
        "frames",
        "Those of them that the broker has refused and that are sent again later.",
        |look| Some(look.counters.frames_held.get()),
    ),
    count("fiberd_frames_published_total", "frames", "Frames handed to the broker.", |look| {
        look.counters.frames_published.get() as f64
    }),
    count("fiberd_frames_confirmed_total", "frames", "Frames that the broker confirmed.", |look| {
        look.counters.frames_confirmed.get() as f64
    }),
    count("fiberd_bytes_confirmed_total", "bytes", "Bytes of the frames that the broker confirmed.", |look| {
        look.counters.bytes_confirmed.get() as f64
    }),
    count("fiberd_frames_unroutable_total", "frames", "Frames that no queue wanted.", |look| {
        look.counters.frames_unroutable.get() as f64
    }),
    count(
        "fiberd_frames_refused_total",
        "frames",
        "Times that the broker refused a frame; durable ones are sent again.",
        |look| look.counters.frames_refused.get() as f64,
    ),
    count(
        "fiberd_frames_unconfirmed_total",
        "frames",
        "Frames that had no answer from the broker when the daemon stopped.",
        |look| look.counters.frames_unconfirmed.get() as f64,
    ),
    count("fiberd_status_messages_confirmed_total", "messages", "Status messages that the broker confirmed.", |look| {
        look.counters.status_confirmed.get() as f64
    }),
    Metric {
        name: "fiberd_confirm_latency_seconds",
        unit: "seconds",
        help: "From the last trace of a frame in hand to its confirm.",
        read: Read::Histogram(|counters| &counters.confirm_latency),
    },
    Metric {
        name: "fiberd_broker_state",
        unit: "1",
        help: "1 for the state of the connection that holds, 0 for the others.",
        read: Read::GaugeBy("state", |look| one_hot(BROKER_STATES, broker_word(&look.report.broker))),
    },
    count("fiberd_broker_connections_total", "connections", "Connections made to a broker.", |look| {
        look.counters.broker_connections.get() as f64
    }),
    count("fiberd_broker_failures_total", "failures", "Connections, and attempts at one, that failed.", |look| {
        look.counters.broker_failures.get() as f64
    }),
    // frames of jobs, and commands
    count("fiberd_job_frames_made_total", "frames", "Frames of jobs made by the pipeline.", |look| {
        look.counters.job_frames_made.get() as f64
    }),
    count("fiberd_job_frames_offered_total", "frames", "Frames of jobs that there were for the broker.", |look| {
        look.counters.job_frames_offered.get() as f64
    }),
    gauge("fiberd_job_frames_waiting", "frames", "Frames of jobs that wait to be sent to the broker.", |look| {
        Some(look.counters.job_frames_waiting.get())
    }),
    count("fiberd_job_frames_published_total", "frames", "Frames of jobs handed to the broker.", |look| {
        look.counters.job_frames_published.get() as f64
    }),
    gauge("fiberd_job_frames_unanswered", "frames", "Frames of jobs under way to the broker.", |look| {
        Some(look.counters.job_frames_unanswered.get())
    }),
    count(
        "fiberd_job_frames_confirmed_total",
        "frames",
        "Frames of jobs that the broker confirmed and put into a queue.",
        |look| look.counters.job_frames_confirmed.get() as f64,
    ),
    count("fiberd_job_frames_unroutable_total", "frames", "Frames of jobs that no queue wanted.", |look| {
        look.counters.job_frames_unroutable.get() as f64
    }),
    Metric {
        name: "fiberd_job_frames_dropped_total",
        unit: "frames",
        help: "Frames of jobs dropped, by place: egress (not delivered to their jobs in time), queue (newer ones came first), late (waited too long to be live) or broker (refused, or under way when the connection was lost).",
        read: Read::CountBy("place", |look| {
            let c = look.counters;
            vec![
                ("queue", c.job_frames_dropped.get() as f64),
                ("late", c.job_frames_late.get() as f64),
                ("broker", c.job_frames_lost.get() as f64),
                ("egress", c.job_frames_dropped_at_egress.get() as f64),
            ]
        }),
    },
    Metric {
        name: "fiberd_job_frames_held_back_total",
        unit: "frames",
        help: "Frames of jobs that were not sent, by reason: unwanted (no queue is bound), throttled (a queue that the job watches is deep), not_connected (no connection, or a blocked one) or too_large (larger than what the broker takes).",
        read: Read::CountBy("reason", |look| {
            let c = look.counters;
            vec![
                ("unwanted", c.job_frames_unwanted.get() as f64),
                ("throttled", c.job_frames_throttled.get() as f64),
                ("not_connected", c.job_frames_not_connected.get() as f64),
                ("too_large", c.job_frames_too_large.get() as f64),
            ]
        }),
    },
    Metric {
        name: "fiberd_commands_total",
        unit: "commands",
        help: "Commands from the bus, by result: done, refused, or ignored (for another site).",
        read: Read::CountBy("result", |look| {
            let c = look.counters;
            vec![
                ("done", c.commands_done.get() as f64),
                ("refused", c.commands_refused.get() as f64),
                ("ignored", c.commands_ignored.get() as f64),
            ]
        }),
    },
    gauge("fiberd_commands_heard", "1", "1 while commands from the bus are heard, 0 while they are not.", |look| {
        Some(look.counters.commands_heard.get())
    }),
    // jobs and their clients
    gauge("fiberd_jobs", "jobs", "Jobs that run.", |look| Some(look.report.jobs as f64)),
    count("fiberd_jobs_started_total", "jobs", "Jobs that began.", |look| look.counters.jobs_started.get() as f64),
    count(
        "fiberd_jobs_refused_total",
        "jobs",
        "Jobs that were possible when asked for and not started: no room, their id taken, or the pipeline could not have them.",
        |look| look.counters.jobs_refused.get() as f64,
    ),
    count(
        "fiberd_jobs_ended_for_room_total",
        "jobs",
        "Jobs that nobody had looked at since their start and that ended because another one needed their room.",
        |look| look.counters.jobs_ended_for_room.get() as f64,
    ),
    gauge(
        "fiberd_job_memory_bytes",
        "bytes",
        "Memory that jobs take: transforms, newest lines, and what readers may be behind.",
        |look| Some(look.counters.job_memory_bytes.get()),
    ),
    gauge(
        "fiberd_job_reader_lag_ratio",
        "1",
        "By how much of the usual readers of jobs may be behind before they lose lines; less than 1 when memory is short, 0 before the first look.",
        |look| Some(look.counters.job_reader_share.get()),
    ),
    count(
        "fiberd_job_polls_refused_total",
        "requests",
        "Polls that were refused because answers that nobody reads hold as much memory as they may.",
        |look| look.counters.job_polls_refused.get() as f64,
    ),
    count(
        "fiberd_websockets_refused_total",
        "connections",
        "WebSockets that were refused because as many as may be were open, in all or of one client.",
        |look| look.counters.sockets_refused.get() as f64,
    ),
    count(
        "fiberd_job_lines_lost_total",
        "lines",
        "Lines of jobs that their readers were too slow for, added up over readers.",
        |look| look.counters.job_lines_lost.get() as f64,
    ),
    Metric {
        name: "fiberd_requests_total",
        unit: "requests",
        help: "Requests to the control API, by answer: done, refused (4xx), throttled (429) or failed (5xx).",
        read: Read::CountBy("answer", |look| {
            let c = look.counters;
            vec![
                ("done", c.requests_done.get() as f64),
                ("refused", c.requests_refused.get() as f64),
                ("throttled", c.requests_throttled.get() as f64),
                ("failed", c.requests_failed.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_connections_spared_total",
        "connections",
        "Connections to the control API that were closed to make room for others.",
        |look| look.counters.connections_spared.get() as f64,
    ),
    // the daemon itself
    count(
        "fiberd_log_lines_lost_total",
        "lines",
        "Lines of the log that were lost because whoever reads it was too slow or refused them.",
        |look| look.counters.log_lines_lost.get() as f64,
    ),
    Metric {
        name: "fiberd_stage_ticks_total",
        unit: "turns",
        help: "Turns of the loop of each stage; grows also while it waits.",
        read: Read::CountBy("stage", |look| {
            Stage::ALL.map(|stage| (stage.name(), look.counters.ticks(stage).get() as f64)).to_vec()
        }),
    },
    Metric {
        name: "fiberd_stage_stuck",
        unit: "1",
        help: "1 for a stage that stands still, 0 for the others.",
        read: Read::GaugeBy("stage", |look| {
            Stage::ALL.map(|stage| (stage.name(), flag(look.stuck.contains(&stage)))).to_vec()
        }),
    },
    count("fiberd_process_cpu_seconds_total", "seconds", "Processor time spent by the process.", |look| {
        look.process.cpu_s
    }),
    gauge("fiberd_process_resident_memory_bytes", "bytes", "Memory of the process that is resident.", |look| {
        look.process.resident_bytes
    }),
    gauge("fiberd_process_threads", "threads", "Threads of the process.", |look| look.process.threads),
    gauge("fiberd_process_open_fds", "descriptors", "Open file descriptors of the process.", |look| {
        look.process.open_fds
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_beside_the_code_lists_exactly_these_metrics() {
        let page: Vec<_> = include_str!("metrics.md").lines().filter(|line| line.starts_with("| `fiberd_")).collect();
        let row = |m: &Metric| format!("| `{}` | {} | {} | {} |", m.name, m.kind(), m.unit, m.help);
        let table: Vec<_> = TABLE.iter().map(row).collect();
        assert_eq!(page, table, "metrics.md must list the metrics as the table has them, in its order");
    }

    #[test]
    fn names_follow_the_house_rule() {
        for m in TABLE {
            assert_eq!(m.name.ends_with("_total"), m.kind() == "counter", "{}", m.name);
            let named_unit = ["seconds", "hertz", "bytes", "ratio", "channels", "traces", "blocks", "frames"];
            if named_unit.contains(&m.unit) {
                assert!(m.name.contains(m.unit), "{} has the unit {}", m.name, m.unit);
            }
            assert!(!m.help.contains(['\\', '\n', '|']), "{}", m.name);
        }
    }
}
