//! The picture of what has been recorded over time: one page of HTML with an SVG inside, nothing loaded from elsewhere.
//! Pure.

use std::fmt::Write;

/// Shortest time that is shown.
const SHORTEST_S: i64 = 24 * 3600;

/// Of the picture, in pixels.
const LEFT: f64 = 20.0;
const RIGHT: f64 = 940.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 90.0;

/// The page: `recordings` as `[start, end]` in seconds since the UNIX epoch, on an axis that ends at `now_s`.
pub(super) fn page(recordings: &[[i64; 2]], now_s: i64) -> String {
    let first = recordings.iter().map(|[start, _]| *start).min().unwrap_or(now_s);
    let start = first.min(now_s - SHORTEST_S);
    let span = (now_s - start).max(1);
    let x = |at: i64| LEFT + (RIGHT - LEFT) * ((at - start) as f64 / span as f64).clamp(0.0, 1.0);
    let mut marks = String::new();
    for [from, to] in recordings {
        let (left, width) = (x(*from), (x(*to) - x(*from)).max(1.0));
        let title = format!("{} to {}", time(*from), time(*to));
        let _ = write!(
            marks,
            r##"<rect x="{left:.1}" y="{TOP}" width="{width:.1}" height="{:.0}" fill="#2b6cb0"><title>{title}</title></rect>"##,
            BOTTOM - TOP
        );
    }
    for tick in 0..=4 {
        let at = start + span * tick / 4;
        let anchor = ["start", "middle", "middle", "middle", "end"][tick as usize];
        let _ = write!(
            marks,
            r##"<line x1="{0:.1}" x2="{0:.1}" y1="{BOTTOM}" y2="{1}" stroke="#444"/><text x="{0:.1}" y="{2}" text-anchor="{anchor}">{3}</text>"##,
            x(at),
            BOTTOM + 6.0,
            BOTTOM + 22.0,
            time(at)
        );
    }
    let seconds: i64 = recordings.iter().map(|[from, to]| to - from).sum();
    let words = match recordings.len() {
        0 => "Nothing has been recorded.".to_owned(),
        1 => format!("1 recording, {seconds} s in all."),
        many => format!("{many} recordings, {seconds} s in all."),
    };
    format!(
        r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Recordings</title>
<style>body{{font:14px sans-serif;margin:2em;color:#222}}svg{{width:100%;max-width:960px}}text{{font:11px sans-serif;fill:#222}}</style></head>
<body><h1>Recordings</h1><p>{words} Times are UTC.</p>
<svg viewBox="0 0 960 120" role="img" aria-label="{words}">
<rect x="{LEFT}" y="{TOP}" width="{width}" height="{height}" fill="#eef2f6"/>{marks}
<line x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}" stroke="#444"/></svg></body></html>
"##,
        width = RIGHT - LEFT,
        height = BOTTOM - TOP,
    )
}

/// For people, to the minute.
fn time(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| "?".into(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_timeline_has_its_axis_and_says_that_it_is_empty() {
        let page = page(&[], 1_790_000_000);
        assert!(page.contains("Nothing has been recorded.") && page.contains("2026-09-21 14:13"), "{page}");
        assert_eq!(page.matches("<rect").count(), 1, "the empty axis alone");
        assert_eq!(page.matches("<text").count(), 5);
    }

    #[test]
    fn each_recording_is_a_bar_where_it_was() {
        let now = 1_790_000_000;
        let page = page(&[[now - 86_400, now - 43_200], [now - 10, now]], now);
        assert!(page.contains(r#"<rect x="20.0" y="30" width="460.0""#), "{page}");
        assert!(
            page.contains(r#"<rect x="939.9" y="30" width="1.0""#) && page.contains("2 recordings, 43210 s"),
            "{page}"
        );
    }
}
