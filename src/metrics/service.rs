//! Jobs, their clients, the log, stages and the process.

use super::{Metric, Read, count, flag, gauge};
use crate::status::Stage;

pub(super) const TABLE: &[Metric] = &[
    // jobs and their clients
    gauge("fiberd_jobs", "jobs", "Jobs that run.", |look| Some(look.report.jobs as f64)),
    count("fiberd_jobs_started_total", "jobs", "Jobs that began.", |look| look.counters.jobs.started.get() as f64),
    count(
        "fiberd_jobs_refused_total",
        "jobs",
        "Jobs that were possible when asked for and not started: no room, their id taken, or the pipeline could not have them.",
        |look| look.counters.jobs.refused.get() as f64,
    ),
    count(
        "fiberd_jobs_ended_for_room_total",
        "jobs",
        "Jobs that nobody had looked at since their start and that ended because another one needed their room.",
        |look| look.counters.jobs.ended_for_room.get() as f64,
    ),
    gauge(
        "fiberd_job_memory_bytes",
        "bytes",
        "Memory that jobs take: transforms, newest lines, and what readers may be behind.",
        |look| Some(look.counters.jobs.memory_bytes.get()),
    ),
    gauge(
        "fiberd_job_reader_lag_ratio",
        "1",
        "By how much of the usual readers of jobs may be behind before they lose lines; less than 1 when memory is short, 0 before the first look.",
        |look| Some(look.counters.jobs.reader_share.get()),
    ),
    count(
        "fiberd_job_polls_refused_total",
        "requests",
        "Polls that were refused because answers that nobody reads hold as much memory as they may.",
        |look| look.counters.jobs.polls_refused.get() as f64,
    ),
    count(
        "fiberd_websockets_refused_total",
        "connections",
        "WebSockets that were refused because as many as may be were open, in all or of one client.",
        |look| look.counters.streams.sockets_refused.get() as f64,
    ),
    count(
        "fiberd_job_lines_lost_total",
        "lines",
        "Lines of jobs that their readers were too slow for, added up over readers.",
        |look| look.counters.jobs.lines_lost.get() as f64,
    ),
    Metric {
        name: "fiberd_requests_total",
        unit: "requests",
        help: "Requests to the control API, by answer: done, refused (4xx), throttled (429) or failed (5xx).",
        read: Read::CountBy("answer", |look| {
            let c = look.counters;
            vec![
                ("done", c.api.requests_done.get() as f64),
                ("refused", c.api.requests_refused.get() as f64),
                ("throttled", c.api.requests_throttled.get() as f64),
                ("failed", c.api.requests_failed.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_connections_spared_total",
        "connections",
        "Connections to the control API that were closed to make room for others.",
        |look| look.counters.api.connections_spared.get() as f64,
    ),
    // the daemon itself
    count(
        "fiberd_log_lines_lost_total",
        "lines",
        "Lines of the log that were lost because whoever reads it was too slow or refused them.",
        |look| look.counters.log.lines_lost.get() as f64,
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
