//! UTC of a trace: a line through the interrogator's own stamps, in place of "first stamp + traces / PRR", because the
//! laser's rate is never exactly the declared one.
//!
//! ```text
//! utc │                         ·┌──── a step: two stamps say it, marked
//!     │              ╱───·──────      · a stamp
//!     │       ·╱────·        ✕       ✕ one bad stamp, which nothing follows
//!     │  ·────                     from each stamp on, the line heads for where all stamps of the last while say that it is
//!     └────────────────────── trace
//! ```
//! The line is continuous but at marked steps and behind long gaps, and always rises. What it says of a trace depends on
//! the stamps up to that trace alone: not on blocks, and never on what came later, so that a recording gives the same times
//! as it was live. Steps and single bad stamps look alike at first: until a second stamp says the same, the line goes on
//! as before, and its stated uncertainty says how far off it may be. Each stamp that is not followed is counted.
//!
//! Pure; allocates when an acquisition begins only.

mod fit;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::acquisition::{Acquisition, ClockQuality};
use crate::block::RawBlock;
use crate::units::Rational;
use fit::{Fit, Window};

/// Stamps closer to the last one that was used say nothing new, unless there was a doubt.
const USE_EVERY_NS: i64 = 20_000_000;
/// What an oscillator may wander while nothing is heard of it, as a part.
const WANDER: f64 = 1e-7;
/// A rate further off than this is not believed, as a part.
const MOST_OFF: f64 = 0.1;
/// Pieces of the line that are remembered. Where there are more, old ones are joined.
const MOST_KNOTS: usize = 1024;
/// Steps that are remembered.
const MOST_STEPS: usize = 64;

/// What stamps of a clock are worth. All in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Worth {
    /// How far a stamp may be off UTC by itself; 0 = nobody knows.
    accuracy: f64,
    /// Scatter that is supposed before it is known, and at least.
    scatter: f64,
    /// Deviations below this are never a doubt.
    slack: f64,
    /// Nor are those below this while the rate is not known yet; doubts that last are believed up to this.
    wide: f64,
    /// Stamps so close together are taken for one, once the window is full.
    cell: i64,
    /// How long the line takes to where it should be.
    slew: f64,
    /// Behind a gap as long as this the line begins anew.
    resume: i64,
}

impl Worth {
    const fn of(clock: ClockQuality) -> Self {
        match clock {
            ClockQuality::Gps | ClockQuality::Ptp => {
                Self { accuracy: 1e3, scatter: 200.0, slack: 1e3, wide: 1e6, cell: 0, slew: 1e8, resume: 1_000_000_000 }
            }
            ClockQuality::Ntp | ClockQuality::FreeRunning => Self {
                accuracy: if matches!(clock, ClockQuality::Ntp) { 1e7 } else { 0.0 },
                scatter: 2e6,
                slack: 1e7,
                wide: 2e7,
                cell: 3_200_000_000,
                slew: 1e9,
                resume: 60_000_000_000,
            },
        }
    }
}

/// From this trace on the line has this slope.
#[derive(Clone, Copy, Debug)]
struct Knot {
    trace: u64,
    utc_ns: i64,
    /// What a second takes longer than by the declared rate, as a part.
    off: f64,
    /// How far the line may be off here, and how fast that grows, per nanosecond.
    uncertainty: f64,
    growth: f64,
    /// The line does not go on from the knot before.
    anew: bool,
}

/// A stamp by itself.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    trace: u64,
    /// Nanoseconds from the first stamp on, by the declared rate.
    counted: i64,
    /// What the stamp says more than that.
    ahead: i64,
}

/// A stamp that nothing follows yet.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    stamp: Stamp,
    /// How often stamps were in doubt since the last good one.
    times: u32,
}

/// Traces that were missing since the last good stamp.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The first trace behind the newest gap, and whether that is a long one.
    end: u64,
    is_long: bool,
    /// Whether any is.
    has_long: bool,
}

/// What has become of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It lies where it is expected.
    Follows,
    /// It does not, and is not followed.
    Doubted,
    /// Nor does it, but the one before says the same: the clock was stepped by so many nanoseconds.
    Steps(i64),
}

/// What the stamps of a block have brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    /// How often the clock was stepped.
    pub(super) steps: u64,
    /// How far the last step went, in nanoseconds.
    pub(super) step_ns: i64,
    /// How many were not believed when they came.
    pub(super) doubted: u64,
}

/// Where trace numbers and UTC meet.
#[derive(Debug)]
pub(super) struct TimeBase {
    prr: Rational,
    worth: Worth,
    /// Trace and UTC of the first stamp.
    origin: Option<(u64, i64)>,
    window: Window,
    fit: Fit,
    /// The last good stamp.
    last: Option<Stamp>,
    doubt: Option<Doubt>,
    gap: Option<Gap>,
    /// The next trace, if none is missing.
    next_trace: u64,
    knots: VecDeque<Knot>,
    /// Traces from which on times are those after a step.
    steps: VecDeque<u64>,
}

impl TimeBase {
    /// Before the first block of an acquisition.
    pub(super) fn of(acquisition: &Acquisition) -> Self {
        let worth = Worth::of(acquisition.clock);
        Self {
            prr: acquisition.prr,
            worth,
            origin: None,
            // Six times that is the widest that is believed.
            window: Window::new((worth.scatter, worth.wide / 6.0), worth.cell),
            fit: Fit::default(),
            last: None,
            doubt: None,
            gap: None,
            next_trace: 0,
            knots: VecDeque::with_capacity(MOST_KNOTS + 4),
            steps: VecDeque::with_capacity(MOST_STEPS + 1),
        }
    }

    /// Takes a block's stamps in, and says what became of them.
    pub(super) fn update(&mut self, block: &RawBlock) -> Stamps {
        let first = block.first_trace.0;
        if self.origin.is_none() {
            self.begin(first, block.utc_ns);
        } else if first > self.next_trace {
            let is_long = self.counted(self.next_trace, first) >= self.worth.resume;
            let has_long = is_long || self.gap.is_some_and(|gap| gap.has_long);
            self.gap = Some(Gap { end: first, is_long, has_long });
        }
        let mut stamps = Stamps::default();
        for (mark, _) in block.spans() {
            let Some(utc_ns) = mark.stamp_ns else { continue };
            match self.observe(first + mark.row as u64, utc_ns) {
                Verdict::Follows => {}
                Verdict::Doubted => stamps.doubted += 1,
                Verdict::Steps(by_ns) => (stamps.steps, stamps.step_ns) = (stamps.steps + 1, by_ns),
            }
        }
        self.next_trace = block.end_trace().0;
        stamps
    }

    /// UTC of `trace` in nanoseconds; 0 before the first block.
    pub(super) fn utc_ns(&self, trace: u64) -> i64 {
        self.knot(trace).map_or(0, |knot| self.along(knot, trace))
    }

    /// UTC behind the trace before `end`, whatever the stamp of `end` itself will say.
    pub(super) fn utc_behind_ns(&self, end: u64) -> i64 {
        self.knot(end.saturating_sub(1)).map_or(0, |knot| self.along(knot, end))
    }

    /// How far that may be off, in nanoseconds; 0 = not known.
    pub(super) fn uncertainty_ns(&self, trace: u64) -> u64 {
        match self.knot(trace) {
            Some(knot) if self.worth.accuracy > 0.0 => {
                (knot.uncertainty + knot.growth * self.counted(knot.trace, trace) as f64).ceil() as u64
            }
            _ => 0,
        }
    }

    /// Whether times stepped behind trace `from`, up to and with trace `to`.
    pub(super) fn has_step(&self, from: u64, to: u64) -> bool {
        self.steps.iter().rev().any(|&step| from < step && step <= to)
    }

    fn begin(&mut self, trace: u64, utc_ns: i64) {
        self.origin = Some((trace, utc_ns));
        self.restart([Stamp { trace, counted: 0, ahead: 0 }]);
        self.turn(Stamp { trace, counted: 0, ahead: 0 }, Some(utc_ns));
    }

    /// A stamp of a trace's own.
    fn observe(&mut self, trace: u64, utc_ns: i64) -> Verdict {
        let (Some((first, first_ns)), Some(last)) = (self.origin, self.last) else { return Verdict::Follows };
        let counted = self.counted(first, trace);
        let stamp = Stamp { trace, counted, ahead: utc_ns.saturating_sub(first_ns).saturating_sub(counted) };
        let since_ns = counted.saturating_sub(last.counted);
        if since_ns <= 0 {
            return Verdict::Follows;
        }
        if self.deviation(stamp).abs() <= self.tolerance(stamp, last) {
            if since_ns >= USE_EVERY_NS || self.doubt.is_some() {
                self.take(stamp);
            }
            return Verdict::Follows;
        }
        match self.doubt.filter(|doubt| self.says_the_same(stamp, doubt.stamp)) {
            Some(doubt) => Verdict::Steps(self.step(doubt.stamp, stamp)),
            None => self.hold(stamp, last),
        }
    }

    /// From `stamp` on times are those of the two; says by how much that is more.
    fn step(&mut self, doubted: Stamp, stamp: Stamp) -> i64 {
        let before = self.utc_ns(stamp.trace);
        self.restart([doubted, stamp]);
        self.turn(stamp, Some(self.fitted_utc(stamp.counted)));
        if self.steps.len() == MOST_STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(stamp.trace);
        self.utc_ns(stamp.trace).saturating_sub(before)
    }

    /// How far a stamp may be from where it is expected by those up to `since`, and still be one like all others.
    fn tolerance(&self, stamp: Stamp, since: Stamp) -> f64 {
        let away = stamp.counted.saturating_sub(since.counted) as f64;
        // A gap of a file may be worked out in whole traces.
        let after_gap = self.gap.is_some_and(|gap| gap.end > since.trace);
        let rounding = if after_gap { 0.5e9 / self.prr.to_f64() } else { 0.0 };
        let usual =
            self.worth.slack + 6.0 * self.fit.scatter.hypot(self.fit.noise(stamp.counted)) + WANDER * away + rounding;
        if self.window.knows_rate() { usual } else { usual.max(self.worth.wide) }
    }

    fn deviation(&self, stamp: Stamp) -> f64 {
        stamp.ahead as f64 - self.fit.ahead(stamp.counted)
    }

    /// Whether two stamps that deviate lie on one line, which rises as traces go.
    fn says_the_same(&self, stamp: Stamp, other: Stamp) -> bool {
        let between = stamp.counted.saturating_sub(other.counted) as f64;
        let apart = (self.deviation(stamp) - self.deviation(other)).abs();
        apart <= self.tolerance(stamp, other).min(between / 2.0)
    }

    /// A stamp that deviates: it may be a bad one, or the first after a step. Where many do and none says the same as the
    /// one before, the clock scatters more than it did: then they are believed as far as such clocks go.
    fn hold(&mut self, stamp: Stamp, last: Stamp) -> Verdict {
        let times = self.doubt.map_or(0, |doubt| doubt.times).saturating_add(1);
        let (deviation, usual) = (self.deviation(stamp).abs(), self.tolerance(stamp, last));
        let believed = (usual * f64::from(1u32 << (times - 1).min(20))).min(self.worth.wide);
        if deviation <= believed {
            self.follow(stamp);
            // More may be as far away.
            self.doubt = Some(Doubt { stamp, times });
            return Verdict::Follows;
        }
        self.doubt = Some(Doubt { stamp, times });
        self.widen(stamp, deviation);
        Verdict::Doubted
    }

    /// The line goes on as before, and says how far off it may be where a stamp deviates.
    fn widen(&mut self, stamp: Stamp, deviation: f64) {
        let Some(mut knot) = self.knot(stamp.trace).copied() else { return };
        let (utc_ns, away) = (self.along(&knot, stamp.trace), self.counted(knot.trace, stamp.trace) as f64);
        let grown = knot.uncertainty + knot.growth * away;
        // Once is enough, and again when it is worse.
        if grown < deviation {
            // Also for all that comes up to the next stamp, should they part further as quickly as they have. The line
            // itself goes on as it was planned.
            let planned = self.knots.back().copied().filter(|last| last.trace > stamp.trace);
            if planned.is_some() {
                self.knots.pop_back();
            }
            knot.uncertainty = grown + 2.0 * deviation;
            self.add(Knot { trace: stamp.trace, utc_ns, anew: false, ..knot });
            if let Some(planned) = planned {
                self.add(Knot { uncertainty: planned.uncertainty + 2.0 * deviation, ..planned });
            }
        }
    }

    /// A good stamp.
    fn take(&mut self, stamp: Stamp) {
        let Some(gap) = self.gap.filter(|gap| gap.has_long) else { return self.follow(stamp) };
        // No line lies in a long gap: right behind it nothing that was told is taken back, only times must not go back.
        let reached = self.utc_behind_ns(self.next_trace);
        self.restart([stamp]);
        let begins = gap.is_long && gap.end == stamp.trace;
        self.turn(stamp, begins.then(|| self.fitted_utc(stamp.counted).max(reached)));
    }

    fn follow(&mut self, stamp: Stamp) {
        self.window.add(stamp.counted, stamp.ahead);
        self.fit = self.window.fit();
        self.turn(stamp, None);
    }

    /// Forgets all stamps but these, and not the rate.
    fn restart<const N: usize>(&mut self, stamps: [Stamp; N]) {
        self.window.restart(&self.fit);
        for Stamp { counted, ahead, .. } in stamps {
            self.window.add(counted, ahead);
        }
        self.fit = self.window.fit();
    }

    /// From this stamp on the line heads for where it should be, or begins anew at `anew_ns`.
    fn turn(&mut self, stamp: Stamp, anew_ns: Option<i64>) {
        let Stamp { trace, counted, .. } = stamp;
        (self.doubt, self.gap) = (None, None);
        let since_ns = self.last.replace(stamp).map_or(0, |last| counted.saturating_sub(last.counted));
        // What was planned beyond is planned anew.
        while self.knots.len() > 1 && self.knots.back().is_some_and(|knot| knot.trace > trace) {
            self.knots.pop_back();
        }
        let off = (self.fit.rate * 1e-9).clamp(-MOST_OFF, MOST_OFF);
        let utc_ns = anew_ns.unwrap_or_else(|| self.utc_ns(trace));
        let astray = (self.fitted_utc(counted).saturating_sub(utc_ns)) as f64;
        let growth = 3e-9 * self.fit.rate_noise() + WANDER;
        let uncertainty = |at: i64| self.worth.accuracy + 3.0 * self.fit.noise(at);
        let straight = Knot { trace, utc_ns, off, uncertainty: uncertainty(counted), growth, anew: anew_ns.is_some() };
        if astray.abs() < 1.0 {
            return self.add(straight);
        }
        // Never so steep that times stand still.
        let slew = self.worth.slew.min((since_ns as f64).max(1.0)).max(4.0 * astray.abs());
        let traces = (slew * 1e-9 * self.prr.to_f64()).ceil().max(1.0);
        let slew_ns = traces * 1e9 / self.prr.to_f64();
        let leaning =
            Knot { off: off + astray / slew_ns, uncertainty: straight.uncertainty + astray.abs(), ..straight };
        let there = trace + traces as u64;
        let at = counted.saturating_add(slew_ns as i64);
        let arrived = Knot {
            trace: there,
            utc_ns: self.along(&leaning, there),
            uncertainty: uncertainty(at),
            anew: false,
            ..straight
        };
        self.add(leaning);
        self.add(arrived);
    }

    fn add(&mut self, knot: Knot) {
        if self.knots.back().is_some_and(|last| last.trace == knot.trace && !last.anew && !knot.anew) {
            // Of two at one trace the second says more.
            self.knots.pop_back();
        }
        self.knots.push_back(knot);
        if self.knots.len() > MOST_KNOTS {
            self.join();
        }
    }

    /// Makes room: of the older half of the line every other knot goes, and the line leads straight from one to the next of
    /// those that stay.
    fn join(&mut self) {
        let (mut read, half) = (1, MOST_KNOTS / 2);
        let mut kept = 1;
        while read < self.knots.len() {
            let skips = kept < half && read < half && !self.knots[read].anew;
            if skips && self.knots.get(read + 1).is_some_and(|next| !next.anew) {
                let next = self.knots[read + 1];
                let skipped = self.knots[read];
                let before = &mut self.knots[kept - 1];
                let counted = self.prr.traces_to_ns(next.trace - before.trace) as f64;
                before.off = (next.utc_ns.saturating_sub(before.utc_ns)) as f64 / counted.max(1.0) - 1.0;
                before.uncertainty = before.uncertainty.max(skipped.uncertainty);
                read += 1;
            }
            self.knots[kept] = self.knots[read];
            (kept, read) = (kept + 1, read + 1);
        }
        self.knots.truncate(kept);
        if self.knots.len() > MOST_KNOTS {
            self.knots.pop_front();
        }
    }

    /// The piece of the line on which `trace` lies.
    fn knot(&self, trace: u64) -> Option<&Knot> {
        let at = self.knots.partition_point(|knot| knot.trace <= trace);
        self.knots.get(at.saturating_sub(1))
    }

    /// UTC of `trace`, going along from this knot.
    fn along(&self, knot: &Knot, trace: u64) -> i64 {
        let counted = self.counted(knot.trace, trace);
        knot.utc_ns.saturating_add(counted).saturating_add((counted as f64 * knot.off).round() as i64)
    }

    /// What all stamps of the window say of the trace so long behind the first.
    fn fitted_utc(&self, counted: i64) -> i64 {
        let first_ns = self.origin.map_or(0, |(_, utc_ns)| utc_ns);
        first_ns.saturating_add(counted).saturating_add(self.fit.ahead(counted).round() as i64)
    }

    /// Nanoseconds from trace to trace by the declared rate, negative backwards.
    fn counted(&self, from: u64, to: u64) -> i64 {
        if to >= from { self.prr.traces_to_ns(to - from) } else { -self.prr.traces_to_ns(from - to) }
    }
}
