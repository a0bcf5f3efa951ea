//! Raw recording: any source, or leases shared with the pipeline, into captures of our own format
//! (`source/replay/CAPTURE.md`).
//!
//! The disk has a thread of its own (`das-record`), fed through a bounded queue of leases; a disk that stalls fills the
//! queue, and what does not fit is dropped and counted. Trace indices say what is missing, so a drop becomes a gap of
//! the right length in the file by itself. One file for each epoch; written as `NAME.part`, synced and renamed at the end.

mod fdas;
mod hdf5;
mod part;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use self::writer::{Counters, Writer};
use crate::acquisition::Acquisition;
use crate::block::{BlockLayout, BlockPool, Lease, RawBlock};
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};

/// Data on its way to the disk at most, in blocks.
const QUEUE_BLOCKS: usize = 16;
/// Blocks beyond the queue: one being filled, one being written, two to spare.
const SPARE_BLOCKS: usize = 4;
/// Length of a block, and so of a chunk in the file.
const BLOCK: Duration = Duration::from_millis(100);
/// Samples of one block at most, whatever the rate: a chunk must stay small.
const MAX_BLOCK_BYTES: usize = 16 << 20;
/// How long the recording waits for anything before it looks at `stop`.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// When a recording ends by itself. Neither = only when it is stopped or the source ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Length of data: traces and gaps, by the acquisition's own rate. Waiting for fiber does not count.
    pub duration: Option<Duration>,
    /// Number of traces written.
    pub traces: Option<u64>,
}

/// How far a recording has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What the source is doing, in words for people.
    pub state: String,
    /// Traces written.
    pub traces: u64,
    /// Data written, gaps included.
    pub recorded: Duration,
    /// Bytes written.
    pub bytes: u64,
    /// Traces lost because the disk was too slow.
    pub dropped_traces: u64,
    /// Traces missing for any reason, the dropped ones included.
    pub gap_traces: u64,
    /// Traces that a replayed file has lost to damage. They are missing in the recording.
    pub damaged_traces: u64,
}

/// What a recording has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The files, one for each epoch.
    pub files: Vec<PathBuf>,
    /// The last word on progress.
    pub progress: Progress,
}

/// Takes leases and writes them; the far end of its queue is the thread that owns the disk.
pub struct Recorder {
    leases: Sender<Lease>,
    counters: Arc<Counters>,
    writer: JoinHandle<Result<Vec<PathBuf>, SourceError>>,
}

impl Recorder {
    /// Starts the writing thread. `queue_blocks` leases wait for the disk at most; the pool they come from must hold
    /// more, or a stalling disk would starve the capture.
    ///
    /// # Errors
    /// When `file` or its `.part` exists already or cannot be made, or the system gives no thread.
    pub fn start(file: &Path, queue_blocks: usize) -> Result<Self, SourceError> {
        let (leases, queue) = bounded(queue_blocks.max(1));
        let counters = Arc::new(Counters::default());
        let writer = Writer::new(file, Arc::clone(&counters))?;
        let writer = std::thread::Builder::new()
            .name("das-record".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| SourceError::Io { what: "start the recording thread".into(), error })?;
        Ok(Self { leases, counters, writer })
    }

    /// Hands a share of a block over; never waits. What does not fit is dropped and counted, and its place in the file
    /// becomes a gap. Says whether it was taken.
    pub fn offer(&self, lease: Lease) -> bool {
        let traces = lease.traces as u64;
        let taken = self.leases.try_send(lease).is_ok();
        if !taken {
            self.drop_traces(traces);
        }
        taken
    }

    /// As [`offer`](Self::offer), but waits for room: for sources that can wait. Says whether the writer still lives.
    pub fn hand_over(&self, lease: Lease) -> bool {
        self.leases.send(lease).is_ok()
    }

    /// Counts traces that could not even be offered because no block was free.
    pub fn drop_traces(&self, traces: u64) {
        self.counters.dropped.fetch_add(traces, Relaxed);
    }

    /// Whether the writing thread has ended by itself: it has failed, and [`finish`](Self::finish) says how.
    pub fn has_failed(&self) -> bool {
        self.writer.is_finished()
    }

    /// How far it has come; the state is empty.
    pub fn progress(&self) -> Progress {
        progress(&self.counters)
    }

    /// Writes what is queued, ends the file, syncs it and gives it its name.
    ///
    /// # Errors
    /// When the disk refuses, or has refused before. What was written up to then stays in the `.part` file.
    pub fn finish(self) -> Result<Recorded, SourceError> {
        let Self { leases, counters, writer } = self;
        drop(leases);
        let files = writer.join().unwrap_or_else(|_| {
            Err(SourceError::Unusable { what: "recording".into(), why: "the writing thread has panicked".into() })
        })?;
        Ok(Recorded { files, progress: Progress { state: "finished".into(), ..progress(&counters) } })
    }
}

fn progress(counters: &Counters) -> Progress {
    Progress {
        state: String::new(),
        traces: counters.traces.load(Relaxed),
        recorded: Duration::from_nanos(counters.recorded_ns.load(Relaxed)),
        bytes: counters.bytes.load(Relaxed),
        dropped_traces: counters.dropped.load(Relaxed),
        gap_traces: counters.gap_traces.load(Relaxed),
        damaged_traces: 0,
    }
}

/// Records `source` into `file` until a limit, the end of the source, or `stop`. Calls `progress` a few times a second.
///
/// # Errors
/// When the source breaks or the disk refuses; what was written up to then is kept.
pub fn record(
    source: Box<dyn Interrogator>,
    file: &Path,
    limits: Limits,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Recorded, SourceError> {
    let mut job = Job {
        source,
        recorder: Recorder::start(file, QUEUE_BLOCKS)?,
        limits,
        stop,
        progress,
        told: None,
        taken: 0,
        taken_ns: 0,
    };
    let outcome = job.run();
    let damaged_traces = job.source.damaged_traces();
    let recorded = job.recorder.finish();
    // A source that breaks leaves a whole file; why it broke matters more than that.
    outcome?;
    let mut recorded = recorded?;
    recorded.progress.damaged_traces = damaged_traces;
    (job.progress)(&recorded.progress);
    Ok(recorded)
}

struct Job<'a> {
    source: Box<dyn Interrogator>,
    recorder: Recorder,
    limits: Limits,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(&Progress),
    told: Option<Instant>,
    /// Traces taken from the source, and their length with gaps, against the limits.
    taken: u64,
    taken_ns: u64,
}

impl Job<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Relaxed)
            || self.recorder.has_failed()
            || self.limits.traces.is_some_and(|most| self.taken >= most)
            || self.limits.duration.is_some_and(|most| u128::from(self.taken_ns) >= most.as_nanos())
    }

    fn tell(&mut self, state: &str) {
        if self.told.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
            self.told = Some(Instant::now());
            (self.progress)(&Progress { state: state.into(), ..self.recorder.progress() });
        }
    }

    fn run(&mut self) -> Result<(), SourceError> {
        let mut known: Option<(Arc<Acquisition>, BlockPool)> = None;
        while !self.is_over() {
            match self.source.probe()? {
                Probe::Waiting(why) => {
                    self.tell(&format!("waiting for fiber: {why}"));
                    std::thread::sleep(READ_TIMEOUT);
                }
                Probe::Ready(acquisition) => {
                    // The same acquisition goes on after a pause: same file, same pool.
                    let same = known.take().filter(|(before, _)| **before == acquisition);
                    let (acquisition, pool) = same.unwrap_or_else(|| {
                        let acquisition = Arc::new(acquisition);
                        let pool = BlockPool::new(layout(&acquisition), QUEUE_BLOCKS + SPARE_BLOCKS, &acquisition);
                        (acquisition, pool)
                    });
                    let ended = self.follow(&acquisition, &pool)?;
                    known = Some((acquisition, pool));
                    if ended {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Records one acquisition; says whether the source has ended for good.
    fn follow(&mut self, acquisition: &Arc<Acquisition>, pool: &BlockPool) -> Result<bool, SourceError> {
        // Read into when no block is free, so that the hardware never backs up.
        let mut spare = RawBlock::new(pool.layout(), Arc::clone(acquisition));
        while !self.is_over() {
            self.tell("recording");
            let live = self.source.is_live();
            let blank = if live { pool.take() } else { pool.take_within(READ_TIMEOUT) };
            let Some(mut blank) = blank else {
                if live {
                    spare.clear(acquisition);
                    match self.source.read_block(&mut spare, READ_TIMEOUT)? {
                        ReadOutcome::Filled => self.recorder.drop_traces(spare.traces as u64),
                        ReadOutcome::TimedOut => {}
                        outcome => return Ok(outcome == ReadOutcome::EndOfStream),
                    }
                }
                continue;
            };
            blank.block().clear(acquisition);
            match self.source.read_block(blank.block(), READ_TIMEOUT)? {
                ReadOutcome::Filled => {
                    self.cut_to_limits(blank.block());
                    let lease = blank.seal();
                    if live {
                        self.recorder.offer(lease)
                    } else {
                        self.recorder.hand_over(lease)
                    };
                }
                ReadOutcome::TimedOut => {}
                outcome => return Ok(outcome == ReadOutcome::EndOfStream),
            }
        }
        Ok(false)
    }

    /// Shortens the last block so that the recording has exactly the length that was asked for.
    fn cut_to_limits(&mut self, block: &mut RawBlock) {
        let prr = block.acquisition.prr;
        let mut room = self.limits.traces.map_or(u64::MAX, |most| most.saturating_sub(self.taken));
        if let Some(most) = self.limits.duration {
            let left_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.taken_ns);
            // Traces that begin before the limit: ceil(left · prr).
            let traces = (u128::from(left_ns) * u128::from(prr.num())).div_ceil(u128::from(prr.den()) * 1_000_000_000);
            room = room.min(u64::try_from(traces).unwrap_or(u64::MAX).saturating_sub(self.gap(block)));
        }
        block.traces = block.traces.min(usize::try_from(room).unwrap_or(usize::MAX));
        let gap = self.gap(block);
        self.taken += block.traces as u64;
        self.taken_ns = self.taken_ns.saturating_add(prr.traces_to_ns(gap.saturating_add(block.traces as u64)) as u64);
    }

    /// A gap before the first block is not part of the recording.
    const fn gap(&self, block: &RawBlock) -> u64 {
        if self.taken == 0 { 0 } else { block.gap_before }
    }
}

fn layout(acquisition: &Acquisition) -> BlockLayout {
    let mut layout = BlockLayout::for_acquisition(acquisition, BLOCK);
    layout.capacity_traces = layout.capacity_traces.min((MAX_BLOCK_BYTES / layout.stride_bytes().max(1)).max(1));
    layout
}
