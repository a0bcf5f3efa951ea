//! The second look: follows the stamps row by row and tells single wrong ones from steps.
//!
//! A run is a stretch of stamps that follow one line of the approximate period. The line is led slowly after the stamps, so
//! that neither an approximate period nor a wandering clock ends it. A stamp further off than the width waits until a few
//! more have come: when most of them agree with it the time has made a step, otherwise it was a single wrong one. What is
//! off never changes the width.

use super::run::{Item, Recent, Run};
use super::sample::{Guess, Positions, Written};
use super::stamps::Scale;
use super::{Layout, Statements};

/// Runs at most: stamps that step more often follow nothing.
const MOST_RUNS: usize = 1 << 18;
/// A gap that only the very first or last stamp shows is believed up to so many periods.
const MOST_ALONE: f64 = 16.0;
/// Means of at least so many stamps show how the clock wandered.
const BIN: u64 = 256;
/// And so many bins at most.
const MOST_BINS: u64 = 16_384;

/// What following the stamps gave.
#[derive(Debug)]
pub(super) struct Tracked {
    /// In the order of rows; never empty.
    pub(super) runs: Vec<Run>,
    /// Rows that were written.
    pub(super) rows: u64,
    /// Stamps that were not believed.
    pub(super) not_believed: u64,
    /// The first row of those.
    pub(super) first_not_believed: u64,
}

/// Follows the stamps.
pub(super) struct Tracker<'a> {
    guess: Guess,
    scale: Scale,
    layout: Layout<'a>,
    positions: Positions<'a>,
    /// Stamps behind this one were not written.
    until: u64,
    /// The last stamp before those is one that only repeats.
    tail_repeats: bool,
    seen: u64,
    last: Option<i64>,
    before_last: Option<i64>,
    /// Stamps that decide whether a step is one.
    confirm: usize,
    /// Stamps scatter too much to tell a step from a single one.
    scatters: bool,
    recent: Recent,
    bin_items: u64,
    runs: Vec<Run>,
    run: Option<Run>,
    pending: Vec<Item>,
    not_believed: u64,
    first_not_believed: u64,
    hopeless: bool,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(guess: Guess, scale: Scale, layout: Layout<'a>, written: Written) -> Self {
        let rows_between = match layout {
            Layout::Every(rows) => rows as f64,
            Layout::Blocks(_) => 1.0,
        };
        let period = guess.period * rows_between;
        let same_ns = written.until.saturating_sub(written.same_since).saturating_sub(1) as f64 * period;
        let tail_repeats = same_ns > 2.0 * (period + guess.repeats);
        let is_quiet = 2.2 * guess.spread < guess.width / 2.0;
        Self {
            guess,
            scale,
            layout,
            positions: Positions::new(layout),
            until: if tail_repeats { written.same_since + 1 } else { written.until },
            tail_repeats,
            seen: 0,
            last: None,
            before_last: None,
            confirm: if is_quiet { 3 } else { 7 },
            scatters: guess.width > guess.period / 2.0,
            recent: Recent::new(),
            bin_items: (written.valid / MOST_BINS).max(BIN),
            runs: Vec::new(),
            run: None,
            pending: Vec::new(),
            not_believed: 0,
            first_not_believed: 0,
            hopeless: false,
        }
    }

    /// The next stamps.
    pub(super) fn push(&mut self, stamps: &[i64]) {
        for &stamp in stamps {
            let Some((row, trace)) = self.positions.next() else { return };
            self.seen += 1;
            if self.seen > self.until || self.hopeless {
                return;
            }
            let Some(ns) = self.scale.to_ns(stamp) else {
                self.not_believed(row);
                continue;
            };
            let item = Item { row, trace, ns };
            if self.last == Some(ns) {
                self.repeated(item);
                continue;
            }
            let before = self.last.replace(ns);
            // Behind a single wrong stamp the one before goes on: no edge.
            let goes_on = self.guess.repeats > 0.0 && self.before_last == Some(ns) || before.is_none();
            self.before_last = before;
            if !goes_on || self.guess.repeats == 0.0 {
                self.take(item);
            }
        }
    }

    /// A stamp that is the same again is wrong when it stays for longer than stamps are coarse.
    fn repeated(&mut self, item: Item) {
        let allowed = self.guess.width + self.guess.repeats;
        let off = self.run.as_ref().map_or(0.0, |run| run.off(item, self.guess.period));
        if self.pending.is_empty() && off.abs() > allowed {
            self.not_believed(item.row);
        }
    }

    #[inline]
    fn take(&mut self, item: Item) {
        let Some(run) = &mut self.run else {
            self.run = Some(Run::new(item, item));
            return;
        };
        if self.pending.is_empty() {
            let off = run.off(item, self.guess.period);
            if off.abs() <= self.guess.width {
                run.add(item, off, self.bin_items);
                if self.scatters {
                    self.recent.note(run, item);
                }
                return;
            }
        }
        self.pending.push(item);
        if self.pending.len() >= self.confirm {
            self.decide(false, |_| false);
        }
    }

    fn not_believed(&mut self, row: u64) {
        if self.not_believed == 0 {
            self.first_not_believed = row;
        }
        self.not_believed += 1;
    }

    /// The first that waits is off: says whether the time made a step there, and looks at the others again. At the end no
    /// more stamps come: two that agree are a step then, and so is one alone that `is_step`.
    fn decide(&mut self, is_end: bool, is_step: impl FnOnce(f64) -> bool) {
        let Some(run) = &self.run else { return };
        let (width, repeats) = (self.guess.width, self.guess.repeats);
        let offs: Vec<f64> = self.pending.iter().map(|&item| run.off(item, self.guess.period)).collect();
        let mut far: Vec<f64> = offs.iter().copied().filter(|off| off.abs() > width).collect();
        let middle = far.len() / 2;
        let Some(new_level) = (!far.is_empty()).then(|| *far.select_nth_unstable_by(middle, f64::total_cmp).1) else {
            return;
        };
        let near_new = |off: &f64, width: f64| (off - new_level).abs() <= width;
        let agrees = |off: &&f64| *off / new_level > 0.5 && near_new(off, width);
        let enough = if is_end { 2 } else { self.confirm / 2 + 1 };
        let alone = is_end && self.pending.len() == 1 && is_step(new_level);
        let step_at = offs.iter().position(|off| agrees(&off));
        let step_at = step_at.filter(|_| alone || offs.iter().filter(agrees).count() >= enough);
        let waiting = std::mem::take(&mut self.pending);
        let Some(step_at) = step_at else {
            // Where stamps scatter, one that is only a little too far off is one of many.
            let wrong = waiting.first().filter(|_| !self.scatters || offs[0].abs() > 2.0 * width).copied();
            if let Some(wrong) = wrong {
                self.not_believed(wrong.row);
            }
            // It may have stood in place of an edge: then the row behind it shows none.
            let is_late = |item: &Item, off: f64| {
                repeats > 0.0 && wrong.is_some_and(|wrong| wrong.row + 1 == item.row) && off.abs() <= width + repeats
            };
            for (item, off) in waiting.into_iter().zip(offs).skip(1) {
                if !is_late(&item, off) {
                    self.take(item);
                }
            }
            return;
        };
        // The first row behind a gap has a stamp, but its stamp is an edge only where each row has another.
        let begins_at =
            offs.iter().position(|off| off / new_level > 0.5 && near_new(off, width + repeats)).unwrap_or(step_at);
        for (&item, off) in waiting.iter().zip(&offs).take(begins_at) {
            if off.abs() > width {
                self.not_believed(item.row);
            } else if let Some(run) = &mut self.run {
                run.add(item, *off, self.bin_items);
            }
        }
        let back = self
            .run
            .as_mut()
            .filter(|_| self.scatters && begins_at == 0)
            .map(|run| run.take_back(&self.recent, new_level));
        let back = back.unwrap_or_default();
        self.runs.extend(self.run.take());
        self.hopeless = self.runs.len() > MOST_RUNS;
        let begin = back.first().copied().unwrap_or(waiting[begins_at]);
        self.run = Some(Run::new(begin, waiting[step_at]));
        waiting.into_iter().skip(step_at + 1).for_each(|item| self.take(item));
    }

    /// `None` when more stamps were off than not.
    pub(super) fn finish(mut self, statements: &Statements<'_>) -> Option<Tracked> {
        let tail = self.layout.row_of(self.until).filter(|_| self.until < self.seen);
        let mut rows = tail.unwrap_or(statements.rows).min(statements.rows);
        if self.tail_repeats && self.pending.len() == 1 {
            // What repeats is not even a time of this file.
            rows = self.pending.pop().map_or(rows, |item| item.row);
        }
        while let Some(&item) = self.pending.first() {
            let period = self.guess.period * statements.lost_together.max(1) as f64;
            let near = 2.0 * self.guess.period + self.scale.multiple_ns as f64;
            let by_end = statements.end_ns.map(|end| (end as f64 - item.ns as f64).abs() <= near);
            let traces_before = self.run.as_ref().map_or(0, |run| item.trace.saturating_sub(run.trace));
            let most = traces_before as f64 * self.guess.period;
            self.decide(true, |off| off > 0.0 && by_end.unwrap_or_else(|| is_gap(off, period, most)));
        }
        self.runs.extend(self.run.take());
        for run in &mut self.runs {
            run.close_bin();
        }
        self.join_excursions();
        self.look_at_first(statements, rows);
        let believed: u64 = self.runs.iter().map(|run| run.items).sum();
        let hopeless = self.hopeless || self.runs.is_empty() || believed < self.not_believed;
        (!hopeless).then_some(Tracked {
            runs: self.runs,
            rows,
            not_believed: self.not_believed,
            first_not_believed: self.first_not_believed,
        })
    }

    /// Where the time steps away and soon back to where it was, what lies between was wrong.
    fn join_excursions(&mut self) {
        let (period, width) = (self.guess.period, self.guess.width);
        let mut kept: Vec<Run> = Vec::with_capacity(self.runs.len());
        for run in std::mem::take(&mut self.runs) {
            let joins = match &kept[..] {
                [.., before, between] => {
                    run.step_from(before, period).abs() <= width && between.items <= before.items + run.items
                }
                _ => false,
            };
            if joins && let Some(between) = kept.pop() {
                if self.not_believed == 0 || between.begins.0 < self.first_not_believed {
                    self.first_not_believed = between.begins.0;
                }
                self.not_believed += between.items;
                if let Some(before) = kept.last_mut() {
                    before.join(&run, period);
                }
            } else {
                kept.push(run);
            }
        }
        self.runs = kept;
    }

    /// A first stamp alone is wrong unless a gap may follow it.
    fn look_at_first(&mut self, statements: &Statements<'_>, rows: u64) {
        let [first, second, ..] = &self.runs[..] else { return };
        if first.items > 1 || second.items < 2 {
            return;
        }
        let period = self.guess.period * statements.lost_together.max(1) as f64;
        let near = 2.0 * self.guess.period + self.scale.multiple_ns as f64;
        let by_start = statements.start_ns.map(|start| (start as f64 - first.base_ns as f64).abs() <= near);
        let step = second.step_from(first, self.guess.period);
        let rest = rows.saturating_sub(second.begins.0) as f64 * self.guess.period;
        if !(step > 0.0 && by_start.unwrap_or_else(|| is_gap(step, period, rest))) {
            self.first_not_believed = first.begins.0;
            self.not_believed += 1;
            self.runs.remove(0);
        }
    }
}

/// Whether a step forwards that only one stamp shows is a gap: whole periods, and a few only.
fn is_gap(step_ns: f64, period_ns: f64, most_ns: f64) -> bool {
    let periods = step_ns / period_ns;
    (periods - periods.round()).abs() < 0.25 && periods < MOST_ALONE && step_ns <= most_ns
}
