//! The house rules that a compiler does not check: which rooms (top-level modules) may use which, how long a file may be,
//! and where unsafe code is allowed.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every room, and all the rooms that it uses. A new arrow needs a place here, and one that is gone leaves the list.
const ARROWS: [(&str, &[&str]); 30] = [
    ("main", &["app", "bench", "cli", "client", "config", "dsp", "export", "record", "source", "watch"]),
    (
        "app",
        &[
            "acquisition",
            "api",
            "capture",
            "config",
            "egress",
            "frame",
            "health",
            "jobs",
            "notify",
            "pipeline",
            "publish",
            "source",
            "status",
            "streams",
            "telemetry",
            "terminal",
            "units",
        ],
    ),
    ("bench", &["config", "dsp", "publish", "source", "units"]),
    ("api", &["acquisition", "config", "health", "jobs", "log_limit", "metrics", "refusal", "status", "streams"]),
    ("publish", &["config", "egress", "frame", "jobs", "log_limit", "refusal", "status", "wire"]),
    (
        "jobs",
        &[
            "acquisition",
            "config",
            "dsp",
            "feed",
            "frame",
            "log_limit",
            "pipeline",
            "refusal",
            "status",
            "streams",
            "units",
        ],
    ),
    ("capture", &["acquisition", "block", "config", "source", "status", "telemetry"]),
    ("cli", &["client", "config", "export", "source"]),
    ("export", &["acquisition", "block", "colour", "prodml", "source"]),
    ("prodml", &["acquisition", "source"]),
    ("client", &["config"]),
    ("watch", &["client", "frame", "status", "terminal", "wire"]),
    (
        "pipeline",
        &["acquisition", "block", "config", "dsp", "egress", "frame", "refusal", "status", "telemetry", "units"],
    ),
    ("streams", &["config", "feed", "refusal", "status"]),
    ("config", &["acquisition", "dsp", "frame", "source", "units"]),
    ("feed", &["frame", "units", "wire"]),
    ("metrics", &["acquisition", "health", "status"]),
    ("record", &["acquisition", "block", "prodml", "source"]),
    ("dsp", &["acquisition", "block", "units"]),
    ("egress", &["frame", "status"]),
    ("health", &["acquisition", "status"]),
    ("notify", &["acquisition", "status"]),
    ("source", &["acquisition", "block", "units"]),
    ("telemetry", &["status"]),
    ("terminal", &["colour", "frame", "status"]),
    ("wire", &["frame", "units"]),
    ("block", &["acquisition", "units"]),
    ("frame", &["acquisition", "units"]),
    ("status", &["acquisition"]),
    ("acquisition", &["units"]),
];

/// No file is longer.
const MOST_LINES: usize = 450;

/// Room by room, the rooms that it uses, each with a file in which it does.
type Arrows = BTreeMap<(String, String), PathBuf>;

/// Walks a crate from its root file, as the compiler does, and notes the arrows between its rooms.
#[derive(Default)]
struct Walk {
    /// The room of all code, in a crate that is one room; `None` where each top-level module is one.
    only_room: Option<&'static str>,
    arrows: Arrows,
}

/// A module: its path from the root of the crate, its file, and the folder of its submodules.
#[derive(Clone)]
struct Module {
    path: Vec<String>,
    file: PathBuf,
    folder: PathBuf,
}

impl Module {
    fn child(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        Self { path, file: self.file.clone(), folder: self.folder.join(name) }
    }

    fn child_in_a_file(&self, name: &str) -> Self {
        let places = [self.folder.join(format!("{name}.rs")), self.folder.join(name).join("mod.rs")];
        let file = places.iter().find(|place| place.exists()).unwrap_or_else(|| panic!("none of {places:?} is there"));
        Self { file: file.clone(), ..self.child(name) }
    }
}

impl Walk {
    fn read(&mut self, module: &Module) {
        let text = fs::read_to_string(&module.file).unwrap();
        self.scan(text.parse().unwrap(), module);
    }

    fn scan(&mut self, code: TokenStream, module: &Module) {
        let tokens: Vec<_> = code.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match (word(rest, 0).as_deref(), word(rest, 1)) {
                // Tests inside a room may reach anywhere, for instance to drive a source through the pipeline.
                _ if is_for_tests(rest) => item_length(rest),
                (Some("mod"), Some(name)) => {
                    match rest.get(2) {
                        Some(TokenTree::Group(body)) => self.scan(body.stream(), &module.child(&name)),
                        _ => self.read(&module.child_in_a_file(&name)),
                    }
                    3
                }
                (Some("crate" | "super" | "fiberd"), _) => {
                    self.follow(module.path.clone(), rest, module);
                    1
                }
                _ => {
                    if let TokenTree::Group(inner) = &rest[0] {
                        self.scan(inner.stream(), module);
                    }
                    1
                }
            };
        }
    }

    /// Notes the rooms that a path or a tree of imports leads to, which is read from `base` on.
    fn follow(&mut self, mut base: Vec<String>, path: &[TokenTree], module: &Module) {
        for token in path {
            match token {
                TokenTree::Ident(word) if word == "crate" => base.clear(),
                // The library, from the program.
                TokenTree::Ident(word) if word == "fiberd" && self.only_room.is_some() => {
                    base = vec!["fiberd".into()];
                }
                TokenTree::Ident(word) if word == "super" => drop(base.pop()),
                TokenTree::Ident(word) if word == "self" => {}
                TokenTree::Punct(sign) if sign.as_char() == ':' => {}
                TokenTree::Ident(word) => {
                    base.push(word.to_string());
                    return self.note(&base, module);
                }
                TokenTree::Group(list) if list.delimiter() == Delimiter::Brace => {
                    let list: Vec<_> = list.stream().into_iter().collect();
                    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(sign) if sign.as_char() == ',');
                    return list.split(is_comma).for_each(|path| self.follow(base.clone(), path, module));
                }
                _ => return,
            }
        }
    }

    fn note(&mut self, target: &[String], module: &Module) {
        let (from, to) = match (self.only_room, target) {
            (Some(room), [library, to, ..]) if library == "fiberd" => (room, to),
            (None, [to, ..]) => (module.path.first().map_or("lib", String::as_str), to),
            _ => return,
        };
        if from != to {
            self.arrows.entry((from.to_owned(), to.clone())).or_insert_with(|| module.file.clone());
        }
    }
}

fn word(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_for_tests(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(sign), TokenTree::Group(attribute), ..]
        if sign.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Tokens of an item: up to its semicolon or its body. The braces of an import are none; they follow a colon.
fn item_length(tokens: &[TokenTree]) -> usize {
    let mut after_colon = false;
    let last = tokens.iter().position(|token| {
        let is_end = match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !after_colon,
            TokenTree::Punct(sign) => sign.as_char() == ';',
            _ => false,
        };
        after_colon = matches!(token, TokenTree::Punct(sign) if sign.as_char() == ':');
        is_end
    });
    last.map_or(tokens.len(), |last| last + 1)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The arrows of the library and of the program around it, which is one room.
fn arrows_of_the_code() -> Arrows {
    let folder = root().join("src");
    let mut walk = Walk::default();
    for (only_room, file) in [(None, "lib.rs"), (Some("main"), "main.rs")] {
        walk.only_room = only_room;
        walk.read(&Module { path: Vec::new(), file: folder.join(file), folder: folder.clone() });
    }
    walk.arrows
}

/// Rooms that use each other, directly or through others, or stand between such; empty when all arrows point down.
fn circles<'a>(arrows: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<(&'a str, &'a str)> {
    let mut left: BTreeSet<_> = arrows.into_iter().collect();
    loop {
        let users: BTreeSet<_> = left.iter().map(|(from, _)| *from).collect();
        let before = left.len();
        left.retain(|(_, to)| users.contains(to));
        if left.len() == before {
            return left;
        }
    }
}

#[test]
fn the_arrows_between_rooms_are_those_of_the_list() {
    let found = arrows_of_the_code();
    let allowed: BTreeSet<_> = ARROWS.iter().flat_map(|(from, all)| all.iter().map(|to| (*from, *to))).collect();
    let is_allowed = |from: &str, to: &str| allowed.contains(&(from, to));
    let words = |((from, to), file): (&(String, String), &PathBuf)| format!("{from} → {to}, in {}", file.display());
    let new: Vec<_> = found.iter().filter(|((from, to), _)| !is_allowed(from, to)).map(words).collect();
    assert!(new.is_empty(), "arrows that are not in the list, each with one of its files: {new:#?}");
    let gone: Vec<_> =
        allowed.iter().filter(|(from, to)| !found.contains_key(&((*from).into(), (*to).into()))).collect();
    assert!(gone.is_empty(), "arrows of the list that are no longer there: {gone:?}");
    let circles = circles(allowed.iter().copied());
    assert!(circles.is_empty(), "rooms that use each other in a circle: {circles:?}");
}

#[test]
fn an_arrow_is_seen_however_it_is_written() {
    let code = r#"
        //! [`crate::a1`] of a comment is none.
        #[cfg(test)]
        use crate::{a2, a3::b};
        use crate::{b1, b2::{self, c}, room::own};
        use super::super::{b3, sibling::x};
        #[cfg(test)]
        mod tests { use crate::a4; }
        pub(crate) fn f() -> &'static str {
            println!("{}", crate::b4::value("crate::a5"));
            super::cousin::call();
            super::super::b5::call()
        }
        mod inner { use super::super::super::b6::*; use super::super::near; }
    "#;
    let mut walk = Walk::default();
    let path = ["room", "part"].map(str::to_owned).to_vec();
    walk.scan(code.parse().unwrap(), &Module { path, file: "part.rs".into(), folder: PathBuf::new() });
    let found: Vec<_> = walk.arrows.keys().map(|(from, to)| format!("{from} {to}")).collect();
    assert_eq!(found, ["b1", "b2", "b3", "b4", "b5", "b6", "sibling"].map(|to| format!("room {to}")));
    assert!(circles([("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    assert_eq!(circles([("a", "b"), ("b", "a"), ("b", "c")]).len(), 2);
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["src", "benches", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    files
}

#[test]
fn no_file_is_too_long() {
    let lines = |file: &Path| fs::read_to_string(file).unwrap().lines().count();
    let too_long: Vec<_> =
        all_sources().into_iter().map(|file| (lines(&file), file)).filter(|(lines, _)| *lines > MOST_LINES).collect();
    assert!(too_long.is_empty(), "files of more than {MOST_LINES} lines; split them by theme: {too_long:#?}");
}

#[test]
fn unsafe_code_lives_in_the_listed_places_only() {
    let marker = concat!("allow(", "unsafe_code)");
    // The ring; one call that hands free memory back, for which there is no safe interface; and the benchmark's calls into
    // FFTW, which are no part of the daemon.
    let rooms =
        ["src/source/ring", "src/jobs/allocator.rs", "benches/transform/peers.rs"].map(|place| root().join(place));
    let elsewhere: Vec<_> = all_sources()
        .into_iter()
        .filter(|f| !rooms.iter().any(|room| f.starts_with(room)))
        .filter(|f| fs::read_to_string(f).unwrap().contains(marker))
        .collect();
    assert!(elsewhere.is_empty(), "unsafe allowed elsewhere: {elsewhere:?}");
}
