//! Typed getters over one table of the configuration. Each getter checks type and range, notes what is wrong and goes
//! on with the default, so that one run finds every problem. What was never asked for is an unknown key.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::problem::{Origin, Problem};
use super::tree::{self, Entry, Item, Value};

/// How problems of unknown keys begin.
pub(super) const UNKNOWN_KEY: &str = "there is no such key";

/// What reading brings to light beside the values.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Every key that a reader asked for, dotted.
    pub(super) known: RefCell<Vec<String>>,
}

/// One table.
pub(super) struct Section<'a> {
    /// Name before the dot, as shown in problems; empty for the top.
    path: String,
    /// The same as it is in the table of known keys.
    kind: &'static str,
    origin: Origin,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        kind: &'static str,
        path: String,
        origin: Origin,
        entries: &'a [Entry],
        findings: &'a Findings,
    ) -> Self {
        Self { path, kind, origin, entries, asked: Vec::new(), findings }
    }

    /// The section `name` inside this one; empty when it is not there.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'a> {
        self.asked.push(name);
        let found = self.entries.iter().find(|e| e.key == name);
        let (origin, entries): (_, &'a [Entry]) = match found.map(|e| (&e.origin, &e.item.value)) {
            Some((origin, Value::Table(entries))) => (origin.clone(), entries),
            Some(_) => {
                self.complain(
                    name,
                    format!("this is a section; write [{name}] on a line of its own, its keys below it"),
                );
                (self.origin.clone(), &[])
            }
            None => (self.origin.clone(), &[]),
        };
        Section::new(name, name.to_owned(), origin, entries, self.findings)
    }

    /// The tables `[[name]]`; `None` when there is not even an empty list.
    pub(super) fn sections(&mut self, name: &'static str) -> Option<Vec<Section<'a>>> {
        self.asked.push(name);
        let entry = self.entries.iter().find(|e| e.key == name)?;
        let Value::Array(items) = &entry.item.value else {
            self.complain(name, format!("write [[{name}]] with two brackets: there may be several"));
            return Some(Vec::new());
        };
        let mut sections = Vec::new();
        for item in items {
            if let Value::Table(entries) = &item.value {
                // A name says more than a number; without one the line number has to do.
                let label = entries.iter().find_map(|e| match &e.item.value {
                    Value::Text(text) if e.key == "name" => Some(format!("{name}[{text}]")),
                    _ => None,
                });
                let path = label.unwrap_or_else(|| name.to_owned());
                sections.push(Section::new(name, path, item.origin.clone(), entries, self.findings));
            } else {
                self.complain(name, format!("write [[{name}]] on a line of its own, its keys below it"));
            }
        }
        Some(sections)
    }

    /// Whether the key was written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key)
    }

    /// Where the key stands, or else the section.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.entries.iter().find(|e| e.key == key).map_or_else(|| self.origin.clone(), |e| e.item.origin.clone())
    }

    /// Notes that `key` is wrong.
    pub(super) fn complain(&self, key: &str, text: impl Into<String>) {
        let key_path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.findings.problems.borrow_mut().push(Problem {
            origin: self.origin(key),
            key: key_path,
            text: text.into(),
        });
    }

    /// Notes that something in another file, which this one names, is wrong.
    pub(super) fn complain_at(&self, origin: Origin, text: String) {
        self.findings.problems.borrow_mut().push(Problem { origin, key: String::new(), text });
    }

    /// Notes that `key` must not be there, and shows nothing of its value.
    pub(super) fn refuse(&mut self, key: &'static str, text: &str) {
        self.asked.push(key);
        self.complain(key, text);
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Item> {
        self.asked.push(key);
        let known = if self.kind.is_empty() { key.to_owned() } else { format!("{}.{key}", self.kind) };
        self.findings.known.borrow_mut().push(known);
        self.entries.iter().find(|e| e.key == key).map(|e| &e.item)
    }

    /// The value with variables read as TOML.
    fn ask_value(&mut self, key: &'static str) -> Option<Value> {
        let item = self.ask(key)?;
        Some(match &item.value {
            Value::Raw(text) => tree::parse_value(text, &item.origin),
            other => other.clone(),
        })
    }

    fn wrong_type(&self, key: &str, found: &Value, wanted: &str) {
        self.complain(key, format!("{} stands here; {wanted} is wanted", describe(found)));
    }

    /// An integer within `range`, of `what`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
        what: &str,
    ) -> usize {
        self.optional_integer(key, range, what).unwrap_or(default)
    }

    /// An integer within `range`, of `what`, when it is written.
    pub(super) fn optional_integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        what: &str,
    ) -> Option<usize> {
        match self.ask_value(key)? {
            Value::Integer(n) => match usize::try_from(n) {
                Ok(n) if range.contains(&n) => return Some(n),
                _ => self.out_of_range(key, n, n < *range.start() as i128, &range, what),
            },
            other => self.wrong_type(key, &other, &format!("a whole number ({what})")),
        }
        None
    }

    /// A number within `range`, in `unit`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>, unit: &str) -> f64 {
        let value = match self.ask_value(key) {
            None => return default,
            Some(Value::Float(x)) => x,
            Some(Value::Integer(n)) => n as f64,
            Some(other) => {
                self.wrong_type(key, &other, &format!("a number ({unit})"));
                return default;
            }
        };
        if range.contains(&value) {
            return value;
        }
        self.not_in_range(key, value, &range, unit);
        default
    }

    fn not_in_range(&self, key: &str, value: f64, range: &RangeInclusive<f64>, unit: &str) {
        if value.is_nan() {
            self.complain(key, format!("nan is no number; {} to {} {unit} are allowed", range.start(), range.end()));
        } else {
            self.out_of_range(key, value, value < *range.start(), range, unit);
        }
    }

    fn out_of_range<T: Display, N: Display>(
        &self,
        key: &str,
        value: N,
        small: bool,
        range: &RangeInclusive<T>,
        what: &str,
    ) {
        let fault = if small { "too small" } else { "too large" };
        let text = format!("{value} is {fault}; {} to {} {what} are allowed", range.start(), range.end());
        // A number of 39 digits helps nobody.
        let text = if text.len() > 200 {
            format!("this is {fault}; {} to {} {what} are allowed", range.start(), range.end())
        } else {
            text
        };
        self.complain(key, text);
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        match self.ask_value(key) {
            None => default,
            Some(Value::Boolean(yes)) => yes,
            Some(other) => {
                self.wrong_type(key, &other, "true or false, without quotation marks,");
                default
            }
        }
    }

    /// A string that is written and not empty.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.ask(key).map(|item| &item.value)? {
            Value::Text(text) | Value::Raw(text) if text.trim().is_empty() => {
                self.complain(key, "the string is empty; leave the key out, or write what it should be");
                None
            }
            Value::Text(text) | Value::Raw(text) => Some(text.clone()),
            other => {
                self.wrong_type(key, other, "a string in quotation marks");
                None
            }
        }
    }

    /// A word that may stand between the dots of a routing key.
    pub(super) fn word(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        let fits = super::is_name(&text);
        if !fits {
            self.complain(
                key,
                format!("{} cannot stand in a routing key; use letters, digits, _ and -, at most 64", quoted(&text)),
            );
        }
        fits.then_some(text)
    }

    /// One of `choices`.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&'static str, T)]) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&text, &words).map_or_else(String::new, |word| format!(" (did you mean \"{word}\"?)"));
        self.complain(key, format!("{} is not one of {}{hint}", quoted(&text), words.join(", ")));
        default
    }

    /// A number, or one of `words`.
    pub(super) fn number_or_word(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        unit: &str,
        word: &str,
    ) -> Option<NumberOrWord> {
        match self.ask_value(key)? {
            Value::Text(text) if text == word => return Some(NumberOrWord::Word),
            Value::Integer(n) if range.contains(&(n as f64)) => return Some(NumberOrWord::Number(n as f64)),
            Value::Float(x) if range.contains(&x) => return Some(NumberOrWord::Number(x)),
            Value::Integer(n) => self.out_of_range(key, n, (n as f64) < *range.start(), &range, unit),
            Value::Float(x) => self.not_in_range(key, x, &range, unit),
            other => self.wrong_type(key, &other, &format!("a number ({unit}) or \"{word}\"")),
        }
        None
    }

    /// `[low, high]` with `low < high`.
    pub(super) fn pair(&mut self, key: &'static str, unit: &str) -> Option<(f64, f64)> {
        let value = self.ask_value(key)?;
        let pair = as_pair(&value);
        if pair.is_none() {
            self.complain(key, format!("two numbers are wanted, the lower first, such as [5, 200] {unit}"));
        }
        pair
    }

    /// `[[low, high], …]`, each with `low < high`.
    pub(super) fn pairs(&mut self, key: &'static str, unit: &str) -> Option<Vec<(f64, f64)>> {
        let value = self.ask_value(key)?;
        let pairs = match &value {
            Value::Array(items) if !items.is_empty() => items.iter().map(|i| as_pair(&i.value)).collect(),
            _ => None,
        };
        if pairs.is_none() {
            let want = format!("a list of pairs is wanted, the lower number first, such as [[5, 200]] {unit}");
            self.complain(key, want);
        }
        pairs
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let texts = match self.ask_value(key)? {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Value::Text(text) if !text.is_empty() => Some(text),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            Value::Text(text) => Some(vec![text]),
            _ => None,
        };
        if texts.is_none() {
            self.complain(key, "a list of strings is wanted, such as [\"one\", \"two\"]");
        }
        texts
    }

    /// To be called last: whatever is left was never asked for.
    pub(super) fn finish(self) {
        for entry in self.entries.iter().filter(|e| !self.asked.contains(&e.key.as_str())) {
            let asked = |key: &str| if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
            let text = match nearest(&entry.key, &self.asked) {
                Some(near) => format!("{UNKNOWN_KEY}; did you mean {}?", asked(near)),
                None => format!("{UNKNOWN_KEY}; known here: {}", self.asked.join(", ")),
            };
            let problem = Problem { origin: entry.origin.clone(), key: asked(&entry.key), text };
            self.findings.problems.borrow_mut().push(problem);
        }
    }
}

/// What [`Section::number_or_word`] found.
pub(super) enum NumberOrWord {
    Number(f64),
    Word,
}

fn as_pair(value: &Value) -> Option<(f64, f64)> {
    let Value::Array(items) = value else {
        return None;
    };
    let number = |item: &Item| match item.value {
        Value::Integer(n) => Some(n as f64),
        Value::Float(x) if x.is_finite() => Some(x),
        _ => None,
    };
    match items.as_slice() {
        [low, high] => Some((number(low)?, number(high)?)).filter(|(low, high)| low < high),
        _ => None,
    }
}

/// Text as it may be shown: in quotation marks, no control characters, not endless.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{:?}", format!("{short}{dots}"))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Raw(text) => format!("the string {}", quoted(text)),
        Value::Integer(n) => format!("the number {n}"),
        Value::Float(x) => format!("the number {x}"),
        Value::Boolean(yes) => format!("{yes}"),
        Value::Datetime(when) => format!("the date {when}"),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

/// The known word that was probably meant.
fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let plain = text.replace('-', "_").to_lowercase();
    let distance = |word: &str| {
        let word = word.replace('-', "_");
        if word.starts_with(&plain) && plain.len() >= 3 {
            // A forgotten unit (`block` for `block_ms`) is the most usual mistake of all.
            1
        } else if plain.starts_with(&word) && word.len() >= 4 {
            // A longer form of the same word: `hanning` means `hann` and not `hamming`.
            edit_distance(&plain, &word).min(2)
        } else {
            edit_distance(&plain, &word)
        }
    };
    let near = words.iter().min_by_key(|word| distance(word))?;
    (distance(near) <= near.len().div_ceil(3)).then_some(*near)
}

/// Levenshtein: insertions, deletions and replacements from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    // Far longer than any key: not a slip of the finger, and not worth the square of its length.
    if a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_none() {
        let known = ["prr_hz", "block_ms", "pool_blocks", "lock_ring"];
        for (slip, meant) in
            [("prr-hz", "prr_hz"), ("block", "block_ms"), ("pool_bloks", "pool_blocks"), ("PRR_HZ", "prr_hz")]
        {
            assert_eq!(nearest(slip, &known), Some(meant), "{slip}");
        }
        let windows = ["hann", "hamming", "blackman", "blackman-harris"];
        for (slip, meant) in [("hanning", "hann"), ("haming", "hamming"), ("blackman_haris", "blackman-harris")] {
            assert_eq!(nearest(slip, &windows), Some(meant), "{slip}");
        }
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }

    #[test]
    fn edit_distances_by_hand() {
        for (a, b, n) in [("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0), ("ab", "ba", 2)] {
            assert_eq!(edit_distance(a, b), n, "{a} {b}");
        }
    }
}
