//! Frames of a job's streams → lines over all its channels, for the pictures. Pure.

use std::collections::BTreeMap;

use crate::frame::{ValueKind, View};
use crate::terminal::{Axis, Lines, Pictures, Subject, reference};
use crate::wire::Decoded;

/// Lines that may wait for the parts of other streams; a stream that lost a line never brings its part.
const WAITING: usize = 64;

/// What is the same for all lines of a job.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    subject: Subject,
    axis: Axis,
    line_ns: i64,
    value: ValueKind,
    reference: String,
}

#[derive(Debug, Default)]
struct Parts {
    utc_ns: i64,
    gap_traces: u64,
    /// By first channel.
    values: BTreeMap<u32, Vec<f32>>,
}

/// Puts the parts of lines together.
#[derive(Debug)]
pub(super) struct Joiner {
    streams: usize,
    /// First and behind the last channel, from 0.
    channels: (u32, u32),
    waiting: BTreeMap<u64, Parts>,
}

impl Joiner {
    /// Of a job with so many streams, over channels from `first` to before `end`, counted from 0.
    pub(super) const fn new(streams: usize, first: u32, end: u32) -> Self {
        Self { streams, channels: (first, end), waiting: BTreeMap::new() }
    }

    /// Takes a frame; lines that are whole go to `pictures`.
    pub(super) fn take(&mut self, frame: &Decoded<'_>, pictures: &Pictures) {
        let header = &frame.header;
        let shape = self.shape(frame);
        let width = (header.channel_count as usize * header.frequency_count as usize).max(1);
        let values: Vec<f32> = frame.values().collect();
        for (i, line) in values.chunks_exact(width).enumerate() {
            let number = header.first_line.saturating_add(i as u64);
            let parts = self.waiting.entry(number).or_default();
            parts.utc_ns = header.utc_first_ns.saturating_add(shape.line_ns.saturating_mul(i as i64));
            if i == 0 {
                parts.gap_traces = parts.gap_traces.max(header.gap_traces);
            }
            parts.values.insert(header.channel_start, line.to_vec());
            if parts.values.len() >= self.streams {
                self.give(number, &shape, pictures);
            }
        }
        while self.waiting.len() > WAITING {
            self.waiting.pop_first();
        }
    }

    fn shape(&self, frame: &Decoded<'_>) -> Shape {
        let header = &frame.header;
        let (start_hz, step_hz) = (header.frequency_start_hz, header.frequency_step_hz);
        let (subject, axis) = if frame.view == View::Waterfall {
            let metres = |channel: u32| header.fiber_start_m + f64::from(channel) * header.dx_m;
            let axis = Axis::Distance(metres(self.channels.0), metres(self.channels.1));
            (Subject::Band(0, start_hz, start_hz + step_hz), axis)
        } else {
            let axis = Axis::of_bins(start_hz, step_hz, header.frequency_count as usize);
            (Subject::Channel(header.channel_start as usize + 1), axis)
        };
        Shape {
            subject,
            axis,
            line_ns: (frame.line_period_s.to_f64() * 1e9) as i64,
            value: frame.value,
            // Jobs have amplitudes, whose unit says everything.
            reference: reference(frame.value, frame.unit(), frame.unit()),
        }
    }

    fn give(&mut self, number: u64, shape: &Shape, pictures: &Pictures) {
        let Some(Parts { utc_ns, gap_traces, values }) = self.waiting.remove(&number) else {
            return;
        };
        // What is older will not become whole any more.
        self.waiting = self.waiting.split_off(&number);
        let values: Vec<f32> = values.into_values().flatten().collect();
        let lines = Lines {
            axis: shape.axis,
            utc_ns,
            line_ns: shape.line_ns,
            gap_traces,
            value: shape.value,
            width: values.len(),
            values: &values,
        };
        pictures.add(&shape.subject, &shape.reference, &lines);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::frame::{ChannelAxis, Frame, Stream};
    use crate::wire::{decode, encode_vec};

    /// A line of one stream of a job: channels `start`… with the value 3 or, where `bright`, 30.
    fn part(line: u64, start: usize, count: usize, bright: bool) -> Vec<u8> {
        let example = Frame::example();
        let channels = ChannelAxis { start, step: 1, count };
        let stream = Stream {
            job: "1-1".into(),
            value: ValueKind::Amplitude,
            unit: "rad".into(),
            channels,
            ..Stream::clone(&example.stream)
        };
        let frame = Frame {
            stream: Arc::new(stream),
            first_line: line,
            lines: 1,
            utc_first_ns: 1_790_000_000_000_000_000 + line as i64 * 50_000_000,
            values: vec![if bright { 30.0 } else { 3.0 }; count].into(),
            ..Frame::example()
        };
        encode_vec(&frame, "north")
    }

    #[test]
    fn lines_are_whole_and_stand_in_the_order_of_channels() {
        let (mut joiner, pictures) = (Joiner::new(3, 10, 17), Pictures::new());
        let mut take = |bytes: &[u8]| joiner.take(&decode(bytes).unwrap(), &pictures);
        // The second line comes before the first is whole; one stream has lost the first.
        for (line, start, count) in [(0, 10, 3), (1, 10, 3), (0, 15, 2), (1, 15, 2), (1, 13, 2), (2, 13, 2)] {
            take(&part(line, start, count, start == 13));
        }
        let subject = pictures.subjects().remove(0);
        assert_eq!(subject, Subject::Band(0, 5.0, 200.0));
        let shown = pictures.picture(&subject, 2).unwrap();
        assert_eq!(shown.reference, "1 rad");
        assert_eq!(shown.picture.rows.iter().map(|row| row.lines).sum::<u32>(), 1);
        assert_eq!(shown.picture.rows[0].power, [9.0, 9.0, 9.0, 900.0, 900.0, 9.0, 9.0]);
        let dx_m = crate::acquisition::Acquisition::example().dx_m;
        assert_eq!(shown.picture.axis, Axis::Distance(10.0 * dx_m, 17.0 * dx_m));
    }
}
