//! The exact rate: one slope through all runs, or the declared rate when the stamps allow it.

use super::Statements;
use super::findings::{Findings, Kind};
use super::run::{Run, Sums};
use super::runs::Tracked;
use super::sample::Guess;
use super::stamps::Scale;
use crate::units::Rational;

/// The lines of all runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// Traces a second.
    pub(super) rate: Rational,
    /// Whether it comes from the stamps.
    pub(super) is_measured: bool,
    /// Nanoseconds by which the period is longer than the guessed one.
    pub(super) longer_ns: f64,
    /// Whether lines go through the first and last stamp, and not through the middle of all.
    pub(super) through_ends: bool,
    /// How finely the stamps are given, in nanoseconds.
    pub(super) resolution_ns: f64,
    /// Root mean square of the distance of stamps from their line.
    pub(super) scatter_ns: f64,
    /// How far a stamp is from where the one before puts it, of three in four.
    pub(super) spread_ns: f64,
}

/// A slope, and how far it may be off, both in nanoseconds a trace.
#[derive(Clone, Copy)]
struct Slope {
    longer_ns: f64,
    error_ns: f64,
}

/// Lays one slope through all runs; `None` when it is none that a fraction can hold.
pub(super) fn fit(
    tracked: &Tracked,
    guess: &Guess,
    scale: &Scale,
    statements: &Statements<'_>,
    findings: &mut Findings,
) -> Option<Fit> {
    let runs = &tracked.runs;
    let pooled = pooled(runs);
    let way = runs.iter().map(|run| run.last.0).sum::<f64>();
    let scatter_ns = scatter(&pooled, runs.len());
    // Stamps that are multiples of more than they scatter are exact: they happen to fall on round times.
    let multiple_ns = scale.multiple_ns as f64;
    let precision_ns = scale.precision_ns as f64;
    let resolution_ns = match scatter_ns < multiple_ns / 20.0 {
        // An edge is not sharper than a row is long.
        true if guess.repeats > 0.0 => precision_ns.max(guess.period),
        true => precision_ns,
        false => multiple_ns,
    };
    let ends = ends(runs, way, guess, precision_ns);
    let line = line(&pooled, scatter_ns, guess, precision_ns);
    let through_ends = ends.error_ns <= line.error_ns;
    let slope = if through_ends { ends } else { line };
    let rounded_ns = resolution_ns / way.max(1.0);
    let period_ns = guess.period + slope.longer_ns;
    let declared = statements.declared_rate.filter(|rate| {
        let off = (1e9 / rate.to_f64() - period_ns).abs();
        // What stamps are multiples of may be chance; a little of it is allowed to the declared rate.
        let cut_ns = multiple_ns.min(guess.period / 8.0) / way.max(1.0);
        // Where stamps scatter by more than a period, a trace that was lost looks like another rate.
        let lost_ns = if guess.width > guess.period { guess.width / way.max(1.0) } else { 0.0 };
        way == 0.0 || off <= rounded_ns.max(cut_ns).max(lost_ns).max(4.0 * slope.error_ns)
    });
    let allowed_ns = if through_ends { rounded_ns / 2.0 } else { (rounded_ns / 2.0).max(slope.error_ns) };
    let measured = || simplest(period_ns, allowed_ns).or_else(|| simplest(guess.period, 0.0));
    let (rate, is_measured) = match (declared, measured()) {
        (Some(declared), _) => (declared, false),
        (None, Some(measured)) => (measured, true),
        // Not even a period within what a fraction can hold.
        (None, None) => return None,
    };
    if let Some(declared) = statements.declared_rate.filter(|_| is_measured) {
        let micro = |rate: Rational| (rate.to_f64() * 1e6).round() / 1e6;
        let detail = format!("{} Hz contradicts the times: {} Hz is used", micro(declared), micro(rate));
        findings.add(Kind::RateContradicts, 1, &detail);
    }
    let longer_ns = 1e9 / rate.to_f64() - guess.period;
    Some(Fit { rate, is_measured, longer_ns, through_ends, resolution_ns, scatter_ns, spread_ns: guess.spread })
}

/// Sums about the middle of each run, added up.
fn pooled(runs: &[Run]) -> Sums {
    let mut all = Sums::default();
    for Sums { n, x, y, xx, xy, yy } in runs.iter().map(|run| run.sums) {
        all.n += n;
        all.xx += xx - x * x / n;
        all.xy += xy - x * y / n;
        all.yy += yy - y * y / n;
    }
    all
}

fn scatter(pooled: &Sums, runs: usize) -> f64 {
    let explained = if pooled.xx > 0.0 { pooled.xy * pooled.xy / pooled.xx } else { 0.0 };
    let free = (pooled.n - runs as f64 - 1.0).max(1.0);
    ((pooled.yy - explained).max(0.0) / free).sqrt()
}

/// From the first to the last stamp of each run: best where stamps are smooth and the clock wanders.
fn ends(runs: &[Run], way: f64, guess: &Guess, precision_ns: f64) -> Slope {
    if way <= 0.0 {
        return Slope { longer_ns: 0.0, error_ns: f64::INFINITY };
    }
    let longer = runs.iter().map(|run| run.last.1).sum::<f64>();
    Slope { longer_ns: longer / way, error_ns: 2.0 * single(guess, precision_ns) * (runs.len() as f64).sqrt() / way }
}

/// A regression through all stamps: best where stamps scatter and the clock is steady. Stamps that scatter less from one
/// to the next than about the line hang together: then they count for fewer.
fn line(pooled: &Sums, scatter_ns: f64, guess: &Guess, precision_ns: f64) -> Slope {
    if pooled.xx <= 0.0 {
        return Slope { longer_ns: 0.0, error_ns: f64::INFINITY };
    }
    let scatter = scatter_ns.max(precision_ns / 12f64.sqrt());
    let independent = (single(guess, precision_ns) / scatter).powi(2).min(1.0);
    let error_ns = scatter / (pooled.xx * independent.max(2.0 / pooled.n.max(2.0))).sqrt();
    Slope { longer_ns: pooled.xy / pooled.xx, error_ns }
}

/// How far a single stamp is off, as a standard deviation: of normal scatter three of four differences of two stamps are
/// within 1.63 times that.
fn single(guess: &Guess, precision_ns: f64) -> f64 {
    (guess.spread / 1.63).max(precision_ns / 12f64.sqrt())
}

/// The rate with the fewest digits, of itself or of its period in nanoseconds, whose period is within `allowed_ns`.
fn simplest(period_ns: f64, allowed_ns: f64) -> Option<Rational> {
    let rate = 1e9 / period_ns;
    for digits in 1..=15 {
        let (as_rate, as_period) = (rounded(rate, digits)?, rounded(period_ns, digits)?);
        if (1e9 / as_rate.to_f64() - period_ns).abs() <= allowed_ns {
            return Some(as_rate);
        }
        if (as_period.to_f64() - period_ns).abs() <= allowed_ns {
            return Rational::new(1_000_000_000, 1)?.checked_mul(as_period.recip());
        }
    }
    Rational::from_f64(rate)
}

/// To so many digits.
fn rounded(value: f64, digits: usize) -> Option<Rational> {
    Rational::from_decimal(&format!("{value:.*e}", digits - 1))
}
