//! Books: equations between counters that must hold, so that nothing vanishes without being counted.
//!
//! Every trace of an acquisition, from the first that is read on, ends either as processed or as missing (`gap_traces`,
//! with its place), also when the epoch or the signal ends, in the dark and at the stop:
//!
//! ```text
//! traces_launched   = traces (read) + traces_missed_in_source
//! traces (read)     = traces_passed_on + traces_dropped_no_block + traces_dropped_dark
//! gap_traces        = traces_missed_in_source + traces_dropped_no_block + traces_dropped_dark
//! traces_passed_on  = traces_processed + those that wait for the pipeline
//! ```
//! and so `traces_launched = traces_processed + gap_traces + those that wait`. The left side of the first line comes from
//! the indices of traces alone, the right side from what the source delivered and said was missing.
//!
//! A frame is counted for each stream that it is one of. Frames of standing views:
//! ```text
//! made      = dropped at egress + without a broker + too large + published + waiting at the fence
//! published = confirmed + unroutable + given up + unconfirmed + unanswered
//! ```
//! Frames of jobs, from where they are offered to the broker:
//! ```text
//! offered   = unwanted + throttled + not connected + dropped + late + too large + published + waiting in the queue
//! published = confirmed + unroutable + lost + unanswered
//! ```
//! Numbers are read one after the other and gauges are set once a turn, so that while frames flow the sides may differ
//! by what moved in between. In a daemon that is quiet, or that has stopped, they are equal.

use super::{Counter, Counters, Gauge, JobFrameCounters};

/// One equation, with the numbers of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book {
    /// The equation in words.
    pub what: &'static str,
    /// Its left side.
    pub left: u64,
    /// Its right side.
    pub right: u64,
    /// Things may be under way between the two sides: the left one may be greater by any number until all is quiet.
    pub has_waiting: bool,
}

impl Book {
    /// Whether both sides are the same. Exact when nothing is under way. While traces flow, counters are changed and read
    /// one after the other, and for a moment either side may be ahead.
    pub const fn balances(&self) -> bool {
        self.left == self.right
    }

    /// What is under way, or missing on the right.
    pub const fn waiting(&self) -> u64 {
        self.left.saturating_sub(self.right)
    }
}

impl Counters {
    /// The books of traces, from the interrogator to the end of the pipeline. See the module.
    pub fn traces_books(&self) -> [Book; 4] {
        // Against the flow, so that what comes in between stands on the left side, where it may wait.
        let (capture, processed) = (&self.capture, self.pipeline.traces_processed.get());
        let passed_on = capture.traces_passed_on.get();
        let dropped = capture.traces_dropped_no_block.get().saturating_add(capture.traces_dropped_dark.get());
        let (missed, missing) = (capture.traces_missed_in_source.get(), capture.gap_traces.get());
        let (read, launched) = (capture.traces.get(), capture.traces_launched.get());
        [
            book("traces launched = read + missed in the source", launched, read.saturating_add(missed)),
            book("traces read = passed on + without a block + without light", read, passed_on.saturating_add(dropped)),
            book(
                "traces missing = missed in the source + without a block + without light",
                missing,
                missed.saturating_add(dropped),
            ),
            Book { what: "traces passed on = processed", left: passed_on, right: processed, has_waiting: true },
        ]
    }

    /// The books of frames of standing views.
    pub fn frame_books(&self) -> [Book; 2] {
        let (egress, publish) = (&self.egress, &self.publish);
        let unanswered = count(&publish.frames_unanswered);
        let at_the_fence = count(&publish.frames_waiting).saturating_sub(unanswered);
        let published = publish.frames_published.get();
        let left = [&egress.frames_dropped, &publish.frames_without_broker, &publish.frames_too_large];
        let answered = [
            &publish.frames_confirmed,
            &publish.frames_unroutable,
            &publish.frames_given_up,
            &publish.frames_unconfirmed,
        ];
        let sum = |of: &[&Counter]| of.iter().map(|counter| counter.get()).sum::<u64>();
        [
            book(
                "frames made = dropped + published + waiting",
                egress.frames_made.get(),
                sum(&left) + published + at_the_fence,
            ),
            book("frames published = answered + given up + unanswered", published, sum(&answered) + unanswered),
        ]
    }
}

impl JobFrameCounters {
    /// The books of frames of jobs that are offered to the broker.
    pub fn books(&self) -> [Book; 2] {
        let published = self.published.get();
        let kept_back =
            [&self.unwanted, &self.throttled, &self.not_connected, &self.dropped, &self.late, &self.too_large];
        let answered = [&self.confirmed, &self.unroutable, &self.lost];
        let sum = |of: &[&Counter]| of.iter().map(|counter| counter.get()).sum::<u64>();
        [
            book(
                "job frames offered = kept back + published + waiting",
                self.offered.get(),
                sum(&kept_back) + published + count(&self.waiting),
            ),
            book(
                "job frames published = answered + lost + unanswered",
                published,
                sum(&answered) + count(&self.unanswered),
            ),
        ]
    }
}

fn count(gauge: &Gauge) -> u64 {
    gauge.get() as u64
}

/// An equation in which nothing is under way that is not counted.
const fn book(what: &'static str, left: u64, right: u64) -> Book {
    Book { what, left, right, has_waiting: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_counted_on_one_side_only_shows() {
        let counters = Counters::default();
        assert!(counters.traces_books().iter().all(Book::balances));
        counters.capture.traces_launched.add(107);
        counters.capture.traces.add(100);
        counters.capture.traces_missed_in_source.add(7);
        counters.capture.traces_passed_on.add(70);
        counters.capture.traces_dropped_no_block.add(20);
        counters.capture.traces_dropped_dark.add(10);
        counters.capture.gap_traces.add(37);
        counters.pipeline.traces_processed.add(50);
        let unequal = |counters: &Counters| -> Vec<_> {
            counters.traces_books().iter().filter(|book| !book.balances()).map(|book| book.what).collect()
        };
        assert_eq!(unequal(&counters), ["traces passed on = processed"]);
        assert_eq!(counters.traces_books()[3].waiting(), 20);
        counters.pipeline.traces_processed.add(20);
        assert!(unequal(&counters).is_empty());
        counters.capture.traces_missed_in_source.add(1);
        assert_eq!(unequal(&counters).len(), 2, "a trace that the source missed is launched and missing");
    }
}
