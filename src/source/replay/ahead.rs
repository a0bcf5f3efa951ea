//! The thread that reads ahead (`das-replay`), so that neither a slow disk nor decompression delays a paced replay.
//!
//! It walks over the playlist, reads slabs of a few MB and sends them through a short queue; empty buffers come back the
//! same way, so that nothing is allocated in steady state outside of the HDF5 library. It ends when the replay is
//! dropped. Rows that are damaged become a gap.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::capture::{self, Capture, RowsError};
use super::playlist::{Epoch, Part, Piece, Playlist};
use crate::acquisition::Acquisition;
use crate::block::InstrumentState;
use crate::source::SourceError;

/// Damaged places that the log names, at most.
const DAMAGES_TOLD: usize = 100;
/// Slabs read but not yet played.
const AHEAD: usize = 2;

/// Consecutive rows, packed `[trace][channel]`.
pub(super) struct Slab {
    /// What was acquired; another `Arc` means another epoch.
    pub(super) acquisition: Arc<Acquisition>,
    /// Index of the first trace in its epoch.
    pub(super) first_trace: u64,
    /// Traces missing before it.
    pub(super) gap_before: u64,
    /// Of these, those that are damaged in the file.
    pub(super) damaged: u64,
    /// Number of traces.
    pub(super) traces: usize,
    /// The samples.
    pub(super) bytes: Vec<u8>,
    times: Arc<Part>,
    first_row: u64,
    shift_ns: i64,
}

impl Slab {
    /// What is said of traces from `offset` on, up to `end`: offset, stamp of its own if there is one, state. The first is
    /// that of `offset`.
    pub(super) fn marks(
        &self,
        offset: usize,
        end: usize,
    ) -> impl Iterator<Item = (usize, Option<i64>, InstrumentState)> {
        let row = |offset: usize| self.first_row + offset as u64;
        let anchors = &self.times.anchors;
        let first = anchors.partition_point(|anchor| anchor.row <= row(offset)).saturating_sub(1);
        let upto = anchors.partition_point(|anchor| anchor.row < row(end));
        anchors.get(first..upto).unwrap_or_default().iter().map(move |anchor| {
            let at = anchor.row.max(row(offset));
            let stamp_ns = (anchor.is_stamped && anchor.row == at).then(|| anchor.utc_ns.saturating_add(self.shift_ns));
            ((at - self.first_row) as usize, stamp_ns, anchor.state)
        })
    }

    /// UTC of trace `offset` of this slab, in nanoseconds.
    pub(super) fn utc_ns(&self, offset: usize) -> i64 {
        self.times.utc_ns(&self.acquisition, self.first_row + offset as u64).saturating_add(self.shift_ns)
    }
}

/// The near end of the thread.
pub(super) struct Ahead {
    /// Slabs in order; an error is the last thing that comes; closed at the end.
    pub(super) slabs: Receiver<Result<Slab, SourceError>>,
    spent: Sender<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    missing_at_ends: Arc<AtomicU64>,
    damaged: Arc<AtomicU64>,
}

impl Ahead {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(playlist: Playlist, looping: bool) -> Result<Self, SourceError> {
        let (slab_tx, slabs) = bounded(AHEAD);
        let (spent, spent_rx) = bounded(AHEAD + 2);
        let missing_at_ends = Arc::<AtomicU64>::default();
        let damaged = Arc::<AtomicU64>::default();
        let counts = (Arc::clone(&missing_at_ends), Arc::clone(&damaged));
        let reader = Reader { slab_tx, spent_rx, missing_at_ends: counts.0, damaged: counts.1 };
        let thread = thread::Builder::new()
            .name("das-replay".into())
            .spawn(move || reader.run(&playlist, looping))
            .map_err(|error| SourceError::Io { what: "start the reading thread".into(), error })?;
        Ok(Self { slabs, spent, thread: Some(thread), missing_at_ends, damaged })
    }

    /// To be called when `slabs` is closed.
    ///
    /// # Errors
    /// When the thread died: then this is not the end of the files.
    pub(super) fn end(&mut self) -> Result<(), SourceError> {
        let died = |_| SourceError::Unusable {
            what: "replay".into(),
            why: "the thread that reads the files died; the log says where, please report it".into(),
        };
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(died))
    }

    /// Traces that are missing behind the last good row of an epoch.
    pub(super) fn missing_at_ends(&self) -> u64 {
        self.missing_at_ends.load(Ordering::Relaxed)
    }

    /// Traces behind the last good row of an epoch that are damaged; those before a slab are in it.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Gives the memory of a slab that was played back to the reader.
    pub(super) fn reuse(&self, slab: Slab) {
        // The reader may have ended, or have enough: then the memory is freed.
        let _ = self.spent.try_send(slab.bytes);
    }
}

struct Reader {
    slab_tx: Sender<Result<Slab, SourceError>>,
    spent_rx: Receiver<Vec<u8>>,
    missing_at_ends: Arc<AtomicU64>,
    damaged: Arc<AtomicU64>,
}

/// The replay is gone, or something has broken and was reported: nothing more to do.
struct Over;

impl Reader {
    fn run(&self, playlist: &Playlist, looping: bool) {
        let span_ns = playlist.span_ns();
        let mut last_epoch = 0;
        let mut open: Option<(Piece, Capture)> = None;
        let mut told = 0;
        for round in 0i64.. {
            let Some(shift_ns) = span_ns.checked_mul(round) else { return };
            let mut slabs = 0;
            for epoch in &playlist.epochs {
                let shifted = epoch.acquisition.epoch.saturating_add((shift_ns / 1000) as u64);
                last_epoch = shifted.max(last_epoch + 1);
                let acquisition = Arc::new(Acquisition { epoch: last_epoch, ..epoch.acquisition.clone() });
                match self.play(playlist, epoch, &acquisition, shift_ns, &mut open, &mut told) {
                    Ok(sent) => slabs += sent,
                    Err(Over) => return,
                }
            }
            // A loop of nothing would go on for ever, and nobody would hear of the end of the replay.
            if looping && slabs == 0 {
                let path = playlist.files.first().cloned().unwrap_or_default();
                let _ = self.send(Err(capture::unusable(&path, "not one trace of what is to be played can be read")));
                return;
            }
            if !looping {
                return;
            }
        }
    }

    fn play(
        &self,
        playlist: &Playlist,
        epoch: &Epoch,
        acquisition: &Arc<Acquisition>,
        shift_ns: i64,
        open: &mut Option<(Piece, Capture)>,
        told: &mut usize,
    ) -> Result<usize, Over> {
        // What is missing since the last slab: gaps, and rows that turned out to be damaged.
        let (mut gap_before, mut damaged, mut sent) = (0u64, 0, 0);
        let mut cut_off = 0;
        for part in &epoch.parts {
            if open.as_ref().is_none_or(|(piece, _)| *piece != part.piece()) {
                *open = None;
                match playlist.open(part.piece()) {
                    Ok(capture) => *open = Some((part.piece(), capture)),
                    Err(error) => return self.send(Err(error)).and(Err(Over)),
                }
            }
            let Some((_, capture)) = open else { return Err(Over) };
            let times = Arc::new(part.clone());
            gap_before = gap_before.saturating_add(part.gap_before);
            let (mut row, end) = (part.first_row, part.first_row + part.rows);
            // What follows in another file tells by its times how much is missing before it.
            cut_off = if end == capture.total_rows { capture.rows.cut_off() } else { 0 };
            while row < end {
                let mut bytes = self.spent_rx.try_recv().unwrap_or_default();
                // Slabs end where what is stored together ends.
                let together = capture.slab_rows as u64;
                let wanted = (together - row % together).min(end - row) as usize;
                match capture.rows.read(row, wanted, &mut bytes) {
                    Ok(()) => {}
                    Err(RowsError::Damaged { good_from, why }) => {
                        tell_damage(&playlist.files[part.file], &why, told);
                        let next = good_from.clamp(row + 1, end);
                        gap_before = gap_before.saturating_add(next - row);
                        damaged += next - row;
                        row = next;
                        continue;
                    }
                    Err(RowsError::Fatal(error)) => return self.send(Err(error)).and(Err(Over)),
                }
                let row_bytes = acquisition.channels * acquisition.sample_format.bytes();
                let traces = (bytes.len() / row_bytes).min(wanted);
                if traces == 0 {
                    let why = format!("no samples at row {row} though there should be");
                    return self.send(Err(capture::unusable(&playlist.files[part.file], why))).and(Err(Over));
                }
                self.send(Ok(Slab {
                    acquisition: Arc::clone(acquisition),
                    first_trace: part.first_trace + (row - part.first_row),
                    gap_before,
                    damaged,
                    traces,
                    bytes,
                    times: Arc::clone(&times),
                    first_row: row,
                    shift_ns,
                }))?;
                sent += 1;
                (gap_before, damaged) = (0, 0);
                row += traces as u64;
            }
        }
        self.damaged.fetch_add(damaged, Ordering::Relaxed);
        self.missing_at_ends.fetch_add(gap_before.saturating_add(cut_off), Ordering::Relaxed);
        Ok(sent)
    }

    fn send(&self, message: Result<Slab, SourceError>) -> Result<(), Over> {
        self.slab_tx.send(message).map_err(|_| Over)
    }
}

/// Damage may be everywhere in a file, and a loop meets it again and again: a log must not be filled by it.
fn tell_damage(file: &Path, why: &str, told: &mut usize) {
    *told += 1;
    match *told {
        ..=DAMAGES_TOLD => tracing::warn!(file = %file.display(), "{why}: a gap instead"),
        n if n == DAMAGES_TOLD + 1 => tracing::warn!("more damage is counted and no longer told one by one"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_dies_is_not_the_end_of_the_files() {
        let ahead = |thread| Ahead {
            slabs: bounded(0).1,
            spent: bounded(0).0,
            thread: Some(thread),
            missing_at_ends: Arc::default(),
            damaged: Arc::default(),
        };
        assert!(ahead(thread::spawn(|| ())).end().is_ok());
        let mut died = ahead(thread::spawn(|| panic!("a hostile file")));
        assert!(matches!(died.end(), Err(SourceError::Unusable { .. })));
        assert!(died.end().is_ok(), "said once");
    }
}
