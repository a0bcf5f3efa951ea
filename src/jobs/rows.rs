//! What a client that polls reads: rows as JSON. Which rows are next is the business of [`Poll`](crate::feed::Poll).
//!
//! A hundred lines of a whole fiber are a quarter of a million numbers, each with its channel: the text is written straight
//! from the frames, without a value in memory for each of its parts, and in pieces that are short however long a row is.
//! The rows that answers under way hold are no longer the feeds' and not yet the clients': [`Answers`] bounds them.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use utoipa::ToSchema;

use super::plan::JobPlan;
use crate::feed::{Polled, Row};
use crate::frame::ChannelAxis;

/// A piece of text ends behind the channel with which it has so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Memory of the rows in one answer; a client that asked for more polls again.
const ANSWER_BYTES: usize = 16 << 20;

/// The most that a number with its comma, and a channel beside its numbers, take as text.
const NUMBER_TEXT: usize = 16;
const CHANNEL_TEXT: usize = 48;

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
    /// Unit of all intensities.
    #[schema(example = "nstrain/s")]
    pub unit: String,
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

/// Memory of the rows in answers that are under way, all together.
#[derive(Debug)]
pub(super) struct Answers {
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Answers {
    /// They may hold `most` bytes, and one answer in any case.
    pub(super) fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    /// What an answer may hold now; `None` when those under way hold everything.
    pub(super) fn room(&self) -> Option<usize> {
        let left = self.most.saturating_sub(self.held.load(Ordering::Relaxed));
        (left > 0).then_some(left.min(ANSWER_BYTES))
    }

    fn hold(&self, bytes: usize) -> Holding {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Holding { held: Arc::clone(&self.held), bytes }
    }
}

/// The share of an answer; given back when the answer is gone, sent or not.
#[derive(Debug)]
struct Holding {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Rows that were polled, at least one.
#[derive(Debug)]
pub struct PolledRows {
    /// Letters, digits, `-` and `_`.
    job: String,
    /// What its client calls channel 1.
    first_channel: usize,
    /// As JSON.
    unit: String,
    polled: Polled,
    _holding: Holding,
}

impl PolledRows {
    /// `None` without a row.
    pub(super) fn new(job: &str, plan: &JobPlan, polled: Polled, answers: &Answers) -> Option<Self> {
        if polled.rows.is_empty() {
            return None;
        }
        let holding = answers.hold(polled.rows.iter().map(Row::bytes).sum());
        // A text can always be written.
        let unit = serde_json::to_string(&plan.unit).unwrap_or_default();
        Some(Self { job: job.to_owned(), first_channel: plan.first_channel, unit, polled, _holding: holding })
    }

    /// How many numbers there are.
    pub fn values(&self) -> usize {
        self.polled.rows.iter().flat_map(|row| &row.parts).map(|part| part.frame.line_len()).sum()
    }

    /// A list of one [`WaterfallBlock`], in pieces that are each written when it is asked for.
    pub fn json(self) -> Pieces {
        Pieces { rows: self, place: Place::default(), heads: Heads::default() }
    }
}

/// The text of [`PolledRows`], piece by piece.
pub struct Pieces {
    rows: PolledRows,
    place: Place,
    heads: Heads,
}

/// The next channel to be written: its row, the part of that, its number there, and its number in the row.
#[derive(Clone, Copy, Default)]
struct Place {
    row: usize,
    part: usize,
    channel: usize,
    head: usize,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let rows = &self.rows.polled.rows;
        rows.get(self.place.row)?;
        let mut json = Json(Vec::new());
        while let Some(row) = rows.get(self.place.row) {
            if (self.place.part, self.place.channel) == (0, 0) {
                self.heads.become_of(row, self.rows.first_channel);
                json.text(if self.place.row == 0 { "[{\"rows\":[" } else { "," });
                json.text("{\"canvasId\":\"").text(&self.rows.job).text("\",\"sensors\":[");
            }
            if !write_channels(&mut json, row, &self.heads, &mut self.place) {
                return Some(json.0);
            }
            let (start_ms, end_ms) = row.times_ms();
            json.text("],\"startTimestamp\":").integer(start_ms);
            json.text(",\"endTimestamp\":").integer(end_ms);
            json.text("}");
            self.place = Place { row: self.place.row + 1, ..Place::default() };
        }
        let extrema = self.rows.polled.extrema;
        json.text("],\"current_max_amp\":").amplitude(extrema.max());
        json.text(",\"current_min_amp\":").amplitude(extrema.min());
        json.text(",\"unit\":").text(&self.rows.unit).text("}]");
        Some(json.0)
    }
}

/// Writes channels of `row` from `place` on, one at least, until the piece is long enough; whether the row is written to
/// its end.
fn write_channels(json: &mut Json, row: &Row, heads: &Heads, place: &mut Place) -> bool {
    while let Some(part) = row.parts.get(place.part) {
        let channels = part.frame.frame().stream.channels.count;
        while place.channel < channels {
            let values = part.frame.channel_values(part.line, place.channel);
            json.0.reserve(CHANNEL_TEXT + NUMBER_TEXT * values.len());
            json.text(heads.text(place.head)).list(&values, |json, value| json.amplitude(*value));
            json.text("]}");
            (place.channel, place.head) = (place.channel + 1, place.head + 1);
            if json.0.len() >= PIECE_BYTES {
                return false;
            }
        }
        (place.part, place.channel) = (place.part + 1, 0);
    }
    true
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
        for id in
            self.channels.iter().flat_map(|axis| (0..axis.count).map(|i| axis.start + i * axis.step + first_channel))
        {
            let comma = if self.ends.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{comma}{{\"id\":{id},\"intensity\":[");
            self.ends.push(self.text.len());
        }
    }

    /// Of channel number `head` of the row.
    fn text(&self, head: usize) -> &str {
        let begin = head.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(head).and_then(|end| self.text.get(begin..*end)).unwrap_or_default()
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
    use crate::feed::{Feed, Limits, Poll};
    use crate::frame::{Frame, Stream};
    use proptest::prelude::*;
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

    fn plan(first_channel: usize) -> JobPlan {
        let prr = crate::units::Rational::new(2000, 1).unwrap();
        let plan = JobPlan::new(crate::config::ViewConfig::waterfall(), 1..=6, prr, first_channel);
        JobPlan { unit: "n\"/s".into(), ..plan }
    }

    fn rows(first_channel: usize, polled: Polled) -> PolledRows {
        PolledRows::new("1-1", &plan(first_channel), polled, &Answers::new(0)).unwrap()
    }

    fn block(first_channel: usize, polled: Polled) -> WaterfallBlock {
        rows(first_channel, polled).block()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However long rows are, and wherever their text is cut.
        #[test]
        fn rows_are_text_in_short_pieces(channels in 1usize..300, bins in 1usize..40, lines in 1u64..30) {
            let mut stream = Stream::clone(&Frame::example().stream);
            (stream.channels.count, stream.frequencies.count) = (channels, bins);
            let stream = Arc::new(stream);
            let values: Vec<_> = (0..channels * bins).map(|value| value as f32 / 7.0).collect();
            let feeds = Feed::of_job(&Arc::from("test"), Limits { bytes: usize::MAX, ..Limits::default() }, 2);
            let mut poll = Poll::new(&feeds);
            poll.take(0, 0);
            for line in 0..lines {
                for feed in &feeds {
                    let (stream, values) = (Arc::clone(&stream), values.clone().into());
                    feed.push(Frame { first_line: line, lines: 1, stream, values, ..Frame::example() });
                }
            }
            let pieces: Vec<_> = rows(1, poll.take(99, usize::MAX)).json().collect();
            let longest = pieces.iter().map(Vec::len).max().unwrap();
            prop_assert!(longest <= PIECE_BYTES + 4 * CHANNEL_TEXT + NUMBER_TEXT * bins, "{}", longest);
            let text = pieces.concat();
            let blocks: Vec<WaterfallBlock> = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!((blocks.len(), blocks[0].rows.len() as u64), (1, lines));
            for row in &blocks[0].rows {
                prop_assert!(row.sensors.iter().map(|sensor| sensor.id).eq((1..=channels).chain(1..=channels)));
                let found: Vec<f32> = row.sensors.iter().flat_map(|sensor| sensor.intensity.clone()).collect();
                prop_assert!(found == [&values[..], &values[..]].concat());
            }
        }
    }

    #[test]
    fn answers_hold_no_more_than_they_may_and_give_it_back() {
        let answers = Answers::new(100);
        let held: Vec<_> = [60, 30, 30].map(|bytes| (answers.room(), answers.hold(bytes))).into();
        assert_eq!(held.iter().map(|(room, _)| *room).collect::<Vec<_>>(), [Some(100), Some(40), Some(10)]);
        assert_eq!(answers.room(), None);
        drop(held);
        assert_eq!(answers.room(), Some(100));
    }

    #[test]
    fn a_block_names_channels_and_holds_what_json_can_say() {
        let feeds = Feed::of_job(&Arc::from("test"), Limits::default(), 2);
        let mut poll = Poll::new(&feeds);
        assert!(PolledRows::new("1-1", &plan(1), poll.take(5, usize::MAX), &Answers::new(0)).is_none());
        for line in [5, 6] {
            feeds[0].push(frame(line, 0));
            feeds[1].push(frame(line, 3));
        }
        let first = block(1, poll.take(5, usize::MAX));
        assert_eq!((first.current_min_amp, first.current_max_amp, first.rows.len()), (0.0, 6.0, 2));
        assert_eq!(first.unit, "n\"/s");
        let ids: Vec<_> = first.rows[0].sensors.iter().map(|sensor| sensor.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        let values: Vec<_> = first.rows[1].sensors.iter().flat_map(|sensor| sensor.intensity.clone()).collect();
        assert_eq!(values, [6.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
        assert!(first.rows.iter().all(|row| row.end_ms > row.start_ms && row.canvas_id == "1-1"));
        for (stream, feed) in feeds.iter().enumerate() {
            feed.push(frame(7, 3 * stream));
        }
        assert_eq!(block(0, poll.take(5, usize::MAX)).rows[0].sensors[0].id, 0);
        // A stream has lost a line: the row is named by what it has, and so is the one behind it.
        for (line, stream) in [(8, 1), (9, 0), (9, 1)] {
            feeds[stream].push(frame(line, 3 * stream));
        }
        let ids: Vec<Vec<_>> = block(1, poll.take(5, usize::MAX))
            .rows
            .iter()
            .map(|row| row.sensors.iter().map(|sensor| sensor.id).collect())
            .collect();
        assert_eq!(ids, [vec![4, 5, 6], vec![1, 2, 3, 4, 5, 6]]);
    }
}
