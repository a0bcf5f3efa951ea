//! What a client that polls reads: rows as JSON. Which rows are next is the business of [`Poll`](super::feed::Poll).

use serde::Serialize;
use utoipa::ToSchema;

use super::feed::{Polled, Row};

/// What a poll answers: one such block in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaterfallBlock {
    /// Rows in order of time.
    pub rows: Vec<WaterfallRow>,
    /// Largest intensity of the job so far.
    #[schema(minimum = 0.0)]
    pub current_max_amp: f32,
    /// Smallest intensity of the job so far.
    #[schema(minimum = 0.0)]
    pub current_min_amp: f32,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaterfallRow {
    /// Id of the job.
    #[serde(rename = "canvasId")]
    pub canvas_id: String,
    /// One entry a channel.
    pub sensors: Vec<SensorLine>,
    /// Milliseconds since the UNIX epoch.
    #[serde(rename = "startTimestamp")]
    pub start_ms: i64,
    /// Milliseconds since the UNIX epoch, later than the start.
    #[serde(rename = "endTimestamp")]
    pub end_ms: i64,
}

/// A channel in a line.
#[derive(Debug, Serialize, ToSchema)]
pub struct SensorLine {
    /// The channel, as the job's request counts.
    pub id: usize,
    /// Linear amplitude: a spectrum, or of a waterfall one value.
    pub intensity: Vec<f32>,
}

/// What was polled, as clients read it; `first_channel` is what they call channel 1. `None` without a row.
pub(super) fn block(job: &str, first_channel: usize, polled: &Polled) -> Option<WaterfallBlock> {
    let row = |row: &Row| {
        let (start_ms, end_ms) = row.times_ms();
        let mut sensors = Vec::new();
        row.for_each_channel(|channel, values| {
            // JSON has no word for what is not finite, and an amplitude is not negative.
            let plain = |value: &f32| if value.is_finite() { value.max(0.0) } else { 0.0 };
            sensors.push(SensorLine { id: channel - 1 + first_channel, intensity: values.iter().map(plain).collect() });
        });
        WaterfallRow { canvas_id: job.to_owned(), sensors, start_ms, end_ms }
    };
    let rows: Vec<_> = polled.rows.iter().map(row).collect();
    let (current_max_amp, current_min_amp) = (polled.extrema.max().max(0.0), polled.extrema.min().max(0.0));
    (!rows.is_empty()).then_some(WaterfallBlock { rows, current_max_amp, current_min_amp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Stream};
    use crate::jobs::feed::{Feed, Limits, Poll};
    use std::sync::Arc;

    fn frame(line: u64, channel: usize) -> Frame {
        let example = Frame::example();
        let mut stream = Stream::clone(&example.stream);
        (stream.channels.start, stream.channels.count) = (channel, 3);
        let values = vec![line as f32, f32::NAN, -1.0].into();
        Frame { first_line: line, lines: 1, values, stream: Arc::new(stream), ..example }
    }

    #[test]
    fn a_block_names_channels_and_holds_what_json_can_say() {
        let feeds = Feed::of_job(&Arc::from("test"), Limits::default(), 2);
        let mut poll = Poll::new(&feeds);
        assert!(block("1-1", 1, &poll.take(5)).is_none());
        for line in [5, 6] {
            feeds[0].push(frame(line, 0));
            feeds[1].push(frame(line, 3));
        }
        let first = block("1-1", 1, &poll.take(5)).unwrap();
        assert_eq!((first.current_min_amp, first.current_max_amp, first.rows.len()), (0.0, 6.0, 2));
        let ids: Vec<_> = first.rows[0].sensors.iter().map(|sensor| sensor.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        let values: Vec<_> = first.rows[1].sensors.iter().flat_map(|sensor| sensor.intensity.clone()).collect();
        assert_eq!(values, [6.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
        assert!(first.rows.iter().all(|row| row.end_ms > row.start_ms && row.canvas_id == "1-1"));
        for (stream, feed) in feeds.iter().enumerate() {
            feed.push(frame(7, 3 * stream));
        }
        assert_eq!(block("1-1", 0, &poll.take(5)).unwrap().rows[0].sensors[0].id, 0);
    }
}
