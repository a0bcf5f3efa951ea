//! Febus A1 HDF5: `<instrument>/Source1/Zone1/<name>`, blocks `[block][time][channel]` that overlap their neighbours.
//!
//! **Which rows count.** A block covers more time than passes until the next one; half of the surplus is cut at each side,
//! so that each trace comes exactly once ([`febus_blocks`](super::febus_blocks)). The outer halves of the first and last
//! block are cut too.
//!
//! **When is the first sample?** Three known readers disagree. Here a block's time stamp plus `Origin[1]` (milliseconds)
//! is the time of the block's first *stored* row, so the first row that counts comes later by the rows cut before it. It
//! is DASCore's reading, and the only one of the three that uses what the file itself says (`Origin`); xdas puts the
//! stamp at the middle of the block, others take it for the first row that counts.

use std::ops::Range;
use std::sync::Arc;

use super::capture::Capture;
use super::febus_blocks::{Said, kept_rows};
use super::h5::{Attrs, H5, Samples};
use super::h5rows::Blocks;
use super::stamp_column::DOUBLE_NS;
use super::timing::{Layout, NO_STAMP, Sink, Stamps, Statements, Timing, from_float_seconds, work_out};
use super::words::{is_series, quantity};
use crate::acquisition::{Acquisition, ClockQuality, SourceKind};
use crate::source::{Finding, SourceError};
use crate::units::Rational;

/// Bytes of one block at most: it is read whole.
const MAX_BLOCK: u64 = 256 << 20;

/// Where the samples are.
struct Zone {
    source: String,
    group: String,
    dataset: String,
}

/// Whether the file has the shape of Febus.
pub(super) fn is_it(file: &H5) -> Result<bool, SourceError> {
    Ok(!zones(file)?.is_empty())
}

/// The zones with samples.
fn zones(file: &H5) -> Result<Vec<Zone>, SourceError> {
    let mut found = Vec::new();
    for instrument in file.groups("")? {
        for source in file.groups(&instrument)?.iter().filter(|name| name.starts_with("Source")) {
            let source = format!("{instrument}/{source}");
            for zone in file.groups(&source)? {
                let group = format!("{source}/{zone}");
                if let Some(dataset) = file.datasets(&group)?.first() {
                    found.push(Zone { source: source.clone(), dataset: format!("{group}/{dataset}"), group });
                }
            }
        }
    }
    Ok(found)
}

/// Opens the samples of every zone.
pub(super) fn open(file: &H5) -> Result<Capture, SourceError> {
    let pieces = zones(file)?.into_iter().map(|zone| {
        let opened = open_zone(file, &zone);
        (zone.group, opened)
    });
    Capture::of_pieces(pieces).unwrap_or_else(|| Err(file.unusable("Febus without a zone with samples")))
}

fn open_zone(file: &H5, zone: &Zone) -> Result<Capture, SourceError> {
    let missing = |what: &str| file.unusable(format!("Febus without {what}"));
    let attrs = file.group_attrs(&zone.group)?.ok_or_else(|| missing("attributes of its zone"))?;
    let name = zone.dataset.rsplit('/').next().unwrap_or_default();
    let unit = unit_in(name);
    is_series(&unit, name).map_err(|why| file.unusable(format!("{}: {why}", zone.dataset)))?;
    let samples = file.samples(&zone.dataset)?.ok_or_else(|| missing(&zone.dataset))?;
    let [blocks, block_rows, channels] = samples.shape[..] else {
        return Err(file.unusable(format!(
            "{} has the shape {:?}; it should be [block][time][channel]",
            zone.dataset, samples.shape
        )));
    };
    if samples.row_values().saturating_mul(4) > MAX_BLOCK {
        return Err(file.unusable(format!("a block of {block_rows} times {channels} samples is too big")));
    }
    let stamps = file.numbers(&format!("{}/time", zone.source))?.ok_or_else(|| missing("Source1/time"))?;
    if (stamps.len() as u64) < blocks || blocks == 0 {
        return Err(file.unusable(format!("{} times for {blocks} blocks", stamps.len())));
    }
    let mut notes = Vec::new();
    let grid = grid(file, &attrs, &samples, &stamps[..blocks as usize], &mut notes)?;
    let (spacing, origin, extent) = (attrs.numbers("Spacing"), attrs.numbers("Origin"), attrs.numbers("Extent"));
    let dx_m = *spacing.first().ok_or_else(|| missing("Spacing"))?;
    let first = |values: &[f64]| values.first().copied().unwrap_or(0.0);
    let kept = grid.keep.end - grid.keep.start;
    let (slab_rows, format) = (kept as usize, samples.format);
    let timing = timing(file, &stamps[..blocks as usize], &grid, first(origin.get(1..).unwrap_or(&[])))?;
    notes.extend(timing.notes());
    let quantity = quantity("", name);
    let acquisition = Acquisition {
        epoch: 0,
        prr: timing.rate,
        channels: channels as usize,
        dx_m,
        fiber_start_m: first(&extent) * dx_m + first(&origin),
        regions: Arc::default(),
        gauge_length_m: attrs.number("GaugeLength"),
        wavelength_m: None,
        refractive_index: None,
        sample_format: format,
        quantity,
        scale: 1.0,
        levels: Arc::default(),
        unit,
        band: None,
        clock: ClockQuality::FreeRunning,
        description: attrs.text("Hostname").unwrap_or_default(),
        source: SourceKind::Replay,
    };
    Ok(Capture {
        piece: String::new(),
        further: Vec::new(),
        format: format!("Febus HDF5, version {}", attrs.text("Version").unwrap_or_else(|| "1".into())),
        acquisition,
        total_rows: timing.rows,
        anchors: timing.anchors(),
        // Stamps are taken by the computer: they scatter within a block.
        jitter_ns: timing.jitter_ns.max(timing.rate.traces_to_ns(kept) as u64 / 2),
        rate_is_measured: timing.rate_is_measured,
        slab_rows,
        notes,
        checksummed: false,
        rows: Box::new(Blocks::new(samples, grid.keep)),
    })
}

/// What a block is.
struct Grid {
    prr: Rational,
    /// Rows of a block that count.
    keep: Range<u64>,
}

fn grid(
    file: &H5,
    attrs: &Attrs,
    samples: &Samples,
    stamps: &[f64],
    notes: &mut Vec<Finding>,
) -> Result<Grid, SourceError> {
    let block_rows = samples.shape.get(1).copied().unwrap_or(0);
    let extent = attrs.numbers("Extent");
    let versioned = attrs.has("Version");
    // Files without a version have wrong extents, and files before 2021 a SamplingRate that is a placeholder.
    let sampling = attrs.number("SamplingRate").filter(|&rate| !versioned && rate > 0.0 && rate < 1e8);
    let spacing_ms = attrs.numbers("Spacing").get(1).copied().filter(|&ms| ms > 0.0);
    let dt = sampling
        .map(f64::recip)
        .or(spacing_ms.map(|ms| ms / 1000.0))
        .ok_or_else(|| file.unusable("Febus without Spacing[1], the time between samples"))?;
    let block_rate_mhz = attrs.number("BlockRate").or_else(|| attrs.number("FreqRes")).filter(|&rate| rate > 0.0);
    let padded = match extent[..] {
        [_, _, first, last, ..] if versioned && last > first => {
            ((last - first) as u64).saturating_add(1).min(block_rows)
        }
        _ => block_rows,
    };
    let said = Said {
        padded,
        edges_cut: extent.get(2).is_some_and(|&first| first != 0.0),
        by_stamps: median_step(stamps).map(|step| step / dt),
        by_rate: block_rate_mhz.map(|rate| 1000.0 / rate / dt),
        overlap: attrs.number("Overlap").or_else(|| attrs.number("BlockOverlap")).filter(|&percent| percent >= 0.0),
    };
    let (keep, note) = kept_rows(samples, &said)?;
    notes.extend(note.map(Finding::warning));
    // Whole rows a block times blocks a second is exact where the spacing is a rounded decimal.
    let counted = keep.end - keep.start;
    let exact =
        block_rate_mhz.and_then(Rational::from_f64).and_then(|mhz| mhz.checked_mul(Rational::new(counted, 1000)?));
    let prr = exact
        .filter(|prr| (prr.to_f64() * dt - 1.0).abs() < 1e-3)
        .or_else(|| Rational::from_f64(dt).map(Rational::recip))
        .ok_or_else(|| file.unusable(format!("{dt} s between samples")))?;
    Ok(Grid { prr, keep })
}

/// Seconds from block to block; lost blocks and single wrong stamps do not count.
fn median_step(stamps: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0).collect();
    let middle = steps.len().checked_sub(1)? / 2;
    Some(*steps.select_nth_unstable_by(middle, f64::total_cmp).1).filter(|step| step.is_finite())
}

/// Blocks follow each other by the rate and are lost whole.
fn timing(file: &H5, stamps: &[f64], grid: &Grid, origin_ms: f64) -> Result<Timing, SourceError> {
    let kept = grid.keep.end - grid.keep.start;
    let offset_ns = ((origin_ms * 1e6).round() as i64).saturating_add(grid.prr.traces_to_ns(grid.keep.start));
    let first_row = |&stamp: &f64| match from_float_seconds(stamp) {
        NO_STAMP => NO_STAMP,
        ns => ns.saturating_add(offset_ns).max(NO_STAMP),
    };
    let stamps: Vec<i64> = stamps.iter().map(first_row).collect();
    let mut pass = |sink: &mut Sink<'_>| {
        sink(&stamps);
        Ok(())
    };
    let rows = (stamps.len() as u64).checked_mul(kept).ok_or_else(|| file.unusable("more rows than can be counted"))?;
    work_out(Statements {
        rows,
        declared_rate: Some(grid.prr),
        start_ns: None,
        end_ns: None,
        lost_together: kept,
        stamps: Some(Stamps { unit_ns: 1, precision_ns: DOUBLE_NS, layout: Layout::Every(kept), pass: &mut pass }),
    })
    .map_err(|error| error.into_source(|why| file.unusable(why)))
}

/// Newer files write the unit into the name of the dataset: `PSD [dB re 1 nStrain|sqrt(Hz)]`, with `|` for `/`. Strain
/// rate without one is in nanostrain per second.
fn unit_in(name: &str) -> String {
    if let Some((_, rest)) = name.split_once('[') {
        return rest.trim_end_matches(']').replace('|', "/");
    }
    match name {
        "StrainRate" => "nstrain/s".into(),
        "Strain" => "nstrain".into(),
        _ => String::new(),
    }
}
