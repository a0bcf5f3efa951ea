//! Captures that are damaged or cut off: whoever reads them says the same, by its exit code, too.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fiberd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
    // Nothing of the developer's own environment decides here.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FIBERD_")) {
        command.env_remove(name);
    }
    command.env_remove("CREDENTIALS_DIRECTORY").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    fiberd().args(args).output().unwrap()
}

fn code_and_text(args: &[&str]) -> (i32, String) {
    let output = output(args);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().expect("ended by itself"), text)
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn all_who_read_a_capture_agree_on_whether_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(project().join("fixtures/capture-v1.fdas")).unwrap();
    // Header 192; chunks at 192 and 320, whose samples end at 274 and 396; end mark at 448.
    let cut = |len: usize| (format!("cut at {len}"), whole[..len].to_vec());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        (format!("flipped at {at}"), bytes)
    };
    let cases = [
        (cut(512), 0),
        // A recorder that died: what it has written is there, and nothing says that more was.
        (cut(320), 0),
        (cut(350), 0),
        (cut(448), 0),
        (cut(470), 0),
        // Two traces are lost, and their head says so: that is counted, and a warning.
        (cut(390), 0),
        (flipped(200), 65),
        (flipped(260), 65),
        (flipped(450), 65),
    ];
    for (number, ((name, bytes), right)) in cases.iter().enumerate() {
        let [file, copy] =
            ["file", "copy"].map(|of| folder.path().join(format!("{number}-{of}.fdas")).display().to_string());
        fs::write(&file, bytes).unwrap();
        let runs: [&[&str]; 3] = [
            &["info", &file],
            &["record", &copy, "--replay", &file],
            &["replay", &file, "--speed", "max", "--no-broker", "--plain", "--http", ":0"],
        ];
        for run in runs {
            let (code, text) = code_and_text(run);
            assert_eq!(code, *right, "{name}: {}: {text}", run[0]);
        }
    }
}

#[test]
fn a_damaged_capture_is_read_to_its_end_and_that_it_was_damaged_is_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(project().join("fixtures/capture-v1.fdas")).unwrap();
    // In the head of the first of two chunks.
    bytes[200] ^= 1;
    let [damaged, copy] = ["damaged.fdas", "copy.fdas"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&damaged, bytes).unwrap();
    let told = "3 traces are lost because files are damaged";
    let (code, text) = code_and_text(&["record", &copy, "--replay", &damaged]);
    assert!(code == 65 && text.contains("2 traces, ") && text.contains(told), "{code}: {text}");
    let (code, text) = code_and_text(&["info", &copy]);
    assert!(code == 0 && text.contains("2 traces x 3 channels"), "{code}: {text}");
    let (code, text) = code_and_text(&["replay", &damaged, "--speed", "max", "--no-broker", "--plain", "--http", ":0"]);
    assert!(code == 65 && text.contains(told), "{code}: {text}");
}
