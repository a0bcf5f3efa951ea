//! The daemon and its signal, capture and the pipeline.

use super::{Metric, Read, count, flag, gauge, one_hot};
use crate::acquisition::Phase;
use crate::health::CODES;

const OPTICAL_POWER: &str = "Optical power of the newest block: variance over the channels, what `dark_power` is compared with; absent while no traces come.";
const LAUNCHED: &str = "Traces launched, as far as is known, from the first one read of each acquisition on.";
const MISSED: &str = "Traces of the gaps above that the source did not deliver: lost before the ring, overwritten before they were read, written without light, damaged, or unread at the end of their acquisition.";
const DOUBTED: &str =
    "Time stamps of traces that were not believed when they came; the first one behind a step is among them.";

pub(super) const TABLE: &[Metric] = &[
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
        look.counters.capture.phase_changes.get() as f64
    }),
    count("fiberd_epochs_total", "acquisitions", "Acquisitions begun.", |look| {
        look.counters.capture.epochs.get() as f64
    }),
    gauge(
        "fiberd_fiber_channels",
        "channels",
        "Channels that views can show of the present acquisition; absent while there is none.",
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
    count("fiberd_traces_launched_total", "traces", LAUNCHED, |look| {
        look.counters.capture.traces_launched.get() as f64
    }),
    count("fiberd_traces_total", "traces", "Traces read from the source.", |look| {
        look.counters.capture.traces.get() as f64
    }),
    count("fiberd_blocks_total", "blocks", "Blocks passed from capture to the pipeline.", |look| {
        look.counters.capture.blocks.get() as f64
    }),
    count("fiberd_traces_passed_on_total", "traces", "Traces in the blocks passed to the pipeline.", |look| {
        look.counters.capture.traces_passed_on.get() as f64
    }),
    count("fiberd_gaps_total", "gaps", "Times that traces were missing.", |look| {
        look.counters.capture.gaps.get() as f64
    }),
    count("fiberd_gap_traces_total", "traces", "Traces missing, for whatever reason.", |look| {
        look.counters.capture.gap_traces.get() as f64
    }),
    count("fiberd_traces_missed_in_source_total", "traces", MISSED, |look| {
        look.counters.capture.traces_missed_in_source.get() as f64
    }),
    Metric {
        name: "fiberd_traces_dropped_total",
        unit: "traces",
        help: "Traces of the gaps above by the place that lost them: before_ring (declared by the producer; also among those missed in the source), no_block (no free block, the pipeline was too slow) or dark (below the dark threshold).",
        read: Read::CountBy("place", |look| {
            vec![
                ("before_ring", look.counters.capture.traces_lost_before_ring.get() as f64),
                ("no_block", look.counters.capture.traces_dropped_no_block.get() as f64),
                ("dark", look.counters.capture.traces_dropped_dark.get() as f64),
            ]
        }),
    },
    count(
        "fiberd_traces_overloaded_total",
        "traces",
        "Traces read while the interrogator said that its receiver was overloaded.",
        |look| look.counters.capture.traces_overloaded.get() as f64,
    ),
    count(
        "fiberd_traces_calibrating_total",
        "traces",
        "Traces read while the interrogator said that it calibrates.",
        |look| look.counters.capture.traces_calibrating.get() as f64,
    ),
    count(
        "fiberd_traces_damaged_total",
        "traces",
        "Traces of replayed files that cannot be read because the files are damaged; also among those missed in the source.",
        |look| look.counters.capture.traces_damaged.get() as f64,
    ),
    gauge("fiberd_capture_queue_blocks", "blocks", "Blocks that wait for the pipeline.", |look| {
        Some(look.report.capture_queue_blocks)
    }),
    gauge("fiberd_capture_free_blocks", "blocks", "Free blocks, besides the one that is being filled.", |look| {
        Some(look.counters.capture.free_blocks.get())
    }),
    gauge("fiberd_capture_pool_blocks", "blocks", "All blocks of the pool; 0 before the first acquisition.", |look| {
        Some(look.counters.capture.pool_blocks.get())
    }),
    // pipeline
    count("fiberd_blocks_processed_total", "blocks", "Blocks that went through the pipeline.", |look| {
        look.counters.pipeline.blocks_processed.get() as f64
    }),
    count("fiberd_traces_processed_total", "traces", "Traces in the blocks that went through the pipeline.", |look| {
        look.counters.pipeline.traces_processed.get() as f64
    }),
    count("fiberd_lines_total", "lines", "Lines computed.", |look| look.counters.pipeline.lines.get() as f64),
    count(
        "fiberd_nonfinite_samples_total",
        "samples",
        "Input samples that were not finite and were replaced by zero.",
        |look| look.counters.pipeline.nonfinite_samples.get() as f64,
    ),
    count("fiberd_clock_steps_total", "steps", "Steps of the time base.", |look| {
        look.counters.pipeline.clock_steps.get() as f64
    }),
    count("fiberd_stamps_doubted_total", "stamps", DOUBTED, |look| look.counters.pipeline.stamps_doubted.get() as f64),
    gauge(
        "fiberd_utc_uncertainty_seconds",
        "seconds",
        "How far UTC of the newest trace may be off; absent when nobody knows.",
        |look| look.report.utc_uncertainty_ns.map(|ns| ns as f64 * 1e-9),
    ),
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
        |look| Some(look.counters.pipeline.demand.get()),
    ),
    count(
        "fiberd_pipeline_plans_total",
        "plans",
        "Times that the pipeline was planned anew for a new acquisition.",
        |look| look.counters.pipeline.plans.get() as f64,
    ),
    count(
        "fiberd_jobs_overloaded_total",
        "jobs",
        "Jobs that the pipeline ended because all together were more than its budget.",
        |look| look.counters.pipeline.jobs_overloaded.get() as f64,
    ),
];
