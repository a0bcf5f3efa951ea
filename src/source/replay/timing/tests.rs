//! Timing against a truth that is known: rates, resolutions, scatter, losses, steps, wrong stamps and unwritten ends.

use proptest::prelude::*;

use super::*;

/// 2023-11-14T22:13:20Z.
const START: i64 = 1_700_000_000_000_000_000;

/// An acquisition, and how its stamps were written.
#[derive(Clone, Debug)]
struct Truth {
    /// Hz, as a fraction.
    rate: (u64, u64),
    rows: u64,
    /// Row, and traces lost before it.
    losses: Vec<(u64, u64)>,
    /// Row, and nanoseconds by which the clock is set there.
    steps: Vec<(u64, i64)>,
    /// Row, and what stands there instead of its stamp.
    wrong: Vec<(u64, i64)>,
    /// Half-width of the scatter in nanoseconds.
    jitter_ns: i64,
    /// Stamps are cut to multiples of this.
    resolution_ns: i64,
    /// Rows at the end that have no stamp.
    tail: u64,
    /// Hz, what the file declares.
    declared: Option<(u64, u64)>,
}

impl Truth {
    fn of(rate: u64, rows: u64) -> Self {
        Self {
            rate: (rate, 1),
            rows,
            losses: vec![],
            steps: vec![],
            wrong: vec![],
            jitter_ns: 0,
            resolution_ns: 1,
            tail: 0,
            declared: None,
        }
    }

    fn rate(&self) -> Rational {
        Rational::new(self.rate.0, self.rate.1).unwrap()
    }

    fn lost_before(&self, row: u64) -> u64 {
        self.losses.iter().filter(|loss| loss.0 <= row).map(|loss| loss.1).sum()
    }

    /// When a row was acquired, by the clock as it was set then.
    fn utc_ns(&self, row: u64) -> i64 {
        let set: i64 = self.steps.iter().filter(|step| step.0 <= row).map(|step| step.1).sum();
        START + self.rate().traces_to_ns(row + self.lost_before(row)) + set
    }

    /// Stamps in units of `unit_ns`.
    fn stamps(&self, unit_ns: i64) -> Vec<i64> {
        let mut random = 12345u64;
        let stamp = |row| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let scatter =
                if self.jitter_ns == 0 { 0 } else { (random >> 33) as i64 % (2 * self.jitter_ns + 1) - self.jitter_ns };
            let ns = self.utc_ns(row) + scatter;
            ns / self.resolution_ns * self.resolution_ns / unit_ns
        };
        let mut stamps: Vec<i64> = (0..self.rows).map(stamp).collect();
        for &(row, ns) in &self.wrong {
            stamps[row as usize] = ns / unit_ns;
        }
        stamps.resize(self.rows as usize, 0);
        stamps[(self.rows - self.tail) as usize..].fill(0);
        stamps
    }

    fn timing(&self) -> Timing {
        timing_of(&self.stamps(1), 1, self.declared.and_then(|(num, den)| Rational::new(num, den)), None)
    }

    /// Every row within `allowed_ns` of the truth, and every loss found at its row.
    fn check(&self, timing: &Timing, allowed_ns: i64) -> Result<(), String> {
        let mut found = 0;
        for (number, segment) in timing.segments.iter().enumerate() {
            let gap = segment.gap_before.ok_or_else(|| format!("time goes back at row {}", segment.row))?;
            found += gap;
            let last = segment.row + segment.rows - 1;
            for row in [segment.row, last] {
                let utc_ns = segment.utc_ns + timing.rate.traces_to_ns(row - segment.row);
                let off = utc_ns - self.utc_ns(row);
                if off.abs() > allowed_ns {
                    return Err(format!(
                        "row {row} is off by {off} ns; rate {}, segment {number}: {segment:?}",
                        timing.rate
                    ));
                }
            }
        }
        let lost = self.lost_before(self.rows);
        if found == lost { Ok(()) } else { Err(format!("{found} traces missing, truth {lost}: {:?}", timing.segments)) }
    }
}

fn timing_of(stamps: &[i64], unit_ns: i64, declared: Option<Rational>, start_ns: Option<i64>) -> Timing {
    // In uneven parts, as a file hands them on.
    let mut pass = |sink: &mut Sink<'_>| {
        stamps.chunks(977).for_each(&mut *sink);
        Ok(())
    };
    work_out(Statements {
        rows: stamps.len() as u64,
        declared_rate: declared,
        start_ns,
        end_ns: None,
        lost_together: 1,
        stamps: Some(Stamps { unit_ns, precision_ns: unit_ns, layout: Layout::Every(1), pass: &mut pass }),
    })
    .unwrap()
}

fn count(timing: &Timing, kind: Kind) -> u64 {
    timing.findings.iter().filter(|finding| finding.kind == kind).map(|finding| finding.count).sum()
}

#[test]
fn stamps_coarser_than_a_trace_keep_the_rate() {
    for declared in [None, Some((4000, 1))] {
        let truth = Truth { resolution_ns: 1_000_000, declared, ..Truth::of(4000, 400) };
        let timing = truth.timing();
        assert_eq!((timing.rate, timing.segments.len()), (truth.rate(), 1));
        truth.check(&timing, 1_000_000).unwrap();
        let millis =
            timing_of(&truth.stamps(1_000_000), 1000, truth.declared.and_then(|(n, d)| Rational::new(n, d)), None);
        assert_eq!((millis.rate, millis.segments.len()), (truth.rate(), 1), "milliseconds instead of microseconds");
        assert_eq!(count(&millis, Kind::OtherUnit), 1);
    }
    let seconds = Truth { resolution_ns: 1_000_000_000, ..Truth::of(1000, 20_000) };
    assert_eq!(seconds.timing().rate, seconds.rate());
    let lost = Truth { resolution_ns: 1_000_000, losses: vec![(1000, 1), (2001, 30)], ..Truth::of(4000, 4000) };
    lost.check(&lost.timing(), 1_000_000).unwrap();
}

#[test]
fn unwritten_ends_are_not_read() {
    let truth = Truth { tail: 40, declared: Some((1000, 1)), ..Truth::of(1000, 300) };
    let timing = truth.timing();
    assert_eq!((timing.rows, timing.segments.len(), count(&timing, Kind::Unwritten)), (260, 1, 40));
    for repeated in [truth.utc_ns(259), START + 3_600_000_000_000] {
        let mut stamps = truth.stamps(1);
        stamps[260..].fill(repeated);
        let timing = timing_of(&stamps, 1, Rational::new(1000, 1), None);
        assert_eq!((timing.rows, timing.segments.len(), count(&timing, Kind::Unwritten)), (260, 1, 40));
    }
    let never = timing_of(&[0; 300], 1, Rational::new(1000, 1), Some(START));
    assert_eq!((never.rows, never.segments[0].utc_ns, count(&never, Kind::NoStamps)), (300, START, 300));
}

#[test]
fn one_wrong_stamp_moves_nothing_and_is_counted() {
    for (row, ns) in [
        (500, START + 750_000_000),
        (500, START + 1_100_000_000),
        (500, 0),
        (500, 5),
        (0, START - 250_000_000),
        (999, START),
        (500, i64::MAX / 2),
    ] {
        let truth = Truth { wrong: vec![(row, ns)], ..Truth::of(1000, 1000) };
        let timing = truth.timing();
        truth.check(&timing, 0).unwrap();
        assert_eq!((count(&timing, Kind::NotBelieved), timing.segments.len()), (1, 1), "row {row}");
        assert_eq!(timing.rate, truth.rate());
    }
    // It hides no gap.
    let truth = Truth { wrong: vec![(500, START + 1_100_000_000)], losses: vec![(2000, 500)], ..Truth::of(1000, 3000) };
    truth.check(&truth.timing(), 0).unwrap();
    let burst =
        Truth { wrong: (500..520).map(|row| (row, START + 5_000_000 * row as i64)).collect(), ..Truth::of(1000, 3000) };
    let timing = burst.timing();
    burst.check(&timing, 0).unwrap();
    assert_eq!(count(&timing, Kind::NotBelieved), 20);
}

#[test]
fn scatter_of_the_host_is_no_other_rate() {
    for declared in [None, Some((1000, 1))] {
        let truth = Truth { jitter_ns: 300_000, declared, ..Truth::of(1000, 3000) };
        let timing = truth.timing();
        assert!((timing.rate.to_f64() - 1000.0).abs() < 0.05, "{}", timing.rate);
        assert_eq!((timing.segments.len(), count(&timing, Kind::NotBelieved)), (1, 0));
        truth.check(&timing, 100_000).unwrap();
        let lost = Truth { losses: vec![(1000, 1), (2000, 5)], ..truth };
        lost.check(&lost.timing(), 100_000).unwrap();
    }
}

#[test]
fn lost_lines_are_counted_to_the_line() {
    for lost in [1, 2, 5, 9, 500, 1_000_000] {
        let truth = Truth { losses: vec![(1500, lost)], ..Truth::of(1000, 3000) };
        truth.check(&truth.timing(), 0).unwrap();
    }
    let often = Truth { losses: (1..100).map(|i| (i * 30, 1 + i % 3)).collect(), ..Truth::of(1000, 3000) };
    often.check(&often.timing(), 0).unwrap();
    let regular = Truth { losses: (1..400).map(|i| (i * 7, 1)).collect(), ..often };
    let regular = Truth { declared: Some((1000, 1)), ..regular };
    regular.check(&regular.timing(), 0).unwrap();
}

#[test]
fn many_wrong_stamps_do_not_widen_what_is_believed() {
    let wrong =
        (0..1500u64).filter(|row| row * row % 11 == 3).map(|row| (row, START + (row as i64 * 7919) % 1_000_003 * 1000));
    let truth = Truth { wrong: wrong.collect(), losses: vec![(2000, 1)], ..Truth::of(1000, 3000) };
    let timing = truth.timing();
    truth.check(&timing, 0).unwrap();
    assert!(count(&timing, Kind::NotBelieved).abs_diff(truth.wrong.len() as u64) <= 2);
}

#[test]
fn stamps_in_bursts_keep_the_declared_rate() {
    let stamps: Vec<i64> = (0..3000).map(|row| START + (row / 8 * 8 + 7) * 1_000_000 + row % 8 * 1000).collect();
    let timing = timing_of(&stamps, 1, Rational::new(1000, 1), None);
    assert_eq!(
        (timing.rate, timing.segments.len(), timing.rate_is_measured),
        (Rational::new(1000, 1).unwrap(), 1, false)
    );
}

#[test]
fn a_small_step_of_the_clock_is_no_other_rate() {
    for step in [300_000, -300_000] {
        let truth = Truth { steps: vec![(1000, step)], declared: Some((1000, 1)), ..Truth::of(1000, 3000) };
        let timing = truth.timing();
        assert_eq!((timing.rate, timing.rate_is_measured), (truth.rate(), false));
        truth.check(&timing, 0).unwrap();
    }
}

#[test]
fn a_step_back_is_said_and_begins_anew() {
    let truth = Truth { steps: vec![(1500, -1_000_000_000)], ..Truth::of(1000, 3000) };
    let timing = truth.timing();
    let begins: Vec<_> = timing.segments.iter().map(|s| (s.row, s.utc_ns, s.gap_before)).collect();
    assert_eq!(begins, [(0, START, Some(0)), (1500, START + 500_000_000, None)]);
    assert_eq!((count(&timing, Kind::StepBack), count(&timing, Kind::EndBeforeStart)), (1, 0));
    let hour = Truth { steps: vec![(1500, -3_600_000_000_000)], ..truth };
    assert_eq!(count(&hour.timing(), Kind::EndBeforeStart), 1);
}

#[test]
fn units_are_recognised() {
    let truth = Truth { resolution_ns: 1000, ..Truth::of(1000, 300) };
    for (unit_ns, by_format) in [(1000, 1), (1, 1000), (1_000_000, 1), (1000, 1_000_000)] {
        let timing = timing_of(&truth.stamps(unit_ns), by_format, None, None);
        truth.check(&timing, unit_ns).unwrap();
        assert_eq!((timing.rate, count(&timing, Kind::OtherUnit)), (truth.rate(), 1), "{unit_ns} for {by_format}");
    }
    let relative: Vec<i64> = (0..300).map(|row| row * 1000).collect();
    let timing = timing_of(&relative, 1, Rational::new(1000, 1), Some(START));
    assert_eq!((timing.rate, timing.rows, timing.segments[0].utc_ns), (truth.rate(), 300, START));
    truth.check(&timing, 0).unwrap();
    assert_eq!(from_float_seconds(1_700_000_000_123.0), START + 123_000_000);
}

#[test]
fn the_stronger_statement_holds_and_the_other_is_named() {
    let truth = Truth { declared: Some((4000, 1)), ..Truth::of(1000, 300) };
    let timing = truth.timing();
    assert_eq!((timing.rate, timing.rate_is_measured, count(&timing, Kind::RateContradicts)), (truth.rate(), true, 1));
    // 20 ppm over a minute are more than the resolution.
    let slow = Truth { rate: (100_000_200, 100_000), declared: Some((1000, 1)), ..Truth::of(1000, 60_000) };
    let timing = slow.timing();
    assert!(timing.rate_is_measured);
    slow.check(&timing, 1000).unwrap();
    let checked = |start_ns, end_ns| {
        let stamps = truth.stamps(1);
        let mut pass = |sink: &mut Sink<'_>| {
            sink(&stamps);
            Ok(())
        };
        let stamps = Some(Stamps { unit_ns: 1, precision_ns: 1, layout: Layout::Every(1), pass: &mut pass });
        let declared_rate = Rational::new(1000, 1);
        work_out(Statements { rows: 300, declared_rate, start_ns, end_ns, lost_together: 1, stamps }).unwrap()
    };
    let end = truth.utc_ns(299);
    assert!(checked(Some(START), Some(end)).findings.is_empty());
    for (start, bad_end, kind) in [
        (START, end + 3_600_000_000_000, Kind::EndContradicts),
        (START, START - 1, Kind::EndBeforeStart),
        (START + 3_600_000_000_000, end + 7_200_000_000_000, Kind::StartContradicts),
    ] {
        let timing = checked(Some(start), Some(bad_end));
        assert_eq!(count(&timing, kind), 1, "{kind:?}: {:?}", timing.findings);
        truth.check(&timing, 0).unwrap();
    }
}

#[test]
fn a_clock_that_wanders_is_followed() {
    // 10 ms to and fro within 100 s.
    let swing = |row: i64| (1e7 * (row as f64 / 1e5 * std::f64::consts::TAU).sin()) as i64;
    let stamps: Vec<i64> = (0..100_000).map(|row| START + row * 1_000_000 + swing(row)).collect();
    let timing = timing_of(&stamps, 1, None, None);
    assert!(timing.segments.iter().all(|segment| segment.gap_before == Some(0)), "{:?}", timing.segments);
    let mut before = 0;
    for segment in &timing.segments {
        for row in [segment.row, segment.row + segment.rows - 1] {
            let utc_ns = segment.utc_ns + timing.rate.traces_to_ns(row - segment.row);
            assert!(utc_ns > before && (utc_ns - stamps[row as usize]).abs() < 2_000_000, "row {row}");
            before = utc_ns;
        }
    }
}

#[test]
fn counters_say_what_was_lost_and_stamps_hold_against_a_false_one() {
    let truth = Truth { losses: vec![(80, 32)], ..Truth::of(3000, 160) };
    for false_jump in [0, 1_000_000] {
        let blocks: Vec<Block> = (0..20)
            .map(|block| Block {
                row: block * 8,
                lost_before: match block {
                    10 => 32,
                    15 => false_jump,
                    _ => 0,
                },
            })
            .collect();
        let stamps: Vec<i64> = (0..20).map(|block| truth.utc_ns(block * 8)).collect();
        let mut pass = |sink: &mut Sink<'_>| {
            sink(&stamps);
            Ok(())
        };
        let stamps = Some(Stamps { unit_ns: 1, precision_ns: 1, layout: Layout::Blocks(&blocks), pass: &mut pass });
        let declared_rate = Rational::new(3000, 1);
        let timing =
            work_out(Statements { rows: 160, declared_rate, start_ns: None, end_ns: None, lost_together: 1, stamps })
                .unwrap();
        truth.check(&timing, 1000).unwrap();
    }
}

fn rates() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (1u64..100_000).prop_map(|hz| (hz, 1)),
        (1u64..100_000).prop_map(|tenths| (tenths, 10)),
        (1000u64..100_000, 1u64..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clean_stamps_of_any_rate_and_resolution(
        rate in rates(), power in 0u32..10, rows in 3u64..3000, is_declared in any::<bool>(),
    ) {
        let resolution_ns = 10i64.pow(power);
        let declared = is_declared.then_some(rate);
        let truth = Truth { rate, resolution_ns, declared, ..Truth::of(1, rows) };
        let span = truth.rate().traces_to_ns(rows);
        // Some edges are wanted where stamps are coarse; and a stamp that is one cut late now and then is a loss to
        // everyone: of cuts of about a period there must be many or none.
        prop_assume!(span > 20 * resolution_ns);
        let periods = resolution_ns as f64 * truth.rate().to_f64() / 1e9;
        let rest = (periods - periods.round()).abs().min((1.0 / periods - (1.0 / periods).round()).abs() * periods);
        prop_assume!(is_declared || periods < 0.2 || rest == 0.0 || rest * rows as f64 > 40.0 * periods.max(1.0));
        let timing = truth.timing();
        prop_assert_eq!(count(&timing, Kind::NotBelieved), 0);
        truth.check(&timing, 2 * resolution_ns + 2).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn losses_wrong_stamps_and_ends_together(
        rate in rates(),
        losses in prop::collection::btree_map(10u64..900, 1u64..2000, 0..6),
        wrong in prop::collection::btree_map(1u64..950, -1_000_000_000_000i64..1_000_000_000_000, 0..10),
        tail in prop_oneof![Just(0u64), 1u64..40],
    ) {
        let losses: Vec<_> = losses.into_iter().collect();
        // Wrong ones apart from losses and from each other: next to a step nothing tells which is which.
        let far = |row: u64| losses.iter().all(|loss| loss.0.abs_diff(row) > 8);
        let mut kept: Vec<(u64, i64)> = Vec::new();
        for (row, off) in wrong {
            if far(row) && kept.last().is_none_or(|before| row - before.0 > 8) && off.abs() > 2_000_000_000_000 / rate.0 as i64 * rate.1 as i64 {
                kept.push((row, off));
            }
        }
        prop_assume!(losses.windows(2).all(|pair| pair[1].0 - pair[0].0 > 8));
        let mut truth = Truth { rate, losses, tail, ..Truth::of(1, 1000) };
        truth.wrong = kept.iter().map(|&(row, off)| (row, truth.utc_ns(row) + off)).collect();
        let timing = truth.timing();
        prop_assert_eq!(timing.rows, 1000 - tail);
        prop_assert_eq!(count(&timing, Kind::NotBelieved), truth.wrong.len() as u64);
        truth.check(&timing, 20).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn scatter_below_half_a_period(
        hertz in 1u64..5000, part in 0.0f64..0.3, rows in 500u64..4000, lost in 0u64..50, declared in any::<bool>(),
    ) {
        let jitter_ns = (part * 1e9 / hertz as f64) as i64;
        let losses = if lost > 0 { vec![(rows / 3, lost)] } else { vec![] };
        let declared = declared.then_some((hertz, 1));
        let truth = Truth { losses, jitter_ns, declared, ..Truth::of(hertz, rows) };
        let timing = truth.timing();
        prop_assert_eq!(count(&timing, Kind::NotBelieved), 0);
        truth.check(&timing, jitter_ns / 3 + 1000).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn steps_back_begin_anew(row in 20u64..980, back_ns in 2_000_000i64..1_000_000_000_000) {
        let truth = Truth { steps: vec![(row, -back_ns)], ..Truth::of(1000, 1000) };
        let timing = truth.timing();
        let back: Vec<_> = timing.segments.iter().filter(|s| s.gap_before.is_none()).map(|s| (s.row, s.utc_ns)).collect();
        prop_assert_eq!(back, [(row, truth.utc_ns(row))]);
    }

    #[test]
    fn whatever_stands_there(
        stamps in prop::collection::vec(prop_oneof![any::<i64>(), 0i64..1000, START..START + 10_000], 0..300),
        unit in prop_oneof![Just(1i64), Just(1000), Just(1_000_000_000)], together in 0u64..5, declared in any::<Option<u64>>(),
        start_ns in any::<Option<i64>>(), end_ns in any::<Option<i64>>(),
    ) {
        let mut pass = |sink: &mut Sink<'_>| {
            sink(&stamps);
            Ok(())
        };
        let rows = stamps.len() as u64;
        let found = work_out(Statements {
            rows,
            declared_rate: declared.and_then(|num| Rational::new(num, 1000)),
            start_ns,
            end_ns,
            lost_together: together,
            stamps: Some(Stamps { unit_ns: unit, precision_ns: unit, layout: Layout::Every(1), pass: &mut pass }),
        });
        if let Ok(timing) = found {
            prop_assert!(timing.segments.first().is_some_and(|segment| segment.row == 0));
            prop_assert_eq!(timing.segments.iter().map(|segment| segment.rows).sum::<u64>(), timing.rows);
        }
    }
}
