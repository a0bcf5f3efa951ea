//! The messages of `pandadatastream.proto`, and how lines become one.
//!
//! Written by hand because the data are shared bytes that a generator would copy; the tests read them with a client that
//! is generated from the proto file.

use std::sync::Arc;

use bytes::Bytes;

use crate::feed::FeedFrame;

/// Which stream is wanted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamDataRequest {
    /// Number of the stream, from 0.
    #[prost(int32, tag = "1")]
    pub stream_id: i32,
}

/// One or more lines. Fields as in the proto file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DataStream {
    /// First channel, from 1.
    #[prost(int32, tag = "1")]
    pub start_channel: i32,
    /// Last channel, included.
    #[prost(int32, tag = "2")]
    pub end_channel: i32,
    /// UTC of the beginning of each line, ms since 1970.
    #[prost(int64, repeated, tag = "3")]
    pub timestamp_in_milis: Vec<i64>,
    /// Number of each line.
    #[prost(int32, repeated, tag = "4")]
    pub row_index: Vec<i32>,
    /// Values of a line.
    #[prost(int32, tag = "5")]
    pub data_shape_x: i32,
    /// Lines.
    #[prost(int32, tag = "6")]
    pub data_shape_y: i32,
    /// Largest value of the stream so far.
    #[prost(float, tag = "7")]
    pub global_maximum: f32,
    /// Smallest value of the stream so far.
    #[prost(float, tag = "8")]
    pub global_minimum: f32,
    /// The values, in one piece.
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub main_data: Vec<Bytes>,
    /// The stream that was asked for.
    #[prost(int32, optional, tag = "10")]
    pub job_id: Option<i32>,
    /// Not in use.
    #[prost(int32, optional, tag = "11")]
    pub data_shape_z: Option<i32>,
}

/// Lines share a message up to so many bytes. Beyond it, what a message costs by itself no longer counts beside its data.
pub(super) const SHARED_BYTES: usize = 256 << 10;

/// Whether `next` may join `taken`, neighbours whose lines all have the same shape.
pub(super) fn may_join(taken: &[Arc<FeedFrame>], next: &FeedFrame) -> bool {
    let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return true };
    // Frames of a job have one line as a rule, and `messages` splits what is too long after all.
    let frames = SHARED_BYTES / (first.line_len() * 2 * first.lines()).max(1);
    taken.len() < frames && last.is_like(next)
}

/// The lines of `frames`, which are alike, as messages.
pub(super) fn messages(frames: &[Arc<FeedFrame>], stream_id: i32) -> Vec<DataStream> {
    let lines: Vec<_> = frames.iter().flat_map(|frame| (0..frame.lines()).map(move |line| (frame, line))).collect();
    let line_bytes = frames.first().map_or(0, |frame| frame.line_len() * 2);
    let lines_each = (SHARED_BYTES / line_bytes.max(1)).max(1);
    lines.chunks(lines_each).filter_map(|lines| message(lines, stream_id)).collect()
}

fn message(lines: &[(&Arc<FeedFrame>, usize)], stream_id: i32) -> Option<DataStream> {
    let (first, last) = (lines.first()?.0, lines.last()?.0);
    let (start_channel, end_channel) = first.channels();
    let data: Vec<_> = lines.iter().map(|(frame, line)| frame.f16(*line)).collect();
    Some(DataStream {
        start_channel: start_channel as i32,
        end_channel: end_channel as i32,
        timestamp_in_milis: lines.iter().map(|(frame, line)| frame.times_ns(*line).0.div_euclid(1_000_000)).collect(),
        row_index: lines.iter().map(|(frame, line)| row_index(frame.row() + *line as u64)).collect(),
        data_shape_x: first.line_len() as i32,
        data_shape_y: lines.len() as i32,
        global_maximum: last.extrema().max(),
        global_minimum: last.extrema().min(),
        main_data: vec![side_by_side(data)],
        job_id: Some(stream_id),
        data_shape_z: None,
    })
}

/// Row numbers are 64 bits long and the field has 31: it begins again at 0 after 248 days at 100 lines per second.
fn row_index(row: u64) -> i32 {
    (row & 0x7fff_ffff) as i32
}

/// Lines of float16 as columns: value `x` of line `y` goes to place `x · lines + y`. One line is there already.
fn side_by_side(lines: Vec<Bytes>) -> Bytes {
    // Values of each line at a time: what they are written to stays in the cache until every line has been there.
    const BLOCK: usize = 64;
    type Half = [u8; 2];
    let lines = match <[Bytes; 1]>::try_from(lines) {
        Ok([line]) => return line,
        Err(lines) => lines,
    };
    let count = lines.len();
    let len = lines.first().map_or(0, |line| line.len() / 2);
    let mut bytes = vec![0; len * count * 2];
    let columns: &mut [Half] = bytemuck::cast_slice_mut(&mut bytes);
    for (block, columns) in columns.chunks_mut(BLOCK * count.max(1)).enumerate() {
        for (y, line) in lines.iter().enumerate() {
            let values: &[Half] = bytemuck::cast_slice(line);
            let values = values.get(block * BLOCK..).unwrap_or_default();
            for (place, value) in columns[y..].iter_mut().step_by(count).zip(values) {
                *place = *value;
            }
        }
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_become_columns(len in 0usize..300, count in 1usize..70) {
            let value = |x: usize, y: usize| ((x * 71 + y) as u16).to_le_bytes();
            let lines: Vec<_> = (0..count).map(|y| (0..len).flat_map(|x| value(x, y)).collect::<Bytes>()).collect();
            let columns = side_by_side(lines);
            prop_assert_eq!(columns.len(), len * count * 2);
            for (at, found) in columns.chunks(2).enumerate() {
                prop_assert_eq!(found, value(at / count, at % count));
            }
        }
    }
}
