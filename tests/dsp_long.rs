//! Windows that are too long to keep the samples of all channels for: they slide as exactly as short ones, over gaps and
//! however traces were cut, and lines that begin early are what they are said to be.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::sync::Arc;

use fiberd::dsp::{History, Lane, LaneOutput, Output, Plan, PlanSpec, Rows, Store, Window, Worker};
use fiberd::units::Rational;

const NFFT: usize = 16_384;
const CHANNELS: usize = 11;
const BLOCK: usize = 100;
/// As for short windows that slide.
const SLIDING_ERROR: f64 = 3e-6;

fn noise(trace: u64, channel: usize) -> f32 {
    let mut x = trace.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (channel as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// A tone in noise; of one channel with a blow that is a thousand times as strong.
fn sample(trace: u64, channel: usize) -> f32 {
    let tone = (std::f64::consts::TAU * 0.01 * (channel + 1) as f64 * trace as f64).sin() as f32;
    noise(trace, channel) + tone + if channel == 3 && trace == 20_000 { 1e3 } else { 0.0 }
}

fn plan(hop: Rational, bins: std::ops::Range<usize>) -> Arc<Plan> {
    let spec = PlanSpec { nfft: NFFT, window: Window::Hann, period_traces: hop, outputs: vec![Output::Power(bins)] };
    Arc::new(Plan::new(spec).unwrap())
}

struct Rig {
    lane: Lane,
    store: Store,
    worker: Worker,
    next: u64,
}

impl Rig {
    fn new(plan: &Arc<Plan>) -> Self {
        let lane = Lane::new(Arc::clone(plan), &[LaneOutput { output: 0, channels: 0..CHANNELS }], BLOCK);
        let store = Lane::store(std::slice::from_ref(&lane), CHANNELS, BLOCK);
        let mut worker = Worker::default();
        worker.reserve(plan);
        Self { lane, store, worker, next: 0 }
    }

    fn push(&mut self, traces: usize) {
        let rows = (self.next..self.next + traces as u64).flat_map(|t| (0..CHANNELS).map(move |c| sample(t, c)));
        let rows: Vec<f32> = rows.collect();
        self.store.push(Rows::new(&rows, CHANNELS, traces, CHANNELS));
        self.lane.push(&self.store, &mut self.worker);
        self.next += traces as u64;
    }

    fn gap(&mut self, to: u64) {
        self.next = to;
        self.store.reset(to);
        self.lane.gap(to);
    }
}

/// Power in some bins of the window that ends at `end`, zero before `since`, as large as the energy of what is left of the
/// window function says: the definition, for a few bins of many.
fn expected(channel: usize, since: u64, end: u64, bins: &[usize]) -> Vec<f64> {
    let first = end as i64 - NFFT as i64;
    let window = Window::Hann.table(NFFT);
    let seen = |place: &usize| first + *place as i64 >= since as i64;
    let energy: f64 = (0..NFFT).filter(seen).map(|n| window[n] * window[n]).sum();
    let of_bin = |&bin: &usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for n in (0..NFFT).filter(seen) {
            let x = window[n] * f64::from(sample((first + n as i64) as u64, channel));
            let (sin, cos) = (std::f64::consts::TAU * (bin * n % NFFT) as f64 / NFFT as f64).sin_cos();
            (re, im) = (re + x * cos, im - x * sin);
        }
        let one_sided = if bin == 0 || bin == NFFT / 2 { 1.0 } else { 2.0 };
        one_sided * (re * re + im * im) / (NFFT as f64 * energy)
    };
    bins.iter().map(of_bin).collect()
}

/// Some bins of a range, its ends and the tones among them.
fn some(bins: &std::ops::Range<usize>) -> Vec<usize> {
    let tones = (1..=CHANNELS).map(|c| (0.01 * (c * NFFT) as f64).round() as usize);
    let ends = [bins.start, bins.start + 1, bins.start + 2, bins.end - 2, bins.end - 1];
    tones.filter(|bin| bins.contains(bin)).take(4).chain(ends).collect()
}

/// Checks some of the lines that have just come; returns how many, and how many of these were short.
fn check(rig: &Rig, bins: &std::ops::Range<usize>, since: u64, every: u64) -> (usize, usize) {
    let (mut checked, mut short) = (0, 0);
    for (number, line) in rig.lane.lines().iter().enumerate() {
        let is_short = rig.lane.is_short(&(0..CHANNELS), line.end_trace);
        assert_eq!(is_short, line.end_trace < since + NFFT as u64, "line {}", line.index);
        if line.index % every != 0 {
            continue;
        }
        for channel in [0, 3, CHANNELS - 1] {
            let values = &rig.lane.values(0, number)[channel * bins.len()..][..bins.len()];
            let some = some(bins);
            let power = expected(channel, since, line.end_trace, &some);
            // The largest that a bin can have had without a window function. At a sixteenth of the window, the gain is 142².
            let blow = if channel == 3 { 1e3 } else { 0.0 };
            let gain = if is_short { 142.0 } else { 1.0 };
            let largest =
                gain * (2.0 * NFFT as f64 + blow) * (2.0f64 / (0.375 * NFFT as f64)).sqrt() / (NFFT as f64).sqrt();
            for (&bin, expected) in some.iter().zip(&power) {
                let error = (f64::from(values[bin - bins.start]).sqrt() - expected.sqrt()).abs();
                assert!(error < SLIDING_ERROR * largest, "line {} channel {channel} bin {bin}: {error:e}", line.index);
            }
        }
        checked += 1;
        short += usize::from(is_short);
    }
    (checked, short)
}

#[test]
fn long_windows_slide_as_exactly_as_short_ones_and_begin_early() {
    for (hop, bins) in [(Rational::new(45, 2).unwrap(), 0..500), (Rational::new(7, 1).unwrap(), 8150..NFFT / 2 + 1)] {
        let plan = plan(hop, bins.clone());
        assert!(plan.slides());
        let mut rig = Rig::new(&plan);
        rig.lane.reset(0);
        rig.lane.begin_early(true);
        let mut all = (0, 0);
        let mut since = 0;
        // More than the lines after which sums are made afresh, and a gap.
        for block in 0..420 {
            if block == 300 {
                since = rig.next + 5000;
                rig.gap(since);
            }
            rig.push([BLOCK, 3, 77][block % 3]);
            let (checked, short) = check(&rig, &bins, since, 191);
            all = (all.0 + checked, all.1 + short);
        }
        assert!(all.0 > 4 && all.1 > 1, "{all:?}");
    }
}

#[test]
fn nothing_begins_early_that_was_not_asked_to() {
    let mut rig = Rig::new(&plan(Rational::new(20, 1).unwrap(), 0..100));
    rig.lane.reset(0);
    while rig.next < 2 * NFFT as u64 {
        rig.push(BLOCK);
        assert!(rig.lane.lines().iter().all(|line| line.end_trace >= NFFT as u64));
    }
}

#[test]
fn what_has_been_kept_is_seen_by_who_comes_later() {
    let plan = plan(Rational::new(20, 1).unwrap(), 0..100);
    let mut first = Rig::new(&plan);
    first.lane.reset(0);
    // A store that keeps more than its lane needs.
    first.store = first.store.keeping(4096, BLOCK);
    (0..60).for_each(|_| first.push(BLOCK));
    let mut later = Lane::new(Arc::clone(&plan), &[LaneOutput { output: 0, channels: 0..CHANNELS }], BLOCK);
    later.keep_time(&first.lane.clock());
    later.look_back(None, Some(History::Conditioned(&first.store)));
    later.begin_early(true);
    let since = first.store.first_trace();
    assert!(since + 4096 <= first.next);
    let line = later.whole_from();
    assert!(plan.grid().start(line) <= first.next, "the line that is under way is shown");
    let mut rig = Rig { lane: later, store: first.store, worker: Worker::default(), next: first.next };
    rig.worker.reserve(&plan);
    rig.push(BLOCK);
    assert!(check(&rig, &(0..100), since, 1).1 > 0);
}

/// A channel that is alone is joined by its neighbours, and left by them again: nothing of what it knows is lost.
#[test]
fn who_is_joined_and_left_keeps_what_it_knows() {
    let plan = plan(Rational::new(20, 1).unwrap(), 0..100);
    let alone = [LaneOutput { output: 0, channels: 4..5 }];
    let together = [LaneOutput { output: 0, channels: 0..CHANNELS }];
    let mut rig = Rig::new(&plan);
    rig.lane = Lane::new(Arc::clone(&plan), &alone, BLOCK);
    rig.lane.reset(0);
    for (wants, until) in
        [(&alone, 17_000), (&together, 18_000), (&alone, 19_000), (&together, 40_000), (&alone, 41_000)]
    {
        let mut lane = Lane::new(Arc::clone(&plan), wants, BLOCK);
        lane.keep_time(&rig.lane.clock());
        let mut before = std::mem::replace(&mut rig.lane, lane);
        rig.lane.look_back(Some(&mut before), Some(History::Conditioned(&rig.store)));
        rig.lane.begin_early(true);
        while rig.next < until {
            rig.push(BLOCK);
            for (number, line) in rig.lane.lines().iter().enumerate() {
                assert_eq!(rig.lane.is_short(&(4..5), line.end_trace), line.end_trace < NFFT as u64);
                if line.index % 37 > 0 || line.end_trace < NFFT as u64 {
                    continue;
                }
                let values = &rig.lane.values(0, number)[(4 - wants[0].channels.start) * 100..][..100];
                let some = some(&(0..100));
                for (&bin, expected) in some.iter().zip(&expected(4, 0, line.end_trace, &some)) {
                    let error = (f64::from(values[bin]).sqrt() - expected.sqrt()).abs();
                    assert!(error < 1e-3, "line {}: {error:e}", line.index);
                }
            }
        }
    }
}
