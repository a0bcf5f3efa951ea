//! [`Replay`]: captured files behind the same trait as the hardware, on the capture thread.
//!
//! Paced, trace `i` of an epoch is due `i / (prr · N)` after its beginning, reckoned from one instant, so nothing
//! drifts, and one epoch begins where the one before ended; a silence of more than [`LONGEST_SILENCE`] in a capture is
//! cut to that. Unpaced, traces are there as soon as they are read.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::ahead::{Ahead, Slab};
use super::playlist::{Contents, Epoch, Playlist};
use super::timetable::Timetable;
use crate::acquisition::{Acquisition, DarkReason};
use crate::block::RawBlock;
use crate::source::ReplaySpeed;
use crate::source::{Finding, Interrogator, Probe, ReadOutcome, SourceError};
use crate::units::TraceIndex;

/// Nobody waits longer than this for the end of a gap in a capture.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// Files played back as if live.
///
/// Several files in order of time are one acquisition while their parameters agree and their times follow. `epoch` and
/// UTC are those of the files; traces are numbered from 0 in each epoch; what is missing between two files is a gap,
/// and a change of parameters or a time that goes back begins a new epoch. The same files give the same traces.
pub struct Replay {
    ahead: Ahead,
    slab: Option<Slab>,
    /// Traces of `slab` that were delivered.
    taken: usize,
    /// Damaged traces before those that were delivered.
    damaged: u64,
    first: Acquisition,
    timetable: Timetable,
    /// The epoch that the last probe returned.
    announced: Option<Arc<Acquisition>>,
    clock: Option<PlaybackClock>,
    notes: Vec<Finding>,
    contents: Vec<Contents>,
    /// Why it ended, until that is said.
    fault: Option<SourceError>,
    over: bool,
}

/// What the acquisitions in `files` hold, in order of time.
///
/// # Errors
/// When a file cannot be read, is of no known format or contradicts itself.
pub fn contents(files: &[PathBuf]) -> Result<Vec<Contents>, SourceError> {
    Ok(Playlist::new(files)?.epochs.iter().map(Epoch::contents).collect())
}

/// When traces are due.
struct PlaybackClock {
    times: f64,
    /// When trace 0 of this epoch was due; set by the first read.
    start: Option<Instant>,
    epoch: Option<Arc<Acquisition>>,
    /// Index behind the last trace delivered.
    reached: u64,
}

impl Replay {
    /// Opens `files`: files in order of time, folders, and patterns of names (see [`list`](super::list)).
    ///
    /// # Errors
    /// When a file is not there or cannot be read, is of no known format or contradicts itself, or the speed is not a positive number.
    pub fn open(files: &[PathBuf], speed: ReplaySpeed, looping: bool) -> Result<Self, SourceError> {
        Self::play(Playlist::new(files)?, speed, looping)
    }

    /// Opens what lies in a span of time, from its start to before its end, UTC in nanoseconds; unpaced.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when nothing lies in it.
    pub fn open_span(files: &[PathBuf], span: &Range<i64>) -> Result<Self, SourceError> {
        let mut playlist = Playlist::new(files)?;
        playlist.cut(span)?;
        Self::play(playlist, ReplaySpeed::Unpaced, false)
    }

    fn play(mut playlist: Playlist, speed: ReplaySpeed, looping: bool) -> Result<Self, SourceError> {
        let clock = match speed {
            ReplaySpeed::Unpaced => None,
            ReplaySpeed::Times(times) if times.is_finite() && times > 0.0 => {
                Some(PlaybackClock { times, start: None, epoch: None, reached: 0 })
            }
            ReplaySpeed::Times(times) => {
                let why = format!("a speed of {times}; it should be a positive number, 1 for real time");
                return Err(SourceError::Unusable { what: "replay".into(), why });
            }
        };
        let notes = std::mem::take(&mut playlist.notes);
        let Some(first) = playlist.epochs.first().map(|epoch| epoch.acquisition.clone()) else {
            return Err(SourceError::Unusable {
                what: "replay".into(),
                why: "there is not one trace in the files".into(),
            });
        };
        let timetable = Timetable::of(&playlist);
        let contents = playlist.epochs.iter().map(Epoch::contents).collect();
        let ahead = Ahead::start(playlist, looping)?;
        Ok(Self {
            ahead,
            slab: None,
            taken: 0,
            damaged: 0,
            first,
            timetable,
            announced: None,
            clock,
            notes,
            contents,
            fault: None,
            over: false,
        })
    }

    /// When the data of each file begin and end.
    pub const fn timetable(&self) -> &Timetable {
        &self.timetable
    }

    /// What the acquisitions hold, in the order of playing.
    pub fn contents(&self) -> &[Contents] {
        &self.contents
    }

    /// Makes sure that there is a slab with traces left; says what to return when there is none.
    fn refill(&mut self, until: Instant) -> Result<Option<ReadOutcome>, SourceError> {
        if let Some(slab) = self.slab.take_if(|slab| self.taken == slab.traces) {
            self.ahead.reuse(slab);
        }
        if self.slab.is_some() {
            return Ok(None);
        }
        if self.over {
            return self.fault.take().map_or(Ok(Some(ReadOutcome::EndOfStream)), Err);
        }
        match self.ahead.slabs.recv_deadline(until) {
            Ok(Ok(slab)) => {
                self.slab = Some(slab);
                self.taken = 0;
                Ok(None)
            }
            Ok(Err(error)) => {
                self.over = true;
                Err(error)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Some(ReadOutcome::TimedOut)),
            Err(RecvTimeoutError::Disconnected) => {
                self.over = true;
                self.ahead.end()?;
                Ok(Some(ReadOutcome::EndOfStream))
            }
        }
    }

    /// Copies traces of the current slab that are due; says whether the block is done with.
    fn fill(&mut self, block: &mut RawBlock, until: Instant) -> bool {
        let Some(slab) = &self.slab else { return true };
        if block.traces > 0 && slab.gap_before > 0 && self.taken == 0 {
            return true;
        }
        let wanted = (slab.traces - self.taken).min(block.free_traces());
        if wanted == 0 {
            return true;
        }
        let first_trace = slab.first_trace + self.taken as u64;
        let due = match &mut self.clock {
            None => wanted,
            Some(clock) => clock.wait(&slab.acquisition, first_trace, wanted, until),
        };
        if due > 0 && block.traces == 0 {
            block.first_trace = TraceIndex(first_trace);
            block.utc_ns = slab.utc_ns(self.taken);
            block.gap_before = if self.taken == 0 { slab.gap_before } else { 0 };
        }
        for (at, stamp_ns, state) in slab.marks(self.taken, self.taken + due) {
            if block.traces == 0 || stamp_ns.is_some() || block.last_state() != Some(state) {
                block.mark(block.traces + at - self.taken, stamp_ns, state);
            }
        }
        let row_bytes = block.layout().row_bytes();
        for offset in self.taken..self.taken + due {
            let row = &slab.bytes[offset * row_bytes..][..row_bytes];
            block.row_mut(block.traces).copy_from_slice(row);
            block.traces += 1;
        }
        // Counted where the gap is told: a replay that is stopped before it has lost nothing.
        self.damaged += if self.taken == 0 && due > 0 { slab.damaged } else { 0 };
        self.taken += due;
        if due > 0 {
            block.captured_at = Instant::now();
        }
        block.free_traces() == 0 || due < wanted
    }
}

impl Interrogator for Replay {
    fn probe(&mut self) -> Result<Probe, SourceError> {
        if self.slab.is_none() && self.announced.is_none() {
            // Before the first slab has come it is known what it will be of; the read says when it is not.
            return Ok(Probe::Ready(self.first.clone()));
        }
        Ok(match &self.slab {
            Some(slab) => {
                self.announced = Some(Arc::clone(&slab.acquisition));
                Probe::Ready((*slab.acquisition).clone())
            }
            None if self.over => Probe::Waiting(DarkReason::NoInterface("the replay has ended".into())),
            None => {
                self.announced.as_ref().map_or(Probe::Waiting(DarkReason::Starting), |a| Probe::Ready((**a).clone()))
            }
        })
    }

    fn read_block(&mut self, block: &mut RawBlock, deadline: Duration) -> Result<ReadOutcome, SourceError> {
        let until = Instant::now() + deadline;
        loop {
            match self.refill(until) {
                Ok(None) => {}
                // What is in hand goes out first; the end, or the error, comes with the next call.
                Ok(Some(_)) if block.traces > 0 => return Ok(ReadOutcome::Filled),
                Err(error) if block.traces > 0 => {
                    self.fault = Some(error);
                    return Ok(ReadOutcome::Filled);
                }
                Ok(Some(outcome)) => return Ok(outcome),
                Err(error) => return Err(error),
            }
            let Some(slab) = &self.slab else { return Ok(ReadOutcome::EndOfStream) };
            let announced = self.announced.get_or_insert_with(|| Arc::clone(&slab.acquisition));
            if !Arc::ptr_eq(announced, &slab.acquisition) {
                return Ok(if block.traces > 0 { ReadOutcome::Filled } else { ReadOutcome::EpochChanged });
            }
            let layout = block.layout();
            if layout.channels != announced.channels || layout.format != announced.sample_format {
                let why = "the block is laid out for another acquisition: probe first".into();
                return Err(SourceError::Unusable { what: "replay".into(), why });
            }
            if self.fill(block, until) {
                return Ok(if block.traces > 0 { ReadOutcome::Filled } else { ReadOutcome::TimedOut });
            }
        }
    }

    fn is_live(&self) -> bool {
        self.clock.is_some()
    }

    fn notes(&self) -> &[Finding] {
        &self.notes
    }

    fn missing_at_ends(&self) -> u64 {
        self.ahead.missing_at_ends()
    }

    fn damaged_traces(&self) -> u64 {
        self.damaged + self.ahead.damaged()
    }
}

impl PlaybackClock {
    /// Waits until all of `wanted` traces from `first_trace` on are due, but not beyond `until`; says how many are.
    fn wait(&mut self, acquisition: &Arc<Acquisition>, first_trace: u64, wanted: usize, until: Instant) -> usize {
        let start = self.begin(acquisition, first_trace);
        let due = |trace| start + self.scaled(acquisition, trace);
        let last = due(first_trace + wanted as u64 - 1);
        let now = Instant::now();
        let wake = last.min(until);
        if wake > now {
            std::thread::sleep(wake - now);
        }
        let now = Instant::now();
        let count = if last <= now {
            wanted
        } else {
            // Instants rise with the trace: count those up to now.
            let (mut low, mut high) = (0, wanted);
            while low < high {
                let middle = usize::midpoint(low, high);
                if due(first_trace + middle as u64) <= now { low = middle + 1 } else { high = middle }
            }
            low
        };
        if count > 0 {
            self.reached = first_trace + count as u64;
        }
        count
    }

    /// When trace 0 of this epoch was due.
    fn begin(&mut self, acquisition: &Arc<Acquisition>, first_trace: u64) -> Instant {
        let mut start = self.start.unwrap_or_else(Instant::now);
        match self.epoch.take() {
            Some(before) if !Arc::ptr_eq(&before, acquisition) => {
                start += self.scaled(&before, self.reached);
                self.reached = 0;
            }
            _ => {}
        }
        self.epoch = Some(Arc::clone(acquisition));
        let silence = self.scaled(acquisition, first_trace.saturating_sub(self.reached));
        if let Some(cut) = silence.checked_sub(LONGEST_SILENCE).filter(|cut| !cut.is_zero()) {
            // Everything from here on comes earlier by what is left out.
            start = start.checked_sub(cut).unwrap_or(start);
            self.reached = first_trace;
        }
        self.start = Some(start);
        start
    }

    /// How long `traces` take at this speed.
    fn scaled(&self, acquisition: &Acquisition, traces: u64) -> Duration {
        let seconds = acquisition.prr.traces_to_ns(traces) as f64 / 1e9 / self.times;
        // A century is never; more would overflow the clock.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(Duration::from_secs(1 << 32))
    }
}
