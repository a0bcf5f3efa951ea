//! What a client that polls gets: whole rows, in order, none twice. A row is the same line of all streams of a job.
//!
//! The cursor belongs to the job and not to a connection: a client that polls has none that lasts.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::feed::{Feed, Reader};
use crate::frame::Frame;

/// The place up to which a job has been polled.
#[derive(Default)]
pub(super) struct Cursor {
    streams: Vec<Stream>,
}

struct Stream {
    reader: Reader,
    /// Read, but not yet there from every stream.
    waiting: VecDeque<Arc<Frame>>,
    ended: bool,
}

/// What a poll has found.
#[derive(Debug, Default)]
pub(super) struct Polled {
    /// Rows in order, each with the frames of its streams.
    pub(super) rows: Vec<Vec<Arc<Frame>>>,
    /// Nothing more will come.
    pub(super) ended: bool,
}

impl Cursor {
    /// Takes up to `rows` rows that are there now.
    pub(super) fn take(&mut self, feeds: &[Arc<Feed>], rows: usize) -> Polled {
        if self.streams.is_empty() {
            let stream = |feed: &Arc<Feed>| Stream { reader: feed.reader(), waiting: VecDeque::new(), ended: false };
            self.streams = feeds.iter().map(stream).collect();
        }
        let mut polled = Polled::default();
        while polled.rows.len() < rows {
            let Some(row) = self.next_row() else {
                polled.ended = self.streams.iter().any(|stream| stream.ended && stream.waiting.is_empty());
                break;
            };
            polled.rows.push(row);
        }
        polled
    }

    /// How many readers it holds, which are no consumers of their own.
    pub(super) fn readers(&self) -> usize {
        self.streams.len()
    }

    fn next_row(&mut self) -> Option<Vec<Arc<Frame>>> {
        loop {
            for stream in &mut self.streams {
                stream.fill();
            }
            let newest = self.streams.iter().map(Stream::line).max()??;
            // A line that one stream has lost is no row: it goes in all of them.
            let mut whole = true;
            for stream in &mut self.streams {
                while stream.line().is_some_and(|line| line < newest) {
                    stream.waiting.pop_front();
                }
                whole &= stream.line() == Some(newest);
            }
            if whole {
                return self.streams.iter_mut().map(|stream| stream.waiting.pop_front()).collect();
            }
            if self.streams.iter_mut().any(|stream| stream.waiting.is_empty() && !stream.fill()) {
                return None;
            }
        }
    }
}

impl Stream {
    /// Reads one frame when none waits; whether one waits now.
    fn fill(&mut self) -> bool {
        if self.waiting.is_empty() && !self.ended {
            match self.reader.next().now_or_never() {
                Some(Some(frame)) => self.waiting.push_back(frame),
                Some(None) => self.ended = true,
                None => {}
            }
        }
        !self.waiting.is_empty()
    }

    fn line(&self) -> Option<(u64, u64)> {
        self.waiting.front().map(|frame| (frame.acquisition.epoch, frame.first_line))
    }
}

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

/// `rows` as clients read them; `extrema` (smallest, largest) go on over the whole job.
pub(super) fn block(
    job: &str,
    first_channel: usize,
    rows: &[Vec<Arc<Frame>>],
    extrema: &mut Option<(f32, f32)>,
) -> WaterfallBlock {
    let mut block = Vec::new();
    for frames in rows {
        let lines = frames.iter().map(|frame| frame.lines).min().unwrap_or(0);
        for line in 0..lines {
            let sensors = frames.iter().flat_map(|frame| sensors_of(frame, line, first_channel)).collect();
            let (start_ms, end_ms) = frames.first().map_or((0, 1), |frame| times_ms(frame, line));
            block.push(WaterfallRow { canvas_id: job.to_owned(), sensors, start_ms, end_ms });
        }
    }
    let values = block.iter().flat_map(|row| &row.sensors).flat_map(|sensor| &sensor.intensity);
    for &value in values {
        let (low, high) = extrema.get_or_insert((value, value));
        (*low, *high) = (low.min(value), high.max(value));
    }
    let (current_min_amp, current_max_amp) = extrema.unwrap_or((0.0, 0.0));
    WaterfallBlock { rows: block, current_max_amp, current_min_amp }
}

fn sensors_of(frame: &Frame, line: usize, first_channel: usize) -> Vec<SensorLine> {
    let (channels, bins) = (frame.stream.channels, frame.stream.frequencies.count.max(1));
    let values = frame.values.flat();
    let of_line = values.chunks_exact(bins).skip(line * channels.count).take(channels.count);
    let sensor = |(number, spectrum): (usize, &[f32])| SensorLine {
        id: channels.start + number * channels.step + first_channel,
        // JSON has no word for what is not finite, and an amplitude is not negative.
        intensity: spectrum.iter().map(|value| if value.is_finite() { value.max(0.0) } else { 0.0 }).collect(),
    };
    of_line.enumerate().map(sensor).collect()
}

fn times_ms(frame: &Frame, line: usize) -> (i64, i64) {
    let (first, span) = (frame.utc_first_ns, frame.utc_end_ns.saturating_sub(frame.utc_first_ns));
    let at = |line: usize| {
        let part = i128::from(span) * line as i128 / frame.lines.max(1) as i128;
        (first + part as i64).div_euclid(1_000_000)
    };
    let start = at(line);
    (start, at(line + 1).max(start + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Stream as FrameStream;
    use proptest::prelude::*;

    fn frame(line: u64, channel: usize) -> Frame {
        let example = Frame::example();
        let mut stream = FrameStream::clone(&example.stream);
        (stream.channels.start, stream.channels.count) = (channel, 3);
        let values = vec![line as f32, f32::NAN, -1.0].into();
        Frame { first_line: line, lines: 1, values, stream: Arc::new(stream), ..example }
    }

    proptest! {
        /// Streams come at different times and may lose lines; rows are the lines that all have, in order, once.
        #[test]
        fn rows_are_the_lines_that_every_stream_has(
            kept in prop::collection::vec(prop::collection::vec(any::<bool>(), 40), 1..4),
            steps in prop::collection::vec((0usize..3, 0usize..8, 1usize..6), 0..60),
        ) {
            let feeds: Vec<_> = kept.iter().map(|_| Arc::new(Feed::default())).collect();
            let lines = |stream: &Vec<bool>| (0..40).filter(|line| stream[*line as usize]).collect::<Vec<u64>>();
            let mut coming: Vec<VecDeque<u64>> = kept.iter().map(|stream| lines(stream).into()).collect();
            let (mut cursor, mut got) = (Cursor::default(), Vec::new());
            let mut poll = |rows| {
                let polled = cursor.take(&feeds, rows);
                assert!(polled.rows.len() <= rows);
                got.extend(polled.rows.iter().map(|row| {
                    assert!(row.len() == feeds.len() && row.iter().all(|f| f.first_line == row[0].first_line));
                    row[0].first_line
                }));
                polled.ended
            };
            for (stream, pushes, rows) in steps {
                let stream = stream % feeds.len();
                let pushes = pushes.min(coming[stream].len());
                coming[stream].drain(..pushes).for_each(|line| feeds[stream].push(frame(line, 0)));
                prop_assert!(!poll(rows));
            }
            for (feed, coming) in feeds.iter().zip(coming) {
                for line in coming {
                    feed.push(frame(line, 0));
                }
                feed.end();
            }
            while !poll(7) {}
            let all: Vec<u64> = (0..40).filter(|line| kept.iter().all(|stream| stream[*line as usize])).collect();
            prop_assert_eq!(got, all);
        }
    }

    #[test]
    fn a_block_names_channels_and_keeps_the_extrema_of_the_job() {
        let row = |line| vec![Arc::new(frame(line, 0)), Arc::new(frame(line, 3))];
        let mut extrema = None;
        let first = block("1-1", 1, &[row(5), row(6)], &mut extrema);
        assert_eq!((first.current_min_amp, first.current_max_amp), (0.0, 6.0));
        assert_eq!(first.rows.len(), 2);
        let ids: Vec<_> = first.rows[0].sensors.iter().map(|sensor| sensor.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        let values: Vec<_> = first.rows[1].sensors.iter().flat_map(|sensor| sensor.intensity.clone()).collect();
        assert_eq!(values, [6.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
        assert!(first.rows.iter().all(|row| row.end_ms > row.start_ms && row.canvas_id == "1-1"));
        let next = block("1-1", 0, &[row(2)], &mut extrema);
        assert_eq!((next.current_min_amp, next.current_max_amp, next.rows[0].sensors[0].id), (0.0, 6.0, 0));
    }
}
