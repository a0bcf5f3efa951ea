//! The standing views: `[[view]]` tables → [`ViewConfig`], with the rules that tie their keys to each other.

use super::problem::Origin;
use super::section::Section;
use super::{Recorded, ViewConfig};
use crate::dsp::Window;
use crate::frame::{Dtype, ValueKind, View};
use crate::units::Rational;

/// Largest frame: RabbitMQ refuses messages over 128 MiB, and a live view wants far less.
const MAX_FRAME_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// What the rest of the configuration says that views must fit into.
pub(super) struct Limits<'a> {
    /// PRR, when it is configured.
    pub(super) prr: Option<Rational>,
    /// Channels of the fiber, when the file says it.
    pub(super) channels: Option<usize>,
    /// The captures that both are of, when some are played.
    pub(super) recorded: Option<&'a Recorded>,
}

impl Limits<'_> {
    /// Where the rate comes from, with its number.
    fn rate(&self, prr_hz: f64) -> String {
        match self.recorded {
            Some(recorded) => format!("at the {prr_hz} Hz of {}", recorded.name),
            None => format!("at capture.prr_hz = {prr_hz}"),
        }
    }
}

/// Reads all views and refuses a name that two of them have.
pub(super) fn views(sections: Vec<Section<'_>>, limits: &Limits<'_>) -> Vec<ViewConfig> {
    let mut views: Vec<(ViewConfig, Origin)> = Vec::new();
    for mut section in sections {
        let view = view(&mut section, limits);
        if let Some((_, first)) = views.iter().find(|(other, _)| !view.name.is_empty() && other.name == view.name) {
            section.complain("name", format!("the view at {first} has this name already; names must be unique"));
        }
        let origin = section.origin("name");
        section.finish();
        views.push((view, origin));
    }
    views.into_iter().map(|(view, _)| view).collect()
}

fn view(s: &mut Section<'_>, limits: &Limits<'_>) -> ViewConfig {
    let kinds = [("waterfall", View::Waterfall), ("single", View::Single), ("multi", View::Multi)];
    let kind = s.choice("kind", View::Waterfall, &kinds);
    if !s.has("kind") {
        s.complain("kind", "a view needs its kind: \"waterfall\", \"single\" or \"multi\"");
    }
    let name = s.word("name").unwrap_or_default();
    if !s.has("name") {
        s.complain("name", "a view needs a name; it becomes a part of the routing key");
    }
    let default = if kind == View::Waterfall { ViewConfig::waterfall() } else { ViewConfig::single(&name, 1) };
    let (channel_min, channel_max) = channels(s, kind, limits);
    let nfft = nfft(s, default.nfft);
    let view = ViewConfig {
        view: kind,
        name,
        channel_min,
        channel_max,
        nfft,
        window: window(s),
        line_period_s: line_period(s, default.line_period_s, limits),
        bands_hz: bands(s, kind, nfft, limits).unwrap_or(default.bands_hz),
        frequency_range_hz: frequency_range(s, kind, nfft, limits),
        value: value(s, default.value),
        dtype: s.choice("dtype", Dtype::F32, &[("f32", Dtype::F32), ("f16", Dtype::F16), ("u8", Dtype::U8)]),
        u8_range: default.u8_range,
        lines_per_frame: s.integer("lines_per_frame", default.lines_per_frame, 1..=1024, "lines"),
        durable: s.boolean("durable", default.durable),
    };
    let view = ViewConfig { u8_range: u8_range(s, view.dtype).unwrap_or(default.u8_range), ..view };
    frame_size(s, &view, limits);
    view
}

fn channels(s: &mut Section<'_>, kind: View, limits: &Limits<'_>) -> (usize, Option<usize>) {
    let min = s.integer("channel_min", 1, 1..=1_000_000, "(channels count from 1)");
    let mut max = s.optional_integer("channel_max", 1..=1_000_000, "(channels count from 1)");
    if kind == View::Single {
        if !s.has("channel_min") && !s.has("channel_max") {
            s.complain("channel_min", "a single view needs its channel: channel_min = channel_max");
        }
        let only = *max.get_or_insert(min);
        if only != min && s.has("channel_min") {
            s.complain("channel_max", format!("a single view shows one channel, but channel_min is {min} and channel_max {only}; make them equal, or use kind = \"multi\""));
        }
        if !s.has("channel_min") {
            return (only, max);
        }
    } else if let Some(max) = max.filter(|max| *max < min) {
        s.complain(
            "channel_max",
            format!("{max} is less than channel_min, {min}; the last channel cannot come before the first"),
        );
    }
    if let Some(highest) = limits.channels {
        for (key, channel) in [("channel_min", Some(min)), ("channel_max", max)] {
            if let Some(channel) = channel.filter(|channel| *channel > highest && s.has(key)) {
                let who = limits.recorded.map_or("fiber.channels", |recorded| &recorded.name);
                s.complain(
                    key,
                    format!("{channel} is beyond the fiber; {who} says that the highest channel is {highest}"),
                );
            }
        }
    }
    (min, max)
}

fn nfft(s: &mut Section<'_>, default: usize) -> usize {
    let nfft = s.integer("nfft", default, 128..=65_536, "traces");
    if nfft.is_power_of_two() {
        return nfft;
    }
    let (below, above) = (nfft.next_power_of_two() / 2, nfft.next_power_of_two());
    s.complain(
        "nfft",
        format!("{nfft} is not a power of 2; the nearest are {below} and {above}, 128 to 65536 are allowed"),
    );
    default
}

fn window(s: &mut Section<'_>) -> Window {
    let windows = [
        ("hann", Window::Hann),
        ("hamming", Window::Hamming),
        ("blackman", Window::Blackman),
        ("blackman-harris", Window::BlackmanHarris),
        ("rectangular", Window::Rectangular),
    ];
    s.choice("window", Window::Hann, &windows)
}

/// Milliseconds in the file, an exact fraction of a second inside.
fn line_period(s: &mut Section<'_>, default: Rational, limits: &Limits<'_>) -> Rational {
    let default_ms = default.to_f64() * 1000.0;
    let ms = s.number("line_period_ms", default_ms, 0.1..=3_600_000.0, "ms");
    if !s.has("line_period_ms") {
        return default;
    }
    let period = Rational::new(1, 1000).and_then(|milli| Rational::from_f64(ms)?.checked_mul(milli));
    let Some(period) = period else {
        s.complain("line_period_ms", format!("{ms} has too many digits; write it in fewer"));
        return default;
    };
    if let Some(prr_hz) = limits.prr.map(Rational::to_f64).filter(|hz| hz * ms < 999.999) {
        s.complain(
            "line_period_ms",
            format!(
                "{ms} ms are shorter than the {} ms from pulse to pulse; a line needs at least one trace",
                1000.0 / prr_hz
            ),
        );
    }
    if let Some(recorded) = limits.recorded.filter(|recorded| ms > 1000.0 * recorded.longest_s) {
        let longest = (1000.0 * recorded.longest_s).round();
        s.complain(
            "line_period_ms",
            format!(
                "{ms} ms are longer than the {longest} ms without a break that {} has; no line would come",
                recorded.name
            ),
        );
    }
    period
}

fn bands(s: &mut Section<'_>, kind: View, nfft: usize, limits: &Limits<'_>) -> Option<Vec<(f64, f64)>> {
    let bands = s.pairs("bands_hz", "Hz");
    if kind != View::Waterfall {
        if s.has("bands_hz") {
            s.complain(
                "bands_hz",
                format!("only a waterfall has bands; for a {} view write frequency_range_hz", kind.name()),
            );
        }
        return None;
    }
    // The default band must fit as well: a slow interrogator has no 200 Hz.
    let checked = bands.clone().unwrap_or_else(|| ViewConfig::waterfall().bands_hz);
    if checked.len() > 16 {
        s.complain("bands_hz", format!("{} bands are too many; up to 16 are allowed", checked.len()));
    }
    for band in checked {
        frequencies(s, "bands_hz", band, nfft, limits);
    }
    bands
}

fn frequency_range(s: &mut Section<'_>, kind: View, nfft: usize, limits: &Limits<'_>) -> Option<(f64, f64)> {
    let range = s.pair("frequency_range_hz", "Hz");
    if kind == View::Waterfall {
        if s.has("frequency_range_hz") {
            s.complain("frequency_range_hz", "a waterfall has bands; write bands_hz = [[low, high]]");
        }
        return None;
    }
    frequencies(s, "frequency_range_hz", range?, nfft, limits);
    range
}

/// Within 0…PRR/2, and at least one bin inside.
fn frequencies(s: &Section<'_>, key: &str, (low, high): (f64, f64), nfft: usize, limits: &Limits<'_>) {
    if low < 0.0 {
        s.complain(key, format!("{low} Hz is negative; frequencies begin at 0"));
    }
    let Some(prr_hz) = limits.prr.map(Rational::to_f64) else {
        return;
    };
    let (nyquist, bin_hz) = (prr_hz / 2.0, prr_hz / nfft as f64);
    if high > nyquist {
        s.complain(
            key,
            format!("{high} Hz is above the Nyquist limit; {} up to {nyquist} Hz are allowed", limits.rate(prr_hz)),
        );
    } else if (low / bin_hz).ceil() > (high / bin_hz).floor() {
        s.complain(key, format!("no frequency lies within {low} to {high} Hz: with nfft = {nfft} they are {bin_hz} Hz apart; widen the range or raise nfft"));
    }
}

fn value(s: &mut Section<'_>, default: ValueKind) -> ValueKind {
    let decibel = ValueKind::Decibel { reference: 1.0 };
    let kinds = [("power", ValueKind::Power), ("amplitude", ValueKind::Amplitude), ("db", decibel)];
    let kind = s.choice("value", default, &kinds);
    let reference = s.number("db_reference", 1.0, 1e-30..=1e30, "(power that is 0 dB)");
    match kind {
        ValueKind::Decibel { .. } => ValueKind::Decibel { reference },
        other => {
            if s.has("db_reference") {
                s.complain(
                    "db_reference",
                    format!("values are {}, not decibels; write value = \"db\", or take this out", other.name()),
                );
            }
            other
        }
    }
}

/// The values that are stored as 0 and 255, as scale and offset.
fn u8_range(s: &mut Section<'_>, dtype: Dtype) -> Option<(f32, f32)> {
    let range = s.pair("u8_range", "(the values stored as 0 and as 255)");
    match (dtype, s.has("u8_range")) {
        (Dtype::U8, false) => s.complain(
            "u8_range",
            "dtype = \"u8\" needs the values that are stored as 0 and as 255, such as u8_range = [-60, 20]",
        ),
        (Dtype::F32 | Dtype::F16, true) => {
            s.complain("u8_range", "floats need no range; write dtype = \"u8\", or take this out");
        }
        _ => {}
    }
    range.map(|(low, high)| (((high - low) / 255.0) as f32, low as f32))
}

fn frame_size(s: &Section<'_>, view: &ViewConfig, limits: &Limits<'_>) {
    let Some(last) = view.channel_max.or(limits.channels) else {
        return;
    };
    let bins = match view.view {
        View::Waterfall => 1.0,
        _ => (view.nfft / 2 + 1) as f64,
    };
    let channels = last.saturating_sub(view.channel_min) as f64 + 1.0;
    let bytes = channels * bins * view.lines_per_frame as f64 * 4.0;
    if bytes > MAX_FRAME_BYTES && view.frequency_range_hz.is_none() {
        let mib = bytes / (1024.0 * 1024.0);
        s.complain(
            "lines_per_frame",
            format!(
                "one frame would have {mib:.0} MiB; up to 64 are allowed: fewer lines, fewer channels or a smaller nfft"
            ),
        );
    }
}
