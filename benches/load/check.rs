//! What every line of a stream must be, pure: order, shape, times, values. And whether all who look at the same see the
//! same. As a test the checks are shown wrong lines first: a check that cannot fail is none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fiberd::streams::grpc::DataStream;
use half::f16;

/// float16 from here on is infinite, no number, or negative.
const FIRST_UNFIT: u16 = 0x7c00;
/// Both times are whole milliseconds, rounded down, of lines that begin with a trace.
const TIME_TOLERANCE_MS: f64 = 2.5;
/// Row numbers of gRPC begin again behind this.
const ROWS: i64 = 1 << 31;

/// What a stream promised.
#[derive(Clone, Debug)]
pub struct Promise {
    pub stream: usize,
    /// From 1.
    pub channels: RangeInclusive<usize>,
    /// Values of one channel.
    pub bins: usize,
    pub line_ms: f64,
}

/// A kind of fault, and what was seen.
pub type Complaint = (&'static str, String);

/// Holds one stream to its promise, message by message.
pub struct Check {
    promise: Promise,
    /// Row and begin of the first line and of the last.
    first: Option<(i64, i64)>,
    last_row: i64,
    unwrapped: i64,
}

/// What was right in a message.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub lines: u64,
    /// Before it and inside it.
    pub lost: u64,
}

impl Check {
    pub fn new(promise: Promise) -> Self {
        Self { promise, first: None, last_row: 0, unwrapped: 0 }
    }

    pub fn take(&mut self, message: &DataStream) -> Result<Seen, Complaint> {
        self.shape(message)?;
        let mut lost = 0;
        for (&row, &begin_ms) in message.row_index.iter().zip(&message.timestamp_in_milis) {
            lost += self.line(i64::from(row), begin_ms)?;
        }
        let data = &message.main_data[0];
        let largest = data.chunks_exact(2).fold(0, |most: u16, v| most.max(u16::from_le_bytes([v[0], v[1]])));
        if largest >= FIRST_UNFIT {
            return Err(("values", format!("not a finite number of at least 0: {}", f16::from_bits(largest))));
        }
        let (min, max) = (message.global_minimum, message.global_maximum);
        let told = min.is_finite() && min >= 0.0 && max > 0.0 && min <= max;
        if !told || f16::from_f32(max).to_bits() < largest {
            let largest = f16::from_bits(largest);
            return Err(("extrema", format!("{min}…{max} are told of values up to {largest}")));
        }
        Ok(Seen { lines: message.row_index.len() as u64, lost })
    }

    fn shape(&self, message: &DataStream) -> Result<(), Complaint> {
        let Promise { stream, channels, bins, .. } = &self.promise;
        let lines = message.row_index.len();
        let values = channels.clone().count() * bins;
        let right = lines > 0
            && message.timestamp_in_milis.len() == lines
            && (message.data_shape_x as usize, message.data_shape_y as usize) == (values, lines)
            && (message.start_channel as usize, message.end_channel as usize) == (*channels.start(), *channels.end())
            && message.job_id == Some(*stream as i32)
            && message.main_data.len() == 1
            && message.main_data[0].len() == values * lines * 2;
        if right {
            return Ok(());
        }
        let bytes: Vec<_> = message.main_data.iter().map(bytes::Bytes::len).collect();
        let told = DataStream { main_data: Vec::new(), ..message.clone() };
        Err(("shape", format!("{:?} got {told:?} with {bytes:?} bytes", self.promise)))
    }

    /// How many lines are missing before it.
    fn line(&mut self, row: i64, begin_ms: i64) -> Result<u64, Complaint> {
        let Some((first_row, first_ms)) = self.first else {
            self.first = Some((row, begin_ms));
            (self.last_row, self.unwrapped) = (row, row);
            return Ok(0);
        };
        // The shorter way round.
        let step = (row - self.last_row + ROWS / 2).rem_euclid(ROWS) - ROWS / 2;
        if step < 1 {
            return Err(("order", format!("row {row} after {}", self.last_row)));
        }
        (self.last_row, self.unwrapped) = (row, self.unwrapped + step);
        let due_ms = (self.unwrapped - first_row) as f64 * self.promise.line_ms;
        let off_ms = (begin_ms - first_ms) as f64 - due_ms;
        if off_ms.abs() > TIME_TOLERANCE_MS {
            return Err(("times", format!("row {row} begins {off_ms} ms beside its place")));
        }
        Ok(step as u64 - 1)
    }
}

/// Lines that are compared: about one a second, the same for all who look at the same. By its time, for polls tell no row.
pub fn is_sampled(begin_ms: i64, line_ms: f64) -> bool {
    (begin_ms.rem_euclid(1000) as f64) < line_ms.max(1.0)
}

/// float16 of line `line` of a message, which holds lines as columns.
pub fn line_of(message: &DataStream, line: usize) -> Vec<u8> {
    let lines = message.row_index.len().max(1);
    let data = message.main_data.first().map_or(&[][..], |data| &data[..]);
    data.chunks_exact(2).skip(line).step_by(lines).flatten().copied().collect()
}

/// Which line: settings, first channel, begin.
type Key = (usize, usize, i64);

/// Checksums of sampled lines, from whoever saw them first.
#[derive(Default)]
pub struct Samples {
    seen: Mutex<HashMap<Key, u32>>,
    /// Lines that somebody else had seen before.
    pub compared: AtomicU64,
}

impl Samples {
    pub fn compare(&self, key: Key, values: &[u8]) -> Result<(), Complaint> {
        let sum = crc32fast::hash(values);
        let known = match self.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(key) {
            Entry::Vacant(place) => *place.insert(sum),
            Entry::Occupied(known) => {
                self.compared.fetch_add(1, Ordering::Relaxed);
                *known.get()
            }
        };
        if known == sum {
            return Ok(());
        }
        Err(("different values", format!("settings {}, channel {}, at {} ms", key.0, key.1, key.2)))
    }
}

/// Makes a right message a wrong one.
type Spoil = fn(&mut DataStream);

/// Shows the checks what is right and what is wrong.
pub fn verify() {
    let promise = Promise { stream: 1, channels: 3..=4, bins: 2, line_ms: 100.0 };
    let one = f16::ONE.to_le_bytes();
    let right = |row: i32, lines: usize| DataStream {
        start_channel: 3,
        end_channel: 4,
        timestamp_in_milis: (0..lines as i64).map(|k| 5000 + 100 * (i64::from(row) + k)).collect(),
        row_index: (row..).take(lines).collect(),
        data_shape_x: 4,
        data_shape_y: lines as i32,
        global_maximum: 1.0,
        global_minimum: 0.5,
        main_data: vec![one.repeat(4 * lines).into()],
        job_id: Some(1),
        data_shape_z: None,
    };
    let fresh = || {
        let mut check = Check::new(promise.clone());
        assert_eq!(check.take(&right(7, 2)), Ok(Seen { lines: 2, lost: 0 }));
        check
    };
    assert_eq!(fresh().take(&right(9, 1)), Ok(Seen { lines: 1, lost: 0 }));
    assert_eq!(fresh().take(&right(12, 3)), Ok(Seen { lines: 3, lost: 3 }));
    let wrong: [(&str, Spoil); 12] = [
        ("order", |m| m.row_index[0] = 8),
        ("order", |m| m.row_index[1] = 9),
        ("times", |m| m.timestamp_in_milis[1] += 3),
        ("shape", |m| m.data_shape_x = 5),
        ("shape", |m| m.data_shape_y = 1),
        ("shape", |m| m.start_channel = 2),
        ("shape", |m| m.job_id = Some(0)),
        ("shape", |m| m.main_data[0] = m.main_data[0].slice(2..)),
        ("values", |m| m.main_data[0] = f16::INFINITY.to_le_bytes().repeat(8).into()),
        ("values", |m| m.main_data[0] = f16::NEG_ONE.to_le_bytes().repeat(8).into()),
        ("extrema", |m| m.global_maximum = 0.5),
        ("extrema", |m| m.global_minimum = f32::NAN),
    ];
    for (kind, spoil) in wrong {
        let mut message = right(9, 2);
        spoil(&mut message);
        let complaint = fresh().take(&message).expect_err(kind);
        assert_eq!(complaint.0, kind, "{complaint:?}");
    }
    let mut check = Check::new(promise);
    let at = |row, begin_ms| DataStream { row_index: vec![row], timestamp_in_milis: vec![begin_ms], ..right(0, 1) };
    assert!(check.take(&at(i32::MAX, 0)).is_ok() && check.take(&at(0, 100)).is_ok(), "rows begin again");

    let mut columns = right(0, 2);
    columns.main_data[0] = vec![1, 1, 2, 2, 3, 3, 4, 4].into();
    assert_eq!((line_of(&columns, 0), line_of(&columns, 1)), (vec![1, 1, 3, 3], vec![2, 2, 4, 4]));
    let samples = Samples::default();
    assert!(samples.compare((0, 1, 2), &[1]).is_ok() && samples.compare((0, 1, 2), &[1]).is_ok());
    assert!(samples.compare((0, 1, 2), &[2]).is_err() && samples.compare((0, 1, 3), &[2]).is_ok());
    assert_eq!(samples.compared.load(Ordering::Relaxed), 2);
}
