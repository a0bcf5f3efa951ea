//! What a client that polls reads: rows as JSON. Which rows are next is the business of [`Poll`](super::feed::Poll).
//!
//! A hundred lines of a whole fiber are a quarter of a million numbers, each with its channel: the text is written straight
//! from the frames, without a value in memory for each of its parts.

use std::fmt::Write;
use std::iter;

use utoipa::ToSchema;

use super::feed::{Polled, Row};
use crate::frame::ChannelAxis;

/// What a poll answers: one such block in a list.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
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
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct WaterfallRow {
    /// Id of the job.
    #[schema(rename = "canvasId")]
    #[cfg_attr(test, serde(rename = "canvasId"))]
    pub canvas_id: String,
    /// One entry a channel.
    pub sensors: Vec<SensorLine>,
    /// Milliseconds since the UNIX epoch.
    #[schema(rename = "startTimestamp")]
    #[cfg_attr(test, serde(rename = "startTimestamp"))]
    pub start_ms: i64,
    /// Milliseconds since the UNIX epoch, later than the start.
    #[schema(rename = "endTimestamp")]
    #[cfg_attr(test, serde(rename = "endTimestamp"))]
    pub end_ms: i64,
}

/// A channel in a line.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct SensorLine {
    /// The channel, as the job's request counts.
    pub id: usize,
    /// Linear amplitude: a spectrum, or of a waterfall one value.
    pub intensity: Vec<f32>,
}

/// Rows that were polled, at least one.
#[derive(Debug)]
pub struct PolledRows {
    /// Letters, digits, `-` and `_`.
    job: String,
    /// What its client calls channel 1.
    first_channel: usize,
    polled: Polled,
}

impl PolledRows {
    /// `None` without a row.
    pub(super) fn new(job: &str, first_channel: usize, polled: Polled) -> Option<Self> {
        (!polled.rows.is_empty()).then(|| Self { job: job.to_owned(), first_channel, polled })
    }

    /// How many numbers there are.
    pub fn values(&self) -> usize {
        self.polled.rows.iter().flat_map(|row| &row.parts).map(|part| part.frame.line_len()).sum()
    }

    /// A list of one [`WaterfallBlock`], in pieces of a row, each written when it is asked for.
    pub fn json(self) -> impl Iterator<Item = Vec<u8>> + Send {
        let mut heads = Heads::default();
        (0..self.polled.rows.len()).map(move |number| self.piece(number, &mut heads))
    }

    fn piece(&self, number: usize, heads: &mut Heads) -> Vec<u8> {
        let Polled { rows, extrema, .. } = &self.polled;
        let row = &rows[number];
        heads.become_of(row, self.first_channel);
        let values: usize = row.parts.iter().map(|part| part.frame.line_len()).sum();
        let mut json = Json(Vec::with_capacity(256 + heads.text.len() + 4 * heads.ends.len() + 16 * values));
        json.text(if number == 0 { "[{\"rows\":[" } else { "," });
        self.row(&mut json, row, heads);
        if number + 1 == rows.len() {
            json.text("],\"current_max_amp\":").amplitude(extrema.max());
            json.text(",\"current_min_amp\":").amplitude(extrema.min());
            json.text("}]");
        }
        json.0
    }

    fn row(&self, json: &mut Json, row: &Row, heads: &Heads) {
        let (start_ms, end_ms) = row.times_ms();
        json.text("{\"canvasId\":\"").text(&self.job).text("\",\"sensors\":[");
        let mut heads = heads.iter();
        row.for_each_channel(|_, values| {
            json.text(heads.next().unwrap_or_default()).list(values, |json, value| json.amplitude(*value));
            json.text("]}");
        });
        json.text("],\"startTimestamp\":").integer(start_ms);
        json.text(",\"endTimestamp\":").integer(end_ms);
        json.text("}");
    }
}

/// What stands before the values of each channel of a row: the same in all rows, unless the channels change.
#[derive(Default)]
struct Heads {
    channels: Vec<ChannelAxis>,
    text: String,
    /// Where each ends in the text.
    ends: Vec<usize>,
}

impl Heads {
    fn become_of(&mut self, row: &Row, first_channel: usize) {
        let channels = row.parts.iter().map(|part| part.frame.frame().stream.channels);
        if channels.clone().eq(self.channels.iter().copied()) {
            return;
        }
        (self.channels, self.text, self.ends) = (channels.collect(), String::new(), Vec::new());
        row.for_each_channel(|channel, _| {
            let comma = if self.ends.is_empty() { "" } else { "," };
            let id = channel - 1 + first_channel;
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{comma}{{\"id\":{id},\"intensity\":[");
            self.ends.push(self.text.len());
        });
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let begins = iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| &self.text[*begin..*end])
    }
}

/// A text that grows.
struct Json(Vec<u8>);

impl Json {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.text(itoa::Buffer::new().format(value));
    }

    /// JSON has no word for what is not finite, and an amplitude is not negative.
    fn amplitude(&mut self, value: f32) {
        let plain = if value.is_finite() { value.max(0.0) } else { 0.0 };
        self.text(zmij::Buffer::new().format_finite(plain));
    }

    /// `items` with commas between them.
    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.0.push(b',');
            }
            write(self, item);
        }
    }
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

    impl PolledRows {
        /// What a client reads.
        pub(in crate::jobs) fn block(self) -> WaterfallBlock {
            let values = self.values();
            let text: Vec<u8> = self.json().flatten().collect();
            let blocks: Vec<WaterfallBlock> = serde_json::from_slice(&text).unwrap();
            let [block] = blocks.try_into().ok().unwrap();
            let sensors = block.rows.iter().flat_map(|row| &row.sensors);
            assert_eq!(values, sensors.map(|sensor| sensor.intensity.len()).sum::<usize>());
            block
        }
    }

    fn block(first_channel: usize, polled: Polled) -> WaterfallBlock {
        PolledRows::new("1-1", first_channel, polled).unwrap().block()
    }

    #[test]
    fn a_block_names_channels_and_holds_what_json_can_say() {
        let feeds = Feed::of_job(&Arc::from("test"), Limits::default(), 2);
        let mut poll = Poll::new(&feeds);
        assert!(PolledRows::new("1-1", 1, poll.take(5)).is_none());
        for line in [5, 6] {
            feeds[0].push(frame(line, 0));
            feeds[1].push(frame(line, 3));
        }
        let first = block(1, poll.take(5));
        assert_eq!((first.current_min_amp, first.current_max_amp, first.rows.len()), (0.0, 6.0, 2));
        let ids: Vec<_> = first.rows[0].sensors.iter().map(|sensor| sensor.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        let values: Vec<_> = first.rows[1].sensors.iter().flat_map(|sensor| sensor.intensity.clone()).collect();
        assert_eq!(values, [6.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
        assert!(first.rows.iter().all(|row| row.end_ms > row.start_ms && row.canvas_id == "1-1"));
        for (stream, feed) in feeds.iter().enumerate() {
            feed.push(frame(7, 3 * stream));
        }
        assert_eq!(block(0, poll.take(5)).rows[0].sensors[0].id, 0);
        // A stream has lost a line: the row is named by what it has, and so is the one behind it.
        for (line, stream) in [(8, 1), (9, 0), (9, 1)] {
            feeds[stream].push(frame(line, 3 * stream));
        }
        let ids: Vec<Vec<_>> = block(1, poll.take(5))
            .rows
            .iter()
            .map(|row| row.sensors.iter().map(|sensor| sensor.id).collect())
            .collect();
        assert_eq!(ids, [vec![4, 5, 6], vec![1, 2, 3, 4, 5, 6]]);
    }
}
