//! The first look: a few thousand stamps from all over the file give an approximate period and how far stamps scatter.
//!
//! Only rows whose stamp differs from the one before are taken: of stamps coarser than a row these are the edges, and an
//! edge is as sharp as a row is long.

use super::stamps::Scale;
use super::{Block, Layout, NO_STAMP, Statements};

/// Stamps that are sampled at most.
const MOST: u64 = 16_384;
/// Pieces of consecutive stamps, spread evenly over a long file.
const PIECES: u64 = 32;
/// Distances in stamps over which the period is looked at.
const LAGS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Distances over which the scatter is looked at; no common factor, so that a pattern in the stamps shows.
const SCATTER_LAGS: [usize; 2] = [1, 5];
/// Middle half of the slopes over their median, up to which they are one period.
const ONE_PERIOD: f64 = 1.0 / 3.0;
/// A slope over a long way and a declared rate that agree to this hold against what neighbours say.
const AGREE: f64 = 0.02;

/// Walks over the rows that stamps belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions<'a> {
    layout: Layout<'a>,
    stamp: u64,
    lost: u64,
}

impl<'a> Positions<'a> {
    pub(super) const fn new(layout: Layout<'a>) -> Self {
        Self { layout, stamp: 0, lost: 0 }
    }

    /// Row of the next stamp, and the number of its trace, counted losses included; `None` behind the last block.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(u64, u64)> {
        let stamp = self.stamp;
        self.stamp += 1;
        match self.layout {
            Layout::Every(rows) => {
                let row = stamp.saturating_mul(rows);
                Some((row, row))
            }
            Layout::Blocks(blocks) => {
                let Block { row, lost_before } = *blocks.get(usize::try_from(stamp).ok()?)?;
                self.lost = self.lost.saturating_add(lost_before);
                Some((row, row.saturating_add(self.lost)))
            }
        }
    }
}

/// Stamps that were taken, with the numbers of their traces.
pub(super) struct Sample<'a> {
    positions: Positions<'a>,
    pieces: Vec<Vec<(u64, i64)>>,
    piece_len: usize,
    /// Stamps from the beginning of a piece to that of the next.
    stride: u64,
    seen: u64,
    last: i64,
    written: Written,
}

/// How far stamps were written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Stamps that are one.
    pub(super) valid: u64,
    /// Number of stamps up to the last that is one.
    pub(super) until: u64,
    /// Number of the stamp from which on all are the same, up to the last.
    pub(super) same_since: u64,
}

/// The approximate line of the stamps, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    /// Nanoseconds from trace to trace.
    pub(super) period: f64,
    /// Three of four stamps are not further than this from where the one before puts them.
    pub(super) spread: f64,
    /// A stamp further off than this is not where it should be: half of what can be lost, less where stamps are
    /// smooth, more where they scatter.
    pub(super) width: f64,
    /// How long a stamp stays the same because it is coarser than a row; 0 where each row has another.
    pub(super) repeats: f64,
}

impl<'a> Sample<'a> {
    pub(super) fn new(rows: u64, layout: Layout<'a>) -> Self {
        let stamps = match layout {
            Layout::Every(every) => rows.div_ceil(every.max(1)),
            Layout::Blocks(blocks) => blocks.len() as u64,
        };
        let pieces = if stamps <= MOST { 1 } else { PIECES };
        Self {
            positions: Positions::new(layout),
            pieces: Vec::new(),
            piece_len: (MOST / pieces) as usize,
            stride: (stamps / pieces).max(1),
            seen: 0,
            last: NO_STAMP,
            written: Written::default(),
        }
    }

    /// The next stamps.
    pub(super) fn push(&mut self, stamps: &[i64]) {
        for &stamp in stamps {
            let Some((_, trace)) = self.positions.next() else { return };
            let number = self.seen;
            self.seen += 1;
            // Stamps that change rarely go on in the same piece, so that there are neighbours.
            let is_full = self.pieces.last().is_none_or(|piece| piece.len() >= self.piece_len);
            if is_full && number.is_multiple_of(self.stride) && (self.pieces.len() as u64) < PIECES {
                self.pieces.push(Vec::with_capacity(self.piece_len));
            }
            if stamp <= NO_STAMP || stamp == i64::MAX {
                continue;
            }
            self.written.valid += 1;
            self.written.until = number + 1;
            if stamp == self.last {
                continue;
            }
            self.last = stamp;
            self.written.same_since = number;
            if let Some(piece) = self.pieces.last_mut().filter(|piece| piece.len() < self.piece_len) {
                piece.push((trace, stamp));
            }
        }
    }

    /// Stamps that were seen.
    pub(super) const fn stamps(&self) -> u64 {
        self.seen
    }

    /// How far they were written.
    pub(super) const fn written(&self) -> Written {
        self.written
    }

    /// The sampled stamps, as the file has them.
    pub(super) fn values(&self) -> impl Iterator<Item = i64> {
        self.pieces.iter().flatten().map(|&(_, stamp)| stamp)
    }

    /// The middle one of them.
    pub(super) fn median_stamp(&self) -> Option<i64> {
        let mut values: Vec<i64> = self.values().collect();
        let middle = values.len() / 2;
        (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
    }

    /// Units of the stamps from trace to trace, over the longest way.
    pub(super) fn period_in_units(&self) -> Option<f64> {
        self.period(1.0).map(|seen| seen.even.unwrap_or(seen.period)).or_else(|| self.longest_slope())
    }

    /// The line of the stamps; `None` when they follow none.
    pub(super) fn guess(&self, scale: &Scale, statements: &Statements<'_>) -> Option<Guess> {
        let in_ns = |units: f64| units * scale.unit_ns() as f64;
        let declared = statements.declared_rate.map(|rate| 1e9 / rate.to_f64());
        let slopes: usize = self.pieces.iter().map(|piece| piece.len().saturating_sub(1)).sum();
        let stands_still = slopes == 0 && statements.rows > 1 && self.written.valid > 1;
        if stands_still {
            return None;
        }
        let multiple = scale.multiple_ns as f64 / scale.unit_ns() as f64;
        let seen = self.period(multiple);
        let neighbours = seen.as_ref().map(|seen| (in_ns(seen.period), in_ns(seen.error)));
        let seen = seen.map(|seen| in_ns(seen.even.unwrap_or(seen.period)));
        let period = match (seen, declared) {
            // Two steps do not tell a gap from another rate.
            (_, Some(declared)) if slopes < 3 => declared,
            // What is as likely lost traces as another rate is lost traces, where a rate is declared.
            (_, Some(declared)) if neighbours.is_some_and(|(seen, error)| (seen - declared).abs() <= error) => declared,
            (Some(seen), Some(declared)) if (seen / declared - 1.0).abs() <= 0.1 => seen,
            (seen, Some(declared)) => {
                // Stamps that come in bursts: neighbours say nothing, the long way does.
                let long = self.longest_slope().map(in_ns);
                let declared = long.filter(|long| (long / declared - 1.0).abs() < AGREE).map(|_| declared);
                declared.or(seen)?
            }
            (seen, None) => seen?,
        };
        let spread = in_ns(self.spread(period / scale.unit_ns() as f64, multiple));
        let repeats = self.repeats(scale);
        let together = statements.lost_together.max(1);
        // Smooth stamps show steps of a clock that are no whole traces, too; blocks are stamped by a host.
        let is_smooth = 2.2 * spread < period / 32.0 && (scale.multiple_ns as f64) < period / 9.0;
        let part = if together == 1 && is_smooth { 8.0 } else { 2.0 };
        let half = period * together as f64 / part;
        let cut = cut(period, scale.multiple_ns as f64);
        // Of even scatter three of four differences are within its half-width: 2.2 times that holds all stamps.
        let width = half.max(2.2 * spread).max(cut);
        Some(Guess { period, spread, width, repeats })
    }

    /// The median slope over the longest lag that gaps do not spoil. Stamps are cut to `multiple` units.
    fn period(&self, multiple: f64) -> Option<Seen> {
        let mut best: Option<Slope> = None;
        // Edges are a row wide.
        let edge = self.stays().then_some(multiple);
        let longest = self.pieces.iter().map(Vec::len).max()?;
        let most = if edge.is_some() { longest / 2 } else { longest / 4 };
        for lag in LAGS.into_iter().filter(|&lag| lag == 1 || lag <= most) {
            let Some(next) = self.slope(lag) else { break };
            let is_one_period = next.median > 0.0 && next.half <= next.median * ONE_PERIOD;
            match &best {
                None if !is_one_period => {}
                Some(best) if !is_one_period || !next.refines(best, edge) => break,
                _ => best = Some(next),
            }
        }
        let best = best?;
        let even = self.evenly_cut(longest / 4, best.median, multiple);
        Some(Seen { period: best.median, even, error: best.half.max(multiple.min(best.median) / best.way) })
    }

    /// The slope over a long way, where it is another one than from neighbour to neighbour because stamps are cut: then all
    /// ways are the same but for one cut. Of lost traces they are not.
    fn evenly_cut(&self, lag: usize, period: f64, multiple: f64) -> Option<f64> {
        let (mut slopes, ways) = self.slopes(lag.max(1));
        let way = ways.iter().sum::<f64>() / ways.len().max(1) as f64;
        let median = quantile(&mut slopes, 0.5)?;
        let range = (quantile(&mut slopes, 0.98)? - quantile(&mut slopes, 0.02)?) * way;
        let cut = multiple.min(period);
        let is_another = (median - period).abs() * way >= 3.0 * cut;
        (is_another && range <= 1.5 * cut).then_some(median)
    }

    fn slope(&self, lag: usize) -> Option<Slope> {
        let (mut slopes, ways) = self.slopes(lag);
        let way = ways.iter().sum::<f64>() / ways.len().max(1) as f64;
        // Quarters of halves, so that each half is looked through once.
        let middle = slopes.len() / 2;
        let median = quantile(&mut slopes, 0.5)?;
        let (low, high) = slopes.split_at_mut(middle);
        let half = quantile(high, 0.5)? - quantile(low, 0.5).unwrap_or(median);
        Some(Slope { median, half, way })
    }

    /// The median slope over as long a way as the pieces are.
    fn longest_slope(&self) -> Option<f64> {
        let lag = self.pieces.iter().map(|piece| piece.len() / 2).max().filter(|&lag| lag > 0)?;
        let (mut slopes, _) = self.slopes(lag);
        quantile(&mut slopes, 0.5).filter(|&slope| slope > 0.0)
    }

    /// Slopes over `lag` stamps, and how many traces they go over.
    fn slopes(&self, lag: usize) -> (Vec<f64>, Vec<f64>) {
        let pairs = self.pieces.iter().flat_map(|piece| piece.iter().zip(piece.iter().skip(lag)));
        pairs
            .filter(|((from, _), (to, _))| to > from)
            .map(|((from, a), (to, b))| {
                let way = (to - from) as f64;
                (b.wrapping_sub(*a) as f64 / way, way)
            })
            .unzip()
    }

    /// How long a stamp stays the same, when most stay for more than a row.
    fn repeats(&self, scale: &Scale) -> f64 {
        if self.stays() { scale.multiple_ns as f64 } else { 0.0 }
    }

    fn stays(&self) -> bool {
        let Layout::Every(rows) = self.positions.layout else { return false };
        let steps = || self.pieces.iter().flat_map(|piece| piece.windows(2));
        let longer = steps().filter(|pair| pair[1].0 - pair[0].0 > rows).count();
        longer * 4 > steps().count()
    }

    /// Three quarters of the stamps are not further than this from where the one before puts them, in their unit.
    fn spread(&self, period: f64, multiple: f64) -> f64 {
        let spread_over = |lag: usize| {
            let (slopes, ways) = self.slopes(lag);
            let mut off: Vec<f64> =
                slopes.iter().zip(&ways).map(|(slope, way)| ((slope - period) * way).abs()).collect();
            // Of even scatter the median is 0.59 and the first quarter 0.27 of its half-width. The more of the differences
            // have a gap or a wrong stamp in them, the fewer tell.
            if lag > 1 {
                return quantile(&mut off, 0.25).map(|quarter| quarter / 0.268);
            }
            let most = quantile(&mut off, 0.5)? / 0.586;
            quantile(&mut off, 0.75).map(|off| off.min(most.max(multiple)))
        };
        let longest = self.pieces.iter().map(Vec::len).max().unwrap_or(0);
        let lags = SCATTER_LAGS.into_iter().filter(|&lag| lag == 1 || lag <= longest / 8);
        lags.filter_map(spread_over).fold(0.0, f64::max)
    }
}

/// A period in units, and how far it may be off.
struct Seen {
    period: f64,
    error: f64,
    /// Another one, over a long way, if stamps that are evenly cut explain that.
    even: Option<f64>,
}

/// Slopes over one lag, in units a trace.
struct Slope {
    median: f64,
    /// From the lower to the upper quarter.
    half: f64,
    /// Traces that they go over.
    way: f64,
}

impl Slope {
    /// Whether this one, over a longer way, is the same slope, only seen better: of stamps that merely scatter.
    fn refines(&self, before: &Self, edge: Option<f64>) -> bool {
        let edge = edge.map_or(0.0, |edge| edge.min(before.median));
        self.half * self.way <= 2.0 * before.half * before.way + edge.max(0.05 * before.median)
            && (self.median - before.median).abs() <= before.half.max(edge / before.way)
    }
}

impl Layout<'_> {
    /// Row of a stamp.
    pub(super) fn row_of(self, stamp: u64) -> Option<u64> {
        match self {
            Self::Every(rows) => stamp.checked_mul(rows),
            Self::Blocks(blocks) => blocks.get(usize::try_from(stamp).ok()?).map(|block| block.row),
        }
    }
}

/// How far stamps, or edges of stamps coarser than a row, are off because they are cut to multiples of something that
/// does not go up in the period.
fn cut(period_ns: f64, multiple_ns: f64) -> f64 {
    let (long, short) = (period_ns.max(multiple_ns), period_ns.min(multiple_ns));
    let rest = (long / short - (long / short).round()).abs() * short;
    // More than that, because the line that follows the stamps is not in their middle; the fewer edges, the less.
    let margin = if multiple_ns > period_ns { 1.75 } else { 1.25 };
    if rest < 1e-4 * short { 0.0 } else { margin * short }
}

/// The value below which a part of `values` lies, rounded down.
fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    Some(*values.select_nth_unstable_by((last as f64 * part) as usize, f64::total_cmp).1)
}
