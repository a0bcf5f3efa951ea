//! What the interrogator says of itself, as conditions: that its receiver is overloaded, that it calibrates. It says so of
//! traces, live or as they were recorded, and a live one beside them.
//!
//! A flag may come and go with every slot. It counts for [`HOLD`] after it was last set, so that it is told once.

use std::time::Duration;

use crate::block::RawBlock;
use crate::source::InstrumentState;
use crate::status::{FindingKind, Status};

/// See the module.
const HOLD: Duration = Duration::from_secs(5);

/// What was last said, by the time of the capture thread.
#[derive(Debug, Default)]
pub(super) struct Instrument {
    overloaded: Held,
    calibrating: Held,
    /// What was said of traces since it was last told.
    of_traces: InstrumentState,
}

impl Instrument {
    /// Takes what is said of the traces of a block.
    pub(super) fn read(&mut self, block: &RawBlock) {
        for (mark, _) in block.spans() {
            self.of_traces = self.of_traces.or(mark.state);
        }
    }

    /// Takes what the source says now, and tells that and what was said of traces.
    pub(super) fn see(&mut self, now: Duration, state: InstrumentState, status: &Status) {
        let state = state.or(std::mem::take(&mut self.of_traces));
        let overload = "the receiver of the interrogator is overloaded: samples are clipped or distorted";
        self.overloaded.see(now, state.overloaded, status, FindingKind::ReceiverOverloaded, overload);
        let calibration = "the interrogator calibrates: its samples mean little meanwhile";
        self.calibrating.see(now, state.calibrating, status, FindingKind::Calibrating, calibration);
    }
}

/// When a flag was last set, while that is told.
#[derive(Debug, Default)]
struct Held(Option<Duration>);

impl Held {
    fn see(&mut self, now: Duration, is_set: bool, status: &Status, kind: FindingKind, what: &str) {
        if is_set {
            if self.0.replace(now).is_none() {
                status.found(kind, "", what);
            }
        } else if self.0.take_if(|last| now >= *last + HOLD).is_some() {
            status.take_back(kind, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_flickers_is_told_once_and_taken_back_when_it_rests() {
        let (status, mut instrument) = (Status::new("test", None), Instrument::default());
        let kinds = || status.findings().keys().map(|(kind, _)| *kind).collect::<Vec<_>>();
        let ms = Duration::from_millis;
        instrument.see(ms(0), InstrumentState::default(), &status);
        assert_eq!(kinds(), []);
        for turn in 1..1000 {
            let state = InstrumentState { overloaded: turn % 50 == 1, calibrating: turn == 1 };
            instrument.see(ms(turn * 20), state, &status);
            let calibrating = turn * 20 < 20 + 5000;
            assert!(kinds().contains(&FindingKind::ReceiverOverloaded), "turn {turn}");
            assert_eq!(kinds().contains(&FindingKind::Calibrating), calibrating, "turn {turn}");
        }
        instrument.see(ms(1000 * 20) + HOLD, InstrumentState::default(), &status);
        assert_eq!(kinds(), []);
    }
}
