//! miniSEED, versions 2 and 3: records of samples, each of one channel, in any order. Each
//! network.station.location.channel is a channel of the fiber, in the order of these names.
//!
//! Opening reads the head of every record; samples are unpacked as rows are read. Nothing in a record says where on the
//! fiber it is.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::capture::{Capture, Rows, RowsError, io_error, unusable};
use super::format::MAX_CHANNELS;
use super::found::{Found, Places};
use super::h5rows::Table;
use super::mseed_codec::{Coding, Encoding};
use super::mseed_head::{self, HEAD, Head, MAX_RECORD, name_of};
use super::mseed_weave::{Record, Weave, weave};
use super::timing::{Layout, Sink, Stamps, Statements, Timing, work_out};
use crate::acquisition::SampleFormat;
use crate::source::{Finding, SourceError};
use crate::units::Rational;

pub(super) use super::mseed_head::is_it;

/// Records at most: 16 GiB of the usual 4096 bytes each.
const MAX_RECORDS: usize = 1 << 22;
/// A record is looked for in such steps where none is.
const STEP: u64 = 128;
/// And so far.
const MAX_SKIPPED: u64 = 64 << 20;
/// Bytes of rows that are unpacked at once, at most: a record that lies across two slabs is unpacked twice.
const MAX_TOGETHER: usize = 16 << 20;

/// What is found on the way through the file.
#[derive(Default)]
struct Walk {
    ids: HashMap<String, u32>,
    rate: Option<(Rational, String)>,
    codings: Vec<Coding>,
    records: Vec<Record>,
    version: u8,
    precision_ns: i64,
    most_samples: u32,
    without_series: u64,
    skipped: u64,
    notes: Vec<Finding>,
}

struct Series {
    path: PathBuf,
    file: File,
    weave: Weave,
    codings: Vec<Coding>,
    format: SampleFormat,
    /// Whether single precision may lose something of samples.
    wide: bool,
    bytes: Vec<u8>,
    values: Vec<f64>,
}

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Capture, SourceError> {
    let file = File::open(path).map_err(|e| io_error(path, "open", e))?;
    let mut walk = walk(path, &file)?;
    let Some((rate, _)) = walk.rate else {
        return Err(unusable(path, "miniSEED without a record of samples"));
    };
    let names = walk.order_channels();
    let weave = weave(std::mem::take(&mut walk.records), names.len(), rate);
    if weave.rows == 0 {
        return Err(unusable(
            path,
            format!(
                "there is no time at which all of its {} channels have samples, from {} to {}",
                names.len(),
                first(&names),
                last(&names)
            ),
        ));
    }
    walk.tell(&names, &weave);
    let timing = timing(path, &weave, rate, walk.precision_ns)?;
    let is_i16 = walk.codings.iter().all(|coding| coding.encoding == Encoding::I16);
    let format = if is_i16 { SampleFormat::I16 } else { SampleFormat::F32 };
    let wide = walk.codings.iter().any(|coding| !matches!(coding.encoding, Encoding::I16 | Encoding::F32));
    let together = MAX_TOGETHER / (names.len() * format.bytes());
    let description = match &names[..] {
        [only] => only.clone(),
        names => format!("{} to {}", first(names), last(names)),
    };
    let series = Series {
        path: path.to_owned(),
        file,
        weave,
        codings: walk.codings,
        format,
        wide,
        bytes: Vec::new(),
        values: Vec::new(),
    };
    let table = Table {
        traces: timing.rows,
        channels: names.len(),
        format,
        slab_rows: together.clamp(1, walk.most_samples.max(1) as usize),
        rows: Box::new(series),
    };
    Ok(Found {
        description,
        notes: walk.notes,
        ..Found::new(format!("miniSEED {}", walk.version), table, timing, Places::even(0.0, 1.0))
    }
    .into_capture())
}

fn first(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

fn last(names: &[String]) -> &str {
    names.last().map_or("", String::as_str)
}

fn timing(path: &Path, weave: &Weave, rate: Rational, precision_ns: i64) -> Result<Timing, SourceError> {
    let mut pass = |sink: &mut Sink<'_>| {
        sink(&weave.stamps);
        Ok(())
    };
    let stamps = Stamps { unit_ns: 1, precision_ns, layout: Layout::Blocks(&weave.blocks), pass: &mut pass };
    work_out(Statements {
        rows: weave.rows,
        declared_rate: Some(rate),
        start_ns: weave.stamps.first().copied(),
        end_ns: None,
        lost_together: 1,
        stamps: (weave.stamps.len() > 1).then_some(stamps),
    })
    .map_err(|error| error.into_source(|why| unusable(path, why)))
}

/// Reads the head of every record.
fn walk(path: &Path, file: &File) -> Result<Walk, SourceError> {
    let size = file.metadata().map_err(|e| io_error(path, "stat", e))?.len();
    let mut walk = Walk::default();
    let (mut at, mut bytes) = (0, [0; HEAD]);
    while at < size {
        if walk.records.len() == MAX_RECORDS {
            walk.notes.push(Finding::warning(format!("more than {MAX_RECORDS} records: what follows is not read")));
            break;
        }
        let here = &mut bytes[..HEAD.min((size - at) as usize)];
        file.read_exact_at(here, at).map_err(|e| io_error(path, "read a record", e))?;
        let Some(head) = mseed_head::read(here) else {
            walk.skipped += STEP.min(size - at);
            if walk.skipped > MAX_SKIPPED {
                walk.notes.push(Finding::warning(format!("no record up to byte {at}: what follows is not read")));
                break;
            }
            at += STEP;
            continue;
        };
        if u64::from(head.bytes) > size - at {
            walk.notes.push(Finding::warning(format!(
                "cut off within the record at byte {at} (a file that is being written, or whose recorder died)"
            )));
            break;
        }
        walk.take(&head, at).map_err(|why| unusable(path, format!("record at byte {at}: {why}")))?;
        at += u64::from(head.bytes);
    }
    Ok(walk)
}

impl Walk {
    fn take(&mut self, head: &Head, at: u64) -> Result<(), String> {
        if !head.is_series() {
            self.without_series += 1;
            return Ok(());
        }
        let head_coding = head.coding.map_err(|code| format!("samples as {}, which are not read", name_of(code)))?;
        let Some(rate) = head.rate else { return Ok(()) };
        // No coding has more than two samples a byte: Steim-2 has seven in four.
        if u64::from(head.samples) > 2 * u64::from(head.data_bytes) || !(1e-3..=1e6).contains(&rate.to_f64()) {
            let (samples, bytes) = (head.samples, head.data_bytes);
            return Err(format!("{samples} samples at {rate} Hz in {bytes} bytes make no sense"));
        }
        match &self.rate {
            None => {
                self.rate = Some((rate, head.id.clone()));
                self.version = head.version;
            }
            Some((first, id)) if *first != rate => {
                return Err(format!(
                    "{} has {rate} Hz, {id} has {first} Hz; all channels of a fiber have one rate",
                    head.id
                ));
            }
            Some(_) => {}
        }
        let next = self.ids.len();
        let channel = match self.ids.get(&head.id) {
            Some(&channel) => channel,
            None if next == MAX_CHANNELS => return Err(format!("more than {MAX_CHANNELS} channels")),
            None => *self.ids.entry(head.id.clone()).or_insert(next as u32),
        };
        let known = self.codings.iter().position(|known| *known == head_coding);
        let coding = known.unwrap_or(self.codings.len());
        if known.is_none() {
            self.codings.push(head_coding);
        }
        self.precision_ns = self.precision_ns.max(head.precision_ns);
        self.most_samples = self.most_samples.max(head.samples);
        self.records.push(Record {
            at: at + u64::from(head.data_at),
            bytes: head.data_bytes.min(MAX_RECORD),
            channel,
            start_ns: head.start_ns,
            samples: head.samples,
            coding: coding as u8,
        });
        Ok(())
    }

    /// Numbers channels in the order of their names, and returns these.
    fn order_channels(&mut self) -> Vec<String> {
        let mut names: Vec<(String, u32)> = self.ids.drain().collect();
        names.sort_by_cached_key(|(name, _)| natural(name));
        let mut numbers = vec![0; names.len()];
        for ((_, was), is) in names.iter().zip(0..) {
            numbers[*was as usize] = is;
        }
        self.records.iter_mut().for_each(|record| record.channel = numbers[record.channel as usize]);
        names.into_iter().map(|(name, _)| name).collect()
    }

    fn tell(&mut self, names: &[String], weave: &Weave) {
        self.notes.push(Finding::note("distances are not known: channels are put 1 m apart"));
        let mut tell = |count: u64, text: String| self.notes.extend((count > 0).then(|| Finding::warning(text)));
        tell(self.skipped, format!("{} bytes are no records: they are not read", self.skipped));
        tell(self.without_series, format!("{} records without samples: they are not read", self.without_series));
        tell(weave.twice, format!("{} samples are there twice: those of the first record count", weave.twice));
        let most = names.get(weave.most_alone).map_or("", String::as_str);
        tell(
            weave.alone,
            format!(
                "{} samples are of times at which not all channels have some: not read (most of {most})",
                weave.alone
            ),
        );
    }
}

/// A key by which numbers in names count as numbers: `S9` comes before `S10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let is_digit = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let part = |part: &[u8]| {
        let text = String::from_utf8_lossy(part).into_owned();
        (text.parse().unwrap_or(u64::MAX), text)
    };
    name.as_bytes().chunk_by(is_digit).map(part).collect()
}

impl Series {
    /// Bytes of a sample as it is handed on.
    const fn size(&self) -> usize {
        if self.wide { size_of::<f64>() } else { self.format.bytes() }
    }

    /// Puts one channel's samples of the traces from `number` on into its column of `rows` rows. Damage: from which row
    /// on, up to which, and what.
    fn column(
        &mut self,
        channel: usize,
        number: i64,
        rows: usize,
        out: &mut [u8],
    ) -> Result<Option<(i64, i64, String)>, RowsError> {
        let (end, channels, size) = (number + rows as i64, self.weave.spans.len(), self.size());
        let spans = &self.weave.spans[channel];
        let first = spans.partition_point(|span| span.to <= number);
        for span in spans[first..].iter().take_while(|span| span.from < end) {
            let record = self.weave.records[span.record as usize];
            self.bytes.resize(record.bytes as usize, 0);
            self.file
                .read_exact_at(&mut self.bytes, record.at)
                .map_err(|e| io_error(&self.path, "read a record", e))?;
            let coding = self.codings[usize::from(record.coding)];
            if let Err(why) = coding.decode(&self.bytes, record.samples, &mut self.values) {
                let why = format!("record with samples at byte {}: {why}", record.at);
                return Ok(Some((span.from, span.to, why)));
            }
            let (from, to) = (span.from.max(number), span.to.min(end));
            let skipped = (from - span.from) as usize + span.skip as usize;
            for (value, row) in self.values[skipped..].iter().zip((from - number) as usize..(to - number) as usize) {
                let at = (row * channels + channel) * size;
                match self.format {
                    SampleFormat::I16 => out[at..at + size].copy_from_slice(&(*value as i16).to_ne_bytes()),
                    _ if self.wide => out[at..at + size].copy_from_slice(&value.to_ne_bytes()),
                    _ => out[at..at + size].copy_from_slice(&(*value as f32).to_ne_bytes()),
                }
            }
        }
        Ok(None)
    }

    /// As many of the rows from `first` on as lie in one stretch, appended; how many these are.
    fn append(&mut self, first: u64, most: u64, out: &mut Vec<u8>) -> Result<u64, RowsError> {
        let at = self.weave.stretches.partition_point(|stretch| stretch.row <= first).saturating_sub(1);
        let stretch = self.weave.stretches[at];
        let number = stretch.from + (first - stretch.row) as i64;
        let rows = most.min((stretch.to - number) as u64) as usize;
        let (before, row_bytes) = (out.len(), self.weave.spans.len() * self.size());
        out.resize(before + rows * row_bytes, 0);
        let mut good = rows;
        let mut damage = None;
        for channel in 0..self.weave.spans.len() {
            if let Some((from, to, why)) = self.column(channel, number, good, &mut out[before..])? {
                good = usize::try_from(from - number).unwrap_or(0);
                damage = Some((first + (to.min(stretch.to) - number) as u64, why));
                if good == 0 {
                    break;
                }
            }
        }
        out.truncate(before + good * row_bytes);
        match damage {
            Some((good_from, why)) if out.is_empty() => Err(RowsError::Damaged { good_from, why }),
            Some(_) => Ok(0),
            None => Ok(rows as u64),
        }
    }
}

impl Rows for Series {
    fn read(&mut self, first: u64, rows: usize, out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.clear();
        let (mut row, end) = (first, first + rows as u64);
        while row < end {
            match self.append(row, end - row, out)? {
                0 => return Ok(()),
                count => row += count,
            }
        }
        Ok(())
    }

    fn is_wide(&self) -> bool {
        self.wide
    }
}
