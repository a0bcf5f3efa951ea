//! The books as `/metrics` tells them: what came in must equal what became of it. Pure.

use std::fmt::Write as _;

use fiberd::bench::observe::Metrics;

/// Both sides of one account, as names of metrics without `fiberd_`.
struct Book {
    what: &'static str,
    came: &'static [&'static str],
    went: &'static [&'static str],
}

const BOOKS: [Book; 8] = [
    Book {
        what: "traces launched",
        came: &["traces_launched_total"],
        went: &["traces_total", "traces_missed_in_source_total"],
    },
    Book {
        what: "traces read",
        came: &["traces_total"],
        went: &[
            "traces_passed_on_total",
            "traces_dropped_total{place=\"no_block\"}",
            "traces_dropped_total{place=\"dark\"}",
        ],
    },
    Book {
        what: "traces missing",
        came: &["gap_traces_total"],
        went: &[
            "traces_missed_in_source_total",
            "traces_dropped_total{place=\"no_block\"}",
            "traces_dropped_total{place=\"dark\"}",
        ],
    },
    Book { what: "traces passed on", came: &["traces_passed_on_total"], went: &["traces_processed_total"] },
    Book {
        what: "frames made",
        // Those that have no answer wait as well, and were published.
        came: &["frames_made_total", "frames_unanswered"],
        went: &[
            "frames_dropped_total{place=\"egress\"}",
            "frames_dropped_total{place=\"too_large\"}",
            "frames_without_broker_total",
            "frames_published_total",
            "frames_waiting",
        ],
    },
    Book {
        what: "frames published",
        came: &["frames_published_total"],
        went: &[
            "frames_confirmed_total",
            "frames_unroutable_total",
            "frames_dropped_total{place=\"broker\"}",
            "frames_unconfirmed_total",
            "frames_unanswered",
        ],
    },
    Book {
        what: "frames of jobs offered",
        came: &["job_frames_offered_total"],
        went: &[
            "job_frames_held_back_total{reason=\"unwanted\"}",
            "job_frames_held_back_total{reason=\"throttled\"}",
            "job_frames_held_back_total{reason=\"not_connected\"}",
            "job_frames_held_back_total{reason=\"too_large\"}",
            "job_frames_dropped_total{place=\"queue\"}",
            "job_frames_dropped_total{place=\"late\"}",
            "job_frames_published_total",
            "job_frames_waiting",
        ],
    },
    Book {
        what: "frames of jobs published",
        came: &["job_frames_published_total"],
        went: &[
            "job_frames_confirmed_total",
            "job_frames_unroutable_total",
            "job_frames_dropped_total{place=\"broker\"}",
            "job_frames_unanswered",
        ],
    },
];

/// Traces or frames by which the two sides may differ, because counts that move are read one after the other.
#[derive(Clone, Copy)]
pub struct Moving {
    pub traces: f64,
    pub frames: f64,
}

impl Moving {
    /// Nothing moves any longer.
    pub const NOTHING: Self = Self { traces: 0.0, frames: 0.0 };
}

/// The books that do not balance, in words. One of which a number is not told cannot be looked at.
pub fn unequal(metrics: &Metrics, moving: Moving) -> Vec<String> {
    let sum = |names: &[&str]| names.iter().map(|name| metrics.value(&format!("fiberd_{name}"))).sum::<Option<f64>>();
    let look = |book: &Book| {
        let (came, went) = (sum(book.came)?, sum(book.went)?);
        let allowed = if book.what.starts_with("traces") { moving.traces } else { moving.frames };
        ((came - went).abs() > allowed).then(|| format!("{}: {came} came, {went} went", book.what))
    };
    BOOKS.iter().filter_map(look).collect()
}

/// How many books the daemon lets one look at.
pub fn kept(metrics: &Metrics) -> usize {
    let told = |name: &&str| metrics.value(&format!("fiberd_{name}")).is_some();
    BOOKS.iter().filter(|book| book.came.iter().chain(book.went).all(told)).count()
}

/// Shows that each book can fail.
pub fn verify() {
    let names: std::collections::BTreeSet<_> =
        BOOKS.iter().flat_map(|book| book.came.iter().chain(book.went)).collect();
    // Every number 0, but those that have been changed.
    let metrics = |changed: &[(&str, u32)]| {
        let value = |name: &str| changed.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value);
        let mut text = String::new();
        for name in &names {
            let _ = writeln!(text, "fiberd_{name} {}", value(name));
        }
        Metrics::parse(&text)
    };
    assert_eq!(kept(&metrics(&[])), BOOKS.len());
    assert_eq!(unequal(&metrics(&[]), Moving::NOTHING), [""; 0]);
    for book in &BOOKS {
        let wrong = metrics(&[(book.went[0], 7)]);
        assert!(!unequal(&wrong, Moving::NOTHING).is_empty(), "{}", book.what);
        assert_eq!(unequal(&wrong, Moving { traces: 7.0, frames: 7.0 }), [""; 0]);
    }
    let right = metrics(&[("frames_made_total", 9), ("frames_published_total", 9), ("frames_confirmed_total", 9)]);
    assert_eq!(unequal(&right, Moving::NOTHING), [""; 0]);
    assert_eq!((kept(&Metrics::default()), unequal(&Metrics::default(), Moving::NOTHING).len()), (0, 0));
}
