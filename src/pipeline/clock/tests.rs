//! The line through stamps against a truth that is known.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::acquisition::SampleFormat;
use crate::block::{BlockLayout, InstrumentState};

const UTC_NS: i64 = 1_790_000_000_000_000_000;

fn acquisition(clock: ClockQuality, prr: Rational) -> Arc<Acquisition> {
    Arc::new(Acquisition { clock, prr, channels: 1, sample_format: SampleFormat::I16, ..Acquisition::example() })
}

/// A block of a clock that is tested: its first trace, its length, and stamps of its rows.
fn block(acquisition: &Arc<Acquisition>, first: u64, traces: usize, stamps: &[(u64, i64)]) -> RawBlock {
    let layout = BlockLayout { channels: 1, format: SampleFormat::I16, capacity_traces: traces };
    let mut block = RawBlock::new(layout, Arc::clone(acquisition));
    (block.first_trace.0, block.traces) = (first, traces);
    if stamps.first().is_none_or(|&(trace, _)| trace != first) {
        block.mark(0, None, InstrumentState::default());
    }
    for &(trace, utc_ns) in stamps {
        block.mark((trace - first) as usize, Some(utc_ns), InstrumentState::default());
    }
    block.utc_ns = stamps.first().map_or(0, |&(_, utc_ns)| utc_ns);
    block
}

/// What happens in a run, at slots of its own.
#[derive(Clone, Debug)]
struct Run {
    clock: ClockQuality,
    prr: Rational,
    slot: u64,
    off_ppm: f64,
    jitter_ns: f64,
    /// By slot number.
    bad: Vec<(usize, i64)>,
    steps: Vec<(usize, i64)>,
    gaps: Vec<(usize, u64)>,
    blocks: Vec<usize>,
    noise: Vec<f64>,
}

/// Slots of a run: first trace, true UTC, stamp, whether traces are missing before it, and whether it lies behind a step.
struct Slot {
    first: u64,
    truth_ns: f64,
    stamp_ns: i64,
    gap: bool,
    step: bool,
}

impl Run {
    fn slots(&self) -> Vec<Slot> {
        let (mut first, mut shift) = (0, 0);
        let period_ns = 1e9 / self.prr.to_f64() / (1.0 + self.off_ppm * 1e-6);
        let of =
            |events: &[(usize, i64)], slot| events.iter().filter(|(at, _)| *at == slot).map(|(_, by)| by).sum::<i64>();
        (0..self.noise.len())
            .map(|number| {
                let gap: u64 = self.gaps.iter().filter(|(at, _)| *at == number).map(|(_, traces)| traces).sum();
                first += gap;
                let step = of(&self.steps, number);
                shift += step;
                let truth_ns = first as f64 * period_ns + shift as f64;
                let jitter = self.jitter_ns * self.noise[number];
                let stamp_ns = UTC_NS + (truth_ns + jitter).round() as i64 + of(&self.bad, number);
                let slot = Slot { first, truth_ns, stamp_ns, gap: gap > 0, step: step != 0 };
                first += self.slot;
                slot
            })
            .collect()
    }

    fn period_ns(&self) -> f64 {
        1e9 / self.prr.to_f64() / (1.0 + self.off_ppm * 1e-6)
    }

    /// Feeds all slots in blocks of so many slots, and asks for every trace of a block behind it. For each trace: number,
    /// error against the truth in ns, uncertainty in ns, time.
    fn play(&self, blocks: &[usize]) -> (Vec<Told>, TimeBase, Vec<u64>) {
        let acquisition = acquisition(self.clock, self.prr);
        let (mut time, mut told, mut steps) = (TimeBase::of(&acquisition), Vec::new(), Vec::new());
        let slots = self.slots();
        let (mut at, mut turn) = (0, 0);
        while at < slots.len() {
            let most = blocks[turn % blocks.len()];
            let follow = |n: &usize| *n == at || !slots[*n].gap;
            let end = (at..(at + most).min(slots.len())).take_while(follow).count() + at;
            let stamps: Vec<_> = slots[at..end].iter().map(|slot| (slot.first, slot.stamp_ns)).collect();
            let traces = (end - at) * self.slot as usize;
            let block = block(&acquisition, slots[at].first, traces, &stamps);
            let known = time.steps.len();
            time.update(&block);
            steps.extend(time.steps.iter().skip(known));
            for slot in &slots[at..end] {
                for offset in (0..self.slot).step_by((self.slot as usize / 4).max(1)) {
                    let truth_ns = slot.truth_ns + offset as f64 * self.period_ns();
                    let trace = slot.first + offset;
                    let utc_ns = time.utc_ns(trace);
                    told.push((trace, (utc_ns - UTC_NS) as f64 - truth_ns, time.uncertainty_ns(trace) as f64, utc_ns));
                }
            }
            (at, turn) = (end, turn + 1);
        }
        (told, time, steps)
    }
}

const SLOTS: usize = 400;

/// What is told of a trace: its number, how far that is off the truth in ns, how far it may be, and the time itself.
type Told = (u64, f64, f64, i64);

fn runs(clock: impl Strategy<Value = ClockQuality>) -> impl Strategy<Value = Run> {
    let rate = prop_oneof![Just((2000, 1)), Just((16089, 5)), Just((100, 1)), Just((20_000, 1)), Just((1000, 3))];
    let slot_ms = prop_oneof![Just(20u64), Just(50), Just(77)];
    // Far from each other, so that the truth of "a single one" is clear.
    let events = prop::collection::vec((0usize..9, -3i64..=3, 1u64..4000), 0..6);
    let noise = prop::collection::vec(-1.0f64..1.0, SLOTS);
    (clock, rate, slot_ms, -100.0f64..100.0, 0.0f64..1.0, events, prop::collection::vec(1usize..8, 1..6), noise)
        .prop_map(|(clock, (num, den), slot_ms, off_ppm, jitter, events, blocks, noise)| {
            let prr = Rational::new(num, den).unwrap();
            let precise = matches!(clock, ClockQuality::Gps | ClockQuality::Ptp);
            let mut run = Run {
                clock,
                prr,
                slot: (slot_ms * num / den / 1000).max(1),
                off_ppm,
                jitter_ns: jitter * if precise { 1e3 } else { 2e6 },
                bad: Vec::new(),
                steps: Vec::new(),
                gaps: Vec::new(),
                blocks,
                noise,
            };
            let unit = if precise { 1_000_000 } else { 100_000_000 };
            for (number, (kind, by, traces)) in events.into_iter().enumerate() {
                let slot = 60 * (number + 1);
                let by = by * unit + by.signum() * 77_777;
                match kind {
                    0..3 => run.bad.push((slot, by)),
                    3..6 if by != 0 => run.steps.push((slot, by)),
                    _ => run.gaps.push((slot, traces)),
                }
            }
            run
        })
}

/// Slots from which on a run is judged: the rate must be known.
const BEGINNING: u64 = 12;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// GPS and PTP: within a microsecond and the stamps' own jitter of the truth, but for the one slot behind a step in which
    /// it cannot be told from a bad stamp, and whose uncertainty says so.
    #[test]
    fn precise_stamps_give_precise_times(run in runs(prop_oneof![Just(ClockQuality::Gps), Just(ClockQuality::Ptp)])) {
        let (told, _, steps) = run.play(&run.blocks);
        let slots = run.slots();
        let seen: Vec<u64> = slots.iter().filter(|slot| slot.step).map(|slot| slot.first + run.slot).collect();
        prop_assert_eq!(&steps, &seen, "each step is seen by the second slot behind it, and nothing else is one");
        let mut covered = 0;
        for &(trace, error, uncertainty, _) in &told {
            covered += usize::from(error.abs() <= uncertainty);
            let unsure = seen.iter().any(|&step| (step - run.slot..step).contains(&trace));
            if trace >= BEGINNING * run.slot && !unsure {
                prop_assert!(error.abs() <= 1000.0 + run.jitter_ns, "trace {} is {} ns off", trace, error);
            }
        }
        prop_assert!(covered * 100 >= told.len() * 99, "{} of {} times lie within what is stated", covered, told.len());
    }

    /// NTP and no discipline at all: steps and bad stamps are told apart, jitter is smoothed.
    #[test]
    fn rough_stamps_are_smoothed(run in runs(prop_oneof![Just(ClockQuality::Ntp), Just(ClockQuality::FreeRunning)])) {
        let (told, _, steps) = run.play(&run.blocks);
        let slots = run.slots();
        let seen: Vec<u64> = slots.iter().filter(|slot| slot.step).map(|slot| slot.first + run.slot).collect();
        prop_assert_eq!(&steps, &seen);
        // What a rate that is not known yet makes of a gap.
        let gap_ns = run.gaps.iter().map(|&(_, traces)| traces).max().unwrap_or(0) as f64 * run.period_ns();
        for &(trace, error, uncertainty, _) in &told {
            let unsure = seen.iter().any(|&step| (step - run.slot..step).contains(&trace));
            prop_assert!(unsure || error.abs() <= 1.5 * run.jitter_ns + 1e6 + 1e-4 * gap_ns, "trace {} is {} ns off", trace, error);
            if run.clock == ClockQuality::Ntp {
                prop_assert!(error.abs() <= uncertainty);
            } else {
                prop_assert!(uncertainty < 1.0, "nobody knows");
            }
        }
    }

    /// Times depend on stamps, not on blocks, nor on when somebody asks; they rise but at steps, and never jump unmarked.
    #[test]
    fn times_do_not_depend_on_blocks(run in runs((0u32..4).prop_map(|code| ClockQuality::from_code(code).unwrap()))) {
        let (told, time, steps) = run.play(&run.blocks);
        let (other, ..) = run.play(&[1]);
        prop_assert_eq!(&told, &other);
        for pair in told.windows(2) {
            let [(from, .., before), (to, .., after)] = [pair[0], pair[1]];
            if steps.contains(&to) {
                continue;
            }
            let (passed, right) = ((after - before) as f64, (to - from) as f64 * 1e9 / run.prr.to_f64());
            prop_assert!(passed > 0.0, "times go back from {} to {}", from, to);
            let gap = to - from > run.slot;
            prop_assert!(gap || (passed / right - 1.0).abs() < 0.27, "{} to {}: {} ns instead of {}", from, to, passed, right);
        }
        // Later on the same is said of what lies in the memory of the line.
        let oldest = time.knots.front().map_or(0, |knot| knot.trace);
        for &(trace, _, _, utc_ns) in told.iter().filter(|told| told.0 >= oldest && time.knots.len() < MOST_KNOTS / 2) {
            prop_assert_eq!(time.utc_ns(trace), utc_ns);
        }
    }

    /// Any sequence of good stamps, bad ones, gaps and steps, against the plain rule by which they were made up: a stamp is
    /// followed when it says what those before say, or what the last doubted one says; all others are counted.
    #[test]
    fn what_is_followed_and_what_is_doubted_can_be_told(
        clock in 0u32..4, rate in prop_oneof![Just((2000, 1)), Just((16089, 5)), Just((20_000, 1))], off_ppm in -50.0f64..50.0,
        runs in prop::collection::vec((0u8..8, 1usize..60, 0u8..8, 1u64..50), 1..12),
    ) {
        let acquisition = acquisition(ClockQuality::from_code(clock).unwrap(), Rational::new(rate.0, rate.1).unwrap());
        let prr = acquisition.prr;
        let resume = Worth::of(acquisition.clock).resume;
        let mut time = TimeBase::of(&acquisition);
        let (slot, mut first, mut shift, mut number) = (rate.0 / rate.1 / 20, 0u64, 0i64, 0i64);
        // What the plain rule believes and doubts.
        let (mut believed, mut doubt) = (0, None);
        // Traces that were missing since the line was last where stamps are: at once, or after the second that it takes.
        let (mut last, mut astray_since, mut good) = (None::<(u64, i64)>, 0, 0);
        // The rate must be known first.
        for (kind, slots, gap, some) in std::iter::once((7, 15, 7, 1)).chain(runs) {
            for at in 0..slots {
                number += 1;
                let missing = match gap {
                    0 if at == 0 => some,
                    1 if at == 0 => (resume as u64 + resume as u64 * some / 50) * rate.0 / rate.1 / 1_000_000_000 + 1,
                    2 => some % 3,
                    _ => 0,
                };
                first += missing;
                shift += if kind == 0 && at == 0 { 7_000_000_000 * (some as i64 - 25) } else { 0 };
                let bad = if matches!(kind, 1 | 2) { 11_000_000_000 * number } else { 0 };
                let truth_ns = first as f64 * 1e9 * rate.1 as f64 / rate.0 as f64 * (1.0 - off_ppm * 1e-6);
                let stamp_ns = UTC_NS + truth_ns.round() as i64 + shift + bad;
                let told = time.update(&block(&acquisition, first, slot as usize, &[(first, stamp_ns)]));

                let gap_ns = prr.traces_to_ns(missing);
                let says = shift + bad;
                let (mut steps, mut doubted) = (0, 0);
                if says == believed {
                    doubt = None;
                } else if doubt.replace(says) == Some(says) {
                    (believed, doubt, steps) = (says, None, 1);
                } else {
                    doubted = 1;
                }
                prop_assert_eq!((told.steps, told.doubted), (steps, doubted), "slot {} at trace {}", number, first);
                let begins = number == 1 || steps == 1 || (says == believed && gap_ns >= resume);
                let anew = time.knots.iter().any(|knot| knot.anew && knot.trace == first);
                prop_assert_eq!(anew, begins, "slot {} at trace {} behind {} ns without traces", number, first, gap_ns);
                good = if says == believed { good + 1 } else { 0 };
                astray_since = gap_ns + if begins || good > 25 { 0 } else { astray_since };
                let utc_ns = time.utc_ns(first);
                if says == believed {
                    let error = (utc_ns - stamp_ns).abs();
                    let allowed = if resume < 2_000_000_000 { 1e3 } else { 1e6 } + 1e-4 * astray_since as f64;
                    prop_assert!(number < 12 || error as f64 <= allowed, "slot {} is {} ns off, {} are allowed", number, error, allowed);
                }
                if let Some((trace, before)) = last.filter(|_| steps == 0) {
                    let (passed, right) = (utc_ns - before, prr.traces_to_ns(first - trace));
                    prop_assert!(passed > 0, "times go back");
                    let steady = (passed as f64 / right as f64 - 1.0).abs() < 0.27;
                    prop_assert!(steady, "slot {}: {} ns instead of {}", number, passed, right);
                }
                last = Some((first, utc_ns));
                first += slot;
            }
        }
    }

    /// Any stamps at all: nothing overflows, and where no step is told times rise.
    #[test]
    fn any_stamps_do_no_harm(
        clock in 0u32..4, den in 1u64..1000, num in 1u64..10_000_000,
        stamps in prop::collection::vec((any::<i64>(), 0u8..4, 1u64..10_000, any::<bool>()), 1..300),
    ) {
        let acquisition = acquisition(ClockQuality::from_code(clock).unwrap(), Rational::new(num, den).unwrap());
        let mut time = TimeBase::of(&acquisition);
        let mut first = 0;
        let mut last = None;
        for (any, kind, traces, gap) in stamps {
            first += if gap { traces } else { 0 };
            let utc_ns = match kind {
                0 => any,
                1 => 0,
                2 => UTC_NS,
                _ => UTC_NS + acquisition.prr.traces_to_ns(first) + any % 1000,
            };
            let told = time.update(&block(&acquisition, first, 10, &[(first, utc_ns)]));
            let now = time.utc_ns(first + 9);
            let in_range = |utc_ns: i64| utc_ns.unsigned_abs() < (i64::MAX / 4).unsigned_abs();
            if let Some(before) = last.filter(|&before| told.steps == 0 && in_range(before) && in_range(now)) {
                prop_assert!(now >= before, "times go back from {before} to {now}");
            }
            let _ = time.uncertainty_ns(first);
            prop_assert!(time.knots.len() <= MOST_KNOTS + 2);
            last = Some(now);
            first += 10;
        }
    }
}

#[test]
fn stamps_that_stand_still_are_not_followed() {
    for clock in ClockQuality::ALL {
        let acquisition = acquisition(clock, Rational::new(1000, 1).unwrap());
        let mut time = TimeBase::of(&acquisition);
        for number in 0..1000 {
            let told = time.update(&block(&acquisition, number * 20, 20, &[(number * 20, UTC_NS)]));
            assert_eq!(told.steps, 0, "{clock:?}");
        }
        assert!((time.utc_ns(10_000) - UTC_NS - 10_000_000_000).abs() < 200_000_000, "{clock:?}: it counts on");
        let stated = time.uncertainty_ns(19_999) as i64;
        assert!(
            clock == ClockQuality::FreeRunning || stated > 19_000_000_000,
            "{clock:?}: {stated}, and says that it does"
        );
    }
}

#[test]
fn an_hour_back_is_remembered_when_a_line_is_as_long() {
    let acquisition = acquisition(ClockQuality::Gps, Rational::new(1000, 1).unwrap());
    let mut time = TimeBase::of(&acquisition);
    let truth = |trace: u64| UTC_NS + trace as i64 * 1_000_050;
    let step = 36_000 * 50;
    for number in 0..72_000 {
        let first = number * 50;
        let by = if first >= step { -7_000_000_000 } else { 0 };
        time.update(&block(&acquisition, first, 50, &[(first, truth(first) + by)]));
    }
    assert!((time.utc_ns(1000) - truth(1000)).abs() < 10_000, "{}", time.utc_ns(1000) - truth(1000));
    assert!((time.utc_ns(step - 1) - truth(step - 1)).abs() < 1000, "before the step");
    assert!((time.utc_ns(step + 50) + 7_000_000_000 - truth(step + 50)).abs() < 1000, "behind it");
    assert!(time.has_step(0, step + 50) && !time.has_step(step + 50, 3_600_000));
}
