//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::script::Origin;

/// How to be called, for whoever did it wrong.
const USAGE: &str = "endurance [1h | 10m | 90s | --minutes N] [--seed N] [--report DIR] [--daemon FILE] \
    [--faults source,broker,process,clients] [--no-broker]";

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `None`: the short form, as a test.
    pub time: Option<Duration>,
    pub seed: Option<u64>,
    pub report: Option<PathBuf>,
    /// Another build of the daemon.
    pub daemon: Option<PathBuf>,
    pub origins: Vec<Origin>,
    pub broker: bool,
}

impl Options {
    /// # Errors
    /// How to do it right.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (origins, broker) = (Origin::ALL.to_vec(), true);
        let mut options = Self { time: None, seed: None, report: None, daemon: None, origins, broker };
        // Cargo says how it runs a benchmark.
        let mut words = words.into_iter().filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value: {USAGE}"));
            let wrong = |value: &str| format!("{value} is not understood: {USAGE}");
            match word.as_str() {
                "--minutes" => {
                    let text = value()?;
                    let minutes: Option<f64> = text.parse().ok();
                    let time = minutes.and_then(|minutes| Duration::try_from_secs_f64(60.0 * minutes).ok());
                    options.time = Some(time.ok_or_else(|| wrong(&text))?);
                }
                "--seed" => {
                    let text = value()?;
                    options.seed = Some(text.parse().map_err(|_| wrong(&text))?);
                }
                "--report" => options.report = Some(value()?.into()),
                "--daemon" => options.daemon = Some(value()?.into()),
                "--no-broker" => options.broker = false,
                "--faults" => {
                    let text = value()?;
                    let origin = |name: &str| Origin::ALL.into_iter().find(|origin| origin.name() == name);
                    options.origins = text.split(',').map(origin).collect::<Option<_>>().ok_or_else(|| wrong(&text))?;
                }
                time => options.time = Some(duration(time).ok_or_else(|| wrong(time))?),
            }
        }
        Ok(options)
    }
}

/// `1h`, `10m`, `90s`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

/// Shows what is understood.
pub fn verify() {
    let read = |line: &str| Options::read(line.split_whitespace().map(str::to_owned));
    let all = read("--bench 1h --seed 7 --report x --faults source,process --no-broker --daemon d").expect("right");
    assert_eq!((all.time, all.seed, all.broker), (Some(Duration::from_secs(3600)), Some(7), false));
    assert_eq!(all.origins, [Origin::Source, Origin::Process]);
    assert_eq!(read("--minutes 0.5").map(|options| options.time), Ok(Some(Duration::from_secs(30))));
    assert_eq!(read("").map(|options| options.time), Ok(None));
    for wrong in ["1y", "ä", "--seed x", "--seed", "--faults fiber", "--minutes -1"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
