//! Tells the program which commit it was built from: `FIBERD_COMMIT`, or nothing when that is not known. Only for
//! builds that go out: a debug build would be made anew after each commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() == Ok("debug") {
        return;
    }
    if let Some(commit) = commit() {
        println!("cargo:rustc-env=FIBERD_COMMIT={commit}");
    }
}

/// The commit that is checked out here; `None` outside of a repository of our own, as in a package of the sources.
fn commit() -> Option<String> {
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&here, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    let log = git(&here, &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    // A file that is not there would make every build a new one.
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&here, &["rev-parse", "--short=12", "HEAD"])
}

fn git(folder: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
