//! Row numbers over gaps, pauses and new acquisitions.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{LINE_NS, lines};
use super::{Feed, Limits, Look};
use crate::frame::Frame;
use crate::units::Rational;

#[test]
fn rows_go_on_when_a_new_grid_begins() {
    let feeds = Feed::of_job(&"".into(), Limits::default(), 2);
    let on_grid = |epoch: u64, period: Rational, first_line: u64| {
        let mut frame = lines(first_line, 0, 2);
        Arc::make_mut(&mut frame.acquisition).epoch = epoch;
        Arc::make_mut(&mut frame.stream).line_period_s = period;
        frame.utc_first_ns = (first_line as f64 * period.to_f64() * 1e9) as i64;
        frame
    };
    let (slow, fast) = (Rational::new(1, 20).unwrap(), Rational::new(1, 100).unwrap());
    let pushed =
        [(1, slow, 100, 100), (1, slow, 107, 107), (1, fast, 540, 109), (1, fast, 545, 114), (9, fast, 3, 116)];
    let mut readers: Vec<_> = feeds.iter().map(Feed::reader).collect();
    for (epoch, period, first_line, row) in pushed {
        for (feed, reader) in feeds.iter().zip(&mut readers) {
            feed.push(on_grid(epoch, period, first_line));
            let Look::Run(run) = reader.look() else { panic!("a frame was pushed") };
            assert_eq!(run.frames[0].row(), row);
        }
    }
}

#[test]
fn a_pause_counts_the_same_in_rows_whatever_ended_it() {
    // Two seconds of 20 rows each second, once as a gap of an epoch and once as a new epoch.
    let after = |epoch: u64, first_line: u64, utc_ns: i64| {
        let feed = Arc::new(Feed::default());
        let mut reader = feed.reader();
        feed.push(lines(100, 0, 2));
        let mut frame = lines(first_line, 0, 1);
        (Arc::make_mut(&mut frame.acquisition).epoch, frame.utc_first_ns) = (epoch, utc_ns);
        feed.push(frame);
        let Look::Run(_) = reader.look() else { panic!("a frame was pushed") };
        let Look::Run(run) = reader.look() else { panic!("a frame was pushed") };
        run.frames[0].row()
    };
    let epoch = Frame::example().acquisition.epoch;
    assert_eq!(after(epoch, 142, 142 * LINE_NS), 142, "a pulled fiber");
    assert_eq!(after(epoch + 1, 0, 142 * LINE_NS), 142, "a new acquisition");
    assert_eq!(after(epoch + 1, 7, 142 * LINE_NS + 20_000_000), 142, "to the nearest row");
    assert_eq!(after(epoch + 1, 0, 50 * LINE_NS), 102, "a clock that was set back");
    assert_eq!(after(epoch + 1, 0, i64::MAX), 102, "a clock that was set by years");
}

proptest! {
    /// Whatever comes between lines: rows never go back, and as long as UTC goes on they count the time.
    #[test]
    fn rows_count_the_time_over_gaps_and_new_acquisitions(
        steps in prop::collection::vec((any::<bool>(), 0u64..300, 1usize..4, 0u64..50), 1..40),
    ) {
        let feed = Arc::new(Feed::new("".into(), Limits { bytes: usize::MAX, age: Duration::MAX }));
        let mut reader = feed.reader();
        feed.push(lines(99, 0, 1));
        assert!(matches!(reader.look(), Look::Run(_)));
        let (mut epoch, mut line, mut utc_line) = (Frame::example().acquisition.epoch, 100u64, 100u64);
        for (new_epoch, pause, count, first_line) in steps {
            utc_line += pause;
            line += pause;
            if new_epoch {
                (epoch, line) = (epoch + 1, first_line);
            }
            let mut frame = lines(line, 0, count);
            Arc::make_mut(&mut frame.acquisition).epoch = epoch;
            frame.utc_first_ns = utc_line as i64 * LINE_NS;
            feed.push(frame);
            let Look::Run(run) = reader.look() else { panic!("a frame was pushed") };
            prop_assert_eq!(run.frames[0].row(), utc_line);
            (line, utc_line) = (line + count as u64, utc_line + count as u64);
        }
    }
}
