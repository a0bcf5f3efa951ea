//! Frames, the broker, and commands.

use super::{Metric, Read, count, gauge, one_hot};
use crate::status::BrokerState;

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

pub(super) const TABLE: &[Metric] = &[
    // frames and broker
    count("fiberd_frames_made_total", "frames", "Frames of standing views made by the pipeline.", |look| {
        look.counters.egress.frames_made.get() as f64
    }),
    Metric {
        name: "fiberd_frames_dropped_total",
        unit: "frames",
        help: "Frames dropped, by place: egress (the publisher was too slow or the broker away), too_large (larger than what the broker takes, so not sent) or broker (refused and given up).",
        read: Read::CountBy("place", |look| {
            let c = look.counters;
            vec![
                ("egress", c.egress.frames_dropped.get() as f64),
                ("too_large", c.publish.frames_too_large.get() as f64),
                ("broker", c.publish.frames_given_up.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_frames_without_broker_total",
        "frames",
        "Frames that nobody publishes, because the configuration names no broker.",
        |look| look.counters.publish.frames_without_broker.get() as f64,
    ),
    gauge("fiberd_frames_waiting", "frames", "Frames that wait for the broker.", |look| {
        Some(look.report.frames_waiting)
    }),
    gauge(
        "fiberd_frames_unanswered",
        "frames",
        "Those of them that were handed to the broker and have no final answer.",
        |look| Some(look.counters.publish.frames_unanswered.get()),
    ),
    gauge(
        "fiberd_frames_held",
        "frames",
        "Those of them that the broker has refused and that are sent again later.",
        |look| Some(look.counters.publish.frames_held.get()),
    ),
    count("fiberd_frames_published_total", "frames", "Frames handed to the broker.", |look| {
        look.counters.publish.frames_published.get() as f64
    }),
    count("fiberd_frames_confirmed_total", "frames", "Frames that the broker confirmed.", |look| {
        look.counters.publish.frames_confirmed.get() as f64
    }),
    count("fiberd_bytes_confirmed_total", "bytes", "Bytes of the frames that the broker confirmed.", |look| {
        look.counters.publish.bytes_confirmed.get() as f64
    }),
    count("fiberd_frames_unroutable_total", "frames", "Frames that no queue wanted.", |look| {
        look.counters.publish.frames_unroutable.get() as f64
    }),
    count(
        "fiberd_frames_refused_total",
        "frames",
        "Times that the broker refused a frame; durable ones are sent again.",
        |look| look.counters.publish.frames_refused.get() as f64,
    ),
    count(
        "fiberd_frames_unconfirmed_total",
        "frames",
        "Frames that had no answer from the broker when the daemon stopped.",
        |look| look.counters.publish.frames_unconfirmed.get() as f64,
    ),
    count("fiberd_status_messages_confirmed_total", "messages", "Status messages that the broker confirmed.", |look| {
        look.counters.publish.status_confirmed.get() as f64
    }),
    Metric {
        name: "fiberd_narrowed_values_total",
        unit: "values",
        help: "Values that float16 could not hold, by what they became: zero (they were not 0) or infinity (they were finite).",
        read: Read::CountBy("became", |look| {
            let (jobs, broker) = (&look.counters.narrowed_for_jobs, &look.counters.narrowed_for_broker);
            vec![
                ("zero", (jobs.zeros.get() + broker.zeros.get()) as f64),
                ("infinity", (jobs.infinities.get() + broker.infinities.get()) as f64),
            ]
        }),
    },
    Metric {
        name: "fiberd_confirm_latency_seconds",
        unit: "seconds",
        help: "From the last trace of a frame in hand to its confirm.",
        read: Read::Histogram(|counters| &counters.publish.confirm_latency),
    },
    Metric {
        name: "fiberd_broker_state",
        unit: "1",
        help: "1 for the state of the connection that holds, 0 for the others.",
        read: Read::GaugeBy("state", |look| one_hot(BROKER_STATES, broker_word(&look.report.broker))),
    },
    count("fiberd_broker_connections_total", "connections", "Connections made to a broker.", |look| {
        look.counters.publish.connections.get() as f64
    }),
    count("fiberd_broker_failures_total", "failures", "Connections, and attempts at one, that failed.", |look| {
        look.counters.publish.failures.get() as f64
    }),
    // frames of jobs, and commands
    count("fiberd_job_frames_made_total", "frames", "Frames of jobs made by the pipeline.", |look| {
        look.counters.job_egress.frames_made.get() as f64
    }),
    count("fiberd_job_frames_offered_total", "frames", "Frames of jobs that there were for the broker.", |look| {
        look.counters.job_frames.offered.get() as f64
    }),
    gauge("fiberd_job_frames_waiting", "frames", "Frames of jobs that wait to be sent to the broker.", |look| {
        Some(look.counters.job_frames.waiting.get())
    }),
    count("fiberd_job_frames_published_total", "frames", "Frames of jobs handed to the broker.", |look| {
        look.counters.job_frames.published.get() as f64
    }),
    gauge("fiberd_job_frames_unanswered", "frames", "Frames of jobs under way to the broker.", |look| {
        Some(look.counters.job_frames.unanswered.get())
    }),
    count(
        "fiberd_job_frames_confirmed_total",
        "frames",
        "Frames of jobs that the broker confirmed and put into a queue.",
        |look| look.counters.job_frames.confirmed.get() as f64,
    ),
    count("fiberd_job_frames_unroutable_total", "frames", "Frames of jobs that no queue wanted.", |look| {
        look.counters.job_frames.unroutable.get() as f64
    }),
    Metric {
        name: "fiberd_job_frames_dropped_total",
        unit: "frames",
        help: "Frames of jobs dropped, by place: egress (not delivered to their jobs in time), queue (newer ones came first), late (waited too long to be live) or broker (refused, or under way when the connection was lost).",
        read: Read::CountBy("place", |look| {
            let c = look.counters;
            vec![
                ("queue", c.job_frames.dropped.get() as f64),
                ("late", c.job_frames.late.get() as f64),
                ("broker", c.job_frames.lost.get() as f64),
                ("egress", c.job_egress.frames_dropped.get() as f64),
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
                ("unwanted", c.job_frames.unwanted.get() as f64),
                ("throttled", c.job_frames.throttled.get() as f64),
                ("not_connected", c.job_frames.not_connected.get() as f64),
                ("too_large", c.job_frames.too_large.get() as f64),
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
                ("done", c.commands.done.get() as f64),
                ("refused", c.commands.refused.get() as f64),
                ("ignored", c.commands.ignored.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_command_replies_unsent_total",
        "replies",
        "Answers to commands that nobody got, as far as is known: no such queue, refused, not written within 2 s, or not confirmed when the connection was lost.",
        |look| look.counters.commands.replies_unsent.get() as f64,
    ),
    gauge("fiberd_commands_heard", "1", "1 while commands from the bus are heard, 0 while they are not.", |look| {
        Some(look.counters.commands.heard.get())
    }),
];
