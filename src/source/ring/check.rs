//! A check for authors of drivers, and for operators: watches a ring for some seconds as the daemon would read it, and
//! says what is in its header, whether traces come as declared, and what is wrong, in the daemon's own words.
//!
//! The ring is mapped for reading only. Nothing in it changes, and a daemon that reads it does not notice.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::abi::{AT_SLOTS_WRITTEN, AT_STATE};
use super::header;
use super::{Ring, RingOptions};
use crate::acquisition::{Acquisition, DarkReason, SourceKind};
use crate::block::{BlockLayout, RawBlock};
use crate::source::{Interrogator, Probe, ReadOutcome, SourceError};
pub use report::{Inspection, RingHeader};

/// How long a ring is watched.
const WATCH: Duration = Duration::from_secs(5);
/// The same until its rate is known, which needs traces of 5 s.
const LONGEST_WATCH: Duration = Duration::from_secs(7);
/// From one look to the next while there is nothing to read.
const PAUSE: Duration = Duration::from_millis(20);
/// Length of a block, and how long one read may wait.
const BLOCK: Duration = Duration::from_millis(20);
/// Silence that counts as such, as `signal.no_trace_ms` has it by default, and at least in pulses.
const SILENCE: Duration = Duration::from_millis(500);
const SILENCE_PULSES: f64 = 20.0;
/// Deviation of the rate from the declared one that is wrong. Ten times what the daemon reports by default: it measures for
/// longer, and on a busy host five seconds tell a rate to some hundred parts per million only.
const RATE_OFF_PPM: f64 = 1000.0;
/// Timestamps further from this host's clock are wrong, as the daemon has it.
const UTC_OFF_S: f64 = 600.0;
/// Share by which timestamps may run faster or slower than traces, and the time that it takes to tell.
const UTC_RATE_OFF: f64 = 0.01;
const UTC_RATE_AFTER_S: f64 = 1.0;

/// Watches the ring at `path`, or less when `stop` is raised.
///
/// # Errors
/// When the system refuses what cannot be told as a fault of the ring.
pub fn inspect(path: &Path, stop: &AtomicBool) -> Result<Inspection, SourceError> {
    let mut check = Check::new(path);
    check.watch(stop)?;
    Ok(check.report())
}

/// First and newest trace of an epoch with their times.
struct Times {
    epoch: u64,
    first: (u64, i64),
    newest: (u64, i64),
    /// How far the newest was behind this host's clock when it was read.
    behind_s: f64,
}

struct Check {
    path: PathBuf,
    ring: Ring,
    begun: Instant,
    header: Option<RingHeader>,
    state: u64,
    /// Counts of slots at the first and at the last look.
    slots: Option<(u64, u64)>,
    acquisition: Option<Arc<Acquisition>>,
    epochs: u64,
    traces: u64,
    gaps: u64,
    missing: u64,
    times: Option<Times>,
    faults: Vec<String>,
}

impl Check {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ring: Ring::new(RingOptions { read_only: true, ..RingOptions::new(path) }),
            begun: Instant::now(),
            header: None,
            state: 0,
            slots: None,
            acquisition: None,
            epochs: 0,
            traces: 0,
            gaps: 0,
            missing: 0,
            times: None,
            faults: Vec::new(),
        }
    }

    fn watch(&mut self, stop: &AtomicBool) -> Result<(), SourceError> {
        while !self.is_over(stop) {
            let probe = self.ring.probe()?;
            self.look();
            match probe {
                Probe::Ready(acquisition) => self.read(acquisition, stop)?,
                Probe::Waiting(reason) => {
                    self.wrong(&reason);
                    std::thread::sleep(PAUSE);
                }
            }
        }
        self.look();
        self.draw_conclusions();
        Ok(())
    }

    fn is_over(&self, stop: &AtomicBool) -> bool {
        let watched = self.begun.elapsed();
        let has_rate = self.traces == 0 || self.ring.measured_prr_hz().is_some();
        stop.load(Ordering::Relaxed) || watched >= LONGEST_WATCH || (watched >= WATCH && has_rate)
    }

    /// Notes a reason of the daemon to wait; the first moments of every watch are none.
    fn wrong(&mut self, reason: &DarkReason) {
        if *reason != DarkReason::Starting {
            self.fault(reason.to_string());
        }
    }

    fn fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// What the header and the words behind it say now.
    fn look(&mut self) {
        let Some(attached) = &mut self.ring.attached else { return };
        let written = attached.memory().load(AT_SLOTS_WRITTEN);
        self.slots = Some((self.slots.map_or(written, |(first, _)| first), written));
        self.state = attached.memory().load(AT_STATE);
        let geometry = attached.mapped.geometry;
        let Ok(snapshot) = attached.snapshot() else { return };
        if let Ok((layout, acquisition)) = header::check(&snapshot.declared, &geometry) {
            self.header = Some(RingHeader::new(&geometry, layout, &acquisition));
        }
    }

    /// Reads until the epoch, the signal or the watch ends.
    fn read(&mut self, acquisition: Acquisition, stop: &AtomicBool) -> Result<(), SourceError> {
        let acquisition = Arc::new(acquisition);
        let mut block = RawBlock::new(BlockLayout::for_acquisition(&acquisition, BLOCK), Arc::clone(&acquisition));
        if self.acquisition.as_ref().is_none_or(|known| known.epoch != acquisition.epoch) {
            self.epochs += 1;
        }
        self.acquisition = Some(Arc::clone(&acquisition));
        let silence = SILENCE.max(Duration::from_secs_f64(SILENCE_PULSES / acquisition.prr.to_f64()));
        let mut last = Instant::now();
        while !self.is_over(stop) {
            block.clear(&acquisition);
            match self.ring.read_block(&mut block, BLOCK)? {
                ReadOutcome::Filled => {
                    last = Instant::now();
                    self.see(&block);
                }
                ReadOutcome::TimedOut if last.elapsed() >= silence => {
                    let seconds = silence.as_secs_f64();
                    self.fault(format!(
                        "no new traces for {seconds} s, although light is reported and the producer lives"
                    ));
                }
                ReadOutcome::TimedOut => {}
                ReadOutcome::FiberLost(reason) => {
                    self.wrong(&reason);
                    return Ok(());
                }
                ReadOutcome::EpochChanged | ReadOutcome::EndOfStream => return Ok(()),
            }
        }
        Ok(())
    }

    fn see(&mut self, block: &RawBlock) {
        self.traces += block.traces as u64;
        self.gaps += u64::from(block.gap_before > 0);
        self.missing += block.gap_before;
        let (epoch, prr) = (block.acquisition.epoch, block.acquisition.prr);
        let newest = (block.end_trace().0, block.utc_ns.saturating_add(prr.traces_to_ns(block.traces as u64)));
        let behind_s = (i128::from(now_ns()) - i128::from(newest.1)) as f64 * 1e-9;
        let first = match &self.times {
            Some(times) if times.epoch == epoch => times.first,
            _ => (block.first_trace.0, block.utc_ns),
        };
        self.times = Some(Times { epoch, first, newest, behind_s });
    }

    /// What can only be told at the end.
    fn draw_conclusions(&mut self) {
        if let Some(complaint) = self.ring.complaint() {
            self.fault(complaint.into());
        }
        let Some(acquisition) = self.acquisition.clone() else { return };
        let declared_hz = acquisition.prr.to_f64();
        if let Some(measured_hz) = self.ring.measured_prr_hz()
            && deviation_ppm(declared_hz, measured_hz).abs() > RATE_OFF_PPM
        {
            let ppm = deviation_ppm(declared_hz, measured_hz);
            self.fault(format!(
                "the ring declares {declared_hz} Hz, {measured_hz:.3} Hz were measured ({ppm:+.0} ppm)"
            ));
        }
        let Some(times) = &self.times else { return };
        let traces_s = (times.newest.0 - times.first.0) as f64 / declared_hz;
        let utc_s = (i128::from(times.newest.1) - i128::from(times.first.1)) as f64 * 1e-9;
        let (behind_s, is_live) = (times.behind_s, acquisition.source != SourceKind::Replay);
        if traces_s >= UTC_RATE_AFTER_S && (utc_s / traces_s - 1.0).abs() > UTC_RATE_OFF {
            self.fault(format!("the timestamps advance by {utc_s:.3} s over traces of {traces_s:.3} s"));
        }
        if is_live && behind_s.abs() > UTC_OFF_S {
            let side = if behind_s > 0.0 { "behind" } else { "ahead of" };
            let minutes = (behind_s.abs() / 60.0).round();
            self.fault(format!("the timestamps are {minutes} minutes {side} the clock of this host"));
        }
    }

    fn report(self) -> Inspection {
        let measured_prr_hz = self.ring.measured_prr_hz();
        let declared_hz = self.acquisition.as_ref().map(|acquisition| acquisition.prr.to_f64());
        Inspection {
            ring: self.path.display().to_string(),
            header: self.header,
            state: report::state_words(self.state),
            watched_s: self.begun.elapsed().as_secs_f64(),
            epochs: self.epochs,
            slots: self.slots.map_or(0, |(first, last)| last.saturating_sub(first)),
            traces: self.traces,
            gaps: self.gaps,
            missing_traces: self.missing,
            measured_prr_hz,
            prr_deviation_ppm: declared_hz.zip(measured_prr_hz).map(|(is, was)| deviation_ppm(is, was)),
            utc_behind_s: self.times.map(|times| times.behind_s),
            faults: self.faults,
        }
    }
}

fn deviation_ppm(declared_hz: f64, measured_hz: f64) -> f64 {
    (measured_hz / declared_hz - 1.0) * 1e6
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
