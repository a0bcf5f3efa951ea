//! The real binary: exit codes, help, and what it says.
// A test that cannot have what it needs should end with a backtrace.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const COMMANDS: [&str; 11] =
    ["run", "demo", "watch", "check-config", "simulate", "replay", "record", "status", "info", "export", "bench"];

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
fn help_names_every_command_and_fits_a_hundred_columns() {
    let mut pages = vec![code_and_text(&["--help"]), code_and_text(&["-h"])];
    for (code, page) in &pages {
        assert_eq!(*code, 0);
        for command in COMMANDS {
            assert!(page.contains(&format!("\n  {command} ")), "{command}:\n{page}");
        }
    }
    for word in ["Exit codes", "78", "FIBERD__SECTION__KEY", "NO_COLOR", "waiting for fiber"] {
        assert!(pages[0].1.contains(word), "{word}");
    }
    pages.extend(COMMANDS.map(|command| code_and_text(&[command, "--help"])));
    for (code, page) in &pages[2..] {
        assert_eq!(*code, 0);
        assert!(page.contains("Example"), "{page}");
    }
    for line in pages.iter().flat_map(|(_, page)| page.lines()) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn wrong_arguments_are_64() {
    let cases: [&[&str]; 11] = [
        &[],
        &["fly"],
        &["run"],
        &["run", "--config"],
        &["demo", "--http", "0.0.0.0:5000"],
        &["demo", "--for", "-1"],
        &["demo", "--for", "inf"],
        &["replay", "--speed", "fast", "a"],
        &["record", "a", "--scene", "s", "--ring", "r"],
        &["info", "a", "--cpu"],
        &["info", "a", "--full", "--quick"],
    ];
    for args in cases {
        let (code, text) = code_and_text(args);
        assert_eq!(code, 64, "{args:?}: {text}");
        assert!(text.contains("Usage") || text.contains("--help"), "{args:?}: {text}");
    }
    assert!(code_and_text(&["demo", "--http", "0.0.0.0:5000"]).1.contains("credentials"));
}

#[test]
fn what_is_not_there_is_66_and_what_is_not_a_capture_65() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let missing = at("missing");
    let out = at("out.fdas");
    for args in [
        vec!["info", &missing],
        vec!["replay", &missing],
        vec!["record", &out, "--replay", &missing],
        vec!["record", &out, "--scene", &missing],
        vec!["simulate", "--scene", &missing],
        vec!["demo", "--scene", &missing],
        vec!["check-config", &missing],
        vec!["run", "--config", &missing],
    ] {
        let (code, text) = code_and_text(&args);
        assert_eq!(code, 66, "{args:?}: {text}");
        assert!(text.contains(&missing) && text.contains("No such file"), "{args:?}: {text}");
    }
    assert!(!Path::new(&out).exists());
    let noise = at("noise.fdas");
    fs::write(&noise, b"this is no capture of any kind").unwrap();
    for args in [
        vec!["info", &noise],
        vec!["record", &out, "--replay", &noise],
        vec!["replay", &noise, "--no-broker", "--http", "127.0.0.1:0"],
    ] {
        let (code, text) = code_and_text(&args);
        assert_eq!(code, 65, "{args:?}: {text}");
        assert!(text.contains("noise.fdas"), "{args:?}: {text}");
    }
}

#[test]
fn a_wrong_configuration_is_78_with_every_problem_and_nothing_is_started() {
    for name in ["usual-slips", "views", "reachable", "not-toml"] {
        let folder = project().join("fixtures/config/bad");
        let expected = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
        for args in [["check-config", "FILE"].as_slice(), &["run", "--config", "FILE"]] {
            let file = format!("{name}.toml");
            let args: Vec<&str> = args.iter().map(|a| if *a == "FILE" { file.as_str() } else { a }).collect();
            let output = fiberd().args(&args).current_dir(&folder).output().unwrap();
            assert_eq!(output.status.code(), Some(78), "{args:?}");
            assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), expected.trim_end());
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn the_default_file_is_right_and_variables_are_checked_with_it() {
    let file = project().join("systemd/fiberd.toml");
    let check = |variables: &[(&str, &str)]| {
        let output = fiberd().arg("check-config").arg(&file).envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, text) = check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing wrong: ring /dev/shm/fiberd/ring, 3 view(s)"), "{text}");
    let (code, text) = check(&[("FIBERD__BROKER__WINDOW", "0")]);
    assert_eq!(code, Some(78));
    assert!(text.starts_with("FIBERD__BROKER__WINDOW: broker.window: 0 is too small"), "{text}");
}

#[test]
fn a_check_looks_at_files_and_ports_that_a_run_would_meet_only_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        code_and_text(&["check-config", file.to_str().unwrap()])
    };
    let (missing, here, empty) = (folder.path().join("missing.h5"), folder.path(), folder.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    let replay = |files: &[&std::path::Path]| check(&format!("[source]\nkind = \"replay\"\nfiles = {files:?}\n"));
    let (code, text) = replay(&[&missing, &empty, &here.join("*.h5")]);
    assert_eq!(code, 78, "{text}");
    for part in
        ["missing.h5\" cannot be read: No such file", "is a folder without a file", "no file matches this pattern"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = replay(&[here]);
    assert!(code == 65 && text.contains("no capture in it"), "{code}: {text}");
    fs::copy(project().join("fixtures/tone.fdas"), here.join("tone.fdas")).unwrap();
    let (code, text) = replay(&[here, &here.join("*.fdas")]);
    assert_eq!(code, 0, "a folder and a pattern: {text}");
    let (code, text) = check(&format!("[source]\npath = {here:?}\n"));
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("source.path") && text.contains("is a folder; name the ring inside it"), "{text}");
    // A ring that is not there yet is nothing wrong, and a port may be permitted where the daemon runs.
    let (code, text) = check("[source]\npath = \"/nowhere/ring\"\n[http]\nlisten = \":79\"\n");
    assert_eq!(code, 0, "{text}");
    let has_note = text.contains("note: http.listen: port 79 is privileged");
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_eq!(has_note, limit.trim().parse::<u16>().unwrap() > 79, "{text}");
}

#[test]
fn a_wrong_scene_is_65_with_every_problem_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let scene = folder.path().join("scene.toml");
    fs::write(&scene, "colour = 1\n[fiber]\nlength = 3\nchannels = 0\n").unwrap();
    let scene = scene.to_str().unwrap();
    for args in [["simulate", "--scene", scene].as_slice(), &["demo", "--scene", scene, "--http", "127.0.0.1:0"]] {
        let (code, text) = code_and_text(args);
        assert_eq!(code, 65, "{args:?}: {text}");
        for part in ["line 1, column 1: ", "line 3, column 1: ", "fiber.channels = 0"] {
            assert!(text.contains(&format!("{scene}: {part}")), "{part} in {text}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let ring = folder.path().join("ring");
    fs::write(&file, format!("source.path = {ring:?}\nbroker.enabled = false\n")).unwrap();
    let (code, text) = code_and_text(&["run", "--config", file.to_str().unwrap(), "--http", &address]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains(&address), "{text}");
}

#[test]
fn a_recorded_scene_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let scene = folder.path().join("scene.toml");
    fs::write(&scene, "").unwrap();
    let capture = folder.path().join("scene.fdas");
    let (scene, capture) = (scene.to_str().unwrap(), capture.to_str().unwrap());
    let (code, text) = code_and_text(&["record", capture, "--scene", scene, "--traces", "500"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("500 traces"), "{text}");
    let (code, text) = code_and_text(&["info", capture]);
    assert_eq!(code, 0, "{text}");
    let json = output(&["info", capture, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json.to_string().contains("500"), "{json}");
}

/// What `info` notes is said by all who read the file.
#[test]
fn what_is_odd_about_a_file_is_said_by_all_who_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (scene, capture) = (path("scene.toml"), path("cut.fdas"));
    fs::write(&scene, "").unwrap();
    assert_eq!(code_and_text(&["record", &capture, "--scene", &scene, "--traces", "2000"]).0, 0);
    // The head of a chunk is damaged, and the end is missing.
    let mut bytes = fs::read(&capture).unwrap();
    let third = bytes.windows(4).enumerate().filter(|(_, word)| word == b"CHNK").nth(2).unwrap().0;
    bytes[third + 8] ^= 0xFF;
    bytes.truncate(bytes.len() - 100_000);
    fs::write(&capture, bytes).unwrap();
    let (code, described) = code_and_text(&["info", &capture]);
    assert_eq!(code, 65, "{described}");
    let found = |severity: &str| {
        let lines = described.lines().filter_map(|line| line.trim().strip_prefix(severity));
        lines.map(|text| text.trim().to_owned()).next().unwrap_or_else(|| panic!("{severity} in\n{described}"))
    };
    assert_eq!(found("verdict"), "damaged");
    let (hurt, cut) = (found("damaged"), found("warning"));
    let json: serde_json::Value = serde_json::from_slice(&output(&["info", &capture, "--json"]).stdout).unwrap();
    assert_eq!((&json["verdict"], &json["findings"][0]["severity"]), (&"damaged".into(), &"damaged".into()), "{json}");
    assert!(json["notes"].as_array().unwrap().contains(&cut.clone().into()), "as programs before read it: {json}");
    let replay = ["replay", &capture, "--speed", "max", "--no-broker", "--plain", "--http", "127.0.0.1:0"];
    let config = path("fiberd.toml");
    let toml = format!(
        "[source]\nkind = \"replay\"\nfiles = [{capture:?}]\nspeed = \"max\"\n[broker]\nenabled = false\n[[view]]\nkind = \"waterfall\"\nname = \"w\"\n"
    );
    fs::write(&config, toml).unwrap();
    let run = ["run", "--config", &config, "--http", "127.0.0.1:0"];
    let record = ["record", &path("again.fdas"), "--replay", &capture];
    for args in [&replay[..], &run, &record] {
        let (_, said) = code_and_text(args);
        for note in [format!("damaged: cut.fdas: {hurt}"), format!("warning: cut.fdas: {cut}")] {
            assert!(said.contains(&note), "{args:?}: {note:?} in\n{said}");
        }
    }
}

/// Before anything is played, and at the rate of what is played, whatever the configuration says of the interrogator.
#[test]
fn views_are_held_to_the_capture_that_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (scene, capture, config) = (path("scene.toml"), path("scene.fdas"), path("fiberd.toml"));
    fs::write(&scene, "").unwrap();
    assert_eq!(code_and_text(&["record", &capture, "--scene", &scene, "--traces", "800"]).0, 0);
    let info: serde_json::Value = serde_json::from_slice(&output(&["info", &capture, "--json"]).stdout).unwrap();
    let (rate, channels) = (info["prr_hz"].as_f64().unwrap(), info["channels"].as_u64().unwrap());
    let view = |name: &str, keys: &str| format!("[[view]]\nkind = \"waterfall\"\nname = \"{name}\"\n{keys}\n");
    let wrong = [
        view("high", &format!("bands_hz = [[5, {}]]", rate / 2.0 + 1.0)),
        view("long", "line_period_ms = 60000"),
        view("far", &format!("channel_max = {}", channels + 1)),
    ];
    let right = view("right", &format!("bands_hz = [[5, {}]]", rate / 2.0));
    // A rate at which all of this would be right, or nothing would.
    for prr in ["100000", "10"] {
        let capture_section = format!("[capture]\nprr_hz = {prr}\nblock_ms = 200\n");
        fs::write(&config, format!("{capture_section}{}{right}", wrong.concat())).unwrap();
        let replay = [
            "replay",
            &capture,
            "--config",
            &config,
            "--speed",
            "max",
            "--no-broker",
            "--plain",
            "--http",
            "127.0.0.1:0",
        ];
        let (code, text) = code_and_text(&replay);
        assert_eq!((code, text.lines().count()), (78, 3), "{text}");
        for said in ["Nyquist", "no line would come", "beyond the fiber; scene.fdas says"] {
            assert!(text.contains(said), "{said:?} in\n{text}");
        }
        fs::write(&config, format!("{capture_section}{right}")).unwrap();
        let (code, text) = code_and_text(&replay);
        assert_eq!(code, 0, "{text}");
    }
    let source = format!("[source]\nkind = \"replay\"\nfiles = [{capture:?}]\n");
    fs::write(&config, format!("{source}{}", wrong.concat())).unwrap();
    let (code, text) = code_and_text(&["check-config", &config]);
    assert_eq!((code, text.lines().count()), (78, 3), "{text}");
}

/// All keys, those inside of others too.
fn keys(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                into.push(key.clone());
                keys(value, into);
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn every_key_of_info_is_explained() {
    let capture = project().join("fixtures/capture-v1.fdas");
    let folder = tempfile::tempdir().unwrap();
    let (scene, long) = (folder.path().join("scene.toml"), folder.path().join("long.fdas"));
    fs::write(&scene, "").unwrap();
    let record = ["record", long.to_str().unwrap(), "--scene", scene.to_str().unwrap(), "--traces", "500"];
    assert_eq!(code_and_text(&record).0, 0);
    let said = output(&["info", capture.to_str().unwrap(), long.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let mut found = Vec::new();
    keys(&json, &mut found);
    assert!(json[0]["gaps"][0]["traces"] == 4 && json[1]["statistics"]["noise_floor"]["windows"].is_u64(), "{json}");
    let page = fs::read_to_string(project().join("docs/info.md")).unwrap();
    found.retain(|key| !page.contains(&format!("`{key}`")));
    assert!(found.is_empty(), "not in docs/info.md: {found:?}");
}

/// Names of files are bytes; only JSON and the screen must replace what they cannot hold.
#[test]
fn a_name_that_is_no_utf_8_is_as_good_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let (scene, capture) = (path(b"sc\xe8ne.toml"), path(b"d\xe9troit.fdas"));
    fs::write(&scene, "").unwrap();
    let run = |args: &[&OsStr]| fiberd().args(args).output().unwrap();
    let traces = [OsStr::new("--traces"), OsStr::new("50")];
    let recorded =
        run(&[&["record".as_ref(), capture.as_os_str(), "--scene".as_ref(), scene.as_os_str()], &traces[..]].concat());
    assert!(recorded.status.success(), "{recorded:?}");
    assert!(capture.exists());
    let said = run(&["info".as_ref(), capture.as_os_str(), "--json".as_ref()]);
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(json["path"].as_str().unwrap().ends_with("d\u{fffd}troit.fdas"), "{json}");
    let again = path(b"\xe9.fdas");
    let recorded = run(&["record".as_ref(), again.as_os_str(), "--replay".as_ref(), capture.as_os_str()]);
    assert!(recorded.status.success() && again.exists(), "{recorded:?}");
}

#[test]
fn a_recording_that_waits_is_stopped_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (ring, out) = (folder.path().join("ring"), folder.path().join("out.fdas"));
    let mut child = fiberd()
        .arg("record")
        .arg(&out)
        .arg("--ring")
        .arg(&ring)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first words say that it waits; from then on a signal must end it in order.
    let mut words = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut words).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{words}");
}

#[test]
fn the_demo_shows_a_waterfall_in_a_pipe() {
    let args = ["demo", "--plain", "--no-broker", "--http", "127.0.0.1:0", "--for", "120"];
    let mut child = fiberd().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let is_waterfall = line.starts_with('|') && line.chars().count() >= 80;
        seen.push(line);
        if is_waterfall {
            break;
        }
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let all = seen.join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{all}");
    assert!(seen.last().is_some_and(|line| line.starts_with('|')), "{all}");
    assert!(all.contains(" m") || all.contains("km"), "the axis has a unit:\n{all}");
    assert!(all.contains("no broker asked for"), "{all}");
}

#[test]
fn info_says_what_transforms_are_computed_with() {
    let (code, text) = code_and_text(&["info", "--cpu"]);
    assert_eq!(code, 0);
    assert!(text.contains("channels at once"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&output(&["info", "--cpu", "--json"]).stdout).unwrap();
    let (set, lanes) = (json["instruction_set"].as_str().unwrap(), json["lanes"].as_u64().unwrap());
    assert!(text.contains(set) && [4, 8, 16].contains(&lanes), "{json}");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        assert!(set.starts_with("AVX") && lanes >= 8, "{json}");
    }
}
