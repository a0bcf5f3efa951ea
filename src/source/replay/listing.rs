//! Which captures are meant: files as they are named; of a folder or a pattern all captures, in the order of their
//! times.
//!
//! What is no capture is left out there and said. A pattern is one that a shell would have made files of: `*`, `?`,
//! `[…]` and `**`. A file that is called like that is a file.

use std::path::{Path, PathBuf};

use super::capture::{io_error, unusable};
use super::times::ns_to_iso;
use super::vendors::{self, file_of};
use crate::source::{Finding, SourceError};

/// Files that are named when they are left out, at most.
const NAMED: usize = 5;

/// Captures, in the order in which they are played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Their files.
    pub files: Vec<PathBuf>,
    /// What was left out, in an operator's words.
    pub notes: Vec<Finding>,
}

/// Whether `path` is a pattern: it has the signs of one, and there is no file of this name, nor is a piece of one
/// meant.
pub fn is_pattern(path: &Path) -> bool {
    let has_signs = path.to_str().is_some_and(|text| text.contains(['*', '?', '[']));
    has_signs && std::fs::symlink_metadata(path).is_err() && std::fs::symlink_metadata(file_of(path)).is_err()
}

/// The files that `path` stands for, by their names: itself, those in the folder (not in folders inside), or those that
/// match the pattern and are in folders that do. Nothing is opened.
///
/// # Errors
/// When there is nothing of this name or pattern, the pattern is none, or a folder cannot be read.
pub fn candidates(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if !is_pattern(path) {
        let meta = std::fs::metadata(file_of(path)).map_err(|e| io_error(path, "open", e))?;
        return if meta.is_dir() { inside(path) } else { Ok(vec![path.to_owned()]) };
    }
    let pattern = path.to_str().unwrap_or_default();
    let matches = glob::glob(pattern).map_err(|error| {
        unusable(path, format!("this is no pattern: {}, at character {}", error.msg, error.pos + 1))
    })?;
    let mut found = Vec::new();
    for entry in matches {
        let entry = entry.map_err(|error| io_error(&PathBuf::from(error.path()), "read", error.into()))?;
        found.extend(if entry.is_dir() { inside(&entry)? } else { vec![entry] });
    }
    if found.is_empty() {
        let nothing = std::io::Error::new(std::io::ErrorKind::NotFound, "no file matches this pattern");
        return Err(io_error(path, "look for files", nothing));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let wrong = |e| io_error(folder, "read the folder", e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        // What has gone since, and what is no file, is no capture.
        if std::fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// All captures that are named, one after the other; those of one folder or pattern in the order of their times.
///
/// # Errors
/// When something that is named is not there, or a folder or pattern has no capture that can be read.
pub fn list(named: &[PathBuf]) -> Result<Listing, SourceError> {
    let mut listing = Listing::default();
    for path in named {
        if path.is_dir() || is_pattern(path) {
            listing.add_captures(path, &candidates(path)?)?;
        } else {
            listing.files.push(path.clone());
        }
    }
    Ok(listing)
}

impl Listing {
    /// Adds those of the files that are captures, by their times.
    fn add_captures(&mut self, named: &Path, files: &[PathBuf]) -> Result<(), SourceError> {
        let (mut captures, mut others, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for path in files {
            match vendors::starts_at(path) {
                Ok(Some(utc_ns)) => captures.push((utc_ns, path)),
                Ok(None) => others.push(path),
                Err(SourceError::Unusable { why, .. }) => bad.push((path, why)),
                Err(SourceError::Io { error, .. }) => bad.push((path, error.to_string())),
            }
        }
        if captures.is_empty() {
            let why = bad.first().map_or_else(String::new, |(path, why)| format!("; {}: {why}", name(path)));
            return Err(unusable(named, format!("no capture in it, of {}{why}", counted(files.len(), "file"))));
        }
        captures.sort();
        self.files.extend(captures.iter().map(|(_, path)| (*path).clone()));
        if !others.is_empty() {
            let mut names: Vec<_> = others.iter().take(NAMED).map(|path| name(path)).collect();
            names.extend((others.len() > NAMED).then(|| "…".to_owned()));
            let what = if others.len() == 1 { "is no capture" } else { "are no captures" };
            let (folder, names) = (named.display(), names.join(", "));
            self.notes.push(Finding::warning(format!(
                "{folder}: {} {what}: left out ({names})",
                counted(others.len(), "file")
            )));
        }
        self.notes.extend(bad.iter().map(|(path, why)| Finding::warning(format!("{}: left out: {why}", name(path)))));
        if let ([(first, path), .., (last, _)], false) = (&captures[..], in_order(&captures)) {
            self.notes.push(Finding::note(format!(
                "{}: played in the order of time and not of names: from {} ({}) to {}",
                named.display(),
                name(path),
                ns_to_iso(*first),
                ns_to_iso(*last)
            )));
        }
        Ok(())
    }
}

fn in_order(captures: &[(i64, &PathBuf)]) -> bool {
    captures.is_sorted_by_key(|(_, path)| *path)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of five traces that begins so many seconds after 1970.
    fn capture(path: &Path, start_s: i64) {
        let mut bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/capture-v1.fdas")).unwrap();
        for chunk in [192, 320] {
            bytes[chunk + 16..chunk + 24].copy_from_slice(&(start_s * 1_000_000_000 + chunk as i64).to_le_bytes());
            let crc = crc32fast::hash(&bytes[chunk..chunk + 60]);
            bytes[chunk + 60..chunk + 64].copy_from_slice(&crc.to_le_bytes());
        }
        std::fs::write(path, bytes).unwrap();
    }

    fn names(listing: &Listing) -> Vec<String> {
        listing.files.iter().map(|path| name(path)).collect()
    }

    #[test]
    fn a_folder_is_its_captures_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        capture(&at("b.fdas"), 1_700_000_000);
        capture(&at("a.fdas"), 1_700_000_100);
        capture(&at("c.fdas.part"), 1_600_000_000);
        std::fs::write(at("notes.txt"), "a fiber of 20 km").unwrap();
        std::fs::write(at("empty.h5"), "").unwrap();
        let whole = std::fs::read(at("a.fdas")).unwrap();
        std::fs::write(at("damaged.fdas"), &whole[..100]).unwrap();
        std::fs::write(at("short.fdas"), &whole[..17]).unwrap();
        std::fs::create_dir(at("older")).unwrap();
        capture(&at("older/d.fdas"), 1_500_000_000);

        let listing = list(&[folder.path().to_owned()]).unwrap();
        assert_eq!(names(&listing), ["c.fdas.part", "b.fdas", "a.fdas"]);
        let notes = listing.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "2 files are no captures",
            "empty.h5, notes.txt",
            "damaged.fdas: left out",
            "short.fdas: left out",
            "order of time",
        ] {
            assert!(notes.contains(part), "{part} in {notes}");
        }

        let pattern = list(&[at("[ab].fd*")]).unwrap();
        assert_eq!((names(&pattern), pattern.notes.len()), (vec!["b.fdas".to_owned(), "a.fdas".to_owned()], 1));
        assert_eq!(names(&list(&[at("**/*.fdas"), at("older")]).unwrap()), ["d.fdas", "b.fdas", "a.fdas", "d.fdas"]);
        // Files that are named stay as they are named, whatever they are.
        let named = [at("notes.txt"), at("a.fdas"), at("b.fdas")];
        assert_eq!(list(&named).unwrap().files, named);
        // A file that is called like a pattern.
        capture(&at("x[1].fdas"), 1);
        assert_eq!(names(&list(&[at("x[1].fdas")]).unwrap()), ["x[1].fdas"]);
    }

    #[test]
    fn nothing_to_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str| list(&[folder.path().join(name)]).unwrap_err().to_string();
        assert!(said("").contains("no capture in it, of 0 files"), "{}", said(""));
        assert!(said("*.h5").contains("no file matches"), "{}", said("*.h5"));
        assert!(said("[").contains("no pattern"), "{}", said("["));
        assert!(matches!(list(&[folder.path().join("x.h5")]), Err(SourceError::Io { .. }) | Ok(_)));
    }
}
