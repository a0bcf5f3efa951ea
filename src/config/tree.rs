//! TOML text and environment variables as one tree in which every value knows where it was written.
//!
//! Text goes in, a tree and the syntax errors come out: the parser goes on after an error, so that a missing quotation
//! mark does not hide the ten other mistakes.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// How problems of syntax begin.
pub(super) const SYNTAX: &str = "this is not TOML";

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// Beyond 64 bits it is kept as far as 128 go, so that a range check can refuse it.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Item>),
    Table(Vec<Entry>),
    /// From an environment variable: what it is depends on the key.
    Raw(String),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) item: Item,
}

/// Finds line and column of byte offsets.
struct Places<'a> {
    name: Arc<str>,
    text: &'a str,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(name: &str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { name: name.into(), text, lines }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Origin::File { name: Arc::clone(&self.name), line, column }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| Entry {
            key: key.get_ref().to_string(),
            origin: self.at(key.span().start),
            item: Item { value: self.value(value.get_ref()), origin: self.at(value.span().start) },
        };
        Value::Table(table.iter().map(entry).collect())
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(digits) => {
                let parsed = i128::from_str_radix(digits.as_str(), digits.radix());
                Value::Integer(parsed.unwrap_or(if digits.as_str().starts_with('-') { i128::MIN } else { i128::MAX }))
            }
            DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(yes) => Value::Boolean(*yes),
            DeValue::Datetime(when) => Value::Datetime(when.to_string()),
            DeValue::Array(items) => {
                let item = |i: &toml::Spanned<DeValue<'_>>| Item {
                    value: self.value(i.get_ref()),
                    origin: self.at(i.span().start),
                };
                Value::Array(items.iter().map(item).collect())
            }
            DeValue::Table(table) => self.table(table),
        }
    }
}

/// Reads TOML `text`. Syntax errors are added to `problems`; what could be understood comes back.
pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let places = Places::new(name, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = error.span().map_or_else(|| Origin::Whole(name.into()), |span| places.at(span.start));
        let text = format!("{SYNTAX}: {}", error.message());
        problems.push(Problem { origin, key: String::new(), text });
    }
    match places.table(table.get_ref()) {
        Value::Table(entries) => entries,
        _ => Vec::new(),
    }
}

/// Reads `text` as one TOML value; what is none is a string.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Value {
    let places = Places::new("", text);
    match DeValue::parse(text) {
        Ok(value) => {
            let mut value = places.value(value.get_ref());
            relocate(&mut value, origin);
            value
        }
        Err(_) => Value::Text(text.to_owned()),
    }
}

/// Everything inside a variable stands where the variable stands.
fn relocate(value: &mut Value, origin: &Origin) {
    match value {
        Value::Array(items) => {
            for item in items {
                item.origin = origin.clone();
                relocate(&mut item.value, origin);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                entry.origin = origin.clone();
                entry.item.origin = origin.clone();
                relocate(&mut entry.item.value, origin);
            }
        }
        _ => {}
    }
}

/// Puts `FIBERD__SECTION__KEY=value` over what the file says. Other variables are not ours.
pub(super) fn override_with(entries: &mut Vec<Entry>, variable: &str, value: &str, problems: &mut Vec<Problem>) {
    let Some(path) = variable.strip_prefix("FIBERD__") else {
        return;
    };
    let origin = Origin::Variable(variable.to_owned());
    let words: Vec<String> = path.split("__").map(str::to_lowercase).collect();
    let item = Item { value: Value::Raw(value.to_owned()), origin: origin.clone() };
    match words.as_slice() {
        [key] if !key.is_empty() => set(entries, key, item),
        [section, key] if !section.is_empty() && !key.is_empty() => {
            let table = Item { value: Value::Table(Vec::new()), origin: origin.clone() };
            if !entries.iter().any(|e| e.key == *section) {
                entries.push(Entry { key: section.clone(), origin: origin.clone(), item: table });
            }
            match entries.iter_mut().find(|e| e.key == *section).map(|e| &mut e.item.value) {
                Some(Value::Table(inner)) => set(inner, key, item),
                _ => problems.push(Problem {
                    origin,
                    key: format!("{section}.{key}"),
                    text: format!("{section} is no section that a variable can reach into; set it in the file"),
                }),
            }
        }
        _ => problems.push(Problem {
            origin,
            key: String::new(),
            text: "the name does not lead to a key; write FIBERD__SECTION__KEY, such as FIBERD__CAPTURE__PRR_HZ".into(),
        }),
    }
}

fn set(entries: &mut Vec<Entry>, key: &str, item: Item) {
    match entries.iter_mut().find(|e| e.key == key) {
        Some(entry) => entry.item = item,
        None => entries.push(Entry { key: key.to_owned(), origin: item.origin.clone(), item }),
    }
}
