//! Whether a request can become a job: one rule, one place, one message. Pure: what is known of the fiber and the time
//! are passed in, and nothing is started before everything is checked.
//!
//! Fields that are missing or beyond the fiber are [`Refusal::Fields`], all of them at once; a field that breaks a rule
//! is a [`Refusal::Rule`], the first that is found. What only the fiber can tell comes last, so that a client learns of
//! its own mistakes in the dark as well.

use std::ops::RangeInclusive;

use serde_json::Number;

use super::facts::{Facts, Light};
use super::request::{ChannelRange, ConfigureRequest, FrequencyRange, TaskRequest, ViewType};
use super::times::{ambiguous, times, twelve_digits};
use crate::config::ViewConfig;
use crate::dsp::bins_in_range;
use crate::frame::{Dtype, ValueKind, View};
use crate::jobs::plan::JobPlan;
use crate::pipeline::NO_SAMPLES;
use crate::refusal::{Fault, Refusal};
use crate::units::Rational;

/// Window lengths that there are.
const NFFT: RangeInclusive<i64> = 128..=65_536;

/// Most that a message of a stream may hold: clients take 50 MB, of which the rest is for its header.
const MAX_LINE_BYTES: usize = 48_000_000;

/// Longest line; whoever wants more means milliseconds.
const MAX_LINE_S: u64 = 3600;

/// Decides about a `POST /configure` at `now_s`, in seconds since the UNIX epoch.
///
/// # Errors
/// Why it cannot become a job.
pub fn plan(request: &ConfigureRequest, facts: &Facts, now_s: i64) -> Result<JobPlan, Refusal> {
    let display = request.display_info.clone().unwrap_or_default();
    let mut wanted = Parsed {
        words: &CONFIGURE,
        view: View::Multi,
        channels: request.channels.clone().unwrap_or_default(),
        height: display.height,
        duration_s: request.duration_s.clone(),
        nfft: request.nfft,
        range: request.frequency_range.clone(),
        least_width_hz: 1.0,
        times: None,
        dtype: request.dtype.clone(),
    };
    let known_view = request.view_type.as_ref().map(view).transpose();
    let mut missing = wanted.missing(known_view.as_ref().ok().copied().flatten());
    if request.view_type.is_none() {
        missing.insert(0, absent("view_type"));
    }
    if !missing.is_empty() {
        return Err(Refusal::Fields(missing));
    }
    wanted.view = known_view?.unwrap_or(View::Multi);
    wanted.times = match (request.start_time, request.end_time) {
        (None, None) => None,
        (Some(start), Some(end)) => Some((start, end)),
        _ => return Err(ambiguous()),
    };
    wanted.plan(facts, now_s)
}

/// Decides about a `POST /config/{task_id}` of an older client.
///
/// # Errors
/// Why it cannot become a job.
pub fn plan_task(request: &TaskRequest, facts: &Facts, now_s: i64) -> Result<JobPlan, Refusal> {
    let canvas = request.canvas_info.clone().unwrap_or_default();
    let sensors = request.sensors.clone().unwrap_or_default();
    let mut wanted = Parsed {
        words: &TASK,
        view: View::Multi,
        channels: ChannelRange { min: sensors.min, max: sensors.max, ..ChannelRange::default() },
        height: canvas.height,
        duration_s: request.duration_s.clone(),
        nfft: request.nfft,
        range: request.frequency_range.clone(),
        least_width_hz: 0.0,
        times: None,
        dtype: None,
    };
    let missing = wanted.missing(Some(View::Multi));
    if !missing.is_empty() {
        return Err(Refusal::Fields(missing));
    }
    wanted.times = match (&request.start_time, &request.end_time) {
        (None, None) => None,
        (Some(start), Some(end)) => Some((twelve_digits("start_time", start)?, twelve_digits("end_time", end)?)),
        _ => return Err(ambiguous()),
    };
    wanted.plan(facts, now_s)
}

/// What the fields are called, and from where channels count.
struct Words {
    channels: &'static str,
    height: &'static str,
    first_channel: i64,
    /// Whether the last channel must come behind the first.
    several: bool,
}

const CONFIGURE: Words = Words { channels: "channels", height: "displayInfo.height", first_channel: 1, several: false };
const TASK: Words = Words { channels: "sensors", height: "canvasInfo.height", first_channel: 0, several: true };

/// A request in either form.
struct Parsed {
    words: &'static Words,
    view: View,
    channels: ChannelRange,
    height: Option<i64>,
    duration_s: Option<Number>,
    nfft: Option<i64>,
    range: Option<FrequencyRange>,
    least_width_hz: f64,
    times: Option<(i64, i64)>,
    dtype: Option<String>,
}

impl Parsed {
    /// Required fields that are not there. Without a known `view` only those of every view.
    fn missing(&self, view: Option<View>) -> Vec<Fault> {
        let spectra = matches!(view, Some(View::Multi | View::Single));
        let (min, max) = self.range.as_ref().map_or((None, None), |range| (range.min, range.max));
        let half_a_range = min.is_some() != max.is_some();
        let required = [
            (format!("{}.min", self.words.channels), self.channels.min.is_none()),
            (format!("{}.max", self.words.channels), self.channels.max.is_none()),
            (self.words.height.to_owned(), self.height.is_none()),
            ("displayTimeAxisDuration".to_owned(), spectra && self.duration_s.is_none()),
            ("nfftSelection".to_owned(), spectra && self.nfft.is_none()),
            ("frequencyRange.min".to_owned(), half_a_range && min.is_none()),
            ("frequencyRange.max".to_owned(), half_a_range && max.is_none()),
        ];
        required.into_iter().filter(|(_, missing)| *missing).map(|(field, _)| absent(field)).collect()
    }

    fn plan(&self, facts: &Facts, now_s: i64) -> Result<JobPlan, Refusal> {
        // The request by itself.
        let channels = self.channels(facts.channels)?;
        let height = self.height()?;
        let duration = self.duration()?;
        let nfft = self.nfft()?;
        let range_hz = self.range()?;
        let dtype = self.dtype()?;
        times(self.times, now_s)?;
        if facts.lines && self.view != View::Waterfall {
            return Err(Refusal::DoesNotFit(NO_SAMPLES.into()));
        }
        if let Some(prr) = facts.prr() {
            nyquist(range_hz, prr)?;
        }
        if self.times.is_some() {
            // Nothing is recorded by this version.
            return Err(Refusal::NothingRecorded);
        }
        // And what the fiber says to it.
        let prr = match facts.light {
            Light::Acquiring(prr) => prr,
            Light::Waiting => return Err(Refusal::Waiting),
            Light::Starting => return Err(Refusal::NoMetadata),
            Light::Draining => return Err(Refusal::Draining),
        };
        let pattern = match (duration, nfft) {
            (Some(duration), Some(nfft)) => ViewConfig {
                view: self.view,
                nfft,
                line_period_s: line_period(duration, height, prr)?,
                bands_hz: Vec::new(),
                frequency_range_hz: range_hz,
                ..ViewConfig::waterfall()
            },
            _ => ViewConfig { bands_hz: facts.waterfall.bands_hz[..1].to_vec(), ..facts.waterfall.clone() },
        };
        let pattern = ViewConfig { value: ValueKind::Amplitude, dtype, lines_per_frame: 1, durable: false, ..pattern };
        let plan = JobPlan::new(pattern, channels, prr, self.words.first_channel as usize);
        if !facts.lines {
            some_frequency(&plan)?;
        }
        line_fits_message(&plan)?;
        Ok(plan)
    }

    /// As channels from 1.
    fn channels(&self, highest: usize) -> Result<RangeInclusive<usize>, Refusal> {
        let Words { channels: name, first_channel: lowest, several, .. } = *self.words;
        let (min, max) = (self.channels.min.unwrap_or(lowest), self.channels.max.unwrap_or(lowest));
        let highest = highest as i64 + lowest - 1;
        let outside = |end: &str, value: i64| {
            let msg = format!("{value} is outside the fiber: the lowest channel is {lowest}, the highest {highest}");
            (!(lowest..=highest).contains(&value)).then(|| Fault {
                field: format!("{name}.{end}"),
                msg,
                kind: "out_of_range",
            })
        };
        let faults: Vec<_> = outside("min", min).into_iter().chain(outside("max", max)).collect();
        if !faults.is_empty() {
            return Err(Refusal::Fields(faults));
        }
        let found = format!("min is {min}, max is {max}");
        if max < min || (several && max == min) {
            let (field, at_least) = (format!("{name}.max"), if several { "greater than" } else { "at least" });
            let error = format!("{field} must be {at_least} {name}.min");
            return Err(Refusal::rule("channel_order", field, error, found, "exchange the two, or widen the range"));
        }
        if self.view == View::Single && min != max {
            let error = format!("A single channel view (view_type 1) needs {name}.min equal to {name}.max");
            let advice = "ask for one channel, or for view_type 0";
            return Err(Refusal::rule("not_single", name, error, found, advice));
        }
        Ok((min - lowest + 1) as usize..=(max - lowest + 1) as usize)
    }

    fn height(&self) -> Result<u64, Refusal> {
        let height = self.height.unwrap_or(0);
        u64::try_from(height).ok().filter(|height| *height > 0).ok_or_else(|| {
            let error = format!("{} must be positive", self.words.height);
            let advice = "ask for at least one line";
            Refusal::rule("height", self.words.height, error, format!("it is {height}"), advice)
        })
    }

    fn dtype(&self) -> Result<Dtype, Refusal> {
        match self.dtype.as_deref() {
            None | Some("f16") => Ok(Dtype::F16),
            Some("f32") => Ok(Dtype::F32),
            Some(other) => {
                let found = format!("it is {:?}", other.chars().take(40).collect::<String>());
                Err(Refusal::rule("dtype", "dtype", "dtype must be f16 or f32", found, "leave it out, or ask for f32"))
            }
        }
    }

    /// `None` for a waterfall.
    fn duration(&self) -> Result<Option<Rational>, Refusal> {
        let name = "displayTimeAxisDuration";
        let Some(number) = &self.duration_s else {
            return Ok(None);
        };
        if self.view == View::Waterfall {
            return if number.as_f64() == Some(1.0) { Ok(None) } else { Err(not_for_waterfall(name)) };
        }
        let found = || format!("it is {number}");
        if number.as_f64().is_none_or(|seconds| seconds <= 0.0) {
            let error = format!("{name} must be positive");
            return Err(Refusal::rule("duration", name, error, found(), "ask for a time in seconds"));
        }
        let exact = Rational::from_decimal(&number.to_string());
        exact.map(Some).ok_or_else(|| {
            let error = format!("{name} cannot be kept exactly");
            Refusal::rule("duration", name, error, found(), "write it with fewer digits")
        })
    }

    /// `None` for a waterfall.
    fn nfft(&self) -> Result<Option<usize>, Refusal> {
        let name = "nfftSelection";
        let Some(nfft) = self.nfft else {
            return Ok(None);
        };
        if self.view == View::Waterfall {
            return if nfft == 1 { Ok(None) } else { Err(not_for_waterfall(name)) };
        }
        if NFFT.contains(&nfft) && nfft.count_ones() == 1 {
            return Ok(Some(nfft as usize));
        }
        let error = format!("{name} must be a power of 2 from {} to {}", NFFT.start(), NFFT.end());
        let advice = "ask for 128, 256, 512 … 65536";
        Err(Refusal::rule("nfft", name, error, format!("it is {nfft}"), advice))
    }

    fn range(&self) -> Result<Option<(f64, f64)>, Refusal> {
        let name = "frequencyRange";
        let Some((min, max)) = self.range.as_ref().and_then(|range| Some((range.min?, range.max?))) else {
            return Ok(None);
        };
        if self.view == View::Waterfall {
            return Err(not_for_waterfall(name));
        }
        let found = || format!("min is {min} Hz, max is {max} Hz");
        if min < 0.0 {
            let error = format!("{name}.min must not be negative");
            return Err(Refusal::rule("frequency_range", "frequencyRange.min", error, found(), "begin at 0"));
        }
        if max - min < self.least_width_hz || max <= min {
            let wanted = if self.least_width_hz > 0.0 {
                format!("at least {} Hz above", self.least_width_hz)
            } else {
                "greater than".to_owned()
            };
            let error = format!("{name}.max must be {wanted} {name}.min");
            return Err(Refusal::rule("frequency_range", name, error, found(), "widen the range"));
        }
        Ok(Some((min, max)))
    }
}

/// `duration / height`, exactly, and possible at this PRR.
fn line_period(duration: Rational, height: u64, prr: Rational) -> Result<Rational, Refusal> {
    let name = "displayTimeAxisDuration";
    let broken = |error: String, advice: &str| {
        let reason = format!("{duration} s are divided into {height} lines");
        Refusal::rule("line_period", name, error, reason, advice)
    };
    let exact = Rational::new(1, height).and_then(|share| duration.checked_mul(share));
    let Some((period, traces)) = exact.and_then(|period| Some((period, period.checked_mul(prr)?))) else {
        return Err(broken("The time of a line cannot be kept exactly".into(), "write it with fewer digits"));
    };
    if traces.num() < traces.den() {
        let error = format!("A line cannot be shorter than the {} s from pulse to pulse", prr.recip());
        return Err(broken(error, "ask for a longer time, or for fewer lines"));
    }
    if period.fits_into(MAX_LINE_S) == 0 {
        let error = format!("A line cannot be longer than {MAX_LINE_S} s");
        return Err(broken(error, "the time is in seconds; ask for a shorter time, or for more lines"));
    }
    Ok(period)
}

fn absent(field: impl Into<String>) -> Fault {
    Fault { field: field.into(), msg: "Field required".into(), kind: "missing" }
}

fn view(view_type: &ViewType) -> Result<View, Refusal> {
    let found = match view_type {
        ViewType::Number(0) => return Ok(View::Multi),
        ViewType::Number(1) => return Ok(View::Single),
        ViewType::Number(2) => return Ok(View::Waterfall),
        ViewType::Number(number) => number.to_string(),
        // The client's own words, but not all of them.
        ViewType::Other(text) => text.chars().take(40).collect(),
    };
    let advice = "ask for 0 (several channels), 1 (a single channel) or 2 (waterfall)";
    Err(Refusal::rule("view_type", "view_type", "Unknown view_type", format!("it is {found}"), advice))
}

fn not_for_waterfall(field: &'static str) -> Refusal {
    let error = format!("A waterfall (view_type 2) takes no {field}");
    let reason = format!("{field} was given");
    Refusal::rule("not_for_view", field, error, reason, "leave it out: the waterfall's own is configured")
}

fn nyquist(range_hz: Option<(f64, f64)>, prr: Rational) -> Result<(), Refusal> {
    let nyquist = prr.to_f64() / 2.0;
    match range_hz {
        Some((_, max)) if max > nyquist => {
            let error = format!("frequencyRange.max is above the Nyquist limit of {nyquist} Hz");
            let reason = format!("it is {max} Hz at a pulse repetition rate of {prr} Hz");
            Err(Refusal::rule("nyquist", "frequencyRange.max", error, reason, format!("ask for at most {nyquist} Hz")))
        }
        _ => Ok(()),
    }
}

fn some_frequency(plan: &JobPlan) -> Result<(), Refusal> {
    let (prr_hz, nfft) = (plan.prr.to_f64(), plan.pattern.nfft);
    let (min, max) = plan.range_hz();
    if !bins_in_range(min, max, prr_hz, nfft).is_empty() {
        return Ok(());
    }
    let width = prr_hz / nfft as f64;
    let error = format!("No frequency lies within {min} to {max} Hz");
    let reason = format!("with {nfft} traces a window they are {width} Hz apart, up to {} Hz", prr_hz / 2.0);
    Err(Refusal::rule("no_frequency", "frequencyRange", error, reason, "widen the range or raise nfftSelection"))
}

pub(in crate::jobs) fn line_fits_message(plan: &JobPlan) -> Result<(), Refusal> {
    let longest = plan.streams().iter().map(|channels| channels.clone().count()).max().unwrap_or(0);
    let bytes = if plan.pattern.dtype == Dtype::F32 { 4 } else { 2 } * longest * plan.bins_per_channel();
    if bytes <= MAX_LINE_BYTES {
        return Ok(());
    }
    let reason = format!("{longest} channels of {} frequencies are {bytes} bytes", plan.bins_per_channel());
    let error = format!("A line of a stream cannot have more than {MAX_LINE_BYTES} bytes");
    let advice = "ask for fewer channels, a narrower range or a smaller nfftSelection";
    Err(Refusal::rule("line_too_long", "channels", error, reason, advice))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
