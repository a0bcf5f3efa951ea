//! Why a broker refuses what the configuration asks of it, in words for everybody. What the broker itself says goes to
//! the log only: it may name users and hosts.

use std::time::{Duration, Instant};

use tracing::{debug, error};

use super::link::{Fault, place};
use crate::config::BrokerConfig;
use crate::status::{FindingKind, Status};

/// What a person can do, in the log.
const ADVICE: &str = "Check user, password, vhost, rights, certificate and exchange types; tried again every 10 s";
/// A refusal that lasts is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// The refusals of one connection: a finding while they last, and a line in the log once and then once an hour.
#[derive(Debug)]
pub(super) struct Refusals {
    name: &'static str,
    said: Option<(String, Instant)>,
}

impl Refusals {
    /// Those of the connection for `name`.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, said: None }
    }

    /// Takes notice of why there is no connection (any more).
    pub(super) fn see(&mut self, fault: &Fault, config: &BrokerConfig, status: &Status) {
        let Fault::Refused { text, plain } = fault else {
            status.take_back(FindingKind::BrokerRefused, self.name);
            return;
        };
        // All connections are refused for the same reason, most often: one line is enough.
        let known = |((kind, of), why): (&(FindingKind, String), &String)| {
            *kind == FindingKind::BrokerRefused && of != self.name && why == plain
        };
        let said_by_another = status.findings().iter().any(known);
        status.found(FindingKind::BrokerRefused, self.name, plain.clone());
        let is_news = self.said.as_ref().is_none_or(|(said, at)| said != text || at.elapsed() >= SAY_AGAIN);
        let (name, place) = (self.name, place(config));
        if is_news && !said_by_another {
            error!("broker {place}: {name}: refused: {text}. {ADVICE}");
            self.said = Some((text.clone(), Instant::now()));
        } else {
            debug!("broker {place}: {name}: refused: {text}");
        }
    }

    /// The connection works.
    pub(super) fn accepted(&mut self, status: &Status) {
        status.take_back(FindingKind::BrokerRefused, self.name);
        self.said = None;
    }
}

/// The broker's text of a refusal in plain words: exchanges, queues and virtual hosts by name, nothing else.
pub(super) fn plain(text: &str) -> String {
    if let Some(words) = mismatch(text) {
        return words;
    }
    let vhost = || between(text, "vhost '", "'").or_else(|| between(text, "vhost ", " "));
    if text.contains("Login was refused") {
        return "the login is refused: user or password is wrong, or the user may not connect from here".into();
    }
    if text.contains("limit") && text.contains("is reached") {
        return "the broker's limit of connections is reached".into();
    }
    if let Some(vhost) = vhost().filter(|_| text.contains("not found") && text.contains("NOT_ALLOWED")) {
        return format!("the virtual host {vhost} does not exist");
    }
    if let Some(vhost) = between(text, "access to vhost '", "'") {
        return format!("the user may not use the virtual host {vhost}");
    }
    for kind in ["exchange", "queue", "topic"] {
        if let Some(name) = between(text, &format!("access to {kind} '"), "'") {
            return format!("the user has no permission for the {kind} {name}");
        }
    }
    let lower = text.to_lowercase();
    if lower.contains("certificate") || lower.contains("tls") || lower.contains("unknownissuer") {
        return "the connection cannot be encrypted: a certificate is not trusted or not valid, or the port does not speak TLS"
            .into();
    }
    if text.contains("RESERVED") || text.contains("reserved") {
        return "a name in the configuration is reserved by the broker".into();
    }
    "the broker refuses the connection or what is declared on it; its own words are in the log".into()
}

/// `inequivalent arg 'type' for exchange 'fiberd.frames' in vhost '/': received 'topic' but current is 'direct'`
fn mismatch(text: &str) -> Option<String> {
    let argument = between(text, "inequivalent arg '", "'")?;
    let (kind, name) = ["exchange", "queue"]
        .into_iter()
        .find_map(|kind| between(text, &format!("for {kind} '"), "'").map(|name| (kind, name)))?;
    let (_, values) = text.split_once("received ")?;
    let (wanted, found) = values.split_once(" but current is ")?;
    let word = |value: &str| {
        let value = value.trim().trim_start_matches("the value ");
        let quoted = between(value, "'", "'").unwrap_or(value.split([',', '"', '.']).next().unwrap_or(value));
        quoted.trim().chars().take(80).collect::<String>()
    };
    Some(format!(
        "the {kind} {name} exists with {argument} {}, but {} is needed: delete it or configure another name",
        word(found),
        word(wanted)
    ))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_rabbitmq_has_its_words_and_no_user() {
        let cases = [
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'fiberd.frames' in vhost '/': received 'topic' but current is 'direct'",
                "the exchange fiberd.frames exists with type direct, but topic is needed",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'e' in vhost '/': received 'true' but current is 'false'",
                "the exchange e exists with durable false, but true is needed",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received none but current is the value 'dead' of type 'longstr'",
                "the queue q exists with x-dead-letter-exchange dead, but none is needed",
            ),
            (
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
                "the login is refused: user or password is wrong",
            ),
            ("NOT_ALLOWED - vhost nowhere not found", "the virtual host nowhere does not exist"),
            ("NOT_ALLOWED - access to vhost '/' refused for user 'dana'", "the user may not use the virtual host /"),
            (
                "NOT_ALLOWED - access to vhost '/' refused for user 'dana': connection limit (0) is reached",
                "the broker's limit of connections is reached",
            ),
            (
                "ACCESS_REFUSED - access to exchange 'fiberd.frames' in vhost '/' refused for user 'dana'",
                "the user has no permission for the exchange fiberd.frames",
            ),
            ("invalid peer certificate: UnknownIssuer", "the connection cannot be encrypted"),
            ("dana@rabbit.example: no", "the broker refuses the connection"),
        ];
        for (text, wanted) in cases {
            let words = plain(text);
            assert!(words.starts_with(wanted), "{text}: {words}");
            assert!(!words.contains("dana") && !words.contains("rabbit.example"), "{words}");
        }
    }
}
