//! How a daemon is, for people and for monitoring: a verdict as Nagios and its like count it, and a page of text.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Client, ClientError};

/// What monitoring makes of it; its number is the exit code that plugins of Nagios have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Ok = 0,
    /// Something does not work, although the daemon as a whole does.
    Warning = 1,
    /// The daemon cannot do its job: it waits for fiber, or worse.
    Critical = 2,
    /// Nobody could be asked.
    Unknown = 3,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What a daemon says of itself at `/status`, as far as people are shown it.
#[derive(Debug, Deserialize)]
struct Report {
    version: String,
    site: String,
    phase: String,
    since_ms: i64,
    uptime_s: f64,
    ready: bool,
    conditions: Vec<Condition>,
    source: Option<String>,
    channels: Option<u64>,
    prr_declared_hz: Option<f64>,
    prr_measured_hz: Option<f64>,
    traces: u64,
    gaps: u64,
    gap_traces: u64,
    pipeline_load: f64,
    broker: String,
    frames_confirmed: u64,
    jobs: u64,
}

#[derive(Debug, Deserialize)]
struct Condition {
    code: String,
    what: String,
    since_ms: i64,
    severity: String,
    advice: String,
}

/// Asks, and says what to print. `json`: the daemon's own answer instead of words.
pub async fn ask(client: &Client, json: bool) -> (Verdict, String) {
    match answer(client).await {
        Ok((report, raw)) => (report.verdict(), if json { raw } else { report.words() }),
        Err(error) if json => (Verdict::Unknown, serde_json::json!({ "error": error.to_string() }).to_string()),
        Err(error) => (Verdict::Unknown, format!("{}: {error}", Verdict::Unknown.word())),
    }
}

async fn answer(client: &Client) -> Result<(Report, String), ClientError> {
    let (status, body) = client.look("/status").await?;
    if !status.is_success() {
        return Err(client.stranger(format!("it answers /status with {status}")));
    }
    let report = serde_json::from_slice(&body).map_err(|error| client.stranger(error.to_string()))?;
    Ok((report, String::from_utf8_lossy(&body).into_owned()))
}

impl Report {
    fn verdict(&self) -> Verdict {
        match (self.ready, self.conditions.is_empty()) {
            (false, _) => Verdict::Critical,
            (true, false) => Verdict::Warning,
            (true, true) => Verdict::Ok,
        }
    }

    fn words(&self) -> String {
        // The first line is all that many monitors show.
        let phase = format!("{}: ", self.phase);
        let worst = self.conditions.first().map(|worst| worst.what.strip_prefix(&phase).unwrap_or(&worst.what));
        let worst = worst.map_or_else(String::new, |worst| format!("; {worst}"));
        let mut text = format!("{}: {} since {}{worst}\n", self.verdict().word(), self.phase, utc(self.since_ms));
        let _ = writeln!(text, "  site     {}, fiberd {}, up {}", self.site, self.version, duration(self.uptime_s));
        let _ = writeln!(text, "  source   {}", self.source_words());
        let _ = writeln!(text, "  traces   {} read, {} missing in {} gaps", self.traces, self.gap_traces, self.gaps);
        let _ = writeln!(text, "  load     {:.0} % of real time", 100.0 * self.pipeline_load);
        let _ = writeln!(text, "  broker   {}, {} frames confirmed", self.broker, self.frames_confirmed);
        let _ = write!(text, "  jobs     {}", self.jobs);
        for Condition { code, what, since_ms, severity, advice } in &self.conditions {
            let severity = severity.replace('_', " ");
            let _ = write!(text, "\n{severity}: {what}\n  {code} since {}; {advice}", utc(*since_ms));
        }
        text
    }

    fn source_words(&self) -> String {
        let (Some(source), Some(channels), Some(prr_hz)) = (&self.source, self.channels, self.prr_declared_hz) else {
            return "none at present".into();
        };
        let measured = self.prr_measured_hz.map_or_else(String::new, |hz| format!(", {hz:.3} Hz measured"));
        format!("{source}: {channels} channels at {prr_hz} Hz{measured}")
    }
}

fn utc(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1000)).map_or_else(|_| "long ago".into(), |time| time.to_string())
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{seconds:.0} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acquisition::{Acquisition, Phase};
    use crate::status::{self, Severity, Status};

    fn report_of(status: &Status) -> Report {
        serde_json::from_str(&serde_json::to_string(&status.report()).unwrap()).unwrap()
    }

    #[test]
    fn the_verdict_follows_the_conditions_and_the_first_line_says_why() {
        let status = Status::new("north", None);
        status.set_phase(Phase::Acquiring(Acquisition::example().into()));
        let with = |severities: &[Severity]| {
            let condition = |severity: &Severity| status::Condition {
                code: "broker_away",
                subject: String::new(),
                what: "broker: away".into(),
                since_ms: 1_790_000_000_000,
                severity: *severity,
                advice: "see to it",
            };
            status.set_conditions(severities.iter().map(condition).collect(), false);
            let report = report_of(&status);
            (report.verdict(), report.words())
        };
        let (verdict, text) = with(&[]);
        assert_eq!(verdict, Verdict::Ok);
        assert!(text.starts_with("OK: acquiring since "), "{text}");
        assert!(text.contains("ring: 2337 channels at 2000 Hz\n"), "{text}");
        let (verdict, text) = with(&[Severity::Degraded]);
        assert_eq!(verdict, Verdict::Warning);
        assert!(text.lines().next().unwrap().ends_with("; broker: away"), "{text}");
        assert!(
            text.ends_with("degraded: broker: away\n  broker_away since 2026-09-21T14:13:20Z; see to it"),
            "{text}"
        );
        // The phase is not said twice.
        let waiting = Report { phase: "broker".into(), ..report_of(&status) };
        assert!(waiting.words().lines().next().unwrap().ends_with("Z; away"), "{}", waiting.words());
        let (verdict, text) = with(&[Severity::NotReady, Severity::Degraded]);
        assert_eq!((verdict, text.starts_with("CRITICAL: ")), (Verdict::Critical, true));
        assert!(text.contains("\nnot ready: "), "{text}");
    }

    #[test]
    fn durations_are_as_exact_as_people_want_them() {
        let words = [5.4, 61.0, 3600.0 * 3.0 + 720.0, 86_400.0 * 2.0 + 3600.0].map(duration);
        assert_eq!(words, ["5 s", "1 min", "3 h 12 min", "2 d 1 h"]);
    }
}
