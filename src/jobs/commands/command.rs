//! Commands from the bus as they stand in their JSON, and for which job they are. Pure: one rule, one message each.
//!
//! A command is `{"type": …, "value": {…}}`, that of a changed input `{"type": …, "metadata": {…}}`. `null` is the same as
//! absent, unknown fields are ignored, and fields that are missing or of the wrong type are named all at once. The job is
//! named by the header `job_id` or behind the first word of the routing key (`roi.1-17`), otherwise it is the configured
//! default job; where both name one they must agree, so that no command ever reaches a job that it was not meant for.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::input::Announced;
use super::picture::{Caxis, Colormap};
use crate::refusal::{Fault, Refusal};

/// Longest command.
pub const MAX_BYTES: usize = 64 << 10;

/// Queues that a job may watch.
pub const MAX_QUEUES: usize = 16;

/// Longest name of anything in a command; that of a queue has no more bytes at the broker.
const MAX_NAME_BYTES: usize = 255;

/// First words of the routing keys that commands come with.
pub const KEYS: [&str; 6] = ["keepalive", "roi", "colormap", "caxis", "monitor_queues", "input_changed"];

/// What is commanded.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Somebody looks at the job.
    Keepalive {
        /// Who says so.
        source: String,
    },
    /// The job shall show these channels, from 0.
    Region(Range<usize>),
    /// The job shall have these colours.
    Colormap(Colormap),
    /// The job's colours shall have these limits.
    Caxis(Caxis),
    /// The job shall watch these queues.
    MonitorQueues(Vec<String>),
    /// The input has become another.
    InputChanged(Announced),
}

impl Command {
    /// Its type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keepalive { .. } => "KeepaliveCommand",
            Self::Region(_) => "RegionOfInterestCommand",
            Self::Colormap(_) => "ColormapCommand",
            Self::Caxis(_) => "CaxisCommand",
            Self::MonitorQueues(_) => "MonitorQueuesCommand",
            Self::InputChanged(_) => "InputChangedCommand",
        }
    }

    /// Whether it is for a job, and not for the daemon as a whole.
    pub const fn is_for_a_job(&self) -> bool {
        !matches!(self, Self::InputChanged(_))
    }
}

/// Reads a command.
///
/// # Errors
/// Why it is none.
pub fn parse(body: &[u8]) -> Result<Command, Refusal> {
    if body.len() > MAX_BYTES {
        let (error, found) = (format!("A command has at most {MAX_BYTES} bytes"), format!("it has {}", body.len()));
        return Err(Refusal::rule("body_too_long", "body", error, found, "send less"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let advice = r#"send one JSON object {"type": …, "value": {…}}"#;
        Refusal::rule("malformed_json", "body", "Malformed JSON", error.to_string(), advice)
    })?;
    let Value::Object(command) = value else {
        let advice = r#"send one JSON object {"type": …, "value": {…}}"#;
        return Err(Refusal::rule("not_an_object", "body", "A command is a JSON object", "it is none", advice));
    };
    let mut fields = Fields::of(&command, "");
    let name = fields.text("type");
    fields.done()?;
    match name.as_str() {
        "KeepaliveCommand" => keepalive(&command),
        "RegionOfInterestCommand" => region(&command),
        "ColormapCommand" => colormap(&command),
        "CaxisCommand" => caxis(&command),
        "MonitorQueuesCommand" => monitor_queues(&command),
        "InputChangedCommand" => input_changed(&command),
        other => {
            let found = format!("it is {}", shown(other));
            let advice = "ask for KeepaliveCommand, RegionOfInterestCommand, ColormapCommand, CaxisCommand, \
                          MonitorQueuesCommand or InputChangedCommand";
            Err(Refusal::rule("unknown_command", "type", "There is no command of this type", found, advice))
        }
    }
}

/// The job that a command is for. `header` is its header `job_id`.
///
/// # Errors
/// When it names none, two, or something that cannot be a job.
pub fn address(routing_key: &str, header: Option<&str>, default_job: Option<&str>) -> Result<String, Refusal> {
    let suffix = routing_key.split_once('.').filter(|(word, _)| KEYS.contains(word)).map(|(_, suffix)| suffix);
    let named = match (header, suffix) {
        (Some(header), Some(suffix)) if header != suffix => {
            let error = "The header job_id and the routing key name different jobs";
            let found = format!("the header says {}, the routing key {}", shown(header), shown(suffix));
            return Err(Refusal::rule("ambiguous_job", "job_id", error, found, "name the job once"));
        }
        (header, suffix) => header.or(suffix),
    };
    let Some(id) = named.or(default_job) else {
        let error = "The command names no job";
        let found = "there is no header job_id, nothing behind the first word of the routing key, and no default job";
        let advice = "set the header job_id, or publish with the job's id behind the key, such as roi.1-17";
        return Err(Refusal::rule("no_job", "job_id", error, found, advice));
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return Ok(id.to_owned());
    }
    let advice = "an id is letters, digits, _ and -, at most 64";
    Err(Refusal::rule("invalid_job_id", "job_id", "Invalid job_id", "this is no id", advice))
}

fn keepalive(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let value = payload(command, "value")?;
    let mut fields = Fields::of(value, "value.");
    let source = fields.text("source");
    fields.done()?;
    if source.is_empty() || source.len() > MAX_NAME_BYTES {
        let error = format!("value.source must have 1 to {MAX_NAME_BYTES} bytes");
        let found = format!("it has {}", source.len());
        return Err(Refusal::rule("source", "value.source", error, found, "say who you are in a word"));
    }
    Ok(Command::Keepalive { source })
}

fn region(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let value = payload(command, "value")?;
    let mut fields = Fields::of(value, "value.");
    let (start, end) = (fields.integer("start"), fields.integer("end"));
    fields.done()?;
    let found = format!("start is {start}, end is {end}");
    let advice = "channels count from 0, and end is behind the last one";
    let Ok(from) = usize::try_from(start) else {
        let error = "value.start must not be negative";
        return Err(Refusal::rule("negative_start", "value.start", error, found, advice));
    };
    match usize::try_from(end) {
        Ok(to) if to > from => Ok(Command::Region(from..to)),
        _ => {
            let error = "value.end must be greater than value.start";
            Err(Refusal::rule("empty_region", "value.end", error, found, advice))
        }
    }
}

fn colormap(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let mut fields = Fields::of(command, "");
    let name = fields.text("value");
    fields.done()?;
    Colormap::named(&name).map(Command::Colormap).ok_or_else(|| {
        let names = Colormap::ALL.map(Colormap::name).join(", ");
        let found = format!("it is {}", shown(&name));
        Refusal::rule("unknown_colormap", "value", "There is no such colormap", found, format!("ask for {names}"))
    })
}

fn caxis(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let value = payload(command, "value")?;
    let mut fields = Fields::of(value, "value.");
    let (min, max) = (fields.number("min"), fields.number("max"));
    fields.done()?;
    if max > min {
        return Ok(Command::Caxis(Caxis { min, max }));
    }
    let (error, found) = ("value.max must be greater than value.min", format!("min is {min}, max is {max}"));
    Err(Refusal::rule("caxis_order", "value.max", error, found, "exchange the two, or widen the range"))
}

fn monitor_queues(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let value = payload(command, "value")?;
    let mut fields = Fields::of(value, "value.");
    let names = fields.texts("queues_to_monitor");
    fields.done()?;
    let field = "value.queues_to_monitor";
    let names: BTreeSet<_> = names.into_iter().collect();
    if names.is_empty() || names.len() > MAX_QUEUES {
        let error = format!("{field} must name 1 to {MAX_QUEUES} queues");
        return Err(Refusal::rule("queue_count", field, error, format!("it names {}", names.len()), "name as many"));
    }
    let bad = |name: &&String| name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control);
    if let Some(name) = names.iter().find(bad) {
        let error = format!("The name of a queue has 1 to {MAX_NAME_BYTES} bytes and no control characters");
        return Err(Refusal::rule("queue_name", field, error, format!("one is {}", shown(name)), "correct that name"));
    }
    Ok(Command::MonitorQueues(names.into_iter().collect()))
}

fn input_changed(command: &Map<String, Value>) -> Result<Command, Refusal> {
    let metadata = payload(command, "metadata")?;
    let mut fields = Fields::of(metadata, "metadata.");
    let announced = Announced {
        prr: fields.number("prr"),
        num_samples_per_trace: fields.count("num_samples_per_trace"),
        dtype: fields.text("dtype"),
        dx: fields.optional("dx", Fields::number),
        fiber_start_meters: fields.optional("fiber_start_meters", Fields::number),
        fiber_length_meters: fields.optional("fiber_length_meters", Fields::number),
        sw_version: fields.optional("sw_version", Fields::text),
        number_of_channels: fields.optional("number_of_channels", Fields::count),
    };
    fields.done()?;
    let positive = [
        ("prr", Some(announced.prr)),
        ("num_samples_per_trace", Some(announced.num_samples_per_trace as f64)),
        ("dx", announced.dx),
        ("fiber_length_meters", announced.fiber_length_meters),
        ("number_of_channels", announced.number_of_channels.map(|count| count as f64)),
    ];
    for (name, value) in positive {
        if let Some(value) = value.filter(|value| *value <= 0.0) {
            let (field, found) = (format!("metadata.{name}"), format!("it is {value}"));
            let error = format!("{field} must be positive");
            return Err(Refusal::rule("not_positive", field, error, found, "say what the input is now"));
        }
    }
    let texts = [("dtype", Some(&announced.dtype)), ("sw_version", announced.sw_version.as_ref())];
    for (name, text) in texts {
        if let Some(text) = text.filter(|text| text.is_empty() || text.len() > MAX_NAME_BYTES) {
            let (field, found) = (format!("metadata.{name}"), format!("it has {}", text.len()));
            let error = format!("{field} must have 1 to {MAX_NAME_BYTES} bytes");
            return Err(Refusal::rule("text_length", field, error, found, "say it in a word, such as int16"));
        }
    }
    Ok(Command::InputChanged(announced))
}

/// The object `name` of a command.
fn payload<'a>(command: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, Refusal> {
    let mut fields = Fields::of(command, "");
    match command.get(name) {
        Some(Value::Object(object)) => return Ok(object),
        None | Some(Value::Null) => fields.missing(name),
        Some(_) => fields.wrong(name, "an object"),
    }
    Err(Refusal::Fields(fields.faults))
}

/// Somebody's own words, but not all of them.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// Typed getters over an object that note what is wrong and go on.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    before: &'static str,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    const fn of(object: &'a Map<String, Value>, before: &'static str) -> Self {
        Self { object, before, faults: Vec::new() }
    }

    /// # Errors
    /// When anything was wrong.
    fn done(self) -> Result<(), Refusal> {
        if self.faults.is_empty() { Ok(()) } else { Err(Refusal::Fields(self.faults)) }
    }

    fn fault(&mut self, name: &str, msg: String, kind: &'static str) {
        self.faults.push(Fault { field: format!("{}{name}", self.before), msg, kind });
    }

    fn missing(&mut self, name: &str) {
        self.fault(name, "Field required".into(), "missing");
    }

    fn wrong(&mut self, name: &str, wanted: &str) {
        self.fault(name, format!("{wanted} is wanted"), "invalid");
    }

    fn get<T: Default>(&mut self, name: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        match self.object.get(name) {
            None | Some(Value::Null) => self.missing(name),
            Some(value) => match read(value) {
                Some(value) => return value,
                None => self.wrong(name, wanted),
            },
        }
        T::default()
    }

    fn optional<T>(&mut self, name: &str, read: impl Fn(&mut Self, &str) -> T) -> Option<T> {
        let there = self.object.get(name).is_some_and(|value| !value.is_null());
        there.then(|| read(self, name))
    }

    fn text(&mut self, name: &str) -> String {
        self.get(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.get(name, "a list of strings", |value| value.as_array()?.iter().map(text).collect())
    }

    fn integer(&mut self, name: &str) -> i64 {
        self.get(name, "a whole number", Value::as_i64)
    }

    fn count(&mut self, name: &str) -> u64 {
        // A negative number is a number, and another rule's business.
        self.get(name, "a whole number", |value| value.as_u64().or_else(|| value.as_i64().map(|_| 0)))
    }

    fn number(&mut self, name: &str) -> f64 {
        self.get(name, "a number", Value::as_f64)
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
