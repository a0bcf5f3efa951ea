//! The text of a scene → [`Scene`], with every mistake at once: what is no TOML, then every key that no scene has and
//! every value of a wrong type, then every value that makes no scene.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::scene::{Scene, SceneError};

/// Reads a scene that makes sense.
pub(super) fn scene(text: &str) -> Result<Scene, SceneError> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors.iter().map(|error| at_line(text, error)).collect();
    // Behind a mistake of syntax, keys may have ended up in the wrong table.
    let scene = if problems.is_empty() { read(text, table, &mut problems) } else { None };
    if let Some(Err(SceneError::Invalid(invalid))) = scene.as_ref().map(Scene::validate) {
        problems.extend(invalid);
    }
    match scene {
        Some(scene) if problems.is_empty() => Ok(scene),
        _ => Err(SceneError::Invalid(problems)),
    }
}

/// Serde stops at the first mistake: what it refuses is taken out, and it is asked again.
fn read(text: &str, mut table: Spanned<DeTable<'_>>, problems: &mut Vec<String>) -> Option<Scene> {
    let mut taken = Vec::new();
    loop {
        let error = match Scene::deserialize(Deserializer::from(table.clone())) {
            Ok(scene) => return Some(scene),
            Err(error) => error,
        };
        // What is missing because it was taken out is no mistake of its own.
        if !taken.iter().any(|key| error.message() == format!("missing field `{key}`")) {
            problems.push(at_line(text, &error));
        }
        match error.span().and_then(|span| take_out(table.get_mut(), &span)) {
            Some(key) => taken.push(key),
            None => return None,
        }
    }
}

/// Takes out the innermost entry or item that stands at `span`; its key (empty for an item), or `None` when there is none.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    if let Some(key) = table.iter_mut().find_map(|(_, value)| take_out_of(value.get_mut(), span)) {
        return Some(key);
    }
    let found = table.iter().find(|(key, value)| covers(&key.span(), span) || covers(&value.span(), span));
    let key = found.map(|(key, _)| key.clone())?;
    table.remove(&key).map(|_| key.get_ref().to_string())
}

/// The same inside of a value.
fn take_out_of(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(items) => {
            if let Some(key) = items.iter_mut().find_map(|item| take_out_of(item.get_mut(), span)) {
                return Some(key);
            }
            let before = items.len();
            let all = std::mem::replace(items, DeArray::new());
            *items = all.into_iter().filter(|item| !covers(&item.span(), span)).collect();
            (items.len() < before).then(String::new)
        }
        _ => None,
    }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn at_line(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {}, column {column}: {}", before.matches('\n').count() + 1, error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_wrong_types_and_impossible_values_are_told_together() {
        let text = "colour = 1\nseed = \"x\"\n[fiber]\nlength = 3\nchannels = 0\n[[source]]\nkind = \"dog\"\n\
                    [[source]]\nkind = \"pump\"\nspeed = 2\nspeed_m_per_s = 3.0\n[[pulled]]\nfrom_s = 1.0\n";
        let Err(SceneError::Invalid(found)) = scene(text) else { panic!("it is wrong in eight ways") };
        for part in [
            "line 1, column 1: unknown field `colour`",
            "line 2, column 8: invalid type: string \"x\"",
            "line 4, column 1: unknown field `length`",
            "line 7, column 8: unknown variant `dog`",
            "line 10, column 1: unknown field `speed`",
            "missing field `to_s`",
            "fiber.channels = 0: must be",
            "(pump).speed_m_per_s = 3: must be left out",
        ] {
            assert!(found.iter().any(|line| line.contains(part)), "{part} not in {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn every_mistake_of_syntax_has_its_line_and_hides_nothing_but_what_it_may_have_caused() {
        let Err(SceneError::Invalid(found)) = scene("seed = \n[fiber]\nchannels = 7 7\n") else { panic!("no TOML") };
        assert!(found.len() >= 2 && found[0].starts_with("line 1, "), "{found:#?}");
        assert!(found.iter().any(|line| line.starts_with("line 3, ")), "{found:#?}");
    }
}
