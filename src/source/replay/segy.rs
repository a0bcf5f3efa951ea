//! SEG-Y, revisions 0 to 2, as interrogators and their programs export it: a trace a channel, records one after the
//! other.
//!
//! Traces with the same time are one record. All records have the same channels; a record's samples follow those of the
//! one before when its time says so. SEG-Y has whole seconds only, and no place for the distance of a channel that
//! everybody uses: it is taken from the offset, or the receiver's X, where these rise evenly.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::capture::{Capture, io_error, unusable};
use super::found::{Found, Places};
use super::h5rows::Table;
use super::segy_heads::{HEADS, Heads, TRACE_HEAD, TraceHead, number};
use super::strips::{Channels, Number, Piece, Strips};
use super::timing::{Block, Layout, NO_STAMP, Sink, Stamps, Statements, Timing, work_out};
use crate::acquisition::Quantity;
use crate::source::{Finding, SourceError};
use crate::units::Rational;

pub(super) use super::segy_heads::is_it;

/// Traces of SEG-Y in a file, at most.
const MAX_TRACES: u64 = 1 << 24;
/// Distances are whole metres or feet: so far they may be off an even spacing.
const ROUNDED: f64 = 1.01;

/// Traces with the same time.
struct Record {
    at: u64,
    head: TraceHead,
    traces: u64,
    samples: u64,
}

/// What is found on the way through the file.
#[derive(Default)]
struct Walk {
    records: Vec<Record>,
    /// Headers of the traces of the first record.
    channels: Vec<TraceHead>,
    notes: Vec<Finding>,
}

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let mut start = vec![0; HEADS];
    file.read_exact_at(&mut start, 0).map_err(|e| io_error(path, "read the headers", e))?;
    let heads = Heads::read(&start).ok_or_else(|| unusable(path, "SEG-Y whose binary header makes no sense"))?;
    let number = number(heads.code).map_err(|why| unusable(path, format!("SEG-Y with {why}")))?;
    if heads.more_of_trace > 0 {
        return Err(unusable(path, "SEG-Y revision 2 with more than one header a trace is not read"));
    }
    let mut walk = walk(path, &file, &heads, number)?;
    let channels = walk.channels.len();
    let pieces = pieces(&mut walk, &heads, number);
    let Some(first) = walk.records.first() else {
        return Err(unusable(path, format!("SEG-Y without a whole trace{}", because(&walk.notes))));
    };
    let quantity = if first.head.unit == 6 { (Quantity::Velocity, "m/s") } else { (Quantity::Counts, "") };
    let timing = timing(path, &heads, &walk.records, &pieces)?;
    let (places, said) = places(&walk.channels, heads.feet);
    let remarks = said.into_iter().chain(remarks(&first.head));
    let notes = walk.notes.into_iter().chain(remarks.map(Finding::note)).collect();
    let table = Table {
        traces: timing.rows,
        channels,
        format: number.format(),
        slab_rows: 1,
        rows: Box::new(Strips::new(path.to_owned(), file, pieces, channels, number)),
    };
    let (major, minor) = heads.revision;
    Ok(Found {
        quantity: quantity.0,
        unit: quantity.1.into(),
        description: heads.text,
        notes,
        ..Found::new(format!("SEG-Y, revision {major}.{minor}, format code {}", heads.code), table, timing, places)
    }
    .into_capture())
}

fn because(notes: &[Finding]) -> String {
    notes.first().map_or_else(String::new, |note| format!(": {}", note.text))
}

/// Reads the header of each trace.
fn walk(path: &Path, file: &File, heads: &Heads, number: Number) -> Result<Walk, SourceError> {
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let mut walk = Walk::default();
    let (mut at, mut bytes) = (heads.first_trace, [0; TRACE_HEAD]);
    for trace in 0.. {
        if at >= size {
            break;
        }
        if trace == MAX_TRACES {
            walk.notes.push(Finding::warning(format!("more than {MAX_TRACES} traces: what follows is not read")));
            break;
        }
        let cut =
            || format!("cut off within trace {} (a file that is being written, or whose recorder died)", trace + 1);
        if size - at < TRACE_HEAD as u64 {
            walk.notes.push(Finding::warning(cut()));
            break;
        }
        file.read_exact_at(&mut bytes, at).map_err(|e| io_error(path, "read the header of a trace", e))?;
        let head = heads.trace(&bytes);
        // 65535 and less fit into the trace's own number of samples.
        let own = Some(head.samples).filter(|&own| own > 0 && u16::try_from(heads.samples).is_ok());
        let samples = own.map_or(u64::from(heads.samples), u64::from);
        let trace_bytes = samples * number.bytes();
        if samples == 0 {
            return Err(unusable(
                path,
                format!("SEG-Y in which neither the file nor trace {} says how many samples it has", trace + 1),
            ));
        }
        if size - at - (TRACE_HEAD as u64) < trace_bytes {
            walk.notes.push(Finding::warning(cut()));
            break;
        }
        if let Err(why) = walk.add(at, head, samples) {
            if walk.records.len() < 2 {
                return Err(unusable(path, format!("SEG-Y whose trace {} {why}", trace + 1)));
            }
            walk.notes
                .push(Finding::warning(format!("trace {} {why}: its record and what follows are not read", trace + 1)));
            walk.records.pop();
            break;
        }
        at += TRACE_HEAD as u64 + trace_bytes;
    }
    Ok(walk)
}

impl Walk {
    /// Takes a trace.
    fn add(&mut self, at: u64, head: TraceHead, samples: u64) -> Result<(), String> {
        let is_first_record = self.records.len() <= 1;
        let numbered = matches!(self.channels[..], [first, second, ..] if first.number != second.number);
        let starts_again = numbered && self.channels.first().is_some_and(|first| first.number == head.number);
        let full =
            !is_first_record && self.records.last().is_some_and(|last| last.traces == self.channels.len() as u64);
        let same = |record: &&mut Record| record.head.utc_s == head.utc_s && !starts_again && !full;
        if let Some(record) = self.records.last_mut().filter(same) {
            if record.samples != samples {
                return Err(format!("has {samples} samples, those before have {}", record.samples));
            }
            record.traces += 1;
        } else {
            let all = self.channels.len() as u64;
            if let Some(last) = self.records.last().filter(|last| last.traces != all) {
                return Err(format!("begins a record, the one before has {} traces instead of {all}", last.traces));
            }
            self.records.push(Record { at, head, traces: 1, samples });
        }
        if self.records.len() == 1 {
            self.channels.push(head);
        }
        Ok(())
    }
}

/// Where the samples of each record are; a last one of which traces are missing is left out.
fn pieces(walk: &mut Walk, heads: &Heads, number: Number) -> Vec<Piece> {
    let channels = walk.channels.len() as u64;
    if let Some(last) = walk.records.pop_if(|last| last.traces < channels) {
        walk.notes.push(Finding::warning(format!(
            "the last record has {} of {channels} traces: it is not read",
            last.traces
        )));
    }
    let mut row = 0;
    (walk.records.iter())
        .map(|record| {
            let trace_bytes = TRACE_HEAD as u64 + record.samples * number.bytes();
            let piece = Piece {
                row,
                chunk_rows: record.samples,
                chunk_bytes: channels * trace_bytes,
                at: record.at,
                channels: Channels::Even { first: TRACE_HEAD as u64, step: trace_bytes },
                row_step: number.bytes(),
                big_endian: heads.big_endian,
            };
            row += record.samples;
            piece
        })
        .collect()
}

fn timing(path: &Path, heads: &Heads, records: &[Record], pieces: &[Piece]) -> Result<Timing, SourceError> {
    let own_us = records.first().map_or(0, |record| record.head.interval_us);
    let interval_us = if heads.interval_us > 0.0 { heads.interval_us } else { f64::from(own_us) };
    let second_ns = 1_000_000_000;
    let stamps: Vec<i64> = records.iter().map(|record| record.head.utc_s.unwrap_or(NO_STAMP)).collect();
    let rate = Rational::from_f64(interval_us / 1e6).map(Rational::recip);
    let blocks = blocks(records, pieces, rate);
    let mut pass = |sink: &mut Sink<'_>| {
        sink(&stamps);
        Ok(())
    };
    let start_ns = records.first().and_then(|record| record.head.utc_s).map(|utc_s| utc_s * second_ns);
    let stamps =
        Stamps { unit_ns: second_ns, precision_ns: second_ns, layout: Layout::Blocks(&blocks), pass: &mut pass };
    work_out(Statements {
        rows: pieces.iter().map(|piece| piece.chunk_rows).sum(),
        declared_rate: rate,
        start_ns,
        end_ns: None,
        lost_together: 1,
        stamps: (blocks.len() > 1).then_some(stamps),
    })
    .map_err(|error| {
        error.into_source(|why| unusable(path, format!("sample interval, time of the trace headers: {why}")))
    })
}

/// What is missing before each record by its time: all its traces have it, so that it is no single wrong stamp. Less
/// than the second that it is told to is nothing.
fn blocks(records: &[Record], pieces: &[Piece], rate: Option<Rational>) -> Vec<Block> {
    let mut expected_s: Option<f64> = None;
    let mut blocks = Vec::with_capacity(records.len());
    for (record, piece) in records.iter().zip(pieces) {
        let hertz = rate.map_or(f64::NAN, Rational::to_f64);
        let utc_s = record.head.utc_s.map(|utc_s| utc_s as f64);
        let late_s = utc_s.zip(expected_s).map(|(utc_s, expected_s)| utc_s - expected_s).filter(|&late_s| late_s > 1.0);
        // A number beyond the range becomes the end of the range, and none becomes 0.
        blocks.push(Block { row: piece.row, lost_before: late_s.map_or(0, |late_s| (late_s * hertz).round() as u64) });
        let begin_s = if late_s.is_some() { utc_s } else { expected_s.or(utc_s) };
        expected_s = begin_s.map(|begin_s| begin_s + record.samples as f64 / hertz).filter(|s| s.is_finite());
    }
    blocks
}

/// Distances where the headers have them, and else what to say.
fn places(channels: &[TraceHead], feet: bool) -> (Places, Option<&'static str>) {
    let metres = if feet { 0.3048 } else { 1.0 };
    let offsets: Vec<f64> = channels.iter().map(|head| f64::from(head.offset)).collect();
    if let Some((start, dx)) = even(&offsets, ROUNDED) {
        return (
            Places::even(start * metres, dx * metres),
            Some("distances are the offsets of the trace headers, which are whole numbers"),
        );
    }
    let one_line = channels.iter().all(|head| head.place.1 == channels[0].place.1);
    let scaled: Vec<f64> = channels.iter().map(|head| f64::from(head.place.0) * factor(head.place_scale)).collect();
    let rounding = channels.first().map_or(0.0, |head| ROUNDED * factor(head.place_scale));
    if let Some((start, dx)) = even(&scaled, rounding).filter(|_| one_line) {
        return (
            Places::even(start * metres, dx * metres),
            Some("distances are the receivers' X of the trace headers"),
        );
    }
    (Places::even(0.0, 1.0), Some("distances are not known: channels are put 1 m apart"))
}

fn factor(scale: i16) -> f64 {
    match scale {
        0 => 1.0,
        scale if scale > 0 => f64::from(scale),
        scale => 1.0 / -f64::from(scale),
    }
}

/// Start and spacing of distances that rise evenly but for rounding.
fn even(distances: &[f64], rounding: f64) -> Option<(f64, f64)> {
    let [first, .., last] = *distances else { return None };
    let dx = (last - first) / (distances.len() - 1) as f64;
    let on_line = |(i, &distance): (usize, &f64)| (distance - first - dx * i as f64).abs() <= rounding;
    let rises = distances.windows(2).all(|pair| pair[1] > pair[0]);
    (rises && distances.iter().enumerate().all(on_line)).then_some((first, dx))
}

/// What a header says that is not taken into account.
fn remarks(head: &TraceHead) -> impl Iterator<Item = &'static str> {
    let basis = match head.time_basis {
        1 => Some("the trace headers have local time: it is taken for UTC"),
        3 => Some("the trace headers have time of a basis that is not told: it is taken for UTC"),
        5 => Some("the trace headers have GPS time, which is whole seconds ahead of UTC: it is taken as it is"),
        _ => None,
    };
    let delay =
        (head.delay_ms != 0).then_some("the trace headers have a delay of recording: it is not added to the times");
    basis.into_iter().chain(delay)
}
