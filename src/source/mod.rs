//! Where traces come from. Every kind of input is an [`Interrogator`]: the hardware ring, and replayed files. The
//! synthetic interrogator is a process of its own that writes the hardware ring, so it needs no place behind the trait.
//!
//! A source runs on the capture thread, the only one that talks to hardware. It fills blocks it is given and allocates
//! nothing while traces flow.

mod finding;
pub mod replay;
pub mod ring;
pub mod synthetic;

use std::time::Duration;

pub use self::finding::{Finding, Severity};

use crate::acquisition::{Acquisition, DarkReason};
pub use crate::block::InstrumentState;
use crate::block::RawBlock;

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplaySpeed {
    /// So many times as fast as it was taken.
    Times(f64),
    /// As fast as the pipeline takes it; loses nothing.
    Unpaced,
}

/// A fault that waiting does not mend. Anything that may pass by itself is an outcome, not an error.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file or device is not what it should be.
    #[error("{what}: {why}")]
    Unusable {
        /// File or device.
        what: String,
        /// What is wrong, and where it is known, at which byte.
        why: String,
    },
    /// The operating system said no.
    #[error("{what}: {error}")]
    Io {
        /// File or device, and the deed.
        what: String,
        /// Its answer.
        #[source]
        error: std::io::Error,
    },
}

/// What came of looking for an acquisition.
#[derive(Debug)]
pub enum Probe {
    /// There is one. Blocks must be laid out for it.
    Ready(Acquisition),
    /// Not now; look again.
    Waiting(DarkReason),
}

/// What came of reading.
#[derive(Debug, PartialEq)]
pub enum ReadOutcome {
    /// The block holds traces: all it can take, or fewer when a gap, a new epoch or the deadline cut it short.
    Filled,
    /// The deadline passed and the block is empty. The source is there.
    TimedOut,
    /// There is no signal, and why. The block is empty. The next thing to do is to probe.
    FiberLost(DarkReason),
    /// The acquisition's parameters have changed. The block is empty. The next thing to do is to probe.
    EpochChanged,
    /// Nothing will ever come again.
    EndOfStream,
}

/// An input that delivers one trace per pulse.
pub trait Interrogator: Send {
    /// Looks for an acquisition. Cheap; called until it says [`Probe::Ready`], and again after
    /// [`ReadOutcome::FiberLost`] or [`ReadOutcome::EpochChanged`].
    ///
    /// The same epoch comes back with the same `epoch` number and its trace count goes on; a new one starts at trace 0.
    ///
    /// # Errors
    /// Only for what waiting cannot mend.
    fn probe(&mut self) -> Result<Probe, SourceError>;

    /// Fills `block`, which is empty and laid out for the acquisition that the last probe returned: rows,
    /// `first_trace`, `traces`, `utc_ns`, `gap_before` and `captured_at`. A block is contiguous: a gap ends it early,
    /// and the next block says how many traces are missing.
    ///
    /// # Errors
    /// Only for what waiting cannot mend.
    fn read_block(&mut self, block: &mut RawBlock, deadline: Duration) -> Result<ReadOutcome, SourceError>;

    /// Whether traces come whether we read them or not. When not, capture waits for a free block instead of dropping.
    fn is_live(&self) -> bool {
        true
    }

    /// The pulse repetition rate measured against the clock, when there is one to measure against.
    fn measured_prr_hz(&self) -> Option<f64> {
        None
    }

    /// Traces that the source itself declares lost before they could be read, since it was opened.
    fn lost_before_source(&self) -> u64 {
        0
    }

    /// Whether what has not been read yet is safe for a moment more, because the source itself holds it and has room left.
    /// Then capture waits that moment for a free block instead of dropping.
    fn holds_unread(&self) -> bool {
        false
    }

    /// Traces known to be missing of which no block will tell, because the acquisition that they belonged to has ended;
    /// since the source was opened. Never falls.
    fn missing_at_ends(&self) -> u64 {
        0
    }

    /// Traces that cannot be read because a file is damaged, as far as was read. They are part of gaps or of
    /// [`missing_at_ends`](Self::missing_at_ends). Never falls.
    fn damaged_traces(&self) -> u64 {
        0
    }

    /// What a live interrogator has said of itself since this was last asked, beside what it says of the traces of blocks.
    fn take_state(&mut self) -> InstrumentState {
        InstrumentState::default()
    }

    /// What is odd about the data that will come, known before the first trace.
    fn notes(&self) -> &[Finding] {
        &[]
    }

    /// What is wrong with the source although traces come, in words for everybody.
    fn complaint(&self) -> Option<&'static str> {
        None
    }
}
