//! What each stage counts. Hot-path threads only add to atomics.

use std::sync::Arc;

use super::Stage;
use super::number::{Counter, Gauge, Histogram};

/// Everything that is counted, by the stage that counts it. Each stage holds its own part.
#[derive(Debug, Default)]
pub struct Counters {
    /// Capture.
    pub capture: Arc<CaptureCounters>,
    /// Pipeline.
    pub pipeline: Arc<PipelineCounters>,
    /// The fence for frames of standing views.
    pub egress: Arc<EgressCounters>,
    /// The fence for frames of jobs.
    pub job_egress: Arc<EgressCounters>,
    /// The publisher of standing views and status.
    pub publish: Arc<PublishCounters>,
    /// Frames of jobs for the broker.
    pub job_frames: Arc<JobFrameCounters>,
    /// Commands from the bus.
    pub commands: Arc<CommandCounters>,
    /// Jobs and their clients.
    pub jobs: Arc<JobCounters>,
    /// Values of jobs as float16, by gRPC and WebSocket.
    pub narrowed_for_jobs: Arc<NarrowCounters>,
    /// Values of frames as float16, for the broker.
    pub narrowed_for_broker: Arc<NarrowCounters>,
    /// gRPC and WebSocket endpoints.
    pub streams: Arc<StreamCounters>,
    /// The control API.
    pub api: Arc<ApiCounters>,
    /// The log.
    pub log: Arc<LogCounters>,
}

impl Counters {
    /// Jobs that run.
    pub fn running_jobs(&self) -> u64 {
        self.jobs.started.get().saturating_sub(self.jobs.ended.get())
    }

    /// The heartbeat of `stage`.
    pub fn ticks(&self, stage: Stage) -> &Counter {
        match stage {
            Stage::Capture => &self.capture.ticks,
            Stage::Pipeline => &self.pipeline.ticks,
            Stage::Publisher => &self.publish.ticks,
        }
    }
}

/// What the capture thread counts. How these belong together: [`Counters::traces_books`].
#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Turns of the capture loop.
    pub ticks: Counter,
    /// Traces launched, as far as is known: those between the first and the last one read of each acquisition, by their
    /// indices, and those that the source says it left behind.
    pub traces_launched: Counter,
    /// Traces read from the source.
    pub traces: Counter,
    /// Blocks passed on.
    pub blocks: Counter,
    /// Traces in the blocks passed on.
    pub traces_passed_on: Counter,
    /// Times that traces were missing.
    pub gaps: Counter,
    /// Traces missing, for whatever reason; counted as soon as it is known, whether or not a block comes to mark it.
    pub gap_traces: Counter,
    /// Traces that the source did not deliver: lost before the ring, overwritten before they were read, written without
    /// light, damaged on disk, or still unread when their acquisition ended.
    pub traces_missed_in_source: Counter,
    /// Traces thrown away because no block was free: the first of the two places that may drop.
    pub traces_dropped_no_block: Counter,
    /// Traces thrown away because there was no light in their block (dark threshold).
    pub traces_dropped_dark: Counter,
    /// Traces that the producer itself declared lost. They are among those that the source did not deliver, unless they
    /// were lost before the first trace was read or behind the last one.
    pub traces_lost_before_ring: Counter,
    /// Traces read while the interrogator said that its receiver was overloaded.
    pub traces_overloaded: Counter,
    /// Traces read while the interrogator said that it calibrates.
    pub traces_calibrating: Counter,
    /// Traces of files that cannot be read because the files are damaged; among those that the source did not deliver.
    pub traces_damaged: Counter,
    /// Acquisitions begun.
    pub epochs: Counter,
    /// Times that the phase changed.
    pub phase_changes: Counter,
    /// Optical power of the newest block, as the dark threshold is compared with it, squared counts; NaN while no traces come.
    pub optical_power: Gauge,
    /// PRR measured against the clock, Hz; 0 when unknown.
    pub prr_measured_hz: Gauge,
    /// Blocks waiting for the pipeline.
    pub queue_blocks: Gauge,
    /// Free blocks, besides the one that is being filled.
    pub free_blocks: Gauge,
    /// All blocks of the pool, with those that were added for windows that reach back; 0 before the first acquisition.
    pub pool_blocks: Gauge,
}

/// What is counted of a second consumer of blocks.
#[derive(Debug, Default)]
pub struct TeeCounters {
    /// Traces in the blocks that it was given.
    pub traces_passed_on: Counter,
    /// Traces in blocks that passed it by, because it held as many as it may or has gone.
    pub traces_dropped: Counter,
}

/// What the dsp thread counts.
#[derive(Debug, Default)]
pub struct PipelineCounters {
    /// Turns of the pipeline loop.
    pub ticks: Counter,
    /// Blocks processed.
    pub blocks_processed: Counter,
    /// Traces in the blocks processed.
    pub traces_processed: Counter,
    /// Lines computed.
    pub lines: Counter,
    /// Channels that views can show of the acquisition that is planned; 0 while none is.
    pub channels: Gauge,
    /// The quickest standing view has a line within this many seconds, be its windows empty; 0 while none is planned.
    pub lines_due_s: Gauge,
    /// Non-finite input samples replaced by zero.
    pub nonfinite_samples: Counter,
    /// Time spent on a block divided by the block's own length, smoothed over about a second.
    pub load: Gauge,
    /// Share of real time that all transforms and views cost by what their last windows took, once all windows are full.
    pub demand: Gauge,
    /// Times that the pipeline was planned anew, so that nothing was known of what its work costs.
    pub plans: Counter,
    /// Jobs that the pipeline ended because all together were more than its budget.
    pub jobs_overloaded: Counter,
    /// Steps of the time base.
    pub clock_steps: Counter,
    /// Time stamps that were not believed when they came, as they did not follow those before.
    pub stamps_doubted: Counter,
    /// How far UTC of the newest trace may be off, ns; 0 = not known.
    pub utc_uncertainty_ns: Gauge,
}

/// What the fence counts of the frames that go through it, each as often as it has streams.
#[derive(Debug, Default)]
pub struct EgressCounters {
    /// Frames made.
    pub frames_made: Counter,
    /// Frames thrown away because whoever takes them was too slow or absent: the second place that may drop.
    pub frames_dropped: Counter,
}

/// What the publisher counts: its connection, frames of standing views, status messages. How these belong together:
/// [`Counters::frame_books`].
#[derive(Debug, Default)]
pub struct PublishCounters {
    /// Turns of the publisher loop.
    pub ticks: Counter,
    /// Frames that nobody publishes, because the configuration names no broker.
    pub frames_without_broker: Counter,
    /// Frames that were not sent because they are larger than what the broker takes.
    pub frames_too_large: Counter,
    /// Frames waiting at the fence and in the publisher.
    pub frames_waiting: Gauge,
    /// Those of them that were published and have no final answer: under way, or refused and to be sent again.
    pub frames_unanswered: Gauge,
    /// Those of them that the broker has refused and that wait to be sent again.
    pub frames_held: Gauge,
    /// Frames handed to the broker, each once however often it is sent.
    pub frames_published: Counter,
    /// Frames confirmed by the broker.
    pub frames_confirmed: Counter,
    /// Frames that no queue wanted.
    pub frames_unroutable: Counter,
    /// Times that the broker refused a frame. Durable ones are sent again.
    pub frames_refused: Counter,
    /// Frames lost because the broker refused them: not durable, too many of them, or too large.
    pub frames_given_up: Counter,
    /// Frames that had no answer from the broker when the daemon stopped; until then they are sent again.
    pub frames_unconfirmed: Counter,
    /// Bytes of confirmed frames.
    pub bytes_confirmed: Counter,
    /// Status messages confirmed by the broker.
    pub status_confirmed: Counter,
    /// Connections made to a broker.
    pub connections: Counter,
    /// Connections or attempts that failed.
    pub failures: Counter,
    /// From the last trace of a frame in hand to its confirm.
    pub confirm_latency: Histogram,
}

/// Frames of jobs on their way to the broker. How these belong together: [`Self::books`].
#[derive(Debug, Default)]
pub struct JobFrameCounters {
    /// Frames of jobs that there were for the broker.
    pub offered: Counter,
    /// Those that were not sent because no queue is bound.
    pub unwanted: Counter,
    /// Those that were not sent because a queue that their job watches is deep.
    pub throttled: Counter,
    /// Those that were not sent because there was no connection, or a blocked one.
    pub not_connected: Counter,
    /// Those thrown away because newer ones came before they could be sent.
    pub dropped: Counter,
    /// Those thrown away because they had waited too long to be shown as live.
    pub late: Counter,
    /// Those that were not sent because they are larger than what the broker takes.
    pub too_large: Counter,
    /// Those that wait to be sent.
    pub waiting: Gauge,
    /// Those handed to the broker.
    pub published: Counter,
    /// Those that the broker confirmed and put into a queue.
    pub confirmed: Counter,
    /// Those that no queue wanted.
    pub unroutable: Counter,
    /// Those that the broker refused, or that were under way when the connection was lost.
    pub lost: Counter,
    /// Those under way, without an answer.
    pub unanswered: Gauge,
}

/// What is counted of commands from the bus.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Commands that were done.
    pub done: Counter,
    /// Commands that were refused.
    pub refused: Counter,
    /// Commands that were for another daemon.
    pub ignored: Counter,
    /// Answers to commands that nobody got, as far as is known.
    pub replies_unsent: Counter,
    /// 1 while commands are heard.
    pub heard: Gauge,
}

/// What is counted of jobs and of who reads them.
#[derive(Debug, Default)]
pub struct JobCounters {
    /// Jobs that began.
    pub started: Counter,
    /// Jobs that ended.
    pub ended: Counter,
    /// Jobs that were possible when they were asked for, and not started.
    pub refused: Counter,
    /// Of the jobs that ended: those that nobody had looked at and whose room another job needed.
    pub ended_for_room: Counter,
    /// Memory that jobs take, bytes: transforms, newest lines, and what their readers may be behind.
    pub memory_bytes: Gauge,
    /// Share of the usual by which readers of jobs may be behind, 0…1.
    pub reader_share: Gauge,
    /// Polls that were refused because answers under way hold as much memory as they may.
    pub polls_refused: Counter,
    /// Lines that who read jobs lost because they were behind, added up over readers.
    pub lines_lost: Counter,
}

/// What becomes of values as float16.
#[derive(Debug, Default)]
pub struct NarrowCounters {
    /// Values that were not 0 and became 0.
    pub zeros: Counter,
    /// Finite values that became infinite.
    pub infinities: Counter,
    /// Frames of which more than one value in a hundred became 0 or infinite.
    pub poor_frames: Counter,
}

/// What the endpoints for the lines of jobs count.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// WebSocket connections that were refused because there are as many as may be, in all or of one client.
    pub sockets_refused: Counter,
}

/// What the control API counts.
#[derive(Debug, Default)]
pub struct ApiCounters {
    /// Requests that were done.
    pub requests_done: Counter,
    /// Requests that were wrong.
    pub requests_refused: Counter,
    /// Requests that came too often.
    pub requests_throttled: Counter,
    /// Requests that the daemon could not do.
    pub requests_failed: Counter,
    /// Connections of the control API that were closed to make room for others.
    pub connections_spared: Counter,
}

/// What the log counts of itself.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines of the log that were lost because whoever reads it was too slow, or refused them.
    pub lines_lost: Counter,
}
