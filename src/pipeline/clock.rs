//! UTC of a trace. One anchor and the exact rate give every time, so that times never jitter and never add up errors;
//! only when the blocks' own timestamps have moved away from it by more than their clock is worth, the anchor is
//! stepped, and the next frames say so.

use std::time::Duration;

use crate::acquisition::ClockQuality;
use crate::block::RawBlock;
use crate::units::Rational;

/// Where trace numbers and UTC meet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeBase {
    anchor: Option<(u64, i64, Rational)>,
}

impl TimeBase {
    /// Takes a block's timestamp in; `true` when the time base had to be stepped.
    pub(super) fn update(&mut self, block: &RawBlock) -> bool {
        let (trace, prr) = (block.first_trace.0, block.acquisition.prr);
        let Some((at, utc_ns, _)) = self.anchor else {
            self.anchor = Some((trace, block.utc_ns, prr));
            return false;
        };
        let predicted = utc_ns.saturating_add(prr.traces_to_ns(trace.saturating_sub(at)));
        let deviation = Duration::from_nanos(block.utc_ns.abs_diff(predicted));
        let stepped = deviation > tolerance(block.acquisition.clock, prr);
        if stepped {
            self.anchor = Some((trace, block.utc_ns, prr));
        }
        stepped
    }

    /// UTC of `trace` in nanoseconds; before the anchor counted backwards.
    pub(super) fn utc_ns(&self, trace: u64) -> i64 {
        let Some((at, utc_ns, prr)) = self.anchor else { return 0 };
        if trace >= at {
            utc_ns.saturating_add(prr.traces_to_ns(trace - at))
        } else {
            utc_ns.saturating_sub(prr.traces_to_ns(at - trace))
        }
    }
}

/// What the timestamps of such a clock may wander before it means something, at least one pulse period.
fn tolerance(clock: ClockQuality, prr: Rational) -> Duration {
    let worth = match clock {
        ClockQuality::Gps | ClockQuality::Ptp => Duration::from_millis(1),
        ClockQuality::Ntp | ClockQuality::FreeRunning => Duration::from_millis(20),
    };
    worth.max(Duration::from_secs_f64(1.0 / prr.to_f64()))
}
