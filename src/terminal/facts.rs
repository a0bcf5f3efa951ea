//! What a screen says in words about a daemon, whether it runs in this process or elsewhere.

use std::collections::VecDeque;
use std::time::Instant;

use crate::status::{BrokerState, Status};

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Traces read.
    pub traces: u64,
    /// Frames made.
    pub made: u64,
    /// Frames published.
    pub published: u64,
    /// Frames confirmed.
    pub confirmed: u64,
}

/// The same per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerSecond {
    /// Traces read.
    pub traces: f64,
    /// Frames made.
    pub made: f64,
    /// Frames published.
    pub published: f64,
    /// Frames confirmed.
    pub confirmed: f64,
}

/// What is missing, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Times that traces were missing.
    pub gaps: u64,
    /// Traces missing.
    pub gap_traces: u64,
    /// Traces that the producer declared lost.
    pub before_ring: u64,
    /// Traces for which no block was free.
    pub no_block: u64,
    /// Frames that were thrown away in front of the publisher.
    pub frames: u64,
}

/// How it stands with the broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Broker {
    /// State of the connection.
    pub state: BrokerState,
    /// Host and port when they are known. Never user or password.
    pub address: Option<String>,
    /// There has been a connection since the daemon began.
    pub was_there: bool,
    /// From the last trace of a frame to its confirm, 50 % and 99 %, in seconds.
    pub latency_s: Option<(f64, f64)>,
}

/// Rates of the pulses, Hz.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prr {
    /// What the configuration asks for.
    pub asked: Option<f64>,
    /// What the interrogator declares.
    pub declared: Option<f64>,
    /// Measured against the clock.
    pub measured: Option<f64>,
}

/// Everything that is said beside the picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Version of the daemon; empty while it is not known.
    pub version: String,
    /// Name of the fiber; empty while it is not known.
    pub site: String,
    /// Where the control API listens: `http://127.0.0.1:5000`.
    pub address: String,
    /// `waiting for fiber`, `acquiring`, `stalled`, `draining`; or that the daemon does not answer.
    pub phase: String,
    /// Why, when it is not acquiring.
    pub reason: Option<String>,
    /// How long the phase has held, seconds.
    pub held_s: f64,
    /// `ring`, `replay` or `synthetic`, when there is an acquisition.
    pub source: Option<String>,
    /// Of a replay: file, place in it and speed, when they are known.
    pub replay: Option<String>,
    /// UTC of the newest trace, milliseconds since the UNIX epoch.
    pub last_trace_ms: Option<i64>,
    /// Channels of the acquisition.
    pub channels: Option<usize>,
    /// Rates of the pulses.
    pub prr: Prr,
    /// Counters.
    pub counts: Counts,
    /// Their rates.
    pub per_second: PerSecond,
    /// Share of real time that the pipeline needs.
    pub load: f64,
    /// Blocks that wait for the pipeline.
    pub queue_blocks: f64,
    /// What is missing.
    pub losses: Losses,
    /// Frames that wait for the broker.
    pub frames_waiting: f64,
    /// Frames that no queue wanted.
    pub frames_unroutable: u64,
    /// How it stands with the broker.
    pub broker: Broker,
    /// What is not as it should be, in words.
    pub conditions: Vec<String>,
    /// Why there is no picture, when that is known.
    pub no_picture: Option<String>,
}

impl Facts {
    /// What the status of this process says. `broker_address` is empty when there is none.
    pub fn of_status(status: &Status, rates: &mut Rates, address: &str, broker_address: &str) -> Self {
        let (report, c) = (status.report(), &status.counters);
        let counts = Counts {
            traces: report.traces,
            made: c.egress.frames_made.get(),
            published: c.publish.frames_published.get(),
            confirmed: report.frames_confirmed,
        };
        let latency = &c.publish.confirm_latency;
        Self {
            version: report.version.to_owned(),
            site: report.site,
            address: address.to_owned(),
            phase: report.phase.to_owned(),
            reason: report.reason,
            held_s: (report.now_ms - report.since_ms).max(0) as f64 / 1000.0,
            source: report.source.map(str::to_owned),
            replay: None,
            last_trace_ms: report.last_trace_ms,
            channels: report.channels,
            prr: Prr { asked: report.prr_asked_hz, declared: report.prr_declared_hz, measured: report.prr_measured_hz },
            per_second: rates.per_second(Instant::now(), counts),
            counts,
            load: report.pipeline_load,
            queue_blocks: report.capture_queue_blocks,
            losses: Losses {
                gaps: report.gaps,
                gap_traces: report.gap_traces,
                before_ring: report.traces_lost_before_ring,
                no_block: report.traces_dropped_no_block,
                frames: report.frames_dropped_at_egress,
            },
            frames_waiting: report.frames_waiting,
            frames_unroutable: report.frames_unroutable,
            broker: Broker {
                state: report.broker,
                address: (!broker_address.is_empty()).then(|| broker_address.to_owned()),
                was_there: c.publish.connections.get() > 0,
                latency_s: latency.quantile_s(0.5).zip(latency.quantile_s(0.99)),
            },
            conditions: report.conditions.into_iter().map(|one| one.what).collect(),
            no_picture: None,
        }
    }
}

/// Turns counters into rates over about two seconds.
#[derive(Debug, Default)]
pub struct Rates {
    marks: VecDeque<(Instant, Counts)>,
}

impl Rates {
    /// The rates, now that the counters are `counts`. None while only one moment is known.
    pub fn per_second(&mut self, now: Instant, counts: Counts) -> PerSecond {
        while self.marks.len() > 1 && (now - self.marks[1].0).as_secs_f64() > 2.0 {
            self.marks.pop_front();
        }
        let (at, first) = self.marks.front().copied().unwrap_or((now, counts));
        self.marks.push_back((now, counts));
        let seconds = (now - at).as_secs_f64();
        let rate = |now: u64, then: u64| if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 };
        PerSecond {
            traces: rate(counts.traces, first.traces),
            made: rate(counts.made, first.made),
            published: rate(counts.published, first.published),
            confirmed: rate(counts.confirmed, first.confirmed),
        }
    }
}
