//! Secrets of the configuration: passwords, tokens and certificates come from files, and are never shown.
#![allow(clippy::unwrap_used)] // helpers of tests, as their tests

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::config::{nothing, problems, with};
use fiberd::config::{Config, HttpConfig, Reloadable, Role};

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker-password");
    let toml = "[broker]\nusername = \"das\"\npassword_file = \"${CREDENTIALS_DIRECTORY}/broker-password\"\n";
    let environment = with(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    for content in ["correct horse ", "correct horse \n", "correct horse \r\n"] {
        fs::write(&file, content).unwrap();
        let config = Config::parse("t.toml", toml, &environment).unwrap();
        assert_eq!(config.broker.as_ref().unwrap().login.get().password.reveal(), "correct horse ");
        let shown = format!("{config:?} {config:#?} {environment:?}");
        assert!(!shown.contains("correct horse"), "{shown}");
    }
    for (content, wanted) in [("", "one line"), ("\n", "one line"), ("two\nlines\n", "one line")] {
        fs::write(&file, content).unwrap();
        let found = problems(toml, &environment);
        assert!(
            found.len() == 1 && found[0].contains(wanted) && !found[0].contains("lines\n"),
            "{content:?}: {found:?}"
        );
    }
    fs::remove_file(&file).unwrap();
    assert!(problems(toml, &environment)[0].starts_with("t.toml:3:17: broker.password_file: "));
    assert!(problems(toml, &nothing())[0].contains("CREDENTIALS_DIRECTORY is not set"));
    // Checked on a desk, the unit's credentials are not there.
    assert!(Config::parse("t.toml", toml, &nothing().offline()).is_ok());
}

#[test]
fn passwords_in_wrong_places_are_refused_without_being_repeated() {
    let cases = [
        ("[broker]\nuri = \"amqp://u:hunter2@h/\"", nothing()),
        ("[broker]\npassword = \"hunter2\"", nothing()),
        ("[broker]\npassword = [\"hunter2\"]", nothing()),
        ("", with(&[("FIBERD__BROKER__PASSWORD", "hunter2")])),
        ("", with(&[("FIBERD__BROKER__URI", "amqps://u:hunter2@h:5671/%2f")])),
        ("[broker]\nuri = \"u:hunter2@h\"", nothing()),
    ];
    for (text, environment) in cases {
        let found = problems(text, &environment);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

/// Writes a file that only its owner reads.
fn private(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    chmod(file, 0o600);
}

fn chmod(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn tokens_come_from_a_file_that_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("http-tokens");
    let toml = "[http]\ntokens_file = \"${CREDENTIALS_DIRECTORY}/http-tokens\"\n";
    let environment = with(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    private(&file, "# ours\ncontrol desk hunter2-hunter2-hunter2\nread display 0123456789abcdef\n");
    for mode in [0o600, 0o400, 0o640, 0o440] {
        chmod(&file, mode);
        let config = Config::parse("t.toml", toml, &environment).unwrap();
        let tokens = config.http.tokens.get();
        let tokens = tokens.as_ref().as_ref().unwrap();
        let seen: Vec<_> = tokens.iter().map(|t| (t.name.as_str(), t.role)).collect();
        assert_eq!(seen, [("desk", Role::Control), ("display", Role::Read)]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    for mode in [0o644, 0o604, 0o660, 0o602] {
        chmod(&file, mode);
        let found = problems(toml, &environment);
        assert!(found.len() == 1 && found[0].contains(&format!("mode {mode:03o}")), "{found:?}");
    }
    private(&file, "control desk hunter2-hunter2-hunter2\n\nadmin root hunter2-hunter2-hunter2\n");
    let found = problems(toml, &environment);
    let place = format!("{}:3:1: the first word must be the role", file.display());
    assert!(found.len() == 1 && found[0].starts_with(&place) && !found[0].contains("hunter2"), "{found:?}");
    for (content, wanted) in [("", "there is no token in it"), ("# none\n", "there is no token in it")] {
        private(&file, content);
        let found = problems(toml, &environment);
        assert!(found.len() == 1 && found[0].contains(wanted), "{found:?}");
    }
    fs::write(&file, b"read \xff").unwrap();
    assert!(problems(toml, &environment)[0].contains("not UTF-8"));
    fs::remove_file(&file).unwrap();
    assert!(problems(toml, &environment)[0].starts_with("t.toml:2:15: http.tokens_file: "));
    assert!(problems(toml, &nothing())[0].contains("CREDENTIALS_DIRECTORY is not set"));
    // Checked on a desk, the unit's credentials are not there; a config that was read so lets nobody in.
    let offline = Config::parse("t.toml", toml, &nothing().offline()).unwrap();
    assert_eq!(offline.http.tokens.get().as_ref().as_ref().map(Vec::len), Some(0));
}

#[test]
fn certificates_are_tried_when_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let one = rcgen::generate_simple_self_signed(["fiberd.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    private(&path("one.pem"), &one.cert.pem());
    private(&path("one.key"), &one.signing_key.serialize_pem());
    private(&path("other.pem"), &other.cert.pem());
    private(&path("other.key"), &other.signing_key.serialize_pem());
    private(&path("none.pem"), "no certificate\n");
    private(&path("broken.pem"), "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n");
    let found = |certificate: &str, key: &str, ca: Option<&str>| {
        let text = format!("[http]\ntls_certificate = {:?}\ntls_key = {:?}\n", path(certificate), path(key));
        let ca = ca.map(|ca| format!("client_ca = {:?}\n", path(ca))).unwrap_or_default();
        problems(&(text + &ca), &nothing())
    };
    assert_eq!(found("one.pem", "one.key", None), Vec::<String>::new());
    assert_eq!(found("one.pem", "one.key", Some("other.pem")), Vec::<String>::new());
    let cases = [
        (found("one.pem", "other.key", None), "t.toml:2:19: http.tls_certificate: certificate, tls_key and client_ca"),
        (found("one.key", "one.key", None), "t.toml:2:19: http.tls_certificate: holds no certificate"),
        (found("none.pem", "one.key", None), "t.toml:2:19: http.tls_certificate: holds no certificate"),
        (found("broken.pem", "one.key", None), "t.toml:2:19: http.tls_certificate: holds no certificate"),
        (found("one.pem", "one.pem", None), "t.toml:3:11: http.tls_key: holds no private key"),
        (found("one.pem", "one.key", Some("none.pem")), "t.toml:4:13: http.client_ca: holds no certificate"),
        (found("one.pem", "one.key", Some("nowhere.pem")), "t.toml:4:13: http.client_ca: "),
    ];
    for (found, wanted) in cases {
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{wanted}: {found:?}");
    }
    chmod(&path("one.key"), 0o644);
    assert!(found("one.pem", "one.key", None)[0].contains("mode 644"));
}

#[test]
fn beyond_loopback_there_must_be_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    private(&file, "read display 0123456789abcdef\n");
    let tokens = format!("tokens_file = {file:?}\n");
    for listen in ["127.0.0.1:5000", "127.8.8.8:1", "[::1]:5000"] {
        assert!(fiberd::config::loopback_address(listen).is_ok(), "{listen}");
        assert_eq!(problems(&format!("[http]\nlisten = \"{listen}\""), &nothing()), Vec::<String>::new());
    }
    for listen in ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:5000", "[::ffff:127.0.0.1]:80"] {
        let fault = fiberd::config::loopback_address(listen).unwrap_err();
        assert!(fault.contains("credentials"), "{listen}: {fault}");
        let http = format!("[http]\nlisten = \"{listen}\"\n");
        let found = problems(&http, &nothing());
        assert!(found.len() == 1 && found[0].starts_with("t.toml:2:10: http.listen: "), "{found:?}");
        let config = Config::parse("t.toml", &(http + &tokens), &nothing()).unwrap();
        assert_eq!(config.http.exposure(), Ok(()));
        let open = HttpConfig { tokens: Reloadable::default(), ..config.http };
        assert!(open.exposure().is_err(), "as when --http goes over a file without credentials");
    }
}
