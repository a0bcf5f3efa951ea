//! The pictures and the screen, on frames whose content is known.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::colour;
use super::grid::Grid;
use super::pictures::{FIRST_ROW_TIME, ROW_TIMES_MS};
use super::plain::PlainRows;
use super::render::{Rendered, render};
use super::*;
use crate::acquisition::{Acquisition, DarkReason, Phase};
use crate::frame::{ChannelAxis, Frame, FrequencyAxis, Stream, ValueKind, View};
use crate::status::{BrokerState, Status};
use crate::units::Rational;

const CHANNELS: usize = 2000;
/// 2026-09-21 14:13:20 UTC.
const T0_NS: i64 = 1_790_000_000_000_000_000;
const WATERFALL: Subject = Subject::Band(0, 5.0, 200.0);

fn acquisition() -> Arc<Acquisition> {
    Arc::new(Acquisition { channels: CHANNELS, dx_m: 1.0, ..Acquisition::example() })
}

fn stream(name: &str) -> Arc<Stream> {
    let example = Frame::example();
    let channels = ChannelAxis { start: 0, step: 1, count: CHANNELS };
    Arc::new(Stream { name: name.into(), channels, ..Stream::clone(&example.stream) })
}

/// One line at `ms`: faint everywhere, a thousand times that on channels 1500…1509.
fn frame(stream: &Arc<Stream>, ms: i64) -> Frame {
    let values: Vec<f32> = (0..CHANNELS).map(|c| if (1500..1510).contains(&c) { 1e-3 } else { 1e-6 }).collect();
    Frame {
        acquisition: acquisition(),
        stream: Arc::clone(stream),
        lines: 1,
        utc_first_ns: T0_NS + ms * 1_000_000,
        values: values.into(),
        ..Frame::example()
    }
}

fn shown_of(times_ms: &[i64]) -> Shown {
    let (stream, pictures) = (stream("w"), Pictures::new());
    for &ms in times_ms {
        pictures.offer(&frame(&stream, ms));
    }
    pictures.picture(&WATERFALL, FIRST_ROW_TIME).expect("a waterfall was offered")
}

fn each_50_ms(lines: i64) -> Vec<i64> {
    (0..lines).map(|i| i * 50).collect()
}

fn status() -> Arc<Status> {
    let status = Status::new("north", Some(2000.0));
    status.set_phase(Phase::Acquiring(acquisition()));
    status
}

fn facts(status: &Status) -> Facts {
    Facts::of_status(status, &mut Rates::default(), "http://127.0.0.1:5000", "127.0.0.1:5672")
}

const fn screen(width: usize, height: usize, colours: Colours) -> Screen {
    Screen { width, height, colours }
}

fn text(facts: &Facts, shown: Option<&Shown>, screen: Screen) -> String {
    render(facts, shown, &Look::new(), &[], screen).text
}

/// What a person sees: without escapes.
fn visible(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[test]
fn the_bright_place_stands_above_its_distance_and_the_scale_says_what_0_db_is() {
    let text = text(&facts(&status()), Some(&shown_of(&each_50_ms(200))), screen(110, 42, Colours::None));
    let labels = text.lines().find(|l| l.contains("1500 m")).expect("the axis names 1500 m");
    let label_at = labels.chars().collect::<String>().find("1500 m").unwrap();
    let rows: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
    let bright: Vec<usize> = rows
        .iter()
        .filter(|l| !l.iter().collect::<String>().contains("dB"))
        .filter_map(|l| l.iter().position(|&c| c == '@'))
        .collect();
    assert!(bright.len() >= 20, "one line for each half second:\n{text}");
    assert!(bright.iter().all(|&at| at == label_at), "{bright:?} and {label_at}:\n{text}");
    let axis = text.lines().find(|l| l.contains('┴')).unwrap();
    assert_eq!(axis.chars().nth(label_at), Some('┴'));
    assert!(axis.starts_with("UTC") && text.contains("\n14:13:29 "), "{text}");
    assert!(text.contains("energy from 5 to 200 Hz · a row is 0.5 s"), "{text}");
    let scale = text.lines().find(|l| l.contains("dB re")).unwrap();
    assert!(scale.starts_with(" -60 dB ") && scale.ends_with("@ -54 dB re 1 rad^2"), "{scale}");
    let mut ramp: Vec<char> = scale.chars().collect();
    ramp.dedup();
    assert!(ramp.into_iter().collect::<String>().contains(" .:-=+*#%@ "), "{scale}");
}

#[test]
fn the_phase_and_its_reason_are_read_from_afar() {
    let status = status();
    status.set_phase(Phase::WaitingForFiber(DarkReason::NoTraces));
    let mut now = facts(&status);
    now.held_s = 12.3;
    let text = text(&now, None, screen(80, 24, Colours::True));
    let banner = text.lines().nth(1).unwrap();
    assert!(visible(banner).starts_with(" waiting for fiber — no new traces (12 s) "), "{banner:?}");
    assert!(banner.starts_with("\x1b[1m\x1b[38;2;255;255;255;48;2;170;50;20m"), "{banner:?}");
    assert_eq!(visible(banner).chars().count(), 80, "the colour goes over the whole width");
    assert!(words::summary(&now).starts_with("waiting for fiber — no new traces (12 s) | "));
}

#[test]
fn losses_and_the_broker_are_told_in_words() {
    let status = status();
    let shown = shown_of(&[0]);
    let text = |status: &Status| text(&facts(status), Some(&shown), screen(120, 30, Colours::None));
    assert!(text(&status).contains("lost     nothing"));
    status.counters.capture.gaps.add(1);
    status.counters.capture.gap_traces.add(120);
    status.counters.capture.traces_dropped_no_block.add(40);
    status.counters.egress.frames_dropped.add(2);
    status.counters.publish.frames_waiting.set(7.0);
    status.set_broker(BrokerState::Away);
    let without = text(&status);
    for part in [
        "120 traces in 1 gap · 40 traces because the pipeline was too slow",
        "no broker at 127.0.0.1:5672: frames are made and shown, not published",
        "7 waiting",
        "http://127.0.0.1:5000",
        "2000 asked, 2000 declared",
        "acquiring — 2000 channels at 2000 Hz",
    ] {
        assert!(without.contains(part), "{part}:\n{without}");
    }
    assert!(!without.contains("on the way to the broker"), "there was no broker to lose frames for:\n{without}");
    status.counters.publish.connections.add(1);
    assert!(text(&status).contains("2 frames on the way to the broker"));
    status.set_broker(BrokerState::Connected);
    status.counters.publish.confirm_latency.record(Duration::from_millis(4));
    let connected = text(&status);
    assert!(connected.contains("connected at 127.0.0.1:5672 · from trace to confirm p50 ≤ 5 ms, p99 ≤ 5 ms"));
}

#[test]
fn a_replay_names_its_place_and_the_time_of_its_data() {
    let status = status();
    status.set_last_trace(T0_NS);
    let now = Facts { source: Some("replay".into()), replay: Some("a.h5 at 3 of 10 s".into()), ..facts(&status) };
    let text = text(&now, None, screen(100, 30, Colours::None));
    assert!(text.contains(" source   replay of a.h5 at 3 of 10 s · newest trace 2026-09-21 14:13:20 UTC"), "{text}");
    assert!(text.contains(", replayed ("), "{text}");
}

#[test]
fn time_without_lines_has_its_own_colour_and_a_short_gap_its_mark() {
    // Two seconds, three seconds of nothing, two seconds.
    let mut times = each_50_ms(40);
    times.extend((0..40).map(|i| 5000 + i * 50));
    let mut shown = shown_of(&times);
    assert_eq!(shown.picture.rows.len(), 14);
    assert_eq!(shown.picture.rows.iter().filter(|row| row.power.is_empty()).count(), 6);
    shown.picture.rows[12].gap_traces = 3;

    let plain = text(&facts(&status()), Some(&shown), screen(60, 40, Colours::None));
    assert_eq!(plain.lines().filter(|l| l.ends_with(&"!".repeat(50))).count(), 6, "{plain}");
    assert_eq!(plain.lines().filter(|l| l.ends_with(" !")).count(), 1, "{plain}");
    let coloured = text(&facts(&status()), Some(&shown), screen(60, 40, Colours::True));
    let [r, g, b] = colour::GAP;
    let both = format!("\x1b[38;2;{r};{g};{b};48;2;{r};{g};{b}m{}", "▀".repeat(50));
    assert_eq!(coloured.matches(&both).count(), 3, "six rows, two to a line");
}

#[test]
fn rows_are_means_at_every_row_time_and_a_jump_in_time_is_one_empty_row() {
    let shown = shown_of(&[0, 100, 499, 500, 0, 50]);
    let lines: Vec<u32> = shown.picture.rows.iter().map(|row| row.lines).collect();
    assert_eq!(lines, [3, 1, 0, 2]);
    let row = &shown.picture.rows[0];
    assert_eq!(row.power.len(), 512);
    let brightest = (0..512).max_by(|&a, &b| row.power[a].total_cmp(&row.power[b])).unwrap();
    assert!((1500 * 512 / CHANNELS..=1510 * 512 / CHANNELS).contains(&brightest), "{brightest}");
    assert!((row.power[brightest] - 1e-3).abs() < 1e-8);
    // However long nothing comes, a picture does not grow.
    assert_eq!(shown_of(&[0, 1_000_000_000]).picture.rows.len(), 160);

    let pictures = Pictures::new();
    for ms in each_50_ms(100) {
        pictures.offer(&frame(&stream("w"), ms));
    }
    let rows = |number: usize| pictures.picture(&WATERFALL, number).unwrap().picture.rows.len();
    assert_eq!((0..ROW_TIMES_MS.len()).map(rows).collect::<Vec<_>>(), [50, 25, 10, 5, 3, 1, 1, 1]);
}

#[test]
fn a_line_that_is_longer_than_a_row_leaves_no_gap() {
    let slow = Stream { line_period_s: Rational::new(2, 1).unwrap(), ..Stream::clone(&stream("w")) };
    let (slow, pictures) = (Arc::new(slow), Pictures::new());
    for ms in [0, 2000, 8000] {
        pictures.offer(&frame(&slow, ms));
    }
    let rows = pictures.picture(&WATERFALL, FIRST_ROW_TIME).unwrap().picture.rows;
    let empty: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].power.is_empty()).collect();
    assert_eq!(empty, (5..16).collect::<Vec<_>>(), "only the lines that did not come");
}

#[test]
fn a_second_waterfall_is_not_torn_into_the_first() {
    let pictures = Pictures::new();
    // The same view planned anew goes on.
    for (name, ms) in [("first", 0), ("second", 0), ("first", 50)] {
        pictures.offer(&frame(&stream(name), ms));
    }
    let rows = pictures.picture(&WATERFALL, FIRST_ROW_TIME).unwrap().picture.rows;
    assert_eq!(rows.iter().map(|row| row.lines).sum::<u32>(), 2);
}

/// Spectra of channel 7 in decibels, with a line at 100 Hz.
fn spectrum(ms: i64) -> Frame {
    let frequencies = FrequencyAxis { start_hz: 0.0, step_hz: 1.0, count: 501 };
    let value = ValueKind::Decibel { reference: 1.0 };
    let channels = ChannelAxis { start: 6, step: 1, count: 1 };
    let single = Stream { view: View::Single, channels, frequencies, value, ..Stream::clone(&stream("near")) };
    let values: Vec<f32> = (0..501).map(|bin| if bin == 100 { -20.0 } else { -80.0 }).collect();
    Frame { values: values.into(), ..frame(&Arc::new(single), ms) }
}

#[test]
fn tab_shows_the_spectrogram_of_a_channel() {
    let pictures = Pictures::new();
    for ms in each_50_ms(100) {
        pictures.offer(&spectrum(ms));
    }
    for ms in each_50_ms(100) {
        pictures.offer(&frame(&stream("w"), ms));
    }
    let subjects = pictures.subjects();
    assert_eq!(subjects, [WATERFALL, Subject::Channel(7)]);
    let mut look = Look::new();
    look.press(Key::NextView, &subjects);
    let shown = pictures.picture(look.subject(&subjects).unwrap(), FIRST_ROW_TIME);
    let text = render(&facts(&status()), shown.as_ref(), &look, &[], screen(110, 30, Colours::None)).text;
    assert!(text.contains("spectrum of channel 7") && text.contains(" dB re 1 rad^2"), "{text}");
    let at = text.lines().find(|l| l.contains("100 Hz")).and_then(|l| l.find("100 Hz")).unwrap();
    let row = text.lines().find(|l| l.starts_with("14:13:2")).unwrap();
    assert_eq!(row.find('@'), Some(at), "{text}");
}

#[test]
fn normalised_only_what_changes_stands_out() {
    let (stream, pictures) = (stream("w"), Pictures::new());
    for ms in each_50_ms(100) {
        let mut frame = frame(&stream, ms);
        if ms >= 4500 {
            let mut values = frame.values.flat().into_owned();
            values[200..215].fill(1e-4);
            frame.values = values.into();
        }
        pictures.offer(&frame);
    }
    let shown = pictures.picture(&WATERFALL, FIRST_ROW_TIME).unwrap();
    let loudest = |normalised| {
        let line = Grid::of(&shown.picture, 10, 100, normalised).lines.swap_remove(0);
        (0..100).max_by(|&a, &b| line.db[a].total_cmp(&line.db[b])).unwrap()
    };
    assert_eq!((loudest(false), loudest(true)), (75, 10));
    let mut look = Look::new();
    look.press(Key::Normalise, &[]);
    let text = render(&facts(&status()), Some(&shown), &look, &[], screen(100, 30, Colours::None)).text;
    assert!(text.contains("dB re the mean of each place") && text.contains(" · normalised"), "{text}");
}

#[test]
fn plain_rows_come_once_with_their_time_and_an_axis_before_the_first() {
    let (stream, pictures) = (stream("w"), Pictures::new());
    let mut rows = PlainRows::default();
    let mut lines = Vec::new();
    for ms in each_50_ms(100) {
        pictures.offer(&frame(&stream, ms));
        lines.extend(rows.take(&pictures.picture(&WATERFALL, 3).unwrap()));
    }
    assert!(lines[0].contains("1000 m") && lines[1].contains('┴'), "{lines:#?}");
    let times: Vec<&str> = lines[2..].iter().map(|l| &l[l.len() - 8..]).collect();
    assert_eq!(times, ["14:13:20", "14:13:21", "14:13:22", "14:13:23"]);
    assert!(lines[2..].iter().all(|l| l.starts_with('|') && l.chars().count() == 80), "{lines:#?}");
}

#[test]
fn what_is_saved_is_what_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let shown = shown_of(&each_50_ms(200));
    let names = save::save(folder.path(), "north", &shown, &Look::new(), 12).unwrap();
    assert_eq!(names, ["png", "npy"].map(|kind| format!("fiberd-north-5-200Hz-20260921T141329Z.{kind}")));

    let file = std::fs::File::open(folder.path().join(&names[0])).unwrap();
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let image = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((image.width, image.height, image.color_type), (1024, 96, png::ColorType::Rgb));
    let about = &reader.info().utf8_text[0];
    let about = about.get_text().unwrap();
    assert!(about.contains("top row 2026-09-21 14:13:29 UTC") && about.contains("dB re 1 rad^2"), "{about}");
    let brightest = (0..1024).find(|x| pixels[x * 3..x * 3 + 3] == colour::map(1.0)).unwrap();
    assert!((1500 * 1024 / CHANNELS - 2..=1510 * 1024 / CHANNELS).contains(&brightest), "{brightest}");

    let bytes = std::fs::read(folder.path().join(&names[1])).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (12, 512), }"));
    assert_eq!((bytes[127], bytes.len()), (b'\n', 128 + 12 * 512 * 4));
    assert!((f32::from_le_bytes(bytes[128..132].try_into().unwrap()) + 60.0).abs() < 1e-3);
    // Nothing is written over.
    assert!(save::save(folder.path(), "north", &shown, &Look::new(), 12).is_err());
}

#[test]
fn log_lines_cannot_command_the_terminal() {
    let log = vec!["fine".to_owned(), "\x1b[2Jwiped\u{7}".to_owned()];
    let shown = shown_of(&[0]);
    let text = render(&facts(&status()), Some(&shown), &Look::new(), &log, screen(80, 40, Colours::None)).text;
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

/// More rows than a tall screen shows.
static SHOWN: LazyLock<Shown> = LazyLock::new(|| shown_of(&each_50_ms(400)));

proptest! {
    #[test]
    fn every_size_is_filled_exactly(width in 1usize..200, height in 1usize..80, colours in 0..3, lines: bool, log in 0usize..8, help: bool) {
        let colours = [Colours::None, Colours::Indexed, Colours::True][colours as usize];
        let shown = lines.then(|| SHOWN.clone());
        let log: Vec<String> = (0..log).map(|i| format!("{i} {}", "x".repeat(i * 60))).collect();
        let mut look = Look::new();
        look.help = help;
        let Rendered { text, .. } = render(&facts(&status()), shown.as_ref(), &look, &log, screen(width, height, colours));
        let shown = visible(&text);
        prop_assert_eq!(shown.split('\n').count(), height);
        for line in shown.split('\n') {
            prop_assert!(line.chars().count() <= width, "{} > {width}: {line:?}", line.chars().count());
        }
    }
}
