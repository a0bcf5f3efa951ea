//! The numbers of the whole daemon at one moment.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{BrokerState, Condition, PhaseSince, Severity, Status, now_ms};

/// Numbers for people and programs, taken at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the daemon.
    pub version: &'static str,
    /// Name of this fiber in routing keys.
    pub site: String,
    /// `waiting for fiber`, `acquiring` (only while lines come out), `stalled` or `draining`.
    pub phase: &'static str,
    /// Why, while waiting for fiber, or stalled because no lines come out.
    pub reason: Option<String>,
    /// Since when the phase holds, milliseconds since the UNIX epoch.
    pub since_ms: i64,
    /// Milliseconds since the UNIX epoch at which the report was taken.
    pub now_ms: i64,
    /// Seconds since the daemon began.
    pub uptime_s: f64,
    /// Whether the daemon can do its job: no condition says otherwise.
    pub ready: bool,
    /// What is not as it should be, the worst first.
    pub conditions: Vec<Condition>,
    /// Where traces come from: `ring`, `replay` or `synthetic`, when there is an acquisition.
    pub source: Option<&'static str>,
    /// Epoch of the acquisition, when there is one.
    pub epoch: Option<u64>,
    /// PRR that the configuration asks for.
    pub prr_asked_hz: Option<f64>,
    /// PRR that the producer declares.
    pub prr_declared_hz: Option<f64>,
    /// PRR measured against the clock.
    pub prr_measured_hz: Option<f64>,
    /// Channels, when there is an acquisition.
    pub channels: Option<usize>,
    /// Traces read.
    pub traces: u64,
    /// Times that traces were missing.
    pub gaps: u64,
    /// Traces missing.
    pub gap_traces: u64,
    /// Traces dropped without a free block.
    pub traces_dropped_no_block: u64,
    /// Traces that the producer declared lost.
    pub traces_lost_before_ring: u64,
    /// Frames dropped at the fence.
    pub frames_dropped_at_egress: u64,
    /// Pipeline load: time spent ÷ time of the block.
    pub pipeline_load: f64,
    /// Blocks waiting for the pipeline.
    pub capture_queue_blocks: f64,
    /// Frames waiting for the broker.
    pub frames_waiting: f64,
    /// Frames confirmed by the broker.
    pub frames_confirmed: u64,
    /// Frames that no queue wanted.
    pub frames_unroutable: u64,
    /// Jobs that run.
    pub jobs: u64,
    /// How it stands with the broker.
    pub broker: BrokerState,
    /// UTC of the newest trace, milliseconds since the UNIX epoch.
    pub last_trace_ms: Option<i64>,
    /// How far times of frames may be off, nanoseconds; `None` = not known.
    pub utc_uncertainty_ns: Option<u64>,
}

impl Status {
    /// All numbers at this moment.
    pub fn report(&self) -> Report {
        let PhaseSince { phase, since_ms } = self.phase();
        let c = &self.counters;
        let (word, reason) = self.outlook_of(&phase);
        let conditions = self.conditions();
        let acquisition = phase.acquisition();
        let measured = c.capture.prr_measured_hz.get();
        let uncertainty_ns = c.pipeline.utc_uncertainty_ns.get();
        let shown_channels = c.pipeline.channels.get() as usize;
        let last_trace_ns = self.last_trace_utc_ns.load(Ordering::Relaxed).cast_signed();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            site: self.site.clone(),
            phase: word,
            reason,
            since_ms,
            now_ms: now_ms(),
            uptime_s: self.uptime_s(),
            ready: conditions.iter().all(|one| one.severity < Severity::NotReady),
            conditions: conditions.to_vec(),
            source: acquisition.map(|a| a.source.name()),
            epoch: acquisition.map(|a| a.epoch),
            prr_asked_hz: self.prr_asked_hz,
            prr_declared_hz: acquisition.map(|a| a.prr.to_f64()),
            prr_measured_hz: (measured > 0.0).then_some(measured),
            channels: acquisition.map(|a| if shown_channels > 0 { shown_channels } else { a.channels }),
            traces: c.capture.traces.get(),
            gaps: c.capture.gaps.get(),
            gap_traces: c.capture.gap_traces.get(),
            traces_dropped_no_block: c.capture.traces_dropped_no_block.get(),
            traces_lost_before_ring: c.capture.traces_lost_before_ring.get(),
            frames_dropped_at_egress: c.egress.frames_dropped.get(),
            pipeline_load: c.pipeline.load.get(),
            capture_queue_blocks: c.capture.queue_blocks.get(),
            frames_waiting: c.publish.frames_waiting.get(),
            frames_confirmed: c.publish.frames_confirmed.get(),
            frames_unroutable: c.publish.frames_unroutable.get(),
            jobs: c.running_jobs(),
            broker: self.broker(),
            utc_uncertainty_ns: acquisition.and((uncertainty_ns > 0.0).then_some(uncertainty_ns as u64)),
            last_trace_ms: (last_trace_ns != 0).then_some(last_trace_ns / 1_000_000),
        }
    }
}
