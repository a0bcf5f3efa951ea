//! What `fiberd info` says about a capture: everything that is known, after reading all of it once.

use std::fmt;
use std::path::{Path, PathBuf};

use super::capture::{self, Capture, RowsError};
use super::pieces::in_turn;
use super::playlist::Playlist;
use super::times::ns_to_iso;
use super::vendors;
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

pub(super) fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// What is in a capture. Serialises to the JSON of `fiberd info --json`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Info {
    /// The file. What is no UTF-8 in its name is replaced in JSON, which knows nothing else.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Format and version.
    pub format: String,
    /// Traces in the file.
    pub traces: u64,
    /// Channels.
    pub channels: usize,
    /// How samples are handed on: `int16`, `float32` or `iq16`.
    pub dtype: String,
    /// Traces a second.
    pub prr_hz: f64,
    /// The same, exact: numerator and denominator.
    pub prr_exact: [u64; 2],
    /// Metres from one channel to the next.
    pub dx_m: f64,
    /// Distance of the first channel.
    pub distance_start_m: f64,
    /// Distance of the last channel.
    pub distance_end_m: f64,
    /// Gauge length, when known.
    pub gauge_length_m: Option<f64>,
    /// Laser wavelength, when known.
    pub wavelength_m: Option<f64>,
    /// Refractive index of the fiber, when known.
    pub refractive_index: Option<f64>,
    /// Generation of the acquisition.
    pub epoch: u64,
    /// UTC of the first trace, ISO 8601.
    pub start_utc: String,
    /// UTC of the first trace in nanoseconds since the UNIX epoch.
    pub start_utc_ns: i64,
    /// UTC of the last trace, ISO 8601.
    pub end_utc: String,
    /// UTC of the last trace in nanoseconds since the UNIX epoch.
    pub end_utc_ns: i64,
    /// Seconds from the first trace to one period after the last.
    pub duration_s: f64,
    /// What a sample measures.
    pub quantity: String,
    /// Unit of a scaled sample; empty when not known.
    pub unit: String,
    /// Physical value of one count.
    pub scale: f64,
    /// Trust in the times.
    pub clock: String,
    /// Free text about the fiber.
    pub description: String,
    /// Where traces are missing.
    pub gaps: Vec<Gap>,
    /// How many are missing.
    pub gap_traces: u64,
    /// Traces that cannot be read because they are damaged.
    pub damaged_traces: u64,
    /// Whether the file's checksums hold: `verified`, `damaged`, or `none in this format`.
    pub checksums: String,
    /// Smallest, largest and root-mean-square sample in counts (before the scale); of both parts of a complex one.
    pub samples: Samples,
    /// What is odd about the file.
    pub notes: Vec<String>,
}

/// Missing traces.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// Row of the file that comes after it.
    pub before_row: u64,
    /// Traces missing.
    pub traces: u64,
    /// UTC of the row after it, ISO 8601.
    pub until_utc: String,
}

/// Statistics of all samples.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Samples {
    /// Smallest finite sample.
    pub min: Option<f64>,
    /// Largest finite sample.
    pub max: Option<f64>,
    /// Root of the mean square of the finite samples.
    pub rms: Option<f64>,
    /// Samples that are infinite or not a number.
    pub not_finite: u64,
}

#[derive(Default)]
struct Sums {
    min: f64,
    max: f64,
    squares: f64,
    finite: u64,
    not_finite: u64,
}

/// Reads the whole of a capture, checksums included, and says what is in it.
///
/// # Errors
/// When the file cannot be read, is of no known format or contradicts itself. Damage to samples is not an error: it is
/// in the answer.
pub fn describe(path: &Path) -> Result<Info, SourceError> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    let (mut pieces, mut notes) = in_turn(vendors::open_all(path)?, &name);
    let (mut sums, mut traces, mut damaged_traces) = (Sums::default(), 0, 0);
    for (_, piece) in &mut pieces {
        damaged_traces += read_all(piece, &mut sums)?;
        traces += piece.total_rows;
        notes.append(&mut piece.notes);
    }
    let (Some((_, capture)), Some((_, last_piece))) = (pieces.first(), pieces.last()) else {
        return Err(capture::unusable(path, "there is nothing in it"));
    };
    let gaps = gaps(path)?;
    let a = &capture.acquisition;
    let bytes = std::fs::metadata(vendors::file_of(path)).map_err(|e| capture::io_error(path, "stat", e))?.len();
    let last = last_piece.anchors.last().copied().unwrap_or(last_piece.anchors[0]);
    let time_of = |row: u64| last.utc_ns.saturating_add(last_piece.acquisition.prr.traces_to_ns(row - last.row));
    let (start_ns, end_ns) = (capture.anchors[0].utc_ns, time_of(last_piece.total_rows - 1));
    let checksums = match (capture.checksummed, damaged_traces) {
        (false, _) => "none in this format",
        (true, 0) => "verified",
        (true, _) => "damaged",
    };
    Ok(Info {
        path: path.to_owned(),
        bytes,
        format: capture.format.clone(),
        traces,
        channels: a.channels,
        dtype: a.sample_format.dtype().into(),
        prr_hz: a.prr.to_f64(),
        prr_exact: [a.prr.num(), a.prr.den()],
        dx_m: a.dx_m,
        distance_start_m: a.fiber_start_m,
        distance_end_m: a.distance_m(a.channels - 1),
        gauge_length_m: a.gauge_length_m,
        wavelength_m: a.wavelength_m,
        refractive_index: a.refractive_index,
        epoch: a.epoch,
        start_utc: ns_to_iso(start_ns),
        start_utc_ns: start_ns,
        end_utc: ns_to_iso(end_ns),
        end_utc_ns: end_ns,
        duration_s: (time_of(last_piece.total_rows) - start_ns) as f64 / 1e9,
        quantity: a.quantity.name().into(),
        unit: a.unit.clone(),
        scale: a.scale,
        clock: a.clock.name().into(),
        description: a.description.clone(),
        gap_traces: gaps.iter().fold(0, |sum, gap| sum.saturating_add(gap.traces)),
        gaps,
        damaged_traces,
        checksums: checksums.into(),
        samples: sums.finish(),
        notes,
    })
}

fn gaps(path: &Path) -> Result<Vec<Gap>, SourceError> {
    let playlist = Playlist::new(&[path.to_owned()])?;
    let parts = playlist.epochs.iter().flat_map(|epoch| &epoch.parts);
    let gaps = parts.filter(|part| part.gap_before > 0);
    Ok(gaps
        .map(|part| Gap {
            before_row: part.first_row,
            traces: part.gap_before,
            until_utc: ns_to_iso(part.anchors[0].utc_ns),
        })
        .collect())
}

/// Takes all samples in; says how many traces are damaged.
fn read_all(capture: &mut Capture, sums: &mut Sums) -> Result<u64, SourceError> {
    let row_bytes = capture.acquisition.channels * capture.acquisition.sample_format.bytes();
    let (mut bytes, mut row, mut damaged) = (Vec::new(), 0, 0);
    while row < capture.total_rows {
        let wanted = (capture.slab_rows as u64).min(capture.total_rows - row);
        match capture.rows.read(row, wanted as usize, &mut bytes) {
            Ok(()) => {
                sums.add(&bytes, capture.acquisition.sample_format);
                row += ((bytes.len() / row_bytes) as u64).max(1);
            }
            Err(RowsError::Damaged { good_from, why }) => {
                let next = good_from.clamp(row + 1, capture.total_rows);
                damaged += next - row;
                row = next;
                capture.notes.push(why);
            }
            Err(RowsError::Fatal(error)) => return Err(error),
        }
    }
    Ok(damaged)
}

impl Sums {
    fn add(&mut self, bytes: &[u8], format: SampleFormat) {
        match format {
            SampleFormat::I16 | SampleFormat::Iq16 => {
                bytes.as_chunks().0.iter().for_each(|&b| self.one(f64::from(i16::from_ne_bytes(b))));
            }
            SampleFormat::F32 => bytes.as_chunks().0.iter().for_each(|&b| self.one(f64::from(f32::from_ne_bytes(b)))),
        }
    }

    fn one(&mut self, value: f64) {
        if !value.is_finite() {
            self.not_finite += 1;
            return;
        }
        let first = self.finite == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.squares += value * value;
        self.finite += 1;
    }

    fn finish(self) -> Samples {
        let known = |value: f64| (self.finite > 0).then_some(value);
        Samples {
            min: known(self.min),
            max: known(self.max),
            rms: known((self.squares / self.finite as f64).sqrt()),
            not_finite: self.not_finite,
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |value: Option<f64>, unit: &str| value.map_or("not known".into(), |v| format!("{v} {unit}"));
        let unit = if self.unit.is_empty() { "unit not known" } else { &self.unit };
        writeln!(f, "{}", self.path.display())?;
        writeln!(f, "  format        {}, {} bytes", self.format, self.bytes)?;
        writeln!(f, "  shape         {} traces x {} channels, {}", self.traces, self.channels, self.dtype)?;
        writeln!(f, "  rate          {} Hz ({}/{})", self.prr_hz, self.prr_exact[0], self.prr_exact[1])?;
        writeln!(f, "  distances     {} m to {} m, dx {} m", self.distance_start_m, self.distance_end_m, self.dx_m)?;
        writeln!(f, "  gauge length  {}", known(self.gauge_length_m, "m"))?;
        writeln!(f, "  wavelength    {}", known(self.wavelength_m.map(|m| (m * 1e12).round() / 1e3), "nm"))?;
        writeln!(f, "  refr. index   {}", known(self.refractive_index, ""))?;
        writeln!(
            f,
            "  time          {} to {} ({} s, clock {})",
            self.start_utc, self.end_utc, self.duration_s, self.clock
        )?;
        writeln!(f, "  epoch         {}", self.epoch)?;
        writeln!(f, "  quantity      {}, one count is {} {unit}", self.quantity, self.scale)?;
        writeln!(f, "  samples       {}", self.samples)?;
        writeln!(f, "  gaps          {} ({} traces)", self.gaps.len(), self.gap_traces)?;
        for gap in self.gaps.iter().take(20) {
            writeln!(
                f,
                "                {} traces before row {}, until {}",
                gap.traces, gap.before_row, gap.until_utc
            )?;
        }
        if self.gaps.len() > 20 {
            writeln!(f, "                and {} more", self.gaps.len() - 20)?;
        }
        write!(f, "  checksums     {}", self.checksums)?;
        if self.damaged_traces > 0 {
            write!(f, ": {} traces are lost", self.damaged_traces)?;
        }
        if !self.description.is_empty() {
            write!(f, "\n  description   {}", self.description)?;
        }
        for note in &self.notes {
            write!(f, "\n  note          {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max, self.rms) {
            (Some(min), Some(max), Some(rms)) => write!(f, "min {min}, max {max}, rms {rms:.6e}")?,
            _ => write!(f, "none is a number")?,
        }
        if self.not_finite > 0 { write!(f, ", {} not finite", self.not_finite) } else { Ok(()) }
    }
}
