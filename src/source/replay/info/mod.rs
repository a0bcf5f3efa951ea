//! What `fiberd info` says about a capture, and what it thinks of it: metadata, stretches and gaps, level and noise of the
//! samples, and a verdict.

mod channels;
mod noise;
mod numbers;
mod overview;
mod survey;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use channels::{ChannelSet, Spread};
pub use noise::NoiseFloor;
pub use overview::{Extent, Gatherer, Overview};
pub(crate) use survey::decode;

use self::numbers::{grouped, rounded, rounded_if_known};
use self::survey::Survey;
use super::capture::{self, Capture};
use super::pieces::{OtherPiece, in_turn, joined};
use super::playlist::{Epoch, Part, Playlist};
use super::times::ns_to_iso;
use super::vendors;
use crate::acquisition::Band;
use crate::source::{Finding, Severity, SourceError};

/// Cells of a picture, in time and along the fiber, at most.
pub const PICTURE_CELLS: (usize, usize) = (600, 1000);

/// How much of the samples is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// None of them: what the file says of itself.
    Metadata,
    /// All of a small file, windows spread evenly over a large one.
    Sample,
    /// All of them, checksums included.
    Whole,
}

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
    /// Traces in the file; of its first acquisition, when there are [others](Self::other_pieces).
    pub traces: u64,
    /// Channels.
    pub channels: usize,
    /// How samples are handed on: `int16`, `float32` or `iq16`.
    pub dtype: String,
    /// Traces a second.
    #[serde(serialize_with = "rounded")]
    pub prr_hz: f64,
    /// The same, exact: numerator and denominator.
    pub prr_exact: [u64; 2],
    /// Metres from one channel to the next.
    #[serde(serialize_with = "rounded")]
    pub dx_m: f64,
    /// Distance of the first channel.
    #[serde(serialize_with = "rounded")]
    pub distance_start_m: f64,
    /// Distance of the last channel.
    #[serde(serialize_with = "rounded")]
    pub distance_end_m: f64,
    /// Gauge length, when known.
    #[serde(serialize_with = "rounded_if_known")]
    pub gauge_length_m: Option<f64>,
    /// Laser wavelength, when known.
    #[serde(serialize_with = "rounded_if_known")]
    pub wavelength_m: Option<f64>,
    /// Refractive index of the fiber, when known.
    #[serde(serialize_with = "rounded_if_known")]
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
    #[serde(serialize_with = "rounded")]
    pub duration_s: f64,
    /// What a sample measures.
    pub quantity: String,
    /// Unit of a scaled sample; empty when not known.
    pub unit: String,
    /// The band, where traces are lines of band energy.
    pub band: Option<Band>,
    /// Physical value of one count.
    #[serde(serialize_with = "rounded")]
    pub scale: f64,
    /// Trust in the times.
    pub clock: String,
    /// Free text about the fiber.
    pub description: String,
    /// Pieces of the file that are other acquisitions, of another layout or rate, which follow in time.
    pub other_pieces: Vec<OtherPiece>,
    /// Stretches of traces without a gap.
    pub segments: Vec<Segment>,
    /// Where traces are missing.
    pub gaps: Vec<Gap>,
    /// How many are missing.
    pub gap_traces: u64,
    /// Traces that cannot be read because they are damaged, of those that were looked at.
    pub damaged_traces: u64,
    /// Whether the file's checksums hold: `verified`, `verified in a sample`, `damaged`, `not looked at`, or
    /// `none in this format`.
    pub checksums: String,
    /// Smallest, largest and root-mean-square sample in counts (before the scale); of both parts of a complex one. Of the
    /// traces that were looked at.
    pub samples: Samples,
    /// Level and noise, in the unit of a scaled sample; `null` when no samples were looked at.
    pub statistics: Option<Statistics>,
    /// The worst of the findings: `ok`, `note`, `warning` or `damaged`.
    pub verdict: Severity,
    /// What is odd about the file, its times and its samples.
    pub findings: Vec<Finding>,
    /// The texts of those findings that stand in the file itself, as programs read them before there was a severity.
    pub notes: Vec<String>,
}

/// Traces that follow each other without a gap, within one acquisition.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Segment {
    /// Row of the file with which it begins.
    pub first_row: u64,
    /// Its traces.
    pub traces: u64,
    /// UTC of its first trace, ISO 8601.
    pub start_utc: String,
    /// UTC of its last trace, ISO 8601.
    pub end_utc: String,
    /// Traces missing before it.
    pub gap_before: u64,
    /// Whether a new acquisition begins with it: the time went back.
    pub new_acquisition: bool,
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

/// Figures of all samples that were looked at.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Samples {
    /// Smallest finite sample.
    #[serde(serialize_with = "rounded_if_known")]
    pub min: Option<f64>,
    /// Largest finite sample.
    #[serde(serialize_with = "rounded_if_known")]
    pub max: Option<f64>,
    /// Root of the mean square of the finite samples.
    #[serde(serialize_with = "rounded_if_known")]
    pub rms: Option<f64>,
    /// Samples that are infinite or not a number.
    pub not_finite: u64,
}

/// Level and noise of the samples, in the unit of a scaled sample.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Statistics {
    /// Traces that were looked at; all of them unless the file is large.
    pub traces: u64,
    /// Whether those are not all.
    pub sampled: bool,
    /// RMS of each channel about its mean; of a complex sample's magnitude. `null` when no sample is a number.
    pub rms: Option<Spread>,
    /// Greatest distance of a sample from the mean of its channel.
    pub peak: Option<Spread>,
    /// Channels whose samples are all the same, or none a number.
    pub dead_channels: ChannelSet,
    /// Channels with samples at the limit of the type; `null` for floats, which have no such limit.
    pub clipped_channels: Option<ChannelSet>,
    /// Samples that are infinite or not a number.
    pub not_finite: u64,
    /// `null` for complex samples and for fewer than 64 traces in a row.
    pub noise_floor: Option<NoiseFloor>,
}

/// Reads the whole of a capture, checksums included, and says what is in it.
///
/// # Errors
/// When the file cannot be read, is of no known format or contradicts itself. Damage to samples is not an error: it is
/// in the answer.
pub fn describe(path: &Path) -> Result<Info, SourceError> {
    Ok(look(path, Depth::Whole, false, &mut |_| {})?.0)
}

/// Says what is in a capture, and makes a picture of it if that is wanted; as much is read as `depth` says. `progress` is
/// told now and then which share of that is done.
///
/// # Errors
/// As [`describe`].
pub fn look(
    path: &Path,
    depth: Depth,
    pictured: bool,
    progress: &mut dyn FnMut(f64),
) -> Result<(Info, Option<Overview>), SourceError> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    let (played, left_out) = in_turn(vendors::open_all(path)?, &name);
    let (mut capture, other_pieces) =
        joined(played).ok_or_else(|| capture::unusable(path, "there is nothing in it"))?;
    capture.notes.extend(left_out);
    let playlist = Playlist::of(path, &capture)?;
    let parts: Vec<(&Epoch, &Part)> =
        playlist.epochs.iter().flat_map(|epoch| epoch.parts.iter().map(move |part| (epoch, part))).collect();
    let windows = survey::windows(&capture, &parts, depth, pictured);
    let mut gatherer = (pictured && !windows.is_empty())
        .then(|| Gatherer::new(extent(&capture, &parts), PICTURE_CELLS.0, PICTURE_CELLS.1));
    let survey = survey::survey(&mut capture, &parts, &windows, gatherer.as_mut(), progress)?;
    let picture = gatherer.map(|gatherer| {
        let mut picture = gatherer.finish();
        if survey.traces < capture.total_rows {
            picture.fill_between_samples();
        }
        picture
    });
    Ok((Info { other_pieces, ..info(path, capture, &parts, survey)? }, picture))
}

fn extent(capture: &Capture, parts: &[(&Epoch, &Part)]) -> Extent {
    let stretch = |(epoch, part): &(&Epoch, &Part)| {
        let at = |row| part.utc_ns(&epoch.acquisition, row);
        (at(part.first_row), at(part.first_row + part.rows))
    };
    Extent {
        acquisition: Arc::new(capture.acquisition.clone()),
        first_channel: 0,
        channels: capture.acquisition.channels,
        traces: capture.total_rows,
        stretches: parts.iter().map(stretch).collect(),
    }
}

fn info(path: &Path, capture: Capture, parts: &[(&Epoch, &Part)], survey: Survey) -> Result<Info, SourceError> {
    let a = &capture.acquisition;
    let bytes = std::fs::metadata(vendors::file_of(path)).map_err(|e| capture::io_error(path, "stat", e))?.len();
    let last = capture.anchors.last().copied().unwrap_or(capture.anchors[0]);
    let time_of = |row: u64| last.utc_ns.saturating_add(a.prr.traces_to_ns(row - last.row));
    let (start_ns, end_ns) = (capture.anchors[0].utc_ns, time_of(capture.total_rows - 1));
    let segments = segments(parts);
    let gaps: Vec<Gap> = segments.iter().filter(|segment| segment.gap_before > 0).map(gap).collect();
    let statistics = (survey.traces > 0).then(|| statistics(&capture, &survey));
    let mut findings = capture.notes.clone();
    findings.extend(survey.findings);
    let notes = findings.iter().map(|finding| finding.text.clone()).collect();
    findings.extend(of_gaps(&gaps));
    findings.extend(statistics.iter().flat_map(|statistics| of_samples(statistics, a.channels)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let checksums = match (capture.checksummed, survey.damaged) {
        (false, _) => "none in this format",
        (true, 1..) => "damaged",
        (true, 0) if survey.traces == 0 => "not looked at",
        (true, 0) if survey.traces < capture.total_rows => "verified in a sample",
        (true, 0) => "verified",
    };
    Ok(Info {
        path: path.to_owned(),
        bytes,
        format: capture.format,
        traces: capture.total_rows,
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
        // Damaged times may lie at both ends of what there is.
        duration_s: (i128::from(time_of(capture.total_rows)) - i128::from(start_ns)) as f64 / 1e9,
        quantity: a.quantity.name().into(),
        unit: a.unit.clone(),
        band: a.band,
        scale: a.scale,
        clock: a.clock.name().into(),
        description: a.description.clone(),
        other_pieces: Vec::new(),
        segments,
        gap_traces: gaps.iter().fold(0, |sum, gap| sum.saturating_add(gap.traces)),
        gaps,
        damaged_traces: survey.damaged,
        checksums: checksums.into(),
        samples: survey.samples,
        statistics,
        verdict: Severity::worst(&findings),
        findings,
        notes,
    })
}

fn segments(parts: &[(&Epoch, &Part)]) -> Vec<Segment> {
    let segment = |(number, (epoch, part)): (usize, &(&Epoch, &Part))| {
        let utc = |row: u64| ns_to_iso(part.utc_ns(&epoch.acquisition, row));
        Segment {
            first_row: part.first_row,
            traces: part.rows,
            start_utc: utc(part.first_row),
            end_utc: utc(part.first_row + part.rows.saturating_sub(1)),
            gap_before: part.gap_before,
            new_acquisition: number > 0 && part.first_trace == 0,
        }
    };
    parts.iter().enumerate().map(segment).collect()
}

fn gap(segment: &Segment) -> Gap {
    Gap { before_row: segment.first_row, traces: segment.gap_before, until_utc: segment.start_utc.clone() }
}

fn statistics(capture: &Capture, survey: &Survey) -> Statistics {
    let a = &capture.acquisition;
    Statistics {
        traces: survey.traces,
        sampled: survey.traces < capture.total_rows,
        rms: survey.channels.rms(a.scale),
        peak: survey.channels.peak(a.scale),
        dead_channels: survey.channels.dead(),
        clipped_channels: survey.channels.clipped(),
        not_finite: survey.samples.not_finite,
        noise_floor: survey.noise.as_ref().and_then(|noise| noise.finish(a.prr.to_f64(), a.scale, &a.unit)),
    }
}

fn of_gaps(gaps: &[Gap]) -> Option<Finding> {
    let missing = gaps.iter().fold(0u64, |sum, gap| sum.saturating_add(gap.traces));
    let noun = if gaps.len() == 1 { "gap" } else { "gaps" };
    let lost =
        if missing == 1 { "1 trace is missing".into() } else { format!("{} traces are missing", grouped(missing)) };
    let text = format!("{} {noun}: {lost}", grouped(gaps.len() as u64));
    (!gaps.is_empty()).then(|| Finding::note(text))
}

/// What is odd about the samples.
fn of_samples(statistics: &Statistics, channels: usize) -> impl Iterator<Item = Finding> {
    let of_all = |set: &ChannelSet| {
        let which = if set.count == channels { String::new() } else { format!(" ({})", set.words(8)) };
        format!("{} of {} channels{which}", grouped(set.count as u64), grouped(channels as u64))
    };
    let dead = Some(&statistics.dead_channels).filter(|set| set.count > 0).map(|set| {
        let text = format!("{}: all samples are the same", of_all(set));
        if set.count == channels { Finding::warning(text) } else { Finding::note(text) }
    });
    let clipped = statistics.clipped_channels.as_ref().filter(|set| set.count > 0);
    let clipped = clipped.map(|set| Finding::warning(format!("{}: clipped at the limit of the type", of_all(set))));
    let not_finite = (statistics.not_finite > 0)
        .then(|| Finding::warning(format!("{} samples are infinite or not a number", grouped(statistics.not_finite))));
    [dead, clipped, not_finite].into_iter().flatten()
}
