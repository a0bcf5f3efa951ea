//! How Febus' blocks overlap: which rows of a block count.
//!
//! Statements may contradict each other, so the strongest evidence decides: the stamps of many blocks, then `BlockRate`, and
//! `BlockOverlap` last. Stamps scatter: near what they say, the same samples in two neighbouring blocks give the exact row.
//! Samples alone decide nothing, because a periodic signal is the same everywhere.

use std::ops::Range;

use super::capture::unusable;
use super::h5::Samples;
use crate::source::SourceError;

/// Pairs of neighbouring blocks that are compared at most.
const PAIRS: u64 = 2;
/// Blocks that share less than this part are not compared: a few equal rows are chance.
const SHARED: f64 = 0.1;
/// Stamps of blocks scatter by less than this part of the way from one to the next.
const SCATTER: f64 = 0.02;
/// Candidates that are compared as a whole at most: where more look alike at first, the samples decide nothing.
const COMPARED: usize = 8;

/// What the attributes and stamps say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// Rows that samples are expected in.
    pub(super) padded: u64,
    /// Whether the file says that its edges are cut.
    pub(super) edges_cut: bool,
    /// Rows from block to block by the median step of the stamps; needs two blocks.
    pub(super) by_stamps: Option<f64>,
    /// Rows from block to block by `BlockRate`.
    pub(super) by_rate: Option<f64>,
    /// `BlockOverlap` in percent.
    pub(super) overlap: Option<f64>,
}

impl Said {
    fn by_overlap(&self) -> Option<f64> {
        self.overlap.map(|percent| self.padded as f64 / (1.0 + percent / 100.0))
    }

    /// Rows from block to block as the attributes have them.
    fn by_attributes(&self) -> Option<f64> {
        let (first, second) =
            if self.edges_cut { (self.by_rate, self.by_overlap()) } else { (self.by_overlap(), self.by_rate) };
        first.or(second)
    }

    /// Rows from block to block without looking at samples, and what to say about it.
    fn decide(&self) -> (u64, Option<String>) {
        let padded = self.padded as f64;
        let attributes = self.by_attributes();
        let fits = |rows: f64| attributes.is_some_and(|said| (said - rows).abs() <= 0.5 + SCATTER * rows);
        // Stamps scatter: what the attributes say is exact, where the two agree.
        let best = match (self.by_stamps, self.by_rate) {
            (Some(rows), _) | (None, Some(rows)) if fits(rows) => attributes,
            (Some(rows), Some(rate)) if (rate - rows).abs() <= 0.5 + SCATTER * rows => Some(rate),
            (stamps, rate) => stamps.or(rate).or(attributes),
        };
        let rows = best.unwrap_or(padded);
        // Blocks that come later than they are long do not overlap: some are missing between them, or many.
        let rows = rows.min(padded).round() as u64;
        let said = attributes.map_or(0, |rows| rows.round() as u64);
        (rows, (self.overlap.is_some() && said != rows).then(|| contradiction(said, rows, "the times of the blocks")))
    }
}

fn contradiction(said: u64, rows: u64, by: &str) -> String {
    format!("the attributes make {said} rows of a block count, {by} {rows}: {rows} are read")
}

/// The rows of a block that count, and what to say about it.
///
/// # Errors
/// When samples cannot be read, or blocks are shorter than what passes from one to the next.
pub(super) fn kept_rows(samples: &Samples, said: &Said) -> Result<(Range<u64>, Option<String>), SourceError> {
    let too_long = |rows: Option<f64>| rows.is_some_and(|rows| rows.round() > said.padded as f64);
    if too_long(said.by_attributes()) && (said.by_stamps.is_none() || too_long(said.by_stamps)) {
        let rows = said.by_attributes().unwrap_or(0.0).round();
        let why = format!("a block has {} rows, but {rows} of them should count", said.padded);
        return Err(unusable(samples.path(), why));
    }
    let (decided, note) = said.decide();
    if decided == 0 {
        return Err(unusable(samples.path(), "none of the rows of a block should count"));
    }
    let step = step_of_samples(samples, said.padded, decided)?.unwrap_or(decided);
    let start = (said.padded - step) / 2;
    Ok((start..start + step, note))
}

/// Rows from block to block near `expected`, by samples that stand in both; `None` when no two blocks share any there.
fn step_of_samples(samples: &Samples, padded: u64, expected: u64) -> Result<Option<u64>, SourceError> {
    let blocks = samples.shape.first().copied().unwrap_or(0);
    let row_bytes = samples.shape.get(2).map_or(0, |&channels| channels as usize) * samples.bytes();
    if blocks < 2 || row_bytes == 0 || expected as f64 > (1.0 - SHARED) * padded as f64 {
        return Ok(None);
    }
    let mut found: Option<u64> = None;
    for pair in 0..PAIRS.min(blocks - 1) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let first = (blocks - 1) / PAIRS * pair;
        samples.append(first, 1, &mut a)?;
        samples.append(first + 1, 1, &mut b)?;
        let bytes = padded as usize * row_bytes;
        let (Some(a), Some(b)) = (a.get(..bytes), b.get(..bytes)) else { return Ok(None) };
        let Some(step) = shared(a, b, row_bytes, expected) else { return Ok(None) };
        if found.is_some_and(|before| before != step) {
            return Ok(None);
        }
        found = Some(step);
    }
    Ok(found)
}

/// The row of block `a` at which block `b` begins, the nearest to `expected` within the scatter of stamps.
fn shared(a: &[u8], b: &[u8], row_bytes: usize, expected: u64) -> Option<u64> {
    let (rows, expected) = (a.len() / row_bytes, expected as usize);
    // Rows that are all the same tell nothing: one that differs must be among those that are shared.
    let telling = first_other_row(b, row_bytes)?;
    let may_be = |step: usize| {
        step > 0 && step + telling < rows && nth_row(a, step + telling, row_bytes) == nth_row(b, telling, row_bytes)
    };
    let mut compared = 0;
    let mut same = |step: usize| {
        if compared == COMPARED || !may_be(step) {
            return false;
        }
        compared += 1;
        a[step * row_bytes..] == b[..(rows - step) * row_bytes]
    };
    let scatter = (expected as f64 * SCATTER).ceil() as usize;
    let nearest_first = (0..=scatter).flat_map(|off| [expected.saturating_sub(off), expected + off]);
    nearest_first.into_iter().find(|&step| same(step)).map(|step| step as u64)
}

fn nth_row(block: &[u8], row: usize, row_bytes: usize) -> &[u8] {
    &block[row * row_bytes..][..row_bytes]
}

/// The first row of a block that is not as the row before.
fn first_other_row(block: &[u8], row_bytes: usize) -> Option<usize> {
    let mut rows = block.chunks_exact(row_bytes);
    let first = rows.next()?;
    rows.position(|row| row != first).map(|behind| behind + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said = Said { padded: 1000, edges_cut: false, by_stamps: None, by_rate: None, overlap: None };

    #[test]
    fn stamps_decide_against_a_false_overlap() {
        let rows = |said: Said| said.decide().0;
        assert_eq!(rows(Said { overlap: Some(100.0), by_rate: Some(500.0), ..SAID }), 500);
        assert_eq!(rows(Said { overlap: Some(50.0), by_rate: Some(1000.0), ..SAID }), 1000);
        assert_eq!(rows(Said { overlap: Some(50.0), by_stamps: Some(1000.0), ..SAID }), 1000);
        assert_eq!(rows(Said { by_stamps: Some(1000.0), ..SAID }), 1000, "not said");
        assert_eq!(rows(Said { overlap: Some(100.0), by_stamps: Some(502.0), by_rate: Some(500.0), ..SAID }), 500);
        assert_eq!(rows(Said { by_stamps: Some(4000.0), ..SAID }), 1000, "blocks lost");
        assert_eq!(rows(SAID), 1000, "one block of which nothing is said");
        assert!(Said { overlap: Some(50.0), by_stamps: Some(1000.0), ..SAID }.decide().1.is_some());
    }

    #[test]
    fn samples_that_two_blocks_share_show_the_step() {
        let signal: Vec<u8> = (0..200u32).map(|i| (i * i % 251) as u8).collect();
        let shared = |step: usize, expected| shared(&signal[..100], &signal[step..step + 100], 1, expected);
        assert_eq!(shared(50, 50), Some(50));
        assert_eq!(shared(50, 51), Some(50), "stamps scatter");
        assert_eq!(shared(20, 51), None, "too far from what the stamps say");
        assert_eq!(super::shared(&[0; 100], &[0; 100], 1, 50), None, "zeros tell nothing");
        let mut late = [0; 100];
        late[60] = 1;
        assert_eq!(super::shared(&late, &late, 1, 50), None, "what differs is not shared");
    }

    /// Blocks of a dead fiber and of a pattern that never ends are looked at as quickly as others.
    #[test]
    fn large_blocks_that_look_alike_everywhere_are_given_up_soon() {
        let rows = 1 << 22;
        assert_eq!(shared(&vec![0; rows], &vec![0; rows], 1, 1 << 21), None);
        let pattern: Vec<u8> = (0..rows).map(|row| (row % 2) as u8).collect();
        let mut broken = pattern.clone();
        broken[1 << 20] = 7;
        assert_eq!(shared(&pattern, &broken, 1, 1 << 21), None);
    }
}
