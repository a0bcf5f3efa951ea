//! The pages for people keep up with the code: what the daemon says is found in the troubleshooting page, word by word,
//! and every link leads somewhere. Nothing is listed here: words are taken from the sources themselves.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TROUBLESHOOTING: &str = "docs/troubleshooting.md";

/// Everything that the ring says about a producer. The words of light and of time are with the reasons of darkness.
const SOURCES_ABOUT_PRODUCERS: [&str; 7] = [
    "src/source/ring/abi.rs",
    "src/source/ring/agree.rs",
    "src/source/ring/attached.rs",
    "src/source/ring/consumer.rs",
    "src/source/ring/header.rs",
    "src/source/ring/mistakes.rs",
    "src/source/ring/reader.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` whose names end in `.extension`, but for what is built and what is hidden.
fn files(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, extension, into);
        } else if path.extension().is_some_and(|e| e == extension) {
            into.push(path);
        }
    }
}

/// The string literals of Rust code, in order, without comments; each value that is put in is an ellipsis.
fn literals(code: &str) -> Vec<String> {
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((_, behind)) = rest.split_once('"') {
        let mut escaped = false;
        let end = behind.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let Some(end) = end else { break };
        found.push(as_said(&behind[..end]));
        rest = &behind[end + 1..];
    }
    found
}

/// A literal as the reader of a message sees it.
fn as_said(literal: &str) -> String {
    let mut said = String::new();
    let mut pieces = literal.split("\\\n");
    said.push_str(pieces.next().unwrap_or_default());
    pieces.for_each(|piece| said.push_str(piece.trim_start()));
    while let Some((before, behind)) = said.split_once('{') {
        let Some((_, after)) = behind.split_once('}') else { break };
        said = format!("{before}…{after}");
    }
    said.replace("\\\"", "\"")
}

/// Code before its tests.
fn code_of(path: &str) -> String {
    read(path).split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

fn words(text: &str) -> usize {
    text.split(' ').filter(|word| word.contains(char::is_alphabetic)).count()
}

/// Fails with all that is missing.
fn assert_page_says<'a>(wanted: impl IntoIterator<Item = &'a String>, at_least: usize) {
    let page = read(TROUBLESHOOTING).split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted: BTreeSet<_> = wanted.into_iter().collect();
    assert!(wanted.len() >= at_least, "only {wanted:?} was found in the sources");
    let missing: Vec<_> = wanted.into_iter().filter(|text| !page.contains(text.as_str())).collect();
    assert!(missing.is_empty(), "{TROUBLESHOOTING} does not say {missing:#?}");
}

fn in_backticks(code: impl AsRef<str>) -> String {
    format!("`{}`", code.as_ref())
}

#[test]
fn every_condition_is_explained() {
    assert_page_says(&fiberd::health::CODES.map(in_backticks), 20);
    let rules = code_of("src/health/rules.rs");
    let (_, told) = rules.split_once("pub(super) fn of_phase").unwrap();
    let told: Vec<_> = literals(told).into_iter().filter(|text| words(text) >= 3).collect();
    assert_page_says(&told, 10);
    let losses = rules.split("words: (").filter(|behind| behind.starts_with('"'));
    let lost: Vec<_> = losses.map(|behind| literals(behind)[2].clone()).collect();
    assert_page_says(&lost, 9);
}

#[test]
fn every_refusal_of_the_broker_is_explained() {
    let refusals = code_of("src/publish/amqp/refusal.rs");
    let (_, plain) = refusals.split_once("pub(super) fn plain").unwrap();
    // What is looked for in the broker's own words is shorter than what is said about it.
    let told: Vec<_> = literals(plain).into_iter().filter(|text| words(text) >= 6).collect();
    assert_page_says(&told, 8);
}

#[test]
fn every_reason_of_darkness_is_explained_by_code_and_by_words() {
    let code = code_of("src/acquisition/phase.rs");
    let (_, behind) = code.split_once("pub enum DarkReason").unwrap();
    let (reasons, _) = behind.split_once("pub enum Phase").unwrap();
    let (sentences, words): (Vec<_>, Vec<_>) = literals(reasons).into_iter().partition(|text| text.contains(' '));
    let codes: Vec<_> = words.iter().filter(|word| word.contains(char::is_alphabetic)).map(in_backticks).collect();
    let sentences: Vec<_> = sentences.into_iter().filter(|text| !text.trim().is_empty()).collect();
    assert_page_says(&codes, 10);
    assert_page_says(&sentences, 8);
}

#[test]
fn every_mistake_of_a_driver_is_explained_in_the_words_that_name_it() {
    let all = SOURCES_ABOUT_PRODUCERS.iter().flat_map(|path| literals(&code_of(path)));
    let sentences: Vec<_> = all.filter(|text| words(text) >= 3).collect();
    assert_page_says(&sentences, 40);
}

#[test]
fn every_refusal_of_the_api_and_of_commands_is_explained() {
    const CALLS: [&str; 5] = [
        "Refusal::rule(",
        "ApiError::new(StatusCode::",
        "Self::new(StatusCode::",
        "refuse(StatusCode::",
        "unavailable(",
    ];
    let mut sources = vec![root().join("src/refusal.rs")];
    for room in ["src/api", "src/jobs", "src/publish", "src/refusal", "src/streams"] {
        files(&root().join(room), "rs", &mut sources);
    }
    let mut codes = Vec::new();
    for source in sources {
        let code = code_of(source.strip_prefix(root()).unwrap().to_str().unwrap());
        for call in CALLS {
            // The code is among the first arguments of the call, or it is a variable.
            let is_argument = |behind: &&str| behind.split('"').next().is_some_and(|gap| !gap.contains(')'));
            let first = |behind: &str| literals(behind).into_iter().next();
            codes.extend(code.split(call).skip(1).filter(is_argument).filter_map(first));
        }
    }
    let is_code = |text: &String| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let codes: Vec<_> = codes.into_iter().filter(is_code).map(in_backticks).collect();
    assert_page_says(&codes, 50);
}

/// Text of a page without its code blocks.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// What a heading is called in a link, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages = Vec::new();
    files(root(), "md", &mut pages);
    let (mut links, mut broken) = (0, Vec::new());
    for page in &pages {
        let text = prose(&read(page));
        for link in text.split("](").skip(1).filter_map(|behind| behind.split(')').next()) {
            if link.contains("://") || link.contains("::") {
                continue;
            }
            links += 1;
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let has_place = || {
                let text = prose(&read(&target));
                text.lines().filter(|l| l.starts_with('#')).any(|l| anchor(l.trim_start_matches('#')) == place)
            };
            if !target.exists() || (!place.is_empty() && !has_place()) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 40, "only {links} links were seen in {} pages", pages.len());
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let mut pages = Vec::new();
    files(root(), "md", &mut pages);
    let (mut named, mut missing) = (0, Vec::new());
    for page in &pages {
        // Every other piece stands between backticks.
        for name in prose(&read(page)).split('`').skip(1).step_by(2) {
            let folder = name.split_once('/').map(|(folder, _)| folder);
            let is_ours =
                folder.is_some_and(|folder| ["src", "tests", "benches", "docs", "fixtures", "fuzz"].contains(&folder));
            if is_ours && !name.contains([' ', '*', '{', '<', '…']) {
                named += 1;
                if !root().join(name).exists() {
                    missing.push(format!("{}: {name}", page.display()));
                }
            }
        }
    }
    assert!(named > 10, "only {named} files are named in {} pages", pages.len());
    assert!(missing.is_empty(), "files that are not there:\n{}", missing.join("\n"));
}
