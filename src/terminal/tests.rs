//! The picture and the screen, on frames whose content is known.

use std::sync::Arc;

use proptest::prelude::*;

use super::colour::{self, Colours};
use super::*;
use crate::acquisition::{Acquisition, DarkReason, Phase};
use crate::frame::{ChannelAxis, Frame, Stream};
use crate::status::BrokerState;

const CHANNELS: usize = 2000;
const T0_NS: i64 = 1_790_000_000_000_000_000;

fn acquisition() -> Arc<Acquisition> {
    Arc::new(Acquisition { channels: CHANNELS, dx_m: 1.0, ..Acquisition::example() })
}

fn stream(name: &str) -> Arc<Stream> {
    let example = Frame::example();
    let channels = ChannelAxis { start: 0, step: 1, count: CHANNELS };
    Arc::new(Stream { name: name.into(), channels, ..Stream::clone(&example.stream) })
}

/// One line at `ms`: faint everywhere, a thousand times that on channels 1500…1509.
fn frame(acquisition: &Arc<Acquisition>, stream: &Arc<Stream>, ms: i64) -> Frame {
    let values: Vec<f32> = (0..CHANNELS).map(|c| if (1500..1510).contains(&c) { 1e-3 } else { 1e-6 }).collect();
    Frame {
        acquisition: Arc::clone(acquisition),
        stream: Arc::clone(stream),
        lines: 1,
        utc_first_ns: T0_NS + ms * 1_000_000,
        values: values.into(),
        ..Frame::example()
    }
}

fn picture_of(times_ms: &[i64]) -> WaterfallPicture {
    let (acquisition, stream) = (acquisition(), stream("w"));
    let mut picture = WaterfallPicture::new(60, 0.5);
    for &ms in times_ms {
        picture.add(&frame(&acquisition, &stream, ms));
    }
    picture
}

fn status() -> Arc<Status> {
    let status = Status::new("north", Some(2000.0));
    status.set_phase(Phase::Acquiring(acquisition()));
    status
}

fn snapshot(status: &Status) -> Snapshot {
    Rates::new().snapshot(status, "http://127.0.0.1:5000", "127.0.0.1:5672")
}

fn screen(width: usize, height: usize, colours: Colours) -> Screen {
    Screen { width, height, colours }
}

/// What remains when the escapes are taken out.
fn visible(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        rest = escape.find('m').map_or("", |end| &escape[end + 1..]);
    }
    out + rest
}

#[test]
fn the_brightest_column_stands_above_its_distance_on_the_axis() {
    let picture = picture_of(&(0..200).map(|i| i * 50).collect::<Vec<_>>());
    let text = render(&snapshot(&status()), &picture, &[], screen(109, 40, Colours::None));
    let lines: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
    let labels = text.lines().find(|l| l.contains("1500 m")).expect("the axis names 1500 m");
    let label_at = labels.chars().collect::<String>().find("1500 m").unwrap();
    let bright: Vec<usize> = lines.iter().filter_map(|l| l.iter().position(|&c| c == '@')).collect();
    assert!(bright.len() >= 20, "one line for each half second:\n{text}");
    assert!(bright.iter().all(|&at| at == label_at), "{bright:?} and {label_at}:\n{text}");
    let axis = text.lines().find(|l| l.contains('┴')).unwrap();
    assert_eq!(axis.chars().nth(label_at), Some('┴'));
    assert!(text.contains("band energy 5–200 Hz, -60 to "), "{text}");
}

#[test]
fn the_phase_and_its_reason_are_read_from_afar() {
    let status = status();
    status.set_phase(Phase::WaitingForFiber(DarkReason::NoTraces));
    let mut now = snapshot(&status);
    now.report.now_ms = now.report.since_ms + 12_345;
    let text = render(&now, &WaterfallPicture::default(), &[], screen(80, 24, Colours::True));
    let banner = text.lines().nth(1).unwrap();
    assert!(visible(banner).starts_with(" waiting for fiber — no new traces (12 s) "), "{banner:?}");
    assert!(banner.starts_with("\x1b[1m\x1b[38;2;255;255;255;48;2;170;50;20m"), "{banner:?}");
    assert_eq!(visible(banner).chars().count(), 80, "the colour goes over the whole width");
    assert!(words::summary(&now).starts_with("waiting for fiber — no new traces (12 s) | "));
}

#[test]
fn losses_and_the_broker_are_told_in_words() {
    let status = status();
    let text = |status: &Status| render(&snapshot(status), &picture_of(&[0]), &[], screen(120, 30, Colours::None));
    assert!(text(&status).contains("lost     nothing"));
    status.counters.capture.gaps.add(1);
    status.counters.capture.gap_traces.add(120);
    status.counters.capture.traces_dropped_no_block.add(40);
    status.counters.egress.frames_dropped.add(2);
    status.counters.publish.frames_waiting.set(7.0);
    status.set_broker(BrokerState::Away);
    let shown = text(&status);
    for part in [
        "120 traces in 1 gap · 40 traces because the pipeline was too slow · 2 frames on the way to the broker",
        "no broker at 127.0.0.1:5672: frames are made and shown, not published",
        "7 waiting",
        "http://127.0.0.1:5000",
        "2000 asked, 2000 declared",
        "acquiring — 2000 channels at 2000 Hz",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    status.set_broker(BrokerState::Connected);
    status.counters.publish.confirm_latency.record(Duration::from_millis(4));
    assert!(text(&status).contains("publishing to 127.0.0.1:5672 · to confirm p50 ≤ 5 ms, p99 ≤ 5 ms"));
}

#[test]
fn time_without_lines_has_its_own_colour_and_a_short_gap_its_mark() {
    // Two seconds, three seconds of nothing, two seconds.
    let mut times: Vec<i64> = (0..40).map(|i| i * 50).collect();
    times.extend((0..40).map(|i| 5000 + i * 50));
    let mut picture = picture_of(&times);
    assert_eq!(picture.rows.len(), 14);
    assert_eq!(picture.rows.iter().filter(|row| row.power.is_empty()).count(), 6);
    picture.rows[12].gap_traces = 3;

    let plain = render(&snapshot(&status()), &picture, &[], screen(60, 40, Colours::None));
    assert_eq!(plain.lines().filter(|l| l.ends_with(&"!".repeat(51))).count(), 6, "{plain}");
    assert_eq!(plain.lines().filter(|l| l.ends_with(" !")).count(), 1, "{plain}");
    let coloured = render(&snapshot(&status()), &picture, &[], screen(60, 40, Colours::True));
    let [r, g, b] = colour::GAP;
    let both = format!("\x1b[38;2;{r};{g};{b};48;2;{r};{g};{b}m{}", "▀".repeat(51));
    assert_eq!(coloured.matches(&both).count(), 3, "six rows, two to a line");
}

#[test]
fn rows_are_means_and_a_seam_is_one_empty_row() {
    let picture = picture_of(&[0, 100, 499, 500, 0, 50]);
    let lines: Vec<u32> = picture.rows.iter().map(|row| row.lines).collect();
    assert_eq!(lines, [3, 1, 0, 2]);
    let row = &picture.rows[0];
    assert_eq!(row.power.len(), 512);
    let brightest = (0..512).max_by(|&a, &b| row.power[a].total_cmp(&row.power[b])).unwrap();
    assert!((1500 * 512 / CHANNELS..=1510 * 512 / CHANNELS).contains(&brightest), "{brightest}");
    assert!((row.power[brightest] - 1e-3).abs() < 1e-8);
    // However long nothing comes, the picture does not grow.
    assert_eq!(picture_of(&[0, 1_000_000_000]).rows.len(), 60);
}

#[test]
fn a_second_waterfall_is_not_torn_into_the_first() {
    let (acquisition, first, second) = (acquisition(), stream("first"), stream("second"));
    let mut picture = WaterfallPicture::new(10, 0.5);
    picture.add(&frame(&acquisition, &first, 0));
    picture.add(&frame(&acquisition, &second, 0));
    assert_eq!(picture.rows.iter().map(|row| row.lines).sum::<u32>(), 1);
    // The same view planned anew goes on.
    picture.add(&frame(&acquisition, &stream("first"), 50));
    assert_eq!(picture.rows.iter().map(|row| row.lines).sum::<u32>(), 2);
}

#[test]
fn log_lines_cannot_command_the_terminal() {
    let log = vec!["fine".to_owned(), "\x1b[2Jwiped\u{7}".to_owned()];
    let text = render(&snapshot(&status()), &picture_of(&[0]), &log, screen(80, 40, Colours::None));
    assert!(text.contains("\n [2Jwiped ") && !text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
}

#[test]
fn held_log_lines_are_kept_whole() {
    use std::io::Write;
    let mut log = LogTail::new();
    log.hold();
    write!(log, "one\ntw").unwrap();
    assert_eq!(log.lines(), ["one"]);
    writeln!(log, "o").unwrap();
    for i in 0..60 {
        writeln!(log, "line {i}").unwrap();
    }
    let lines = log.lines();
    assert_eq!((lines.len(), lines[0].as_str(), lines[49].as_str()), (50, "line 10", "line 59"));
}

proptest! {
    #[test]
    fn every_size_is_filled_exactly(width in 1usize..200, height in 1usize..80, colours in 0..3, lines in 0i64..300, log in 0usize..8) {
        let colours = [Colours::None, Colours::Indexed, Colours::True][colours as usize];
        let picture = picture_of(&(0..lines).map(|i| i * 50).collect::<Vec<_>>());
        let log: Vec<String> = (0..log).map(|i| format!("{i} {}", "x".repeat(i * 60))).collect();
        let text = render(&snapshot(&status()), &picture, &log, screen(width, height, colours));
        let shown = visible(&text);
        prop_assert_eq!(shown.split('\n').count(), height);
        for line in shown.split('\n') {
            prop_assert!(line.chars().count() <= width, "{} > {width}: {line:?}", line.chars().count());
        }
    }
}
