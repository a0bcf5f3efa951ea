//! Configuration from outside: bad examples with all their problems, environment, the default file, and noise.
// A test that cannot have what it needs should end with a backtrace.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::{nothing, problems, with};
use fiberd::config::{Config, Origin, ReplaySpeed, SourceConfig};
use fiberd::frame::{Dtype, ValueKind};
use fiberd::units::Rational;
use proptest::prelude::*;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn default_file() -> String {
    fs::read_to_string(project().join("systemd/fiberd.toml")).unwrap()
}

fn bad_examples() -> Vec<PathBuf> {
    let folder = project().join("fixtures/config/bad");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

#[test]
fn each_bad_example_lists_all_its_problems_at_once() {
    let files = bad_examples();
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        let found = Config::parse(name, &text, &nothing()).expect_err(name).to_string();
        assert_eq!(found, expected.trim_end(), "\nin its folder, `fiberd check-config {name}` prints what it is now");
    }
}

#[test]
fn the_default_file_is_the_default_and_shows_every_key() {
    let text = default_file();
    let config = Config::parse("fiberd.toml", &text, &nothing()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(Config::parse("empty.toml", "", &nothing()).unwrap(), Config::default());

    // Keys without a value by default stand right behind a #; sections give them their names.
    let mut shown = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        {
            shown.push(format!("{section}{key}"));
        }
    }
    let missing: Vec<_> = Config::known_keys().into_iter().filter(|key| !shown.contains(key)).collect();
    assert!(missing.is_empty(), "keys that systemd/fiberd.toml does not show: {missing:?}");
    let invented: Vec<_> = shown.iter().filter(|key| !Config::known_keys().contains(key)).collect();
    assert!(invented.is_empty(), "keys of systemd/fiberd.toml that do not exist: {invented:?}");
}

#[test]
fn keys_that_are_commented_out_in_the_default_file_are_right_when_they_are_not() {
    let others = ["files = ", "speed = ", "loop = ", "frequency_range_hz = ", "db_reference = ", "u8_range = "];
    let mut uncommented = 0;
    let mut text = String::new();
    for line in default_file().lines() {
        let key = line.strip_prefix('#').filter(|rest| {
            let word = rest.split_once(" = ").map_or("", |(word, _)| word);
            let is_key = !word.is_empty() && !word.contains(' ');
            // These belong to other kinds of source and view.
            is_key && !others.iter().any(|other| rest.starts_with(other))
        });
        uncommented += usize::from(key.is_some());
        text += key.unwrap_or(line);
        text.push('\n');
    }
    assert_eq!(
        uncommented, 13,
        "cpu, realtime_priority, channel_max, password_file, description; public_host, tokens_file and three of TLS; \
         commands_queue, dead_letter_exchange, default_job"
    );
    // Files of certificates that are no credentials are really read.
    let text = text.replace("\"/etc/fiberd/", "\"${CREDENTIALS_DIRECTORY}/");
    let config = Config::parse("fiberd.toml", &text, &nothing().offline()).unwrap();
    assert_eq!((config.capture.cpu, config.capture.realtime_priority), (Some(1), Some(20)));
    assert_eq!(config.views[0].channel_max, Some(2337));
}

#[test]
fn values_arrive_in_their_units() {
    let text = r#"
        site = "north-7"
        source = { kind = "replay", files = ["a.h5", "b.h5"], speed = "max", loop = true }
        capture = { prr_hz = 3217.8, block_ms = 12.5, pool_blocks = 32 }
        signal = { no_trace_ms = 2_000, stall_ms = 1e2 }
        broker = { enabled = false }
        http = { listen = "[::1]:0", rate_reads_per_s = 0.5, cors_origins = ["http://[::1]:8080"] }
        [[view]]
        kind = "single"
        name = "one"
        channel_max = 7
        line_period_ms = 0.7
        frequency_range_hz = [0, 1608.9]
        value = "db"
        db_reference = 1e-3
        dtype = "u8"
        u8_range = [-60, 195]
    "#;
    let config = Config::parse("t.toml", text, &nothing()).unwrap();
    let SourceConfig::Replay { files, speed, looping } = &config.source else { panic!("{:?}", config.source) };
    assert_eq!((files.len(), *speed, *looping), (2, ReplaySpeed::Unpaced, true));
    assert_eq!(config.capture.prr, Rational::new(16089, 5));
    assert_eq!(config.capture.block, Duration::from_micros(12_500));
    assert_eq!((config.signal.no_trace, config.signal.stall), (Duration::from_secs(2), Duration::from_millis(100)));
    assert!(config.broker.is_none());
    assert_eq!(config.http.listen.to_string(), "[::1]:0");
    assert_eq!((config.http.rates.reads_per_s, config.http.cors_origins.len()), (0.5, 1));
    let view = &config.views[0];
    assert_eq!((view.channel_min, view.channel_max), (7, Some(7)));
    assert_eq!(view.line_period_s, Rational::new(7, 10_000).unwrap());
    assert_eq!(view.frequency_range_hz, Some((0.0, 1608.9)));
    assert_eq!((view.value, view.dtype), (ValueKind::Decibel { reference: 1e-3 }, Dtype::U8));
    // Stored 0 is -60, stored 255 is 195.
    assert_eq!(view.u8_range, (1.0, -60.0));
    assert!(Config::parse("t.toml", "view = []", &nothing()).unwrap().views.is_empty());
}

#[test]
fn a_replay_takes_the_rate_of_its_file_unless_told() {
    let replay = "[source]\nkind = \"replay\"\nfiles = [\"a\"]\n";
    let prr = |text: &str| Config::parse("t.toml", text, &nothing()).unwrap().capture.prr;
    assert_eq!(prr(replay), None);
    assert_eq!(prr(&format!("{replay}[capture]\nprr_hz = 500")), Rational::new(500, 1));
    assert_eq!(prr(""), Rational::new(2000, 1));
    assert_eq!(prr("[capture]\nprr_hz = \"declared\""), None);
}

#[test]
fn variables_go_over_the_file_and_are_named_in_problems() {
    let file = "[capture]\nprr_hz = 2000\n[broker]\nwindow = 8\n";
    let environment = with(&[
        ("FIBERD__CAPTURE__PRR_HZ", "1000"),
        ("FIBERD__BROKER__URI", "amqp://broker.example:5672/das"),
        ("FIBERD__SITE", "007"),
        ("FIBERD__HTTP__LISTEN", "127.0.0.1:0"),
        ("FIBERD__SOURCE__KIND", "replay"),
        ("FIBERD__SOURCE__FILES", "[\"a.h5\", \"b.h5\"]"),
        ("FIBERD_LOG", "not ours: one underscore"),
        ("PATH", "/bin"),
    ]);
    let config = Config::parse("t.toml", file, &environment).unwrap();
    assert_eq!(config.capture.prr, Rational::new(1000, 1));
    assert_eq!(config.broker.as_ref().map(|b| (b.uri.as_str(), b.window)), Some(("amqp://broker.example:5672/das", 8)));
    assert_eq!(config.site, "007");
    assert!(matches!(&config.source, SourceConfig::Replay { files, .. } if files.len() == 2));

    let wrong = with(&[
        ("FIBERD__BROKER__WINDOW", "many"),
        ("FIBERD__CAPTURE__BLOK_MS", "20"),
        ("FIBERD__CAPTURE__POOL__BLOCKS", "20"),
        ("FIBERD__VIEW__NFFT", "256"),
        ("FIBERD__HTTP__LISTEN", ""),
    ]);
    let view = "[[view]]\nkind = \"waterfall\"\nname = \"w\"\n";
    assert_eq!(
        problems(view, &wrong),
        [
            "FIBERD__CAPTURE__POOL__BLOCKS: the name does not lead to a key; write FIBERD__SECTION__KEY, such as \
             FIBERD__CAPTURE__PRR_HZ",
            "FIBERD__VIEW__NFFT: view.nfft: view is no section that a variable can reach into; set it in the file",
            "FIBERD__CAPTURE__BLOK_MS: capture.blok_ms: there is no such key; did you mean capture.block_ms?",
            "FIBERD__BROKER__WINDOW: broker.window: the string \"many\" stands here; a whole number (unconfirmed frames) \
             is wanted",
            "FIBERD__HTTP__LISTEN: http.listen: the string is empty; leave the key out, or write what it should be",
        ]
    );
}

#[test]
fn addresses_of_brokers() {
    let right = ["amqp://h", "amqps://h:5671/%2f", "amqp://[::1]:5672/das", "amqp://[::1]", "amqp://h/v?heartbeat=5"];
    let wrong = [
        "amqp://",
        "amqp:///v",
        "amqp://:5672",
        "amqp://h:0",
        "amqp://h:99999",
        "amqp://h:x/",
        "amqp://h/",
        "amqp://h/?heartbeat=5",
        "amqp://h/a/b",
        "amqp://h h",
    ];
    let text = |uri: &str| format!("broker.uri = \"{uri}\"");
    for uri in right {
        assert_eq!(problems(&text(uri), &nothing()), Vec::<String>::new(), "{uri}");
    }
    for uri in wrong {
        assert_eq!(problems(&text(uri), &nothing()).len(), 1, "{uri}");
    }
}

#[test]
fn files_that_are_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, b"site = \"\xff\"").unwrap();
    let of = |path: &Path| Config::load(path, &nothing()).unwrap_err().to_string();
    assert!(of(&file).contains("is not UTF-8 text: byte 8"), "{}", of(&file));
    fs::write(&file, vec![b'#'; 2_000_000]).unwrap();
    assert!(of(&file).contains("larger than 1048576 bytes"));
    assert!(of(folder.path()).contains("cannot be read"));
    assert!(of(Path::new("/dev/zero")).contains("larger than"));
}

/// A piece of TOML as a person or a cat might type it.
fn scrap() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(Config::known_keys());
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|x| format!("{x:?}")),
        prop::num::f64::POSITIVE.prop_map(|x| format!("{x:e}")),
        "\"[a-zA-Z0-9:/@.%{}$_ é-]{0,30}\"",
        Just("true".to_owned()),
        Just("[[5, 200], [1, 2]]".to_owned()),
        Just("[-1, 1e308]".to_owned()),
        Just("{ a = { b = [ ] } }".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just(String::new()),
    ];
    prop_oneof![
        4 => (keys, value).prop_map(|(key, value)| {
            let key = key.rsplit_once('.').map_or(key.clone(), |(_, last)| last.to_owned());
            format!("{key} = {value}")
        }),
        1 => prop::sample::select(vec!["[capture]", "[broker]", "[[view]]", "[view]", "[source]", "[signal]", "kind = \"single\""])
            .prop_map(str::to_owned),
        1 => "[\\PC\\n\\t\"'=\\[\\]{}#.]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_there_is_read_or_refused_with_a_place(scraps in prop::collection::vec(scrap(), 0..25)) {
        let text = scraps.join("\n");
        if let Err(problems) = Config::parse("t.toml", &text, &nothing().offline()) {
            prop_assert!(!problems.list().is_empty());
            for problem in problems.list() {
                let Origin::File { line, column, .. } = &problem.origin else {
                    return Err(TestCaseError::fail(format!("no place: {problem}")));
                };
                prop_assert!(*line >= 1 && *line <= text.split('\n').count(), "{problem}");
                let length = text.split('\n').nth(line - 1).unwrap().chars().count();
                prop_assert!(*column >= 1 && *column <= length + 1, "{problem}");
                prop_assert!(!problem.text.is_empty() && problem.to_string().chars().all(|c| c != '\n'), "{problem}");
            }
        }
    }

    #[test]
    fn a_default_file_with_a_wound_never_panics(at in any::<prop::sample::Index>(), len in 0usize..40, patch in "[\\PC\\n]{0,6}") {
        let mut chars: Vec<char> = default_file().chars().collect();
        let from = at.index(chars.len());
        let to = (from + len).min(chars.len());
        chars.splice(from..to, patch.chars());
        let _ = Config::parse("t.toml", &chars.into_iter().collect::<String>(), &nothing());
    }

    #[test]
    fn variables_never_panic(name in "FIBERD__[A-Z_]{0,20}", value in "\\PC{0,30}") {
        let _ = Config::parse("t.toml", "", &with(&[(&name, &value)]));
    }

    #[test]
    fn whole_numbers_within_their_range_arrive_and_others_are_refused(window in 0usize..9000, blocks in 0usize..9000) {
        let text = format!("[broker]\nwindow = {window}\n[capture]\npool_blocks = {blocks}\nblock_ms = 25\n");
        let right = (1..=4096).contains(&window) && (4..=4096).contains(&blocks);
        match Config::parse("t.toml", &text, &nothing()) {
            Ok(config) => {
                prop_assert!(right);
                prop_assert_eq!(config.broker.map(|b| b.window), Some(window));
                prop_assert_eq!(config.capture.pool_blocks, blocks);
            }
            Err(problems) => prop_assert!(!right, "{problems}"),
        }
    }
}
