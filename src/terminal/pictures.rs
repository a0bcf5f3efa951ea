//! All pictures that a screen can show, each at every row time, so that another band, another channel or another row
//! time is there at once with its past.
//!
//! Who has lines gives them to [`Pictures::offer`], which never waits: while the screen copies a picture, a line is left
//! out. What the columns are and what the values mean comes with the lines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::picture::{Axis, Lines, Picture};
use crate::frame::{Frame, ValueKind, View, units};

/// Data times of a row that a person can choose from, milliseconds.
pub(super) const ROW_TIMES_MS: [i64; 8] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000];

/// The one that a screen begins with.
pub(super) const FIRST_ROW_TIME: usize = 2;

/// Rows that are kept at each row time: two in a line of a tall terminal.
const ROWS: usize = 160;

/// More pictures than this are no help to a person, and each takes some megabytes.
const MOST: usize = 16;

/// What a picture shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// Energy of a band, Hz, over distance. With the number of the band.
    Band(u32, f64, f64),
    /// Spectrum of one channel; channels count from 1.
    Channel(usize),
}

/// A picture with what has to be said about it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What it shows.
    pub subject: Subject,
    /// What 0 dB is, such as `1 rad^2`.
    pub reference: String,
    /// The picture.
    pub picture: Picture,
}

#[derive(Debug)]
struct Kept {
    subject: Subject,
    reference: String,
    /// One for each row time.
    pictures: Vec<Picture>,
}

#[derive(Debug, Default)]
struct All {
    /// Name of the waterfall that is shown: bands of another one would be torn into it.
    waterfall: Option<String>,
    kept: Vec<Kept>,
}

/// See the module. Shared by reference.
#[derive(Debug, Default)]
pub struct Pictures {
    all: Mutex<All>,
}

impl Pictures {
    /// No picture yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Looks at a frame on its way to the broker. Never waits.
    pub fn offer(&self, frame: &Frame) {
        match self.all.try_lock() {
            Ok(mut all) => all.add_frame(frame),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().add_frame(frame),
            // The screen is copying a picture: one line less in a mean.
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Takes lines of `subject`.
    pub fn add(&self, subject: &Subject, reference: &str, lines: &Lines<'_>) {
        self.lock().add(subject, reference, lines);
    }

    /// What there is to look at: bands first, then channels.
    pub fn subjects(&self) -> Vec<Subject> {
        self.lock().kept.iter().map(|kept| kept.subject.clone()).collect()
    }

    /// A copy of the picture of `subject` with rows of the time with this number.
    pub fn picture(&self, subject: &Subject, row_time: usize) -> Option<Shown> {
        let all = self.lock();
        let kept = all.kept.iter().find(|kept| kept.subject == *subject)?;
        Some(Shown {
            subject: kept.subject.clone(),
            reference: kept.reference.clone(),
            picture: kept.pictures.get(row_time)?.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn add_frame(&mut self, frame: &Frame) {
        let stream = &frame.stream;
        if !stream.job.is_empty() {
            return;
        }
        let (a, bins) = (&frame.acquisition, stream.frequencies);
        let subject = match stream.view {
            View::Waterfall => {
                let waterfall = self.waterfall.get_or_insert_with(|| stream.name.clone());
                if *waterfall != stream.name {
                    return;
                }
                Subject::Band(stream.number, bins.start_hz, bins.start_hz + bins.step_hz)
            }
            View::Single => Subject::Channel(stream.channels.start + 1),
            View::Multi => return,
        };
        let axis = match subject {
            Subject::Band(..) => {
                let (first, behind) =
                    (stream.channels.start, stream.channels.start + stream.channels.count * stream.channels.step);
                if a.regions.is_empty() {
                    Axis::Distance(a.distance_m(first), a.distance_m(behind))
                } else {
                    Axis::Channel(first as f64 + 1.0, behind as f64 + 1.0)
                }
            }
            Subject::Channel(_) => Axis::of_bins(bins.start_hz, bins.step_hz, bins.count),
        };
        let lines = Lines {
            axis,
            utc_ns: frame.utc_first_ns,
            line_ns: (stream.line_period_s.to_f64() * 1e9) as i64,
            gap_traces: frame.gap_traces,
            value: stream.value,
            width: stream.channels.count * bins.count,
            values: &frame.values.flat(),
        };
        self.add(&subject, &reference(stream.value, &stream.unit, &units(a).1), &lines);
    }

    fn add(&mut self, subject: &Subject, reference: &str, lines: &Lines<'_>) {
        let same = |kept: &Kept| match (&kept.subject, subject) {
            // A band that was planned anew with other edges takes the place of the one before.
            (Subject::Band(a, ..), Subject::Band(b, ..)) => a == b,
            (a, b) => a == b,
        };
        let at = match self.kept.iter().position(same) {
            Some(at) => at,
            None if self.kept.len() < MOST => self.insert(subject),
            None => return,
        };
        let kept = &mut self.kept[at];
        if kept.subject != *subject || kept.reference != reference {
            *kept = Kept::new(subject);
            reference.clone_into(&mut kept.reference);
        }
        kept.pictures.iter_mut().for_each(|picture| picture.add(lines));
    }

    /// The place of a new picture: bands by number, then channels.
    fn insert(&mut self, subject: &Subject) -> usize {
        let order = |subject: &Subject| match subject {
            Subject::Band(number, ..) => (0, *number as usize),
            Subject::Channel(channel) => (1, *channel),
        };
        let at = self.kept.partition_point(|kept| order(&kept.subject) < order(subject));
        self.kept.insert(at, Kept::new(subject));
        at
    }
}

impl Kept {
    fn new(subject: &Subject) -> Self {
        let pictures = ROW_TIMES_MS.iter().map(|&row_ms| Picture::new(ROWS, row_ms)).collect();
        Self { subject: subject.clone(), reference: String::new(), pictures }
    }
}

impl Axis {
    /// From the first bin to the last, half a bin more on both sides.
    pub fn of_bins(start_hz: f64, step_hz: f64, count: usize) -> Self {
        let from_hz = start_hz - step_hz / 2.0;
        Self::Frequency(from_hz, from_hz + step_hz * count as f64)
    }
}

/// What 0 dB is: one unit of the values, or for values in dB the power that they refer to.
pub fn reference(value: ValueKind, unit: &str, power_unit: &str) -> String {
    match value {
        ValueKind::Power | ValueKind::Amplitude => format!("1 {unit}"),
        ValueKind::Decibel { .. } => format!("1 {power_unit}"),
    }
}
